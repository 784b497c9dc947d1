"""One pass over the values of a stream: statistics of each signal and the lowest level of the min/max overview."""

cimport cython
from libc.math cimport INFINITY, NAN, fabs
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr

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
            self._dispatch(i, t_ns, t0, t1, column, mask, &count_view[i, 0], &low_view[i, 0], &high_view[i, 0])
        self.rows += n
        return t0, t1, counts, lows, highs

    cdef int _dispatch(self, int i, const int64_t[::1] t_ns, const int64_t[::1] t0, const int64_t[::1] t1, column, mask, int32_t* counts,
                       double* lows, double* highs) except -1:
        cdef const uint8_t[::1] values = column.view(np.uint8)
        cdef const uint8_t[::1] valid_view
        cdef const uint8_t* valid = NULL
        if mask is not None:
            valid_view = mask
            valid = &valid_view[0]
        cdef Statistics* s = &self.signals[i]
        cdef const void* start = &values[0]
        cdef const int64_t* time = &t_ns[0]
        cdef const int64_t* first = &t0[0]
        cdef const int64_t* last = &t1[0]
        cdef Py_ssize_t n = t_ns.shape[0]
        kind = column.dtype.str
        if kind == "|i1":
            scan(<const int8_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "|u1":
            scan(<const uint8_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<i2":
            scan(<const int16_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<u2":
            scan(<const uint16_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<i4":
            scan(<const int32_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<u4":
            scan(<const uint32_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<i8":
            scan(<const int64_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<u8":
            scan(<const uint64_t*>start, valid, time, first, last, n, s, counts, lows, highs)
        elif kind == "<f8":
            scan(<const double*>start, valid, time, first, last, n, s, counts, lows, highs)
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
    cdef int64_t first, last
    for b in range(t0.shape[0]):
        first = last = t_ns[b * BUCKET]
        for k in range(b * BUCKET, min(n, (b + 1) * BUCKET)):
            first = min(first, t_ns[k])
            last = max(last, t_ns[k])
        t0[b], t1[b] = first, last


cdef void scan(const value_t* values, const uint8_t* valid, const int64_t* t_ns, const int64_t* t0, const int64_t* t1, Py_ssize_t n,
               Statistics* s, int32_t* counts, double* lows, double* highs) noexcept nogil:
    cdef Py_ssize_t start = 0, b = 0
    cdef int size, count
    cdef value_t[BUCKET] kept
    cdef int64_t[BUCKET] kept_ns
    cdef const value_t* used
    cdef const int64_t* used_ns
    while start < n:
        size = <int>min(n - start, BUCKET)
        used, used_ns, count = values + start, t_ns + start, size
        if not all_count(used, NULL if valid == NULL else valid + start, size):
            count = compact(used, NULL if valid == NULL else valid + start, used_ns, size, kept, kept_ns)
            used, used_ns = kept, kept_ns
        counts[b] = count
        lows[b] = highs[b] = NAN
        s.null_count += size - count
        if count:
            take(used, used_ns, count, t1[b] - t0[b], s, &lows[b], &highs[b])
        start += BUCKET
        b += 1


cdef inline bint all_count(const value_t* values, const uint8_t* valid, int size) noexcept nogil:
    """Whether every value is there and, of floating ones, finite."""
    cdef int k
    cdef double odd_0 = 0, odd_1 = 0, odd_2 = 0, odd_3 = 0
    if valid != NULL and memchr(valid, 0, size) != NULL:
        return False
    if value_t is double:
        for k in range(0, size - 3, 4):     # in four sums, for one would wait for itself; a difference is NaN for NaN and infinite
            odd_0 += values[k] - values[k]
            odd_1 += values[k + 1] - values[k + 1]
            odd_2 += values[k + 2] - values[k + 2]
            odd_3 += values[k + 3] - values[k + 3]
        for k in range(size & ~3, size):
            odd_0 += values[k] - values[k]
        return odd_0 + odd_1 + odd_2 + odd_3 == 0
    return True


cdef inline int compact(const value_t* values, const uint8_t* valid, const int64_t* t_ns, int size, value_t* kept,
                        int64_t* kept_ns) noexcept nogil:
    """Moves the values that count, and their times, together; gives how many."""
    cdef int k, count = 0
    for k in range(size):
        kept[count] = values[k]
        kept_ns[count] = t_ns[k]
        if value_t is double:
            count += (valid == NULL or valid[k] != 0) and values[k] - values[k] == 0
        else:
            count += valid[k] != 0
    return count


cdef inline void take(const value_t* values, const int64_t* t_ns, int count, int64_t span, Statistics* s, double* low,
                      double* high) noexcept nogil:
    """One bucket of values that all count; `span` is the time that the bucket covers at most."""
    cdef value_t least = values[0], most = values[0]
    cdef double total = 0
    if value_t is double:
        total = extremes(values, count, &least, &most)
    else:
        total = whole_extremes(values, count, &least, &most)
    low[0], high[0] = <double>least, <double>most
    if low[0] < s.low:
        s.low, s.t_low = low[0], t_ns[position(values, least)]
    if high[0] > s.high:
        s.high, s.t_high = high[0], t_ns[position(values, most)]
    if s.count == 0:
        s.first = s.run_value = <double>values[0]
        s.run_start = t_ns[0]
    elif <double>values[0] != s.run_value:
        s.longest = max(s.longest, s.run_end - s.run_start)
        s.run_start = t_ns[0]
    runs(values, t_ns, count, span, s)
    s.run_end = t_ns[count - 1]
    s.last = s.run_value = <double>values[count - 1]
    s.count += count
    add(s, total)


cdef inline double whole_extremes(const value_t* values, int count, value_t* least, value_t* most) noexcept nogil:
    """Lowest, highest and sum of whole numbers; the sum is exact up to 32 bits."""
    cdef value_t low = values[0], high = values[0]
    cdef int64_t whole = 0
    cdef double total = 0
    cdef int k
    for k in range(count):
        low = values[k] if values[k] < low else low
        high = values[k] if values[k] > high else high
    least[0], most[0] = low, high
    if value_t is int64_t or value_t is uint64_t or value_t is double:
        for k in range(count):
            total += <double>values[k]
        return total
    for k in range(count):
        whole += values[k]
    return <double>whole


cdef inline double extremes(const double* values, int count, double* least, double* most) noexcept nogil:
    """Lowest, highest and sum of finite numbers, in two lanes, for one would wait for itself."""
    cdef double low_0 = values[0], low_1 = values[0], high_0 = values[0], high_1 = values[0]
    cdef double sum_0 = 0, sum_1 = 0, sum_2 = 0, sum_3 = 0
    cdef int k
    for k in range(0, count - 3, 4):
        sum_0 += values[k]
        sum_1 += values[k + 1]
        sum_2 += values[k + 2]
        sum_3 += values[k + 3]
    for k in range(count & ~3, count):
        sum_0 += values[k]
    for k in range(0, count - 1, 2):
        low_0 = values[k] if values[k] < low_0 else low_0
        low_1 = values[k + 1] if values[k + 1] < low_1 else low_1
        high_0 = values[k] if values[k] > high_0 else high_0
        high_1 = values[k + 1] if values[k + 1] > high_1 else high_1
    if count & 1:
        low_0 = min(low_0, values[count - 1])
        high_0 = max(high_0, values[count - 1])
    least[0], most[0] = min(low_0, low_1), max(high_0, high_1)
    return (sum_0 + sum_1) + (sum_2 + sum_3)


cdef inline int position(const value_t* values, value_t wanted) noexcept nogil:
    """Where the value, which is there, stands first."""
    cdef int k = 0
    while values[k] != wanted:
        k += 1
    return k


cdef inline void runs(const value_t* values, const int64_t* t_ns, int count, int64_t span, Statistics* s) noexcept nogil:
    """Ends the runs of equal values that end within the bucket; the first may have begun before it."""
    cdef int k = 1
    cdef int64_t start = s.run_start, longest = s.longest
    cdef bint changed
    while k < count and values[k] == values[k - 1]:
        k += 1
    if k == count:
        return
    longest = max(longest, t_ns[k - 1] - start)
    if 0 <= span <= longest:    # of the runs that begin in the bucket none can be longer: only the last one matters
        k = count - 1
        while values[k] == values[k - 1]:
            k -= 1
        start = t_ns[k]
    else:
        start = t_ns[k]
        for k in range(k + 1, count):
            changed = values[k] != values[k - 1]
            longest = max(longest, t_ns[k - 1] - start if changed else longest)
            start = t_ns[k] if changed else start
    s.run_start, s.longest = start, longest


cdef inline void add(Statistics* s, double x) noexcept nogil:
    cdef double total = s.total + x
    s.lost += (s.total - total) + x if fabs(s.total) >= fabs(x) else (x - total) + s.total
    s.total = total
