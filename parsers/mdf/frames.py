"""Bus logging: the members of CAN frames in a channel group become blocks of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.can.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBlock
from parsers.mdf._demux import payloads
from parsers.mdf.conversion import read_conversion
from parsers.mdf.fields import Fields, Unreadable
from parsers.mdf.payload import Payload
from parsers.mdf.plans import NumberPlan
from parsers.mdf.signals import Part, PayloadOf, TimeSource, flat, length_of, offset_field, report_missing, time_source
from parsers.mdf.state import State
from parsers.mdf.tree import (
    BYTE_ARRAY,
    MASTER,
    VIRTUAL,
    VIRTUAL_MASTER,
    VLSD,
    Channel,
    ChannelGroup,
)
from parsers.mdf.values import Number, Rows, Slot, Value, Virtual, fitting, offsets_of, raw_numbers

DATA_FRAME, REMOTE_FRAME, ERROR_FRAME = "CAN_DataFrame", "CAN_RemoteFrame", "CAN_ErrorFrame"
_FRAMES = {DATA_FRAME: 0, REMOTE_FRAME: REMOTE, ERROR_FRAME: ERROR}
_OTHER_BUSES = ("CAN_", "LIN_", "FLX_", "ETH_", "MOST_", "KLINE_", "USB_")
_SHORT = {"FLX": "FlexRay", "ETH": "Ethernet", "KLINE": "K-Line"}

_EXTENDED_BIT = 1 << 31
_STANDARD_IDS = 0x7FF
_EXTENDED_IDS = 0x1FFFFFFF
_MOST_PAYLOAD = 64
_MOST_RECORD_PAYLOAD = 4096  # bytes that a record may have for one payload
_PADDING = 8
_FRAME_BYTES = 32  # of a frame in a block
_FD_LENGTHS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64], np.int64)
_FLAGS = {"EDL": FD, "BRS": BRS, "ESI": ESI}


def frame_kind(group: ChannelGroup) -> str | None:
    """CAN_DataFrame and the like when the group holds the frames of a CAN bus."""
    return next((channel.name for channel in group.channels if channel.name in _FRAMES), None)


def other_bus(group: ChannelGroup) -> str | None:
    """What the group's records are when they are events of a bus that is not read, or no frames: `LIN frame`, `Ethernet ...`."""
    for channel in group.channels:
        if channel.name.startswith(_OTHER_BUSES) and channel.data_type == BYTE_ARRAY and channel.members:
            bus, _, kind = channel.name.partition("_")
            return f"{_SHORT.get(bus, bus)} {_spaced(kind)}"
    return None


def _spaced(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one group in order, as the columns of a FrameBlock; `place` is where in the data each record lay."""

    t_ns: NDArray[np.int64]
    channel: NDArray[np.uint16]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data_offset: NDArray[np.uint32]
    data: NDArray[np.uint8]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t_ns)


class Channels:
    """The buses of all groups: numbers of `Recording.channels` by what the file calls them."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._known: dict[str, int] = {}

    def numbers(self, column: NDArray[Any], choices: dict[int, str] | None) -> NDArray[np.uint16]:
        """One number for each value of BusChannel."""
        if not len(column):
            return np.empty(0, np.uint16)
        first = column[0]
        if (column == first).all():
            return np.full(len(column), self._number(first, choices), np.uint16)
        values, inverse = np.unique(column, return_inverse=True)
        return np.array([self._number(value, choices) for value in values], np.uint16)[inverse]

    def _number(self, value: Any, choices: dict[int, str] | None) -> int:
        number = float(value)
        name = f"{number:g}" if number.is_integer() and abs(number) < 1 << 53 else str(number)
        if choices is not None and number.is_integer():
            name = choices.get(int(number), name)
        names = self.state.recording.channels
        if name not in self._known and len(names) >= self.state.limits.max_channels - 1:
            name = "other"
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = len(names)
            names.append(name)
        return known


class FrameGroup:
    """Frames of one channel group. Raises Unreadable when its members do not make a frame.

    Source: ASAM MDF bus logging: members BusChannel, ID, IDE, DLC, DataLength, DataBytes, Dir, EDL, BRS, ESI of the frame's channel.
    """

    def __init__(self, state: State, part: Part, kind: str, payload_of: PayloadOf, channels: Channels) -> None:
        self.state = state
        self.group = part.group
        self.kind = kind
        self.channels = channels
        self.untimed = self.too_long = self.cut = 0
        members = {channel.name.rsplit(".", 1)[-1]: channel for channel in flat(part.group.channels)}
        self.time = self._time(part.fields)
        self.values: dict[str, Value] = {
            name: self._value(part.fields, members[name])
            for name in ("BusChannel", "IDE", "DLC", "DataLength", "Dir", "EDL", "BRS", "ESI")
            if name in members
        }
        self.id = self._id(part.fields, members)
        self.payload: tuple[Slot, np.dtype[Any], Payload] | None = None
        self.fixed: tuple[Slot, int] | None = None
        self.fixed_length: tuple[Slot, np.dtype[Any]] | None = None
        if kind == DATA_FRAME:
            self._plan_data(part, members.get("DataBytes"), payload_of)
        self.place: Slot = (0, part.fields.place())

    # --- planning

    def _time(self, fields: Fields) -> TimeSource:
        for channel in self.group.channels:
            if channel.type in (MASTER, VIRTUAL_MASTER):
                return time_source(self.state, fields, channel)
        raise Unreadable("the frames have no time")

    def _value(self, fields: Fields, channel: Channel) -> Value:
        conversion = read_conversion(self.state.file, channel.conversion)
        if channel.type == VIRTUAL:
            return Virtual(conversion.plan(np.dtype(np.uint64)))
        number, dtype = fields.number(channel)
        return Number((0, number), dtype, conversion.plan(np.dtype(np.float64) if dtype == np.float16 else dtype))

    def _id(self, fields: Fields, members: dict[str, Channel]) -> tuple[Slot, np.dtype[Any]] | None:
        if "ID" not in members:
            if self.kind == ERROR_FRAME:
                return None
            raise Unreadable("the frames have no ID")
        number, dtype = fields.number(members["ID"])
        return (0, number), dtype

    def _plan_data(self, part: Part, channel: Channel | None, payload_of: PayloadOf) -> None:
        if channel is None:
            raise Unreadable("the frames have no DataBytes")
        if channel.type == VLSD:
            payload = payload_of(channel)
            if payload is None:
                raise Unreadable("nothing says where the DataBytes are")
            number, dtype = offset_field(part.fields, channel)
            self.payload = ((0, number), dtype, payload)
            return
        self.fixed_length = length_of(part, channel)
        number, size = part.fields.payload(channel, _MOST_RECORD_PAYLOAD, _MOST_PAYLOAD, self._length_field())
        self.fixed = ((0, number), size)

    def _length_field(self) -> int | None:
        """The field that says how many bytes of the payload count at most, if there is one and it is not converted."""
        named = self.values.get("DataLength")
        if isinstance(named, Number):
            plain = isinstance(named.plan, NumberPlan) and named.plan.same and named.dtype.kind == "u"
            return named.slot[1] if plain else None
        if self.fixed_length is not None and self.fixed_length[1].kind == "u":
            return self.fixed_length[0][1]
        return None

    # --- reading

    @property
    def payloads(self) -> list[tuple[Slot, np.dtype[Any], Payload]]:
        """As of a SampleGroup: what must have come before a row can be read."""
        return [] if self.payload is None else [self.payload]

    def frames(self, rows: Rows) -> Frames:
        """The rows as frames; those without a time, without their data or longer than CAN FD allows are counted instead."""
        n = rows.count
        self.state.spend_output(n * _FRAME_BYTES, self.group.offset)
        t_ns, timed = self.time.times(rows)
        keep = np.ones(n, np.bool_) if timed is None else timed
        self.untimed += int(n - np.count_nonzero(keep))
        flags = np.full(n, _FRAMES[self.kind], np.uint8)
        identifiers = self._identifiers(rows, flags)
        for name, bit in _FLAGS.items():
            self._set(flags, bit, rows, name)
        self._set(flags, TX, rows, "Dir", "tx")
        length, offset, data, there = self._data(rows, flags)
        if there is not None:
            keep &= there
        channel = self.channels.numbers(*self._bus(rows))
        place = rows.raw(self.place).view(np.int64)
        columns = (t_ns, channel, identifiers, flags, length, offset)
        if not keep.all():
            columns, place = tuple(column[keep] for column in columns), place[keep]  # type: ignore[assignment]
        return Frames(*columns, data, place)

    def _identifiers(self, rows: Rows, flags: NDArray[np.uint8]) -> NDArray[np.uint32]:
        if self.id is None or self.kind == ERROR_FRAME:
            return np.zeros(rows.count, np.uint32)
        raw = raw_numbers(rows, *self.id)
        if raw.dtype != np.uint32:
            raw = raw.astype(np.int64).astype(np.uint32)
        extended = raw >= _EXTENDED_BIT
        identifiers: NDArray[np.uint32] = raw & np.uint32(_EXTENDED_IDS)
        if "IDE" in self.values:
            self._set(flags, EXTENDED, rows, "IDE")
        else:
            extended |= identifiers > _STANDARD_IDS
        flags |= extended.view(np.uint8) * np.uint8(EXTENDED)
        return identifiers

    def _set(self, flags: NDArray[np.uint8], bit: int, rows: Rows, name: str, text: str = "") -> None:
        """Sets a bit where a member is 1, or is named by a text that begins so."""
        if name in self.values:
            flags |= self._is_set(rows, self.values[name], text).view(np.uint8) * np.uint8(bit)

    def _is_set(self, rows: Rows, value: Value, text: str) -> NDArray[np.bool_]:
        column, mask = value.read(rows)
        found: NDArray[np.bool_] = column == 1
        if value.choices is not None and text:
            named = [code for code, label in value.choices.items() if label.lower().startswith(text)]
            found = np.isin(column, named) if named else found
        return found if mask is None else found & mask.astype(np.bool_)

    def _bus(self, rows: Rows) -> tuple[NDArray[Any], dict[int, str] | None]:
        value = self.values.get("BusChannel")
        if value is None:
            return np.zeros(rows.count, np.uint8), None
        return value.read(rows)[0], value.choices

    def _lengths(self, rows: Rows, flags: NDArray[np.uint8]) -> NDArray[Any] | None:
        """Bytes of data that the record names, as uint8 or int64; None when it names none."""
        for name in ("DataLength", "DLC"):
            value = self.values.get(name)
            if value is not None:
                column = value.read(rows)[0]
                if name == "DataLength" and column.dtype == np.uint8:
                    return column
                lengths = fitting(column, 1 << 20)
                if name == "DLC":
                    coded = np.clip(lengths, 0, 15)
                    lengths = np.where(flags & FD != 0, _FD_LENGTHS[coded], np.minimum(coded, 8))
                return lengths
        return None

    def _data(
        self, rows: Rows, flags: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Lengths, offsets and bytes of the payloads, and which rows have one (None: all)."""
        n = rows.count
        if self.kind != DATA_FRAME:
            return np.zeros(n, np.uint8), np.zeros(n, np.uint32), np.zeros(_PADDING, np.uint8), None
        wanted = self._lengths(rows, flags)
        if self.payload is not None:
            return self._long_data(rows, wanted)
        assert self.fixed is not None
        (part, field), size = self.fixed
        room = size if self.fixed_length is None else fitting(raw_numbers(rows, *self.fixed_length), size)
        lengths: NDArray[Any] = np.full(n, room, np.int64) if wanted is None else wanted
        over = lengths > room
        if over.any():
            self.cut += int(np.count_nonzero(over))
            lengths = np.where(over, room, lengths)
        there = self._short_enough(lengths)
        short = np.minimum(lengths, _MOST_PAYLOAD).astype(np.uint8)
        return short, rows.raw((part, field + 1)).view(np.uint32), rows.raw((part, field)), there

    def _short_enough(self, lengths: NDArray[Any]) -> NDArray[np.bool_] | None:
        short = lengths <= _MOST_PAYLOAD
        if short.all():
            return None
        self.too_long += int(len(short) - np.count_nonzero(short))
        return short

    def _long_data(
        self, rows: Rows, wanted: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8], NDArray[np.bool_] | None]:
        assert self.payload is not None
        slot, dtype, payload = self.payload
        lengths = np.zeros(rows.count, np.uint8)
        offsets = np.zeros(rows.count, np.uint32)
        there = np.zeros(rows.count, np.bool_)
        stored: list[NDArray[np.uint8]] = []
        total = 0
        for piece in payload.pieces(offsets_of(rows, slot, dtype)):
            part = slice(piece.first, piece.end)
            size = piece.lengths if wanted is None else np.minimum(wanted[part], piece.lengths)
            if wanted is not None:
                self.cut += int(np.count_nonzero(wanted[part] > piece.lengths))
            short = self._short_enough(size)
            there[part] = True if short is None else short
            lengths[part] = np.where(size <= _MOST_PAYLOAD, size, 0)
            data, places = payloads(piece.data, piece.starts, lengths[part], 0)
            offsets[part] = places + np.uint32(total)
            stored.append(data)
            total += len(data)
        stored.append(np.zeros(_PADDING, np.uint8))
        if there.all():
            return lengths, offsets, np.concatenate(stored), None
        return lengths, offsets, np.concatenate(stored), there

    def finish(self) -> None:
        """Says what was left out of the blocks."""
        recording, name, offset = self.state.recording, self.group.name, self.group.offset
        if self.untimed:
            recording.add_problem(offset, f"frames of {name} without a valid time are left out", self.untimed)
        if self.cut:
            recording.add_problem(offset, f"frames of {name} name more data than they have", self.cut)
        if self.too_long:
            recording.add_skipped("CAN frame longer than 64 bytes", self.too_long)
        report_missing(self.state, self.group, self.payloads)


def in_blocks(found: list[Frames], most: int) -> Iterator[FrameBlock]:
    """Frames of several groups, in the order of their records, in blocks of at most `most`."""
    found = [frames for frames in found if len(frames)]
    if not found:
        return
    frames = found[0] if len(found) == 1 else _merged(found)
    for at in range(0, len(frames), most):
        part = slice(at, at + most)
        yield FrameBlock(
            frames.t_ns[part],
            frames.channel[part],
            frames.arbitration_id[part],
            frames.flags[part],
            frames.length[part],
            frames.data_offset[part],
            frames.data,
        )


def _merged(found: list[Frames]) -> Frames:
    bases = np.cumsum([0, *(len(frames.data) for frames in found)])
    place = np.concatenate([frames.place for frames in found])
    order = np.argsort(place, kind="stable")
    offsets = np.concatenate([frames.data_offset + np.uint32(base) for frames, base in zip(found, bases, strict=False)])
    return Frames(
        np.concatenate([frames.t_ns for frames in found])[order],
        np.concatenate([frames.channel for frames in found])[order],
        np.concatenate([frames.arbitration_id for frames in found])[order],
        np.concatenate([frames.flags for frames in found])[order],
        np.concatenate([frames.length for frames in found])[order],
        offsets[order],
        np.concatenate([frames.data for frames in found]),
        place[order],
    )
