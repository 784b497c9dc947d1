"""Parquet files that hold no descriptor while they wait for their next row group, and how columns become Arrow arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROW_GROUP_ROWS = 65_536
SPILL = 1 << 20
BUFFER = 16_384  # bytes of one file that are gathered before Python sees them
_MAGIC = b"PAR1"
_FOOTER_END = 8  # length of the footer and the magic
_ZEROS = bytes(1 << 20)

_KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f8")
ARROW_TYPES = {str(np.dtype(kind)): pa.from_numpy_dtype(kind) for kind in _KINDS}
_OF_DTYPE = {np.dtype(kind): pa.from_numpy_dtype(kind) for kind in _KINDS}


class AppendFile:
    """A new file that is opened only while bytes are written to it, so that thousands can be unfinished at once."""

    def __init__(self, directory: int, name: str) -> None:
        """`directory` is an open directory descriptor. Raises FileExistsError rather than touching what is there."""
        self._directory = directory
        self._name = name
        self._pending = bytearray()
        self._written = 0
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))

    def write(self, data: Any) -> int:
        """Takes bytes; they reach the file at the latest with `sync`."""
        view = memoryview(data).cast("B")
        self._pending += view
        if len(self._pending) >= SPILL:
            self.sync()
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written + len(self._pending)

    def sync(self) -> None:
        """Writes out what is pending. Raises OSError."""
        if not self._pending:
            return
        fd = os.open(self._name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        try:
            rest = memoryview(self._pending)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        self._written += len(self._pending)
        self._pending = bytearray()

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes that have been written. Raises OSError."""
        self.sync()
        fd = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        try:
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)


class _Part:
    """What Arrow takes for a file: a part of an AppendFile, which lives on when Arrow closes this."""

    def __init__(self, file: AppendFile) -> None:
        self._file = file
        self.skipping = False  # what is written is already there
        self.closed = False

    def write(self, data: Any) -> int:
        """Takes bytes."""
        return len(memoryview(data).cast("B")) if self.skipping else self._file.write(data)

    def flush(self) -> None:
        """The file waits for `sync`."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Twice is harmless."""
        self.closed = True


class ParquetFile:
    """One Parquet file in the making: zstd level 1, plain values, `delta` columns as differences, statistics for `pruned` columns.

    Arrow keeps about 2 kB for each column of each row group until the footer is written, so a long file is written in parts (`end_part`),
    each with a footer of its own; the last footer lists the row groups of all, and is the only one that readers look at.
    """

    def __init__(self, directory: int, name: str, schema: pa.Schema, *, delta: list[str], pruned: list[str]) -> None:
        self._file = AppendFile(directory, name)
        self._options = {
            "compression": "zstd",
            "compression_level": 1,
            "use_dictionary": False,
            "column_encoding": dict.fromkeys(delta, "DELTA_BINARY_PACKED"),  # of the others the values as they are
            "write_statistics": pruned,
            "write_batch_size": ROW_GROUP_ROWS,
        }
        self.schema = schema
        self.chunks = 0
        """Columns times row groups of the part that is being written."""
        self._described: dict[str, str] = {}
        self._footers: list[tuple[int, int]] = []  # offset and length, of the parts that have ended
        self._writer: pq.ParquetWriter | None = self._begin()

    def _begin(self) -> pq.ParquetWriter:
        """A writer for the bytes that follow. Arrow starts at byte 0 only, so for a further part it is told that it wrote all before."""
        part = _Part(self._file)
        self._stream = pa.BufferedOutputStream(pa.PythonFile(part, mode="w"), BUFFER)
        before = self._file.tell()
        part.skipping = before > 0
        writer = pq.ParquetWriter(self._stream, self.schema, **self._options)
        before -= self._stream.tell()
        while before > 0:
            before -= self._stream.write(_ZEROS[:before])
        if part.skipping:
            self._stream.flush()
            part.skipping = False
        return writer

    def write(self, arrays: list[pa.Array]) -> None:
        """Appends rows as row groups of at most 65,536."""
        self._writer = self._writer or self._begin()
        table = pa.Table.from_arrays(arrays, schema=self.schema)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._stream.flush()
        self._file.sync()
        self.chunks += len(arrays) * -(-len(table) // ROW_GROUP_ROWS)

    def end_part(self) -> None:
        """Writes a footer, so that the memory of the row groups so far is free again."""
        if self._writer is not None:
            self._footers.append(self._end(self._writer))
            self._writer = None
            self.chunks = 0

    def _end(self, writer: pq.ParquetWriter) -> tuple[int, int]:
        """Offset and length of the footer that the writer has left."""
        writer.close()
        self._stream.flush()
        self._file.sync()
        end = self._file.tell() - _FOOTER_END
        length = int.from_bytes(self._file.read_at(end, 4), "little")
        return end - length, length + _FOOTER_END

    def close(self) -> None:
        """Writes the footer; without it the file cannot be read."""
        if self._footers:
            self.end_part()
        last = self._writer or self._begin()
        last.add_key_value_metadata(self._described)
        place = self._end(last)
        if self._footers:
            whole = self._footer(*place)
            for place in self._footers:
                whole.append_row_groups(self._footer(*place))
            written = pa.BufferOutputStream()
            whole.write_metadata_file(written)
            self._file.write(written.getvalue())
            self._file.sync()

    def _footer(self, offset: int, length: int) -> pq.FileMetaData:
        return pq.read_metadata(pa.BufferReader(_MAGIC + self._file.read_at(offset, length)))

    def describe(self, key: str, value: str) -> None:
        """Adds to the file's own key-value metadata; before `close`."""
        self._described[key] = value


# Not pa.array: it imports pandas where there is one, which takes longer than reading a file.


def texts_to_arrow(texts: Sequence[str]) -> pa.Array:
    """An Arrow array of texts."""
    data = [text.encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([0, *map(len, data)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(ends), pa.py_buffer(b"".join(data)))


def to_arrow(values: NDArray[Any], mask: NDArray[np.uint8] | None = None) -> pa.Array:
    """An Arrow array over the same memory; rows whose mask is 0 are null."""
    bitmap = None
    if mask is not None:
        bitmap = pa.py_buffer(np.packbits(mask, bitorder="little"))
    return pa.Array.from_buffers(_OF_DTYPE[values.dtype], len(values), [bitmap, pa.py_buffer(values)])
