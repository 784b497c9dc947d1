"""Signals outside of the limits that were set for them, or of the range that their database declares, for too long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.runs import Runs, find_runs, gap_limit_ns
from diagnosis.evidence import Evidence, Json, Limit
from diagnosis.findings import INFO, LISTED, SECOND_NS, WARNING, FoundFinding, length, number, times

RULE = "limits"
VERSION = "1"
TITLE = "signals outside of their limits"

DECLARED_S = 1.0  # how long a signal may leave the range of its database
TOLERANCE = 1e-6  # of the larger bound: a scaled value may miss a bound by rounding

BELOW, ABOVE = -1, 1


@dataclass
class Episodes:
    """The stretches on one side of the bounds that lasted long enough."""

    count: int = 0
    total_ns: int = 0
    longest_ns: int = -1
    extreme: float = 0.0
    extreme_at_ns: int = 0
    same_value: bool = True
    first_ns: int = 0
    last_ns: int = 0
    listed: list[Json] = field(default_factory=list)

    def add(self, runs: Runs, side: int) -> None:
        """Takes stretches in the order of recording."""
        if not len(runs):
            return
        peaks = runs.high if side == ABOVE else runs.low
        at = int(np.argmax(peaks) if side == ABOVE else np.argmin(peaks))
        peak = float(peaks[at])
        known = self.count > 0
        self.same_value = (
            self.same_value and bool((runs.low == runs.high).all() and (peaks == peak).all()) and (not known or peak == self.extreme)
        )
        if not known or (peak > self.extreme if side == ABOVE else peak < self.extreme):
            self.extreme, self.extreme_at_ns = peak, int(runs.from_ns[at])
        first, last = int(runs.from_ns.min()), int(runs.to_ns.max())
        self.first_ns, self.last_ns = (min(self.first_ns, first), max(self.last_ns, last)) if known else (first, last)
        self.count += len(runs)
        self.total_ns += int(runs.length_ns.sum())
        self.longest_ns = max(self.longest_ns, int(runs.length_ns.max()))
        for row in range(min(len(runs), LISTED - len(self.listed))):
            self.listed.append({"from_ns": int(runs.from_ns[row]), "to_ns": int(runs.to_ns[row]), "peak": float(peaks[row])})


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding for each signal and side that was left long enough; the values are read only where minimum or maximum lie outside."""
    limits = _effective(evidence)
    for entry in evidence.signals:
        if entry["count"]:
            for limit in limits:
                if limit.signal in (entry["signal"], f"{entry['stream']}.{entry['signal']}", f"{entry['message']}.{entry['signal']}"):
                    yield from _limit(evidence, entry, limit)
            yield from _declared(evidence, entry)


def _effective(evidence: Evidence) -> list[Limit]:
    """For each signal the limit of the platform, else the general one."""
    chosen: dict[str, Limit] = {}
    for limit in sorted(evidence.limits, key=lambda limit: limit.of_platform):
        chosen[limit.signal] = limit
    return list(chosen.values())


def _limit(evidence: Evidence, entry: Json, limit: Limit) -> Iterator[FoundFinding]:
    for side, episodes in _leave(evidence, entry, limit.low, limit.high, limit.duration_s):
        bound = limit.high if side == ABOVE else limit.low
        assert bound is not None
        unit = entry["unit"]
        word, towards = ("above", "up to") if side == ABOVE else ("below", "down to")
        allowed = f" (allowed for {number(limit.duration_s, 's')})" if limit.duration_s else ""
        yield _finding(
            evidence,
            entry,
            episodes,
            limit.severity,
            f"{entry['signal']} was {word} its limit of {number(bound, unit)} for {_span(episodes)}{allowed}, "
            f"{towards} {number(episodes.extreme, unit)}.",
            limit.action or f"Look at {entry['signal']} in the plot and find out what drove it {word} its limit.",
            {"bound": bound, "duration_s": limit.duration_s},
        )


def _declared(evidence: Evidence, entry: Json) -> Iterator[FoundFinding]:
    """Values that the database does not allow: a signal that is not available, a wrong database, or a fault."""
    low, high, unit = entry["minimum"], entry["maximum"], entry["unit"]
    if low is None or high is None or not low < high or entry["kind"] == "enum":
        return
    slack = TOLERANCE * max(abs(low), abs(high))
    for side, episodes in _leave(evidence, entry, low - slack, high + slack, DECLARED_S):
        word = "above" if side == ABOVE else "below"
        bounds = f"{number(low)} to {number(high, unit)}"
        if episodes.same_value:  # all bits set means "not available" in many databases
            yield _finding(
                evidence,
                entry,
                episodes,
                INFO,
                f"{entry['signal']} had the value {number(episodes.extreme, unit)} for {_span(episodes)}; its database allows {bounds}. "
                "A constant value outside of the range often means that the signal is not available.",
                "Nothing to do if the signal is not fitted; else look at its sender.",
                {"minimum": low, "maximum": high},
            )
            continue
        yield _finding(
            evidence,
            entry,
            episodes,
            WARNING,
            f"{entry['signal']} was {word} the range of its database ({bounds}) for {_span(episodes)}: {number(episodes.extreme, unit)}.",
            "Check that the signal database belongs to this vehicle; if it does, look at the sender of the signal.",
            {"minimum": low, "maximum": high},
        )


def _span(episodes: Episodes) -> str:
    if episodes.count == 1:
        return length(episodes.total_ns)
    return f"{length(episodes.total_ns)} ({times(episodes.count)}, {length(episodes.longest_ns)} at the longest)"


def _finding(
    evidence: Evidence, entry: Json, episodes: Episodes, severity: str, sentence: str, action: str, details: dict[str, Any]
) -> FoundFinding:
    return FoundFinding(
        severity,
        sentence,
        action,
        file_id=evidence.file_at(episodes.extreme_at_ns, entry["stream"]),
        stream=entry["stream"],
        signal=entry["signal"],
        from_ns=episodes.first_ns,
        to_ns=episodes.last_ns,
        count=episodes.count,
        details={**details, "extreme": episodes.extreme, "total_s": round(episodes.total_ns / SECOND_NS, 3), "episodes": episodes.listed},
    )


def _leave(evidence: Evidence, entry: Json, low: float | None, high: float | None, duration_s: float) -> list[tuple[int, Episodes]]:
    """The sides that were left for `duration_s` or longer: from the first sample outside to the last, without a gap in between."""
    least = -np.inf if low is None else low
    most = np.inf if high is None else high
    if entry["min"] >= least and entry["max"] <= most:
        return []

    def side_of(values: NDArray[Any]) -> NDArray[np.int8]:
        return (values > most).astype(np.int8) - (values < least).astype(np.int8)

    found = {BELOW: Episodes(), ABOVE: Episodes()}
    gap_ns = gap_limit_ns(evidence.stream_of[entry["stream"]]["period_ns"])
    for runs in find_runs(evidence.series(entry["stream"], entry["signal"]), gap_ns, side_of):
        long_enough = runs.length_ns >= duration_s * SECOND_NS
        for side, episodes in found.items():
            episodes.add(runs.take(long_enough & (runs.label == side)), side)
    return [(side, episodes) for side, episodes in found.items() if episodes.count]
