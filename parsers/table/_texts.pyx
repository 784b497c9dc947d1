"""The different texts of one column of a table, numbered in order of first sight."""

cimport cython
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    MOST_KEY = 4000  # bytes of a text that are told apart


@cython.final
cdef class Texts:
    """At most `most` texts; of all columns together at most as many bytes as the budget has that code_of is given."""

    def __cinit__(self, int most):
        self.most = most
        self.slot_count = 64
        self.slots = <int32_t*>malloc(self.slot_count * sizeof(int32_t))
        if self.slots == NULL:
            raise MemoryError
        memset(self.slots, 0xFF, self.slot_count * sizeof(int32_t))

    def __dealloc__(self):
        free(self.keys)
        free(self.slots)
        free(self.text)

    cdef bint widen(self) noexcept nogil:
        """Twice as many slots."""
        cdef uint32_t count = self.slot_count * 2
        cdef int32_t* slots = <int32_t*>malloc(count * sizeof(int32_t))
        cdef uint32_t slot
        cdef int i
        if slots == NULL:
            return False
        memset(slots, 0xFF, count * sizeof(int32_t))
        for i in range(self.count):
            slot = <uint32_t>(self.keys[i].hash ^ self.keys[i].hash >> 32) & (count - 1)
            while slots[slot] >= 0:
                slot = (slot + 1) & (count - 1)
            slots[slot] = i
        free(self.slots)
        self.slots = slots
        self.slot_count = count
        return True

    cdef bint reserve(self, uint32_t length, int64_t* budget) noexcept nogil:
        """Room for one more key of that many bytes, within the budget of all columns."""
        cdef void* grown
        cdef int room
        cdef uint32_t text_room
        if self.count >= self.most or budget[0] < length:
            return False
        if self.count == self.room:
            room = max(16, 2 * self.room)
            grown = realloc(self.keys, <size_t>room * sizeof(Key))
            if grown == NULL:
                return False
            self.keys = <Key*>grown
            self.room = room
        if self.used + length > self.text_room:
            text_room = max(2 * self.text_room, self.used + length + 256)
            grown = realloc(self.text, text_room)
            if grown == NULL:
                return False
            self.text = <uint8_t*>grown
            self.text_room = text_room
        if <uint32_t>self.count * 2 >= self.slot_count and not self.widen():
            return False
        budget[0] -= length
        return True

    cdef int32_t code_of(self, const uint8_t* at, uint32_t length, int64_t* budget) noexcept nogil:
        """The number of the text; -1 when there is no room for a further one."""
        cdef uint64_t hashed = 1469598103934665603ULL
        cdef uint32_t slot, i
        cdef Key* key
        if length > MOST_KEY:
            length = MOST_KEY
        for i in range(length):
            hashed = (hashed ^ at[i]) * 1099511628211ULL
        slot = <uint32_t>(hashed ^ hashed >> 32) & (self.slot_count - 1)
        while self.slots[slot] >= 0:
            key = &self.keys[self.slots[slot]]
            if key.hash == hashed and key.length == length and memcmp(self.text + key.start, at, length) == 0:
                return self.slots[slot]
            slot = (slot + 1) & (self.slot_count - 1)
        if not self.reserve(length, budget):
            self.dropped += 1
            return -1
        slot = <uint32_t>(hashed ^ hashed >> 32) & (self.slot_count - 1)
        while self.slots[slot] >= 0:
            slot = (slot + 1) & (self.slot_count - 1)
        key = &self.keys[self.count]
        key.hash = hashed
        key.start = self.used
        key.length = length
        memcpy(self.text + self.used, at, length)
        self.used += length
        self.slots[slot] = self.count
        self.count += 1
        return self.count - 1

    def since(self, int first):
        """The texts from number `first` on, as bytes."""
        return [self.text[self.keys[i].start : self.keys[i].start + self.keys[i].length] for i in range(max(0, first), self.count)]
