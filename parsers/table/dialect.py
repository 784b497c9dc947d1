"""How a table is written: delimiter, decimal mark, header and units, where its rows begin, and what each column holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from parsers.table._cells import number_kind, time_value
from parsers.table.timing import Cells, TimePlan, find_time, split_unit

DELIMITERS = b"\t;|,"  # the comma last: with a decimal comma it would fit, too
_MOST_PREAMBLE = 64  # lines before the header
_MOST_LINES = 4000
_MOST_JOINED = 20  # lines in one quoted cell
_MOST_CELLS = 50_000  # sampled
_FIRST_LINES = 300  # by which the delimiter is found
_SHARE = 0.6  # of the lines that must have the same number of cells
_LONGEST_NAME = 200
_MOST_COLUMNS = 16_384
_COMMENTS = (b"#", b"//")


@dataclass
class Dialect:
    """`data_start` is where the rows begin in the text, `header` the bytes of the header line (empty without one)."""

    delimiter: int
    point: int
    names: list[str]
    units: list[str]
    header: bytes
    data_start: int
    preamble: list[str]
    time: TimePlan
    rows: list[list[bytes]] = field(repr=False)

    @property
    def columns(self) -> int:
        """Cells of a row."""
        return len(self.names)


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int  # of the next line
    text: bytes


def find_dialect(text: bytes, complete: bool) -> Dialect | None:
    """What the beginning of a text says; None when it is no table with a time. `complete` says that it is the whole text."""
    lines = _lines(text, complete)
    comments = [line for line in lines if line.text.startswith(_COMMENTS)]
    body = [line for line in lines if line.text.strip() and not line.text.startswith(_COMMENTS)]
    shape = _shape([line.text for line in body[:_FIRST_LINES]])
    if shape is None:
        return None
    delimiter, columns = shape
    first = next((i for i, line in enumerate(body) if _fits(split_cells(line.text, delimiter), columns)), len(body))
    if first > _MOST_PREAMBLE or first == len(body):
        return None
    header, names, skipped = _header(body, first, comments, delimiter, columns)
    most = max(20, _MOST_CELLS // columns)
    rows = rows_of([line.text for line in body[first + skipped :] if line.text != header], delimiter, columns)[:most]
    if not rows:
        return None
    point = 0x2C if delimiter != 0x2C and _has_decimal_commas(rows) else 0x2E
    if names is not None and _is_unit_row(rows, point):
        units = [cell.decode("utf-8", "replace").strip().strip("[]()").strip() for cell in rows.pop(0)]
        skipped += 1
    else:
        units = [""] * columns
    titles, units = _titles(names, units, columns)
    time = find_time(titles if names is not None else [""] * columns, units, rows, point) if rows else None
    if time is None or (names is None and not _has_numbers(rows, time, point)):
        return None
    before = [line.text.decode("utf-8", "replace").strip() for line in body[:first] if line.text != header]
    return Dialect(delimiter, point, titles, units, header, body[first + skipped - 1].end if first + skipped else 0, before, time, rows)


def split_cells(line: bytes, delimiter: int) -> list[bytes]:
    """The cells of one line, without quotes and blanks around them, as the scanner splits it."""
    mark = bytes([delimiter])
    if b'"' not in line:
        return [cell.strip(b" \t") for cell in line.split(mark)]
    cells, at, size = [], 0, len(line)
    while True:
        while at < size and line[at] in b" \t" and line[at] != delimiter:
            at += 1
        if at < size and line[at] == 0x22:
            match = _QUOTED.match(line, at)
            if match is None:
                return []
            cells.append(match[1].replace(b'""', b'"'))
            end = line.find(mark, match.end())
        else:
            end = line.find(mark, at)
            cells.append(line[at : end if end >= 0 else size].strip(b" \t"))
        if end < 0:
            return cells
        at = end + 1


_QUOTED = re.compile(rb'"((?:[^"]|"")*)"')
_OPENING = re.compile(rb'(?:^|[\t;|,])[ \t]*"')
_CLOSED = re.compile(_OPENING.pattern + rb'(?:[^"]|"")*"')


def _is_open(line: bytes) -> bool:
    """Whether a cell that begins with a quote does not end; a quote within a cell is a character like others."""
    return b'"' in line and _OPENING.search(_CLOSED.sub(b"", line)) is not None


def rows_of(lines: Sequence[bytes], delimiter: int, columns: int) -> list[list[bytes]]:
    """The cells of those lines that have the right number of them."""
    split = (split_cells(line, delimiter) for line in lines)
    return [cells[:columns] for cells in split if _fits(cells, columns)]


def sample_lines(piece: bytes) -> list[bytes]:
    """The whole lines of a piece from the middle of a text."""
    return [line.rstrip(b"\r ") for line in piece.split(b"\n")[1:-1] if line.strip() and not line.startswith(_COMMENTS)]


def _lines(text: bytes, complete: bool) -> list[_Line]:
    """The lines, those that an open quote joins as one."""
    lines: list[_Line] = []
    at = 0
    while at < len(text) and len(lines) < _MOST_LINES:
        end = _line_end(text, at)
        if _is_open(text[at:end]):
            end = _closed_end(text, at, end)
        if end == len(text) and not text.endswith(b"\n") and not complete and lines:
            break
        lines.append(_Line(at, end, text[at:end].rstrip(b"\r\n ")))
        at = end
    # The last line of a whole text may have been cut: its cells are no evidence.
    if len(lines) > 2 and complete and not text.endswith(b"\n"):
        lines.pop()
    return lines


def _line_end(text: bytes, at: int) -> int:
    newline = text.find(b"\n", at)
    return len(text) if newline < 0 else newline + 1


def _closed_end(text: bytes, at: int, end: int) -> int:
    """The end of the line in which the quote is closed; of the first line when none of the next few closes it."""
    last = end
    for _ in range(_MOST_JOINED):
        last = _line_end(text, last)
        if not _is_open(text[at:last]):
            return last
        if last == len(text):
            break
    return end


def _shape(lines: Sequence[bytes]) -> tuple[int, int] | None:
    """Delimiter and number of cells that most lines share."""
    best: tuple[float, int, int] | None = None
    for delimiter in DELIMITERS:
        split = [cells for line in lines if (cells := split_cells(line, delimiter))]
        counts = Counter(len(cells) for cells in split)
        counts.pop(1, None)
        if not counts:
            continue
        columns, number = counts.most_common(1)[0]
        if all(cells[-1] == b"" for cells in split if len(cells) == columns):
            columns -= 1  # a delimiter at the end of each line
            number = sum(1 for cells in split if _fits(cells, columns))
        first = next((i for i, line in enumerate(lines) if _fits(split_cells(line, delimiter), columns)), len(lines))
        share = number / max(1, len(lines) - min(first, _MOST_PREAMBLE))
        if 2 <= columns <= _MOST_COLUMNS and share >= _SHARE and (best is None or share > best[0] + 0.01):
            best = share, delimiter, columns
    return None if best is None else best[1:]


def _fits(cells: Cells, columns: int) -> bool:
    return len(cells) >= columns and not any(cells[columns:])


def _is_name(cell: bytes) -> bool:
    if len(cell) > _LONGEST_NAME or any(number_kind(cell, point)[0] in (1, 2) for point in (0x2E, 0x2C)):
        return False
    return not any(_is_time(cell, kind) for kind in (1, 2))


def _is_time(cell: bytes, kind: int) -> bool:
    return any(time_value(cell, 0x2E, kind, order) is not None for order in (0, 1, 2))


def _is_header(cells: Cells) -> bool:
    return all(_is_name(cell) for cell in cells) and sum(1 for cell in cells if cell) * 2 > len(cells)


def _header(
    body: Sequence[_Line], first: int, comments: Sequence[_Line], delimiter: int, columns: int
) -> tuple[bytes, list[bytes] | None, int]:
    """The header line, its cells, and how many of the lines from `first` on it takes. It may be a comment right before the rows."""
    cells = split_cells(body[first].text, delimiter)
    if _is_header(cells[:columns]):
        return body[first].text, cells[:columns], 1
    before = [line for line in comments if line.end <= body[first].start]
    if before:
        cells = split_cells(before[-1].text.lstrip(b"#/ "), delimiter)
        if _fits(cells, columns) and _is_header(cells[:columns]):
            return b"", cells[:columns], 0
    return b"", None, 0


def _is_unit_row(rows: Sequence[Cells], point: int) -> bool:
    """Whether the first row has units: no number in it but 1, and the rows behind it are not like that."""
    if len(rows) < 2:
        return False
    first = [cell for cell in rows[0] if cell not in (b"", b"1", b"-")]
    if not all(_is_name(cell) and len(cell) <= 30 for cell in first):
        return False
    # Rows of text are like units in having no numbers: the columns that are numbers or times further on decide.
    typed = [i for i in range(len(rows[0])) if _is_typed([row[i] for row in rows[1:20]], point)]
    return bool(first) and any(rows[0][i] for i in typed)


def _is_typed(cells: Cells, point: int) -> bool:
    """Whether all cells are numbers, all are dates or all are times of day."""
    return all(number_kind(cell, point)[0] in (1, 2) for cell in cells) or any(
        all(_is_time(cell, kind) for cell in cells) for kind in (1, 2)
    )


def _has_decimal_commas(rows: Sequence[Cells]) -> bool:
    commas = points = 0
    for row in rows:
        for cell in row:
            if b"," in cell and number_kind(cell, 0x2C)[0] == 2:
                commas += 1
            elif b"." in cell and number_kind(cell, 0x2E)[0] == 2:
                points += 1
    return commas > points


def _has_numbers(rows: Sequence[Cells], time: TimePlan, point: int) -> bool:
    """Whether some column besides the time is numbers: lines of prose with commas are not."""
    others = [i for i in range(len(rows[0])) if i not in time.columns]
    return any(sum(1 for row in rows if number_kind(row[i], point)[0] in (1, 2)) >= 0.95 * len(rows) for i in others)


def _titles(names: list[bytes] | None, units: list[str], columns: int) -> tuple[list[str], list[str]]:
    """A name for every column, and its unit: from the name if it has one, else from the row of units."""
    titles = []
    for index in range(columns):
        name = "" if names is None else names[index].decode("utf-8", "replace").strip().lstrip("%#").strip()
        title, unit = split_unit(name)
        titles.append(title or f"column_{index + 1}")
        units[index] = unit or units[index]
    return titles, units
