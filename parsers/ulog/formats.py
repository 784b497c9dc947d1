"""Format definitions of ULog: the fields of a message type, and how the rows of a topic become columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from parsers.blocks import SignalSpec
from parsers.limits import Limits
from parsers.ulog._ulog import KIND_FLOAT, KIND_TEXT

# bytes, storage of the column; docs.px4.io, "ULog File Format", data types
BASIC: dict[str, tuple[int, str]] = {
    "int8_t": (1, "int8"),
    "uint8_t": (1, "uint8"),
    "int16_t": (2, "int16"),
    "uint16_t": (2, "uint16"),
    "int32_t": (4, "int32"),
    "uint32_t": (4, "uint32"),
    "int64_t": (8, "int64"),
    "uint64_t": (8, "uint64"),
    "float": (4, "float64"),
    "double": (8, "float64"),
    "bool": (1, "uint8"),
    "char": (1, "int8"),
}
TIME = "timestamp"
PADDING = "_padding"
MOST_DEPTH = 16
MOST_TYPES = 256  # that one topic is made of
MOST_CHANGES = 100  # formats that are defined anew with other fields; each makes all layouts new
MOST_ROW = 65_533  # a data message has at most 65,535 bytes, two of them its id
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_/-]*)(?:\[(\d{1,5})\])?\s+([A-Za-z_][A-Za-z0-9_]*)")


class BadFormat(Exception):
    """A format definition cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """`count` is None for a single value."""

    kind: str
    count: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a topic become columns; `columns` has (offset, kind, bytes) and `constants` the length of a long array.

    `signals` has one entry per column, then one per constant. `omitted` says which fields give no signals, and why.
    """

    row_size: int
    least_size: int
    time_offset: int
    time_width: int
    columns: list[tuple[int, int, int]]
    constants: list[int]
    signals: list[SignalSpec]
    omitted: dict[str, str]
    signature: str
    """Equal for equal layouts."""


def parse_format(text: str) -> tuple[str, tuple[Field, ...]]:
    """Name and fields of `name:type field;type[n] field;`. Raises BadFormat."""
    name, colon, rest = text.partition(":")
    if not colon or not name:
        raise BadFormat("a format without a name")
    fields = []
    for part in rest.split(";"):
        if not part.strip():
            continue
        match = _FIELD.fullmatch(part.strip())
        if match is None:
            raise BadFormat(f"format {name[:100]}: {part[:100]!r} is no field")
        fields.append(Field(match[1], None if match[2] is None else int(match[2]), match[3]))
    if not fields:
        raise BadFormat(f"format {name[:100]} has no fields")
    return name, tuple(fields)


@dataclass
class Formats:
    """All formats of one file so far."""

    known: dict[str, tuple[Field, ...]] = field(default_factory=dict)
    changes: int = 0
    _needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _layouts: dict[str, Layout] = field(default_factory=dict)

    def add(self, name: str, fields: tuple[Field, ...]) -> bool:
        """A further format. One of a known name takes its place if it differs, `MOST_CHANGES` times; False when it is not taken."""
        before = self.known.get(name)
        if before == fields:
            return True
        if before is not None:
            if self.changes >= MOST_CHANGES:
                return False
            self.changes += 1
            self._sizes.clear()
            self._layouts.clear()
        self.known[name] = fields
        self._needs[name] = tuple({entry.kind for entry in fields} - BASIC.keys())
        return True

    def missing(self, name: str) -> str | None:
        """A type that the format needs, itself included, and that is not known; None when there is none.

        Raises BadFormat when it needs more types than any message.
        """
        seen = {name}
        waiting = [name]
        while waiting:
            kind = waiting.pop()
            if kind not in self.known:
                return kind
            for needed in self._needs[kind]:
                if needed not in seen:
                    if len(seen) >= MOST_TYPES:
                        raise BadFormat(f"it is made of more than {MOST_TYPES} types")
                    seen.add(needed)
                    waiting.append(needed)
        return None

    def size_of(self, kind: str, depth: int = 0) -> int:
        """Bytes of one value. Raises BadFormat when it contains itself, is nested too deep or is longer than any message."""
        if kind in BASIC:
            return BASIC[kind][0]
        known = self._sizes.get(kind)
        if known is not None:
            return known
        if depth > MOST_DEPTH:
            raise BadFormat(f"types are nested more than {MOST_DEPTH} deep")
        size = 0
        for entry in self.known[kind]:
            size += self.size_of(entry.kind, depth + 1) * (1 if entry.count is None else entry.count)
            if size > MOST_ROW:
                raise BadFormat(f"a value of the type {kind[:100]} is longer than a message can be")
        self._sizes[kind] = size
        return size

    def layout(self, name: str, limits: Limits) -> Layout:
        """The columns of the topic, of which nothing is `missing`. Raises BadFormat when it has no time or no possible size."""
        cached = self._layouts.get(name)
        if cached is not None:
            return cached
        fields = self.known[name]
        row_size = self.size_of(name)
        least = len(fields)
        while least and fields[least - 1].name.startswith(PADDING):
            least -= 1
        least_size = sum(self.bytes_of(entry) for entry in fields[:least])
        at = 0
        for entry in fields:
            if entry.name == TIME and entry.count is None and entry.kind in ("uint64_t", "uint32_t", "uint16_t", "uint8_t"):
                break
            at += self.bytes_of(entry)
        else:
            raise BadFormat("it has no field timestamp")
        builder = _Builder(self, limits)
        builder.add_type(name, 0, "", 0)
        constants, signals, omitted = builder.finish()
        signature = repr((row_size, least_size, at, entry.kind, builder.columns, [(signal.name, signal.storage) for signal in signals]))
        layout = Layout(row_size, least_size, at, BASIC[entry.kind][0], builder.columns, constants, signals, omitted, signature)
        self._layouts[name] = layout
        return layout

    def bytes_of(self, entry: Field) -> int:
        """Bytes of a field with all its elements."""
        return self.size_of(entry.kind) * (1 if entry.count is None else entry.count)


@dataclass
class _Builder:
    """Flattens a type into columns; the type's size is bounded, and so is what it is flattened to."""

    formats: Formats
    limits: Limits
    columns: list[tuple[int, int, int]] = field(default_factory=list)
    signals: list[SignalSpec] = field(default_factory=list)
    lengths: list[tuple[str, int]] = field(default_factory=list)
    omitted: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: {"t_ns"})

    def add_type(self, kind: str, offset: int, prefix: str, depth: int) -> None:
        for entry in self.formats.known[kind]:
            is_time = depth == 0 and entry.name == TIME and entry.count is None
            if not entry.name.startswith(PADDING) and not is_time:
                self._add_field(entry, offset, prefix + entry.name, depth)
            offset += self.formats.bytes_of(entry)

    def _add_field(self, entry: Field, offset: int, name: str, depth: int) -> None:
        if entry.kind == "char" and entry.count is not None:
            if entry.count:
                self._add_column(name, offset, KIND_TEXT, entry.count, "int32")
            return
        if entry.count is not None and entry.count > self.limits.max_array:
            self.omitted[name] = f"an array of {entry.count}: more than {self.limits.max_array} elements"
            self.lengths.append((self._unique(f"{name}.length"), entry.count))
            return
        size = self.formats.size_of(entry.kind)
        for index, path in enumerate(_element_names(entry, name)):
            if len(self.columns) >= self.limits.max_signals:
                self.omitted[path] = f"more than {self.limits.max_signals} signals"
                return
            if entry.kind in BASIC:
                storage = BASIC[entry.kind][1]
                self._add_column(path, offset + index * size, KIND_FLOAT if entry.kind == "float" else size, size, storage)
            elif size:
                self.add_type(entry.kind, offset + index * size, f"{path}.", depth + 1)

    def _add_column(self, name: str, offset: int, kind: int, width: int, storage: str) -> None:
        self.columns.append((offset, kind, width))
        self.signals.append(SignalSpec(self._unique(name), storage=storage, choices={} if kind == KIND_TEXT else None))

    def _unique(self, name: str) -> str:
        """Two fields of one name are against the specification; the second gets a number."""
        chosen, number = name, 2
        while chosen in self.names:
            chosen, number = f"{name}_{number}", number + 1
        self.names.add(chosen)
        return chosen

    def finish(self) -> tuple[list[int], list[SignalSpec], dict[str, str]]:
        room = max(0, self.limits.max_signals - len(self.signals))
        constants = self.lengths[:room]
        return [count for _, count in constants], self.signals + [SignalSpec(name, storage="uint16") for name, _ in constants], self.omitted


def _element_names(entry: Field, name: str) -> Iterator[str]:
    if entry.count is None:
        yield name
    else:
        for index in range(entry.count):
            yield f"{name}[{index}]"
