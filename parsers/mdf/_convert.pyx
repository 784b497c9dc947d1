"""Conversion of raw columns in one pass each: linear, nearest key, and the place of a value in a table of keys or ranges."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

ctypedef fused raw_t:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    uint32_t
    int64_t
    uint64_t
    float
    double


cdef inline Py_ssize_t below(const double* keys, Py_ssize_t count, double x) noexcept nogil:
    """Keys that are <= x in a table sorted upwards; 0 for NaN. No branch depends on the data."""
    cdef const double* low = keys
    cdef Py_ssize_t half
    if count == 0:
        return 0
    while count > 1:
        half = count // 2
        low += half * <Py_ssize_t>(low[half - 1] <= x)
        count -= half
    return (low - keys) + <Py_ssize_t>(low[0] <= x)


def linear(const raw_t[::1] raw, double offset, double factor):
    """offset + factor * raw, as float64."""
    result = np.empty(raw.shape[0], np.float64)
    cdef double[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(raw.shape[0]):
            out[i] = <double>raw[i] * factor + offset
    return result


def rational(const raw_t[::1] raw, const double[::1] p):
    """(p0 x^2 + p1 x + p2) / (p3 x^2 + p4 x + p5), as float64; infinite or NaN where the divisor is 0."""
    result = np.empty(raw.shape[0], np.float64)
    cdef double[::1] out = result
    cdef Py_ssize_t i
    cdef double x
    if p.shape[0] != 6:
        raise ValueError("a rational conversion has six parameters")
    with nogil:
        for i in range(raw.shape[0]):
            x = <double>raw[i]
            out[i] = ((p[0] * x + p[1]) * x + p[2]) / ((p[3] * x + p[4]) * x + p[5])
    return result


def straight(const raw_t[::1] raw, const double[::1] keys, const double[::1] values):
    """On the straight lines between the points, the outermost values beyond them; NaN for NaN. `keys` are sorted upwards, at least one."""
    result = np.empty(raw.shape[0], np.float64)
    cdef double[::1] out = result
    cdef Py_ssize_t i, at, count = keys.shape[0]
    cdef double x
    if count == 0 or values.shape[0] != count:
        raise ValueError("a table needs one value for each key")
    with nogil:
        for i in range(raw.shape[0]):
            x = <double>raw[i]
            at = below(&keys[0], count, x)
            if x != x:
                out[i] = x
            elif at == 0:
                out[i] = values[0]
            elif at == count or keys[at - 1] == x:
                out[i] = values[at - 1]
            else:
                out[i] = values[at - 1] + (x - keys[at - 1]) * ((values[at] - values[at - 1]) / (keys[at] - keys[at - 1]))
    return result


def nearest(const raw_t[::1] raw, const double[::1] keys, const double[::1] values):
    """The value of the nearest key, of the lower one in the middle between two; NaN for NaN. `keys` are sorted upwards, at least one."""
    result = np.empty(raw.shape[0], np.float64)
    cdef double[::1] out = result
    cdef Py_ssize_t i, at, count = keys.shape[0]
    cdef double x
    if count == 0 or values.shape[0] != count:
        raise ValueError("a table needs one value for each key")
    with nogil:
        for i in range(raw.shape[0]):
            x = <double>raw[i]
            if x != x:
                out[i] = x
                continue
            at = below(&keys[0], count, x)
            if at == 0:
                at = 1
            elif at < count and keys[at] - x < x - keys[at - 1]:
                at += 1
            out[i] = values[at - 1]
    return result


def find_keys(const raw_t[::1] raw, const double[::1] keys, const int32_t[::1] places):
    """`places[k]` where raw equals `keys[k]`, -1 where it equals none. `keys` are sorted upwards and different."""
    result = np.empty(raw.shape[0], np.int32)
    cdef int32_t[::1] out = result
    cdef Py_ssize_t i, at, count = keys.shape[0]
    cdef double x
    if places.shape[0] != count:
        raise ValueError("a table needs one place for each key")
    with nogil:
        for i in range(raw.shape[0]):
            x = <double>raw[i]
            at = below(&keys[0], count, x) - 1 if count else -1
            out[i] = places[at] if at >= 0 and keys[at] == x else -1
    return result


def find_ranges(const raw_t[::1] raw, const double[::1] edges, const int32_t[::1] places):
    """`places[k]` where `edges[k] <= raw < edges[k + 1]`, -1 elsewhere and for NaN. `edges` are sorted upwards, one more than places."""
    result = np.empty(raw.shape[0], np.int32)
    cdef int32_t[::1] out = result
    cdef Py_ssize_t i, at, count = edges.shape[0]
    cdef double x
    if places.shape[0] != count - 1:
        raise ValueError("a table of ranges needs one place less than edges")
    with nogil:
        for i in range(raw.shape[0]):
            x = <double>raw[i]
            at = below(&edges[0], count, x)
            out[i] = places[at - 1] if 0 < at < count else -1
    return result
