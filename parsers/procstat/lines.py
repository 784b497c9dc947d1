"""The lines of a text log one by one, with their place in the file, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from parsers.base import Recording
from parsers.limits import Limits
from parsers.source import Source

UTF8_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line without its end; `size` counts the bytes up to the next line. `ended` is False for a last line without a line end."""

    offset: int
    size: int
    text: bytes
    ended: bool


def lines(source: Source, recording: Recording, limits: Limits) -> Iterator[Line]:
    """Every line that is not longer than allowed; a longer one is lost and reported."""
    base = 0  # file offset of `rest`
    rest = b""
    long_start = -1  # where a line that is too long began
    while base + len(rest) < source.size:
        chunk = bytes(source.read_at(base + len(rest), limits.read_size))
        if not chunk:
            recording.add_lost(base, source.size - base, "file ended while it was read")
            recording.add_problem(base, "file ended while it was read")
            return
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            size = len(piece) + 1
            if long_start >= 0 or len(piece) > limits.max_line_length:
                _too_long(recording, base if long_start < 0 else long_start, base + size)
                long_start = -1
            else:
                yield Line(base, size, _trimmed(piece, base), True)
            base += size
        if long_start >= 0 or len(rest) > limits.max_line_length:
            long_start = base if long_start < 0 else long_start
            base += len(rest)
            rest = b""
    if long_start >= 0:
        _too_long(recording, long_start, source.size)
    elif rest:
        yield Line(base, len(rest), _trimmed(rest, base), False)


def _trimmed(piece: bytes, offset: int) -> bytes:
    return (piece.removeprefix(UTF8_MARK) if offset == 0 else piece).rstrip(b"\r \t")


def _too_long(recording: Recording, start: int, end: int) -> None:
    recording.add_lost(start, end - start, "line is longer than allowed")
    recording.add_problem(start, "line is longer than allowed")
    recording.add_skipped("unreadable line")
