"""Vector BLF: file header, containers and their inflation here; the objects are walked in _blf."""

from __future__ import annotations

import calendar
import contextlib
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar

import deflate
from isal import isal_zlib

from parsers._core.columns import FrameColumns, NumberTable
from parsers.base import MAGIC, Match, Recording
from parsers.can._blf import STATUS_CONTAINER, STATUS_FULL, STATUS_HEADER, STATUS_MORE, STATUS_TEXT, BlfScanner
from parsers.can.blf_texts import KINDS, said
from parsers.can.frames import FrameBlock
from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated, Unsupported
from parsers.limits import DEFAULT, KIB, Limits
from parsers.source import Source

# LOGG, u32 header size, 8 bytes of application and version, u64 file size, u64 inflated size, u32 objects, u32 objects read,
# SYSTEMTIME start and stop (8 u16 each: year, month, weekday, day, hour, minute, second, millisecond)
_FILE_HEADER = struct.Struct("<4sI8xQQII8H8H")
# behind the object's own header: u16 method, 6 unused, u32 inflated size, 4 unused
_CONTAINER = struct.Struct("<H6xI4x")
_STORED, _DEFLATED = 0, 2
_SMALLEST_WINDOW = 16 * KIB  # holds the longest object that is looked at as a whole
_MOST_FILE_HEADER = 64 * KIB
_TEXT_KEPT = 8 * KIB  # bytes of an object in words that the scanner has in its window
_SEAM = 512  # bytes of a container that are put behind what the one before left over
_MOST_FILE_SIZE = 1 << 63


@dataclass(frozen=True, slots=True)
class _Piece:
    """A container in the file and where its content lies in the stream of all containers."""

    offset: int
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    file_size: int
    objects: int
    start_ns: int | None


class BlfParser:
    """Reads the CAN, CAN FD, error and remote objects of BLF files, in zlib or stored containers or without any."""

    format: ClassVar[str] = "blf"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".blf",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The signature LOGG."""
        return Match(MAGIC, "begins with LOGG, the signature of BLF") if head.startswith(b"LOGG") else None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[FrameBlock]:
        """Frames in file order, times relative to `recording.start_ns`; containers that fail their checksum are lost as a whole.

        Raises Corrupt without the signature, Truncated when the file header is cut, and the first loss when nothing could be read.
        """
        recording.format = self.format
        yield from _Reading(source, recording, limits).blocks()


class _Reading:
    """One file being read: the stream of the file itself and the stream of what its containers hold."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.columns = FrameColumns(limits.block_frames)
        self.numbers = NumberTable(limits.max_channels)
        self.top = BlfScanner(self.columns, self.numbers, True, limits.max_record_length)
        self.inner = BlfScanner(self.columns, self.numbers, False, limits.max_record_length)
        self.tail: bytes | bytearray = b""  # the part of an object that the next container completes
        self.inflated = 0  # length of the inner stream so far
        self.pieces: list[_Piece] = []
        self.budget = limits.max_inflate_ratio * source.size + limits.max_inflated
        self.first_error: ParseError | None = None
        self.first_start: int | None = None

    def blocks(self) -> Iterator[FrameBlock]:
        header = self._header(0)
        self.first_start = header.start_ns
        self.recording.start_ns = header.start_ns or 0
        self.recording.absolute = header.start_ns is not None
        self._check_header(header)
        yield from self._walk_file(header.size)
        yield from self._walk_inner(b"", True)
        if self.source.size < header.file_size < _MOST_FILE_SIZE:
            missing = header.file_size - self.source.size
            self._lose(Truncated(f"the header says {header.file_size} bytes, {missing} are missing", self.source.size), missing)
        if self.columns.count:
            yield self._take()
        self.recording.channels[:] = self.numbers.names()
        for scanner in (self.top, self.inner):
            for kind, count in scanner.skipped_counts().items():
                self.recording.add_skipped(KINDS.get(kind, f"object type {kind}"), count)
        if self.first_error is not None and not (self.columns.total or self.recording.skipped or self.recording.message_count):
            raise self.first_error

    def _take(self) -> FrameBlock:
        self.recording.channels[:] = self.numbers.names()
        return self.columns.take()

    def _lose(self, error: ParseError, length: int, begin: int | None = None) -> None:
        """Marks bytes from `begin`, or else the error's offset, on as lost and goes on."""
        offset = error.offset or 0
        self.recording.add_lost(offset if begin is None else begin, length, error.reason)
        self.recording.add_problem(offset, error.reason)
        if self.first_error is None:
            self.first_error = error

    # --- the file

    def _header(self, offset: int) -> _Header:
        data = bytes(self.source.read_at(offset, _FILE_HEADER.size))
        if not data.startswith(b"LOGG"):
            if b"LOGG".startswith(data):
                raise Truncated(f"file header needs {_FILE_HEADER.size} bytes, {len(data)} are there", offset)
            raise Corrupt("no LOGG signature", offset)
        if len(data) < _FILE_HEADER.size:
            raise Truncated(f"file header needs {_FILE_HEADER.size} bytes, {len(data)} are there", offset)
        _, size, file_size, _, objects, _, *times = _FILE_HEADER.unpack(data)
        if not _FILE_HEADER.size <= size <= _MOST_FILE_HEADER:
            raise Corrupt(f"file header size {size} is impossible", offset + 4)
        if offset + size > self.source.size:
            raise Truncated(f"file header needs {size} bytes, {self.source.size - offset} are there", offset)
        return _Header(size, file_size, objects, self._start(offset + 40, times[:8]))

    def _start(self, offset: int, fields: list[int]) -> int | None:
        year, month, _, day, hour, minute, second, millisecond = fields
        if not any(fields):
            self.recording.add_problem(offset, "no start time: times are relative")
            return None
        month_ok = 1971 <= year <= 2261 and 1 <= month <= 12
        if not month_ok or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 59:
            self.recording.add_problem(offset, "start time is no date: times are relative")
            return None
        return calendar.timegm((year, month, day, hour, minute, second)) * 10**9 + min(millisecond, 999) * 10**6

    def _check_header(self, header: _Header) -> None:
        if header.file_size == 0 or header.objects == 0:
            self.recording.add_problem(16, "the recording was not closed: its header has no size or no object count")
        elif header.file_size >= _MOST_FILE_SIZE:
            self.recording.add_problem(16, f"the header says {header.file_size} bytes, which no file can have")
        elif header.file_size < self.source.size:
            more = self.source.size - header.file_size
            self.recording.add_problem(header.file_size, f"{more} bytes behind the end that the header names; objects in them are read")

    def _join(self, offset: int) -> int:
        """Another file header in the middle: the files were joined. Times of the second count from the start of the first."""
        try:
            header = self._header(offset)
        except ParseError as error:
            self._lose(error, 4)
            return 4
        shift = 0
        if header.start_ns is not None and self.first_start is not None:
            shift = header.start_ns - self.first_start
        self.top.shift_ns = self.inner.shift_ns = shift
        self.recording.add_problem(offset, "another BLF file begins here: its frames follow those of the first")
        return header.size

    def _walk_file(self, base: int) -> Iterator[FrameBlock]:
        size = self.source.size
        window_size = max(self.limits.read_size, _SMALLEST_WINDOW)
        while True:
            window = memoryview(self.source.read_at(base, window_size))
            final = base + len(window) >= size or not len(window)
            at = 0
            while at <= len(window):
                at = self.top.walk(window, at, base, final)
                self._drain_top()
                status = self.top.status
                if status == STATUS_FULL:
                    yield self._take()
                elif status == STATUS_TEXT:
                    self._text(self.top, window)
                elif status == STATUS_HEADER:
                    at += self._join(base + at)
                elif status == STATUS_CONTAINER:
                    length = self.top.object_size
                    whole = at + length <= len(window)
                    data = window[at : at + length] if whole else memoryview(self.source.read_at(base + at, length))
                    yield from self._container(base + at, data, length)
                    at += length
                    if self.inflated > self.budget:
                        return
                elif status == STATUS_MORE:
                    break
            base += at
            if final:
                if base < size:
                    self._lose(Truncated("file ended while it was read", base), size - base)
                return

    def _drain_top(self) -> None:
        for offset, length, reason in self.top.drain_bad():
            error = Truncated if offset + length >= self.source.size else Corrupt
            self._lose(error(reason, offset), length)
            self._break_inner()

    # --- containers

    def _container(self, offset: int, data: memoryview, size: int) -> Iterator[FrameBlock]:
        try:
            content = self._content(offset, data, size)
        except ParseError as error:
            self._lose(error, len(data), offset)
            self._break_inner()
            return
        if self.top.damage_pending() < 0 and len(self.pieces) > 1 and self.inner.damage_pending() < 0:
            del self.pieces[:-1]
        self.pieces.append(_Piece(offset, len(data), self.inflated + len(self.tail)))
        yield from self._walk_inner(content, False)
        if len(data) < size:
            self._lose(Truncated(f"container of {size} bytes is cut after {len(data)}", offset), len(data))
        if self.inflated > self.budget:
            rest = self.source.size - offset - len(data)
            self._lose(LimitExceeded("containers inflate to more than the size of the file justifies", offset + len(data)), rest)

    def _content(self, offset: int, data: memoryview, size: int) -> bytes | bytearray:
        """What the container holds. Raises ParseError when nothing of it can be trusted."""
        header_size = int.from_bytes(data[4:6], "little")
        if header_size + _CONTAINER.size > len(data):
            raise Truncated("container header is cut", offset)
        method, declared = _CONTAINER.unpack_from(data, header_size)
        packed = data[header_size + _CONTAINER.size :]
        cut = len(data) < size
        if method == _STORED:
            if declared > len(packed) and not cut:
                self.recording.add_problem(offset, f"container stores {len(packed)} bytes and declares {declared}")
            return bytes(packed[:declared])
        if method != _DEFLATED:
            raise Unsupported(f"container compression method {method}", offset + header_size)
        if declared > self.limits.max_inflated:
            raise LimitExceeded(f"container declares {declared} bytes, {self.limits.max_inflated} are allowed", offset + header_size + 8)
        return self._inflate(offset, packed, declared, cut)

    def _inflate(self, offset: int, packed: memoryview, declared: int, cut: bool) -> bytes | bytearray:
        if declared and not cut:
            # libdeflate is half again as fast, but takes a container whole or not at all: what differs from its header goes the long way.
            with contextlib.suppress(deflate.DeflateError):
                whole: bytearray = deflate.zlib_decompress(packed, declared)
                if len(whole) == declared:
                    return whole
        inflate = isal_zlib.decompressobj()
        try:
            # A length of 0 would mean "no limit"; one byte more than declared shows a container that lies.
            content = inflate.decompress(packed, declared + 1)
            while not inflate.eof and len(content) <= declared:
                more = inflate.decompress(inflate.unconsumed_tail, declared + 1 - len(content))
                if not more:
                    break
                content += more
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares an instance
            # Where in the container the damage lies cannot be told, so no frame of it can be trusted.
            raise Corrupt(f"container cannot be inflated ({error}): its frames are lost", offset) from None
        if len(content) > declared:
            self._lose(
                Corrupt(f"container inflates to more than the {declared} bytes it declares: the rest is not read", offset), len(packed)
            )
            return bytes(content[:declared])
        if not inflate.eof and not cut:
            self._lose(Truncated("compressed data of the container ends too early", offset), len(packed))
        elif len(content) < declared and not cut:
            self.recording.add_problem(offset, f"container inflates to {len(content)} bytes and declares {declared}")
        return bytes(content)

    def _walk_inner(self, content: bytes | bytearray, final: bool) -> Iterator[FrameBlock]:
        at = 0
        if self.tail and not final:
            # Only the seam is put together, and the content read where it lies; an object longer than the seam makes it all one piece.
            held = len(self.tail)
            seam = self.tail + content[:_SEAM]
            used = yield from self._walk_window(seam, 0, False)
            if used >= held:
                at = used - held
                self.inflated += held
            else:
                self.inflated += used
                content = seam[used:] + content[_SEAM:]
        elif self.tail:
            content = self.tail + content
        used = yield from self._walk_window(content, at, final)
        self.inflated += used
        self.tail = content[used:]

    def _walk_window(self, window: bytes | bytearray, at: int, final: bool) -> Generator[FrameBlock, None, int]:
        """Reads the objects of a window that begins at `inflated`; gives the first byte not used."""
        while True:
            at = self.inner.walk(window, at, self.inflated, final)
            self._drain_inner()
            if self.inner.status == STATUS_FULL:
                yield self._take()
            elif self.inner.status == STATUS_TEXT:
                self._text(self.inner, memoryview(window))
            elif self.inner.status == STATUS_MORE:
                return at

    def _drain_inner(self) -> None:
        for start, length, reason in self.inner.drain_bad():
            piece = self._piece_at(start)
            if piece is None:
                continue
            last = self._piece_at(start + length - 1) or piece
            error = Corrupt(reason, piece.offset)
            self.recording.add_lost(piece.offset, last.offset + last.size - piece.offset, f"in a container: {reason}")
            self.recording.add_problem(piece.offset, f"{reason} ({length} bytes at {start - piece.start} of the container's content)")
            if self.first_error is None:
                self.first_error = error

    def _piece_at(self, start: int) -> _Piece | None:
        for piece in reversed(self.pieces):
            if piece.start <= start:
                return piece
        return self.pieces[0] if self.pieces else None

    def _break_inner(self) -> None:
        """A container is missing: what is left of the one before it can never be completed."""
        if self.tail.strip(b"\0") and self.pieces:
            piece = self.pieces[-1]
            self.recording.add_lost(piece.offset, piece.size, "in a container: its last object goes on in one that is lost")
            self.recording.add_problem(piece.offset, "last object of the container goes on in one that is lost")
        self.inflated += len(self.tail)
        self.tail = b""
        self.inner.resume_after_loss(self.inflated)

    def _text(self, scanner: BlfScanner, window: memoryview) -> None:
        """Words become a log message of the recording."""
        start, size = scanner.object_at, scanner.object_size
        found = said(bytes(window[start : start + min(size, _TEXT_KEPT)]))
        if isinstance(found, str):
            self.recording.add_skipped(found)
            return
        self.recording.add_message(min(found.t_ns + scanner.shift_ns, 2**63 - 1), "info", found.source, found.text)
        if self.recording.message_count >= self.limits.max_messages:
            self.top.wants_text = self.inner.wants_text = False
