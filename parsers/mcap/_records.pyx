"""Walks the records of an MCAP file or of a chunk: messages into columns, all other records for Python to read."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from parsers._core.cursor cimport Cursor, cursor_over, left, read_u8, read_u16, read_u32, read_u64, skip

cdef enum:
    # opcodes, see https://mcap.dev/spec#records
    HEADER = 0x01
    FOOTER = 0x02
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07
    CHUNK_INDEX = 0x08
    ATTACHMENT = 0x09
    ATTACHMENT_INDEX = 0x0A
    STATISTICS = 0x0B
    METADATA = 0x0C
    METADATA_INDEX = 0x0D
    SUMMARY_OFFSET = 0x0E
    DATA_END = 0x0F
    MAGIC_BYTE = 0x89

    RECORD_HEAD = 9  # u8 opcode, u64 length of what follows
    MESSAGE_HEAD = 22  # u16 channel, u32 sequence, u64 log time, u64 publish time
    CHUNK_HEAD = 40  # u64 start, u64 end, u64 inflated size, u32 crc, u32 length of compression (and u64 length of records behind it)
    LONGEST_COMPRESSION = 32
    ROOM = 65536  # channel numbers are 16 bits
    LOOK = 8192  # bytes that a search looks at to tell a record from anything else

    # Why scan returned
    MORE = 0
    FULL = 1
    AT_RECORD = 2
    AT_MAGIC = 3
    BAD = 4

    # What is wrong
    CUT = 1
    NO_RECORD = 2
    SHORT = 3
    BEYOND = 4
    TOO_LONG = 5

    # Outcome of looks_like
    NO = 0
    WEAK = 1
    YES = 2

STATUS_MORE = MORE
STATUS_FULL = FULL
STATUS_RECORD = AT_RECORD
STATUS_MAGIC = AT_MAGIC
STATUS_BAD = BAD
REASON_TOO_LONG = TOO_LONG

REASONS = {
    CUT: "data ends inside a record",
    NO_RECORD: "no record begins where one should",
    SHORT: "a record is shorter than its fields",
    BEYOND: "a record claims to reach beyond the end",
    TOO_LONG: "a record is longer than allowed",
}

cdef const uint8_t* MAGIC = b"\x89MCAP0\r\n"


cdef inline bint for_python(int opcode) noexcept nogil:
    return (
        opcode == HEADER or opcode == FOOTER or opcode == SCHEMA or opcode == CHANNEL or opcode == CHUNK or opcode == ATTACHMENT
        or opcode == METADATA or opcode == DATA_END
    )


cdef inline uint32_t u32_at(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint64_t u64_at(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef bint fields_fit(const uint8_t* at, int64_t here, int64_t length, int64_t fixed, int strings, int64_t behind) noexcept nogil:
    """Whether a record's content is `fixed` bytes, so many length-prefixed strings and `behind` more bytes, exactly.

    `here` are the bytes that can be looked at.
    """
    cdef int64_t used = fixed
    cdef int i
    for i in range(strings):
        if used + 4 > here:
            return False
        used += 4 + <int64_t>u32_at(at + used)
        if used + behind > length:
            return False
    return used + behind == length


cdef bint chunk_fits(const uint8_t* at, int64_t here, int64_t length) noexcept nogil:
    """Whether a chunk's lengths agree with each other."""
    cdef int64_t name
    if here < CHUNK_HEAD or length < CHUNK_HEAD:
        return False
    name = u32_at(at + 28)
    if name > LONGEST_COMPRESSION or here < CHUNK_HEAD + name:
        return False
    return u64_at(at + 32 + name) == <uint64_t>(length - CHUNK_HEAD - name)


cdef int looks_like(const uint8_t* start, int64_t at, int64_t end, int64_t stream_left, int depth) noexcept nogil:
    """Whether a record begins at `start + at`, judged by what is in the window; a weak sign counts when others follow."""
    cdef int64_t length, here
    cdef uint64_t claimed
    cdef const uint8_t* body
    cdef int opcode
    cdef int sign = NO
    if at == stream_left:
        return YES
    if end - at >= 8 and memcmp(start + at, MAGIC, 8) == 0:
        return YES
    if end - at < RECORD_HEAD:
        return NO
    opcode = start[at]
    if opcode == 0 or opcode > DATA_END:
        return NO
    claimed = u64_at(start + at + 1)
    if claimed > <uint64_t>(stream_left - at - RECORD_HEAD):
        return NO
    length = <int64_t>claimed
    body = start + at + RECORD_HEAD
    here = end - at - RECORD_HEAD
    if opcode == MESSAGE:
        sign = WEAK if length >= MESSAGE_HEAD else NO
    elif opcode == DATA_END:
        sign = WEAK if length == 4 else NO
    elif opcode == FOOTER:
        sign = WEAK if length == 20 else NO
    elif opcode == HEADER:
        sign = YES if fields_fit(body, here, length, 0, 2, 0) else NO
    elif opcode == SCHEMA:
        sign = YES if fields_fit(body, here, length, 2, 3, 0) else NO
    elif opcode == CHANNEL:
        sign = YES if fields_fit(body, here, length, 4, 3, 0) else NO
    elif opcode == CHUNK:
        sign = YES if chunk_fits(body, here, length) else NO
    elif opcode == MESSAGE_INDEX:
        sign = YES if fields_fit(body, here, length, 2, 1, 0) and (length - 6) % 16 == 0 else NO
    elif opcode == CHUNK_INDEX:
        sign = WEAK if length >= 64 else NO
    elif opcode == ATTACHMENT_INDEX:
        sign = YES if fields_fit(body, here, length, 40, 2, 0) else NO
    elif opcode == METADATA:
        sign = YES if fields_fit(body, here, length, 0, 2, 0) else NO
    elif opcode == METADATA_INDEX:
        sign = YES if fields_fit(body, here, length, 16, 1, 0) else NO
    elif opcode == SUMMARY_OFFSET:
        sign = WEAK if length == 17 else NO
    else:
        sign = WEAK if length >= 40 else NO
    if sign != WEAK:
        return sign
    if depth >= 3:
        return YES
    return looks_like(start, at + RECORD_HEAD + length, end, stream_left, depth + 1)


@cython.final
cdef class RecordScanner:
    """One stream of records, the file (`top`) or the content of one chunk. Messages are gathered until they are taken.

    After `scan`: `status` says why it returned; `record_at`, `record_length`, `opcode` describe the record for STATUS_RECORD (the length
    is that of its content; content other than that of chunks and attachments lies in the window); `wanted` is how many bytes from the
    returned position on are needed, for STATUS_MORE; `reason` what is wrong, for STATUS_BAD (REASON_TOO_LONG: `record_length` is set).
    """

    cdef bint top
    cdef int64_t max_record
    cdef readonly int status, opcode, reason
    cdef readonly int64_t record_at, record_length, wanted
    cdef readonly int64_t count  # messages gathered
    cdef readonly int64_t bad_times
    cdef readonly int64_t first_ns  # time of the first message of the file, -1 before it
    cdef int64_t skip_left
    cdef int64_t kinds[256]
    cdef int64_t capacity
    cdef uint16_t* channel
    cdef int64_t* t_ns
    cdef uint64_t* publish
    cdef int64_t* offset
    cdef int64_t* length
    cdef tuple arrays
    cdef tuple tables  # the numpy owners of the two below
    cdef int32_t* per_channel  # messages gathered of each channel
    cdef int32_t* place  # where the next one goes while they are grouped

    def __init__(self, bint top, int64_t max_record, int64_t capacity):
        self.top = top
        self.max_record = max_record
        self.capacity = max(1, capacity)
        self.first_ns = -1
        memset(self.kinds, 0, sizeof(self.kinds))
        self.tables = np.zeros(ROOM, np.int32), np.zeros(ROOM, np.int32)
        cdef int32_t[::1] per_channel = self.tables[0]
        cdef int32_t[::1] place = self.tables[1]
        self.per_channel = &per_channel[0]
        self.place = &place[0]
        self.allocate()

    cdef int allocate(self) except -1:
        channel = np.empty(self.capacity, np.uint16)
        t_ns = np.empty(self.capacity, np.int64)
        publish = np.empty(self.capacity, np.uint64)
        offset = np.empty(self.capacity, np.int64)
        length = np.empty(self.capacity, np.int64)
        cdef uint16_t[::1] channel_view = channel
        cdef int64_t[::1] t_ns_view = t_ns
        cdef uint64_t[::1] publish_view = publish
        cdef int64_t[::1] offset_view = offset
        cdef int64_t[::1] length_view = length
        self.channel = &channel_view[0]
        self.t_ns = &t_ns_view[0]
        self.publish = &publish_view[0]
        self.offset = &offset_view[0]
        self.length = &length_view[0]
        self.arrays = (channel, t_ns, publish, offset, length)
        self.count = 0
        return 0

    cdef Py_ssize_t bad(self, Py_ssize_t at, int reason) noexcept nogil:
        self.status = BAD
        self.reason = reason
        return at

    cdef Py_ssize_t too_long(self, Py_ssize_t at, int64_t length) noexcept nogil:
        self.record_length = length
        return self.bad(at, TOO_LONG)

    cdef Py_ssize_t more(self, Py_ssize_t at, Py_ssize_t end, int64_t wanted, bint final) noexcept nogil:
        if final and end > at:
            return self.bad(at, CUT)
        self.status = MORE
        self.wanted = wanted
        return at

    cdef Py_ssize_t walk(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t stream_left, bint final) except -1 nogil:
        cdef Cursor cur
        cdef uint64_t claimed, time
        cdef int64_t length, step, i
        cdef int opcode
        while True:
            if self.skip_left:
                step = end - at if end - at < self.skip_left else self.skip_left
                at += step
                self.skip_left -= step
                if self.skip_left:
                    if final:
                        self.skip_left = 0
                        return self.bad(at, CUT)
                    self.status = MORE
                    self.wanted = 1
                    return at
            if self.top and end - at >= 8 and memcmp(start + at, MAGIC, 8) == 0:
                self.status = AT_MAGIC
                return at
            if end - at < RECORD_HEAD:
                return self.more(at, end, RECORD_HEAD, final)
            cur = cursor_over(start + at, start + end, 0)
            opcode = read_u8(&cur)
            claimed = read_u64(&cur)
            if opcode == 0:
                return self.bad(at, NO_RECORD)
            if claimed > <uint64_t>(stream_left - at - RECORD_HEAD):
                if opcode == CHUNK and claimed < <uint64_t>1 << 62 and chunk_fits(cur.at, <int64_t>left(&cur), <int64_t>claimed):
                    self.found(opcode, at, <int64_t>claimed)
                    return at
                return self.bad(at, BEYOND)
            length = <int64_t>claimed
            if opcode == MESSAGE:
                if length < MESSAGE_HEAD:
                    return self.bad(at, SHORT)
                if length > self.max_record:
                    return self.too_long(at, length)
                if <int64_t>left(&cur) < length:
                    return self.more(at, end, RECORD_HEAD + length, final)
                if self.count == self.capacity:
                    self.status = FULL
                    return at
                i = self.count
                self.channel[i] = read_u16(&cur)
                skip(&cur, 4)
                time = read_u64(&cur)
                self.publish[i] = read_u64(&cur)
                self.offset[i] = cur.at - start
                self.length[i] = length - MESSAGE_HEAD
                at += RECORD_HEAD + length
                if time > <uint64_t>0x7FFFFFFFFFFFFFFF:
                    self.bad_times += 1
                    continue
                self.t_ns[i] = <int64_t>time
                if self.first_ns < 0:
                    self.first_ns = <int64_t>time
                self.per_channel[self.channel[i]] += 1
                self.count = i + 1
            elif for_python(opcode):
                if opcode != CHUNK and opcode != ATTACHMENT:
                    if length > self.max_record:
                        return self.too_long(at, length)
                    if <int64_t>left(&cur) < length:
                        return self.more(at, end, RECORD_HEAD + length, final)
                self.found(opcode, at, length)
                return at
            else:
                self.kinds[opcode] += 1
                self.skip_left = RECORD_HEAD + length

    cdef void found(self, int opcode, Py_ssize_t at, int64_t length) noexcept nogil:
        self.status = AT_RECORD
        self.opcode = opcode
        self.record_at = at
        self.record_length = length

    def scan(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t stream_left, bint final):
        """Reads records of `window` from `at` on. `stream_left` bytes of the stream begin at the window's start; `final` says that
        there will be no more. Returns the first byte not used."""
        if not 0 <= at <= window.shape[0] or stream_left < window.shape[0]:
            raise ValueError("start outside of the window")
        cdef const uint8_t* start = &window[0] if window.shape[0] else MAGIC
        cdef Py_ssize_t used
        with nogil:
            used = self.walk(start, at, window.shape[0], stream_left, final)
        return used

    def skip_record(self):
        """Goes on behind the record that `scan` stopped at, from its first byte."""
        self.skip_left = RECORD_HEAD + self.record_length

    def restart(self):
        """A new stream begins: nothing is left of the one before."""
        self.skip_left = 0

    def take(self):
        """The messages since the last call, in file order: channel (uint16), log time (int64), publish time (uint64), offset of the data
        in the window and its length (int64)."""
        out = tuple(array[: self.count] for array in self.arrays)
        cdef int64_t i
        for i in range(self.count):
            self.per_channel[self.channel[i]] = 0
        if 2 * self.count > self.capacity:
            self.allocate()
        else:
            out = tuple(array.copy() for array in out)
            self.count = 0
        return out

    def take_grouped(self):
        """The messages since the last call as (channel, t_ns, offset, length) for each channel, in file order."""
        cdef int64_t count = self.count
        cdef int64_t i, to, begin = 0
        t_ns_array = np.empty(count, np.int64)
        offset_array = np.empty(count, np.int64)
        length_array = np.empty(count, np.int64)
        cdef int64_t[::1] t_ns = t_ns_array
        cdef int64_t[::1] offset = offset_array
        cdef int64_t[::1] length = length_array
        cdef int number, size
        found = []
        for i in range(count):
            number = self.channel[i]
            size = self.per_channel[number]
            if size > 0:
                found.append((number, begin, begin + size))
                self.place[number] = <int32_t>begin
                self.per_channel[number] = 0
                begin += size
            to = self.place[number]
            self.place[number] += 1
            t_ns[to] = self.t_ns[i]
            offset[to] = self.offset[i]
            length[to] = self.length[i]
        self.count = 0
        return [(number, t_ns_array[a:b], offset_array[a:b], length_array[a:b]) for number, a, b in found]

    def skipped_counts(self):
        """Records that were read over, by opcode."""
        return {kind: self.kinds[kind] for kind in range(256) if self.kinds[kind]}


def find_record(const uint8_t[::1] window not None, Py_ssize_t at, int64_t stream_left, bint final):
    """Where the next record may begin, from `at` on; the end of what was searched when there is none: (position, found)."""
    cdef Py_ssize_t end = window.shape[0]
    cdef Py_ssize_t last = end - RECORD_HEAD if final else end - LOOK
    if at < 0 or stream_left < end:
        raise ValueError("start outside of the window")
    cdef const uint8_t* start = &window[0] if end else MAGIC
    cdef bint found = False
    with nogil:
        while at <= last:
            if start[at] and (start[at] <= DATA_END or start[at] == MAGIC_BYTE) and looks_like(start, at, end, stream_left, 0):
                found = True
                break
            at += 1
    if found:
        return at, True
    return (end if final else max(at, 0)), False
