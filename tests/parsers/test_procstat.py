"""/proc/stat: utilisation between pages, guests, resets, CPUs that go and come, old kernels, and pages without a time."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.contract import ParserContract, read, read_lines
from parsers.detect import detect
from parsers.errors import Corrupt
from parsers.limits import Limits
from parsers.procstat.reader import ProcstatParser
from parsers.source import BytesSource, FileSource
from tests.parsers.blocks import CORPUS

START = 1_630_087_906_722_078_194
SECOND = 10**9


def page(cpus: dict[str, list[int]], t_ns: int | None, **numbers: int) -> bytes:
    text = "".join(f"{name} {' '.join(map(str, values))}\n" for name, values in cpus.items())
    text += "".join(f"{name} {value}\n" for name, value in numbers.items())
    return (text + (f"timestamp {t_ns}\n" if t_ns is not None else "")).encode()


COUNTERS = [
    ([100, 0, 100, 800, 0, 0, 0, 0, 0, 0], [50, 0, 50, 400, 0, 0, 0, 0, 0, 0], START, {"ctxt": 1000, "procs_running": 2}),
    ([130, 0, 110, 860, 0, 0, 0, 0, 0, 0], [60, 0, 60, 480, 0, 0, 0, 0, 0, 0], START + SECOND, {"ctxt": 1500, "procs_running": 3}),
    ([131, 2, 113, 864, 5, 6, 7, 8, 0, 0], [60, 0, 60, 480, 0, 0, 0, 0, 0, 0], START + 3 * SECOND, {"ctxt": 1700, "procs_running": 1}),
]
PAGES = [page({"cpu": every, "cpu0": one}, t_ns, **numbers) for every, one, t_ns, numbers in COUNTERS]
SAMPLE = b"".join(PAGES)


class TestProcstat(ParserContract):
    parser: ClassVar[type[Parser]] = ProcstatParser
    sample: ClassVar[bytes] = SAMPLE
    whole_cuts: ClassVar[frozenset[int]] = frozenset({len(PAGES[0]) + len(PAGES[1])})


def rows(data: bytes) -> dict[str, list[dict[str, float]]]:
    """The rows of each stream, by the names of their signals."""
    found, recording = read_lines(ProcstatParser(), data)
    out = {}
    for part, lines in found.items():
        pairs = [dict(cell.split("=") for cell in line.split(",")[2:]) for line in lines]
        out[recording.streams[int(part)].name] = [{key: float(value) for key, value in row.items()} for row in pairs]
    return out


def two(before: list[int], after: list[int]) -> dict[str, float]:
    """The row of two pages of one CPU."""
    return rows(page({"cpu": before}, START) + page({"cpu": after}, START + SECOND))["cpu"][0]


def test_pages_give_one_row_less_at_the_later_time() -> None:
    lines, recording = read(ProcstatParser(), SAMPLE)
    assert [spec.name for spec in recording.streams] == ["cpu", "cpu0", "system"]
    assert [line.split(",")[1] for line in lines] == [str(START + SECOND), str(START + 3 * SECOND)] * 3
    assert recording.absolute
    assert recording.start_ns == 0
    assert {signal.unit for signal in recording.streams[0].signals} == {"%"}
    assert recording.metadata["pages"] == "3"


def test_utilisation_is_the_share_of_all_ticks() -> None:
    first, second = rows(SAMPLE)["cpu"]
    assert (first["us"], first["ni"], first["sy"], first["id"], first["busy"]) == (30, 0, 10, 60, 40)
    total = 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8
    for key, ticks in zip(("us", "ni", "sy", "id", "wa", "hi", "si", "st"), range(1, 9), strict=True):
        assert second[key] == pytest.approx(100 * ticks / total)
    assert second["busy"] == pytest.approx(100 - second["id"])


def test_no_tick_between_two_pages_is_a_row_without_values() -> None:
    assert rows(SAMPLE)["cpu0"][1] == {}


def test_guests_are_taken_out_of_user_and_nice_and_count_once() -> None:
    row = two([0] * 10, [50, 20, 0, 30, 0, 0, 0, 0, 40, 20])
    assert (row["us"], row["gu"], row["ni"], row["gn"], row["id"]) == (10, 40, 0, 20, 30)
    assert sum(value for key, value in row.items() if key != "busy") == pytest.approx(100)


def test_a_guest_that_is_ahead_of_user_does_not_make_it_negative() -> None:
    row = two([0] * 10, [5, 0, 0, 95, 0, 0, 0, 0, 6, 0])
    assert (row["us"], row["gu"]) == (0, 5)


@pytest.mark.parametrize(("columns", "there"), [(4, "us ni sy id"), (7, "us ni sy id wa hi si"), (8, "us ni sy id wa hi si st")])
def test_old_kernels_have_fewer_columns(columns: int, there: str) -> None:
    row = two([0] * columns, [25] * columns)
    assert set(row) == {*there.split(), "busy"}
    assert row["us"] == 100 / columns


def test_more_columns_than_known_are_counted() -> None:
    data = page({"cpu": [0] * 12}, START) + page({"cpu": [1] * 12}, START + 1)
    _, recording = read(ProcstatParser(), data)
    assert recording.skipped == {"counter beyond guest_nice": 4}
    assert rows(data)["cpu"][0]["us"] == 0  # the guest's tick is user's


def test_waiting_may_fall() -> None:
    row = two([10, 0, 0, 10, 50, 0, 0], [60, 0, 0, 60, 40, 0, 0])
    assert (row["us"], row["id"], row["wa"]) == (50, 50, 0)


def test_a_counter_that_fell_leaves_its_row_out_and_says_so() -> None:
    reset = page({"cpu": [1, 0, 1, 1, 0, 0, 0, 0, 0, 0]}, START + 4 * SECOND)
    after = page({"cpu": [2, 0, 1, 2, 0, 0, 0, 0, 0, 0]}, START + 5 * SECOND)
    found = rows(SAMPLE + reset + after)
    assert len(found["cpu"]) == 3
    assert found["cpu"][2]["us"] == 50
    _, recording = read(ProcstatParser(), SAMPLE + reset + after)
    assert {problem.reason for problem in recording.problems} == {"counters of cpu fell: row left out", "cpu0 is no longer there"}
    assert recording.problems[0].offset == len(SAMPLE)


def test_a_restart_is_told_by_its_boot_time_even_when_counters_grew() -> None:
    data = page({"cpu": [1] * 4}, START, btime=1000) + page({"cpu": [9] * 4}, START + SECOND, btime=2000)
    _, recording = read(ProcstatParser(), data)
    assert recording.streams == []
    assert "started anew" in recording.problems[0].reason


def test_a_cpu_that_goes_and_comes_back_begins_anew() -> None:
    def at(second: int, **cpus: int) -> bytes:
        return page({name: [value, 0, 0, value] for name, value in cpus.items()}, START + second * SECOND)

    data = at(0, cpu0=1, cpu1=1) + at(1, cpu0=2, cpu1=2) + at(2, cpu0=3) + at(3, cpu0=4, cpu1=9) + at(4, cpu0=5, cpu1=10)
    found = rows(data)
    assert (len(found["cpu0"]), len(found["cpu1"])) == (4, 2)
    _, recording = read(ProcstatParser(), data)
    assert [problem.reason for problem in recording.problems] == ["cpu1 is no longer there"]


def test_system_counters_become_rates() -> None:
    first, second = rows(SAMPLE)["system"]
    assert (first, second) == ({"ctxt": 500.0, "procs_running": 3.0}, {"ctxt": 100.0, "procs_running": 1.0})


def test_a_system_counter_that_fell_has_no_rate() -> None:
    data = page({"cpu": [1] * 4}, START, ctxt=10, processes=1) + page({"cpu": [2] * 4}, START + SECOND, ctxt=5, processes=3)
    assert rows(data)["system"] == [{"processes": 2.0}]
    _, recording = read(ProcstatParser(), data)
    assert [problem.reason for problem in recording.problems] == ["counter ctxt fell: no rate"]


def test_lines_of_interrupts_may_have_hundreds_of_numbers() -> None:
    long = b"intr 500 " + b"7 " * 2000 + b"\n"
    data = PAGES[0].replace(b"timestamp", long + b"timestamp") + PAGES[1].replace(b"timestamp", long.replace(b"500", b"900") + b"timestamp")
    assert rows(data)["system"][0]["intr"] == 400.0


def test_other_lines_are_counted() -> None:
    data = SAMPLE.replace(b"timestamp", b"page 5741 1808\nsome text\n\ntimestamp")
    lines, recording = read(ProcstatParser(), data)
    assert len(lines) == 6
    assert recording.skipped == {"other line": 6}
    assert recording.problems == []


@pytest.mark.parametrize(
    "bad", [b"cpu1 1 2 x 4\n", b"cpu1 1 2\n", b"cpu1 " + b"9" * 30 + b" 1 1 1\n", b"cpu1 1\x001 1 1 1\n", b"timestamp soon\n"]
)
def test_a_malformed_line_is_lost_alone(bad: bytes) -> None:
    lines, recording = read(ProcstatParser(), SAMPLE[: len(PAGES[0])] + bad + SAMPLE[len(PAGES[0]) :])
    assert len(lines) == 6
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(PAGES[0]), len(bad))]
    assert recording.skipped == {"unreadable line": 1}


def test_a_line_that_is_too_long_is_lost_alone() -> None:
    bad = b"cpu1 " + b"1 " * 40_000 + b"\n"
    for limits in (Limits(), Limits(read_size=1000)):
        lines, recording = read(ProcstatParser(), SAMPLE[: len(PAGES[0])] + bad + SAMPLE[len(PAGES[0]) :], limits)
        assert len(lines) == 6
        assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(PAGES[0]), len(bad))]


def test_a_single_page_gives_its_counters_and_says_that_it_takes_two() -> None:
    for data in (PAGES[0], page({"cpu": [1, 2, 3, 4]}, None, btime=5)):
        lines, recording = read(ProcstatParser(), data)
        assert lines == []
        assert "one page gives no utilisation: it takes the difference of two" in [problem.reason for problem in recording.problems]
        assert recording.metadata["first cpu"].startswith("us 1")
    assert recording.metadata["btime"] == "5"


def test_pages_without_any_timestamp_are_not_given_a_time() -> None:
    data = b"".join(page({"cpu": [i, 0, 0, i], "cpu0": [i, 0, 0, i]}, None, ctxt=i) for i in range(5))
    lines, recording = read(ProcstatParser(), data)
    assert lines == []
    assert recording.metadata["pages"] == "5"
    assert recording.undecoded == {"cpu": "5 pages and no timestamp line: utilisation has no time"}
    assert recording.problem_count == 1


def test_a_page_that_lost_its_timestamp_is_left_out() -> None:
    data = PAGES[0] + PAGES[1].replace(f"timestamp {START + SECOND}\n".encode(), b"") + PAGES[2]
    found = rows(data)
    assert len(found["cpu"]) == 1
    assert found["cpu"][0]["us"] == pytest.approx(100 * 31 / 136)
    _, recording = read(ProcstatParser(), data)
    assert [problem.reason for problem in recording.problems] == ["page without a timestamp is left out: the next row covers its time too"]


@pytest.mark.parametrize(
    ("text", "t_ns", "absolute"),
    [("1630087906.5", 1_630_087_906_500_000_000, True), ("12.000000001", 12_000_000_001, False), ("5000", 5000, False)],
)
def test_a_timestamp_may_be_seconds_with_a_decimal_point_or_count_from_elsewhere(text: str, t_ns: int, absolute: bool) -> None:
    data = page({"cpu": [1] * 4}, None) + b"timestamp 1\n" + page({"cpu": [2] * 4}, None) + f"timestamp {text}\n".encode()
    if absolute:
        data = data.replace(b"timestamp 1\n", b"timestamp 1630087905.5\n")
    lines, recording = read(ProcstatParser(), data)
    assert int(lines[0].split(",")[1]) == t_ns
    assert recording.absolute == absolute


def test_a_timestamp_beyond_the_range_is_lost() -> None:
    _, recording = read(ProcstatParser(), SAMPLE + page({"cpu": [999] * 10}, 2**63))
    assert recording.problems[0].reason == "timestamp is beyond the year 2262"


def test_the_last_timestamp_without_a_line_end_counts_only_when_it_is_whole() -> None:
    whole, _ = read(ProcstatParser(), SAMPLE)
    lines, recording = read(ProcstatParser(), SAMPLE[:-1])
    assert lines == whole
    assert recording.problem_count == 1
    lines, recording = read(ProcstatParser(), SAMPLE[:-3])
    assert len(lines) == 3
    assert recording.lost[0].reason == "timestamp is cut"


def test_many_streams_and_rows_come_in_blocks() -> None:
    count = 40
    data = b"".join(page({f"cpu{i}": [t, 0, 0, t] for i in range(count)}, START + t * SECOND) for t in range(200))
    blocks = list(ProcstatParser().blocks(BytesSource(data), Recording(), Limits(block_rows=50)))
    assert sum(len(block) for block in blocks) == count * 199
    assert max(len(block) for block in blocks) <= 50


@pytest.mark.parametrize("data", [b"cpu usage 5 %\n" * 10, b"cpu 1 2 3 4\n", b"ctxt 5\nprocesses 3\n"])
def test_text_that_only_mentions_a_cpu_is_not_taken(data: bytes) -> None:
    assert ProcstatParser.sniff(data, len(data)) is None


def test_a_file_without_a_page_is_refused() -> None:
    with pytest.raises(Corrupt, match="no page of /proc/stat"):
        read(ProcstatParser(), b"timestamp 5\nctxt 5\n")


EXPECTED: dict[str, dict[str, Any]] = {}
if (CORPUS / "EXPECTED.json").is_file():
    EXPECTED = {
        name: entry["expected"]
        for name, entry in json.loads((CORPUS / "EXPECTED.json").read_text())["files"].items()
        if entry["format"] == "procstat"
    }
needs_corpus = pytest.mark.skipif(not EXPECTED, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
KEYS = ("us", "ni", "sy", "id", "wa", "hi", "si", "st", "gu", "gn")


@needs_corpus
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_real_snapshots_give_their_counters(name: str) -> None:
    expected = EXPECTED[name]
    recording = Recording()
    with FileSource(CORPUS / name) as source:
        assert detect(source).format == "procstat"
        assert list(ProcstatParser().blocks(source, recording)) == []
    assert recording.problem_count == 1
    for cpu, counters in expected["cpus"].items():
        assert recording.metadata[f"first {cpu}"] == ", ".join(f"{key} {value}" for key, value in zip(KEYS, counters, strict=True))
    assert recording.metadata["btime"] == str(expected["other"]["btime"])
    assert recording.metadata["first ctxt"] == str(expected["other"]["ctxt"])
    assert recording.metadata["first intr"] == str(expected["other"]["intr_total"])


@needs_corpus
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_two_real_snapshots_give_the_share_since_boot(name: str) -> None:
    snapshot = (CORPUS / name).read_bytes().rstrip() + b"\n"
    zeros = page({cpu: [0] * 10 for cpu in EXPECTED[name]["cpus"]}, START)
    found = rows(zeros + snapshot + f"timestamp {START + SECOND}\n".encode())
    for cpu, share in EXPECTED[name]["busy_share_since_boot"].items():
        row = found[cpu][0]
        assert (row["busy"] - row["wa"]) / 100 == pytest.approx(share, abs=1e-6)
