"""Asks every rule what it sees in the evidence of a batch; one rule that fails does not silence the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diagnosis.evidence import Evidence
from diagnosis.findings import INFO, MAX_COUNT, SEVERITIES, FoundFinding, clean, shortened
from diagnosis.rules import clock, coverage, damaged, dropout, error_frames, fault_codes, limits, stuck

__all__ = ["RULES", "Diagnosis", "FoundFinding", "Rule", "RuleFailed", "diagnose"]

MAX_PER_RULE = 200
MAX_LISTED = 100  # entries of a list in `details`
LONGEST = 200  # of the names of a stream or signal
TIME_MIN, TIME_MAX = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name, the version of its thresholds, what it looks for (shown to people), and the function that looks."""

    id: str
    version: str
    title: str
    find: Callable[[Evidence], Iterable[FoundFinding]]


RULES: tuple[Rule, ...] = tuple(
    Rule(module.RULE, module.VERSION, module.TITLE, module.find)
    for module in (limits, fault_codes, dropout, stuck, clock, damaged, coverage, error_frames)
)


@dataclass(frozen=True, slots=True)
class RuleFailed:
    """A rule that raised; `cause` is one line."""

    rule: str
    cause: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Findings, the gravest first, and the rules that failed. `truncated` counts what was left out of a rule's findings."""

    findings: list[FoundFinding]
    failures: list[RuleFailed]
    truncated: dict[str, int]


def diagnose(evidence: Evidence, rules: Sequence[Rule] = RULES) -> Diagnosis:
    """Everything that the rules find, sorted by severity, then time; the same evidence always gives the same diagnosis.

    A rule gives at most 200 findings, the gravest of them; one more says how many are missing.
    """
    findings: list[FoundFinding] = []
    failures: list[RuleFailed] = []
    truncated: dict[str, int] = {}
    for rule in rules:
        found: list[FoundFinding] = []
        try:
            found.extend(_checked(finding, rule) for finding in rule.find(evidence))
        except Exception as error:  # whatever it is, the other rules still speak
            failures.append(RuleFailed(rule.id, shortened(f"{type(error).__name__}: {error}".replace("\n", " "))))
        found.sort(key=_order)
        if len(found) > MAX_PER_RULE:
            truncated[rule.id] = len(found) - MAX_PER_RULE
            found = [*found[:MAX_PER_RULE], _checked(_left_out(rule, truncated[rule.id]), rule)]
        findings += found
    findings.sort(key=_order)
    return Diagnosis(findings, failures, truncated)


def _left_out(rule: Rule, count: int) -> FoundFinding:
    return FoundFinding(
        INFO,
        f"{count} more findings of the rule {rule.id} ({rule.title}) are not listed.",
        "Begin with the listed ones; they are the gravest.",
        details={"truncated": count},
    )


def _order(finding: FoundFinding) -> tuple[Any, ...]:
    """The gravest first, then by time (what has none comes last); the rest only makes the order complete."""
    when = TIME_MAX if finding.from_ns is None else finding.from_ns
    return -SEVERITIES.index(finding.severity), when, finding.rule, finding.stream, finding.signal, finding.code, finding.sentence


def _checked(finding: FoundFinding, rule: Rule) -> FoundFinding:
    """The finding as it can be stored. Raises ValueError for an unknown severity or a time range that ends before it begins."""
    if finding.severity not in SEVERITIES:
        raise ValueError(f"unknown severity {finding.severity!r}")
    if finding.from_ns is not None and finding.to_ns is not None and finding.to_ns < finding.from_ns:
        raise ValueError(f"a finding from {finding.from_ns} to {finding.to_ns}")
    return replace(
        finding,
        rule=rule.id,
        rule_version=rule.version,
        sentence=shortened(clean(finding.sentence)),
        action=shortened(clean(finding.action)),
        code=clean(finding.code)[:64],
        stream=clean(finding.stream)[:LONGEST],
        signal=clean(finding.signal)[:LONGEST],
        from_ns=_bounded(finding.from_ns),
        to_ns=_bounded(finding.to_ns),
        count=min(max(finding.count, 0), MAX_COUNT),
        details={clean(name): _stored(value) for name, value in finding.details.items()},
    )


def _stored(value: Any) -> Any:
    """A detail as JSON takes it: short texts, finite numbers, short lists."""
    if isinstance(value, str):
        return shortened(clean(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(str(name)): _stored(entry) for name, entry in list(value.items())[:MAX_LISTED]}
    if isinstance(value, (list, tuple)):
        return [_stored(entry) for entry in value[:MAX_LISTED]]
    return value


def _bounded(t_ns: int | None) -> int | None:
    return None if t_ns is None else min(max(t_ns, TIME_MIN), TIME_MAX)
