"""What the computer of a vehicle writes beside the bus: a text log, and pages of its CPU counters (/proc/stat with a time stamp)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from demo.drive import AUTONOMY_ACTIVE, Drive
from demo.faults import Faults

LOG, CPU = "system.log", "cpu_stat.txt"
CORES = 4
TICKS_PER_S = 100  # USER_HZ
BOOTED_S = 42_000  # before the drive
MODES = {
    1: "ready", 3: "preparing", 4: "partially ready", 5: "ready for automated driving", 6: "engaging", 7: "automated, partial",
    8: "automated", 9: "disengaging", 10: "fallback", 11: "minimal risk condition",
}  # fmt: skip
DEGRADED = (10, 11)


def write_log(path: Path, drive: Drive, faults: Faults, start: datetime, seed: int) -> None:
    """Writes `path`: one line an event, `date time level component: text`, UTC to the millisecond."""
    rng = np.random.default_rng(seed)
    lines: list[tuple[float, str, str, str]] = [
        (0.2, "INFO", "supervisor", "recording started"),
        (0.9, "INFO", "supervisor", "all 14 nodes are up"),
    ]
    modes = drive.series["AutonomyState"]
    changes = np.flatnonzero(np.diff(modes)) + 1
    for at in changes.tolist():
        mode = int(modes[at])
        lines.append((float(drive.time_s[at]), "WARN" if mode in DEGRADED else "INFO", "autonomy", f"mode is now {MODES.get(mode, mode)}"))
    for at in np.sort(rng.uniform(5.0, float(drive.time_s[-1]) - 5.0, len(drive.time_s) // 500)).tolist():
        lines.append((at, "DEBUG", "planner", f"replanned in {rng.gamma(4.0, 4.0):.1f} ms"))
    for at in np.sort(rng.uniform(5.0, float(drive.time_s[-1]) - 5.0, 3)).tolist():
        lines.append((at, "INFO", "storage", f"{rng.integers(180, 220)} GB free"))
    if faults.overheating_s is not None:
        hot = faults.overheating_s
        lines.append((hot + 40.0, "WARN", "cooling", "coolant is 112 degC and rising"))
        lines.append((hot + 76.0, "ERROR", "cooling", "coolant is above 118 degC, requesting less power"))
        lines.append((faults.fallback_s, "ERROR", "autonomy", "powertrain is derated: stopping at the side"))
        lines.append((faults.recovered_s, "INFO", "cooling", "coolant is back at 103 degC"))
    lines.append((float(drive.time_s[-1]), "INFO", "supervisor", "recording stopped"))
    text = "".join(f"{_stamp(start, at)} {level} {component}: {words}\n" for at, level, component, words in sorted(lines))
    path.write_text(text)


def write_cpu(path: Path, drive: Drive, start: datetime, seed: int) -> None:
    """Writes `path`: each second the counters of all cores and of each one, closed by the time in nanoseconds."""
    rng = np.random.default_rng(seed)
    pages = []
    counters = rng.integers(10_000, 90_000, (CORES, 10))
    counters[:, 3] += BOOTED_S * TICKS_PER_S
    counters[:, 8:] = 0
    busy = np.isin(drive.at("AutonomyState", np.arange(int(drive.time_s[-1]))), AUTONOMY_ACTIVE)
    for second, automated in enumerate(busy.tolist()):
        load = np.clip(rng.normal(0.62 if automated else 0.24, 0.06, CORES), 0.02, 0.98) * TICKS_PER_S
        user, system, soft = load * 0.78, load * 0.17, load * 0.05
        counters[:, 0] += user.astype(np.int64)
        counters[:, 2] += system.astype(np.int64)
        counters[:, 6] += soft.astype(np.int64)
        counters[:, 3] += TICKS_PER_S - user.astype(np.int64) - system.astype(np.int64) - soft.astype(np.int64)
        rows = [("cpu ", counters.sum(axis=0)), *((f"cpu{core}", counters[core]) for core in range(CORES))]
        pages += [f"{name} {' '.join(map(str, values.tolist()))}\n" for name, values in rows]
        pages.append(f"timestamp {round(start.timestamp() * 10**9) + second * 10**9 + 41_722_078}\n")
    path.write_text("".join(pages))


def _stamp(start: datetime, seconds: float) -> str:
    at = (start + timedelta(seconds=seconds)).astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
