"""Values of variable length: those of an SD block, and those that stand between the records of an unsorted group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from parsers.errors import LimitExceeded, ParseError
from parsers.mdf._demux import pairs, spans
from parsers.mdf.chain import SIGNAL_DATA, Bytes, Chain
from parsers.mdf.state import State

Offsets = NDArray[np.uint64]
_FARTHEST = 1 << 26
_LENGTH = 4  # each value stands behind its length, u32


class Piece(NamedTuple):
    """Values of the rows `first` to `end` (not included): `data[starts[i]:][:lengths[i]]`, where `i` counts from `first`."""

    first: int
    end: int
    data: Bytes | NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Payload(Protocol):
    """Where values of variable length come from. Rows name them by offset, and ask for each offset once, in the order of the file.

    `missing` counts the rows whose value was not there.
    """

    missing: int

    def ready(self, offsets: Offsets) -> int:
        """How many of the first rows can be answered now; those behind wait for data that are still to come."""

    def pieces(self, offsets: Offsets) -> Iterator[Piece]:
        """The values of the rows. Rows that no piece covers have none."""

    def close(self) -> None:
        """Gives back what is kept: no further row will ask."""


class SignalData:
    """Values in SD blocks, read where the rows point; in order of the file this is one pass.

    Rows that go back have all values kept, as long as there is room; some writers store each different text once.
    """

    def __init__(self, state: State, link: int) -> None:
        self.state = state
        self.missing = 0
        self._chain = Chain(state, link, SIGNAL_DATA)
        self._window: Bytes = b""
        self._base = 0
        self._kept = 0
        self._ended = False

    def ready(self, offsets: Offsets) -> int:
        """All of them."""
        return len(offsets)

    def pieces(self, offsets: Offsets) -> Iterator[Piece]:
        """The values of the rows; rows that point outside of the data are counted in `missing`."""
        starts, lengths = np.zeros(len(offsets), np.int64), np.zeros(len(offsets), np.int64)
        row = 0
        while row < len(offsets):
            end = spans(offsets, row, self._window, self._base, starts, lengths)
            if end > row:
                yield Piece(row, end, self._window, starts[row:end], lengths[row:end])
                row = end
            elif not self._load(int(offsets[row])):
                if self._ended:
                    self.missing += len(offsets) - row
                    return
                self.missing += 1
                row += 1

    def _load(self, offset: int) -> bool:
        """Makes the value at `offset` the first of the window; False when there is none."""
        try:
            if self._kept:
                return False  # all values are in the window, this is none
            if offset < self._base and self._keep():
                return offset + _LENGTH <= len(self._window)
            parts = self._parts(offset)
        except ParseError as error:
            # Beyond what the file justifies nothing more is read; a block that cannot be inflated costs its own values only.
            self._ended = isinstance(error, LimitExceeded)
            self.state.lose_block(error)
            return False
        if parts is None:
            return False
        self._window = parts[0] if len(parts) == 1 else b"".join(parts)
        self._base = offset
        return True

    def _keep(self) -> bool:
        """Makes all values the window, if there is room; only once."""
        size = self._chain.size()
        if size > self.state.value_room:
            return False
        whole = bytearray(size)
        at = 0
        while at < size:
            part = self._chain.read_from(at)
            if not len(part):
                return False  # a gap
            whole[at : at + len(part)] = part
            at += len(part)
        self.state.value_room -= size
        self._kept = size
        self._window, self._base = whole, 0
        return True

    def close(self) -> None:
        """Gives back the room for kept values."""
        self.state.value_room += self._kept
        self._kept = 0
        self._window, self._base = b"", 0

    def _parts(self, offset: int) -> list[Bytes] | None:
        parts: list[Bytes] = []
        have, wanted = 0, _LENGTH
        while have < wanted:
            part = self._chain.read_from(offset + have)
            if not len(part):
                return None
            parts.append(part)
            have += len(part)
            if wanted == _LENGTH and have >= _LENGTH:
                head = b"".join(part[:_LENGTH] for part in parts)[:_LENGTH]
                wanted += int.from_bytes(head, "little")
                if wanted > self.state.limits.max_record_length:
                    return None
        return parts


class CollectedData:
    """Values that stand in the records of a VLSD group, kept until the rows that name them have come.

    `paired`: the file was not closed, offsets are not valid; the values belong to the rows one by one. `shared`: several channels name
    them, so that no one of them may have them forgotten.
    """

    def __init__(self, paired: bool) -> None:
        self.paired = paired
        self.shared = False
        self.broken = False  # values are lost, and nobody knows yet where the next ones belong
        self.missing = 0
        self._new: list[NDArray[np.uint8]] = []
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._base = 0
        self._next = 0

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self._data) + sum(map(len, self._new))

    @property
    def end(self) -> int:
        """The place of the next value in the stream of all."""
        return self._base + self.size

    def restart(self, place: int) -> None:
        """Goes on at that place of the stream; what is kept is forgotten."""
        self._new.clear()
        self._data = np.empty(0, np.uint8)
        self._base = self._next = place

    def append(self, values: NDArray[np.uint8]) -> None:
        """Takes further values, each behind its length."""
        self._new.append(values)

    def _joined(self) -> NDArray[np.uint8]:
        if self._new:
            self._data = np.concatenate([self._data, *self._new])
            self._new.clear()
        return self._data

    def ready(self, offsets: Offsets) -> int:
        """Rows before the first whose value has not come yet."""
        data = self._joined()
        if self.paired:
            return len(pairs(data, self._next - self._base, len(offsets)))
        end = self._base + len(data)
        # An offset far beyond what has come is damage, and nothing to wait for.
        waiting = (offsets > max(end - _LENGTH, 0)) & (offsets < end + _FARTHEST) if end else offsets < _FARTHEST
        return int(waiting.argmax()) if waiting.any() else len(offsets)

    def pieces(self, offsets: Offsets) -> Iterator[Piece]:
        """The values of the rows; what lies before the last of them is forgotten."""
        data = self._joined()
        if self.paired:
            found = pairs(data, self._next - self._base, len(offsets)) + np.uint64(self._base)
            self.missing += len(offsets) - len(found)
            offsets = found
        starts, lengths = np.zeros(len(offsets), np.int64), np.zeros(len(offsets), np.int64)
        row, behind = 0, self._base
        while row < len(offsets):
            end = spans(offsets, row, data, self._base, starts, lengths)
            if end > row:
                behind = max(behind, self._base + int((starts[row:end] + lengths[row:end]).max()))
                yield Piece(row, end, data, starts[row:end], lengths[row:end])
                row = end
            else:
                self.missing += 1
                row += 1
        if self.shared and not self.paired:
            return
        self._next = behind
        self._data = data[behind - self._base :]
        self._base = behind

    def close(self) -> None:
        """Nothing is kept beyond what waits."""

    def forget(self) -> None:
        """Drops everything: no row will ask for it."""
        self.restart(self.end)
