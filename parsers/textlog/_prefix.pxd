# What stands before the message of a log line: time, level and source.

from libc.stdint cimport uint8_t

from parsers.textlog._stamp cimport Stamp, Text


cdef struct Head:
    Stamp stamp
    uint8_t level
    bint known  # a time, a level or a priority was found
    const uint8_t* source
    Py_ssize_t source_size


cdef int level_of(const uint8_t* at, Py_ssize_t length) noexcept nogil
cdef uint8_t severity_level(int severity) noexcept nogil
cdef void read_head(Text* text, Head* head) noexcept nogil
