"""Splits a text table into cells and turns columns of cells into numbers, times and codes, without the GIL."""

cimport cython
import numpy as np
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp

from parsers._core.messages cimport MessageColumns
from parsers.table._numbers cimport MISFIT, NOTHING, is_nothing, is_word, read_double, read_whole
from parsers.table._texts cimport Texts
from parsers.table._times cimport CLOCK, DATE, NUMBER, clock_ns, date_ns, number_ns

cdef enum:
    BAD_ROOM = 256
    ESCAPED = 0x80000000  # in where a cell starts: quotes stand twice in it

    # Why a record was not read, or was read over
    WRONG_COUNT = 1
    TOO_LONG
    OPEN_QUOTE
    ZERO_BYTES

REASONS = {
    WRONG_COUNT: "row has not as many cells as the header",
    TOO_LONG: "line is longer than allowed",
    OPEN_QUOTE: "a quote is never closed",
    ZERO_BYTES: "line has zero bytes: not text",
}
TIME_NUMBER, TIME_DATE, TIME_CLOCK = NUMBER, DATE, CLOCK

cdef int64_t DAY = <int64_t>86400 * 1000000000


cdef struct BadRows:
    Py_ssize_t at  # in the window
    Py_ssize_t length
    int64_t count
    int reason


cdef inline void trim(const uint8_t** at, const uint8_t** end) noexcept nogil:
    while at[0] < end[0] and (at[0][0] == 0x20 or at[0][0] == 0x09):
        at[0] += 1
    while end[0] > at[0] and ((end[0] - 1)[0] == 0x20 or (end[0] - 1)[0] == 0x09):
        end[0] -= 1


@cython.final
cdef class TableScanner:
    """Splits windows into rows of `columns` cells; the rows of the last `split` can then be read column by column.

    Cells are separated by `delimiter`; one that begins with a quote ends at the next single quote and may hold line ends. `header` is the
    bytes of the header line: where it comes again, files were joined.
    """

    cdef uint8_t delimiter
    cdef uint8_t point
    cdef int columns
    cdef bytes header_line
    cdef const uint8_t* header
    cdef Py_ssize_t header_length
    cdef Py_ssize_t max_line
    cdef Py_ssize_t most_rows
    cdef uint32_t* starts  # of each cell in the window; with ESCAPED
    cdef uint32_t* ends
    cdef Py_ssize_t* row_at
    cdef Py_ssize_t* row_end
    cdef const uint8_t[::1] window
    cdef BadRows bad[BAD_ROOM]
    cdef int bad_count
    cdef bint in_long_line
    cdef readonly Py_ssize_t rows
    cdef readonly bint unterminated  # the last line had no line end
    cdef readonly int64_t comments
    cdef readonly int64_t repeated_headers
    cdef int64_t text_budget
    cdef uint8_t* scratch
    # of the time column
    cdef int64_t day_ns
    cdef int64_t last_clock
    cdef readonly int64_t days  # midnights passed by a clock
    cdef readonly int64_t zoneless  # dates without a zone

    def __cinit__(self, uint8_t delimiter, uint8_t point, int columns, bytes header not None, Py_ssize_t max_line, Py_ssize_t most_rows, int64_t text_budget):
        if columns < 1 or max_line < 1 or most_rows < 1:
            raise ValueError("no table")
        self.delimiter = delimiter
        self.point = point
        self.columns = columns
        self.header_line = header
        self.header = header
        self.header_length = len(header)
        self.max_line = max_line
        self.most_rows = most_rows
        self.text_budget = text_budget
        self.last_clock = -1
        self.starts = <uint32_t*>malloc(<size_t>most_rows * <size_t>columns * sizeof(uint32_t))
        self.ends = <uint32_t*>malloc(<size_t>most_rows * <size_t>columns * sizeof(uint32_t))
        self.row_at = <Py_ssize_t*>malloc(<size_t>most_rows * sizeof(Py_ssize_t))
        self.row_end = <Py_ssize_t*>malloc(<size_t>most_rows * sizeof(Py_ssize_t))
        self.scratch = <uint8_t*>malloc(<size_t>max_line + 1)
        if self.starts == NULL or self.ends == NULL or self.row_at == NULL or self.row_end == NULL or self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.starts)
        free(self.ends)
        free(self.row_at)
        free(self.row_end)
        free(self.scratch)

    # --- rows

    cdef void note(self, Py_ssize_t at, Py_ssize_t length, int reason) noexcept nogil:
        cdef BadRows* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.at + last.length == at:
                last.length += length
                last.count += 1
                return
        last = &self.bad[self.bad_count]
        last.at = at
        last.length = length
        last.count = 1
        last.reason = reason
        self.bad_count += 1

    cdef void note_long(self, Py_ssize_t at, Py_ssize_t length) noexcept nogil:
        """A part of a line that is too long; the line counts once."""
        self.note(at, length, TOO_LONG)
        self.bad[self.bad_count - 1].count -= self.in_long_line

    cdef bint plain_row(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t stop) noexcept nogil:
        """The cells of a line without quotes; False when their number is wrong."""
        cdef const uint8_t* cell = start + at
        cdef const uint8_t* end = start + stop
        cdef const uint8_t* next_cell
        cdef const uint8_t* cell_end
        cdef uint32_t* starts = self.starts + self.rows * self.columns
        cdef uint32_t* ends = self.ends + self.rows * self.columns
        cdef int n = 0
        while True:
            next_cell = cell
            while next_cell < end and next_cell[0] != self.delimiter:
                next_cell += 1
            cell_end = next_cell
            trim(&cell, &cell_end)
            if n < self.columns:
                starts[n] = <uint32_t>(cell - start)
                ends[n] = <uint32_t>(cell_end - start)
            elif cell != cell_end:
                return False
            n += 1
            if next_cell >= end:
                return n >= self.columns
            cell = next_cell + 1

    cdef int quoted_row(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* next_line) noexcept nogil:
        """The cells of a record with quotes: 0, WRONG_COUNT, or OPEN_QUOTE when `end` comes before it is whole."""
        cdef uint32_t* starts = self.starts + self.rows * self.columns
        cdef uint32_t* ends = self.ends + self.rows * self.columns
        cdef int n = 0
        cdef bint fits = True
        cdef bint escaped, quoted
        cdef const uint8_t* cell
        cdef const uint8_t* cell_end
        while True:
            escaped = quoted = False
            while at < end and (start[at] == 0x20 or (start[at] == 0x09 and self.delimiter != 0x09)):
                at += 1
            cell = start + at
            if at < end and start[at] == 0x22:
                quoted = True
                at += 1
                cell = start + at
                while True:
                    while at < end and start[at] != 0x22:
                        at += 1
                    if at >= end:
                        return OPEN_QUOTE
                    if at + 1 < end and start[at + 1] == 0x22:
                        escaped = True
                        at += 2
                        continue
                    break
                cell_end = start + at
                at += 1
            while at < end and start[at] != self.delimiter and start[at] != 0x0A:
                at += 1
            if not quoted:
                cell_end = start + at
                if cell_end > cell and (cell_end - 1)[0] == 0x0D and (at >= end or start[at] == 0x0A):
                    cell_end -= 1
                trim(&cell, &cell_end)
            if n < self.columns:
                starts[n] = <uint32_t>(cell - start) | (ESCAPED if escaped else 0)
                ends[n] = <uint32_t>(cell_end - start)
            elif cell != cell_end:
                fits = False
            n += 1
            if at >= end or start[at] == 0x0A:
                next_line[0] = at + 1 if at < end else at
                return 0 if fits and n >= self.columns else WRONG_COUNT
            at += 1

    cdef Py_ssize_t split_rows(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, bint final) noexcept nogil:
        cdef const uint8_t* newline
        cdef Py_ssize_t stop, next_line, record_end
        cdef int outcome
        while at < end and self.rows < self.most_rows and self.bad_count < BAD_ROOM - 1:
            newline = <const uint8_t*>memchr(start + at, 0x0A, <size_t>(end - at))
            if newline == NULL:
                if not final:
                    if not self.in_long_line and end - at <= self.max_line:
                        return at
                    self.note_long(at, end - at)
                    self.in_long_line = True
                    return end
                stop = next_line = end
            else:
                stop = newline - start
                next_line = stop + 1
            if self.in_long_line or stop - at > self.max_line:
                self.note_long(at, next_line - at)
                self.in_long_line = newline == NULL
                at = next_line
                continue
            if newline == NULL:
                self.unterminated = True
            while stop > at and (start[stop - 1] == 0x0D or start[stop - 1] == 0x20):
                stop -= 1
            if stop == at:
                at = next_line
                continue
            if start[at] == 0x23 or (stop - at >= 2 and start[at] == 0x2F and start[at + 1] == 0x2F):  # '#' and '//'
                self.comments += 1
                at = next_line
                continue
            if stop - at == self.header_length and memcmp(start + at, self.header, <size_t>self.header_length) == 0:
                self.repeated_headers += 1
                at = next_line
                continue
            if memchr(start + at, 0, <size_t>(stop - at)) != NULL:
                self.note(at, next_line - at, ZERO_BYTES)
                at = next_line
                continue
            if memchr(start + at, 0x22, <size_t>(stop - at)) == NULL:
                outcome = 0 if self.plain_row(start, at, stop) else WRONG_COUNT
            else:
                record_end = min(end, at + self.max_line)
                outcome = self.quoted_row(start, at, record_end, &next_line)
                if outcome == OPEN_QUOTE and record_end == end and not final:
                    return at
                # A record that does not end within the bytes may lack its last characters only: then its first line is whole.
                if outcome != OPEN_QUOTE and next_line == record_end and record_end < end and start[record_end - 1] != 0x0A:
                    outcome = OPEN_QUOTE
                if outcome != OPEN_QUOTE and next_line == end and start[end - 1] != 0x0A:
                    if not final:
                        return at
                    self.unterminated = True
                if outcome == OPEN_QUOTE:
                    next_line = newline - start + 1 if newline != NULL else end
            if outcome:
                self.note(at, next_line - at, outcome)
            else:
                self.row_at[self.rows] = at
                self.row_end[self.rows] = next_line
                self.rows += 1
            at = next_line
        return at

    def split(self, const uint8_t[::1] window not None, Py_ssize_t at, bint final):
        """Splits lines of `window` from `at` on into rows; `final` says that the table ends with it.

        Returns the first byte not used: less than the window is long when there are enough rows or many bad ones, and when the last
        record is not complete. A window has at most 2 GiB.
        """
        if not 0 <= at <= window.shape[0] or window.shape[0] >= ESCAPED:
            raise ValueError("impossible window")
        self.window = window
        self.rows = 0
        self.bad_count = 0
        if at == window.shape[0]:
            return at
        cdef Py_ssize_t used
        cdef const uint8_t* start = &window[0]
        with nogil:
            used = self.split_rows(start, at, window.shape[0], final)
        return used

    def drain_bad(self):
        """What could not be read since the last call: (first byte in the window, length, count, sentence)."""
        out = [(self.bad[i].at, self.bad[i].length, self.bad[i].count, REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out

    def row_span(self, Py_ssize_t row):
        """First byte of the row in the window, and its length with the line end."""
        if not 0 <= row < self.rows:
            raise ValueError("no such row")
        return self.row_at[row], self.row_end[row] - self.row_at[row]

    # --- columns

    cdef inline const uint8_t* cell(self, Py_ssize_t row, int column, Py_ssize_t* length) noexcept nogil:
        """The cell's text; quotes that stand twice are undone in `scratch`, which the next call overwrites."""
        cdef Py_ssize_t index = row * self.columns + column
        cdef uint32_t at = self.starts[index] & ~<uint32_t>ESCAPED
        cdef const uint8_t* text = &self.window[0] + at
        cdef Py_ssize_t size = self.ends[index] - at
        cdef Py_ssize_t i = 0, n = 0
        if self.starts[index] & ESCAPED:
            while i < size:
                self.scratch[n] = text[i]
                n += 1
                i += 2 if text[i] == 0x22 else 1
            text = self.scratch
            size = n
        length[0] = size
        return text

    def wholes(self, int column):
        """int64, mask, and how many cells were not whole numbers with the first such row (-1)."""
        values = np.zeros(self.rows, np.int64)
        mask = np.empty(self.rows, np.uint8)
        cdef int64_t[::1] out = values
        cdef uint8_t[::1] valid = mask
        cdef Py_ssize_t row, length, first = -1
        cdef int64_t misfits = 0
        cdef const uint8_t* text
        cdef int kind
        self.check(column)
        with nogil:
            for row in range(self.rows):
                text = self.cell(row, column, &length)
                kind = read_whole(text, length, self.point, &out[row])
                valid[row] = kind != NOTHING and kind != MISFIT
                if kind == MISFIT:
                    misfits += 1
                    if first < 0:
                        first = row
        return values, mask, misfits, first

    def decimals(self, int column):
        """float64, mask, and how many cells were no numbers with the first such row (-1)."""
        values = np.zeros(self.rows, np.float64)
        mask = np.empty(self.rows, np.uint8)
        cdef double[::1] out = values
        cdef uint8_t[::1] valid = mask
        cdef Py_ssize_t row, length, first = -1
        cdef int64_t misfits = 0
        cdef const uint8_t* text
        cdef int kind
        self.check(column)
        with nogil:
            for row in range(self.rows):
                text = self.cell(row, column, &length)
                kind = read_double(text, length, self.point, &out[row])
                valid[row] = kind != NOTHING and kind != MISFIT
                if kind == MISFIT:
                    misfits += 1
                    if first < 0:
                        first = row
        return values, mask, misfits, first

    def truths(self, int column):
        """uint8 of true and false (or 1 and 0), mask, and how many cells were neither with the first such row (-1)."""
        values = np.zeros(self.rows, np.uint8)
        mask = np.empty(self.rows, np.uint8)
        cdef uint8_t[::1] out = values
        cdef uint8_t[::1] valid = mask
        cdef Py_ssize_t row, length, first = -1
        cdef int64_t misfits = 0
        cdef const uint8_t* text
        self.check(column)
        with nogil:
            for row in range(self.rows):
                text = self.cell(row, column, &length)
                valid[row] = True
                if is_word(text, length, b"true", 4) or is_word(text, length, b"1", 1):
                    out[row] = 1
                elif not is_word(text, length, b"false", 5) and not is_word(text, length, b"0", 1):
                    valid[row] = False
                    if not is_nothing(text, length):
                        misfits += 1
                        if first < 0:
                            first = row
        return values, mask, misfits, first

    def codes(self, int column, Texts texts not None):
        """int32 numbers of the texts, mask (0 for empty cells and for texts beyond the limit), and how many of the latter, first row."""
        values = np.zeros(self.rows, np.int32)
        mask = np.empty(self.rows, np.uint8)
        cdef int32_t[::1] out = values
        cdef uint8_t[::1] valid = mask
        cdef Py_ssize_t row, length, first = -1
        cdef int64_t misfits = 0
        cdef const uint8_t* text
        cdef int32_t code
        self.check(column)
        with nogil:
            for row in range(self.rows):
                text = self.cell(row, column, &length)
                valid[row] = False
                if length == 0:
                    continue
                code = texts.code_of(text, <uint32_t>length, &self.text_budget)
                if code >= 0:
                    out[row] = code
                    valid[row] = True
                else:
                    misfits += 1
                    if first < 0:
                        first = row
        return values, mask, misfits, first

    def times(self, int column, int kind, int detail, int clock_column):
        """int64 ns and mask. `detail` is the power of ten of a number's unit in ns, or the order of a date's parts.

        With a `clock_column` (or -1) the date is in `column` and the time of day there. A time of day that falls by more than half a day
        is one of the next day.
        """
        values = np.zeros(self.rows, np.int64)
        mask = np.empty(self.rows, np.uint8)
        cdef int64_t[::1] out = values
        cdef uint8_t[::1] valid = mask
        cdef Py_ssize_t row, length
        cdef const uint8_t* text
        cdef bint fine, told
        cdef int64_t of_day
        self.check(column)
        if kind not in (NUMBER, DATE, CLOCK) or not -1 <= clock_column < self.columns or not 0 <= detail <= 9:
            raise ValueError("no such kind of time")
        with nogil:
            for row in range(self.rows):
                text = self.cell(row, column, &length)
                told = False
                if kind == NUMBER:
                    fine = number_ns(text, length, self.point, detail, &out[row])
                elif kind == CLOCK:
                    fine = clock_ns(text, length, &out[row])
                    if fine:
                        if self.last_clock >= 0 and out[row] < self.last_clock - DAY // 2:
                            self.days += 1
                            self.day_ns += DAY
                        self.last_clock = out[row]
                        out[row] += self.day_ns
                else:
                    fine = date_ns(text, length, detail, &out[row], &told)
                    if fine and clock_column >= 0:
                        text = self.cell(row, clock_column, &length)
                        fine = clock_ns(text, length, &of_day)
                        out[row] += of_day
                    self.zoneless += fine and not told
                valid[row] = fine
        return values, mask

    def push_messages(
        self, MessageColumns messages not None, int column, const int64_t[::1] t_ns not None, const uint8_t[::1] level not None,
        const int32_t[::1] source not None, Py_ssize_t row, keep
    ):
        """Adds the texts of the column as log messages, from `row` on, of those rows that `keep` has; gives the row at which the block is full."""
        cdef Py_ssize_t length
        cdef const uint8_t* text
        cdef const uint8_t[::1] kept = keep
        self.check(column)
        if row < 0 or t_ns.shape[0] != self.rows or level.shape[0] != self.rows or source.shape[0] != self.rows or kept.shape[0] != self.rows:
            raise ValueError("columns of different length")
        with nogil:
            while row < self.rows and not messages.is_full():
                if kept[row]:
                    text = self.cell(row, column, &length)
                    messages.push(t_ns[row], level[row], source[row], text, length)
                row += 1
        return row

    def check(self, int column):
        """Raises ValueError when there is no such column."""
        if not 0 <= column < self.columns:
            raise ValueError("no such column")


def number_kind(const uint8_t[::1] cell not None, uint8_t point):
    """What a cell is: 0 nothing, 1 a whole number, 2 a decimal, 3 something else; and whether it fits into int64."""
    cdef double value = 0
    cdef int64_t whole = 0
    cdef const uint8_t* text = &cell[0] if cell.shape[0] else NULL
    cdef int kind = read_double(text, cell.shape[0], point, &value)
    return kind, kind not in (NOTHING, MISFIT) and read_whole(text, cell.shape[0], point, &whole) != MISFIT


def number_value(const uint8_t[::1] cell not None, uint8_t point):
    """The nearest double, or None."""
    cdef double value = 0
    cdef const uint8_t* text = &cell[0] if cell.shape[0] else NULL
    return None if read_double(text, cell.shape[0], point, &value) in (NOTHING, MISFIT) else value


def time_value(const uint8_t[::1] cell not None, uint8_t point, int kind, int detail):
    """(ns, whether a zone is told) of a cell that gives time as `TableScanner.times` says; None when it does not."""
    cdef int64_t t_ns = 0
    cdef bint told = False
    cdef bint fine
    if kind not in (NUMBER, DATE, CLOCK) or not 0 <= detail <= 9:
        raise ValueError("no such kind of time")
    if not cell.shape[0]:
        return None
    if kind == NUMBER:
        fine = number_ns(&cell[0], cell.shape[0], point, detail, &t_ns)
    elif kind == CLOCK:
        fine = clock_ns(&cell[0], cell.shape[0], &t_ns)
    else:
        fine = date_ns(&cell[0], cell.shape[0], detail, &t_ns, &told)
    return (t_ns, told) if fine else None
