"""Stretches of a time series in which a label stays the same, found in blocks of arrays without an object for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
GAP_PERIODS = 10


def gap_limit_ns(period_ns: int | None) -> int:
    """Longest distance (ns) of two samples that belong together: ten usual distances, but at least one second."""
    return max(GAP_PERIODS * (period_ns or 0), SECOND_NS)


@dataclass(frozen=True, slots=True)
class Runs:
    """Stretches in file order, as arrays of one length: label, first and last time (int64, ns), samples, lowest and highest value."""

    label: NDArray[Any]
    from_ns: NDArray[np.int64]
    to_ns: NDArray[np.int64]
    count: NDArray[np.int64]
    low: NDArray[Any]
    high: NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def length_ns(self) -> NDArray[np.int64]:
        """Time from the first to the last sample of each stretch."""
        return self.to_ns - self.from_ns

    def take(self, rows: Any) -> Runs:
        """The stretches that `rows` (a mask, indices or a slice) selects."""
        return Runs(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass
class RunFinder:
    """Finds stretches across blocks. A step in time above `gap_ns`, or a step back, ends a stretch.

    `label` maps the values of a block to labels of the same length; without it a label is the value itself.
    """

    gap_ns: int
    label: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    _open: Runs | None = None

    def update(self, t_ns: NDArray[np.int64], values: NDArray[Any]) -> Runs | None:
        """Takes the next block (int64 ns, finite numbers) and gives what ended in it or before; None when nothing did."""
        if not len(t_ns):
            return None
        labels = values if self.label is None else self.label(values)
        step = np.diff(t_ns)
        ends = np.flatnonzero((labels[1:] != labels[:-1]) | (step > self.gap_ns) | (step < 0))
        starts = np.concatenate([np.zeros(1, ends.dtype), ends + 1])
        stops = np.concatenate([ends, np.array([len(t_ns) - 1], ends.dtype)])
        if self.label is None:
            low = high = values[starts]
        else:
            low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        found = Runs(labels[starts], t_ns[starts], t_ns[stops], (stops - starts + 1).astype(np.int64), low, high)
        if self._open is not None:
            found = self._joined(self._open, found)
        self._open = found.take(slice(-1, None))
        return found.take(slice(0, -1)) if len(found) > 1 else None

    def finish(self) -> Runs | None:
        """The last stretch, if there was a sample at all."""
        last, self._open = self._open, None
        return last

    def _joined(self, before: Runs, found: Runs) -> Runs:
        step = int(found.from_ns[0]) - int(before.to_ns[0])
        columns = {column.name: np.concatenate([getattr(before, column.name), getattr(found, column.name)]) for column in fields(Runs)}
        if before.label[0] == found.label[0] and 0 <= step <= self.gap_ns:
            columns["from_ns"][1], columns["count"][1] = before.from_ns[0], before.count[0] + found.count[0]
            columns["low"][1], columns["high"][1] = min(before.low[0], found.low[0]), max(before.high[0], found.high[0])
            columns = {name: column[1:] for name, column in columns.items()}
        return Runs(**columns)


def find_runs(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[Any]]], gap_ns: int, label: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> Iterator[Runs]:
    """All stretches of a series of blocks, some at a time."""
    finder = RunFinder(gap_ns, label)
    for t_ns, values in blocks:
        found = finder.update(t_ns, values)
        if found is not None:
            yield found
    found = finder.finish()
    if found is not None:
        yield found
