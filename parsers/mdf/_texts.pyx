"""Which of the raw texts of a column are the same, without a Python object per row."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

import numpy as np

cdef enum:
    FEW = 64


cdef struct Entry:
    uint64_t hash
    int64_t start
    int64_t length


@cython.final
cdef class RawTexts:
    """Numbers raw texts in order of first sight, at most `most` of them and `room` bytes of them altogether.

    `unit` is the bytes of a character, 1 or 2: a text ends at the first character that is zero. Texts are cut to `longest` bytes.
    """

    cdef readonly int count
    cdef readonly int64_t used  # bytes of all texts
    cdef int most
    cdef int room  # texts that fit into the tables
    cdef int unit
    cdef int64_t longest
    cdef uint64_t slot_mask
    cdef int32_t* slots
    cdef Entry* entries
    cdef uint8_t* text
    cdef int64_t text_room

    def __cinit__(self, int unit, int most, int64_t longest):
        if unit not in (1, 2) or not 0 < most <= 1 << 20 or longest <= 0:
            raise ValueError("characters have 1 or 2 bytes")
        self.unit, self.most, self.longest = unit, most, longest
        self.widen(min(most, FEW))

    cdef int widen(self, int room) except -1:
        """Tables for that many texts; most columns have few."""
        cdef uint64_t size = 16, slot
        cdef int i
        while size < 2 * <uint64_t>room:
            size *= 2
        cdef int32_t* slots = <int32_t*>malloc(size * sizeof(int32_t))
        cdef Entry* entries = <Entry*>realloc(self.entries, <size_t>room * sizeof(Entry))
        if entries != NULL:
            self.entries = entries
        if slots == NULL or entries == NULL:
            free(slots)
            raise MemoryError
        memset(slots, 0xFF, size * sizeof(int32_t))
        free(self.slots)
        self.slots, self.room, self.slot_mask = slots, room, size - 1
        for i in range(self.count):
            slot = entries[i].hash & self.slot_mask
            while slots[slot] >= 0:
                slot = (slot + 1) & self.slot_mask
            slots[slot] = i
        return 0

    def __dealloc__(self):
        free(self.slots)
        free(self.entries)
        free(self.text)

    cdef int64_t length_of(self, const uint8_t* at, int64_t length) noexcept nogil:
        """Bytes before the first zero character."""
        cdef const void* end
        cdef int64_t i = 0
        if length > self.longest:
            length = self.longest
        if self.unit == 1:
            end = memchr(at, 0, <size_t>length) if length else NULL
            return length if end == NULL else <const uint8_t*>end - at
        while i + 1 < length and (at[i] or at[i + 1]):
            i += 2
        return i

    cdef int find(self, const uint8_t* at, int64_t length, uint64_t* hashed, uint64_t* slot) noexcept nogil:
        """The number of the text, or -1; then `slot` is the place for it."""
        cdef uint64_t value = <uint64_t>length * 0x9E3779B97F4A7C15ULL
        cdef uint64_t word
        cdef int64_t i = 0
        cdef Entry* entry
        while i < length:
            word = 0
            memcpy(&word, at + i, <size_t>min(<int64_t>8, length - i))
            value = (value ^ word) * 0xFF51AFD7ED558CCDULL
            value ^= value >> 32
            i += 8
        hashed[0] = value
        slot[0] = value & self.slot_mask
        while self.slots[slot[0]] >= 0:
            entry = &self.entries[self.slots[slot[0]]]
            if entry.hash == value and entry.length == length and memcmp(self.text + entry.start, at, <size_t>length) == 0:
                return self.slots[slot[0]]
            slot[0] = (slot[0] + 1) & self.slot_mask
        return -1

    cdef int add(self, const uint8_t* at, int64_t length, uint64_t hashed, uint64_t slot, int64_t budget) noexcept nogil:
        """The number of a new text; -1 when there is no room for it."""
        cdef int64_t room
        cdef uint8_t* text
        if self.count >= self.room or length > budget - self.used:
            return -1
        if self.used + length > self.text_room:
            room = max(2 * self.text_room, self.used + length + 1024)
            text = <uint8_t*>realloc(self.text, <size_t>room)
            if text == NULL:
                return -1
            self.text = text
            self.text_room = room
        if length:
            memcpy(self.text + self.used, at, <size_t>length)
        self.entries[self.count] = Entry(hashed, self.used, length)
        self.used += length
        self.slots[slot] = self.count
        self.count += 1
        return self.count - 1

    def numbers(self, const uint8_t[::1] data not None, const int64_t[::1] starts not None, const int64_t[::1] lengths not None,
                int32_t[::1] out not None, int64_t budget):
        """Writes the number of each text to `out`; -1 for those that find no room. A negative length is no text and gives -1.

        `budget` is what `used` may come to.
        """
        cdef Py_ssize_t i, n = starts.shape[0]
        cdef int64_t size = data.shape[0], length, last_length = -1
        cdef const uint8_t* at
        cdef const uint8_t* last = NULL
        cdef uint64_t hashed, slot
        cdef int number = -1
        if lengths.shape[0] != n or out.shape[0] != n:
            raise ValueError("starts, lengths and numbers differ in number")
        for i in range(n):
            if lengths[i] >= 0 and not 0 <= starts[i] <= size - lengths[i]:
                raise ValueError("a text outside of its data")
        if size == 0:
            data = EMPTY
        with nogil:
            for i in range(n):
                if lengths[i] < 0:
                    out[i] = -1
                    continue
                at = &data[0] + starts[i]
                length = self.length_of(at, lengths[i])
                # Most columns of texts change seldom.
                if length != last_length or memcmp(at, last, <size_t>length) != 0:
                    number = self.find(at, length, &hashed, &slot)
                    if number < 0 and self.count == self.room and self.room < self.most:
                        with gil:
                            self.widen(min(4 * self.room, self.most))
                        self.find(at, length, &hashed, &slot)
                    if number < 0:
                        number = self.add(at, length, hashed, slot, budget)
                    last, last_length = at, length
                out[i] = number

    def text_at(self, int number):
        """The bytes of a text."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        cdef Entry* entry = &self.entries[number]
        return self.text[entry.start : entry.start + entry.length] if entry.length else b""


cdef const uint8_t[::1] EMPTY = b"\0"
