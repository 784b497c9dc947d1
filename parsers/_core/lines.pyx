"""Splits text logs into lines without the GIL; each format adds how one line is read."""

from libc.string cimport memchr, memset

from parsers._core.cursor cimport cursor_over


cdef class LineScanner:
    """The part that all text formats share. A subclass sets `reasons` and `kinds` and overrides read_line."""

    # Sentences for the reason codes of read_line, and names for the counters in `skipped`.
    reasons = {TOO_LONG: "line is longer than allowed", BINARY: "line has zero bytes: not text"}
    kinds = ()

    def __cinit__(self, *args, **kwargs):
        memset(self.skipped, 0, sizeof(self.skipped))
        self.bad_count = 0
        self.long_start = -1
        self.unterminated = False
        self.shown = None

    cdef int read_line(self, Cursor* line) noexcept nogil:
        return FIRST_OWN_REASON

    cdef Py_ssize_t read_plain(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
        """Reads lines of the shape that most lines of most files have, from one that begins at `at`; gives where another stands.

        Called while PLAIN_ROOM bytes are there. What it reads must be what read_line makes of it.
        """
        return at

    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        """Remembers a line that was not read; grows the last entry when the lines touch. There is room: scan stops before it runs out."""
        cdef BadLines* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset:
                last.length += length
                last.count += 1
                return
        last = &self.bad[self.bad_count]
        last.offset = offset
        last.length = length
        last.count = 1
        last.reason = reason
        self.bad_count += 1

    cdef void bridge(self, int64_t offset, int64_t length) noexcept nogil:
        """Lets an empty line behind a bad one belong to it, so that the next bad line joins the same entry."""
        cdef BadLines* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason < FIRST_REMARK and last.offset + last.length == offset:
                last.length += length

    cdef Py_ssize_t scan_lines(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final, Py_ssize_t* shown) noexcept nogil:
        """Reads whole lines from `at` until the block, the list of bad lines or the window ends; gives the first byte not used."""
        cdef const uint8_t* newline
        cdef Py_ssize_t stop, next_line
        cdef Cursor line
        cdef int outcome
        while at < end and not self.columns.is_full() and self.bad_count < BAD_ROOM - 1:
            if self.long_start < 0 and end - at >= PLAIN_ROOM and self.max_line >= PLAIN_ROOM:
                at = self.read_plain(start, at, end)
                if self.columns.is_full():
                    return at
            newline = <const uint8_t*>memchr(start + at, 0x0A, <size_t>(end - at))
            if newline == NULL:
                if not final:
                    if self.long_start < 0 and end - at > self.max_line:
                        self.long_start = base + at
                    return end if self.long_start >= 0 else at
                self.unterminated = True
                stop = end
                next_line = end
            else:
                stop = newline - start
                next_line = stop + 1
            if self.long_start >= 0 or stop - at > self.max_line:
                if self.long_start < 0:
                    self.long_start = base + at
                self.note(self.long_start, base + next_line - self.long_start, TOO_LONG)
                self.long_start = -1
                at = next_line
                continue
            while stop > at and (start[stop - 1] == 0x0D or start[stop - 1] == 0x20 or start[stop - 1] == 0x09):
                stop -= 1
            if stop == at:
                self.bridge(base + at, next_line - at)
                at = next_line
                continue
            if memchr(start + at, 0, <size_t>(stop - at)) != NULL:  # a hole left by a lost write; nothing on the line can be trusted
                self.note(base + at, next_line - at, BINARY)
                at = next_line
                continue
            line = cursor_over(start + at, start + stop, base + at)
            outcome = self.read_line(&line)
            if outcome == FOR_PYTHON:
                shown[0] = at
                shown[1] = stop
                return next_line
            if outcome != READ:
                self.note(base + at, next_line - at, outcome)
            at = next_line
        return at

    def scan(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads lines of `window` from `at` on; `base` is the file offset of the window, `final` says that the file ends with it.

        Returns the first byte not used: less than the window is long when the block is full, when `shown` has a line for the reader,
        when there are many bad lines to drain, and when the last line is not complete.
        """
        cdef Py_ssize_t shown[2]
        cdef Py_ssize_t used
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        if at == window.shape[0]:
            return at
        shown[0] = -1
        shown[1] = -1
        with nogil:
            used = self.scan_lines(&window[0], at, window.shape[0], base, final, shown)
        self.shown = (shown[0], shown[1]) if shown[0] >= 0 else None
        return used

    def end_of_file(self, int64_t size):
        """Closes a line that was too long and never ended."""
        if self.long_start >= 0:
            self.note(self.long_start, size - self.long_start, TOO_LONG)
            self.long_start = -1

    def drain_bad(self):
        """The lines that were not read since the last call: (offset, length, count, sentence, whether it was read after all)."""
        out = [
            (self.bad[i].offset, self.bad[i].length, self.bad[i].count, self.reasons[self.bad[i].reason], self.bad[i].reason >= FIRST_REMARK)
            for i in range(self.bad_count)
        ]
        self.bad_count = 0
        return out

    def skipped_counts(self):
        """Lines that were understood and are no frames, by kind."""
        return {kind: self.skipped[i] for i, kind in enumerate(self.kinds) if self.skipped[i]}
