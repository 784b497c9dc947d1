"""A clock that was not set, or was set while recording, is said; times are never taken for right silently."""

from __future__ import annotations

import pytest

from diagnosis.findings import INFO, WARNING, FoundFinding
from diagnosis.rules.clock import find
from tests.diagnosis.cases import SECOND, START, Case


def found(case: Case) -> list[FoundFinding]:
    return list(find(case.evidence()))


def test_a_right_clock_is_not_mentioned() -> None:
    case = Case()
    case.file("a")
    assert found(case) == []


def test_a_clock_at_1970_is_found() -> None:
    case = Case()
    case.file("good")
    case.file("early", flags=["1970"], first_ns=5 * SECOND, last_ns=60 * SECOND)
    case.time["flags"] = ["1970", "mixed"]
    first, mixed = found(case)
    assert (first.severity, first.file_id, first.from_ns, first.to_ns) == (WARNING, "id-early", 5 * SECOND, 60 * SECOND)
    assert first.sentence == "The clock of the logger was not set: early begins at 1970-01-01 00:00:05 UTC."
    assert "different clocks" in mixed.sentence


def test_a_recording_without_a_date_is_found() -> None:
    case = Case()
    for name in ("a", "b"):
        case.file(name, absolute=False, flags=["relative"], first_ns=0, last_ns=60 * SECOND)
    case.time |= {"absolute": False, "flags": ["relative"]}
    (finding,) = found(case)
    assert finding.severity == WARNING
    assert "a and b have no date" in finding.sentence
    assert "1970-01-01" in finding.sentence
    assert finding.count == 2


def test_an_empty_file_has_no_clock() -> None:
    case = Case()
    case.file("a", absolute=False, flags=["relative"], first_ns=None, last_ns=None)
    assert found(case) == []


def test_jumps_are_told_by_direction_and_size() -> None:
    case = Case()
    case.time |= {
        "flags": ["backward", "forward_jump"],
        "jumps": [
            {"file": "a", "from_ns": START, "to_ns": START + 7200 * SECOND},
            {"file": "a", "from_ns": START + 7300 * SECOND, "to_ns": START + 7263 * SECOND},
            {"file": "b", "from_ns": START + 7400 * SECOND, "to_ns": START + 7398 * SECOND},
        ],
        "jump_count": 5,
    }
    forward, back = found(case)
    assert "jumped forward by 2 h (once) (2 more jumps of the clock not listed), at 2023-11-14 22:13:20 UTC" in forward.sentence
    assert "jumped back by up to 37 s (twice)" in back.sentence
    assert (back.count, back.file_id) == (2, "a")
    assert (back.from_ns, back.to_ns) == (START + 7263 * SECOND, START + 7400 * SECOND)


def correction(seconds: float) -> dict[str, object]:
    return {"source": "Gps.utc", "offset_ns": int(seconds * SECOND), "samples": 9, "spread_ns": 0}


@pytest.mark.parametrize(
    ("seconds", "severity", "words"),
    [(1.9, None, ""), (30, INFO, "30 s behind"), (-7200, WARNING, "2 h ahead"), (7200, WARNING, "begins at 2023-11-15 00:13:20 UTC")],
)
def test_a_clock_that_satellites_contradict_is_told(seconds: float, severity: str | None, words: str) -> None:
    case = Case()
    case.file("a", correction=correction(seconds))
    case.file("b", correction=None)
    assert [finding.severity for finding in found(case)] == [severity] * (severity is not None)
    assert all(words in finding.sentence and "Gps.utc in a" in finding.sentence for finding in found(case))


def test_the_true_begin_of_an_undated_file_is_told() -> None:
    case = Case()
    case.file("a", absolute=False, flags=["relative"], first_ns=0, last_ns=SECOND, correction=correction(1_700_000_000))
    (finding,) = found(case)
    assert finding.sentence.endswith("By Gps.utc a begins at 2023-11-14 22:13:20 UTC.")
