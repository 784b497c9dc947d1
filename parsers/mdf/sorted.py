"""Data groups with the records of one channel group, and groups whose columns stand apart in data groups of their own (MDF 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from parsers.blocks import Block
from parsers.errors import Corrupt, Truncated
from parsers.limits import KIB, MIB
from parsers.mdf.blocks import HEADER
from parsers.mdf.chain import Chain
from parsers.mdf.feed import EmptyFeed, PartReader, RecordFeed, blocks_of_rows
from parsers.mdf.fields import Fields, Unreadable
from parsers.mdf.frames import Channels, FrameGroup, frame_kind, in_blocks, other_bus
from parsers.mdf.payload import Payload, SignalData
from parsers.mdf.signals import Part, SampleGroup, report_count
from parsers.mdf.state import State
from parsers.mdf.tree import Channel, ChannelGroup, DataGroup, Tree

_RECORDS = (b"##DT", b"##DV")
_INVALID = (b"##DI",)
_COLUMN_BYTES = 64 * MIB  # of all columns that are read side by side: inflated blocks, or what is read at a time
_SMALLEST_WINDOW = 16 * KIB
_MOST_COLUMNS = 4096

Member = tuple[DataGroup, ChannelGroup]


class Stream(NamedTuple):
    """One stream of records of fixed size: those of a group, or its invalidation bytes. `chain` is None when there are no bytes."""

    fields: Fields
    chain: Chain | None
    group: ChannelGroup


class SortedReader:
    """Data groups without record ids. A group whose time is in another one (4.2) is read together with that."""

    def __init__(self, state: State, tree: Tree, channels: Channels) -> None:
        self.state = state
        self.tree = tree
        self.channels = channels
        self._followers: dict[int, list[Member]] = {}
        self._led: set[int] = set()

    def join(self, data_groups: list[DataGroup]) -> None:
        """Finds the groups whose time is in another group."""
        masters = {found.groups[0].offset for found in data_groups if found.groups and found.id_size == 0 and not found.groups[0].master}
        for data_group in data_groups:
            for group in data_group.groups[:1]:
                if data_group.id_size == 0 and group.master in masters:
                    self._followers.setdefault(group.master, []).append((data_group, group))
                    self._led.add(group.offset)

    def blocks(self, data_group: DataGroup) -> Iterator[Block]:
        """What the data group holds, with the columns of the groups that follow it."""
        group, *others = data_group.groups
        for other in others:
            self.state.lose(Corrupt("several channel groups in data without record ids: only the first is read", other.offset), 0)
        if group.offset in self._led:
            return
        followers = self._followers.get(group.offset, [])
        for _, member in [(data_group, group), *followers]:
            self.tree.load(member)
        kind, other_kind = frame_kind(group), other_bus(group)
        if kind is not None:
            yield from self._frames((data_group, group), kind)
        elif other_kind is not None:
            self._count(data_group, group, other_kind)
        else:
            for bundle in self._bundles(followers):
                yield from self._samples([(data_group, group), *bundle])

    def _bundles(self, followers: list[Member]) -> Iterator[list[Member]]:
        """Groups that are read side by side with their master, as many at a time as their inflated blocks leave room for."""
        bundle: list[Member] = []
        held = 0
        for data_group, group in followers:
            size = Chain(self.state, data_group.data, _RECORDS).largest() if data_group.data else 0
            if bundle and (held + size > _COLUMN_BYTES or len(bundle) >= _MOST_COLUMNS):
                yield bundle
                bundle, held = [], 0
            bundle.append((data_group, group))
            held += size
        yield bundle

    # --- parts

    def _parts(self, members: list[Member]) -> tuple[list[Part], list[Stream]]:
        """How the records are put together, and the streams that their parts come from."""
        parts: list[Part] = []
        streams: list[Stream] = []
        for data_group, group in members:
            link, number = data_group.data, len(streams)
            apart = bool(group.invalid_bytes and link and self._is_columns(link))
            fields = Fields(group.data_bytes if apart else group.record_size)
            chain = Chain(self.state, link, _RECORDS, max(fields.size, 1)) if link and fields.size else None
            streams.append(Stream(fields, chain, group))
            if not apart:
                parts.append(Part(group, number, fields, fields, number, group.data_bytes))
                continue
            invalid = Fields(group.invalid_bytes)
            streams.append(Stream(invalid, Chain(self.state, link, _INVALID, invalid.size, invalid=True), group))
            parts.append(Part(group, number, fields, invalid, number + 1, 0))
        return parts, streams

    def _is_columns(self, link: int) -> bool:
        """Whether the data are those of an LD list or a DV block, whose invalidation bytes stand apart."""
        for _ in range(4):
            name, _, count = self.state.file.header(link)
            if name == b"##DZ":
                return self.state.file.read(link + HEADER.size + 8 * count, 2) == b"DV"
            if name != b"##HL":
                return name in (b"##LD", b"##DV")
            link = self.state.file.block(link).link(0)
        return False

    def _readers(self, streams: list[Stream], capacity: int) -> tuple[list[PartReader], list[RecordFeed | EmptyFeed]]:
        feeds: list[RecordFeed | EmptyFeed] = []
        readers = []
        for fields, chain, group in streams:
            if chain is None:
                feeds.append(EmptyFeed(self.state, 0 if fields.size else group.cycles, group.offset))
            else:
                feeds.append(RecordFeed(self.state, chain, fields.size))
                chain.window = min(chain.window, max(_COLUMN_BYTES // len(streams), _SMALLEST_WINDOW))
            readers.append(PartReader(feeds[-1], fields.fields, fields.size, capacity))
        return readers, feeds

    def _signal_data(self, channel: Channel) -> Payload | None:
        return SignalData(self.state, channel.data) if channel.data else None

    def _capacity(self, row_bytes: int, most: int) -> int:
        return max(1, min(most, self.state.limits.block_bytes // max(row_bytes, 1)))

    # --- reading

    def _samples(self, members: list[Member]) -> Iterator[Block]:
        parts, streams = self._parts(members)
        use = SampleGroup(self.state, parts, self._signal_data)
        readers, feeds = self._readers(streams, self._capacity(use.row_bytes, self.state.limits.block_rows))
        for rows in blocks_of_rows(readers):
            block = use.block(rows)
            if block is not None:
                yield block
        use.finish()
        for stream, feed in zip(streams, feeds, strict=True):
            report_count(self.state, stream.group, feed.rows)

    def _frames(self, member: Member, kind: str) -> Iterator[Block]:
        group = member[1]
        parts, streams = self._parts([member])
        try:
            use = FrameGroup(self.state, parts[0], kind, self._signal_data, self.channels)
        except Unreadable as error:
            self.state.recording.add_undecoded(group.name, str(error))
            return
        readers, feeds = self._readers(streams, self._capacity(group.record_size, self.state.limits.block_frames))
        for rows in blocks_of_rows(readers):
            yield from in_blocks([use.frames(rows)], self.state.limits.block_frames)
        use.finish()
        report_count(self.state, group, feeds[0].rows)

    def _count(self, data_group: DataGroup, group: ChannelGroup, kind: str) -> None:
        """Counts records that are not read."""
        size = 0
        for chunk in Chain(self.state, data_group.data, _RECORDS).chunks() if data_group.data else ():
            size += chunk.size
            if chunk.missing:
                self.state.lose(Truncated("data block is cut", min(chunk.start + chunk.stored, self.state.source.size)), chunk.missing)
        rows = size // max(group.record_size, 1)
        if rows:
            self.state.recording.add_skipped(kind, rows)
        report_count(self.state, group, rows)
