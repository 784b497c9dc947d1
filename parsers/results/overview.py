"""The min/max pyramid: buckets of 256 samples, then of 8 buckets each, so that no spike vanishes at any zoom."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parsers.results.files import ParquetFile, to_arrow
from parsers.results.layout import OVERVIEW

SMALL_STREAM = 2048  # samples up to which the stream itself is small enough to plot
FACTOR = 8
ENOUGH_BUCKETS = 512
MEMORY = 16 << 20  # bytes of buckets kept before they go to a temporary file
ROWS_AT_ONCE = 65_536
PER_BUCKET = 16  # two int64
PER_SIGNAL_BUCKET = 20  # an int32, two float64

SCHEMA = pa.schema(
    [
        ("stream", pa.int32()),
        ("signal", pa.int32()),
        ("level", pa.int8()),
        ("t0", pa.int64()),
        ("t1", pa.int64()),
        ("count", pa.int32()),
        ("min", pa.float64()),
        ("max", pa.float64()),
    ]
)

Buckets = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]
"""t0, t1 (int64, ns), count (int32), min, max (float64), all of one length."""


@dataclass
class _Chunk:
    """Buckets of all signals of one stream: in memory, or at an offset of the temporary file."""

    buckets: int
    signals: int
    arrays: Buckets | None
    offset: int = -1

    @property
    def size(self) -> int:
        return self.buckets * (PER_BUCKET + PER_SIGNAL_BUCKET * self.signals)


@dataclass
class Overview:
    """Collects level 0 of every stream in bounded memory and writes all levels at the end. `directory` is an open descriptor."""

    directory: int
    _chunks: dict[int, list[_Chunk]] = field(default_factory=dict)
    _rows: dict[int, int] = field(default_factory=dict)
    _in_memory: int = 0
    _spill: int = -1
    _spilled: int = 0

    def add(self, stream: int, rows: int, buckets: Buckets) -> None:
        """Buckets of the next `rows` samples of a stream; count, min and max have a row for each signal."""
        chunk = _Chunk(len(buckets[0]), len(buckets[2]), buckets)
        self._chunks.setdefault(stream, []).append(chunk)
        self._rows[stream] = self._rows.get(stream, 0) + rows
        self._in_memory += chunk.size
        if self._in_memory > MEMORY:
            self._spill_all()

    def _spill_all(self) -> None:
        if self._spill < 0:
            name = ".overview.spill"
            self._spill = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
            os.unlink(name, dir_fd=self.directory)
        for chunks in self._chunks.values():
            for chunk in chunks:
                if chunk.arrays is None:
                    continue
                t0, t1, count, low, high = chunk.arrays
                parts = [t0, t1]
                for signal in range(chunk.signals):
                    parts += [count[signal], low[signal], high[signal]]
                data = b"".join(part.tobytes() for part in parts)
                chunk.offset, chunk.arrays = self._spilled, None
                view = memoryview(data)
                while view:
                    written = os.pwrite(self._spill, view, self._spilled)
                    self._spilled += written
                    view = view[written:]
        self._in_memory = 0

    def _level_0(self, stream: int, signal: int) -> Buckets:
        parts = [self._read(chunk, signal) for chunk in self._chunks[stream]]
        if len(parts) == 1:
            return parts[0]
        t0, t1, count, low, high = (np.concatenate(column) for column in zip(*parts, strict=True))
        return t0, t1, count, low, high

    def _read(self, chunk: _Chunk, signal: int) -> Buckets:
        if chunk.arrays is not None:
            t0, t1, count, low, high = chunk.arrays
            return t0, t1, count[signal], low[signal], high[signal]
        n = chunk.buckets
        times = np.frombuffer(os.pread(self._spill, PER_BUCKET * n, chunk.offset), np.int64)
        at = chunk.offset + PER_BUCKET * n + PER_SIGNAL_BUCKET * n * signal
        data = os.pread(self._spill, PER_SIGNAL_BUCKET * n, at)
        values = np.frombuffer(data, np.float64, offset=4 * n) if n % 2 == 0 else np.frombuffer(data[4 * n :], np.float64)
        return times[:n], times[n:], np.frombuffer(data, np.int32, n), values[:n], values[n:]

    def write(self, signals: list[int]) -> Iterator[int]:
        """Writes overview.parquet; `signals[stream]` is how many there are. Yields the stream that has been finished, for progress."""
        file = ParquetFile(self.directory, OVERVIEW, SCHEMA, delta=["t0", "t1"], pruned=["stream", "signal", "level", "t0", "t1"])
        batch: list[tuple[int, int, int, Buckets]] = []
        rows = 0
        for stream, count in enumerate(signals):
            if self._rows.get(stream, 0) <= SMALL_STREAM:
                continue
            for signal in range(count):
                for level, buckets in levels(self._level_0(stream, signal)):
                    batch.append((stream, signal, level, buckets))
                    rows += len(buckets[0])
                if rows >= ROWS_AT_ONCE:
                    _write_batch(file, batch)
                    batch, rows = [], 0
            yield stream
        _write_batch(file, batch)
        file.close()
        if self._spill >= 0:
            os.close(self._spill)
            self._spill = -1


def levels(level_0: Buckets) -> Iterator[tuple[int, Buckets]]:
    """Every level of one signal, up to the first with at most 512 buckets. Buckets without a value are left out."""
    level = 0
    current = level_0
    while True:
        n = len(current[0])
        used = current[2] > 0
        yield level, current if used.all() else tuple(column[used] for column in current)  # type: ignore[misc]
        if n <= ENOUGH_BUCKETS:
            return
        at = np.arange(0, n, FACTOR)
        t0, t1, count, low, high = current
        current = (
            np.minimum.reduceat(t0, at),
            np.maximum.reduceat(t1, at),
            np.add.reduceat(count, at, dtype=np.int32),
            np.fmin.reduceat(low, at),
            np.fmax.reduceat(high, at),
        )
        level += 1


def _write_batch(file: ParquetFile, batch: list[tuple[int, int, int, Buckets]]) -> None:
    if not batch:
        return
    sizes = [len(buckets[0]) for *_, buckets in batch]
    columns = [np.concatenate([item[3][i] for item in batch]) for i in range(5)]
    keys = [np.repeat(np.array([item[k] for item in batch], kind), sizes) for k, kind in ((0, np.int32), (1, np.int32), (2, np.int8))]
    t0 = columns[0]
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    steps = np.diff(t0) < 0
    steps[start[1:][start[1:] < len(t0)] - 1] = False  # from one signal to the next the time starts again
    if steps.any():  # the clock went back: buckets are listed by their earliest time
        order = np.lexsort((t0, keys[2], keys[1], keys[0]))
        keys = [key[order] for key in keys]
        columns = [column[order] for column in columns]
    file.write([to_arrow(column) for column in [*keys, *columns]])
