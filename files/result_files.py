"""The stored result of one file, read piece by piece: its summary, its streams, and the columns of a stream."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parsers.errors import Corrupt
from parsers.results.layout import MESSAGES, OVERVIEW, STREAMS, SUMMARY, TIME_COLUMN
from parsers.results.reader import read_summary

SMALL_FILE = 8 << 20  # bytes up to which a Parquet file is read at once: one request instead of one for each column

Json = dict[str, Any]
Block = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Times (int64, ns) and values (float64, finite) of one length."""

Identity = tuple[str, str, bool, str]
"""Channel, message, extended, address: what makes two streams of different files one stream of the batch."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of a stream in file order: `t_ns` int64, and for each signal its values as stored and a mask (None: all are valid)."""

    t_ns: NDArray[np.int64]
    values: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_] | None]

    def finite(self, signal: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Times and values of the rows in which the signal is present and a finite number."""
        values, mask = self.values[signal], self.valid[signal]
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                mask = finite if mask is None else mask & finite
        return (self.t_ns, values) if mask is None else (self.t_ns[mask], values[mask])


@dataclass(frozen=True, slots=True)
class StreamPart:
    """The part of a stream that lies in one file; `index` is its place in the summary, `period_ns` the median distance of its rows."""

    identity: Identity
    name: str
    key: str
    index: int
    count: int
    first_ns: int | None
    last_ns: int | None
    period_ns: int | None
    signals: tuple[str, ...]


@dataclass
class FileResult:
    """One readable file of a batch. `open` gives a seekable binary file for a path below the result, e.g. `summary.json`.

    `order` counts the files of the batch by their first recorded time; `first_ns` and `last_ns` are the ends of the recording,
    `message_count` its stored log messages.
    """

    file_id: str
    name: str
    order: int
    open: Callable[[str], BinaryIO]
    first_ns: int | None = None
    last_ns: int | None = None
    message_count: int = 0

    @cached_property
    def summary(self) -> Json:
        """summary.json, checked; kept until `forget`. Raises what `parsers.results.reader.read_summary` and the storage raise."""
        with in_memory(self.open(SUMMARY)) as file:
            return read_summary(file)

    @cached_property
    def parts(self) -> list[StreamPart]:
        """The streams of this file, in the order of the summary; kept when the summary is forgotten."""
        return [self._part(index, stream) for index, stream in enumerate(self.summary["streams"])]

    def forget(self) -> None:
        """Drops the summary: a batch of many files would not fit in memory with all of them."""
        self.__dict__.pop("summary", None)

    def _part(self, index: int, stream: Json) -> StreamPart:
        return StreamPart(
            identity(stream),
            stream["name"],
            stream["key"],
            index,
            stream["count"],
            stream["first_ns"],
            stream["last_ns"],
            stream["period_ns"],
            tuple(sys.intern(signal["name"]) for signal in stream["signals"]),
        )

    def read(self, key: str, signals: Sequence[str]) -> Columns:
        """All rows of the stream with this key. Raises KeyError for a signal that it does not have, Corrupt for what is no Parquet file."""
        with self._parquet(key, signals) as parquet:
            return _columns(parquet.read(columns=[TIME_COLUMN, *signals], use_threads=False), signals)

    def blocks(self, key: str, signals: Sequence[str]) -> Iterator[Columns]:
        """The same in pieces of at most 65,536 rows."""
        with self._parquet(key, signals) as parquet:
            for group in range(parquet.metadata.num_row_groups):
                yield _columns(parquet.read_row_group(group, columns=[TIME_COLUMN, *signals], use_threads=False), signals)

    def column(self, stream: str, signal: str) -> Iterator[Block]:
        """Times and finite values of a signal, named as in this file's summary, in pieces of at most 65,536. KeyError for another one."""
        part = next((part for part in self.parts if part.name == stream and signal in part.signals), None)
        if part is None:
            raise KeyError(f"{stream}.{signal}")
        yield from self.values(part.key, signal)

    def values(self, key: str, signal: str) -> Iterator[Block]:
        """`column` for who knows the key of the stream."""
        for columns in self.blocks(key, [signal]):
            t_ns, values = columns.finite(signal)
            if len(t_ns):
                yield t_ns, values.astype(np.float64, copy=False)

    def open_stream(self, key: str) -> BinaryIO:
        """The Parquet file of a stream."""
        return in_memory(self.open(f"{STREAMS}/{key}.parquet"))

    def open_messages(self) -> BinaryIO:
        """The log messages; there is no such file when `message_count` is 0."""
        return in_memory(self.open(MESSAGES))

    def open_overview(self) -> BinaryIO:
        """The min/max pyramid of all streams."""
        return in_memory(self.open(OVERVIEW))

    @contextlib.contextmanager
    def _parquet(self, key: str, signals: Sequence[str]) -> Iterator[pq.ParquetFile]:
        with self.open_stream(key) as file:
            try:
                parquet = pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                raise Corrupt(f"stream {key} of {self.name} is not a readable Parquet file: {error}") from error
            missing = {TIME_COLUMN, *signals} - set(parquet.schema_arrow.names)
            if missing:
                raise KeyError(f"stream {key} of {self.name} has no column {', '.join(sorted(missing))}")
            yield parquet


class Results(list[FileResult]):
    """The results of one batch, ordered by recorded time; `copies` are the names of files left out, each with that of its original."""

    def __init__(self, results: Iterable[FileResult] = ()) -> None:
        super().__init__(results)
        self.copies: list[tuple[str, str]] = []

    @cached_property
    def names(self) -> dict[Identity, str]:
        """Stream -> its name in the batch."""
        identities: dict[Identity, None] = {}
        for result in self:
            for part in result.parts:
                identities.setdefault(part.identity)
            result.forget()
        return stream_names(list(identities))

    def parts(self, stream: str) -> Iterator[tuple[FileResult, StreamPart]]:
        """Where the stream of this name (in the batch) lies, file after file."""
        for result in self:
            for part in result.parts:
                if self.names[part.identity] == stream:
                    yield result, part


def identity(stream: Json) -> Identity:
    """What a stream of a summary is: a J1939 sender is known by the last byte of its id, for its priority may change."""
    address = stream["arbitration_id"]
    if address is None:  # no CAN message; two groups of one name are told apart by their number
        name, mark, number = stream["name"].rpartition("#")
        address = f"#{number}" if mark and name.endswith(stream["message"]) else ""
    elif stream["name"].endswith(f"#{address}"):  # two messages of one name
        address = f"#{address}"
    elif stream["extended"]:
        address = f"{int(address, 16) & 0xFF:02x}"
    return stream["channel"], stream["message"], stream["extended"], address


def stream_names(identities: Sequence[Identity]) -> dict[Identity, str]:
    """The message's name; with the channel in front when several buses carry it, with `@address` when several nodes send it.

    As `parsers.results.summary.stream_names` does for one file, over all files of the batch: the result does not depend on their order.
    """
    channels: dict[str, set[str]] = {}
    senders: dict[tuple[str, str], set[str]] = {}
    for channel, message, _, address in identities:
        channels.setdefault(message, set()).add(channel)
        senders.setdefault((message, channel), set()).add(address)
    names: dict[Identity, str] = {}
    taken: set[str] = set()
    for stream in sorted(identities):
        channel, message, extended, address = stream
        name = message
        if len(senders[message, channel]) > 1:
            name += f"@{address}" if extended and not address.startswith("#") else f"#{address.lstrip('#')}"
        if len(channels[message]) > 1:
            name = f"{channel}.{name}"
        while name in taken:
            name += "'"
        taken.add(name)
        names[stream] = name
    return names


def in_memory(file: BinaryIO) -> BinaryIO:
    """A small file as bytes in memory, a large one as it is."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > SMALL_FILE:
        return file
    with file:
        return io.BytesIO(file.read())


def _columns(table: pa.Table, signals: Sequence[str]) -> Columns:
    values: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_] | None] = {}
    for signal in signals:
        column = table.column(signal).combine_chunks()
        valid[signal] = np.asarray(column.is_valid()) if column.null_count else None
        values[signal] = (column.fill_null(0) if column.null_count else column).to_numpy()
    return Columns(table.column(TIME_COLUMN).to_numpy(), values, valid)
