"""Renders a frame block as normalised text rows in one pass over a byte buffer."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    EXTENDED = 1
    FD = 2
    REMOTE = 4
    ERROR = 8

    FIXED = 20 + 2 + 8 + 9 + 1  # time, two commas, identifier, four flags and the commas about them, line end

cdef const char* HEX = b"0123456789abcdef"


cdef inline uint8_t* put_number(uint8_t* out, int64_t number) noexcept nogil:
    cdef uint8_t digits[20]
    cdef int n = 0
    cdef uint64_t rest
    if number < 0:
        out[0] = 0x2D
        out += 1
        rest = ~<uint64_t>number + 1
    else:
        rest = <uint64_t>number
    while True:
        digits[n] = <uint8_t>(0x30 + rest % 10)
        n += 1
        rest //= 10
        if rest == 0:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef inline uint8_t* put_hex(uint8_t* out, uint32_t number) noexcept nogil:
    cdef int shift = 28
    while shift > 0 and number >> shift == 0:
        shift -= 4
    while shift >= 0:
        out[0] = HEX[(number >> shift) & 15]
        out += 1
        shift -= 4
    return out


cdef inline uint8_t* put_flag(uint8_t* out, bint flag) noexcept nogil:
    out[0] = 0x2C
    out[1] = 0x31 if flag else 0x30
    return out + 2


def render(
    const int64_t[::1] t_ns, const uint16_t[::1] channel, const uint32_t[::1] arbitration_id, const uint8_t[::1] flags,
    const uint8_t[::1] length, const uint32_t[::1] data_offset, const uint8_t[::1] data, list names not None,
):
    """The rows of one block as bytes, each ended by a line feed. `names` are the channels' display names, encoded.

    Raises IndexError when a channel has no name, ValueError when a payload lies outside of `data`.
    """
    cdef Py_ssize_t n = t_ns.shape[0]
    cdef Py_ssize_t i, j, room = 0
    cdef Py_ssize_t count = len(names)
    cdef bytes joined = b"".join(names)
    cdef const uint8_t* text = joined
    cdef Py_ssize_t* starts = <Py_ssize_t*>malloc((count + 1) * sizeof(Py_ssize_t))
    cdef uint8_t* buffer = NULL
    cdef uint8_t* out
    cdef uint8_t flag
    if starts == NULL:
        raise MemoryError
    try:
        starts[0] = 0
        for i in range(count):
            starts[i + 1] = starts[i] + len(names[i])
        for i in range(n):
            if channel[i] >= count:
                raise IndexError("channel without a name")
            if <Py_ssize_t>data_offset[i] + length[i] > data.shape[0]:
                raise ValueError("payload outside of the data column")
            room += FIXED + starts[channel[i] + 1] - starts[channel[i]] + 2 * length[i]
        buffer = <uint8_t*>malloc(<size_t>room + 1)
        if buffer == NULL:
            raise MemoryError
        out = buffer
        with nogil:
            for i in range(n):
                flag = flags[i]
                out = put_number(out, t_ns[i])
                out[0] = 0x2C
                out += 1
                j = starts[channel[i] + 1] - starts[channel[i]]
                memcpy(out, text + starts[channel[i]], <size_t>j)
                out += j
                out[0] = 0x2C
                out += 1
                if flag & ERROR:  # readers keep different things of an error frame; only time and channel count
                    memcpy(out, b"0,0,0,0,1,\n", 11)
                    out += 11
                    continue
                out = put_hex(out, arbitration_id[i])
                out = put_flag(out, flag & EXTENDED)
                out = put_flag(out, flag & FD)
                out = put_flag(out, flag & REMOTE)
                out = put_flag(out, False)
                out[0] = 0x2C
                out += 1
                if not flag & REMOTE:
                    for j in range(length[i]):
                        out[0] = HEX[data[data_offset[i] + j] >> 4]
                        out[1] = HEX[data[data_offset[i] + j] & 15]
                        out += 2
                out[0] = 0x0A
                out += 1
        return (<char*>buffer)[: out - buffer]
    finally:
        free(starts)
        free(buffer)
