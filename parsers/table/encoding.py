"""The text of a table as UTF-8, window by window, whatever it is encoded in, with the way back to the bytes of the file."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parsers.limits import KIB, Limits
from parsers.source import Source

SMALLEST_WINDOW = 256 * KIB  # longer than the longest line that is read


@dataclass(frozen=True, slots=True)
class Encoding:
    """`mark` is how many bytes of byte order mark the file begins with, `unit` the bytes that every character takes at least."""

    name: str
    mark: int = 0
    unit: int = 1


def find_encoding(head: bytes, samples: Iterable[bytes] = ()) -> Encoding:
    """UTF-8 or UTF-16 by their marks, UTF-16 by its zeros, UTF-8 when it is valid, else Windows 1252; `samples` are from further on."""
    for mark, encoding in (
        (codecs.BOM_UTF8, Encoding("utf-8", 3)),
        (codecs.BOM_UTF16_LE, Encoding("utf-16-le", 2, 2)),
        (codecs.BOM_UTF16_BE, Encoding("utf-16-be", 2, 2)),
    ):
        if head.startswith(mark):
            return encoding
    first = head[:2048]
    even, odd = first[0::2].count(0), first[1::2].count(0)
    if len(first) >= 8 and max(even, odd) > 0.4 * len(first) / 2 and min(even, odd) == 0:
        return Encoding("utf-16-be" if even else "utf-16-le", 0, 2)
    if is_utf8(head) and (not head.isascii() or all(is_utf8(sample, True) for sample in samples)):
        return Encoding("utf-8")
    return Encoding("cp1252")


def is_utf8(piece: bytes, cut_in_front: bool = False) -> bool:
    """Whether it is valid, but for a character that is cut at the end (or in front)."""
    if cut_in_front:
        piece = piece.lstrip(bytes(range(0x80, 0xC0)))
    try:
        codecs.getincrementaldecoder("utf-8")().decode(piece)
    except UnicodeDecodeError:
        return False
    return True


def to_utf8(piece: bytes, encoding: Encoding) -> bytes:
    """A piece that stands for itself."""
    if encoding.name == "utf-8":
        return piece
    return piece.decode(encoding.name, "replace").encode("utf-8")


class Windows:
    """Iterates over (window, whether it is the last one). The consumer calls `keep` with the first byte it has not used."""

    def __init__(self, source: Source, encoding: Encoding, limits: Limits) -> None:
        self._source = source
        self._encoding = encoding
        self._size = max(limits.read_size, SMALLEST_WINDOW)
        decoder = codecs.getincrementaldecoder(encoding.name)
        self._decoder = None if encoding.name == "utf-8" else decoder("replace")
        self._window = b""
        self._base = encoding.mark  # file offset of the window
        self._seen = (0, 0)  # a place in the window and the characters (units of the encoding) before it
        self._read = encoding.mark
        self.short = False  # the source gave less than its size

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        while True:
            chunk = bytes(self._source.read_at(self._read, self._size))
            self._read += len(chunk)
            self.short = not chunk and self._read < self._source.size
            final = self._read >= self._source.size or not chunk
            text = chunk if self._decoder is None else self._decoder.decode(chunk, final).encode("utf-8")
            self._window = self._window + text if self._window else text
            yield self._window, final
            if final:
                return

    def keep(self, at: int) -> None:
        """What lies before `at` is done with."""
        self._base = self.offset(at)
        self._seen = (0, 0)
        self._window = self._window[at:]

    def offset(self, at: int) -> int:
        """The file offset of a byte of the window. Cheap for ascending places."""
        if self._decoder is None:
            return self._base + at
        place, units = self._seen
        if at < place:
            place, units = 0, 0
        units += _units(self._window[place:at], self._encoding.unit)
        self._seen = (at, units)
        return min(self._base + units * self._encoding.unit, self._source.size)


def _units(text: bytes, unit: int) -> int:
    """Characters of a piece of UTF-8; in UTF-16 those beyond the first plane are two."""
    decoded = text.decode("utf-8", "replace")
    return len(decoded) if unit == 1 else len(decoded.encode("utf-16-le", "replace")) // 2
