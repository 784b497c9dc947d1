"""A limit is broken when a signal stays outside for its duration; an excursion, a gap or another signal do not break it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diagnosis.evidence import Limit
from diagnosis.findings import CRITICAL, INFO, WARNING, FoundFinding
from diagnosis.rules.limits import find
from tests.diagnosis.cases import SECOND, START, Case, every

COOLANT = Limit("Coolant", None, 115.0, 5.0, CRITICAL, "Stop the engine.")


def coolant(*values: float, period_s: float = 1.0) -> Case:
    case = Case()
    case.signal("Temperatures", "Coolant", every(period_s, len(values)), values, "degC")
    return case


def found(case: Case, *limits: Limit) -> list[FoundFinding]:
    return list(find(case.evidence(limits)))


def hot(seconds: int, value: float = 120.0) -> list[float]:
    return [90.0] * 10 + [value] * (seconds + 1) + [90.0] * 10


def test_a_signal_above_its_limit_for_its_duration_is_found() -> None:
    case = coolant(*hot(6))
    case.file("drive.blf")
    (finding,) = found(case, COOLANT)
    assert (finding.severity, finding.signal, finding.stream, finding.count) == (CRITICAL, "Coolant", "Temperatures", 1)
    assert (finding.from_ns, finding.to_ns) == (START + 10 * SECOND, START + 16 * SECOND)
    assert finding.sentence == "Coolant was above its limit of 115 °C for 6 s (allowed for 5 s), up to 120 °C."
    assert (finding.action, finding.file_id) == ("Stop the engine.", "id-drive.blf")
    assert finding.details["extreme"] == 120


def test_exactly_the_duration_counts_and_less_does_not() -> None:
    assert len(found(coolant(*hot(5)), COOLANT)) == 1
    assert found(coolant(*hot(4)), COOLANT) == []


def test_the_limit_itself_is_allowed() -> None:
    assert found(coolant(*hot(60, 115.0)), COOLANT) == []


def test_values_are_not_read_when_none_is_outside() -> None:
    case = coolant(*hot(60, 115.0))
    found(case, COOLANT)
    assert case.reads == []


def test_the_time_before_and_behind_a_gap_is_not_added_up() -> None:
    times = np.concatenate([every(1, 4), every(1, 4, 60)])
    case = Case()
    case.signal("Temperatures", "Coolant", times, [120.0] * 8, "degC")
    assert found(case, COOLANT) == []


def test_several_times_are_one_finding_with_the_worst() -> None:
    case = coolant(*hot(6), *hot(20, 130.0), *hot(3, 200.0))
    (finding,) = found(case, COOLANT)
    assert finding.count == 2
    assert "26 s (twice, 20 s at the longest)" in finding.sentence
    assert "up to 130 °C" in finding.sentence
    assert len(finding.details["episodes"]) == 2
    assert finding.details["total_s"] == 26


def test_a_signal_below_its_limit_is_found() -> None:
    case = Case()
    case.signal("Battery", "Voltage", every(1, 30), [12.0] * 10 + [9.5] * 10 + [12.0] * 10, "V")
    (finding,) = found(case, Limit("Voltage", 10.0, 15.0, 2.0, WARNING))
    assert finding.sentence == "Voltage was below its limit of 10 V for 9 s (allowed for 2 s), down to 9.5 V."
    assert finding.action


def test_without_duration_a_single_sample_is_enough() -> None:
    (finding,) = found(coolant(90, 116, 90), Limit("Coolant", None, 115.0, 0.0, WARNING))
    assert (finding.count, finding.from_ns == finding.to_ns) == (1, True)
    assert "allowed" not in finding.sentence


def test_the_limit_of_the_platform_replaces_the_general_one() -> None:
    general = Limit("Coolant", None, 100.0, 0.0, WARNING)
    of_platform = Limit("Coolant", None, 125.0, 0.0, WARNING, of_platform=True)
    for limits in ((general, of_platform), (of_platform, general)):
        assert found(coolant(*hot(60)), *limits) == []
    assert len(found(coolant(*hot(60)), general)) == 1


@pytest.mark.parametrize(("name", "hits"), [("Coolant", 1), ("Temperatures.Coolant", 1), ("Other.Coolant", 0), ("coolant", 0)])
def test_a_limit_names_a_signal_or_a_message_and_a_signal(name: str, hits: int) -> None:
    assert len(found(coolant(*hot(60)), Limit(name, None, 115.0, 5.0, WARNING))) == hits


class TestDeclaredRange:
    def case(self, values: Any, **declared: Any) -> Case:
        case = Case()
        case.signal("Engine", "Speed", every(0.1, len(values)), values, "rpm", **{"minimum": 0.0, "maximum": 8000.0, **declared})
        return case

    def test_values_that_the_database_does_not_allow_are_found(self) -> None:
        (finding,) = found(self.case([800.0] * 50 + [9000.0, 9100.0] * 20 + [800.0] * 50))
        assert finding.severity == WARNING
        assert finding.sentence == "Speed was above the range of its database (0 to 8000 rpm) for 3.9 s: 9100 rpm."

    def test_a_constant_value_outside_is_taken_for_not_available(self) -> None:
        (finding,) = found(self.case([800.0] * 50 + [16383.75] * 50))
        assert finding.severity == INFO
        assert "not available" in finding.sentence

    def test_less_than_a_second_is_not_told(self) -> None:
        assert found(self.case([800.0] * 50 + [9000.0, 9100.0] * 4 + [800.0] * 50)) == []

    def test_rounding_is_not_a_fault(self) -> None:
        assert found(self.case([8000.000000001] * 100)) == []

    @pytest.mark.parametrize("declared", [{"minimum": 0.0, "maximum": 0.0}, {"maximum": None}, {"kind": "enum"}])
    def test_no_range_no_finding(self, declared: dict[str, Any]) -> None:
        assert found(self.case([9000.0, 9001.0] * 100, **declared)) == []
