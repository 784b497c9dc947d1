"""Turns the lines of text logs into message columns: times by the file's own kind, continuation lines joined, damage noted."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from parsers._core.messages cimport MessageColumns, no_time
from parsers.textlog._json cimport Object, put_object, read_object, read_object_head
from parsers.textlog._prefix cimport Head, read_head
from parsers.textlog._stamp cimport (
    CLOCK, NO_STAMP, SINCE_BOOT, STAMP_KINDS, YEARLESS, ZONED, ZONELESS, Stamp, Text, days_from_civil, is_blank, is_digit, is_letter,
)

STATUS_MORE, STATUS_FULL, STATUS_DRAIN = range(3)

cdef enum:
    MORE = 0
    FULL = 1
    DRAIN = 2

    BAD_ROOM = 64
    MOST_LINE = 1 << 20
    BILLION = 1000000000
    DAY_SECONDS = 86400
    HALF_DAY = 43200
    LAST_YEAR = 2261
    MOST_DAYS = 36500

    TOO_LONG = 0
    ZEROS = 1
    BINARY = 2

LOST_REASONS = (
    "line is longer than allowed; its end is lost",
    "zero bytes: not text",
    "line is mostly control characters: not text",
)

cdef struct BadSpan:
    int64_t offset
    int64_t length
    int reason


cdef bint starts_with(const uint8_t* at, const uint8_t* end, const char* word, Py_ssize_t size) noexcept nogil:
    return end - at >= size and memcmp(at, word, <size_t>size) == 0


cdef bint is_continuation(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """What stack traces look like, and anything indented."""
    return (
        is_blank(at[0])
        or starts_with(at, end, b"Traceback (", 11)
        or starts_with(at, end, b"at ", 3)
        or starts_with(at, end, b"Caused by: ", 11)
        or starts_with(at, end, b"During handling of ", 19)
        or starts_with(at, end, b"The above exception ", 20)
    )


cdef bint is_utf8(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether all of it is; a rough look that lets some overlong forms pass."""
    cdef int more
    while at < end:
        if at[0] < 0x80:
            at += 1
            continue
        more = 1 if 0xC2 <= at[0] <= 0xDF else (2 if at[0] & 0xF0 == 0xE0 else (3 if 0xF0 <= at[0] <= 0xF4 else 0))
        if more == 0 or end - at <= more:
            return False
        at += 1
        while more:
            if at[0] & 0xC0 != 0x80:
                return False
            at += 1
            more -= 1
    return True


cdef inline bint is_number_start(const uint8_t* at, const uint8_t* end) noexcept nogil:
    return at < end and (is_digit(at[0]) or at[0] == 0x2D or at[0] == 0x2B or at[0] == 0x2E)


cdef bint is_table_row(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether what follows the time, from `at` on, is a row of a table: nothing but numbers, or a separator and a number."""
    cdef bint tab = (at - 1)[0] == 0x09
    cdef bint digits = False
    if at < end and (at[0] == 0x2C or at[0] == 0x3B):
        at += 1
        if is_number_start(at, end) or (at < end and at[0] == (at - 1)[0]):
            return True
    if tab and is_number_start(at, end) and memchr(at, 0x09, <size_t>(end - at)) != NULL:
        return True
    while at < end:
        if (is_letter(at[0]) and at[0] | 0x20 != 0x65) or at[0] >= 0x80:
            return False
        digits |= is_digit(at[0])
        at += 1
    return digits


cdef void look_at(const uint8_t* at, const uint8_t* end, bint* odd, bint* high) noexcept nogil:
    """Whether there are bytes below 0x20, and bytes above 0x7F."""
    cdef uint64_t word, low = 0, all_bits = 0
    while end - at >= 8:
        memcpy(&word, at, 8)
        low |= (word - <uint64_t>0x2020202020202020) & ~word
        all_bits |= word
        at += 8
    odd[0] = low & <uint64_t>0x8080808080808080 != 0
    high[0] = all_bits & <uint64_t>0x8080808080808080 != 0
    while at < end:
        odd[0] |= at[0] < 0x20
        high[0] |= at[0] >= 0x80
        at += 1


cdef Py_ssize_t controls_in(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Control characters but tabs."""
    cdef Py_ssize_t n = 0
    while at < end:
        n += at[0] < 0x20 and at[0] != 0x09
        at += 1
    return n


@cython.final
cdef class TextScanner:
    """Reads lines. `mode` is the kind of time that the file counts by; times of other kinds are taken for no time.

    ZONED: UTC, with dates without zone taken as UTC and dates without year completed; YEARLESS: from the first time on;
    SINCE_BOOT: from the start on; CLOCK: from the midnight before the first time on.
    """

    cdef readonly MessageColumns columns
    cdef int mode
    cdef bint undecided  # no line with bytes above 0x7F yet
    cdef readonly int status
    cdef int64_t max_line
    cdef int64_t scale  # bytes in the file for one in the window
    cdef int64_t long_from  # file offset from which on a line is lost; -1 outside of one
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef uint8_t* scratch
    cdef bytearray scratch_owner
    cdef Object json
    # the message that is being put together
    cdef bint begun
    cdef bint in_trace
    cdef int64_t t_ns
    cdef uint8_t level
    cdef int32_t source
    # the clock
    cdef int64_t last_ns
    cdef int64_t first_ns  # of YEARLESS
    cdef int year
    cdef int last_month
    cdef int64_t clock_days
    cdef int64_t last_clock
    # what was met
    cdef readonly int64_t lines
    cdef readonly int64_t misfits  # times of another kind than that of the file
    cdef readonly int64_t zoneless_at  # file offset of the first time without zone, -1
    cdef readonly bint unterminated
    cdef readonly bint latin1

    def __init__(self, MessageColumns columns not None, int mode, int year, int64_t max_line, bint latin1, bint undecided):
        """`year` is that of the first time without one; `latin1` how bytes above 0x7F are read, `undecided` that the first ones tell."""
        self.columns = columns
        self.mode = mode
        self.year = year
        self.max_line = max_line if max_line < MOST_LINE else MOST_LINE
        self.latin1 = columns.latin1 = latin1
        self.undecided = undecided
        self.long_from = -1
        self.scale = 1
        self.scratch_owner = bytearray(self.max_line + 1)
        cdef uint8_t[::1] scratch = self.scratch_owner
        self.scratch = &scratch[0]
        self.last_ns = no_time()
        self.first_ns = no_time()
        self.last_clock = -1
        self.zoneless_at = -1

    cdef void note_lost(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        """There is room: walk stops before it runs out."""
        cdef BadSpan* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset:
                last.length += length
                return
        last = &self.bad[self.bad_count]
        last.offset = offset
        last.length = length
        last.reason = reason
        self.bad_count += 1

    cdef void end_long_line(self, int64_t offset) noexcept nogil:
        if self.long_from >= 0:
            if offset > self.long_from:
                self.note_lost(self.long_from, offset - self.long_from, TOO_LONG)
            self.long_from = -1

    cdef int year_of(self, int month) noexcept nogil:
        """The year of a month without one: times go on over the new year, and single lines may come late."""
        cdef int year = self.year
        if self.last_month and month - self.last_month <= -6 and year < LAST_YEAR:
            self.year += 1
            year = self.year
        elif self.last_month and month - self.last_month >= 10:
            return year - 1
        self.last_month = month
        return year

    cdef inline bint fits(self, int kind) noexcept nogil:
        """Whether a time of this kind can be told in the time of the file."""
        return kind == self.mode != NO_STAMP or (self.mode == ZONED and (kind == ZONELESS or kind == YEARLESS))

    cdef int64_t time_of(self, Stamp* stamp, int64_t offset) noexcept nogil:
        """Nanoseconds as the file counts them; that of the line before when the line has no time that fits."""
        cdef int kind = stamp.kind
        cdef int64_t ns = stamp.ns
        if not self.fits(kind):
            return self.last_ns
        if self.mode == ZONED and (kind == ZONED or kind == ZONELESS):
            if kind == ZONELESS and self.zoneless_at < 0:
                self.zoneless_at = offset
            if stamp.year:
                self.year = stamp.year
                self.last_month = stamp.month
        elif kind == YEARLESS:
            ns += days_from_civil(self.year_of(stamp.month), stamp.month, stamp.day) * DAY_SECONDS * BILLION
            if self.mode == YEARLESS:
                if self.first_ns == no_time():
                    self.first_ns = ns
                ns -= self.first_ns
        elif kind == CLOCK:
            if self.last_clock >= 0 and ns - self.last_clock < -<int64_t>HALF_DAY * BILLION and self.clock_days < MOST_DAYS:
                self.clock_days += 1
                self.last_clock = ns
            elif self.last_clock >= 0 and ns - self.last_clock > <int64_t>HALF_DAY * BILLION and self.clock_days:
                ns -= <int64_t>DAY_SECONDS * BILLION  # a late line of the day before
            else:
                self.last_clock = ns
            ns += self.clock_days * DAY_SECONDS * BILLION
        self.last_ns = ns
        return ns

    cdef void finish_message(self) noexcept nogil:
        if self.begun:
            self.columns.end(self.t_ns, self.level, self.source)
            self.begun = False

    cdef Text stripped(self, const uint8_t* at, const uint8_t* end) noexcept nogil:
        """The line without escape sequences that colour it, in a place of our own."""
        cdef Text text
        cdef Py_ssize_t n = 0
        while at < end and n < self.max_line:
            if at[0] == 0x1B and end - at >= 2 and at[1] == 0x5B:
                at += 2
                while at < end and not 0x40 <= at[0] <= 0x7E:
                    at += 1
                at += at < end
                continue
            self.scratch[n] = at[0]
            n += 1
            at += 1
        text.at = self.scratch
        text.end = self.scratch + n
        return text

    cdef bint read_line(self, const uint8_t* at, const uint8_t* end, int64_t offset, bint cut) noexcept nogil:
        """One line without its end; False, and nothing done, when the block is full."""
        cdef Text text
        cdef Head head
        cdef bint is_json, high = False, odd = False
        look_at(at, end, &odd, &high)
        text.at = at
        text.end = end
        if odd:
            if memchr(at, 0x1B, <size_t>(end - at)) != NULL:
                text = self.stripped(at, end)
            if controls_in(text.at, text.end) > 2 + (text.end - text.at) // 16:
                self.note_lost(offset, (end - at) * self.scale, BINARY)
                return True
        if high and self.undecided:
            self.undecided = False
            self.latin1 = self.columns.latin1 = not is_utf8(text.at, text.end) and not cut
        at = text.at
        is_json = text.at < text.end and text.at[0] == 0x7B and read_object(&text, &self.json) and read_object_head(&self.json, &head)
        if not is_json:
            read_head(&text, &head)
            if self.begun and head.stamp.kind == NO_STAMP and self.continues(at, text.end, &head):
                if self.columns.at - self.columns.used + text.end - at < self.columns.max_text:
                    if self.columns.has_text():
                        self.columns.put_newline()
                    self.columns.put(at, text.end - at)
                    return True
        self.in_trace = starts_with(at, text.end, b"Traceback (", 11)
        self.finish_message()
        if self.columns.is_full():
            return False
        if not is_json and head.stamp.kind != NO_STAMP and not self.fits(head.stamp.kind):
            text.at = at  # the time is shown as it stands there
            self.misfits += 1
        self.t_ns = self.time_of(&head.stamp, offset)
        self.level = head.level
        self.source = self.columns.source_of(head.source, head.source_size)
        self.begun = True
        if is_json:
            put_object(self.columns, &self.json)
        else:
            self.columns.put(text.at, text.end - text.at)
        return True

    cdef bint continues(self, const uint8_t* at, const uint8_t* end, const Head* head) noexcept nogil:
        """Whether a line without time belongs to the message before: a stack trace, indented text, or the text of a bare header."""
        if not self.columns.has_text() and not head.known:
            return True
        if is_continuation(at, end):
            if starts_with(at, end, b"Traceback (", 11):
                self.in_trace = True
            return True
        if self.in_trace and not head.known:
            self.in_trace = False  # the exception itself ends a trace of Python
            return True
        return False

    cdef Py_ssize_t walk_lines(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final) noexcept nogil:
        cdef const uint8_t* newline
        cdef const uint8_t* zero = <const uint8_t*>memchr(start + at, 0, <size_t>(end - at)) if at < end else NULL
        cdef Py_ssize_t stop, next_line, line_end
        cdef bint cut
        while at < end:
            self.status = DRAIN
            if self.bad_count >= BAD_ROOM - 4:
                return at
            self.status = MORE
            if start + at == zero:
                self.end_long_line(base + at * self.scale)
                stop = at
                while stop < end and start[stop] == 0:
                    stop += 1
                self.note_lost(base + at * self.scale, (stop - at) * self.scale, ZEROS)
                at = stop
                zero = <const uint8_t*>memchr(start + at, 0, <size_t>(end - at)) if at < end else NULL
                continue
            newline = <const uint8_t*>memchr(start + at, 0x0A, <size_t>((zero - start if zero != NULL else end) - at))
            if newline != NULL:
                stop = newline - start
                next_line = stop + 1
            elif zero != NULL:
                stop = next_line = zero - start
            elif final or end - at > self.max_line:
                stop = next_line = end
                self.unterminated = final
            else:
                return at
            if self.long_from >= 0:
                if newline != NULL or zero != NULL or final:
                    self.end_long_line(base + stop * self.scale)
                at = next_line
                continue
            line_end = stop
            cut = stop - at > self.max_line
            if cut:
                line_end = at + self.max_line
            while line_end > at and (start[line_end - 1] == 0x0D or is_blank(start[line_end - 1])):
                line_end -= 1
            if line_end > at and not self.read_line(start + at, start + line_end, base + at * self.scale, cut):
                self.status = FULL
                return at
            self.lines += line_end > at
            if cut:
                self.long_from = base + (at + self.max_line) * self.scale
                if newline != NULL or zero != NULL or final:
                    self.end_long_line(base + stop * self.scale)
            at = next_line
        return at

    def walk(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final, int64_t scale=1):
        """Reads lines of `window` from `at` on; `base` is the file offset of the window, `final` says that the file ends with it,
        `scale` how many bytes in the file stand for one in the window.

        Returns the first byte not used; `status` says why.
        """
        cdef Py_ssize_t used
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        self.status = MORE
        if at == window.shape[0]:
            return at
        self.scale = scale
        with nogil:
            used = self.walk_lines(&window[0], at, window.shape[0], base, final)
        return used

    def end_of_file(self, int64_t size):
        """Completes the last message, and a line that was too long and never ended."""
        self.end_long_line(size)
        self.finish_message()

    def drain_bad(self):
        """The spans that were lost since the last call: (offset, length, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, LOST_REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out


cdef class Survey:
    """What the lines of a piece of a file look like."""

    cdef readonly int lines  # that are not empty
    cdef readonly int followers  # without time, and indented
    cdef readonly int year  # of the first time that has one, else 0
    cdef readonly int year_month  # the month that goes with it
    cdef readonly int first_month  # of the first time without year, else 0
    cdef readonly int known  # with a time, or of a logger
    cdef readonly list kinds  # lines by kind of time


def survey(const uint8_t[::1] piece not None):
    """Looks at the whole lines of a piece of a file."""
    cdef Survey found = Survey()
    cdef Text text
    cdef Head head
    cdef Object json
    cdef const uint8_t* at = &piece[0] if piece.shape[0] else NULL
    cdef const uint8_t* end = at + piece.shape[0]
    cdef const uint8_t* stop
    cdef const uint8_t* begin
    cdef int kinds[STAMP_KINDS]
    cdef bint indented
    memset(kinds, 0, sizeof(kinds))
    while at < end:
        stop = <const uint8_t*>memchr(at, 0x0A, <size_t>(end - at))
        text.at = at
        text.end = stop if stop != NULL else end
        at = text.end + 1
        while text.end > text.at and ((text.end - 1)[0] == 0x0D or is_blank((text.end - 1)[0])):
            text.end -= 1
        if text.at == text.end:
            continue
        found.lines += 1
        if text.at[0] == 0x7B and read_object(&text, &json) and read_object_head(&json, &head):
            found.known += head.known
        else:
            indented = is_blank(text.at[0])
            begin = text.at
            read_head(&text, &head)
            found.followers += indented and head.stamp.kind == NO_STAMP
            found.known += head.stamp.kind != NO_STAMP
            if head.stamp.kind != NO_STAMP and text.at > begin and is_table_row(text.at, text.end):
                found.known -= 1
                continue
        kinds[head.stamp.kind] += 1
        note_month(found, &head.stamp)
    found.kinds = [kinds[i] for i in range(STAMP_KINDS)]
    return found


cdef void note_month(Survey found, const Stamp* stamp):
    if stamp.kind == YEARLESS and found.first_month == 0:
        found.first_month = stamp.month
    elif (stamp.kind == ZONED or stamp.kind == ZONELESS) and stamp.year and found.year == 0:
        found.year = stamp.year
        found.year_month = stamp.month
