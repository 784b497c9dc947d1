# distutils: extra_compile_args = -ffp-contract=off -fno-math-errno
"""Times into nanoseconds: whole ticks exactly, real ones rounded once."""

# A multiply and an add must round twice, as Python does; without errno the rounding is one instruction.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from libc.math cimport llrint

import numpy as np

cdef extern from *:
    ctypedef long long int128 "__int128"

ctypedef fused Ticks:
    int64_t
    uint64_t

cdef enum:
    FARTHEST_BITS = 62

cdef double FARTHEST_REAL = 2.3e18


def ticks_to_ns(const Ticks[::1] ticks not None, int64_t numerator, int64_t offset, int64_t denominator):
    """(ticks * numerator + offset) / denominator, halves to even: int64 and a mask (uint8), 0 where it is beyond 2 ** 62 either way.

    `denominator` is positive; `numerator` and `offset` are below 2 ** 62, so 128 bits are enough.
    """
    cdef Py_ssize_t i, n = ticks.shape[0]
    cdef int64_t farthest = <int64_t>1 << FARTHEST_BITS
    cdef int128 most = farthest
    cdef int128 value, quotient, rest
    if denominator <= 0 or not -farthest < numerator < farthest or not -farthest < offset < farthest:
        raise ValueError("a scale that could overflow")
    result, mask = np.zeros(n, np.int64), np.ones(n, np.uint8)
    cdef int64_t[::1] out = result
    cdef uint8_t[::1] valid = mask
    with nogil:
        for i in range(n):
            value = <int128>ticks[i] * numerator + offset
            if denominator != 1:
                quotient = value / denominator
                rest = value - quotient * denominator
                if rest < 0:
                    quotient -= 1
                    rest += denominator
                rest = 2 * rest - denominator
                if rest > 0 or (rest == 0 and quotient & 1):
                    quotient += 1
                value = quotient
            if -most < value < most:
                out[i] = <int64_t>value
            else:
                valid[i] = 0
    return result, mask


def reals_to_ns(const double[::1] reals not None, double factor, double offset):
    """reals * factor + offset, halves to even: int64, and a mask (uint8), 0 where it is no number or beyond 2.3e18 either way, or None."""
    cdef Py_ssize_t i, n = reals.shape[0], far = 0
    cdef double value
    result = np.empty(n, np.int64)
    cdef int64_t[::1] out = result
    cdef uint8_t[::1] valid
    with nogil:
        for i in range(n):
            value = reals[i] * factor + offset
            if -FARTHEST_REAL < value < FARTHEST_REAL:
                out[i] = llrint(value)
            else:
                out[i] = 0
                far += 1
    if not far:
        return result, None
    mask = np.zeros(n, np.uint8)
    valid = mask
    for i in range(n):
        value = reals[i] * factor + offset
        valid[i] = -FARTHEST_REAL < value < FARTHEST_REAL
    return result, mask
