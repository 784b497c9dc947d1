"""candump lines in every dialect that can-utils and its imitators write."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.can import frames
from parsers.can.candump import CandumpParser
from parsers.contract import ParserContract, read
from parsers.errors import Corrupt
from parsers.limits import Limits
from parsers.source import BytesSource
from tests.logs import candump
from tests.parsers.blocks import damaged, everything

SAMPLE = candump("123#1122334455667788", "7FF#", "18FEE000#AABB", "123##3112233", "1#".zfill(4) + "R8", "20000080#0000000000000000")


def line_ends(data: bytes) -> frozenset[int]:
    return frozenset(i + 1 for i, byte in enumerate(data) if byte == 0x0A)


class TestCandump(ParserContract):
    parser: ClassVar[type[Parser]] = CandumpParser
    sample: ClassVar[bytes] = SAMPLE
    whole_cuts: ClassVar[frozenset[int]] = line_ends(SAMPLE)


def one(frame: str) -> str:
    """The row of one frame behind a good one, without time and channel."""
    lines, recording = read(CandumpParser(), f"(0000000001.000000) can0 001#00\n(0000000001.000001) can0 {frame}\n".encode())
    assert recording.lost == [], recording.lost
    return lines[1].split(",", 2)[2]


@pytest.mark.parametrize(
    ("frame", "row"),
    [
        ("123#", "123,0,0,0,0,"),
        ("123#1122", "123,0,0,0,0,1122"),
        ("123#11.22.33", "123,0,0,0,0,112233"),
        ("7ff#aAbB", "7ff,0,0,0,0,aabb"),
        ("00000123#11", "123,1,0,0,0,11"),
        ("1FFFFFFF#11", "1fffffff,1,0,0,0,11"),
        ("123#R", "123,0,0,1,0,"),
        ("123#R8", "123,0,0,1,0,"),
        ("123#R8_F", "123,0,0,1,0,"),
        ("123#1122334455667788_E", "123,0,0,0,0,1122334455667788"),
        ("123##0", "123,0,1,0,0,"),
        ("123##1AABB", "123,0,1,0,0,aabb"),
        ("123##A" + "11" * 64, "123,0,1,0,0," + "11" * 64),
        ("20000004#0000000000000000", "0,0,0,0,1,"),
        ("123#1122 R", "123,0,0,0,0,1122"),
        ("123#1122 T", "123,0,0,0,0,1122"),
        ("  123   [2]  11 22", "123,0,0,0,0,1122"),
        ("       123   [0] ", "123,0,0,0,0,"),
        ("  123  [02]  11 22", "123,0,1,0,0,1122"),
        ("  123   {B}  11 22 33 44 55 66 77 88", "123,0,0,0,0,1122334455667788"),
        ("  123   [8]  remote request", "123,0,0,1,0,"),
        ("  20000004   [8]  00 08 00 00 00 00 00 00   ERRORFRAME", "0,0,0,0,1,"),
        ("  123   [2]  41 42   'AB'", "123,0,0,0,0,4142"),
        ("  RX - -  123   [2]  41 42", "123,0,0,0,0,4142"),
        ("  TX B -  12345678  [03]  41 42 43", "12345678,1,1,0,0,414243"),
    ],
)
def test_a_frame_is_read(frame: str, row: str) -> None:
    assert one(frame) == row


def flags_of(frame: str) -> int:
    block = next(CandumpParser().blocks(BytesSource(f"(1.000000) can0 {frame}\n".encode()), Recording(), Limits()))
    return int(block.flags[0])


@pytest.mark.parametrize(
    ("frame", "flags"),
    [
        ("123##1AA", frames.FD | frames.BRS),
        ("123##2AA", frames.FD | frames.ESI),
        ("123##7AA", frames.FD | frames.BRS | frames.ESI),
        ("123#11 T", frames.TX),
        ("00000001#11", frames.EXTENDED),
        ("20000080#0000000000000000", frames.ERROR),
        ("123#R", frames.REMOTE),
        ("  TX - E  123  [01]  11", frames.TX | frames.FD | frames.ESI),
        ("  RX B -  123  [01]  11", frames.FD | frames.BRS),
    ],
)
def test_flags_are_kept(frame: str, flags: int) -> None:
    assert flags_of(frame) == flags


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("(12.5) can0 XYZ#00", "identifier is not 3 or 8 hex digits"),
        ("(1.000000) can0 123#0", "line ends before the frame does"),
        ("(1.000000) can0 123#001122334455667788", "more data than the frame can hold"),
        ("(nan) can0 1#", "time is not"),
        ("(1e400.000000) can0 123#00", "time is not"),
        ("(99999999999.000000) can0 123#00", "time is not"),
        ("(1.000000) can0 FFF#00", "identifier is not 3 or 8 hex digits"),
        ("(1.000000) can0 80000000#00", "identifier is not 3 or 8 hex digits"),
        ("(1.000000) can0 123", "line ends before the frame does"),
        ("(1.000000) can0 123##", "line ends before the frame does"),
        ("(1.000000) can0 123##1" + "00" * 65, "more data than the frame can hold"),
        ("(1.000000) can0 123#GG", "data is not whole hex bytes"),
        ("(1.000000) can0 123   [3]  11 22", "line ends before the frame does"),
        ("(1.000000) can0 123   [1]  11 22", "more data than the frame can hold"),
        ("(1.000000) can0 123   [9]  11 22", "more data than the frame can hold"),
        ("(1.000000) " + "c" * 65 + " 123#00", "no interface name"),
        ("1 (1.000000) can0 123#00", "identifier is not 3 or 8 hex digits"),
        ("(2023-13-01 00:00:00.0) can0 123#00", "time is not"),
    ],
)
def test_a_bad_line_is_counted_with_its_place_and_reason(line: str, reason: str) -> None:
    good = "(1.000000) can0 001#00\n"
    lines, recording = read(CandumpParser(), f"{good}{line}\n{good}".encode())
    assert len(lines) == 2
    assert recording.skipped == {"unreadable line": 1}
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(good), len(line) + 1)]
    assert recording.problems[0].offset == len(good)
    assert reason in recording.problems[0].reason
    assert recording.partial


def test_text_behind_a_frame_keeps_the_frame_and_is_reported() -> None:
    lines, recording = read(CandumpParser(), b"(1.000000) can0 123#1122  door opened here\n")
    assert lines == ["1000000000,can0,123,0,0,0,0,1122"]
    assert recording.lost == []
    assert recording.problems[0].reason == "text after the frame"


@pytest.mark.parametrize("line", ["45123#81:00:12345678#11223344", "123#81:00:12345678#11", "  123 [0003] (00|81:12345678) 11 22 33"])
def test_can_xl_is_counted_and_not_mistaken_for_data(line: str) -> None:
    lines, recording = read(CandumpParser(), f"(1.000000) can0 001#00\n(1.000000) can0 {line}\n".encode())
    assert len(lines) == 1
    assert recording.skipped == {"CAN XL frame": 1}
    assert recording.lost == []


def test_error_descriptions_and_comments_are_counted() -> None:
    text = b"# trip 7\n(1.000000)  can0  20000004   [8]  00 04 00 00 00 00 00 00   ERRORFRAME\n\tcontroller-problem{rx-error-warning}\n"
    lines, recording = read(CandumpParser(), text)
    assert lines == ["1000000000,can0,0,0,0,0,1,"]
    assert recording.skipped == {"error description": 1, "comment": 1}


@pytest.mark.parametrize(
    ("stamp", "t_ns", "absolute"),
    [
        ("(1700000000.123456)", 1_700_000_000_123_456_000, True),
        ("(1700000000.123456789)", 1_700_000_000_123_456_789, True),
        ("(0000000012.5)", 12_500_000_000, True),
        ("(012.500000)", 12_500_000_000, False),
        ("( 12.500000 )", 12_500_000_000, False),
        ("(2023-11-14 22:13:20.123456)", 1_700_000_000_123_456_000, True),
        ("(2024-02-29 00:00:00.000000)", 1_709_164_800_000_000_000, True),
        ("(1970-01-01 00:00:01.000000)", 1_000_000_000, True),
    ],
)
def test_times_are_read_exactly_and_told_apart(stamp: str, t_ns: int, absolute: bool) -> None:
    lines, recording = read(CandumpParser(), f"{stamp} can0 123#00\n".encode())
    assert lines == [f"{t_ns},can0,123,0,0,0,0,00"]
    assert recording.absolute is absolute
    assert recording.start_ns == 0


def test_distances_between_console_lines_are_summed_up() -> None:
    stamps = ["000.000000", "000.010000", "000.009000", "000.011000", "000.008000"]
    text = "".join(f" ({stamp})  can0  123   [1]  00\n" for stamp in stamps)
    lines, recording = read(CandumpParser(), text.encode())
    assert [int(line.split(",")[0]) for line in lines] == [0, 10_000_000, 19_000_000, 30_000_000, 38_000_000]
    assert not recording.absolute
    assert "candump -td" in recording.problems[0].reason


def test_a_zero_based_clock_is_left_alone() -> None:
    text = "".join(f" (000.0{i:02d}000)  can0  123   [1]  00\n" for i in range(20))
    lines, recording = read(CandumpParser(), text.encode())
    assert int(lines[-1].split(",")[0]) == 19_000_000
    assert recording.problems == []


def test_console_lines_without_a_time_are_read_and_reported() -> None:
    lines, recording = read(CandumpParser(), b"  can0  123   [2]  11 22\n  can0  124   [0] \n")
    assert lines == ["0,can0,123,0,0,0,0,1122", "0,can0,124,0,0,0,0,"]
    assert "2 frames have no time" in recording.problems[0].reason


def test_interfaces_become_channels_in_order_of_first_sight() -> None:
    _, recording = read(CandumpParser(), b"(1.0) can1 123#00\n(1.0) vcan0 123#00\n(1.0) can1 123#00\n")
    assert recording.channels == ["can1", "vcan0"]


def test_more_interfaces_than_allowed_are_lost_lines() -> None:
    text = "".join(f"(1.0) can{i} 123#00\n" for i in range(10))
    lines, recording = read(CandumpParser(), text.encode(), Limits(max_channels=4))
    assert len(lines) == 4
    assert recording.skipped == {"unreadable line": 6}
    assert recording.problem_count == 6


def test_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    plain, _ = read(CandumpParser(), SAMPLE)
    lines, recording = read(CandumpParser(), b"\xef\xbb\xbf" + SAMPLE.replace(b"\n", b"\r\n"))
    assert lines == plain
    assert recording.problems == []


@pytest.mark.parametrize("read_size", [100, 1 << 20])
def test_a_line_of_megabytes_is_one_lost_range(read_size: int) -> None:
    good = candump("123#00")
    long = b"(1.000000) can0 123##1" + b"AA" * 1_000_000 + b"\n"
    lines, recording = read(CandumpParser(), good + long + good, Limits(read_size=read_size, max_line_length=1000))
    assert len(lines) == 2
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(good), len(long))]
    assert recording.problems[0].reason == "line is longer than allowed"


def test_a_long_line_that_never_ends_is_lost_to_the_end() -> None:
    good = candump("123#00")
    lines, recording = read(CandumpParser(), good + b"x" * 100_000, Limits(read_size=1000, max_line_length=1000))
    assert len(lines) == 1
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(good), 100_000)]


def test_a_hole_of_zeros_loses_the_lines_it_touches() -> None:
    text = bytearray(candump(*["123#0011223344556677"] * 20))
    line = len(text) // 20
    text[100:300] = bytes(200)
    lines, recording = read(CandumpParser(), bytes(text))
    assert len(lines) == 20 - (299 // line - 100 // line + 1)
    assert len(recording.lost) == 1
    assert recording.lost[0].reason == "line has zero bytes: not text"
    assert recording.lost[0].offset <= 100
    assert recording.lost[0].offset + recording.lost[0].length >= 300


def test_neighbouring_bad_lines_are_one_range_but_all_counted() -> None:
    _, recording = read(CandumpParser(), candump("123#00") + b"(x)\n" * 5000 + candump("123#00"))
    assert len(recording.lost) == 1
    assert recording.problem_count == 5000
    assert recording.skipped == {"unreadable line": 5000}


def test_empty_lines_between_bad_ones_do_not_split_the_range() -> None:
    _, recording = read(CandumpParser(), candump("123#00") + b"(x)\n\r\n" * 5000 + candump("123#00"))
    assert len(recording.lost) == 1
    assert recording.problem_count == 5000


def test_alternating_damage_keeps_every_good_frame_and_bounds_the_lists() -> None:
    data = (candump("123#00") + b"(x)\n") * 3000
    lines, recording = read(CandumpParser(), data)
    assert len(lines) == 3000
    assert recording.problem_count == 3000
    assert len(recording.problems) == 1000
    assert len(recording.lost) <= 1000
    assert recording.lost[-1].offset + recording.lost[-1].length == len(data)


def test_a_file_without_a_frame_is_refused_at_its_first_bad_line() -> None:
    with pytest.raises(Corrupt, match="no candump frame in the file at byte 1"):
        read(CandumpParser(), b"\n(1.0) can0 XYZ#00\n")


def test_two_hundred_thousand_frames_come_in_full_blocks() -> None:
    data = candump("123#1122") * 200_000
    sizes = [len(block) for block in CandumpParser().blocks(BytesSource(data), Recording(), Limits())]
    assert sizes == [65_536, 65_536, 65_536, 3_392]


@pytest.mark.parametrize("seed", range(6))
def test_lines_read_eight_characters_at_a_time_equal_those_read_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    names = rng.sample(["can0", "can1", "vcan0", "c", "slcan01", "seven77", "longer_than_seven", *(f"n{i}" for i in range(12))], 12)
    seconds = 1_700_000_000
    lines = []
    for _ in range(4000):
        seconds += rng.choice([0] * 20 + [1, -1, 9_000_000_000])
        identifier = rng.choice([f"{rng.randrange(0x900):03X}", f"{rng.randrange(1 << 30):08X}", f"{rng.randrange(0x800):03x}"])
        data = rng.randbytes(rng.choice([0, 1, 2, 5, 7, 8, 8, 8, 8, 9])).hex()
        data = data.upper() if rng.random() < 0.5 else data
        kind = rng.choice(["#"] * 20 + ["#R", "##1", "##F"])
        end = rng.choice([""] * 6 + [" R", " T", " R ", " X", "_9", "\r", " T\r", "0"])
        time = f"{seconds:010d}.{rng.randrange(10**6):06d}" if rng.random() < 0.95 else f"{seconds}.{rng.randrange(10**9):09d}"
        lines.append(f"({time}) {rng.choice(names)} {identifier}{kind}{data}{end}".encode())
        seconds %= 9_999_999_999
    data = damaged(lines, rng, rng.choice([0, 0.02, 0.3]))
    # A line that may be longer than allowed is always read one by one.
    assert everything(CandumpParser(), data, Limits()) == everything(CandumpParser(), data, Limits(max_line_length=127))


@pytest.mark.parametrize("kept", ["block", "t_ns", "view of data"])
def test_what_is_kept_of_a_block_is_never_written_to_again(kept: str) -> None:
    data = b"".join(b"(%010d.000000) can0 123#%016X\n" % (i, i) for i in range(3000))
    held: list[tuple[Any, bytes]] = []
    for number, part in enumerate(CandumpParser().blocks(BytesSource(data), Recording(), Limits(block_frames=100))):
        assert isinstance(part, frames.FrameBlock)
        found: Any = {"block": part, "t_ns": part.t_ns, "view of data": memoryview(part.data)[8:16]}[kept]
        if number % 3 != 1:
            held.append((found, (found.t_ns if kept == "block" else found).tobytes()))
    assert len(held) == 20
    assert all((found.t_ns if kept == "block" else found).tobytes() == before for found, before in held)
    assert len({before for _, before in held}) == 20
