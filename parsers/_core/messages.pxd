# Log messages as typed columns that a nogil loop fills: texts become valid UTF-8 without control characters on the way in.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from parsers._core.columns cimport NameTable


cdef enum:
    # MessageBlock.level, see parsers/blocks.py
    LEVEL_NONE = 0
    LEVEL_TRACE = 1
    LEVEL_DEBUG = 2
    LEVEL_INFO = 3
    LEVEL_WARNING = 4
    LEVEL_ERROR = 5
    LEVEL_FATAL = 6


cdef inline int64_t no_time() noexcept nogil:
    """blocks.NO_TIME"""
    return <int64_t>(<uint64_t>1 << 63)


cdef Py_ssize_t clean_text(uint8_t* out, Py_ssize_t room, const uint8_t* at, Py_ssize_t length, bint latin1, bint* cut, int64_t* replaced) noexcept nogil


@cython.final
cdef class MessageColumns:
    cdef int64_t* t_ns
    cdef uint8_t* level
    cdef int32_t* source
    cdef int32_t* text_offset
    cdef uint8_t* text
    cdef readonly Py_ssize_t count  # messages in the block
    cdef readonly Py_ssize_t capacity
    cdef readonly int64_t total  # messages taken and in the block
    cdef readonly int64_t cut_count  # texts that were longer than allowed
    cdef readonly int64_t replaced  # bytes or sequences that were no UTF-8
    cdef readonly NameTable names
    cdef bint latin1  # bytes above 0x7F are ISO 8859-1, not UTF-8
    cdef bint cut  # something of the text being written did not fit
    cdef bint sources_full
    cdef Py_ssize_t used  # bytes of the finished texts
    cdef Py_ssize_t at  # end of the text that is being written
    cdef Py_ssize_t stop  # where that text must end
    cdef Py_ssize_t full_at  # bytes of text from which on the block is full
    cdef Py_ssize_t max_text
    cdef uint8_t scratch[80]
    cdef tuple arrays  # the numpy owners of the pointers above

    cdef int allocate(self) except -1

    cdef inline bint is_full(self) noexcept nogil:
        return self.count >= self.capacity or self.used >= self.full_at

    cdef inline bint has_text(self) noexcept nogil:
        """Whether a text has been begun."""
        return self.at > self.used

    cdef inline void put_byte(self, uint8_t ch) noexcept nogil:
        """A printable ASCII character."""
        if self.at < self.stop:
            self.text[self.at] = ch
            self.at += 1
        else:
            self.cut = True

    cdef inline void put_newline(self) noexcept nogil:
        """Between the lines of one message."""
        self.put_byte(0x0A)

    cdef inline void put(self, const uint8_t* at, Py_ssize_t length) noexcept nogil:
        """Text of the file: what is no UTF-8 becomes U+FFFD, a control character `\\x1b`; tab and line feed stay."""
        self.at += clean_text(self.text + self.at, self.stop - self.at, at, length, self.latin1, &self.cut, &self.replaced)

    cdef void put_plain(self, const char* text) noexcept nogil
    cdef void put_hex(self, const uint8_t* at, Py_ssize_t length) noexcept nogil
    cdef void put_unsigned(self, uint64_t value) noexcept nogil
    cdef void put_signed(self, int64_t value) noexcept nogil
    cdef void put_short(self, int64_t digits, int places) noexcept nogil
    cdef void put_double(self, double value) noexcept nogil
    cdef void put_single(self, float value) noexcept nogil
    cdef void end(self, int64_t t_ns, uint8_t level, int32_t source) noexcept nogil
    cdef void drop(self) noexcept nogil
    cdef int32_t source_of(self, const uint8_t* at, Py_ssize_t length) noexcept nogil

    cdef inline void push(self, int64_t t_ns, uint8_t level, int32_t source, const uint8_t* at, Py_ssize_t length) noexcept nogil:
        """A whole message. The caller has asked is_full; `source` is what source_of gave."""
        self.put(at, length)
        self.end(t_ns, level, source)
