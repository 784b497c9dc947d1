"""Writes the streams of a recording as Parquet while they grow, in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from parsers.base import Recording
from parsers.blocks import MessageBlock, SampleBlock
from parsers.can.decode import Decoder
from parsers.can.frames import FrameBlock
from parsers.results import summary
from parsers.results._stats import BUCKET_SAMPLES, StreamStatistics
from parsers.results.clock import SampleClock
from parsers.results.files import ARROW_TYPES, ParquetFile, to_arrow
from parsers.results.layout import SCHEMA, STREAMS, SUMMARY, TIME_COLUMN, safe_name
from parsers.results.messages import MessageWriter
from parsers.results.overview import Overview
from parsers.results.samples import SampleStream, SampleTable, WrittenStream, stored
from parsers.results.summary import Json, StreamResult
from parsers.results.utc import UtcFinder

BUFFER_BYTES = 48 << 20
MOST_CHUNKS = 8192  # columns times row groups that Arrow may hold in memory
GOOD_ROWS = 16_384  # rows from which a row group compresses and prunes well


@dataclass
class _Open:
    """A stream that is being written."""

    stream: WrittenStream
    result: StreamResult
    file: ParquetFile | None = None
    waiting: int = 0  # bytes


class ResultWriter:
    """Takes what comes out of a recording and leaves streams/, overview.parquet, messages.parquet and summary.json in a directory.

    The rows of the decoder are taken after each block (`take`), samples and log messages as they come. At most `buffer_bytes` of rows
    wait in memory. The directory must exist and be empty of results.
    """

    def __init__(self, directory: str | os.PathLike[str], decoder: Decoder, recording: Recording, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.decoder = decoder
        self.recording = recording
        self.buffer_bytes = buffer_bytes
        decoder.reserve = 2 * buffer_bytes
        self.clock = SampleClock()
        self.utc = UtcFinder()
        self._open: list[_Open] = []
        self._decoded: list[int] = []  # decoder stream -> place in _open
        self._sampled: dict[int, int] = {}  # sample stream -> place in _open
        self._waiting = 0
        self._chunks = 0
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.mkdir(STREAMS, 0o700, dir_fd=self._directory)
        self._streams_directory = os.open(STREAMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        self.overview = Overview(self._directory)
        self.messages = MessageWriter(self._directory, recording)

    @property
    def streams(self) -> list[tuple[WrittenStream, StreamResult]]:
        """Every stream with what is known of it, in the order in which they came up."""
        return [(entry.stream, entry.result) for entry in self._open]

    def look(self, block: FrameBlock) -> None:
        """What frames tell of the clock that stamped them, and of the true time."""
        self.clock.resolution.take(block.t_ns)
        self.utc.take_frames(block, self.recording.start_ns)

    def take(self, grown: list[int]) -> None:
        """Looks at the streams that `Decoder.add` has grown; writes rows out when too many wait."""
        for index in range(len(self._decoded), len(self.decoder.streams)):
            self._decoded.append(self._begin(self.decoder.streams[index]))
        for index in grown:
            self._grew(self._open[self._decoded[index]])
        if self._waiting > self.buffer_bytes:
            self._relieve()

    def take_samples(self, block: SampleBlock) -> None:
        """Takes rows of one stream; writes rows out when too many wait. Raises ValueError for a malformed block."""
        place = self._sampled.get(block.stream)
        if place is None:
            spec = stored(self.recording.streams[block.stream])
            place = self._sampled[block.stream] = self._begin(SampleStream(spec, SampleTable(spec, self.recording.start_ns)))
        entry = self._open[place]
        table = entry.stream.columns
        assert isinstance(table, SampleTable)
        table.append(block)
        self.clock.take(block.stream, block.t_ns)
        self._grew(entry)
        if self._waiting > self.buffer_bytes:
            self._relieve()

    def take_messages(self, block: MessageBlock) -> None:
        """Writes log messages."""
        self.messages.take(block, self.recording.start_ns)

    def _begin(self, stream: WrittenStream) -> int:
        place = len(self._open)
        key = f"{place:04d}_{safe_name(stream.message.name)}"
        self._open.append(_Open(stream, StreamResult(key, StreamStatistics(len(stream.message.signals)))))
        return place

    def _grew(self, entry: _Open) -> None:
        size = entry.stream.columns.size * entry.stream.columns.row_bytes
        self._waiting += size - entry.waiting
        entry.waiting = size

    def _relieve(self) -> None:
        """Writes the largest streams until half of the buffer is free."""
        for place in sorted(range(len(self._open)), key=lambda i: self._open[i].waiting, reverse=True):
            columns = self._open[place].stream.columns
            if self._waiting <= self.buffer_bytes // 2 and columns.size < GOOD_ROWS:
                break
            self._flush(place, columns.size - columns.size % BUCKET_SAMPLES)

    def _flush(self, place: int, rows: int) -> None:
        entry = self._open[place]
        stream, result = entry.stream, entry.result
        t_ns, columns, masks = stream.columns.views(rows)
        self.overview.add(place, rows, result.statistics.update(t_ns, columns, masks))
        result.intervals.update(t_ns)
        result.rows += rows
        self.utc.take_rows(place, stream.message.name, [signal.name for signal in stream.message.signals], t_ns, columns, masks)
        if entry.file is None:
            entry.file = ParquetFile(
                self._streams_directory, f"{result.key}.parquet", self._schema(stream), delta=[TIME_COLUMN], pruned=[TIME_COLUMN]
            )
        if rows:
            self._chunks -= entry.file.chunks
            entry.file.write([to_arrow(t_ns), *(to_arrow(column, mask) for column, mask in zip(columns, masks, strict=True))])
            self._chunks += entry.file.chunks
            if self._chunks > MOST_CHUNKS:
                self._end_parts()
        del t_ns, columns, masks
        stream.columns.drop(rows)
        if stream.columns.size == 0:
            stream.columns.release()
        self._grew(entry)

    def _end_parts(self) -> None:
        """Frees what Arrow keeps of the row groups that have been written."""
        for entry in self._open:
            if entry.file is not None and entry.file.chunks:
                entry.file.end_part()
        self._chunks = 0

    def _schema(self, stream: WrittenStream) -> pa.Schema:
        """t_ns and one column per signal, with their units."""
        fields = [pa.field(TIME_COLUMN, pa.int64(), nullable=False, metadata={"unit": "ns"})]
        for signal in stream.message.signals:
            fields.append(pa.field(signal.name, ARROW_TYPES[signal.storage], metadata={"unit": signal.unit}))
        return pa.schema(fields)

    def _description(self, stream: WrittenStream) -> str:
        """What readers that drop the metadata of fields find once for the file; value tables may have grown until the end."""
        described: list[Json] = [
            {"name": signal.name, "unit": signal.unit, "kind": signal.kind, "choices": signal.physical_choices()}
            for signal in stream.message.signals
        ]
        document = {
            "schema": SCHEMA,
            "message": stream.message.name,
            "channel": summary.channel_name(self.recording.channels, stream.channel),
            "arbitration_id": summary.hex_id(stream.arbitration_id),
            "extended": stream.extended,
            "time": {"column": TIME_COLUMN, "unit": "ns", "absolute": self.recording.absolute},
            "signals": described,
        }
        return json.dumps(document, separators=(",", ":"))

    def finish(self) -> Iterator[int]:
        """Writes what waits, then messages and overview; yields after each stream, for progress."""
        for place, entry in enumerate(self._open):
            self._flush(place, entry.stream.columns.size)
            if entry.file is not None:
                entry.file.describe("argus", self._description(entry.stream))
                entry.file.close()
            yield place
        self.messages.finish(self.recording.start_ns)
        yield from self.overview.write([len(entry.stream.message.signals) for entry in self._open])

    def write_summary(self, document: Json) -> None:
        """summary.json, last of all: where it stands the result is whole."""
        data = summary.dump(document)
        part = f".{SUMMARY}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._directory)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(part, SUMMARY, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def close(self) -> None:
        """Closes the directories; twice is harmless."""
        for fd in (self._streams_directory, self._directory):
            if fd >= 0:
                os.close(fd)
        self._streams_directory = self._directory = -1
