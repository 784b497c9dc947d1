"""What could not be read is said with the file, the amount and the place."""

from __future__ import annotations

from diagnosis.evidence import FileFact
from diagnosis.findings import ERROR, INFO, WARNING, FoundFinding
from diagnosis.rules.damaged import ACTIONS, AGAIN, find
from parsers.errors import Corrupt, Empty, LimitExceeded, Truncated, UnknownFormat, Unsupported
from tests.diagnosis.cases import Case


def found(case: Case, *files: FileFact) -> list[FoundFinding]:
    return list(find(case.evidence(files=files)))


def test_sound_files_are_not_mentioned() -> None:
    case = Case()
    case.file("a")
    assert found(case, FileFact("1", "a", "completed"), FileFact("2", "b", "parsed")) == []


def test_a_failed_file_is_told_with_its_reason_and_place() -> None:
    (finding,) = found(Case(), FileFact("1", "report.log", "failed", "unknown_format", "looks like a PDF document.", 0))
    assert (finding.severity, finding.file_id, finding.code) == (ERROR, "1", "unknown_format")
    assert finding.sentence == "report.log could not be read and is in none of the results: looks like a PDF document (at byte 0)."
    assert finding.action == ACTIONS["unknown_format"]


def test_every_error_of_a_parser_has_an_action_of_its_own() -> None:
    for error in (Truncated, Corrupt, Unsupported, UnknownFormat, Empty, LimitExceeded):
        assert error.code in ACTIONS
    (finding,) = found(Case(), FileFact("1", "a", "failed", "parser_memory", ""))
    assert finding.action == AGAIN
    assert "parser_memory" in finding.sentence


def test_a_damaged_file_is_told_with_what_was_lost() -> None:
    case = Case()
    lost = [{"offset": 700, "length": 50, "reason": "torn container"}]
    case.file("drive.blf", partial=True, lost=lost, lost_count=2, lost_bytes=60, missing_bytes=500, problem_count=3)
    (finding,) = found(case)
    assert finding.severity == WARNING
    assert finding.sentence == (
        "drive.blf is damaged: 60 of 1000 bytes (6 %) could not be read and 500 bytes are missing at its end; "
        "100 frames were read. First at byte 700: torn container."
    )


def test_a_partial_file_without_a_range_is_told_all_the_same() -> None:
    case = Case()
    case.file("drive.blf", partial=True)
    assert "parts of it could not be read" in found(case)[0].sentence


def test_single_unreadable_records_are_for_information() -> None:
    case = Case()
    case.file("drive.log", problem_count=2, problems=[{"offset": 17, "reason": "not a number"}])
    (finding,) = found(case)
    assert (finding.severity, finding.count) == (INFO, 2)
    assert finding.sentence == "drive.log was read with 2 doubts. First at byte 17: not a number."


def test_a_long_name_leaves_room_for_the_reason() -> None:
    (finding,) = found(Case(), FileFact("1", "x" * 255, "failed", "corrupt", "y" * 2000, 5))
    assert len(finding.sentence) < 500
    assert "yyy" in finding.sentence
