"""The statistics of a batch are those of all its samples together, whatever the files and however little memory there is."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from files.merge import covered_bytes, ever_on, merge
from files.parsing import facts
from files.result_files import FileResult, Results
from parsers.base import LogMessage, LostRange
from tests.files.recordings import SECOND, START, decode, every, scaled

MINUTE = 60 * SECOND
TINY = 2000  # bytes of samples held at once: every column goes through in pieces


def signal(statistics: dict[str, Any], stream: str, name: str) -> dict[str, Any]:
    return next(entry for entry in statistics["signals"] if (entry["stream"], entry["signal"]) == (stream, name))


def stream(statistics: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in statistics["streams"] if entry["name"] == name)


def nearest_rank(values: Any, percent: int) -> Any:
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def assert_is_of(entry: dict[str, Any], values: Any, nulls: int = 0) -> None:
    """The oracle: the entry says of the values what numpy and sorting say of them."""
    numbers = np.asarray(values).tolist()
    assert (entry["count"], entry["null_count"]) == (len(numbers), nulls)
    assert (entry["min"], entry["max"]) == (min(numbers), max(numbers))
    assert (entry["first"], entry["last"]) == (numbers[0], numbers[-1])
    for percent in (5, 50, 95, 99):
        assert entry[f"p{percent}"] == nearest_rank(numbers, percent)
    exact = math.fsum(numbers)
    assert entry["sum"] == pytest.approx(exact, rel=1e-12, abs=1e-9)
    assert entry["mean"] == pytest.approx(exact / len(numbers), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("memory", [TINY, 64 << 20])
def test_every_kind_of_signal_is_measured_exactly_over_all_files(tmp_path: Path, memory: int) -> None:
    rng = np.random.default_rng(1)
    counts = [3000, 1, 2500]
    doubles = [rng.normal(size=n) * 1e3 for n in counts]
    whole = [rng.integers(-(2**52), 2**52, n) for n in counts]
    natural = [rng.integers(0, 2**63, n).astype(np.uint64) for n in counts]
    raw_a = [rng.integers(0, 2**16, n) for n in counts]
    raw_b = [rng.integers(-(2**31), 2**31, n) for n in counts]
    results = []
    for i, n in enumerate(counts):
        times = every(SECOND // 100, n, START + i * MINUTE)
        messages = {"Double": (times, doubles[i]), "Whole": (times, whole[i]), "Natural": (times, natural[i])}
        results.append(decode(tmp_path / f"{i}", {**messages, "Scaled": (times, scaled(raw_a[i], raw_b[i], raw_a[i] % 2))}, order=i))
    statistics = merge(Results(results), memory=memory)
    json.dumps(statistics, allow_nan=False)
    assert_is_of(signal(statistics, "Double", "D"), np.concatenate(doubles))
    assert_is_of(signal(statistics, "Whole", "W"), np.concatenate(whole))
    assert_is_of(signal(statistics, "Scaled", "A"), np.concatenate(raw_a) * 0.5 - 10)
    assert_is_of(signal(statistics, "Scaled", "B"), np.concatenate(raw_b))
    unsigned = signal(statistics, "Natural", "N")
    assert [unsigned[f"p{p}"] for p in (5, 50, 95, 99)] == [nearest_rank(np.concatenate(natural).tolist(), p) for p in (5, 50, 95, 99)]
    mode = signal(statistics, "Scaled", "Mode")
    assert (mode["kind"], mode["choices"], mode["min"], mode["max"]) == ("enum", {"0": "Off", "1": "On"}, 0, 1)
    assert signal(statistics, "Scaled", "A")["minimum"] == 0
    assert signal(statistics, "Scaled", "A")["unit"] == "km/h"
    assert signal(statistics, "Double", "D")["files"] == ["id-0", "id-1", "id-2"]


class TestSplitting:
    """A recording that is split into files has the statistics of the whole."""

    counter = itertools.count()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.floats(width=64), min_size=1, max_size=200),
        st.lists(st.integers(0, 200), max_size=4),
        st.sampled_from([TINY // 10, 64 << 20]),
    )
    def test_split_equals_whole(self, tmp_path: Path, numbers: list[float], cuts: list[int], memory: int) -> None:
        folder = tmp_path / str(next(self.counter))
        values, times = np.array(numbers), every(SECOND // 50, len(numbers))
        finite = values[np.isfinite(values)]
        whole = merge([decode(folder / "whole", {"Double": (times, values)})])
        pieces = zip(np.split(times, sorted(cuts)), np.split(values, sorted(cuts)), strict=True)
        results = [decode(folder / f"{i}", {"Double": piece}, order=i) for i, piece in enumerate(pieces) if len(piece[0])]
        split = merge(results, memory=memory)
        entry, other = signal(whole, "Double", "D"), signal(split, "Double", "D")
        for key in entry.keys() - {"files", "file_count", "sum", "mean", "rate_hz"}:
            assert entry[key] == other[key], key
        if len(finite):
            assert_is_of_any(entry, finite, len(values) - len(finite))
        else:
            assert (entry["count"], entry["min"], entry["mean"], entry["p50"]) == (0, None, None, None)
        json.dumps([whole, split], allow_nan=False)


def assert_is_of_any(entry: dict[str, Any], values: Any, nulls: int) -> None:
    """As `assert_is_of` for values whose sum may leave the range of numbers."""
    numbers = (values + 0.0).tolist()
    assert (entry["count"], entry["null_count"], entry["min"], entry["max"]) == (len(numbers), nulls, min(numbers), max(numbers))
    assert [entry[f"p{percent}"] for percent in (5, 50, 95, 99)] == [nearest_rank(numbers, percent) for percent in (5, 50, 95, 99)]
    assert entry["mean"] is None or min(numbers) <= entry["mean"] <= max(numbers)


def test_absent_values_are_counted_and_left_out(tmp_path: Path) -> None:
    times = every(SECOND, 100)
    late = np.arange(100) % 50
    short = decode(tmp_path / "short", {"Scaled": (times, scaled(late, late, 0, late))}, lengths={"Scaled": 7})
    full = decode(tmp_path / "full", {"Scaled": (times + 200 * SECOND, scaled(late, late, 0, late))}, order=1)
    entry = signal(merge([short, full]), "Scaled", "Late")
    assert (entry["count"], entry["null_count"], entry["max"]) == (100, 100, 49)
    assert (entry["first_ns"], entry["last_ns"]) == (times[0] + 200 * SECOND, times[-1] + 200 * SECOND)
    nothing = signal(merge([short]), "Scaled", "Late")
    assert [nothing[key] for key in ("count", "null_count", "min", "p50", "mean", "first", "longest_constant_ns")] == [0, 100, *[None] * 5]


class TestGaps:
    """Where a stream was missing: inside of files, and between them."""

    def gaps(self, tmp_path: Path, *spans: tuple[int, int]) -> list[tuple[int, int, bool]]:
        """Files of 10 Hz from and to these seconds; the gaps in seconds."""
        results = []
        for i, (start, end) in enumerate(spans):
            times = every(SECOND // 10, (end - start) * 10, START + start * SECOND)
            results.append(decode(tmp_path / f"{i}", {"Whole": (times, np.arange(len(times)))}))
        found = stream(merge(results), "Whole")
        assert found["gap_count"] == len(found["gaps"])
        return [((g["from_ns"] - START) / SECOND, (g["to_ns"] - START) / SECOND, g["between_files"]) for g in found["gaps"]]

    def test_a_pause_between_two_files_is_a_gap(self, tmp_path: Path) -> None:
        assert self.gaps(tmp_path, (0, 10), (15, 20)) == [(9.9, 15.0, True)]

    def test_recordings_that_follow_seamlessly_leave_none(self, tmp_path: Path) -> None:
        assert self.gaps(tmp_path, (0, 10), (10, 20), (20, 30)) == []

    def test_overlapping_recordings_leave_none(self, tmp_path: Path) -> None:
        assert self.gaps(tmp_path, (0, 30), (10, 12), (30, 40)) == []

    def test_a_gap_in_a_file_keeps_its_file(self, tmp_path: Path) -> None:
        times = np.concatenate([every(SECOND // 10, 50), every(SECOND // 10, 50, START + 20 * SECOND)])
        found = stream(merge([decode(tmp_path / "a", {"Whole": (times, np.arange(100))})]), "Whole")
        assert found["gaps"] == [{"from_ns": int(times[49]), "to_ns": int(times[50]), "file": "id-a", "between_files": False}]

    def test_files_without_a_date_are_not_compared_with_dated_ones(self, tmp_path: Path) -> None:
        values = np.arange(100)
        dated = decode(tmp_path / "dated", {"Whole": (every(SECOND // 10, 100), values)}, order=1)
        undated = decode(tmp_path / "undated", {"Whole": (every(SECOND // 10, 100, 0), values)}, absolute=False)
        statistics = merge([undated, dated])
        assert stream(statistics, "Whole")["gaps"] == []
        time = statistics["time"]
        assert (time["absolute"], time["first_ns"], time["flags"]) == (True, START, ["relative", "mixed"])


def test_the_longest_stretch_of_one_value_may_reach_over_files_but_not_over_gaps(tmp_path: Path) -> None:
    def file(name: str, start_s: int, values: list[int]) -> FileResult:
        return decode(tmp_path / name, {"Whole": (every(SECOND, len(values), START + start_s * SECOND), np.array(values))}, name=name)

    seamless = signal(merge([file("a", 0, [1, 2, 2, 2]), file("b", 4, [2, 2, 3, 3])]), "Whole", "W")
    assert seamless["constant"] == {"value": 2, "from_ns": START + SECOND, "to_ns": START + 5 * SECOND}
    assert seamless["longest_constant_ns"] == 4 * SECOND
    paused = signal(merge([file("c", 0, [1, 2, 2, 2]), file("d", 100, [2, 2, 2, 2, 3])]), "Whole", "W")
    assert paused["constant"] == {"value": 2, "from_ns": START + 100 * SECOND, "to_ns": START + 103 * SECOND}


def test_the_rate_is_that_of_the_time_recorded(tmp_path: Path) -> None:
    results = [
        decode(tmp_path / f"{i}", {"Whole": (every(SECOND // 10, 100, START + i * 1000 * SECOND), np.arange(100))}) for i in range(3)
    ]
    statistics = merge(results)
    assert signal(statistics, "Whole", "W")["rate_hz"] == pytest.approx(10, rel=1e-3)
    assert stream(statistics, "Whole")["period_ns"] == SECOND // 10
    assert stream(statistics, "Whole")["covered_ns"] == 30 * SECOND


class TestNames:
    """Streams of several files are one stream when bus, message and sender are the same."""

    def test_a_message_on_two_buses_gives_two_streams_with_the_bus_in_front(self, tmp_path: Path) -> None:
        times, values = every(SECOND, 30), np.arange(30)
        one = decode(tmp_path / "one", {"Whole": (times, values)})
        other = decode(tmp_path / "other", {"Whole": (times + MINUTE, values, 1)}, order=1)
        assert [entry["name"] for entry in merge([one])["streams"]] == ["Whole"]
        statistics = merge([one, other])
        assert [(entry["name"], entry["channel"], entry["count"]) for entry in statistics["streams"]] == [
            ("can0.Whole", "can0", 30),
            ("can1.Whole", "can1", 30),
        ]
        assert Results([one, other]).names == Results([other, one]).names

    def test_series_and_statistics_use_the_same_names(self, tmp_path: Path) -> None:
        times, values = every(SECOND, 30), np.arange(30)
        one = decode(tmp_path / "one", {"Whole": (times, values)})
        two = decode(tmp_path / "two", {"Whole": (times, values, 1), "Double": (times, values * 1.0)})
        results = Results([one, two])
        assert {entry["name"] for entry in merge(results)["streams"]} == set(results.names.values())


def code(**fields: Any) -> dict[str, Any]:
    row = {"protocol": "obd2", "code": "P0301", "status": "stored", "source": "7e8", "channel": "can0", "count": 1}
    told = {"status_byte": None, "severity": None, "records": []}
    return {**row, "first_ns": START, "last_ns": START, "occurrence_count": None, "lamps": None, **told, **fields}


def test_fault_codes_of_all_files_are_added_up(tmp_path: Path) -> None:
    times, values = every(SECOND, 5), np.arange(5)
    stored = [{"kind": "snapshot", "number": 1, "data": "00ff"}]
    first = code(count=3, first_ns=START + 5, last_ns=START + 9, occurrence_count=1, lamps={"mil": False, "protect": None}, status_byte=8)
    second = code(count=4, first_ns=START + 20, last_ns=START + 30, occurrence_count=7, lamps={"mil": True, "protect": None}, status_byte=9)
    first |= {"severity": "maintenance", "records": stored}
    results = [
        decode(tmp_path / "a", {"Whole": (times, values)}, fault_codes=(first, code(code="P0420"))),
        decode(tmp_path / "b", {"Whole": (times, values)}, fault_codes=(second, code(status="pending", first_ns=START + 1))),
    ]
    rows = merge(results)["fault_codes"]
    seen = [(row["code"], row["status"], row["count"]) for row in rows]
    assert seen == [("P0420", "stored", 1), ("P0301", "pending", 1), ("P0301", "stored", 7)]
    joined = rows[-1]
    assert (joined["first_ns"], joined["last_ns"], joined["occurrence_count"], joined["file"]) == (START + 5, START + 30, 7, "id-b")
    assert joined["lamps"] == {"mil": True, "protect": None}
    assert (joined["status_byte"], joined["severity"], joined["records"]) == (9, "maintenance", stored)


def test_frames_ids_and_coverage_are_added_up(tmp_path: Path) -> None:
    times, values = every(SECOND, 10), np.arange(10)
    results = [
        decode(tmp_path / "a", {"Whole": (times, values)}, unknown=(0x123, 4), errors=2),
        decode(tmp_path / "b", {"Whole": (times, values), "Sender": (times, values)}, unknown=(0x321, 9)),
        decode(tmp_path / "c", {"Whole": (times, values)}, unknown=(0x123, 3)),
    ]
    statistics = merge(results)
    assert statistics["frames"]["total"] == 10 * 4 + 4 + 2 + 9 + 3
    assert (statistics["frames"]["error"], statistics["frames"]["per_channel"]) == (2, {"can0": 58})
    assert statistics["coverage"] == {"frames_known": 40, "frames_unknown": 16, "ids_known": 2, "ids_unknown": 2, "ids_truncated": False}
    assert [(row["id"], row["count"]) for row in statistics["unknown_ids"]] == [("321", 9), ("123", 7)]


def test_damage_is_told_for_each_file(tmp_path: Path) -> None:
    lost = (LostRange(100, 50, "torn"), LostRange(120, 60, "again"), LostRange(990, 500, "end is missing"))
    times, values = every(SECOND, 10), np.arange(10)
    log = tuple(LogMessage(START + i, "info", "logger", f"line {i}") for i in range(300))
    results = [
        decode(tmp_path / "a", {"Whole": (times, values)}, lost=lost, log=log),
        decode(tmp_path / "b", {"Whole": (times, values)}),
    ]
    statistics = merge(results)
    torn, sound = statistics["files"]
    assert (torn["partial"], torn["lost_count"], torn["lost_bytes"], torn["missing_bytes"]) == (True, 3, 90, 490)
    assert (sound["partial"], sound["lost"], sound["lost_bytes"]) == (False, [], 0)
    assert (len(statistics["messages"]), statistics["message_count"]) == (200, 300)
    assert statistics["messages"][0] == {"t_ns": START, "level": "info", "source": "logger", "text": "line 0", "file": "id-a"}


def test_lost_ranges_that_overlap_are_counted_once() -> None:
    ranges = [{"offset": 10, "length": 10}, {"offset": 15, "length": 10}, {"offset": 12, "length": 2}, {"offset": 90, "length": 20}]
    assert covered_bytes(ranges) == 35
    assert covered_bytes(ranges, 100) == 25
    assert covered_bytes([]) == 0


def test_lamps_are_on_when_they_ever_were() -> None:
    assert ever_on({"mil": None, "a": False, "b": None}, {"mil": True, "a": None, "b": None}) == {"a": False, "b": None, "mil": True}
    assert ever_on(None, {"mil": False}) == {"mil": False}
    assert ever_on(None, None) is None


def test_clock_flags_and_jumps_of_all_files_are_kept(tmp_path: Path) -> None:
    jumped = np.concatenate([every(SECOND // 10, 50), every(SECOND // 10, 50, START + 7200 * SECOND)])
    early = every(SECOND // 10, 50, 5 * SECOND)
    results = [
        decode(tmp_path / "early", {"Whole": (early, np.arange(50))}),
        decode(tmp_path / "jumped", {"Whole": (jumped, np.arange(100))}),
    ]
    time = merge(results)["time"]
    assert time["flags"] == ["1970", "forward_jump", "mixed"]
    assert (time["absolute"], time["first_ns"], time["last_ns"]) == (True, int(jumped[0]), int(jumped[-1]))
    assert time["jumps"] == [{"file": "id-jumped", "from_ns": int(jumped[49]), "to_ns": int(jumped[50])}]


def test_a_recording_without_frames_has_statistics_too(tmp_path: Path) -> None:
    statistics = merge([decode(tmp_path / "a", {})])
    assert (statistics["signals"], statistics["streams"], statistics["frames"]["total"]) == ([], [], 0)
    assert statistics["time"] == {
        "absolute": False,
        "first_ns": None,
        "last_ns": None,
        "flags": [],
        "jumps": [],
        "jump_count": 0,
        "correction": None,
    }


def change(folder: Path, **members: Any) -> None:
    summary = json.loads((folder / "summary.json").read_bytes())
    time = members.pop("time", {})
    (folder / "summary.json").write_text(json.dumps({**summary, **members, "time": {**summary["time"], **time}}))


def test_the_true_time_is_told_by_a_file_of_the_same_clock(tmp_path: Path) -> None:
    stamps, counted = every(SECOND, 10), every(SECOND, 10, 0)
    results = [
        decode(tmp_path / "counted", {"Whole": (counted, np.arange(10))}, absolute=False),
        decode(tmp_path / "first", {"Whole": (stamps, np.arange(10))}),
        decode(tmp_path / "second", {"Whole": (stamps + 60 * SECOND, np.arange(10))}, absolute=True),
    ]
    far = {"source": "Gps.utc", "offset_ns": START, "samples": 10, "spread_ns": 0}
    change(tmp_path / "counted", time={"correction": far})
    assert merge(results)["time"]["correction"] is None
    change(tmp_path / "second", time={"correction": {**far, "offset_ns": SECOND}})
    results[2].forget()
    assert merge(results)["time"]["correction"]["offset_ns"] == SECOND
    results[0].forget()
    assert merge(results[:1])["time"]["correction"] == far
    other = decode(tmp_path / "other", {"Whole": (counted, np.arange(10))}, absolute=False)
    assert merge([other, results[0]])["time"]["correction"] is None


def test_what_files_name_does_not_fill_the_statistics(tmp_path: Path) -> None:
    long = {f"{i} {'x' * 3000}": "y" * 4000 for i in range(1000)}
    listed = [{"name": "z" * 4000, "media_type": "", "size": None}] * 1000
    base = decode(tmp_path / "a", {"Whole": (every(SECOND, 3), np.arange(3))})
    change(tmp_path / "a", undecoded=long, metadata=long, attachments=listed)
    files = merge([FileResult(str(i), str(i), i, base.open) for i in range(3)])["files"]
    assert (len(files[0]["undecoded"]), files[0]["undecoded_count"], len(files[0]["attachments"])) == (50, 1000, 50)
    assert len(json.dumps(files)) < 200_000
    assert len(json.dumps(facts(base.summary))) < 30_000


def test_no_file_at_all_has_statistics_too() -> None:
    assert merge([])["files"] == []


def test_summaries_of_many_files_are_not_kept(tmp_path: Path) -> None:
    base = decode(tmp_path / "a", {"Whole": (every(SECOND, 3), np.arange(3))})
    results = [FileResult(str(i), str(i), i, base.open) for i in range(70)]
    statistics = merge(results)
    assert all("summary" not in result.__dict__ for result in results)
    assert stream(statistics, "Whole")["count"] == 210


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    count = 2_000_000
    values = np.random.default_rng(3).normal(size=count)
    result = decode(tmp_path / "a", {"Double": (every(1_000_000, count), values)})
    expected = [nearest_rank(values, percent) for percent in (5, 50, 95, 99)]
    del values
    tracemalloc.start()  # numpy tells it what it takes
    try:
        entry = signal(merge([result], memory=2 << 20), "Double", "D")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [entry[f"p{percent}"] for percent in (5, 50, 95, 99)] == expected
    assert peak < 12 << 20  # the column alone has 16 MB
