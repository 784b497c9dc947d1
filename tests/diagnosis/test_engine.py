"""The engine asks every rule, keeps what they find in one order, and says which of them failed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from diagnosis.engine import MAX_PER_RULE, RULES, FoundFinding, Rule, diagnose
from diagnosis.findings import CRITICAL, ERROR, INFO, SEVERITIES, WARNING
from diagnosis.models import Finding, FindingSeverity
from tests.diagnosis.cases import SECOND, START, Case


def rule(name: str, *findings: FoundFinding, raises: Exception | None = None) -> Rule:
    def find(_evidence):
        yield from findings
        if raises:
            raise raises

    return Rule(name, "7", f"title of {name}", find)


def test_a_rule_that_raises_does_not_silence_the_others() -> None:
    rules = [
        rule("a", FoundFinding(INFO, "one"), FoundFinding(INFO, "two"), raises=ZeroDivisionError("of\nzero")),
        rule("b", FoundFinding(ERROR, "three")),
    ]
    diagnosis = diagnose(Case().evidence(), rules)
    assert [finding.sentence for finding in diagnosis.findings] == ["three", "one", "two"]
    assert [(failure.rule, failure.cause) for failure in diagnosis.failures] == [("a", "ZeroDivisionError: of zero")]


def test_findings_carry_their_rule_and_its_version() -> None:
    (finding,) = diagnose(Case().evidence(), [rule("a", FoundFinding(INFO, "x"))]).findings
    assert (finding.rule, finding.rule_version) == ("a", "7")


def test_the_gravest_come_first_then_the_earliest() -> None:
    findings = [
        FoundFinding(WARNING, "w1", from_ns=5),
        FoundFinding(CRITICAL, "c", from_ns=9),
        FoundFinding(WARNING, "w0", from_ns=-5),
        FoundFinding(WARNING, "w without time"),
        FoundFinding(INFO, "i", from_ns=0),
        FoundFinding(ERROR, "e", from_ns=7),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(findings)
        found = diagnose(Case().evidence(), [rule("a", *findings)]).findings
        assert [finding.sentence for finding in found] == ["c", "e", "w0", "w1", "w without time", "i"]


def test_a_rule_with_too_many_findings_keeps_the_gravest_and_says_how_many_are_missing() -> None:
    many = [FoundFinding(INFO, f"{i}", from_ns=i) for i in range(500)] + [FoundFinding(ERROR, "grave")]
    diagnosis = diagnose(Case().evidence(), [rule("a", *many), rule("b", FoundFinding(INFO, "other"))])
    of_a = [finding for finding in diagnosis.findings if finding.rule == "a"]
    assert len(of_a) == MAX_PER_RULE + 1
    assert of_a[0].sentence == "grave"
    assert diagnosis.truncated == {"a": 301}
    assert any(finding.details == {"truncated": 301} and "301 more" in finding.sentence for finding in of_a)


def test_what_does_not_fit_a_row_is_cut() -> None:
    long = FoundFinding(
        INFO, "x" * 600, "y" * 600, code="c" * 70, stream="s" * 300, signal="t" * 300, count=2**40, from_ns=-(2**70), to_ns=2**70
    )
    (finding,) = diagnose(Case().evidence(), [rule("a", long)]).findings
    assert (len(finding.sentence), len(finding.action), len(finding.code)) == (500, 500, 64)
    assert (len(finding.stream), len(finding.signal), finding.count) == (200, 200, 2**31 - 1)
    assert (finding.from_ns, finding.to_ns) == (-(2**63), 2**63 - 1)
    for name in ("sentence", "action", "code", "stream", "signal"):
        assert len(getattr(finding, name)) == Finding._meta.get_field(name).max_length


def test_names_from_a_log_cannot_make_a_row_that_no_database_takes() -> None:
    hostile = "a\x00b\ud800c\n"
    details = {hostile: [hostile, {"x": float("nan"), hostile: 1}], "many": list(range(1000)), "long": "x" * 1000}
    found = FoundFinding(INFO, hostile, hostile, code=hostile, stream=hostile, signal=hostile, details=details)
    (finding,) = diagnose(Case().evidence(), [rule("a", found)]).findings
    harmless = "a\ufffdb\ufffdc\ufffd"
    assert [finding.sentence, finding.action, finding.code, finding.stream, finding.signal] == [harmless] * 5
    assert finding.details[harmless] == [harmless, {"x": None, harmless: 1}]
    assert (len(finding.details["many"]), len(finding.details["long"])) == (100, 500)


@pytest.mark.parametrize("wrong", [FoundFinding("terrible", "x"), FoundFinding(INFO, "x", from_ns=2, to_ns=1)])
def test_a_finding_that_cannot_be_stored_is_the_rules_failure(wrong: FoundFinding) -> None:
    diagnosis = diagnose(Case().evidence(), [rule("a", wrong), rule("b", FoundFinding(INFO, "fine"))])
    assert [failure.rule for failure in diagnosis.failures] == ["a"]
    assert [finding.sentence for finding in diagnosis.findings] == ["fine"]


def test_severities_are_those_of_the_model() -> None:
    assert tuple(FindingSeverity.values) == SEVERITIES


def test_every_rule_is_named_after_its_module_and_fits_a_row() -> None:
    assert len({entry.id for entry in RULES}) == len(RULES) == 8
    for entry in RULES:
        assert entry.find.__module__ == f"diagnosis.rules.{entry.id}"
        assert len(entry.id) <= 64
        assert entry.version
        assert entry.title


def test_a_recording_with_nothing_in_it_gives_no_finding() -> None:
    case = Case()
    case.frames["total"] = 0
    case.coverage = dict.fromkeys(case.coverage, 0)
    case.time |= {"first_ns": None, "last_ns": None}
    diagnosis = diagnose(case.evidence())
    assert (diagnosis.findings, diagnosis.failures) == ([], [])


def test_every_rule_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [entry.id for entry in RULES]


def test_a_moment_of_a_stream_lies_in_a_file_that_has_the_stream() -> None:
    case = Case()
    case.file("bus")
    case.file("computer")
    case.signal("Engine", "Speed", np.arange(10) * SECOND + START, np.arange(10), files=["id-bus"])
    evidence = case.evidence()
    assert evidence.file_at(START + SECOND) == "id-computer"
    assert evidence.file_at(START + SECOND, "Engine") == "id-bus"
    assert evidence.file_at(START + SECOND, "unknown") == "id-computer"
    assert evidence.file_at(START - SECOND, "Engine") is None
