"""Exact percentiles of more values than fit in memory: histograms narrow the range, pass by pass, until what is left can be sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = {"p5": 5, "p50": 50, "p95": 95, "p99": 99}
BITS = 16  # of the range are decided by one pass
KEPT_VALUES = 2_000_000  # that wait to be sorted at the end, over all ranges together

Values = NDArray[Any]


def rank(count: int, percent: int) -> int:
    """Place (from 0) of the nearest-rank percentile among `count` > 0 sorted values: ceil(count * percent / 100) - 1."""
    return max(0, -(-count * percent // 100) - 1)


def select_in_memory(values: Values, ranks: Sequence[int]) -> list[Any]:
    """The values at these places of the sorted array (integer or finite float); plain numbers, in the order of `ranks`."""
    ordered = np.partition(values, sorted(set(ranks)))
    return [plain(ordered[place]) for place in ranks]


def select(passes: Callable[[], Iterable[Values]], ranks: Sequence[int], low: Any, high: Any, kept: int = KEPT_VALUES) -> list[Any]:
    """As `select_in_memory` for values that `passes()` yields in pieces, the same ones each time it is called.

    All values lie between `low` and `high` and have one dtype. Memory: about 8 bytes for each of `kept` values and 512 KiB for each rank.
    Each pass narrows a range by a factor of 65,536, so there are at most five. Raises ValueError when the passes differ.
    """
    dtype = np.asarray(low).dtype
    first, last = (int(to_keys(np.asarray([end], dtype))[0]) for end in (low, high))
    ranges = {place: _Range(first, last) for place in set(ranks)}
    found: dict[int, Any] = {}
    while ranges:
        jobs: dict[tuple[int, int], _Range] = {}
        for place, part in ranges.items():
            jobs.setdefault((part.first, part.last), part).places.append(place)
        share = kept // len(jobs)
        for part in jobs.values():
            part.begin(share)
        for values in passes():
            keys = to_keys(values)
            for part in jobs.values():
                part.take(keys)
        ranges = {}
        for part in jobs.values():
            for place in part.places:
                if part.collects:
                    found[place] = plain(from_keys(np.array([part.key_at(place)], np.uint64), dtype)[0])
                else:
                    ranges[place] = part.narrowed(place)
    return [found[place] for place in ranks]


@dataclass
class _Range:
    """Keys from `first` to `last` (both included); `below` values are smaller, `count` lie in it (None: not known yet)."""

    first: int
    last: int
    below: int = 0
    count: int | None = None
    places: list[int] = field(default_factory=list)
    collects: bool = False
    _shift: int = 0
    _histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _parts: list[NDArray[np.uint64]] = field(default_factory=list)
    _sorted: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def begin(self, share: int) -> None:
        """Before a pass: few values are collected, many are counted in a histogram."""
        self.collects = self.first == self.last or (self.count is not None and self.count <= share)
        self._shift = max(0, (self.last - self.first).bit_length() - BITS)
        self._histogram = np.zeros(((self.last - self.first) >> self._shift) + 1 if not self.collects else 0, np.int64)

    def take(self, keys: NDArray[np.uint64]) -> None:
        """Keys of the pass, in any order."""
        if self.collects and self.first == self.last:
            return
        inside = keys[(keys >= np.uint64(self.first)) & (keys <= np.uint64(self.last))]
        if self.collects:
            self._parts.append(inside)
        else:
            bins = ((inside - np.uint64(self.first)) >> np.uint64(self._shift)).astype(np.intp)
            self._histogram += np.bincount(bins, minlength=len(self._histogram))

    def key_at(self, place: int) -> int:
        """The key of the value at this place, after a pass that collected."""
        if self.first == self.last:  # every value in it is the same, however many there are
            return self.first
        if self._parts:
            self._sorted = np.sort(np.concatenate(self._parts))
            self._parts = []
        if self.count != len(self._sorted):
            raise ValueError("the values changed between two passes")
        return int(self._sorted[place - self.below])

    def narrowed(self, place: int) -> _Range:
        """The bin of the histogram in which the value at this place lies."""
        ends = np.cumsum(self._histogram)
        at = int(np.searchsorted(ends, place - self.below, side="right"))
        if at >= len(ends):
            raise ValueError("the values changed between two passes")
        first = self.first + (at << self._shift)
        count = int(self._histogram[at])
        return _Range(first, min(self.last, first + (1 << self._shift) - 1), self.below + int(ends[at]) - count, count)


SIGN = np.uint64(1 << 63)


def to_keys(values: Values) -> NDArray[np.uint64]:
    """Numbers as unsigned integers in the same order: integers shifted by half of the range, floats by their bits (IEEE 754)."""
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    if values.dtype.kind == "i":
        return values.astype(np.int64).view(np.uint64) ^ SIGN
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def from_keys(keys: NDArray[np.uint64], dtype: np.dtype[Any]) -> Values:
    """The numbers of these keys, as `dtype`."""
    if dtype.kind == "u":
        return keys.astype(dtype)
    if dtype.kind == "i":
        return (keys ^ SIGN).view(np.int64).astype(dtype)
    return np.where(keys & SIGN, keys ^ SIGN, ~keys).view(np.float64)


def plain(value: Any) -> Any:
    """A numpy number as int or float; never -0.0."""
    number = value.item() if hasattr(value, "item") else value
    return number + 0.0 if isinstance(number, float) else number
