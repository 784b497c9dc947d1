"""MCAP: chunks of every kind, records of every kind, files that were cut, damaged, joined or never closed."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any, ClassVar

import pytest

from parsers.base import Attachment, Parser, Recording
from parsers.blocks import Block, MessageBlock, SampleBlock
from parsers.contract import ParserContract, attempt, read, read_lines
from parsers.errors import Corrupt, ParseError, Truncated, Unsupported
from parsers.limits import Limits
from parsers.mcap.reader import McapParser, raw_messages
from parsers.source import FileSource
from tests.mcap_logs import (
    MAGIC,
    SECOND,
    START,
    attachment,
    channel,
    chunk,
    data_end,
    footer,
    header,
    mcap,
    message,
    message_index,
    metadata,
    record,
    schema,
)
from tests.parsers.blocks import CORPUS

SPEED = [message(1, b'{"v":%d}' % i, START + i) for i in range(4)]
SAMPLE = mcap(
    [
        chunk(channel(1, "/speed") + SPEED[0] + SPEED[1], "zstd"),
        message_index(1, [(START, 20)]),
        chunk(channel(2, "/log") + SPEED[2] + message(2, b'{"level":"warn","msg":"hot","name":"ecu"}', START + 9), "lz4"),
        SPEED[3],
        metadata("car", {"vin": "X"}),
    ],
    channel(1, "/speed"),
    crc=True,
)
WHOLE_CUTS: frozenset[int] = frozenset()


class TestMcap(ParserContract):
    parser: ClassVar[type[Parser]] = McapParser
    sample: ClassVar[bytes] = SAMPLE
    whole_cuts: ClassVar[frozenset[int]] = WHOLE_CUTS


def values(data: bytes, limits: Limits | None = None) -> tuple[list[float], Recording]:
    """The values of `v` of all topics, in the order of the streams, and the recording."""
    lines, recording = read(McapParser(), data, limits)
    return [float(line.partition(",v=")[2]) for line in lines if ",v=" in line], recording


def log(*records: bytes) -> bytes:
    """A closed file with one JSON channel of number 1."""
    return mcap([channel(1, "/speed"), *records])


# --- what is read


@pytest.mark.parametrize("compression", ["", "zstd", "lz4"])
def test_chunks_of_every_compression_are_read(compression: str) -> None:
    found, recording = values(mcap([chunk(channel(1, "/speed") + b"".join(SPEED), compression)]))
    assert found == [0, 1, 2, 3]
    assert (recording.lost, recording.problems) == ([], [])


def test_messages_outside_of_chunks_are_read() -> None:
    found, recording = values(log(*SPEED))
    assert found == [0, 1, 2, 3]
    assert recording.problems == []


def test_time_is_the_log_time_in_file_order() -> None:
    lines, recording = read(McapParser(), log(message(1, b"1", START + 5, START), message(1, b"2", START + 3, START + 9)))
    assert [line.split(",")[1] for line in lines] == [str(START + 5), str(START + 3)]
    assert recording.absolute
    assert recording.start_ns == 0


def test_a_clock_that_was_never_set_is_not_absolute() -> None:
    _, recording = read(McapParser(), log(message(1, b"1", 5 * SECOND)))
    assert not recording.absolute


def test_topics_log_messages_metadata_and_header_are_told() -> None:
    lines, recording = read_lines(McapParser(), SAMPLE)
    assert [spec.name for spec in recording.streams] == ["/speed"]
    assert lines["messages"] == [f"message,{START + 9},warning,ecu,'hot'"]
    assert recording.metadata == {"library": "test", "car.vin": "X"}
    assert recording.skipped == {}
    assert recording.undecoded == {}


def test_attachments_are_listed_and_not_read() -> None:
    found, recording = values(mcap([attachment("map.bin", "application/x", bytes(100_000)), channel(1, "/speed"), SPEED[0]]))
    assert recording.attachments == [Attachment("map.bin", "application/x", 100_000)]
    assert found == [0]


def test_unknown_records_are_read_over_and_counted() -> None:
    found, recording = values(log(record(0x80, bytes(70_000)), SPEED[0], record(0x42, b""), record(0x42, b"x")))
    assert found == [0]
    assert recording.skipped == {"record of unknown kind 0x80": 1, "record of unknown kind 0x42": 2}
    assert recording.problems == []


def test_a_channel_given_another_topic_is_another_stream() -> None:
    lines, recording = read(McapParser(), log(SPEED[0], channel(1, "/other"), SPEED[1]))
    assert [spec.name for spec in recording.streams] == ["/speed", "/other"]
    assert [line.split("[")[0] for line in lines] == ["/speed", "/other"]


def test_a_schema_given_another_meaning_is_another_stream() -> None:
    whole, fraction = b'{"properties":{"v":{"type":"integer"}}}', b'{"properties":{"v":{"type":"number"}}}'
    data = mcap(
        [schema(7, "A", "jsonschema", whole), channel(1, "/a", schema=7), SPEED[1], schema(7, "A", "jsonschema", fraction), SPEED[2]]
    )
    lines, recording = read(McapParser(), data)
    assert [spec.signals[0].storage for spec in recording.streams] == ["int64", "float64"]
    assert [line.partition(",v=")[2] for line in lines] == ["1", "2.0"]


def test_two_channels_of_one_topic_and_schema_are_one_stream() -> None:
    _, recording = read(McapParser(), log(SPEED[0], channel(2, "/speed"), message(2, b'{"v":5}')))
    assert len(recording.streams) == 1


def test_a_repeated_channel_record_changes_nothing() -> None:
    found, recording = values(log(SPEED[0], channel(1, "/speed"), SPEED[1]))
    assert found == [0, 1]
    assert len(recording.streams) == 1


@pytest.mark.parametrize(
    ("records", "topic", "reason"),
    [
        ([channel(1, "/a", "cbor"), SPEED[0]], "/a", "no decoder for messages of encoding 'cbor' (1 messages)"),
        ([channel(1, "/a", "json", 9), SPEED[0], SPEED[1]], "/a", "its schema 9 is missing or too large (2 messages)"),
        ([SPEED[0]], "channel 1", "its channel record is missing (1 messages)"),
        ([channel(1, "/a", "protobuf"), SPEED[0]], "/a", "protobuf messages with a schema of encoding '' (1 messages)"),
    ],
)
def test_a_topic_that_cannot_be_decoded_is_listed_with_its_messages(records: list[bytes], topic: str, reason: str) -> None:
    lines, recording = read(McapParser(), mcap(records))
    assert lines == []
    assert recording.undecoded == {topic: reason}


def test_a_channel_that_only_the_summary_describes_is_used_and_told() -> None:
    found, recording = values(mcap([SPEED[0], SPEED[1]], channel(1, "/speed")))
    assert found == [0, 1]
    assert recording.problems[0].reason == "channel 1 of the messages is described only in the summary"


def test_messages_beyond_the_year_2262_are_counted_not_read() -> None:
    found, recording = values(log(message(1, b'{"v":1}', 1 << 63), SPEED[0]))
    assert found == [0]
    assert recording.problems[0].reason == "1 messages with times beyond the year 2262"


def test_a_message_that_is_not_of_its_encoding_is_counted_where_it_lies() -> None:
    found, recording = values(log(SPEED[0], message(1, b"{nonsense"), SPEED[1]))
    assert found == [0, 1]
    assert [problem.reason for problem in recording.problems] == ["1 messages of /speed cannot be read: not JSON"]


# --- damage


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_cut_chunk_gives_what_can_be_inflated(compression: str) -> None:
    rng = random.Random(1)
    rows = [message(1, b'{"v":%d}' % rng.randrange(10**15), START + i) for i in range(30_000)]
    whole = mcap([channel(1, "/speed"), chunk(b"".join(rows), compression)])
    found, recording = values(whole[: len(whole) * 2 // 3])
    full, _ = values(whole)
    assert len(full) == 30_000
    assert 10_000 < len(found) < 30_000
    assert found == full[: len(found)]
    assert recording.partial
    assert "chunk cannot be inflated" in recording.lost[0].reason


def test_a_damaged_chunk_gives_what_lies_before_the_damage_and_the_next_is_read() -> None:
    first = chunk(channel(1, "/speed") + SPEED[0], "zstd")
    bad = bytearray(chunk(SPEED[1], "zstd"))
    bad[-8] ^= 0xFF
    found, recording = values(mcap([first, bytes(bad), chunk(SPEED[2], "zstd")]))
    assert found[0] == 0
    assert found[-1] == 2
    assert recording.problem_count


def test_a_wrong_checksum_of_a_chunk_is_told_and_its_messages_are_read() -> None:
    found, recording = values(mcap([channel(1, "/speed"), chunk(SPEED[0], "zstd", crc=1)]))
    assert found == [0]
    assert recording.problems[0].reason.startswith("checksum of a chunk is wrong")


def test_a_wrong_checksum_of_the_data_section_is_told() -> None:
    data = bytearray(SAMPLE)
    at = data.index(b"vin")
    data[at] ^= 1
    _, recording = read(McapParser(), bytes(data))
    assert [problem.reason[:31] for problem in recording.problems] == ["checksum of the data section is"]


def test_the_checksum_holds_over_windows_and_chunks_larger_than_them() -> None:
    rows = [message(1, b'{"v":%d}' % i, START + i) for i in range(20_000)]
    data = mcap([channel(1, "/speed"), *rows[:5000], chunk(b"".join(rows[5000:15000])), *rows[15000:]], crc=True)
    for read_size in (1, 70_000, 1 << 20):
        found, recording = values(data, Limits(read_size=read_size))
        assert found == list(range(20_000))
        assert recording.problems == []


@pytest.mark.parametrize(
    ("bad", "error", "reason"),
    [
        (chunk(SPEED[0], "brotli", packed=b"xx"), Unsupported, "chunk compression 'brotli'"),
        (chunk(SPEED[0], "zstd", inflated=1 << 60, packed=b""), Truncated, "holds 0"),
        (chunk(SPEED[0], "zstd", inflated=5), Corrupt, "in a chunk: data ends inside a record"),
        (chunk(chunk(SPEED[0])), Corrupt, "a chunk inside a chunk is not read"),
        (record(5, bytes(3)), Corrupt, "shorter than its fields"),
        (record(3, b"\x01\x00\xff\xff\xff\xff"), Corrupt, "schema record: a field needs 4294967295 bytes"),
        (record(0, bytes(20)), Corrupt, "no record begins"),
    ],
    ids=["compression", "declared", "less declared", "nested", "short", "field", "zeros"],
)
def test_a_file_of_nothing_but_damage_is_refused_with_the_first_reason(bad: bytes, error: type[ParseError], reason: str) -> None:
    with pytest.raises(error) as caught:
        read(McapParser(), mcap([bad]))
    assert reason in caught.value.reason
    assert caught.value.offset is not None


def test_behind_garbage_the_next_record_is_found() -> None:
    rng = random.Random(2)
    for _ in range(20):
        garbage = rng.randbytes(rng.randrange(1, 3000))
        data = MAGIC + header() + channel(1, "/speed") + SPEED[0] + b"\0" + garbage + SPEED[1] + SPEED[2] + data_end() + footer() + MAGIC
        found, recording = values(data)
        assert found == [0, 1, 2]
        assert recording.partial


def test_zeros_in_the_middle_lose_no_more_than_they_cover() -> None:
    rows = [message(1, b'{"v":%d}' % i, START + i) for i in range(2000)]
    data = bytearray(mcap([channel(1, "/speed"), *rows]))
    data[20_000:24_096] = bytes(4096)
    found, recording = values(bytes(data))
    assert len(found) > 2000 - 4096 // 40 - 3
    assert recording.partial
    assert recording.lost[0].length <= 4096 + 100


def test_a_message_too_long_is_lost_alone() -> None:
    found, recording = values(log(SPEED[0], message(1, bytes(5000)), SPEED[1]), Limits(max_record_length=1000))
    assert found == [0, 1]
    assert recording.lost[0].length == 5000 + 31
    found, recording = values(
        mcap([channel(1, "/speed"), chunk(SPEED[0] + message(1, bytes(5000)) + SPEED[1], "zstd")]), Limits(max_record_length=1000)
    )
    assert found == [0, 1]
    assert recording.partial


def test_a_chunk_larger_than_is_held_at_once_is_read_in_pieces() -> None:
    rng = random.Random(3)
    rows = [message(1, b'{"v":%d,"x":"%s"}' % (i, rng.randbytes(200).hex().encode()), START + i) for i in range(20_000)]
    content = b"".join(rows)
    for compression in ("", "lz4", "zstd"):
        data = mcap([channel(1, "/speed"), chunk(content, compression)])
        lines, recording = read(McapParser(), data, Limits(max_record_length=100_000, max_inflated=1 << 20))
        assert len(lines) == 20_000
        assert recording.lost == []


def test_a_bomb_stops_at_what_the_file_size_justifies() -> None:
    bomb = record(0x80, bytes(30 << 20))
    data = mcap([channel(1, "/speed"), SPEED[0], *[chunk(bomb, "zstd")] * 4])
    found, recording = values(data, Limits(max_inflated=1 << 20))
    assert found == [0]
    assert recording.lost[-1].reason == "chunks inflate to more than the size of the file justifies"


def test_a_file_without_footer_is_read_and_flagged() -> None:
    found, recording = values(MAGIC + header() + channel(1, "/speed") + b"".join(SPEED))
    assert found == [0, 1, 2, 3]
    assert recording.partial
    assert "not closed" in recording.problems[-1].reason


def test_joined_files_are_read_one_behind_the_other() -> None:
    first, second = mcap([channel(1, "/a"), SPEED[0]]), mcap([channel(1, "/b"), SPEED[1]])
    lines, recording = read(McapParser(), first + second)
    assert [spec.name for spec in recording.streams] == ["/a", "/b"]
    assert len(lines) == 2
    assert [problem.reason for problem in recording.problems] == ["another MCAP file begins here: it is read as well"]


def test_bytes_behind_the_end_are_lost_and_told() -> None:
    found, recording = values(SAMPLE + b"tail" * 300)
    assert len(found) == 4
    assert (recording.lost[0].offset, recording.lost[0].length) == (len(SAMPLE), 1200)


def test_the_summary_is_not_believed() -> None:
    lies = channel(1, "/wrong") + record(0x0B, bytes(46)) + record(8, bytes(80))
    found, recording = values(mcap([channel(1, "/speed"), SPEED[0]], lies))
    assert found == [0]
    assert recording.streams[0].name == "/speed"
    assert recording.problems == []


def test_random_damage_never_crashes_and_is_never_silent() -> None:
    full, _ = read_lines(McapParser(), SAMPLE)
    rng = random.Random(5)
    for _ in range(1500):
        data = bytearray(SAMPLE)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        outcome = attempt(McapParser(), bytes(data))
        if isinstance(outcome, ParseError) or bytes(data) == SAMPLE:
            continue
        found, recording = outcome
        assert found == full or recording.problem_count or recording.undecoded or recording.skipped or recording.metadata, data


# --- the corpus


def expectations() -> dict[str, dict[str, Any]]:
    if not (CORPUS / "EXPECTED.json").is_file():
        return {}
    files = json.loads((CORPUS / "EXPECTED.json").read_text())["files"]
    found = {name: entry["expected"] for name, entry in files.items() if entry["format"] == "mcap"}
    derived = json.loads((CORPUS / "derived" / "EXPECTED_derived.json").read_text())
    return found | {entry["file"]: entry["expected"] for entry in derived if entry["format"] == "mcap"}


EXPECTED = expectations()
needs_corpus = pytest.mark.skipif(not EXPECTED, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


@needs_corpus
@pytest.mark.parametrize("name", EXPECTED)
def test_messages_of_real_files_are_those_that_mcap_gives(name: str) -> None:
    recording = Recording()
    with FileSource(CORPUS / name) as source:
        rows = [
            f"{t_ns},{publish_ns},{topic},{encoding},{schema_name},{hashlib.sha256(data).hexdigest()}\n"
            for t_ns, publish_ns, topic, encoding, schema_name, data in raw_messages(source, recording)
        ]
    assert len(rows) == EXPECTED[name]["messages"]
    assert hashlib.sha256("".join(sorted(rows)).encode()).hexdigest() == EXPECTED[name]["rows_sha256_sorted"]
    assert (recording.lost, recording.problems, recording.skipped) == ([], [], {})


@needs_corpus
@pytest.mark.parametrize("name", EXPECTED)
def test_every_message_of_real_files_becomes_a_row_of_its_topic(name: str) -> None:
    recording = Recording()
    counts: dict[str, int] = {}
    with FileSource(CORPUS / name) as source:
        for block in McapParser().blocks(source, recording):
            counts[topic_of(block, recording)] = counts.get(topic_of(block, recording), 0) + len(block)
    wanted = {topic: count for topic, count in EXPECTED[name]["per_topic"].items() if count}
    logs = wanted.pop("/rosout", 0)
    assert counts.pop("log messages", 0) == logs
    assert counts == wanted
    assert recording.problems == []


def topic_of(block: Block, recording: Recording) -> str:
    if isinstance(block, MessageBlock):
        return "log messages"
    assert isinstance(block, SampleBlock)
    return recording.streams[block.stream].name


@needs_corpus
def test_values_of_a_real_json_topic() -> None:
    lines, recording = read(McapParser(), (CORPUS / "mcap" / "lichtblick__example.mcap").read_bytes())
    assert [signal.name for signal in recording.streams[0].signals] == ["clientX", "clientY"]
    assert len(lines) == 111
    with FileSource(CORPUS / "mcap" / "lichtblick__example.mcap") as source:
        wanted = [json.loads(raw[5]) for raw in raw_messages(source, Recording())]
    found = [dict(part.split("=") for part in line.split(",")[2:]) for line in lines]
    assert [{key: float(value) for key, value in row.items()} for row in found] == wanted


@needs_corpus
@pytest.mark.parametrize("kind", ["zstd", "lz4", "unchunked", "noindex"])
def test_the_same_topics_however_they_are_stored(kind: str) -> None:
    data = (CORPUS / "derived" / f"turtlesim_{kind}.mcap").read_bytes()
    reference = (CORPUS / "derived" / "turtlesim_zstd.mcap").read_bytes()
    assert sorted(read(McapParser(), data)[0]) == sorted(read(McapParser(), reference)[0])
