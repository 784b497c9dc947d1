"""How raw columns of one type become physical ones: the storage type, the names of values, and the work on each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import STORAGES
from parsers.mdf.rules import (
    NO_LABEL,
    Identity,
    Labels,
    Linear,
    Names,
    Raw,
    Rule,
    Table,
    TextNumbers,
    TextRule,
    TextTexts,
    translated,
)
from parsers.texts import MAX_TEXTS, TextCodes

Mask = NDArray[np.uint8] | None


class Plan(Protocol):
    """The conversion of columns of one raw type.

    `storage` is one of STORAGES; `choices` name values of the converted column and may grow with every block.
    """

    storage: str
    choices: dict[int, str] | None

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        """The physical column, C-contiguous and of the storage type, and its mask (1: valid) or None. May be `raw` itself."""


def make_plan(rule: Rule | TextRule, names: Names, dtype: np.dtype[Any]) -> Plan:
    """The plan for a raw type.

    Numbers stay whole where the conversion cannot make anything else of them. Tables of texts become enumerations: of the raw numbers
    where those can be listed; of numbers given to the texts where they cannot (ranges of reals, bit fields). A table that scales some
    values and names others gives float64 with names; a named value is what the scale makes of it, as with CAN signals.
    """
    if dtype.kind in "OSU":
        return TextPlan(rule if isinstance(rule, TextRule) else None)
    if isinstance(rule, TextRule):
        rule = Identity()  # it says nothing of numbers
    dtype = _plain(dtype)
    if not rule.gives_texts:
        return NumberPlan(rule, dtype)
    if not rule.keeps_numbers:
        return ScaledPlan(rule, names, dtype)
    if isinstance(rule, Table):
        samples = rule.samples(dtype)
        if samples is not None if dtype.kind != "f" else samples is not None and not rule.names_all:
            return NamedPlan(rule, names, dtype, samples)
        if dtype.kind != "f" and not rule.names_all:
            return NamedPlan(rule, names, dtype, None)
    return CodedPlan(rule, names, dtype)


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that a column of `dtype` is brought to before it is converted."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def _storage(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.name in STORAGES else "float64"


def _key(value: float) -> int:
    """The key of a value among the choices: a value on a scale need not be whole, it is shown as it is."""
    whole = isinstance(value, int) or float(value).is_integer()
    return int(value) if whole else cast(int, value)


class NumberPlan:
    """Numbers to numbers; whole ones stay whole where they can."""

    choices: dict[int, str] | None = None

    def __init__(self, rule: Rule, dtype: np.dtype[Any]) -> None:
        self.rule = rule
        self.dtype = dtype
        self.whole = rule if isinstance(rule, Linear) and rule.whole_storage(dtype) else None
        self.same = isinstance(rule, Identity)
        self.storage = (rule.whole_storage(dtype) if isinstance(rule, Linear) else _storage(dtype) if self.same else None) or "float64"

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        column = np.ascontiguousarray(raw, self.dtype)
        if self.same:
            return column.astype(self.storage, copy=False), None
        if self.whole is not None:
            return self.whole.whole_numbers(column, self.storage), None
        return self.rule.convert(column)[0], None


class NamedPlan:
    """Raw numbers that stay, with names for those that the table has a text for.

    `samples` are the values that have one; without them, and where a text is for all other values, names come as values are seen.
    """

    def __init__(self, rule: Table, names: Names, dtype: np.dtype[Any], samples: Raw | None) -> None:
        self.rule = rule
        self.names = names
        self.dtype = dtype
        self.storage = _storage(dtype)
        self.named: dict[int, str] = {}
        self.choices: dict[int, str] | None = self.named
        self.grows = samples is None or rule.names_all
        self.known = np.empty(0, dtype)
        if samples is not None:
            self._name(samples)

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        column = np.ascontiguousarray(raw, self.dtype)
        if self.grows and len(self.named) < MAX_TEXTS:
            self._name(np.unique(column[~np.isin(column, self.known)]))
        return column.astype(self.storage, copy=False), None

    def _name(self, values: Raw) -> None:
        _, labels = self.rule.convert(values)
        assert labels is not None
        named = np.flatnonzero(labels != NO_LABEL)[: MAX_TEXTS - len(self.named)]
        for value, label in zip(values[named].tolist(), labels[named].tolist(), strict=True):
            self.named[_key(value)] = self.names.texts[label]
        self.known = np.union1d(self.known, values[named])


class ScaledPlan:
    """Physical numbers, with names for those that stand for a text."""

    storage = "float64"

    def __init__(self, rule: Rule, names: Names, dtype: np.dtype[Any]) -> None:
        self.rule = rule
        self.names = names
        self.dtype = dtype
        self.named: dict[int, str] = {}
        self.choices: dict[int, str] | None = self.named
        self.known = np.empty(0, np.float64)
        samples = rule.samples(dtype) if isinstance(rule, Table) else None
        if samples is not None:
            self._name(*rule.convert(samples))

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        numbers, labels = self.rule.convert(np.ascontiguousarray(raw, self.dtype))
        if len(self.named) < MAX_TEXTS:
            self._name(numbers, labels)
        return numbers, None

    def _name(self, numbers: NDArray[np.float64], labels: Labels | None) -> None:
        if labels is None:
            return
        named = np.flatnonzero((labels != NO_LABEL) & np.isfinite(numbers))
        named = named[~np.isin(numbers[named], self.known)]
        values, first = np.unique(numbers[named], return_index=True)
        for value, label in zip(values.tolist(), labels[named[first]].tolist(), strict=True):
            if len(self.named) >= MAX_TEXTS:
                break
            self.named[_key(value)] = self.names.texts[label]
        self.known = np.union1d(self.known, values)


class CodedPlan:
    """A number for each text; a value without one is its own text. When there are too many texts, further ones are absent."""

    storage = "int32"

    def __init__(self, rule: Rule, names: Names, dtype: np.dtype[Any]) -> None:
        self.rule = rule
        self.names = names
        self.dtype = dtype
        choices: dict[int, str] = {}
        self.choices: dict[int, str] | None = choices
        self.codes = TextCodes(choices)
        self.code_of = np.empty(0, np.int32)  # by label: the number, -1 when there is no room, -2 when it has not been met

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        column = np.ascontiguousarray(raw, self.dtype)
        _, labels = self.rule.convert(column)
        assert labels is not None
        missing = len(self.names.texts) - len(self.code_of)
        if missing > 0:
            self.code_of = np.append(self.code_of, np.full(missing, -2, np.int32))
        plain = labels == NO_LABEL
        labels[plain] = 0
        if len(self.code_of) == 0:
            codes = np.full(len(labels), -1, np.int32)
        else:
            codes = self.code_of[labels]
            if (codes == -2).any():
                for label in np.unique(labels[(codes == -2) & ~plain]).tolist():
                    self.code_of[label] = self.codes.code(self.names.texts[label])
                codes = self.code_of[labels]
        if plain.any():
            codes[plain] = self._own(column[plain])
        absent = codes < 0
        if not absent.any():
            return codes, None
        codes[absent] = 0
        return codes, (~absent).astype(np.uint8)

    def _own(self, values: Raw) -> Labels:
        """Numbers for values that are their own texts."""
        different, rows = np.unique(values, return_inverse=True)
        room = self.codes.limit
        texts = (f"{value:.9g}" if values.dtype.kind == "f" else str(value) for value in different[:room].tolist())
        codes = np.array([self.codes.code(text) for text in texts], np.int32)
        return np.append(codes, np.full(len(different) - len(codes), -1, np.int32))[rows]


class TextPlan:
    """Texts to numbers of their own, or by a table to numbers or to other texts. Columns are arrays of str."""

    def __init__(self, rule: TextRule | None) -> None:
        self.rule = rule
        self.storage = "float64" if isinstance(rule, TextNumbers) else "int32"
        choices: dict[int, str] = {}
        self.choices: dict[int, str] | None = None if isinstance(rule, TextNumbers) else choices
        self.codes = TextCodes(choices)

    def apply(self, raw: NDArray[Any]) -> tuple[NDArray[Any], Mask]:
        texts: Sequence[str] = raw.tolist()
        if isinstance(self.rule, TextNumbers):
            numbers = np.array([self.rule.numbers.get(text, self.rule.default) for text in texts], np.float64)
            absent = np.isnan(numbers)
            return numbers, (~absent).astype(np.uint8) if absent.any() else None
        return self.codes.codes(translated(self.rule, texts) if isinstance(self.rule, TextTexts) else texts)
