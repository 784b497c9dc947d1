"""ROS 1 bags, version 2.0: bag header, connections and chunks here; the records are walked in _rosbag."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parsers.base import MAGIC, Match, Recording
from parsers.blocks import Block
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated, Unsupported
from parsers.limits import DEFAULT, MIB, Limits
from parsers.rosbag._rosbag import (
    OP_BAG_HEADER,
    OP_CHUNK,
    OP_CHUNK_INFO,
    OP_CONNECTION,
    REASON_CUT,
    STATUS_FULL,
    STATUS_MAGIC,
    STATUS_MORE,
    STATUS_RECORD,
    BagScanner,
    Messages,
)
from parsers.source import Source
from parsers.topics.chunks import inflate
from parsers.topics.decoder import MessageBatch, Schema
from parsers.topics.streams import TopicStreams

SIGNATURE = b"#ROSBAG V2.0\n"
_SMALLEST_WINDOW = MIB  # holds so many messages of each topic that a batch of them is worth its making
_MOST_DEFINITIONS = 8 * MIB  # bytes of the message definitions of one file; those of real bags stay below one
_MOST_PADDING = 256


@dataclass(frozen=True, slots=True)
class Connection:
    """Where messages come from: a topic with its message type (`package/Type`), definition and MD5 sum; `caller` is the node."""

    topic: str
    type: str
    md5: str = ""
    caller: str = ""
    definition: bytes = field(repr=False, default=b"")


class RosbagParser:
    """Reads the topics of ROS 1 bags, compressed or not, with an index or without."""

    format: ClassVar[str] = "rosbag"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".bag",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The signature #ROSBAG V."""
        return Match(MAGIC, "begins with #ROSBAG, the signature of ROS bags") if head.startswith(b"#ROSBAG V") else None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """One stream per topic and log messages, in file order; `t_ns` is UTC as the recorder received the message.

        Raises Corrupt without the signature, Unsupported for other versions and encrypted bags, and the first loss when nothing could
        be read.
        """
        streams = TopicStreams(recording, limits)
        numbers: dict[int, int] = {}
        for place, connection, batch in BagReader(source, recording, limits).batches():
            number = numbers.get(place)
            if number is None:
                number = numbers[place] = _topic(streams, connection, place)
            yield from streams.add(number, batch)
        yield from streams.finish()


def _topic(streams: TopicStreams, connection: Connection | None, place: int) -> int:
    if connection is None:
        return streams.unreadable(f"connection {place}", "no record describes the connection")
    return streams.topic(connection.topic, Schema("ros1", "ros1msg", connection.type, connection.definition))


class BagReader:
    """The raw messages of one file. Source of the layout: wiki.ros.org/Bags/Format/2.0."""

    def __init__(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.messages = Messages(min(limits.block_rows, 1 << 20))
        self.top = BagScanner(self.messages, True, source.size, limits.max_record_length)
        self.connections: dict[int, Connection | None] = {}  # by place
        self.first_error: ParseError | None = None
        self._budget = limits.max_inflate_ratio * source.size + limits.max_inflated
        self._definitions = _MOST_DEFINITIONS
        self._headers = 0
        self._chunks = self._chunk_infos = 0  # seen since the last bag header
        self._declared = (0, 0, 0)  # position of the index, connections, chunks
        self._in_index = 0  # connections seen behind the chunks
        self._counted = 0  # messages that the index counts

    def batches(self) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
        """Messages as they come, one connection at a time: (its number, what describes it, the messages).

        The buffer of a batch is valid until the next one is taken.
        """
        recording = self.recording
        recording.format = RosbagParser.format
        recording.absolute = True
        self._check_signature(0)
        recording.add_metadata("rosbag version", "2.0")
        yield from self._walk_file(len(SIGNATURE))
        self._check_end()
        if self.first_error is not None and not (self.messages.total or recording.skipped):
            raise self.first_error

    # --- the file

    def _check_signature(self, offset: int) -> None:
        head = bytes(self.source.read_at(offset, 2 * len(SIGNATURE)))
        if head.startswith(SIGNATURE):
            return
        if SIGNATURE.startswith(head):
            raise Truncated(f"the signature needs {len(SIGNATURE)} bytes, {len(head)} are there", offset)
        if head.startswith((b"#ROSBAG V", b"#ROSRECORD")):
            version = head[1:].partition(b"\n")[0].decode("ascii", "replace")
            raise Unsupported(f"a bag of version {version!r}, 2.0 is read", offset)
        raise Corrupt("no #ROSBAG signature", offset)

    def _walk_file(self, base: int) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
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
                elif status == STATUS_MAGIC:
                    at += self._join(base + at)
                elif status == STATUS_RECORD:
                    if self.top.op == OP_CHUNK and self.messages.count:
                        yield from self._flush(data, base)  # what a chunk inflates to is another buffer
                    yield from self._record(window, at, base)
                    if self._budget < 0:
                        return
            yield from self._flush(data, base)
            base += at
            if final:
                if base < size:
                    self._lose(Truncated("file ended while it was read", base), size - base)
                return

    def _flush(self, data: NDArray[np.uint8], origin: int) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
        for place, t_ns, offset, length in self.messages.take():
            connection = self.connections.get(place)
            yield place, connection, MessageBatch(t_ns, data, offset, length, origin)

    def _record(self, window: memoryview, at: int, base: int) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
        top = self.top
        offset = base + at
        head = bytes(window[at + 4 : at + 4 + top.head_size])
        fields = parse_fields(head)
        start = 8 + top.head_size
        if top.op == OP_CHUNK:
            yield from self._chunk(fields, offset, start, window[at + start : at + start + top.data_size])
            return
        if top.op == OP_CONNECTION:
            self._connection(fields, self._data(window, at + start, offset + start, top.data_size), offset, offset)
        elif top.op == OP_BAG_HEADER:
            self._bag_header(fields, offset)
        elif top.op == OP_CHUNK_INFO:
            self._chunk_infos += 1
            self._counted += _chunk_messages(self._data(window, at + start, offset + start, top.data_size))
        top.pass_over(offset)

    def _data(self, window: memoryview, at: int, offset: int, size: int) -> memoryview:
        """The data of a record, read anew when the window ends before it."""
        if size > self.limits.max_record_length:
            return window[:0]
        if at + size <= len(window):
            return window[at : at + size]
        return memoryview(self.source.read_at(offset, size))

    def _bag_header(self, fields: dict[bytes, bytes], offset: int) -> None:
        self._headers += 1
        if self._headers > 1:
            self._begin_again(offset)
        encryptor = fields.get(b"encryptor", b"")
        if encryptor:
            raise Unsupported(f"the bag is encrypted ({encryptor[:100].decode('utf-8', 'replace')})", offset)
        position = int.from_bytes(fields.get(b"index_pos", b""), "little")
        counts = [int.from_bytes(fields.get(name, b"")[:4], "little") for name in (b"conn_count", b"chunk_count")]
        self._declared = (position, counts[0], counts[1])
        if position == 0:
            self.recording.add_problem(offset, "the recording was interrupted: the bag has no index and is read without")

    def _join(self, offset: int) -> int:
        """Another signature in the middle: bags were joined. The connections of the second are its own."""
        try:
            self._check_signature(offset)
        except ParseError as error:
            self._lose(error, 4)
            return 4
        return len(SIGNATURE)

    def _begin_again(self, offset: int) -> None:
        self.recording.add_problem(offset, "another bag begins here: its messages follow those of the first")
        self._chunks = self._chunk_infos = 0
        self.messages.forget()

    def _check_end(self) -> None:
        """Whether all is there that the bag header counts: a file may be cut between two records."""
        position, connections, chunks = self._declared
        size = self.source.size
        if not self._headers:
            self._lose(Corrupt("there is no bag header", len(SIGNATURE)), 0)
        if self._headers != 1 or position == 0:
            return
        if position > size:
            self._lose(Truncated(f"the bag header says that the index begins at {position}, the file ends before", size), position - size)
        elif self._chunks != chunks or self._chunk_infos != chunks:
            told = f"the bag header counts {chunks} chunks, there are {self._chunks}, and {self._chunk_infos} in the index"
            self.recording.add_problem(min(position, size), told)
        elif self._in_index < connections:
            self.recording.add_problem(min(position, size), f"the bag header counts {connections} connections, the index has fewer")
        elif self._counted != self.messages.total and not self.recording.lost:
            told = f"the index counts {self._counted} messages, {self.messages.total} were read"
            self.recording.add_problem(min(position, size), told)

    # --- connections

    def _connection(self, fields: dict[bytes, bytes], data: memoryview, offset: int, at: int) -> None:
        """Keeps what a connection record says; one that is described anew gets a number of its own."""
        position = self._declared[0]
        if self._headers == 1 and position and offset >= position:
            self._in_index += 1
        number = int.from_bytes(fields.get(b"conn", b"")[:4], "little")
        inner = parse_fields(bytes(data))
        definition = inner.get(b"message_definition", b"")
        place = self.messages.known(number)
        known = self.connections.get(place)
        described = Connection(
            _text(fields.get(b"topic", b"")),
            _text(inner.get(b"type", b"")),
            _text(inner.get(b"md5sum", b"")),
            _text(inner.get(b"callerid", b"")),
            definition,
        )
        if not inner or not described.type:
            self.recording.add_problem(at, f"the connection of {described.topic} has no type")
            return
        if known == described:
            return
        self._definitions -= len(definition)
        if self._definitions < 0:
            self.recording.add_problem(at, f"message definitions of more than {_MOST_DEFINITIONS} bytes: {described.topic} is not read")
            return
        self.connections[self.messages.describe(number)] = described

    # --- chunks

    def _chunk(
        self, fields: dict[bytes, bytes], offset: int, start: int, data: memoryview
    ) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
        self._chunks += 1
        top = self.top
        size = top.data_size
        there = min(size, self.source.size - offset - start)
        compression = fields.get(b"compression", b"")
        if compression == b"none":
            if there < size:
                self._lose(Truncated(f"chunk of {size} bytes is cut after {there}", offset), start + there)
            top.enter(offset)
            return
        try:
            content = self._content(compression, fields.get(b"size", b""), offset, start, data, there)
        except ParseError as error:
            self._lose(error, start + there)
            content = b""
        top.pass_over(offset)
        if there < size:
            self._lose(Truncated(f"chunk of {size} bytes is cut after {there}", offset), start + there)
        self._budget -= len(content)
        yield from self._walk_chunk(content, offset, start + there)
        if self._budget < 0:
            end = offset + start + there
            too_much = LimitExceeded("chunks inflate to more than the size of the file justifies", end)
            self._lose(too_much, self.source.size - end)

    def _content(self, compression: bytes, size: bytes, offset: int, start: int, data: memoryview, there: int) -> bytes | memoryview:
        """What a chunk inflates to. Raises ParseError when nothing of it can be trusted."""
        declared = int.from_bytes(size, "little")
        if declared > self.limits.max_inflated:
            raise LimitExceeded(f"chunk declares {declared} bytes, {self.limits.max_inflated} are allowed", offset)
        if there > self.limits.max_record_length:
            raise LimitExceeded(f"chunk of {there} bytes, {self.limits.max_record_length} are allowed", offset)
        if len(data) < there:
            data = memoryview(self.source.read_at(offset + start, there))
        content, complaint = inflate(compression, data, declared, offset, cut=there < self.top.data_size)
        if complaint:
            self._lose(Corrupt(complaint, offset), start + there)
        return content

    def _walk_chunk(self, content: bytes | memoryview, offset: int, length: int) -> Iterator[tuple[int, Connection | None, MessageBatch]]:
        scanner = BagScanner(self.messages, False, len(content), self.limits.max_record_length)
        data = np.frombuffer(content, np.uint8)
        at = 0
        while True:
            at = scanner.scan(data, at, 0, True)
            self._drain(scanner, offset, length)
            if scanner.status == STATUS_MORE:
                break
            if scanner.status == STATUS_FULL:
                yield from self._flush(data, offset)
            elif scanner.status == STATUS_RECORD:
                view = memoryview(content)
                begin = at + 4
                fields = parse_fields(bytes(view[begin : begin + scanner.head_size]))
                begin += scanner.head_size + 4
                self._connection(fields, view[begin : begin + scanner.data_size], -1, offset)
                scanner.pass_over(at)
        yield from self._flush(data, offset)

    # --- damage

    def _drain(self, scanner: BagScanner, chunk_offset: int, chunk_length: int) -> None:
        for offset, length, reason in scanner.drain_bad():
            if scanner is self.top and length <= _MOST_PADDING and not bytes(self.source.read_at(offset, length)).strip(b"\0"):
                self.recording.add_problem(offset, f"{length} zero bytes between two records")
            elif scanner is self.top:
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


_LENGTH = struct.Struct("<I")


def parse_fields(data: bytes) -> dict[bytes, bytes]:
    """The fields of a header: u32 length, name, `=`, value. What is not well formed ends it; the first of a name counts."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        name, equals, value = data[at : at + length].partition(b"=")
        if not equals or at + length > len(data) or len(fields) >= 64:
            break
        fields.setdefault(name, value)
        at += length
    return fields


def _chunk_messages(data: memoryview) -> int:
    """The messages that a chunk info record counts: pairs of u32 connection and u32 count."""
    return int(np.frombuffer(data[: len(data) // 8 * 8], "<u4")[1::2].sum(dtype=np.int64))


def _text(data: bytes) -> str:
    return data[:1000].decode("utf-8", "replace")
