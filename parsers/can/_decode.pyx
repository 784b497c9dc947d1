# distutils: extra_compile_args = -ffp-contract=off
"""Frames to signal columns: ids to slots by hash, frames to groups by counting sort, one loop per signal, all without the GIL."""

# A multiply and an add must round twice, as Python does, or the last digit differs on processors with fused multiply-add.

cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

import numpy as np

cdef extern from *:
    """
    #define argus_bswap64(x) __builtin_bswap64(x)
    """
    uint64_t bswap64 "argus_bswap64"(uint64_t) noexcept nogil

cdef enum:
    FLAG_EXTENDED = 1
    FLAG_FD = 2
    FLAG_REMOTE = 4
    FLAG_ERROR = 8
    FLAG_TX = 64
    CHUNK = 2048            # rows decoded at a time: the payload words of a chunk stay in the first-level cache
    MAX_SLOTS = 65536       # distinct (channel, id) pairs that are told apart
    MAX_JUMPS = 100
    NO_SLOT = -1

cdef enum:
    STORE_I32 = 0
    STORE_I64 = 1
    STORE_U64 = 2
    STORE_F64 = 3

STORAGE_NAMES = ("int32", "int64", "uint64", "float64")
WIDTHS = (4, 8, 8, 8)

cdef int64_t BACKWARD_NS = 1_000_000                # a smaller step back is the logger's jitter between buses
cdef int64_t JUMP_BACK_NS = 1_000_000_000
cdef int64_t JUMP_AHEAD_NS = 3_600_000_000_000


cdef struct Slot:
    uint64_t key            # channel << 32 | extended << 31 | arbitration id
    int64_t count           # frames that are not error frames
    int64_t data_count      # of them the ones that are not remote either
    int64_t first_ns        # earliest
    int64_t last_ns         # latest
    uint8_t length_min
    uint8_t length_max


@cython.final
cdef class Grouper:
    """Knows every (channel, id) of a recording and sorts the frames of a block by group."""

    cdef Slot* slots
    cdef int32_t* table             # slot + 1, 0 = free; open addressing, at most half full
    cdef uint64_t table_mask
    cdef int32_t* slot_of           # per frame of the current block, NO_SLOT for frames that carry no signals
    cdef Py_ssize_t slot_of_size
    cdef int64_t* per_channel
    cdef public Py_ssize_t slot_count
    cdef public int64_t total, errors, remotes, fd, tx, overflow, backward_count, jump_count
    cdef public int64_t first_ns, last_ns
    cdef int64_t previous_ns
    cdef int64_t jumps[MAX_JUMPS][3]

    def __cinit__(self):
        self.slots = <Slot*>malloc(1024 * sizeof(Slot))
        self.table = <int32_t*>calloc(4096, sizeof(int32_t))
        self.per_channel = <int64_t*>calloc(65536, sizeof(int64_t))
        if self.slots == NULL or self.table == NULL or self.per_channel == NULL:
            raise MemoryError()
        self.table_mask = 4095

    def __dealloc__(self):
        free(self.slots)
        free(self.table)
        free(self.slot_of)
        free(self.per_channel)

    cdef int _reserve(self, Py_ssize_t frames) except -1:
        cdef void* grown
        if frames > self.slot_of_size:
            grown = realloc(self.slot_of, frames * sizeof(int32_t))
            if grown == NULL:
                raise MemoryError()
            self.slot_of = <int32_t*>grown
            self.slot_of_size = frames
        return 0

    cdef int _grow(self) except -1:
        """Twice the room for slots, and the hash table written anew."""
        cdef Py_ssize_t room = (self.table_mask + 1) // 2, k
        cdef uint64_t mask = self.table_mask * 2 + 1, at
        cdef void* slots = realloc(self.slots, room * sizeof(Slot))
        if slots == NULL:
            raise MemoryError()
        self.slots = <Slot*>slots
        cdef int32_t* table = <int32_t*>calloc(mask + 1, sizeof(int32_t))
        if table == NULL:
            raise MemoryError()
        for k in range(self.slot_count):
            at = hash_key(self.slots[k].key) & mask
            while table[at]:
                at = (at + 1) & mask
            table[at] = <int32_t>(k + 1)
        free(self.table)
        self.table = table
        self.table_mask = mask
        return 0

    def assign(
        self,
        const int64_t[::1] t_ns,
        const uint16_t[::1] channel,
        const uint32_t[::1] arbitration_id,
        const uint8_t[::1] flags,
        const uint8_t[::1] length,
    ):
        """Counts the frames of a block and gives each its slot; returns how many slots there are now."""
        cdef Py_ssize_t n = t_ns.shape[0], done = 0
        if not (channel.shape[0] == arbitration_id.shape[0] == flags.shape[0] == length.shape[0] == n):
            raise ValueError("columns of a block differ in length")
        if n == 0:
            return self.slot_count
        self._reserve(n)
        if self.total == 0:
            self.previous_ns = self.first_ns = self.last_ns = t_ns[0]
        while True:
            with nogil:
                done = self._assign(n, done, &t_ns[0], &channel[0], &arbitration_id[0], &flags[0], &length[0])
            if done == n:
                return self.slot_count
            self._grow()

    cdef Py_ssize_t _assign(self, Py_ssize_t n, Py_ssize_t i, const int64_t* t_ns, const uint16_t* channel,
                            const uint32_t* arbitration_id, const uint8_t* flags, const uint8_t* length) noexcept nogil:
        """Goes on at frame i; stops early, before the frame is counted, when the table has to grow."""
        cdef uint64_t key, at
        cdef int32_t found
        cdef Slot* slot
        cdef int64_t t
        cdef uint8_t flag
        while i < n:
            t = t_ns[i]
            flag = flags[i]
            found = 0
            if not flag & FLAG_ERROR:
                key = <uint64_t>channel[i] << 32 | <uint64_t>(flag & FLAG_EXTENDED) << 31 | arbitration_id[i]
                at = hash_key(key) & self.table_mask
                while self.table[at] and self.slots[self.table[at] - 1].key != key:
                    at = (at + 1) & self.table_mask
                found = self.table[at]
                if not found and self.slot_count < MAX_SLOTS:
                    if <uint64_t>self.slot_count * 4 > self.table_mask:
                        return i
                    slot = &self.slots[self.slot_count]
                    memset(slot, 0, sizeof(Slot))
                    slot.key = key
                    slot.first_ns = slot.last_ns = t
                    slot.length_min = slot.length_max = length[i]
                    self.slot_count += 1
                    found = self.table[at] = <int32_t>self.slot_count
            self._count(i, t, flag, channel[i])
            self.slot_of[i] = NO_SLOT
            if found:
                slot = &self.slots[found - 1]
                slot.count += 1
                if t < slot.first_ns:
                    slot.first_ns = t
                if t > slot.last_ns:
                    slot.last_ns = t
                if length[i] < slot.length_min:
                    slot.length_min = length[i]
                if length[i] > slot.length_max:
                    slot.length_max = length[i]
                if not flag & FLAG_REMOTE:
                    slot.data_count += 1
                    self.slot_of[i] = found - 1
            elif not flag & FLAG_ERROR:
                self.overflow += 1
            i += 1
        return n

    cdef inline void _count(self, Py_ssize_t i, int64_t t, uint8_t flag, uint16_t channel) noexcept nogil:
        cdef int64_t before = self.previous_ns
        # Compared without a difference: times of a damaged file may be too far apart for one.
        if t < before:
            if t < saturated(before, -BACKWARD_NS):
                self.backward_count += 1
            if t < saturated(before, -JUMP_BACK_NS):
                self._jump(before, t)
        elif t > saturated(before, JUMP_AHEAD_NS):
            self._jump(before, t)
        if t < self.first_ns:
            self.first_ns = t
        if t > self.last_ns:
            self.last_ns = t
        self.previous_ns = t
        self.per_channel[channel] += 1
        self.total += 1
        self.errors += (flag & FLAG_ERROR) != 0
        self.remotes += (flag & FLAG_REMOTE) != 0
        self.fd += (flag & FLAG_FD) != 0
        self.tx += (flag & FLAG_TX) != 0

    cdef void _jump(self, int64_t before, int64_t t) noexcept nogil:
        if self.jump_count < MAX_JUMPS:
            self.jumps[self.jump_count][0] = self.total
            self.jumps[self.jump_count][1] = before
            self.jumps[self.jump_count][2] = t
        self.jump_count += 1

    def group(self, Py_ssize_t n, const int32_t[::1] group_of_slot, Py_ssize_t groups, int32_t[::1] order, int64_t[::1] starts):
        """Stable counting sort of the last block's n frames; `order[starts[g]:starts[g + 1]]` are the frames of group g.

        `group_of_slot` gives each slot's group or a negative number for frames to leave out.
        """
        cdef Py_ssize_t i, g
        cdef int32_t slot
        if n > self.slot_of_size or order.shape[0] < n or starts.shape[0] < groups + 2 or group_of_slot.shape[0] < self.slot_count:
            raise ValueError("buffers too small")
        for i in range(self.slot_count):
            if group_of_slot[i] >= groups:
                raise ValueError("group out of range")
        with nogil:
            for g in range(groups + 2):
                starts[g] = 0
            for i in range(n):
                slot = self.slot_of[i]
                if slot >= 0 and group_of_slot[slot] >= 0:
                    starts[group_of_slot[slot] + 2] += 1
            for g in range(2, groups + 2):
                starts[g] += starts[g - 1]
            for i in range(n):
                slot = self.slot_of[i]
                if slot >= 0 and group_of_slot[slot] >= 0:
                    g = group_of_slot[slot] + 1
                    order[starts[g]] = <int32_t>i
                    starts[g] += 1

    def key(self, Py_ssize_t slot):
        """(channel, extended, arbitration id) of a slot."""
        if not 0 <= slot < self.slot_count:
            raise IndexError("no such slot")
        cdef uint64_t key = self.slots[slot].key
        return int(key >> 32), bool(key >> 31 & 1), int(key & 0x7FFFFFFF)

    def statistics(self, Py_ssize_t slot):
        """(frames, data frames, shortest, longest, earliest, latest) of a slot."""
        if not 0 <= slot < self.slot_count:
            raise IndexError("no such slot")
        cdef Slot* s = &self.slots[slot]
        return s.count, s.data_count, s.length_min, s.length_max, s.first_ns, s.last_ns

    def channel_counts(self):
        """Frames of all kinds by channel index."""
        return {i: self.per_channel[i] for i in range(65536) if self.per_channel[i]}

    def jump_list(self):
        """The first (frame, from, to) of the clock's jumps."""
        return [(self.jumps[i][0], self.jumps[i][1], self.jumps[i][2]) for i in range(min(self.jump_count, MAX_JUMPS))]


cdef inline int64_t saturated(int64_t value, int64_t step) noexcept nogil:
    """value + step, held at the ends of the range instead of wrapping."""
    if step > 0 and value > INT64_MAX - step:
        return INT64_MAX
    if step < 0 and value < INT64_MIN - step:
        return INT64_MIN
    return value + step


cdef inline uint64_t hash_key(uint64_t key) noexcept nogil:
    key *= 0x9E3779B97F4A7C15ULL
    return key >> 29


cdef struct Spec:
    int first_bit       # along the wire (big endian) or by significance (little endian)
    int length          # 1 to 64 bits
    int end_byte        # bytes a frame needs
    bint big
    bint is_signed
    int float_bits      # 0, 16, 32 or 64
    int storage         # STORE_*
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
    cdef readonly Py_ssize_t size, capacity
    cdef readonly Py_ssize_t row_bytes
    cdef object time_array
    cdef list arrays, masks

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
        self.arrays = [None] * self.count
        self.masks = [None] * self.count
        self.row_bytes = 8 + sum([WIDTHS[self.specs[i].storage] for i in range(self.count)])

    cdef int _read_spec(self, Py_ssize_t i, const int64_t[:, ::1] specs, const double[:, ::1] scaling) except -1:
        cdef Spec* s = &self.specs[i]
        if not (1 <= specs[i, 1] <= 64 and 0 <= specs[i, 0] <= 512 - specs[i, 1] and 0 <= specs[i, 5] <= 3
                and -1 <= specs[i, 6] < self.selector_count and (specs[i, 4] == 0 or specs[i, 4] == specs[i, 1])
                and specs[i, 4] in (0, 16, 32, 64)):
            raise ValueError("malformed signal")
        s.first_bit, s.length = <int>specs[i, 0], <int>specs[i, 1]
        s.big, s.is_signed, s.float_bits, s.storage = specs[i, 2] != 0, specs[i, 3] != 0, <int>specs[i, 4], <int>specs[i, 5]
        s.selector, s.ones_are_null = <int>specs[i, 6], specs[i, 7] != 0
        s.scale_int, s.offset_int = specs[i, 8], specs[i, 9]
        s.scale, s.offset = scaling[i, 0], scaling[i, 1]
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
        self.time_array = _grown(self.time_array, np.int64, capacity, self.size)
        self.time_pointer = <int64_t*>_address(self.time_array)
        for i in range(self.count):
            self.arrays[i] = _grown(self.arrays[i], STORAGE_NAMES[self.specs[i].storage], capacity, self.size)
            self.pointers[i] = _address(self.arrays[i])
            if self.masks[i] is not None:
                self.masks[i] = _grown(self.masks[i], np.uint8, capacity, self.size)
                self.mask_pointers[i] = <uint8_t*>_address(self.masks[i])
        self.capacity = capacity
        return 0

    cdef int _add_masks(self, int shortest) except -1:
        """A mask for every signal that these frames may lack; rows before them are all valid."""
        cdef Spec* s
        for i in range(self.count):
            s = &self.specs[i]
            if self.mask_pointers[i] == NULL and (s.end_byte > shortest or s.selector >= 0 or s.ones_are_null):
                self.masks[i] = np.empty(self.capacity, np.uint8)
                self.mask_pointers[i] = <uint8_t*>_address(self.masks[i])
                memset(self.mask_pointers[i], 1, self.size)
        return 0

    def append(self, const int64_t[::1] t_ns, int64_t shift, const uint8_t[::1] data, const uint32_t[::1] data_offset,
               const uint8_t[::1] length, const int32_t[::1] order, Py_ssize_t start, Py_ssize_t stop):
        """Decodes the frames `order[start:stop]` of a block; `shift` (ns) is added to their times."""
        cdef Py_ssize_t n = stop - start, k, frame, frames = t_ns.shape[0]
        cdef int shortest = 255
        if n <= 0:
            return
        if start < 0 or stop > order.shape[0] or data_offset.shape[0] != frames or length.shape[0] != frames or data.shape[0] < 8:
            raise ValueError("frames out of range")
        for k in range(start, stop):
            frame = order[k]
            if not 0 <= frame < frames:
                raise ValueError("frame out of range")
            if data_offset[frame] + 8 > data.shape[0] or data_offset[frame] + length[frame] > data.shape[0]:
                raise ValueError("payload out of range")
            shortest = min(shortest, length[frame])
        if self.size + n > self.capacity:
            self._resize(max(self.size + n, self.capacity * 2, 64))
        self._add_masks(shortest)
        with nogil:
            k = start
            while k < stop:
                n = min(stop - k, CHUNK)
                self._chunk(n, &order[k], &t_ns[0], shift, &data[0], &data_offset[0], &length[0])
                self.size += n
                k += n

    cdef void _chunk(self, Py_ssize_t n, const int32_t* order, const int64_t* t_ns, int64_t shift, const uint8_t* data,
                     const uint32_t* data_offset, const uint8_t* length) noexcept nogil:
        cdef uint64_t little[CHUNK]
        cdef uint64_t big[CHUNK]
        cdef uint64_t raw[CHUNK]
        cdef uint32_t offset[CHUNK]
        cdef uint8_t stored[CHUNK]
        cdef Py_ssize_t k
        cdef int i, frame
        cdef int64_t* time = self.time_pointer + self.size
        for k in range(n):
            frame = order[k]
            time[k] = <int64_t>(<uint64_t>t_ns[frame] + <uint64_t>shift)
            offset[k] = data_offset[frame]
            stored[k] = length[frame]
            memcpy(&little[k], data + offset[k], 8)
            big[k] = bswap64(little[k])
        for i in range(self.selector_count):
            self._select(i, n, little, big, raw, data, offset, stored)
        for i in range(self.count):
            extract(&self.specs[i], n, little, big, data, offset, stored, raw)
            if self.mask_pointers[i] != NULL:
                self._mask(i, n, raw, stored)
            self._store(i, n, raw)

    cdef void _select(self, int i, Py_ssize_t n, const uint64_t* little, const uint64_t* big, uint64_t* raw, const uint8_t* data,
                      const uint32_t* offset, const uint8_t* stored) noexcept nogil:
        """Which frames a multiplexed signal is in: the multiplexer is there itself and has one of the values."""
        cdef Selector* s = &self.selectors[i]
        cdef Spec* parent = &self.specs[s.parent]
        cdef uint8_t* present = self.present + <Py_ssize_t>i * CHUNK
        cdef const uint8_t* outer = self.present + <Py_ssize_t>s.outer * CHUNK
        cdef uint64_t low, high
        cdef Py_ssize_t k
        cdef int r
        extract(parent, n, little, big, data, offset, stored, raw)
        memset(present, 0, n)
        for r in range(s.first_range, s.last_range):
            low, high = self.ranges[2 * r], self.ranges[2 * r + 1]
            for k in range(n):
                present[k] |= raw[k] - low <= high - low
        for k in range(n):
            present[k] &= stored[k] >= parent.end_byte
        if s.outer >= 0:
            for k in range(n):
                present[k] &= outer[k]

    cdef void _mask(self, int i, Py_ssize_t n, uint64_t* raw, const uint8_t* stored) noexcept nogil:
        """Marks the frames that lack the signal and clears their raw value."""
        cdef Spec* s = &self.specs[i]
        cdef uint8_t* valid = self.mask_pointers[i] + self.size
        cdef const uint8_t* present = self.present + <Py_ssize_t>s.selector * CHUNK
        cdef uint64_t ones = (~<uint64_t>0) >> (64 - s.length)
        cdef Py_ssize_t k
        for k in range(n):
            valid[k] = stored[k] >= s.end_byte
        if s.selector >= 0:
            for k in range(n):
                valid[k] &= present[k]
        if s.ones_are_null:
            for k in range(n):
                valid[k] &= raw[k] != ones

    cdef void _store(self, int i, Py_ssize_t n, uint64_t* raw) noexcept nogil:
        """Physical values of one signal into its column; rows that lack it get 0."""
        cdef Spec* s = &self.specs[i]
        cdef uint8_t* valid = self.mask_pointers[i]
        cdef int32_t* i32 = <int32_t*>self.pointers[i] + self.size
        cdef uint64_t* u64 = <uint64_t*>self.pointers[i] + self.size
        cdef double* f64 = <double*>self.pointers[i] + self.size
        cdef uint64_t scale = <uint64_t>s.scale_int, add = <uint64_t>s.offset_int
        cdef Py_ssize_t k
        # Whole numbers are computed modulo 2**64: `Signal.storage` has shown that every result fits.
        if s.storage == STORE_I32:
            for k in range(n):
                i32[k] = <int32_t>(<uint32_t>raw[k] * <uint32_t>scale + <uint32_t>add)
        elif s.storage != STORE_F64:
            for k in range(n):
                u64[k] = raw[k] * scale + add
        elif s.float_bits:
            for k in range(n):
                f64[k] = real(raw[k], s.float_bits)
            if s.scale != 1 or s.offset != 0:
                for k in range(n):
                    f64[k] = f64[k] * s.scale + s.offset
        elif s.is_signed or s.length < 64:
            for k in range(n):
                f64[k] = <double>(<int64_t>raw[k]) * s.scale + s.offset
        else:
            for k in range(n):
                f64[k] = <double>raw[k] * s.scale + s.offset
        if valid != NULL:
            valid += self.size
            if s.storage == STORE_I32:
                for k in range(n):
                    i32[k] = i32[k] if valid[k] else 0
            else:
                for k in range(n):
                    u64[k] = u64[k] if valid[k] else 0

    def views(self, Py_ssize_t n):
        """The first n rows: (time, [column], [mask of 0 and 1, or None where nothing is null]); valid until the next call."""
        if not 0 <= n <= self.size:
            raise ValueError("more rows than there are")
        if self.capacity == 0:
            self._resize(64)
        return (
            self.time_array[:n],
            [array[:n] for array in self.arrays],
            [None if mask is None else mask[:n] for mask in self.masks],
        )

    def drop(self, Py_ssize_t n):
        """Forgets the first n rows; much room that is no longer needed is given back."""
        if not 0 <= n <= self.size:
            raise ValueError("more rows than there are")
        cdef Py_ssize_t rest = self.size - n
        for array in [self.time_array, *self.arrays, *self.masks]:
            if array is not None and rest:
                array[:rest] = array[n : self.size].copy()
        self.size = rest
        if self.capacity > 1024 and rest < self.capacity // 4:
            self._resize(2 * rest + 64)

    def release(self):
        """Gives the memory back; only when all rows have been dropped."""
        if self.size:
            raise ValueError("rows left")
        self.time_array = None
        self.arrays = [None] * self.count
        self.masks = [None] * self.count
        memset(self.mask_pointers, 0, self.count * sizeof(void*))
        self.capacity = 0


def _grown(array, dtype, Py_ssize_t capacity, Py_ssize_t size):
    grown = np.empty(capacity, dtype)
    if array is not None and size:
        grown[:size] = array[:size]
    return grown


cdef void* _address(array) except NULL:
    cdef uint8_t[::1] view = array.view(np.uint8)
    return &view[0]


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
