# Whether bytes are what a message of ULog would have as content: what reading trusts, and what it looks for behind damage.

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp


cdef enum:
    MOST_ELEMENTS = 65538
    SCAN_TEXT = 512  # characters looked at when a message is searched for byte by byte


cdef inline bint is_printable(uint8_t ch) noexcept nogil:
    return 0x20 <= ch <= 0x7E


cdef inline bint all_printable(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        if not is_printable(at[i]):
            return False
    return True


cdef inline bint is_text(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    """Whether there is no zero in it but at its end: the sizes and numbers of binary messages always have some."""
    cdef const uint8_t* zero
    cdef const uint8_t* end = at + length
    if length <= 0:
        return True
    zero = <const uint8_t*>memchr(at, 0, <size_t>length)
    if zero != NULL:
        while zero < end:
            if zero[0]:
                return False
            zero += 1
    return True


cdef inline Py_ssize_t type_size(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    """Bytes of one value of a basic type, by its name; 0 when it is none."""
    if length == 5 and memcmp(at, b"float", 5) == 0:
        return 4
    if length == 6 and memcmp(at, b"double", 6) == 0:
        return 8
    if length == 4 and (memcmp(at, b"bool", 4) == 0 or memcmp(at, b"char", 4) == 0):
        return 1
    if length and at[0] == 0x75:  # unsigned
        at += 1
        length -= 1
    if length == 6 and memcmp(at, b"int8_t", 6) == 0:
        return 1
    if length == 7 and memcmp(at, b"int16_t", 7) == 0:
        return 2
    if length == 7 and memcmp(at, b"int32_t", 7) == 0:
        return 4
    if length == 7 and memcmp(at, b"int64_t", 7) == 0:
        return 8
    return 0


cdef inline bint key_fits(const uint8_t* key, Py_ssize_t length, Py_ssize_t value_size) noexcept nogil:
    """Whether a key such as `char[4] name` is well formed and its value has the length that its type says."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t size
    cdef Py_ssize_t elements = 0
    while i < length and key[i] != 0x20 and key[i] != 0x5B:
        i += 1
    size = type_size(key, i)
    if size == 0 or i >= length or not all_printable(key, length):
        return False
    if key[i] == 0x5B:
        i += 1
        while i < length and 0x30 <= key[i] <= 0x39 and elements < MOST_ELEMENTS:
            elements = elements * 10 + (key[i] - 0x30)
            i += 1
        if i >= length or key[i] != 0x5D:
            return False
        i += 1
        size *= elements
    return i + 1 < length and key[i] == 0x20 and size == value_size


cdef inline int body_fits(uint8_t kind, const uint8_t* body, Py_ssize_t size, bint scanning) noexcept nogil:
    """Whether the content of a message other than data is what its type demands."""
    cdef Py_ssize_t text = min(size, SCAN_TEXT) if scanning else size
    if kind == 0x4C:  # L: u8 level, u64 time, text
        return size >= 9 and 0x30 <= body[0] <= 0x37 and is_text(body + 9, text - 9)
    if kind == 0x43:  # C: u8 level, u16 tag, u64 time, text
        return size >= 11 and 0x30 <= body[0] <= 0x37 and is_text(body + 11, text - 11)
    if kind == 0x53:  # S
        return size == 8 and memcmp(body, b"\x2f\x73\x13\x20\x25\x0c\xbb\x12", 8) == 0
    if kind == 0x4F or kind == 0x52:  # O: u16 ms; R: u16 id
        return size == 2 and not scanning
    if kind == 0x41:  # A: u8 instance, u16 id, topic
        return size >= 4 and all_printable(body + 3, text - 3)
    if kind == 0x46:  # F: topic:type name;...
        return size >= 4 and all_printable(body, text) and memchr(body, 0x3A, <size_t>size) != NULL
    if kind == 0x49 or kind == 0x50:  # I, P: u8 key length, key, value
        return size >= 2 and 1 + body[0] <= size and key_fits(body + 1, body[0], size - 1 - body[0])
    if kind == 0x4D or kind == 0x51:  # M, Q: u8 flag, u8 key length, key, value
        return size >= 3 and 2 + body[1] <= size and key_fits(body + 2, body[1], size - 2 - body[1])
    return 40 <= size <= 1024 and not scanning  # B: 8 + 8 bytes of flags, 3 u64 offsets


cdef inline bint is_known(uint8_t kind) noexcept nogil:
    return (
        kind == 0x44 or kind == 0x4C or kind == 0x43 or kind == 0x53 or kind == 0x4F or kind == 0x52 or kind == 0x41 or kind == 0x46
        or kind == 0x49 or kind == 0x50 or kind == 0x4D or kind == 0x51 or kind == 0x42
    )
