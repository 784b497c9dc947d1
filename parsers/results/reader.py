"""Reads a result back: the summary, the rows of a signal in a range of time, and the overview at the level that fits a plot."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parsers.errors import Corrupt, LimitExceeded, ParseError
from parsers.results.check import check_summary
from parsers.results.layout import SCHEMA, TIME_COLUMN

MAX_SUMMARY = 64 << 20
FIRST = -(1 << 63)
LAST = (1 << 63) - 1


class OtherSchema(ParseError):
    """The result was written by another version of Argus."""

    code = "other_schema"


File = str | os.PathLike[str] | IO[bytes]
"""A local path or an open, seekable binary file."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of one signal: `t_ns` int64, `values` as stored, `valid` False where the signal was absent; all of one length."""

    t_ns: NDArray[np.int64]
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Buckets:
    """Buckets of one signal at one level, by time: first and last time (int64, ns), samples, lowest and highest value (float64)."""

    level: int
    t0: NDArray[np.int64]
    t1: NDArray[np.int64]
    count: NDArray[np.int32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def read_summary(file: File, longest: int = MAX_SUMMARY) -> dict[str, Any]:
    """The checked summary. Raises LimitExceeded, Corrupt, OtherSchema, BadSummary or OSError."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return read_summary(opened, longest)
    data = file.read(longest + 1)
    if len(data) > longest:
        raise LimitExceeded(f"summary of more than {longest} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"summary is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is int and schema != SCHEMA:
        raise OtherSchema(f"The stored result is of version {schema}, this Argus reads version {SCHEMA}: parse everything again.")
    check_summary(document)
    result: dict[str, Any] = document
    return result


def read_signal(file: File, signal: str, start_ns: int = FIRST, end_ns: int = LAST, max_rows: int = 1_000_000) -> Samples:
    """Rows with `start_ns <= t_ns <= end_ns` in file order, at most `max_rows` of them; other row groups are not read.

    Raises KeyError when the stream has no such signal, Corrupt when the file is no Parquet file.
    """
    with _open(file) as parquet:
        if signal not in parquet.schema_arrow.names:
            raise KeyError(signal)
        times: list[NDArray[np.int64]] = []
        values: list[NDArray[Any]] = []
        masks: list[NDArray[np.bool_]] = []
        rows = 0
        for group in _groups(parquet, {TIME_COLUMN: (start_ns, end_ns)}):
            table = parquet.read_row_group(group, columns=[TIME_COLUMN, signal], use_threads=False)
            t_ns = table.column(TIME_COLUMN).to_numpy()
            wanted = (t_ns >= start_ns) & (t_ns <= end_ns)
            column = table.column(signal).combine_chunks()
            masks.append(np.asarray(column.is_valid())[wanted])
            values.append(_numpy(column)[wanted])
            times.append(t_ns[wanted])
            rows += len(times[-1])
            if rows > max_rows:
                break
        dtype = parquet.schema_arrow.field(signal).type.to_pandas_dtype()
    return Samples(
        _joined(times, np.int64)[:max_rows], _joined(values, dtype)[:max_rows], _joined(masks, np.bool_)[:max_rows], rows > max_rows
    )


def read_overview(
    file: File, stream: int, signal: int, start_ns: int = FIRST, end_ns: int = LAST, max_buckets: int = 1024
) -> Buckets | None:
    """The finest level with at most `max_buckets` buckets that touch the range; the coarsest when every level has more.

    `stream` and `signal` are indices in the summary. None when the stream is too small to have an overview: read the signal itself.
    """
    columns = ["stream", "signal", "level", "t0", "t1", "count", "min", "max"]
    with _open(file) as parquet:
        bounds = {"stream": (stream, stream), "signal": (signal, signal), "t0": (FIRST, end_ns), "t1": (start_ns, LAST)}
        found = [
            _matching(parquet.read_row_group(group, columns=columns, use_threads=False), stream, signal)
            for group in _groups(parquet, bounds)
        ]
    parts = [part for part in found if len(part[0])]
    if not parts:
        return None
    level, t0, t1, count, low, high = (np.concatenate(column) for column in zip(*parts, strict=True))
    touching = (t0 <= end_ns) & (t1 >= start_ns)
    level, t0, t1, count, low, high = (column[touching] for column in (level, t0, t1, count, low, high))
    sizes = np.bincount(level, minlength=1)
    fitting = [number for number, size in enumerate(sizes.tolist()) if size <= max_buckets]
    chosen = fitting[0] if fitting else len(sizes) - 1
    at = level == chosen
    return Buckets(chosen, t0[at], t1[at], count[at], low[at], high[at])


def _matching(table: pa.Table, stream: int, signal: int) -> list[NDArray[Any]]:
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    rows = np.flatnonzero((columns["stream"] == stream) & (columns["signal"] == signal))
    return [columns[name][rows] for name in ("level", "t0", "t1", "count", "min", "max")]


def _open(file: File) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(os.fspath(file) if isinstance(file, os.PathLike) else file)
    except pa.ArrowInvalid as error:
        raise Corrupt(f"not a readable Parquet file: {error}") from error


def _groups(parquet: pq.ParquetFile, bounds: dict[str, tuple[int, int]]) -> list[int]:
    """Row groups whose statistics leave it possible that a row lies within all bounds (both ends included)."""
    metadata = parquet.metadata
    names = [metadata.schema.column(i).name for i in range(metadata.num_columns)]
    chosen = []
    for group in range(metadata.num_row_groups):
        for name, (low, high) in bounds.items():
            statistics = metadata.row_group(group).column(names.index(name)).statistics
            if statistics is not None and statistics.has_min_max and not (statistics.min <= high and statistics.max >= low):
                break
        else:
            chosen.append(group)
    return chosen


def _numpy(column: pa.Array) -> NDArray[Any]:
    """The values with 0 for nulls, in the stored type (Arrow would make floats of integers with nulls)."""
    return column.fill_null(0).to_numpy() if column.null_count else column.to_numpy()


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
