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
        self.closed = False
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

    def flush(self) -> None:
        """Arrow flushes after every page; the file waits for `sync`."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Writes out what is pending; twice is harmless."""
        self.sync()
        self.closed = True


class ParquetFile:
    """One Parquet file in the making: zstd level 1, plain values, `delta` columns as differences, statistics for `pruned` columns."""

    def __init__(self, directory: int, name: str, schema: pa.Schema, *, delta: list[str], pruned: list[str]) -> None:
        self._sink = AppendFile(directory, name)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),  # of the others the values as they are, as there is no dictionary
            write_statistics=pruned,
            write_batch_size=ROW_GROUP_ROWS,
        )
        self.schema = schema

    def write(self, arrays: list[pa.Array]) -> None:
        """Appends rows as row groups of at most 65,536."""
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema), row_group_size=ROW_GROUP_ROWS)
        self._sink.sync()

    def close(self) -> None:
        """Writes the footer; without it the file cannot be read."""
        self._writer.close()
        self._sink.close()

    def describe(self, key: str, value: str) -> None:
        """Adds to the file's own key-value metadata; before `close`."""
        self._writer.add_key_value_metadata({key: value})


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
