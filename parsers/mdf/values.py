"""Raw columns into what a signal shows: numbers, texts, dates and what is only in the conversion."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsers.mdf.payload import Payload
from parsers.mdf.plans import Mask, Plan
from parsers.mdf.texts import TextColumn

Column = NDArray[Any]
Slot = tuple[int, int]
"""Part of the record and field in it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one group that follow each other: `columns[part][field]` are the raw bytes, `first` is the number of the first row.

    The array of a field of bytes is 8 bytes longer than its rows. `missing` are the parts that lack these rows: zeros stand for them.
    """

    columns: list[list[NDArray[np.uint8]]]
    first: int
    count: int
    missing: Set[int] = frozenset()

    def raw(self, slot: Slot) -> NDArray[np.uint8]:
        """The bytes of one column."""
        return self.columns[slot[0]][slot[1]]


class Value(Protocol):
    """Makes the column of one signal. `storage` and `choices` are the signal's."""

    @property
    def storage(self) -> str: ...
    @property
    def choices(self) -> dict[int, str] | None: ...
    def read(self, rows: Rows) -> tuple[Column, Mask]:
        """The column (of the storage type) and its mask (1: valid; None: all are)."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the record."""

    slot: Slot
    dtype: np.dtype[Any]
    plan: Plan

    @property
    def storage(self) -> str:
        return self.plan.storage

    @property
    def choices(self) -> dict[int, str] | None:
        return self.plan.choices

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        return self.plan.apply(raw_numbers(rows, self.slot, self.dtype))


@dataclass(frozen=True, slots=True)
class Virtual:
    """A number that is not in the record: the number of the row, and what the conversion makes of it."""

    plan: Plan

    @property
    def storage(self) -> str:
        return self.plan.storage

    @property
    def choices(self) -> dict[int, str] | None:
        return self.plan.choices

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        return self.plan.apply(row_numbers(rows))


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that is the same in every row."""

    number: int
    storage: str = "uint64"
    choices: dict[int, str] | None = None

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        return np.full(rows.count, self.number, self.storage), None


@dataclass(frozen=True, slots=True)
class FixedText:
    """A text of `size` bytes in the record; `length` is the field that says how many of them count (MLSD), if there is one."""

    slot: Slot
    size: int
    texts: TextColumn
    length: tuple[Slot, np.dtype[Any]] | None = None

    @property
    def storage(self) -> str:
        return self.texts.storage

    @property
    def choices(self) -> dict[int, str] | None:
        return self.texts.choices

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        starts = np.arange(0, rows.count * self.size, self.size, dtype=np.int64)
        lengths = np.full(rows.count, self.size, np.int64)
        if self.length is not None:
            lengths = fitting(raw_numbers(rows, *self.length), self.size)
        numbers = np.empty(rows.count, np.int32)
        self.texts.numbers(rows.raw(self.slot), starts, lengths, numbers)
        return self.texts.column(numbers)


@dataclass(frozen=True, slots=True)
class LongText:
    """A text of variable length; the record has its offset."""

    slot: Slot
    dtype: np.dtype[Any]
    payload: Payload
    texts: TextColumn

    @property
    def storage(self) -> str:
        return self.texts.storage

    @property
    def choices(self) -> dict[int, str] | None:
        return self.texts.choices

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        numbers = np.full(rows.count, -1, np.int32)
        for piece in self.payload.pieces(offsets_of(rows, self.slot, self.dtype)):
            self.texts.numbers(piece.data, piece.starts, piece.lengths, numbers[piece.first : piece.end])
        return self.texts.column(numbers)


@dataclass(frozen=True, slots=True)
class Date:
    """A CANopen date (7 bytes) or time (6 bytes) as nanoseconds since 1970."""

    slot: Slot
    size: int
    storage: str = "int64"
    choices: dict[int, str] | None = None

    def read(self, rows: Rows) -> tuple[Column, Mask]:
        data = rows.raw(self.slot)[: rows.count * self.size].reshape(rows.count, self.size).astype(np.int64)
        return _canopen_date(data) if self.size == _DATE_SIZE else _canopen_time(data)


_DATE_SIZE, _TIME_SIZE = 7, 6
_MS = 1_000_000
_DAY_MS = 86_400_000
_DAYS_TO_1984 = 5113  # CANopen counts days from 1984-01-01


def _canopen_date(data: NDArray[np.int64]) -> tuple[Column, Mask]:
    """u16 ms of the minute, u8 minute (6 bits), u8 hour (5 bits), u8 day (5 bits), u8 month (6 bits), u8 year (7 bits, from 1984 on)."""
    ms = data[:, 0] | data[:, 1] << 8
    minute, hour = data[:, 2] & 0x3F, data[:, 3] & 0x1F
    day, month, year = data[:, 4] & 0x1F, data[:, 5] & 0x3F, data[:, 6] & 0x7F
    valid = (ms < 60_000) & (minute < 60) & (hour < 24) & (day >= 1) & (month >= 1) & (month <= 12) & (year < 100)
    months = np.where(valid, (year + np.where(year < 84, 2000, 1900) - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]")
    days_in_month = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    valid &= day <= days_in_month
    days = first.astype("datetime64[D]").astype(np.int64) + day - 1
    value = np.where(valid, ((days * 24 + hour) * 60 + minute) * 60_000 + ms, 0) * _MS
    return value, None if valid.all() else valid.astype(np.uint8)


def _canopen_time(data: NDArray[np.int64]) -> tuple[Column, Mask]:
    """u32 ms since midnight (28 bits), u16 days since 1984-01-01."""
    ms = (data[:, 0] | data[:, 1] << 8 | data[:, 2] << 16 | data[:, 3] << 24) & 0x0FFFFFFF
    days = (data[:, 4] | data[:, 5] << 8) + _DAYS_TO_1984
    valid = ms < _DAY_MS
    value = np.where(valid, days * _DAY_MS + ms, 0) * _MS
    return value, None if valid.all() else valid.astype(np.uint8)


def raw_numbers(rows: Rows, slot: Slot, dtype: np.dtype[Any]) -> Column:
    """The raw numbers of a field; half precision as float64."""
    raw = rows.raw(slot).view(dtype)
    return raw.astype(np.float64) if dtype == np.float16 else raw


def row_numbers(rows: Rows) -> NDArray[np.uint64]:
    """The numbers of the rows in their group."""
    return np.arange(rows.first, rows.first + rows.count, dtype=np.uint64)


def offsets_of(rows: Rows, slot: Slot, dtype: np.dtype[Any]) -> NDArray[np.uint64]:
    """Offsets into the data of variable length."""
    return np.ascontiguousarray(rows.raw(slot).view(dtype), np.uint64)


def fitting(lengths: Column, most: int) -> NDArray[np.int64]:
    """Lengths that the record names, cut to what there is."""
    if lengths.dtype == np.uint64:
        return np.minimum(lengths, np.uint64(most)).astype(np.int64)
    if lengths.dtype.kind == "f":
        lengths = np.nan_to_num(lengths, nan=0, posinf=most, neginf=0).clip(0, most)
    return np.minimum(np.maximum(lengths.astype(np.int64), 0), most)
