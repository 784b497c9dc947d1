"""DLT: headers of both versions, arguments of every type, control messages, file transfers, damage."""

from __future__ import annotations

import hashlib
import json
import struct
from itertools import accumulate
from typing import Any

import pytest

from parsers.base import HEADER, STRUCTURE, Attachment, LostRange, Recording
from parsers.blocks import NO_TIME, MessageBlock
from parsers.contract import ParserContract, read
from parsers.dlt.dlt import DltParser, dlt_rows
from parsers.errors import Corrupt
from parsers.limits import Limits
from parsers.source import BytesSource, FileSource
from tests.parsers import dlts
from tests.parsers.blocks import CORPUS
from tests.parsers.dlts import (
    APP_TRACE,
    ARAY,
    BINARY,
    BOOL,
    FIXP,
    FLOA,
    HEXADECIMAL,
    NETWORK,
    RAWD,
    REQUEST,
    SECONDS,
    SINT,
    STRG,
    STRU,
    TRAI,
    UINT,
    VARI,
    argument,
    control,
    log,
    raw,
    standard,
    standard_2,
    stored,
    stored_2,
    text,
    u16,
    uint,
)  # fmt: skip

MESSAGES = [
    log(text("engine started"), uptime=10_000),
    log(text("voltage"), uint(12), detail=dlts.WARN, micros=500_000),
    stored(standard(struct.pack("<I", 401) + b"\xab\xcd", extended=False)),
    control(0x13, b"\0" + struct.pack("<I", 5) + b"1.2.3"),
    log(text(b"gr\xc3\xbc\xc3\x9fe", True), argument(FLOA | 4, struct.pack(">d", 0.5), True), big=True),
]
SAMPLE = b"".join(MESSAGES)
ENDS = list(accumulate(map(len, MESSAGES)))


def messages(data: bytes, limits: Limits | None = None) -> tuple[list[tuple[int, int, str, str]], Recording]:
    """All messages as (t_ns, level, source, text)."""
    recording = Recording()
    found = []
    for block in DltParser().blocks(BytesSource(data), recording, limits or Limits()):
        assert isinstance(block, MessageBlock)
        found += [
            (int(block.t_ns[i]), int(block.level[i]), recording.sources[block.source[i]], block.text_of(i)) for i in range(len(block))
        ]
    return found, recording


def texts(data: bytes) -> list[str]:
    return [message[3] for message in messages(data)[0]]


def only(payload: bytes, noar: int = 1, **options: Any) -> tuple[str, Recording]:
    """The text of one message, which another one follows."""
    found, recording = messages(stored(standard(payload, noar=noar, **options)) + log(text("next")))
    assert [message[3] for message in found[1:]] == ["next"]
    return found[0][3], recording


class TestContract(ParserContract):
    parser = DltParser
    sample = SAMPLE
    whole_cuts = frozenset(ENDS[:-1])


# --- headers


def test_time_level_and_source_of_a_stored_message() -> None:
    found, recording = messages(SAMPLE)
    assert recording.absolute
    assert recording.start_ns == 0
    second = SECONDS * 10**9
    assert [message[:3] for message in found] == [
        (second, 3, "ECU1/APP/CTX"),
        (second + 500_000_000, 4, "ECU1/APP/CTX"),
        (second, 0, "ECU1"),
        (second, 0, "ECU1/APP/CTX"),
        (second, 3, "ECU1/APP/CTX"),
    ]
    assert texts(SAMPLE) == ["engine started", "voltage 12", "[401] abcd", "GetSoftwareVersion response ok: 1.2.3", "grüße 0.5"]


@pytest.mark.parametrize(
    ("detail", "level"), [(1, "fatal"), (2, "error"), (3, "warning"), (4, "info"), (5, "debug"), (6, "trace"), (9, "")]
)
def test_log_levels(detail: int, level: str) -> None:
    assert read(DltParser(), log(text("x"), detail=detail))[0] == [f"message,{SECONDS}000000000,{level},ECU1/APP/CTX,'x'"]


@pytest.mark.parametrize(
    ("kind", "detail", "prefix"),
    [
        (APP_TRACE, 1, "[variable] "), (APP_TRACE, 2, "[function in] "), (APP_TRACE, 5, "[vfb] "), (APP_TRACE, 9, ""),
        (NETWORK, 1, "[ipc] "), (NETWORK, 2, "[can] "), (NETWORK, 6, "[someip] "), (NETWORK, 15, ""),
    ],
)  # fmt: skip
def test_traces_say_their_kind(kind: int, detail: int, prefix: str) -> None:
    ((_, level, _, shown),) = messages(log(text("x"), kind=kind, detail=detail))[0]
    assert (level, shown) == (1, prefix + "x")


def test_the_ecu_of_the_message_goes_before_that_of_the_storage_header() -> None:
    data = stored(standard(text("x"), ecu=b"INNR", session=7), ecu=b"OUTR") + stored(standard(text("x"), ecu=None), ecu=b"OUTR")
    assert [message[2] for message in messages(data)[0]] == ["INNR/APP/CTX", "OUTR/APP/CTX"]


def test_absent_names_leave_no_slashes() -> None:
    assert messages(log(text("x"), apid=bytes(4), ctid=bytes(4)))[0][0][2] == "ECU1"


def test_sources_beyond_the_limit_are_one() -> None:
    data = b"".join(log(text("x"), apid=b"A%03d" % i) for i in range(10))
    found, recording = messages(data, Limits(max_sources=4))
    assert recording.sources == ["ECU1/A000/CTX", "ECU1/A001/CTX", "ECU1/A002/CTX", "other"]
    assert [message[2] for message in found[3:]] == ["other"] * 7


def test_without_storage_time_the_ecu_clock_counts() -> None:
    data = stored(standard(text("x"), uptime=15_000), seconds=0) + stored(standard(text("y")), seconds=0)
    found, recording = messages(data)
    assert not recording.absolute
    assert [message[0] for message in found] == [1_500_000_000, NO_TIME]
    assert [problem.reason for problem in recording.problems] == ["1 messages have no time"]


@pytest.mark.parametrize("serial", [b"", b"DLS\x01"])
def test_a_stream_from_the_wire_has_no_storage_headers(serial: bytes) -> None:
    data = b"".join(serial + standard(text(f"message {i}"), uptime=i, counter=i) for i in range(5))
    match = DltParser.sniff(data, len(data))
    assert match is not None
    assert match.confidence == STRUCTURE
    found, recording = messages(data)
    assert [(message[0], message[3]) for message in found] == [(i * 100_000, f"message {i}") for i in range(5)]
    assert not recording.absolute
    assert recording.lost == []


def test_one_message_from_the_wire_that_is_the_whole_file_is_known() -> None:
    data = standard(text("x"))
    match = DltParser.sniff(data, len(data))
    assert match is not None
    assert match.confidence == HEADER
    assert DltParser.sniff(data + b"rest of another file", len(data) + 20) is None


def test_a_stream_from_the_wire_is_found_again_behind_garbage() -> None:
    whole = [standard(text(f"message {i}"), uptime=i) for i in range(6)]
    data = b"".join(whole[:3]) + b"\xde\xad" * 20 + b"".join(whole[3:])
    found, recording = messages(data)
    assert [message[3] for message in found] == [f"message {i}" for i in range(6)]
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(b"".join(whole[:3])), 40)]


# --- arguments


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("info", "data", "shown"),
    [
        (BOOL | 1, ("B", 0), "false"), (BOOL | 1, ("B", 1), "true"), (BOOL, ("B", 1), "true"),
        (SINT | 1, ("b", -5), "-5"), (SINT | 2, ("h", -300), "-300"), (SINT | 3, ("i", -70_000), "-70000"),
        (SINT | 4, ("q", -(2**63)), "-9223372036854775808"),
        (UINT | 1, ("B", 200), "200"), (UINT | 2, ("H", 65535), "65535"), (UINT | 3, ("I", 2**32 - 1), "4294967295"),
        (UINT | 4, ("Q", 2**64 - 1), "18446744073709551615"),
        (UINT | HEXADECIMAL | 2, ("H", 0xBEEF), "0xbeef"), (UINT | BINARY | 1, ("B", 5), "0b00000101"),
        (FLOA | 2, ("e", 1.5), "1.5"), (FLOA | 2, ("e", -6e-8), "-5.9604645e-08"), (FLOA | 2, ("e", float("-inf")), "-inf"),
        (FLOA | 3, ("f", 0.1), "0.1"), (FLOA | 3, ("f", 1.1), "1.1"), (FLOA | 4, ("d", 0.1), "0.1"),
        (FLOA | 4, ("d", 1 / 3), "0.3333333333333333"),
        (FLOA | 4, ("d", float("nan")), "nan"),
    ],
)  # fmt: skip
def test_a_number_is_read_in_both_orders(info: int, data: tuple[str, Any], shown: str, big: bool) -> None:
    assert only(argument(info, struct.pack(">" + data[0] if big else "<" + data[0], data[1]), big), big=big)[0] == shown


@pytest.mark.parametrize("big", [False, True])
def test_numbers_of_128_bits_are_hex(big: bool) -> None:
    data = (0x0102030405060708090A0B0C0D0E0F10).to_bytes(16, "big" if big else "little")
    assert only(argument(UINT | 5, data, big), big=big)[0] == "0x0102030405060708090a0b0c0d0e0f10"


def test_texts_bytes_and_trace_info() -> None:
    payload = text("ASCII", info=STRG) + raw(b"\0\xff") + text("trace", info=TRAI) + text("") + text(b"\xff\x1b[1m\tx\r\ny")
    assert only(payload, 5)[0] == "ASCII 00ff trace  \ufffd\\x1b[1m\tx\ny"


def test_names_and_units() -> None:
    number = argument(SINT | VARI | 2, u16(6, 3) + b"speed\0" + b"km\0" + struct.pack("<h", -7))
    flag = argument(BOOL | VARI | 1, u16(5) + b"door\0" + b"\1")
    words = argument(STRG | VARI, u16(3, 5) + b"name\0" + b"ab\0")
    data = argument(RAWD | VARI, u16(2, 4) + b"key\0" + b"\x01\x02")
    unnamed = argument(UINT | VARI | 1, u16(0, 0) + b"\x09")
    assert only(number + flag + words + data + unnamed, 5)[0] == "speed=-7 km door=true name=ab key=0102 9"


def test_fixed_point() -> None:
    half = argument(SINT | FIXP | 2, struct.pack("<fih", 0.5, 10, -6))
    wide = argument(UINT | FIXP | 4, struct.pack("<fqQ", 0.25, -1, 8))
    assert only(half + wide, 2)[0] == "7 1"


def test_arrays_and_structures() -> None:
    numbers = argument(UINT | ARAY | 2, u16(2, 2, 3) + u16(1, 2, 3, 4, 5, 6))
    inner = argument(STRU, u16(2)) + uint(1) + argument(STRU | VARI, u16(1, 2) + b"s\0") + text("x")
    assert only(numbers + inner + uint(9), 3)[0] == "[1, 2, 3, 4, 5, 6] {1 s={x}} 9"


def test_an_array_cannot_claim_more_than_the_message_holds() -> None:
    shown, recording = only(argument(UINT | ARAY | 1, u16(3, 65535, 65535, 65535)))
    assert shown == argument(UINT | ARAY | 1, u16(3, 65535, 65535, 65535)).hex()
    assert recording.problem_count == 1


def test_structures_do_not_nest_without_end() -> None:
    shown, recording = only(argument(STRU, u16(1)) * 100)
    assert shown.startswith("{" * 8)
    assert [problem.reason for problem in recording.problems] == [
        "an argument is not what its type info says; the rest of the message is shown as bytes"
    ]


@pytest.mark.parametrize(
    "bad",
    [
        argument(STRG, u16(100) + b"abc"), argument(RAWD, u16(4)), argument(SINT | UINT | 3, bytes(4)), argument(0, b"\1"),
        argument(UINT | 9, bytes(8)), argument(FLOA | 1, b"\1"), b"\1\2\3", argument(STRG | VARI, u16(1, 50) + b"a"),
        argument(SINT | VARI | 2, u16(50, 50) + b"a"), argument(SINT | FIXP | 2, b"\0\0"), argument(0xFF000000 | UINT | 1, b"\1"),
        argument(STRU, b"\1"), argument(UINT | ARAY | 1, b""), argument(UINT | 4, bytes(7)),
    ],
)  # fmt: skip
def test_an_argument_against_its_type_info_leaves_the_others_and_its_bytes(bad: bytes) -> None:
    shown, recording = only(text("before") + bad, 2)
    assert shown == f"before {bad.hex()}"
    assert [(problem.offset, problem.reason) for problem in recording.problems] == [
        (0, "an argument is not what its type info says; the rest of the message is shown as bytes")
    ]
    assert recording.lost == []


def test_fewer_arguments_than_announced() -> None:
    shown, recording = only(text("a") + text("b"), 5)
    assert shown == "a b"
    assert recording.problems[0].reason == "fewer arguments than announced"


def test_bytes_behind_the_last_argument_are_shown() -> None:
    shown, recording = only(text("a") + b"\1\2", 1)
    assert shown == "a 0102"
    assert recording.problems[0].reason == "bytes behind the last argument"


@pytest.mark.parametrize("big", [False, True])
def test_non_verbose_messages_show_their_number(big: bool) -> None:
    payload = struct.pack(">I" if big else "<I", 4711) + b"\x0f"
    assert only(payload, verbose=False, big=big)[0] == "[4711] 0f"
    shown, recording = only(b"\1\2", extended=False)
    assert shown == "[] 0102"
    assert recording.problems[0].reason == "the payload is shorter than its message id"


def test_a_text_longer_than_a_line_may_be_is_cut_and_told() -> None:
    found, recording = messages(log(text("é" * 100)) + log(raw(bytes(200))), Limits(max_line_length=51))
    assert [message[3] for message in found] == ["é" * 25, "00" * 25]
    assert recording.problems[0].reason == "2 texts are longer than allowed and were cut"


# --- messages that are more than text


@pytest.mark.parametrize("big", [False, True])
def test_the_software_version_is_metadata(big: bool) -> None:
    found, recording = messages(control(0x13, b"\0" + struct.pack(">I" if big else "<I", 6) + b"7.1.0\0", big=big))
    assert found[0][3] == "GetSoftwareVersion response ok: 7.1.0"
    assert recording.metadata == {"software version ECU1": "7.1.0"}


@pytest.mark.parametrize("length", [0, 5, 2**32 - 1])
def test_a_software_version_of_a_lying_length_is_harmless(length: int) -> None:
    found, _ = messages(control(0x13, b"\0" + struct.pack("<I", length) + b"abc"))
    assert found[0][3].startswith("GetSoftwareVersion response ok")


def test_control_messages_are_named() -> None:
    data = [
        control(0x11, b"\4", REQUEST), control(0x01, b"\1"), control(0x03, b"\x08"), control(0xF01, b"\0abc"),
        control(0x1234, b"", REQUEST), control(0x500, b"\x63"), control(0xF03, b"\0" + struct.pack("<iB", 3600, 1)),
    ]  # fmt: skip
    found, recording = messages(b"".join(data))
    assert [message[3] for message in found] == [
        "SetDefaultLogLevel request 04",
        "SetLogLevel response not supported",
        "GetLogInfo response no matching context",
        "UnregisterContext response ok 616263",
        "injection 4660 request",
        "service 1280 response status 99",
        "Timezone response ok 100e000001",
    ]
    assert recording.metadata == {"time zone ECU1": "3600 s from UTC, summer time"}


@pytest.mark.parametrize("big", [False, True])
def test_a_file_transfer_is_listed_and_its_data_only_counted(big: bool) -> None:
    start = [text("FLST", big), uint(77, big), text("core.txt", big), uint(5, big), text("date", big), uint(1, big), uint(0, big)]
    data = log(*start, text("FLST", big), big=big)
    data += log(text("FLDA", big), uint(77, big), uint(1, big), raw(b"12345", big), text("FLDA", big), big=big) * 3
    data += log(text("FLFI", big), uint(77, big), text("FLFI", big), big=big)
    found, recording = messages(data)
    assert [message[3] for message in found] == ["FLST 77 core.txt 5 date 1 0 FLST", "FLFI 77 FLFI"]
    assert recording.attachments == [Attachment("core.txt", "text/plain", 5)]
    assert recording.skipped == {"file transfer data": 3}


def test_segments_of_a_network_trace_are_counted() -> None:
    data = (
        log(text("NWST"), uint(1), kind=NETWORK) + log(text("NWCH"), uint(1), raw(b"x"), kind=NETWORK) * 2 + log(text("NWEN"), kind=NETWORK)
    )
    found, recording = messages(data)
    assert len(found) == 2
    assert recording.skipped == {"network trace segment": 2}


# --- version 2


@pytest.mark.parametrize(
    ("big", "stamp"),
    [
        (True, SECONDS.to_bytes(5, "big") + (250).to_bytes(4, "little")),
        (True, (250).to_bytes(4, "little") + SECONDS.to_bytes(5, "little")),
        (True, SECONDS.to_bytes(5, "big") + (250).to_bytes(4, "big")),
        (False, SECONDS.to_bytes(5, "big") + (250).to_bytes(4, "little")),
    ],
)
def test_version_2_is_read_in_the_dialects_of_its_writers(big: bool, stamp: bytes) -> None:
    place = (
        dlts.named(b"main.c") + struct.pack(">I" if big else "<I", 42) + bytes((2,)) + dlts.named(b"TAG1") + dlts.named(b"TAG2") + b"\x20"
    )
    data = stored_2(standard_2(text("located"), flags=0x0700, extra=place, msin=0x31, big=big), stamp=stamp)
    data += stored_2(standard_2(b"\1\2", content=1, number=99, big=big), stamp=stamp)
    data += stored_2(standard_2(struct.pack("<I", 0x13) + b"\0", content=2, msin=0x26, big=big), stamp=stamp)
    found, recording = messages(data)
    assert recording.absolute
    shown = ["located [main.c:42 TAG1 TAG2]", "[99] 0102", "GetSoftwareVersion response ok"]
    assert [message[3] for message in found] == shown
    assert {message[0] for message in found} <= {SECONDS * 10**9 + 250, SECONDS * 10**9 + (250 << 24)}
    assert [message[1] for message in found] == [4, 0, 0]
    assert {message[2] for message in found} == {"ECU2/LOGGER/CONTEXT"}
    assert recording.lost == []


@pytest.mark.parametrize("big", [False, True])
def test_arguments_of_version_2_are_read_in_either_order(big: bool) -> None:
    assert texts(stored_2(standard_2(text("x", big) + uint(7, big), noar=2))) == ["x 7"]


def test_version_2_from_the_wire_counts_from_the_start_of_the_ecu() -> None:
    stamp = (0x80000000 | 500).to_bytes(4, "big") + (3).to_bytes(5, "big")
    found, recording = messages(standard_2(text("x"), stamp=stamp) * 4)
    assert not recording.absolute
    assert [message[0] for message in found] == [3_000_000_500] * 4


def test_version_2_names_longer_than_the_message_are_lost_and_the_rest_is_read() -> None:
    bad = stored_2(b"\x4c\0\0\0\0\0\x20" + bytes(11) + b"\xff" * 14)
    found, recording = messages(stored_2(standard_2(text("a"))) + bad + stored_2(standard_2(text("b"))))
    assert [message[3] for message in found] == ["a", "b"]
    assert [lost.reason for lost in recording.lost] == ["a name is longer than its message"]


def test_versions_may_be_mixed() -> None:
    assert texts(log(text("one")) + stored_2(standard_2(text("two"))) + log(text("three"))) == ["one", "two", "three"]


# --- damage


def test_garbage_between_messages_is_lost_and_nothing_else() -> None:
    data = MESSAGES[0] + b"\xde\xad" * 37 + SAMPLE
    found, recording = messages(data)
    assert len(found) == 6
    assert recording.lost == [LostRange(len(MESSAGES[0]), 74, "not the beginning of a message")]


def test_a_file_cut_at_the_front_is_read_from_the_next_message_on() -> None:
    data = SAMPLE[7:]
    match = DltParser.sniff(data, len(data))
    assert match is not None
    assert match.confidence == STRUCTURE
    found, recording = messages(data)
    assert len(found) == 4
    assert recording.lost == [LostRange(0, ENDS[0] - 7, "not the beginning of a message")]


@pytest.mark.parametrize("length", [0, 3, 17])
def test_a_length_without_room_for_the_header_costs_one_message(length: int) -> None:
    data = bytearray(SAMPLE)
    struct.pack_into(">H", data, ENDS[0] + 18, length)
    found, recording = messages(bytes(data))
    assert len(found) == 4
    assert recording.lost == [LostRange(ENDS[0], len(MESSAGES[1]), "the length of the message is wrong")]


@pytest.mark.parametrize("repeats", [1, 400])
def test_a_length_beyond_the_next_messages_costs_one_message(repeats: int) -> None:
    data = bytearray(SAMPLE * repeats)
    struct.pack_into(">H", data, 18, 65535)
    found, recording = messages(bytes(data), Limits(read_size=5000))
    assert len(found) == 5 * repeats - 1
    assert recording.lost == [LostRange(0, ENDS[0], "the length of the message is wrong")]


def test_a_magic_inside_of_a_payload_is_no_message() -> None:
    data = log(raw(b"DLT\x01" * 10)) + log(text("next"))
    found, recording = messages(data)
    assert len(found) == 2
    assert recording.lost == []


def test_a_cut_file_gives_every_whole_message_and_the_lost_tail() -> None:
    found, recording = messages(SAMPLE[:-3])
    assert len(found) == 4
    assert recording.lost == [LostRange(ENDS[3], len(MESSAGES[4]) - 3, "the file ends in a message")]


def test_a_file_of_nothing_but_magic_is_refused() -> None:
    with pytest.raises(Corrupt, match="no DLT message") as caught:
        messages(b"DLT\x01" * 50_000)
    assert caught.value.offset == 0


def test_any_wrong_length_costs_one_message_at_most_and_is_told() -> None:
    starts = {n * ENDS[-1] + end for n in range(3) for end in ENDS}
    for length in range(400):
        if ENDS[0] + 16 + length in starts:  # then it swallows whole messages, and nothing else than their bytes behind its own tells
            continue
        data = bytearray(SAMPLE * 3)
        struct.pack_into(">H", data, ENDS[0] + 18, length)
        found, recording = messages(bytes(data))
        assert 14 <= len(found) <= 15
        assert recording.lost


# --- the corpus


def expectations() -> list[tuple[str, dict[str, Any]]]:
    if not (CORPUS / "EXPECTED.json").is_file():
        return []
    files = json.loads((CORPUS / "EXPECTED.json").read_text())["files"]
    derived = {entry["file"]: entry for entry in json.loads((CORPUS / "derived" / "EXPECTED_derived.json").read_text())}
    return [(name, entry["expected"]) for name, entry in (files | derived).items() if entry["format"] == "dlt"]


CASES = expectations()
needs_corpus = pytest.mark.skipif(not CASES, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
# Version 2, which the readers behind EXPECTED.json do not know: messages, and the first and last of their texts.
VERSION_2 = {
    "dlt/dlt-daemon__testfile-v2.dlt": (1, "0 Hello World [dlt-example-user-v2.c:401 TAG1 TAG2 TAG3]"),
    "dlt/dlt-viewer__testfile.dlt": (1, "Start logging after ECU startup"),
    "dlt/DLT-Message-Analyzer__cpu_load_plot_example.dlt": (501, "Timestamp,Application Name,CPU Consumption Level"),
}


@needs_corpus
@pytest.mark.parametrize(("name", "expected"), CASES, ids=[name for name, _ in CASES])
def test_rows_equal_those_of_independent_readers(name: str, expected: dict[str, Any]) -> None:
    with FileSource(CORPUS / name) as source:
        head = bytes(source.read_at(0, 65536))
        assert DltParser.sniff(head, source.size) is not None
        lines = list(dlt_rows(source))
        found, recording = read(DltParser(), bytes(source.read_at(0, source.size)))
    assert recording.lost == []
    assert len(found) + sum(recording.skipped.values()) == len(lines)
    if name in VERSION_2:
        assert len(lines) == VERSION_2[name][0]
        assert repr(VERSION_2[name][1]) in found[0]
        return
    assert len(lines) == expected["messages"]
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == expected["rows_sha256"]
    assert int(lines[0].split(",")[0]) == expected["first_t_us"]
    assert int(lines[-1].split(",")[0]) == expected["last_t_us"]


@needs_corpus
def test_texts_of_a_real_file() -> None:
    with FileSource(CORPUS / "dlt/dlt-daemon__testfile_extended.dlt") as source:
        recording = Recording()
        shown = [block.text_of(i) for block in DltParser().blocks(source, recording) for i in range(len(block))]
    assert shown[0] == "0 Message with log level 1"
    assert shown[6] == "SetDefaultLogLevel request 0472656d6f"
    assert shown[23:28] == ["true", "STRING 112 message", "CSTRING 113 message", "1.1", "1.2"]
    assert recording.sources[0] == "ECU1/LOG/TEST"


@needs_corpus
def test_the_files_of_a_transfer_are_listed() -> None:
    with FileSource(CORPUS / "dlt/chipmunk__attachments.dlt") as source:
        recording = Recording()
        list(DltParser().blocks(source, recording))
    assert [(entry.name, entry.size) for entry in recording.attachments] == [("test1.txt", 5), ("test2.txt", 6), ("test3.txt", 7)]
    assert recording.skipped == {"file transfer data": 3}
