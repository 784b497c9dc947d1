"""Sorts the frames of a block by message: (channel, id) to slot by hash, frames to groups by counting sort, without the GIL."""

cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

cdef enum:
    FLAG_EXTENDED = 1       # as in parsers.can.frames
    FLAG_FD = 2
    FLAG_REMOTE = 4
    FLAG_ERROR = 8
    FLAG_TX = 64
    MAX_SLOTS = 65536       # distinct (channel, id) pairs that are told apart
    MAX_JUMPS = 100
    NO_SLOT = -1

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
        cdef Py_ssize_t start = i
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
                        self._count(start, i, t_ns, channel, flags)
                        return i
                    slot = &self.slots[self.slot_count]
                    memset(slot, 0, sizeof(Slot))
                    slot.key = key
                    slot.first_ns = slot.last_ns = t
                    slot.length_min = slot.length_max = length[i]
                    self.slot_count += 1
                    found = self.table[at] = <int32_t>self.slot_count
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
        self._count(start, n, t_ns, channel, flags)
        return n

    cdef void _count(self, Py_ssize_t start, Py_ssize_t stop, const int64_t* t_ns, const uint16_t* channel,
                     const uint8_t* flags) noexcept nogil:
        """Counts these frames by kind and by channel, and watches the clock."""
        cdef int64_t t, before = self.previous_ns, first = self.first_ns, last = self.last_ns
        cdef int64_t errors = 0, remotes = 0, fd = 0, tx = 0, total = self.total
        cdef Py_ssize_t i, run = start
        for i in range(start, stop):
            t = t_ns[i]
            # Compared without a difference: times of a damaged file may be too far apart for one.
            if t < before:
                if t < saturated(before, -BACKWARD_NS):
                    self.backward_count += 1
                if t < saturated(before, -JUMP_BACK_NS):
                    self._jump(total + i - start, before, t)
            elif t > saturated(before, JUMP_AHEAD_NS):
                self._jump(total + i - start, before, t)
            first = min(first, t)
            last = max(last, t)
            before = t
            if channel[i] != channel[run]:
                self.per_channel[channel[run]] += i - run
                run = i
        if stop > start:
            self.per_channel[channel[run]] += stop - run
        for i in range(start, stop):
            errors += (flags[i] & FLAG_ERROR) != 0
            remotes += (flags[i] & FLAG_REMOTE) != 0
            fd += (flags[i] & FLAG_FD) != 0
            tx += (flags[i] & FLAG_TX) != 0
        self.previous_ns, self.first_ns, self.last_ns = before, first, last
        self.total += stop - start
        self.errors += errors
        self.remotes += remotes
        self.fd += fd
        self.tx += tx

    cdef void _jump(self, int64_t frame, int64_t before, int64_t t) noexcept nogil:
        if self.jump_count < MAX_JUMPS:
            self.jumps[self.jump_count][0] = frame
            self.jumps[self.jump_count][1] = before
            self.jumps[self.jump_count][2] = t
        self.jump_count += 1

    def sort(
        self,
        const int64_t[::1] t_ns,
        int64_t shift,
        const uint8_t[::1] data,
        const uint32_t[::1] data_offset,
        const uint8_t[::1] length,
        const int32_t[::1] group_of_slot,
        Py_ssize_t groups,
        int64_t[::1] starts,
        int64_t[::1] times,
        uint64_t[::1] words,
        uint32_t[::1] offsets,
        uint8_t[::1] lengths,
    ):
        """Stable counting sort of the last block, whose columns are given again: frames `starts[g]` to `starts[g + 1]` are group g.

        `group_of_slot` gives each slot's group or a negative number for frames to leave out. Of each frame the time plus `shift`, the
        first eight bytes of the payload, its place in `data` and its length are written. Raises ValueError before anything is written
        when a payload lies outside of `data`.
        """
        cdef Py_ssize_t n = t_ns.shape[0], i
        cdef uint64_t reach = 0
        if n > self.slot_of_size or data_offset.shape[0] != n or length.shape[0] != n:
            raise ValueError("columns of a block differ in length")
        if starts.shape[0] < groups + 2 or group_of_slot.shape[0] < self.slot_count:
            raise ValueError("buffers too small")
        if not (times.shape[0] >= n and words.shape[0] >= n and offsets.shape[0] >= n and lengths.shape[0] >= n):
            raise ValueError("buffers too small")
        for i in range(self.slot_count):
            if group_of_slot[i] >= groups:
                raise ValueError("group out of range")
        with nogil:
            for i in range(n):
                reach = max(reach, <uint64_t>data_offset[i] + max(length[i], <uint8_t>8))
        if reach > <uint64_t>data.shape[0]:
            raise ValueError("payload out of range")
        if n:
            with nogil:
                self._sort(n, &t_ns[0], shift, &data[0], &data_offset[0], &length[0], &group_of_slot[0], groups, &starts[0], &times[0],
                           &words[0], &offsets[0], &lengths[0])

    cdef void _sort(self, Py_ssize_t n, const int64_t* t_ns, int64_t shift, const uint8_t* data, const uint32_t* data_offset,
                    const uint8_t* length, const int32_t* group_of_slot, Py_ssize_t groups, int64_t* starts, int64_t* times,
                    uint64_t* words, uint32_t* offsets, uint8_t* lengths) noexcept nogil:
        cdef Py_ssize_t i, g
        cdef int64_t to
        cdef int32_t slot
        memset(starts, 0, (groups + 2) * sizeof(int64_t))
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
                to = starts[g]
                starts[g] = to + 1
                times[to] = <int64_t>(<uint64_t>t_ns[i] + <uint64_t>shift)
                memcpy(&words[to], data + data_offset[i], 8)
                offsets[to] = data_offset[i]
                lengths[to] = length[i]

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
