"""Reads the event lines of Vector ASC logs into frame columns; header lines are left to parsers/can/asc.py."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from parsers._core.columns cimport MAX_PAYLOAD, FrameColumns, NumberTable
from parsers._core.cursor cimport (
    ARGUS_HEX, MAX_SECONDS, Cursor, at_gap, is_blank, is_digit, left, peek, read_decimal, read_hex, read_seconds, skip_blanks, take,
)
from parsers._core.lines cimport FIRST_OWN_REASON, FIRST_REMARK, FOR_PYTHON, PLAIN_ROOM, READ, LineScanner
from parsers._core.swar cimport each, eight_digits, load8, not_digits

cdef enum:
    # FrameBlock flags, see parsers/can/frames.py
    EXTENDED = 1
    FD = 2
    REMOTE = 4
    ERROR = 8
    BRS = 16
    ESI = 32
    TX = 64

    EXTENDED_IDS = 0x1FFFFFFF
    STANDARD_IDS = 0x7FF
    REMOTE_FLAG = 0x10  # in the flags column of a CANFD line

    PLAIN_HEAD = 64  # characters up to the data of a line that read_plain takes

    NOT_AN_EVENT = FIRST_OWN_REASON
    BAD_TIME
    CUT
    BAD_CHANNEL
    TOO_MANY_CHANNELS
    BAD_ID
    BAD_DIRECTION
    BAD_KIND
    BAD_DLC
    BAD_DATA
    SYMBOLIC
    LONG_CLASSIC = FIRST_REMARK
    MORE_THAN_DLC
    NO_X

    COMMENT = 0
    STATUS
    STATISTIC
    J1939TP
    OVERLOAD
    TX_REQUEST
    XL
    LIN
    FLEXRAY
    ETHERNET
    MOST
    SYSTEM_VARIABLE
    START
    TRIGGER
    HEADER_LINE
    OTHER

REASONS = {
    NOT_AN_EVENT: "line is neither a header nor an event with a time",
    BAD_TIME: "time is not decimal seconds",
    CUT: "line ends before the event does",
    BAD_CHANNEL: "channel is not a number of 16 bits",
    TOO_MANY_CHANNELS: "more channels than allowed",
    BAD_ID: "identifier is no number within its range",
    BAD_DIRECTION: "direction is not Rx, Tx or TxRq",
    BAD_KIND: "frame is neither data (d) nor remote (r)",
    BAD_DLC: "DLC, flags or data length is not a number within its range",
    BAD_DATA: "fewer or other data bytes than the length says",
    SYMBOLIC: "identifier is a symbolic name: its number is not in the file",
    LONG_CLASSIC: "classic frame with more than 8 data bytes (CAN FD written in classic notation): only the first 8 are kept",
    MORE_THAN_DLC: "more data bytes than the DLC says: the DLC is followed",
    NO_X: "identifier above 7FF without x: read as extended",
}


cdef struct Word:
    const uint8_t* at
    Py_ssize_t length


cdef inline Word read_word(Cursor* line) noexcept nogil:
    cdef Word word
    skip_blanks(line)
    word.at = line.at
    while line.at < line.end and not is_blank(line.at[0]):
        line.at += 1
    word.length = line.at - word.at
    return word


cdef inline bint starts(Word word, const char* text, Py_ssize_t length) noexcept nogil:
    """Whether the word begins with the text, which is in lower case; letters compare without case."""
    cdef Py_ssize_t i
    cdef uint8_t ch
    if word.length < length:
        return False
    for i in range(length):
        ch = word.at[i]
        if 0x41 <= ch <= 0x5A:
            ch |= 0x20
        if ch != <uint8_t>text[i]:
            return False
    return True


cdef inline bint same(Word word, const char* text, Py_ssize_t length) noexcept nogil:
    return word.length == length and starts(word, text, length)


cdef struct Plain:
    int64_t t_ns
    uint32_t number  # of the channel
    uint32_t can_id
    uint8_t flags
    uint8_t length
    uint64_t payload


cdef inline const uint8_t* over_blanks(const uint8_t* at, const uint8_t* most) noexcept nogil:
    """Behind the blanks; from `most` on the caller gives up."""
    while at < most and load8(at) == each(0x20):
        at += 8
    while at < most and at[0] == 0x20:
        at += 1
    return at


cdef inline const uint8_t* plain_head(const uint8_t* at, Plain* event) noexcept nogil:
    """`  0.000396 1  108x            Rx   d 8`: behind it, or NULL when something else stands there."""
    cdef const uint8_t* most = at + PLAIN_HEAD
    cdef const uint8_t* first
    cdef uint64_t fraction, seconds = 0
    cdef uint32_t can_id = 0
    cdef int digit
    at = over_blanks(at, most)
    if at >= most:
        return NULL
    first = at
    while is_digit(at[0]) and at < first + 10:
        seconds = seconds * 10 + (at[0] - 0x30)
        at += 1
    if at == first or at[0] != 0x2E or seconds > <uint64_t>MAX_SECONDS:
        return NULL
    fraction = load8(at + 1)
    if fraction >> 48 & 0xFF != 0x20:
        return NULL
    fraction = fraction << 16 | 0x3030  # six digits as the last of eight
    if not_digits(fraction):
        return NULL
    event.t_ns = <int64_t>seconds * 1000000000 + <int64_t>eight_digits(fraction) * 1000
    at = over_blanks(at + 7, most)
    if at >= most or not is_digit(at[0]):
        return NULL
    event.number = at[0] - 0x30
    at += 1
    if is_digit(at[0]):
        event.number = event.number * 10 + (at[0] - 0x30)
        at += 1
    if at[0] != 0x20:
        return NULL
    at = over_blanks(at, most)
    if at >= most:
        return NULL
    first = at
    while True:
        digit = ARGUS_HEX[at[0]]
        if digit < 0 or at == first + 8:
            break
        can_id = can_id << 4 | <uint32_t>digit
        at += 1
    if at == first:
        return NULL
    event.flags = EXTENDED if at[0] == 0x78 else 0
    if event.flags:
        at += 1
    if at[0] != 0x20 or can_id > (<uint32_t>EXTENDED_IDS if event.flags else <uint32_t>STANDARD_IDS):
        return NULL
    event.can_id = can_id
    at = over_blanks(at, most)
    if at >= most or (at[0] != 0x52 and at[0] != 0x54) or at[1] != 0x78 or at[2] != 0x20:  # Rx or Tx
        return NULL
    if at[0] == 0x54:
        event.flags |= TX
    at = over_blanks(at + 2, most)
    if at >= most or at[0] != 0x64 or at[1] != 0x20 or not 0x30 <= at[2] <= 0x38:
        return NULL
    event.length = at[2] - 0x30
    return at + 3


cdef inline const uint8_t* plain_data(const uint8_t* at, Plain* event) noexcept nogil:
    """As many ` 1A` as the length says: behind them, or NULL when something else stands there."""
    cdef int i, wrong = 0, byte
    event.payload = 0
    for i in range(event.length):
        byte = ARGUS_HEX[at[1]] << 4 | ARGUS_HEX[at[2]]
        wrong |= byte | (0 if at[0] == 0x20 else -1)
        event.payload |= <uint64_t><uint8_t>byte << 8 * i
        at += 3
    if wrong < 0 or (at[0] != 0x20 and at[0] != 0x0A and at[0] != 0x0D):
        return NULL
    return at


@cython.final
cdef class AscScanner(LineScanner):
    """Turns ASC event lines into frames. Python sets `decimal` and `relative` when it meets the header that says so."""

    reasons = {**LineScanner.reasons, **REASONS}
    kinds = (
        "comment", "CAN status", "statistic", "J1939TP message", "overload frame", "transmit request", "CAN XL frame", "LIN event",
        "FlexRay event", "Ethernet event", "MOST event", "system variable", "start of measurement", "trigger event",
        "header line beyond the allowed number", "other event",
    )

    cdef readonly NumberTable numbers
    cdef public bint decimal  # `base dec`: identifiers and data bytes are decimal
    cdef public bint relative  # `timestamps relative`: each time is the distance from the event before
    cdef public bint wants_headers
    cdef public bint wants_status  # status lines go to Python as well
    cdef readonly int64_t now

    def __init__(self, Py_ssize_t block_frames, int max_channels, int64_t max_line):
        self.columns = FrameColumns(block_frames)
        self.numbers = NumberTable(max_channels)
        self.max_line = max_line
        self.decimal = False
        self.relative = False
        self.wants_headers = True
        self.wants_status = True
        self.now = 0

    cdef Py_ssize_t read_plain(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
        """Classic data frames with hex numbers and times of six places, also with text such as `Length = ..` behind the data."""
        cdef Py_ssize_t i = self.columns.count, room = self.columns.capacity
        cdef uint32_t used = self.columns.used
        cdef int64_t now = self.now
        cdef int index = -1
        cdef uint32_t known = 0
        cdef const uint8_t* here
        cdef Plain event
        if self.decimal:
            return at
        while i < room and end - at >= PLAIN_ROOM:
            here = plain_head(start + at, &event)
            if here == NULL:
                break
            here = plain_data(here, &event)
            if here == NULL:
                break
            if here[0] != 0x0A:
                here = self.plain_end(here, start + at, start + end)
                if here == NULL:
                    break
            if event.number != known or index < 0:
                index = self.numbers.index_of(<uint16_t>event.number)
                if index < 0:
                    break
                known = event.number
            now = event.t_ns + (now if self.relative else 0)
            self.columns.t_ns[i] = now
            self.columns.channel[i] = <uint16_t>index
            self.columns.arbitration_id[i] = event.can_id
            self.columns.flags[i] = event.flags
            self.columns.length[i] = event.length
            self.columns.data_offset[i] = used
            memcpy(self.columns.data + used, &event.payload, 8)
            used += 8
            i += 1
            at = here + 1 - start
        self.columns.total += i - self.columns.count
        self.columns.count = i
        self.columns.used = used
        self.now = now
        return at

    cdef const uint8_t* plain_end(self, const uint8_t* at, const uint8_t* line, const uint8_t* end) noexcept nogil:
        """The line end behind what follows the data; NULL when a further byte of data stands there, or the line is not ordinary."""
        cdef const uint8_t* newline = <const uint8_t*>memchr(at, 0x0A, <size_t>(end - at))
        if newline == NULL or newline - line > self.max_line or memchr(at, 0, <size_t>(newline - at)) != NULL:
            return NULL
        while is_blank(at[0]):
            at += 1
        return newline if ARGUS_HEX[at[0]] < 0 else NULL

    cdef int read_line(self, Cursor* line) noexcept nogil:
        cdef int64_t t_ns = 0
        cdef uint64_t channel = 0
        cdef bint minus
        cdef Word word
        skip_blanks(line)
        if left(line) == 0:
            return READ
        if not is_digit(peek(line)) and peek(line) != 0x2D:
            return self.read_header(line)
        minus = take(line, 0x2D)
        if not read_seconds(line, &t_ns):
            return CUT if left(line) == 0 else BAD_TIME
        if not at_gap(line):
            return BAD_TIME
        if minus:
            t_ns = -t_ns
        if self.relative:
            t_ns += self.now
        self.now = t_ns
        skip_blanks(line)
        if left(line) == 0:
            return CUT
        if is_digit(peek(line)):
            if read_decimal(line, &channel, 5) <= 0 or channel > 0xFFFF or not at_gap(line):
                return BAD_CHANNEL
            return self.read_classic(line, t_ns, <int>channel)
        word = read_word(line)
        if same(word, b"canfd", 5):
            return self.read_fd(line, t_ns)
        return self.count_event(word)

    cdef int read_header(self, Cursor* line) noexcept nogil:
        cdef Word word = read_word(line)
        if starts(word, b"//", 2):
            self.skipped[COMMENT] += 1
            return READ
        if same(word, b"date", 4) or same(word, b"base", 4) or same(word, b"begin", 5) or same(word, b"end", 3):
            return self.header()
        if same(word, b"timestamps", 10):
            return self.header()
        if same(word, b"no", 2) or same(word, b"internal", 8):
            word = read_word(line)
            return READ if same(word, b"internal", 8) or same(word, b"events", 6) else NOT_AN_EVENT
        return NOT_AN_EVENT

    cdef int header(self) noexcept nogil:
        if self.wants_headers:
            return FOR_PYTHON
        self.skipped[HEADER_LINE] += 1
        return READ

    cdef int count_event(self, Word word) noexcept nogil:
        """An event that is no CAN frame, named by the word behind the time."""
        if same(word, b"can", 3):
            self.skipped[STATUS] += 1
            return FOR_PYTHON if self.wants_status else READ
        if same(word, b"start", 5):
            self.skipped[START] += 1
        elif same(word, b"canxl", 5):
            self.skipped[XL] += 1
        elif starts(word, b"lin", 3) or same(word, b"li", 2) or (word.length == 2 and word.at[0] == 0x4C and is_digit(word.at[1])):
            self.skipped[LIN] += 1
        elif same(word, b"fr", 2) or starts(word, b"fl", 2):
            self.skipped[FLEXRAY] += 1
        elif starts(word, b"eth", 3):
            self.skipped[ETHERNET] += 1
        elif starts(word, b"m", 1):
            self.skipped[MOST] += 1
        elif starts(word, b"sv:", 3):
            self.skipped[SYSTEM_VARIABLE] += 1
        elif same(word, b"log", 3) or starts(word, b"trigger", 7):
            self.skipped[TRIGGER] += 1
        else:
            self.skipped[OTHER] += 1
        return READ

    cdef int push(self, int64_t t_ns, int number, uint32_t can_id, uint8_t flags, const uint8_t* data, int length) noexcept nogil:
        cdef int channel = self.numbers.index_of(number)
        if channel < 0:
            return TOO_MANY_CHANNELS
        memcpy(self.columns.push(t_ns, channel, can_id, flags, length), data, length)
        return READ

    cdef int read_id(self, Word word, uint32_t* can_id, uint8_t* flags) noexcept nogil:
        """`7E8`, `18EBFF00x`, or decimal. READ, NO_X, or the reason why it is none; the word is not empty."""
        cdef Cursor cur
        cdef uint64_t value = 0
        cdef int digits
        cur.start = word.at
        cur.at = word.at
        cur.end = word.at + word.length
        cur.file_offset = 0
        digits = read_decimal(&cur, &value, 10) if self.decimal else read_hex(&cur, &value, 8)
        if digits < 0:
            return BAD_ID
        if digits and (take(&cur, 0x78) or take(&cur, 0x58)):
            flags[0] |= EXTENDED
        if left(&cur):
            return SYMBOLIC
        if value > EXTENDED_IDS:
            return BAD_ID
        can_id[0] = <uint32_t>value
        if value > STANDARD_IDS and not flags[0] & EXTENDED:
            flags[0] |= EXTENDED
            return NO_X
        return READ

    cdef bint read_byte(self, Cursor* line, uint8_t* value) noexcept nogil:
        """One data byte in the base of the file, a word of its own; the cursor stays where it is when there is none."""
        cdef uint64_t number = 0
        cdef int digits
        cdef const uint8_t* at
        skip_blanks(line)
        at = line.at
        digits = read_decimal(line, &number, 3) if self.decimal else read_hex(line, &number, 2)
        if digits <= 0 or number > 255 or not at_gap(line):
            line.at = at
            return False
        value[0] = <uint8_t>number
        return True

    cdef int read_direction(self, Word word, uint8_t* flags) noexcept nogil:
        if same(word, b"rx", 2):
            return READ
        if same(word, b"tx", 2):
            flags[0] |= TX
            return READ
        if same(word, b"txrq", 4):
            return FOR_PYTHON
        return BAD_DIRECTION if word.length else CUT

    cdef int read_classic(self, Cursor* line, int64_t t_ns, int channel) noexcept nogil:
        """`<time> <channel> <id>[x] <Rx|Tx> d <dlc> <data>` or `... r [dlc]`; ErrorFrame and other events of one channel."""
        cdef Word word = read_word(line)
        cdef uint32_t can_id = 0
        cdef uint8_t flags = 0
        cdef int outcome, remark
        if same(word, b"errorframe", 10):
            return self.push(t_ns, channel, 0, ERROR, word.at, 0)
        if starts(word, b"statistic", 9):
            self.skipped[STATISTIC] += 1
            return READ
        if same(word, b"j1939tp", 7):
            self.skipped[J1939TP] += 1
            return READ
        if starts(word, b"overloadframe", 13):
            self.skipped[OVERLOAD] += 1
            return READ
        if word.length == 0:
            return CUT
        remark = self.read_id(word, &can_id, &flags)
        outcome = self.read_direction(read_word(line), &flags)
        if remark != READ and remark < FIRST_REMARK:
            return remark if outcome == READ or outcome == FOR_PYTHON else BAD_ID
        if outcome == FOR_PYTHON:
            self.skipped[TX_REQUEST] += 1
            return READ
        if outcome != READ:
            return outcome
        word = read_word(line)
        if same(word, b"d", 1):
            outcome = self.read_classic_data(line, t_ns, channel, can_id, flags)
        elif same(word, b"r", 1):
            outcome = self.push(t_ns, channel, can_id, flags | REMOTE, word.at, 0)
        else:
            return BAD_KIND if word.length else CUT
        return remark if outcome == READ else outcome

    cdef int read_classic_data(self, Cursor* line, int64_t t_ns, int channel, uint32_t can_id, uint8_t flags) noexcept nogil:
        cdef uint8_t data[MAX_PAYLOAD]
        cdef uint8_t extra = 0
        cdef uint64_t dlc = 0
        cdef int wanted, digits, outcome, byte
        cdef int length = 0
        skip_blanks(line)
        digits = read_hex(line, &dlc, 2)
        if digits <= 0 or not at_gap(line):
            return BAD_DLC if left(line) else CUT
        if not self.decimal:  # ` 1A` in a row, without looking for other spellings
            while length < 8 and length < <int>dlc and left(line) >= 3 and line.at[0] == 0x20:
                byte = ARGUS_HEX[line.at[1]] << 4 | ARGUS_HEX[line.at[2]]
                if byte < 0 or (left(line) > 3 and not is_blank(line.at[3])):
                    break
                data[length] = <uint8_t>byte
                length += 1
                line.at += 3
        wanted = 8 if dlc > 8 else <int>dlc  # a DLC of 9 to 15 means 8 bytes on classic CAN
        while length < wanted:
            if not self.read_byte(line, data + length):
                return BAD_DATA if left(line) else CUT
            length += 1
        outcome = self.push(t_ns, channel, can_id, flags, data, length)
        if outcome == READ and self.read_byte(line, &extra):
            return LONG_CLASSIC if dlc > 8 else MORE_THAN_DLC
        return outcome

    cdef int read_fd(self, Cursor* line, int64_t t_ns) noexcept nogil:
        """`CANFD <channel> <Rx|Tx> <id>[x] [name] <BRS> <ESI> <DLC> <length> <data> <duration> <bits> <flags> ...`, or ErrorFrame."""
        cdef Word word
        cdef uint64_t channel = 0
        cdef uint32_t can_id = 0
        cdef uint8_t flags = FD
        cdef int outcome, direction, remark
        skip_blanks(line)
        if read_decimal(line, &channel, 5) <= 0 or channel > 0xFFFF or not at_gap(line):
            return BAD_CHANNEL if left(line) else CUT
        word = read_word(line)
        direction = self.read_direction(word, &flags)
        word = read_word(line) if direction == READ or direction == FOR_PYTHON else word
        if same(word, b"errorframe", 10):
            return self.push(t_ns, <int>channel, 0, ERROR, word.at, 0)
        if direction == FOR_PYTHON:
            self.skipped[TX_REQUEST] += 1
            return READ
        if direction != READ:
            return direction
        if word.length == 0:
            return CUT
        remark = self.read_id(word, &can_id, &flags)
        if remark != READ and remark < FIRST_REMARK:
            return remark
        outcome = self.read_fd_data(line, t_ns, <int>channel, can_id, flags)
        return remark if outcome == READ else outcome

    cdef int read_fd_data(self, Cursor* line, int64_t t_ns, int channel, uint32_t can_id, uint8_t flags) noexcept nogil:
        cdef uint8_t data[MAX_PAYLOAD]
        cdef uint64_t dlc = 0
        cdef uint64_t wanted = 0
        cdef uint64_t bits = 0
        cdef int length = 0
        cdef Word word = read_word(line)
        if not (same(word, b"0", 1) or same(word, b"1", 1)):  # a symbolic name before BRS
            word = read_word(line)
        if same(word, b"1", 1):
            flags |= BRS
        elif not same(word, b"0", 1):
            return BAD_DLC if word.length else CUT
        word = read_word(line)
        if same(word, b"1", 1):
            flags |= ESI
        elif not same(word, b"0", 1):
            return BAD_DLC if word.length else CUT
        skip_blanks(line)
        if read_hex(line, &dlc, 2) <= 0 or not at_gap(line):
            return BAD_DLC if left(line) else CUT
        skip_blanks(line)
        if read_decimal(line, &wanted, 2) <= 0 or wanted > MAX_PAYLOAD or not at_gap(line):
            return BAD_DLC if left(line) else CUT
        while length < <int>wanted:
            if not self.read_byte(line, data + length):
                return BAD_DATA if left(line) else CUT
            length += 1
        if wanted == 0:
            read_word(line)
            read_word(line)
            skip_blanks(line)
            if dlc > 0 or (read_hex(line, &bits, 16) > 0 and bits & REMOTE_FLAG):
                flags |= REMOTE
        return self.push(t_ns, channel, can_id, flags, data, length)
