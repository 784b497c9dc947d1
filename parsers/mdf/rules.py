"""What a conversion does with raw numbers: rules that compute, and tables that look up numbers, texts or further rules."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import STORAGES
from parsers.mdf._convert import find_keys, find_ranges, linear, nearest, rational, straight
from parsers.mdf.formula import Formula
from parsers.texts import MAX_LENGTH, MAX_TEXTS

Raw = NDArray[Any]
Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

NO_LABEL = -1
_MOST_COMBINATIONS = 16_384  # of one bit field that get their texts; further ones have none
_MOST_LABELS = 1 << 18


class Names:
    """Texts of the tables of one file by number, each kept once and cut to what a text of an enumeration may have."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def label(self, text: str) -> int:
        """The number of the text; NO_LABEL when there are too many."""
        text = text[:MAX_LENGTH]
        known = self._known.get(text)
        if known is None:
            if len(self.texts) >= _MOST_LABELS:
                return NO_LABEL
            known = self._known[text] = len(self.texts)
            self.texts.append(text)
        return known


class Rule(Protocol):
    """One conversion. `depth` counts the rules inside one another."""

    @property
    def gives_texts(self) -> bool:
        """Whether some values become texts."""

    @property
    def keeps_numbers(self) -> bool:
        """Whether a value that becomes no text stays the number it is."""

    @property
    def depth(self) -> int: ...

    def convert(self, raw: Raw) -> tuple[Floats, Labels | None]:
        """The number of every value and the label of its text (NO_LABEL: none; None: none has one). `raw` is contiguous, native."""


@dataclass(frozen=True)
class _Numeric:
    """A rule that knows numbers only."""

    gives_texts = False
    keeps_numbers = False
    depth = 1

    def numbers(self, raw: Raw) -> Floats:
        raise NotImplementedError

    def convert(self, raw: Raw) -> tuple[Floats, Labels | None]:
        return self.numbers(raw), None


@dataclass(frozen=True)
class Identity(_Numeric):
    """The raw value as it is."""

    keeps_numbers = True

    def numbers(self, raw: Raw) -> Floats:
        return raw.astype(np.float64)


@dataclass(frozen=True)
class Linear(_Numeric):
    """offset + factor * raw."""

    offset: float
    factor: float

    def numbers(self, raw: Raw) -> Floats:
        result: Floats = linear(raw, self.offset, self.factor)
        return result

    def whole_storage(self, dtype: np.dtype[Any]) -> str | None:
        """The narrowest type that holds every result and every step towards it; None when that is float64."""
        if dtype.kind not in "iu" or not self.factor.is_integer() or not self.offset.is_integer():
            return None
        factor, offset = int(self.factor), int(self.offset)
        ends = [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
        needed = [*ends, factor, offset, *(end * factor for end in ends), *(end * factor + offset for end in ends)]
        for storage in STORAGES:
            if storage != "float64" and np.iinfo(storage).min <= min(needed) and max(needed) <= np.iinfo(storage).max:
                return storage
        return None

    def whole_numbers(self, raw: Raw, storage: str) -> Raw:
        """The results in the type that `whole_storage` gave."""
        result = raw.astype(storage)
        result *= int(self.factor)
        result += int(self.offset)
        return result


@dataclass(frozen=True)
class Rational(_Numeric):
    """(p1 x^2 + p2 x + p3) / (p4 x^2 + p5 x + p6)."""

    parameters: tuple[float, float, float, float, float, float]

    def numbers(self, raw: Raw) -> Floats:
        result: Floats = rational(raw, np.array(self.parameters, np.float64))
        return result


@dataclass(frozen=True)
class Algebraic(_Numeric):
    """A formula."""

    formula: Formula

    def numbers(self, raw: Raw) -> Floats:
        return self.formula.evaluate(raw.astype(np.float64))


@dataclass(frozen=True)
class Points(_Numeric):
    """Values at keys: straight lines between them or the value of the nearest key; the outermost values beyond them."""

    keys: Floats  # sorted upwards, at least one
    values: Floats
    straight: bool

    def numbers(self, raw: Raw) -> Floats:
        look_up = straight if self.straight else nearest
        result: Floats = look_up(raw, self.keys, self.values)
        return result


@dataclass(frozen=True)
class KeyPlaces:
    """Where a value stands in a table of single keys, the first of equal ones."""

    keys: Floats

    @cached_property
    def _table(self) -> tuple[Floats, Labels]:
        keys, places = np.unique(self.keys, return_index=True)
        real = ~np.isnan(keys)
        return np.ascontiguousarray(keys[real]), places[real].astype(np.int32)

    def find(self, raw: Raw) -> Labels:
        """The place of every value, -1 where it has none."""
        found: Labels = find_keys(raw, *self._table)
        return found

    def samples(self, dtype: np.dtype[Any], most: int) -> Raw | None:
        """Every value of the type that has a place; None when they are more than `most` or cannot be counted."""
        keys = self._table[0]
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            keys = keys[(keys == np.floor(keys)) & (keys >= float(limits.min)) & (keys < float(int(limits.max) + 1))]
        return _held(keys, dtype) if len(keys) <= most else None


@dataclass(frozen=True)
class RangePlaces:
    """Where a value stands in a table of ranges, the first that holds it. Whole numbers: both ends belong to a range; else the lower one.

    A range of one number holds that number in both cases. Source: ASAM MDF 4.1, CC block, conversion types 6 and 8.
    """

    low: Floats
    high: Floats

    @cached_property
    def _whole(self) -> tuple[Floats, Labels]:
        return _segments(self.low, _after(self.high))

    @cached_property
    def _real(self) -> tuple[Floats, Labels]:
        return _segments(self.low, np.where(self.low == self.high, _after(self.high), self.high))

    def find(self, raw: Raw) -> Labels:
        """The place of every value, -1 where it has none."""
        found: Labels = find_ranges(raw, *(self._real if raw.dtype.kind == "f" else self._whole))
        return found

    def samples(self, dtype: np.dtype[Any], most: int) -> Raw | None:
        """Every value of the type that has a place; None when they are more than `most` or cannot be counted."""
        if dtype.kind not in "iu":
            single = self.low == self.high
            return _held(np.unique(self.low), dtype) if single.all() and len(self.low) <= most else None
        limits = np.iinfo(dtype)
        first = np.ceil(np.clip(self.low, max(float(limits.min), -(2.0**53)), min(float(limits.max), 2.0**53)))
        last = np.floor(np.clip(self.high, max(float(limits.min), -(2.0**53)), min(float(limits.max), 2.0**53)))
        held = (first <= last) & (self.low <= float(limits.max)) & (self.high >= float(limits.min))
        if len(first) > most or float((last - first + 1)[held].sum()) > most:
            return None
        pieces = [np.arange(int(a), int(b) + 1, dtype=np.int64) for a, b in zip(first[held], last[held], strict=True)]
        return np.unique(np.concatenate([np.empty(0, np.int64), *pieces])).astype(dtype)


def _after(values: Floats) -> Floats:
    """The next larger numbers; infinity after the largest."""
    with np.errstate(over="ignore"):
        return np.nextafter(values, np.inf)


def _held(keys: Floats, dtype: np.dtype[Any]) -> Raw:
    """Those keys that a value of the type can be equal to."""
    with np.errstate(over="ignore"):
        values = keys.astype(dtype)
    return values[values == keys]


def _segments(low: Floats, end: Floats) -> tuple[Floats, Labels]:
    """Ranges from `low` to before `end` as edges without overlap and the range that each piece belongs to: the first listed, or -1."""
    real = np.flatnonzero(low < end)  # not those that are empty or NaN
    order = real[np.argsort(low[real], kind="stable")]
    starts, ends = low[order], end[order]
    if len(order) and (starts[1:] >= ends[:-1]).all():
        edges = np.stack([starts, ends], axis=1).ravel()
        places = np.full(len(edges) - 1, -1, np.int32)
        places[::2] = order
        different = np.append(edges[1:] > edges[:-1], True)
        return np.ascontiguousarray(edges[different]), np.ascontiguousarray(places[different[:-1]])
    edges = np.unique(np.concatenate([starts, ends, [np.inf]]))
    places = np.full(len(edges) - 1, -1, np.int32)
    waiting: list[tuple[int, float]] = []
    taken = 0
    for index, edge in enumerate(edges[:-1].tolist()):
        while taken < len(order) and starts[taken] <= edge:
            heapq.heappush(waiting, (int(order[taken]), float(ends[taken])))
            taken += 1
        while waiting and waiting[0][1] <= edge:
            heapq.heappop(waiting)
        if waiting:
            places[index] = waiting[0][0]
    return edges, places


@dataclass(frozen=True)
class RangeNumbers(_Numeric):
    """A number for each range, another for all that is outside."""

    places: RangePlaces
    values: Floats  # one more than ranges: the last is the default

    def numbers(self, raw: Raw) -> Floats:
        found = self.places.find(raw)
        found[found < 0] = len(self.values) - 1
        return self.values[found]


@dataclass(frozen=True)
class Table:
    """A text, a further rule or nothing (the number stays as it is) for each key or range, and for all that is outside.

    A value that becomes a text has as number what the default makes of it, as far as that is a rule, so that a scaled value and its
    named states lie on one scale.
    """

    places: KeyPlaces | RangePlaces
    labels: Labels  # one more than places: the last is the default; NO_LABEL where there is no text
    rules: dict[int, Rule] = field(default_factory=dict)  # by place; the number of places for the default

    gives_texts = True

    @property
    def _default(self) -> Rule | None:
        return self.rules.get(len(self.labels) - 1)

    @cached_property
    def keeps_numbers(self) -> bool:
        return all(rule.keeps_numbers for rule in self.rules.values())

    @cached_property
    def depth(self) -> int:
        return 1 + max((rule.depth for rule in self.rules.values()), default=0)

    @property
    def names_all(self) -> bool:
        """Whether a value outside of the table becomes a text."""
        default = self._default
        if isinstance(default, Table):
            return default.names_all
        return bool(self.labels[-1] != NO_LABEL) or (default is not None and default.gives_texts)

    def convert(self, raw: Raw) -> tuple[Floats, Labels | None]:
        found = self.places.find(raw)
        outside = found < 0
        found[outside] = len(self.labels) - 1
        labels = self.labels[found]
        default = self._default
        if default is None:
            numbers = raw.astype(np.float64)
        else:
            numbers, inner = default.convert(raw)
            if inner is not None:
                labels[outside] = inner[outside]
        for rule, rows in self._groups(found):
            values, inner = rule.convert(np.ascontiguousarray(raw[rows]))
            numbers[rows] = values
            if inner is not None:
                labels[rows] = inner
        return numbers, labels

    def _groups(self, found: Labels) -> Iterator[tuple[Rule, NDArray[np.intp]]]:
        """Each rule for a key or range with the rows it is for."""
        if not len(found) or self.rules.keys() <= {len(self.labels) - 1}:
            return
        order = np.argsort(found, kind="stable")
        places, starts = np.unique(found[order], return_index=True)
        for place, rows in zip(places.tolist(), np.split(order, starts[1:]), strict=True):
            rule = self.rules.get(place)
            if rule is not None and place != len(self.labels) - 1:
                yield rule, rows

    def samples(self, dtype: np.dtype[Any], most: int = MAX_TEXTS) -> Raw | None:
        """The values of the type that have names besides those by default; None when there are too many to list."""
        own = self.places.samples(dtype, most)
        default = self._default
        if own is None or not isinstance(default, Table):
            return own
        more = default.samples(dtype, most)
        return None if more is None or len(own) + len(more) > most else np.unique(np.concatenate([own, more]))


@dataclass(frozen=True)
class BitTexts:
    """A text put together from those that a table gives for the bits under each mask."""

    masks: tuple[int, ...]
    tables: tuple[Rule, ...]
    titles: tuple[str, ...]
    names: Names
    _known: dict[int, int] = field(default_factory=dict)

    gives_texts = True
    keeps_numbers = True

    @cached_property
    def depth(self) -> int:
        return 1 + max((rule.depth for rule in self.tables), default=0)

    def convert(self, raw: Raw) -> tuple[Floats, Labels | None]:
        bits = raw.astype(np.int64).view(np.uint64) if raw.dtype.kind == "i" else _unsigned(raw)
        every = np.uint64(0)
        for mask in self.masks:
            every |= np.uint64(mask)
        combinations, rows = np.unique(bits & every, return_inverse=True)
        labels = np.array([self._label(value) for value in combinations.tolist()], np.int32)
        return raw.astype(np.float64), labels[rows]

    def _label(self, value: int) -> int:
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= _MOST_COMBINATIONS:
                return NO_LABEL
            known = self._known[value] = self.names.label(self._text(value))
        return known

    def _text(self, value: int) -> str:
        parts: list[str] = []
        for mask, table, title in zip(self.masks, self.tables, self.titles, strict=True):
            _, labels = table.convert(np.array([value & mask], np.uint64))
            if labels is not None and labels[0] != NO_LABEL and self.names.texts[labels[0]]:
                text = self.names.texts[labels[0]]
                parts.append(f"{title} = {text}" if title else text)
        return "|".join(parts)


def _unsigned(raw: Raw) -> NDArray[np.uint64]:
    if raw.dtype.kind == "f":
        return np.clip(np.nan_to_num(raw, nan=0.0), 0.0, 2.0**53).astype(np.uint64)
    return raw.astype(np.uint64)


@dataclass(frozen=True)
class TextNumbers:
    """A number for each text; NaN by default means that there is none."""

    numbers: dict[str, float]
    default: float


@dataclass(frozen=True)
class TextTexts:
    """Another text for some texts; None keeps a text as it is."""

    texts: dict[str, str | None]
    default: str | None


TextRule = TextNumbers | TextTexts


def translated(rule: TextTexts, texts: Sequence[str]) -> list[str]:
    """The texts after the rule."""
    found = (rule.texts.get(text, rule.default) for text in texts)
    return [text if new is None else new for text, new in zip(texts, found, strict=True)]
