"""PX4 ULog: file header, definitions and everything that is not a row of data here; the messages are walked in _ulog."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parsers.base import MAGIC, Match, Recording
from parsers.blocks import LEVELS, NO_TIME, Block, MessageList, SampleBlock, SignalSpec, StreamSpec
from parsers.errors import Corrupt, ParseError, Truncated, Unsupported
from parsers.limits import DEFAULT, KIB, MIB, Limits
from parsers.source import Source
from parsers.texts import TextCodes
from parsers.ulog._ulog import REASON_CUT, STATUS_CONTROL, STATUS_FILE_START, STATUS_FLUSH, STATUS_MORE, UlogScanner
from parsers.ulog.about import About, split_key, value_text
from parsers.ulog.formats import BadFormat, Formats, Layout, parse_format

SIGNATURE = b"ULog\x01\x12\x35"
# signature, u8 version, u64 start of logging in microseconds
_HEADER = struct.Struct("<7sBQ")
_FLAGS = struct.Struct("<8s8s3Q")  # compatible flags, incompatible flags, offsets of data that was appended later
_DATA_APPENDED = 1
_SMALLEST_WINDOW = 512 * KIB  # a few of the longest messages, so that one can be judged by what follows it
_ROW_BUDGET = 32 * MIB  # gathered rows of all topics
_MOST_FORMATS = 8192
_MOST_FORMAT_BYTES = 16 * MIB
_MOST_WAITING = 1024  # subscriptions without a format
_MOST_SIGNALS = 262_144  # of all topics
_LAST_US = ((1 << 63) - 1) // 1000
_LEVELS = ("fatal", "fatal", "fatal", "error", "warning", "info", "info", "debug")  # syslog: emergency, alert, critical, error, ...
_GPS_TOPICS = ("vehicle_gps_position", "sensor_gps")
_GPS_TIME = "time_utc_usec"
_EARLIEST_GPS_US = 946_684_800 * 10**6  # 2000; a receiver without a fix gives zero or its own epoch
_LATEST_GPS_US = 4_102_444_800 * 10**6  # 2100


@dataclass
class _Topic:
    """A topic instance: its stream, once it has rows."""

    name: str
    instance: int
    layout: Layout
    signals: list[SignalSpec]
    texts: list[TextCodes | None]
    stream: int | None = None


class UlogParser:
    """Reads all topics, log messages, parameters and information of a ULog; times count from the start of the vehicle's computer."""

    format: ClassVar[str] = "ulog"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".ulg", ".ulog")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The signature of 7 bytes."""
        return Match(MAGIC, "begins with the signature of ULog") if head.startswith(SIGNATURE) else None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """Samples of each topic instance in file order and the log messages.

        Topic `battery_status` of instance 0 is the stream of that name, instance 1 is `battery_status[1]`. Source: docs.px4.io, "ULog File
        Format". Raises Corrupt without the signature, Unsupported for flags that Argus does not know, Truncated when the header is cut.
        """
        recording.format = self.format
        yield from _Reading(source, recording, limits).blocks()


class _Reading:
    """One file being read. Files that were joined end to end are read one behind the other."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.scanner = UlogScanner(min(limits.max_streams, 65_535), _ROW_BUDGET)
        self.about = About(limits)
        self.formats = Formats()
        self.format_bytes = 0
        self.topics: list[_Topic | None] = [None]
        self.topic_index: dict[tuple[str, int, str], int] = {}
        self.waiting: dict[int, tuple[str, int, str]] = {}  # id -> topic, instance, and the format that has not come yet
        self.signal_count = 0
        self.messages = MessageList()
        self.file_start = 0
        self.boundaries: list[int] = []
        self.in_definitions = True
        self.is_first_message = True
        self.messages_met = 0
        self.dropouts = 0
        self.dropout_ms = 0
        self.utc_offset_ns: int | None = None
        self.first_error: ParseError | None = None

    def blocks(self) -> Iterator[Block]:
        self._open(0)
        yield from self._walk_file(_HEADER.size)
        yield from self._flush_all()
        if len(self.messages):
            yield self.messages.take()
        self._finish()
        if self.first_error is not None and not (self.messages_met or self.scanner.rows_read):
            raise self.first_error

    # --- the file

    def _open(self, offset: int) -> None:
        """The header of a file that begins at `offset`."""
        data = bytes(self.source.read_at(offset, _HEADER.size))
        if len(data) < _HEADER.size and data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
            raise Truncated(f"file header needs {_HEADER.size} bytes, {len(data)} are there", offset)
        if not data.startswith(SIGNATURE):
            raise Corrupt("no ULog signature", offset)
        _, version, start_us = _HEADER.unpack(data)
        if offset == 0:
            self.about.add_info("char", True, "ulog_version", str(version).encode())
            self.about.add_info("char", True, "logging_start_us", str(start_us).encode())
        self.file_start = offset
        self.boundaries = []
        self.in_definitions = self.is_first_message = True
        self.formats = Formats()
        self.format_bytes = 0
        self.waiting.clear()
        self.scanner.forget_ids()

    def _lose(self, error: ParseError, length: int, count: int = 1) -> None:
        offset = error.offset or 0
        self.recording.add_lost(offset, length, error.reason)
        self.recording.add_problem(offset, error.reason, count)
        if self.first_error is None:
            self.first_error = error

    def _drain(self) -> None:
        for offset, length, count, reason in self.scanner.drain_bad():
            error = Truncated if reason == REASON_CUT else Corrupt
            self._lose(error(reason, offset), length, count)

    def _walk_file(self, base: int) -> Iterator[Block]:
        window_size = max(self.limits.read_size, _SMALLEST_WINDOW)
        while base < self.source.size:
            end = next((offset for offset in self.boundaries if offset > base), self.source.size)
            window = memoryview(self.source.read_at(base, min(window_size, end - base)))
            if not len(window):
                self._lose(Truncated("file ended while it was read", base), self.source.size - base)
                return
            final = base + len(window) >= end
            at = 0
            boundaries = self.boundaries
            while boundaries is self.boundaries:
                at = self.scanner.walk(window, at, base, final)
                status = self.scanner.status
                self._drain()
                if status == STATUS_FLUSH:
                    yield from self._flush(self.scanner.full_topic)
                elif status == STATUS_FILE_START:
                    at += self._join(base + at)
                elif status == STATUS_CONTROL:
                    stop = at + self.scanner.message_size
                    self._control(bytes(window[at:stop]), base + at)
                    at = stop
                    if len(self.messages) >= self.limits.block_rows or self.messages.size >= self.limits.block_bytes:
                        yield self.messages.take()
                elif status == STATUS_MORE:
                    break
            if not at and not final and boundaries is self.boundaries:
                self._lose(Truncated("file ended while it was read", base), self.source.size - base)
                return
            base += at

    def _join(self, offset: int) -> int:
        self._open(offset)
        self.recording.add_problem(offset, "another ULog begins here: its samples follow those of the first")
        return _HEADER.size

    # --- messages other than data

    def _control(self, message: bytes, offset: int) -> None:
        """A message whose content the scanner has found to be what its type demands."""
        kind, body = message[2:3], message[3:]
        first, self.is_first_message = self.is_first_message, False
        self.messages_met += 1
        if kind in b"ALCR":
            self.in_definitions = False
        match kind:
            case b"A":
                self._subscribe(int.from_bytes(body[1:3], "little"), body[3:].decode("ascii").rstrip(), body[0])
            case b"R":
                self.scanner.subscribe(int.from_bytes(body[:2], "little"), -1)
            case b"F":
                self._define(body.decode("ascii"), offset)
            case b"L":
                self._log(body[0], "log", int.from_bytes(body[1:9], "little"), body[9:])
            case b"C":
                tag = int.from_bytes(body[1:3], "little")
                self._log(body[0], f"tag {tag}", int.from_bytes(body[3:11], "little"), body[11:])
            case b"I" | b"P":
                self._about(kind, 0, body[1 : 1 + body[0]], body[1 + body[0] :])
            case b"M" | b"Q":
                self._about(kind, body[0], body[2 : 2 + body[1]], body[2 + body[1] :])
            case b"O":
                self._dropout(int.from_bytes(body, "little"), offset)
            case b"B" if first:
                self._flag_bits(body, offset)
            case _:
                self.recording.add_problem(offset, "flag bits that are not the first message: ignored")

    def _about(self, message_kind: bytes, flag: int, key: bytes, data: bytes) -> None:
        """Information in one or several pieces, a parameter, or the default of one."""
        kind, is_array, name = split_key(key)
        if message_kind == b"I":
            self.about.add_info(kind, is_array, name, data)
        elif message_kind == b"M":
            self.about.add_piece(kind, is_array, name, data, flag != 0)
        elif message_kind == b"P":
            self._parameter(name, value_text(kind, is_array, data))
        else:
            self.about.add_default(flag, name, value_text(kind, is_array, data))

    def _flag_bits(self, body: bytes, offset: int) -> None:
        _, incompatible, *offsets = _FLAGS.unpack_from(body)
        if incompatible[0] & ~_DATA_APPENDED or any(incompatible[1:]):
            raise Unsupported(f"incompatible flags {incompatible.hex()} are set: the file cannot be read by this version", offset + 11)
        appended = sorted({self.file_start + at for at in offsets if at}) if incompatible[0] & _DATA_APPENDED else []
        self.boundaries = [at for at in appended if offset + 3 + len(body) < at < self.source.size]
        for at in appended:
            if at not in self.boundaries:
                self.recording.add_problem(offset + 19, f"appended data should begin at byte {at}, which is not in the data of the file")

    def _dropout(self, milliseconds: int, offset: int) -> None:
        self.dropouts += 1
        self.dropout_ms += milliseconds
        self.recording.add_problem(offset, f"the logger lost data for {milliseconds} ms")

    def _log(self, level: int, source: str, time_us: int, data: bytes) -> None:
        """`level` is the digit as a character."""
        text = data.decode("utf-8", "replace").rstrip("\0\r\n\t ")
        self._message(time_us, _LEVELS[level - 0x30], source, text)

    def _message(self, time_us: int, level: str, source: str, text: str) -> None:
        t_ns = time_us * 1000 if time_us <= _LAST_US else NO_TIME
        self.messages.add(t_ns, LEVELS.index(level), self.recording.source_index(source), text)

    def _parameter(self, name: str, value: str) -> None:
        before = self.about.set_parameter(name, value)
        if self.in_definitions:
            return
        self._message(
            self.scanner.last_us, "info", "parameter", f"{name} set to {value}" if before is None else f"{name}: {before} -> {value}"
        )

    def _define(self, text: str, offset: int) -> None:
        try:
            name, fields = parse_format(text)
        except BadFormat as error:
            self._lose(Corrupt(str(error), offset), len(text) + 3)
            return
        if self.formats.known.get(name, fields) != fields:
            self.recording.add_problem(offset, f"format {name[:100]} is defined twice: subscriptions from here on have the second one")
        self.format_bytes += len(text)
        full = len(self.formats.known) >= _MOST_FORMATS or self.format_bytes > _MOST_FORMAT_BYTES
        if full or not self.formats.add(name, fields):
            self._lose(Corrupt("more formats than any vehicle has", offset), len(text) + 3)
            return
        for message_id, (topic, instance, missing) in list(self.waiting.items()):
            if missing == name:
                self._subscribe(message_id, topic, instance)

    # --- topics

    def _subscribe(self, message_id: int, name: str, instance: int) -> None:
        self.waiting.pop(message_id, None)
        try:
            missing = self.formats.missing(name)
            layout = None if missing is not None else self.formats.layout(name, self.limits)
        except BadFormat as error:
            self.recording.add_undecoded(_title(name, instance), str(error))
            self.scanner.subscribe(message_id, 0)
            return
        if layout is not None:
            self.scanner.subscribe(message_id, self._topic(name, instance, layout))
            return
        if len(self.waiting) < _MOST_WAITING:
            self.waiting[message_id] = (name, instance, missing or name)
        else:
            self.recording.add_undecoded(_title(name, instance), f"no format {missing}")
        self.scanner.subscribe(message_id, 0)

    def _topic(self, name: str, instance: int, layout: Layout) -> int:
        """The scanner's number of the topic; 0 when there is no room."""
        key = (name, instance, layout.signature)
        known = self.topic_index.get(key)
        if known is not None:
            return known
        # An enumeration belongs to one stream; all other signals may be shared by the instances of a topic.
        signals = [signal if signal.choices is None else replace(signal, choices={}) for signal in layout.signals]
        dtypes = [None if signal.choices is not None else signal.storage for signal in signals[: len(layout.columns)]]
        row_bytes = 8 + sum(np.dtype(signal.storage).itemsize for signal in signals) + layout.row_size
        self.signal_count += len(signals)
        index: int = 0
        if self.signal_count <= _MOST_SIGNALS:
            index = self.scanner.add_topic(
                layout.row_size,
                layout.least_size,
                layout.time_offset,
                layout.time_width,
                np.array(layout.columns, np.int32).reshape(-1, 3),
                dtypes,
                max(1, min(self.limits.block_rows, self.limits.block_bytes // row_bytes)),
            )
        if index == 0:
            self.recording.add_undecoded(_title(name, instance), "more streams or signals than one file may have")
            return 0
        texts = [None if signal.choices is None else TextCodes(signal.choices) for signal in signals[: len(layout.columns)]]
        self.topics.append(_Topic(name, instance, layout, signals, texts))
        self.topic_index[key] = index
        return index

    def _flush(self, index: int) -> Iterator[Block]:
        """The rows of one topic, or of all when `index` is -1."""
        if index < 0:
            yield from self._flush_all()
            self.scanner.release()
        else:
            yield self._take(index)

    def _flush_all(self) -> Iterator[Block]:
        for index in range(1, len(self.topics)):
            if self.scanner.rows_of(index):
                yield self._take(index)

    def _take(self, index: int) -> SampleBlock:
        topic = self.topics[index]
        assert topic is not None
        if topic.stream is None:
            title = _title(topic.name, topic.instance)
            topic.stream = self.recording.add_stream(StreamSpec(title, topic.signals))
            for name, reason in topic.layout.omitted.items():
                self.recording.add_undecoded(f"{title}.{name}", reason)
        t_ns, arrays = self.scanner.take(index)
        columns: list[NDArray[Any]] = []
        masks: list[NDArray[np.uint8] | None] = []
        for array, codes in zip(arrays, topic.texts, strict=True):
            if codes is None:
                columns.append(array)
                masks.append(None)
            else:
                column, mask = _text_column(array, codes)
                columns.append(column)
                masks.append(mask)
        for count in topic.layout.constants:
            columns.append(np.full(len(t_ns), count, np.uint16))
            masks.append(None)
        if self.utc_offset_ns is None and topic.name in _GPS_TOPICS:
            self._look_for_utc(topic, t_ns, columns)
        return SampleBlock(topic.stream, t_ns, columns, masks)

    def _look_for_utc(self, topic: _Topic, t_ns: NDArray[np.int64], columns: list[NDArray[Any]]) -> None:
        """The distance of UTC to the recorded clock, by the first fix of a receiver."""
        for signal, column in zip(topic.layout.signals, columns, strict=True):
            if signal.name == _GPS_TIME:
                fixed = np.flatnonzero((column > _EARLIEST_GPS_US) & (column < _LATEST_GPS_US))
                if len(fixed):
                    self.utc_offset_ns = int(column[fixed[0]]) * 1000 - int(t_ns[fixed[0]])

    # --- the end

    def _finish(self) -> None:
        recording = self.recording
        if self.utc_offset_ns is not None:
            recording.add_metadata("utc_offset_ns", str(self.utc_offset_ns))
        if self.dropouts:
            recording.add_metadata("dropouts", str(self.dropouts))
            recording.add_metadata("dropout_ms", str(self.dropout_ms))
        self.about.write(recording)
        for kind, count in self.scanner.skipped_counts().items():
            recording.add_skipped(f"message type {chr(kind)}", count)
        if self.scanner.read_over():
            recording.add_skipped("data message of a topic without a layout", self.scanner.read_over())
        for name, instance, missing in self.waiting.values():
            recording.add_undecoded(_title(name, instance), f"no format {missing}")
        if not self.scanner.rows_read:
            recording.add_problem(self.source.size, "the file holds no samples")


def _title(name: str, instance: int) -> str:
    return name if instance == 0 else f"{name}[{instance}]"


def _text_column(raw: NDArray[np.uint8], codes: TextCodes) -> tuple[NDArray[np.int32], NDArray[np.uint8] | None]:
    """Codes of texts that lie as (rows, bytes), each ending at its first zero."""
    values = np.ascontiguousarray(raw).view(f"S{raw.shape[1]}").reshape(-1)
    different, which = np.unique(values, return_inverse=True)
    # Numbers go by first sight, whatever the order of the texts, so that the size of a block does not show.
    order = np.full(len(different), len(values), np.int64)
    np.minimum.at(order, which, np.arange(len(values)))
    numbers = np.zeros(len(different), np.int32)
    for index in np.argsort(order).tolist():
        numbers[index] = codes.code(bytes(different[index]).split(b"\0", 1)[0].decode("utf-8", "replace"))
    column = numbers[which]
    missing = column < 0
    if not missing.any():
        return column, None
    column[missing] = 0
    return column, (~missing).astype(np.uint8)
