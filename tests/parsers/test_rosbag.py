"""ROS 1 bags: every record kind and compression, damage of each sort, and the public bags against what rosbags reads of them."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from parsers.base import Parser, Recording
from parsers.blocks import LEVELS, MessageBlock, SampleBlock
from parsers.contract import ParserContract, attempt, read
from parsers.detect import detect
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated, Unsupported
from parsers.limits import Limits
from parsers.rosbag.bag import BagReader, RosbagParser
from parsers.source import BytesSource, FileSource
from tests.parsers.bags import SECOND, SIGNATURE, T0, bag, chunk, connection, fields, index, message, record, text, u32, u64
from tests.parsers.blocks import CORPUS

SPEED = "float32 speed\nstring gear\nint16[] torque\n"
FLAG = "bool on"


def speed(value: float, gear: str = "D", *torque: int) -> bytes:
    return struct.pack("<f", value) + text(gear) + struct.pack(f"<I{len(torque)}h", len(torque), *torque)


def plain(connections: int = 2) -> bytes:
    """The content of a chunk: descriptions and four messages of each of two connections."""
    described = [connection(0, "/speed", "car/Speed", SPEED), connection(1, "/flag", "car/Flag", FLAG)][:connections]
    rows = [message(i % 2, T0 + i * 1000, speed(i, "DR"[i % 3 == 0], i, i) if i % 2 == 0 else b"\x01") for i in range(8)]
    return b"".join([*described, *rows])


def whole(compression: str = "none", **more: bytes) -> bytes:
    """A bag of two chunks."""
    second = b"".join(message(1, T0 + SECOND + i, bytes([i % 2])) for i in range(3))
    ends = [connection(0, "/speed", "car/Speed", SPEED), connection(1, "/flag", "car/Flag", FLAG)]
    chunks = [chunk(plain(), compression), index(0, 4), index(1, 4), chunk(second, compression), index(1, 3)]
    return bag(chunks, ends, [{0: 4, 1: 4}, {1: 3}], **more)


def topics(data: bytes, limits: Limits | None = None) -> tuple[dict[str, list[str]], Recording]:
    """The rows of each topic by its name."""
    lines, recording = read(RosbagParser(), data, limits)
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.partition("[")[0], []).append(line.partition(",")[2])
    return found, recording


class TestContract(ParserContract):
    parser: ClassVar[type[Parser]] = RosbagParser
    sample: ClassVar[bytes] = bag(
        [chunk(connection(0, "/f", "c/F", FLAG) + b"".join(message(0, T0 + i, b"\1") for i in range(3))), index(0, 3)],
        [connection(0, "/f", "c/F", FLAG)],
        [{0: 3}],
        padding=8,
    )


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_every_compression_gives_the_same_rows(compression: str) -> None:
    found, recording = topics(whole(compression))
    assert found["/speed"][:2] == [f"{T0},speed=0.0,gear=0,torque.length=2,torque[0]=0,torque[1]=0", f"{T0 + 2000},speed=2.0,gear=1,torque.length=2,torque[0]=2,torque[1]=2"]  # fmt: skip # noqa: E501
    assert found["/flag"] == [f"{T0 + i * 1000},on=1" for i in (1, 3, 5, 7)] + [f"{T0 + SECOND + i},on={i % 2}" for i in range(3)]
    assert recording.lost == []
    assert recording.problems == []
    assert recording.absolute
    assert recording.streams[0].signals[1].choices == {0: "R", 1: "D"}


def test_messages_and_connections_outside_of_chunks_are_read() -> None:
    found, recording = topics(bag([plain()], [connection(0, "/speed", "car/Speed", SPEED), connection(1, "/flag", "car/Flag", FLAG)]))
    assert {name: len(rows) for name, rows in found.items()} == {"/speed": 4, "/flag": 4}
    assert recording.lost == []


def test_a_bag_that_was_interrupted_is_read_without_index_and_says_so() -> None:
    found, recording = topics(bag([chunk(plain())], indexed=False))
    assert {name: len(rows) for name, rows in found.items()} == {"/speed": 4, "/flag": 4}
    assert [problem.reason for problem in recording.problems] == ["the recording was interrupted: the bag has no index and is read without"]


def test_one_topic_of_several_callers_is_one_stream() -> None:
    described = [connection(i, "/flag", "car/Flag", FLAG, callerid=b"/node%d" % i, latching=b"1") for i in range(3)]
    found, recording = topics(bag([chunk(b"".join([*described, *(message(i, T0 + i, b"\1") for i in range(3))]))], indexed=False))
    assert len(recording.streams) == 1
    assert len(found["/flag"]) == 3


def test_a_connection_that_is_described_anew_goes_on_as_another_stream() -> None:
    parts = [
        connection(0, "/t", "car/Flag", FLAG),
        message(0, T0, b"\1"),
        connection(0, "/t", "car/Flag", FLAG),
        message(0, T0 + 1, b"\0"),
        connection(0, "/t", "car/Flag", "uint16 on"),
        message(0, T0 + 2, b"\1\1"),
    ]
    lines, recording = read(RosbagParser(), bag([chunk(b"".join(parts))], indexed=False))
    assert lines == [f"/t[0],{T0},on=1", f"/t[0],{T0 + 1},on=0", f"/t[1],{T0 + 2},on=257"]
    assert [stream.name for stream in recording.streams] == ["/t", "/t"]


def test_messages_of_a_connection_that_nothing_describes_are_counted() -> None:
    _, recording = topics(bag([chunk(plain(connections=1))], indexed=False))
    assert list(recording.undecoded.values()) == ["no record describes the connection (4 messages)"]


def test_a_topic_without_a_usable_definition_is_listed_and_the_others_are_read() -> None:
    parts = [connection(7, "/bad", "car/Bad", "what is this?"), message(7, T0, b"\0"), plain()]
    found, recording = topics(bag([chunk(b"".join(parts))], indexed=False))
    assert len(found["/speed"]) == 4
    assert "no field" in recording.undecoded["/bad"]


def test_the_log_of_ros_becomes_log_messages() -> None:
    definition = "Header header\nbyte level\nstring name\nstring msg\nstring file\nstring function\nuint32 line\nstring[] topics"
    head = struct.pack("<3I", 0, 0, 0) + text("")
    data = [
        head + bytes([level]) + text(name) + text(f"{name} says {level}") + bytes(16) for level, name in ((2, "/a"), (8, "/b"), (99, "/a"))
    ]
    parts = [connection(0, "/rosout", "rosgraph_msgs/Log", definition), *(message(0, T0 + i, one) for i, one in enumerate(data))]
    recording = Recording()
    blocks = list(RosbagParser().blocks(BytesSource(bag([chunk(b"".join(parts))], indexed=False)), recording))
    assert [type(block) for block in blocks] == [MessageBlock]
    (block,) = blocks
    assert isinstance(block, MessageBlock)
    assert [(LEVELS[block.level[i]], recording.sources[block.source[i]], block.text_of(i)) for i in range(3)] == [
        ("info", "/a", "/a says 2"),
        ("error", "/b", "/b says 8"),
        ("", "/a", "/a says 99"),
    ]


def test_header_fields_may_come_in_any_order() -> None:
    head = fields(time=struct.pack("<II", 5, 6), conn=u32(0), op=b"\x02", extra=b"=x=")
    parts = [connection(0, "/flag", "car/Flag", FLAG), record(head, b"\1")]
    found, _ = topics(bag([chunk(b"".join(parts))], indexed=False))
    assert found == {"/flag": ["5000000006,on=1"]}


class TestRefusals:
    @pytest.mark.parametrize("signature", [b"#ROSBAG V1.2\n", b"#ROSBAG V3.0\n", b"#ROSRECORD V1.1\n"])
    def test_other_versions_are_refused_by_name(self, signature: bytes) -> None:
        with pytest.raises(Unsupported, match=signature.decode().strip()[1:]):
            read(RosbagParser(), signature + bytes(100))

    def test_an_encrypted_bag_is_refused(self) -> None:
        with pytest.raises(Unsupported, match="encrypted"):
            read(RosbagParser(), whole(encryptor=b"rosbag/AesCbcEncryptor"))

    def test_an_unknown_compression_loses_the_chunk_alone(self) -> None:
        good = chunk(plain())
        strange = record(fields(op=b"\x05", compression=b"zstd", size=u32(99)), b"x" * 50)
        _, recording = topics(bag([good, strange, good], indexed=False))
        assert [(lost.length, lost.reason) for lost in recording.lost] == [(len(strange), "chunk compression 'zstd'")]


class TestDamage:
    @pytest.mark.parametrize("compression", ["bz2", "lz4"])
    @pytest.mark.parametrize("size", [0, 100, 10_000])
    def test_a_chunk_that_lies_about_its_size_is_read_no_further_than_it_says(self, compression: str, size: int) -> None:
        outcome = attempt(RosbagParser(), bag([chunk(plain(), compression, size)], indexed=False))
        if isinstance(outcome, ParseError):
            assert size < 1000
            return
        lines, recording = outcome
        assert recording.lost
        assert sum(map(len, lines.values())) == (8 if size == 10_000 else 0)

    def test_a_chunk_that_would_inflate_beyond_the_limit_is_refused(self) -> None:
        with pytest.raises(LimitExceeded, match="67108864 are allowed"):
            read(RosbagParser(), bag([chunk(plain(), "lz4", 2**31)], indexed=False))

    def test_chunks_together_inflate_no_further_than_the_file_justifies(self) -> None:
        zeros = connection(0, "/d", "car/D", "uint8[] d") + message(0, T0, u32(10**6) + bytes(10**6))
        limits = Limits(max_inflated=2 * 10**6, max_inflate_ratio=1)
        outcome = attempt(RosbagParser(), bag([chunk(zeros, "bz2")] * 10, indexed=False), limits)
        assert not isinstance(outcome, ParseError)
        assert "justifies" in outcome[1].lost[-1].reason
        assert 1 <= len(outcome[0]["0"]) <= 3

    @pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
    def test_a_damaged_chunk_leaves_the_next(self, compression: str) -> None:
        bad = bytearray(chunk(plain(), compression))
        bad[len(bad) // 2] ^= 0xFF
        bad[len(bad) // 2 + 7] ^= 0xFF
        data = bag([bytes(bad), chunk(plain(), compression)], indexed=False)
        found, recording = topics(data)
        assert recording.lost
        assert len(found["/flag"]) >= 4
        assert f"{T0 + 7000},on=1" in found["/flag"]

    def test_a_flipped_bit_in_a_plain_chunk_loses_one_message(self) -> None:
        content = plain()
        at = content.index(b"time=", content.index(message(1, T0 + 3000, b"\1")))
        bad = chunk(content[: at - 4] + b"\xff" + content[at - 3 :])
        found, recording = topics(bag([bad], indexed=False))
        assert len(found["/speed"]) == 4
        assert len(found["/flag"]) == 3
        assert [lost.length for lost in recording.lost] == [len(message(1, T0, b"\1"))]

    @pytest.mark.parametrize("length", [0, 1, 2**31, 2**32 - 1])
    def test_a_header_of_any_length_is_survived(self, length: int) -> None:
        content = connection(0, "/flag", "car/Flag", FLAG) + message(0, T0, b"\1")
        hostile = u32(length) + b"\x04\0\0\0op=\x02"
        found, recording = topics(bag([content, hostile, message(0, T0 + 1, b"\0")], indexed=False))
        assert found["/flag"] == [f"{T0},on=1", f"{T0 + 1},on=0"]
        assert recording.lost

    @pytest.mark.parametrize("size", [100, 2**32 - 1])
    def test_data_that_reaches_beyond_the_chunk_is_no_message(self, size: int) -> None:
        head = fields(op=b"\x02", conn=u32(0), time=bytes(8))
        lying = u32(len(head)) + head + u32(size) + b"\1"
        content = connection(0, "/flag", "car/Flag", FLAG) + message(0, T0, b"\1") + lying
        found, recording = topics(bag([chunk(content), chunk(message(0, T0 + 1, b"\0"))], indexed=False))
        assert found["/flag"] == [f"{T0},on=1", f"{T0 + 1},on=0"]
        assert recording.lost[0].reason == "a record reaches beyond the end of its chunk"

    def test_a_chunk_whose_length_is_too_long_gives_back_what_is_not_its_own(self) -> None:
        content = plain()
        good = chunk(content)
        head = good[: -len(content) - 4]
        found, recording = topics(bag([head + u32(len(content) + 50) + content, index(0, 4), good], indexed=False))
        assert len(found["/speed"]) == 8
        assert recording.problems

    def test_a_message_longer_than_allowed_is_passed_over(self) -> None:
        content = connection(0, "/d", "car/D", "uint8[] d") + b"".join(message(0, T0 + n, u32(n) + bytes(n)) for n in (1, 5000, 2))
        found, recording = topics(bag([chunk(content)], indexed=False), Limits(max_record_length=4000))
        assert found["/d"] == [f"{T0 + 1},d.length=1", f"{T0 + 2},d.length=2"]
        assert [lost.reason for lost in recording.lost] == ["a record is longer than allowed"]

    def test_definitions_of_more_fields_than_any_real_bag_has_are_not_all_taken(self) -> None:
        long = "\n".join(f"int8 a{i}" for i in range(15_000))
        parts = [connection(i, f"/t{i}", "car/Long", f"{long}\nint8 z{i}") + message(i, T0, bytes(15_001)) for i in range(40)]
        recording = topics(bag(parts, indexed=False))[1]
        assert any("fields in one file" in reason for reason in recording.undecoded.values())
        assert recording.lost == []

    def test_bytes_behind_the_bag_are_reported_and_all_before_is_kept(self) -> None:
        data = whole("lz4")
        found, recording = topics(data + b"\xde\xad" * 300)
        assert len(found["/speed"]) == 4
        assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(data), 600)]

    def test_joined_bags_are_both_read_with_connections_of_their_own(self) -> None:
        other = bag([chunk(connection(0, "/other", "car/Flag", FLAG) + message(0, T0, b"\1"))], indexed=False)
        found, recording = topics(whole("lz4") + other)
        assert {name: len(rows) for name, rows in found.items()} == {"/speed": 4, "/flag": 7, "/other": 1}
        assert any("another bag begins here" in problem.reason for problem in recording.problems)

    def test_a_bag_cut_between_two_records_is_known_by_its_header(self) -> None:
        data = whole()
        cut = data.index(fields(op=b"\x06")) - 4
        assert "counts 2 chunks" in read(RosbagParser(), data[:cut])[1].problems[0].reason
        with pytest.raises(Truncated):
            read(RosbagParser(), data[: len(SIGNATURE) + 20])

    def test_a_number_of_messages_that_differs_from_the_index_is_told(self) -> None:
        data = bag([chunk(plain())], [connection(0, "/speed", "car/Speed", SPEED)], [{0: 4, 1: 5}])
        assert [problem.reason for problem in topics(data)[1].problems] == ["the index counts 9 messages, 8 were read"]

    def test_a_file_that_only_has_the_signature_is_corrupt(self) -> None:
        with pytest.raises(ParseError):
            read(RosbagParser(), SIGNATURE)
        with pytest.raises(Corrupt):
            read(RosbagParser(), SIGNATURE + bytes(4096))

    def test_a_large_message_behind_damage_is_found_though_no_window_holds_it(self) -> None:
        big = message(0, T0, u32(3 << 20) + bytes(3 << 20))
        content = connection(0, "/d", "car/D", "uint8[] d") + b"\xff" * 1000 + big + message(0, T0 + 1, u32(0))
        found, _ = topics(bag([content], indexed=False))
        assert found["/d"][-1] == f"{T0 + 1},d.length=0"

    def test_mutated_bags_end_in_rows_or_a_parse_error(self) -> None:
        rng = np.random.default_rng(4)
        samples = [whole(compression) for compression in ("none", "bz2", "lz4")]
        for round_ in range(600):
            data = bytearray(samples[round_ % 3])
            for _ in range(int(rng.integers(1, 6))):
                at = int(rng.integers(0, len(data)))
                kind = rng.integers(0, 3)
                if kind == 0:
                    data[at] ^= 1 << int(rng.integers(0, 8))
                elif kind == 1:
                    del data[at : at + int(rng.integers(1, 40))]
                else:
                    data[at:at] = rng.bytes(int(rng.integers(1, 40)))
            attempt(RosbagParser(), bytes(data))


def test_a_small_window_gives_the_same_rows() -> None:
    assert topics(whole("lz4"), Limits(read_size=10, block_rows=3))[0] == topics(whole("lz4"))[0]


def test_a_bag_is_known_by_its_signature_whatever_its_name() -> None:
    assert detect(BytesSource(whole()), "drive.mcap").format == "rosbag"


# --- public bags

EXPECTED = CORPUS / "EXPECTED.json"
needs_corpus = pytest.mark.skipif(not EXPECTED.is_file(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


def public_bags() -> list[str]:
    return [name for name in json.loads(EXPECTED.read_text())["files"] if name.startswith("bag/")] if EXPECTED.is_file() else []


@needs_corpus
@pytest.mark.parametrize("name", public_bags())
def test_raw_messages_of_public_bags_equal_those_of_another_reader(name: str) -> None:
    expected = json.loads(EXPECTED.read_text())["files"][name]["expected"]
    recording = Recording()
    lines = []
    with FileSource(CORPUS / name) as source:
        for _, described, batch in BagReader(source, recording).batches():
            assert described is not None
            for row, t_ns in enumerate(batch.t_ns.tolist()):
                digest = hashlib.sha256(batch.message(row)).hexdigest()
                lines.append(f"{t_ns},{described.topic},{described.type},{digest}\n")
    assert len(lines) == expected["messages"]
    assert hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() == expected["rows_sha256_sorted"]
    assert recording.lost == []


# (topic, signal) -> rows, smallest, largest, sum: deserialised by rosbags 0.11
VALUES = {
    "rosbag__example": {
        ("/turtle1/color_sensor", "r"): (1351, 69, 179, 197719),
        ("/turtle1/pose", "x"): (1344, 0.9849795699119568, 9.688587188720703, 5638.95572155714),
        ("/turtle2/pose", "theta"): (1344, -1.2478219270706177, 4.525166034698486, 3507.077489895746),
        ("/tf", "transforms.length"): (2688, 1, 1, 2688),
        ("/tf", "transforms[0].header.stamp"): (2688, 1396293888056065082, 1396293909544282913, 3.7532379999750235e21),
        ("/tf", "transforms[0].transform.translation.x"): (2688, 0.9849795699119568, 9.688587188720703, 11625.314763605595),
        ("/tf", "transforms[0].transform.rotation.w"): (2688, -0.6379141434620753, 1.0, 212.6606535564568),
        ("/turtle1/cmd_vel", "linear.x"): (357, -2.0, 2.0, 540.0),
        ("/turtle2/cmd_vel", "linear.x"): (208, 0.04316906042604263, 1.8094273517786035, 211.54687544107463),
    },
    "PlotJuggler__fake_joint_state": {
        ("/fake_joints_state", "header.seq"): (2725, 183, 2907, 4210125),
        ("/fake_joints_state", "position.length"): (2725, 6, 6, 16350),
        ("/fake_joints_state", "position[0]"): (2725, -2.0, 2.0, 1144.7487889767553),
        ("/fake_joints_state", "velocity[3]"): (2725, 0.0, 0.0, 0.0),
    },
}


@needs_corpus
@pytest.mark.parametrize(
    "path", ["rosbag__example.bag", "rosbag__example-bz2.bag", "rosbag__example-lz4.bag", "PlotJuggler__fake_joint_state.bag"]
)
def test_values_of_public_bags_equal_those_of_another_reader(path: str) -> None:
    recording = Recording()
    columns: dict[tuple[str, str], list[float]] = {}
    with FileSource(CORPUS / "bag" / path) as source:
        for block in RosbagParser().blocks(source, recording, Limits(block_rows=1000)):
            if isinstance(block, SampleBlock):
                stream = recording.streams[block.stream]
                for signal, column, mask in zip(stream.signals, block.columns, block.masks, strict=True):
                    assert mask is None or mask.all()
                    columns.setdefault((stream.name, signal.name), []).extend(column.tolist())
    assert recording.undecoded == {}
    expected = VALUES[Path(path).stem.removesuffix("-bz2").removesuffix("-lz4")]
    found = {key: (len(columns[key]), min(columns[key]), max(columns[key]), math.fsum(columns[key])) for key in expected}
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-15), key
    if path.startswith("rosbag"):
        by_name = {signal.name: signal for stream in recording.streams if stream.name == "/tf" for signal in stream.signals}
        assert by_name["transforms[0].header.frame_id"].choices == {0: "world"}
        assert sorted((by_name["transforms[0].child_frame_id"].choices or {}).values()) == ["turtle1", "turtle2"]
        assert len(recording.sources) == 3


def test_positions_beyond_the_file_are_lost_bytes() -> None:
    data = bytearray(whole())
    at = data.index(b"index_pos=") + len(b"index_pos=")
    data[at : at + 8] = u64(2**40)
    _, recording = topics(bytes(data))
    assert recording.lost[-1].offset == len(data)
