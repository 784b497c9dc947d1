"""CSV and other tables as text: one stream of all numeric and text columns, or log messages where the columns say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parsers._core.messages import MessageColumns as MessageBuffer
from parsers.base import HEADER, STRUCTURE, Match, Recording
from parsers.blocks import Block, SampleBlock, SignalSpec, StreamSpec
from parsers.errors import Corrupt
from parsers.limits import DEFAULT, KIB, MIB, Limits
from parsers.source import Source
from parsers.table._cells import TIME_CLOCK, TIME_DATE, TIME_NUMBER, TableScanner
from parsers.table._texts import Texts
from parsers.table.columns import MessageColumns, find_messages, level_of, storage_of
from parsers.table.dialect import Dialect, find_dialect, rows_of, sample_lines
from parsers.table.encoding import Encoding, Windows, find_encoding, to_utf8
from parsers.texts import MAX_LENGTH, MAX_TEXTS

STREAM = "table"
BY_NAME = STRUCTURE + 5  # lines with times in front are a text log, too: a header above them decides
BY_CONTENT = HEADER - 10
_HEAD = 512 * KIB
_SAMPLES = 8  # further places of the file that are looked at for what columns hold
_SAMPLE_SIZE = 64 * KIB
_SAMPLE_ROWS = 400
_TEXT_BUDGET = 32 * MIB  # bytes of all different texts
_TRUTH = {0: "false", 1: "true"}
_DELIMITERS = {0x09: "tab", 0x3B: "semicolon", 0x7C: "bar", 0x2C: "comma"}
_KINDS = {TIME_NUMBER: "number", TIME_DATE: "date", TIME_CLOCK: "time of day"}
_PLACES = {9: "s", 6: "ms", 3: "us", 0: "ns"}
_MISFITS = {
    "int64": "no whole numbers",
    "float64": "no numbers",
    "bool": "neither true nor false",
    "text": "more different texts than are kept",
}

Columns = list[NDArray[Any]]
Masks = list[NDArray[np.uint8] | None]


class CsvParser:
    """Reads tables with a time column: delimiter, decimal mark, encoding, header, units and types are found by the content."""

    format: ClassVar[str] = "csv"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Rows of as many cells each as there are names above them, and a column that gives time: by its name, or (less sure) as it is."""
        found = find_encoding(head)
        dialect = find_dialect(to_utf8(head[found.mark :], found), size <= len(head))
        if dialect is None:
            return None
        title = dialect.names[dialect.time.column]
        text = f"{dialect.columns} columns separated by {_DELIMITERS[dialect.delimiter]}s"
        if dialect.time.named:
            return Match(BY_NAME, f"{text}, time in {title!r}")
        # With dates in front a text log is as likely: the suffix decides.
        sure = STRUCTURE if dialect.time.kind == TIME_DATE else BY_CONTENT
        return Match(sure, f"{text}, the content of {title!r} is taken for the time")

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """The rows in file order; cells that do not fit their column are absent and counted, rows that do not fit the table are lost.

        Raises Corrupt when the text is no table with a time, or no row of it has one.
        """
        recording.format = self.format
        yield from _Reading(source, recording, limits).blocks()


@dataclass
class _Column:
    """A column of the table that becomes a signal (or, of log messages, their level or source)."""

    index: int
    storage: str
    signal: SignalSpec
    texts: Texts | None = None
    misfits: int = 0
    first_misfit: int = 0
    numbers: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))


class _Reading:
    """One table being read."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.source = source
        self.recording = recording
        self.limits = limits
        self.rows_taken = 0
        self.stream = -1
        self.level: _Column | None = None
        self.origin: _Column | None = None
        self.message: MessageColumns | None = None
        self.messages: MessageBuffer | None = None

    def blocks(self) -> Iterator[Block]:
        encoding, dialect = self._find_dialect()
        self._find_columns(encoding, dialect)
        self._describe(encoding, dialect)
        columns = dialect.columns
        row_bytes = 9 * columns + 8
        self.scanner = TableScanner(
            dialect.delimiter,
            dialect.point,
            columns,
            dialect.header,
            self.limits.max_line_length,
            max(1, min(self.limits.block_rows, self.limits.block_bytes // row_bytes)),
            _TEXT_BUDGET,
        )
        self.windows = Windows(self.source, encoding, self.limits)
        to_skip = dialect.data_start
        for window, final in self.windows:
            at = min(to_skip, len(window))
            to_skip -= at
            while at < len(window):
                used = self.scanner.split(window, at, final)
                self._drain()
                if self.scanner.rows:
                    yield from self._rows(dialect)
                if used == at:
                    break
                at = used
            self.windows.keep(at)
        if self.messages is not None and self.messages.count:
            yield self.messages.take()
        self._finish(dialect)

    # --- before the rows

    def _find_dialect(self) -> tuple[Encoding, Dialect]:
        size = self.source.size
        head = bytes(self.source.read_at(0, _HEAD))
        pieces: list[bytes] = []
        if size > len(head):
            places = [(size - _SAMPLE_SIZE) * i // _SAMPLES & ~1 for i in range(1, _SAMPLES + 1)]
            pieces = [bytes(self.source.read_at(place, _SAMPLE_SIZE)) for place in places if place >= 0]
        encoding = find_encoding(head, pieces)
        dialect = find_dialect(to_utf8(head[encoding.mark :], encoding), size <= len(head))
        if dialect is None:
            raise Corrupt("no table with a time column", 0)
        most = max(20, _SAMPLE_ROWS * 10 // dialect.columns)
        for piece in pieces:
            dialect.rows += rows_of(sample_lines(to_utf8(piece, encoding))[:most], dialect.delimiter, dialect.columns)
        return encoding, dialect

    def _find_columns(self, encoding: Encoding, dialect: Dialect) -> None:
        point = dialect.point
        storages = [storage_of([row[i] for row in dialect.rows], point) for i in range(dialect.columns)]
        taken = set(dialect.time.columns)
        self.message = find_messages(dialect.names, storages, taken)
        if self.message is not None:
            taken |= self.message.columns
            self.level = self._column(self.message.level, "text", SignalSpec("level"))
            if self.message.source >= 0:
                self.origin = self._column(self.message.source, "text", SignalSpec("source"))
            rows = min(self.limits.block_rows, 1 << 20)
            self.messages = MessageBuffer(rows, self.limits.block_bytes, self.limits.max_line_length, 1)
        self.columns: list[_Column] = []
        names = {"t_ns"}
        for index, name in enumerate(dialect.names):
            if index in taken:
                continue
            if len(self.columns) >= self.limits.max_signals:
                self.recording.add_undecoded(name, f"more than {self.limits.max_signals} signals")
                continue
            chosen, number = name, 2
            while chosen in names:
                chosen, number = f"{name}_{number}", number + 1
            names.add(chosen)
            storage = storages[index]
            choices = {"text": {}, "bool": dict(_TRUTH)}.get(storage)
            signal = SignalSpec(chosen, dialect.units[index], {"text": "int32", "bool": "uint8"}.get(storage, storage), choices)
            self.columns.append(self._column(index, storage, signal))
        if self.columns:
            self.stream = self.recording.add_stream(StreamSpec(STREAM, [column.signal for column in self.columns]))

    def _column(self, index: int, storage: str, signal: SignalSpec) -> _Column:
        return _Column(index, storage, signal, Texts(MAX_TEXTS) if storage == "text" else None)

    def _describe(self, encoding: Encoding, dialect: Dialect) -> None:
        recording, time = self.recording, dialect.time
        recording.absolute = time.absolute
        recording.add_metadata("encoding", encoding.name)
        recording.add_metadata("delimiter", _DELIMITERS[dialect.delimiter])
        recording.add_metadata("decimal mark", chr(dialect.point))
        names = [dialect.names[i] for i in (time.column, time.clock_column) if i >= 0]
        unit = f" in {_PLACES[time.detail]}" if time.kind == TIME_NUMBER else ""
        recording.add_metadata("time column", f"{' and '.join(names)}: {_KINDS[time.kind]}{unit}")
        for number, line in enumerate(dialect.preamble, 1):
            recording.add_metadata(f"line before the header {number}", line)
        for remark in time.remarks:
            recording.add_problem(0, remark)

    # --- rows

    def _drain(self) -> None:
        for at, length, count, reason in self.scanner.drain_bad():
            start = self.windows.offset(at)
            if count:
                self._lose(start, self.windows.offset(at + length) - start, reason, count)
            else:  # more of a line that is too long
                self.recording.add_lost(start, self.windows.offset(at + length) - start, reason)

    def _lose(self, offset: int, length: int, reason: str, count: int = 1) -> None:
        self.recording.add_lost(offset, length, reason)
        self.recording.add_problem(offset, reason, count)
        self.recording.add_skipped("unreadable row", count)

    def _rows(self, dialect: Dialect) -> Iterator[Block]:
        """The blocks of the rows that the scanner has split last."""
        time = dialect.time
        t_ns, timed = self.scanner.times(time.column, time.kind, time.detail, time.clock_column)
        untimed = np.flatnonzero(timed == 0)
        for row in untimed.tolist():
            at, length = self.scanner.row_span(row)
            start = self.windows.offset(at)
            self._lose(start, self.windows.offset(at + length) - start, "row has no time")
        kept = int(len(timed) - len(untimed))
        if not kept:
            return
        self.rows_taken += kept
        chosen = None if kept == len(timed) else timed.astype(bool)
        if self.stream >= 0:
            columns, masks = self._values(chosen)
            yield SampleBlock(self.stream, t_ns if chosen is None else t_ns[chosen], columns, masks)
        if self.messages is not None and self.message is not None:
            yield from self._messages(t_ns, timed)

    def _values(self, chosen: NDArray[np.bool_] | None) -> tuple[Columns, Masks]:
        columns: Columns = []
        masks: Masks = []
        for column in self.columns:
            values, mask = self._read(column)
            if chosen is not None:
                values, mask = values[chosen], mask[chosen]
            columns.append(values)
            masks.append(None if mask.all() else mask)
        return columns, masks

    def _read(self, column: _Column) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        scanner, index = self.scanner, column.index
        if column.storage == "int64":
            values, mask, misfits, first = scanner.wholes(index)
        elif column.storage == "float64":
            values, mask, misfits, first = scanner.decimals(index)
        elif column.storage == "bool":
            values, mask, misfits, first = scanner.truths(index)
        else:
            values, mask, misfits, first = self._codes(column)
        if misfits:
            if not column.misfits:
                column.first_misfit = self.windows.offset(scanner.row_span(first)[0])
            column.misfits += misfits
        return values, mask

    def _codes(self, column: _Column) -> tuple[NDArray[np.int32], NDArray[np.uint8], int, int]:
        texts, choices = column.texts, column.signal.choices
        assert texts is not None
        known = texts.count
        result: tuple[NDArray[np.int32], NDArray[np.uint8], int, int] = self.scanner.codes(column.index, texts)
        if choices is not None:
            for number, text in enumerate(texts.since(known), known):
                choices[number] = text.decode("utf-8", "replace")[:MAX_LENGTH]
        return result

    def _messages(self, t_ns: NDArray[np.int64], timed: NDArray[np.uint8]) -> Iterator[Block]:
        assert self.message is not None
        assert self.messages is not None
        level = self._mapped(self.level, level_of, 0).astype(np.uint8)
        source = self._mapped(self.origin, lambda name: self.recording.source_index(name[: self.limits.max_text_length]), None)
        row = 0
        while row < len(t_ns):
            row = self.scanner.push_messages(self.messages, self.message.message, t_ns, level, source, row, timed)
            if row < len(t_ns):
                yield self.messages.take()

    def _mapped(self, column: _Column | None, number_of: Any, absent: int | None) -> NDArray[np.int32]:
        """The column's texts as numbers that `number_of` gives once for each; `absent` (None: the source `table`) where there is none."""
        missing = self.recording.source_index(STREAM) if absent is None else absent
        if column is None:
            return np.full(self.scanner.rows, missing, np.int32)
        assert column.texts is not None
        codes, mask, misfits, first = self._codes(column)
        if misfits and not column.misfits:
            column.first_misfit = self.windows.offset(self.scanner.row_span(first)[0])
        column.misfits += misfits
        fresh = [number_of(text.decode("utf-8", "replace")) for text in column.texts.since(len(column.numbers))]
        column.numbers = np.concatenate([column.numbers, np.array(fresh, np.int32)])
        if not len(column.numbers):
            return np.full(self.scanner.rows, missing, np.int32)
        return np.where(mask == 1, column.numbers[codes], missing).astype(np.int32)

    # --- the end

    def _finish(self, dialect: Dialect) -> None:
        recording, scanner = self.recording, self.scanner
        if self.windows.short:
            self._lose(self.windows.offset(0), self.source.size - self.windows.offset(0), "file ended while it was read")
        if scanner.unterminated:
            recording.add_problem(self.source.size, "last line has no line end: the file may be cut")
        if self.messages is not None and self.messages.replaced:
            recording.add_problem(0, f"{self.messages.replaced} places in the messages are no valid text: replaced", self.messages.replaced)
        if scanner.zoneless:
            recording.add_problem(0, "times have no zone: taken as UTC")
        for column in (*self.columns, self.level, self.origin):
            if column is not None and column.misfits:
                name = column.signal.name
                reason = f"{column.misfits} cells of {name} are {_MISFITS[column.storage]}: left empty"
                recording.add_problem(column.first_misfit, reason, column.misfits)
        for kind, count in (("comment line", scanner.comments), ("repeated header", scanner.repeated_headers)):
            if count:
                recording.add_skipped(kind, count)
        if dialect.preamble:
            recording.add_skipped("line before the header", len(dialect.preamble))
        if scanner.days:
            recording.add_metadata("midnights passed", str(scanner.days))
        if not self.rows_taken:
            raise Corrupt("no row of the table can be read", recording.problems[0].offset if recording.problems else dialect.data_start)
