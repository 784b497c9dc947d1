"""Drives a line scanner over a source: windows in, frame blocks out, damage noted in the recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from parsers.base import Recording
from parsers.can.frames import FrameBlock
from parsers.limits import Limits
from parsers.source import Source

UTF8_MARK = b"\xef\xbb\xbf"


class Scanner(Protocol):
    """What `frame_blocks` needs of a compiled LineScanner."""

    @property
    def columns(self) -> Any: ...
    @property
    def shown(self) -> tuple[int, int] | None: ...
    @property
    def unterminated(self) -> bool: ...
    def scan(self, window: bytes | memoryview, at: int, base: int, final: bool) -> int: ...
    def end_of_file(self, size: int) -> None: ...
    def drain_bad(self) -> list[tuple[int, int, int, str, bool]]: ...


def drain(scanner: Scanner, recording: Recording) -> None:
    """Moves what the scanner could not read into the recording."""
    for offset, length, count, reason, was_read in scanner.drain_bad():
        recording.add_problem(offset, reason, count)
        if not was_read:
            recording.add_lost(offset, length, reason)
            recording.add_skipped("unreadable line", count)


def frame_blocks(
    scanner: Scanner, source: Source, recording: Recording, limits: Limits, show: Callable[[int, bytes], None] | None = None
) -> Iterator[FrameBlock]:
    """The frames of a text log, in blocks. `show` gets the lines that the scanner leaves to Python, with their file offset."""
    base = 0  # file offset of the window
    kept = 0  # bytes of the window before that are read again: a line that was not whole
    while True:
        window = source.read_at(base, kept + limits.read_size)
        final = base + len(window) >= source.size or len(window) <= kept
        at = len(UTF8_MARK) if base == 0 and bytes(window[: len(UTF8_MARK)]) == UTF8_MARK else 0
        while at < len(window):
            used = scanner.scan(window, at, base, final)
            drain(scanner, recording)
            if scanner.shown is not None and show is not None:
                start, end = scanner.shown
                show(base + start, bytes(window[start:end]))
            if scanner.columns.count == scanner.columns.capacity:
                yield scanner.columns.take()
            elif used == at:
                break
            at = used
        base += at
        kept = len(window) - at
        if final:
            break
    scanner.end_of_file(source.size)
    drain(scanner, recording)
    if base < source.size:
        recording.add_lost(base, source.size - base, "file ended while it was read")
    if scanner.unterminated:
        recording.add_problem(source.size, "last line has no line end: the file may be cut")
    if scanner.columns.count:
        yield scanner.columns.take()
