# Reads from a byte range, every one checked against its end. Binary reads raise where the field begins; text reads never raise.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef struct Cursor:
    const uint8_t* at  # next byte
    const uint8_t* end  # first byte that must not be read
    const uint8_t* start  # byte that lies at file_offset
    int64_t file_offset


cdef int fail_truncated(Cursor* cur, size_t wanted) except -1 nogil
cdef int fail_corrupt(Cursor* cur, size_t back, const char* reason) except -1 nogil


cdef inline Cursor cursor_over(const uint8_t* start, const uint8_t* end, int64_t file_offset) noexcept nogil:
    cdef Cursor cur
    cur.at = start
    cur.start = start
    cur.end = end
    cur.file_offset = file_offset
    return cur


cdef inline size_t left(const Cursor* cur) noexcept nogil:
    return <size_t>(cur.end - cur.at)


cdef inline int64_t offset(const Cursor* cur) noexcept nogil:
    return cur.file_offset + (cur.at - cur.start)


# --- binary, little-endian. The sentinel is a legal value: `except?` asks whether an error is set.

cdef inline int need(Cursor* cur, size_t wanted) except -1 nogil:
    if left(cur) < wanted:
        return fail_truncated(cur, wanted)
    return 0


cdef inline int skip(Cursor* cur, size_t count) except -1 nogil:
    need(cur, count)
    cur.at += count
    return 0


cdef inline uint8_t read_u8(Cursor* cur) except? 0xEF nogil:
    need(cur, 1)
    cdef uint8_t value = cur.at[0]
    cur.at += 1
    return value


cdef inline uint16_t read_u16(Cursor* cur) except? 0xBEEF nogil:
    need(cur, 2)
    cdef uint16_t value
    memcpy(&value, cur.at, 2)
    cur.at += 2
    return value


cdef inline uint32_t read_u32(Cursor* cur) except? 0xDEADBEEF nogil:
    need(cur, 4)
    cdef uint32_t value
    memcpy(&value, cur.at, 4)
    cur.at += 4
    return value


cdef inline uint64_t read_u64(Cursor* cur) except? 0xDEADBEEFDEADBEEF nogil:
    need(cur, 8)
    cdef uint64_t value
    memcpy(&value, cur.at, 8)
    cur.at += 8
    return value


# --- text. -1 stands for the end; the caller says what is wrong with its line.

cdef extern from *:
    """
    static const signed char ARGUS_HEX[256] = {
    #define N8 -1,-1,-1,-1,-1,-1,-1,-1
        N8, N8, N8, N8, N8, N8,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1, -1, -1, -1,
        -1, 10, 11, 12, 13, 14, 15, -1, N8, N8, N8,
        -1, 10, 11, 12, 13, 14, 15, -1, N8, N8, N8,
        N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8
    #undef N8
    };
    static const long long ARGUS_POW10[10] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    """
    const signed char ARGUS_HEX[256]
    const int64_t ARGUS_POW10[10]


cdef enum:
    MAX_SECONDS = 9223372035  # int64 nanoseconds end in the year 2262


cdef inline int peek(const Cursor* cur) noexcept nogil:
    return cur.at[0] if cur.at < cur.end else -1


cdef inline int hex_value(int ch) noexcept nogil:
    return ARGUS_HEX[ch] if ch >= 0 else -1


cdef inline bint is_blank(int ch) noexcept nogil:
    return ch == 0x20 or ch == 0x09


cdef inline bint is_digit(int ch) noexcept nogil:
    return 0x30 <= ch <= 0x39


cdef inline bint take(Cursor* cur, int ch) noexcept nogil:
    if cur.at < cur.end and cur.at[0] == ch:
        cur.at += 1
        return True
    return False


cdef inline void skip_blanks(Cursor* cur) noexcept nogil:
    while cur.at < cur.end and is_blank(cur.at[0]):
        cur.at += 1


cdef inline bint at_gap(const Cursor* cur) noexcept nogil:
    return cur.at >= cur.end or is_blank(cur.at[0])


cdef inline int read_decimal(Cursor* cur, uint64_t* value, int most) noexcept nogil:
    """Digits read, at most `most` (not above 19); -1 when more follow."""
    cdef int n = 0
    cdef uint64_t v = 0
    while cur.at < cur.end and is_digit(cur.at[0]):
        if n == most:
            return -1
        v = v * 10 + <uint64_t>(cur.at[0] - 0x30)
        cur.at += 1
        n += 1
    value[0] = v
    return n


cdef inline int read_hex(Cursor* cur, uint64_t* value, int most) noexcept nogil:
    """Hex digits read, at most `most` (not above 16); -1 when more follow."""
    cdef int n = 0
    cdef int digit
    cdef uint64_t v = 0
    while cur.at < cur.end:
        digit = ARGUS_HEX[cur.at[0]]
        if digit < 0:
            break
        if n == most:
            return -1
        v = (v << 4) | <uint64_t>digit
        cur.at += 1
        n += 1
    value[0] = v
    return n


cdef inline bint read_seconds(Cursor* cur, int64_t* t_ns) noexcept nogil:
    """Decimal seconds with 1 to 9 places into nanoseconds; False when that is not what stands there."""
    cdef uint64_t whole = 0
    cdef uint64_t part = 0
    cdef int places
    if read_decimal(cur, &whole, 18) <= 0 or whole > <uint64_t>MAX_SECONDS or not take(cur, 0x2E):
        return False
    places = read_decimal(cur, &part, 9)
    if places <= 0:
        return False
    t_ns[0] = <int64_t>whole * 1000000000 + <int64_t>part * ARGUS_POW10[9 - places]
    return True
