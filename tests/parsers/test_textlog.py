"""Text logs: times, levels and sources of many loggers, JSON lines, encodings, continuation lines, what is refused, damage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from parsers.textlog._prefix import head_of
from parsers.textlog._stamp import stamp_of

from parsers.base import HEADER, HINT, STRUCTURE, LostRange, Recording
from parsers.blocks import LEVELS, NO_TIME, MessageBlock
from parsers.contract import ParserContract
from parsers.detect import detect
from parsers.errors import Corrupt, UnknownFormat, Unsupported
from parsers.limits import Limits
from parsers.source import BytesSource, FileSource
from parsers.textlog.textlog import TextlogParser
from tests.logs import candump
from tests.parsers.blocks import CORPUS

NS = 10**9
ZONED, ZONELESS, YEARLESS, SINCE_BOOT, CLOCK = range(1, 6)
LINES = [
    "2026-11-23T22:15:30.5Z INFO planner: cycle 1 took 12 ms",
    "2026-11-23T22:15:31.5Z WARNING planner: cycle 2 took 120 ms",
    '{"time":"2026-11-23T22:15:32Z","level":"error","logger":"gateway","msg":"bus off","bus":2}',
    "2026-11-23T22:15:33+00:00 ECU1 canlogd[77]: größer",
    "no time of its own",
]
SAMPLE = "".join(line + "\n" for line in LINES).encode()


def at(text: str) -> int:
    """Nanoseconds of a date in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def messages(data: bytes, limits: Limits | None = None) -> tuple[list[tuple[int, str, str, str]], Recording]:
    """All messages as (t_ns, level, source, text)."""
    recording = Recording()
    found = []
    for block in TextlogParser().blocks(BytesSource(data), recording, limits or Limits()):
        assert isinstance(block, MessageBlock)
        found += [
            (int(block.t_ns[i]), LEVELS[block.level[i]], recording.sources[block.source[i]], block.text_of(i)) for i in range(len(block))
        ]
    return found, recording


def texts(data: bytes, limits: Limits | None = None) -> list[str]:
    return [message[3] for message in messages(data, limits)[0]]


def confidence(data: bytes) -> int | None:
    match = TextlogParser.sniff(data, len(data))
    return None if match is None else match.confidence


class TestContract(ParserContract):
    parser = TextlogParser
    sample = SAMPLE
    whole_cuts = frozenset(len("".join(line + "\n" for line in LINES[:n]).encode()) for n in range(1, len(LINES)))
    reads_text = True


def test_the_sample_in_full() -> None:
    found, recording = messages(SAMPLE)
    assert recording.absolute
    assert found == [
        (at("2026-11-23 22:15:30") + 500_000_000, "info", "planner", "cycle 1 took 12 ms"),
        (at("2026-11-23 22:15:31") + 500_000_000, "warning", "planner", "cycle 2 took 120 ms"),
        (at("2026-11-23 22:15:32"), "error", "gateway", "bus off bus=2"),
        (at("2026-11-23 22:15:33"), "", "canlogd", "größer"),
        (at("2026-11-23 22:15:33"), "", "", "no time of its own"),
    ]


# --- times


@pytest.mark.parametrize(
    ("line", "kind", "utc", "rest"),
    [
        ("2026-11-23T22:15:30.5Z x", ZONED, "2026-11-23 22:15:30.5", " x"),
        ("2026-11-23 22:15:30,123 x", ZONELESS, "2026-11-23 22:15:30.123", " x"),
        ("2026-11-23 22:15:30.123456789123 x", ZONELESS, "2026-11-23 22:15:30.123456", " x"),
        ("2026/11/23 22:15:30 +0130 x", ZONED, "2026-11-23 20:45:30", " x"),
        ("2026-11-23T22:15:30+02:00", ZONED, "2026-11-23 20:15:30", ""),
        ("2026-11-23T22:15:30-05", ZONED, "2026-11-24 03:15:30", ""),
        ("2026-11-23 22:15:30 UTC x", ZONED, "2026-11-23 22:15:30", " x"),
        ("2026-11-23 22:15:30 - name", ZONELESS, "2026-11-23 22:15:30", " - name"),
        ("2026-11-23 22:15:30 -50 degrees", ZONELESS, "2026-11-23 22:15:30", " -50 degrees"),
        ("2026-11-23 22:15 x", ZONELESS, "2026-11-23 22:15:00", " x"),
        ("2026-11-23, 22:15:30 x", ZONELESS, "2026-11-23 22:15:30", " x"),
        ("2024-02-29T23:59:60Z", ZONED, "2024-03-01 00:00:00", ""),
        ("20261123T221530.123Z", ZONED, "2026-11-23 22:15:30.123", ""),
        ("20261123 22:15:30 x", ZONELESS, "2026-11-23 22:15:30", " x"),
        ("23.11.2026 22:15:30 x", ZONELESS, "2026-11-23 22:15:30", " x"),
        ("23/Nov/2026:22:15:30 +0000]", ZONED, "2026-11-23 22:15:30", "]"),
        ("23-Nov-2026 22:15:30 x", ZONELESS, "2026-11-23 22:15:30", " x"),
        ("Nov 23 2026 22:15:30 x", ZONELESS, "2026-11-23 22:15:30", " x"),
        ("Mon Nov 23 22:15:30 2026] x", ZONELESS, "2026-11-23 22:15:30", "] x"),
        ("Mon Nov 23 22:15:30 UTC 2026 x", ZONED, "2026-11-23 22:15:30", " x"),
        ("1795472130 x", ZONED, "2026-11-23 22:15:30", " x"),
        ("1795472130.5 x", ZONED, "2026-11-23 22:15:30.5", " x"),
        ("1795472130500 x", ZONED, "2026-11-23 22:15:30.5", " x"),
        ("1795472130500000: x", ZONED, "2026-11-23 22:15:30.5", ": x"),
        ("1795472130500000000", ZONED, "2026-11-23 22:15:30.5", ""),
        ("1969-12-31 23:59:59 x", None, "", ""),
        ("2026-13-23 22:15:30 x", None, "", ""),
        ("2026-11-23 24:15:30 x", None, "", ""),
        ("2026-11-23 22:61:30 x", None, "", ""),
        ("2026-11-23foo", None, "", ""),
        ("2026-11-23 without time", None, "", ""),
        ("22:20:14:992 Rx 0 0000021A s 8", None, "", ""),
        ("12345 x", None, "", ""),
        ("9999999999999999999 x", None, "", ""),
        ("May be 12:00:00", None, "", ""),
        ("Nov 23", None, "", ""),
    ],
)
def test_a_time_is_read(line: str, kind: int | None, utc: str, rest: str) -> None:
    stamp = stamp_of(line.encode())
    if kind is None:
        assert stamp is None
        return
    whole, _, fraction = utc.partition(".")
    assert stamp[0] == kind
    assert stamp[1] // 1000 == (at(whole) + int(fraction.ljust(9, "0") or 0)) // 1000
    assert line[stamp[4] :] == rest


@pytest.mark.parametrize(
    ("line", "kind", "month", "day"),
    [("Nov 23 22:15:30 host", YEARLESS, 11, 23), ("Nov  3 22:15:30.25 host", YEARLESS, 11, 3), ("11-23 22:15:30.123  1", YEARLESS, 11, 23)],
)
def test_a_time_without_year_is_read(line: str, kind: int, month: int, day: int) -> None:
    assert stamp_of(line.encode())[::2][:2] == (kind, month)
    assert stamp_of(line.encode())[3] == day


def test_every_cut_of_a_time_is_harmless() -> None:
    for line in ("Mon Nov 23 22:15:30.5 UTC 2026", "2026-11-23T22:15:30.5+01:00", "23/Nov/2026:22:15:30 +0000", "20261123T221530Z"):
        for end in range(len(line)):
            stamp_of(line[:end].encode())


# --- what stands before the message


@pytest.mark.parametrize(
    ("line", "level", "source", "text"),
    [
        ("2026-11-23 22:15:30,123 - my.module - WARNING - hello", "warning", "my.module", "hello"),
        ("2026-11-23 22:15:30,123 INFO  [main] com.foo.Bar - text", "info", "com.foo.Bar", "text"),
        ("2026-11-23 22:15:30.123  INFO 1234 --- [           main] c.e.App : Started", "info", "c.e.App", "Started"),
        ("2026-11-23T22:15:30.123456Z  INFO my::module: text", "info", "my::module", "text"),
        ("[2026-11-23T22:15:30Z INFO  my::module] text", "info", "my::module", "text"),
        ("[2026-11-23 22:15:30] [error] bad thing", "error", "", "bad thing"),
        ("2026/11/23 22:15:30 [error] 123#0: *1 open() failed", "error", "", "123#0: *1 open() failed"),
        ("[Mon Nov 23 22:15:30.12 2026] [core:error] [pid 1:tid 2] AH: x", "error", "core", "[pid 1:tid 2] AH: x"),
        ("2026-11-23 22:15:30 | INFO | mod:func:12 - text", "info", "", "mod:func:12 - text"),
        ("ERROR 2026-11-23 22:15:30 main: boom", "error", "main", "boom"),
        ("ERROR:root:message", "error", "root", "message"),
        ("WARNING: something", "warning", "", "something"),
        ("error: something", "error", "", "something"),
        ("no error here", "", "", "no error here"),
        ("I/O error: disk", "", "", "I/O error: disk"),
        ("(Error) something", "error", "", "something"),
        ("2026-11-23T22:15:30Z info envoy main", "info", "", "info envoy main"),
        ("2026-11-23 22:15:30 main.cpp:123 ERROR failed", "error", "", "main.cpp:123 ERROR failed"),
        ("2026-11-23 22:15:30 NON-ERROR state", "", "", "NON-ERROR state"),
        ("2026-11-23 22:15:30 http://x.y/z: foo", "", "", "http://x.y/z: foo"),
        ('time=2026-11-23T22:15:30Z level=info msg="hi"', "info", "", 'level=info msg="hi"'),
        ('ts="2026-11-23T22:15:30Z" lvl=warn msg=x', "warning", "", "lvl=warn msg=x"),
        ("Nov 23 22:15:30 myhost sshd[123]: Accepted", "", "sshd", "Accepted"),
        ("Nov 23 22:15:30 sshd[123]: Accepted", "", "sshd", "Accepted"),
        ("Nov 23 22:15:30 fe80::1 su: x", "", "su", "x"),
        ("Nov 23 22:15:30 host error: x", "", "", "host error: x"),
        ("2026-11-23T22:15:30+0000 host app[123]: text", "", "app", "text"),
        ("2026-11-23T22:15:30Z host kernel: text", "", "kernel", "text"),
        ("2026-11-23T22:15:30Z worker started: ok", "", "", "worker started: ok"),
        ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "fatal", "su", "'su root' failed"),
        ("<6>[    1.500000] usb 1-1: new device", "info", "", "usb 1-1: new device"),
        ("<999>no priority", "", "", "<999>no priority"),
        (
            '<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [e@1 iut="3"] \xef\xbb\xbfAn event', "info", "evntslog",
            '[e@1 iut="3"] \xef\xbb\xbfAn event',
        ),
        ("<34>1 2003-10-11T22:14:15.003Z h su 12 - - \xef\xbb\xbfmsg", "fatal", "su", "msg"),
        ("<35>1 - - - - - -", "error", "", ""),
        ("[    0.123456] usb 1-1: new device", "", "", "usb 1-1: new device"),
        ("11-23 22:15:30.123  1234  5678 I ActivityManager: Start", "info", "ActivityManager", "Start"),
        ("11-23 22:15:30.123 I/Tag( 1234): text", "info", "Tag", "text"),
        ("E/AndroidRuntime( 123): FATAL EXCEPTION", "error", "AndroidRuntime", "FATAL EXCEPTION"),
        ("I1123 22:15:30.123456  1234 file.cc:12] text", "info", "file.cc", "text"),
        ("E20261123 22:15:30.123456 1 a/b.cc:3] x", "error", "a/b.cc", "x"),
        ("[ INFO] [1630087906.722]: hello", "info", "", "hello"),
        ("[ WARN] [1630087906.722, 12.345]: sim", "warning", "", "sim"),
        ("[INFO] [1630087906.722123456] [talker]: Publishing", "info", "talker", "Publishing"),
        ("[talker-1] [INFO] [1630087906.722] [talker]: Pub", "info", "talker", "Pub"),
        ("1630087906.722 INFO /talker [/x.py:12(main)] text", "info", "/talker", "[/x.py:12(main)] text"),
        ("[section]", "", "", "[section]"),
        ("key: value", "", "", "key: value"),
    ],
)  # fmt: skip
def test_level_source_and_text_of_a_line(line: str, level: str, source: str, text: str) -> None:
    _, _, found_level, found_source, found_text = head_of(line.encode("latin-1"))
    assert (LEVELS[found_level], found_source.decode("latin-1"), found_text.decode("latin-1")) == (level, source, text)


def test_every_cut_of_every_form_is_harmless() -> None:
    forms = [
        b"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [e@1] x", b"11-23 22:15:30.123  1234  5678 I Tag: x",
        b"[ 11-23 22:15:30.123  1234: 5678 I/Tag ]", b"I1123 22:15:30.123456  1234 file.cc:12] text",
        b"[Mon Nov 23 22:15:30.12 2026] [core:error] [pid 1:tid 2] x", b"2026-11-23 22:15:30  INFO 1 --- [ main] a.B : x",
        b'127.0.0.1 - - [23/Nov/2026:22:15:30 +0000] "GET"',
    ]  # fmt: skip
    for line in forms:
        for end in range(len(line) + 1):
            head_of(line[:end])


@pytest.mark.parametrize(("priority", "level"), [(0, "fatal"), (11, "error"), (12, "warning"), (13, "info"), (14, "info"), (191, "debug")])
def test_the_severity_is_the_rest_of_the_priority(priority: int, level: str) -> None:
    assert LEVELS[head_of(b"<%d>Oct 11 22:14:15 h su: x" % priority)[2]] == level


def test_lines_of_web_servers_have_their_time_in_the_middle() -> None:
    line = b'127.0.0.1 - - [23/Nov/2026:22:15:30 +0000] "GET / HTTP/1.1" 200\n'
    assert messages(line)[0] == [(at("2026-11-23 22:15:30"), "", "", line.decode().strip())]


def test_the_long_form_of_logcat_joins_header_and_text() -> None:
    data = b"[ 11-23 22:15:30.000  1234: 5678 W/Tag ]\nthe text\n\n[ 11-23 22:15:31.000  1234: 5678 I/Tag ]\nmore\n"
    found, _ = messages(data)
    assert found == [(0, "warning", "Tag", "the text"), (NS, "info", "Tag", "more")]


def test_colours_are_taken_off() -> None:
    data = b"\x1b[32m2026-11-23T22:15:30Z\x1b[0m \x1b[1;31mERROR\x1b[0m main: red\x1b[0m\n" * 2
    assert confidence(data) == STRUCTURE
    assert messages(data)[0][0][1:] == ("error", "main", "red")


# --- which clock


def test_times_without_zone_are_utc_and_told_once() -> None:
    found, recording = messages(b"start\n2026-11-23 22:15:30 a\n2026-11-23 22:15:31 b\n")
    assert [message[0] for message in found] == [NO_TIME, at("2026-11-23 22:15:30"), at("2026-11-23 22:15:31")]
    assert recording.absolute
    assert [(problem.offset, problem.reason) for problem in recording.problems] == [(6, "times have no zone: taken as UTC")]


def test_without_any_year_times_count_from_the_first_one_over_the_new_year() -> None:
    data = b"Dec 31 23:59:59 h a[1]: x\nJan  1 00:00:01 h a[1]: y\nDec 31 23:59:58 h a[1]: late\nJan  1 00:00:02 h a[1]: z\n"
    found, recording = messages(data)
    assert [message[0] for message in found] == [0, 2 * NS, -NS, 3 * NS]
    assert not recording.absolute
    assert [problem.reason for problem in recording.problems] == ["times have no year: they count from the first one on"]


def test_the_29th_of_february_is_a_day_in_a_log_without_year() -> None:
    found, _ = messages(b"Feb 28 00:00:00 h a: x\nFeb 29 00:00:00 h a: y\nMar  1 00:00:00 h a: z\n")
    assert [message[0] for message in found] == [0, 86400 * NS, 2 * 86400 * NS]


@pytest.mark.parametrize("first", [True, False])
def test_one_date_with_a_year_completes_the_others(first: bool) -> None:
    data = b"Dec 31 23:59:59 h a[1]: x\nJan  1 00:00:01 h a[1]: y\n"
    data = b"2025-12-31T00:00:00Z b\n" + data if first else data * 2000 + b"2026-01-01T00:00:02Z b\n"
    found, recording = messages(data)
    assert recording.absolute
    start = int(first)
    assert found[start][0] == at("2025-12-31 23:59:59")
    assert found[start + 1][0] == at("2026-01-01 00:00:01")


def test_seconds_since_boot() -> None:
    found, recording = messages(b"[    0.000000] Linux\n[    1.500000] usb\n2026-11-23T22:15:30Z other\n")
    assert not recording.absolute
    assert [(message[0], message[3]) for message in found] == [
        (0, "Linux"), (1_500_000_000, "usb"), (1_500_000_000, "2026-11-23T22:15:30Z other"),
    ]  # fmt: skip
    assert recording.problems[0].reason == "1 times count differently from those of the file and are shown as text"


def test_times_of_day_go_on_over_midnight() -> None:
    found, recording = messages(b"23:59:59.5 a\n00:00:01 b\n23:59:58 late\n00:00:02 c\n")
    midnight = 86400 * NS
    assert [message[0] for message in found] == [midnight - NS // 2, midnight + NS, midnight - 2 * NS, midnight + 2 * NS]
    assert recording.problems[0].reason.startswith("times have no date")


def test_times_that_begin_late_in_the_file_are_found() -> None:
    found, recording = messages(b"banner without time\n" * 10_000 + b"2026-11-23T22:15:30Z x\n" * 10_000)
    assert recording.absolute
    assert found[-1][0] == at("2026-11-23 22:15:30")


# --- lines that belong together


def test_stack_traces_and_indented_lines_join_the_message_before() -> None:
    python = b'2026-11-23T22:15:30Z ERROR a: one\nTraceback (most recent call last):\n  File "x", line 1\nValueError: bad\nplain\n'
    java = b"2026-11-23T22:15:31Z ERROR a: two\njava.lang.Exception: x\n    at com.foo(Bar.java:1)\nCaused by: y\n\tat z\nplain\n"
    assert texts(python + java) == [
        'one\nTraceback (most recent call last):\n  File "x", line 1\nValueError: bad',
        "plain",
        "two",
        "java.lang.Exception: x\n    at com.foo(Bar.java:1)\nCaused by: y\n\tat z",
        "plain",
    ]


def test_a_joined_message_ends_at_the_longest_text() -> None:
    data = b"2026-11-23T22:15:30Z a\n" + b"    indented line\n" * 100
    found, recording = messages(data, Limits(max_line_length=200))
    assert all(len(message[3]) <= 200 for message in found)
    assert sum(message[3].count("indented line") for message in found) == 100
    assert {message[0] for message in found} == {at("2026-11-23 22:15:30")}
    assert recording.problems == []


@pytest.mark.parametrize("limits", [Limits(block_rows=1), Limits(block_bytes=1), Limits(block_rows=3, read_size=5), Limits(block_bytes=20)])
def test_blocks_do_not_split_joined_lines(limits: Limits) -> None:
    data = b"".join(b"2026-11-23T22:15:%02dZ message %d\n   goes on\n" % (i, i) for i in range(20))
    assert messages(data, limits)[0] == messages(data)[0]


# --- JSON lines


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ts": 1795472130.25, "severity": "WARN", "message": "m", "module": "x"}, (250_000_000, "warning", "x", "m")),
        ({"timestamp": 1795472130250, "level": 30, "msg": "pino", "pid": 1}, (250_000_000, "info", "", "pino pid=1")),
        ({"time": "1795472130250000", "level": 60, "msg": "x"}, (250_000_000, "fatal", "", "x")),
        ({"t": 1795472130250000000, "lvl": "dbug", "text": "x"}, (250_000_000, "", "", "x lvl=dbug")),
        ({"@timestamp": "2026-11-23T22:15:30Z", "log.level": "trace", "message": "x"}, (0, "trace", "", "x")),
        ({"asctime": "2026-11-23 22:15:30,250", "levelname": "CRITICAL", "name": "n", "message": "x"}, (250_000_000, "fatal", "n", "x")),
        ({"created": 1795472130.0, "levelno": 20, "message": "x"}, (0, "info", "", "x")),
        ({"__REALTIME_TIMESTAMP": "1795472130250000", "PRIORITY": "3", "MESSAGE": "j", "_COMM": "sshd"},
         (250_000_000, "error", "sshd", "j")),
        ({"time": 1.79547213e9, "event": "a", "message": "b"}, (0, "", "", "b event=a")),
        ({"time": "2026-11-23T22:15:30Z", "a": "", "b": "c d", "e": None, "f": [1, {"g": "}"}]},
         (0, "", "", 'a="" b="c d" e=null f=[1, {"g": "}"}]')),
        ({"time": "2026-11-23T22:15:30Z", "msg": 'gr\u00fc\u00dfe \U0001f600 "q" \\ \n\x00\ud800'},
         (0, "", "", 'grüße \U0001f600 "q" \\ \n\\x00\ufffd')),
    ],
)  # fmt: skip
def test_a_json_line_is_read_by_its_keys(fields: dict[str, Any], expected: tuple[int, str, str, str]) -> None:
    ((t_ns, level, source, text),) = messages(json.dumps(fields).encode() + b"\n")[0]
    assert (t_ns - at("2026-11-23 22:15:30"), level, source, text) == expected


def test_json_lines_that_are_cut_or_no_log_are_plain_text() -> None:
    data = b'{"time":"2026-11-23T22:15:30Z","msg":"a"}\n{"time":"2026-11-23T22:15:31Z","ms\n{"a": 1}\n{}\n{ curly }\n'
    assert texts(data) == ["a", '{"time":"2026-11-23T22:15:31Z","ms', '{"a": 1}', "{}", "{ curly }"]


def test_deep_and_wide_json_is_plain_text() -> None:
    deep = b'{"time":"2026-11-23T22:15:30Z","x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    wide = b'{"time":"2026-11-23T22:15:30Z",' + b",".join(b'"k%d":%d' % (i, i) for i in range(500)) + b"}"
    found, _ = messages(deep + b"\n" + wide + b'\n{"time":"2026-11-23T22:15:30Z","msg":"x"}\n')
    assert [message[3][:8] for message in found] == ['{"time":', '{"time":', "x"]


def test_every_cut_of_a_json_line_is_harmless() -> None:
    line = rb'{"ts":1795472130.25e0,"level":"warn","msg":"\u00e9\ud83d\ude00\n","n":{"a":[1,"}"]},"t":true}'
    for end in range(1, len(line)):
        assert len(messages(b"2026-11-23T22:15:30Z x\n" + line[:end] + b"\n")[0]) == 2


# --- detection


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SAMPLE, STRUCTURE), (b"2026-11-23T22:15:30Z x\n", HEADER), (b"2026-11-23T22:15:30Z x\n" + b"plain\n" * 10, HEADER),
        (b"just text\n" * 3, HINT), (b"2026-11-23T22:15:30Z,1.5,2e3\n" * 20, HINT),
        (b"2026-11-23 22:15:30;1,5;on\n" * 20, HINT), (b"1795472130.5\t1.0\tON\n" * 20, HINT), (b"1795472130.5 1.0 2.0\n" * 20, HINT),
        (b"2026-11-23T22:15:30Z, INFO, 5 things\n" * 20, STRUCTURE), (b"2026-11-23T22:15:30Z\tINFO\t5 things\n" * 20, STRUCTURE),
        (b"\n\n\n", None), (b"\0" * 100, None),
        (bytes(range(256)), None), (b'<?xml version="1.0"?>\n', None),
        (b"VERSION \"\"\nBS_:\nBU_: X\n", None), (b"<!DOCTYPE html>\n<p>\n", None),
        (b'{\n "a": 1\n}\n', None), (b"%PDF-1.4\nx\n", None), (candump("123#1122", "124#33"), None),
    ],
)  # fmt: skip
def test_how_sure_the_parser_is(data: bytes, expected: int | None) -> None:
    assert confidence(data) == expected


def test_only_the_suffix_makes_a_log_of_any_text() -> None:
    data = b"just text\n" * 3
    assert detect(BytesSource(data), "notes.txt").format == "textlog"
    assert detect(BytesSource(data), "boot.LOG").format == "textlog"
    with pytest.raises(UnknownFormat):
        detect(BytesSource(data), "main.py")
    assert detect(BytesSource(SAMPLE), "whatever").format == "textlog"


def test_candump_is_not_taken_for_text_whatever_its_name() -> None:
    assert detect(BytesSource(candump("123#1122", "124#33")), "boot.log").format == "candump"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"1 (1612543138.000000) vcan0 0CF00400#0041FF20481400F0\n" * 3, "frames of a CAN bus"),
        (b"22:20:14:992 Rx 0 0000021A s 8 FE 36 12 FE 69 05 07 AD \n" * 3, "frames of a CAN bus"),
        (b"   0.1234 1  123x  Rx   d 2 11 22\n" * 3, "frames of a CAN bus"),
        (b"     1)      1059.9  Rx     0300  7  00 00 00 00 04 00 00\n" * 3, "frames of a CAN bus"),
        (b"***BUSMASTER Ver 2.4.0***\n", "a BUSMASTER log"),
        (b"<!DOCTYPE html>\n", "a web page"),
    ],
)
def test_other_text_is_refused_by_name(data: bytes, sentence: str) -> None:
    assert confidence(data) is None
    with pytest.raises(Unsupported, match=sentence) as caught:
        messages(data)
    assert caught.value.offset == 0


@pytest.mark.skipif(not (CORPUS / "text").is_dir(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
@pytest.mark.parametrize("name", ["SavvyCAN__BusMasterLog.log", "pretty_j1939__test_priority.log"])
def test_can_logs_of_the_corpus_are_no_text_logs(name: str) -> None:
    with FileSource(CORPUS / "text" / name) as source:
        assert TextlogParser.sniff(bytes(source.read_at(0, 65536)), source.size) is None
        with pytest.raises(Unsupported):
            list(TextlogParser().blocks(source, Recording()))


# --- encodings


def test_latin_1_is_known_by_its_first_line_with_such_letters() -> None:
    line = "2026-11-23T22:15:30Z größer\n"
    for plain in (0, 5000):
        found, recording = messages(b"2026-11-23T22:15:30Z plain ASCII\n" * plain + line.encode("latin-1") * 2)
        assert found[-1][3] == "größer"
        assert recording.metadata == {"encoding": "ISO 8859-1"}
        assert recording.problems == []


def test_a_few_bad_bytes_do_not_make_utf_8_latin_1() -> None:
    found, recording = messages("2026-11-23T22:15:30Z größer\n".encode() * 5 + b"2026-11-23T22:15:30Z bad \xff\n")
    assert [message[3] for message in found] == ["größer"] * 5 + ["bad \ufffd"]
    assert recording.problems[0].reason == "1 pieces of text are no UTF-8 and stand as U+FFFD"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("read_size", [1, 7, 4096])
def test_other_encodings(encoding: str, read_size: int) -> None:
    text = "2026-11-23T22:15:30Z ERROR a: größer \U0001f600\nzweite Zeile\n"
    found, recording = messages(text.encode(encoding), Limits(read_size=read_size))
    assert [message[1:] for message in found] == [("error", "a", "größer \U0001f600"), ("", "", "zweite Zeile")]
    assert recording.lost == []


# --- damage


def test_zero_bytes_of_a_lost_write_are_lost_and_the_lines_around_them_are_read() -> None:
    data = b"2026-11-23T22:15:30Z a\n2026-11-23T22:15:3" + b"\0" * 40 + b"2026-11-23T22:15:32Z b\n"
    found, recording = messages(data)
    assert [message[3] for message in found] == ["a", "2026-11-23T22:15:3", "b"]
    assert recording.lost == [LostRange(data.index(b"\0"), 40, "zero bytes: not text")]


def test_binary_lines_are_lost() -> None:
    data = b"2026-11-23T22:15:30Z a\n" * 200 + bytes(range(1, 9)) * 10 + b"\n" + b"2026-11-23T22:15:31Z b\n"
    found, recording = messages(data)
    assert len(found) == 201
    assert recording.lost == [LostRange(200 * 23, 80, "line is mostly control characters: not text")]


@pytest.mark.parametrize("read_size", [10, 100, 10_000])
def test_a_line_too_long_is_cut_and_its_end_lost(read_size: int) -> None:
    data = b"2026-11-23T22:15:30Z a\n2026-11-23T22:15:31Z " + b"x" * 5000 + b"\n2026-11-23T22:15:32Z b\n"
    found, recording = messages(data, Limits(max_line_length=100, read_size=read_size))
    assert [message[3] for message in found] == ["a", "x" * 79, "b"]
    assert recording.lost == [LostRange(123, 4921, "line is longer than allowed; its end is lost")]


def test_a_file_of_one_endless_line_is_cut_at_its_end_too() -> None:
    data = b"x" * 100_000
    found, recording = messages(data, Limits(max_line_length=1000, read_size=4096))
    assert [len(message[3]) for message in found] == [1000]
    assert recording.lost == [LostRange(1000, 99_000, "line is longer than allowed; its end is lost")]


def test_a_last_line_without_end_is_told() -> None:
    assert messages(b"2026-11-23T22:15:30Z a")[1].problems[0].reason == "last line has no line end: the file may be cut"


@pytest.mark.parametrize("data", [b"\0" * 1000, bytes(range(256)) * 50])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="no text"):
        messages(data)


def test_line_ends_of_windows() -> None:
    assert texts(b"2026-11-23T22:15:30Z a\r\n\r\n2026-11-23T22:15:30Z b\r\n") == ["a", "b"]


def test_sources_beyond_the_limit_are_one() -> None:
    data = b"".join(b"2026-11-23T22:15:30Z h app%d[1]: x\n" % i for i in range(10))
    found, recording = messages(data, Limits(max_sources=4))
    assert recording.sources == ["app0", "app1", "app2", "other"]
    assert {message[2] for message in found[3:]} == {"other"}
