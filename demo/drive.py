"""One drive through a city as physical time series: a route with traffic lights, driven by a simple model of a mild hybrid shuttle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.faults import Faults

STEP_S = 0.05
WHEELBASE_M = 2.9
TRACK_M = 1.6
STEERING_RATIO = 15.5
TYRE_CIRCUMFERENCE_M = 1.98
FINAL_DRIVE = 3.6
GEAR_RATIOS = (4.2, 2.5, 1.65, 1.25, 1.0, 0.82)
SHIFT_UP_KMH = (16.0, 30.0, 44.0, 58.0, 74.0)
SHIFT_HYSTERESIS_KMH = 6.0
MASS_KG = 2400.0

PARK, NEUTRAL, FIRST = 0, 2, 3
READY, PREPARE, PARTIAL_READY, AD_READY, ENGAGE, PARTIAL_RUN, RUN, DISENGAGE, FALLBACK, MRC = 1, 3, 4, 5, 6, 7, 8, 9, 10, 11
AUTONOMY_ACTIVE = (ENGAGE, PARTIAL_RUN, RUN)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Drive:
    """Physical values of every signal at `time_s` (seconds since the start, step 0.05 s).

    `series` has one array per signal name of `argus_demo.dbc`. Integer arrays are states (held until the next value), float arrays
    are measured quantities (linear between two values).
    """

    time_s: Floats
    series: dict[str, Floats | Ints]

    def at(self, name: str, times_s: Floats) -> Floats | Ints:
        """Returns signal `name` at `times_s`, in its own unit and kind; KeyError for a signal that the drive does not have."""
        values = self.series[name]
        if values.dtype.kind == "i":
            return values[np.clip(np.searchsorted(self.time_s, times_s, side="right") - 1, 0, len(values) - 1)]
        return np.interp(times_s, self.time_s, values)


@dataclass(frozen=True, slots=True)
class Leg:
    """A piece of road: its length, speed limit, curvature (1/m, left positive) of its first metres, and the wait at its end."""

    length_m: float
    limit_mps: float
    curvature: float
    curve_m: float
    wait_s: float


def simulate(duration_s: float, seed: int, faults: Faults, *, utc_start_s: float = 0.0, warm: bool = False) -> Drive:
    """Drives `duration_s` seconds (at least 60); the same arguments always give the same drive.

    `utc_start_s` is the true time of the start (seconds since 1970, what GPS sends); `warm` starts with a warm engine.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(0.0, duration_s, STEP_S)
    parked_s = min(12.0, duration_s * 0.05)
    stands = [(0.0, parked_s), (duration_s - 1.5 * parked_s - 12.0, math.inf)]
    if faults.overheating_s is not None:
        stands.append((faults.fallback_s, faults.recovered_s))
    speed, curvature = _motion(time_s, _route(rng, duration_s), stands)
    series: dict[str, Floats | Ints] = {}
    moving_s = (parked_s, duration_s - 0.5 * parked_s)
    _chassis(series, rng, time_s, speed, curvature)
    _powertrain(series, rng, time_s, speed, moving_s)
    _temperatures(series, rng, time_s, speed, faults, warm=warm)
    _electrics(series, rng, speed)
    _autonomy(series, rng, time_s, speed, faults)
    _navigation(series, rng, time_s, speed, utc_start_s)
    _body(series, rng, time_s, curvature, faults)
    return Drive(time_s, series)


def _route(rng: np.random.Generator, duration_s: float) -> list[Leg]:
    """Draws more legs than can be driven in the time, at 20 m/s."""
    legs: list[Leg] = []
    metres = 0.0
    while metres < duration_s * 20.0 or not legs:
        stands = not legs or legs[-1].wait_s > 0  # turns begin at a light: the speed fits the curve
        turns = stands and rng.random() < 0.5
        curvature = float(rng.choice([-1.0, 1.0])) / rng.uniform(11.0, 16.0) if turns else rng.uniform(-0.002, 0.002)
        length = rng.uniform(120.0, 560.0)
        red = rng.random() < 0.65
        curve_m = math.pi / 2 / abs(curvature) if turns else length
        legs.append(
            Leg(length, rng.choice([30.0, 40.0, 50.0, 50.0, 60.0]) / 3.6, curvature, curve_m, rng.uniform(8.0, 40.0) if red else 0.0)
        )
        metres += length
    return legs


def _motion(time_s: Floats, legs: list[Leg], stands: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Returns speed (m/s) and road curvature (1/m): a driver who keeps limits, brakes for red lights and stands in `stands` (s, s)."""
    speed_out = np.zeros(len(time_s))
    curvature_out = np.zeros(len(time_s))
    speed = acceleration = position = wait = 0.0
    index = 0
    for step, now in enumerate(time_s.tolist()):
        leg = legs[index]
        left = leg.length_m - position
        allowed = leg.limit_mps - 0.4 + 0.35 * math.sin(now / 6.1) + 0.2 * math.sin(now / 17.3)
        if position < leg.curve_m:
            allowed = min(allowed, math.sqrt(2.0 / max(abs(leg.curvature), 1e-4)))
        if wait > 0 or any(start <= now < end for start, end in stands):
            allowed = 0.0
        wanted = min(1.7, max(-2.4, 1.1 * (allowed - speed)))
        needed = speed * speed / (2 * max(left - 0.6, 0.05))
        if leg.wait_s and (needed > 1.3 or left < 2.0):
            wanted = min(wanted, -min(needed, 4.0))
        acceleration += min(3.0 * STEP_S, max(-5.0 * STEP_S, wanted - acceleration))
        speed += acceleration * STEP_S
        at_light = leg.wait_s > 0 and left < 2.0
        if speed < 0.12 and wanted <= 0:
            speed = acceleration = 0.0
        position += speed * STEP_S
        waited = 0.0 < wait <= STEP_S
        wait = max(0.0, wait - STEP_S)
        if at_light and speed == 0 and not wait and not waited:
            wait = leg.wait_s
        if waited or position >= leg.length_m:
            index, position, wait = min(index + 1, len(legs) - 1), 0.0, 0.0
        speed_out[step] = speed
        curvature_out[step] = leg.curvature if position < leg.curve_m else 0.0
    return speed_out, _smooth(curvature_out, 0.6)


def _smooth(values: Floats, tau_s: float) -> Floats:
    """A first-order lag with the time constant `tau_s`."""
    out = np.empty(len(values))
    state = float(values[0])
    share = 1.0 - math.exp(-STEP_S / tau_s)
    for step, value in enumerate(values.tolist()):
        state += share * (value - state)
        out[step] = state
    return out


def _noise(rng: np.random.Generator, count: int, sigma: float) -> Floats:
    return np.clip(rng.normal(0.0, sigma, count), -3 * sigma, 3 * sigma)


def _chassis(series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, speed: Floats, curvature: Floats) -> None:
    """Speeds, wheels, steering, yaw rate and accelerations."""
    count = len(time_s)
    rolling = speed > 0
    kmh = speed * 3.6
    series["VehicleSpeed"] = kmh
    series["VehicleStandstill"] = (~rolling).astype(np.int64)
    for wheel, side in (("FL", -1.0), ("FR", 1.0), ("RL", -1.0), ("RR", 1.0)):
        turned = kmh * (1.0 + side * curvature * TRACK_M / 2) + _noise(rng, count, 0.04)
        series[f"WheelSpeed{wheel}"] = np.where(rolling, np.maximum(turned, 0.0), 0.0)
        series[f"WheelSpeed{wheel}Valid"] = np.ones(count, dtype=np.int64)
    hands = np.where(rolling, np.sin(time_s * 0.7) * 0.9 + _smooth(_noise(rng, count, 3.0), 0.5), 0.0)
    angle = np.degrees(np.arctan(curvature * WHEELBASE_M)) * STEERING_RATIO + _smooth(hands, 0.3)
    series["SteeringAngle"] = angle
    series["SteeringRate"] = np.gradient(angle, STEP_S)
    yaw = speed * curvature
    series["YawRate"] = np.degrees(yaw) + _noise(rng, count, 0.05)
    series["LongitudinalAcceleration"] = np.gradient(speed, STEP_S) + _noise(rng, count, 0.03)
    series["LateralAcceleration"] = speed * yaw + _noise(rng, count, 0.03)


def _gears(kmh: Floats, time_s: Floats, moving_s: tuple[float, float]) -> tuple[Ints, Ints]:
    """Returns gear (0 Park, 3 First .. 8 Sixth) and whether a shift is going on (0.4 s each, at least 0.8 s apart)."""
    gear_out = np.zeros(len(kmh), dtype=np.int64)
    shifting = np.zeros(len(kmh), dtype=np.int64)
    gear, changed = 0, -10.0
    for step, (value, now) in enumerate(zip(kmh.tolist(), time_s.tolist(), strict=True)):
        if now - changed >= 0.8:
            before = gear
            if gear < len(SHIFT_UP_KMH) and value > SHIFT_UP_KMH[gear]:
                gear += 1
            elif gear and value < SHIFT_UP_KMH[gear - 1] - SHIFT_HYSTERESIS_KMH:
                gear -= 1
            changed = now if gear != before else changed
        parked = not moving_s[0] - 1.0 <= now < moving_s[1]
        gear_out[step] = PARK if parked else FIRST + gear
        shifting[step] = int(now - changed < 0.4)
    return gear_out, shifting


def _powertrain(
    series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, speed: Floats, moving_s: tuple[float, float]
) -> None:
    """Pedals, gear, engine speed, torque, load and fuel; the engine starts 2 s after the recording and stops with its end."""
    count = len(time_s)
    acceleration = np.gradient(speed, STEP_S)
    force = MASS_KG * acceleration + 0.55 * speed**2 + np.where(speed > 0, 260.0, 0.0)
    power_kw = force * speed / 1000.0
    gear, shifting = _gears(speed * 3.6, time_s, moving_s)
    series["Gear"], series["ShiftInProgress"] = gear, shifting
    ratio = np.where(gear >= FIRST, np.array(GEAR_RATIOS)[np.maximum(gear - FIRST, 0)], 0.0)
    series["GearRatio"] = ratio
    pedal = _smooth(np.clip(force / (MASS_KG * 1.7) * 48.0, 0.0, 100.0), 0.12)
    series["AcceleratorPedal"] = np.where(pedal > 0.4, pedal, 0.0)
    held = (speed == 0) & (gear >= FIRST)
    brake = _smooth(np.where(held, 22.0, np.clip(-(acceleration + 0.2) * 17.0, 0.0, 100.0)), 0.1)
    series["BrakePedal"] = np.where(brake > 0.4, brake, 0.0)
    series["BrakePressure"] = np.where(brake > 0.4, brake * 1.1, 0.0)
    series["BrakeSwitch"] = (brake > 1.0).astype(np.int64)
    running = (time_s >= 2.0) & (time_s < time_s[-1] - 2.0)
    idle = 780.0 + 320.0 * np.exp(-time_s / 110.0)
    geared = speed / TYRE_CIRCUMFERENCE_M * 60.0 * ratio * FINAL_DRIVE
    rpm = _smooth(np.where(running, np.maximum(idle, geared * (1.0 + pedal / 4000.0)), 0.0), 0.15)
    series["EngineSpeed"] = np.where(rpm > 30.0, rpm + _noise(rng, count, 4.0), 0.0)
    series["EngineRunning"] = running.astype(np.int64)
    torque = np.where(running, 9550.0 * np.maximum(power_kw, -8.0) / np.maximum(rpm, 700.0) + 18.0, 0.0)
    series["EngineTorque"] = np.clip(torque, -90.0, 420.0)
    load = np.where(running, np.clip(14.0 + 86.0 * series["EngineTorque"] / 420.0, 2.0, 100.0), 0.0)
    series["EngineLoad"] = load
    series["FuelRate"] = np.where(running, 0.8 + np.maximum(power_kw, 0.0) * 0.29, 0.0)


def _heating(speed: Floats, load: Floats, ambient: float, start: float) -> Floats:
    """Coolant temperature (degC) of a 70 kJ/K engine whose thermostat opens between 86 and 96 degC."""
    out = np.empty(len(speed))
    temperature = start
    for step, (v, share) in enumerate(zip(speed.tolist(), load.tolist(), strict=True)):
        thermostat = min(1.0, max(0.0, (temperature - 86.0) / 10.0))
        heat = (5600.0 + 190.0 * share) if share > 0 else 0.0
        loss = (25.0 + thermostat * (170.0 + 12.0 * v)) * (temperature - ambient)
        temperature += (heat - loss) / 70000.0 * STEP_S
        out[step] = temperature
    return out


def _temperatures(
    series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, speed: Floats, faults: Faults, *, warm: bool
) -> None:
    """Ambient, intake, coolant, oil and transmission temperatures warming up; the overheating of the coolant if asked for."""
    count = len(time_s)
    ambient = rng.uniform(9.0, 21.0)
    coolant = _heating(speed, np.asarray(series["EngineLoad"], dtype=np.float64), ambient, 78.0 if warm else ambient + 1.0)
    normal = coolant
    if faults.overheating_s is not None:
        coolant = faults.overheat(time_s, coolant)
    series["CoolantTemperature"] = coolant + _smooth(_noise(rng, count, 0.6), 1.5)
    lagging = _smooth(np.concatenate(([74.0 if warm else ambient + 1.0], normal[1:])), 170.0)
    series["OilTemperature"] = lagging + 0.07 * (lagging - ambient) + 0.6 * _smooth(coolant - normal, 40.0)
    series["AmbientTemperature"] = ambient + _smooth(_noise(rng, count, 2.0), 60.0)
    series["IntakeAirTemperature"] = _smooth(ambient + 4.0 + 16.0 * np.exp(-speed / 4.0) * (normal - ambient) / 75.0, 45.0)
    series["TransmissionTemperature"] = _smooth(ambient + (normal - ambient) * 0.85, 240.0)
    series["CabinTemperature"] = ambient + (21.5 - ambient) * (1.0 - np.exp(-time_s / 200.0))
    series["CabinHumidity"] = 48.0 - 9.0 * (1.0 - np.exp(-time_s / 300.0))
    series["FanStage"] = np.clip(6 - (time_s / 60.0).astype(np.int64), 2, 7)


def _electrics(series: dict[str, Floats | Ints], rng: np.random.Generator, speed: Floats) -> None:
    """The 48 V battery (20 Ah, positive current discharges it) and the 12 V supply."""
    count = len(speed)
    acceleration = np.gradient(speed, STEP_S)
    boost = np.clip((acceleration - 0.5) * 55.0, 0.0, 70.0)
    recovered = np.clip((acceleration + 0.3) * 60.0, -95.0, 0.0) * np.minimum(speed / 4.0, 1.0)
    running = np.asarray(series["EngineRunning"], dtype=np.float64)
    current = 9.0 + boost + recovered - 4.0 * running + _smooth(_noise(rng, count, 3.0), 0.4)
    charge = rng.uniform(58.0, 72.0) - np.cumsum(current) * STEP_S / 3600.0 / 20.0 * 100.0
    series["BatteryCurrent"] = current
    series["BatterySoC"] = np.clip(charge, 0.0, 100.0)
    series["BatteryVoltage"] = 45.6 + 4.4 * charge / 100.0 - 0.018 * current
    ambient = np.asarray(series["AmbientTemperature"], dtype=np.float64)
    series["BatteryTemperature"] = ambient + 3.0 + np.cumsum(np.abs(current)) * STEP_S / 12000.0
    series["SupplyVoltage"] = _smooth(12.5 + 1.6 * running, 0.8) + _noise(rng, count, 0.03)


def _schedule(rng: np.random.Generator, duration_s: float, run_until_s: float | None) -> list[tuple[float, int]]:
    """Returns (start in seconds, state) of the automated driving; with `run_until_s` it runs up to then and is not engaged again."""
    plan = [(0.0, 0), (3.0, READY)]
    now = min(35.0, duration_s * 0.15)
    last = duration_s - 50.0
    while now < last - 40.0 and (run_until_s is None or now < run_until_s - 90.0):
        stretch = rng.uniform(0.55, 1.0) * min(240.0, max(30.0, (last - now) * 0.6))
        if run_until_s is not None and now + 15.0 + stretch > run_until_s - 110.0:
            stretch = run_until_s - now - 15.0
        for state, length in ((PREPARE, 4.0), (PARTIAL_READY, 3.0), (AD_READY, 6.8), (ENGAGE, 1.2)):
            plan.append((now, state))
            now += length
        plan.append((now, RUN))
        if stretch > 80.0:
            plan += [(now + stretch * 0.4, PARTIAL_RUN), (now + stretch * 0.4 + 14.0, RUN)]
        now += stretch
        plan += [(now, DISENGAGE), (now + 1.0, READY)]
        now += rng.uniform(25.0, 80.0)
    return plan


def _autonomy(series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, speed: Floats, faults: Faults) -> None:
    """States of the automated driving system; overheating takes it from RUN over FALLBACK to MRC, then back to the driver."""
    overheats = faults.overheating_s is not None
    plan = _schedule(rng, float(time_s[-1]), faults.fallback_s if overheats else None)
    if overheats:
        plan = [entry for entry in plan if entry[0] < faults.fallback_s]
        plan += [(faults.fallback_s, FALLBACK), (faults.fallback_s + 7.0, MRC)]
        plan += [(faults.recovered_s - 6.0, DISENGAGE), (faults.recovered_s - 4.0, READY)]
    starts = np.array([start for start, _ in plan])
    states = np.array([state for _, state in plan], dtype=np.int64)
    state = states[np.searchsorted(starts, time_s, side="right") - 1]
    count = len(time_s)
    active = np.isin(state, AUTONOMY_ACTIVE)
    series["AutonomyState"] = state
    series["TakeoverRequest"] = np.isin(state, (DISENGAGE, FALLBACK)).astype(np.int64)
    series["AutonomyTargetSpeed"] = np.where(active, _smooth(speed * 3.6, 0.8), 0.0)
    series["LocalizationQuality"] = np.where(state > 0, np.clip(93.0 + _smooth(_noise(rng, count, 30.0), 4.0), 0.0, 100.0), 0.0)
    objects = 14.0 + 9.0 * np.sin(time_s / 47.0) + _smooth(_noise(rng, count, 20.0), 1.0)
    series["TrackedObjects"] = np.where(state > 0, np.maximum(objects, 0.0), 0.0).astype(np.int64)


def _navigation(series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, speed: Floats, utc_start_s: float) -> None:
    """Position and time as the satellite receiver gives them, and the odometer."""
    count = len(time_s)
    yaw = np.radians(np.asarray(series["YawRate"], dtype=np.float64))
    heading = np.radians(rng.uniform(0.0, 360.0)) - np.cumsum(yaw) * STEP_S
    north = np.cumsum(speed * np.cos(heading)) * STEP_S
    east = np.cumsum(speed * np.sin(heading)) * STEP_S
    latitude = 48.137 + rng.uniform(-0.03, 0.03)
    series["Latitude"] = latitude + north / 111_320.0
    series["Longitude"] = 11.575 + rng.uniform(-0.05, 0.05) + east / (111_320.0 * math.cos(math.radians(latitude)))
    series["GpsSpeed"] = np.maximum(speed * 3.6 + _smooth(_noise(rng, count, 0.4), 0.5), 0.0)
    whole_turn = np.degrees(heading) % 360.0
    series["GpsHeading"] = np.where(whole_turn > 359.99, 0.0, whole_turn)
    series["GpsAltitude"] = 519.0 + np.cumsum(speed * np.sin(time_s / 90.0)) * STEP_S * 0.012
    series["GpsSatellites"] = np.clip(11 + np.round(_smooth(_noise(rng, count, 25.0), 8.0)).astype(np.int64), 5, 20)
    series["GpsFix"] = np.where(time_s < 4.0, 0, np.where(time_s < 6.0, 1, 2)).astype(np.int64)
    utc = utc_start_s + time_s
    series["GpsUtcSeconds"] = np.floor(utc).astype(np.int64)
    series["GpsUtcMilliseconds"] = np.minimum(np.floor((utc % 1.0) * 1000.0), 999).astype(np.int64)
    series["GpsTimeValid"] = (time_s >= 4.0).astype(np.int64)
    metres = np.cumsum(speed) * STEP_S
    series["TripDistance"] = metres
    series["Odometer"] = rng.uniform(8_000.0, 90_000.0) + metres / 1000.0


def _body(series: dict[str, Floats | Ints], rng: np.random.Generator, time_s: Floats, curvature: Floats, faults: Faults) -> None:
    """Tyres, doors, lamps, indicators, wipers and the tank."""
    warming = 0.18 * (1.0 - np.exp(-time_s / 600.0))
    for wheel in ("FL", "FR", "RL", "RR"):
        series[f"TyrePressure{wheel}"] = 2.45 + rng.uniform(-0.05, 0.05) + warming
    standing = (time_s < 4.0) | (time_s > time_s[-1] - 4.0)
    series["DoorsOpen"] = standing.astype(np.int64)
    turning = np.where(curvature > 0.03, 1, np.where(curvature < -0.03, 2, 0))
    if faults.overheating_s is not None:
        turning = np.where((time_s >= faults.fallback_s) & (time_s < faults.recovered_s), 3, turning)
    series["Indicator"] = turning.astype(np.int64)
    series["HeadLamps"] = np.ones(len(time_s), dtype=np.int64)
    rain_s = rng.uniform(0.3, 0.7) * time_s[-1]
    series["WiperStage"] = ((time_s > rain_s) & (time_s < rain_s + 90.0)).astype(np.int64)
    used = np.cumsum(np.asarray(series["FuelRate"], dtype=np.float64)) * STEP_S / 3600.0
    level = rng.uniform(45.0, 95.0) - used / 55.0 * 100.0
    series["FuelLevel"] = level
    series["FuelRange"] = level * 6.1
