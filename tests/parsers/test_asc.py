"""ASC logs: header dialects, event lines, what is counted and what is lost."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.can import frames
from parsers.can.asc import AscParser, start_of
from parsers.contract import ParserContract, read
from parsers.errors import Corrupt, Truncated
from parsers.limits import Limits
from parsers.source import BytesSource
from tests.logs import ASC_HEADER, asc
from tests.parsers.blocks import damaged, everything

SAMPLE = asc(
    "   0.015991 1  64              Rx   d 4 64 00 00 00  Length = 0 BitCount = 0 ID = 100",
    "   0.016000 2  18EBFF00x       Tx   d 8 01 A0 0F A6 60 3B D1 40",
    "   2.501000 1 ErrorFrame",
    "   2.510001 2 100 Tx r",
    "  30.506898 CANFD   4 Rx        4EE                                   1 0 8 8 A1 02 03 04 05 06 07 08 102203 133 303000 e0006659",
)


class TestAsc(ParserContract):
    parser: ClassVar[type[Parser]] = AscParser
    sample: ClassVar[bytes] = SAMPLE
    whole_cuts: ClassVar[frozenset[int]] = frozenset(i + 1 for i, byte in enumerate(SAMPLE) if byte == 0x0A)


def one(event: str, header: str = ASC_HEADER) -> str:
    """The row of one event without its time."""
    lines, recording = read(AscParser(), asc("1.0 " + event, header=header))
    assert recording.lost == [], recording.problems
    return lines[0].split(",", 1)[1]


@pytest.mark.parametrize(
    ("event", "row"),
    [
        ("1 64 Rx d 2 64 0A", "1,64,0,0,0,0,640a"),
        ("1  64              Rx   d 1 6  Length = 0 BitCount = 0 ID = 100", "1,64,0,0,0,0,06"),
        ("2 18EBFF00x Rx d 0 ", "2,18ebff00,1,0,0,0,"),
        ("2 123X Rx d 1 FF", "2,123,1,0,0,0,ff"),
        ("1 3FF Tx d D 55 AA 01 02 03 04 05 06  Length = 232016", "1,3ff,0,0,0,0,55aa010203040506"),
        ("1 100 Rx r", "1,100,0,0,1,0,"),
        ("1 100 Rx r 8 Length = 1704000 BitCount = 145 ID = 88888888x", "1,100,0,0,1,0,"),
        ("1 ErrorFrame", "1,0,0,0,0,1,"),
        ("1 ErrorFrame ECC: 10100010", "1,0,0,0,0,1,"),
        ("CANFD 5 Tx ErrorFrame Not Acknowledge error, dominant error flag fffe c7", "5,0,0,0,0,1,"),
        ("CANFD 4 Rx 4EE 0 1 f 2 a1 02 1331984 11 0 46500250", "4,4ee,0,1,0,0,a102"),
        ("CANFD 4 Rx 1C4D80A7x AlphaNumericName_2 1 0 2 2 b1 02", "4,1c4d80a7,1,1,0,0,b102"),
        ("CANFD 3 Tx 50005x 0 1 5 0 140000 73 200050 7a60", "3,50005,1,1,1,0,"),
        ("CANFD 3 Tx 555 0 0 0 0 140000 73 303000 7a60", "3,555,0,1,0,0,"),
        ("CANFD 4 Rx 4EE 1 0 f 64 " + "5A " * 64, "4,4ee,0,1,0,0," + "5a" * 64),
    ],
)
def test_a_frame_is_read(event: str, row: str) -> None:
    assert one(event) == row


@pytest.mark.parametrize(
    ("event", "flags"),
    [
        ("1 64 Tx d 0", frames.TX),
        ("1 64x Rx d 0", frames.EXTENDED),
        ("1 64 Tx r", frames.TX | frames.REMOTE),
        ("CANFD 4 Rx 4EE 1 0 1 1 00", frames.FD | frames.BRS),
        ("CANFD 4 Tx 4EE 0 1 1 1 00", frames.FD | frames.ESI | frames.TX),
        ("1 ErrorFrame", frames.ERROR),
    ],
)
def test_flags_are_kept(event: str, flags: int) -> None:
    block = next(AscParser().blocks(BytesSource(asc("1.0 " + event)), Recording(), Limits()))
    assert int(block.flags[0]) == flags


def test_decimal_base_reads_identifiers_and_data_as_decimal() -> None:
    header = "date Sam Sep 30 15:06:13.191 2017\nbase dec  no internal events logged\n"
    assert one("1 1638 Rx d 3 255 0 16", header) == "1,666,0,0,0,0,ff0010"
    assert one("1 418119424x Rx d 1 7", header) == "1,18ebff00,1,0,0,0,07"


@pytest.mark.parametrize(
    "header",
    [
        ASC_HEADER,
        "date Fri May 18 12:14:42 am 2012\nbase hex  no internal events logged\n// version 7.1.0\n",
        "date Fri Feb 14 08:51:20 am 2020\nbase hex  timestamps absolute\n",
        "date Fri Feb 14 08:51:20 am 2020\nbase hex  timestamps absolute\nno internal events logged\n",
        ASC_HEADER + "Begin Triggerblock Sat Sep 30 15:06:13.191 2017\n 0.0 Start of measurement\n",
    ],
)
def test_the_first_frame_is_there_in_every_header_dialect(header: str) -> None:
    lines, recording = read(AscParser(), asc("1.0 1 123 Rx d 1 01", "2.0 1 124 Rx d 1 02", header=header))
    assert [line.split(",")[2] for line in lines] == ["123", "124"]
    assert recording.absolute


def test_relative_times_are_summed_over_all_events() -> None:
    header = "date Sam Sep 30 15:06:13.191 2017\nbase hex  timestamps relative\n"
    lines, _ = read(AscParser(), asc("0.5 1 123 Rx d 0", "0.25 1 Statistic: D 0", "0.125 1 123 Rx d 0", header=header))
    assert [int(line.split(",")[0]) for line in lines] == [500_000_000, 875_000_000]


def test_negative_times_are_kept() -> None:
    lines, _ = read(AscParser(), asc("-0.5 1 123 Rx d 0", "0.0 1 123 Rx d 0"))
    assert [int(line.split(",")[0]) for line in lines] == [-500_000_000, 0]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("Sam Sep 30 15:06:13.191 2017", 1_506_783_973_191_000_000),
        ("Sat Sep 30 15:06:13 2017", 1_506_783_973_000_000_000),
        ("Fri May 18 12:14:42 am 2012", 1_337_300_082_000_000_000),
        ("Fri May 18 2:4:57 pm 2012", 1_337_349_897_000_000_000),
        ("Tue May 27 04:09:35.000 pm 2014", 1_401_206_975_000_000_000),
        ("Mit Mär 04 09:00:00 2020", 1_583_312_400_000_000_000),
        ("Don Dez 24 23:59:59.999 2020", 1_608_854_399_999_000_000),
        ("jeu. août 13 10:00:00.5 2020", 1_597_312_800_500_000_000),
        ("Thu Feb 29 00:00:00 2024", 1_709_164_800_000_000_000),
        ("Wed Feb 29 00:00:00 2023", None),
        ("Sat Sep 30 25:00:00 2017", None),
        ("Sat Xyz 30 15:06:13 2017", None),
        ("30.09.2017 15:06:13", None),
        ("", None),
    ],
)
def test_dates_in_the_spellings_of_many_locales(text: str, utc: int | None) -> None:
    assert start_of(text) == utc


def test_the_trigger_block_says_when_the_measurement_began() -> None:
    header = "date Mon Nov 23 18:33:06.222 2026\nbase hex  timestamps absolute\nBegin Triggerblock Tue Nov 14 23:30:58.796 2023\n"
    _, recording = read(AscParser(), asc("1.0 1 123 Rx d 0", header=header, end="End TriggerBlock\n"))
    assert recording.start_ns == 1_700_004_658_796_000_000
    assert recording.problems == []


def test_a_trigger_block_that_never_ends_is_reported() -> None:
    header = ASC_HEADER + "Begin Triggerblock Sam Sep 30 15:06:13.191 2017\n"
    data = asc("1.0 1 123 Rx d 0", header=header)
    _, recording = read(AscParser(), data)
    assert [problem.offset for problem in recording.problems] == [len(data)]
    assert "no End TriggerBlock" in recording.problems[0].reason


def test_without_a_date_times_are_relative_and_reported() -> None:
    _, recording = read(AscParser(), asc("1.0 1 123 Rx d 0", header="base hex  timestamps absolute\n"))
    assert not recording.absolute
    assert recording.start_ns == 0
    assert "no date that can be read" in recording.problems[0].reason


def test_logs_joined_end_to_end_are_all_read_and_reported() -> None:
    one_log = asc("5.0 1 123 Rx d 0", "6.0 1 123 Rx d 0")
    lines, recording = read(AscParser(), one_log * 3)
    assert [int(line.split(",")[0]) // 10**9 for line in lines] == [5, 6, 5, 6, 5, 6]
    assert [problem.offset for problem in recording.problems] == [len(one_log), 2 * len(one_log)]
    assert "another log begins here" in recording.problems[0].reason


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%", "statistic"),
        ("CAN 2 Status:chip status error active", "CAN status"),
        ("1  J1939TP FEE3p        6    0  0   -   Rx   d 23 A0 0F", "J1939TP message"),
        ("1 OverloadFrame", "overload frame"),
        ("1 64 TxRq d 1 00", "transmit request"),
        ("CANFD 1 TxRq 64 0 0 1 1 00", "transmit request"),
        ("L1 3c Rx 8 00 00 00 00 00 00 00 00", "LIN event"),
        ("Li 3c Rx 8 00 00", "LIN event"),
        ("Fr RMSG  0 0 1 1", "FlexRay event"),
        ("ETH 1 Rx 3c:00", "Ethernet event"),
        ("SV: 2 0 1 ::a::b = 3", "system variable"),
        ("Start of measurement", "start of measurement"),
        ("log trigger event", "trigger event"),
        ("CANXL 1 Rx 64", "CAN XL frame"),
        ("Whatever 1 2 3", "other event"),
    ],
)
def test_events_that_are_no_frames_are_counted_by_kind(event: str, kind: str) -> None:
    lines, recording = read(AscParser(), asc("1.0 1 123 Rx d 0", "2.0 " + event))
    assert len(lines) == 1
    assert recording.skipped == {kind: 1}
    assert recording.lost == []


def test_status_lines_become_messages_with_their_time() -> None:
    _, recording = read(AscParser(), asc("1.0 1 123 Rx d 0", "2.5 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0"))
    (message,) = recording.messages
    assert (message.t_ns, message.level, message.source) == (2_500_000_000, "warning", "CAN 1")
    assert message.text == "chip status error passive - TxErr: 132 RxErr: 0"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("1.0 1 123 Rx d 2 01", "line ends before the event does"),
        ("1.0 1 123 Rx d 2 01 0G", "fewer or other data bytes"),
        ("1.0 1 123 Rx d 2 01 Length = 4", "fewer or other data bytes"),
        ("1.0 1 123 Rx d", "line ends before the event does"),
        ("1.0 1 123 Rx", "line ends before the event does"),
        ("1.0 1 123", "line ends before the event does"),
        ("1.0 1", "line ends before the event does"),
        ("1.0", "line ends before the event does"),
        ("1", "line ends before the event does"),
        ("1,5 1 123 Rx d 0", "time is not decimal seconds"),
        ("1.0 1 123 Rx q 0", "neither data (d) nor remote (r)"),
        ("1.0 1 123 Up d 0", "direction is not"),
        ("1.0 1 2FFFFFFFx Rx d 0", "identifier is no number"),
        ("1.0 1 EngineData Rx d 0", "symbolic name"),
        ("1.0 99999 123 Rx d 0", "channel is not a number"),
        ("1.0 CANFD 4 Rx 4EE 2 2 f 2 00 00", "DLC, flags or data length"),
        ("1.0 CANFD 4 Rx 4EE 0 0 f 65 00", "DLC, flags or data length"),
        ("1.0 CANFD 4 Rx 4EE 0 0 f 3 00 00", "line ends before the event does"),
        ("this is no log line", "neither a header nor an event"),
    ],
)
def test_a_bad_line_is_lost_with_its_place_and_reason(event: str, reason: str) -> None:
    head = asc("1.0 1 123 Rx d 0")
    lines, recording = read(AscParser(), head + event.encode() + b"\n2.0 1 123 Rx d 0\n")
    assert len(lines) == 2
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(head), len(event) + 1)]
    assert reason in recording.problems[0].reason
    assert recording.skipped == {"unreadable line": 1}


@pytest.mark.parametrize(
    ("event", "row", "remark"),
    [
        ("1 123 Rx d 9 " + "11 " * 12, "1,123,0,0,0,0," + "11" * 8, "only the first 8 are kept"),
        ("1 123 Rx d 15 " + "11 " * 64, "1,123,0,0,0,0," + "11" * 8, "only the first 8 are kept"),
        ("1 123 Rx d 1 11 22", "1,123,0,0,0,0,11", "the DLC is followed"),
        ("1 18EBFF00 Rx d 0", "1,18ebff00,1,0,0,0,", "read as extended"),
    ],
)
def test_a_doubtful_frame_is_kept_and_reported(event: str, row: str, remark: str) -> None:
    lines, recording = read(AscParser(), asc("1.0 " + event))
    assert lines == ["1000000000," + row]
    assert recording.lost == []
    assert remark in recording.problems[0].reason


def test_channels_are_named_by_their_number() -> None:
    _, recording = read(AscParser(), asc("1.0 7 123 Rx d 0", "1.0 2 123 Rx d 0", "1.0 7 123 Rx d 0"))
    assert recording.channels == ["7", "2"]


def test_a_header_alone_is_a_recording_without_frames() -> None:
    lines, recording = read(AscParser(), ASC_HEADER.encode())
    assert lines == []
    assert recording.absolute


def test_a_file_cut_in_its_header_is_truncated() -> None:
    with pytest.raises(Truncated, match="before its first frame at byte 60"):
        read(AscParser(), ASC_HEADER.encode()[:60])


def test_text_that_is_no_log_is_refused_at_its_first_line() -> None:
    with pytest.raises(Corrupt, match="no ASC header and no event in the file at byte 0"):
        read(AscParser(), b"dear diary\ntoday I drove\n")


def test_hundred_thousand_header_lines_do_not_flood_the_report() -> None:
    _, recording = read(AscParser(), ASC_HEADER.encode() + b"date x\n" * 100_000 + b"1.0 1 123 Rx d 0\n")
    assert len(recording.problems) == 1000
    assert recording.skipped["header line beyond the allowed number"] > 80_000


@pytest.mark.parametrize("header", ["base hex  timestamps absolute", "base dec  timestamps absolute", "base hex  timestamps relative"])
@pytest.mark.parametrize("seed", range(4))
def test_lines_read_in_one_go_equal_those_read_word_by_word(seed: int, header: str) -> None:
    rng = random.Random(seed)
    blanks = [" ", " ", "  ", "   ", " " * 9, "\t"]
    lines = [b"date Sam Sep 30 15:06:13.191 2017", header.encode()]
    for number in range(4000):
        identifier = f"{rng.randrange(0x900):X}" if rng.random() < 0.6 else f"{rng.randrange(1 << 30):X}x"
        length = rng.choice([0, 1, 4, 8, 8, 8, 8])
        data = "".join(f" {byte:02X}" for byte in rng.randbytes(length + rng.choice([0] * 20 + [1, -1]) if length else 0))
        end = rng.choice([""] * 4 + ["  Length = 0", " ", " 1A", "\r", " x"])
        time = f"{number * 0.000396:.6f}" if rng.random() < 0.9 else f"-{number}.5"
        dlc = rng.choice([str(length)] * 20 + ["F", "9", "08"])
        words = [
            time,
            str(rng.choice([1, 2, 17, 300])),
            identifier,
            rng.choice(["Rx", "Rx", "Tx", "rx", "TxRq"]),
            rng.choice("dddddr"),
            dlc,
        ]
        lines.append((rng.choice(blanks[:4]) + "".join(word + rng.choice(blanks) for word in words)[:-1] + data + end).encode())
    data = damaged(lines, rng, rng.choice([0, 0.02, 0.3]))
    # A line that may be longer than allowed is always read word by word.
    assert everything(AscParser(), data, Limits()) == everything(AscParser(), data, Limits(max_line_length=127))
