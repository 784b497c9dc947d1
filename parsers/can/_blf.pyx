"""Walks the objects of a BLF file, inside and outside of containers, into frame columns."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from parsers._core.columns cimport MAX_PAYLOAD, FrameColumns, NumberTable
from parsers._core.cursor cimport Cursor, cursor_over, left, read_u8, read_u16, read_u32, read_u64, skip

cdef enum:
    # FrameBlock flags, see parsers/can/frames.py
    EXTENDED = 1
    FD = 2
    REMOTE = 4
    ERROR = 8
    BRS = 16
    ESI = 32
    TX = 64

    # object types
    CAN_MESSAGE = 1
    CAN_ERROR = 2
    CONTAINER = 10
    APP_TEXT = 65
    EVENT_COMMENT = 92
    GLOBAL_MARKER = 96
    CAN_ERROR_EXT = 73
    CAN_MESSAGE2 = 86
    CAN_FD_MESSAGE = 100
    CAN_FD_MESSAGE_64 = 101
    CAN_FD_ERROR_64 = 104

    SHORT_FRAME = 48  # object of type 1: full header, then as read_classic reads it
    LONG_FRAME = 56  # the same with 8 more bytes behind the data: type 86
    BASE_HEADER = 16  # LOBJ, u16 header size, u16 header version, u32 object size, u32 type
    FULL_HEADER = 32  # u32 flags at 16, u64 time at 24 in header versions 1 and 2
    FD64_FIXED = 40  # bytes before the data of type 101
    MOST_PADDING = 8
    LEAST_FILE_HEADER = 72
    MOST_FILE_HEADER = 65536
    MOST_CAN_OBJECT = 4096
    TEXT_KEPT = 8192  # bytes of a text object that must be in the window
    TIME_IS_NS = 2  # flag; without it a time counts 10 microseconds
    EXTENDED_BIT = 0x80000000
    EXTENDED_IDS = 0x1FFFFFFF

    TYPES = 256
    BAD_ROOM = 256

    # Why walk returned
    MORE = 0  # needs bytes behind the window
    FULL = 1
    DRAIN = 2
    AT_CONTAINER = 3
    AT_TEXT = 4
    AT_HEADER = 5

    # Why an object was not read
    READ = 0
    NO_OBJECT = 1
    BAD_SIZE
    CUT
    NESTED
    BAD_TIME
    TOO_MANY_CHANNELS
    BAD_LENGTH
    TOO_SHORT

STATUS_MORE = MORE
STATUS_FULL = FULL
STATUS_CONTAINER = AT_CONTAINER
STATUS_TEXT = AT_TEXT
STATUS_HEADER = AT_HEADER

REASONS = {
    NO_OBJECT: "no object begins where one should",
    BAD_SIZE: "object size or header size is impossible",
    CUT: "data ends inside an object",
    NESTED: "container inside a container",
    BAD_TIME: "object time is beyond the year 2262",
    TOO_MANY_CHANNELS: "more channels than allowed",
    BAD_LENGTH: "CAN FD frame longer than 64 bytes",
    TOO_SHORT: "object is shorter than the frame it holds",
}


# The first 8 bytes of an object without the header version, and the next 8, size and type, of the two that read_run takes
cdef uint64_t PLAIN_HEADER = <uint64_t>FULL_HEADER << 32 | <uint64_t>0x4A424F4C
cdef uint64_t PLAIN_SHORT = <uint64_t>CAN_MESSAGE << 32 | SHORT_FRAME
cdef uint64_t PLAIN_LONG = <uint64_t>CAN_MESSAGE2 << 32 | LONG_FRAME


cdef struct BadSpan:
    int64_t offset
    int64_t length
    int reason


cdef struct Head:
    uint16_t header_size
    uint32_t size
    uint32_t kind


cdef inline bint is_can(uint32_t kind) noexcept nogil:
    return (
        kind == CAN_MESSAGE or kind == CAN_MESSAGE2 or kind == CAN_FD_MESSAGE_64 or kind == CAN_FD_MESSAGE
        or kind == CAN_ERROR_EXT or kind == CAN_ERROR or kind == CAN_FD_ERROR_64
    )


cdef inline bint is_text(uint32_t kind) noexcept nogil:
    return kind == APP_TEXT or kind == EVENT_COMMENT or kind == GLOBAL_MARKER


cdef inline bint padding_only(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    """Whether bytes too few for an object are what writers leave behind one: up to three of any value, or zeros."""
    cdef Py_ssize_t i
    if length <= 3:
        return True
    for i in range(length):
        if at[i]:
            return False
    return True


cdef const uint8_t* find_signature(const uint8_t* at, const uint8_t* end, bint top) noexcept nogil:
    """The next LOBJ, or LOGG at the top level; NULL when there is none that fits before the end."""
    while end - at >= 4:
        at = <const uint8_t*>memchr(at, 0x4C, <size_t>(end - at - 3))
        if at == NULL:
            return NULL
        if memcmp(at, b"LOBJ", 4) == 0 or (top and memcmp(at, b"LOGG", 4) == 0):
            return at
        at += 1
    return NULL


@cython.final
cdef class BlfScanner:
    """One stream of objects: either the file itself (`top`) or what its containers inflate to. Both share columns and channels.

    Offsets count bytes of the stream. After a damaged place the next object with a possible header is looked for, and everything
    between is one bad span.
    """

    cdef readonly FrameColumns columns
    cdef readonly NumberTable numbers
    cdef bint top
    cdef int64_t max_record
    cdef int64_t kinds[TYPES]
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef int64_t damage_at  # where the damaged span began, -1 outside of one
    cdef int damage_reason
    cdef int64_t skip_left  # bytes of an object that is read over
    cdef int64_t skip_at  # where that object began
    cdef public bint wants_text
    cdef public int64_t shift_ns  # added to every time: start of this file minus start of the first, for files joined end to end
    cdef readonly int status
    cdef readonly Py_ssize_t object_at  # in the window, when status is AT_...
    cdef readonly int64_t object_size

    def __init__(self, FrameColumns columns, NumberTable numbers, bint top, int64_t max_record):
        self.columns = columns
        self.numbers = numbers
        self.top = top
        self.max_record = max_record
        memset(self.kinds, 0, sizeof(self.kinds))
        self.bad_count = 0
        self.damage_at = -1
        self.skip_left = 0
        self.skip_at = -1
        self.wants_text = True
        self.shift_ns = 0

    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        cdef BadSpan* last
        if length <= 0:
            return
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset:
                last.length += length
                return
        last = &self.bad[self.bad_count]
        last.offset = offset
        last.length = length
        last.reason = reason
        self.bad_count += 1

    cdef void damaged(self, int64_t offset, int reason) noexcept nogil:
        if self.damage_at < 0:
            self.damage_at = offset
            self.damage_reason = reason

    cdef void recovered(self, int64_t offset) noexcept nogil:
        if self.damage_at >= 0:
            self.note(self.damage_at, offset - self.damage_at, self.damage_reason)
            self.damage_at = -1

    cdef Py_ssize_t give_up(self, Py_ssize_t at, Py_ssize_t end, int64_t base, int reason) noexcept nogil:
        """The stream ends at `end`: what is left from `at` on is no whole object."""
        self.damaged(base + at, reason)
        self.recovered(base + end)
        return end

    cdef Py_ssize_t find_object(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final) noexcept nogil:
        """Where the next object may begin; -1 when the window has none (then `object_at` is how far it was searched)."""
        cdef const uint8_t* found
        cdef Py_ssize_t near = at + MOST_PADDING + 4
        if self.damage_at < 0:
            if end - at >= 4 and memcmp(start + at, b"LOBJ", 4) == 0:
                return at
            # Writers pad some objects to four bytes and some not, whatever the size says: look as far as the padding can be.
            found = find_signature(start + at, start + (near if near < end else end), self.top)
            if found != NULL:
                return found - start
            if near > end:
                if not final:
                    self.object_at = at
                elif padding_only(start + at, end - at):
                    self.object_at = end
                else:
                    self.object_at = self.give_up(at, end, base, CUT)
                return -1
            self.damaged(base + at, NO_OBJECT)
        found = find_signature(start + at, start + end, self.top)
        if found != NULL:
            return found - start
        if final:
            self.object_at = self.give_up(at, end, base, NO_OBJECT)
        else:
            self.object_at = end - 3 if end - 3 > at else at
        return -1

    cdef bint possible(self, const Head* head) noexcept nogil:
        if head.header_size < BASE_HEADER or head.size < head.header_size or head.size > self.max_record:
            return False
        if head.kind == CONTAINER:
            return head.size >= <uint32_t>head.header_size + 16
        if is_can(head.kind):
            return head.header_size >= FULL_HEADER and head.size <= MOST_CAN_OBJECT
        return True

    cdef Py_ssize_t walk_objects(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final) except -1 nogil:
        cdef Py_ssize_t found, wanted
        cdef int64_t step
        cdef Cursor cur
        cdef Head head
        cdef int outcome
        while True:
            self.status = FULL
            if self.columns.is_full():
                return at
            self.status = DRAIN
            if self.bad_count >= BAD_ROOM - 2:
                return at
            self.status = MORE
            if self.skip_left:
                step = end - at if end - at < self.skip_left else self.skip_left
                at += step
                self.skip_left -= step
                if self.skip_left:
                    if final:
                        self.note(self.skip_at, base + end - self.skip_at, CUT)
                        self.skip_left = 0
                    return at
            if self.damage_at < 0:
                at = self.read_run(start, at, end)
                if self.columns.is_full():
                    self.status = FULL
                    return at
            found = self.find_object(start, at, end, base, final)
            if found < 0:
                return self.object_at
            at = found
            if start[at + 3] == 0x47:  # LOGG
                if end - at < 8 and not final:
                    return at
                cur = cursor_over(start + at + 4, start + end, base + at + 4)
                if end - at < 8 or not LEAST_FILE_HEADER <= read_u32(&cur) <= MOST_FILE_HEADER:
                    self.damaged(base + at, NO_OBJECT)
                    at += 4
                    continue
                self.recovered(base + at)
                self.status = AT_HEADER
                self.object_at = at
                return at
            if end - at < BASE_HEADER:
                return self.give_up(at, end, base, CUT) if final else at
            cur = cursor_over(start + at, start + end, base + at)
            skip(&cur, 4)
            head.header_size = read_u16(&cur)
            skip(&cur, 2)
            head.size = read_u32(&cur)
            head.kind = read_u32(&cur)
            if not self.possible(&head):
                self.damaged(base + at, BAD_SIZE)
                at += 4
                continue
            wanted = 0
            if is_can(head.kind):
                wanted = head.size
            elif is_text(head.kind):
                wanted = head.size if head.size < TEXT_KEPT else TEXT_KEPT
            if end - at < wanted:
                return self.give_up(at, end, base, CUT) if final else at
            self.recovered(base + at)
            if wanted and not is_text(head.kind):
                cur = cursor_over(start + at, start + at + head.size, base + at)
                outcome = self.read_can(&cur, &head)
                if outcome == TOO_SHORT:  # then its size cannot be believed either
                    self.damaged(base + at, TOO_SHORT)
                    at += 4
                    continue
                if outcome != READ:
                    self.note(base + at, head.size, outcome)
                at += head.size
                continue
            self.object_at = at
            self.object_size = head.size
            if head.kind == CONTAINER and self.top:
                self.status = AT_CONTAINER
                return at
            self.skip_at = base + at
            self.skip_left = head.size
            if head.kind == CONTAINER:
                self.note(base + at, head.size, NESTED)
            elif is_text(head.kind) and self.wants_text:
                self.status = AT_TEXT
                return at
            else:
                self.kinds[head.kind if head.kind < TYPES - 1 else TYPES - 1] += 1

    cdef Py_ssize_t read_run(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
        """Reads classic data frames that follow each other without padding, most of most files; returns where something else stands.

        What is not wholly ordinary (remote, a time too large, a channel not seen yet, a cut object) is left to `read_can`, byte for byte.
        """
        cdef int64_t* t_ns = self.columns.t_ns
        cdef uint16_t* channel = self.columns.channel
        cdef uint32_t* arbitration_id = self.columns.arbitration_id
        cdef uint8_t* flags = self.columns.flags
        cdef uint8_t* length = self.columns.length
        cdef uint32_t* data_offset = self.columns.data_offset
        cdef uint8_t* data = self.columns.data
        cdef Py_ssize_t i = self.columns.count, room = self.columns.capacity
        cdef uint32_t used = self.columns.used
        cdef int64_t shift = self.shift_ns
        cdef uint64_t most = <uint64_t>0x7FFFFFFFFFFFFFFF - <uint64_t>(shift if shift > 0 else 0)
        cdef uint64_t most_10_us = most // 10000
        cdef int32_t known = -1, index = 0  # channel number and its index
        cdef const int32_t* index_of = self.numbers.index
        cdef const uint8_t* object
        cdef uint64_t signature, size_and_type, time, payload
        cdef uint32_t time_flags, size, can_id
        cdef uint16_t number
        cdef uint8_t bits, stored
        if self.max_record < LONG_FRAME:
            return at
        while i < room and end - at >= SHORT_FRAME:
            object = start + at
            memcpy(&signature, object, 8)
            memcpy(&size_and_type, object + 8, 8)
            size = <uint32_t>size_and_type
            if (
                signature & <uint64_t>0xFFFFFFFFFFFF != PLAIN_HEADER
                or (size_and_type != PLAIN_SHORT and size_and_type != PLAIN_LONG)
                or end - at < size
            ):
                break
            memcpy(&time_flags, object + 16, 4)
            memcpy(&time, object + 24, 8)
            memcpy(&number, object + 32, 2)
            bits, stored = object[34], object[35]
            memcpy(&can_id, object + 36, 4)
            memcpy(&payload, object + 40, 8)
            if bits & 0x80:
                break
            if time_flags & TIME_IS_NS:
                if time > most:
                    break
            else:
                if time > most_10_us:
                    break
                time *= 10000
            if number != known:
                index = index_of[number]
                if index < 0:
                    break
                known = number
            if stored < 8:
                payload &= ~(~<uint64_t>0 << 8 * stored)
            else:
                stored = 8
            t_ns[i] = <int64_t>time + shift
            channel[i] = <uint16_t>index
            arbitration_id[i] = can_id & EXTENDED_IDS
            flags[i] = (TX if bits & 1 else 0) | (EXTENDED if can_id & EXTENDED_BIT else 0)
            length[i] = stored
            data_offset[i] = used
            memcpy(data + used, &payload, 8)
            used += 8
            i += 1
            at += size
        self.columns.total += i - self.columns.count
        self.columns.count = i
        self.columns.used = used
        return at

    cdef int read_can(self, Cursor* cur, const Head* head) except -1 nogil:
        """One CAN object; READ, or the reason why it could not be read."""
        cdef uint32_t flags
        cdef uint64_t time
        cdef uint64_t unit = 1
        if left(cur) < <size_t>head.header_size + 8:
            return TOO_SHORT
        skip(cur, BASE_HEADER)
        flags = read_u32(cur)
        skip(cur, 4)
        time = read_u64(cur)
        if not flags & TIME_IS_NS:
            unit = 10000
        if time > <uint64_t>0x7FFFFFFFFFFFFFFF // unit:
            return BAD_TIME
        time *= unit
        if self.shift_ns > 0 and time > <uint64_t>0x7FFFFFFFFFFFFFFF - <uint64_t>self.shift_ns:
            return BAD_TIME
        skip(cur, head.header_size - FULL_HEADER)
        if head.kind == CAN_MESSAGE or head.kind == CAN_MESSAGE2:
            return self.read_classic(cur, <int64_t>time + self.shift_ns)
        if head.kind == CAN_FD_MESSAGE_64:
            return self.read_fd_64(cur, head, <int64_t>time + self.shift_ns)
        if head.kind == CAN_FD_MESSAGE:
            return self.read_fd(cur, <int64_t>time + self.shift_ns)
        # Error objects begin with the channel: u16 in types 2 and 73, u8 in type 104.
        if head.kind == CAN_FD_ERROR_64:
            return self.push(<int64_t>time + self.shift_ns, read_u8(cur), 0, ERROR, cur.at, 0)
        return self.push(<int64_t>time + self.shift_ns, read_u16(cur), 0, ERROR, cur.at, 0)

    cdef int push(self, int64_t t_ns, uint16_t number, uint32_t can_id, uint8_t flags, const uint8_t* data, int length) noexcept nogil:
        cdef int channel = self.numbers.index_of(number)
        if channel < 0:
            return TOO_MANY_CHANNELS
        if flags & REMOTE:
            length = 0
        if can_id & EXTENDED_BIT:
            flags |= EXTENDED
        memcpy(self.columns.push(t_ns, channel, can_id & EXTENDED_IDS, flags, length), data, length)
        return READ

    cdef int read_classic(self, Cursor* cur, int64_t t_ns) except -1 nogil:
        # u16 channel, u8 flags (1 Tx, 0x80 remote), u8 dlc, u32 id, 8 data bytes; the DLC may be anything
        cdef uint16_t number = read_u16(cur)
        cdef uint8_t bits = read_u8(cur)
        cdef uint8_t length = read_u8(cur)
        cdef uint32_t can_id = read_u32(cur)
        if length > 8:
            length = 8
        if left(cur) < length and not bits & 0x80:
            return TOO_SHORT
        return self.push(t_ns, number, can_id, (TX if bits & 1 else 0) | (REMOTE if bits & 0x80 else 0), cur.at, length)

    cdef int read_fd(self, Cursor* cur, int64_t t_ns) except -1 nogil:
        # u16 channel, u8 flags, u8 dlc, u32 id, u32 frame length, u8 bits, u8 FD flags (1 EDL, 2 BRS, 4 ESI), u8 valid bytes, 5 unused, data
        cdef uint16_t number = read_u16(cur)
        cdef uint8_t bits = read_u8(cur)
        cdef uint8_t fd_bits, length
        cdef uint8_t flags = (TX if bits & 1 else 0) | (REMOTE if bits & 0x80 else 0)
        skip(cur, 1)
        cdef uint32_t can_id = read_u32(cur)
        if left(cur) < 12:
            return TOO_SHORT
        skip(cur, 5)
        fd_bits = read_u8(cur)
        length = read_u8(cur)
        skip(cur, 5)
        if length > MAX_PAYLOAD:
            return BAD_LENGTH
        flags |= (FD if fd_bits & 1 else 0) | (BRS if fd_bits & 2 else 0) | (ESI if fd_bits & 4 else 0)
        return self.push(t_ns, number, can_id, flags, cur.at, <int>min(<size_t>length, left(cur)))

    cdef int read_fd_64(self, Cursor* cur, const Head* head, int64_t t_ns) except -1 nogil:
        # u8 channel, u8 dlc, u8 valid bytes, u8 tx count, u32 id, u32 frame length, u32 flags, u32 x 2 bit timing, u32 x 2 offsets,
        # u16 bits, u8 direction, u8 offset of extra data, u32 crc, data
        if left(cur) < FD64_FIXED:
            return TOO_SHORT
        cdef uint8_t number = read_u8(cur)
        skip(cur, 1)
        cdef uint8_t length = read_u8(cur)
        skip(cur, 1)
        cdef uint32_t can_id = read_u32(cur)
        skip(cur, 4)
        cdef uint32_t bits = read_u32(cur)
        skip(cur, 18)
        cdef uint8_t direction = read_u8(cur)
        cdef uint32_t data_end = read_u8(cur)
        cdef uint32_t data_start = <uint32_t>head.header_size + FD64_FIXED
        skip(cur, 4)
        cdef uint8_t flags = TX if direction == 1 or direction == 2 else 0
        if length > MAX_PAYLOAD:
            return BAD_LENGTH
        if data_end < data_start or data_end > head.size:  # 0: no extra data
            data_end = head.size
        if length > data_end - data_start:
            length = <uint8_t>(data_end - data_start)
        flags |= (REMOTE if bits & 0x10 else 0) | (FD if bits & 0x1000 else 0) | (BRS if bits & 0x2000 else 0) | (ESI if bits & 0x4000 else 0)
        return self.push(t_ns, number, can_id, flags, cur.at, length)

    def walk(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads objects of `window` from `at` on; `base` is the stream offset of the window, `final` says that the stream ends with it.

        Returns the first byte not used; `status` says why, and `object_at` and `object_size` what was met.
        """
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        cdef const uint8_t* start = &window[0] if window.shape[0] else NULL
        cdef Py_ssize_t used
        with nogil:
            used = self.walk_objects(start, at, window.shape[0], base, final)
        return used

    def resume_after_loss(self, int64_t offset):
        """The stream goes on at `offset` behind a gap: what stands there before the next object is the rest of a lost one."""
        self.recovered(offset)
        self.skip_left = 0
        self.damaged(offset, CUT)

    def drain_bad(self):
        """The spans that were not read since the last call: (offset in the stream, length, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out

    def damage_pending(self):
        """Where a damaged span began that has not ended yet, or -1."""
        return self.damage_at

    def skipped_counts(self):
        """Objects that were read over, by type number; the last number stands for all from there on."""
        return {kind: self.kinds[kind] for kind in range(TYPES) if self.kinds[kind]}
