# Typed columns that a nogil loop fills: frames of one block, and the tables that turn channel names and numbers into indices.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset


cdef enum:
    MAX_PAYLOAD = 64
    MAX_NAME = 64


@cython.final
cdef class FrameColumns:
    cdef int64_t* t_ns
    cdef uint16_t* channel
    cdef uint32_t* arbitration_id
    cdef uint8_t* flags
    cdef uint8_t* length
    cdef uint32_t* data_offset
    cdef uint8_t* data
    cdef readonly Py_ssize_t count  # frames in the block
    cdef readonly Py_ssize_t capacity
    cdef readonly int64_t total  # frames taken and in the block
    cdef uint32_t used  # bytes of data
    cdef tuple arrays  # the numpy owners of the pointers above
    cdef list spare  # owners that were handed out before; free again when nobody else holds them

    cdef tuple owners(self)
    cdef int allocate(self) except -1

    cdef inline bint is_full(self) noexcept nogil:
        return self.count >= self.capacity

    cdef inline uint8_t* push(self, int64_t t_ns, uint16_t channel, uint32_t arbitration_id, uint8_t flags, uint8_t length) noexcept nogil:
        """A frame's zeroed payload slot, a multiple of 8 bytes long. The caller has asked is_full and keeps length <= MAX_PAYLOAD."""
        cdef Py_ssize_t i = self.count
        cdef uint32_t slot = (<uint32_t>length + 7) & ~<uint32_t>7
        if slot == 0:
            slot = 8
        cdef uint8_t* payload = self.data + self.used
        memset(payload, 0, slot)
        self.t_ns[i] = t_ns
        self.channel[i] = channel
        self.arbitration_id[i] = arbitration_id
        self.flags[i] = flags
        self.length[i] = length
        self.data_offset[i] = self.used
        self.used += slot
        self.count = i + 1
        self.total += 1
        return payload


cdef struct NameEntry:
    uint64_t hash
    uint32_t start
    uint32_t length


@cython.final
cdef class NameTable:
    cdef readonly int count
    cdef int most
    cdef int last
    cdef uint32_t slot_mask
    cdef int32_t* slots
    cdef NameEntry* entries
    cdef uint8_t* text
    cdef uint32_t text_used

    cdef int index_of(self, const uint8_t* at, Py_ssize_t length) noexcept nogil


@cython.final
cdef class NumberTable:
    cdef readonly int count
    cdef int most
    cdef int32_t* index
    cdef uint16_t* numbers

    cdef inline int index_of(self, uint16_t number) noexcept nogil:
        """The index of the number, in order of first sight; -1 when there are too many."""
        cdef int found = self.index[number]
        if found >= 0 or self.count >= self.most:
            return found
        self.index[number] = self.count
        self.numbers[self.count] = number
        self.count += 1
        return self.count - 1
