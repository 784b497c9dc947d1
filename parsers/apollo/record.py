"""Records of Apollo Cyber RT: header, channels and their descriptors here; sections and messages are walked in _record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parsers.apollo._record import (
    REASON_CUT,
    SECTION_CHANNEL,
    SECTION_HEADER,
    SECTION_INDEX,
    STATUS_FULL,
    STATUS_MORE,
    STATUS_PACKED,
    STATUS_SECTION,
    RecordMessages,
    RecordScanner,
)
from parsers.apollo.fields import descriptor_set, fields, numbers
from parsers.base import STRUCTURE, Match, Recording
from parsers.blocks import Block
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated
from parsers.limits import DEFAULT, MIB, Limits
from parsers.source import Source
from parsers.topics._texts import SpanCoder, TextBudget
from parsers.topics.chunks import inflate
from parsers.topics.decoder import MessageBatch, Schema
from parsers.topics.streams import TopicStreams

HEAD = 16
HEADER_END = HEAD + 2048
_SMALLEST_WINDOW = MIB  # holds so many messages of each channel that a batch of them is worth its making
_MOST_DESCRIPTORS = 8 * MIB  # bytes of the descriptors of one file; those of all of Apollo are below one
_MOST_CHANNELS = 65_536
_SUFFIXES = (".record", *(f".{number:05d}" for number in range(100)))


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel with its message type and a serialised FileDescriptorSet that holds it, empty when the record has none."""

    name: str
    type: str
    descriptors: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Header:
    """What the header section says. Source: cyber/proto/record.proto of Apollo, message Header."""

    major: int
    minor: int
    index_position: int
    messages: int
    complete: bool

    @classmethod
    def read(cls, data: memoryview) -> Header:
        """Raises ValueError when it is none."""
        found = numbers(data)
        if not found or max(found) > 15 or 1 not in found:
            raise ValueError("not the fields of a header")
        return cls(found[1], found.get(2, 0), found.get(6, 0), found.get(11, 0), bool(found.get(13, 0)))


class ApolloParser:
    """Reads the channels of Apollo Cyber records by the descriptors that are embedded in them, with an index or without."""

    format: ClassVar[str] = "apollo"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = _SUFFIXES

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """A header section whose fields are those of a record; there is no magic number."""
        if len(head) <= HEAD or int.from_bytes(head[:4], "little") != SECTION_HEADER:
            return None
        length = int.from_bytes(head[8:16], "little")
        if not 0 < length <= HEADER_END - HEAD:
            return None
        try:
            header = Header.read(memoryview(head)[HEAD : HEAD + length])
        except ValueError:
            return None
        return Match(STRUCTURE, f"begins with the header of an Apollo record, version {header.major}.{header.minor}")

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """One stream per channel, in file order; `t_ns` is UTC as the recorder received the message.

        Raises Corrupt without the header, and the first loss when nothing could be read.
        """
        streams = TopicStreams(recording, limits)
        numbers: dict[int, int] = {}
        for place, channel, batch in RecordReader(source, recording, limits).batches():
            number = numbers.get(place)
            if number is None:
                number = numbers[place] = _topic(streams, channel)
            yield from streams.add(number, batch)
        yield from streams.finish()


def _topic(streams: TopicStreams, channel: Channel) -> int:
    if not channel.type:
        return streams.unreadable(channel.name, "no section describes the channel")
    if not channel.descriptors:
        return streams.unreadable(channel.name, f"the record holds no descriptor of {channel.type}")
    return streams.topic(channel.name, Schema("protobuf", "protobuf", channel.type, channel.descriptors))


class RecordReader:
    """The raw messages of one file. Source of the layout: cyber/record/file and cyber/proto/record.proto of Apollo."""

    def __init__(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.messages = RecordMessages(min(limits.block_rows, 1 << 20))
        self.top = RecordScanner(self.messages, True, source.size, limits.max_record_length)
        self.first_error: ParseError | None = None
        self._channels: dict[str, Channel] = {}
        self._places: dict[int, tuple[int, Channel]] = {}  # code of a name -> number of the channel as it is described now
        self._next_place = 0
        self._names: dict[int, str] = {}
        self._coder = SpanCoder(self._names, TextBudget(8 * MIB), _MOST_CHANNELS)
        self._budget = limits.max_inflate_ratio * source.size + limits.max_inflated
        self._descriptors = _MOST_DESCRIPTORS
        self._headers: list[Header] = []
        self._index_seen = False

    def batches(self) -> Iterator[tuple[int, Channel, MessageBatch]]:
        """Messages as they come, one channel at a time: (its number, what it is, the messages).

        A channel that is described anew gets another number. The buffer of a batch is valid until the next one is taken.
        """
        self.recording.format = ApolloParser.format
        self.recording.absolute = True
        self._header(0)
        yield from self._walk_file(HEADER_END)
        self._check_end()
        if self.first_error is not None and not (self.messages.total or self.recording.skipped):
            raise self.first_error

    # --- the file

    def _header(self, offset: int) -> None:
        head = memoryview(self.source.read_at(offset, HEADER_END))
        if len(head) < HEADER_END and (len(head) < HEAD or ApolloParser.sniff(bytes(head), self.source.size)):
            if any(head[:4]):
                raise Corrupt("no header section", offset)
            raise Truncated(f"header section needs {HEADER_END} bytes, {len(head)} are there", offset)
        length = int.from_bytes(head[8:16], "little")
        if int.from_bytes(head[:4], "little") != SECTION_HEADER or not 0 < length <= HEADER_END - HEAD:
            raise Corrupt("no header section", offset)
        try:
            header = Header.read(head[HEAD : HEAD + length])
        except ValueError as error:
            raise Corrupt(f"the header section is none: {error}", offset + HEAD) from None
        self._headers.append(header)
        self.recording.add_metadata("record version", f"{header.major}.{header.minor}")
        if not header.complete:
            self.recording.add_problem(offset + HEAD, "the recording was not closed: its header is not marked as complete")

    def _walk_file(self, base: int) -> Iterator[tuple[int, Channel, MessageBatch]]:
        size = self.source.size
        window_size = max(self.limits.read_size, _SMALLEST_WINDOW)
        while True:
            window = memoryview(self.source.read_at(base, max(window_size, self.top.wanted)))
            final = base + len(window) >= size or not len(window)
            data = np.frombuffer(window, np.uint8)
            at = 0
            while True:
                at = self.top.scan(data, at, base, final)
                self._drain(self.top, 0, 0)
                status = self.top.status
                if status == STATUS_MORE:
                    break
                if status == STATUS_FULL:
                    yield from self._flush(data, base)
                elif status == STATUS_SECTION:
                    if self.top.kind == SECTION_CHANNEL:
                        yield from self._flush(data, base)  # those before belong to what was described before
                    self._section(window, at, base)
                elif status == STATUS_PACKED:
                    yield from self._flush(data, base)  # what a chunk inflates to is another buffer
                    yield from self._packed(base + at)
                    if self._budget < 0:
                        return
            yield from self._flush(data, base)
            base += at
            if final:
                if base < size:
                    self._lose(Truncated("file ended while it was read", base), size - base)
                return

    def _flush(self, data: NDArray[np.uint8], origin: int) -> Iterator[tuple[int, Channel, MessageBatch]]:
        """Hands out the messages by channel, and in file order within one."""
        t_ns, name, name_length, content, content_length = self.messages.take()
        if not len(t_ns):
            return
        codes, mask = self._coder.codes(data, name, name_length)
        if mask is not None:
            missing = int(len(mask) - np.count_nonzero(mask))
            self.recording.add_problem(origin, f"more than {len(self._names)} channels: messages of further ones are not read", missing)
            self.recording.add_skipped("message of a channel beyond the limit", missing)
            codes = np.where(mask, codes, -1).astype(np.int32)
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        bounds = np.flatnonzero(np.diff(codes, prepend=-2, append=-2))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            code = int(codes[start])
            if code < 0:
                continue
            rows = order[start:end]
            place, channel = self._place(code)
            yield place, channel, MessageBatch(t_ns[rows], data, content[rows], content_length[rows], origin)

    def _place(self, code: int) -> tuple[int, Channel]:
        """The number of a channel as it is described now."""
        name = self._names[code]
        channel = self._channels.get(name) or Channel(name, "")
        known = self._places.get(code)
        if known is None or known[1] != channel:
            known = self._places[code] = (self._next_place, channel)
            self._next_place += 1
        return known

    def _section(self, window: memoryview, at: int, base: int) -> None:
        offset, size, kind = base + at, self.top.section_size, self.top.kind
        self.top.pass_over(offset)
        if kind == SECTION_HEADER:
            self.recording.add_problem(offset, "another record begins here: its messages follow those of the first")
            try:
                self._header(offset)
            except ParseError as error:
                self._lose(error, HEADER_END)
        elif kind == SECTION_INDEX:
            self._index_seen = True
        elif size > self.limits.max_record_length:
            too_long = LimitExceeded(f"channel section of {size} bytes, {self.limits.max_record_length} are allowed", offset)
            self._lose(too_long, HEAD + size)
        else:
            start = at + HEAD
            whole = start + size <= len(window)
            data = window[start : start + size] if whole else memoryview(self.source.read_at(offset + HEAD, size))
            self._channel(data, offset)

    def _channel(self, data: memoryview, offset: int) -> None:
        """A channel section: 1 name, 2 message type, 3 ProtoDesc."""
        try:
            found = {number: value for number, value in fields(data) if not isinstance(value, int)}
            name, kind = (str(found.get(number, b""), "utf-8", "replace")[:1000] for number in (1, 2))
            descriptors = descriptor_set(memoryview(found.get(3, b"")))
        except ValueError as error:
            self._lose(Corrupt(f"a channel cannot be read: {error}", offset), HEAD + len(data))
            return
        self._descriptors -= len(data)
        if self._descriptors < 0:
            self._lose(LimitExceeded(f"descriptors of more than {_MOST_DESCRIPTORS} bytes in one file", offset), HEAD + len(data))
        else:
            self._channels[name] = Channel(name, kind, descriptors)

    def _check_end(self) -> None:
        """Whether all is there that the header counts: a file may be cut between two sections."""
        size = self.source.size
        if len(self._headers) != 1 or not self._headers[0].complete:
            return
        header = self._headers[0]
        if header.index_position > size:
            missing = header.index_position - size
            self._lose(Truncated(f"the header says that the index begins at {header.index_position}, the file ends before", size), missing)
        elif header.index_position and not self._index_seen:
            self.recording.add_problem(min(header.index_position, size), "there is no index where the header says")
        elif header.messages and header.messages != self.messages.total and not self.recording.lost:
            self.recording.add_problem(HEAD, f"the header counts {header.messages} messages, {self.messages.total} were read")

    # --- compressed chunks

    def _packed(self, offset: int) -> Iterator[tuple[int, Channel, MessageBatch]]:
        size = self.top.section_size
        there = min(size, self.source.size - offset - HEAD)
        self.top.pass_over(offset)
        try:
            if there > self.limits.max_record_length:
                raise LimitExceeded(f"chunk of {there} bytes, {self.limits.max_record_length} are allowed", offset)
            data = memoryview(self.source.read_at(offset + HEAD, there))
            compression = b"bz2" if data[0] == ord("B") else b"lz4"
            content, complaint = inflate(compression, data, self.limits.max_inflated, offset, cut=there < size, exact=False)
        except ParseError as error:
            self._lose(error, HEAD + there)
            return
        if complaint:
            self._lose(Corrupt(complaint, offset), HEAD + there)
        self._budget -= len(content)
        yield from self._walk_chunk(content, offset, HEAD + there)
        if self._budget < 0:
            end = offset + HEAD + there
            self._lose(LimitExceeded("chunks inflate to more than the size of the file justifies", end), self.source.size - end)

    def _walk_chunk(self, content: bytes | memoryview, offset: int, length: int) -> Iterator[tuple[int, Channel, MessageBatch]]:
        scanner = RecordScanner(self.messages, False, len(content), self.limits.max_record_length)
        data = np.frombuffer(content, np.uint8)
        at = 0
        while True:
            at = scanner.scan(data, at, 0, True)
            self._drain(scanner, offset, length)
            if scanner.status == STATUS_MORE:
                break
            if scanner.status == STATUS_FULL:
                yield from self._flush(data, offset)
        yield from self._flush(data, offset)

    # --- damage

    def _drain(self, scanner: RecordScanner, chunk_offset: int, chunk_length: int) -> None:
        for offset, length, reason in scanner.drain_bad():
            if scanner is self.top:
                error = Truncated if reason == REASON_CUT else Corrupt
                self._lose(error(reason, offset), length)
            else:
                self.recording.add_lost(chunk_offset, chunk_length, f"in a chunk: {reason}")
                self.recording.add_problem(chunk_offset, f"{reason} ({length} bytes at {offset} of the chunk's content)")
                self.first_error = self.first_error or Corrupt(reason, chunk_offset)

    def _lose(self, error: ParseError, length: int) -> None:
        """Marks bytes from the error's offset on as lost and goes on."""
        offset = error.offset or 0
        if length:
            self.recording.add_lost(offset, length, error.reason)
        self.recording.add_problem(offset, error.reason)
        self.first_error = self.first_error or error
