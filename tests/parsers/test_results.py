"""Result directories: what is written is what was decoded, whatever the buffer, and every part can be read back."""

from __future__ import annotations

import copy
import gc
import json
import math
import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from parsers.base import Recording
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.can.frames import FrameBlock
from parsers.errors import Corrupt, LimitExceeded
from parsers.recording import decode_recording
from parsers.results import overview, summary, writer
from parsers.results.check import BadSummary, check_summary
from parsers.results.files import ParquetFile
from parsers.results.layout import safe_name, stream_path
from parsers.results.reader import OtherSchema, read_overview, read_signal, read_summary
from parsers.results.writer import ResultWriter
from parsers.source import BytesSource, FileSource
from tests.parsers.blocks import CORPUS, block, frame

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
DBC = """VERSION ""
BS_:
BU_: X
BO_ 256 Engine: 8 X
 SG_ Speed : 0|16@1+ (0.25,-10) [0|16000] "rpm" X
 SG_ Gear : 16|8@1+ (1,0) [0|7] "" X
 SG_ Torque : 24|16@1- (2,0) [0|0] "Nm" X
 SG_ Late : 40|16@1+ (1,0) [0|0] "V" X
BO_ 512 Slow/er: 8 X
 SG_ Level : 0|64@1+ (1,0) [0|0] "l" X
VAL_ 256 Gear 0 "Park" 1 "Drive" ;
"""


def database() -> Database:
    return Database.load(DBC.replace("Slow/er", "Slower").encode(), "test.dbc")


def rows(count: int) -> list[tuple[int, int, int, int, bytes]]:
    """Engine every 10 ms, every third frame short; Slower every 100th time."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 1 << 16, count)
    out = []
    for i in range(count):
        payload = struct.pack("<HBhHB", int(noise[i]), i // 1000 % 2, i % 3000 - 1500, i & 0xFFFF, 0)
        out.append((START + i * 10_000_000, 0, 256, 0, payload if i % 3 else payload[:5]))
        if i % 100 == 0:
            out.append((START + i * 10_000_000, 1, 512, 0, struct.pack("<Q", i * i)))
    return out


def write(directory: Path, frames: list[Any], block_size: int = 5000, absolute: bool = True, **options: Any) -> dict[str, Any]:
    directory.mkdir()
    recording = Recording(format="candump", absolute=absolute, channels=["can0", "can1"])
    decoder = Decoder(database(), recording.channels)
    writer = ResultWriter(directory, decoder, recording, **options)
    for start in range(0, len(frames), block_size):
        writer.take(decoder.add(block(frames[start : start + block_size])))
    for _ in writer.finish():
        pass
    document = summary.build(
        recording,
        decoder,
        writer.streams,
        writer.clock,
        writer.messages,
        size=1,
        parser_version="1",
        detection_reason="because",
        fault_codes=[],
    )
    writer.write_summary(document)
    writer.close()
    return document


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("result") / "out"
    return directory, write(directory, rows(40_000))


def test_the_streams_hold_physical_values_with_nulls_where_a_frame_was_short(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    engine = document["streams"][0]
    table = pq.read_table(stream_path(directory, engine["key"]))
    assert table.column_names == ["t_ns", "Speed", "Gear", "Torque", "Late"]
    assert [str(field.type) for field in table.schema] == ["int64", "double", "uint8", "int32", "uint16"]
    i = np.arange(40_000)
    assert (table["t_ns"].to_numpy() == START + i * 10_000_000).all()
    assert (table["Torque"].to_numpy() == 2 * (i % 3000 - 1500)).all()
    assert table["Late"].to_pylist() == [int(k & 0xFFFF) if k % 3 else None for k in i]
    noise = np.random.default_rng(1).integers(0, 1 << 16, 40_000)
    assert (table["Speed"].to_numpy() == noise * 0.25 - 10).all()


def test_units_stand_beside_the_field_and_once_for_the_file(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    schema = pq.read_schema(stream_path(directory, document["streams"][0]["key"]))
    assert schema.field("Speed").metadata == {b"unit": b"rpm"}
    described = json.loads(pq.read_metadata(stream_path(directory, document["streams"][0]["key"])).metadata[b"argus"])
    assert (described["message"], described["channel"], described["arbitration_id"]) == ("Engine", "can0", "100")
    assert [(s["name"], s["unit"], s["kind"]) for s in described["signals"]] == [
        ("Speed", "rpm", "float"), ("Gear", "", "enum"), ("Torque", "Nm", "int"), ("Late", "V", "int"),
    ]  # fmt: skip
    assert described["signals"][1]["choices"] == {"0": "Park", "1": "Drive"}


def test_time_is_delta_encoded_and_values_are_plain_zstd(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    metadata = pq.read_metadata(stream_path(directory, document["streams"][0]["key"]))
    columns = [metadata.row_group(0).column(i) for i in range(3)]
    assert "DELTA_BINARY_PACKED" in columns[0].encodings
    assert columns[0].statistics.has_min_max
    for column in columns[1:]:
        assert "PLAIN" in column.encodings
        assert "DELTA_BINARY_PACKED" not in column.encodings
    assert {column.compression for column in columns} == {"ZSTD"}


def test_statistics_equal_what_numpy_says(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    for stream in document["streams"]:
        table = pq.read_table(stream_path(directory, stream["key"]))
        times = table["t_ns"].to_numpy()
        assert (stream["count"], stream["first_ns"], stream["last_ns"]) == (len(times), times.min(), times.max())
        for signal in stream["signals"]:
            column = table[signal["name"]].combine_chunks()
            valid = np.asarray(column.is_valid())
            values, t = column.fill_null(0).to_numpy()[valid], times[valid]
            assert (signal["count"], signal["null_count"]) == (valid.sum(), (~valid).sum())
            assert (signal["min"], signal["max"]) == (values.min(), values.max())
            assert (signal["first"], signal["last"]) == (values[0], values[-1])
            assert (signal["t_min_ns"], signal["t_max_ns"]) == (t[values.argmin()], t[values.argmax()])
            assert signal["sum"] == math.fsum(values)
            assert signal["mean"] == math.fsum(values) / len(values)
            changes = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
            runs = [t[end - 1] - t[start] for start, end in pairwise(changes)]
            assert signal["longest_constant_ns"] == max(runs)


@pytest.mark.parametrize("buffer_bytes", [0, 10_000, 300_000])
def test_a_small_buffer_gives_the_same_result(buffer_bytes: int, result: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    directory, document = result
    again = write(tmp_path / "out", rows(40_000), block_size=777, buffer_bytes=buffer_bytes)
    assert again == document
    for stream in document["streams"]:
        mine, theirs = (pq.read_table(stream_path(d, stream["key"])) for d in (tmp_path / "out", directory))
        assert mine.equals(theirs)
    assert pq.read_table(tmp_path / "out" / "overview.parquet").equals(pq.read_table(directory / "overview.parquet"))


@pytest.mark.parametrize("most", [0, 30])
def test_files_written_in_parts_read_as_one(
    most: int, result: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[ParquetFile] = []
    end_part = ParquetFile.end_part
    monkeypatch.setattr(writer, "MOST_CHUNKS", most)
    monkeypatch.setattr(ParquetFile, "end_part", lambda file: (ended.append(file), end_part(file))[1])
    document = write(tmp_path / "out", rows(40_000), block_size=777, buffer_bytes=10_000)
    assert len(ended) > len(document["streams"])
    for stream in document["streams"]:
        mine, theirs = (pq.ParquetFile(stream_path(d, stream["key"])) for d in (tmp_path / "out", result[0]))
        assert mine.metadata.num_row_groups > theirs.metadata.num_row_groups
        assert mine.read().equals(theirs.read(), check_metadata=True)
        assert mine.metadata.metadata[b"argus"] == theirs.metadata.metadata[b"argus"]
        times = [mine.metadata.row_group(i).column(0).statistics for i in range(mine.metadata.num_row_groups)]
        assert all(statistics.min <= statistics.max for statistics in times)
        assert [mine.read_row_group(i)["t_ns"][0].as_py() for i in range(len(times))] == [statistics.min for statistics in times]


def test_buckets_that_went_to_disk_come_back(result: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MEMORY", 1000)
    write(tmp_path / "out", rows(40_000), buffer_bytes=200_000)
    assert pq.read_table(tmp_path / "out" / "overview.parquet").equals(pq.read_table(result[0] / "overview.parquet"))
    assert sorted(os.listdir(tmp_path / "out")) == ["overview.parquet", "streams", "summary.json"]


def test_no_descriptor_is_held_for_an_unfinished_stream(tmp_path: Path) -> None:
    gc.collect()  # what tests before left open
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "out").mkdir()
    recording = Recording(channels=["can0", "can1"])
    decoder = Decoder(database(), recording.channels)
    writer = ResultWriter(tmp_path / "out", decoder, recording, buffer_bytes=0)
    writer.take(decoder.add(block(rows(5000))))
    assert (tmp_path / "out" / "streams" / "0000_Engine.parquet").stat().st_size > 0
    assert len(os.listdir("/proc/self/fd")) - before == 2  # the two directories
    writer.close()


def test_memory_stays_bounded_whatever_the_number_of_frames(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    recording = Recording(channels=["can0", "can1"])
    decoder = Decoder(database(), recording.channels)
    writer = ResultWriter(tmp_path / "out", decoder, recording, buffer_bytes=2_000_000)
    one = block(rows(20_000))
    largest = 0
    for _ in range(30):
        writer.take(decoder.add(one))
        largest = max(largest, sum(stream.columns.capacity * stream.columns.row_bytes for stream in decoder.streams))
    writer.close()
    assert decoder.grouper.total * 28 > 15_000_000
    assert largest < 6_000_000


def test_every_level_of_the_overview_keeps_every_extreme(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    table = pq.read_table(directory / "overview.parquet")
    assert [str(field.type) for field in table.schema] == ["int32", "int32", "int8", "int64", "int64", "int32", "double", "double"]
    data = {name: table[name].to_numpy() for name in table.column_names}
    order = np.lexsort((data["t0"], data["level"], data["signal"], data["stream"]))
    assert (order == np.arange(len(order))).all()
    assert set(data["stream"].tolist()) == {0}  # the other stream is small enough to be read whole
    times = START + np.arange(40_000) * 10_000_000
    for index, signal in enumerate(document["streams"][0]["signals"]):
        samples = read_signal(stream_path(directory, document["streams"][0]["key"]), signal["name"])
        for level in (0, 1):
            at = (data["signal"] == index) & (data["level"] == level)
            if level == 1:
                assert not at.any()  # 157 buckets are few enough
                continue
            assert data["count"][at].sum() == signal["count"]
            assert (data["t0"][at] == times[::256]).all()
            for bucket, (low, high) in enumerate(zip(data["min"][at], data["max"][at], strict=True)):
                part = slice(bucket * 256, bucket * 256 + 256)
                values = samples.values[part][samples.valid[part]]
                assert (low, high) == (values.min(), values.max())


def test_levels_are_eight_times_coarser_until_512_buckets_are_enough() -> None:
    n = 40_000
    rng = np.random.default_rng(2)
    t = np.arange(n, dtype=np.int64)
    low = rng.normal(size=n)
    level_0 = (t * 10, t * 10 + 5, np.full(n, 256, np.int32), low, low + 1)
    found = dict(overview.levels(level_0))
    assert {level: len(buckets[0]) for level, buckets in found.items()} == {0: 40_000, 1: 5000, 2: 625, 3: 79}
    for buckets in found.values():
        assert buckets[3].min() == low.min()
        assert buckets[4].max() == low.max() + 1
        assert buckets[2].sum() == n * 256
        assert (buckets[0][0], buckets[1][-1]) == (0, (n - 1) * 10 + 5)


def test_one_sample_spike_is_seen_at_every_zoom(tmp_path: Path) -> None:
    count = 300_000
    data = np.zeros((count, 8), np.uint8)
    data[123_457, 2] = 99
    frames = FrameBlock(
        START + np.arange(count, dtype=np.int64) * 1_000_000, np.zeros(count, np.uint16), np.full(count, 256, np.uint32),
        np.zeros(count, np.uint8), np.full(count, 8, np.uint8), np.arange(count, dtype=np.uint32) * 8,
        np.append(data.ravel(), np.zeros(8, np.uint8)),
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    recording = Recording(channels=["can0"])
    decoder = Decoder(database(), recording.channels)
    writer = ResultWriter(tmp_path / "out", decoder, recording)
    writer.take(decoder.add(frames))
    assert list(writer.finish()) == [0, 0]
    writer.close()
    at = START + 123_457 * 1_000_000
    for max_buckets, level in ((2000, 0), (1000, 1), (5, 1)):
        buckets = read_overview(tmp_path / "out" / "overview.parquet", 0, 1, max_buckets=max_buckets)
        assert buckets is not None
        assert buckets.level == level
        (hit,) = np.flatnonzero(buckets.high == 99).tolist()
        assert buckets.t0[hit] <= at <= buckets.t1[hit]
    near = read_overview(tmp_path / "out" / "overview.parquet", 0, 1, at - 500 * 1_000_000, at + 500 * 1_000_000, max_buckets=10)
    assert near is not None
    assert near.level == 0
    assert len(near.t0) <= 6
    assert near.high.max() == 99


def test_a_range_of_a_signal_is_read_without_the_other_row_groups(result: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    document = write(tmp_path / "out", rows(40_000), buffer_bytes=0)
    path = stream_path(tmp_path / "out", document["streams"][0]["key"])
    assert pq.read_metadata(path).num_row_groups > 4
    start = START + 12_345 * 10_000_000
    with path.open("rb") as file:
        samples = read_signal(file, "Late", start, start + 99 * 10_000_000)
    assert samples.t_ns.tolist() == [start + i * 10_000_000 for i in range(100)]
    assert samples.values.dtype == np.uint16
    assert [v if ok else None for v, ok in zip(samples.values.tolist(), samples.valid.tolist(), strict=True)] == [
        i if i % 3 else None for i in range(12_345, 12_445)
    ]
    assert not samples.truncated
    few = read_signal(path, "Gear", max_rows=10)
    assert (len(few.t_ns), few.truncated) == (10, True)
    assert len(read_signal(path, "Gear", 0, 1).t_ns) == 0
    with pytest.raises(KeyError):
        read_signal(path, "Missing")
    assert read_overview(tmp_path / "out" / "overview.parquet", 1, 0) is None


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"not a result")
    with pytest.raises(Corrupt):
        read_signal(bad, "A")
    with pytest.raises(Corrupt):
        read_summary(bad)
    with pytest.raises(LimitExceeded):
        read_summary(bad, longest=3)


def test_the_written_summary_is_the_returned_one_and_passes_its_own_check(result: tuple[Path, dict[str, Any]]) -> None:
    directory, document = result
    assert read_summary(directory / "summary.json") == document
    with (directory / "summary.json").open("rb") as file:
        assert read_summary(file) == document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], 1), (["size"], -1), (["size"], True), (["format"], 5), (["format"], "x" * 101), (["extra"], 1),
        (["streams", 0, "name"], "a\0b"), (["streams", 0, "name"], "a\ud800b"), (["skipped"], {"a\0b": 1}),
        (["time", "flags"], ["?"]),
        (["streams", 0, "key"], "../../etc/passwd"), (["streams", 0, "key"], "0000_.."), (["streams", 1, "key"], "0000_Engine"),
        (["streams", 0, "signals", 0, "min"], "1"), (["streams", 0, "signals", 0, "min"], math.nan), (["streams", 0, "first_ns"], 1 << 63),
        (["streams"], {}), (["coverage"], None), (["lost"], [{}]), (["problems"], [{"offset": 0, "reason": 1}]),
        (["frames", "per_channel"], {"can0": -1}), (["partial"], 0),
    ],
)  # fmt: skip
def test_a_summary_with_anything_wrong_is_refused(path: list[Any], value: Any, result: tuple[Path, dict[str, Any]]) -> None:
    document = copy.deepcopy(result[1])
    check_summary(document)
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(BadSummary, match=r"^summary"):
        check_summary(document)


@pytest.mark.parametrize("distances", [1, 2, 3, 50, 10**6])
def test_the_period_is_the_median_of_the_intervals(distances: int) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        steps = rng.integers(0, distances, rng.integers(1, 700)) ** rng.integers(1, 3)
        intervals = summary.Intervals()
        intervals.update(np.cumsum(np.concatenate([[0], steps])))
        intervals.finish()
        assert intervals.period_ns == int(np.median(steps))


def test_gaps_are_intervals_of_ten_periods_and_of_more_than_a_second(tmp_path: Path) -> None:
    times = [i * 10_000_000 for i in range(1000)]
    times += [times[-1] + 900_000_000, times[-1] + 900_000_000 + 1_500_000_000]
    document = write(tmp_path / "out", [(START + t, 0, 256, 0, bytes(8)) for t in times], block_size=100, buffer_bytes=0)
    stream = document["streams"][0]
    assert (stream["period_ns"], stream["gap_count"]) == (10_000_000, 1)
    assert stream["gaps"] == [{"from_ns": START + times[-2], "to_ns": START + times[-1]}]


@pytest.mark.parametrize(
    ("times", "absolute", "flags", "jumps"),
    [
        ([START, START + SECOND], True, [], 0),
        ([0, SECOND], True, ["1970"], 0),
        ([0, SECOND], False, ["relative"], 0),
        ([START, START - 2_000_000], True, ["backward"], 0),
        ([START, START - 500_000], True, [], 0),
        ([START, START - 2 * SECOND], True, ["backward"], 1),
        ([START, START + 4000 * SECOND], True, ["forward_jump"], 1),
    ],
)
def test_clock_faults_are_flagged(times: list[int], absolute: bool, flags: list[str], jumps: int, tmp_path: Path) -> None:
    document = write(tmp_path / "out", [(t, 0, 1, 0, b"") for t in times], absolute=absolute)
    assert (document["time"]["flags"], document["time"]["jump_count"]) == (flags, jumps)
    assert (document["time"]["first_ns"], document["time"]["last_ns"]) == (min(times), max(times))


def test_nan_and_infinity_stay_in_the_column_but_not_in_the_statistics(tmp_path: Path) -> None:
    dbc = DBC.replace("Slow/er", "Slower") + 'BO_ 768 Real: 8 X\n SG_ F : 0|64@1- (1,0) [0|0] "" X\nSIG_VALTYPE_ 768 F : 2;\n'
    text = "".join(
        f"({i}.000000) can0 300#{struct.pack('<d', value).hex()}\n" for i, value in enumerate([math.nan, 1.5, math.inf, -2.5, -math.inf])
    )
    (tmp_path / "out").mkdir()
    document = decode_recording(BytesSource(text.encode(), "a.log"), "a.log", [Database.load(dbc.encode(), "d")], tmp_path / "out")
    signal = document["streams"][0]["signals"][0]
    assert (signal["count"], signal["null_count"], signal["min"], signal["max"], signal["sum"]) == (2, 3, -2.5, 1.5, -1.0)
    samples = read_signal(stream_path(tmp_path / "out", document["streams"][0]["key"]), "F")
    assert str(samples.values.tolist()) == "[nan, 1.5, inf, -2.5, -inf]"
    assert samples.valid.all()


def test_a_message_on_two_buses_is_named_with_the_bus(tmp_path: Path) -> None:
    document = write(tmp_path / "out", [frame("100#00", 1, 0), frame("100#00", 2, 1), frame("200#00", 3, 1), frame("7FF#00", 4, 1)])
    assert [stream["name"] for stream in document["streams"]] == ["can0.Engine", "can1.Engine", "Slower"]
    assert [stream["key"] for stream in document["streams"]] == ["0000_Engine", "0001_Engine", "0002_Slower"]
    assert document["coverage"] == {"frames_known": 3, "frames_unknown": 1, "ids_known": 3, "ids_unknown": 1}
    assert [(row["channel"], row["id"], row["message"]) for row in document["arbitration_ids"]] == [
        ("can0", "100", "Engine"), ("can1", "100", "Engine"), ("can1", "200", "Slower"), ("can1", "7ff", None),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "safe"), [("A b/c", "A_b_c"), ("..", "stream"), ("ä" * 200, "_" * 80), ("", "stream"), (".x", "x")])
def test_a_stream_file_is_never_named_by_the_database(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not there")
@pytest.mark.parametrize("suffix", ["log", "asc", "blf"])
def test_a_real_drive_decodes_with_the_gps_database(suffix: str, tmp_path: Path) -> None:
    path = CORPUS / "dbc" / "api-examples__canmod-gps.dbc"
    log = CORPUS / "derived" / f"drive_94C49784.{suffix}"
    (tmp_path / "out").mkdir()
    seen: list[int] = []
    with FileSource(log) as source:
        compiled = Database.load(path.read_bytes(), path.name)
        document = decode_recording(source, log.name, [compiled], tmp_path / "out", progress=seen.append)
    check_summary(document)
    expected = json.loads((CORPUS / "derived" / "EXPECTED_derived.json").read_text())
    entry = next(e for e in (expected if isinstance(expected, list) else expected["files"]) if e["file"].endswith(log.name))
    assert document["frames"]["total"] == entry["expected"]["frames"]
    assert len(document["streams"]) == 9
    assert seen[-1] == log.stat().st_size
    assert seen == sorted(seen)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not there")
def test_a_j1939_database_knows_no_frame_of_a_drive_without_its_groups(tmp_path: Path) -> None:
    """The one real log of EXPECTED_real_logs.json that stands in the corpus as BLF: 84730 of 84730 frames unmatched."""
    expected = json.loads((CORPUS / "dbc" / "EXPECTED_real_logs.json").read_text())
    entry = next(e for e in expected if "94C49784" in e["log"])
    path = CORPUS / "dbc" / Path(entry["dbc"]).name
    (tmp_path / "out").mkdir()
    with FileSource(CORPUS / "derived" / "drive_94C49784.blf") as source:
        document = decode_recording(source, "drive.blf", [Database.load(path.read_bytes(), path.name)], tmp_path / "out")
    assert document["coverage"]["frames_unknown"] == entry["unmatched_frames"]
    assert document["coverage"]["frames_known"] == entry["frames"] - entry["unmatched_frames"]
    assert len(document["streams"]) == len(entry["signals"])


def test_a_result_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_bytes(b'{"schema": 1, "streams": []}')
    with pytest.raises(OtherSchema, match=r"version 1.*parse everything again"):
        read_summary(tmp_path / "summary.json")
