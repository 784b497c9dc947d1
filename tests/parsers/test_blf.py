"""BLF: every CAN object, containers that are cut, damaged, lying or missing, and files that were never closed."""

from __future__ import annotations

import random
import re
import struct
import zlib
from typing import ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.can import frames
from parsers.can.blf import BlfParser
from parsers.contract import ParserContract, read
from parsers.errors import Corrupt, LimitExceeded, Truncated, Unsupported
from parsers.limits import Limits
from parsers.source import BytesSource
from tests.logs import blf, blf_can, blf_comment, blf_container, blf_fd, blf_fd64, blf_header, blf_marker, blf_object, blf_text

FRAMES = [blf_can(0x100 + i, bytes([i] * 8), time=1000 * i) for i in range(20)]
SAMPLE = blf(
    [
        blf_container(b"".join(FRAMES[:3]) + FRAMES[3][:20]),
        blf_container(FRAMES[3][20:] + blf_fd(0x80000123, b"\x01\x02"), method=0),
        blf_can(0x222, b"\xff"),
    ]
)


class TestBlf(ParserContract):
    parser: ClassVar[type[Parser]] = BlfParser
    sample: ClassVar[bytes] = SAMPLE


def one(item: bytes) -> str:
    """The row of one object in a container, without its time."""
    lines, recording = read(BlfParser(), blf([blf_container(item)]))
    assert recording.lost == [], recording.problems
    assert len(lines) == 1
    return lines[0].split(",", 1)[1]


@pytest.mark.parametrize(
    ("item", "row"),
    [
        (blf_can(0x123, b"\x01\x02"), "1,123,0,0,0,0,0102"),
        (blf_can(0x123, b"\x01\x02", kind=86), "1,123,0,0,0,0,0102"),
        (blf_can(0x80000123, b""), "1,123,1,0,0,0,"),
        (blf_can(0x9FFFFFFF, b"\x01"), "1,1fffffff,1,0,0,0,01"),
        (blf_can(0x123, b"12345678", dlc=255), "1,123,0,0,0,0,3132333435363738"),
        (blf_can(0x123, b"12345678", dlc=0x33, channel=0x1111), "4369,123,0,0,0,0,3132333435363738"),
        (blf_can(0x123, b"\x01\x02", flags=0x80), "1,123,0,0,1,0,"),
        (blf_fd(0x123, b"\x01" * 64), "1,123,0,1,0,0," + "01" * 64),
        (blf_fd(0x123, b"\x01\x02", fd_flags=0), "1,123,0,0,0,0,0102"),
        (blf_fd(0x123, b"", flags=0x80), "1,123,0,1,1,0,"),
        (blf_fd64(0x80000123, b"\x01" * 12), "1,123,1,1,0,0," + "01" * 12),
        (blf_fd64(0x123, b"\x01" * 48, valid=64), "1,123,0,1,0,0," + "01" * 48),
        (blf_fd64(0x123, b"\x01" * 8, valid=64, extra=b"\xee" * 8), "1,123,0,1,0,0," + "01" * 8),
        (blf_fd64(0x123, b"\x01" * 8, flags=0x10), "1,123,0,0,1,0,"),
        (blf_object(2, struct.pack("<HHI", 3, 0, 0)), "3,0,0,0,0,1,"),
        (blf_object(73, struct.pack("<H", 3) + bytes(30)), "3,0,0,0,0,1,"),
        (blf_object(104, b"\x03" + bytes(80)), "3,0,0,0,0,1,"),
    ],
)
def test_an_object_becomes_a_frame(item: bytes, row: str) -> None:
    assert one(item) == row


@pytest.mark.parametrize("start", [(2024, 12, 2, 31, 14, 9, 40, 222), (2024, 12, 2, 30, 14, 9, 40, 222), (2025, 1, 3, 1, 0, 0, 0, 0)])
def test_frames_read_in_a_run_equal_those_read_one_by_one(start: tuple[int, ...]) -> None:
    rng = random.Random(3)
    ends = [(1 << 63) - 1, 1 << 63, ((1 << 63) - 1) // 10000, ((1 << 63) - 1) // 10000 + 1, (1 << 64) - 1]

    def objects(version: int) -> list[bytes]:
        rng.seed(3)
        made: list[bytes] = []
        for _ in range(3000):
            head = rng.choice([1, 1, 1, 2, 7]), rng.choice([0, 0, 0, 1, 0x80, 0x81, 255]), rng.choice([0, 3, 8, 8, 8, 9, 255])
            body = struct.pack("<HBBI", *head, rng.getrandbits(32)) + rng.randbytes(8)
            kind = rng.choice([1, 1, 1, 86])
            body += bytes(8) if kind == 86 else b""
            time = rng.choice([*ends, *(rng.randrange(1 << 49) for _ in range(60))])
            cut = rng.randrange(len(body)) if rng.random() < 0.01 else len(body)
            made.append(
                blf_object(kind, body[:cut], time=time, flags=rng.choice([2, 2, 1]), version=version) + bytes(rng.choice([0] * 20 + [4]))
            )
        return made

    # Only headers of 32 bytes are read in runs. The second file's start, before or after the first's, moves all times.
    outcomes = []
    for version in (1, 2):
        items = objects(version)
        joined = blf(items[:100]) + blf([blf_container(b"".join(items[100:]))], start=start)
        lines, recording = read(BlfParser(), joined, Limits(block_frames=97))
        outcomes.append((lines, recording.channels, [re.sub(r"\d+ bytes( at \d+)?", "", problem.reason) for problem in recording.problems]))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) > 2500


@pytest.mark.parametrize(
    ("item", "flags"),
    [
        (blf_can(0x123, b"", flags=1), frames.TX),
        (blf_can(0x80000001, b"", flags=0x81), frames.TX | frames.REMOTE | frames.EXTENDED),
        (blf_fd(0x123, b"", fd_flags=7, flags=1), frames.FD | frames.BRS | frames.ESI | frames.TX),
        (blf_fd64(0x123, b"", flags=0x7000, direction=1), frames.FD | frames.BRS | frames.ESI | frames.TX),
        (blf_object(2, bytes(8)), frames.ERROR),
    ],
)
def test_flags_are_kept(item: bytes, flags: int) -> None:
    block = next(BlfParser().blocks(BytesSource(blf([item])), Recording(), Limits()))
    assert int(block.flags[0]) == flags


@pytest.mark.parametrize(("flags", "t_ns"), [(2, 123_456_789), (1, 1_234_567_890_000), (0, 1_234_567_890_000)])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_times_count_nanoseconds_or_ten_microseconds(flags: int, t_ns: int, version: int) -> None:
    item = blf_object(1, struct.pack("<HBBI8x", 1, 0, 0, 5), time=123_456_789, flags=flags, version=version)
    lines, _ = read(BlfParser(), blf([item]))
    assert lines == [f"{t_ns},1,5,0,0,0,0,"]


def test_a_time_beyond_the_range_loses_the_object_and_nothing_else() -> None:
    bad = blf_object(1, struct.pack("<HBBI8x", 1, 0, 0, 5), time=2**62, flags=1)
    lines, recording = read(BlfParser(), blf([FRAMES[0], bad, FRAMES[1]]))
    assert len(lines) == 2
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(144 + 48, 48)]
    assert recording.problems[0].reason == "object time is beyond the year 2262"


def test_the_start_time_is_utc() -> None:
    _, recording = read(BlfParser(), SAMPLE)
    assert recording.absolute
    assert recording.start_ns == 1_735_654_180_222_000_000


@pytest.mark.parametrize("start", [(0,) * 8, (2024, 13, 0, 1, 0, 0, 0, 0), (2023, 2, 0, 29, 0, 0, 0, 0), (1600, 1, 0, 1, 0, 0, 0, 0)])
def test_a_start_time_that_is_no_date_leaves_times_relative(start: tuple[int, ...]) -> None:
    lines, recording = read(BlfParser(), blf([FRAMES[0]], start=start))
    assert len(lines) == 1
    assert not recording.absolute
    assert recording.start_ns == 0
    assert recording.problems[0].offset == 40


@pytest.mark.parametrize("method", [0, 2])
@pytest.mark.parametrize("split", range(1, 96, 7))
def test_objects_span_containers_wherever_they_are_cut(method: int, split: int) -> None:
    stream = b"".join(FRAMES)
    parts = [stream[i : i + split] for i in range(0, len(stream), split)]
    lines, recording = read(BlfParser(), blf([blf_container(part, method=method) for part in parts]))
    assert [line.split(",")[2] for line in lines] == [f"{0x100 + i:x}" for i in range(20)]
    assert recording.lost == []
    assert recording.problems == []


@pytest.mark.parametrize("padding", range(9))
def test_padding_of_up_to_eight_bytes_between_objects_is_stepped_over(padding: int) -> None:
    stream = (bytes(padding)).join(FRAMES)
    for data in (blf([stream]), blf([blf_container(stream)])):
        lines, recording = read(BlfParser(), data)
        assert len(lines) == 20
        assert recording.lost == []


def test_app_text_becomes_a_message() -> None:
    data = blf([blf_container(FRAMES[0] + blf_text("Türen zu".encode("cp1252")) + blf_text("Türen auf".encode(), 2) + FRAMES[1])])
    lines, recording = read(BlfParser(), data)
    assert len(lines) == 2
    assert [(m.t_ns, m.source, m.text) for m in recording.messages] == [
        (5_000_000, "measurement comment", "Türen zu"),
        (5_000_000, "metadata", "Türen auf"),
    ]
    assert recording.skipped == {}


def test_comments_and_markers_become_messages() -> None:
    content = FRAMES[0] + blf_comment(b"brake\0") + blf_marker(b"drive", b"lap 3", "Tür".encode("cp1252")) + blf_marker(b"", b"", b"")
    for data in (blf([blf_container(content + FRAMES[1])]), blf([content, FRAMES[1]])):
        lines, recording = read(BlfParser(), data)
        assert len(lines) == 2
        assert [(m.t_ns, m.source, m.text) for m in recording.messages] == [
            (5_000_000, "event comment", "brake"),
            (5_000_000, "marker drive", "lap 3: Tür"),
            (5_000_000, "marker", ""),
        ]


@pytest.mark.parametrize("kind", [65, 92, 96])
def test_an_object_in_words_whose_fields_are_cut_is_counted(kind: int) -> None:
    lines, recording = read(BlfParser(), blf([blf_container(blf_object(kind, bytes(7)) + FRAMES[0])]))
    assert len(lines) == 1
    assert recording.messages == []
    assert [name.endswith("without its fields") for name in recording.skipped] == [True]


@pytest.mark.parametrize("prefix", ["", "x", "xx"])
def test_a_long_text_that_is_cut_within_a_character_keeps_its_others(prefix: str) -> None:
    text = prefix + "ü€" * 4000
    _, recording = read(BlfParser(), blf([blf_container(blf_text(text.encode()))]))
    assert recording.messages[0].text == text[:1000]


def test_texts_beyond_the_limit_are_counted() -> None:
    data = blf([blf_container(blf_text(b"abc") * 50)])
    recording = Recording(limits=Limits(max_messages=10))
    assert list(BlfParser().blocks(BytesSource(data), recording, Limits(max_messages=10))) == []
    assert len(recording.messages) == 10
    assert recording.skipped == {"application text": 40}


def test_a_text_of_megabytes_is_kept_short_and_read_over() -> None:
    data = blf([blf_container(blf_text(b"x" * 3_000_000) + FRAMES[0])])
    lines, recording = read(BlfParser(), data)
    assert len(lines) == 1
    assert recording.messages[0].text == "x" * 1000


def test_objects_that_are_no_frames_are_counted_by_kind() -> None:
    others = b"".join(blf_object(kind, bytes(200_000)) for kind in (3, 11, 57, 71, 41, 126, 115, 160, 4_000_000))
    for data in (blf([FRAMES[0], others, FRAMES[1]]), blf([blf_container(FRAMES[0] + others + FRAMES[1])])):
        lines, recording = read(BlfParser(), data, Limits(read_size=20_000))
        assert len(lines) == 2
        assert recording.lost == []
        assert recording.skipped == {
            "CAN overload frame": 1,
            "LIN message": 2,
            "Ethernet frame": 1,
            "FlexRay message": 1,
            "data lost by the logger": 1,
            "restore point": 1,
            "object type 160": 1,
            "object type 255 or above": 1,
        }


def test_a_damaged_container_is_lost_and_the_others_are_read() -> None:
    containers = [blf_container(b"".join(FRAMES[i : i + 5])) for i in (0, 5, 10, 15)]
    data = bytearray(blf(containers))
    at = 144 + len(containers[0])
    data[at + 60] ^= 0x40
    lines, recording = read(BlfParser(), bytes(data))
    assert [line.split(",")[2] for line in lines] == [f"{0x100 + i:x}" for i in (*range(5), *range(10, 20))]
    assert (recording.lost[0].offset, recording.lost[0].length) == (at, int.from_bytes(containers[1][8:12], "little"))
    assert "cannot be inflated" in recording.problems[0].reason


def test_a_container_with_a_wrong_checksum_gives_no_frame() -> None:
    packed = zlib.compress(b"".join(FRAMES))
    bad = blf_container(b"".join(FRAMES), packed=packed[:-1] + bytes([packed[-1] ^ 1]))
    lines, recording = read(BlfParser(), blf([FRAMES[0], bad]))
    assert len(lines) == 1
    assert "cannot be inflated" in recording.problems[0].reason


def test_an_object_is_never_completed_from_a_container_behind_a_lost_one() -> None:
    stream = b"".join(FRAMES)
    parts = [blf_container(stream[i : i + 100]) for i in range(0, len(stream), 100)]
    data = bytearray(blf(parts))
    at = 144 + len(parts[0])
    data[at : at + 4] = b"XXXX"
    lines, recording = read(BlfParser(), bytes(data))
    full, _ = read(BlfParser(), blf(parts))
    assert set(lines) < set(full)
    # Container 2 held bytes 100 to 199: frames 2 (96-143), 3 (144-191) and 4 (192-239).
    assert lines == full[:2] + full[5:]
    assert recording.partial
    assert at - 3 <= recording.problems[0].offset <= at  # up to three bytes of padding stand before the container


def test_a_damaged_object_loses_itself_only() -> None:
    stream = bytearray(b"".join(FRAMES))
    stream[48 * 3 + 8] = 7  # object size
    stream[48 * 9] = 0  # signature
    for data, offset in ((blf([bytes(stream)]), 144 + 48 * 3), (blf([blf_container(bytes(stream))]), 144)):
        lines, recording = read(BlfParser(), data)
        assert len(lines) == 18
        assert recording.lost[0].offset == offset
        assert len(recording.problems) == 2


@pytest.mark.parametrize("size", [0, 1, 15, 31, 47, 0xFFFFFFF0, 0xFFFFFFFF])
def test_impossible_object_sizes_do_not_stop_or_hang_the_reader(size: int) -> None:
    bad = blf_object(1, struct.pack("<HBBI8x", 1, 0, 8, 5), size=size)
    for data in (blf([FRAMES[0], bad, FRAMES[1]]), blf([blf_container(FRAMES[0] + bad + FRAMES[1])])):
        lines, recording = read(BlfParser(), data)
        assert len(lines) == 2
        assert recording.partial


@pytest.mark.parametrize("size", [32, 33, 39, 40])
def test_an_object_too_short_for_its_frame_does_not_take_the_next_one_along(size: int) -> None:
    bad = blf_object(1, bytes(8), size=size)[:size]
    lines, recording = read(BlfParser(), blf([FRAMES[0], bad, FRAMES[1], bad, FRAMES[2]]))
    assert [line.split(",")[2] for line in lines if line.split(",")[2] != "0"] == ["100", "101", "102"]
    assert recording.partial == (size < 40)


def test_half_a_million_false_file_headers_are_one_lost_range() -> None:
    lines, recording = read(BlfParser(), blf([FRAMES[0], b"LOGG" * 500_000, FRAMES[1]]))
    assert len(lines) == 2
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(144 + 48, 2_000_000)]


@pytest.mark.parametrize("size", [0, 1, 31, 0xFFFFFFF0])
def test_impossible_container_sizes_lose_that_container(size: int) -> None:
    bad = bytearray(blf_container(FRAMES[0]))
    struct.pack_into("<I", bad, 8, size)
    lines, recording = read(BlfParser(), blf([blf_container(FRAMES[1]), bytes(bad), blf_container(FRAMES[2])]))
    assert [line.split(",")[2] for line in lines] == ["101", "102"]
    assert recording.partial


def test_a_thousand_objects_smaller_than_their_header_are_refused() -> None:
    inner = struct.pack("<4sHHII", b"LOBJ", 32, 1, 16, 1) * 1000
    with pytest.raises(Corrupt, match="object size or header size is impossible"):
        read(BlfParser(), blf([blf_container(inner)]))


def test_a_frame_longer_than_64_bytes_is_refused() -> None:
    lines, recording = read(BlfParser(), blf([FRAMES[0], blf_fd64(0x123, b"\1" * 70, valid=70), blf_fd(0x123, b"", valid=65)]))
    assert len(lines) == 1
    assert recording.problems[0].reason == "CAN FD frame longer than 64 bytes"


def test_a_container_in_a_container_is_not_opened() -> None:
    lines, recording = read(BlfParser(), blf([blf_container(FRAMES[0] + blf_container(FRAMES[1]) + FRAMES[2])]))
    assert [line.split(",")[2] for line in lines] == ["100", "102"]
    assert "container inside a container" in recording.problems[0].reason


def test_a_container_that_declares_too_much_is_a_limit() -> None:
    with pytest.raises(LimitExceeded, match="declares 1073741824 bytes, 67108864 are allowed"):
        read(BlfParser(), blf([blf_container(FRAMES[0], declared=1 << 30)]))


def test_a_container_that_inflates_to_more_than_it_declares_is_stopped_there() -> None:
    data = blf([blf_container(b"".join(FRAMES) + bytes(50_000_000), declared=48 * 20)])
    lines, recording = read(BlfParser(), data)
    assert len(lines) == 20
    assert "more than the 960 bytes it declares" in recording.problems[0].reason
    assert recording.partial


def test_a_container_that_inflates_to_less_is_reported() -> None:
    lines, recording = read(BlfParser(), blf([blf_container(b"".join(FRAMES), declared=5000)]))
    assert len(lines) == 20
    assert "inflates to 960 bytes and declares 5000" in recording.problems[0].reason


def test_many_containers_may_not_inflate_to_more_than_the_file_justifies() -> None:
    bomb = blf_container(FRAMES[0] + bytes(1_000_000))
    limits = Limits(max_inflated=2_000_000, max_inflate_ratio=100)
    lines, recording = read(BlfParser(), blf([bomb] * 50), limits)
    assert 1 <= len(lines) < 50
    assert any(lost.reason == "containers inflate to more than the size of the file justifies" for lost in recording.lost)


def test_an_unknown_compression_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="container compression method 7 at byte 160"):
        read(BlfParser(), blf([blf_container(FRAMES[0], method=7)]))


def test_an_empty_container_is_no_problem() -> None:
    lines, recording = read(BlfParser(), blf([blf_container(b"")]))
    assert lines == []
    assert recording.problems == []


def test_a_file_that_was_never_closed_is_read_and_reported() -> None:
    body = blf_container(b"".join(FRAMES))
    lines, recording = read(BlfParser(), blf_header(0, objects=0) + body)
    assert len(lines) == 20
    assert not recording.partial
    assert "was not closed" in recording.problems[0].reason


def test_bytes_behind_the_named_end_are_read_or_lost_but_never_ignored() -> None:
    data = blf([blf_container(FRAMES[0])])
    lines, recording = read(BlfParser(), data + bytes(range(1, 101)))
    assert len(lines) == 1
    assert recording.lost[0].offset + recording.lost[0].length == len(data) + 100
    lines, recording = read(BlfParser(), data + blf_can(0x7FF, b""))
    assert len(lines) == 2
    assert "49" not in recording.problems[0].reason
    assert "48 bytes behind the end" in recording.problems[0].reason


def test_joined_files_share_the_clock_of_the_first() -> None:
    first = blf([blf_container(FRAMES[1])], start=(2024, 12, 2, 31, 14, 9, 40, 0))
    second = blf([blf_container(FRAMES[2])], start=(2024, 12, 2, 31, 14, 9, 50, 0))
    lines, recording = read(BlfParser(), first + second)
    assert [int(line.split(",")[0]) for line in lines] == [1000, 10_000_002_000]
    assert "another BLF file begins here" in recording.problems[-1].reason


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"LOG", Truncated, "file header needs 72 bytes, 3 are there at byte 0"),
        (SAMPLE[:71], Truncated, "file header needs 72 bytes, 71 are there at byte 0"),
        (SAMPLE[:143], Truncated, "file header needs 144 bytes, 143 are there at byte 0"),
        (b"LOGX" + SAMPLE[4:], Corrupt, "no LOGG signature at byte 0"),
        (b"LOGG\x10\0\0\0" + SAMPLE[8:], Corrupt, "file header size 16 is impossible at byte 4"),
        (SAMPLE[:150], Truncated, "data ends inside an object at byte 144"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_refused(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(BlfParser(), data)


def test_a_cut_container_gives_the_frames_before_the_cut() -> None:
    stream = b"".join(blf_can(i % 2048, i.to_bytes(8, "little"), time=i * 12345) for i in range(5000))
    data = blf([blf_container(stream)])
    lines, recording = read(BlfParser(), data[: len(data) // 2])
    full, _ = read(BlfParser(), data)
    assert 1000 < len(lines) < 4000
    assert lines == full[: len(lines)]
    assert any("is cut after" in problem.reason for problem in recording.problems)


def test_more_channels_than_allowed_lose_their_frames() -> None:
    items = [blf_can(1, b"", channel=i) for i in range(10)]
    lines, recording = read(BlfParser(), blf(items), Limits(max_channels=4))
    assert len(lines) == 4
    assert recording.problems[0].reason == "more channels than allowed"
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(144 + 4 * 48, 6 * 48)]
