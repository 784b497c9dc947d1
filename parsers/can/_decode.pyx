# distutils: extra_compile_args = -ffp-contract=off
"""Frames of one message to signal columns: one pass per signal from payload word to physical value, without the GIL."""

# A multiply and an add must round twice, as Python does, or the last digit differs on processors with fused multiply-add.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

import mmap

import numpy as np

cdef extern from *:
    """
    #define argus_bswap64(x) __builtin_bswap64(x)
    """
    uint64_t bswap64 "argus_bswap64"(uint64_t) noexcept nogil

cdef enum:
    GROWTH = 2
    EARLY_GROWTH = 32       # while the columns stay within the room that may be reserved: untouched pages cost nothing
    CHUNK = 2048            # rows decoded at a time: the payload words of a chunk stay in the caches
    STORE_F64 = 8           # place in STORAGE_NAMES; all before it are whole numbers
    OWN_PAGES = 1 << 18     # bytes
    EVERY_LENGTH = 256      # longer than any frame

STORAGE_NAMES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float64")

# Signed and unsigned columns are computed alike, modulo their width.
ctypedef fused whole_t:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef struct Spec:
    int first_bit       # along the wire (big endian) or by significance (little endian)
    int length          # 1 to 64 bits
    int end_byte        # bytes a frame needs
    bint big
    bint is_signed
    int float_bits      # 0, 16, 32 or 64
    int storage         # place in STORAGE_NAMES
    int width           # bytes of a value in the column
    int selector        # index, or -1 for a signal that is always present
    bint ones_are_null  # J1939: all bits set means not available
    int64_t scale_int
    int64_t offset_int
    double scale
    double offset


cdef struct Selector:
    int parent          # index of the multiplexer signal
    int outer           # the selector of the multiplexer itself, an earlier one, or -1
    int first_range
    int last_range      # one behind


cdef struct Field:
    # The word shifted left by `up`, then right by `spare`, is the raw value.
    int up
    int spare
    bint is_signed
    uint64_t scale      # of whole numbers, modulo 2**64
    uint64_t add
    double factor       # of floating ones
    double offset


cdef struct Frames:
    # of one message, one behind the other
    const int64_t* times
    const uint64_t* words           # first eight bytes of each payload
    const uint32_t* offsets         # place of the payload in data
    const uint8_t* lengths
    const uint8_t* data


@cython.final
cdef class Columns:
    """Growing columns of one stream: time and one column per signal, decoded as frames are appended.

    `specs` has a row (first_bit, length, big, signed, float_bits, storage, selector, ones_are_null, scale_int, offset_int) per signal
    and `scaling` (scale, offset); `selectors` a row (parent, outer, first range, last range) with the outer one before the inner;
    `ranges` (low, high) as uint64.
    """

    cdef Spec* specs
    cdef Selector* selectors
    cdef uint64_t* ranges           # low, high, low, high, ...
    cdef uint8_t* present           # selector_count rows of CHUNK
    cdef void** pointers            # start of each column
    cdef uint8_t** mask_pointers    # NULL while the column has no null
    cdef int64_t* time_pointer
    cdef int count, selector_count
    cdef int mask_below             # frames shorter than this need a mask that is not there yet
    cdef bint has_big
    cdef readonly Py_ssize_t size, capacity
    cdef readonly Py_ssize_t row_bytes
    cdef Py_ssize_t room            # bytes that may stay reserved
    cdef object arena               # uint8: the time column, then one column behind the other
    cdef list masks

    def __cinit__(self, const int64_t[:, ::1] specs, const double[:, ::1] scaling, const int32_t[:, ::1] selectors,
                  const uint64_t[:, ::1] ranges):
        cdef Py_ssize_t i
        self.count = <int>specs.shape[0]
        self.selector_count = <int>selectors.shape[0]
        if specs.shape[1] != 10 or scaling.shape[1] != 2 or scaling.shape[0] != self.count or selectors.shape[1] != 4 or ranges.shape[1] != 2:
            raise ValueError("malformed signal table")
        self.specs = <Spec*>calloc(self.count + 1, sizeof(Spec))
        self.selectors = <Selector*>calloc(self.selector_count + 1, sizeof(Selector))
        self.ranges = <uint64_t*>calloc(2 * ranges.shape[0] + 1, sizeof(uint64_t))
        self.present = <uint8_t*>malloc(self.selector_count * CHUNK + 1)
        self.pointers = <void**>calloc(self.count + 1, sizeof(void*))
        self.mask_pointers = <uint8_t**>calloc(self.count + 1, sizeof(void*))
        if NULL in (self.specs, self.selectors, self.ranges, self.present, self.pointers, self.mask_pointers):
            raise MemoryError()
        for i in range(self.count):
            self._read_spec(i, specs, scaling)
        for i in range(ranges.shape[0]):
            self.ranges[2 * i] = ranges[i, 0]
            self.ranges[2 * i + 1] = ranges[i, 1]
        for i in range(self.selector_count):
            self._read_selector(i, selectors, ranges.shape[0])
        self.masks = [None] * self.count
        self.mask_below = EVERY_LENGTH
        self.row_bytes = 8
        for i in range(self.count):
            self.row_bytes += self.specs[i].width
            self.has_big |= self.specs[i].big

    cdef int _read_spec(self, Py_ssize_t i, const int64_t[:, ::1] specs, const double[:, ::1] scaling) except -1:
        cdef Spec* s = &self.specs[i]
        if not (1 <= specs[i, 1] <= 64 and 0 <= specs[i, 0] <= 512 - specs[i, 1] and 0 <= specs[i, 5] <= STORE_F64
                and -1 <= specs[i, 6] < self.selector_count and (specs[i, 4] == 0 or specs[i, 4] == specs[i, 1])
                and specs[i, 4] in (0, 16, 32, 64)):
            raise ValueError("malformed signal")
        s.first_bit, s.length = <int>specs[i, 0], <int>specs[i, 1]
        s.big, s.is_signed, s.float_bits, s.storage = specs[i, 2] != 0, specs[i, 3] != 0, <int>specs[i, 4], <int>specs[i, 5]
        s.selector, s.ones_are_null = <int>specs[i, 6], specs[i, 7] != 0
        s.scale_int, s.offset_int = specs[i, 8], specs[i, 9]
        s.scale, s.offset = scaling[i, 0], scaling[i, 1]
        s.width = 1 << s.storage // 2 if s.storage < STORE_F64 else 8
        s.end_byte = (s.first_bit + s.length + 7) // 8
        return 0

    cdef int _read_selector(self, Py_ssize_t i, const int32_t[:, ::1] selectors, Py_ssize_t ranges) except -1:
        cdef Selector* s = &self.selectors[i]
        s.parent, s.outer, s.first_range, s.last_range = selectors[i, 0], selectors[i, 1], selectors[i, 2], selectors[i, 3]
        if not (0 <= s.parent < self.count and -1 <= s.outer < i and 0 <= s.first_range <= s.last_range <= ranges):
            raise ValueError("malformed selector")
        return 0

    def __dealloc__(self):
        free(self.specs)
        free(self.selectors)
        free(self.ranges)
        free(self.present)
        free(self.pointers)
        free(self.mask_pointers)

    cdef int _resize(self, Py_ssize_t capacity) except -1:
        """Room for that many rows; existing rows are kept."""
        cdef Py_ssize_t i
        cdef uint8_t* start
        cdef int width
        capacity = (capacity + 15) & ~<Py_ssize_t>15    # so that every column begins aligned
        arena = _arena(capacity * self.row_bytes)
        start = <uint8_t*>_address(arena)
        if self.size:
            memcpy(start, self.time_pointer, self.size * 8)
        self.time_pointer = <int64_t*>start
        start += capacity * 8
        for i in range(self.count):
            width = self.specs[i].width
            if self.size:
                memcpy(start, self.pointers[i], self.size * width)
            self.pointers[i] = start
            start += capacity * width
            if self.masks[i] is not None:
                self.masks[i] = _grown(self.masks[i], np.uint8, capacity, self.size)
                self.mask_pointers[i] = <uint8_t*>_address(self.masks[i])
        self.arena = arena
        self.capacity = capacity
        return 0

    cdef int _add_masks(self, int shortest) except -1:
        """A mask for every signal that these frames may lack; rows before them are all valid."""
        cdef Spec* s
        self.mask_below = 0
        for i in range(self.count):
            s = &self.specs[i]
            if self.mask_pointers[i] != NULL:
                continue
            if s.end_byte > shortest or s.selector >= 0 or s.ones_are_null:
                self.masks[i] = np.empty(self.capacity, np.uint8)
                self.mask_pointers[i] = <uint8_t*>_address(self.masks[i])
                memset(self.mask_pointers[i], 1, self.size)
            else:
                self.mask_below = max(self.mask_below, s.end_byte)
        return 0

    cdef int _append(self, const Frames* frames, Py_ssize_t n, Py_ssize_t room) except -1:
        """Decodes n frames of a block that has been checked; `room` is how many bytes may be reserved for frames to come."""
        cdef Py_ssize_t done = 0
        self.room = room
        if self.size + n > self.capacity:
            early = min((self.size + n) * EARLY_GROWTH, room // self.row_bytes)
            self._resize(max(self.size + n, self.capacity * GROWTH, early, 64))
        memcpy(self.time_pointer + self.size, frames.times, n * 8)
        with nogil:
            while done < n:
                done += self._chunk(frames, done, min(n - done, CHUNK))
        return 0

    cdef Py_ssize_t _chunk(self, const Frames* frames, Py_ssize_t at, Py_ssize_t n) except -1 nogil:
        cdef uint64_t big[CHUNK]
        cdef uint64_t raw[CHUNK]
        cdef const uint64_t* little = frames.words + at
        cdef const uint32_t* offset = frames.offsets + at
        cdef const uint8_t* stored = frames.lengths + at
        cdef Py_ssize_t k
        cdef int i
        cdef uint8_t shortest = 255
        for k in range(n):
            shortest = min(shortest, stored[k])
        if self.has_big:
            for k in range(n):
                big[k] = bswap64(little[k])
        if shortest < self.mask_below:
            with gil:
                self._add_masks(shortest)
        for i in range(self.selector_count):
            self._select(i, n, little, big, raw, frames.data, offset, stored)
        for i in range(self.count):
            self._signal(i, n, little, big, raw, frames.data, offset, stored, shortest)
        self.size += n
        return n

    cdef void _signal(self, int i, Py_ssize_t n, const uint64_t* little, const uint64_t* big, uint64_t* raw, const uint8_t* data,
                      const uint32_t* offset, const uint8_t* stored, uint8_t shortest) noexcept nogil:
        """Physical values of one signal into its column; rows that lack it get 0."""
        cdef Spec* s = &self.specs[i]
        cdef uint8_t* valid = self.mask_pointers[i]
        cdef uint8_t* out = <uint8_t*>self.pointers[i] + self.size * s.width
        cdef const uint64_t* words = big if s.big else little
        cdef Field field
        cdef Py_ssize_t k
        field.spare = 64 - s.length
        field.is_signed = s.is_signed
        field.scale, field.add = <uint64_t>s.scale_int, <uint64_t>s.offset_int
        field.factor, field.offset = s.scale, s.offset
        if s.float_bits or s.ones_are_null or s.first_bit + s.length > 64:
            extract(s, n, little, big, data, offset, stored, raw)
            words = raw         # the field as a word of its own, which may be sign-extended already
            field.up = field.spare
        else:
            field.up = s.first_bit if s.big else field.spare - s.first_bit
        if s.float_bits:
            for k in range(n):
                (<double*>out)[k] = real(raw[k], s.float_bits)
            if s.scale != 1 or s.offset != 0:
                for k in range(n):
                    (<double*>out)[k] = (<double*>out)[k] * field.factor + field.offset
        elif s.storage == STORE_F64:
            put_real(words, n, &field, <double*>out)
        elif s.width == 1:
            put_whole(words, n, &field, out)
        elif s.width == 2:
            put_whole(words, n, &field, <uint16_t*>out)
        elif s.width == 4:
            put_whole(words, n, &field, <uint32_t*>out)
        else:
            put_whole(words, n, &field, <uint64_t*>out)
        if valid == NULL or self._mask(i, n, raw, stored, shortest):
            return
        valid += self.size
        if s.width == 1:
            clear(valid, n, out)
        elif s.width == 2:
            clear(valid, n, <uint16_t*>out)
        elif s.width == 4:
            clear(valid, n, <uint32_t*>out)
        else:
            clear(valid, n, <uint64_t*>out)

    cdef void _select(self, int i, Py_ssize_t n, const uint64_t* little, const uint64_t* big, uint64_t* raw, const uint8_t* data,
                      const uint32_t* offset, const uint8_t* stored) noexcept nogil:
        """Which frames a multiplexed signal is in: the multiplexer is there itself and has one of the values."""
        cdef Selector* s = &self.selectors[i]
        cdef Spec* parent = &self.specs[s.parent]
        cdef uint8_t* present = self.present + <Py_ssize_t>i * CHUNK
        cdef const uint8_t* outer = self.present + <Py_ssize_t>s.outer * CHUNK
        cdef uint64_t low, high
        cdef uint8_t needed = <uint8_t>parent.end_byte
        cdef Py_ssize_t k
        cdef int r
        extract(parent, n, little, big, data, offset, stored, raw)
        memset(present, 0, n)
        for r in range(s.first_range, s.last_range):
            low, high = self.ranges[2 * r], self.ranges[2 * r + 1]
            for k in range(n):
                present[k] |= raw[k] - low <= high - low
        for k in range(n):
            present[k] &= stored[k] >= needed
        if s.outer >= 0:
            for k in range(n):
                present[k] &= outer[k]

    cdef bint _mask(self, int i, Py_ssize_t n, const uint64_t* raw, const uint8_t* stored, uint8_t shortest) noexcept nogil:
        """Marks the frames that have the signal; whether all do. `raw` counts only where all ones mean null."""
        cdef Spec* s = &self.specs[i]
        cdef uint8_t* valid = self.mask_pointers[i] + self.size
        cdef const uint8_t* present = self.present + <Py_ssize_t>s.selector * CHUNK
        cdef uint64_t ones = (~<uint64_t>0) >> (64 - s.length)
        cdef Py_ssize_t k
        cdef uint8_t needed = <uint8_t>s.end_byte, every = 1
        if shortest >= needed:
            memset(valid, 1, n)
        else:
            for k in range(n):
                valid[k] = stored[k] >= needed
        if s.selector >= 0:
            for k in range(n):
                valid[k] &= present[k]
        if s.ones_are_null:
            for k in range(n):
                valid[k] &= raw[k] != ones
        for k in range(n):
            every &= valid[k]
        return every

    def views(self, Py_ssize_t n):
        """The first n rows: (time, [column], [mask of 0 and 1, or None where nothing is null]); valid until the next call."""
        if not 0 <= n <= self.size:
            raise ValueError("more rows than there are")
        if self.capacity == 0:
            self._resize(64)
        cdef Py_ssize_t at = self.capacity * 8
        columns = []
        for i in range(self.count):
            width = self.specs[i].width
            columns.append(self.arena[at : at + n * width].view(STORAGE_NAMES[self.specs[i].storage]))
            at += self.capacity * width
        return self.arena[: n * 8].view(np.int64), columns, [None if mask is None else mask[:n] for mask in self.masks]

    def drop(self, Py_ssize_t n):
        """Forgets the first n rows; much room that is no longer needed is given back."""
        if not 0 <= n <= self.size:
            raise ValueError("more rows than there are")
        cdef Py_ssize_t rest = self.size - n
        cdef int width
        if rest:
            memmove(self.time_pointer, self.time_pointer + n, rest * 8)
            for i in range(self.count):
                width = self.specs[i].width
                memmove(self.pointers[i], <uint8_t*>self.pointers[i] + n * width, rest * width)
                if self.mask_pointers[i] != NULL:
                    memmove(self.mask_pointers[i], self.mask_pointers[i] + n, rest)
        self.size = rest
        if self.capacity > 1024 and rest < self.capacity // 4 and self.capacity * self.row_bytes > self.room:
            self._resize(2 * rest + 64)

    def release(self):
        """Gives the memory back; only when all rows have been dropped."""
        if self.size:
            raise ValueError("rows left")
        self.arena = None
        self.masks = [None] * self.count
        memset(self.mask_pointers, 0, self.count * sizeof(void*))
        self.capacity = 0


def append_groups(list tables not None, const int64_t[::1] starts, const int64_t[::1] times, const uint64_t[::1] words,
                  const uint32_t[::1] offsets, const uint8_t[::1] lengths, const uint8_t[::1] data, Py_ssize_t room=0):
    """Decodes a block as `Grouper.sort` leaves it: frames `starts[g]` to `starts[g + 1]` go to `tables[g]`; returns every g that has some.

    A table may reserve `room` bytes for frames to come. Raises ValueError before anything is decoded when the groups are out of range;
    that payloads lie in `data` has been seen when they were sorted.
    """
    cdef Py_ssize_t groups = len(tables), g, n
    cdef Frames frames
    if groups == 0:
        return []
    if starts.shape[0] <= groups or starts[0] < 0:
        raise ValueError("frames out of range")
    for g in range(groups):
        if starts[g] > starts[g + 1]:
            raise ValueError("frames out of range")
    n = starts[groups]
    if not (times.shape[0] >= n and words.shape[0] >= n and offsets.shape[0] >= n and lengths.shape[0] >= n):
        raise ValueError("frames out of range")
    frames.data = &data[0]
    grown = []
    for g in range(groups):
        n = starts[g + 1] - starts[g]
        if n:
            frames.times, frames.words = &times[starts[g]], &words[starts[g]]
            frames.offsets, frames.lengths = &offsets[starts[g]], &lengths[starts[g]]
            (<Columns?>tables[g])._append(&frames, n, room)
            grown.append(g)
    return grown


def _arena(Py_ssize_t size):
    """Memory for columns; much of it does not come from the heap, where it would leave holes that nothing else fits."""
    return np.empty(size, np.uint8) if size < OWN_PAGES else np.frombuffer(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def _grown(array, dtype, Py_ssize_t capacity, Py_ssize_t size):
    grown = np.empty(capacity, dtype)
    if array is not None and size:
        grown[:size] = array[:size]
    return grown


cdef void* _address(array) except NULL:
    cdef uint8_t[::1] view = array.view(np.uint8)
    return &view[0]


cdef void put_whole(const uint64_t* words, Py_ssize_t n, const Field* field, whole_t* out) noexcept nogil:
    """Whole numbers, computed modulo the width of the column: `Signal.storage` has shown that every result fits."""
    cdef int up = field.up, spare = field.spare
    cdef whole_t scale = <whole_t>field.scale, add = <whole_t>field.add
    cdef Py_ssize_t k
    if scale == 1 and add == 0:
        if field.is_signed and spare >= 32:
            for k in range(n):
                out[k] = <whole_t>(<int32_t>(words[k] << up >> 32) >> (spare - 32))
        elif field.is_signed:
            for k in range(n):
                out[k] = <whole_t>(<int64_t>(words[k] << up) >> spare)
        else:
            for k in range(n):
                out[k] = <whole_t>(words[k] << up >> spare)
    elif field.is_signed:
        for k in range(n):
            out[k] = <whole_t>(<int64_t>(words[k] << up) >> spare) * scale + add
    else:
        for k in range(n):
            out[k] = <whole_t>(words[k] << up >> spare) * scale + add


cdef void put_real(const uint64_t* words, Py_ssize_t n, const Field* field, double* out) noexcept nogil:
    """`raw * factor + offset`, rounded after each step as Python does."""
    cdef int up = field.up, spare = field.spare
    cdef double factor = field.factor, offset = field.offset    # copies: a store through out might change what field points to
    cdef Py_ssize_t k
    # Processors turn several numbers of 32 bits into floats at once, longer ones one by one.
    if field.is_signed and spare >= 32:
        for k in range(n):
            out[k] = <double>(<int32_t>(words[k] << up >> 32) >> (spare - 32)) * factor + offset
    elif field.is_signed:
        for k in range(n):
            out[k] = <double>(<int64_t>(words[k] << up) >> spare) * factor + offset
    elif spare > 32:
        for k in range(n):
            out[k] = <double>(<int32_t>(words[k] << up >> spare)) * factor + offset
    elif spare:
        for k in range(n):
            out[k] = <double>(<int64_t>(words[k] << up >> spare)) * factor + offset
    else:
        for k in range(n):
            out[k] = <double>words[k] * factor + offset


cdef void clear(const uint8_t* valid, Py_ssize_t n, whole_t* out) noexcept nogil:
    """0 where the mask is 0."""
    cdef Py_ssize_t k
    for k in range(n):
        out[k] &= <whole_t>0 - <whole_t>valid[k]


cdef void extract(const Spec* s, Py_ssize_t n, const uint64_t* little, const uint64_t* big, const uint8_t* data,
                  const uint32_t* offset, const uint8_t* stored, uint64_t* raw) noexcept nogil:
    """Raw values of one signal, sign-extended when it is signed; what lies beyond a short frame is arbitrary."""
    cdef const uint64_t* words = big if s.big else little
    cdef int spare = 64 - s.length
    cdef int up
    cdef Py_ssize_t k
    if s.first_bit + s.length <= 64:
        up = s.first_bit if s.big else spare - s.first_bit
        if s.is_signed:
            for k in range(n):
                raw[k] = <uint64_t>(<int64_t>(words[k] << up) >> spare)
        else:
            for k in range(n):
                raw[k] = words[k] << up >> spare
        return
    for k in range(n):
        raw[k] = far(s, data + offset[k]) if stored[k] >= s.end_byte else 0
    if s.is_signed:
        for k in range(n):
            raw[k] = <uint64_t>(<int64_t>(raw[k] << spare) >> spare)


cdef inline uint64_t far(const Spec* s, const uint8_t* payload) noexcept nogil:
    """A signal that ends behind the eighth byte, taken byte by byte: at most nine of them. The frame is long enough."""
    cdef int first = s.first_bit >> 3, last = s.end_byte - 1, at
    cdef int skipped = s.first_bit & 7              # bits of the first byte before the signal
    cdef int behind = s.end_byte * 8 - s.first_bit - s.length   # bits of the last byte behind it
    cdef uint64_t value = 0
    if s.big:
        value = payload[first] & (<uint64_t>0xFF >> skipped)
        if first == last:
            return value >> behind
        for at in range(first + 1, last):
            value = value << 8 | payload[at]
        return value << (8 - behind) | payload[last] >> behind
    value = payload[last] & (<uint64_t>0xFF >> behind)
    if first == last:
        return value >> skipped
    for at in range(last - 1, first, -1):
        value = value << 8 | payload[at]
    return value << (8 - skipped) | payload[first] >> skipped


cdef inline double real(uint64_t raw, int bits) noexcept nogil:
    """An IEEE 754 number of 16, 32 or 64 bits."""
    cdef double wide
    cdef float single
    cdef uint32_t word
    if bits == 64:
        memcpy(&wide, &raw, 8)
        return wide
    if bits == 16:
        return half(raw)
    word = <uint32_t>raw
    memcpy(&single, &word, 4)
    return single


cdef double half(uint64_t raw) noexcept nogil:
    """IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 of fraction."""
    cdef uint64_t sign = raw >> 15 & 1, exponent = raw >> 10 & 31, fraction = raw & 1023, wide
    cdef double value
    if exponent == 0:
        value = <double>fraction * 5.9604644775390625e-08   # subnormal: fraction * 2**-24
        return -value if sign else value
    if exponent == 31:
        wide = sign << 63 | <uint64_t>0x7FF << 52 | fraction << 42
    else:
        wide = sign << 63 | (exponent + 1008) << 52 | fraction << 42
    memcpy(&value, &wide, 8)
    return value
