"""Values of variable length between the records of an unsorted group: where they stand in their stream again after a loss.

Rows name a value by its place in the stream of all values. When records are lost, nobody counts the values among them, and every row
behind would get the value of another one. But a row and its value are recorded together: their places behind the loss tell how far the
stream has moved on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.mdf._demux import words
from parsers.mdf.payload import CollectedData

_LOOKED_AT = 16  # rows of a batch
_LENGTH = 4
_TOO_FAR = 1 << 16  # so many bytes too many may have been taken for values before the loss was noticed
_MOST = 1 << 61


@dataclass
class Anchor:
    """The values of one VLSD group, and the field by which the rows of the group `rows_of` name them.

    `behind`: a value stands behind its row, not in front of it; None until that is known, and for files that keep no such order.
    `unsure`: records were lost.
    """

    data: CollectedData
    values_of: int
    rows_of: int
    field: tuple[int, int]
    behind: bool | None = None
    unsure: bool = False
    _met: bool = False

    def moved_to(self, data: memoryview, found: dict[int, NDArray[np.int64]], most: int) -> int | None:
        """Where in their stream the values of this batch begin, when that is not where the last ones ended; None when it is.

        `most` is where the records of the batch lie: before them there cannot have been more bytes of values.
        """
        rows, values = found.get(self.rows_of), found.get(self.values_of)
        if rows is None or values is None or (self._met and not self.unsure):
            return None
        rows, values = rows[:_LOOKED_AT], values[: 2 * _LOOKED_AT]
        named = words(data, rows, *self.field).astype(np.int64)
        sizes = words(data, values, 0, _LENGTH).astype(np.int64) + _LENGTH
        begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)[:-1]])
        following = np.searchsorted(values, rows)
        likely = {
            True: _most_common(named, begins, following, self.data.end - _TOO_FAR, most),
            False: _most_common(named, begins, following - 1, self.data.end - _TOO_FAR, most),
        }
        if self.behind is None:
            self._learn(likely, self.data.end)
        self._met = True
        if not self.unsure or self.behind is None:
            return None
        begin = likely[self.behind][0]
        if begin is None:
            return None
        self.unsure = False
        return begin if begin != self.data.end else None

    def _learn(self, likely: dict[bool, _Likely], end: int) -> None:
        """In which order the file keeps rows and values, when all rows agree on one."""
        fitting = [behind for behind, (begin, sure) in likely.items() if sure and (begin == end or self.unsure)]
        if len(fitting) == 1 and (self.unsure or not self._met):
            self.behind = fitting[0]


_Likely = tuple[int | None, bool]
"""A place, and whether all rows agree on it."""


def _most_common(named: NDArray[np.int64], begins: NDArray[np.int64], value_of: NDArray[Any], least: int, most: int) -> _Likely:
    """Where the first value begins, as most rows say; None when no row says anything that can be."""
    known = (value_of >= 0) & (value_of < len(begins))
    moved = named[known] - begins[value_of[known]]
    sound = moved[(moved >= max(least, 0)) & (moved <= min(most, _MOST))]
    if not len(sound):
        return None, False
    places, counts = np.unique(sound, return_counts=True)
    return int(places[counts.argmax()]), len(places) == 1 and len(sound) == len(moved)
