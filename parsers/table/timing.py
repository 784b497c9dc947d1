"""Which column of a table is its time, and how to read it: by the column's name first, else by what stands in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from parsers.table._cells import TIME_CLOCK, TIME_DATE, TIME_NUMBER, number_kind, number_value, time_value

Cells = Sequence[bytes]

YEAR_FIRST, DAY_FIRST, MONTH_FIRST = 0, 1, 2
_SHARE = 0.95  # of the sampled cells that must fit
_NAMED_SHARE = 0.5  # of those of a column whose name says that it is the time: damaged rows cannot hide it
_PLACES = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_UNITS = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "sek": "s",
    "ms": "ms", "msec": "ms", "msecs": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "us": "us", "µs": "us", "μs": "us", "usec": "us", "usecs": "us", "micros": "us", "microsecond": "us", "microseconds": "us",
    "ns": "ns", "nsec": "ns", "nsecs": "ns", "nanos": "ns", "nanosecond": "ns", "nanoseconds": "ns",
}  # fmt: skip
# In this order: when it was published or measured, then when somebody else saw it.
_NAMES = (
    "publishts", "timestamp", "timestamps", "datetime", "dateandtime", "utctime", "utc", "time", "utcdatetime", "gpstime", "unixtime",
    "epoch",
    "zeitstempel", "zeit", "uhrzeit", "t", "ts", "stamp", "headerstamp", "rosbagtimestamp", "fieldheaderstamp", "timeabs", "timerel",
    "abstime", "reltime", "relativetime", "absolutetime", "elapsed", "elapsedtime", "logtime", "recvtime", "receivetime", "systemtime",
    "localtime", "recordtime", "sampletime", "transmissiontime", "plottime", "seconds", "milliseconds", "microseconds", "nanoseconds",
)  # fmt: skip
_DATES = ("date", "datum", "utcdate", "localdate", "day")
_COUNTERS = {
    "",
    "id",
    "ids",
    "index",
    "idx",
    "no",
    "nr",
    "num",
    "number",
    "row",
    "line",
    "seq",
    "sequence",
    "count",
    "counter",
    "step",
    "frame",
}
_EARLIEST_S, _LATEST_S = 315_532_800, 4_200_000_000  # 1980 and 2103: numbers between them are seconds since 1970
_LONGEST_EPOCH_S = 10 * 366 * 86_400  # no log is longer; counters of nanoseconds are


@dataclass(frozen=True, slots=True)
class TimePlan:
    """How `TableScanner.times` reads the time; `remarks` are what had to be assumed."""

    column: int
    kind: int
    detail: int
    clock_column: int = -1
    absolute: bool = False
    named: bool = True
    remarks: list[str] = field(default_factory=list)

    @property
    def columns(self) -> set[int]:
        """The columns that it takes."""
        return {self.column, self.clock_column} - {-1}


def split_unit(name: str) -> tuple[str, str]:
    """`speed [km/h]` and `speed (km/h)` into name and unit."""
    match = re.fullmatch(r"(.*\S)\s*(?:\[([^\[\]]*)\]|\(([^()]*)\))\s*", name)
    return (name, "") if match is None else (match[1], (match[2] or match[3] or "").strip())


def find_time(names: Sequence[str], units: Sequence[str], rows: Sequence[Cells], point: int) -> TimePlan | None:
    """The plan for these sampled rows, or None when no column gives time. Without a header all names are empty."""
    ranked = sorted((rank, index) for index, name in enumerate(names) if (rank := _rank(name)) is not None)
    dates = [index for index, name in enumerate(names) if _plain(name)[0] in _DATES]
    for _, index in ranked:
        plan = _plan(index, _plain(names[index])[1] or _UNITS.get(units[index].lower(), ""), rows, point, named=True)
        if plan is None:
            continue
        if plan.kind == TIME_CLOCK:
            for date in dates:
                dated = _plan(date, "", rows, point, named=True)
                if dated is not None and dated.kind == TIME_DATE and not _have_clock(rows, date):
                    return TimePlan(date, TIME_DATE, dated.detail, index, True, True, dated.remarks)
        return plan
    for index in dates:
        plan = _plan(index, "", rows, point, named=True)
        if plan is not None and plan.kind == TIME_DATE:
            return plan
    return _by_content(names, units, rows, point)


def _by_content(names: Sequence[str], units: Sequence[str], rows: Sequence[Cells], point: int) -> TimePlan | None:
    """A column of dates, of a clock that stands first, or of numbers that only grow: in front, or such as count from 1970."""
    if len(rows) < 3:
        return None
    for index, name in enumerate(names):
        plan = _plan(index, _UNITS.get(units[index].lower(), ""), rows, point, named=False)
        if plan is None:
            continue
        if plan.kind == TIME_DATE:
            if _have_clock(rows, index):
                return plan
            clock = _plan(index + 1, "", rows, point, named=False) if index + 1 < len(names) else None
            if clock is not None and clock.kind == TIME_CLOCK:
                return TimePlan(index, TIME_DATE, plan.detail, index + 1, True, False, plan.remarks)
        elif plan.kind == TIME_CLOCK and index == 0:
            return plan
        elif (
            plan.kind == TIME_NUMBER
            and (plan.absolute or (index == 0 and _plain(name)[0] not in _COUNTERS - {""}))
            and _grows(rows, index, point)
        ):
            plan.remarks.append(f"column {index + 1} is taken for the time because it only grows")
            return plan
    return None


def _plain(name: str) -> tuple[str, str]:
    """Small letters and digits of a name, without a unit at its end, and that unit."""
    words = [word for word in re.split(r"[^a-z0-9µμ]+", name.lower()) if word]
    unit = ""
    if len(words) > 1 and words[-1] in _UNITS:
        unit = _UNITS[words.pop()]
    elif words and words[0] in ("seconds", "milliseconds", "microseconds", "nanoseconds"):
        unit = _UNITS[words[0]]
    return "".join(words), unit


def _rank(name: str) -> int | None:
    plain, _ = _plain(name)
    if plain in _NAMES:
        return _NAMES.index(plain)
    return len(_NAMES) if plain.endswith("timestamp") or plain.startswith("timestamp") else None


def _cells(rows: Sequence[Cells], index: int) -> list[bytes]:
    return [row[index] for row in rows if row[index]]


def _fit(cells: Cells, point: int, kind: int, detail: int, share: float) -> bool:
    fitting = sum(1 for cell in cells if time_value(cell, point, kind, detail) is not None)
    return bool(cells) and fitting >= share * len(cells)


def _plan(index: int, unit: str, rows: Sequence[Cells], point: int, named: bool) -> TimePlan | None:
    cells = _cells(rows, index)
    share = _NAMED_SHARE if named else _SHARE
    if _fit(cells, point, TIME_NUMBER, 9, share) or _fit(cells, point, TIME_NUMBER, 0, share):
        return _number_plan(index, unit, cells, point, named)
    for order in (YEAR_FIRST, DAY_FIRST, MONTH_FIRST):
        if _fit(cells, point, TIME_DATE, order, share):
            return _date_plan(index, order, cells, point, named)
    if _fit(cells, point, TIME_CLOCK, 0, share):
        return TimePlan(index, TIME_CLOCK, 0, named=named)
    return None


def _date_plan(index: int, order: int, cells: Cells, point: int, named: bool) -> TimePlan:
    remarks = []
    if order == DAY_FIRST and _fit(cells, point, TIME_DATE, MONTH_FIRST, _NAMED_SHARE) and b"." not in cells[0].split(b" ")[0]:
        # Neither is refuted by a number above 12. Slashes are the American way, hyphens are not.
        order = MONTH_FIRST if b"/" in cells[0] else DAY_FIRST
        remarks.append(f"dates may be read two ways: the {'month' if order == MONTH_FIRST else 'day'} is taken to stand first")
    return TimePlan(index, TIME_DATE, order, absolute=True, named=named, remarks=remarks)


def _number_plan(index: int, unit: str, cells: Cells, point: int, named: bool) -> TimePlan:
    values = sorted(value for cell in cells if (value := number_value(cell, point)) is not None)
    middle, span = abs(values[len(values) // 2]), values[-1] - values[0]
    if not unit or not _within_range(values[-1], unit):
        for candidate in _PLACES:
            if _is_epoch(middle, span, candidate):
                return TimePlan(index, TIME_NUMBER, _PLACES[candidate], absolute=True, named=named)
    if unit and _within_range(values[-1], unit):
        return TimePlan(index, TIME_NUMBER, _PLACES[unit], absolute=_is_epoch(middle, span, unit), named=named)
    remarks = []
    if all(number_kind(cell, point)[0] != 2 for cell in cells):
        remarks.append("the unit of the time is not told: seconds are assumed")
    return TimePlan(index, TIME_NUMBER, _PLACES["s"], named=named, remarks=remarks)


def _within_range(value: float, unit: str) -> bool:
    return abs(value) * 10.0 ** _PLACES[unit] < 2.0**63


def _is_epoch(middle: float, span: float, unit: str) -> bool:
    per_second = 10.0 ** (9 - _PLACES[unit])
    return _EARLIEST_S * per_second <= middle <= _LATEST_S * per_second and span <= _LONGEST_EPOCH_S * per_second


def _grows(rows: Sequence[Cells], index: int, point: int) -> bool:
    values = [number_value(row[index], point) for row in rows]
    numbers = [value for value in values if value is not None]
    return len(numbers) >= 3 and all(a <= b for a, b in pairwise(numbers)) and numbers[0] < numbers[-1]


def _have_clock(rows: Sequence[Cells], index: int) -> bool:
    """Whether the dates of a column have the time of day with them."""
    cells = _cells(rows, index)
    return sum(1 for cell in cells if b":" in cell or b"T" in cell) >= _SHARE * len(cells)
