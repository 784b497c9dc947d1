"""candump logs of Linux can-utils, compact and console form, absolute, zero-based and delta times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

from parsers.base import HEADER, STRUCTURE, Match, Recording
from parsers.can._candump import CandumpScanner
from parsers.can.frames import FrameBlock
from parsers.can.lines import UTF8_MARK, frame_blocks
from parsers.errors import Corrupt
from parsers.limits import DEFAULT, Limits
from parsers.source import Source

_TIME = rb"\(\s*(?:\d{1,18}\.\d{1,9}|\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d\.\d{1,9})\s*\)"
_COMPACT = re.compile(rb"\s*" + _TIME + rb"\s+\S{1,64}\s+(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8}|[0-9A-Fa-f]{5})#")
_CONSOLE = re.compile(
    rb"\s*(?:" + _TIME + rb")?\s*[!-'*-~]\S{0,63}\s+(?:(?:RX|TX)\s+[B-]\s+[E-]\s+)?"
    rb"(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})\s+(?:\[\d{1,4}\]|\{[9A-Fa-f]\})(?:\s|$)"
)
_STAMP = re.compile(rb"\s*\(\s*(\d{1,18})\.(\d{1,9})\s*\)")
_DATED = re.compile(rb"\s*\(\s*\d{4}-\d\d-\d\d\s")
_SAMPLE = 65_536
_EPOCH_DIGITS = 10  # candump pads epoch seconds to ten digits and distances to three
_DELTA_SHARE = 0.1  # share of steps back from which on the times can only be distances


def _lines(head: bytes, complete: bool) -> list[bytes]:
    lines = head.removeprefix(UTF8_MARK).splitlines()
    if not complete and len(lines) > 1:
        lines.pop()
    return [line for line in lines if line.strip()]


class CandumpParser:
    """Reads `candump -l`, `-L` and console output; the interface name is the channel."""

    format: ClassVar[str] = "candump"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".log", ".candump", ".txt")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Structure when at least two lines and half of the lines are candump frames; one alone is a weaker sign."""
        lines = _lines(head, size <= len(head))
        compact = sum(1 for line in lines if _COMPACT.match(line))
        console = sum(1 for line in lines if _CONSOLE.match(line))
        found = max(compact, console)
        if not found:
            return None
        form = "compact" if compact >= console else "console"
        sure = found >= 2 and 2 * found >= len(lines)
        return Match(STRUCTURE if sure else HEADER, f"{found} of the first {len(lines)} lines are candump frames ({form} form)")

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[FrameBlock]:
        """Frames in file order. Raises Corrupt when the file has no frame at all, at the first line that is not one."""
        recording.format = self.format
        head = bytes(source.read_at(0, _SAMPLE))
        lines = _lines(head, source.size <= len(head))
        recording.absolute = _is_absolute(lines)
        deltas = not recording.absolute and _has_deltas(lines)
        if deltas:
            recording.add_problem(0, "times step back in console output: read as distances between frames (candump -td)")
        scanner = CandumpScanner(limits.block_frames, limits.max_channels, limits.max_line_length, deltas)
        for block in frame_blocks(scanner, source, recording, limits):
            recording.channels[:] = scanner.names.names()
            yield block
        recording.channels[:] = scanner.names.names()
        for kind, count in scanner.skipped_counts().items():
            recording.add_skipped(kind, count)
        if scanner.untimed:
            recording.add_problem(0, f"{scanner.untimed} frames have no time and stand at zero")
        if scanner.columns.total == 0:
            first = recording.problems[0].offset if recording.problems else 0
            raise Corrupt("no candump frame in the file", first)


def _is_absolute(lines: list[bytes]) -> bool:
    """Whether the times are UTC: dates, or epoch seconds as candump pads them. A date has no zone and is taken as UTC."""
    for line in lines:
        if _DATED.match(line):
            return True
        stamp = _STAMP.match(line)
        if stamp:
            return len(stamp[1]) >= _EPOCH_DIGITS
    return False


def _has_deltas(lines: list[bytes]) -> bool:
    """Whether the times of console lines are distances: they step back all the time, and a zero-based clock never does."""
    stamps = [
        int(m[1]) * 10**9 + int(m[2].ljust(9, b"0")) for line in lines if (m := _STAMP.match(line)) is not None and _CONSOLE.match(line)
    ]
    back = sum(later < earlier for earlier, later in pairwise(stamps))
    return back > 0 and back >= _DELTA_SHARE * (len(stamps) - 1)
