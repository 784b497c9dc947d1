"""Failures of the checked cursor, and its reads made callable for tests."""

from parsers.errors import Corrupt, Truncated


cdef int fail_truncated(Cursor* cur, size_t wanted) except -1 nogil:
    """Raises Truncated at the byte where the field begins; takes the GIL only here."""
    with gil:
        raise Truncated(f"needed {wanted} bytes, {left(cur)} left", offset(cur))


cdef int fail_corrupt(Cursor* cur, size_t back, const char* reason) except -1 nogil:
    """Raises Corrupt `back` bytes before the cursor, where the bad field begins."""
    with gil:
        raise Corrupt(reason.decode(), offset(cur) - <int64_t>back)


def read_fields(const uint8_t[::1] data not None, int64_t file_offset, str widths not None):
    """The little-endian fields of `data`, one for each letter of `widths`: B, H, I, Q, or x to skip a byte.

    Raises Truncated with the file offset of the first field that does not fit.
    """
    cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
    cdef Cursor cur = cursor_over(start, start + data.shape[0], file_offset)
    cdef list fields = []
    for width in widths:
        if width == "B":
            fields.append(read_u8(&cur))
        elif width == "H":
            fields.append(read_u16(&cur))
        elif width == "I":
            fields.append(read_u32(&cur))
        elif width == "Q":
            fields.append(read_u64(&cur))
        elif width == "x":
            skip(&cur, 1)
        else:
            fail_corrupt(&cur, 0, b"unknown width")
    return fields


def seconds_to_ns(const uint8_t[::1] text not None):
    """Nanoseconds of decimal seconds such as b"12.000034", or None when the text is something else."""
    cdef const uint8_t* start = &text[0] if text.shape[0] else NULL
    cdef Cursor cur = cursor_over(start, start + text.shape[0], 0)
    cdef int64_t t_ns = 0
    if not read_seconds(&cur, &t_ns) or left(&cur):
        return None
    return t_ns
