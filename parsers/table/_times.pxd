# Times in the cells of a table, as int64 nanoseconds: numbers in a known unit, dates, times of day.

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from parsers.table._numbers cimport Number, scan_number, slow_double, MOST_NUMBER


cdef enum:
    # How a column gives time
    NUMBER = 0  # seconds, milliseconds, microseconds or nanoseconds
    DATE = 1  # with or without the time of day
    CLOCK = 2  # hours, minutes, seconds

    YEAR_FIRST = 0
    DAY_FIRST = 1
    MONTH_FIRST = 2

    MOST_HOURS = 99999
    SECOND_PLACES = 9
    NS_PER_SECOND = 1000000000

cdef extern from *:
    """
    static const long long ARGUS_TENS[19] = {
        1LL, 10LL, 100LL, 1000LL, 10000LL, 100000LL, 1000000LL, 10000000LL, 100000000LL, 1000000000LL, 10000000000LL, 100000000000LL,
        1000000000000LL, 10000000000000LL, 100000000000000LL, 1000000000000000LL, 10000000000000000LL, 100000000000000000LL,
        1000000000000000000LL
    };
    """
    const int64_t ARGUS_TENS[19]


cdef inline bint number_ns(const uint8_t* at, Py_ssize_t length, uint8_t point, int places, int64_t* t_ns) noexcept nogil:
    """A number in units of 10**places ns; digits beyond nanoseconds are cut off."""
    cdef Number number
    cdef double approximate
    cdef int exponent
    if not scan_number(at, length, point, &number):
        return False
    exponent = number.exponent + places
    if not number.exact:
        if length > MOST_NUMBER:
            return False
        approximate = slow_double(at, length, point) * <double>ARGUS_TENS[places]
        if not fabs(approximate) < 9.2e18:
            return False
        t_ns[0] = <int64_t>approximate
        return True
    if exponent < -18:
        t_ns[0] = 0
        return True
    if exponent < 0:
        number.mantissa //= <uint64_t>ARGUS_TENS[-exponent]
    elif number.mantissa:
        if exponent > 18 or number.mantissa > <uint64_t>0x7FFFFFFFFFFFFFFF // <uint64_t>ARGUS_TENS[exponent]:
            return False
        number.mantissa *= <uint64_t>ARGUS_TENS[exponent]
    if number.mantissa > <uint64_t>0x7FFFFFFFFFFFFFFF:
        return False
    t_ns[0] = -<int64_t>number.mantissa if number.negative else <int64_t>number.mantissa
    return True


cdef inline int take_digits(const uint8_t** at, const uint8_t* end, int most, int64_t* value) noexcept nogil:
    """Digits read, at most `most`."""
    cdef int n = 0
    value[0] = 0
    while at[0] < end and n < most and 0x30 <= at[0][0] <= 0x39:
        value[0] = value[0] * 10 + (at[0][0] - 0x30)
        at[0] += 1
        n += 1
    return n


cdef inline void take_blanks(const uint8_t** at, const uint8_t* end) noexcept nogil:
    while at[0] < end and (at[0][0] == 0x20 or at[0][0] == 0x09):
        at[0] += 1


cdef inline bint take_clock(const uint8_t** at, const uint8_t* end, bint of_day, int64_t* t_ns) noexcept nogil:
    """`h:m`, `h:m:s`, `h:m:s.frac` (point, comma, or a colon before milliseconds), with AM or PM behind it."""
    cdef int64_t hours, minutes, part
    cdef int64_t seconds = 0
    cdef int64_t fraction = 0
    cdef int places
    cdef bint of_milliseconds
    cdef const uint8_t* before
    if not take_digits(at, end, 5, &hours) or at[0] >= end or at[0][0] != 0x3A:
        return False
    at[0] += 1
    if not take_digits(at, end, 2, &minutes) or minutes > 59:
        return False
    if at[0] < end and at[0][0] == 0x3A:
        at[0] += 1
        if not take_digits(at, end, 2, &seconds) or seconds > 60:
            return False
        if at[0] < end and (at[0][0] == 0x2E or at[0][0] == 0x2C or at[0][0] == 0x3A):
            of_milliseconds = at[0][0] == 0x3A
            at[0] += 1
            places = take_digits(at, end, SECOND_PLACES, &part)
            if not places or (of_milliseconds and places > 3):
                return False
            fraction = part * 1000000 if of_milliseconds else part * ARGUS_TENS[SECOND_PLACES - places]
            while at[0] < end and 0x30 <= at[0][0] <= 0x39:  # beyond nanoseconds
                at[0] += 1
    if end - at[0] >= 2 and (at[0][0] == 0x20 or (at[0][0] | 0x20) == 0x61 or (at[0][0] | 0x20) == 0x70):
        before = at[0]
        take_blanks(at, end)
        if end - at[0] >= 2 and (at[0][1] | 0x20) == 0x6D and ((at[0][0] | 0x20) == 0x61 or (at[0][0] | 0x20) == 0x70):
            if not 1 <= hours <= 12:
                return False
            hours = hours % 12 + (12 if (at[0][0] | 0x20) == 0x70 else 0)
            at[0] += 2
        else:
            at[0] = before
    if (of_day and hours > 24) or hours > MOST_HOURS:
        return False
    t_ns[0] = ((hours * 60 + minutes) * 60 + seconds) * NS_PER_SECOND + fraction
    return True


cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 1970-01-01 of a date of the Gregorian calendar."""
    # after H. Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, 400 of them have 146,097 days
    cdef int64_t y = year - (month <= 2)
    cdef int64_t era = y // 400
    cdef int64_t of_era = y - era * 400
    cdef int64_t of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


cdef inline int days_in(int64_t year, int64_t month) noexcept nogil:
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline bint take_date(const uint8_t** at, const uint8_t* end, int order, int64_t* days) noexcept nogil:
    """`2021-08-27`, `2021/8/27`, `27.08.2021`, `08/27/2021` as `order` says, or `20210827`; years 1678 to 2261."""
    cdef int64_t first, second, third
    cdef int64_t year, month, day
    cdef int digits = take_digits(at, end, 8, &first)
    cdef uint8_t mark
    if digits == 8 and order == YEAR_FIRST:
        year = first // 10000
        month = first // 100 % 100
        day = first % 100
    else:
        if digits != 4 and (order == YEAR_FIRST or not 1 <= digits <= 2):
            return False
        if (digits == 4) != (order == YEAR_FIRST) or at[0] >= end:
            return False
        mark = at[0][0]
        if mark != 0x2D and mark != 0x2F and mark != 0x2E:
            return False
        at[0] += 1
        digits = take_digits(at, end, 2, &second)
        if not digits or at[0] >= end or at[0][0] != mark:
            return False
        at[0] += 1
        digits = take_digits(at, end, 4, &third)
        if order == YEAR_FIRST:
            year = first
            month = second
            day = third
            if not 1 <= digits <= 2:
                return False
        else:
            year = third
            month = first if order == MONTH_FIRST else second
            day = second if order == MONTH_FIRST else first
            if digits != 4:
                return False
    if not 1678 <= year <= 2261 or not 1 <= month <= 12 or not 1 <= day <= days_in(year, month):
        return False
    days[0] = days_of(year, month, day)
    return True


cdef inline bint take_zone(const uint8_t** at, const uint8_t* end, int64_t* offset_ns, bint* told) noexcept nogil:
    """`Z`, `UTC`, `GMT`, `+02:00`, `+0200`, `+02`, or nothing."""
    cdef int64_t hours, minutes = 0
    cdef bint negative
    offset_ns[0] = 0
    take_blanks(at, end)
    if at[0] >= end:
        return True
    told[0] = True
    if end - at[0] == 1 and (at[0][0] | 0x20) == 0x7A:
        at[0] += 1
        return True
    if end - at[0] == 3 and (memcmp(at[0], b"UTC", 3) == 0 or memcmp(at[0], b"GMT", 3) == 0):
        at[0] += 3
        return True
    if at[0][0] != 0x2B and at[0][0] != 0x2D:
        return False
    negative = at[0][0] == 0x2D
    at[0] += 1
    if take_digits(at, end, 2, &hours) != 2 or hours > 23:
        return False
    if at[0] < end:
        if at[0][0] == 0x3A:
            at[0] += 1
        if take_digits(at, end, 2, &minutes) != 2 or minutes > 59:
            return False
    offset_ns[0] = (hours * 60 + minutes) * 60 * NS_PER_SECOND
    if negative:
        offset_ns[0] = -offset_ns[0]
    return at[0] == end


cdef inline bint compact_clock(const uint8_t** at, const uint8_t* end, int64_t* t_ns) noexcept nogil:
    """`181146` and `181146.722`, as ISO 8601 has them behind a compact date."""
    cdef int64_t value, part
    cdef int places
    if take_digits(at, end, 6, &value) != 6 or value // 10000 > 24 or value // 100 % 100 > 59 or value % 100 > 60:
        return False
    t_ns[0] = ((value // 10000 * 60 + value // 100 % 100) * 60 + value % 100) * NS_PER_SECOND
    if at[0] < end and (at[0][0] == 0x2E or at[0][0] == 0x2C):
        at[0] += 1
        places = take_digits(at, end, SECOND_PLACES, &part)
        if not places:
            return False
        t_ns[0] += part * ARGUS_TENS[SECOND_PLACES - places]
        while at[0] < end and 0x30 <= at[0][0] <= 0x39:
            at[0] += 1
    return True


cdef inline bint date_ns(const uint8_t* at, Py_ssize_t length, int order, int64_t* t_ns, bint* zone_told) noexcept nogil:
    """A date, with the time of day and the zone if they are there, to nanoseconds of UTC."""
    cdef const uint8_t* end = at + length
    cdef const uint8_t* start = at
    cdef int64_t days = 0, offset = 0
    cdef int64_t of_day = 0
    cdef bint compact
    if not take_date(&at, end, order, &days):
        return False
    compact = at - start == 8 and order == YEAR_FIRST and start[4] >= 0x30 and start[4] <= 0x39
    if at < end:
        if (at[0] | 0x20) == 0x74:
            at += 1
        elif at[0] == 0x20 or at[0] == 0x09:
            take_blanks(&at, end)
        elif at[0] != 0x2D or compact:  # 2021-08-27-18:11:46
            return False
        else:
            at += 1
        if at < end:
            if compact and (end - at < 3 or at[2] != 0x3A):
                if not compact_clock(&at, end, &of_day):
                    return False
            elif not take_clock(&at, end, True, &of_day):
                return False
    if not take_zone(&at, end, &offset, zone_told):
        return False
    t_ns[0] = days * 86400 * NS_PER_SECOND + of_day - offset
    return True


cdef inline bint clock_ns(const uint8_t* at, Py_ssize_t length, int64_t* t_ns) noexcept nogil:
    """A time of day, or hours since the start."""
    cdef const uint8_t* end = at + length
    return take_clock(&at, end, False, t_ns) and at == end
