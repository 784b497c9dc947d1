"""What no database knows is said once, and diagnostic ids are not held against a database."""

from __future__ import annotations

from typing import Any

import pytest

from diagnosis.findings import INFO, WARNING, FoundFinding
from diagnosis.rules.coverage import find, is_diagnostic
from tests.diagnosis.cases import Case


def ids(*rows: tuple[str, bool, int]) -> list[dict[str, Any]]:
    return [{"channel": "1", "id": identifier, "extended": extended, "count": count} for identifier, extended, count in rows]


def found(
    known: int, *rows: tuple[str, bool, int], has_database: bool = True, databases: tuple[str, ...] = ("demo.dbc",)
) -> list[FoundFinding]:
    case = Case()
    case.file("a", databases=list(databases))
    case.unknown_ids = ids(*rows)
    case.coverage |= {"frames_known": known, "frames_unknown": sum(row[2] for row in rows), "ids_unknown": len(rows)}
    return list(find(case.evidence(has_database=has_database)))


def test_full_coverage_is_not_mentioned() -> None:
    assert found(1000) == []


def test_unknown_ids_are_for_information() -> None:
    (finding,) = found(900, ("123", False, 60), ("18ff0102", True, 40))
    assert (finding.severity, finding.count) == (INFO, 2)
    assert finding.sentence == ("2 arbitration ids with 100 frames (10 %) are in no signal database: 0x123 (bus 1) and 0x18FF0102 (bus 1).")


def test_diagnostic_ids_alone_are_not_mentioned() -> None:
    assert found(900, ("7df", False, 5), ("7e8", False, 5), ("18feca00", True, 50), ("18db33f1", True, 3)) == []


def test_a_database_that_knows_less_than_half_may_be_the_wrong_one() -> None:
    (finding,) = found(100, ("123", False, 900))
    assert finding.severity == WARNING
    assert finding.sentence.startswith("Only 10 % of the frames are in the signal database (demo.dbc)")


def test_without_a_database_the_sentence_says_what_to_do() -> None:
    (finding,) = found(0, ("123", False, 900), has_database=False, databases=())
    assert (finding.severity, finding.count) == (INFO, 900)
    assert "No signal database is assigned" in finding.sentence
    assert "Upload a signal database" in finding.action


def test_a_database_that_came_later_asks_for_another_run() -> None:
    (finding,) = found(0, ("123", False, 900), databases=())
    assert "parsed before a signal database was assigned" in finding.sentence
    assert "Process the batch again" in finding.action


def test_more_ids_than_are_listed_are_counted() -> None:
    case = Case()
    case.file("a")
    case.unknown_ids = ids(*((f"{number:x}", False, 1) for number in range(1, 201)))
    case.coverage |= {"frames_known": 10_000, "frames_unknown": 500, "ids_unknown": 500}
    (finding,) = find(case.evidence())
    assert finding.count == 500
    assert "and 196 more" in finding.sentence
    assert len(finding.details["ids"]) == 20


@pytest.mark.parametrize(
    ("identifier", "extended", "expected"),
    [
        ("7df", False, True),
        ("7e0", False, True),
        ("7ef", False, True),
        ("7f0", False, False),
        ("7de", False, False),
        ("18feca00", True, True),
        ("18fecb21", True, True),
        ("1cecff00", True, True),
        ("1cebff00", True, True),
        ("18eaff21", True, True),
        ("18eeff21", True, True),
        ("18daf110", True, True),
        ("18db33f1", True, True),
        ("0cf00400", True, False),
        ("18fef100", True, False),
        ("7e8", True, False),
    ],
)
def test_which_ids_are_diagnostic(identifier: str, extended: bool, expected: bool) -> None:
    assert is_diagnostic({"id": identifier, "extended": extended}) is expected
