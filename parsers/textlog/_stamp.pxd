# Times at the beginning of log lines, in the spellings that are common.

from libc.stdint cimport int64_t, uint8_t


cdef enum:
    NO_STAMP = 0
    ZONED = 1  # date and time with a zone, or seconds since 1970
    ZONELESS = 2  # date and time
    YEARLESS = 3  # month, day and time
    SINCE_BOOT = 4  # seconds since the start of something
    CLOCK = 5  # time of day
    STAMP_KINDS = 6


cdef struct Stamp:
    int kind
    int64_t ns  # since 1970 (taken as UTC), since the start, or since midnight
    int year
    int month
    int day
    bint named_month  # as syslog writes it


cdef struct Text:
    const uint8_t* at
    const uint8_t* end


cdef int64_t days_from_civil(int64_t year, int64_t month, int64_t day) noexcept nogil
cdef bint read_stamp(Text* text, Stamp* stamp) noexcept nogil
cdef bint read_epoch(Text* text, Stamp* stamp) noexcept nogil
cdef bint read_boot(Text* text, Stamp* stamp) noexcept nogil
cdef bint read_time_of_day(Text* text, Stamp* stamp) noexcept nogil


cdef inline int peek(const Text* text) noexcept nogil:
    return text.at[0] if text.at < text.end else -1


cdef inline Py_ssize_t left(const Text* text) noexcept nogil:
    return text.end - text.at


cdef inline bint is_digit(int ch) noexcept nogil:
    return 0x30 <= ch <= 0x39


cdef inline bint is_letter(int ch) noexcept nogil:
    return 0x61 <= (ch | 0x20) <= 0x7A


cdef inline bint is_blank(int ch) noexcept nogil:
    return ch == 0x20 or ch == 0x09


cdef inline void skip_blanks(Text* text) noexcept nogil:
    while text.at < text.end and is_blank(text.at[0]):
        text.at += 1


cdef inline bint take(Text* text, int ch) noexcept nogil:
    if text.at < text.end and text.at[0] == ch:
        text.at += 1
        return True
    return False
