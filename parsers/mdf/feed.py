"""Records of fixed size out of a stream of bytes, and the columns that they fill, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parsers.errors import Truncated
from parsers.mdf._records import BYTES, RecordColumns
from parsers.mdf.chain import Bytes, Chain, Window
from parsers.mdf.fields import Field
from parsers.mdf.state import State
from parsers.mdf.values import Rows

Columns = list[NDArray[np.uint8]]

_MOST_EMPTY = 10_000_000
_FIRST_ROWS = 256
_PADDING = 8  # bytes that can be read behind the last value of a field of bytes


class Records(NamedTuple):
    """`rows` whole records one behind the other from byte `at` of `data` on; `first` is the number of the first."""

    first: int
    data: Bytes
    at: int
    rows: int


class RecordFeed:
    """The records of a chain in order, `size` bytes each. `rows` counts them, lost ones in between included.

    After a loss it goes on with the first whole record behind; what is cut at the end is lost and said.
    """

    def __init__(self, state: State, chain: Chain, size: int) -> None:
        self.state = state
        self.chain = chain
        self.size = size
        self.rows = 0
        self._tail = b""
        self._tail_offset = 0
        self._position = 0

    def records(self) -> Iterator[Records]:
        """Pieces of whole records."""
        for window in self.chain.windows():
            for piece in self._split(window):
                self.rows = piece.first + piece.rows
                yield piece
        self._cut_off(self._tail_offset, "data end inside a record")

    def _split(self, window: Window) -> Iterator[Records]:
        data, at = window.data, 0
        if window.position != self._position:
            self._cut_off(self._tail_offset, "a record goes on in a block that is lost")
            at = min(-window.position % self.size, len(data))
            if at:
                reason = "a record begins in a block that is lost"
                self.state.lose(Truncated(reason, window.offset), at if window.exact else 0)
        self._position = window.position + len(data)
        if self._tail:
            wanted = min(self.size - len(self._tail), len(data))
            self._tail += bytes(data[:wanted])
            at = wanted
            if len(self._tail) == self.size:
                yield Records((window.position + at) // self.size - 1, self._tail, 0, 1)
                self._tail = b""
        count = (len(data) - at) // self.size
        if count:
            yield Records((window.position + at) // self.size, data, at, count)
        at += count * self.size
        if at < len(data):
            self._tail = bytes(data[at:])
            self._tail_offset = window.offset + at if window.exact else window.offset

    def _cut_off(self, offset: int, reason: str) -> None:
        if self._tail:
            self.state.lose(Truncated(reason, offset), len(self._tail))
        self._tail = b""


class EmptyFeed:
    """Records without bytes: all that is known of them is how many the group counts."""

    def __init__(self, state: State, cycles: int, offset: int) -> None:
        self.count = min(cycles, state.source.size, _MOST_EMPTY)
        self.rows = 0
        if self.count < cycles:
            state.recording.add_problem(offset, f"{cycles} records without bytes: only {self.count} are believed")

    def records(self) -> Iterator[Records]:
        """All of them at once, in pieces of bounded size."""
        while self.rows < self.count:
            first, self.rows = self.rows, min(self.rows + _FIRST_ROWS**2, self.count)
            yield Records(first, b"", 0, self.rows - first)


class PartReader:
    """The columns of one part of the records, filled from its feed. `row` is the number of the first row in the columns."""

    def __init__(self, feed: RecordFeed | EmptyFeed, fields: list[Field], size: int, capacity: int) -> None:
        self.capacity = capacity
        self._fields = fields
        self.columns = RecordColumns(fields, size, min(capacity, _FIRST_ROWS))
        self.row = 0
        self._pieces = feed.records()
        self._piece: Records | None = None

    @property
    def count(self) -> int:
        """Rows in the columns."""
        return int(self.columns.count)

    def _current(self) -> Records | None:
        if self._piece is None or not self._piece.rows:
            self._piece = next(self._pieces, None)
        return self._piece

    def fill(self) -> int:
        """Rows that follow each other, up to the capacity, a gap or the end."""
        while self.count < self.capacity:
            piece = self._current()
            if piece is None or piece.first != self.row + self.count:
                break
            taken = min(piece.rows, self.capacity - self.count)
            if taken > self.columns.capacity - self.count:
                self.columns.grow(min(self.capacity, max(4 * self.columns.capacity, self.count + taken)))
            self.columns.append(piece.data, piece.at, taken)
            self._advance(piece, taken)
        return self.count

    def _advance(self, piece: Records, rows: int) -> None:
        self._piece = piece._replace(first=piece.first + rows, at=piece.at + rows * self.columns.record_size, rows=piece.rows - rows)

    def take(self, rows: int) -> Columns:
        """The first rows, one array of bytes for each field."""
        columns: Columns = self.columns.take(rows, self.columns.capacity)
        self.row += rows
        return columns

    def blank(self, rows: int) -> Columns:
        """Zeros for rows that are not there."""
        self.row += rows
        return [np.zeros(rows * width + (_PADDING if kind == BYTES else 0), np.uint8) for kind, *_, width in self._fields]

    def next_row(self) -> int | None:
        """The number of the next row that there is; None at the end."""
        if self.count:
            return self.row
        piece = self._current()
        return None if piece is None else piece.first

    def skip_to(self, row: int) -> None:
        """Goes on with that row or, where it is missing, with the next one."""
        while self.row < row:
            if self.count:
                self.take(min(self.count, row - self.row))
                continue
            piece = self._current()
            if piece is None:
                self.row = row
                return
            self.row = max(self.row, min(piece.first, row))
            if piece.first < row:
                gone = min(row - piece.first, piece.rows)
                self._advance(piece, gone)
                self.row = piece.first + gone


def blocks_of_rows(parts: list[PartReader]) -> Iterator[Rows]:
    """The rows that the first part has, with those of the others; what another part lacks is named and stands as zeros."""
    first = parts[0]
    while True:
        count = first.fill()
        if not count:
            row = first.next_row()
            if row is None:
                return
            first.skip_to(row)
            continue
        missing = set()
        for number, part in enumerate(parts[1:], 1):
            part.skip_to(first.row)
            there = part.fill()
            if there:
                count = min(count, there)
                continue
            missing.add(number)
            behind = part.next_row()
            if behind is not None:
                count = min(count, behind - first.row)
        row = first.row
        yield Rows([part.blank(count) if number in missing else part.take(count) for number, part in enumerate(parts)], row, count, missing)
