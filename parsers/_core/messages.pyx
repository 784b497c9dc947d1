"""Columns of log messages: text is made valid while it is copied, sources get numbers, Python takes whole blocks."""

cimport cython
import numpy as np
from libc.math cimport fabs, rint
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport memcpy, strlen

from parsers._core.columns cimport MAX_NAME
from parsers._core.cursor cimport ARGUS_POW10
from parsers.blocks import MessageBlock

cdef extern from "<stdlib.h>" nogil:
    float strtof(const char*, char**)

cdef enum:
    SLACK = 16  # eight bytes are stored at a time, and a number is written before its length is known

cdef extern from *:
    """
    static const char ARGUS_HEX_DIGITS[17] = "0123456789abcdef";
    """
    const char* ARGUS_HEX_DIGITS


cdef inline bint plain(uint64_t x) noexcept nogil:
    """Whether all eight bytes lie in 0x20..0x7E."""
    cdef uint64_t del_zero = x ^ <uint64_t>0x7F7F7F7F7F7F7F7F
    cdef uint64_t low = (x - <uint64_t>0x2020202020202020) & ~x
    cdef uint64_t deleted = (del_zero - <uint64_t>0x0101010101010101) & ~del_zero
    return ((x | low | deleted) & <uint64_t>0x8080808080808080) == 0


cdef inline int utf8_length(const uint8_t* at, Py_ssize_t left, bint* valid) noexcept nogil:
    """Bytes of the character at `at`, whose first byte is 0x80 or above; when it is not valid, those that one U+FFFD stands for."""
    cdef uint8_t first = at[0]
    cdef uint8_t low = 0x80, high = 0xBF
    cdef int wanted, i
    valid[0] = False
    if 0xC2 <= first <= 0xDF:
        wanted = 2
    elif 0xE0 <= first <= 0xEF:
        wanted = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:  # surrogates
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        wanted = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return 1
    for i in range(1, wanted):
        if i >= left or at[i] < low or at[i] > high:
            return i
        low = 0x80
        high = 0xBF
    valid[0] = True
    return wanted


cdef Py_ssize_t clean_text(uint8_t* out, Py_ssize_t room, const uint8_t* at, Py_ssize_t length, bint latin1, bint* cut, int64_t* replaced) noexcept nogil:
    """Copies text into at most `room` bytes (up to SLACK more are touched) and gives the bytes written; `cut` when it did not fit.

    What is no UTF-8 becomes U+FFFD, a control character `\\x1b`; tab and line feed stay, carriage returns become line feeds.
    """
    cdef uint64_t word
    cdef Py_ssize_t i = 0, n = 0
    cdef uint8_t ch
    cdef uint8_t piece[8]
    cdef int size, taken, k
    cdef bint valid
    while i < length:
        while length - i >= 8 and room - n >= 8:
            memcpy(&word, at + i, 8)
            if not plain(word):
                break
            memcpy(out + n, &word, 8)
            i += 8
            n += 8
        if i >= length:
            break
        ch = at[i]
        taken = 1
        size = 1
        piece[0] = ch
        if 0x20 <= ch < 0x7F or ch == 0x09 or ch == 0x0A:
            pass
        elif ch == 0x0D:
            if i + 1 < length and at[i + 1] == 0x0A:
                i += 1
                continue
            piece[0] = 0x0A
        elif ch >= 0x80 and latin1 and ch >= 0xA0:
            piece[0] = <uint8_t>(0xC0 | ch >> 6)
            piece[1] = <uint8_t>(0x80 | (ch & 0x3F))
            size = 2
        elif ch >= 0x80 and not latin1:
            taken = utf8_length(at + i, length - i, &valid)
            if not valid:
                piece[0] = 0xEF
                piece[1] = 0xBF
                piece[2] = 0xBD
                size = 3
                replaced[0] += 1
            elif ch == 0xC2 and at[i + 1] < 0xA0:  # control characters of ISO 8859
                ch = at[i + 1]
                size = 4
            else:
                size = taken
                for k in range(taken):
                    piece[k] = at[i + k]
        else:
            size = 4
        if size == 4 and taken < 4:
            piece[0] = 0x5C
            piece[1] = 0x78
            piece[2] = ARGUS_HEX_DIGITS[ch >> 4]
            piece[3] = ARGUS_HEX_DIGITS[ch & 15]
        if room - n < size:
            cut[0] = True
            break
        memcpy(out + n, piece, 4)
        n += size
        i += taken
    return n


@cython.final
cdef class MessageColumns:
    """The messages of the block that is being filled; `take` hands them over and begins the next block."""

    def __cinit__(self, Py_ssize_t capacity, Py_ssize_t block_bytes, Py_ssize_t max_text, int max_sources):
        if not 0 < capacity <= 1 << 20:
            raise ValueError("a block holds 1 to 1,048,576 messages")
        if not 0 < block_bytes <= 1 << 30 or not 0 < max_text <= 1 << 24:
            raise ValueError("a block holds up to 1 GiB of text, a text up to 16 MiB")
        self.capacity = capacity
        self.full_at = block_bytes
        self.max_text = max_text
        self.names = NameTable(max(1, min(max_sources, 65535) - 1))
        self.total = 0
        self.cut_count = 0
        self.replaced = 0
        self.latin1 = False
        self.cut = False
        self.sources_full = False
        self.allocate()

    cdef int allocate(self) except -1:
        # Untouched pages cost no memory, so there can be room for one text of the greatest length behind a block that is all but full.
        self.arrays = (
            np.empty(self.capacity, np.int64),
            np.empty(self.capacity, np.uint8),
            np.empty(self.capacity, np.int32),
            np.empty(self.capacity + 1, np.int32),
            np.empty(self.full_at + self.max_text + SLACK, np.uint8),
        )
        cdef int64_t[::1] t_ns = self.arrays[0]
        cdef uint8_t[::1] level = self.arrays[1]
        cdef int32_t[::1] source = self.arrays[2]
        cdef int32_t[::1] text_offset = self.arrays[3]
        cdef uint8_t[::1] text = self.arrays[4]
        self.t_ns = &t_ns[0]
        self.level = &level[0]
        self.source = &source[0]
        self.text_offset = &text_offset[0]
        self.text = &text[0]
        self.text_offset[0] = 0
        self.count = 0
        self.used = 0
        self.at = 0
        self.stop = self.max_text
        return 0

    def take(self):
        """The MessageBlock of the messages that are complete. A text that has been begun goes on in the next block."""
        cdef Py_ssize_t n = self.count
        cdef Py_ssize_t begun = self.at - self.used
        t_ns, level, source, text_offset, text = self.arrays
        block = [t_ns[:n], level[:n], source[:n], text_offset[: n + 1], text[: self.used]]
        if 2 * n < self.capacity:  # a small block must not keep the memory of a full one
            block[:4] = [column.copy() for column in block[:4]]
        if 2 * self.used < self.full_at:
            block[4] = block[4].copy()
        cdef uint8_t* rest = self.text + self.used
        self.allocate()
        memcpy(self.text, rest, <size_t>begun)  # `text` keeps the old buffer alive
        self.at = begun
        return MessageBlock(*block)

    def sources(self):
        """The names that `MessageBlock.source` indexes."""
        names = self.names.names()
        return [*names, "other"] if self.sources_full else names

    cdef int32_t source_of(self, const uint8_t* at, Py_ssize_t length) noexcept nogil:
        """The number of a source, added when it is new; names are cut to MAX_NAME bytes, and those beyond the limit are one."""
        cdef bint cut = False
        cdef int64_t replaced = 0
        cdef Py_ssize_t size = clean_text(self.scratch, MAX_NAME, at, length, self.latin1, &cut, &replaced)
        cdef int found = self.names.index_of(self.scratch, size)
        if found >= 0:
            return found
        self.sources_full = True
        return self.names.count

    cdef void put_plain(self, const char* text) noexcept nogil:
        """Text of our own: printable ASCII."""
        cdef Py_ssize_t length = <Py_ssize_t>strlen(text)
        if length > self.stop - self.at:
            length = self.stop - self.at
            self.cut = True
        memcpy(self.text + self.at, text, <size_t>length)
        self.at += length

    cdef void put_hex(self, const uint8_t* at, Py_ssize_t length) noexcept nogil:
        """Bytes as hex digits, without gaps."""
        cdef Py_ssize_t i
        cdef uint8_t* out = self.text + self.at
        if length > (self.stop - self.at) // 2:
            length = (self.stop - self.at) // 2
            self.cut = True
        for i in range(length):
            out[2 * i] = ARGUS_HEX_DIGITS[at[i] >> 4]
            out[2 * i + 1] = ARGUS_HEX_DIGITS[at[i] & 15]
        self.at += 2 * length

    cdef void put_unsigned(self, uint64_t value) noexcept nogil:
        """A decimal number."""
        cdef char digits[24]
        cdef int i = 23
        digits[i] = 0
        while True:
            i -= 1
            digits[i] = <char>(0x30 + value % 10)
            value //= 10
            if value == 0:
                break
        self.put_plain(&digits[i])

    cdef void put_signed(self, int64_t value) noexcept nogil:
        """A decimal number."""
        if value < 0:
            self.put_byte(0x2D)
            self.put_unsigned(<uint64_t>0 - <uint64_t>value)
        else:
            self.put_unsigned(<uint64_t>value)

    cdef void put_short(self, int64_t digits, int places) noexcept nogil:
        """digits / 10^places, with a point where there are places."""
        cdef uint64_t whole = <uint64_t>0 - <uint64_t>digits if digits < 0 else <uint64_t>digits
        cdef int i
        if digits < 0:
            self.put_byte(0x2D)
        self.put_unsigned(whole // <uint64_t>ARGUS_POW10[places])
        if places:
            self.put_byte(0x2E)
        for i in range(places - 1, -1, -1):
            self.put_byte(<uint8_t>(0x30 + whole // <uint64_t>ARGUS_POW10[i] % 10))

    cdef void put_double(self, double value) noexcept nogil:
        """The shortest decimal number that reads back as the value, up to 17 digits."""
        cdef char digits[40]
        cdef int places
        cdef double scaled
        if fabs(value) < 1e6 and value != 0:  # a quotient of such whole numbers is rounded as the text would be
            for places in range(8):
                scaled = rint(value * <double>ARGUS_POW10[places])
                if scaled / <double>ARGUS_POW10[places] == value:
                    self.put_short(<int64_t>scaled, places)
                    return
        for places in range(15, 18):
            snprintf(digits, sizeof(digits), "%.*g", places, value)
            if strtod(digits, NULL) == value:
                break
        self.put_plain(digits)

    cdef void put_single(self, float value) noexcept nogil:
        """The shortest decimal number that reads back as the value, up to 9 digits."""
        cdef char digits[40]
        cdef int places
        cdef double scaled
        if fabs(value) < 1e6 and value != 0:
            for places in range(8):
                scaled = rint(<double>value * <double>ARGUS_POW10[places])
                if <float>(scaled / <double>ARGUS_POW10[places]) == value:
                    if scaled == 0:
                        break
                    self.put_short(<int64_t>scaled, places)
                    return
        for places in range(6, 10):
            snprintf(digits, sizeof(digits), "%.*g", places, <double>value)
            if strtof(digits, NULL) == value:
                break
        self.put_plain(digits)

    cdef void end(self, int64_t t_ns, uint8_t level, int32_t source) noexcept nogil:
        """Completes the text that was put, without blanks at its end. The caller has asked is_full."""
        cdef Py_ssize_t i = self.count
        while self.at > self.used and (self.text[self.at - 1] == 0x20 or 0x09 <= self.text[self.at - 1] <= 0x0A):
            self.at -= 1
        self.t_ns[i] = t_ns
        self.level[i] = level
        self.source[i] = source
        self.text_offset[i + 1] = <int32_t>self.at
        self.used = self.at
        self.stop = self.at + self.max_text
        self.count = i + 1
        self.total += 1
        self.cut_count += self.cut
        self.cut = False

    cdef void drop(self) noexcept nogil:
        """Forgets the text that was put."""
        self.at = self.used
        self.cut = False


def texts_of(list texts not None, Py_ssize_t max_text=65536, bint latin1=False):
    """A MessageBlock of these texts (bytes), all of one source, and how many were cut and how many pieces replaced: for tests."""
    cdef MessageColumns columns = MessageColumns(max(1, len(texts)), 1 << 20, max_text, 16)
    columns.latin1 = latin1
    for text in texts:
        if columns.is_full():
            raise ValueError("too much text for one block")
        columns.push(no_time(), LEVEL_NONE, columns.source_of(<const uint8_t*>b"", 0), text, len(text))
    return columns.take(), columns.cut_count, columns.replaced


def numbers_of(list values not None):
    """How whole numbers and floats are written: for tests."""
    cdef MessageColumns columns = MessageColumns(max(1, len(values)), 1 << 20, 1000, 16)
    for value in values:
        if isinstance(value, float):
            columns.put_double(value)
            columns.put_byte(0x2F)
            columns.put_single(value)
        else:
            columns.put_signed(value)
        columns.end(no_time(), LEVEL_NONE, 0)
    block = columns.take()
    return [block.text_of(i) for i in range(len(block))]
