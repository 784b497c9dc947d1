"""A channel group as a stream of samples: which values its signals are made of, and its clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import SampleBlock, SignalSpec, StreamSpec
from parsers.errors import Corrupt, Truncated
from parsers.mdf._demux import TIME_BIG, TIME_REAL, TIME_SIGNED
from parsers.mdf._records import BITS_SWAPPED, FLOAT_SWAPPED, SIGNED_SWAPPED, SWAP
from parsers.mdf.conversion import Conversion, read_conversion
from parsers.mdf.fields import Field, Fields, Unreadable
from parsers.mdf.layout import Element, elements
from parsers.mdf.payload import Payload
from parsers.mdf.plans import Mask
from parsers.mdf.state import UPDATE_CYCLES, State
from parsers.mdf.texts import ENCODINGS, TextColumn
from parsers.mdf.times import SECOND, Clock, clock_of
from parsers.mdf.tree import (
    ALL_INVALID,
    BYTE_ARRAY,
    CANOPEN_DATE,
    CANOPEN_TIME,
    COMPLEX_BE,
    COMPLEX_LE,
    HAS_INVALID_BIT,
    MASTER,
    MIME_SAMPLE,
    MIME_STREAM,
    MLSD,
    NO_SYNC,
    TIME,
    VIRTUAL,
    VIRTUAL_MASTER,
    VLSC,
    VLSD,
    Channel,
    ChannelGroup,
)
from parsers.mdf.values import Constant, Date, FixedText, LongText, Number, Rows, Slot, Value, Virtual, raw_numbers, row_numbers

PayloadOf = Callable[[Channel], Payload | None]
"""Where the values of variable length of a channel come from."""

_NO_NUMBER = {
    BYTE_ARRAY: "bytes, not a number or text",
    MIME_SAMPLE: "MIME data",
    MIME_STREAM: "MIME data",
    COMPLEX_LE: "complex numbers",
    COMPLEX_BE: "complex numbers",
}
_LONGEST_TEXT = 65_536  # bytes that a record may have for one text
_MOST_GROWTH = 72  # bytes of all columns for each byte of a record; one bit that becomes a real number takes 64
_GROWTH_FREE = 4096
_ROW_NUMBERS = np.dtype(np.uint64)


@dataclass
class Part:
    """Records of one group, or one of the groups that make a record of a 4.2 file together.

    `fields` lie in the record, `invalid` in the invalidation bytes, which are a part of their own (number `invalid_part`) or stand behind
    the record, at `invalid_base`.
    """

    group: ChannelGroup
    number: int
    fields: Fields
    invalid: Fields
    invalid_part: int
    invalid_base: int


@dataclass
class Signal:
    """One column of the stream: its value, and the fields of the invalidation bits that may take values away."""

    spec: SignalSpec
    value: Value
    valid: Slot | None
    never: bool

    def lies_in(self, parts: Set[int]) -> bool:
        """Whether the value or its invalidation bit is in one of the parts."""
        slot: Slot | None = getattr(self.value, "slot", None)
        return (slot is not None and slot[0] in parts) or (self.valid is not None and self.valid[0] in parts)


class TimeSource:
    """The clock of a group: a master channel, or row numbers where it has none that counts time."""

    def __init__(self, slot: Slot | None, dtype: np.dtype[Any], clock: Clock | None) -> None:
        self.slot = slot
        self.dtype = dtype
        self.clock = clock

    def times(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Nanoseconds of the rows, and which of them have a time (None: all)."""
        raw = row_numbers(rows) if self.slot is None else raw_numbers(rows, self.slot, self.dtype)
        return (raw.astype(np.int64), None) if self.clock is None else self.clock.times(raw)


def time_field(time: TimeSource, fields: list[Field]) -> tuple[int, int, int, int, int, float] | None:
    """Where the time of a record stands, as RecordWalker wants to know it; None when it is not in the record."""
    if time.slot is None or time.clock is None:
        return None
    kind, offset, size, shift, bits, _width = fields[time.slot[1]]
    if size not in (4, 8) and time.dtype.kind == "f":
        return None
    flags = (
        TIME_REAL * (time.dtype.kind == "f")
        + TIME_SIGNED * (time.dtype.kind == "i")
        + TIME_BIG * (kind in (SWAP, FLOAT_SWAPPED, BITS_SWAPPED, SIGNED_SWAPPED))
    )
    tick_ns = abs(time.clock.numerator) / time.clock.denominator if time.clock.denominator else float(SECOND)
    return (offset, size, shift, bits, flags, 86_400 * SECOND / tick_ns) if tick_ns and size <= 8 else None


@dataclass
class SampleGroup:
    """What makes SampleBlocks of the rows of a group."""

    state: State
    parts: list[Part]
    payload_of: PayloadOf
    signals: list[Signal] = field(default_factory=list)
    payloads: list[tuple[Slot, np.dtype[Any], Payload]] = field(default_factory=list)
    stream: int = -2
    untimed: int = 0

    def __post_init__(self) -> None:
        self.group = self.parts[0].group
        self._names: set[str] = {"t_ns"}
        self._grown = 8
        self._full = False
        self.time = self._time_source()
        for part in self.parts:
            for element in elements(part.group.channels, self.state.limits.max_array):
                if element.channel.offset not in self._clocks:
                    self._add(part, element)

    # --- planning

    def _time_source(self) -> TimeSource:
        self._clocks: set[int] = set()
        part = self.parts[0]
        masters = [channel for channel in part.group.channels if channel.type in (MASTER, VIRTUAL_MASTER)]
        reason = "it has no master channel"
        for channel in masters:
            if channel.sync not in (NO_SYNC, TIME):
                reason = f"its master {channel.name} counts no time"
                continue
            try:
                found = time_source(self.state, part.fields, channel)
            except Unreadable as error:
                reason = f"its master {channel.name} cannot be read: {error}"
                continue
            self._clocks.add(channel.offset)
            return found
        text = f"channel group {part.group.name} has no time, {reason}: the numbers of its rows stand for nanoseconds"
        self.state.recording.add_problem(part.group.offset, text)
        return TimeSource(None, _ROW_NUMBERS, None)

    def _add(self, part: Part, element: Element) -> None:
        try:
            signal = self._signal(part, element)
        except Unreadable as error:
            self.state.recording.add_undecoded(f"{self.group.name}.{element.name}", str(error))
            return
        self.signals.append(signal)
        self._grown += np.dtype(signal.value.storage).itemsize + (signal.valid is not None)
        records = sum(part.group.record_size for part in self.parts)
        self._full = self._grown > _MOST_GROWTH * records + _GROWTH_FREE

    def _signal(self, part: Part, element: Element) -> Signal:
        if element.reason:
            if element.length:
                self._add_length(element)
            raise Unreadable(element.reason)
        if len(self.signals) >= self.state.limits.max_signals:
            raise Unreadable(f"more than {self.state.limits.max_signals} signals in one group")
        if self._full:
            raise Unreadable("more channels than a record of its size can hold")
        channel = element.channel
        conversion = read_conversion(self.state.file, channel.conversion, self.state.file.text(channel.unit))
        value = self._value(part, element, conversion)
        valid = self._valid(part, element)
        low, high = channel.limits or (math.nan, math.nan)
        sound = math.isfinite(low) and math.isfinite(high) and low < high
        name = self._unique(element.name)
        spec = SignalSpec(name, conversion.unit, value.storage, value.choices, low if sound else None, high if sound else None)
        return Signal(spec, value, valid, bool(channel.flags & ALL_INVALID))

    def _add_length(self, element: Element) -> None:
        """Of an array that is too long for signals of its elements, the number of them."""
        if len(self.signals) < self.state.limits.max_signals:
            value = Constant(element.length)
            self.signals.append(Signal(SignalSpec(self._unique(f"{element.name}.length"), "", value.storage), value, None, False))

    def _unique(self, name: str) -> str:
        name = name[: self.state.limits.max_text_length]
        unique, number = name, 2
        while unique in self._names:
            unique, number = f"{name}#{number}", number + 1
        self._names.add(unique)
        return unique

    def _value(self, part: Part, element: Element, conversion: Conversion) -> Value:
        channel, shift = element.channel, element.shift
        if channel.type in (VIRTUAL, VIRTUAL_MASTER):
            return Virtual(conversion.plan(_ROW_NUMBERS))
        if channel.type == VLSC or channel.type > VLSC:
            raise Unreadable(f"channel type {channel.type}")
        if channel.data_type in _NO_NUMBER:
            raise Unreadable(_NO_NUMBER[channel.data_type])
        if channel.type == VLSD:
            return self._long_text(part, element, conversion)
        if channel.data_type in ENCODINGS:
            number, size = part.fields.bytes(channel, _LONGEST_TEXT, shift)
            texts = TextColumn(self.state, channel.data_type, conversion)
            return FixedText((part.number, number), size, texts, length_of(part, channel))
        if channel.data_type in (CANOPEN_DATE, CANOPEN_TIME):
            number, size = part.fields.bytes(channel, 7, shift)
            if size != (7 if channel.data_type == CANOPEN_DATE else 6):
                raise Unreadable(f"CANopen date or time of {size} bytes")
            return Date((part.number, number), size)
        number, dtype = part.fields.number(channel, shift)
        return Number((part.number, number), dtype, conversion.plan(np.dtype(np.float64) if dtype == np.float16 else dtype))

    def _long_text(self, part: Part, element: Element, conversion: Conversion) -> LongText:
        channel = element.channel
        if channel.data_type not in ENCODINGS:
            raise Unreadable(f"values of variable length of data type {channel.data_type}")
        payload = self.payload_of(channel)
        if payload is None:
            raise Unreadable("nothing says where its values of variable length are")
        number, dtype = offset_field(part.fields, channel, element.shift)
        slot = (part.number, number)
        self.payloads.append((slot, dtype, payload))
        return LongText(slot, dtype, payload, TextColumn(self.state, channel.data_type, conversion))

    def _valid(self, part: Part, element: Element) -> Slot | None:
        if not element.channel.flags & HAS_INVALID_BIT or not part.group.invalid_bytes:
            return None
        bit = element.channel.invalid_bit + element.invalid_shift
        if not 0 <= bit < 8 * part.group.invalid_bytes:
            raise Unreadable(f"invalidation bit {bit} of {8 * part.group.invalid_bytes}")
        return part.invalid_part, part.invalid.valid(part.invalid_base, bit)

    def _name(self) -> str:
        """That of the group, or of the groups that bring the signals when it only has their time."""
        names = {part.group.name for part in self.parts if part.group.channels and part.number} or {self.group.name}
        only_time = all(channel.offset in self._clocks for channel in self.group.channels)
        return names.pop() if only_time and len(names) == 1 else self.group.name

    # --- reading

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in a block."""
        return 8 + sum(np.dtype(signal.value.storage).itemsize + (signal.valid is not None) for signal in self.signals)

    def block(self, rows: Rows) -> SampleBlock | None:
        """The rows as a block; None when there are too many streams, or no row has a time."""
        if self.stream == -2:
            spec = StreamSpec(self._name(), [signal.spec for signal in self.signals], self.group.source)
            self.stream = self.state.recording.add_stream(spec)
        if self.stream < 0:
            return None
        self.state.spend_output(rows.count * self.row_bytes, self.group.offset)
        t_ns, timed = self.time.times(rows)
        columns: list[NDArray[Any]] = []
        masks: list[Mask] = []
        for signal in self.signals:
            if rows.missing and signal.lies_in(rows.missing):
                columns.append(np.zeros(rows.count, signal.spec.storage))
                masks.append(np.zeros(rows.count, np.uint8))
                continue
            column, mask = signal.value.read(rows)
            columns.append(column)
            masks.append(_masked(signal, rows, mask))
        if timed is None:
            return SampleBlock(self.stream, t_ns, columns, masks)
        self.untimed += int(len(timed) - np.count_nonzero(timed))
        if not timed.any():
            return None
        return SampleBlock(
            self.stream, t_ns[timed], [column[timed] for column in columns], [None if mask is None else mask[timed] for mask in masks]
        )

    def finish(self) -> None:
        """Says what was left out of the blocks."""
        recording, name, offset = self.state.recording, self.group.name, self.group.offset
        if self.untimed:
            recording.add_problem(offset, f"records of channel group {name} without a valid time are left out", self.untimed)
        for signal in self.signals:
            texts = getattr(signal.value, "texts", None)
            if texts is not None and texts.dropped:
                reason = f"texts of {name}.{signal.spec.name} are left out: too many different ones"
                recording.add_problem(offset, reason, texts.dropped)
        report_missing(self.state, self.group, self.payloads)


def _masked(signal: Signal, rows: Rows, mask: Mask) -> Mask:
    if signal.never:
        return np.zeros(rows.count, np.uint8)
    if signal.valid is None:
        return mask
    valid = rows.raw(signal.valid)
    if valid.all():
        return mask
    return valid if mask is None else valid & mask


def time_source(state: State, fields: Fields, channel: Channel) -> TimeSource:
    """The clock of a master channel that counts seconds. Raises Unreadable."""
    clock = clock_of(read_conversion(state.file, channel.conversion))
    if channel.type == VIRTUAL_MASTER:
        return TimeSource(None, _ROW_NUMBERS, clock)
    number, dtype = fields.number(channel)
    return TimeSource((0, number), dtype, clock)


def offset_field(fields: Fields, channel: Channel, shift: int = 0) -> tuple[int, np.dtype[Any]]:
    """The field that holds the offset of a value of variable length: a whole number, whatever the data type of the value is."""
    bits = channel.bit_count or 64
    if channel.bit_offset or bits not in (8, 16, 32, 64):
        raise Unreadable(f"offset of {bits} bits at bit {channel.bit_offset}")
    size = bits // 8
    return fields.add((0, channel.byte_offset + shift, size, 0, bits, size)), np.dtype(f"u{size}")


def length_of(part: Part, channel: Channel) -> tuple[Slot, np.dtype[Any]] | None:
    """The field that holds the length of a value of maximum length (MLSD), which another channel of the group is for."""
    if channel.type != MLSD:
        return None
    for other in flat(part.group.channels):
        if other.offset == channel.data and other.data_type < 4:
            number, dtype = part.fields.number(other)
            return (part.number, number), dtype
    raise Unreadable("nothing says how long its values are")


def flat(channels: list[Channel]) -> list[Channel]:
    """Channels with the members of their structures."""
    found: list[Channel] = []
    for channel in channels:
        found.append(channel)
        found.extend(flat(channel.members))
    return found


def report_missing(state: State, group: ChannelGroup, payloads: list[tuple[Slot, np.dtype[Any], Payload]]) -> None:
    """Says how many values of variable length were not where their rows say, when all rows have been read."""
    missing = sum(payload.missing for _, _, payload in payloads)
    for _, _, payload in payloads:
        payload.close()
    if missing:
        state.lose(Corrupt(f"{missing} values of variable length of channel group {group.name} are not there", group.offset), 0)


def report_count(state: State, group: ChannelGroup, rows: int) -> None:
    """Compares the records that were found with those that the group counts."""
    size = max(group.record_size, 1)
    if state.unfinished & UPDATE_CYCLES:
        if group.cycles * size > state.source.size and not group.is_vlsd:
            reason = f"channel group {group.name} counts {group.cycles} records, more than the file can hold"
            state.recording.add_problem(group.offset, reason)
    elif rows < group.cycles:
        state.lose(Truncated(f"channel group {group.name} counts {group.cycles} records, {rows} are there", group.offset), 0)
    elif rows > group.cycles:
        state.recording.add_problem(group.offset, f"channel group {group.name} counts {group.cycles} records, {rows} are there")
