"""The true time, where a recording tells it: UTC from satellites or the vehicle's own clock messages, set against the logger's clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.can.frames import ERROR, EXTENDED, REMOTE, FrameBlock
from parsers.results.layout import NAME_KEPT, storable

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
FIRST_NS = 946_684_800 * SECOND_NS  # 2000-01-01: what is before was told by a clock that nobody had set
LAST_NS = 4_102_444_800 * SECOND_NS  # 2100-01-01
MOST_PAIRS = 4096  # kept of one source; beyond that every other one is dropped
MOST_SOURCES = 256
FEWEST_PAIRS = 3
MOST_BACK_NS = 366 * DAY_NS  # no logger is a year ahead; a clock that was never set counts from the day it was made
MOST_SPREAD_NS = 5 * SECOND_NS  # between the 10th and 90th percentile; a source that moves more is not believed

TIME_DATE = 0xFEE6  # J1939-71, PGN 65254
SYSTEM_TIME = 0x1F010  # NMEA 2000, PGN 126992
TIME_AND_DATE = 0x1F809  # NMEA 2000, PGN 129033

_MOMENT = re.compile(
    r"(?:^|[._])(?:(?:gps|gnss)_?)?(?:time_utc(?:_usec)?|utc_?time(?:stamp)?|utc(?:_(?:s|ms|us|ns|sec|usec))?|epoch(?:_(?:s|ms|us|ns))?"
    r"|unix_?time(?:stamp)?|time_ref|(?:gps|gnss)_?time(?:stamp)?)$",
    re.IGNORECASE,
)
_VALID = re.compile(r"(?:time|utc|date)_?(?:is_?)?valid$", re.IGNORECASE)
_PARTS = ("year", "month", "day", "hour", "minute", "second")

Times = NDArray[np.int64]
Column = tuple[NDArray[Any], NDArray[np.uint8] | None]
Reader = Callable[[list[Column]], tuple[Times, NDArray[np.bool_]]]
"""Columns of a stream -> UTC (int64, ns) of each row, and which rows tell it."""


@dataclass
class _Pairs:
    """What one source says at which recorded time, thinned out while it grows."""

    recorded: list[Times] = field(default_factory=list)
    utc: list[Times] = field(default_factory=list)
    count: int = 0
    step: int = 1

    def add(self, recorded: Times, utc: Times) -> None:
        # Copies: a view would keep the rows that were dropped in memory.
        self.recorded.append(recorded[:: self.step].copy())
        self.utc.append(utc[:: self.step].copy())
        self.count += len(self.recorded[-1])
        while self.count > MOST_PAIRS:
            self.step *= 2
            self.recorded = [np.concatenate(self.recorded)[::2].copy()]
            self.utc = [np.concatenate(self.utc)[::2].copy()]
            self.count = len(self.recorded[0])

    def offsets(self) -> Times:
        return np.concatenate(self.utc) - np.concatenate(self.recorded) if self.count else np.empty(0, np.int64)


@dataclass
class UtcFinder:
    """Collects what frames and signals say of UTC; `correction` is the most trustworthy of it. Times are recorded ones (int64, ns)."""

    _sources: dict[str, _Pairs] = field(default_factory=dict)
    _readers: dict[int, tuple[str, Reader] | None] = field(default_factory=dict)

    def take_frames(self, block: FrameBlock, shift_ns: int) -> None:
        """Clock messages of J1939 and NMEA 2000, which need no signal database."""
        extended = block.flags & EXTENDED != 0
        if not extended.any():
            return
        group = block.arbitration_id >> 8 & 0x3FFFF
        usable = extended & (block.flags & (ERROR | REMOTE) == 0) & (block.length >= 8)
        for number, name, read in _GROUPS:
            rows = np.flatnonzero(usable & (group == number))
            if len(rows):
                payload = block.data[block.data_offset[rows][:, None] + np.arange(8)].astype(np.int64)
                utc, known = read(payload)
                self._add(name, block.t_ns[rows] + shift_ns, utc, known)

    def take_rows(self, place: int, name: str, signals: Sequence[str], t_ns: Times, columns: list[Any], masks: list[Any]) -> None:
        """Rows of the stream number `place`: read when one of its signals, or several together, are a time of day with its date."""
        if place not in self._readers:
            self._readers[place] = _reader(signals)
        found = self._readers[place]
        if found is None or not len(t_ns):
            return
        signal, read = found
        utc, known = read(list(zip(columns, masks, strict=True)))
        self._add(f"{name}.{signal}", t_ns, utc, known)

    def _add(self, source: str, recorded: Times, utc: Times, known: NDArray[np.bool_]) -> None:
        known = known & (utc >= FIRST_NS) & (utc < LAST_NS)
        # A clock that stands still tells the time only in the row in which it changes.
        known[1:] &= utc[1:] != utc[:-1]
        if known.any() and (source in self._sources or len(self._sources) < MOST_SOURCES):
            self._sources.setdefault(source, _Pairs()).add(recorded[known], utc[known])

    def correction(self) -> dict[str, Any] | None:
        """`offset_ns` to be added to recorded times, its `source`, `samples` and `spread_ns`; None when nothing trustworthy tells UTC."""
        best: dict[str, Any] | None = None
        for source, pairs in self._sources.items():
            offsets = pairs.offsets()
            if len(offsets) < FEWEST_PAIRS:
                continue
            low, middle, high = (int(v) for v in np.percentile(offsets.astype(np.float64), [10, 50, 90], method="nearest"))
            spread = high - low
            if spread <= MOST_SPREAD_NS and middle >= -MOST_BACK_NS and (best is None or spread < best["spread_ns"]):
                middle = int(np.sort(offsets)[len(offsets) // 2])
                best = {"source": storable(source[:NAME_KEPT]), "offset_ns": middle, "samples": len(offsets), "spread_ns": spread}
        return best


def _reader(signals: Sequence[str]) -> tuple[str, Reader] | None:
    """How the rows of a stream with these signals tell UTC."""
    valid = next((i for i, name in enumerate(signals) if _VALID.search(name)), None)
    for index, name in enumerate(signals):
        if _MOMENT.search(name):
            return name, lambda columns, index=index: _moments(columns[index], None if valid is None else columns[valid])
    lower = [name.lower().rpartition(".")[2].removeprefix("utc_").removeprefix("gps_") for name in signals]
    places = []
    for part in _PARTS:
        found = [i for i, name in enumerate(lower) if name in (part, f"{part}s", f"utc{part}", f"{part}utc")]
        if len(found) != 1:
            return None
        places.append(found[0])
    return "year, month, day...", lambda columns: _calendar([columns[i] for i in places])


def _moments(column: Column, valid: Column | None) -> tuple[Times, NDArray[np.bool_]]:
    """Numbers as seconds, milliseconds, microseconds or nanoseconds since 1970, by their size."""
    values, mask = column
    numbers = values.astype(np.float64)
    known = np.isfinite(numbers) & (numbers > 0) & (numbers < LAST_NS)
    if mask is not None:
        known &= mask.astype(bool)
    if valid is not None:
        known &= valid[0].astype(bool)
    largest = float(numbers[known].max(initial=0.0))
    factor = next((factor for limit, factor in ((1e11, SECOND_NS), (1e14, 1_000_000), (1e17, 1000)) if largest < limit), 1)
    known &= numbers < float(LAST_NS) / factor
    if values.dtype.kind in "iu":
        utc = np.where(known, values, 0).astype(np.int64) * factor
    else:
        utc = np.rint(np.where(known, numbers, 0) * factor).astype(np.int64)
    return utc, known


def _calendar(columns: list[Column]) -> tuple[Times, NDArray[np.bool_]]:
    """Year, month, day, hour, minute and second. Raises nothing: what is no date tells nothing."""
    known = np.ones(len(columns[0][0]), bool)
    parts = []
    for (values, mask), (low, high) in zip(columns, ((0, 2100), (1, 12), (1, 31), (0, 23), (0, 59), (0, 60)), strict=True):
        numbers = values.astype(np.float64)
        known &= np.isfinite(numbers) & (numbers >= low) & (numbers < high + 1)
        if mask is not None:
            known &= mask.astype(bool)
        parts.append(np.where(known, numbers, low))
    year, month, day, hour, minute, second = parts
    return _utc(np.where(year < 100, year + 2000, year), month, day, hour * 3600 + minute * 60 + second), known


def _utc(year: NDArray[Any], month: NDArray[Any], day: NDArray[Any], seconds: NDArray[Any]) -> Times:
    months = ((year.astype(np.int64) - 1970) * 12 + month.astype(np.int64) - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + day.astype(np.int64) - 1
    return np.asarray(days * DAY_NS + np.rint(seconds * SECOND_NS).astype(np.int64), np.int64)


def _time_date(data: Times) -> tuple[Times, NDArray[np.bool_]]:
    """Seconds / 4, minutes, hours, month, day * 4, year - 1985, in UTC (SAE J1939-71, PGN 65254); above 250 a value is missing."""
    second, minute, hour, month, day, year = (data[:, i] for i in range(6))
    known = (second < 240) & (minute < 60) & (hour < 24) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 127) & (year <= 250)
    clock = hour * 3600 + minute * 60 + second / 4
    return _utc(year + 1985, np.clip(month, 1, 12), np.maximum((day + 3) // 4, 1), clock), known


def _system_time(data: Times) -> tuple[Times, NDArray[np.bool_]]:
    """Sequence, source of the time (0 to 5), days since 1970, 0.1 ms of the day (NMEA 2000, PGN 126992)."""
    days = data[:, 2] | data[:, 3] << 8
    return _days_and_time(days, data[:, 4:8], data[:, 1] & 15 <= 5)


def _time_and_date(data: Times) -> tuple[Times, NDArray[np.bool_]]:
    """Days since 1970, 0.1 ms of the day, local offset (NMEA 2000, PGN 129033)."""
    return _days_and_time(data[:, 0] | data[:, 1] << 8, data[:, 2:6], np.ones(len(data), bool))


def _days_and_time(days: Times, clock: Times, known: NDArray[np.bool_]) -> tuple[Times, NDArray[np.bool_]]:
    ticks = clock[:, 0] | clock[:, 1] << 8 | clock[:, 2] << 16 | clock[:, 3] << 24
    return days * DAY_NS + ticks * 100_000, known & (days < 0xFFFD) & (ticks < 864_010_000)


_GROUPS: tuple[tuple[int, str, Callable[[Times], tuple[Times, NDArray[np.bool_]]]], ...] = (
    (TIME_DATE, "J1939 time/date", _time_date),
    (SYSTEM_TIME, "NMEA 2000 system time", _system_time),
    (TIME_AND_DATE, "NMEA 2000 time & date", _time_and_date),
)
