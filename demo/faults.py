"""The faults that a demo drive can have, as times and values; where they change frames they are applied in `demo.frames`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

OVERHEATED_DEGC = 118.0
OVERHEATED_S = 90.0
# From the onset: up to 118 degC in 75 s, above it for 90 s with 122 degC at most, back to 103 degC in the next 75 s.
_OVERHEATING = ((75.0, 118.0), (100.0, 121.5), (145.0, 122.0), (167.0, 118.0), (240.0, 103.0))


@dataclass(frozen=True, slots=True)
class Code:
    """A trouble code that the powertrain computer reports from `from_s` seconds after the start on (ISO 15031-6 name, e.g. P0301)."""

    from_s: float
    name: str
    status: str = "stored"  # stored, pending or permanent: OBD-II modes 03, 07 and 0A


@dataclass(frozen=True, slots=True)
class Trouble:
    """A J1939 trouble code (suspect parameter number, failure mode, occurrences) that DM1 reports from `from_s` on."""

    from_s: float
    spn: int
    fmi: int
    occurrences: int = 1
    lamp: str = "amber"  # amber, red or mil


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with a drive; all times are seconds after its start.

    `clock_steps` are (time, step in seconds) by which the clock of the logger jumps. `clock_1970` makes its stamps count from 0.
    """

    overheating_s: float | None = None
    wheel_gaps: tuple[tuple[float, float], ...] = ()
    wheel_stuck: tuple[float, float] | None = None
    codes: tuple[Code, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    clock_1970: bool = False
    clock_steps: tuple[tuple[float, float], ...] = field(default=())

    @property
    def fallback_s(self) -> float:
        """When the automated driving gives up: 20 s after the coolant has passed 118 degC."""
        return (self.overheating_s or 0.0) + 95.0

    @property
    def recovered_s(self) -> float:
        """When the vehicle goes on after the overheating."""
        return (self.overheating_s or 0.0) + 250.0

    def overheat(self, time_s: NDArray[np.float64], coolant: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns `coolant` (degC) with the overheating laid over it; ValueError when the drive has none."""
        if self.overheating_s is None:
            raise ValueError("this drive has no overheating")
        onset = float(np.interp(self.overheating_s, time_s, coolant))
        knots = [(0.0, onset), *_OVERHEATING]
        hot = np.interp(time_s - self.overheating_s, [at for at, _ in knots], [value for _, value in knots])
        during = (time_s >= self.overheating_s) & (time_s <= self.overheating_s + knots[-1][0])
        cooling = np.exp(-np.maximum(time_s - self.overheating_s - knots[-1][0], 0.0) / 60.0)
        after = coolant + (knots[-1][1] - coolant) * cooling
        return np.where(during, np.maximum(hot, coolant), np.where(time_s > self.overheating_s, after, coolant))


HEALTHY = Faults()

OVERHEATING = Faults(
    overheating_s=620.0,
    codes=(Code(715.0, "P0217"),),
    troubles=(Trouble(700.0, 110, 0, 1, "red"),),
)

WHEEL_SPEED_DROPOUT = Faults(
    wheel_gaps=((101.0, 3.4), (181.5, 2.2), (233.0, 5.8), (271.0, 4.1), (338.0, 2.7), (352.5, 5.1)),
    wheel_stuck=(455.0, 75.0),
)

FAULT_CODES = Faults(
    codes=(
        Code(100.0, "P0301"),
        Code(260.0, "P0128"),
        Code(260.0, "C0035"),
        Code(260.0, "U0121"),
        Code(160.0, "P0171", "pending"),
        Code(330.0, "P0301", "permanent"),
    ),
    troubles=(Trouble(130.0, 100, 1, 2, "red"), Trouble(290.0, 168, 4, 5, "amber"), Trouble(290.0, 190, 2, 1, "mil")),
)

CLOCK_1970 = Faults(clock_1970=True)

# The logger's clock is set right by two hours after a minute and a half and put back by 37 s later on.
CLOCK_JUMPS = Faults(clock_steps=((95.0, 7200.0), (170.0, -37.0)))
