# The pieces of JSON text: numbers, strings and values that are passed over. Nothing here raises or needs Python.

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from parsers._core.cursor cimport Cursor, is_digit, left
from parsers.topics._floats cimport ARGUS_EXACT


cdef enum:
    # Why a message is not read
    READ = 0
    NOT_JSON = 1
    TOO_DEEP = 2
    REPEATED = 3


cdef struct Number:
    bint whole
    bint negative
    uint64_t digits
    bint fits  # `digits` holds all digits
    double value


cdef inline void skip_space(Cursor* cur) noexcept nogil:
    while cur.at < cur.end and (cur.at[0] == 0x20 or cur.at[0] == 0x0A or cur.at[0] == 0x0D or cur.at[0] == 0x09):
        cur.at += 1


cdef inline bint word(Cursor* cur, const char* text, size_t length) noexcept nogil:
    if left(cur) < length or memcmp(cur.at, text, length) != 0:
        return False
    cur.at += length
    return True


cdef bint read_number(Cursor* cur, Number* out) noexcept nogil


cdef inline bint quick_number(Cursor* cur, Number* out) noexcept nogil:
    """As read_number, for plain numbers of up to 15 digits; reads nothing and is False for others."""
    cdef const uint8_t* at = cur.at
    cdef const uint8_t* end = cur.end
    cdef const uint8_t* first
    cdef uint64_t digits = 0
    cdef int64_t places = 0
    out.negative = at < end and at[0] == 0x2D
    if out.negative:
        at += 1
    first = at
    while at < end and is_digit(at[0]):
        digits = digits * 10 + (at[0] - 0x30)
        at += 1
    if at == first or at - first > 15 or (first[0] == 0x30 and at - first > 1) or at == end:
        return False
    out.whole = at[0] != 0x2E
    if not out.whole:
        at += 1
        places = at - first
        while at < end and is_digit(at[0]):
            digits = digits * 10 + (at[0] - 0x30)
            at += 1
        if at - first > 16 or at == end:
            return False
        places = at - first - places
        if places == 0:
            return False
    if at[0] | 0x20 == 0x65:
        return False
    out.fits = True
    out.digits = digits
    out.value = <double>digits / ARGUS_EXACT[places]
    if out.negative:
        out.value = -out.value
    cur.at = at
    return True


cdef bint string_end(Cursor* cur, bint* escaped) noexcept nogil
cdef int64_t unescape(const uint8_t* at, const uint8_t* end, uint8_t* to) noexcept nogil
cdef int skip_value(Cursor* cur) noexcept nogil
