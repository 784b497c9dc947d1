"""ULog: formats and nested types, instances, texts, parameters, appended data, dropouts, and what damage leaves."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import pytest

from parsers.base import Parser, Recording
from parsers.blocks import SampleBlock
from parsers.contract import ParserContract, read, read_lines
from parsers.detect import detect
from parsers.errors import Corrupt, Truncated, Unsupported
from parsers.limits import Limits
from parsers.source import BytesSource, FileSource
from parsers.ulog.reader import UlogParser
from tests.parsers import ulogs
from tests.parsers.blocks import CORPUS
from tests.parsers.ulogs import data, fmt, header, log, row, subscribe, sync

TOPIC = fmt("attitude:uint64_t timestamp;float q;uint8_t mode;uint8_t[3] _padding0;")
MESSAGES = [
    header(),
    ulogs.flags(),
    ulogs.info("char[3] sys_name", b"PX4"),
    TOPIC,
    fmt("battery:uint64_t timestamp;int16_t[2] cell;char[8] state;"),
    ulogs.parameter("int32_t GAIN", row("i", 5)),
    subscribe(0, "attitude"),
    subscribe(1, "battery", 1),
    data(0, row("QfB", 1_000_001, 1.5, 3)),
    log(1_000_002, "armed"),
    data(1, row("Q2h8s", 1_000_003, -1, 2, b"ok\0junk")),
    sync(),
    data(0, row("QfB3x", 1_000_004, -1.5, 4)),
    ulogs.parameter("int32_t GAIN", row("i", 6)),
    ulogs.tagged(1_000_005, 7, "hot", level=4),
    data(1, row("Q2h8s", 1_000_006, 3, 4, b"low")),
    data(0, row("QfB", 1_000_007, 0.25, 5)),
]
SAMPLE = b"".join(MESSAGES)


class TestUlog(ParserContract):
    parser: ClassVar[type[Parser]] = UlogParser
    sample: ClassVar[bytes] = SAMPLE
    # No message says that it is the last one.
    whole_cuts: ClassVar[frozenset[int]] = frozenset(accumulate(len(part) for part in MESSAGES))


def lines_of(*parts: bytes) -> list[str]:
    return read(UlogParser(), header() + b"".join(parts))[0]


def test_rows_messages_and_metadata_of_the_sample() -> None:
    lines, recording = read(UlogParser(), SAMPLE)
    assert lines == [
        "attitude[0],1000001000,q=1.5,mode=3",
        "attitude[0],1000004000,q=-1.5,mode=4",
        "attitude[0],1000007000,q=0.25,mode=5",
        "battery[1][1],1000003000,cell[0]=-1,cell[1]=2,state=0",
        "battery[1][1],1000006000,cell[0]=3,cell[1]=4,state=1",
        "message,1000002000,info,log,'armed'",
        "message,1000004000,info,parameter,'GAIN: 5 -> 6'",
        "message,1000005000,warning,tag 7,'hot'",
    ]
    assert recording.streams[1].signals[2].choices == {0: "ok", 1: "low"}
    assert recording.metadata == {
        "ulog_version": "1",
        "logging_start_us": "1000000",
        "sys_name": "PX4",
        "parameter.GAIN": "6",
    }
    assert not recording.absolute
    assert recording.start_ns == 0


@pytest.mark.parametrize(
    ("kind", "packed", "value"),
    [
        ("int8_t", row("b", -5), "-5"),
        ("uint8_t", row("B", 250), "250"),
        ("int16_t", row("h", -500), "-500"),
        ("uint16_t", row("H", 65000), "65000"),
        ("int32_t", row("i", -(2**31)), "-2147483648"),
        ("uint32_t", row("I", 2**32 - 1), "4294967295"),
        ("int64_t", row("q", -(2**63)), "-9223372036854775808"),
        ("uint64_t", row("Q", 2**64 - 1), "18446744073709551615"),
        ("float", row("f", 0.5), "0.5"),
        ("double", row("d", 0.1), "0.1"),
        ("bool", b"\x01", "1"),
        ("char", b"A", "65"),
    ],
)
def test_every_basic_type_keeps_its_value(kind: str, packed: bytes, value: str) -> None:
    parts = [fmt(f"t:uint8_t odd;uint64_t timestamp;{kind} x;"), subscribe(3, "t"), data(3, row("BQ", 1, 5) + packed)]
    assert lines_of(*parts) == [f"t[0],5000,odd=1,x={value}"]


def test_nested_types_and_arrays_of_them_become_paths() -> None:
    parts = [
        fmt("inner:float x;uint8_t[4] _padding0;"),
        fmt("middle:inner[2] part;uint8_t flag;"),
        fmt("outer:uint64_t timestamp;middle m;inner last;"),
        subscribe(0, "outer"),
        data(0, row("Qf4xf4xBf4x", 1, 1.0, 2.0, 3, 4.0)),
    ]
    assert lines_of(*parts) == ["outer[0],1000,m.part[0].x=1.0,m.part[1].x=2.0,m.flag=3,last.x=4.0"]


def test_a_format_may_come_after_what_needs_it() -> None:
    parts = [subscribe(0, "t"), data(0, row("QB", 1, 1)), fmt("t:uint64_t timestamp;u x;"), fmt("u:uint8_t y;"), data(0, row("QB", 2, 2))]
    lines, recording = read(UlogParser(), header() + b"".join(parts))
    assert lines == ["t[0],2000,x.y=2"]
    assert recording.skipped == {"data message of a topic without a layout": 1}


def test_a_topic_without_a_format_is_listed() -> None:
    _, recording = read(UlogParser(), SAMPLE + subscribe(9, "ghost") + data(9, bytes(20)))
    assert recording.undecoded == {"ghost": "no format ghost"}
    assert recording.skipped == {"data message of a topic without a layout": 1}
    assert recording.lost == []


@pytest.mark.parametrize(
    ("formats", "reason"),
    [
        (["t:float x;"], "it has no field timestamp"),
        (["t:float timestamp;"], "it has no field timestamp"),
        (["t:uint64_t timestamp;t again;"], "types are nested more than 16 deep"),
        (["t:uint64_t timestamp;a x;", "a:b[60000] y;", "b:double[60000] z;"], "a value of the type b is longer than a message can be"),
        (["t:uint64_t timestamp;int32_t[20000] x;"], "a value of the type t is longer than a message can be"),
    ],
)
def test_a_topic_whose_format_cannot_be_used_is_listed(formats: list[str], reason: str) -> None:
    parts = [*(fmt(text) for text in formats), subscribe(9, "t"), data(9, bytes(20))]
    lines, recording = read(UlogParser(), SAMPLE + b"".join(parts))
    assert len(lines) == 8
    assert recording.undecoded == {"t": reason}


@pytest.mark.parametrize("text", ["t:uint64_t timestamp;float;", "t:;", "t:uint64_t[x] timestamp;"])
def test_a_malformed_format_is_lost_and_named(text: str) -> None:
    lines, recording = read(UlogParser(), SAMPLE + fmt(text))
    assert len(lines) == 8
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(SAMPLE), len(text) + 3)]


def test_a_long_array_gives_its_length_and_is_listed() -> None:
    parts = [fmt("t:uint64_t timestamp;uint8_t[33] raw;uint8_t end;"), subscribe(0, "t"), data(0, row("Q33xB", 1, 9))]
    lines, recording = read(UlogParser(), header() + b"".join(parts))
    assert lines == ["t[0],1000,end=9,raw.length=33"]
    assert recording.undecoded == {"t.raw": "an array of 33: more than 32 elements"}


def test_signal_names_are_unique() -> None:
    parts = [fmt("t:uint64_t timestamp;uint8_t t_ns;uint8_t x;uint8_t x;"), subscribe(0, "t"), data(0, row("Q3B", 1, 1, 2, 3))]
    assert lines_of(*parts) == ["t[0],1000,t_ns_2=1,x=2,x_2=3"]


def test_instances_and_equal_subscriptions_are_kept_apart_or_joined() -> None:
    parts = [
        TOPIC,
        *(subscribe(i, "attitude", i) for i in range(3)),
        *(data(i, row("QfB", 10 + i, i, i)) for i in (2, 0)),
        ulogs.unsubscribe(2),
        subscribe(5, "attitude", 2),
        data(5, row("QfB", 20, 9, 9)),
    ]
    assert lines_of(*parts) == [
        "attitude[0],10000,q=0.0,mode=0",
        "attitude[2][1],12000,q=2.0,mode=2",
        "attitude[2][1],20000,q=9.0,mode=9",
    ]


def test_enumerations_of_two_instances_do_not_mix() -> None:
    parts = [fmt("t:uint64_t timestamp;char[3] s;"), subscribe(0, "t"), subscribe(1, "t", 1)]
    parts += [data(0, row("Q3s", 1, b"abc")), data(1, row("Q3s", 1, b"xyz"))]
    _, recording = read(UlogParser(), header() + b"".join(parts))
    assert [spec.signals[0].choices for spec in recording.streams] == [{0: "abc"}, {0: "xyz"}]


@pytest.mark.parametrize(("kind", "form", "span"), [("uint8_t", "B", 1 << 8), ("uint16_t", "H", 1 << 16), ("uint32_t", "I", 1 << 32)])
def test_narrow_clocks_wrap(kind: str, form: str, span: int) -> None:
    parts = [fmt(f"t:{kind} timestamp;uint8_t x;"), subscribe(0, "t")]
    parts += [data(0, row(f"{form}B", time % span, 1)) for time in (span - 2, span - 2, span + 1, 2 * span, 2 * span + 5)]
    times = [int(line.split(",")[1]) // 1000 for line in lines_of(*parts)]
    assert times == [span - 2, span - 2, span + 1, 2 * span, 2 * span + 5]


def test_a_time_beyond_the_range_loses_the_row_and_nothing_else() -> None:
    bad = data(0, row("QfB", 2**63 // 1000 + 1, 1.0, 1))
    lines, recording = read(UlogParser(), SAMPLE + bad + data(0, row("QfB", 2**63 // 1000, 1.0, 1)))
    assert len(lines) == 9
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(SAMPLE), len(bad))]
    assert recording.problems[0].reason == "time of a data message is beyond the year 2262"


@pytest.mark.parametrize(("level", "name"), list(enumerate(["fatal", "fatal", "fatal", "error", "warning", "info", "info", "debug"])))
def test_levels_are_those_of_syslog(level: int, name: str) -> None:
    lines, _ = read(UlogParser(), SAMPLE + log(9, "text\t\n", level))
    assert lines[-1] == f"message,9000,{name},log,'text'"


def test_a_log_message_of_an_impossible_time_has_none() -> None:
    lines, _ = read(UlogParser(), SAMPLE + log(2**64 - 1, "late"))
    assert lines[-1] == "message,,info,log,'late'"


def test_information_parameters_and_defaults_are_metadata() -> None:
    parts = [
        ulogs.info("uint32_t[2] pair", row("2I", 1, 2)),
        ulogs.info("float f", row("f", 0.1)),
        ulogs.info("bool b", b"\x01"),
        ulogs.info_piece("char[2] list", b"ab"),
        ulogs.info_piece("char[2] list", b"cd", continued=True),
        ulogs.info_piece("char[2] list", b"ef"),
        ulogs.info_piece("char[2000] dump", b"x" * 2000),
        ulogs.parameter("float P", row("f", 1.25)),
        ulogs.default("float P", row("f", 1.0), 3),
        ulogs.default("float P", row("f", 2.0), 2),
    ]
    _, recording = read(UlogParser(), header() + b"".join(parts) + SAMPLE[16 + len(ulogs.flags()) :])
    found = recording.metadata
    assert (found["pair"], found["f"], found["b"]) == ("[1, 2]", "0.1", "True")
    assert (found["list[0]"], found["list[1]"]) == ("ab\ncd", "ef")
    assert found["dump"] == "x" * 1000
    assert [(entry.name, entry.media_type, entry.size) for entry in recording.attachments] == [("dump", "text/plain", 2000)]
    assert (found["parameter.P"], found["parameter_default.P"]) == ("1.25", "1.0 (system), 2.0 (configuration)")


def test_more_parameters_than_can_be_listed_are_counted() -> None:
    parts = [ulogs.parameter(f"int32_t P{i}", row("i", i)) for i in range(30)]
    limits = Limits(max_listed=10)
    recording = Recording(limits=limits)
    source = BytesSource(header() + b"".join(parts) + SAMPLE[16 + len(ulogs.flags()) :])
    assert len(list(UlogParser().blocks(source, recording, limits))) == 3
    assert len(recording.metadata) == 10
    assert recording.skipped == {"information or parameter beyond the list": 24}


def test_dropouts_are_reported_with_their_duration() -> None:
    lines, recording = read(UlogParser(), SAMPLE + ulogs.dropout(120) + ulogs.dropout(30) + log(9, "x"))
    assert len(lines) == 9
    assert [problem.reason for problem in recording.problems] == [f"the logger lost data for {ms} ms" for ms in (120, 30)]
    assert (recording.metadata["dropouts"], recording.metadata["dropout_ms"]) == ("2", "150")


def test_the_first_fix_gives_the_distance_to_utc() -> None:
    gps = fmt("sensor_gps:uint64_t timestamp;uint64_t time_utc_usec;")
    rows = [
        data(4, row("QQ", 1000 + i, utc)) for i, utc in enumerate([0, 315_964_800_000_000, 1_650_000_000_000_000, 1_650_000_009_000_000])
    ]
    _, recording = read(UlogParser(), SAMPLE + gps + subscribe(4, "sensor_gps") + b"".join(rows))
    assert recording.metadata["utc_offset_ns"] == str(1_650_000_000_000_000_000 - 1_002_000)
    assert not recording.absolute


def test_unknown_message_types_are_counted() -> None:
    lines, recording = read(UlogParser(), SAMPLE + ulogs.message("z", b"new") * 3 + log(9, "x"))
    assert len(lines) == 9
    assert recording.skipped == {"message type z": 3}
    assert recording.lost == []


@pytest.mark.parametrize("incompatible", [2, 3, 1 << 8, 1 << 63])
def test_unknown_incompatible_flags_are_refused(incompatible: int) -> None:
    with pytest.raises(Unsupported, match="incompatible flags") as caught:
        read(UlogParser(), header() + ulogs.flags(incompatible=incompatible) + TOPIC)
    assert caught.value.offset == 27


def test_unknown_compatible_flags_are_no_matter() -> None:
    lines, recording = read(UlogParser(), header() + ulogs.flags(compatible=2**64 - 1) + SAMPLE[16 + len(ulogs.flags()) :])
    assert len(lines) == 8
    assert recording.problems == []


def test_appended_data_begins_where_the_flags_say() -> None:
    start = b"".join(MESSAGES[2:9]) + MESSAGES[12][:9]  # the crash cut a message
    offset = 16 + len(ulogs.flags()) + len(start)
    tail = ulogs.info_piece("char[5] hardfault", b"fault") + log(5, "after")
    lines, recording = read(UlogParser(), header() + ulogs.flags(incompatible=1, offsets=(offset, 0, 0)) + start + tail)
    assert lines == ["attitude[0],1000001000,q=1.5,mode=3", "message,5000,info,log,'after'"]
    assert recording.metadata["hardfault"] == "fault"
    assert [(lost.offset, lost.length, lost.reason) for lost in recording.lost] == [(offset - 9, 9, "data ends inside a message")]


def test_offsets_of_appended_data_outside_of_the_file_are_reported() -> None:
    parts = ulogs.flags(incompatible=1, offsets=(3, 2**63, 0)) + SAMPLE[16 + len(ulogs.flags()) :]
    lines, recording = read(UlogParser(), header() + parts)
    assert len(lines) == 8
    assert [problem.offset for problem in recording.problems] == [35, 35]


def test_offsets_without_their_flag_mean_nothing() -> None:
    parts = ulogs.flags(offsets=(100, 0, 0)) + SAMPLE[16 + len(ulogs.flags()) :]
    lines, recording = read(UlogParser(), header() + parts)
    assert len(lines) == 8
    assert recording.problems == []


def test_flag_bits_later_on_are_ignored_and_said() -> None:
    lines, recording = read(UlogParser(), SAMPLE + ulogs.flags(incompatible=2) + log(9, "x"))
    assert len(lines) == 9
    assert "not the first message" in recording.problems[0].reason


def test_joined_files_are_read_one_behind_the_other() -> None:
    lines, recording = read(UlogParser(), SAMPLE + SAMPLE)
    assert len(lines) == 16
    assert len(recording.streams) == 2
    assert recording.problems[0].offset == len(SAMPLE)


@pytest.mark.parametrize("hole", [b"\0" * 100, b"\xff" * 5000, b"\xde\xad" * 37, b"\x02\x00D" * 40, b"\xff\xffD" * 40, b"\xff\xffL5" * 40])
def test_reading_goes_on_behind_damage(hole: bytes) -> None:
    rest = b"".join(data(0, row("QfB", 2_000_000 + i, i, 1)) for i in range(50))
    lines, recording = read(UlogParser(), SAMPLE + hole + rest)
    assert len(lines) == 58
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(SAMPLE), len(hole))]


def test_the_sync_message_alone_ends_damage() -> None:
    lines, recording = read(UlogParser(), SAMPLE + b"\xff" * 100 + sync() + ulogs.dropout(5) + log(9, "x"))
    assert len(lines) == 9
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(SAMPLE), 100)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (data(77, bytes(9)), "data message of an id that has no subscription"),
        (data(0, bytes(12)), "data message has not the length of its format"),
        (data(0, bytes(17)), "data message has not the length of its format"),
        (ulogs.message("D", b"\0"), "content of a message is not what its type demands"),
        (ulogs.info("char[9] x", b"abc"), "content of a message is not what its type demands"),
        (ulogs.info("thing x", b"abc"), "content of a message is not what its type demands"),
        (ulogs.message("P", b"\xffint32_t x"), "content of a message is not what its type demands"),
        (ulogs.message("L", b"9" + bytes(8) + b"text"), "content of a message is not what its type demands"),
        (ulogs.message("S", b"12345678"), "content of a message is not what its type demands"),
    ],
)
def test_a_message_that_is_wrong_in_itself_is_lost_alone(bad: bytes, reason: str) -> None:
    lines, recording = read(UlogParser(), SAMPLE + bad + data(0, row("QfB", 2_000_000, 1, 1)))
    assert len(lines) == 9
    assert [(lost.offset, lost.length, lost.reason) for lost in recording.lost] == [(len(SAMPLE), len(bad), reason)]


def test_a_length_that_swallows_the_rest_costs_one_message() -> None:
    rows = [data(0, row("QfB", 2_000_000 + i, i, 1)) for i in range(5)]
    long = bytearray(log(9, "text"))
    long[0:2] = b"\x3f\x00"
    lines, recording = read(UlogParser(), SAMPLE + bytes(long) + b"".join(rows))
    assert len(lines) == 13
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(SAMPLE), len(long))]


def test_only_a_header_is_no_silent_success() -> None:
    lines, recording = read(UlogParser(), header())
    assert lines == []
    assert [problem.reason for problem in recording.problems] == ["the file holds no samples"]


def test_a_cut_header_and_a_foreign_one_are_refused() -> None:
    with pytest.raises(Truncated, match="file header needs 16 bytes, 9 are there"):
        read(UlogParser(), header()[:9])
    with pytest.raises(Corrupt, match="no ULog signature"):
        read(UlogParser(), b"ULog" + bytes(40))
    with pytest.raises(Corrupt, match="no message begins where one should"):
        read(UlogParser(), header() + b"\xff" * 100)


def test_blocks_keep_to_their_bounds_and_wide_topics_come_in_fewer_rows() -> None:
    fields = ";".join(f"double f{i}" for i in range(100))
    parts = [fmt(f"t:uint64_t timestamp;{fields};"), *(subscribe(i, "t", i) for i in range(60))]
    parts += [data(i % 60, row("Q", i) + bytes(800)) for i in range(6000)]
    recording = Recording()
    limits = Limits(block_bytes=100_000)
    blocks = list(UlogParser().blocks(BytesSource(header() + b"".join(parts)), recording, limits))
    assert sum(len(block) for block in blocks) == 6000
    assert all(isinstance(block, SampleBlock) and block.nbytes <= limits.block_bytes for block in blocks)


def test_memory_is_bounded_by_flushing_all_topics() -> None:
    parts = [fmt("t:uint64_t timestamp;char[60000] big;"), *(subscribe(i, "t", i % 256) for i in range(200))]
    parts += [data(i % 200, row("Q", i) + bytes(60000)) for i in range(400)]
    lines, recording = read_lines(UlogParser(), header() + b"".join(parts))
    assert sum(map(len, lines.values())) == 400
    assert recording.lost == []


EXPECTED: dict[str, dict[str, Any]] = {}
if (CORPUS / "EXPECTED.json").is_file():
    EXPECTED = {
        name: entry["expected"]
        for name, entry in json.loads((CORPUS / "EXPECTED.json").read_text())["files"].items()
        if entry["format"] == "ulg"
    }
needs_corpus = pytest.mark.skipif(not EXPECTED, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


def load(name: str, limits: Limits) -> tuple[dict[str, tuple[np.ndarray, dict[str, np.ndarray]]], list[str], Recording]:
    """Times and columns by `topic#instance`, the sources of the log messages, and the recording."""
    recording = Recording()
    found: dict[int, list[SampleBlock]] = {}
    sources: list[str] = []
    with FileSource(CORPUS / name) as source:
        assert detect(source).format == "ulog"
        for block in UlogParser().blocks(source, recording, limits):
            if isinstance(block, SampleBlock):
                found.setdefault(block.stream, []).append(block)
            else:
                sources += [recording.sources[index] for index in block.source.tolist()]  # type: ignore[union-attr]
    topics = {}
    for stream, blocks in found.items():
        spec = recording.streams[stream]
        topic, _, instance = spec.name.partition("[")
        columns = {s.name: np.concatenate([block.columns[i] for block in blocks]) for i, s in enumerate(spec.signals)}
        topics[f"{topic}#{instance.rstrip(']') or 0}"] = (np.concatenate([block.t_ns for block in blocks]), columns)
    return topics, sources, recording


@needs_corpus
@pytest.mark.parametrize("limits", [Limits(), Limits(block_rows=100)], ids=["whole blocks", "blocks of 100 rows"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_real_flights_give_what_an_independent_reader_gives(name: str, limits: Limits) -> None:
    expected = EXPECTED[name]
    topics, sources, recording = load(name, limits)
    assert set(topics) == set(expected["topics"])
    assert sum(len(t_ns) for t_ns, _ in topics.values()) == expected["n_samples"]
    for title, entry in expected["topics"].items():
        t_ns, columns = topics[title]
        assert (len(t_ns), int(t_ns[0]), int(t_ns[-1])) == (entry["n"], entry["first_us"] * 1000, entry["last_us"] * 1000)
        fields = {field: figures for field, figures in entry["fields"].items() if field != "timestamp" and "_padding" not in field}
        assert set(columns) == set(fields)
        for field, figures in fields.items():
            values = columns[field].astype("f8")
            valid = values[~np.isnan(values)]
            assert (len(values), len(values) - len(valid)) == (figures["count"], figures["nan"]), field
            if len(valid):
                assert (valid.min(), valid.max()) == (float(figures["min"]), float(figures["max"])), field
                assert figures["mean"] is None or valid.mean() == pytest.approx(figures["mean"], rel=1e-12), field
    assert recording.lost == []
    assert recording.metadata.get("dropouts", "0") == str(expected["n_dropouts"])
    assert recording.metadata.get("dropout_ms", "0") == str(expected["dropout_ms"])
    kinds = [source.split()[0] for source in sources]
    assert (kinds.count("log"), kinds.count("tag")) == (expected["n_logged_messages"], expected["n_tagged"])
    assert kinds.count("parameter") == expected["n_changed_params"]
    assert recording.metadata["logging_start_us"] == str(expected["start_us"])
    for key, value in expected["info"].items():
        if not isinstance(value, str):
            assert recording.metadata[key] == str(value)
        elif key in recording.metadata:
            assert recording.metadata[key].startswith(value[:79].rstrip())


@needs_corpus
def test_the_appended_fault_reports_are_listed() -> None:
    _, _, recording = load("ulg/pyulog__sample_appended_multiple.ulg", Limits())
    assert [entry.name for entry in recording.attachments] == [f"hardfault_plain[{i}]" for i in range(3)]
