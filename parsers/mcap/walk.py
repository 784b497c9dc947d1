"""One MCAP file from begin to end: windows, chunks, what the records define, and the way on behind damage."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated
from parsers.limits import KIB, MIB, Limits
from parsers.mcap import records
from parsers.mcap._records import (
    REASON_TOO_LONG,
    REASONS,
    STATUS_BAD,
    STATUS_MAGIC,
    STATUS_MORE,
    STATUS_RECORD,
    RecordScanner,
    find_record,
)
from parsers.mcap.definitions import Definitions
from parsers.mcap.inflate import Inflater, Region
from parsers.mcap.records import MAGIC, RECORD_HEAD, Channel, Fields, read_chunk_head
from parsers.source import Source

_SMALLEST_WINDOW = 64 * KIB  # holds what a search for the next record looks at
_MOST_MESSAGES = 65_536  # gathered at once
_LARGEST_WINDOW = 2 * MIB
_LOOK = 8192
_MOST_ATTACHMENT_HEAD = 64 * KIB


Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Content:
    """A stretch of records whose messages `scanner` has gathered; they lie in `window` (uint8), which begins at byte `origin` of the
    file, or is what the chunk there inflates to."""

    window: Bytes
    scanner: RecordScanner
    origin: int


@dataclass(slots=True)
class _Chunk:
    """A chunk being read: its place in the file; `start` is that of its records when they are stored."""

    offset: int
    size: int
    start: int | None
    done: int = 0  # bytes of the content that have been read
    damage: tuple[int, str] | None = None


class Walk:
    """Reads one file. `contents` stops whenever messages have been gathered, which must be taken before it goes on."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.messages = 0  # counted by whoever takes them
        self.definitions = Definitions(limits)
        self._first_error: ParseError | None = None
        most = max(1, min(_MOST_MESSAGES, limits.block_rows))
        self._top = RecordScanner(True, limits.max_record_length, most)
        self._inner = RecordScanner(False, limits.max_record_length, most)
        self._window_size = max(limits.read_size, _SMALLEST_WINDOW)
        self._wanted = 0
        self._budget = limits.max_inflate_ratio * source.size + limits.max_inflated
        self._files = 0
        self._begin_file(0)

    def _begin_file(self, offset: int) -> None:
        self._data_end = False  # behind it the summary repeats what has been read
        self._footer = False
        self._closed = False
        self._damage: tuple[int, str] | None = None
        self._crc = 0
        self._crc_at: int | None = offset  # None when bytes were passed over
        self._summary_at = -1
        self.definitions.forget()

    # --- damage

    def note(self, error: ParseError) -> None:
        """A problem that loses no bytes."""
        self.recording.add_problem(error.offset or 0, error.reason)
        if self._first_error is None:
            self._first_error = error

    def _lose(self, error: ParseError, length: int) -> None:
        """Marks bytes from the error's offset on as lost; what a compressed chunk holds may be longer than the file."""
        begin = error.offset or 0
        self.recording.add_lost(begin, min(length, self.source.size - begin), error.reason)
        self.note(error)

    def _recovered(self, offset: int) -> None:
        """The damaged stretch ends here."""
        if self._damage is None:
            return
        begin, reason = self._damage
        self._damage = None
        if self._data_end and not self._closed:
            self.note(Corrupt(f"the summary is damaged: {reason}", begin))
        else:
            self._lose((Truncated if offset >= self.source.size else Corrupt)(reason, begin), offset - begin)

    # --- the file

    def contents(self) -> Iterator[Content]:
        """The file from its first byte to its last. Raises Corrupt or Truncated when it does not begin with the signature."""
        head = bytes(self.source.read_at(0, len(MAGIC)))
        if head != MAGIC:
            if head and MAGIC.startswith(head):
                raise Truncated(f"the signature of MCAP has {len(MAGIC)} bytes, {len(head)} are there", 0)
            raise Corrupt("no signature of MCAP", 0)
        base = 0
        while base < self.source.size:
            base = yield from self._window(base)
            if self._budget < 0:
                error = LimitExceeded("chunks inflate to more than the size of the file justifies", min(base, self.source.size))
                self._lose(error, max(0, self.source.size - base))
                return
        if not self._closed:
            self._unclosed(self.source.size)

    def finish(self) -> None:
        """Lists what was read over. Raises the first loss when there was no message at all."""
        for scanner in (self._top, self._inner):
            for opcode, count in scanner.skipped_counts().items():
                if opcode not in records.REDUNDANT:
                    self.recording.add_skipped(f"record of unknown kind 0x{opcode:02x}", count)
            if scanner.bad_times:
                self.recording.add_problem(0, f"{scanner.bad_times} messages with times beyond the year 2262", scanner.bad_times)
        if self._first_error is not None and not self.messages:
            raise self._first_error

    def _unclosed(self, offset: int) -> None:
        """The file ends, or another begins, before its footer."""
        error = Truncated("the recording was not closed: it has no footer, and messages at its end may be missing", offset)
        if self._data_end:
            self.note(error)
        else:
            self._lose(error, 0)

    def _window(self, base: int) -> Generator[Content, None, int]:
        """One window, which begins at a record or inside one that is read over; returns where the next one begins."""
        size = self.source.size
        window = np.frombuffer(self.source.read_at(base, max(self._window_size, self._wanted)), np.uint8)
        if not len(window):
            self._lose(Truncated("file ended while it was read", base), size - base)
            return size
        final = base + len(window) >= size
        self._wanted = at = 0
        while True:
            if self._damage is not None or self._closed:
                at = self._search(window, at, base, final)
                if self._damage is not None:
                    break
            at = self._top.scan(window, at, size - base, final)
            status = self._top.status
            if self._top.count:
                yield Content(window, self._top, base)
            if status == STATUS_MORE:
                self._wanted = self._top.wanted
                break
            if status == STATUS_RECORD and len(window) - at < RECORD_HEAD + records.MOST_CHUNK_HEAD and not final:
                break
            at = (yield from self._met(window, base, at)) - base
            if at > len(window) or self._budget < 0:
                return base + at
        self._checksum(window, base, base + at)
        if final:
            self._recovered(size)
            return size
        return base + at

    def _met(self, window: Bytes, base: int, at: int) -> Generator[Content, None, int]:
        """What the scanner stopped at; where it is to go on."""
        if self._top.status == STATUS_BAD:
            return self._bad(base + at)
        if self._top.status == STATUS_MAGIC:
            return self._magic(base + at)
        if self._top.status == STATUS_RECORD:
            return (yield from self._record(window, base, at))
        return base + at

    def _search(self, window: Bytes, at: int, base: int, final: bool) -> int:
        """Goes on behind damage or behind the end of the file: where the next record begins, or how far was searched."""
        if not self._closed:
            at, found = find_record(window, at, self.source.size - base, final)
            if found:
                self._recovered(base + at)
            return at
        rest = window[at:].tobytes()
        place = rest.find(MAGIC)
        if place < 0 and rest and self._damage is None:
            self._damage = base + at, "bytes behind the end of the file"
        if place >= 0:
            if place:
                self._damage = self._damage or (base + at, "bytes behind the end of the file")
            self._recovered(base + at + place)
            return at + place
        return at + len(rest) if final else max(at, len(window) - len(MAGIC))

    def _bad(self, offset: int) -> int:
        """No record can be read here; where the search for the next one begins."""
        reason = REASONS[self._top.reason]
        if self._top.reason == REASON_TOO_LONG:
            end = offset + RECORD_HEAD + self._top.record_length
            behind = np.frombuffer(self.source.read_at(end, _SMALLEST_WINDOW), np.uint8)
            if find_record(behind[:_LOOK], 0, self.source.size - end, True) == (0, True):
                self._crc_at = None
                self._lose(LimitExceeded(f"{reason}: {self._top.record_length} bytes", offset), end - offset)
                return end
        self._damage = offset, reason
        return offset + 1

    def _magic(self, offset: int) -> int:
        """The signature: of the file's begin, of its end, or of another file that was joined to it."""
        if self._files == 0:
            self._files = 1
        elif self._footer and not self._closed:
            self._closed = True
        else:
            if not self._closed:
                self._unclosed(offset)
            self._files += 1
            self._begin_file(offset)
            self.note(Corrupt("another MCAP file begins here: it is read as well", offset))
        return offset + len(MAGIC)

    def _checksum(self, window: Bytes, base: int, upto: int) -> None:
        """Takes the bytes of the window before `upto` into the checksum of the file."""
        if self._crc_at is None:
            return
        if self._crc_at < base or upto > base + len(window):
            self._crc_at = None
        elif upto > self._crc_at:
            self._crc = isal_zlib.crc32(window[self._crc_at - base : upto - base], self._crc)
            self._crc_at = upto

    # --- records

    def _record(self, window: Bytes, base: int, at: int) -> Generator[Content, None, int]:
        """The record that the scanner stopped at; where the one behind it begins."""
        offset = base + at
        opcode, length = self._top.opcode, self._top.record_length
        end = offset + RECORD_HEAD + length
        if opcode == records.CHUNK:
            yield from self._chunk(window, base, at, length)
        elif opcode == records.ATTACHMENT:
            self._attachment(offset + RECORD_HEAD, length)
        else:
            if opcode == records.DATA_END:
                self._checksum(window, base, offset)
            elif opcode == records.FOOTER:
                self._checksum(window, base, min(end - 4, base + len(window)))  # all but the checksum itself
            self._describe(opcode, window[at + RECORD_HEAD : at + RECORD_HEAD + length].tobytes(), offset + RECORD_HEAD)
        if end > base + len(window) and opcode != records.CHUNK:
            self._crc_at = None
        return min(end, self.source.size)

    def _describe(self, opcode: int, content: bytes, offset: int, chunk: _Chunk | None = None) -> None:
        """A record that says something of others; one that does not fit is lost. `chunk` is the compressed one that it lies in."""
        fields = Fields(content, offset, records.NAMES[opcode])
        try:
            if opcode == records.HEADER:
                for key, value in (("profile", fields.text()), ("library", fields.text())):
                    if value:
                        self.recording.add_metadata(key, value)
            elif opcode == records.METADATA:
                name = fields.text()
                for key, value in fields.pairs(self.limits.max_listed).items():
                    self.recording.add_metadata(f"{name}.{key}" if name else key, value)
            elif opcode == records.SCHEMA and not self._data_end:
                self.definitions.add_schema(fields)
            elif opcode == records.CHANNEL and not self._data_end:
                self.definitions.add_channel(fields)
            elif opcode in (records.DATA_END, records.FOOTER):
                self._end_section(opcode, fields, offset + len(content))
        except ParseError as error:
            if chunk is not None:
                error = type(error)(error.reason, chunk.offset)
            self._lose(error, chunk.size if chunk is not None else max(0, offset + len(content) - (error.offset or 0)))

    def _end_section(self, opcode: int, fields: Fields, end: int) -> None:
        """The record that ends the data section, or the summary behind it; each has a checksum of its section."""
        self._data_end = True
        if opcode == records.DATA_END:
            if self._differs(fields.number(4)):
                self.note(Corrupt("checksum of the data section is wrong: something before this byte is not as it was written", end - 4))
            self._crc, self._crc_at, self._summary_at = 0, end, end
            return
        self._footer = True
        summary_at = fields.number(8)
        fields.take(8)
        if summary_at == self._summary_at and self._differs(fields.number(4)):
            self.note(Corrupt("checksum of the summary is wrong", end - 4))

    def _differs(self, crc: int) -> bool:
        """Whether a checksum (0 when there is none) is not that of the bytes read."""
        return crc != 0 and self._crc_at is not None and crc != self._crc

    def _attachment(self, offset: int, length: int) -> None:
        # u64 log time, u64 create time, name, media type, u64 length of the data, the data, u32 crc
        fields = Fields(bytes(self.source.read_at(offset, min(length, _MOST_ATTACHMENT_HEAD))), offset, "attachment")
        try:
            fields.take(16)
            name, media_type, size = fields.text(), fields.text(), fields.number(8)
        except ParseError as error:
            self._lose(error, max(0, offset + length - (error.offset or 0)))
            return
        self.recording.add_attachment(name, media_type, size)

    def channel(self, number: int, place: int) -> Channel | None:
        """The channel of a message just gathered; looked for in the summary when its record is missing."""
        found = self.definitions.channel(number)
        if found is None:
            found = self.definitions.channel_of_summary(number, self.source)
            where = "only in the summary" if found else "nowhere"
            self.note(Corrupt(f"channel {number} of the messages is described {where}", place))
        return found

    # --- chunks

    def _chunk(self, window: Bytes, base: int, at: int, length: int) -> Iterator[Content]:
        offset = base + at
        body = offset + RECORD_HEAD
        size = min(RECORD_HEAD + length, self.source.size - offset)
        try:
            head = read_chunk_head(window[at + RECORD_HEAD :][: min(length, records.MOST_CHUNK_HEAD)].tobytes(), body, length)
        except ParseError as error:
            self._crc_at = None
            self._lose(error, size - RECORD_HEAD)
            return
        start = body + head.at
        there = max(0, min(head.length, self.source.size - start))
        data = self._chunk_data(window, base, start, there)
        stored = head.compression == ""
        declared = head.length if stored else head.inflated
        cut = there < head.length
        inflater = Inflater(head.compression, declared, self._budget + 1, offset, data, Region(self.source, start, there), cut)
        yield from self._content(inflater, offset, size, start if stored else None)
        self._budget -= inflater.size
        if inflater.error is not None:
            self._lose(inflater.error, size)
        elif head.crc and head.crc != inflater.crc:
            self.note(Corrupt("checksum of a chunk is wrong: its messages are not as they were written", offset))
        elif stored and head.inflated != head.length:
            self.note(Corrupt(f"stored chunk of {head.length} bytes declares {head.inflated}", offset))

    def _chunk_data(self, window: Bytes, base: int, start: int, length: int) -> memoryview | None:
        """The chunk's bytes; None when they are too many to be held at once."""
        end = base + len(window)
        if start + length <= end:
            return window.data[start - base : start - base + length]
        # What the window has of this chunk is read again: the next one is to hold several chunks of this size.
        self._window_size = max(self._window_size, min(_LARGEST_WINDOW, 4 * length))
        self._checksum(window, base, end)
        if length > self.limits.max_record_length:
            self._crc_at = None
            return None
        data = memoryview(self.source.read_at(start, length))
        if self._crc_at is not None and self._crc_at >= start:
            self._crc = isal_zlib.crc32(data[self._crc_at - start :], self._crc)
            self._crc_at = start + len(data)
        return data

    def _content(self, inflater: Inflater, offset: int, size: int, start: int | None) -> Iterator[Content]:
        """The records of a chunk at `offset` with `size` bytes in the file; `start` is where they lie in it when it is stored."""
        chunk = _Chunk(offset, size, start)
        self._inner.restart()
        tail = b""
        final = False
        for piece in inflater.pieces(self.limits.max_inflated):
            window = np.frombuffer(tail + bytes(piece) if tail else piece, np.uint8)
            left = max(inflater.most - chunk.done, len(window))
            final = chunk.done + len(window) >= inflater.most
            used = yield from self._walk_chunk(window, chunk, left, final)
            chunk.done += used
            tail = window[used:].tobytes()
        if not final and inflater.error is None:
            yield from self._walk_chunk(np.frombuffer(tail, np.uint8), chunk, len(tail), True)
        if chunk.damage is not None:
            self._lose_inside(chunk, chunk.done + (len(tail) if not final else 0))

    def _walk_chunk(self, window: Bytes, chunk: _Chunk, left: int, final: bool) -> Generator[Content, None, int]:
        """Records of a piece of a chunk; the first byte not used."""
        at = 0
        origin = chunk.offset if chunk.start is None else chunk.start + chunk.done
        while True:
            if chunk.damage is not None:
                at, found = find_record(window, at, left, final)
                if not found:
                    return at
                self._lose_inside(chunk, chunk.done + at)
            at = self._inner.scan(window, at, left, final)
            status = self._inner.status
            if self._inner.count:
                yield Content(window, self._inner, origin)
            if status == STATUS_BAD:
                chunk.damage = chunk.done + at, REASONS[self._inner.reason]
                if self._inner.reason == REASON_TOO_LONG:
                    self._lose_inside(chunk, chunk.done + at + self._inner.record_length)
                    self._inner.skip_record()
                else:
                    at += 1
            elif status == STATUS_RECORD:
                self._record_inside(window, at, origin, chunk)
                self._inner.skip_record()
            elif status == STATUS_MORE:
                return at

    def _record_inside(self, window: Bytes, at: int, origin: int, chunk: _Chunk) -> None:
        opcode, length = self._inner.opcode, self._inner.record_length
        stored = chunk.start is not None
        if opcode in (records.SCHEMA, records.CHANNEL):
            content = window[at + RECORD_HEAD : at + RECORD_HEAD + length].tobytes()
            self._describe(opcode, content, origin + at + RECORD_HEAD, None if stored else chunk)
        elif opcode == records.CHUNK:
            error = Corrupt("a chunk inside a chunk is not read", origin + at if stored else chunk.offset)
            self._lose(error, RECORD_HEAD + length if stored else chunk.size)
        else:
            self.recording.add_skipped(f"{records.NAMES[opcode]} record inside a chunk")

    def _lose_inside(self, chunk: _Chunk, end: int) -> None:
        """The content of a chunk is damaged from where it was noticed to `end`."""
        assert chunk.damage is not None
        begin, reason = chunk.damage
        chunk.damage = None
        if chunk.start is not None:
            self._lose(Corrupt(reason, chunk.start + begin), end - begin)
        else:
            place = f"{end - begin} bytes at {begin} of the chunk's content"
            self.recording.add_lost(chunk.offset, chunk.size, f"in a chunk: {reason}")
            self.note(Corrupt(f"in a chunk: {reason} ({place})", chunk.offset))
