"""Typed columns that a nogil loop fills and Python takes as numpy arrays, without an object for each frame."""

cimport cython
import numpy as np
from cpython.object cimport PyObject
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from parsers.can.frames import FrameBlock

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(tuple, Py_ssize_t)  # without a reference of its own
    Py_ssize_t Py_REFCNT(PyObject*)

SPARES = 3  # blocks that a reader and its consumer hold at a time, and one
PADDING = 8  # so that 8 bytes can be read at every data offset


@cython.final
cdef class FrameColumns:
    """The frames of the block that is being filled; `take` hands them over and begins the next block."""

    def __cinit__(self, Py_ssize_t capacity):
        if not 0 < capacity <= 1 << 20:
            raise ValueError("a block holds 1 to 1,048,576 frames")
        self.capacity = capacity
        self.total = 0
        self.spare = []
        self.allocate()

    cdef tuple owners(self):
        """Arrays for one block: those of an earlier block that nobody holds any more (fresh memory costs more than filling it), or new."""
        for arrays in self.spare:
            if all_free(arrays):
                return arrays
        # Untouched pages of the payload column cost no memory, so it can be as long as 64-byte frames would need.
        kinds = (np.int64, np.uint16, np.uint32, np.uint8, np.uint8, np.uint32)
        arrays = (*(np.empty(self.capacity, kind) for kind in kinds), np.empty(self.capacity * MAX_PAYLOAD + PADDING, np.uint8))
        if len(self.spare) < SPARES:
            self.spare.append(arrays)
        return arrays

    cdef int allocate(self) except -1:
        self.arrays = self.owners()
        cdef int64_t[::1] t_ns = self.arrays[0]
        cdef uint16_t[::1] channel = self.arrays[1]
        cdef uint32_t[::1] arbitration_id = self.arrays[2]
        cdef uint8_t[::1] flags = self.arrays[3]
        cdef uint8_t[::1] length = self.arrays[4]
        cdef uint32_t[::1] data_offset = self.arrays[5]
        cdef uint8_t[::1] data = self.arrays[6]
        self.t_ns = &t_ns[0]
        self.channel = &channel[0]
        self.arbitration_id = &arbitration_id[0]
        self.flags = &flags[0]
        self.length = &length[0]
        self.data_offset = &data_offset[0]
        self.data = &data[0]
        self.count = 0
        self.used = 0
        return 0

    def take(self):
        """The FrameBlock filled so far."""
        cdef Py_ssize_t n = self.count
        cdef Py_ssize_t used = self.used + PADDING
        memset(self.data + self.used, 0, PADDING)
        arrays = [a[:n] for a in self.arrays[:6]]
        arrays.append(self.arrays[6][:used])
        if 2 * n < self.capacity:  # a small block must not keep the memory of a full one
            arrays = [a.copy() for a in arrays]
        block = FrameBlock(*arrays)
        self.arrays = None
        del arrays
        self.allocate()
        return block


cdef bint all_free(tuple arrays):
    """Whether nothing but the tuple holds any of the arrays; every view of one holds it."""
    for i in range(len(arrays)):
        if Py_REFCNT(PyTuple_GET_ITEM(arrays, i)) > 1:
            return False
    return True


@cython.final
cdef class NameTable:
    """Channel names in order of first sight, looked up by their bytes without the GIL; hashed, so many names cost no more than few."""

    def __cinit__(self, int most):
        if not 0 < most <= 65535:
            raise ValueError("a channel index has 16 bits")
        cdef uint32_t slots = 64
        while slots < <uint32_t>most * 2:
            slots *= 2
        self.most = most
        self.count = 0
        self.last = -1
        self.slot_mask = slots - 1
        self.text_used = 0
        self.slots = <int32_t*>malloc(slots * sizeof(int32_t))
        self.entries = <NameEntry*>malloc(most * sizeof(NameEntry))
        self.text = <uint8_t*>malloc(<size_t>most * MAX_NAME)
        if self.slots == NULL or self.entries == NULL or self.text == NULL:
            raise MemoryError
        memset(self.slots, 0xFF, slots * sizeof(int32_t))

    def __dealloc__(self):
        free(self.slots)
        free(self.entries)
        free(self.text)

    cdef int index_of(self, const uint8_t* at, Py_ssize_t length) noexcept nogil:
        """The index of the name; -1 when it is longer than MAX_NAME or there are too many."""
        cdef NameEntry* entry
        cdef uint64_t hashed = 1469598103934665603ULL
        cdef uint32_t slot
        cdef Py_ssize_t i
        if self.last >= 0:
            entry = &self.entries[self.last]
            if entry.length == <uint32_t>length and memcmp(self.text + entry.start, at, <size_t>length) == 0:
                return self.last
        if length > MAX_NAME:
            return -1
        for i in range(length):
            hashed = (hashed ^ at[i]) * 1099511628211ULL
        slot = <uint32_t>(hashed ^ (hashed >> 32)) & self.slot_mask
        while self.slots[slot] >= 0:
            entry = &self.entries[self.slots[slot]]
            if entry.hash == hashed and entry.length == <uint32_t>length and memcmp(self.text + entry.start, at, <size_t>length) == 0:
                self.last = self.slots[slot]
                return self.last
            slot = (slot + 1) & self.slot_mask
        if self.count >= self.most:
            return -1
        entry = &self.entries[self.count]
        entry.hash = hashed
        entry.start = self.text_used
        entry.length = <uint32_t>length
        memcpy(self.text + self.text_used, at, <size_t>length)
        self.text_used += <uint32_t>length
        self.slots[slot] = self.count
        self.last = self.count
        self.count += 1
        return self.last

    def find(self, bytes name not None):
        """The index of the name, added when it is new; -1 when there is no room."""
        return self.index_of(name, len(name))

    def names(self):
        """All names as text, by index."""
        return [
            self.text[self.entries[i].start : self.entries[i].start + self.entries[i].length].decode("utf-8", "replace")
            for i in range(self.count)
        ]


@cython.final
cdef class NumberTable:
    """Channel numbers of 16 bits in order of first sight."""

    def __cinit__(self, int most):
        if not 0 < most <= 65535:
            raise ValueError("a channel index has 16 bits")
        self.most = most
        self.count = 0
        self.index = <int32_t*>malloc(65536 * sizeof(int32_t))
        self.numbers = <uint16_t*>calloc(<size_t>most, sizeof(uint16_t))
        if self.index == NULL or self.numbers == NULL:
            raise MemoryError
        memset(self.index, 0xFF, 65536 * sizeof(int32_t))

    def __dealloc__(self):
        free(self.index)
        free(self.numbers)

    def find(self, uint16_t number):
        """The index of the number, added when it is new; -1 when there is no room."""
        return self.index_of(number)

    def names(self):
        """All numbers as text, by index."""
        return [str(self.numbers[i]) for i in range(self.count)]
