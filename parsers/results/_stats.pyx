"""One pass over the values of a stream: statistics of each signal and the lowest level of the min/max overview."""

cimport cython
from libc.math cimport INFINITY, NAN, fabs
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

import numpy as np

cdef enum:
    BUCKET = 256        # samples of one bucket of level 0

BUCKET_SAMPLES = BUCKET

ctypedef fused value_t:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    uint32_t
    int64_t
    uint64_t
    double


cdef struct Statistics:
    int64_t count           # values that are neither null nor NaN nor infinite
    int64_t null_count
    double low
    double high
    double total            # with `lost` a compensated sum (Neumaier)
    double lost
    double first
    double last
    int64_t t_low           # time of the first lowest value
    int64_t t_high
    double run_value        # the value that is being repeated
    int64_t run_start
    int64_t run_end
    int64_t longest         # longest time between first and last of equal neighbours


@cython.final
cdef class StreamStatistics:
    """Statistics of every signal of one stream, over the chunks that are handed in one after the other."""

    cdef Statistics* signals
    cdef int count
    cdef readonly int64_t rows

    def __cinit__(self, int count):
        self.count = count
        self.signals = <Statistics*>calloc(count + 1, sizeof(Statistics))
        if self.signals == NULL:
            raise MemoryError()
        for i in range(count):
            self.signals[i].low, self.signals[i].high = INFINITY, -INFINITY

    def __dealloc__(self):
        free(self.signals)

    def update(self, const int64_t[::1] t_ns, list columns, list masks):
        """Takes n rows; all chunks but the last must be a multiple of 256 rows.

        Returns the buckets: (t0, t1) int64 of shape (buckets,) and (count int32, min, max float64) of shape (signals, buckets);
        min and max are NaN in buckets without a value.
        """
        cdef Py_ssize_t n = t_ns.shape[0], buckets = (n + BUCKET - 1) // BUCKET
        if self.rows % BUCKET or len(columns) != self.count or len(masks) != self.count:
            raise ValueError("chunks must be whole buckets of all signals")
        t0, t1 = np.empty(buckets, np.int64), np.empty(buckets, np.int64)
        counts = np.empty((self.count, buckets), np.int32)
        lows, highs = np.empty((self.count, buckets)), np.empty((self.count, buckets))
        if n == 0:
            return t0, t1, counts, lows, highs
        bucket_times(t_ns, t0, t1)
        cdef int32_t[:, ::1] count_view = counts
        cdef double[:, ::1] low_view = lows, high_view = highs
        for i in range(self.count):
            column, mask = columns[i], masks[i]
            if len(column) != n or (mask is not None and len(mask) != n):
                raise ValueError("columns of a stream differ in length")
            self._dispatch(i, t_ns, column, mask, &count_view[i, 0], &low_view[i, 0], &high_view[i, 0])
        self.rows += n
        return t0, t1, counts, lows, highs

    cdef int _dispatch(self, int i, const int64_t[::1] t_ns, column, mask, int32_t* counts, double* lows, double* highs) except -1:
        cdef const uint8_t[::1] values = column.view(np.uint8)
        cdef const uint8_t[::1] valid_view
        cdef const uint8_t* valid = NULL
        if mask is not None:
            valid_view = mask
            valid = &valid_view[0]
        cdef Statistics* s = &self.signals[i]
        cdef const void* start = &values[0]
        cdef const int64_t* time = &t_ns[0]
        cdef Py_ssize_t n = t_ns.shape[0]
        kind = column.dtype.str
        if kind == "|i1":
            scan(<const int8_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "|u1":
            scan(<const uint8_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<i2":
            scan(<const int16_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<u2":
            scan(<const uint16_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<i4":
            scan(<const int32_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<u4":
            scan(<const uint32_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<i8":
            scan(<const int64_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<u8":
            scan(<const uint64_t*>start, valid, time, n, s, counts, lows, highs)
        elif kind == "<f8":
            scan(<const double*>start, valid, time, n, s, counts, lows, highs)
        else:
            raise ValueError(f"no statistics for {kind}")
        return 0

    def result(self, int i):
        """(count, nulls, min, max, sum, first, last, t_min, t_max, longest constant in ns) of signal i; what has no value is None."""
        if not 0 <= i < self.count:
            raise IndexError("no such signal")
        cdef Statistics* s = &self.signals[i]
        if s.count == 0:
            return 0, s.null_count, None, None, None, None, None, None, None, None
        longest = max(s.longest, s.run_end - s.run_start)
        return s.count, s.null_count, s.low, s.high, s.total + s.lost, s.first, s.last, s.t_low, s.t_high, longest


cdef void bucket_times(const int64_t[::1] t_ns, int64_t[::1] t0, int64_t[::1] t1) noexcept:
    """Earliest and latest time of each bucket; the clock may have gone back within it."""
    cdef Py_ssize_t b, k, n = t_ns.shape[0]
    for b in range(t0.shape[0]):
        t0[b] = t1[b] = t_ns[b * BUCKET]
        for k in range(b * BUCKET, min(n, (b + 1) * BUCKET)):
            t0[b] = min(t0[b], t_ns[k])
            t1[b] = max(t1[b], t_ns[k])


cdef void scan(const value_t* values, const uint8_t* valid, const int64_t* t_ns, Py_ssize_t n, Statistics* s,
               int32_t* counts, double* lows, double* highs) noexcept nogil:
    cdef Py_ssize_t start = 0, stop, k, low_at, high_at
    cdef double x, low, high, total
    cdef int32_t count
    while start < n:
        stop = min(n, start + BUCKET)
        low, high, total, count = INFINITY, -INFINITY, 0, 0
        low_at = high_at = start
        for k in range(start, stop):
            if valid != NULL and not valid[k]:
                continue
            x = <double>values[k]
            if value_t is double:
                if x - x != 0:          # NaN or infinite
                    continue
            if s.count + count == 0:
                s.first = x
                s.run_value = x
                s.run_start = t_ns[k]
            elif x != s.run_value:
                s.longest = max(s.longest, s.run_end - s.run_start)
                s.run_value = x
                s.run_start = t_ns[k]
            s.run_end = t_ns[k]
            count += 1
            total += x
            if x < low:
                low, low_at = x, k
            if x > high:
                high, high_at = x, k
        counts[start // BUCKET] = count
        lows[start // BUCKET] = low if count else NAN
        highs[start // BUCKET] = high if count else NAN
        s.null_count += stop - start - count
        if count:
            if low < s.low:
                s.low, s.t_low = low, t_ns[low_at]
            if high > s.high:
                s.high, s.t_high = high, t_ns[high_at]
            s.last = s.run_value
            s.count += count
            add(s, total)
        start = stop


cdef inline void add(Statistics* s, double x) noexcept nogil:
    cdef double total = s.total + x
    s.lost += (s.total - total) + x if fabs(s.total) >= fabs(x) else (x - total) + s.total
    s.total = total
