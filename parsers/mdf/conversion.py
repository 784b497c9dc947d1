"""Conversions of MDF channels: from the CC blocks of a file to plans that turn raw columns into physical ones."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from parsers.errors import Corrupt, LimitExceeded, ParseError, Unsupported
from parsers.mdf.blocks import HEADER, Block, BlockFile
from parsers.mdf.formula import FormulaError, parse
from parsers.mdf.plans import Plan, make_plan
from parsers.mdf.rules import (
    NO_LABEL,
    Algebraic,
    BitTexts,
    Identity,
    KeyPlaces,
    Linear,
    Names,
    Points,
    RangeNumbers,
    RangePlaces,
    Rational,
    Rule,
    Table,
    TextNumbers,
    TextRule,
    TextTexts,
    translated,
)

# cc_type, cc_precision, cc_flags, cc_ref_count, cc_val_count, cc_phy_range_min, cc_phy_range_max; then the values
_LAYOUT = struct.Struct("<BBHHHdd")
_TITLE, _UNIT, _REFERENCES = 0, 1, 4  # links: name, unit, comment, inverse, then the references
_HAS_RANGE = 2  # flag: the physical range is valid

_IDENTITY, _LINEAR, _RATIONAL, _ALGEBRAIC, _STRAIGHT, _NEAREST, _RANGE_NUMBERS = range(7)
_VALUE_TEXTS, _RANGE_TEXTS, _TEXT_NUMBERS, _TEXT_TEXTS, _BIT_TEXTS = range(7, 12)

MAX_DEPTH = 8
"""Most conversions inside one another."""

MAX_MASKS = 256
"""Most masks of one bit field; a value has 64 bits."""

MAX_WORDS = 1 << 21
"""Most words of 8 bytes in all conversions of one file together."""


@dataclass(frozen=True)
class Conversion:
    """What makes physical values of raw ones.

    `unit` is that of the conversion or, without one, of the channel. `minimum` and `maximum` are the physical range, where the file gives
    one. `linear` is (offset, factor) of a conversion that only scales. `reads_texts`: it is for raw texts.
    """

    unit: str
    minimum: float | None
    maximum: float | None
    _rule: Rule | TextRule
    _names: Names
    _plans: dict[str, Plan] = field(default_factory=dict, repr=False)

    @property
    def reads_texts(self) -> bool:
        """Whether the raw values are texts."""
        return isinstance(self._rule, TextRule)

    @property
    def linear(self) -> tuple[float, float] | None:
        """Offset and factor; None when there is more to it."""
        if isinstance(self._rule, Identity):
            return 0.0, 1.0
        return (self._rule.offset, self._rule.factor) if isinstance(self._rule, Linear) else None

    def plan(self, raw_dtype: np.dtype[Any]) -> Plan:
        """How columns of this type become physical; one plan for all channels of the same conversion and type.

        Numbers of any numpy type; texts as arrays of str (`object` or `U`).
        """
        key = raw_dtype.newbyteorder("=").str
        if key not in self._plans:
            self._plans[key] = make_plan(self._rule, self._names, raw_dtype)
        return self._plans[key]

    def value(self, raw: int | float | str) -> int | float | str:
        """The physical value or the text of one raw value."""
        rule = self._rule
        if isinstance(raw, str):
            if isinstance(rule, TextNumbers):
                return rule.numbers.get(raw, rule.default)
            return translated(rule, [raw])[0] if isinstance(rule, TextTexts) else raw
        if isinstance(rule, TextRule | Identity):
            return raw
        whole = isinstance(raw, int) and -(1 << 63) <= raw < 1 << 64
        column = np.array([raw], (np.uint64 if raw >= 0 else np.int64) if whole else np.float64)
        numbers, labels = rule.convert(column)
        if labels is not None and labels[0] != NO_LABEL:
            return self._names.texts[labels[0]]
        number = float(numbers[0])
        return int(number) if whole and number.is_integer() else number


def read_conversion(file: BlockFile, link: int, unit_fallback: str = "") -> Conversion:
    """The conversion at `link`; for 0 raw values are physical.

    Source: ASAM MDF 4.1, CC block; all types from 0 to 11, references to further conversions included; the link to the inverse is not
    followed. What cannot be read is reported to the file, and leaves raw values, which then have no unit.
    """
    read = _READ.get(file)
    if read is None:
        read = _READ[file] = _Read()
    if link not in read.conversions:
        read.conversions[link] = _Reader(file, read).conversion(link)
    found = read.conversions[link]
    return found if found.unit or link in read.refused else replace(found, unit=unit_fallback)


@dataclass
class _Read:
    """What is known of the conversions of one file; it does not keep the file alive."""

    names: Names = field(default_factory=Names)
    words: int = 0
    rules: dict[int, Rule | TextRule] = field(default_factory=dict)
    labels: dict[int, int] = field(default_factory=dict)  # by link
    refused: set[int] = field(default_factory=set)
    conversions: dict[int, Conversion] = field(default_factory=dict)


_READ: WeakKeyDictionary[BlockFile, _Read] = WeakKeyDictionary()


class _Reader:
    """Reads one conversion and those it refers to."""

    def __init__(self, file: BlockFile, read: _Read) -> None:
        self.file = file
        self.read = read
        self.path: list[int] = []

    def conversion(self, link: int) -> Conversion:
        if link == 0:
            return Conversion("", None, None, Identity(), self.read.names)
        try:
            block = self._block(link)
            rule = self._rule(block)
        except ParseError as error:
            self.read.refused.add(link)
            self._complain(error, link)
            return Conversion("", None, None, Identity(), self.read.names)
        minimum = maximum = None
        _, _, flags, _, _, low, high = block.unpack(_LAYOUT)
        if flags & _HAS_RANGE and math.isfinite(low) and math.isfinite(high) and low <= high:
            minimum, maximum = low, high
        return Conversion(self.file.text(block.link(_UNIT)), minimum, maximum, rule, self.read.names)

    def _complain(self, error: ParseError, link: int) -> None:
        self.file.complain(link if error.offset is None else error.offset, f"conversion: {error.reason}")

    def _block(self, link: int) -> Block:
        """The CC block, counted against what all conversions of a file may have."""
        _, length, _ = self.file.header(link)
        self.read.words += length // 8
        if self.read.words > MAX_WORDS:
            raise LimitExceeded(f"conversions of the file have more than {8 * MAX_WORDS} bytes", link)
        return self.file.block(link, b"##CC")

    def _rule(self, block: Block) -> Rule | TextRule:
        known = self.read.rules.get(block.offset)
        if known is None:
            if block.offset in self.path:
                raise Corrupt("refers to itself", block.offset)
            if len(self.path) >= MAX_DEPTH:
                raise LimitExceeded(f"more than {MAX_DEPTH} inside one another", block.offset)
            self.path.append(block.offset)
            known = self._make(block)
            self.path.pop()
            if not isinstance(known, TextRule) and known.depth > MAX_DEPTH:
                raise LimitExceeded(f"more than {MAX_DEPTH} inside one another", block.offset)
            self.read.rules[block.offset] = known
        return known

    def _make(self, block: Block) -> Rule | TextRule:
        kind, _, _, references, count, _, _ = block.unpack(_LAYOUT)
        at = HEADER.size  # of the values, in the data
        held = min(count, (len(block.data) - at) // 8)
        if held < count:
            self.file.complain(block.data_offset, f"conversion: {count} values are declared, {held} are there")
        values = np.frombuffer(block.data, "<f8", held, at).astype(np.float64)
        links = block.links[_REFERENCES : _REFERENCES + references]
        if kind <= _RANGE_NUMBERS:
            return self._numbers(block, kind, values, links)
        if kind in (_VALUE_TEXTS, _RANGE_TEXTS):
            return self._table(kind, values, links)
        if kind in (_TEXT_NUMBERS, _TEXT_TEXTS):
            return self._texts(block, kind, values, links)
        if kind == _BIT_TEXTS:
            return self._bits(block, np.frombuffer(block.data, "<u8", held, at).tolist(), links)
        raise Unsupported(f"type {kind} is not known", block.data_offset)

    def _numbers(self, block: Block, kind: int, values: NDArray[np.float64], links: Sequence[int]) -> Rule:
        needed = {_LINEAR: 2, _RATIONAL: 6, _STRAIGHT: 2, _NEAREST: 2, _RANGE_NUMBERS: 1}.get(kind, 0)
        if len(values) < needed:
            raise Corrupt(f"type {kind} needs {needed} values, {len(values)} are there", block.data_offset)
        if kind == _IDENTITY:
            return Identity()
        if kind == _LINEAR:
            offset, factor = values[:2].tolist()
            return Identity() if (offset, factor) == (0, 1) else Linear(offset, factor)
        if kind == _RATIONAL:
            p1, p2, p3, p4, p5, p6 = values[:6].tolist()
            return Rational((p1, p2, p3, p4, p5, p6))
        if kind == _ALGEBRAIC:
            return self._formula(block, links[0] if links else 0)
        if kind == _RANGE_NUMBERS:
            ranges = len(values) // 3
            # Without a default a value outside of all ranges has no number.
            default = values[3 * ranges] if len(values) > 3 * ranges else np.nan
            rows = values[: 3 * ranges].reshape(-1, 3)
            return RangeNumbers(RangePlaces(rows[:, 0].copy(), rows[:, 1].copy()), np.append(rows[:, 2], default))
        points = values[: len(values) // 2 * 2].reshape(-1, 2)
        points = points[~np.isnan(points[:, 0])]
        if not len(points):
            raise Corrupt("table without a key", block.data_offset)
        points = points[np.argsort(points[:, 0], kind="stable")]
        return Points(points[:, 0].copy(), points[:, 1].copy(), kind == _STRAIGHT)

    def _formula(self, block: Block, link: int) -> Rule:
        text = self.file.text(link)
        try:
            return Algebraic(parse(text))
        except FormulaError as error:
            raise Corrupt(f"formula {text[:100]!r}: {error}", link or block.offset) from None

    def _table(self, kind: int, values: NDArray[np.float64], links: Sequence[int]) -> Rule:
        width = 1 if kind == _VALUE_TEXTS else 2
        size = min(len(values) // width, len(links))
        rows = values[: size * width].reshape(-1, width)
        places = KeyPlaces(rows[:, 0].copy()) if width == 1 else RangePlaces(rows[:, 0].copy(), rows[:, 1].copy())
        labels = np.full(size + 1, NO_LABEL, np.int32)
        rules: dict[int, Rule] = {}
        for place, link in enumerate(links[: size + 1]):
            target = self._target(link)
            if isinstance(target, int):
                labels[place] = target
            elif not isinstance(target, Identity):
                rules[place] = target
        return Table(places, labels, rules)

    def _target(self, link: int) -> int | Rule:
        """What a place of a table leads to: the label of a text or a rule for numbers; what cannot be read leaves the number."""
        if link == 0:
            return Identity()
        try:
            name, _, _ = self.file.header(link)
            if name in (b"##TX", b"##MD"):
                return self._label(link) if self.file.text(link) else Identity()  # an empty text names nothing
            known = self.read.rules.get(link)
            rule = known if known is not None else self._rule(self._block(link))
            if isinstance(rule, TextRule):
                raise Corrupt("a conversion of texts is referred to for numbers", link)
        except ParseError as error:
            self._complain(error, link)
            return Identity()
        return rule

    def _label(self, link: int) -> int:
        known = self.read.labels.get(link)
        if known is None:
            known = self.read.names.label(self.file.text(link))
            self.read.labels[link] = known
        return known

    def _texts(self, block: Block, kind: int, values: NDArray[np.float64], links: Sequence[int]) -> TextRule:
        if kind == _TEXT_NUMBERS:
            size = min(len(values), len(links))
            numbers: dict[str, float] = {}
            for link, number in zip(links[:size], values[:size].tolist(), strict=True):
                numbers.setdefault(self._text(link), number)
            return TextNumbers(numbers, float(values[size]) if len(values) > size else math.nan)
        size = len(links) // 2
        texts: dict[str, str | None] = {}
        for key, link in zip(links[: 2 * size : 2], links[1 : 2 * size : 2], strict=True):
            texts.setdefault(self._text(key), self._text(link) if link else None)
        default = links[2 * size] if len(links) > 2 * size else 0
        return TextTexts(texts, self._text(default) if default else None)

    def _text(self, link: int) -> str:
        label = self._label(link)
        return self.read.names.texts[label] if label != NO_LABEL else ""

    def _bits(self, block: Block, masks: Sequence[int], links: Sequence[int]) -> Rule:
        size = min(len(masks), len(links))
        if size > MAX_MASKS:
            raise LimitExceeded(f"bit field of {size} masks, {MAX_MASKS} are allowed", block.data_offset)
        tables: list[Rule] = []
        titles: list[str] = []
        for link in links[:size]:
            target = self._target(link)
            # A bit field inside a bit field would multiply the work with every level.
            plain = not isinstance(target, int) and not _has_bits(target)
            tables.append(target if plain and not isinstance(target, int) else Identity())
            titles.append(self._title(link) if plain and link else "")
        return BitTexts(tuple(masks[:size]), tuple(tables), tuple(titles), self.read.names)

    def _title(self, link: int) -> str:
        try:
            return self.file.text(self.file.block(link, b"##CC").link(_TITLE))
        except ParseError:
            return ""  # was told when the rule was read


def _has_bits(rule: Rule) -> bool:
    return isinstance(rule, BitTexts) or (isinstance(rule, Table) and any(_has_bits(inner) for inner in rule.rules.values()))
