"""Vector ASC text logs: headers in their dialects here, event lines in _asc."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

from parsers.base import HEADER, HINT, MAGIC, STRUCTURE, Match, Recording
from parsers.can._asc import AscScanner
from parsers.can.frames import FrameBlock
from parsers.can.lines import UTF8_MARK, frame_blocks
from parsers.errors import Corrupt, Truncated
from parsers.limits import DEFAULT, Limits
from parsers.source import Source

_DATE = re.compile(rb"\s*date\s+\S", re.IGNORECASE)
_BASE = re.compile(rb"\s*base\s+(hex|dec)\b", re.IGNORECASE)
_EVENT = re.compile(
    rb"\s*-?\d+\.\d{1,9}\s+(?:\d{1,5}\s+(?:[0-9A-Fa-f]{1,10}x?\s+(?:Rx|Tx|TxRq)\s+[dr]\b|ErrorFrame|Statistic:|J1939TP\b)"
    rb"|CANFD\s+\d{1,5}\s+(?:Rx|Tx|TxRq)\s|Start of measurement|CAN\s+\d+\s+Status)",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,:](\d{1,9}))?$")

# Names as Windows writes them short in the locales that loggers are seen with; only the first three or four letters count.
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen janv",
            "feb fev fév févr",
            "mar mär mrz maer mars mrt",
            "apr abr avr avri",
            "may mai maj mag mei",
            "jun juin giu",
            "jul juil lug",
            "aug ago aoû août aou out-",
            "sep set sept",
            "oct okt ott",
            "nov",
            "dec dez dic déc dece",
        ),
        start=1,
    )
    for name in names.split()
}
_MOST_HEADERS = 10_000


def start_of(text: str) -> int | None:
    """UTC nanoseconds of an ASC date such as `Sam Sep 30 15:06:13.191 2017` or `Fri May 18 12:14:42 am 2012`; None if it is none.

    The file names no time zone: the date is taken as UTC.
    """
    month = day = year = None
    clock = None
    half = ""
    for word in text.split():
        lower = word.lower().rstrip(".,")
        if (found := _CLOCK.match(word)) and clock is None:
            clock = found
        elif lower in ("am", "pm", "a.m", "p.m"):
            half = lower[0]
        elif lower.isascii() and lower.isdigit():
            if len(lower) == 4:
                year = int(lower)
            elif day is None and len(lower) <= 2:
                day = int(lower)
        elif month is None:
            month = _MONTHS.get(lower) or _MONTHS.get(lower[:3])
    if month is None or day is None or year is None or clock is None:
        return None
    hour, minute, second = (int(clock[i]) for i in (1, 2, 3))
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    if not (1971 <= year <= 2261 and 1 <= day <= calendar.monthrange(year, month)[1] and hour < 24 and minute < 60 and second < 60):
        return None
    return calendar.timegm((year, month, day, hour, minute, second)) * 10**9 + int((clock[4] or "0").ljust(9, "0"))


class AscParser:
    """Reads ASC logs of CANalyzer, CANoe, BUSMASTER, python-can and converters; the channel is the number in the file."""

    format: ClassVar[str] = "asc"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".asc",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The headers `date` and `base` together are as good as a magic number; else events or one header must be there."""
        lines = head.removeprefix(UTF8_MARK).splitlines()
        date = any(_DATE.match(line) for line in lines[:20])
        base = any(_BASE.match(line) for line in lines[:20])
        events = sum(1 for line in lines if _EVENT.match(line))
        if base and (date or events):
            return Match(MAGIC, "the header lines of an ASC log")
        if events >= 2:
            return Match(STRUCTURE, f"{events} of the first {len(lines)} lines are ASC events")
        if base or events:
            return Match(HEADER, "one line as in an ASC log")
        return Match(HINT, "begins with a date line as an ASC log does") if lines and _DATE.match(lines[0]) else None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[FrameBlock]:
        """Frames in file order, times relative to `recording.start_ns`.

        Raises Corrupt when there is neither a header nor an event, Truncated when the file is cut before its first frame.
        """
        recording.format = self.format
        scanner = AscScanner(limits.block_frames, limits.max_channels, limits.max_line_length)
        headers = _Headers(scanner, recording)
        for block in frame_blocks(scanner, source, recording, limits, headers.read):
            recording.channels[:] = scanner.numbers.names()
            yield block
        recording.channels[:] = scanner.numbers.names()
        counts = scanner.skipped_counts()
        for kind, count in counts.items():
            recording.add_skipped(kind, count)
        headers.finish(source.size)
        counts.pop("comment", None)
        if scanner.columns.total == 0 and scanner.unterminated:
            raise Truncated("the file ends before its first frame", source.size)
        if scanner.columns.total == 0 and not headers.based and not counts:
            first = recording.problems[0].offset if recording.problems else 0
            raise Corrupt("no ASC header and no event in the file", first)


class _Headers:
    """What the header lines say, as they come by."""

    def __init__(self, scanner: AscScanner, recording: Recording) -> None:
        self.scanner = scanner
        self.recording = recording
        self.seen = 0
        self.based = False
        self.logs = 0
        self.open_block = -1
        self.blocks = 0
        self.started = False

    def read(self, offset: int, line: bytes) -> None:
        """Takes one line that the scanner left to Python."""
        text = line.decode("utf-8", "replace").strip()
        word = text.split(None, 1)[0].lower()
        if word[0].isdigit() or word[0] == "-":
            self._status(text)
            return
        self.seen += 1
        self.scanner.wants_headers = self.seen < _MOST_HEADERS
        if word == "date":
            self._date(offset, text[4:])
        elif word == "begin":
            self._begin(offset, text)
        elif word == "end":
            self.open_block = -1
        else:
            self._options(offset, text.lower())

    def finish(self, size: int) -> None:
        """Says what the end of the file leaves open."""
        if self.open_block >= 0:
            self.recording.add_problem(size, f"no End TriggerBlock for the block at byte {self.open_block}: the file may be cut")
        if not self.started:
            self.recording.add_problem(0, "no date that can be read: times are relative")

    def _status(self, text: str) -> None:
        number, _, state = " ".join(text.split()[2:]).partition(" ")
        state = state.removeprefix("Status:")
        level = "warning" if any(word in state.lower() for word in ("passive", "bus off", "busoff", "warning")) else "info"
        self.recording.add_message(self.scanner.now, level, f"CAN {number}", state)
        self.scanner.wants_status = self.recording.message_count < self.recording.limits.max_messages

    def _date(self, offset: int, text: str) -> None:
        self.logs += 1
        if self.logs > 1:
            self.recording.add_problem(offset, f"another log begins here (date{text}): its times are kept as written")
            return
        self._start(offset, text)

    def _begin(self, offset: int, text: str) -> None:
        words = text.split(None, 2)
        self.open_block = offset
        self.blocks += 1
        # The measurement begins with its first trigger block; `date` may be the day on which the file was converted.
        if self.blocks == 1 and self.logs <= 1 and len(words) == 3 and self.scanner.columns.total == 0:
            self._start(offset, words[2])

    def _start(self, offset: int, text: str) -> None:
        start = start_of(text)
        if start is None:
            self.recording.add_problem(offset, f"date is not understood: {text.strip()[:60]!r}")
            return
        self.recording.start_ns = start
        self.recording.absolute = True
        self.started = True

    def _options(self, offset: int, text: str) -> None:
        words = text.split()
        for key, value in pairwise(words):
            if key == "base":
                self.based = True
                self.scanner.decimal = value == "dec"
                if value not in ("hex", "dec"):
                    self.recording.add_problem(offset, f"number base {value[:20]!r} is not known: read as hex")
            elif key == "timestamps":
                self.scanner.relative = value == "relative"
                if value not in ("absolute", "relative"):
                    self.recording.add_problem(offset, f"time mode {value[:20]!r} is not known: read as absolute")
