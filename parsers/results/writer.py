"""Writes the streams of a decoder as Parquet while they grow, in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pyarrow as pa

from parsers.base import Recording
from parsers.can.decode import Decoder, Stream
from parsers.results import summary
from parsers.results._stats import BUCKET_SAMPLES, StreamStatistics
from parsers.results.files import ARROW_TYPES, ParquetFile, to_arrow
from parsers.results.layout import SCHEMA, STREAMS, SUMMARY, TIME_COLUMN, safe_name
from parsers.results.overview import Overview
from parsers.results.summary import Json, StreamResult

BUFFER_BYTES = 48 << 20
GOOD_ROWS = 16_384  # rows from which a row group compresses and prunes well


class ResultWriter:
    """Takes the decoder's rows after each block and leaves streams/, overview.parquet and summary.json in a directory.

    At most `buffer_bytes` of decoded rows wait in memory. The directory must exist and be empty of results.
    """

    def __init__(self, directory: str | os.PathLike[str], decoder: Decoder, recording: Recording, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.decoder = decoder
        self.recording = recording
        self.buffer_bytes = buffer_bytes
        self.results: list[StreamResult] = []
        self._files: list[ParquetFile | None] = []
        self._sizes: list[int] = []
        self._waiting = 0
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.mkdir(STREAMS, 0o700, dir_fd=self._directory)
        self._streams_directory = os.open(STREAMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        self.overview = Overview(self._directory)

    def take(self, grown: list[int]) -> None:
        """Looks at the streams that `Decoder.add` has grown; writes rows out when too many wait."""
        for index in range(len(self.results), len(self.decoder.streams)):
            stream = self.decoder.streams[index]
            key = f"{index:04d}_{safe_name(stream.message.name)}"
            self.results.append(StreamResult(key, StreamStatistics(len(stream.message.signals))))
            self._files.append(None)
            self._sizes.append(0)
        for index in grown:
            columns = self.decoder.streams[index].columns
            size = columns.size * columns.row_bytes
            self._waiting += size - self._sizes[index]
            self._sizes[index] = size
        if self._waiting > self.buffer_bytes:
            self._relieve()

    def _relieve(self) -> None:
        """Writes the largest streams until half of the buffer is free."""
        for index in sorted(range(len(self._sizes)), key=self._sizes.__getitem__, reverse=True):
            columns = self.decoder.streams[index].columns
            if self._waiting <= self.buffer_bytes // 2 and columns.size < GOOD_ROWS:
                break
            self._flush(index, columns.size - columns.size % BUCKET_SAMPLES)

    def _flush(self, index: int, rows: int) -> None:
        stream, result = self.decoder.streams[index], self.results[index]
        t_ns, columns, masks = stream.columns.views(rows)
        self.overview.add(index, rows, result.statistics.update(t_ns, columns, masks))
        result.intervals.update(t_ns)
        result.rows += rows
        file = self._files[index]
        if file is None:
            file = ParquetFile(
                self._streams_directory, f"{result.key}.parquet", self._schema(stream), delta=[TIME_COLUMN], pruned=[TIME_COLUMN]
            )
            self._files[index] = file
        if rows:
            file.write([to_arrow(t_ns), *(to_arrow(column, mask) for column, mask in zip(columns, masks, strict=True))])
        del t_ns, columns, masks
        stream.columns.drop(rows)
        if stream.columns.size == 0:
            stream.columns.release()
        self._waiting += stream.columns.size * stream.columns.row_bytes - self._sizes[index]
        self._sizes[index] = stream.columns.size * stream.columns.row_bytes

    def _schema(self, stream: Stream) -> pa.Schema:
        """t_ns and one column per signal; units beside each field and, for readers that drop those, once for the file."""
        channels = self.recording.channels
        fields = [pa.field(TIME_COLUMN, pa.int64(), nullable=False, metadata={"unit": "ns"})]
        described: list[Json] = []
        for signal in stream.message.signals:
            fields.append(pa.field(signal.name, ARROW_TYPES[signal.storage], metadata={"unit": signal.unit}))
            described.append({"name": signal.name, "unit": signal.unit, "kind": signal.kind, "choices": signal.physical_choices()})
        document = {
            "schema": SCHEMA,
            "message": stream.message.name,
            "channel": channels[stream.channel] if stream.channel < len(channels) else str(stream.channel),
            "arbitration_id": f"{stream.arbitration_id:x}",
            "extended": stream.extended,
            "time": {"column": TIME_COLUMN, "unit": "ns", "absolute": self.recording.absolute},
            "signals": described,
        }
        return pa.schema(fields, metadata={"argus": json.dumps(document, separators=(",", ":"))})

    def finish(self) -> Iterator[int]:
        """Writes what waits, then the overview; yields after each stream, for progress."""
        for index in range(len(self.results)):
            self._flush(index, self.decoder.streams[index].columns.size)
            file = self._files[index]
            if file is not None:
                file.close()
            yield index
        yield from self.overview.write([len(stream.message.signals) for stream in self.decoder.streams])

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
