"""Signals that stood still while what they follow moved: a frozen sensor, told from a vehicle at rest by its sibling signals.

A stretch of one value says nothing by itself: a parked vehicle has many. So a stretch counts only when siblings (signals of the same
unit that otherwise predict this one) say that the signal should have moved, and when it is unusually long for the signal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.runs import RunFinder, Runs, gap_limit_ns
from diagnosis.evidence import Evidence, Json
from diagnosis.findings import ERROR, LISTED, SECOND_NS, FoundFinding, length, listed, number, times

RULE = "stuck"
VERSION = "1"
TITLE = "signals that stood still while their siblings moved"

LEAST_NS = 30 * SECOND_NS
TIMES_USUAL = 20  # longer than the 99th percentile of the signal's own stretches
LEAST_SAMPLES = 200
LEAST_CHANGES = 50  # a signal of few steps is a state, not a measurement
BIN_NS = SECOND_NS
MOST_BINS = 100_000
LEAST_BINS = 60  # seconds outside of the stretch from which a sibling is known
CORRELATED = 0.95
MOVED_SHARE = 0.1  # of the signal's range that it should have moved
MOVED_ERRORS = 5.0  # times the usual error of the prediction
MOST_STRETCHES = 50
MOST_SIBLINGS = 12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """One signal, read once: its mean in each second (NaN where it has no sample) and its unusually long stretches of one value."""

    entry: Json
    bins: Floats
    stretches: list[Json]

    @property
    def spread(self) -> float:
        """Highest less lowest value."""
        return float(self.entry["max"] - self.entry["min"])

    def at_rest(self, value: float) -> bool:
        """Whether it is a value at which signals rest or end: zero, the lowest or the highest."""
        return value in (0.0, self.entry["min"], self.entry["max"])


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding for each signal with such stretches. Values are read only in groups of one unit in which a stretch is long enough."""
    first, last = evidence.statistics["time"]["first_ns"], evidence.statistics["time"]["last_ns"]
    if first is None or last - first < LEAST_NS:
        return
    groups: dict[str, list[Json]] = {}
    for entry in evidence.signals:
        if is_measurement(entry):
            groups.setdefault(entry["unit"], []).append(entry)
    for unit in sorted(groups):
        group = groups[unit]
        if len(group) > 1 and any((entry["longest_constant_ns"] or 0) >= LEAST_NS for entry in group):
            yield from _in_group(evidence, group, first, max(BIN_NS, (last - first) // MOST_BINS + 1))


def is_measurement(entry: Json) -> bool:
    """A number with a unit that takes different values; no state, counter or flag."""
    if entry["kind"] == "enum" or not entry["unit"] or entry["count"] < LEAST_SAMPLES:
        return False
    return bool(entry["max"] > entry["min"])


def are_namesakes(one: str, other: str) -> bool:
    """Whether two names differ in a short piece only: `WheelSpeedFL` and `WheelSpeedFR`, `temp_1` and `temp_12`."""
    if one == other:
        return False
    before = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, other_rest = one[before:], other[before:]
    after = next((i for i, (a, b) in enumerate(zip(rest[::-1], other_rest[::-1], strict=False)) if a != b), min(len(rest), len(other_rest)))
    piece = max(len(rest), len(other_rest)) - after
    return piece <= 3 and before + after >= 4 and bool(re.search(r"[A-Za-z]{3}", one[:before] + rest[len(rest) - after :]))


def _in_group(evidence: Evidence, group: Sequence[Json], first_ns: int, bin_ns: int) -> Iterator[FoundFinding]:
    shapes = [_read(evidence, entry, first_ns, bin_ns) for entry in group]
    for shape in shapes:
        judged = []
        for stretch in shape.stretches:
            siblings = _siblings_that_moved(shape, stretch, shapes, first_ns, bin_ns)
            if siblings:
                judged.append((stretch, siblings))
        if judged:
            yield _finding(evidence, shape, judged)


def _read(evidence: Evidence, entry: Json, first_ns: int, bin_ns: int) -> Shape:
    """One pass over the values."""
    count = (evidence.statistics["time"]["last_ns"] - first_ns) // bin_ns + 1
    sums, samples = np.zeros(count), np.zeros(count, np.int64)
    period = evidence.stream_of[entry["stream"]]["period_ns"]
    finder, usual = RunFinder(gap_limit_ns(period)), Lengths()
    long: list[Runs] = []
    for t_ns, values in evidence.series(entry["stream"], entry["signal"]):
        at = (t_ns - first_ns) // bin_ns
        inside = (at >= 0) & (at < count)
        sums += np.bincount(at[inside], values[inside], minlength=count)
        samples += np.bincount(at[inside], minlength=count)
        _keep(finder.update(t_ns, values), usual, long)
    _keep(finder.finish(), usual, long)
    with np.errstate(invalid="ignore"):
        bins = np.where(samples > 0, sums / np.maximum(samples, 1), np.nan)
    threshold = max(LEAST_NS, TIMES_USUAL * usual.p99_ns())
    stretches: list[Json] = []
    if usual.total >= LEAST_CHANGES:
        for runs in long:
            for row in np.flatnonzero(runs.length_ns >= threshold).tolist():
                stretches.append({"from_ns": int(runs.from_ns[row]), "to_ns": int(runs.to_ns[row]), "value": float(runs.label[row])})
    return Shape(entry, bins, stretches[:MOST_STRETCHES])


def _keep(runs: Runs | None, usual: Lengths, long: list[Runs]) -> None:
    if runs is not None:
        usual.add(runs.length_ns)
        found = runs.take(runs.length_ns >= LEAST_NS)
        if len(found):
            long.append(found)


class Lengths:
    """How long stretches are, counted in classes a quarter of an octave wide, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self._classes: NDArray[np.int64] = np.zeros(256, np.int64)

    def add(self, lengths_ns: NDArray[np.int64]) -> None:
        """Takes lengths in ns, none below 0."""
        classes = np.ceil(np.log2(np.maximum(lengths_ns, 1)) * 4).astype(np.int64)
        self._classes += np.bincount(classes, minlength=256)

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self._classes.sum())

    def p99_ns(self) -> float:
        """The 99th percentile, at most a fifth too high."""
        if not self.total:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._classes), np.ceil(self.total * 0.99)))
        return 0.0 if at == 0 else float(2 ** (at / 4))


def _siblings_that_moved(shape: Shape, stretch: Json, shapes: Sequence[Shape], first_ns: int, bin_ns: int) -> list[str]:
    """Names of the siblings that say it should have moved; none unless most of the siblings say so.

    At a value of rest only signals of nearly the same name are believed: a target speed is 0 whenever nobody sets a target.
    """
    start, end = (stretch["from_ns"] - first_ns) // bin_ns, (stretch["to_ns"] - first_ns) // bin_ns
    outside = np.isfinite(shape.bins)
    for other in shape.stretches:
        if not shape.at_rest(other["value"]) or other is stretch:
            outside[max(0, (other["from_ns"] - first_ns) // bin_ns) : (other["to_ns"] - first_ns) // bin_ns + 1] = False
    resting = shape.at_rest(stretch["value"])
    known = 0
    moved: list[str] = []
    for sibling in shapes:
        name = sibling.entry["signal"]
        if sibling is shape or (resting and not are_namesakes(shape.entry["signal"], name)):
            continue
        verdict = _should_have_moved(shape, sibling, outside, slice(start + 1, end))
        if verdict is None:
            continue
        known += 1
        if verdict:
            moved.append(name)
        if known == MOST_SIBLINGS:
            break
    return moved if 2 * len(moved) > known else []


def _should_have_moved(shape: Shape, sibling: Shape, outside: NDArray[np.bool_], during: slice) -> bool | None:
    """Whether the sibling predicts a movement in the stretch that the signal did not make; None when it predicts nothing at all.

    The prediction is the straight line through the seconds outside of the stretch. It must be good there (correlation 0.95), and in the
    stretch both move far (a tenth of the signal's range) and miss by far more (5 times) than it usually does.
    """
    both = outside & np.isfinite(sibling.bins)
    if int(both.sum()) < LEAST_BINS:
        return None
    x, y = sibling.bins[both], shape.bins[both]
    if x.std() == 0 or y.std() == 0 or abs(float(np.corrcoef(x, y)[0, 1])) < CORRELATED:
        return None
    slope, offset = np.polyfit(x, y, 1)
    usual_error = float(np.quantile(np.abs(slope * x + offset - y), 0.99))
    window = sibling.bins[during]
    predicted = slope * window[np.isfinite(window)] + offset
    if not len(predicted):
        return False
    moved = float(np.ptp(predicted))
    missed = float(np.abs(predicted - float(np.nanmean(shape.bins[during]))).max()) if np.isfinite(shape.bins[during]).any() else 0.0
    return moved >= max(MOVED_SHARE * shape.spread, MOVED_ERRORS * usual_error) and missed >= MOVED_ERRORS * usual_error


def _finding(evidence: Evidence, shape: Shape, judged: Sequence[tuple[Json, list[str]]]) -> FoundFinding:
    entry = shape.entry
    longest, siblings = max(judged, key=lambda item: item[0]["to_ns"] - item[0]["from_ns"])
    span = length(longest["to_ns"] - longest["from_ns"])
    often = "" if len(judged) == 1 else f" ({times(len(judged))}, this was the longest)"
    details: dict[str, Any] = {
        "value": longest["value"],
        "siblings": siblings[:LISTED],
        "stretches": [stretch for stretch, _ in judged[:LISTED]],
    }
    return FoundFinding(
        ERROR,
        f"{entry['signal']} stood still at {number(longest['value'], entry['unit'])} for {span}{often} "
        f"while {listed(siblings, 4)} moved as if it should have followed.",
        f"Check the sensor of {entry['signal']}, its plug and its wiring; compare it with {listed(siblings, 4)} in the plot.",
        file_id=evidence.file_at(longest["from_ns"], entry["stream"]),
        stream=entry["stream"],
        signal=entry["signal"],
        from_ns=min(stretch["from_ns"] for stretch, _ in judged),
        to_ns=max(stretch["to_ns"] for stretch, _ in judged),
        count=len(judged),
        details=details,
    )
