"""A signal that stands still while its siblings move is stuck; one that rests with the vehicle, or has no siblings, is not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from diagnosis.findings import ERROR, FoundFinding
from diagnosis.rules.stuck import Lengths, are_namesakes, find
from tests.diagnosis.cases import SECOND, START, Case, every

RNG = np.random.default_rng(1)
SECONDS = 600
HZ = 25
TIMES = every(1 / HZ, SECONDS * HZ)
T = (TIMES - START) / SECOND


def speed(rest: tuple[float, float] = (250, 300)) -> np.ndarray:
    """A drive in km/h with traffic, standing still for a while."""
    driving = 40 + 15 * np.sin(T / 13) + 8 * np.sin(T / 5.1)
    return np.where((rest[0] < T) & (rest[1] > T), 0.0, driving)


def wheel(noise: float = 0.1) -> np.ndarray:
    moving = speed()
    return np.where(moving > 0, moving + RNG.normal(0, noise, len(T)), 0.0)


def held(values: np.ndarray, start_s: float, length_s: float, value: float | None = None) -> np.ndarray:
    """The values, frozen from a time on."""
    during = (start_s <= T) & (start_s + length_s > T)
    return np.where(during, values[np.searchsorted(T, start_s)] if value is None else value, values)


def four_wheels(front_left: np.ndarray, *, unit: str = "km/h", **declared: Any) -> Case:
    case = Case()
    for name, values in zip(("FL", "FR", "RL", "RR"), (front_left, wheel(), wheel(), wheel()), strict=True):
        case.signal(f"Wheel{name}", f"WheelSpeed{name}", TIMES, values, unit, **declared)
    return case


def found(case: Case) -> list[FoundFinding]:
    return list(find(case.evidence()))


def test_wheels_that_stand_and_turn_together_are_sound() -> None:
    assert found(four_wheels(wheel())) == []


def test_a_frozen_wheel_is_found() -> None:
    case = four_wheels(held(wheel(), 400, 60))
    case.file("drive.blf")
    (finding,) = found(case)
    assert (finding.severity, finding.signal, finding.stream, finding.file_id) == (ERROR, "WheelSpeedFL", "WheelFL", "id-drive.blf")
    assert finding.from_ns == pytest.approx(START + 400 * SECOND, abs=SECOND)
    assert finding.to_ns == pytest.approx(START + 460 * SECOND, abs=SECOND)
    assert "for 1 min while WheelSpeedFR, WheelSpeedRL and WheelSpeedRR moved" in finding.sentence
    assert finding.details["siblings"] == ["WheelSpeedFR", "WheelSpeedRL", "WheelSpeedRR"]


def test_a_wheel_that_reads_zero_while_driving_is_found() -> None:
    assert [finding.signal for finding in found(four_wheels(held(wheel(), 400, 60, 0.0)))] == ["WheelSpeedFL"]


def test_less_than_half_a_minute_is_not_told() -> None:
    assert found(four_wheels(held(wheel(), 400, 25))) == []


def test_twice_stuck_is_one_finding() -> None:
    (finding,) = found(four_wheels(held(held(wheel(), 100, 40), 400, 60)))
    assert finding.count == 2
    assert "for 1 min (twice, this was the longest)" in finding.sentence


def test_a_target_that_nobody_sets_is_not_stuck() -> None:
    case = four_wheels(wheel())
    case.signal("Autonomy", "AutonomyTargetSpeed", TIMES, held(speed(), 400, 180, 0.0), "km/h")
    assert found(case) == []


def test_steady_driving_is_not_stuck() -> None:
    steady = np.where((T > 400) & (T < 500), 50.0, speed())
    case = Case()
    for name in ("FL", "FR", "RL"):
        case.signal(f"Wheel{name}", f"WheelSpeed{name}", TIMES, steady, "km/h")
    assert found(case) == []


def test_slow_quantities_that_rise_together_are_not_stuck() -> None:
    case = Case()
    coolant = 20 + 70 * (1 - np.exp(-T / 150))
    oil = np.floor(20 + 60 * (1 - np.exp(-np.maximum(T - 40, 0) / 250)))  # whole degrees, lagging
    case.signal("Engine", "Coolant", TIMES, np.round(coolant * 4) / 4, "degC")
    case.signal("Engine", "Oil", TIMES, oil, "degC")
    assert found(case) == []


@pytest.mark.parametrize("change", [{"kind": "enum"}, {"unit": ""}])
def test_states_and_numbers_without_unit_are_not_judged(change: dict[str, Any]) -> None:
    case = four_wheels(held(wheel(), 400, 60), **change)
    assert found(case) == []
    assert case.reads == []


def test_a_signal_without_siblings_is_not_judged() -> None:
    case = Case()
    case.signal("Tank", "Pressure", TIMES, held(wheel(), 400, 60), "bar")
    assert found(case) == []
    assert case.reads == []


def test_nothing_is_read_where_no_stretch_is_long() -> None:
    case = Case()
    for name in ("FL", "FR"):
        case.signal(f"Wheel{name}", f"WheelSpeed{name}", TIMES, 40 + RNG.normal(0, 1, len(T)), "km/h")
    assert found(case) == []
    assert case.reads == []


def test_a_gap_is_not_standing_still() -> None:
    during = (T > 400) & (T < 460)
    values = wheel()
    case = Case()
    case.signal("WheelFL", "WheelSpeedFL", TIMES[~during], values[~during], "km/h")
    for name in ("FR", "RL", "RR"):
        case.signal(f"Wheel{name}", f"WheelSpeed{name}", TIMES, wheel(), "km/h")
    assert found(case) == []


def test_the_vote_of_most_siblings_is_needed() -> None:
    case = Case()
    steady = np.where((T > 400) & (T < 460), 45.0, speed())
    for name in ("FL", "FR", "RL", "RR"):
        case.signal(f"Wheel{name}", f"WheelSpeed{name}", TIMES, steady, "km/h")
    case.signal("Gps", "GpsSpeed", TIMES, speed(), "km/h")  # one of five moved: it is the odd one
    assert found(case) == []


@pytest.mark.parametrize("pair", [("WheelSpeedFL", "WheelSpeedFR"), ("temp_1", "temp_12"), ("CellVoltage07", "CellVoltage08")])
def test_names_that_differ_in_a_short_piece_are_namesakes(pair: tuple[str, str]) -> None:
    assert are_namesakes(*pair)
    assert are_namesakes(*reversed(pair))


@pytest.mark.parametrize(
    "pair", [("WheelSpeedFL", "VehicleSpeed"), ("AutonomyTargetSpeed", "WheelSpeedFL"), ("a", "b"), ("Speed", "Speed"), ("x1", "x2")]
)
def test_other_names_are_not(pair: tuple[str, str]) -> None:
    assert not are_namesakes(*pair)


def test_the_usual_length_is_known_to_a_fifth() -> None:
    rng = np.random.default_rng(2)
    for scale, count in itertools.product((1e3, 1e8, 1e11), (1, 50, 5000)):
        values = (rng.exponential(scale, count)).astype(np.int64)
        lengths = Lengths()
        lengths.add(values[: count // 2])
        lengths.add(values[count // 2 :])
        exact = float(np.sort(values)[max(0, -(-count * 99 // 100) - 1)])
        assert exact <= lengths.p99_ns() <= max(exact, 1) * 1.2
        assert lengths.total == count
    assert Lengths().p99_ns() == 0
