"""Walks the records of a ROS bag or of an inflated chunk: messages into columns, connections and chunks for Python to read."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

import numpy as np

cdef enum:
    # op of a record, see wiki.ros.org/Bags/Format/2.0
    MESSAGE = 2
    BAG_HEADER = 3
    INDEX = 4
    CHUNK = 5
    CHUNK_INFO = 6
    CONNECTION = 7

    MOST_HEADER = 65536
    MOST_NAME = 64
    MOST_FIELDS = 4096
    LIKELY_FIELDS = 12  # bag and chunk headers have fewer than half of these
    LIKELY_HEADER = 4096
    MOST_CONNECTIONS = 65536
    TABLE = 262144  # a power of two, four times as many
    BACK = 96  # bytes from the length of a record's header to the op in it, at most
    OP_FIELD = 8  # u32 length, "op=", u8
    BAD_ROOM = 256

    # Why scan returned
    MORE = 0  # needs bytes behind the window
    FULL = 1
    DRAIN = 2
    AT_RECORD = 3
    AT_MAGIC = 4

    # What is wrong
    NO_RECORD = 1
    CUT = 2
    BEYOND = 3
    TOO_LONG = 4
    NESTED = 5
    NO_TIME = 6
    LONG_CHUNK = 7

STATUS_MORE, STATUS_FULL, STATUS_DRAIN, STATUS_RECORD, STATUS_MAGIC = MORE, FULL, DRAIN, AT_RECORD, AT_MAGIC
OP_BAG_HEADER, OP_CHUNK, OP_CHUNK_INFO, OP_CONNECTION = BAG_HEADER, CHUNK, CHUNK_INFO, CONNECTION

REASONS = {
    NO_RECORD: "no record begins where one should",
    CUT: "data ends inside a record",
    BEYOND: "a record reaches beyond the end of its chunk",
    TOO_LONG: "a record is longer than allowed",
    NESTED: "a record that has no place in a chunk",
    LONG_CHUNK: "a chunk claims more bytes than it has",
    NO_TIME: "a message has no time or no connection",
}

REASON_CUT = REASONS[CUT]


cdef struct BadSpan:
    int64_t offset
    int64_t length
    int reason


cdef struct Head:
    int op
    bint has_connection
    bint has_time
    bint has_size
    bint has_compression
    bint has_topic
    bint has_count
    bint has_index_pos
    uint32_t connection
    int64_t t_ns
    uint32_t part_ns


cdef inline uint32_t u32_at(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef bint read_head(const uint8_t* at, int64_t length, Head* head, int most_fields) noexcept nogil:
    """The fields of a record's header; False when they do not fill it exactly, are more than `most_fields`, or there is no op.

    A field is u32 length, name, `=`, value.
    """
    cdef const uint8_t* end = at + length
    cdef const uint8_t* value
    cdef uint32_t size
    cdef Py_ssize_t name
    memset(head, 0, sizeof(Head))
    while at < end:
        if end - at < 4 or most_fields == 0:
            return False
        most_fields -= 1
        size = u32_at(at)
        at += 4
        if size > end - at:
            return False
        value = <const uint8_t*>memchr(at, 0x3D, size if size < MOST_NAME else MOST_NAME)
        if value == NULL:
            return False
        name = value - at
        value += 1
        size -= <uint32_t>name + 1
        if name == 2 and at[0] == 0x6F and at[1] == 0x70 and size == 1:
            head.op = value[0]
        elif name == 4 and size == 4 and memcmp(at, b"conn", 4) == 0:
            head.connection = u32_at(value)
            head.has_connection = True
        elif name == 4 and size == 8 and memcmp(at, b"time", 4) == 0:
            head.part_ns = u32_at(value + 4)
            head.t_ns = <int64_t>u32_at(value) * 1000000000 + head.part_ns
            head.has_time = True
        elif name == 4 and size == 4 and memcmp(at, b"size", 4) == 0:
            head.has_size = True
        elif name == 5 and size == 4 and memcmp(at, b"count", 5) == 0:
            head.has_count = True
        elif name == 5 and memcmp(at, b"topic", 5) == 0:
            head.has_topic = True
        elif name == 9 and size == 8 and memcmp(at, b"index_pos", 9) == 0:
            head.has_index_pos = True
        elif name == 11 and memcmp(at, b"compression", 11) == 0:
            head.has_compression = True
        at = value + size
    return head.op != 0


cdef bint whole(const Head* head) noexcept nogil:
    """Whether a header has the fields that its op demands."""
    if head.op == MESSAGE:
        return head.has_connection and head.has_time
    if head.op == BAG_HEADER:
        return head.has_index_pos
    if head.op == INDEX:
        return head.has_connection and head.has_count
    if head.op == CHUNK:
        return head.has_compression and head.has_size
    if head.op == CHUNK_INFO:
        return head.has_count
    return head.op == CONNECTION and head.has_connection and head.has_topic


@cython.final
cdef class Messages:
    """Messages of one window, and the connections they came over; `take` sorts them by connection.

    A connection id (u32) has a place; a connection that is described anew gets another.
    """

    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t capacity
    cdef readonly int64_t total
    cdef readonly int places  # place 0 is for connections beyond the limit
    cdef tuple arrays
    cdef int64_t* t_ns
    cdef int64_t* offset
    cdef int64_t* length
    cdef int32_t* place
    cdef uint32_t* keys
    cdef int32_t* values  # place, 0: free slot
    cdef int held  # slots in use
    cdef uint32_t last
    cdef int32_t last_place

    def __cinit__(self, Py_ssize_t capacity):
        if not 0 < capacity <= 1 << 24:
            raise ValueError("impossible capacity")
        self.capacity = capacity
        self.arrays = (*(np.empty(capacity, np.int64) for _ in range(3)), np.empty(capacity, np.int32))
        cdef int64_t[::1] t_ns = self.arrays[0]
        cdef int64_t[::1] offset = self.arrays[1]
        cdef int64_t[::1] length = self.arrays[2]
        cdef int32_t[::1] place = self.arrays[3]
        self.t_ns, self.offset, self.length, self.place = &t_ns[0], &offset[0], &length[0], &place[0]
        self.keys = <uint32_t*>calloc(TABLE, sizeof(uint32_t))
        self.values = <int32_t*>calloc(TABLE, sizeof(int32_t))
        if self.keys == NULL or self.values == NULL:
            raise MemoryError
        self.places = 1

    def __dealloc__(self):
        free(self.keys)
        free(self.values)

    cdef uint32_t slot_of(self, uint32_t connection) noexcept nogil:
        cdef uint32_t slot = (connection * <uint32_t>2654435761) >> 14
        while self.values[slot] and self.keys[slot] != connection:
            slot = (slot + 1) & (TABLE - 1)
        return slot

    cdef int32_t place_of(self, uint32_t connection) noexcept nogil:
        cdef uint32_t slot
        if self.last_place and self.last == connection:
            return self.last_place
        slot = self.slot_of(connection)
        if self.values[slot] == 0:
            if self.held >= MOST_CONNECTIONS or self.places >= 0x7FFFFFF0:
                return 0
            self.held += 1
            self.keys[slot] = connection
            self.values[slot] = self.places
            self.places += 1
        self.last = connection
        self.last_place = self.values[slot]
        return self.last_place

    cdef inline void push(self, int64_t t_ns, uint32_t connection, int64_t offset, int64_t length) noexcept nogil:
        cdef Py_ssize_t i = self.count
        self.t_ns[i] = t_ns
        self.offset[i] = offset
        self.length[i] = length
        self.place[i] = self.place_of(connection)
        self.count = i + 1
        self.total += 1

    def describe(self, uint32_t connection):
        """A new place for a connection that a record describes; 0 when there are too many."""
        cdef uint32_t slot = self.slot_of(connection)
        if self.values[slot]:
            if self.places >= 0x7FFFFFF0:
                return 0
            self.values[slot] = self.places
            self.places += 1
        self.last_place = 0
        return self.place_of(connection)

    def known(self, uint32_t connection):
        """The place of a connection, 0 when it has none."""
        return self.values[self.slot_of(connection)]

    def forget(self):
        """Connection ids that come from now on mean others than before."""
        memset(self.values, 0, TABLE * sizeof(int32_t))
        self.held = 0
        self.last_place = 0

    def take(self):
        """The messages so far, by connection: a list of (place, t_ns, offset, length); begins anew."""
        cdef Py_ssize_t n = self.count, i
        cdef int32_t lowest = 0x7FFFFFFF, highest = 0
        self.count = 0
        if n == 0:
            return []
        for i in range(n):
            lowest = min(lowest, self.place[i])
            highest = max(highest, self.place[i])
        if lowest == highest:
            return [(lowest, *(array[:n].copy() for array in self.arrays[:3]))]
        counts = np.zeros(highest - lowest + 2, np.int64)
        sorted_arrays = [np.empty(n, np.int64) for _ in range(3)]
        cdef int64_t[::1] ends = counts
        cdef int64_t[::1] t_ns = sorted_arrays[0]
        cdef int64_t[::1] offset = sorted_arrays[1]
        cdef int64_t[::1] length = sorted_arrays[2]
        cdef int64_t to
        for i in range(n):
            ends[self.place[i] - lowest + 1] += 1
        for i in range(highest - lowest + 1):
            ends[i + 1] += ends[i]
        bounds = counts.tolist()
        for i in range(n):
            to = ends[self.place[i] - lowest]
            ends[self.place[i] - lowest] += 1
            t_ns[to] = self.t_ns[i]
            offset[to] = self.offset[i]
            length[to] = self.length[i]
        return [
            (lowest + i, *(array[bounds[i] : bounds[i + 1]] for array in sorted_arrays))
            for i in range(highest - lowest + 1) if bounds[i + 1] > bounds[i]
        ]


@cython.final
cdef class BagScanner:
    """One stream of records: the file (`top`, with chunks that are not compressed) or what a chunk inflates to. Both share the messages.

    Offsets count bytes of the stream, `size` is its length. After a damaged place the next possible record is looked for, and everything
    between is one bad span.
    """

    cdef Messages messages
    cdef bint top
    cdef int64_t size
    cdef int64_t max_record
    cdef int64_t damage_at  # where a damaged span began, -1 outside of one
    cdef int damage_reason
    cdef int64_t skip_left
    cdef int64_t skip_at
    cdef readonly int64_t chunk_end  # of the chunk that is being walked, -1 outside
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef readonly int status
    cdef readonly Py_ssize_t record_at  # in the window
    cdef readonly int op
    cdef readonly int64_t head_size  # bytes of the header's fields
    cdef readonly int64_t data_size
    cdef readonly int64_t wanted  # bytes that the window must have from where it was left, 0 when any number is enough

    def __cinit__(self, Messages messages not None, bint top, int64_t size, int64_t max_record):
        self.messages = messages
        self.top = top
        self.size = size
        self.max_record = max_record
        self.damage_at = self.chunk_end = -1

    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        cdef BadSpan* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset:
                last.length += length
                return
        self.bad[self.bad_count] = BadSpan(offset, length, reason)
        self.bad_count += 1

    cdef void damaged(self, int64_t offset, int reason) noexcept nogil:
        if self.damage_at < 0:
            self.damage_at = offset
            self.damage_reason = reason

    cdef void recovered(self, int64_t offset) noexcept nogil:
        if self.damage_at >= 0:
            if offset > self.damage_at:
                self.note(self.damage_at, offset - self.damage_at, self.damage_reason)
            self.damage_at = -1

    cdef bint likely(self, const uint8_t* start, int64_t at, int64_t end, int64_t base) noexcept nogil:
        """Whether a whole record with all that its op demands begins at `at`; asked only behind damage."""
        cdef Head head
        cdef int64_t length, data
        if end - at < 8:
            return False
        length = u32_at(start + at)
        if not OP_FIELD <= length <= LIKELY_HEADER or length > end - at - 8:
            return False
        if not read_head(start + at + 4, length, &head, LIKELY_FIELDS) or not whole(&head) or head.part_ns >= 1000000000:
            return False
        data = u32_at(start + at + 4 + length)
        return data <= self.size - (base + at + 8 + length)

    cdef int64_t search(self, const uint8_t* start, int64_t at, int64_t end, int64_t base) noexcept nogil:
        """The next place where a record may begin; -1 when there is none in the window."""
        cdef int64_t look = at, back, first
        cdef const uint8_t* found
        while True:
            if end - look < OP_FIELD:
                return -1
            found = <const uint8_t*>memchr(start + look + 4, 0x6F, <size_t>(end - look - 7))
            if found == NULL:
                return -1
            look = found - start - 4
            if start[look + 5] == 0x70 and start[look + 6] == 0x3D and u32_at(start + look) == 4:
                first = max(at, look - BACK)
                for back in range(look - 4, first - 1, -1):
                    if u32_at(start + back) + back + 4 >= look + OP_FIELD and self.likely(start, back, end, base):
                        return back
            look += 1

    cdef int64_t walk(self, const uint8_t* start, int64_t at, int64_t window_end, int64_t base, bint final) except -1 nogil:
        cdef int64_t end, length, data, found, step, region
        cdef Head head
        while True:
            self.wanted = 0
            self.status = FULL
            if self.messages.count >= self.messages.capacity:
                return at
            self.status = DRAIN
            if self.bad_count >= BAD_ROOM - 4:
                return at
            self.status = MORE
            if self.chunk_end >= 0 and base + at >= self.chunk_end and self.skip_left == 0:
                self.chunk_end = -1
                self.recovered(base + at)
            if self.skip_left:
                step = min(window_end - at, self.skip_left)
                at += step
                self.skip_left -= step
                if self.skip_left == 0:
                    continue
                if final:
                    self.note(self.skip_at, base + window_end - self.skip_at, CUT)
                    self.skip_left = 0
                return at
            end = window_end
            if self.chunk_end >= 0:
                end = min(end, self.chunk_end - base)
            if self.damage_at >= 0:
                found = self.search(start, at, end, base)
                if found < 0:
                    # a record may begin in the last bytes, with its op in the next window
                    if end < window_end:
                        at = end
                        continue
                    if not final:
                        return max(at, end - LIKELY_HEADER)
                    self.recovered(base + end)
                    return end
                at = found
                self.recovered(base + at)
            if at == end:
                return at
            if end - at < 8:
                if end == window_end and not final:
                    self.wanted = 8
                    return at
                self.damaged(base + at, CUT if end == window_end else NO_RECORD)
                at = end
                if end == window_end:
                    self.recovered(base + at)
                    return at
                continue
            length = u32_at(start + at)
            if self.top and length == 0x534F5223 and self.chunk_end < 0:  # "#ROS"
                self.status = AT_MAGIC
                self.record_at = at
                return at
            if not OP_FIELD <= length <= MOST_HEADER:
                self.damaged(base + at, NO_RECORD)
                at += 1
                continue
            if length + 8 > end - at:
                if end == window_end and not final:
                    self.wanted = length + 8
                    return at
                self.damaged(base + at, CUT if end == window_end else NO_RECORD)
                at += 1
                continue
            if not read_head(start + at + 4, length, &head, MOST_FIELDS) or not whole(&head):
                self.damaged(base + at, NO_RECORD if head.op != MESSAGE else NO_TIME)
                at += 1
                continue
            data = u32_at(start + at + 4 + length)
            if head.op == MESSAGE:
                if data > end - at - 8 - length or data > self.max_record:
                    region = self.size if self.chunk_end < 0 else min(self.size, self.chunk_end)
                    if base + at + 8 + length + data > region:
                        self.damaged(base + at, CUT if region == self.size else BEYOND)
                        at += 1
                    elif data > self.max_record:
                        self.note(base + at, length + 8 + data, TOO_LONG)
                        self.skip(base + at, length + 8 + data)
                    else:
                        self.wanted = length + 8 + data
                        return at
                    continue
                self.messages.push(head.t_ns, head.connection, at + 8 + length, data)
                at += 8 + length + data
                continue
            if head.op != CONNECTION and self.chunk_end >= 0:
                self.note(base + at, 0, LONG_CHUNK)  # these stand behind chunks
                self.chunk_end = -1
                continue
            if head.op == INDEX or (head.op != CONNECTION and not self.top):
                if not self.top:
                    self.note(base + at, min(8 + length + data, self.size - base - at), NESTED)
                self.skip(base + at, 8 + length + data)
                continue
            self.record_at = at
            self.op = head.op
            self.head_size = length
            self.data_size = data
            self.status = AT_RECORD
            return at

    cdef void skip(self, int64_t offset, int64_t length) noexcept nogil:
        self.skip_at = offset
        self.skip_left = length

    def scan(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads records of `window` from `at` on; `base` is the stream offset of the window, `final` says that the stream ends with it.

        Returns the first byte not used; `status` says why. At a record, `record_at`, `op`, `head_size` and `data_size` say which, and
        one of `pass_over`, `enter` and `refuse` must follow.
        """
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        cdef const uint8_t* start = &window[0] if window.shape[0] else NULL
        cdef int64_t used
        with nogil:
            used = self.walk(start, at, window.shape[0], base, final)
        return used

    def pass_over(self, int64_t offset):
        """Goes on behind the record at `offset` of the stream."""
        self.skip(offset, 8 + self.head_size + self.data_size)

    def enter(self, int64_t offset):
        """Goes on with the records in the chunk at `offset`."""
        self.skip(offset, 8 + self.head_size)
        self.chunk_end = offset + 8 + self.head_size + self.data_size

    def refuse(self, int64_t offset):
        """The record at `offset` cannot be one: looks for the next."""
        self.damaged(offset, NO_RECORD)
        self.skip(offset, 1)

    def drain_bad(self):
        """The spans that were not read since the last call: (offset in the stream, length, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out
