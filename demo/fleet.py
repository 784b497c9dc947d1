"""The demo fleet: six vehicles and the batches that they upload, each with what is right or wrong about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from demo import faults
from demo.faults import Faults

BLF, ASC, CANDUMP = "blf", "asc", "log"


@dataclass(frozen=True, slots=True)
class Batch:
    """One recording: a drive of `minutes`, split into `parts` files of equal length in `format`.

    `days_ago` and `hour` (UTC) place its start before the reference day of the fleet. `cut_part` names the part (from 1) whose BLF ends
    inside a container; `garbage` adds a file that is no log; `unreadable` leaves nothing that can be read; `computer` adds what the
    vehicle's computer has logged. With `broken_off` the vehicle loses power while it uploads, and goes on afterwards.
    """

    key: str
    reason: str
    format: str
    minutes: float
    parts: int
    seed: int
    days_ago: int
    hour: float
    faults: Faults = faults.HEALTHY
    warm: bool = False
    cut_part: int | None = None
    garbage: bool = False
    unreadable: bool = False
    computer: bool = False
    broken_off: bool = False
    clock_source: str = "gnss"
    clock_synced: bool = True

    def start(self, reference: date) -> datetime:
        """Returns the true start in UTC, `days_ago` days before midnight of `reference`."""
        midnight = datetime(reference.year, reference.month, reference.day, tzinfo=UTC)
        return midnight - timedelta(days=self.days_ago) + timedelta(hours=self.hour)

    @property
    def duration_s(self) -> float:
        """Length of the drive in seconds."""
        return self.minutes * 60.0


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A demo vehicle with its batches, oldest first; `multipart` has it upload the way the old API wants it."""

    name: str
    vin: str
    vehicle_id: str
    platform: str
    software: dict[str, str]
    batches: tuple[Batch, ...] = field(repr=False)
    multipart: bool = False


def check_digit(vin: str) -> str:
    """Returns the check digit (0-9 or X) that position 9 of a 17 character VIN must have (49 CFR 565.15); ValueError for other text."""
    values = dict(zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", [*range(10), *range(1, 9), *range(1, 6), 7, 9, *range(2, 10)], strict=True))
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    if len(vin) != 17 or any(character not in values for character in vin):
        raise ValueError(f"{vin!r} is not a vehicle identification number")
    rest = sum(weight * values[character] for weight, character in zip(weights, vin, strict=True)) % 11
    return "X" if rest == 10 else str(rest)


_SOFTWARE = {"autonomy": "2.8.1", "powertrain": "4.11.0", "logger": "1.6.2"}
_SOFTWARE_OLD = {"autonomy": "2.7.4", "powertrain": "4.10.2", "logger": "1.6.2"}

VEHICLES: tuple[Vehicle, ...] = (
    Vehicle(
        "Heron",
        "1A9AD7SHXTA078017",
        "shuttle-01",
        "J7",
        _SOFTWARE,
        (
            Batch("short-drive-2", "end of shift", CANDUMP, 2, 1, 13, 9, 9.0, warm=True),
            Batch("short-drive-1", "end of shift", BLF, 3, 1, 12, 4, 15.25, warm=True),
            Batch("city-drive", "end of shift", BLF, 20, 4, 11, 1, 7.5, computer=True),
        ),
    ),
    Vehicle(
        "Kestrel",
        "1A9AD7SH9SA078024",
        "shuttle-02",
        "J7",
        _SOFTWARE,
        (
            Batch("short-drive-1", "end of shift", BLF, 4, 2, 22, 3, 8.5, warm=True),
            Batch("overheating", "driver report", BLF, 20, 4, 21, 1, 12.0, faults.OVERHEATING, computer=True),
        ),
    ),
    Vehicle(
        "Lapwing",
        "1A9AD7SH4TA078031",
        "shuttle-03",
        "J7",
        _SOFTWARE,
        (
            Batch("short-drive-1", "end of shift", ASC, 2, 1, 32, 6, 16.0, warm=True),
            Batch("wheel-speed-dropout", "workshop request", ASC, 10, 2, 31, 1, 9.75, faults.WHEEL_SPEED_DROPOUT),
        ),
        multipart=True,
    ),
    Vehicle(
        "Merlin",
        "1A9AD6SH6SA078038",
        "shuttle-04",
        "J6",
        _SOFTWARE_OLD,
        (
            Batch("short-drive-1", "end of shift", BLF, 3, 1, 42, 7, 11.0, warm=True),
            Batch("fault-codes", "lamp on", CANDUMP, 8, 2, 41, 2, 13.5, faults.FAULT_CODES),
        ),
    ),
    Vehicle(
        "Plover",
        "1A9AD6SH1TA078045",
        "shuttle-05",
        "J6",
        _SOFTWARE,
        (
            Batch("damaged-file", "power cut", BLF, 6, 3, 51, 2, 17.0, cut_part=3, garbage=True, broken_off=True),
            Batch("unreadable", "power cut", BLF, 2, 1, 52, 1, 18.0, unreadable=True),
        ),
    ),
    Vehicle(
        "Wren",
        "1A9AD6SH0SA078052",
        "shuttle-06",
        "J6",
        _SOFTWARE_OLD,
        (
            Batch("clock-jumps", "end of shift", CANDUMP, 4, 1, 62, 3, 10.5, faults.CLOCK_JUMPS, clock_source="rtc", clock_synced=False),
            Batch("clock-1970", "end of shift", CANDUMP, 4, 1, 61, 2, 6.5, faults.CLOCK_1970, clock_source="rtc", clock_synced=False),
        ),
    ),
)
