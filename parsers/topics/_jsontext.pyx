"""Reads the pieces of JSON text: numbers to the nearest float64, strings with their escapes, values that nobody wants."""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport strtod
from libc.string cimport memcpy

from parsers._core.cursor cimport Cursor, cursor_over, hex_value, is_digit
from parsers.topics._floats cimport ARGUS_LEAST_POWER, ARGUS_MOST_POWER, argus_nearest, argus_power

cdef enum:
    MAX_SKIP_DEPTH = 1000
    MAX_NUMBER = 1000  # characters


cdef argus_power[ARGUS_MOST_POWER - ARGUS_LEAST_POWER + 1] POWERS


def _fill_powers():
    """The leading 128 bits of the powers of ten, cut off."""
    for exponent in range(ARGUS_LEAST_POWER, ARGUS_MOST_POWER + 1):
        if exponent >= 0:
            value = 10**exponent
            bits = value.bit_length()
            value = value >> (bits - 128) if bits > 128 else value << (128 - bits)
        else:
            # 5^-q is no finite binary number: rounded up where the algorithm relies on it, else cut off behind many more bits.
            power = 5**-exponent
            size = (power - 1).bit_length()
            value = (1 << (size + 127 if exponent >= -27 else 2 * size + 128)) // power + 1
            if value.bit_length() > 128:
                value >>= value.bit_length() - 128
        POWERS[exponent - ARGUS_LEAST_POWER].high = value >> 64
        POWERS[exponent - ARGUS_LEAST_POWER].low = value & 0xFFFFFFFFFFFFFFFF


_fill_powers()


cdef bint slow_number(const uint8_t* begin, const uint8_t* end, double* out) noexcept nogil:
    cdef char[MAX_NUMBER + 1] text
    cdef size_t length = <size_t>(end - begin)
    if length > MAX_NUMBER:
        return False
    memcpy(text, begin, length)
    text[length] = 0
    out[0] = strtod(text, NULL)
    return True


cdef bint read_number(Cursor* cur, Number* out) noexcept nogil:
    """A number as JSON writes it, and NaN and Infinity as Python does; False when there is none."""
    cdef const uint8_t* begin = cur.at
    cdef const uint8_t* first
    cdef uint64_t digits = 0
    cdef int64_t exponent = 0, written = 0
    cdef int64_t count
    cdef bint minus
    out.whole = True
    out.negative = False
    if cur.at < cur.end and cur.at[0] == 0x2D:
        out.negative = True
        cur.at += 1
    if cur.at >= cur.end:
        return False
    if not is_digit(cur.at[0]):
        out.whole = False
        if word(cur, b"Infinity", 8):
            out.value = -INFINITY if out.negative else INFINITY
            return True
        out.value = NAN
        return not out.negative and word(cur, b"NaN", 3)
    # More than 19 digits run over; then strtod reads the text again.
    first = cur.at
    while cur.at < cur.end and is_digit(cur.at[0]):
        digits = digits * 10 + (cur.at[0] - 0x30)
        cur.at += 1
    count = cur.at - first
    if first[0] == 0x30 and count > 1:
        return False
    if cur.at < cur.end and cur.at[0] == 0x2E:
        out.whole = False
        cur.at += 1
        first = cur.at
        while cur.at < cur.end and is_digit(cur.at[0]):
            digits = digits * 10 + (cur.at[0] - 0x30)
            cur.at += 1
        if cur.at == first:
            return False
        exponent = -(cur.at - first)
        count -= exponent
    if cur.at < cur.end and cur.at[0] | 0x20 == 0x65:
        out.whole = False
        cur.at += 1
        minus = cur.at < cur.end and cur.at[0] == 0x2D
        if minus or (cur.at < cur.end and cur.at[0] == 0x2B):
            cur.at += 1
        first = cur.at
        while cur.at < cur.end and is_digit(cur.at[0]):
            if written < 100000:
                written = written * 10 + (cur.at[0] - 0x30)
            cur.at += 1
        if cur.at == first:
            return False
        exponent += -written if minus else written
    out.digits = digits
    out.fits = count <= 19
    if out.fits and argus_nearest(digits, exponent, POWERS, &out.value):
        if out.negative:
            out.value = -out.value
        return True
    if not slow_number(begin, cur.at, &out.value):
        out.value = NAN
    return True


cdef bint string_end(Cursor* cur, bint* escaped) noexcept nogil:
    """Moves behind the closing quote of a string whose opening one has been read."""
    escaped[0] = False
    while cur.at < cur.end:
        if cur.at[0] == 0x22:
            cur.at += 1
            return True
        if cur.at[0] == 0x5C:
            escaped[0] = True
            cur.at += 1
            if cur.at >= cur.end:
                return False
        elif cur.at[0] < 0x20:
            return False
        cur.at += 1
    return False


cdef inline uint8_t* put_utf8(uint8_t* to, uint32_t code) noexcept nogil:
    if code < 0x80:
        to[0] = <uint8_t>code
        return to + 1
    if code < 0x800:
        to[0] = <uint8_t>(0xC0 | code >> 6)
        to[1] = <uint8_t>(0x80 | code & 0x3F)
        return to + 2
    if code < 0x10000:
        to[0] = <uint8_t>(0xE0 | code >> 12)
        to[1] = <uint8_t>(0x80 | code >> 6 & 0x3F)
        to[2] = <uint8_t>(0x80 | code & 0x3F)
        return to + 3
    to[0] = <uint8_t>(0xF0 | code >> 18)
    to[1] = <uint8_t>(0x80 | code >> 12 & 0x3F)
    to[2] = <uint8_t>(0x80 | code >> 6 & 0x3F)
    to[3] = <uint8_t>(0x80 | code & 0x3F)
    return to + 4


cdef inline int32_t read_hex4(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef int32_t code = 0
    cdef int i, digit
    if end - at < 4:
        return -1
    for i in range(4):
        digit = hex_value(at[i])
        if digit < 0:
            return -1
        code = code << 4 | digit
    return code


cdef int64_t unescape(const uint8_t* at, const uint8_t* end, uint8_t* to) noexcept nogil:
    """Writes a string without its escapes, which is never longer; its length, or -1 when an escape is none."""
    cdef uint8_t* begin = to
    cdef int32_t code, second
    while at < end:
        if at[0] != 0x5C:
            to[0] = at[0]
            to += 1
            at += 1
            continue
        at += 1
        if at >= end:
            return -1
        if at[0] == 0x75:
            code = read_hex4(at + 1, end)
            if code < 0:
                return -1
            at += 5
            if 0xD800 <= code < 0xDC00 and end - at >= 6 and at[0] == 0x5C and at[1] == 0x75:
                second = read_hex4(at + 2, end)
                if 0xDC00 <= second < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00)
                    at += 6
            if 0xD800 <= code < 0xE000:
                code = 0xFFFD
            to = put_utf8(to, <uint32_t>code)
            continue
        if at[0] == 0x22 or at[0] == 0x5C or at[0] == 0x2F:
            to[0] = at[0]
        elif at[0] == 0x6E:
            to[0] = 0x0A
        elif at[0] == 0x74:
            to[0] = 0x09
        elif at[0] == 0x72:
            to[0] = 0x0D
        elif at[0] == 0x62:
            to[0] = 0x08
        elif at[0] == 0x66:
            to[0] = 0x0C
        else:
            return -1
        to += 1
        at += 1
    return to - begin


cdef int skip_value(Cursor* cur) noexcept nogil:
    """Passes over a value of any kind; nested ones are only matched bracket by bracket."""
    cdef int depth = 0
    cdef bint escaped
    cdef Number number
    while True:
        skip_space(cur)
        if cur.at >= cur.end:
            return NOT_JSON
        if cur.at[0] == 0x7B or cur.at[0] == 0x5B:
            depth += 1
            if depth > MAX_SKIP_DEPTH:
                return TOO_DEEP
            cur.at += 1
            continue
        if cur.at[0] == 0x22:
            cur.at += 1
            if not string_end(cur, &escaped):
                return NOT_JSON
        elif cur.at[0] == 0x7D or cur.at[0] == 0x5D:
            if depth == 0:
                return NOT_JSON
            depth -= 1
            cur.at += 1
        elif depth and (cur.at[0] == 0x2C or cur.at[0] == 0x3A):
            cur.at += 1
            continue
        elif not (word(cur, b"true", 4) or word(cur, b"false", 5) or word(cur, b"null", 4) or read_number(cur, &number)):
            return NOT_JSON
        if depth == 0:
            return READ


def parse_number(bytes text not None):
    """The value of a JSON number (None when it is none), for comparing with Python's."""
    cdef const uint8_t* start = text
    cdef Cursor cur = cursor_over(start, start + len(text), 0)
    cdef Number number
    if not read_number(&cur, &number) or cur.at != cur.end:
        return None
    return number.value
