"""Error frames are judged by their share of all frames."""

from __future__ import annotations

import pytest

from diagnosis.findings import ERROR, INFO, WARNING
from diagnosis.rules.error_frames import find
from tests.diagnosis.cases import Case


@pytest.mark.parametrize(("errors", "severity"), [(1, INFO), (999, INFO), (1000, WARNING), (9999, WARNING), (10_000, ERROR)])
def test_the_share_decides(errors: int, severity: str) -> None:
    case = Case()
    case.frames |= {"total": 1_000_000, "error": errors}
    (finding,) = find(case.evidence())
    assert (finding.severity, finding.count) == (severity, errors)
    assert f"among {1_000_000} frames" in finding.sentence


def test_no_error_frame_no_finding() -> None:
    assert list(find(Case().evidence())) == []
