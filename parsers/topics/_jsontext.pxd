# The pieces of JSON text: numbers, strings and values that are passed over. Nothing here raises or needs Python.

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from parsers._core.cursor cimport Cursor, left


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
cdef bint string_end(Cursor* cur, bint* escaped) noexcept nogil
cdef int64_t unescape(const uint8_t* at, const uint8_t* end, uint8_t* to) noexcept nogil
cdef int skip_value(Cursor* cur) noexcept nogil
