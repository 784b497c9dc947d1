"""Decoder of ROS 1 and ROS 2 messages: a message definition becomes a flat plan that `_ros` runs over each batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import SignalSpec
from parsers.errors import Corrupt, Unsupported
from parsers.limits import Limits
from parsers.topics._ros import (
    CODES,
    DEPTH,
    LENGTH_TOO_LONG,
    LENGTH_VARIES,
    REASONS,
    SHAPE_ARRAY,
    SHAPE_SEQUENCE,
    SHAPE_SINGLE,
    STRUCT_CODE,
    Plan,
)
from parsers.topics.decoder import Column, Decoded, MessageBatch, Schema, TextSpans, TopicDecoder, text_signal
from parsers.topics.ros_idl import parse_idl
from parsers.topics.ros_schema import PRIMITIVES, UNREADABLE, Definition, Field, parse_msg

MAX_OPERATIONS = 20_000
MAX_NESTING = 64
MAX_ELEMENTS = 1 << 28

_WIRE_SIZES = {
    "bool": 1,
    "byte": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "time": 8,
    "duration": 8,
    "string": 4,
}
_BYTES = ("byte", "uint8")  # a sequence of these is an image or the like, a long array an identifier
_FEW_BYTES = 8  # a CAN payload
_LENGTH = ".length"
TIME = "t_ns"  # the name that no signal may have


def ros_decoder(schema: Schema, limits: Limits) -> TopicDecoder:
    """A decoder for messages of the encodings `ros1` and `cdr`, of a schema in ros1msg, ros2msg or ros2idl.

    Raises Unsupported for other schema encodings, Corrupt for a definition that is none.
    """
    text = schema.data.decode("utf-8", "replace")
    if schema.message_encoding == "ros1" and schema.encoding == "ros1msg":
        return RosDecoder(parse_msg(text, schema.name), limits, cdr=False)
    if schema.message_encoding == "cdr" and schema.encoding == "ros2msg":
        return RosDecoder(parse_msg(text, schema.name, ros2=True), limits, cdr=True)
    if schema.message_encoding == "cdr" and schema.encoding in ("ros2idl", "omgidl"):
        return RosDecoder(parse_idl(text, schema.name), limits, cdr=True)
    raise Unsupported(f"messages of encoding {schema.message_encoding!r} with a schema of encoding {schema.encoding!r}")


class RosDecoder:
    """Decodes the messages of one definition.

    Fields of fields are named `pose.position.x`; times are int64 nanoseconds; texts are enumerations. A sequence gives `name.length` and
    `name[0]` and so on, about as many as its longest in the first messages had; what has more than `limits.max_array` elements, and
    sequences and longer arrays of bytes, give the length alone.
    """

    def __init__(self, definition: Definition, limits: Limits, cdr: bool) -> None:
        self.limits = limits
        self.cdr = cdr
        self.failed = 0
        self.failed_reason = ""
        self.left_out: dict[str, str] = {}
        compiled = _Compiler(definition, limits, cdr, None)
        self.needs_sample = bool(compiled.sequences)
        self._definition = definition if self.needs_sample else None  # a tree that is not kept longer than it is needed
        self._take(compiled)

    def _take(self, compiled: _Compiler) -> None:
        self._plan: Plan = compiled.plan()
        self._sequences = compiled.sequences
        self._capacities = compiled.capacities()
        self._texts = [index for index, text in enumerate(compiled.texts) if text]
        self.weight = len(compiled.operations)
        self.signals: list[SignalSpec] = compiled.signals
        self.left_out.update(compiled.left_out)

    def learn(self, sample: MessageBatch) -> None:
        """Gives each sequence as many signals as the longest of the sample has elements; up to twice as many when their number varies."""
        definition, self._definition = self._definition, None
        if definition is None:
            return
        self.needs_sample = False
        self._plan.measure(sample.data, sample.offset, sample.length)
        longest, known = self._plan.longest_sequences()
        room = np.where(longest > 0, 1 << np.ceil(np.log2(np.maximum(longest, 1))).astype(np.int64), 0)
        wanted = np.where(known & LENGTH_VARIES, np.minimum(room, self.limits.max_array), longest)
        self._take(_Compiler(definition, self.limits, self.cdr, wanted))

    def decode(self, batch: MessageBatch) -> Decoded:
        """The rows of the messages that can be read."""
        t_ns, values, text_lengths, masks, failed, reason = self._plan.run(batch.data, batch.offset, batch.length, batch.t_ns)
        if failed:
            self.failed += failed
            self.failed_reason = self.failed_reason or REASONS[reason]
        columns: list[Column] = values
        for index in self._texts:
            columns[index] = TextSpans(batch.data, values[index], text_lengths[index])
        if self._sequences:
            self._note_longer()
        return Decoded(t_ns, columns, masks)

    def _note_longer(self) -> None:
        longest, known = self._plan.longest_sequences()
        capacities = self._capacities
        for number in np.nonzero((longest > capacities) | (known & LENGTH_TOO_LONG != 0))[0].tolist():
            if number in self._sequences:
                name = self._sequences[number]
                if known[number] & LENGTH_TOO_LONG:
                    self.left_out.setdefault(name, f"arrays of more than {self.limits.max_array} elements: only their length is kept")
                if longest[number] > capacities[number]:
                    reason = "the first messages of the topic have no such elements"
                    self.left_out.setdefault(f"{name}[{capacities[number]}] and further", reason)


@dataclass
class _Compiler:
    """Turns a definition into operations and signals, depth first. `wanted` are the elements of each sequence."""

    definition: Definition
    limits: Limits
    cdr: bool
    wanted: NDArray[np.int64] | None
    operations: list[list[int]] = field(default_factory=list)
    signals: list[SignalSpec] = field(default_factory=list)
    optional: list[int] = field(default_factory=list)
    texts: list[bool] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    sequences: dict[int, str] = field(default_factory=dict)
    """Operation of each sequence whose elements may be signals -> its name."""
    whole: bool = True
    depth: int = 0
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._struct(self.definition.root, "", False, True)

    def plan(self) -> Plan:
        """What runs."""
        table = np.array(self.operations, np.int32).reshape(len(self.operations), 10)
        kinds = [None if text else signal.storage for signal, text in zip(self.signals, self.texts, strict=True)]
        return Plan(table, kinds, self.optional, self.cdr, self.whole, self.limits.max_array)

    def capacities(self) -> NDArray[np.int64]:
        """Of each operation the elements that are signals."""
        return np.array([operation[7] for operation in self.operations], np.int64)

    def _struct(self, name: str, path: str, optional: bool, stored: bool) -> int:
        """The fields of a type; the fewest bytes that they take."""
        if name in self._open:
            raise Unsupported(f"the definition of {self.definition.root} contains itself: {name}")
        if len(self._open) >= MAX_NESTING:
            raise Unsupported(f"the definition of {self.definition.root} is nested too deeply")
        self._open.append(name)
        least = 0
        members = self.definition.types[name]
        names = {member.name for member in members}
        if len(names) < len(members):
            raise Corrupt(f"{name} has two fields of one name")
        for member in members:
            if not self.whole:
                break
            where = f"{path}.{member.name}" if path and member.name else path or member.name
            if where == TIME:
                while where in names:
                    where += "_"
            least += self._field(member, where, optional, stored)
        if self.cdr and not members:
            self._add(CODES["uint8"], SHAPE_SINGLE, 1, 1)  # a struct must have a member, so ROS 2 writes a byte
            least = 1
        self._open.pop()
        return min(least, MAX_ELEMENTS)

    def _field(self, member: Field, path: str, optional: bool, stored: bool) -> int:
        if member.type in UNREADABLE:
            self.left_out[path] = f"{UNREADABLE[member.type]}; what follows it is not read either"
            self.whole = False
            return 0
        if member.count is not None and member.count > MAX_ELEMENTS:
            raise Unsupported(f"{path} is an array of {member.count} elements")
        if member.type in PRIMITIVES:
            return self._single(member, path, optional, stored) if member.count is None else self._values(member, path, optional, stored)
        if member.count is None:
            return self._struct(member.type, path, optional, stored)
        return self._structs(member, path, optional, stored)

    def _single(self, member: Field, path: str, optional: bool, stored: bool) -> int:
        column = self._signal(member, path, optional) if stored else -1
        size = _WIRE_SIZES[member.type]
        self._add(CODES[member.type], SHAPE_SINGLE, size, self._align(member.type), column=column)
        return size

    def _values(self, member: Field, path: str, optional: bool, stored: bool) -> int:
        """An array or sequence of values that are no structs."""
        assert member.count is not None
        sequence = member.count == 0
        wanted = self._wanted(len(self.operations), member)
        if not stored:
            wanted = 0
        length_column = self._length_signal(member, path, sequence, wanted, optional) if stored else -1
        column, capacity = -1, 0
        for index in range(wanted):
            number = self._signal(member, f"{path}[{index}]", optional or sequence)
            if number < 0:
                break
            column, capacity = (number if index == 0 else column), capacity + 1
        if sequence and stored and member.type not in _BYTES:
            self.sequences[len(self.operations)] = path
        size = _WIRE_SIZES[member.type]
        shape = SHAPE_SEQUENCE if sequence else SHAPE_ARRAY
        self._add(
            CODES[member.type], shape, size, self._align(member.type), column, length_column, member.count, capacity, 1 if capacity else 0
        )
        return 4 if sequence else min(member.count * size, MAX_ELEMENTS)

    def _structs(self, member: Field, path: str, optional: bool, stored: bool) -> int:
        """An array or sequence of structs: the operations of one element stand behind it."""
        assert member.count is not None
        sequence = member.count == 0
        number = len(self.operations)
        if self.depth >= DEPTH:
            raise Unsupported(f"{path}: arrays of arrays nested too deeply")
        wanted = self._wanted(number, member) if stored else 0
        length_column = self._length_signal(member, path, sequence, wanted, optional) if stored else -1
        self._add(STRUCT_CODE, SHAPE_SEQUENCE if sequence else SHAPE_ARRAY, 0, 1, -1, length_column, member.count)
        first = len(self.signals)
        self.depth += 1
        kept, self.sequences = self.sequences, {}
        least = self._struct(member.type, f"{path}[0]", optional or sequence, wanted > 0)
        self.depth -= 1
        self.sequences = kept | self.sequences if wanted and self.whole else kept
        stride = len(self.signals) - first
        capacity = 0
        if self.whole and stride:
            capacity = min(wanted, 1 + (self.limits.max_signals - len(self.signals)) // stride)
            self._repeat(path, first, stride, capacity)
        elif not self.whole:
            least = self._cut_short(number, first, path)
        if 0 < capacity < wanted:
            self._too_many(f"{path}[{capacity}]")
        operation = self.operations[number]
        operation[2], operation[4], operation[7:10] = least, first if capacity else -1, [capacity, stride, len(self.operations)]
        if sequence and stored and self.whole:
            self.sequences[number] = path
        return 4 if sequence else min(member.count * least, MAX_ELEMENTS)

    def _cut_short(self, number: int, first: int, path: str) -> int:
        """The elements cannot be told apart, so the plan ends with the number of them."""
        del self.operations[number + 1 :]
        del self.signals[first:], self.optional[first:], self.texts[first:]
        self._add(CODES["uint8"], SHAPE_SINGLE, 1, 1)  # a body that is skipped, as its elements have no least size
        self.left_out[path] = "its elements hold what cannot be read; what follows it is not read either"
        return 0

    def _repeat(self, path: str, first: int, stride: int, capacity: int) -> None:
        """The signals of element 0 once more for each further one."""
        prefix = len(path) + len("[0]")
        for index in range(1, capacity):
            for number in range(first, first + stride):
                signal = self.signals[number]
                name = f"{path}[{index}]{signal.name[prefix:]}"
                choices = None if signal.choices is None else dict(signal.choices)
                self.signals.append(SignalSpec(name, signal.unit, signal.storage, choices))
                self.optional.append(self.optional[number])
                self.texts.append(self.texts[number])

    def _wanted(self, operation: int, member: Field) -> int:
        """Elements that are to become signals."""
        assert member.count is not None
        if member.count:
            most = min(self.limits.max_array, _FEW_BYTES) if member.type in _BYTES else self.limits.max_array
            return member.count if member.count <= most else 0
        if member.type in _BYTES or self.wanted is None:
            return 0
        return int(self.wanted[operation])

    def _length_signal(self, member: Field, path: str, sequence: bool, wanted: int, optional: bool) -> int:
        if not sequence and wanted:
            return -1
        return self._column(SignalSpec(f"{path}{_LENGTH}", storage="uint32"), optional, False)

    def _signal(self, member: Field, path: str, optional: bool) -> int:
        if member.type == "string":
            return self._column(text_signal(path), optional, True)
        unit = "ns" if member.type in ("time", "duration") else ""
        choices = None if member.choices is None else dict(member.choices)
        return self._column(SignalSpec(path, unit, PRIMITIVES[member.type], choices), optional, False)

    def _column(self, signal: SignalSpec, optional: bool, text: bool) -> int:
        if len(self.signals) >= self.limits.max_signals:
            self._too_many(signal.name)
            return -1
        self.signals.append(signal)
        self.optional.append(int(optional))
        self.texts.append(text)
        return len(self.signals) - 1

    def _too_many(self, name: str) -> None:
        if not any("signals" in reason for reason in self.left_out.values()):
            self.left_out[f"{name} and further"] = f"more than {self.limits.max_signals} signals"

    def _align(self, kind: str) -> int:
        return 4 if kind in ("time", "duration") else _WIRE_SIZES[kind]

    def _add(self, code: int, shape: int, size: int, align: int, column: int = -1, length_column: int = -1, *more: Any) -> None:
        if len(self.operations) >= MAX_OPERATIONS:
            raise Unsupported(f"the definition of {self.definition.root} has more than {MAX_OPERATIONS} fields")
        self.operations.append([code, shape, size, align, column, length_column, *more, *[0] * (4 - len(more))])
