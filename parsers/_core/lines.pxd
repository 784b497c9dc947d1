# Text logs: splits a window of bytes into lines without the GIL and hands each to the format's own read_line.

from libc.stdint cimport int64_t, uint8_t

from parsers._core.columns cimport FrameColumns
from parsers._core.cursor cimport Cursor


cdef enum:
    SKIP_KINDS = 32
    BAD_ROOM = 256
    PLAIN_ROOM = 128  # bytes that read_plain may look at without asking for the end

    READ = 0  # the line was a frame, or was counted as skipped
    FOR_PYTHON = -1  # a line that the reader wants to see itself

    # Reasons why a line was not read. Formats number their own from FIRST_OWN_REASON on; from FIRST_REMARK on the line was read after all.
    TOO_LONG = 1
    BINARY = 2
    FIRST_OWN_REASON = 10
    FIRST_REMARK = 100


cdef struct BadLines:
    int64_t offset  # first byte of the first line
    int64_t length  # neighbouring lines with the same reason are one entry
    int64_t count
    int reason


cdef class LineScanner:
    cdef readonly FrameColumns columns
    cdef int64_t skipped[SKIP_KINDS]
    cdef BadLines bad[BAD_ROOM]
    cdef int bad_count
    cdef int64_t max_line
    cdef int64_t long_start  # file offset where a line that is too long began; -1 outside of one
    cdef readonly bint unterminated  # the last line had no line end
    cdef readonly object shown  # (start, end) in the window of a line for Python, or None

    cdef int read_line(self, Cursor* line) noexcept nogil
    cdef Py_ssize_t read_plain(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil
    cdef void bridge(self, int64_t offset, int64_t length) noexcept nogil
    cdef Py_ssize_t scan_lines(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final, Py_ssize_t* shown) noexcept nogil
