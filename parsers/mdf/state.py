"""What all parts of the reading of one MDF file share: its blocks, its recording, what is still to be spent, what was lost."""

from __future__ import annotations

from bisect import bisect_right

from parsers.base import Recording
from parsers.errors import Corrupt, LimitExceeded, ParseError
from parsers.limits import MIB, Limits
from parsers.mdf.blocks import BlockFile
from parsers.source import Source

FILE_HEADS = (b"MDF     ", b"UnFinMF ")

# What an unfinished file says is missing from it (MDF 4.1, id_unfin_flags).
UPDATE_CYCLES = 1
UPDATE_DATA_LENGTH = 4
UPDATE_LISTS = 16
UPDATE_VLSD_LENGTH = 32
UPDATE_VLSD_OFFSETS = 64
ANY_UPDATE = 0xFFFF  # the file is unfinished and does not say how

_VALUE_ROOM = 64 * MIB
_OUTPUT_FREE = 1024 * MIB
_MOST_READINGS = 8  # of each byte of the file: columns of a 4.2 file may need their time column anew


class Budget:
    """What may be read and inflated of a file of that size."""

    def __init__(self, size: int, limits: Limits) -> None:
        self._stored = _MOST_READINGS * size + 64 * MIB
        self._inflated = limits.max_inflate_ratio * size + limits.max_inflated

    def spend(self, stored: int, inflated: int = 0) -> None:
        """Counts bytes of data that are read. Raises LimitExceeded when the file cannot honestly need so many."""
        self._stored -= stored
        self._inflated -= inflated
        if self._stored < 0:
            raise LimitExceeded("data blocks are linked to again and again: more is read than the file holds", 0)
        if self._inflated < 0:
            raise LimitExceeded("data blocks inflate to more than the size of the file justifies", 0)


class State:
    """One file being read. `unfinished` are the flags of a file that was not closed, 0 for any other."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.file = BlockFile(source, limits, recording.add_problem)
        self.unfinished = 0
        self.first_error: ParseError | None = None
        self.text_room = 16 * MIB  # bytes of different texts that all columns together may still have
        self.value_room = _VALUE_ROOM  # bytes of values of variable length that may be kept for rows that name them in no order
        self.records = Budget(source.size, limits)
        self.values = Budget(source.size, limits)
        self._output = limits.max_inflate_ratio * source.size + _OUTPUT_FREE
        self._landmarks: list[int] = []

    def lose(self, error: ParseError, length: int) -> None:
        """Marks bytes from the error's offset on as lost."""
        offset = min(error.offset or 0, self.source.size)
        self.recording.add_lost(offset, max(length, 0), error.reason)
        self.recording.add_problem(offset, error.reason)
        if self.first_error is None:
            self.first_error = error

    def lose_block(self, error: ParseError) -> None:
        """Marks a block that cannot be read, and what hangs on it, as lost."""
        self.lose(error, 0)

    def spend_output(self, columns: int, offset: int) -> None:
        """Counts bytes of columns that are made. Raises LimitExceeded for small files that describe a flood of values."""
        self._output -= columns
        if self._output < 0:
            raise LimitExceeded("the records become more values than the size of the file justifies", offset)

    def add_landmark(self, offset: int) -> None:
        """A place where a block begins: an open data block in front of it ends there."""
        if 0 < offset < self.source.size:
            self._landmarks.append(offset)

    def open_end(self, begin: int) -> int:
        """Where a data block that was never closed ends: at the next known block, or with the file."""
        self._landmarks.sort()
        place = bisect_right(self._landmarks, begin)
        return self._landmarks[place] if place < len(self._landmarks) else self.source.size


class Path:
    """The blocks of one linked list; a block that comes twice would make it endless. Raises as it goes on: Corrupt, LimitExceeded."""

    def __init__(self, kind: str, most: int) -> None:
        self.kind = kind
        self.most = most
        self._met: set[int] = set()

    def enter(self, offset: int) -> None:
        """Notes a block."""
        if offset in self._met:
            raise Corrupt(f"the list of {self.kind} leads back to itself", offset)
        if len(self._met) >= self.most:
            raise LimitExceeded(f"more than {self.most} {self.kind}", offset)
        self._met.add(offset)
