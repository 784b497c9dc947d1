# The different texts of one column of a table, looked up without the GIL.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef struct Key:
    uint64_t hash
    uint32_t start
    uint32_t length


@cython.final
cdef class Texts:
    cdef Key* keys
    cdef int32_t* slots
    cdef uint32_t slot_count
    cdef int room
    cdef readonly int count
    cdef int most
    cdef uint8_t* text
    cdef uint32_t used
    cdef uint32_t text_room
    cdef readonly int64_t dropped  # cells whose text came when there was no room

    cdef bint widen(self) noexcept nogil
    cdef bint reserve(self, uint32_t length, int64_t* budget) noexcept nogil
    cdef int32_t code_of(self, const uint8_t* at, uint32_t length, int64_t* budget) noexcept nogil
