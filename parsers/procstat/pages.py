"""The arithmetic of /proc/stat: shares of ticks between two pages, rates of the system's counters."""

from __future__ import annotations

from dataclasses import dataclass, field

UTILISATION = ("us", "ni", "sy", "id", "wa", "hi", "si", "st", "gu", "gn", "busy")
RATES = ("ctxt", "processes", "intr", "softirq")
SYSTEM_SIGNALS = (*RATES, "procs_running", "procs_blocked")
NO_VALUE = float("nan")

_NICE, _IDLE, _IOWAIT, _GUEST, _GUEST_NICE = 1, 3, 4, 8, 9
_TIMES = 10  # user nice system idle iowait irq softirq steal guest guest_nice: proc(5)


@dataclass
class Page:
    """What stood between two timestamps: counters in ticks by CPU, other first numbers by name."""

    offset: int
    cpus: dict[str, list[int]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    t_ns: int | None = None


def utilisation(before: list[int], after: list[int]) -> list[float] | None:
    """Percent of all ticks between the pages, in the order of UTILISATION; NaN for counters that the kernel does not have.

    `user` and `nice` already contain the time of guests (proc(5)): it is taken out of them, so that us to gn add up to 100 and no tick
    counts twice. `busy` is 100 - id, so waiting for storage counts as busy. Only iowait may fall without a restart (proc(5)); None when
    another counter fell. Pages without a tick between them give NaN throughout.
    """
    deltas = [later - earlier for earlier, later in zip(before, after, strict=True)]
    if len(deltas) > _IOWAIT:
        deltas[_IOWAIT] = max(0, deltas[_IOWAIT])
    if min(deltas) < 0:
        return None
    total = sum(deltas[:_GUEST])
    if total == 0:
        return [NO_VALUE] * len(UTILISATION)
    # Guest time is written beside user time, not with it: between two readings it may be ahead by a tick.
    if len(deltas) > _GUEST:
        deltas[_GUEST] = min(deltas[_GUEST], deltas[0])
        deltas[0] -= deltas[_GUEST]
    if len(deltas) > _GUEST_NICE:
        deltas[_GUEST_NICE] = min(deltas[_GUEST_NICE], deltas[_NICE])
        deltas[_NICE] -= deltas[_GUEST_NICE]
    shares = [100.0 * delta / total for delta in deltas]
    return [*shares, *[NO_VALUE] * (_TIMES - len(shares)), 100.0 - shares[_IDLE]]


def rates(before: Page, after: Page) -> tuple[list[float], list[str]]:
    """The row of SYSTEM_SIGNALS: counters per second, the others as they are; and the counters that fell."""
    seconds = ((after.t_ns or 0) - (before.t_ns or 0)) / 1e9
    row: list[float] = []
    fallen = []
    for name in RATES:
        earlier, later = before.numbers.get(name), after.numbers.get(name)
        if earlier is None or later is None or seconds <= 0:
            row.append(NO_VALUE)
        elif later < earlier:
            fallen.append(name)
            row.append(NO_VALUE)
        else:
            row.append((later - earlier) / seconds)
    row += [float(after.numbers.get(name, NO_VALUE)) for name in ("procs_running", "procs_blocked")]
    return row, fallen
