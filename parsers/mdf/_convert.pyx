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
    """Keys that are <= x in a table sorted upwards; 0 for NaN."""
    cdef Py_ssize_t low = 0, half
    while count > 0:
        half = count // 2
        if keys[low + half] <= x:
            low += half + 1
            count -= half + 1
        else:
            count = half
    return low


def linear(const raw_t[::1] raw, double offset, double factor):
    """offset + factor * raw, as float64."""
    result = np.empty(raw.shape[0], np.float64)
    cdef double[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(raw.shape[0]):
            out[i] = <double>raw[i] * factor + offset
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
