"""Searches the log messages of a batch: text, level, source and time, page by page, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from files.result_files import FileResult
from parsers.blocks import LEVELS
from parsers.errors import Corrupt
from parsers.results.layout import TIME_COLUMN

PAGE = 200
MOST_SEARCHED = 2_000_000  # rows looked at for one page; the next page goes on where this one stopped
MOST_OPENED = 200  # files opened for one page: each is at least one request to the storage
COLUMNS = [TIME_COLUMN, "level", "source", "text"]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. `level` is the lowest that counts ("" is any), `from_ns` and `to_ns` are times as in the results."""

    text: str = ""
    level: str = ""
    source: str = ""
    from_ns: int | None = None
    to_ns: int | None = None

    def mask(self, table: pa.Table) -> pa.Array | pa.ChunkedArray | None:
        """Which rows fit; None when every row does."""
        conditions = []
        if self.level:
            wanted = pa.array(LEVELS[LEVELS.index(self.level) :])
            conditions.append(pc.is_in(table.column("level").cast(pa.string()), value_set=wanted))
        if self.source:
            conditions.append(pc.match_substring(table.column("source").cast(pa.string()), self.source, ignore_case=True))
        if self.text:
            conditions.append(pc.match_substring(table.column("text"), self.text, ignore_case=True))
        if self.from_ns is not None:
            conditions.append(pc.fill_null(pc.greater_equal(table.column(TIME_COLUMN), self.from_ns), False))
        if self.to_ns is not None:
            conditions.append(pc.fill_null(pc.less_equal(table.column(TIME_COLUMN), self.to_ns), False))
        joined = None
        for condition in conditions:
            joined = condition if joined is None else pc.and_(joined, condition)
        return joined

    def may_hold(self, statistics: pq.Statistics | None) -> bool:
        """Whether a row group with these times can have a row that fits."""
        if (self.from_ns is None and self.to_ns is None) or statistics is None or not statistics.has_min_max:
            return True
        return (self.to_ns is None or statistics.min <= self.to_ns) and (self.from_ns is None or statistics.max >= self.from_ns)


@dataclass(frozen=True, slots=True)
class Row:
    """One log message; `t_ns` is None when it has no time."""

    t_ns: int | None
    level: str
    source: str
    text: str
    file_id: str
    file_name: str


@dataclass(slots=True)
class Found:
    """A page of messages in the order of recording. `following` is the cursor of the next page, "" on the last one."""

    rows: list[Row] = field(default_factory=list)
    following: str = ""
    searched: int = 0


def search(results: Sequence[FileResult], query: Query, after: str = "", limit: int = PAGE) -> Found:
    """The next `limit` messages that fit, from the cursor `after` on.

    Raises ValueError for a level that does not exist and for a malformed cursor, Corrupt for a damaged result, and what storage raises.
    """
    if query.level and query.level not in LEVELS:
        raise ValueError(f"no such level: {query.level}")
    order, skip = _position(after)
    found = Found()
    logged = [result for result in results if result.order >= order and result.message_count]
    for opened, result in enumerate(logged):
        start = skip if result.order == order else 0
        if opened >= MOST_OPENED:
            found.following = f"{result.order}:{start}"
            return found
        for row_number, table in _tables(result, query, start):
            found.searched += table.num_rows
            room = limit - len(found.rows)
            picked = _picked(table, query)
            for index in picked[:room]:
                found.rows.append(_row(table, index, result))
            if len(picked) > room:
                found.following = f"{result.order}:{row_number + picked[room]}"
                return found
            if found.searched >= MOST_SEARCHED:
                found.following = f"{result.order}:{row_number + table.num_rows}"
                return found
    return found


def _position(cursor: str) -> tuple[int, int]:
    if not cursor:
        return 0, 0
    order, _, row = cursor.partition(":")
    if not (order.isdecimal() and row.isdecimal() and len(cursor) <= 40):
        raise ValueError("malformed cursor")
    return int(order), int(row)


def _tables(result: FileResult, query: Query, start: int) -> Iterator[tuple[int, pa.Table]]:
    """Pieces of the messages of one file from row `start` on, each with the number of its first row."""
    with result.open_messages() as file:
        try:
            parquet = pq.ParquetFile(file)
            first = 0
            for number in range(parquet.metadata.num_row_groups):
                group = parquet.metadata.row_group(number)
                rows = group.num_rows
                if first + rows > start and query.may_hold(group.column(0).statistics):
                    table = parquet.read_row_group(number, columns=COLUMNS, use_threads=False)
                    skipped = max(0, start - first)
                    yield first + skipped, table.slice(skipped)
                first += rows
        except pa.ArrowException as error:
            raise Corrupt(f"the messages of {result.name} are no readable Parquet file: {error}") from error


def _picked(table: pa.Table, query: Query) -> list[int]:
    mask = query.mask(table)
    if mask is None:
        return list(range(table.num_rows))
    indices: list[int] = pc.indices_nonzero(mask).to_pylist()
    return indices


def _row(table: pa.Table, index: int, result: FileResult) -> Row:
    t_ns, level, source, text = (table.column(name)[index].as_py() for name in COLUMNS)
    return Row(t_ns, level, source, text, result.file_id, result.name)
