"""Data groups whose records stand in the order of their recording: each record goes to its channel group."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import Block
from parsers.errors import Corrupt, ParseError, Truncated
from parsers.limits import MIB
from parsers.mdf._demux import FULL, TOO_LONG, UNKNOWN, RecordWalker, collect
from parsers.mdf._records import RecordColumns
from parsers.mdf.anchor import Anchor
from parsers.mdf.chain import Chain, Window
from parsers.mdf.fields import Field, Fields, Unreadable
from parsers.mdf.frames import Channels, FrameGroup, Frames, frame_kind, in_blocks, other_bus
from parsers.mdf.payload import CollectedData, Payload, SignalData
from parsers.mdf.signals import Part, PayloadOf, SampleGroup, report_count, time_field
from parsers.mdf.state import ANY_UPDATE, FILE_HEADS, UPDATE_VLSD_OFFSETS, State
from parsers.mdf.tree import Channel, ChannelGroup, DataGroup, Tree
from parsers.mdf.values import Rows

_MOST_WAITING = 64 * MIB  # bytes of the rows of all groups that are no blocks yet
_FIRST_ROWS = 64
_WALK = 65_536
_RESUME_KEPT = 4096
_MOST_ENDS = 100  # times that the end of the data is looked at anew


class Member:
    """One channel group of the data group: what is done with its records (None: they are counted). `rows` counts them."""

    def __init__(
        self, group: ChannelGroup, use: SampleGroup | FrameGroup | CollectedData | None, fields: list[Field], capacity: int
    ) -> None:
        self.group = group
        self.use = use
        self.capacity = capacity
        self.rows = 0
        self._given = 0
        self.fields = fields
        self.time = time_field(use.time, fields) if isinstance(use, SampleGroup | FrameGroup) else None
        rows = min(_FIRST_ROWS, capacity) if isinstance(use, SampleGroup | FrameGroup) else 1
        self._columns = RecordColumns(fields, 0 if group.is_vlsd else group.record_size, rows)

    @property
    def count(self) -> int:
        """Rows that wait."""
        return int(self._columns.count)

    @property
    def room(self) -> int:
        """Rows that can be taken before the columns must grow."""
        return int(self._columns.capacity - self._columns.count)

    @property
    def held_rows(self) -> int:
        """Rows that the columns have room for."""
        return int(self._columns.capacity)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the columns."""
        return int(self._columns.row_bytes)

    def grow(self, rows: int) -> None:
        """Room for so many rows."""
        self._columns.grow(rows)

    def append(self, data: memoryview, positions: NDArray[np.int64], base: int) -> None:
        """Takes records."""
        self._columns.append_at(data, positions, base)

    def places(self) -> NDArray[np.int64]:
        """Where the records of the waiting frames lay."""
        assert isinstance(self.use, FrameGroup)
        places: NDArray[np.int64] = self._columns.column(self.use.place[1]).view(np.int64)
        return places

    def ready(self) -> int:
        """Rows whose values of variable length have come."""
        assert isinstance(self.use, SampleGroup | FrameGroup)
        count = self.count
        for (_, field), dtype, payload in self.use.payloads:
            offsets = np.ascontiguousarray(self._columns.column(field).view(dtype), np.uint64)
            count = min(count, payload.ready(offsets))
        return count

    def offset_field(self, data: CollectedData) -> tuple[int, int] | None:
        """Where its records name the values of a VLSD group, and the bytes of that; None when they do not."""
        payloads = self.use.payloads if isinstance(self.use, SampleGroup | FrameGroup) else []
        found = next((self.fields[slot[1]] for slot, _, payload in payloads if payload is data), None)
        return None if found is None else (found[1], found[2])

    def take(self, count: int) -> Rows:
        """The first rows, taken out of the columns."""
        rows = Rows([self._columns.take(count, self._columns.capacity)], self._given, count)
        self._given += count
        return rows


class UnsortedGroup:
    """The records of one data group.

    A record whose id no group has is damage: everything up to the next place where records follow each other is lost.
    """

    def __init__(self, state: State, chain: Chain, id_size: int, members: list[Member]) -> None:
        self.state = state
        self.chain = chain
        self.id_size = id_size
        self.members = members
        self.frame_members = [member for member in members if isinstance(member.use, FrameGroup)]
        sizes = [(member.group.record_id, -1 if member.group.is_vlsd else member.group.record_size, member.time) for member in members]
        room = min(_WALK, state.limits.block_frames) if self.frame_members else _WALK
        self.walker = RecordWalker(id_size, sizes, state.limits.max_record_length, room)
        self.anchors = list(_anchors(members))
        self._tail = b""
        self._tail_offset = 0
        self._damage: ParseError | None = None  # whose end has not been found yet
        self._swallowed: int | None = None  # where records seem to be missing
        self._held = 0
        self._end = 0

    def blocks(self) -> Iterator[Block]:
        """Everything that the group holds."""
        expected = 0
        for window in self.chain.windows():
            if window.position != expected:
                self._break(window)
            expected = window.position + len(window.data)
            self._end = window.offset + len(window.data) if window.exact else window.offset
            if not (yield from self._walk(window)):
                break
        for _ in range(_MOST_ENDS):
            if not self._tail or self._damage is not None:
                break
            # Perhaps a length that lies has swallowed whole records.
            self._damage = Truncated("data end inside a record", self._tail_offset)
            yield from self._walk(Window(expected, b"", self._end, True))
        if self._damage is not None:
            self._end_damage(self._end)
        for member in self.members:
            while isinstance(member.use, SampleGroup) and member.count:
                yield from self._samples(member, everything=True)
        yield from self._frames(everything=True)

    # --- walking

    def _break(self, window: Window) -> None:
        """A block is missing: what is left of the one before it cannot be completed, and the next one may begin inside a record."""
        if self._damage is not None:
            self._end_damage(self._end)
        elif self._tail:
            self.state.lose(Truncated("a record goes on in a block that is lost", self._tail_offset), len(self._tail))
        self._tail = b""
        self._damage = Truncated("a record begins in a block that is lost", window.offset)

    def _end_damage(self, end: int) -> None:
        assert self._damage is not None
        begin = self._damage.offset or 0
        if end > begin or isinstance(self._damage, Corrupt):
            self.state.lose(self._damage, end - begin)
        self._damage = None
        for anchor in self.anchors:
            anchor.unsure = True

    def _walk(self, window: Window) -> Generator[Block, None, bool]:
        """The records of one window; False when nothing behind it is to be read."""
        data = memoryview(self._tail + bytes(window.data)) if self._tail else memoryview(window.data)
        kept = len(self._tail)
        base = window.position - kept
        final = window.offset + len(window.data) >= self.state.source.size

        def offset_of(at: int) -> int:
            return max(window.offset + at - kept, 0) if window.exact else window.offset

        at = 0
        while True:
            if self._damage is not None:
                found = self.walker.resume(data, at, final)
                if found < 0:
                    # The end of the data may be where a record begins that the next window completes.
                    at = max(at, len(data) - _RESUME_KEPT)
                    break
                self._end_damage(offset_of(found))
                at = found
            at = self._not_swallowed(data, self.walker.walk(data, at), final)
            broken_at = yield from self._route(data, base)
            if broken_at >= 0:
                at = broken_at
                self._swallowed = offset_of(at)
                continue
            if self.walker.status in (UNKNOWN, TOO_LONG):
                if bytes(data[at : at + 8]) in FILE_HEADS and window.exact:
                    rest = self.state.source.size - offset_of(at)
                    self.state.lose(Corrupt("another MDF file begins here: it is not read", offset_of(at)), rest)
                    self._tail = b""
                    return False
                self._damage = Corrupt("no channel group has the id of the record", offset_of(at))
                at += 1
            elif self.walker.status != FULL:
                break
        self._tail = bytes(data[at:])
        self._tail_offset = offset_of(at)
        return True

    def _not_swallowed(self, data: memoryview, at: int, final: bool) -> int:
        """Where the damage begins that the walk has met: at the record before, when that is one whose length was a lie."""
        begin = self.walker.last_long() if self.walker.status in (UNKNOWN, TOO_LONG) else -1
        if begin < 0 or not 0 <= self.walker.resume(data[:at], begin, False) < at:
            return at
        self.walker.drop_last()
        return begin - self.id_size

    # --- records to groups

    def _route(self, data: memoryview, base: int) -> Generator[Block, None, int]:
        """Hands out the records found; where the first stands that was not taken, because of a loss in front of it, or -1."""
        found = self.walker.found()
        for anchor in self.anchors:
            yield from self._settle(anchor, data, dict(found), base)
        broken_at = self._cut_at_break(data)
        if broken_at >= 0:
            found = self.walker.found()
        # Values come before the rows that name them, which may stand in front of them.
        found.sort(key=lambda entry: not isinstance(self.members[entry[0]].use, CollectedData))
        for number, positions in found:
            member = self.members[number]
            member.rows += len(positions)
            if isinstance(member.use, CollectedData):
                if not member.use.broken:
                    member.use.append(collect(data, positions))
            elif isinstance(member.use, FrameGroup):
                self._grow(member, member.count + len(positions))
                member.append(data, positions, base)
            elif member.use is not None:
                yield from self._append(member, data, positions, base)
        if sum(member.count for member in self.frame_members) >= self.state.limits.block_frames:
            yield from self._frames(everything=False)
        for member in self.members:
            if isinstance(member.use, CollectedData) and member.use.size > _MOST_WAITING:
                member.use.forget()
        return broken_at

    def _cut_at_break(self, data: memoryview) -> int:
        """Leaves out the records from which on rows name other values than theirs: a length that lies has swallowed some before them."""
        for anchor in self.anchors:
            if anchor.behind is None or anchor.unsure or anchor.data.paired:
                continue
            place = self.walker.first_break(data, anchor.rows_of, anchor.values_of, *anchor.field, anchor.behind, anchor.data.end)
            if place > 0:
                anchor.unsure = True
                return int(self.walker.cut(place))
        return -1

    def _settle(self, anchor: Anchor, data: memoryview, found: dict[int, NDArray[np.int64]], base: int) -> Iterator[Block]:
        """After a loss: rows that wait will not get their values any more, and the next values begin where the rows say."""
        if anchor.data.paired:
            anchor.data.broken = anchor.data.broken or anchor.unsure
            return
        begin = anchor.moved_to(data, found, base + len(data))
        anchor.data.broken = anchor.unsure
        swallowed, self._swallowed = self._swallowed, None
        if begin is None:
            return
        if swallowed is not None:
            self.state.lose(
                Corrupt("records in front of this one are missing: a value of variable length has swallowed them", swallowed), 0
            )
        member = self.members[anchor.rows_of]
        while isinstance(member.use, SampleGroup) and member.count:
            yield from self._samples(member, everything=True)
        if isinstance(member.use, FrameGroup):
            yield from self._frames(everything=True)
        anchor.data.restart(begin)

    def _append(self, member: Member, data: memoryview, positions: NDArray[np.int64], base: int) -> Iterator[Block]:
        done = 0
        while done < len(positions):
            room = member.room
            if not room:
                if member.held_rows < member.capacity and self._grow(member, min(4 * member.held_rows, member.capacity)):
                    continue
                yield from self._samples(member, everything=False)
                continue
            part = positions[done : done + room]
            member.append(data, part, base)
            done += len(part)

    def _grow(self, member: Member, rows: int) -> bool:
        """Room for so many rows; False when all groups together would hold too much. Frames always find room: they are few at a time."""
        if rows <= member.held_rows:
            return True
        more = (rows - member.held_rows) * member.row_bytes
        if self._held + more > _MOST_WAITING and not isinstance(member.use, FrameGroup):
            return False
        self._held += more
        member.grow(rows)
        return True

    # --- groups to blocks

    def _samples(self, member: Member, everything: bool) -> Iterator[Block]:
        assert isinstance(member.use, SampleGroup)
        # Values that have not come when the columns are full will not come.
        count = (0 if everything else member.ready()) or member.count
        block = member.use.block(member.take(min(count, member.capacity)))
        if block is not None:
            yield block

    def _frames(self, everything: bool) -> Iterator[Block]:
        """The frames of all groups in the order of their records, up to the first whose data have not come yet."""
        waiting = [member for member in self.frame_members if member.count]
        counts = {id(member): member.count if everything else member.ready() for member in waiting}
        held_up = [int(member.places()[counts[id(member)]]) for member in waiting if counts[id(member)] < member.count]
        if held_up and sum(member.count for member in waiting) < 4 * self.state.limits.block_frames + _WALK:
            for member in waiting:
                counts[id(member)] = min(counts[id(member)], int(np.searchsorted(member.places(), min(held_up))))
        else:
            counts = {id(member): member.count for member in waiting}
        found: list[Frames] = []
        for member in waiting:
            assert isinstance(member.use, FrameGroup)
            if counts[id(member)]:
                found.append(member.use.frames(member.take(counts[id(member)])))
        yield from in_blocks(found, self.state.limits.block_frames)


def _anchors(members: list[Member]) -> Iterator[Anchor]:
    """How the values of each VLSD group are named, by the first channel that does."""
    for number, member in enumerate(members):
        if not isinstance(member.use, CollectedData):
            continue
        for other, group in enumerate(members):
            field = group.offset_field(member.use)
            if field is not None:
                yield Anchor(member.use, number, other, field)
                break


class UnsortedReader:
    """Data groups with record ids: plans all of their channel groups, reads them at once, says what was missing."""

    def __init__(self, state: State, tree: Tree, channels: Channels) -> None:
        self.state = state
        self.tree = tree
        self.channels = channels

    def blocks(self, data_group: DataGroup) -> Iterator[Block]:
        """What the data group holds."""
        if not data_group.data:
            return
        paired = bool(self.state.unfinished & UPDATE_VLSD_OFFSETS and self.state.unfinished != ANY_UPDATE)
        collected = {group.offset: CollectedData(paired) for group in data_group.groups if group.is_vlsd}
        asked: set[int] = set()

        def payload_of(channel: Channel) -> Payload | None:
            if channel.data in collected:
                collected[channel.data].shared = channel.data in asked
                asked.add(channel.data)
                return collected[channel.data]
            return SignalData(self.state, channel.data) if channel.data else None

        members = [self._member(group, payload_of) for group in data_group.groups]
        for member in members:
            if member.group.offset in asked:
                member.use = collected[member.group.offset]
        chain = Chain(self.state, data_group.data, (b"##DT", b"##DV"))
        yield from UnsortedGroup(self.state, chain, data_group.id_size, members).blocks()
        for member in members:
            self._finish(member)

    def _member(self, group: ChannelGroup, payload_of: PayloadOf) -> Member:
        if group.is_vlsd:
            return Member(group, None, [], 1)
        self.tree.load(group)
        fields = Fields(group.record_size)
        part = Part(group, 0, fields, fields, 0, group.data_bytes)
        kind = frame_kind(group)
        if kind is not None:
            try:
                use = FrameGroup(self.state, part, kind, payload_of, self.channels)
            except Unreadable as error:
                self.state.recording.add_undecoded(group.name, str(error))
                return Member(group, None, [], 1)
            return Member(group, use, fields.fields, self.state.limits.block_frames)
        if other_bus(group) is not None:
            return Member(group, None, [], 1)
        samples = SampleGroup(self.state, [part], payload_of)
        row_bytes = max(samples.row_bytes, group.record_size, 1)
        limits = self.state.limits
        return Member(group, samples, fields.fields, max(1, min(limits.block_rows, limits.block_bytes // row_bytes)))

    def _finish(self, member: Member) -> None:
        if isinstance(member.use, SampleGroup | FrameGroup):
            member.use.finish()
        elif member.use is None and member.rows:
            self.state.recording.add_skipped(other_bus(member.group) or f"record of {member.group.name}", member.rows)
        report_count(self.state, member.group, member.rows)
