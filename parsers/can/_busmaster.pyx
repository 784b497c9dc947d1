"""Reads frame lines of BUSMASTER logs (`22:20:14:992 Rx 1 0x21A s 8 FE 36 ...`) into frame columns."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from parsers._core.columns cimport MAX_PAYLOAD, FrameColumns, NumberTable
from parsers._core.cursor cimport ARGUS_POW10, Cursor, at_gap, left, peek, read_decimal, read_hex, skip_blanks, take
from parsers._core.lines cimport FIRST_OWN_REASON, FIRST_REMARK, FOR_PYTHON, READ, LineScanner

cdef enum:
    # FrameBlock flags, see parsers/can/frames.py
    EXTENDED = 1
    FD = 2
    REMOTE = 4
    TX = 64

    EXTENDED_IDS = 0x1FFFFFFF
    STANDARD_IDS = 0x7FF
    MOST_NUMBER = 65535

    BAD_TIME = FIRST_OWN_REASON
    BAD_DIRECTION
    BAD_CHANNEL
    TOO_MANY_CHANNELS
    BAD_ID
    BAD_TYPE
    BAD_LENGTH
    CUT
    TEXT_AFTER = FIRST_REMARK

    # What the time of a line means: ***SYSTEM MODE***, ***ABSOLUTE MODE***, ***RELATIVE MODE***
    TIME_OF_DAY = 0
    SINCE_START = 1
    SINCE_LINE_BEFORE = 2

cdef int64_t SECOND = 1000000000
cdef int64_t DAY = 86400 * SECOND
cdef int64_t MOST_NS = <int64_t>0x7FFFFFFFFFFFFFFF

MODES = {b"SYSTEM": TIME_OF_DAY, b"ABSOLUTE": SINCE_START, b"RELATIVE": SINCE_LINE_BEFORE}
REASONS = {
    BAD_TIME: "time is not hours:minutes:seconds:fraction",
    BAD_DIRECTION: "neither Rx nor Tx behind the time",
    BAD_CHANNEL: "no channel number",
    TOO_MANY_CHANNELS: "more channels than allowed",
    BAD_ID: "identifier is no number within its range",
    BAD_TYPE: "type is not s, x, sr or xr",
    BAD_LENGTH: "data is not as many bytes as the length says",
    CUT: "line ends before the frame does",
    TEXT_AFTER: "text after the frame",
}


@cython.final
cdef class BusmasterScanner(LineScanner):
    """Turns lines into frames; lines that begin with `***` are left to Python, which sets `hex_numbers`, `mode` and begins sessions."""

    reasons = {**LineScanner.reasons, **REASONS}

    cdef readonly NumberTable numbers
    cdef public bint hex_numbers
    cdef int mode
    cdef int64_t now  # time of the last line as written
    cdef int64_t shift  # of the sessions and midnights so far

    def __init__(self, Py_ssize_t block_frames, int max_channels, int64_t max_line):
        self.columns = FrameColumns(block_frames)
        self.numbers = NumberTable(max_channels)
        self.max_line = max_line
        self.hex_numbers = True
        self.mode = TIME_OF_DAY
        self.now = -1
        self.shift = 0

    def set_mode(self, int mode):
        """One of MODES."""
        self.mode = mode

    def begin_session(self, int64_t shift_ns):
        """Times of the lines from here on count from `shift_ns` on: from the midnight of the day, or from the start."""
        self.shift = shift_ns
        self.now = -1

    cdef int read_line(self, Cursor* line) noexcept nogil:
        cdef int64_t t_ns = 0
        cdef uint64_t channel = 0, can_id = 0
        cdef uint8_t flags = 0
        cdef uint64_t length = 0
        cdef int outcome, index
        cdef uint8_t data[MAX_PAYLOAD]
        skip_blanks(line)
        if left(line) >= 3 and line.at[0] == 0x2A and line.at[1] == 0x2A and line.at[2] == 0x2A:
            return FOR_PYTHON
        if not self.read_time(line, &t_ns):
            return BAD_TIME
        skip_blanks(line)
        if left(line) < 3:
            return CUT
        if line.at[1] != 0x78 or (line.at[0] != 0x52 and line.at[0] != 0x54) or line.at[2] != 0x20:
            return BAD_DIRECTION
        flags = TX if line.at[0] == 0x54 else 0
        line.at += 2
        skip_blanks(line)
        if read_decimal(line, &channel, 5) <= 0 or channel > MOST_NUMBER or not at_gap(line):
            return BAD_CHANNEL if left(line) else CUT
        skip_blanks(line)
        if not self.read_number(line, &can_id, 8) or not at_gap(line) or can_id > EXTENDED_IDS:
            return BAD_ID if left(line) else CUT
        skip_blanks(line)
        outcome = self.read_type(line, &flags)
        if outcome != READ:
            return outcome
        if not flags & EXTENDED and can_id > STANDARD_IDS:
            return BAD_ID
        skip_blanks(line)
        if read_decimal(line, &length, 2) <= 0 or not at_gap(line) or length > MAX_PAYLOAD:
            return BAD_LENGTH if left(line) else CUT
        if length > 8:
            flags |= FD
        outcome = self.read_data(line, flags, length, data)
        if outcome != READ and outcome < FIRST_REMARK:
            return outcome
        index = self.numbers.index_of(<uint16_t>channel)
        if index < 0:
            return TOO_MANY_CHANNELS
        if flags & REMOTE:
            length = 0
        memcpy(self.columns.push(self.place(t_ns), index, <uint32_t>can_id, flags, <uint8_t>length), data, <size_t>length)
        return outcome

    cdef bint read_time(self, Cursor* line, int64_t* t_ns) noexcept nogil:
        """Hours, minutes, seconds; then milliseconds, or tenths of them when there are four digits."""
        cdef uint64_t hours = 0, minutes = 0, seconds = 0, fraction = 0
        cdef int digits
        if read_decimal(line, &hours, 4) <= 0 or not take(line, 0x3A) or read_decimal(line, &minutes, 2) <= 0 or not take(line, 0x3A):
            return False
        if read_decimal(line, &seconds, 2) <= 0 or not take(line, 0x3A) or minutes > 59 or seconds > 59:
            return False
        digits = read_decimal(line, &fraction, 9)
        if digits <= 0 or not at_gap(line):
            return False
        digits = max(digits, 3)  # fewer are milliseconds without zeros in front
        t_ns[0] = <int64_t>((hours * 60 + minutes) * 60 + seconds) * SECOND + <int64_t>fraction * ARGUS_POW10[9 - digits]
        return True

    cdef int64_t place(self, int64_t t_ns) noexcept nogil:
        """The time of the frame in the recording. A time of day that falls by more than half a day is one of the next day."""
        if self.mode == SINCE_LINE_BEFORE:
            if self.shift < MOST_NS - t_ns:
                self.shift += t_ns
            return self.shift
        if self.mode == TIME_OF_DAY and self.now >= 0 and t_ns < self.now - DAY // 2:
            self.shift += DAY
        self.now = t_ns
        return self.shift + t_ns

    cdef bint read_number(self, Cursor* line, uint64_t* value, int most) noexcept nogil:
        """A number in the base of the file; `0x` in front says that it is hex in any case."""
        if left(line) > 2 and line.at[0] == 0x30 and line.at[1] | 0x20 == 0x78:
            line.at += 2
            return read_hex(line, value, most) > 0
        return (read_hex(line, value, most) if self.hex_numbers else read_decimal(line, value, most + 1)) > 0

    cdef int read_type(self, Cursor* line, uint8_t* flags) noexcept nogil:
        if left(line) == 0:
            return CUT
        if take(line, 0x78):
            flags[0] |= EXTENDED
        elif not take(line, 0x73):
            return BAD_TYPE
        if take(line, 0x72):
            flags[0] |= REMOTE
        if not at_gap(line):
            return BAD_TYPE
        return READ

    cdef int read_data(self, Cursor* line, uint8_t flags, uint64_t length, uint8_t* data) noexcept nogil:
        cdef uint64_t value = 0
        cdef uint64_t i
        if not flags & REMOTE:
            for i in range(length):
                skip_blanks(line)
                if left(line) == 0:
                    return CUT
                if not self.read_number(line, &value, 2) or not at_gap(line) or value > 0xFF:
                    return BAD_LENGTH
                data[i] = <uint8_t>value
        skip_blanks(line)
        return TEXT_AFTER if left(line) else READ
