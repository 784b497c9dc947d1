"""Apollo records: sections, channels with their descriptors, compressed chunks, damage of each sort, and the public record."""

from __future__ import annotations

import bz2
import hashlib
import json
import math
import struct
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from parsers.apollo.fields import descriptor_set, fields
from parsers.apollo.record import ApolloParser, RecordReader
from parsers.base import Parser, Recording
from parsers.blocks import SampleBlock
from parsers.contract import ParserContract, attempt, read
from parsers.detect import detect
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated
from parsers.limits import Limits
from parsers.source import BytesSource, FileSource
from tests.parsers.bags import (
    HEADER_ROOM,
    T0,
    apollo,
    block,
    channel,
    chunk_header,
    file_descriptor,
    number,
    proto_desc,
    section,
    single,
    varint,
)
from tests.parsers.blocks import CORPUS

DATA = 16 + HEADER_ROOM
UINT32, DOUBLE, MESSAGE = 13, 1, 11

SPEED = proto_desc(file_descriptor("speed.proto", "car", "Speed", {"speed": (1, UINT32)}))
SPEEDS = channel("/speed", "car.Speed", SPEED)
FLAGS = channel("/flag", "car.Flag", proto_desc(file_descriptor("flag.proto", "car", "Flag", {"on": (1, UINT32)})))


def rows(count: int, start: int = 0) -> list[bytes]:
    """Messages of the two channels in turn."""
    return [single("/flag" if i % 2 else "/speed", T0 + i, number(1, i)) for i in range(start, start + count)]


def body(messages: list[bytes], compression: str = "") -> bytes:
    content = b"".join(messages)
    packed = {"bz2": bz2.compress, "lz4": lambda data: pa.Codec("lz4").compress(data, asbytes=True)}.get(compression, bytes)(content)
    return chunk_header(len(messages)) + section(2, packed)


def whole(compression: str = "") -> bytes:
    return apollo([SPEEDS, FLAGS, body(rows(6), compression), body(rows(4, 6), compression)], 10)


def channels(data: bytes, limits: Limits | None = None) -> tuple[dict[str, list[str]], Recording]:
    """The rows of each channel by its name."""
    lines, recording = read(ApolloParser(), data, limits)
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.partition("[")[0], []).append(line.partition(",")[2])
    return found, recording


ALL = {"/speed": [f"{T0 + i},speed={i}" for i in range(0, 10, 2)], "/flag": [f"{T0 + i},on={i}" for i in range(1, 10, 2)]}


class TestContract(ParserContract):
    parser: ClassVar[type[Parser]] = ApolloParser
    sample: ClassVar[bytes] = apollo([SPEEDS, body([single("/speed", T0 + i, number(1, i)) for i in range(3)])], 3)


@pytest.mark.parametrize("compression", ["", "bz2", "lz4"])
def test_every_compression_gives_the_same_rows(compression: str) -> None:
    found, recording = channels(whole(compression))
    assert found == ALL
    assert recording.lost == []
    assert recording.problems == []
    assert recording.absolute
    assert recording.metadata["record version"] == "1.0"


def test_a_record_that_was_not_closed_is_read_without_its_index() -> None:
    found, recording = channels(apollo([SPEEDS, FLAGS, body(rows(10))], 0, complete=False))
    assert found == ALL
    assert ["not closed" in problem.reason for problem in recording.problems] == [True]


def test_descriptors_are_put_together_from_nested_dependencies_once_each() -> None:
    point = file_descriptor("point.proto", "geo", "Point", {"x": (1, DOUBLE)})
    inner = block(2, block(1, b"at") + number(3, 1) + number(4, 1) + number(5, MESSAGE) + block(6, b".geo.Point"))
    pose = block(1, b"pose.proto") + block(2, b"geo") + block(3, b"point.proto") + block(4, block(1, b"Pose") + inner)
    nested = proto_desc(pose, proto_desc(point), proto_desc(point))
    assert descriptor_set(memoryview(nested)) == block(1, point) + block(1, pose)
    messages = [single("/pose", T0 + i, block(1, varint(1 << 3 | 1) + struct.pack("<d", i / 2))) for i in range(3)]
    found, _ = channels(apollo([channel("/pose", "geo.Pose", nested), body(messages)], 3))
    assert found == {"/pose": [f"{T0 + i},at.x={i / 2}" for i in range(3)]}


def test_a_channel_without_description_or_descriptor_is_listed_and_counted() -> None:
    data = apollo([SPEEDS, channel("/raw", "car.Raw", b""), body([*rows(4), single("/raw", T0, b"abc")])], 5)
    found, recording = channels(data)
    assert list(found) == ["/speed"]
    assert recording.undecoded == {
        "/flag": "no section describes the channel (2 messages)",
        "/raw": "the record holds no descriptor of car.Raw (1 messages)",
    }


def test_a_channel_that_is_described_anew_goes_on_as_another_stream() -> None:
    other = channel("/speed", "car.Speed", proto_desc(file_descriptor("speed.proto", "car", "Speed", {"kmh": (1, UINT32)})))
    lines, _ = read(ApolloParser(), apollo([SPEEDS, body(rows(1)), SPEEDS, body(rows(1, 2)), other, body(rows(1, 4))], 3))
    assert lines == [f"/speed[0],{T0},speed=0", f"/speed[0],{T0 + 2},speed=2", f"/speed[1],{T0 + 4},kmh=4"]


def test_fields_of_a_message_may_come_in_any_order_and_with_unknown_ones() -> None:
    inner = number(9, 1) + block(3, number(1, 5)) + varint(8 << 3 | 5) + bytes(4) + number(2, T0) + block(1, b"/speed") + block(12, b"x")
    found, _ = channels(apollo([SPEEDS, body([block(1, inner)])], 1))
    assert found == {"/speed": [f"{T0},speed=5"]}


class TestDamage:
    def test_a_foreign_header_is_refused(self) -> None:
        for data in (whole()[:16] + b"\xff" * 3000, b"\0" * 8 + struct.pack("<q", 4000) + bytes(4000), bytes(3000)):
            with pytest.raises(Corrupt):
                read(ApolloParser(), data)
        with pytest.raises(Truncated):
            read(ApolloParser(), whole()[:1000])

    def test_a_message_with_a_wrong_length_leaves_its_neighbours(self) -> None:
        messages = rows(10)
        messages[4] = b"\x0a\x7f" + messages[4][2:]
        found, recording = channels(apollo([SPEEDS, FLAGS, body(messages)], 10))
        assert found["/flag"] == ALL["/flag"]
        assert len(found["/speed"]) == 4
        assert [lost.length for lost in recording.lost] == [len(messages[4])]

    def test_garbage_between_messages_is_one_lost_range(self) -> None:
        messages = rows(10)
        garbage = b"\x0a\x05\x0a\xff" * 25
        found, recording = channels(apollo([SPEEDS, FLAGS, body([*messages[:5], garbage, *messages[5:]])], 10))
        assert found == ALL
        assert [lost.length for lost in recording.lost] == [100]

    @pytest.mark.parametrize("size", [0, 2**31, 2**62, -1])
    def test_a_chunk_with_a_lying_size_loses_no_message(self, size: int) -> None:
        messages = rows(6)
        lying = section(2, b"".join(messages), size)
        found, recording = channels(apollo([SPEEDS, FLAGS, lying, body(rows(4, 6))], 10))
        assert found == ALL
        assert recording.problems

    def test_a_destroyed_section_head_leaves_the_messages_behind_it(self) -> None:
        head = section(2, b"", 999)
        found, recording = channels(apollo([SPEEDS, FLAGS, b"\xff" * len(head) + b"".join(rows(6)), body(rows(4, 6))], 10))
        assert found == ALL
        assert [lost.length for lost in recording.lost] == [16]

    @pytest.mark.parametrize("compression", ["bz2", "lz4"])
    def test_a_chunk_that_cannot_be_inflated_leaves_the_next(self, compression: str) -> None:
        bad = bytearray(body(rows(6), compression))
        bad[-20:-10] = b"\xff" * 10
        outcome = attempt(ApolloParser(), apollo([SPEEDS, FLAGS, bytes(bad), body(rows(4, 6), compression)], 10))
        assert not isinstance(outcome, ParseError)
        assert outcome[1].lost
        assert all(len(lines) >= 2 for lines in outcome[0].values())

    def test_a_bomb_is_inflated_no_further_than_allowed(self) -> None:
        bomb = section(2, bz2.compress(b"".join(rows(6)) + bytes(10**6)))
        limits = Limits(max_inflated=10_000)
        found, recording = channels(apollo([SPEEDS, FLAGS, bomb], 6), limits)
        assert sum(map(len, found.values())) == 6
        assert any("more than the 10000 bytes" in lost.reason for lost in recording.lost)

    def test_chunks_together_inflate_no_further_than_the_file_justifies(self) -> None:
        many = [body([single("/speed", T0, number(1, 1) + block(2, bytes(10_000)))], "bz2") for _ in range(20)]
        _, recording = channels(apollo([SPEEDS, *many], 20), Limits(max_inflated=20_000, max_inflate_ratio=1))
        assert "justifies" in recording.lost[-1].reason

    def test_a_record_cut_in_a_chunk_gives_the_messages_before(self) -> None:
        data = apollo([SPEEDS, FLAGS, body(rows(10))], 10)
        found, recording = channels(data[: data.index(rows(10)[8]) + 4])
        assert {name: len(lines) for name, lines in found.items()} == {"/speed": 4, "/flag": 4}
        assert recording.partial

    def test_a_record_cut_between_two_sections_is_known_by_its_header(self) -> None:
        data = whole()
        cut = data.rindex(chunk_header(4))
        _, recording = channels(data[:cut])
        assert [lost.offset for lost in recording.lost] == [cut]

    def test_joined_records_are_both_read(self) -> None:
        found, recording = channels(whole() + apollo([SPEEDS, FLAGS, body(rows(2, 20))], 2))
        assert {name: len(lines) for name, lines in found.items()} == {"/speed": 6, "/flag": 6}
        assert any("another record begins here" in problem.reason for problem in recording.problems)

    def test_a_message_count_that_differs_from_the_header_is_told(self) -> None:
        _, recording = channels(apollo([SPEEDS, FLAGS, body(rows(10))], 11))
        assert [problem.reason for problem in recording.problems] == ["the header counts 11 messages, 10 were read"]

    def test_a_time_beyond_2262_costs_that_message_alone(self) -> None:
        found, recording = channels(apollo([SPEEDS, FLAGS, body([*rows(2), single("/speed", 2**63, b""), *rows(2, 2)])], 5))
        assert sum(map(len, found.values())) == 4
        assert [lost.reason for lost in recording.lost] == ["message time is beyond the year 2262"]

    def test_a_message_longer_than_allowed_is_passed_over(self) -> None:
        messages = [*rows(2), single("/speed", T0, block(2, bytes(5000))), *rows(2, 2)]
        found, recording = channels(apollo([SPEEDS, FLAGS, body(messages)], 5), Limits(max_record_length=4000))
        assert sum(map(len, found.values())) == 4
        assert [lost.reason for lost in recording.lost] == ["a message is longer than allowed"]

    def test_descriptors_of_too_many_bytes_or_levels_are_refused_alone(self) -> None:
        deep = b"x"
        for _ in range(200):
            deep = block(2, deep)
        found, recording = channels(apollo([channel("/deep", "a.B", deep), SPEEDS, body(rows(1))], 1))
        assert found == {"/speed": ALL["/speed"][:1]}
        assert "too deeply" in recording.lost[0].reason
        huge = section(4, bytes(5000))
        _, recording = channels(apollo([huge, SPEEDS, body(rows(1))], 1), Limits(max_record_length=4000))
        assert isinstance(attempt(ApolloParser(), apollo([huge], 0), Limits(max_record_length=4000)), LimitExceeded)
        assert recording.lost[0].length == len(huge)

    def test_mutated_records_end_in_rows_or_a_parse_error(self) -> None:
        rng = np.random.default_rng(4)
        samples = [whole(compression) for compression in ("", "bz2", "lz4")]
        for round_ in range(600):
            data = bytearray(samples[round_ % 3])
            for _ in range(int(rng.integers(1, 6))):
                at = int(rng.integers(DATA if rng.random() < 0.9 else 0, len(data)))
                kind = rng.integers(0, 3)
                if kind == 0:
                    data[at] ^= 1 << int(rng.integers(0, 8))
                elif kind == 1:
                    del data[at : at + int(rng.integers(1, 40))]
                else:
                    data[at:at] = rng.bytes(int(rng.integers(1, 40)))
            attempt(ApolloParser(), bytes(data))


def test_numbers_without_end_and_lengths_beyond_the_data_are_refused() -> None:
    for data in (b"\xff" * 20, b"\x0a\x05abc", b"\x00\x01", b"\x0b", b"\x09abc", b"\x08"):
        with pytest.raises(ValueError, match=r".+"):
            list(fields(memoryview(data)))


def test_a_small_window_gives_the_same_rows() -> None:
    assert channels(whole("lz4"), Limits(read_size=10, block_rows=3))[0] == ALL


def test_a_record_is_known_by_its_header_whatever_its_name() -> None:
    assert detect(BytesSource(whole()), "drive.bin").format == "apollo"
    assert ".00007" in ApolloParser.suffixes


# --- the public record

RECORD = "record/cyber_record__example.record.00000"
EXPECTED = CORPUS / "EXPECTED.json"
needs_corpus = pytest.mark.skipif(not EXPECTED.is_file(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


@needs_corpus
def test_raw_messages_of_the_public_record_equal_those_of_another_reader() -> None:
    expected = json.loads(EXPECTED.read_text())["files"][RECORD]["expected"]
    recording = Recording()
    found: list[tuple[int, str]] = []
    with FileSource(CORPUS / RECORD) as source:
        for _, described, batch in RecordReader(source, recording).batches():
            for row, t_ns in enumerate(batch.t_ns.tolist()):
                digest = hashlib.sha256(batch.message(row)).hexdigest()
                found.append((int(batch.offset[row]), f"{t_ns},{described.name},{described.type},{digest}\n"))
    found.sort()  # all of it lies in one window, so offsets give the order in the file
    assert len(found) == expected["messages"]
    # The expected rows are of messages that were parsed and written again; these came out the same.
    assert hashlib.sha256("".join(line for _, line in found).encode()).hexdigest() == expected["rows_sha256"]
    assert recording.lost == []
    assert recording.problems == []


# signal of /apollo/localization/pose or /apollo/canbus/chassis -> smallest, largest, sum of 15 rows: parsed by cyber_record 0.1.13
VALUES = {
    "pose.position.x": (315323.4458883505, 315323.44588850864, 4729851.688325415),
    "pose.heading": (-2.25563014963147, -2.25563014963147, -33.83445224447205),
    "header.sequence_num": (76636, 76650, 1149645),
    "speed_mps": (0.0, 0.0, 0.0),
    "gear_location": (1, 1, 15),
}


@needs_corpus
def test_values_of_the_public_record_equal_those_of_another_reader() -> None:
    recording = Recording()
    found: dict[str, list[float]] = {}
    with FileSource(CORPUS / RECORD) as source:
        for one in ApolloParser().blocks(source, recording):
            assert isinstance(one, SampleBlock)
            stream = recording.streams[one.stream]
            for signal, column in zip(stream.signals, one.columns, strict=True):
                if stream.name in ("/apollo/localization/pose", "/apollo/canbus/chassis") and signal.name in VALUES:
                    found.setdefault(signal.name, column.tolist())
    assert len(recording.streams) == 5
    for name, values in VALUES.items():
        assert len(found[name]) == 15
        assert (min(found[name]), max(found[name]), math.fsum(found[name])) == pytest.approx(values, rel=1e-15), name
