"""Reads candump lines, compact (`can0 123#1122`) and console (`can0  123   [2]  11 22`), into frame columns."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from parsers._core.columns cimport MAX_NAME, MAX_PAYLOAD, FrameColumns, NameTable
from parsers._core.cursor cimport (
    ARGUS_HEX, MAX_SECONDS, Cursor, at_gap, hex_value, is_digit, left, peek, read_decimal, read_hex, read_seconds, skip_blanks, take,
)
from parsers._core.lines cimport FIRST_OWN_REASON, FIRST_REMARK, FOR_PYTHON, PLAIN_ROOM, READ, LineScanner
from parsers._core.swar cimport bswap32, ctz64, eight_digits, four_bytes, load4, load8, nibbles, not_digits

cdef enum:
    # FrameBlock flags, see parsers/can/frames.py
    EXTENDED = 1
    FD = 2
    REMOTE = 4
    ERROR = 8
    BRS = 16
    ESI = 32
    TX = 64

    ERROR_BIT = 0x20000000  # of a Linux can_id written with eight digits
    EXTENDED_IDS = 0x1FFFFFFF
    STANDARD_IDS = 0x7FF

    STAMP = 20  # characters of `(1436509052.249713) `
    PLAIN_NAMES = 8  # interfaces that read_plain remembers
    PLAIN_NAME = 7  # longest of them

    BAD_TIME = FIRST_OWN_REASON
    BAD_INTERFACE
    TOO_MANY_INTERFACES
    BAD_ID
    BAD_DATA
    BAD_LENGTH
    CUT
    TEXT_AFTER = FIRST_REMARK

    XL = 0
    ERROR_TEXT
    COMMENT

REASONS = {
    BAD_TIME: "time is not (seconds.fraction) or (date time.fraction)",
    BAD_INTERFACE: "no interface name after the time",
    TOO_MANY_INTERFACES: "more interface names than allowed",
    BAD_ID: "identifier is not 3 or 8 hex digits within its range",
    BAD_DATA: "data is not whole hex bytes",
    BAD_LENGTH: "more data than the frame can hold, or a length that does not fit the data",
    CUT: "line ends before the frame does",
    TEXT_AFTER: "text after the frame",
}


cdef inline bint read_byte(Cursor* line, uint8_t* value) noexcept nogil:
    cdef int high, low
    if left(line) < 2:
        return False
    high = hex_value(line.at[0])
    low = hex_value(line.at[1])
    if high < 0 or low < 0:
        return False
    value[0] = <uint8_t>(high << 4 | low)
    line.at += 2
    return True


cdef inline bint take_two(Cursor* line, int first, int second) noexcept nogil:
    """Takes a two-letter word that stands alone."""
    if left(line) >= 2 and line.at[0] == first and line.at[1] == second and (left(line) == 2 or line.at[2] == 0x20):
        line.at += 2
        return True
    return False


cdef int64_t days_from_civil(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 1970-01-01 in the Gregorian calendar; years start in March so that the leap day is the last one."""
    cdef int64_t y = year - (1 if month <= 2 else 0)
    cdef int64_t era = y // 400
    cdef int64_t in_era = y - era * 400
    cdef int64_t of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + in_era * 365 + in_era // 4 - in_era // 100 + of_year - 719468


cdef struct PlainName:
    uint64_t mask
    uint64_t word  # the name and the blank behind it, as eight characters under the mask
    int length
    int index


cdef struct PlainData:
    uint64_t payload
    int digits


cdef inline PlainData read_payload(const uint8_t* at) noexcept nogil:
    """As many hex digits as stand at `at`, up to 16, as the bytes that they are."""
    cdef PlainData found
    cdef uint64_t wrong_low, wrong_high
    cdef uint64_t low = nibbles(load8(at), &wrong_low), high = nibbles(load8(at + 8), &wrong_high)
    found.payload = four_bytes(low) | <uint64_t>four_bytes(high) << 32
    if wrong_low == 0 and wrong_high == 0:
        found.digits = 16
        return found
    found.digits = ctz64(wrong_low) >> 3 if wrong_low else 8 + (ctz64(wrong_high) >> 3)
    found.payload &= ~(~<uint64_t>0 << 4 * (found.digits & 14))
    return found


@cython.final
cdef class CandumpScanner(LineScanner):
    """Turns candump lines into frames. With `deltas` every time is the distance from the line before (`candump -td`)."""

    reasons = {**LineScanner.reasons, **REASONS}
    kinds = ("CAN XL frame", "error description", "comment")

    cdef readonly NameTable names
    cdef bint deltas
    cdef int64_t now
    cdef readonly int64_t untimed  # frames on lines without a time
    cdef PlainName plain_names[PLAIN_NAMES]
    cdef int plain_count

    def __init__(self, Py_ssize_t block_frames, int max_channels, int64_t max_line, bint deltas):
        self.columns = FrameColumns(block_frames)
        self.names = NameTable(max_channels)
        self.max_line = max_line
        self.deltas = deltas
        self.now = 0
        self.untimed = 0
        self.plain_count = 0

    cdef PlainName* plain_name(self, const uint8_t* at) noexcept nogil:
        """The interface whose name and blank stand at `at`, if it is a short one; a new one has no index until its frame has been read."""
        cdef uint64_t word = load8(at)
        cdef PlainName* name
        cdef int i, length = 0
        for i in range(self.plain_count):
            name = &self.plain_names[i]
            if word & name.mask == name.word:
                return name
        while length <= PLAIN_NAME and 0x20 < at[length] < 0x7F:
            length += 1
        if self.plain_count == PLAIN_NAMES or not 0 < length <= PLAIN_NAME or at[length] != 0x20:
            return NULL
        name = &self.plain_names[self.plain_count]
        name.length = length
        name.mask = ~<uint64_t>0 >> 8 * (PLAIN_NAME - length)
        name.word = word & name.mask
        name.index = -1
        return name

    cdef bint remember(self, PlainName* name, const uint8_t* at) noexcept nogil:
        """Takes the name that stands at `at` in; False when there are too many."""
        name.index = self.names.index_of(at, name.length)
        if name.index < 0:
            return False
        self.plain_count += 1
        return True

    cdef Py_ssize_t read_plain(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
        """`(1436509052.249713) can0 123#1122334455667788`, also with 8 digits of identifier, fewer data, and ` R` or ` T` at the end."""
        cdef int64_t* t_ns = self.columns.t_ns
        cdef uint16_t* channel = self.columns.channel
        cdef uint32_t* arbitration_id = self.columns.arbitration_id
        cdef uint8_t* all_flags = self.columns.flags
        cdef uint8_t* length = self.columns.length
        cdef uint32_t* data_offset = self.columns.data_offset
        cdef uint8_t* data = self.columns.data
        cdef Py_ssize_t i = self.columns.count, room = self.columns.capacity
        cdef uint32_t used = self.columns.used
        cdef const uint8_t* line
        cdef PlainName* name = NULL
        cdef PlainData found
        cdef uint64_t fraction, seconds_low = 0, wrong
        cdef uint32_t seconds_high = 0
        cdef int64_t seconds = 0
        cdef int can_id, flags
        if self.deltas:
            return at
        while i < room and end - at >= PLAIN_ROOM:
            line = start + at
            if load8(line) != seconds_low or load4(line + 8) != seconds_high:  # most lines are of the same second as the one before
                if line[0] != 0x28 or not_digits(load8(line + 1)) or not is_digit(line[9]) or not is_digit(line[10]) or line[11] != 0x2E:
                    break
                seconds_low, seconds_high = load8(line), load4(line + 8)
                seconds = <int64_t>eight_digits(load8(line + 1)) * 100 + (line[9] - 0x30) * 10 + (line[10] - 0x30)
                if seconds > <int64_t>MAX_SECONDS:
                    break
                seconds *= 1000000000
            fraction = load8(line + 12)
            if fraction >> 48 != 0x2029:
                break
            fraction = fraction << 16 | 0x3030  # six digits as the last of eight
            if not_digits(fraction):
                break
            line += STAMP
            if name == NULL or load8(line) & name.mask != name.word:
                name = self.plain_name(line)
                if name == NULL:
                    break
            line += name.length + 1
            flags = 0
            if line[3] == 0x23:
                can_id = ARGUS_HEX[line[0]] << 8 | ARGUS_HEX[line[1]] << 4 | ARGUS_HEX[line[2]]
                if can_id & ~STANDARD_IDS:  # too large, or one of them is no hex digit
                    break
                line += 4
            elif line[8] == 0x23:
                can_id = <int>bswap32(four_bytes(nibbles(load8(line), &wrong)))
                if wrong or can_id & ~EXTENDED_IDS:
                    break
                flags = EXTENDED
                line += 9
            else:
                break
            found = read_payload(line)
            line += found.digits
            if line[0] == 0x20 and (line[1] == 0x52 or line[1] == 0x54):
                flags |= TX if line[1] == 0x54 else 0
                line += 2
            if line[0] == 0x0D:
                line += 1
            if found.digits & 1 or line[0] != 0x0A:
                break
            if name.index < 0 and not self.remember(name, start + at + STAMP):
                break
            t_ns[i] = seconds + <int64_t>eight_digits(fraction) * 1000
            channel[i] = <uint16_t>name.index
            arbitration_id[i] = <uint32_t>can_id
            all_flags[i] = <uint8_t>flags
            length[i] = <uint8_t>(found.digits >> 1)
            data_offset[i] = used
            memcpy(data + used, &found.payload, 8)
            used += 8
            i += 1
            at = line + 1 - start
        self.columns.total += i - self.columns.count
        self.columns.count = i
        self.columns.used = used
        return at

    cdef int read_line(self, Cursor* line) noexcept nogil:
        cdef int64_t t_ns = 0
        cdef bint timed
        cdef const uint8_t* name
        cdef int name_length
        cdef uint8_t flags = 0
        if peek(line) == 0x09:  # `candump -e` explains an error frame on lines of its own
            self.skipped[ERROR_TEXT] += 1
            return READ
        skip_blanks(line)
        if left(line) == 0:
            return READ
        if peek(line) == 0x23:
            self.skipped[COMMENT] += 1
            return READ
        timed = take(line, 0x28)
        if timed and not self.read_time(line, &t_ns):
            return BAD_TIME
        skip_blanks(line)
        name = line.at
        while line.at < line.end and 0x20 < line.at[0] < 0x7F:
            line.at += 1
        if line.at == name or line.at - name > MAX_NAME or not at_gap(line):
            return BAD_INTERFACE
        name_length = <int>(line.at - name)
        skip_blanks(line)
        if take_two(line, 0x52, 0x58) or take_two(line, 0x54, 0x58):  # RX or TX, then `B`/`-` and `E`/`-`
            flags = self.read_direction(line)
        return self.read_frame(line, t_ns, timed, name, name_length, flags)

    cdef bint read_time(self, Cursor* line, int64_t* t_ns) noexcept nogil:
        cdef uint64_t year = 0, month = 0, day = 0, hour = 0, minute = 0
        cdef int64_t seconds = 0
        skip_blanks(line)
        if left(line) > 4 and line.at[4] == 0x2D:  # `-tA`: 2023-11-14 23:30:58.796900
            if read_decimal(line, &year, 4) != 4 or not take(line, 0x2D) or read_decimal(line, &month, 2) != 2 or not take(line, 0x2D):
                return False
            if read_decimal(line, &day, 2) != 2 or not 1 <= month <= 12 or not 1 <= day <= 31 or not 1678 <= year <= 2261:
                return False
            skip_blanks(line)
            if read_decimal(line, &hour, 2) != 2 or not take(line, 0x3A) or read_decimal(line, &minute, 2) != 2 or not take(line, 0x3A):
                return False
            if hour > 23 or minute > 59 or not read_seconds(line, &seconds):
                return False
            t_ns[0] = (days_from_civil(year, month, day) * 86400 + <int64_t>(hour * 3600 + minute * 60)) * 1000000000 + seconds
        elif not read_seconds(line, t_ns):
            return False
        skip_blanks(line)
        return take(line, 0x29)

    cdef uint8_t read_direction(self, Cursor* line) noexcept nogil:
        cdef uint8_t flags = TX if (line.at - 2)[0] == 0x54 else 0
        cdef int i
        for i in range(2):
            skip_blanks(line)
            if left(line) >= 2 and line.at[1] == 0x20 and (line.at[0] == 0x2D or line.at[0] == 0x42 or line.at[0] == 0x45):
                if line.at[0] == 0x42:
                    flags |= BRS
                elif line.at[0] == 0x45:
                    flags |= ESI
                line.at += 1
        skip_blanks(line)
        return flags

    cdef int read_frame(self, Cursor* line, int64_t t_ns, bint timed, const uint8_t* name, int name_length, uint8_t flags) noexcept nogil:
        cdef uint64_t can_id = 0
        cdef int digits = read_hex(line, &can_id, 8)
        cdef uint8_t data[MAX_PAYLOAD]
        cdef int length = 0
        cdef int outcome, channel
        if digits == 5 and peek(line) == 0x23:
            self.skipped[XL] += 1
            return READ
        if digits == 3 and can_id <= STANDARD_IDS:
            pass
        elif digits == 8 and can_id & ~<uint64_t>(EXTENDED_IDS | ERROR_BIT) == 0:
            flags |= ERROR if can_id & ERROR_BIT else EXTENDED
        else:
            return CUT if left(line) == 0 else BAD_ID
        if take(line, 0x23):
            outcome = self.read_compact(line, &flags, data, &length)
        elif at_gap(line):
            outcome = self.read_console(line, &flags, data, &length)
        else:
            return BAD_ID
        if outcome == FOR_PYTHON:  # a CAN XL frame, already counted
            return READ
        if outcome != READ and outcome < FIRST_REMARK:
            return outcome
        channel = self.names.index_of(name, name_length)
        if channel < 0:
            return TOO_MANY_INTERFACES
        if self.deltas:
            self.now += t_ns
            t_ns = self.now
        if not timed:
            self.untimed += 1
        if flags & (ERROR | REMOTE):
            flags &= ~<uint8_t>(FD | BRS | ESI)
        memcpy(self.columns.push(t_ns, channel, <uint32_t>can_id & EXTENDED_IDS, flags, length), data, length)
        return outcome

    cdef int read_compact(self, Cursor* line, uint8_t* flags, uint8_t* data, int* length) noexcept nogil:
        """What stands behind `id#`: R[dlc], #<flags>data, or data; then `_<raw dlc>` and ` R` or ` T`."""
        cdef int most = 8
        cdef int digit
        if take(line, 0x52) or take(line, 0x72):
            flags[0] |= REMOTE
            digit = hex_value(peek(line))
            if 0 <= digit <= 8:
                line.at += 1
                if not self.read_raw_dlc(line):
                    return BAD_DATA
            return self.read_tail(line, flags) if at_gap(line) else BAD_DATA
        if take(line, 0x23):
            digit = hex_value(peek(line))
            if digit < 0:
                return CUT if left(line) == 0 else BAD_DATA
            line.at += 1
            most = MAX_PAYLOAD
            flags[0] |= FD | (BRS if digit & 1 else 0) | (ESI if digit & 2 else 0)
        elif left(line) > 2 and line.at[2] == 0x3A:  # CAN XL: 123#81:00:12345678#data
            self.skipped[XL] += 1
            return FOR_PYTHON
        while left(line) >= 2:
            digit = ARGUS_HEX[line.at[0]] << 4 | ARGUS_HEX[line.at[1]]
            if digit < 0:  # one of them is no hex digit
                break
            if length[0] == most:
                return BAD_LENGTH
            data[length[0]] = <uint8_t>digit
            length[0] += 1
            line.at += 2
            if left(line) and line.at[0] == 0x2E:
                line.at += 1
        if left(line) == 1 and hex_value(peek(line)) >= 0:
            return BAD_LENGTH if length[0] == most else CUT
        if most == 8 and not self.read_raw_dlc(line):
            return BAD_DATA
        return self.read_tail(line, flags) if at_gap(line) else BAD_DATA

    cdef bint read_raw_dlc(self, Cursor* line) noexcept nogil:
        """`_9` to `_F`: the DLC as it was on the bus, of a frame of 8 bytes."""
        if not take(line, 0x5F):
            return True
        if hex_value(peek(line)) < 9:
            return False
        line.at += 1
        return True

    cdef int read_tail(self, Cursor* line, uint8_t* flags) noexcept nogil:
        skip_blanks(line)
        if left(line) and (line.at[0] == 0x52 or line.at[0] == 0x54) and (left(line) == 1 or line.at[1] == 0x20):
            if line.at[0] == 0x54:
                flags[0] |= TX
            line.at += 1
            skip_blanks(line)
        return READ if left(line) == 0 else TEXT_AFTER

    cdef int read_console(self, Cursor* line, uint8_t* flags, uint8_t* data, int* length) noexcept nogil:
        """What stands behind the identifier: [8], [08] (FD), [0008] (XL) or {B}, then bytes, `remote request`, `ERRORFRAME`, 'text'."""
        cdef uint64_t declared = 0
        cdef int digits
        cdef int most = 8
        skip_blanks(line)
        if take(line, 0x7B):
            if read_hex(line, &declared, 1) != 1 or declared < 9 or not take(line, 0x7D):
                return CUT if left(line) == 0 else BAD_LENGTH
            declared = 8
        else:
            if not take(line, 0x5B):
                return CUT if left(line) == 0 else BAD_ID
            digits = read_decimal(line, &declared, 4)
            if digits <= 0 or not take(line, 0x5D):
                return CUT if left(line) == 0 else BAD_LENGTH
            if digits == 4:
                self.skipped[XL] += 1
                return FOR_PYTHON
            if digits == 2:
                most = MAX_PAYLOAD
                flags[0] |= FD
        if declared > <uint64_t>most:
            return BAD_LENGTH
        skip_blanks(line)
        if left(line) >= 6 and line.at[0] == 0x72:  # remote request
            flags[0] |= REMOTE
            return READ
        while length[0] < <int>declared:
            if not read_byte(line, data + length[0]) or not at_gap(line):
                return CUT if left(line) < 2 else BAD_DATA
            length[0] += 1
            skip_blanks(line)
        if left(line) == 0 or line.at[0] == 0x27 or line.at[0] == 0x45:  # 'text' of -a, ERRORFRAME
            return READ
        return BAD_LENGTH if hex_value(line.at[0]) >= 0 else TEXT_AFTER
