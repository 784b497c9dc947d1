"""One stream of a batch, merged over its files: gaps, and the statistics of its signals over all of their samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.runs import SECOND_NS, RunFinder, Runs, gap_limit_ns
from files.result_files import FileResult, Identity, Json, StreamPart
from files.selection import PERCENTILES, plain, rank, select, select_in_memory

MAX_GAPS = 200
MAX_FILES = 1000  # ids listed for one signal
MEMORY = 64 << 20  # bytes of columns that are looked at together
VALUE_BYTES = 9  # a value and its mask
DECLARED = ("unit", "kind", "choices", "minimum", "maximum")

Array = NDArray[Any]


@dataclass
class SignalTotals:
    """What the summaries say about one signal: how it is declared, the sums, and the files it is in."""

    declared: Json
    sums: list[float] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    file_count: int = 0


@dataclass
class StreamMerge:
    """A stream and the parts of it, in the order in which the files were recorded."""

    identity: Identity
    arbitration_id: str | None
    parts: list[tuple[FileResult, StreamPart, str]] = field(default_factory=list)
    signals: dict[str, SignalTotals] = field(default_factory=dict)
    rows: int = 0
    gaps: list[Json] = field(default_factory=list)
    gap_count: int = 0
    memory: int = MEMORY

    def add(self, result: FileResult, part: StreamPart, stream: Json, clock: str) -> None:
        """The part of one file, with its entry of the summary and the clock it was recorded with: times of two clocks are not compared."""
        self.parts.append((result, part, clock))
        self.rows += part.count
        self.gap_count += stream["gap_count"]
        self.gaps += [{**gap, "file": result.file_id, "between_files": False} for gap in stream["gaps"][: MAX_GAPS - len(self.gaps)]]
        for signal in stream["signals"]:
            totals = self.signals.get(signal["name"])
            if totals is None:
                totals = self.signals[signal["name"]] = SignalTotals({name: signal[name] for name in DECLARED})
            if signal["sum"] is not None:
                totals.sums.append(float(signal["sum"]))
            totals.file_count += 1
            if len(totals.files) < MAX_FILES:
                totals.files.append(result.file_id)

    @property
    def period_ns(self) -> int | None:
        """Usual distance of two rows: the median of the files' medians, each weighted with its rows."""
        known = sorted((part.period_ns, part.count) for _, part, _ in self.parts if part.period_ns is not None)
        half = sum(count for _, count in known) / 2
        for period, count in known:
            half -= count
            if half <= 0:
                return period
        return None

    def finish(self, name: str) -> tuple[Json, list[Json]]:
        """The entries of the stream and of its signals in statistics.json. Reads every value of the stream."""
        period = self.period_ns
        self._find_gaps_between_files(gap_limit_ns(period))
        channel, message, extended, _ = self.identity
        first, last = self._ends()
        stream = {
            "name": name,
            "message": message,
            "channel": channel,
            "arbitration_id": self.arbitration_id,
            "extended": extended,
            "count": self.rows,
            "first_ns": first,
            "last_ns": last,
            "period_ns": period,
            "covered_ns": self._covered_ns(),
            "gap_count": self.gap_count,
            "gaps": self.gaps,
            "file_count": len(self.parts),
        }
        found = self._measure(gap_limit_ns(period))
        return stream, [self._signal(name, signal, found[signal]) for signal in self.signals]

    def _ends(self) -> tuple[int | None, int | None]:
        firsts = [part.first_ns for _, part, _ in self.parts if part.first_ns is not None]
        lasts = [part.last_ns for _, part, _ in self.parts if part.last_ns is not None]
        return min(firsts, default=None), max(lasts, default=None)

    def _find_gaps_between_files(self, limit: int) -> None:
        """From the latest time so far to the first of the next file; recordings that follow seamlessly or overlap leave none."""
        ends: dict[str, int] = {}
        spans = [
            (part.first_ns, part.last_ns, clock, result.file_id)
            for result, part, clock in self.parts
            if part.first_ns is not None and part.last_ns is not None
        ]
        for first, last, clock, file_id in sorted(spans):
            end = ends.get(clock)
            if end is not None and first - end > limit:
                self.gap_count += 1
                if len(self.gaps) < MAX_GAPS:
                    self.gaps.append({"from_ns": end, "to_ns": first, "file": file_id, "between_files": True})
            ends[clock] = last if end is None else max(end, last)
        self.gaps.sort(key=lambda gap: (gap["from_ns"], gap["to_ns"]))

    def _signal(self, stream: str, name: str, measured: SignalMeasure) -> Json:
        totals = self.signals[name]
        channel, message, _, _ = self.identity
        span_s = self._covered_ns() / SECOND_NS
        count = measured.count
        added = total(totals.sums) if count and totals.sums else None
        mean = None
        if added is not None:  # rounding must not take it out of the range of the values
            mean = min(max(added / count, float(measured.low)), float(measured.high))
        return {
            "stream": stream,
            "message": message,
            "channel": channel,
            "signal": name,
            **totals.declared,
            **measured.to_json(),
            "sum": added,
            "mean": mean,
            "gap_count": self.gap_count,
            "rate_hz": round(count / span_s, 3) if span_s > 0 and count > 1 else None,
            "files": totals.files,
            "file_count": totals.file_count,
        }

    def _covered_ns(self) -> int:
        """Time in which the stream was recorded, gaps inside of files included, with one period for the last row of each file."""
        covered = 0
        for _, part, _ in self.parts:
            if part.first_ns is not None and part.last_ns is not None and part.count > 1:
                covered += part.last_ns - part.first_ns + (part.period_ns or 0)
        return covered

    # -- the values ----------------------------------------------------------------------------------------------------

    def _measure(self, gap_ns: int) -> dict[str, SignalMeasure]:
        """As many columns at once as fit in memory, each file opened once for them; a longer column goes through in pieces."""
        names = list(self.signals)
        at_once = self.memory // (VALUE_BYTES * max(self.rows, 1))
        if at_once == 0:
            return {name: self._measure_in_pieces(name, gap_ns) for name in names}
        found: dict[str, SignalMeasure] = {}
        for start in range(0, len(names), at_once):
            found |= self._measure_in_memory(names[start : start + at_once], gap_ns)
        return found

    def _measure_in_memory(self, names: Sequence[str], gap_ns: int) -> dict[str, SignalMeasure]:
        measures = {name: SignalMeasure(gap_ns) for name in names}
        pieces: dict[str, list[Array]] = {name: [] for name in names}
        for result, part, _ in self.parts:
            here = [name for name in names if name in part.signals]
            if not here:
                continue
            columns = result.read(part.key, here)
            for name in here:
                t_ns, values = columns.finite(name)
                measures[name].take(len(columns.t_ns), t_ns, values)
                pieces[name].append(values)
        for name, measure in measures.items():
            if measure.count:
                joined = np.concatenate([values.astype(measure.dtype, copy=False) for values in pieces.pop(name)])
                measure.percentiles = select_in_memory(joined, measure.ranks)
        return measures

    def _measure_in_pieces(self, name: str, gap_ns: int) -> SignalMeasure:
        measure = SignalMeasure(gap_ns)
        for rows, t_ns, values in self._pieces(name):
            measure.take(rows, t_ns, values)
        if measure.count:
            dtype = measure.dtype
            low, high = dtype.type(measure.low), dtype.type(measure.high)
            passes = lambda: (values.astype(dtype, copy=False) for _, _, values in self._pieces(name))  # noqa: E731
            measure.percentiles = select(passes, measure.ranks, low, high, self.memory // (4 * VALUE_BYTES))
        return measure

    def _pieces(self, name: str) -> Iterator[tuple[int, NDArray[np.int64], Array]]:
        for result, part, _ in self.parts:
            if name in part.signals:
                for columns in result.blocks(part.key, [name]):
                    yield len(columns.t_ns), *columns.finite(name)


@dataclass
class SignalMeasure:
    """What the values of one signal say, taken block after block. The values themselves are not kept."""

    gap_ns: int
    rows: int = 0
    count: int = 0
    low: Any = None
    high: Any = None
    first: Any = None
    last: Any = None
    first_ns: int | None = None
    last_ns: int | None = None
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.int32))
    percentiles: list[Any] = field(default_factory=list)
    _longest: tuple[int, int, int, Any] | None = None
    _finder: RunFinder | None = None

    def take(self, rows: int, t_ns: NDArray[np.int64], values: Array) -> None:
        """The next block: of `rows` rows, those with a finite value."""
        self.rows += rows
        if not len(values):
            return
        self.dtype = np.result_type(self.dtype, values.dtype) if self.count else values.dtype
        low, high = plain(values.min()), plain(values.max())
        self.low = low if self.count == 0 else min(self.low, low)
        self.high = high if self.count == 0 else max(self.high, high)
        if self._finder is None:
            self._finder = RunFinder(self.gap_ns)
            self.first, self.first_ns, self.last_ns = plain(values[0]), int(t_ns.min()), int(t_ns.max())
        else:
            self.first_ns, self.last_ns = min(self.first_ns or 0, int(t_ns.min())), max(self.last_ns or 0, int(t_ns.max()))
        self.last = plain(values[-1])
        self.count += len(values)
        self._look(self._finder.update(t_ns, values))

    def _look(self, runs: Runs | None) -> None:
        """Keeps the longest stretch of one value, the first of several."""
        if runs is None:
            return
        at = int(np.argmax(runs.length_ns))
        length = int(runs.length_ns[at])
        if self._longest is None or length > self._longest[0]:
            self._longest = length, int(runs.from_ns[at]), int(runs.to_ns[at]), plain(runs.label[at])

    @property
    def ranks(self) -> list[int]:
        """Places of the percentiles among the sorted values."""
        return [rank(self.count, percent) for percent in PERCENTILES.values()]

    def to_json(self) -> Json:
        """The measured members of a signal's entry; None where there is no value."""
        if self._finder is not None:
            self._look(self._finder.finish())
        length, start, end, value = self._longest or (None, None, None, None)
        return {
            "count": self.count,
            "null_count": self.rows - self.count,
            "min": self.low,
            "max": self.high,
            **dict(zip(PERCENTILES, self.percentiles or [None] * len(PERCENTILES), strict=True)),
            "first": self.first,
            "last": self.last,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "longest_constant_ns": length,
            "constant": None if length is None else {"value": value, "from_ns": start, "to_ns": end},
        }


def total(sums: Sequence[float]) -> float | None:
    """The exact sum of the files' sums, rounded once; None when it is no finite number."""
    try:
        return math.fsum(sums)
    except OverflowError:
        return None
