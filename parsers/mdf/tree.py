"""Data groups, channel groups and channels of an MDF file, as far as its links hold."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from parsers.errors import Corrupt, ParseError
from parsers.mdf.blocks import Block
from parsers.mdf.state import Path, State

# cn_type
VALUE, VLSD, MASTER, VIRTUAL_MASTER, SYNC, MLSD, VIRTUAL, VLSC = range(8)
# cn_sync_type
NO_SYNC, TIME, ANGLE, DISTANCE, INDEX = range(5)
# cn_data_type
UINT_LE, UINT_BE, INT_LE, INT_BE, REAL_LE, REAL_BE, LATIN1, UTF8, UTF16_LE, UTF16_BE = range(10)
BYTE_ARRAY, MIME_SAMPLE, MIME_STREAM, CANOPEN_DATE, CANOPEN_TIME, COMPLEX_LE, COMPLEX_BE = range(10, 17)
# cn_flags
ALL_INVALID, HAS_INVALID_BIT, HAS_LIMITS = 1, 2, 16
# cg_flags
CG_VLSD, CG_BUS_EVENT, CG_REMOTE_MASTER = 1, 2, 8
# ca_flags
_DYNAMIC_SIZE, _COLUMNS_FIRST = 1, 64

_DG = struct.Struct("<B")  # dg_rec_id_size
# cg_record_id, cg_cycle_count, cg_flags, cg_path_separator, 4 reserved, cg_data_bytes, cg_inval_bytes
_CG = struct.Struct("<QQHH4xII")
# cn_type, cn_sync_type, cn_data_type, cn_bit_offset, cn_byte_offset, cn_bit_count, cn_flags, cn_inval_bit_pos, cn_precision, 1 reserved,
# cn_attachment_count, then minimum and maximum of the range, the limits and the extended limits
_CN = struct.Struct("<BBBBIIIIBxH6d")
# ca_type, ca_storage, ca_ndim, ca_flags, ca_byte_offset_base, ca_inval_bit_pos_base; then ca_ndim sizes (u64)
_CA = struct.Struct("<BBHIiI")
_SI = struct.Struct("<BB")  # si_type, si_bus_type

_MOST_GROUPS = 1 << 16
_MOST_CHANNELS = 1 << 18  # of all groups together
_DEEPEST = 8
_MOST_DIMENSIONS = 8


@dataclass(slots=True)
class Array:
    """An array in the record (CA block): sizes of its dimensions and the bytes from one element of each to the next."""

    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    invalid_steps: tuple[int, ...]
    reason: str = ""  # why its elements cannot be read


@dataclass(slots=True)
class Channel:
    """A CN block with what it is composed of: further channels, or elements of an array."""

    offset: int
    name: str
    type: int
    sync: int
    data_type: int
    bit_offset: int
    byte_offset: int
    bit_count: int
    flags: int
    invalid_bit: int
    conversion: int
    data: int
    unit: int
    limits: tuple[float, float] | None
    members: list[Channel] = field(default_factory=list)
    array: Array | None = None


@dataclass(slots=True)
class ChannelGroup:
    """A CG block; `number` counts all of the file. `channels` are filled by `Tree.load`."""

    offset: int
    number: int
    name: str
    source: str
    bus: int
    record_id: int
    cycles: int
    flags: int
    data_bytes: int
    invalid_bytes: int
    first_channel: int
    master: int
    channels: list[Channel] = field(default_factory=list)

    @property
    def is_vlsd(self) -> bool:
        """Whether its records are the values of variable length of a channel in another group."""
        return bool(self.flags & CG_VLSD)

    @property
    def record_size(self) -> int:
        """Bytes of a record without its id; of a group of variable length without meaning."""
        return self.data_bytes + self.invalid_bytes


@dataclass(slots=True)
class DataGroup:
    """A DG block and its channel groups."""

    offset: int
    id_size: int
    data: int
    groups: list[ChannelGroup]


class Tree:
    """The description of the data of one file. What a broken link hides is marked as lost."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.groups = 0
        self._channels = Path("channels", _MOST_CHANNELS)
        self._sources: dict[int, tuple[str, int]] = {}

    def data_groups(self, link: int) -> list[DataGroup]:
        """All data groups with their channel groups, without channels."""
        found: list[DataGroup] = []
        group_path = Path("channel groups", _MOST_GROUPS)
        for block in self._list(link, b"##DG", Path("data groups", _MOST_GROUPS)):
            try:
                id_size = block.unpack(_DG)[0]
                if id_size not in (0, 1, 2, 4, 8):
                    raise Corrupt(f"record ids of {id_size} bytes", block.data_offset)
            except ParseError as error:
                self.state.lose_block(error)
                continue
            groups = [self._group(cg) for cg in self._list(block.link(1), b"##CG", group_path) if len(cg.data) >= _CG.size]
            found.append(DataGroup(block.offset, id_size, block.link(2), groups))
            for offset in (block.offset, block.link(2), *(group.offset for group in groups)):
                self.state.add_landmark(offset)
        return found

    def load(self, group: ChannelGroup) -> None:
        """Reads the channels of a group."""
        group.channels = self._load(group.first_channel, 0)

    def _list(self, link: int, kind: bytes, path: Path) -> Iterator[Block]:
        """The blocks of a linked list; it ends where a link does not hold."""
        while link:
            try:
                path.enter(link)
                block = self.state.file.block(link, kind)
            except ParseError as error:
                self.state.lose_block(error)
                return
            yield block
            link = block.link(0)

    def _group(self, block: Block) -> ChannelGroup:
        record_id, cycles, flags, _separator, data_bytes, invalid_bytes = _CG.unpack_from(block.data)
        source, bus = self._source(block.link(3))
        number = self.groups
        self.groups += 1
        name = self.state.file.text(block.link(2)) or source or f"group {number}"
        return ChannelGroup(
            block.offset,
            number,
            name,
            source,
            bus,
            record_id,
            cycles,
            flags,
            data_bytes,
            invalid_bytes,
            block.link(1),
            block.link(6) if flags & CG_REMOTE_MASTER else 0,
        )

    def _source(self, link: int) -> tuple[str, int]:
        """Name and bus type of an SI block."""
        if link == 0:
            return "", 0
        if link not in self._sources:
            name, bus = "", 0
            try:
                block = self.state.file.block(link, b"##SI")
                name = self.state.file.text(block.link(0)) or self.state.file.text(block.link(1))
                bus = block.unpack(_SI)[1]
            except ParseError as error:
                self.state.recording.add_problem(error.offset or 0, error.reason)
            if len(self._sources) >= _MOST_GROUPS:
                return name, bus
            self._sources[link] = (name, bus)
        return self._sources[link]

    def _load(self, link: int, depth: int) -> list[Channel]:
        found = []
        for block in self._list(link, b"##CN", self._channels):
            if len(block.data) < _CN.size:
                self.state.lose_block(Corrupt("channel block is too short", block.data_offset))
                continue
            channel = self._channel(block)
            found.append(channel)
            if block.link(1):
                self._compose(channel, block.link(1), depth + 1)
        return found

    def _channel(self, block: Block) -> Channel:
        kind, sync, data_type, bit_offset, byte_offset, bits, flags, invalid_bit, _precision, _attached, *ranges = _CN.unpack_from(
            block.data
        )
        name = self.state.file.text(block.link(2)) or f"channel at {block.offset}"
        limits = (ranges[2], ranges[3]) if flags & HAS_LIMITS else None
        return Channel(
            block.offset,
            name,
            kind,
            sync,
            data_type,
            bit_offset,
            byte_offset,
            bits,
            flags,
            invalid_bit,
            block.link(4),
            block.link(5),
            block.link(6),
            limits,
        )

    def _compose(self, channel: Channel, link: int, depth: int) -> None:
        """What a channel is composed of: members of a structure (CN), an array (CA), or an array of either."""
        try:
            while link:
                if depth > _DEEPEST:
                    raise Corrupt(f"channels inside one another more than {_DEEPEST} deep", channel.offset)
                block = self.state.file.block(link, b"##CN", b"##CA", b"##DS", b"##CL", b"##CV", b"##CU")
                if block.id == b"##CN":
                    channel.members = self._load(link, depth)
                    return
                if block.id != b"##CA":
                    channel.array = Array((), (), (), f"{block.id[2:].decode()} compositions are not read")
                    return
                channel.array = _nested(channel.array, self._array(block))
                link = block.link(0)
                depth += 1
        except ParseError as error:
            self.state.lose_block(error)

    def _array(self, block: Block) -> Array:
        _kind, storage, count, flags, step, invalid_step = block.unpack(_CA)
        if storage != 0:
            return Array((), (), (), "array spread over several groups")
        if not 0 < count <= _MOST_DIMENSIONS or len(block.data) < _CA.size + 8 * count:
            raise Corrupt(f"array of {count} dimensions", block.data_offset)
        sizes = struct.unpack_from(f"<{count}Q", block.data, _CA.size)
        # The last index runs fastest, unless the array is stored by columns.
        order = range(count) if flags & _COLUMNS_FIRST else range(count - 1, -1, -1)
        steps, invalid_steps, elements = [0] * count, [0] * count, 1
        for dimension in order:
            steps[dimension] = step * elements
            invalid_steps[dimension] = invalid_step * elements
            elements *= sizes[dimension]
        return Array(sizes, tuple(steps), tuple(invalid_steps), "array of changing size" if flags & _DYNAMIC_SIZE else "")


def _nested(outer: Array | None, inner: Array) -> Array:
    """An array of arrays is one of more dimensions."""
    if outer is None:
        return inner
    return Array(
        outer.sizes + inner.sizes,
        outer.steps + inner.steps,
        outer.invalid_steps + inner.invalid_steps,
        outer.reason or inner.reason,
    )
