"""The data of a channel group or signal: one block, or lists of blocks, plain or compressed, as one stream of bytes."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated
from parsers.mdf.blocks import HEADER, Block
from parsers.mdf.inflate import Packed, check, inflated
from parsers.mdf.state import UPDATE_DATA_LENGTH, Budget, Path, State

Bytes = bytes | bytearray | memoryview
SIGNAL_DATA = (b"##SD",)

# DZ: original block type, method, parameter (bytes of a row of a transposed block), length of the content, length of what is stored
_DZ = struct.Struct("<2sBxIQQ")
# DL: flags (1: all blocks but the last are equally long), number of blocks; then one u64 length, or one u64 offset for each block
_DL = struct.Struct("<B3xI")
# LD: flags (1: equal number of samples; the highest bit: with invalidation data), number of blocks; then one u64, or one for each block
_LD = struct.Struct("<II")
_EQUAL = 1
_WITH_INVALID = 1 << 31
_FARTHEST = 1 << 62
_MOST_LISTS = 1 << 20
_MOST_CHUNKS = 1 << 19  # that are kept for finding a place in the stream


class Chunk(NamedTuple):
    """One data block: where it begins in the file and in the stream of all blocks, and the bytes that are there of it.

    `missing` are the bytes that the block claims beyond the end of the file; `packed` says how it is compressed, if it is.
    """

    offset: int
    position: int
    size: int
    start: int
    stored: int
    missing: int
    packed: Packed | None


@dataclass(frozen=True, slots=True)
class Window:
    """Bytes of the stream from `position` on; they lie at `offset` of the file, or in the block that begins there (not `exact`)."""

    position: int
    data: Bytes
    offset: int
    exact: bool


class Chain:
    """The data behind a link. `kinds` are the ids of the blocks that may hold them; `invalid` takes the invalidation data of an LD block.

    `unit` is the bytes that one sample has in these data, which places the blocks of an LD list. Blocks that cannot be read are lost;
    those behind them are found where a list says how long the lost ones were.
    """

    def __init__(self, state: State, link: int, kinds: tuple[bytes, ...], unit: int = 1, invalid: bool = False) -> None:
        self.state = state
        self.link = link
        self.kinds = kinds
        self.unit = unit
        self.invalid = invalid
        self.budget: Budget = state.values if kinds == SIGNAL_DATA else state.records
        self.window = state.limits.read_size  # bytes that are read at a time
        self._chunks: list[Chunk] | None = None
        self._places: list[int] = []
        self._inflated: tuple[int, Bytes] = (-1, b"")

    def windows(self) -> Iterator[Window]:
        """All bytes in order; a position that is not the end of the last window is a gap."""
        for chunk in self.chunks():
            try:
                yield from self._windows(chunk)
            except LimitExceeded as error:
                self.state.lose(LimitExceeded(error.reason, chunk.offset), chunk.stored)
                return
            except ParseError as error:
                self.state.lose(error, chunk.stored)
            if chunk.missing:
                claimed = chunk.stored + chunk.missing
                end = chunk.start + chunk.stored
                self.state.lose(Truncated(f"data block of {claimed} bytes is cut after {chunk.stored}", end), chunk.missing)

    def _windows(self, chunk: Chunk) -> Iterator[Window]:
        if chunk.packed is not None:
            content = self._content(chunk)
            yield Window(chunk.position, content, chunk.offset, False)
            if len(content) < chunk.size and not chunk.missing:
                self.state.lose(Truncated(f"block inflates to {len(content)} bytes and declares {chunk.size}", chunk.offset), chunk.stored)
            return
        at = 0
        while at < chunk.size:
            data = self._stored(chunk, at)
            yield Window(chunk.position + at, data, chunk.start + at, True)
            at += len(data)

    def _stored(self, chunk: Chunk, at: int) -> Bytes:
        length = min(self.window, chunk.size - at)
        self.budget.spend(length)
        data = self.state.source.read_at(chunk.start + at, length)
        if not len(data):
            raise Truncated("file ended while it was read", min(chunk.start + at, self.state.source.size))
        return data

    def _content(self, chunk: Chunk) -> Bytes:
        assert chunk.packed is not None
        self.budget.spend(chunk.stored, chunk.packed.size)
        return inflated(chunk.packed, memoryview(self.state.source.read_at(chunk.start, chunk.stored)))

    # --- any place of the stream

    def size(self) -> int:
        """Bytes of the whole stream. Raises LimitExceeded when it has too many blocks."""
        self._index()
        return sum(chunk.size for chunk in self._chunks or ())

    def _index(self) -> list[Chunk]:
        if self._chunks is None:
            self._chunks = []
            for chunk in self.chunks():
                if len(self._chunks) >= _MOST_CHUNKS:
                    raise LimitExceeded(f"more than {_MOST_CHUNKS} blocks of signal data", chunk.offset)
                self._chunks.append(chunk)
                if chunk.missing:
                    end = chunk.start + chunk.stored
                    claimed = chunk.stored + chunk.missing
                    self.state.lose(Truncated(f"signal data of {claimed} bytes are cut after {chunk.stored}", end), chunk.missing)
            self._places = [chunk.position for chunk in self._chunks]
        return self._chunks

    def read_from(self, position: int) -> Bytes:
        """Some bytes from `position` on; none where the stream has none. Raises ParseError when they cannot be read."""
        chunks = self._index()
        place = bisect_right(self._places, position) - 1
        # Empty blocks share their position with the one behind them, which is found first.
        if place < 0 or position >= chunks[place].position + chunks[place].size:
            return b""
        chunk = chunks[place]
        if chunk.packed is None:
            return self._stored(chunk, position - chunk.position)
        if self._inflated[0] != place:
            self._inflated = (place, b"")
            self._inflated = (place, self._content(chunk))
        return memoryview(self._inflated[1])[position - chunk.position :]

    # --- blocks

    def largest(self) -> int:
        """Bytes of the largest compressed block; 0 when nothing is compressed. For who must hold a block of many chains at a time."""
        return max((chunk.size for chunk in self.chunks(quiet=True) if chunk.packed is not None), default=0)

    def chunks(self, quiet: bool = False) -> Iterator[Chunk]:
        """The blocks in order. What cannot be read is marked as lost, unless `quiet`."""
        position: int | None = 0
        end = 0  # a list that lies must not lead back
        for link, planned in self._links(quiet):
            if position is None and planned is not None and end <= planned < _FARTHEST:
                position = planned
            try:
                if position is None:
                    raise Corrupt("nobody says where the data behind a lost block belong", min(link, self.state.source.size))
                chunk = self._chunk(link, position)
            except ParseError as error:
                if not quiet:
                    self.state.lose_block(error)
                position = None
                continue
            end = chunk.position + chunk.size
            position = None if chunk.missing else end
            yield chunk

    def _chunk(self, link: int, position: int) -> Chunk:
        name, length, count = self.state.file.header(link)
        begin = link + HEADER.size + 8 * count
        room = self.state.source.size - begin
        if name == b"##DZ":
            fields = self.state.file.read(begin, _DZ.size)
            if len(fields) < _DZ.size:
                raise Truncated("header of a compressed block is cut", link)
            kind, method, columns, size, stored = _DZ.unpack(fields)
            if b"##" + kind not in self.kinds:
                raise Corrupt(f"compressed block holds {kind!r} data", link + HEADER.size)
            start = begin + _DZ.size
            there = min(stored, self.state.source.size - start)
            packed = Packed(link, method, columns, size, stored)
            check(packed, self.state.limits)
            return Chunk(link, position, size, start, there, stored - there, packed)
        if name not in self.kinds:
            raise Corrupt(f"link leads to a {name[2:].decode('ascii', 'replace')} block where data must stand", link)
        declared = length - HEADER.size - 8 * count
        if declared < 0 or room < 0 or (declared == 0 and self.state.unfinished & UPDATE_DATA_LENGTH):
            declared = self._open_length(link, begin, declared)
        there = min(declared, room)
        return Chunk(link, position, there, begin, there, declared - there, None)

    def _open_length(self, link: int, begin: int, declared: int) -> int:
        """The length of a block that was never closed."""
        if not self.state.unfinished & UPDATE_DATA_LENGTH or begin > self.state.source.size:
            raise Corrupt("data block has an impossible length", link + 8)
        if declared < 0:
            self.state.recording.add_problem(link + 8, "data block has an impossible length: it is read to its end")
        return self.state.open_end(begin) - begin

    def _links(self, quiet: bool) -> Iterator[tuple[int, int | None]]:
        """Each data block, and where a list says that it belongs."""
        link = self.link
        path = Path("data lists", _MOST_LISTS)
        index = 0
        try:
            while link:
                name, _, _ = self.state.file.header(link)
                if name not in (b"##HL", b"##DL", b"##LD"):
                    yield link, 0 if index == 0 else None
                    return
                path.enter(link)
                block = self.state.file.block(link)
                link = block.link(0)
                if name == b"##HL":
                    continue
                places = self._places_of(block, index)
                for number, child in enumerate(self._children(block)):
                    if child:
                        yield child, places[number] if places is not None and number < len(places) else None
                    index += 1
        except ParseError as error:
            if not quiet:
                self.state.lose_block(error)

    def _children(self, block: Block) -> tuple[int, ...]:
        children = block.links[1:]
        if block.id != b"##LD":
            return children
        flags, count = block.unpack(_LD)
        if self.invalid:
            # Some writers forget the flag; links for which there is no other use are invalidation data all the same.
            return children[count : 2 * count] if flags & _WITH_INVALID or len(children) == 2 * count else ()
        return children[:count]

    def _places_of(self, block: Block, index: int) -> range | tuple[int, ...] | None:
        """Where the blocks of a list begin in the stream."""
        listed = max(len(block.links) - 1, 0)
        if block.id == b"##LD":
            flags, count = block.unpack(_LD)
            head, unit = _LD.size, self.unit
            listed = min(listed, count)
        else:
            flags, _count = block.unpack(_DL)
            head, unit = _DL.size, 1
        values = (len(block.data) - head) // 8
        if flags & _EQUAL:
            if not values:
                return None
            step = struct.unpack_from("<Q", block.data, head)[0] * unit
            return range(index * step, (index + listed) * step, step) if 0 < step < 1 << 62 else None
        return tuple(unit * value for value in struct.unpack_from(f"<{max(min(values, listed), 0)}Q", block.data, head))
