"""Walks the sections of an Apollo record and the messages in its chunks: messages into columns, channels and headers for Python."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

cdef enum:
    # Section types, cyber/proto/record.proto
    HEADER = 0
    CHUNK_HEADER = 1
    CHUNK_BODY = 2
    INDEX = 3
    CHANNEL = 4

    SECTION_HEAD = 16  # i32 type, 4 unused, i64 size
    HEADER_ROOM = 2048  # what the header section takes, whatever its size
    VARINT = 0x08  # tag of field 1 as a number
    NESTED = 0x0A  # tag of field 1 with a length
    LONGEST_VARINT = 10
    MOST_NAME = 1000
    MOST_FIELDS = 64
    BAD_ROOM = 256

    # Why scan returned
    MORE = 0  # needs bytes behind the window
    FULL = 1
    DRAIN = 2
    AT_SECTION = 3
    AT_PACKED = 4  # a chunk body that is compressed

    # Outcome of read_message
    READ = 0
    NEED = -1
    NO_SECTION = 1
    CUT = 2
    NO_MESSAGE = 3
    BEYOND = 4
    TOO_LONG = 5
    BAD_TIME = 6

STATUS_MORE, STATUS_FULL, STATUS_SECTION, STATUS_PACKED = MORE, FULL, AT_SECTION, AT_PACKED
SECTION_HEADER, SECTION_INDEX, SECTION_CHANNEL = HEADER, INDEX, CHANNEL

REASONS = {
    NO_SECTION: "no section begins where one should",
    CUT: "data ends inside a section or message",
    NO_MESSAGE: "no message begins where one should",
    BEYOND: "a message reaches beyond the end of its chunk",
    TOO_LONG: "a message is longer than allowed",
    BAD_TIME: "message time is beyond the year 2262",
}

REASON_CUT = REASONS[CUT]


cdef struct BadSpan:
    int64_t offset
    int64_t length
    int reason


cdef struct Message:
    uint64_t time
    int64_t name
    int64_t name_length
    int64_t content
    int64_t content_length
    int64_t end
    bint has_time


cdef inline int64_t varint(const uint8_t* start, int64_t at, int64_t end, uint64_t* value) noexcept nogil:
    """Where a base-128 number ends, or -1 when it does not end before `end` or is too long."""
    cdef int shift = 0
    value[0] = 0
    while at < end and shift < 64:
        value[0] |= <uint64_t>(start[at] & 0x7F) << shift
        if start[at] < 0x80:
            return at + 1
        at += 1
        shift += 7
    return -1


cdef int64_t fields(const uint8_t* start, int64_t at, int64_t end, Message* out) noexcept nogil:
    """The fields of a SingleMessage: 1 channel name, 2 time, 3 content. -1 when they do not fill it exactly."""
    cdef uint64_t tag, value
    cdef int kind, left = MOST_FIELDS
    out.time = 0
    out.name_length = -1
    out.content = at
    out.content_length = 0
    out.has_time = False
    while at < end:
        at = varint(start, at, end, &tag)
        left -= 1
        if at < 0 or left < 0 or tag < 8:
            return -1
        kind = tag & 7
        if kind == 0:
            at = varint(start, at, end, &value)
            if at < 0:
                return -1
            if tag == 0x10:
                out.time = value
                out.has_time = True
        elif kind == 2:
            at = varint(start, at, end, &value)
            if at < 0 or value > <uint64_t>(end - at):
                return -1
            if tag == 0x0A:
                out.name = at
                out.name_length = <int64_t>value
            elif tag == 0x1A:
                out.content = at
                out.content_length = <int64_t>value
            at += <int64_t>value
        elif kind == 1 or kind == 5:
            at += 8 if kind == 1 else 4
            if at > end:
                return -1
        else:
            return -1
    return at if 0 <= out.name_length <= MOST_NAME else -1


@cython.final
cdef class RecordMessages:
    """Messages of one window; offsets count from its begin."""

    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t capacity
    cdef readonly int64_t total
    cdef tuple arrays
    cdef int64_t* t_ns
    cdef int64_t* name
    cdef int64_t* name_length
    cdef int64_t* content
    cdef int64_t* content_length

    def __cinit__(self, Py_ssize_t capacity):
        if not 0 < capacity <= 1 << 24:
            raise ValueError("impossible capacity")
        self.capacity = capacity
        self.arrays = tuple(np.empty(capacity, np.int64) for _ in range(5))
        cdef int64_t[::1] t_ns = self.arrays[0]
        cdef int64_t[::1] name = self.arrays[1]
        cdef int64_t[::1] name_length = self.arrays[2]
        cdef int64_t[::1] content = self.arrays[3]
        cdef int64_t[::1] content_length = self.arrays[4]
        self.t_ns, self.name, self.name_length = &t_ns[0], &name[0], &name_length[0]
        self.content, self.content_length = &content[0], &content_length[0]

    cdef inline void push(self, const Message* message) noexcept nogil:
        cdef Py_ssize_t i = self.count
        self.t_ns[i] = <int64_t>message.time
        self.name[i] = message.name
        self.name_length[i] = message.name_length
        self.content[i] = message.content
        self.content_length[i] = message.content_length
        self.count = i + 1
        self.total += 1

    def take(self):
        """The messages so far, and begins anew: t_ns, offsets and lengths of names, offsets and lengths of contents (all int64).

        The arrays are used again by the next messages.
        """
        n = self.count
        self.count = 0
        return tuple(array[:n] for array in self.arrays)


@cython.final
cdef class RecordScanner:
    """One stream: the file (`top`), or the chunk body that a section inflates to. Both share the messages.

    After a damaged place the next possible section or message is looked for, and everything between is one bad span.
    """

    cdef RecordMessages messages
    cdef bint top
    cdef int64_t size
    cdef int64_t max_record
    cdef int64_t damage_at
    cdef int damage_reason
    cdef int64_t refused_at  # where a message could not be read, so that it is not found again
    cdef int64_t skip_left
    cdef int64_t skip_at
    cdef int64_t body_end  # of the chunk body that is being walked, -1 outside
    cdef bint orphans  # the body's head is lost, so is its end
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef readonly int status
    cdef readonly Py_ssize_t section_at  # in the window
    cdef readonly int kind
    cdef readonly int64_t section_size  # without its head
    cdef readonly int64_t wanted  # bytes that the window must have from where it was left
    cdef readonly int64_t chunks

    def __cinit__(self, RecordMessages messages not None, bint top, int64_t size, int64_t max_record):
        self.messages = messages
        self.top = top
        self.size = size
        self.max_record = max_record
        self.damage_at = self.refused_at = -1
        self.body_end = -1 if top else size

    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        cdef BadSpan* last
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset and length:
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
            self.note(self.damage_at, offset - self.damage_at, self.damage_reason)
            self.damage_at = -1

    cdef int64_t behind(self, int64_t offset, uint32_t kind, int64_t size) noexcept nogil:
        """Where the section at `offset` of the stream ends."""
        return offset + SECTION_HEAD + (HEADER_ROOM if kind == HEADER else size)

    cdef bint possible(self, const uint8_t* start, int64_t at, int64_t base, uint32_t* kind, uint64_t* size) noexcept nogil:
        """Whether 16 bytes are the head of a section that ends in the file."""
        memcpy(kind, start + at, 4)
        memcpy(size, start + at + 8, 8)
        if kind[0] > CHANNEL or (kind[0] == HEADER and not 0 < size[0] <= HEADER_ROOM):
            return False
        return size[0] <= <uint64_t>self.size and self.behind(base + at, kind[0], <int64_t>size[0]) <= self.size

    cdef bint likely_section(self, const uint8_t* start, int64_t at, int64_t end, int64_t base) noexcept nogil:
        """Whether a section begins here and another, or the end of the file, follows it; asked only behind damage."""
        cdef uint32_t kind, next_kind
        cdef uint64_t size, next_size
        cdef int64_t next
        if end - at <= SECTION_HEAD or not self.possible(start, at, base, &kind, &size) or size == 0:
            return False
        if start[at + SECTION_HEAD] != (VARINT if kind <= CHUNK_HEADER else NESTED):
            return False
        next = self.behind(base + at, kind, <int64_t>size)
        if next == self.size or next - base + SECTION_HEAD > end:
            return True
        return self.possible(start, next - base, base, &next_kind, &next_size)

    cdef int read_message(self, const uint8_t* start, int64_t at, int64_t end, int64_t region, Message* out) noexcept nogil:
        """One message of a chunk body, with tag and length. `end` ends the window and `region` the body, both counted from `start`.

        READ, a reason, or NEED with `wanted`.
        """
        cdef uint64_t length
        cdef int64_t body
        if start[at] != NESTED:
            return NO_MESSAGE
        body = varint(start, at + 1, min(end, at + 1 + LONGEST_VARINT), &length)
        if body < 0:
            if end - at > LONGEST_VARINT or end >= region:
                return NO_MESSAGE if end - at > LONGEST_VARINT else CUT
            self.wanted = LONGEST_VARINT + 1
            return NEED
        if length > <uint64_t>(region - body):
            return BEYOND
        out.end = body + <int64_t>length
        if length > <uint64_t>self.max_record:
            return TOO_LONG
        if out.end > end:
            self.wanted = out.end - at
            return NEED
        if fields(start, body, out.end, out) < 0:
            return NO_MESSAGE
        return READ if out.time <= <uint64_t>0x7FFFFFFFFFFFFFFF else BAD_TIME

    cdef bint likely_message(self, const uint8_t* start, int64_t at, int64_t end, int64_t region) noexcept nogil:
        """Whether a message with name, time and content in this order begins here, its lengths agreeing; asked only behind damage.

        The content may reach behind the window.
        """
        cdef uint64_t length, name, time, content
        cdef int64_t body = varint(start, at + 1, end, &length)
        if body < 0 or length > <uint64_t>(region - body) or length > <uint64_t>self.max_record:
            return False
        region = body + <int64_t>length
        end = min(end, region)
        if body >= end or start[body] != NESTED:
            return False
        body = varint(start, body + 1, end, &name)
        if body < 0 or not 0 < name <= MOST_NAME or name >= <uint64_t>(end - body) or start[body + <int64_t>name] != 0x10:
            return False
        body = varint(start, body + <int64_t>name + 1, end, &time)
        if body < 0 or time > <uint64_t>0x7FFFFFFFFFFFFFFF:
            return False
        if body == region:
            return True
        if body >= end or start[body] != 0x1A:
            return False
        body = varint(start, body + 1, end, &content)
        return body >= 0 and content == <uint64_t>(region - body)

    cdef int64_t search(self, const uint8_t* start, int64_t at, int64_t end, int64_t base, int64_t region) noexcept nogil:
        """The next place where a section or message may begin; -1 when there is none in the window."""
        cdef uint32_t word
        while at < end:
            if start[at] == NESTED:
                if base + at != self.refused_at and self.likely_message(start, at, end, region):
                    return at
            elif start[at] <= CHANNEL and self.top and end - at > SECTION_HEAD:
                memcpy(&word, start + at, 4)
                if word <= CHANNEL and self.likely_section(start, at, end, base):
                    return at
            at += 1
        return -1

    cdef void skip(self, int64_t offset, int64_t length) noexcept nogil:
        self.skip_at = offset
        self.skip_left = length

    cdef int64_t walk(self, const uint8_t* start, int64_t at, int64_t window_end, int64_t base, bint final) noexcept nogil:
        cdef int64_t end, region, step, found
        cdef Message message
        cdef int outcome
        cdef uint32_t kind
        cdef uint64_t size
        while True:
            self.wanted = 0
            self.status = FULL
            if self.messages.count >= self.messages.capacity:
                return at
            self.status = DRAIN
            if self.bad_count >= BAD_ROOM - 4:
                return at
            self.status = MORE
            if self.skip_left:
                step = min(window_end - at, self.skip_left)
                at += step
                self.skip_left -= step
                if self.skip_left and final:
                    self.note(self.skip_at, base + window_end - self.skip_at, CUT)
                    self.skip_left = 0
                if self.skip_left or step == 0:
                    return at
                continue
            if 0 <= self.body_end <= base + at and self.top:
                self.body_end = -1
                self.orphans = False
                self.recovered(base + at)
            region = (min(self.body_end, self.size) if self.body_end >= 0 else self.size) - base
            end = min(window_end, region)
            if self.damage_at >= 0:
                found = self.search(start, at, end, base, region)
                if found < 0:
                    if end < window_end:
                        at = end
                        continue
                    if not final:
                        return max(at, end - MOST_NAME - 64)
                    self.recovered(base + end)
                    return end
                at = found
                self.recovered(base + at)
                if start[at] == NESTED:
                    if self.body_end < 0:
                        self.body_end = self.size
                        self.orphans = True
                else:
                    self.body_end = -1
                    self.orphans = False
                continue
            if at == end:
                return at
            if self.body_end >= 0:
                outcome = self.read_message(start, at, end, region, &message)
                if outcome == READ:
                    self.messages.push(&message)
                    at = message.end
                elif outcome == NEED:
                    if window_end < region and not final:
                        return at
                    self.refused_at = base + at
                    self.damaged(base + at, CUT)
                elif outcome == TOO_LONG or outcome == BAD_TIME:
                    self.note(base + at, message.end - at, outcome)
                    self.skip(base + at, message.end - at)
                elif self.orphans:
                    self.refused_at = base + at
                    self.body_end = -1
                    self.orphans = False
                else:
                    self.refused_at = base + at
                    self.damaged(base + at, CUT if outcome == BEYOND and self.body_end > self.size else outcome)
                continue
            if end - at < SECTION_HEAD + 4:
                if not final:
                    self.wanted = SECTION_HEAD + 4
                    return at
                if end - at < SECTION_HEAD:
                    self.note(base + at, end - at, CUT)
                    return end
            memcpy(&kind, start + at, 4)
            memcpy(&size, start + at + 8, 8)
            if not self.possible(start, at, base, &kind, &size):
                if kind != CHUNK_BODY or size > <uint64_t>0x7FFFFFFFFFFF:
                    self.damaged(base + at, CUT if 0 < kind <= CHANNEL and size < <uint64_t>0x7FFFFFFFFFFF else NO_SECTION)
                    continue
                # Its messages are read as far as they go.
                self.note(self.size, base + at + SECTION_HEAD + <int64_t>size - self.size, CUT)
            self.section_at = at
            self.kind = kind
            self.section_size = <int64_t>size
            if kind == CHUNK_BODY:
                self.chunks += 1
                if end - at >= SECTION_HEAD + 4 and packed(start + at + SECTION_HEAD):
                    self.status = AT_PACKED
                    return at
                self.body_end = base + at + SECTION_HEAD + self.section_size
                at += SECTION_HEAD
                continue
            if kind == CHUNK_HEADER:
                self.skip(base + at, SECTION_HEAD + self.section_size)
                continue
            self.status = AT_SECTION
            return at

    def scan(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads sections of `window` from `at` on; `base` is the stream offset of the window, `final` says that the stream ends with it.

        Returns the first byte not used; `status` says why. At a section, `section_at`, `kind` and `section_size` say which, and
        `pass_over` must follow.
        """
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        cdef const uint8_t* start = &window[0] if window.shape[0] else NULL
        cdef int64_t used
        with nogil:
            used = self.walk(start, at, window.shape[0], base, final)
        return used

    def pass_over(self, int64_t offset):
        """Goes on behind the section at `offset`."""
        self.skip(offset, self.behind(offset, self.kind, self.section_size) - offset)

    def drain_bad(self):
        """The spans that were not read since the last call: (offset in the stream, length, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out


cdef inline bint packed(const uint8_t* at) noexcept nogil:
    """Whether these four bytes begin a bz2 stream or an LZ4 frame; a chunk body begins with the tag of its first message."""
    return (at[0] == 0x42 and at[1] == 0x5A and at[2] == 0x68) or (at[0] == 0x04 and at[1] == 0x22 and at[2] == 0x4D and at[3] == 0x18)
