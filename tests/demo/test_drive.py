"""The simulated drive is the same every time and hangs together as a drive does."""

from __future__ import annotations

import numpy as np
import pytest

from demo import drive as model
from demo import faults
from demo.drive import Drive, simulate
from demo.frames import database


@pytest.fixture(scope="module")
def healthy() -> Drive:
    return simulate(1200.0, 11, faults.HEALTHY, utc_start_s=1_750_000_000.0)


@pytest.fixture(scope="module")
def overheated() -> Drive:
    return simulate(1200.0, 21, faults.OVERHEATING)


def test_the_same_seed_gives_the_same_drive_and_another_seed_another() -> None:
    first, second, other = (simulate(90.0, seed, faults.HEALTHY) for seed in (5, 5, 6))
    assert all(np.array_equal(first.series[name], second.series[name]) for name in first.series)
    assert not np.array_equal(first.series["VehicleSpeed"], other.series["VehicleSpeed"])


def test_every_signal_of_the_database_has_a_series_inside_its_limits(healthy: Drive) -> None:
    for message in database().messages:
        for signal in message.signals:
            if signal.is_multiplexer or signal.name.endswith("Counter"):
                continue
            values = healthy.series[signal.name]
            assert np.isfinite(values).all(), signal.name
            assert values.min() >= signal.minimum, signal.name
            assert values.max() <= signal.maximum, signal.name
    assert database().get_message_by_name("VehicleDynamics").signals[0].byte_order == "big_endian"


def test_a_city_drive_stops_at_lights_and_keeps_the_limit(healthy: Drive) -> None:
    speed = healthy.series["VehicleSpeed"]
    starts = np.flatnonzero((speed[1:] > 0) & (speed[:-1] == 0))
    assert 8 <= len(starts) <= 40
    assert 40.0 < speed.max() < 62.0
    assert np.abs(healthy.series["LateralAcceleration"]).max() < 3.0
    assert speed[0] == 0
    assert speed[-1] == 0
    assert healthy.series["Gear"][-1] == model.PARK


def test_engine_speed_follows_gear_and_vehicle_speed(healthy: Drive) -> None:
    series = healthy.series
    settled = np.ones(len(healthy.time_s), dtype=bool)
    for changed in np.flatnonzero(np.diff(series["Gear"])):
        settled[changed : changed + 30] = False
    rolling = settled & (series["VehicleSpeed"] > 12.0)
    assert rolling.sum() > 5000
    wheel_rpm = series["VehicleSpeed"][rolling] / 3.6 / model.TYRE_CIRCUMFERENCE_M * 60.0
    driven = series["EngineSpeed"][rolling] / wheel_rpm / (series["GearRatio"][rolling] * model.FINAL_DRIVE)
    idling = series["EngineSpeed"][rolling] < 1150.0
    assert driven[~idling].min() > 0.85
    assert driven[~idling].max() < 1.15
    assert series["EngineSpeed"][series["EngineRunning"] == 1][40:].min() > 600.0


def test_coolant_warms_up_and_the_thermostat_holds_it(healthy: Drive) -> None:
    coolant = healthy.series["CoolantTemperature"]
    assert coolant[0] < 25.0
    assert np.diff(coolant[: 20 * 300 : 400]).min() > 0
    assert coolant[-2000:].min() > 85.0
    assert coolant.max() < 100.0


def test_overheating_lasts_ninety_seconds_and_ends_in_a_minimal_risk_stop(overheated: Drive) -> None:
    hot = overheated.series["CoolantTemperature"] > faults.OVERHEATED_DEGC
    seconds = hot.sum() * model.STEP_S
    assert faults.OVERHEATED_S <= seconds < faults.OVERHEATED_S + 5
    state = overheated.series["AutonomyState"]
    assert {model.RUN, model.FALLBACK, model.MRC} <= set(state.tolist())
    before_fallback = int(np.flatnonzero(state == model.FALLBACK)[0]) - 1
    assert state[before_fallback] == model.RUN
    assert overheated.series["VehicleSpeed"][state == model.MRC][-1] == 0
    assert overheated.series["CoolantTemperature"][-1] < 100.0


def test_autonomy_is_engaged_in_stretches_through_its_states_in_order(healthy: Drive) -> None:
    state = healthy.series["AutonomyState"]
    changes = state[np.flatnonzero(np.diff(state, prepend=-1))].tolist()
    assert changes[:7] == [0, model.READY, model.PREPARE, model.PARTIAL_READY, model.AD_READY, model.ENGAGE, model.RUN]
    share = np.isin(state, model.AUTONOMY_ACTIVE).mean()
    assert 0.3 < share < 0.9
    assert changes.count(model.ENGAGE) >= 2


def test_states_are_held_and_quantities_are_interpolated() -> None:
    made = Drive(np.array([0.0, 1.0]), {"Gear": np.array([3, 4]), "VehicleSpeed": np.array([10.0, 20.0])})
    assert made.at("Gear", np.array([0.9])).tolist() == [3]
    assert made.at("VehicleSpeed", np.array([0.5])).tolist() == [15.0]


def test_satellite_time_is_the_true_time(healthy: Drive) -> None:
    assert healthy.series["GpsUtcSeconds"][20 * 60] == 1_750_000_060


def test_overheating_of_a_healthy_drive_is_refused() -> None:
    with pytest.raises(ValueError, match="no overheating"):
        faults.HEALTHY.overheat(np.zeros(1), np.zeros(1))
