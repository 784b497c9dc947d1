"""Decoder of protobuf messages: descriptors become a plan of columns that `_protobuf` fills from the wire."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from parsers.blocks import SignalSpec
from parsers.errors import Corrupt, LimitExceeded, Unsupported
from parsers.limits import MIB, Limits
from parsers.topics._protobuf import FIELD_COLUMNS, KIND_PASSED, KIND_TIME, Plan
from parsers.topics.decoder import Column, Decoded, MessageBatch, Schema, TextSpans, TopicDecoder, free_name, text_signal

_MAX_SCHEMA = 8 * MIB
_MAX_DEPTH = 32
_FIELDS_PER_SIGNAL = 4
_MAX_NAME = 1000
_TIMES = ("google.protobuf.Timestamp", "google.protobuf.Duration")

_F = FieldDescriptorProto
_STORAGE = {
    _F.TYPE_DOUBLE: "float64",
    _F.TYPE_FLOAT: "float64",
    _F.TYPE_INT64: "int64",
    _F.TYPE_UINT64: "uint64",
    _F.TYPE_INT32: "int32",
    _F.TYPE_FIXED64: "uint64",
    _F.TYPE_FIXED32: "uint32",
    _F.TYPE_BOOL: "uint8",
    _F.TYPE_BYTES: "int64",  # the length
    _F.TYPE_UINT32: "uint32",
    _F.TYPE_ENUM: "int32",
    _F.TYPE_SFIXED32: "int32",
    _F.TYPE_SFIXED64: "int64",
    _F.TYPE_SINT32: "int32",
    _F.TYPE_SINT64: "int64",
    KIND_TIME: "int64",
}


def protobuf_decoder(schema: Schema, limits: Limits) -> TopicDecoder:
    """A decoder for messages of the encoding `protobuf` whose schema is a FileDescriptorSet (schema encoding `protobuf`).

    Raises Unsupported for other schemas, Corrupt when it is none or the message is not in it.
    """
    if schema.encoding != "protobuf":
        raise Unsupported(f"protobuf messages with a schema of encoding {schema.encoding!r}")
    if len(schema.data) > _MAX_SCHEMA:
        raise LimitExceeded(f"schema of {len(schema.data)} bytes")
    try:
        files = FileDescriptorSet.FromString(schema.data)
    except DecodeError:
        raise Corrupt(f"the schema of {schema.name!r} is no FileDescriptorSet") from None
    return ProtobufDecoder(Types(files.file), schema.name, limits)


@dataclass(frozen=True, slots=True)
class MessageType:
    """A message type; `implicit` says whether a field without presence is zero when it is absent (proto3, or by the edition's features)."""

    name: str
    proto: DescriptorProto
    implicit: bool


class Types:
    """All types of some files, by full name."""

    def __init__(self, files: list[FileDescriptorProto]) -> None:
        self.messages: dict[str, MessageType] = {}
        self.enums: dict[str, dict[int, str]] = {}
        for file in files:
            implicit = _text(file.syntax) == "proto3" or file.options.features.field_presence == file.options.features.IMPLICIT
            self._take(_text(file.package), list(file.message_type), list(file.enum_type), implicit)

    def _take(self, package: str, messages: list[DescriptorProto], enums: list[EnumDescriptorProto], implicit: bool) -> None:
        waiting = [(package, messages, enums)]
        while waiting:
            prefix, messages, enums = waiting.pop()
            for enum in enums:
                values: dict[int, str] = {}
                for value in enum.value:
                    values.setdefault(value.number, _text(value.name))
                self.enums[_join(prefix, _text(enum.name))] = values
            for message in messages:
                name = _join(prefix, _text(message.name))
                self.messages[name] = MessageType(name, message, implicit)
                waiting.append((name, list(message.nested_type), list(message.enum_type)))


def _text(value: str | bytes) -> str:
    """A text of a descriptor; the library gives bytes for what is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


@dataclass(slots=True)
class _Field:
    """A field of a message type at its place in the message; `type` is that of the messages in it."""

    name: str
    number: int
    kind: int
    repeated: bool
    default: bool
    oneof: int
    type: _Type | None = None
    choices: dict[int, str] | None = None
    most: int = 0  # elements in the first messages


@dataclass(slots=True)
class _Type:
    fields: list[_Field] = field(default_factory=list)


class ProtobufDecoder:
    """Reads protobuf messages (https://protobuf.dev/programming-guides/encoding).

    Fields are named `pose.position.x`. A repeated field gives `name.length` and `name[0]` and so on, as many as its longest in the first
    messages had, at most `limits.max_array`; bytes give their length; Timestamp and Duration are int64 nanoseconds; float is float64. An
    absent field is zero where the schema has no presence for it (proto3), else it has no value. Maps, groups, and messages that contain
    themselves are listed.
    """

    def __init__(self, types: Types, root: str, limits: Limits) -> None:
        self.signals: list[SignalSpec] = []
        self.failed = 0
        self.failed_reason = ""
        self._limits = limits
        self._types = types
        self._left_out: dict[str, str] = {}
        self._count = 0
        self._plan: Plan | None = None
        found = types.messages.get(root.removeprefix("."))
        if found is None:
            raise Corrupt(f"the message {root!r} is not in its schema")
        self._root = self._type(found, "", ())
        self.weight = self._count
        self.needs_sample = _repeats(self._root)
        if not self.needs_sample:
            self._make_plan()

    # --- what the schema has

    def _type(self, message: MessageType, path: str, above: tuple[str, ...]) -> _Type:
        """The fields of a message at a place, with all below them."""
        result = _Type()
        above = (*above, message.name)
        for proto in sorted(message.proto.field, key=lambda proto: proto.number):
            self._count += 1
            own = _text(proto.name)
            name = f"{path}.{own}" if path else own
            repeated = proto.label == _F.LABEL_REPEATED
            oneof = proto.oneof_index if proto.HasField("oneof_index") and not proto.proto3_optional else -1
            made = _Field(own, proto.number, proto.type, repeated, self._default(proto, message), oneof)
            reason = self._fill(made, proto, name, above)
            if reason:
                self._left_out[name[:_MAX_NAME]] = reason
                made.kind = KIND_PASSED
            result.fields.append(made)
        return result

    def _default(self, proto: FieldDescriptorProto, message: MessageType) -> bool:
        presence = proto.options.features.field_presence
        if presence:
            return bool(presence == proto.options.features.IMPLICIT)
        explicit = proto.HasField("oneof_index") or proto.type == _F.TYPE_MESSAGE  # proto3_optional is a oneof of one, too
        return message.implicit and not explicit

    def _fill(self, made: _Field, proto: FieldDescriptorProto, path: str, above: tuple[str, ...]) -> str:
        """Completes a field; why it gives no signal, or nothing."""
        if self._count > _FIELDS_PER_SIGNAL * self._limits.max_signals or len(path) > _MAX_NAME:
            return "the message has too many fields"
        if proto.type == _F.TYPE_ENUM:
            made.choices = self._types.enums.get(_text(proto.type_name).removeprefix("."), {})
        if proto.type == _F.TYPE_GROUP or proto.options.features.message_encoding == proto.options.features.DELIMITED:
            return "a group"
        if proto.type != _F.TYPE_MESSAGE:
            return "" if proto.type in _STORAGE or proto.type == _F.TYPE_STRING else f"field type {proto.type}"
        name = _text(proto.type_name).removeprefix(".")
        if name in _TIMES:
            made.kind = KIND_TIME
            return ""
        found = self._types.messages.get(name)
        if found is None:
            return f"the schema does not have its type {name}"
        if found.proto.options.map_entry:
            return "a map"
        if name in above:
            return f"{name} contains itself"
        if len(above) >= _MAX_DEPTH:
            return "nested too deeply"
        made.type = self._type(found, path, above)
        return ""

    # --- the plan

    def learn(self, sample: MessageBatch) -> None:
        """Finds out how many elements the repeated fields have."""
        rows: list[list[int]] = []
        messages: list[list[int]] = []
        order: list[_Field] = []
        waiting = [self._root]
        number = 1
        while waiting:
            following: list[_Type] = []
            for type_ in waiting:
                messages.append([len(rows), len(type_.fields)])
                for one in type_.fields:
                    child = 0
                    if one.type is not None:
                        child = number + len(following)
                        following.append(one.type)
                    order.append(one)
                    rows.append(_row(one, child=child))
            number += len(following)
            waiting = following
        plan = Plan(_table(messages, 2), _table(rows, FIELD_COLUMNS), [], [], True)
        for one, most in zip(order, plan.measure(sample.data, sample.offset, sample.length), strict=True):
            one.most = most
        self._make_plan()
        self.needs_sample = False

    def _make_plan(self) -> None:
        layout = _Layout(self._limits, self._left_out)
        layout.place(self._root, "", True)
        self.signals = layout.signals
        self._plan = Plan(
            _table(layout.messages, 2),
            _table([row for rows in layout.rows for row in rows], FIELD_COLUMNS),
            [None if signal.choices == {} else signal.storage for signal in self.signals],
            layout.always,
            False,
        )

    # --- all messages

    def decode(self, batch: MessageBatch) -> Decoded:
        """One row per message that can be read."""
        assert self._plan is not None
        kept, columns, masks, failed, reason = self._plan.run(batch.data, batch.offset, batch.length)
        self.failed += failed
        self.failed_reason = self.failed_reason or reason
        rows = len(batch) - failed
        t_ns = batch.t_ns if not failed else batch.t_ns[kept.view(np.bool_)]
        out: list[Column] = [
            TextSpans(batch.data, column[0][:rows], column[1][:rows]) if isinstance(column, tuple) else column[:rows] for column in columns
        ]
        return Decoded(t_ns, out, masks)

    @property
    def left_out(self) -> dict[str, str]:
        """Fields that give no signal, or not all of their values, and why."""
        found = dict(self._left_out)
        if self._plan is not None and self._plan.unknown:
            found["(unknown fields)"] = f"{self._plan.unknown} fields that the schema does not have, or has with another type"
        if self._plan is not None and self._plan.beyond:
            found["(elements)"] = f"{self._plan.beyond} elements beyond those of the first messages"
        if self._plan is not None and self._plan.misfits:
            found["(times)"] = f"{self._plan.misfits} times beyond the year 2262"
        return found


def _repeats(type_: _Type) -> bool:
    return any(one.kind != KIND_PASSED and (one.repeated or (one.type is not None and _repeats(one.type))) for one in type_.fields)


class _Layout:
    """Gives every field of the message, and every element of its arrays, its column and its place in the plan."""

    def __init__(self, limits: Limits, left_out: dict[str, str]) -> None:
        self.messages: list[list[int]] = []
        self.rows: list[list[list[int]]] = []  # fields of each message
        self.signals: list[SignalSpec] = []
        self.always: list[bool] = []
        self._limits = limits
        self._left_out = left_out
        self._taken: set[str] = set()
        self._oneofs = 0
        self._fields = 0

    def place(self, type_: _Type, path: str, always: bool) -> int:
        """The number of the message. `always` says that it is in every row."""
        number = len(self.messages)
        self.messages.append([self._fields, len(type_.fields)])
        self._fields += len(type_.fields)
        rows: list[list[int]] = []
        self.rows.append(rows)
        oneofs: dict[int, int] = {}
        for one in type_.fields:
            oneof = -1
            if one.oneof >= 0:
                oneof = oneofs.setdefault(one.oneof, self._oneofs)
                self._oneofs = max(self._oneofs, oneof + 1)
            rows.append(self._place_field(one, f"{path}.{one.name}" if path else one.name, always, oneof))
        return number

    def _place_field(self, one: _Field, path: str, always: bool, oneof: int) -> list[int]:
        first = len(self.signals)
        room, length = self._room(one), -1
        # All or nothing: the messages of all elements have to be laid out alike.
        if one.kind == KIND_PASSED or first + self._size(one) > self._limits.max_signals:
            if one.kind != KIND_PASSED:
                self._left_out[path] = f"more than {self._limits.max_signals} signals"
            return _row(one, kind=KIND_PASSED)
        if one.repeated:
            if one.most and not room:
                self._left_out[path] = f"arrays of more than {self._limits.max_array} elements: only their length is kept"
            length = self._add(f"{path}.length", "int64", always)
        names = [f"{path}[{index}]" for index in range(room)] if one.repeated else [path]
        inside = always and not one.repeated and one.default
        column, child, step = len(self.signals), 0, 0
        for name in names:
            if one.type is not None:
                place = self.place(one.type, name, False)
                step = place - child if child and not step else step
                child = child or place
            else:
                self._add_value(one, name, inside)
        row = _row(one, column=column, child=child, room=room, length=length, oneof=oneof, first=first, step=step)
        row[10] = len(self.signals)
        return row

    def _room(self, one: _Field) -> int:
        """Elements of a repeated field that get columns."""
        return one.most if one.repeated and one.most <= self._limits.max_array else 0

    def _size(self, one: _Field) -> int:
        """Columns of a field and of all below it."""
        if one.kind == KIND_PASSED:
            return 0
        value = 1 if one.type is None else sum(self._size(below) for below in one.type.fields)
        return 1 + self._room(one) * value if one.repeated else value

    def _add_value(self, one: _Field, name: str, always: bool) -> None:
        if one.kind == _F.TYPE_STRING:
            self._add(name, "", always)
        elif one.kind == _F.TYPE_BYTES:
            self._add(f"{name}.length", "int64", always)
        else:
            self._add(name, _STORAGE[one.kind], always, one.choices, "ns" if one.kind == KIND_TIME else "")

    def _add(self, name: str, storage: str, always: bool, choices: dict[int, str] | None = None, unit: str = "") -> int:
        name = free_name(name, self._taken)
        self.signals.append(SignalSpec(name, unit, storage, dict(choices) if choices else None) if storage else text_signal(name))
        self.always.append(always)
        return len(self.signals) - 1


def _row(
    one: _Field,
    *,
    kind: int | None = None,
    column: int = -1,
    child: int = 0,
    room: int = 0,
    length: int = -1,
    oneof: int = -1,
    first: int = 0,
    step: int = 0,
) -> list[int]:
    """A line of the plan's table, in the order of the F_... columns."""
    kind = one.kind if kind is None else kind
    return [one.number, kind, column, child, one.repeated, room, length, one.default, oneof, first, first, step]


def _table(rows: list[list[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(len(rows), width)
