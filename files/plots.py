"""The points of one signal for a plot of any range: raw samples when they are few, else the lowest and highest of each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.runs import gap_limit_ns
from files.result_files import FileResult, Json, StreamPart
from parsers.results.reader import FIRST, LAST, read_overview, read_signal

RAW_PER_POINT = 512  # samples up to which they are read themselves: two buckets of the overview's lowest level for each point
MAX_RAW = 2_000_000
FINER = 8  # the overview's levels are a factor of 8 apart: the next finer one is read and reduced
MAX_POINTS = 20_000


@dataclass(frozen=True, slots=True)
class PlotData:
    """Points in order of time, at most twice as many as were asked for.

    `low` and `high` are equal where `raw` is true: these are the samples themselves. None in both marks a gap: the line is not drawn
    across it. `t_ns` are ns since 1970 (UTC), or since the start of a recording without a date. `choices` name the values of an enum.
    """

    t_ns: list[int]
    low: list[float | None]
    high: list[float | None]
    raw: bool
    unit: str
    choices: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Buckets:
    """Intervals: first and last time of their samples (int64, ns), lowest and highest value (float64), all of one length."""

    t0: NDArray[np.int64]
    t1: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t0)

    def sorted(self) -> Buckets:
        """By time; clocks go back and files overlap."""
        order = np.argsort(self.t0, kind="stable")
        return Buckets(self.t0[order], self.t1[order], self.low[order], self.high[order])

    def reduced(self, points: int) -> Buckets:
        """At most `points` of them, over equal shares of the time: none of the lowest and highest values is lost. Must be sorted."""
        if len(self) <= points:
            return self
        first, span = int(self.t0[0]), int(self.t0[-1]) - int(self.t0[0])
        share = (self.t0 - first).astype(np.float64) * (points / (span + 1))
        starts = np.flatnonzero(np.diff(np.minimum(share.astype(np.int64), points - 1), prepend=-1))
        return Buckets(
            self.t0[starts],
            np.maximum.reduceat(self.t1, starts),
            np.minimum.reduceat(self.low, starts),
            np.maximum.reduceat(self.high, starts),
        )


def plot_parts(
    parts: Sequence[tuple[FileResult, StreamPart]], signal: str, from_ns: int | None = None, to_ns: int | None = None, points: int = 1000
) -> PlotData:
    """The points of `signal` between two times (both included; None is open) in the parts of one stream that lie in these files.

    `points` is bounded to 1..20,000. Raises KeyError when no part has the signal, and what reading raises.
    """
    points = min(max(points, 1), MAX_POINTS)
    start, end = FIRST if from_ns is None else from_ns, LAST if to_ns is None else to_ns
    having = [(result, part) for result, part in parts if signal in part.signals]
    if not having:
        raise KeyError(signal)
    touching = [(result, part) for result, part in having if _touches(part, start, end)]
    described = _described(*having[0], signal)
    expected = sum(_expected(part, start, end) for _, part in touching)
    if expected <= min(RAW_PER_POINT * points, MAX_RAW):
        found = [_raw(result, part, signal, start, end) for result, part in touching]
    else:
        share = max(1, FINER * points // len(touching))
        found = [_coarse(result, part, signal, start, end, share) for result, part in touching]
    joined = _joined(found).sorted()
    reduced = joined.reduced(points)
    raw = len(reduced) == len(joined) and bool((joined.t0 == joined.t1).all())
    limit = max(gap_limit_ns(part.period_ns) for _, part in having)
    return PlotData(*_lists(reduced, limit), raw, described["unit"], described["choices"])


def _joined(pieces: Sequence[Buckets]) -> Buckets:
    columns = (("t0", np.int64), ("t1", np.int64), ("low", np.float64), ("high", np.float64))
    return Buckets(*(np.concatenate([np.empty(0, kind), *(getattr(piece, name) for piece in pieces)]) for name, kind in columns))


def _described(result: FileResult, part: StreamPart, signal: str) -> Json:
    signals = result.summary["streams"][part.index]["signals"]
    return dict(next(entry for entry in signals if entry["name"] == signal))


def _touches(part: StreamPart, start: int, end: int) -> bool:
    return part.first_ns is not None and part.last_ns is not None and part.first_ns <= end and part.last_ns >= start


def _expected(part: StreamPart, start: int, end: int) -> int:
    """Rows in the range if they are spread evenly."""
    first, last = part.first_ns or 0, part.last_ns or 0
    within = min(last, end) - max(first, start)
    return part.count if last == first else -(-part.count * within // (last - first))


def _raw(result: FileResult, part: StreamPart, signal: str, start: int, end: int) -> Buckets:
    with result.open_stream(part.key) as file:
        samples = read_signal(file, signal, start, end, MAX_RAW)
    values = samples.values.astype(np.float64)
    good = samples.valid & np.isfinite(values)
    if samples.truncated:  # the rows are not spread evenly: what does not fit in memory comes from the overview
        return _coarse(result, part, signal, start, end, MAX_RAW)
    return Buckets(samples.t_ns[good], samples.t_ns[good], values[good], values[good])


def _coarse(result: FileResult, part: StreamPart, signal: str, start: int, end: int, most: int) -> Buckets:
    """Buckets of the overview, at most `most` if a level is that coarse; a stream too small to have one gives its samples."""
    with result.open_overview() as file:
        buckets = read_overview(file, part.index, part.signals.index(signal), start, end, most)
    if buckets is None:
        return _raw(result, part, signal, start, end)
    return Buckets(buckets.t0, buckets.t1, buckets.low, buckets.high)


def _lists(buckets: Buckets, gap_ns: int) -> tuple[list[int], list[float | None], list[float | None]]:
    """As plain lists, with a point without value in the middle of each gap."""
    if not len(buckets):
        return [], [], []
    reached = np.maximum.accumulate(buckets.t1)
    before = np.flatnonzero(buckets.t0[1:] - reached[:-1] > gap_ns) + 1
    middle = reached[before - 1] + (buckets.t0[before] - reached[before - 1]) // 2
    t_ns = np.insert(buckets.t0, before, middle)
    ends = []
    for column in (buckets.low, buckets.high):
        values: list[float | None] = [*np.insert(column + 0.0, before, np.nan).tolist()]
        for place in (before + np.arange(len(before))).tolist():
            values[place] = None
        ends.append(values)
    return t_ns.tolist(), ends[0], ends[1]
