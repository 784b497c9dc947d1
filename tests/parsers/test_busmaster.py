"""BUSMASTER logs: sessions, modes of time, hex and decimal, types of frames, midnight, and lines that are no frames."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.can.busmaster import BusmasterParser
from parsers.can.candump import CandumpParser
from parsers.contract import ParserContract, read
from parsers.detect import detect
from parsers.errors import Corrupt, Unsupported
from parsers.rows import rows
from parsers.source import FileSource
from tests.parsers.blocks import CORPUS

HEAD = (
    b"***BUSMASTER Ver 2.4.0***\r\n***PROTOCOL CAN***\r\n***[START LOGGING SESSION]***\r\n"
    b"***START DATE AND TIME 23:9:2015 22:17:28:928***\r\n***HEX***\r\n***SYSTEM MODE***\r\n"
    b"***CHANNEL 1 - Leaf Light - 500000 bps***\r\n***<Time><Tx/Rx><Channel><CAN ID><Type><DLC><DataBytes>***\r\n"
)
FRAMES = [
    b"22:20:14:992 Rx 1 0000021A s 8 FE 36 12 FE 69 05 07 AD \r\n",
    b"22:20:14:9925 Tx 1 0x18DAF110 x 2 02 10 \r\n",
    b"22:20:15:001 Rx 2 123 sr 4 \r\n",
    b"22:20:15:002 Rx 1 7FF s 0\r\n",
]
TAIL = b"***END DATE AND TIME 23:9:2015 22:20:23:600***\r\n***[STOP LOGGING SESSION]***\r\n"
SAMPLE = HEAD + b"".join(FRAMES) + TAIL
FIRST = ((22 * 60 + 20) * 60 + 14) * 10**9
DAY = 86_400 * 10**9


class TestBusmaster(ParserContract):
    parser: ClassVar[type[Parser]] = BusmasterParser
    sample: ClassVar[bytes] = SAMPLE
    # Nothing says how many frames there are; the closing lines may be missing.
    whole_cuts: ClassVar[frozenset[int]] = frozenset(
        len(HEAD + b"".join(FRAMES[:n])) for n in (1, 2, 3, 4)
    ) | {len(HEAD + b"".join(FRAMES)) + len(TAIL.splitlines(keepends=True)[0])}  # fmt: skip


def lines_of(*lines: bytes, head: bytes = HEAD) -> list[str]:
    return read(BusmasterParser(), head + b"\n".join(lines) + b"\n")[0]


def times_of(lines: list[str]) -> list[int]:
    return [int(line.split(",")[0]) for line in lines]


def test_frames_of_the_sample() -> None:
    lines, recording = read(BusmasterParser(), SAMPLE)
    assert lines == [
        f"{FIRST + 992_000_000},1,21a,0,0,0,0,fe3612fe690507ad",
        f"{FIRST + 992_500_000},1,18daf110,1,0,0,0,0210",
        f"{FIRST + 1_001_000_000},2,123,0,0,1,0,",
        f"{FIRST + 1_002_000_000},1,7ff,0,0,0,0,",
    ]
    assert not recording.absolute
    assert recording.metadata == {
        "application": "BUSMASTER Ver 2.4.0",
        "start of logging": "2015-09-23 22:17:28.928",
        "channel 1": "Leaf Light - 500000 bps",
    }


def test_decimal_files_have_decimal_ids_and_bytes() -> None:
    head = HEAD.replace(b"HEX", b"DEC")
    assert lines_of(b"0:0:0:5 Rx 1 538 s 3 254 54 9", b"0:0:0:6 Rx 1 0x21A s 1 0xFE", head=head) == [
        "5000000,1,21a,0,0,0,0,fe3609",
        "6000000,1,21a,0,0,0,0,fe",
    ]


def test_times_of_day_pass_midnight() -> None:
    lines = lines_of(b"23:59:59:999 Rx 1 1 s 0", b"0:00:00:001 Rx 1 1 s 0", b"0:00:00:000 Rx 1 1 s 0")
    assert times_of(lines) == [DAY - 1_000_000, DAY + 1_000_000, DAY]


def test_a_session_of_a_later_day_lies_a_day_later() -> None:
    second = HEAD.replace(b"23:9:2015", b"25:9:2015") + FRAMES[0]
    lines, _ = read(BusmasterParser(), SAMPLE + second)
    assert times_of(lines)[-1] == FIRST + 992_000_000 + 2 * DAY


def test_absolute_times_count_from_the_start_and_relative_ones_from_the_line_before() -> None:
    frames = (b"0:00:01:500 Rx 1 1 s 0", b"0:00:02:000 Rx 1 1 s 0")
    assert times_of(lines_of(*frames, head=HEAD.replace(b"SYSTEM", b"ABSOLUTE"))) == [1_500_000_000, 2_000_000_000]
    assert times_of(lines_of(*frames, head=HEAD.replace(b"SYSTEM", b"RELATIVE"))) == [1_500_000_000, 3_500_000_000]


def test_more_than_eight_bytes_are_a_frame_of_can_fd() -> None:
    assert lines_of(b"0:0:1:0 Rx 1 1 s 12 " + b"AA " * 12) == ["1000000000,1,1,0,1,0,0," + "aa" * 12]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"22:61:14:992 Rx 1 1 s 0", "time is not hours:minutes:seconds:fraction"),
        (b"22:20:14 Rx 1 1 s 0", "time is not hours:minutes:seconds:fraction"),
        (b"text", "time is not hours:minutes:seconds:fraction"),
        (b"22:20:14:992 rx 1 1 s 0", "neither Rx nor Tx behind the time"),
        (b"22:20:14:992 Rx x 1 s 0", "no channel number"),
        (b"22:20:14:992 Rx 70000 1 s 0", "no channel number"),
        (b"22:20:14:992 Rx 1 800 s 0", "identifier is no number within its range"),
        (b"22:20:14:992 Rx 1 20000000 x 0", "identifier is no number within its range"),
        (b"22:20:14:992 Rx 1 1 q 0", "type is not s, x, sr or xr"),
        (b"22:20:14:992 Rx 1 1 s 65 AA", "data is not as many bytes as the length says"),
        (b"22:20:14:992 Rx 1 1 s 2 AA GG", "data is not as many bytes as the length says"),
        (b"22:20:14:992 Rx 1 1 s 2 AA 100", "data is not as many bytes as the length says"),
        (b"22:20:14:992 Rx 1 1 s 2 AA", "line ends before the frame does"),
        (b"22:20:14:992 Rx", "line ends before the frame does"),
        (b"22:20:14:992 Rx 1 1 s 0 \0", "line has zero bytes: not text"),
    ],
)
def test_a_line_that_is_no_frame_is_lost_alone(bad: bytes, reason: str) -> None:
    data = HEAD + FRAMES[0] + bad + b"\n" + FRAMES[1]
    lines, recording = read(BusmasterParser(), data)
    assert len(lines) == 2
    assert [(lost.offset, lost.length, lost.reason) for lost in recording.lost] == [(len(HEAD + FRAMES[0]), len(bad) + 1, reason)]
    assert recording.skipped == {"unreadable line": 1}


def test_text_behind_a_frame_is_said_and_the_frame_read() -> None:
    lines, recording = read(BusmasterParser(), HEAD + b"22:20:14:992 Rx 1 1 s 1 AA BB\n")
    assert len(lines) == 1
    assert [problem.reason for problem in recording.problems] == ["text after the frame"]
    assert recording.lost == []


def test_other_protocols_are_refused() -> None:
    with pytest.raises(Unsupported, match="protocol LIN"):
        read(BusmasterParser(), SAMPLE.replace(b"PROTOCOL CAN", b"PROTOCOL LIN"))


@pytest.mark.parametrize("date", [b"31:2:2015", b"0:0:0000", b"99:99:9999"])
def test_a_start_that_is_no_date_is_said(date: bytes) -> None:
    lines, recording = read(BusmasterParser(), SAMPLE.replace(b"23:9:2015 22:17", date + b" 22:17"))
    assert len(lines) == 4
    assert "start of the session is no date" in [problem.reason for problem in recording.problems]


def test_sessions_that_lie_too_far_apart_are_placed_on_one_day() -> None:
    lines, recording = read(BusmasterParser(), SAMPLE + HEAD.replace(b"2015", b"9015") + FRAMES[0])
    assert times_of(lines)[-1] == FIRST + 992_000_000
    assert "sessions lie too far apart" in recording.problems[0].reason


def test_a_header_without_frames_is_refused() -> None:
    with pytest.raises(Corrupt, match="no frame of a BUSMASTER log"):
        read(BusmasterParser(), HEAD)


def test_frames_without_a_header_are_known_by_their_shape() -> None:
    data = b"".join(FRAMES)
    match = BusmasterParser.sniff(data, len(data))
    assert match is not None
    assert "4 of the first 4 lines" in match.reason
    assert len(read(BusmasterParser(), data)[0]) == 4


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
def test_a_real_log_has_the_frames_of_the_same_drive_written_by_candump() -> None:
    found = []
    for name, parser in (("text/SavvyCAN__BusMasterLog.log", BusmasterParser), ("candump/SavvyCAN__candump.log", CandumpParser)):
        recording = Recording()
        with FileSource(CORPUS / name) as source:
            assert detect(source).format == parser.format
            text = b"".join(rows(parser().blocks(source, recording), recording))
        assert recording.lost == []
        frames = [line.split(b",", 2)[2] for line in text.splitlines()]
        found.append((len(frames), hashlib.sha256(b"\n".join(frames)).hexdigest()))
    assert found[0] == found[1]
    assert found[0][0] == 12_974
