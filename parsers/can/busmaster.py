"""BUSMASTER logs: the header lines in `***` here; the frames are read in _busmaster."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import ClassVar

from parsers.base import MAGIC, STRUCTURE, Match, Recording
from parsers.can._busmaster import MODES, BusmasterScanner
from parsers.can.frames import FrameBlock
from parsers.can.lines import UTF8_MARK, frame_blocks
from parsers.errors import Corrupt, Unsupported
from parsers.limits import DEFAULT, Limits
from parsers.source import Source

_FRAME = re.compile(rb"\s*\d{1,4}:\d{1,2}:\d{1,2}:\d{1,9}\s+[RT]x\s+\d{1,5}\s+(?:0x)?[0-9A-Fa-f]{1,9}\s+[sx]r?\s+\d{1,2}(?:\s|$)")
_PROTOCOL = re.compile(rb"\*\*\*PROTOCOL\s+(\S+?)\s*\*\*\*")
_MODE = re.compile(rb"\*\*\*(SYSTEM|ABSOLUTE|RELATIVE)\s+MODE\s*\*\*\*")
_START = re.compile(rb"\*\*\*START DATE AND TIME\s+(\d{1,2}):(\d{1,2}):(\d{4})\s+(\d{1,2}):(\d{1,2}):(\d{1,2}):(\d{1,9})\s*\*\*\*")
_CHANNEL = re.compile(rb"\*\*\*CHANNEL\s+(\d{1,5})\s*-\s*(.*?)\s*\*\*\*")
_DAY_NS = 86_400 * 10**9
_MOST_DAYS = 100_000  # between two sessions of one file


class BusmasterParser:
    """Reads CAN frames of BUSMASTER logs, hexadecimal or decimal, with times of day, since the start or since the line before."""

    format: ClassVar[str] = "busmaster"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".log",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The first header line; without it, frame lines, at least two and half of all."""
        head = head.removeprefix(UTF8_MARK)
        if head.lstrip().startswith(b"***BUSMASTER"):
            return Match(MAGIC, "begins with ***BUSMASTER")
        lines = [line for line in head.splitlines() if line.strip()]
        if size > len(head) and len(lines) > 1:
            lines.pop()
        found = sum(1 for line in lines if _FRAME.match(line))
        if found >= 2 and 2 * found >= len(lines):
            return Match(STRUCTURE, f"{found} of the first {len(lines)} lines are frames of a BUSMASTER log")
        return None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[FrameBlock]:
        """Frames in file order; times of day count from the midnight before the first session and have no zone.

        Raises Unsupported for other protocols than CAN, Corrupt when there is no frame.
        """
        recording.format = self.format
        scanner = BusmasterScanner(limits.block_frames, limits.max_channels, limits.max_line_length)
        header = _Header(scanner, recording)
        for block in frame_blocks(scanner, source, recording, limits, header.take):
            recording.channels[:] = scanner.numbers.names()
            yield block
        recording.channels[:] = scanner.numbers.names()
        if scanner.columns.total == 0:
            raise Corrupt("no frame of a BUSMASTER log in the file", recording.problems[0].offset if recording.problems else 0)


class _Header:
    """What the lines in `***` say."""

    def __init__(self, scanner: BusmasterScanner, recording: Recording) -> None:
        self.scanner = scanner
        self.recording = recording
        self.mode = MODES[b"SYSTEM"]
        self.first_start: datetime.datetime | None = None
        self.start: datetime.datetime | None = None

    def take(self, offset: int, line: bytes) -> None:
        """One such line. Raises Unsupported for another protocol."""
        line = line.strip()
        protocol, mode, start, channel = (pattern.fullmatch(line) for pattern in (_PROTOCOL, _MODE, _START, _CHANNEL))
        if protocol is not None and protocol[1] != b"CAN":
            raise Unsupported(f"a BUSMASTER log of the protocol {protocol[1].decode('ascii', 'replace')[:50]}", offset)
        if line in (b"***HEX***", b"***DEC***"):
            self.scanner.hex_numbers = line == b"***HEX***"
        elif mode is not None:
            self.mode = MODES[mode[1]]
            self.scanner.set_mode(self.mode)
            self._begin(offset)
        elif start is not None:
            self._start(offset, start)
        elif channel is not None:
            self.recording.add_metadata(f"channel {int(channel[1])}", channel[2].decode("utf-8", "replace"))
        elif line.startswith(b"***BUSMASTER"):
            self.recording.add_metadata("application", line.strip(b"*").decode("utf-8", "replace"))

    def _start(self, offset: int, match: re.Match[bytes]) -> None:
        day, month, year, hour, minute, second = (int(match[i]) for i in range(1, 7))
        try:
            self.start = datetime.datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the file names no zone
        except ValueError:
            self.recording.add_problem(offset, "start of the session is no date")
            return
        self.start += datetime.timedelta(milliseconds=int(match[7][:3]))
        if self.first_start is None:
            self.first_start = self.start
            self.recording.add_metadata("start of logging", self.start.isoformat(sep=" ", timespec="milliseconds"))
        self._begin(offset)

    def _begin(self, offset: int) -> None:
        """Places the session that begins here behind the first one, by the dates of both."""
        if self.start is None or self.first_start is None:
            return
        if self.mode == MODES[b"SYSTEM"]:
            days = (self.start.date() - self.first_start.date()).days
            shift = days * _DAY_NS
        else:
            days = (self.start - self.first_start).days
            shift = (self.start - self.first_start) // datetime.timedelta(microseconds=1) * 1000
        if abs(days) > _MOST_DAYS:
            self.recording.add_problem(offset, "sessions lie too far apart: placed as if on one day")
            return
        self.scanner.begin_session(shift)
