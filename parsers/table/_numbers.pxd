# Numbers in the cells of a table: whole numbers, decimals with a point or a comma, and the words that stand for something else.

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport strtod
from libc.string cimport memcpy


cdef enum:
    # What a cell is
    NOTHING = 0  # empty, or a word for "no value"
    WHOLE = 1
    DECIMAL = 2
    MISFIT = 3

    MOST_DIGITS = 19  # in the mantissa; further ones only move the point
    MOST_NUMBER = 120  # characters of a number that needs the slow way
    MOST_EXACT = 22  # powers of ten that a double holds exactly

cdef extern from *:
    """
    static const double ARGUS_POWERS[23] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
    };
    """
    const double ARGUS_POWERS[23]


cdef struct Number:
    uint64_t mantissa
    int exponent  # power of ten
    bint negative
    bint whole  # no point and no exponent
    bint exact  # all digits are in the mantissa


cdef inline uint8_t lower(uint8_t ch) noexcept nogil:
    return ch | 0x20 if 0x41 <= ch <= 0x5A else ch


cdef inline bint is_word(const uint8_t* at, Py_ssize_t length, const char* word, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if length != size:
        return False
    for i in range(size):
        if lower(at[i]) != <uint8_t>word[i]:
            return False
    return True


cdef inline bint is_nothing(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    """Whether the cell says that there is no value."""
    if length == 0:
        return True
    if length > 4:
        return False
    return (
        is_word(at, length, b"-", 1) or is_word(at, length, b"--", 2) or is_word(at, length, b"na", 2) or is_word(at, length, b"n/a", 3)
        or is_word(at, length, b"null", 4) or is_word(at, length, b"none", 4) or is_word(at, length, b"#n/a", 4)
    )


cdef inline bint special(const uint8_t* at, Py_ssize_t length, double* value) noexcept nogil:
    """NaN and infinities, as most libraries write them."""
    cdef bint negative = False
    if length and (at[0] == 0x2D or at[0] == 0x2B):
        negative = at[0] == 0x2D
        at += 1
        length -= 1
    if is_word(at, length, b"nan", 3):
        value[0] = NAN
    elif is_word(at, length, b"inf", 3) or is_word(at, length, b"infinity", 8):
        value[0] = -INFINITY if negative else INFINITY
    else:
        return False
    return True


cdef inline bint scan_number(const uint8_t* at, Py_ssize_t length, uint8_t point, Number* out) noexcept nogil:
    """A decimal number that fills the cell; False when it is something else."""
    cdef const uint8_t* end = at + length
    cdef uint64_t mantissa = 0
    cdef int digits = 0
    cdef int dropped = 0
    cdef int places = 0
    cdef int exponent = 0
    cdef bint any_digit = False
    cdef bint negative_exponent
    out.negative = False
    out.whole = True
    if at < end and (at[0] == 0x2D or at[0] == 0x2B):
        out.negative = at[0] == 0x2D
        at += 1
    while at < end and 0x30 <= at[0] <= 0x39:
        any_digit = True
        if digits < MOST_DIGITS:
            mantissa = mantissa * 10 + (at[0] - 0x30)
            digits += mantissa != 0
        else:
            dropped += 1
        at += 1
    if at < end and at[0] == point:
        out.whole = False
        at += 1
        while at < end and 0x30 <= at[0] <= 0x39:
            any_digit = True
            if digits < MOST_DIGITS:
                mantissa = mantissa * 10 + (at[0] - 0x30)
                digits += mantissa != 0
                places += 1
            elif at[0] != 0x30:
                dropped += 1
                places += 1
            at += 1
    if not any_digit:
        return False
    if at < end and (at[0] == 0x65 or at[0] == 0x45):
        out.whole = False
        at += 1
        negative_exponent = False
        if at < end and (at[0] == 0x2D or at[0] == 0x2B):
            negative_exponent = at[0] == 0x2D
            at += 1
        if at >= end:
            return False
        while at < end and 0x30 <= at[0] <= 0x39:
            if exponent < 100000:
                exponent = exponent * 10 + (at[0] - 0x30)
            at += 1
        if negative_exponent:
            exponent = -exponent
    if at != end:
        return False
    out.mantissa = mantissa
    out.exponent = exponent - places + dropped
    out.exact = dropped == 0
    return True


cdef inline double slow_double(const uint8_t* at, Py_ssize_t length, uint8_t point) noexcept nogil:
    """The nearest double of what scan_number has found to be a number of at most MOST_NUMBER characters."""
    cdef char text[MOST_NUMBER + 8]
    cdef Py_ssize_t i
    memcpy(text, at, <size_t>length)
    text[length] = 0
    if point != 0x2E:
        for i in range(length):
            if text[i] == <char>point:
                text[i] = 0x2E
    return strtod(text, NULL)


cdef inline int read_double(const uint8_t* at, Py_ssize_t length, uint8_t point, double* value) noexcept nogil:
    """WHOLE or DECIMAL with the nearest double, NOTHING, or MISFIT."""
    cdef Number number
    if is_nothing(at, length):
        return NOTHING
    if not scan_number(at, length, point, &number):
        return DECIMAL if special(at, length, value) else MISFIT
    if number.exact and number.mantissa <= <uint64_t>1 << 53 and -MOST_EXACT <= number.exponent <= MOST_EXACT:
        value[0] = <double>number.mantissa
        if number.exponent < 0:
            value[0] /= ARGUS_POWERS[-number.exponent]
        else:
            value[0] *= ARGUS_POWERS[number.exponent]
        if number.negative:
            value[0] = -value[0]
    elif length <= MOST_NUMBER:
        value[0] = slow_double(at, length, point)
    else:
        return MISFIT
    return WHOLE if number.whole else DECIMAL


cdef inline int read_whole(const uint8_t* at, Py_ssize_t length, uint8_t point, int64_t* value) noexcept nogil:
    """WHOLE with the number, NOTHING, or MISFIT: for decimals, too, unless their places are zeros, and beyond 64 bits."""
    cdef Number number
    cdef uint64_t most = <uint64_t>0x7FFFFFFFFFFFFFFF
    if is_nothing(at, length):
        return NOTHING
    if not scan_number(at, length, point, &number) or not number.exact:
        return MISFIT
    while number.exponent < 0 and number.mantissa % 10 == 0 and number.mantissa:
        number.mantissa //= 10
        number.exponent += 1
    if number.mantissa == 0:
        value[0] = 0
        return WHOLE
    if number.exponent < 0 or number.exponent > MOST_DIGITS:
        return MISFIT
    while number.exponent > 0:
        if number.mantissa > most // 10:
            return MISFIT
        number.mantissa *= 10
        number.exponent -= 1
    if number.mantissa > most + number.negative:
        return MISFIT
    value[0] = <int64_t>(<uint64_t>0 - number.mantissa) if number.negative else <int64_t>number.mantissa
    return WHOLE
