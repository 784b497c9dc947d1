"""Reads times: ISO 8601 and its relatives, month names (RFC 3164, ctime, HTTP), logcat, epoch, seconds since boot, time of day."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

cdef extern from *:
    """
    /* jan to dec, big-endian */
    static const unsigned int ARGUS_MONTHS[12] = {0x6A616E, 0x666562, 0x6D6172, 0x617072, 0x6D6179, 0x6A756E,
                                                  0x6A756C, 0x617567, 0x736570, 0x6F6374, 0x6E6F76, 0x646563};
    """
    const uint32_t* ARGUS_MONTHS

cdef enum:
    FIRST_YEAR = 1970
    LAST_YEAR = 2261  # int64 nanoseconds end in 2262
    BILLION = 1000000000
    DAY_SECONDS = 86400


cdef int64_t days_from_civil(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 1970-01-01 in the Gregorian calendar; years start in March so that the leap day is the last one."""
    cdef int64_t y = year - (1 if month <= 2 else 0)
    cdef int64_t era = y // 400
    cdef int64_t in_era = y - era * 400
    cdef int64_t of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + in_era * 365 + in_era // 4 - in_era // 100 + of_year - 719468


cdef inline int two(const uint8_t* at) noexcept nogil:
    """A number of two digits, or -1."""
    if is_digit(at[0]) and is_digit(at[1]):
        return 10 * (at[0] - 0x30) + at[1] - 0x30
    return -1


cdef inline int four(const uint8_t* at) noexcept nogil:
    cdef int high = two(at), low = two(at + 2)
    return 100 * high + low if high >= 0 and low >= 0 else -1


cdef inline int digits_ahead(const Text* text, int most) noexcept nogil:
    cdef int n = 0
    while n < most and text.at + n < text.end and is_digit(text.at[n]):
        n += 1
    return n


cdef int64_t read_fraction(Text* text) noexcept nogil:
    """Nanoseconds behind a point or comma, 0 without; digits beyond nine are read over."""
    cdef int64_t value = 0
    cdef int places = 0
    if left(text) < 2 or (text.at[0] != 0x2E and text.at[0] != 0x2C) or not is_digit(text.at[1]):
        return 0
    text.at += 1
    while text.at < text.end and is_digit(text.at[0]):
        if places < 9:
            value = value * 10 + text.at[0] - 0x30
            places += 1
        text.at += 1
    while places < 9:
        value *= 10
        places += 1
    return value


cdef bint read_time(Text* text, int64_t* ns) noexcept nogil:
    """HH:MM, HH:MM:SS or HHMMSS, with a fraction."""
    cdef int hour, minute, second = 0
    cdef const uint8_t* at = text.at
    if left(text) < 5:
        return False
    hour = two(at)
    if not 0 <= hour <= 23:
        return False
    if at[2] == 0x3A:
        minute = two(at + 3)
        at += 5
        if text.end - at >= 2 and at[0] == 0x3A and is_digit(at[1]):
            second = two(at + 1) if text.end - at >= 3 else -1
            at += 3
    else:
        if left(text) < 6:
            return False
        minute = two(at + 2)
        second = two(at + 4)
        at += 6
    if not 0 <= minute <= 59 or not 0 <= second <= 60:
        return False
    text.at = at
    ns[0] = (<int64_t>hour * 3600 + minute * 60 + second) * BILLION + read_fraction(text)
    return True


cdef bint at_edge(const Text* text) noexcept nogil:
    """Whether a time may end here."""
    return text.at >= text.end or not (is_digit(text.at[0]) or is_letter(text.at[0]))


cdef bint read_offset(Text* text, int64_t* seconds) noexcept nogil:
    """A distance from UTC: +HH:MM, +HHMM or +HH."""
    cdef const uint8_t* at = text.at
    cdef int sign, hours, minutes = 0
    if left(text) < 3 or (at[0] != 0x2B and at[0] != 0x2D):
        return False
    sign = -1 if at[0] == 0x2D else 1
    hours = two(at + 1)
    at += 3
    if text.end - at >= 3 and at[0] == 0x3A and two(at + 1) >= 0:
        minutes = two(at + 1)
        at += 3
    elif text.end - at >= 2 and two(at) >= 0:
        minutes = two(at)
        at += 2
    if not 0 <= hours <= 14 or minutes > 59 or (at < text.end and is_digit(at[0])):
        return False
    text.at = at
    seconds[0] = sign * (<int64_t>hours * 3600 + minutes * 60)
    return True


cdef bint read_zone(Text* text, int64_t* seconds) noexcept nogil:
    """Z, UTC, GMT or a distance from UTC, the longer ones also behind a blank. A distance must not be a word of the message."""
    cdef Text ahead = text[0]
    cdef bint apart
    seconds[0] = 0
    if peek(&ahead) == 0x5A or peek(&ahead) == 0x7A:
        ahead.at += 1
    else:
        apart = take(&ahead, 0x20)
        if left(&ahead) >= 3 and (memcmp(ahead.at, b"UTC", 3) == 0 or memcmp(ahead.at, b"GMT", 3) == 0):
            ahead.at += 3
        else:
            if apart and left(&ahead) < 5:
                return False
            if apart and not (two(ahead.at + 1) >= 0 and (two(ahead.at + 3) >= 0 or ahead.at[3] == 0x3A)):
                return False
            if not read_offset(&ahead, seconds):
                return False
    if not at_edge(&ahead):
        return False
    text.at = ahead.at
    return True


cdef int month_of(const uint8_t* at) noexcept nogil:
    """1 to 12 for the first three letters of an English month name, capital or all capitals; 0 for anything else."""
    cdef uint32_t word
    cdef int month
    if not 0x41 <= at[0] <= 0x5A:
        return 0
    word = <uint32_t>(at[0] | 0x20) << 16 | <uint32_t>(at[1] | 0x20) << 8 | <uint32_t>(at[2] | 0x20)
    for month in range(12):
        if ARGUS_MONTHS[month] == word:
            return month + 1
    return 0


cdef bint is_weekday(const uint8_t* at) noexcept nogil:
    cdef uint32_t word = <uint32_t>at[0] << 16 | <uint32_t>at[1] << 8 | <uint32_t>at[2]
    return (
        word == 0x4D6F6E or word == 0x547565 or word == 0x576564 or word == 0x546875 or word == 0x467269 or word == 0x536174 or word == 0x53756E
    )


cdef inline bint is_date(int year, int month, int day) noexcept nogil:
    return FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= 12 and 1 <= day <= 31


cdef bint finish(Text* text, Text* ahead, Stamp* stamp, int64_t of_day) noexcept nogil:
    """The zone, if there is one, and the sum."""
    cdef int64_t offset = 0
    stamp.kind = ZONED if read_zone(ahead, &offset) else ZONELESS
    if stamp.kind == ZONELESS and not at_edge(ahead):
        return False
    stamp.ns = (days_from_civil(stamp.year, stamp.month, stamp.day) * DAY_SECONDS - offset) * BILLION + of_day
    text.at = ahead.at
    return True


cdef bint read_numeric(Text* text, Stamp* stamp) noexcept nogil:
    """2026-11-23T22:15:30.5Z with - / or . and T, t, _ or blanks between; 20261123T221530; 23.11.2026 22:15:30; 11-23 22:15:30."""
    cdef Text ahead = text[0]
    cdef const uint8_t* at = text.at
    cdef int64_t of_day = 0
    cdef int digits = digits_ahead(text, 9)
    if digits == 4 and left(text) >= 15 and (at[4] == 0x2D or at[4] == 0x2F or at[4] == 0x2E) and at[7] == at[4]:
        stamp.year = four(at)
        stamp.month = two(at + 5)
        stamp.day = two(at + 8)
        ahead.at += 10
    elif digits == 8 and left(text) >= 13:
        stamp.year = four(at)
        stamp.month = two(at + 4)
        stamp.day = two(at + 6)
        ahead.at += 8
    elif digits == 2 and left(text) >= 15 and at[2] == 0x2E and at[5] == 0x2E and four(at + 6) >= 0:
        stamp.day = two(at)
        stamp.month = two(at + 3)
        stamp.year = four(at + 6)
        ahead.at += 10
    elif digits == 2 and left(text) >= 14 and at[2] == 0x2D and at[5] == 0x20 and at[8] == 0x3A:
        stamp.month = two(at)
        stamp.day = two(at + 3)
        ahead.at += 6
        if not is_date(2000, stamp.month, stamp.day) or not read_time(&ahead, &of_day) or not at_edge(&ahead):
            return False
        stamp.kind = YEARLESS
        stamp.ns = of_day
        text.at = ahead.at
        return True
    else:
        return False
    if not is_date(stamp.year, stamp.month, stamp.day):
        return False
    if not (take(&ahead, 0x54) or take(&ahead, 0x74) or take(&ahead, 0x5F) or (digits == 8 and take(&ahead, 0x2D))):
        take(&ahead, 0x2C)
        if not is_blank(peek(&ahead)):
            return False
        skip_blanks(&ahead)
    return read_time(&ahead, &of_day) and finish(text, &ahead, stamp, of_day)


cdef int read_day(Text* text) noexcept nogil:
    """A day of one or two digits; -1 when that is not what stands there."""
    cdef int digits = digits_ahead(text, 3)
    cdef int day
    if digits == 1:
        day = text.at[0] - 0x30
    elif digits == 2:
        day = two(text.at)
    else:
        return -1
    text.at += digits
    return day if 1 <= day <= 31 else -1


cdef bint read_named(Text* text, Stamp* stamp) noexcept nogil:
    """Nov 23 22:15:30, also with weekday in front, the year behind the day or at the end: Mon Nov 23 22:15:30 UTC 2026."""
    cdef Text ahead = text[0]
    cdef int64_t of_day = 0, offset = 0
    if left(&ahead) < 14:
        return False
    if is_weekday(ahead.at) and ahead.at[3] == 0x20:
        ahead.at += 4
    stamp.month = month_of(ahead.at)
    if stamp.month == 0 or not is_blank(ahead.at[3]):
        return False
    ahead.at += 4
    skip_blanks(&ahead)
    stamp.day = read_day(&ahead)
    if stamp.day < 0 or not is_blank(peek(&ahead)):
        return False
    skip_blanks(&ahead)
    stamp.year = 0
    if digits_ahead(&ahead, 5) == 4:
        stamp.year = four(ahead.at)
        ahead.at += 4
        if not is_blank(peek(&ahead)):
            return False
        skip_blanks(&ahead)
    if left(&ahead) < 8 or ahead.at[2] != 0x3A or ahead.at[5] != 0x3A or not read_time(&ahead, &of_day):
        return False
    stamp.named_month = True
    if stamp.year == 0:
        stamp.ns = of_day
        text.at = ahead.at  # whatever follows, the time is read; now the year may come
        stamp.kind = YEARLESS
        if read_zone(&ahead, &offset):
            stamp.kind = ZONED
        if peek(&ahead) == 0x20 and left(&ahead) >= 5 and four(ahead.at + 1) >= FIRST_YEAR and four(ahead.at + 1) <= LAST_YEAR:
            stamp.year = four(ahead.at + 1)
            ahead.at += 5
            if not at_edge(&ahead):
                stamp.year = 0
        if stamp.year == 0:
            stamp.kind = YEARLESS
            return at_edge(text)
        stamp.kind = ZONED if stamp.kind == ZONED else ZONELESS
        stamp.ns = (days_from_civil(stamp.year, stamp.month, stamp.day) * DAY_SECONDS - offset) * BILLION + of_day
        text.at = ahead.at
        return True
    return is_date(stamp.year, stamp.month, stamp.day) and finish(text, &ahead, stamp, of_day)


cdef bint read_day_first(Text* text, Stamp* stamp) noexcept nogil:
    """23/Nov/2026:22:15:30 +0000 as web servers write, 23-Nov-2026 22:15:30, 23 Nov 2026 22:15:30."""
    cdef Text ahead = text[0]
    cdef int64_t of_day = 0
    cdef int between
    stamp.day = read_day(&ahead)
    between = peek(&ahead)
    if stamp.day < 0 or left(&ahead) < 14 or (between != 0x2F and between != 0x2D and between != 0x20):
        return False
    stamp.month = month_of(ahead.at + 1)
    if stamp.month == 0 or ahead.at[4] != between:
        return False
    stamp.year = four(ahead.at + 5)
    ahead.at += 9
    if not is_date(stamp.year, stamp.month, stamp.day) or not (take(&ahead, 0x3A) or take(&ahead, 0x20)):
        return False
    return read_time(&ahead, &of_day) and finish(text, &ahead, stamp, of_day)


cdef bint read_epoch(Text* text, Stamp* stamp) noexcept nogil:
    """Seconds since 1970 in ten digits, with or without a fraction; milli-, micro- or nanoseconds in 13, 16 or 19 digits."""
    cdef Text ahead = text[0]
    cdef int digits = digits_ahead(text, 20), i
    cdef uint64_t value = 0
    if digits != 10 and digits != 13 and digits != 16 and digits != 19:
        return False
    if text.at[0] == 0x30:
        return False
    for i in range(digits):
        value = value * 10 + text.at[i] - 0x30
    for i in range(19 - digits):
        value *= 10
    if value > <uint64_t>0x7FFFFFFFFFFFFFFF:
        return False
    ahead.at += digits
    stamp.ns = <int64_t>value
    if digits == 10:
        stamp.ns += read_fraction(&ahead)
    elif digits == 13 and peek(&ahead) == 0x2E:
        stamp.ns += read_fraction(&ahead) // 1000
    if not at_edge(&ahead):
        return False
    stamp.kind = ZONED
    stamp.year = 0
    text.at = ahead.at
    return True


cdef bint read_boot(Text* text, Stamp* stamp) noexcept nogil:
    """Seconds with a fraction, as the kernel writes them."""
    cdef Text ahead = text[0]
    cdef int64_t seconds = 0
    cdef int digits
    skip_blanks(&ahead)
    digits = digits_ahead(&ahead, 10)
    if not 1 <= digits <= 9 or left(&ahead) <= digits + 1 or ahead.at[digits] != 0x2E or not is_digit(ahead.at[digits + 1]):
        return False
    while digits:
        seconds = seconds * 10 + ahead.at[0] - 0x30
        ahead.at += 1
        digits -= 1
    stamp.ns = seconds * BILLION + read_fraction(&ahead)
    if not at_edge(&ahead):
        return False
    stamp.kind = SINCE_BOOT
    text.at = ahead.at
    return True


cdef bint read_time_of_day(Text* text, Stamp* stamp) noexcept nogil:
    """HH:MM:SS with a fraction or without."""
    cdef Text ahead = text[0]
    if left(text) < 8 or text.at[2] != 0x3A or text.at[5] != 0x3A:
        return False
    if not read_time(&ahead, &stamp.ns) or not at_edge(&ahead) or peek(&ahead) == 0x3A:
        return False
    stamp.kind = CLOCK
    text.at = ahead.at
    return True


cdef bint read_stamp(Text* text, Stamp* stamp) noexcept nogil:
    """A time at the beginning of the text, which is moved behind it; False, and nothing moved, when there is none."""
    cdef int first = peek(text)
    memset(stamp, 0, sizeof(Stamp))
    if is_digit(first):
        if read_numeric(text, stamp) or read_epoch(text, stamp) or read_time_of_day(text, stamp) or read_day_first(text, stamp):
            return True
    elif 0x41 <= first <= 0x5A and read_named(text, stamp):
        return True
    stamp.kind = NO_STAMP
    return False


def stamp_of(bytes line not None):
    """(kind, nanoseconds, month, day, bytes used) of the time at the beginning of a line, or None: for tests."""
    cdef Text text
    cdef Stamp stamp
    cdef const uint8_t* start = line
    text.at = start
    text.end = start + len(line)
    if not read_stamp(&text, &stamp):
        return None
    return stamp.kind, stamp.ns, stamp.month, stamp.day, text.at - start
