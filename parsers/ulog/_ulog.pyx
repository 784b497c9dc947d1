"""Walks the messages of a ULog file without the GIL: rows of every topic are gathered and then turned into columns."""

cimport cython
import numpy as np
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from parsers.ulog._plausible cimport body_fits, is_known, is_printable

cdef enum:
    HEAD = 3  # u16 size of what follows, u8 type
    FILE_HEADER = 16
    LONGEST = 65538  # bytes of a message with its head
    ID_BYTES = 2  # of a data message, before its fields
    MOST_HOPS = 4  # messages of unknown types in a row
    IDS = 65536
    KINDS = 256
    BAD_ROOM = 256
    CHUNK_BYTES = 32768  # rows turned into columns at a time: they stay in the first cache
    FIRST_ROWS = 16

    # Why walk returned
    MORE = 0  # needs bytes behind the window
    CONTROL = 1  # a message for Python stands at message_at
    FILE_START = 2  # another file begins at message_at
    FLUSH = 3  # full_topic has a whole block, or all topics together hold too much (-1)
    DRAIN = 4
    NO_MEMORY = 5

    # What check says of a message
    GOOD = 0
    BAD = 1
    UNKNOWN = 2
    CUT_SHORT = 3

    # Why bytes were not read
    NO_MESSAGE = 1
    CUT
    NO_SUBSCRIPTION
    BAD_DATA_SIZE
    BAD_TIME
    BAD_CONTENT

    # How a field is stored
    ONE = 1
    TWO = 2
    FOUR = 4
    EIGHT = 8
    FLOAT = 9
    TEXT = 10

STATUS_MORE = MORE
STATUS_CONTROL = CONTROL
STATUS_FILE_START = FILE_START
STATUS_FLUSH = FLUSH
KIND_FLOAT = FLOAT
KIND_TEXT = TEXT
LONGEST_MESSAGE = LONGEST

REASONS = {
    NO_MESSAGE: "no message begins where one should",
    CUT: "data ends inside a message",
    NO_SUBSCRIPTION: "data message of an id that has no subscription",
    BAD_DATA_SIZE: "data message has not the length of its format",
    BAD_TIME: "time of a data message is beyond the year 2262",
    BAD_CONTENT: "content of a message is not what its type demands",
}

REASON_CUT = REASONS[CUT]

cdef uint64_t MOST_US = 9223372036854775  # int64 nanoseconds
cdef const uint8_t* MAGIC = b"ULog\x01\x12\x35"


cdef struct BadSpan:
    int64_t offset
    int64_t length
    int64_t count
    int reason


cdef struct Topic:
    uint8_t* rows  # row_size bytes each
    int64_t* t_ns
    Py_ssize_t count
    Py_ssize_t capacity
    Py_ssize_t most  # rows of one block
    int64_t read_over  # data messages that were only counted
    uint64_t last_time  # as written, with the wraps of narrow clocks added
    int32_t row_size  # bytes of all fields; -1: its messages are read over
    int32_t least_size  # without the padding at the end, which may be left out
    int32_t time_offset
    int32_t time_width


cdef inline uint16_t u16_at(const uint8_t* at) noexcept nogil:
    return <uint16_t>(at[0] | at[1] << 8)


cdef void transpose(
    const uint8_t* rows, Py_ssize_t count, Py_ssize_t row_size, const int32_t[:, ::1] fields, uint8_t** out
) noexcept nogil:
    """Rows to columns. A field is (offset in the row, kind, bytes); `out` has where each column begins."""
    cdef Py_ssize_t chunk = max(1, CHUNK_BYTES // row_size)
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t n, i, f
    cdef const uint8_t* at
    cdef Py_ssize_t width
    cdef int kind
    cdef float single
    cdef uint8_t* ones
    cdef uint16_t* twos
    cdef uint32_t* fours
    cdef uint64_t* eights
    cdef double* doubles
    while done < count:
        n = min(chunk, count - done)
        for f in range(fields.shape[0]):
            at = rows + done * row_size + fields[f, 0]
            kind = fields[f, 1]
            if kind == FLOAT:
                doubles = <double*>out[f] + done
                for i in range(n):
                    memcpy(&single, at + i * row_size, 4)
                    doubles[i] = single
            elif kind == ONE:
                ones = out[f] + done
                for i in range(n):
                    ones[i] = at[i * row_size]
            elif kind == TWO:
                twos = <uint16_t*>out[f] + done
                for i in range(n):
                    memcpy(&twos[i], at + i * row_size, 2)
            elif kind == FOUR:
                fours = <uint32_t*>out[f] + done
                for i in range(n):
                    memcpy(&fours[i], at + i * row_size, 4)
            elif kind == EIGHT:
                eights = <uint64_t*>out[f] + done
                for i in range(n):
                    memcpy(&eights[i], at + i * row_size, 8)
            else:
                width = fields[f, 2]
                for i in range(n):
                    memcpy(out[f] + (done + i) * width, at + i * row_size, <size_t>width)
        done += n


@cython.final
cdef class UlogScanner:
    """The messages of one file. Topic 0 is what has no room or no layout; the others are made with add_topic.

    After a damaged place the next message is looked for that is itself plausible and has a plausible one behind it (or is the sync
    message); everything between is one bad span.
    """

    cdef Topic* topics
    cdef int topic_count
    cdef int topic_room
    cdef int32_t* topic_of  # by message id; -1: no subscription
    cdef int64_t kinds[KINDS]
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef int64_t damage_at  # where the damaged span began, -1 outside of one
    cdef int damage_reason  # when no message follows; otherwise it was none that began there
    cdef int64_t held  # bytes of all row buffers
    cdef int64_t budget
    cdef list layouts  # (fields, dtypes) by topic
    cdef readonly int status
    cdef readonly Py_ssize_t message_at
    cdef readonly Py_ssize_t message_size
    cdef readonly int full_topic
    cdef readonly int64_t last_us  # time of the last data message
    cdef readonly int64_t rows_read

    def __cinit__(self, int most_topics, int64_t budget):
        if not 0 < most_topics <= IDS:
            raise ValueError("1 to 65,536 topics")
        self.topic_room = most_topics + 1
        self.topics = <Topic*>calloc(<size_t>self.topic_room, sizeof(Topic))
        self.topic_of = <int32_t*>calloc(IDS, sizeof(int32_t))
        if self.topics == NULL or self.topic_of == NULL:
            raise MemoryError
        memset(self.kinds, 0, sizeof(self.kinds))
        self.topics[0].row_size = -1
        self.topic_count = 1
        self.layouts = [None]
        self.budget = budget
        self.damage_at = -1
        self.forget_ids()

    def __dealloc__(self):
        cdef int i
        if self.topics != NULL:
            for i in range(self.topic_count):
                free(self.topics[i].rows)
                free(self.topics[i].t_ns)
        free(self.topics)
        free(self.topic_of)

    # --- topics

    def forget_ids(self):
        """No id has a subscription."""
        memset(self.topic_of, 0xFF, IDS * sizeof(int32_t))

    def add_topic(self, int row_size, int least_size, int time_offset, int time_width, fields, list dtypes, Py_ssize_t most_rows):
        """The number of a new topic, 0 when there is no room.

        `fields` is an int32 array of (offset, kind, bytes); the dtype of a text is None. Raises ValueError for a layout that leaves its row.
        """
        if not 0 <= time_offset or time_width not in (1, 2, 4, 8) or time_offset + time_width > least_size:
            raise ValueError("no time in the row")
        if not 0 < least_size <= row_size <= LONGEST or most_rows < 1 or len(fields) != len(dtypes):
            raise ValueError("impossible layout")
        for (offset, kind, width), dtype in zip(fields.tolist(), dtypes, strict=True):
            if (4 if kind == FLOAT else width) != width or offset < 0 or width < 1 or offset + width > row_size:
                raise ValueError("field outside of the row")
            if kind not in (FLOAT, TEXT) and (kind != width or np.dtype(dtype).itemsize != width):
                raise ValueError("field does not fit its column")
        if self.topic_count >= self.topic_room:
            return 0
        cdef Topic* topic = &self.topics[self.topic_count]
        topic.row_size = row_size
        topic.least_size = least_size
        topic.time_offset = time_offset
        topic.time_width = time_width
        topic.most = most_rows
        self.layouts.append((np.ascontiguousarray(fields, np.int32).reshape(-1, 3), dtypes))
        self.topic_count += 1
        return self.topic_count - 1

    def subscribe(self, uint16_t message_id, int topic):
        """Data messages of the id are rows of the topic from now on; -1 ends the subscription."""
        if not -1 <= topic < self.topic_count:
            raise ValueError("no such topic")
        self.topic_of[message_id] = topic

    def rows_of(self, int topic):
        """Rows gathered and not taken."""
        return self.topics[topic].count if 0 <= topic < self.topic_count else 0

    def read_over(self):
        """Data messages that were counted only."""
        return self.topics[0].read_over

    def take(self, int index):
        """The gathered rows of a topic: t_ns and one array per field, a text as (rows, bytes) uint8; the topic is empty then."""
        if not 0 < index < self.topic_count:
            raise ValueError("no such topic")
        cdef Topic* topic = &self.topics[index]
        cdef Py_ssize_t n = topic.count
        fields, dtypes = self.layouts[index]
        cdef const int32_t[:, ::1] layout = fields
        columns = [
            np.empty((n, width), np.uint8) if dtype is None else np.empty(n, dtype)
            for (_, _, width), dtype in zip(fields.tolist(), dtypes, strict=True)
        ]
        t_ns = np.empty(n, np.int64)
        cdef int64_t[::1] times = t_ns
        cdef uint8_t[::1] raw
        cdef Py_ssize_t i
        cdef uint8_t** out
        if n:
            out = <uint8_t**>calloc(<size_t>len(columns) + 1, sizeof(uint8_t*))
            if out == NULL:
                raise MemoryError
            try:
                for i, column in enumerate(columns):
                    raw = column.reshape(-1).view(np.uint8)
                    out[i] = &raw[0]
                with nogil:
                    memcpy(&times[0], topic.t_ns, <size_t>n * sizeof(int64_t))
                    transpose(topic.rows, n, topic.row_size, layout, out)
            finally:
                free(out)
        topic.count = 0
        return t_ns, columns

    def release(self):
        """Gives back the memory of all row buffers; what they hold must have been taken."""
        cdef int i
        for i in range(self.topic_count):
            if self.topics[i].count:
                raise ValueError("rows have not been taken")
            free(self.topics[i].rows)
            free(self.topics[i].t_ns)
            self.topics[i].rows = NULL
            self.topics[i].t_ns = NULL
            self.topics[i].capacity = 0
        self.held = 0

    cdef int grow(self, Topic* topic) noexcept nogil:
        """Makes room for a row: 0, or the status that walk returns with."""
        cdef Py_ssize_t capacity = min(topic.most, max(FIRST_ROWS, 2 * topic.capacity))
        cdef int64_t more = (capacity - topic.capacity) * (topic.row_size + <int64_t>sizeof(int64_t))
        cdef void* grown
        if topic.capacity >= topic.most:
            self.full_topic = <int>(topic - self.topics)
            return FLUSH
        if self.held and self.held + more > self.budget:
            self.full_topic = -1
            return FLUSH
        grown = realloc(topic.rows, <size_t>capacity * <size_t>topic.row_size)
        if grown == NULL:
            return NO_MEMORY
        topic.rows = <uint8_t*>grown
        grown = realloc(topic.t_ns, <size_t>capacity * sizeof(int64_t))
        if grown == NULL:
            return NO_MEMORY
        topic.t_ns = <int64_t*>grown
        topic.capacity = capacity
        self.held += more
        return 0

    cdef inline bint push(self, Topic* topic, const uint8_t* row, Py_ssize_t size) noexcept nogil:
        """One row; False when its time is out of range. There is room, and `size` is at least least_size and at most row_size."""
        cdef uint64_t time = 0
        cdef uint64_t span
        cdef uint8_t* to = topic.rows + topic.count * topic.row_size
        memcpy(&time, row + topic.time_offset, 8 if topic.time_width == 8 else topic.time_width)
        if topic.time_width < 8:  # narrow clocks only go on: a smaller number is a wrap
            span = <uint64_t>1 << 8 * topic.time_width
            time += topic.last_time & ~(span - 1)
            if time < topic.last_time:
                time += span
            topic.last_time = time
        if time > MOST_US:
            return False
        memcpy(to, row, <size_t>size)
        if size < topic.row_size:
            memset(to + size, 0, <size_t>(topic.row_size - size))
        topic.t_ns[topic.count] = <int64_t>time * 1000
        topic.count += 1
        self.last_us = <int64_t>time
        self.rows_read += 1
        return True

    # --- damage

    cdef void note(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        cdef BadSpan* last
        if length <= 0:
            return
        if self.bad_count:
            last = &self.bad[self.bad_count - 1]
            if last.reason == reason and last.offset + last.length == offset:
                last.length += length
                last.count += 1
                return
        last = &self.bad[self.bad_count]
        last.offset = offset
        last.length = length
        last.count = 1
        last.reason = reason
        self.bad_count += 1

    cdef void recovered(self, int64_t offset, int reason) noexcept nogil:
        self.note(self.damage_at, offset - self.damage_at, reason)
        self.damage_at = -1

    def drain_bad(self):
        """The spans that were not read since the last call: (offset, length, count, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, self.bad[i].count, REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out

    def skipped_counts(self):
        """Messages of types that are not known, by the type's byte."""
        return {kind: self.kinds[kind] for kind in range(KINDS) if self.kinds[kind]}

    # --- messages

    cdef int check(self, const uint8_t* at, Py_ssize_t rest, bint scanning) noexcept nogil:
        """Whether a message of at most `rest` bytes stands here. CUT_SHORT: its head is possible and its end lies behind the bytes."""
        cdef Py_ssize_t size
        cdef uint8_t kind
        cdef int32_t topic
        if rest < HEAD:
            return CUT_SHORT
        size = u16_at(at)
        kind = at[2]
        if not is_known(kind):
            return UNKNOWN if size and is_printable(kind) and not scanning else BAD
        if kind == 0x44:
            if size < ID_BYTES:
                return BAD
            if rest < HEAD + ID_BYTES:
                return CUT_SHORT
            topic = self.topic_of[u16_at(at + HEAD)]
            if topic < 0 or (scanning and topic == 0):
                return BAD
            if topic and not self.topics[topic].least_size <= size - ID_BYTES <= self.topics[topic].row_size:
                return BAD
            return GOOD if rest >= HEAD + size else CUT_SHORT
        if rest < HEAD + size:
            return CUT_SHORT
        return GOOD if body_fits(kind, at + HEAD, size, scanning) else BAD

    cdef int follows(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, bint final) noexcept nogil:
        """Whether a message that is not understood may be trusted in its length: behind it (and a few like it) stands a good one."""
        cdef int hop, outcome
        for hop in range(MOST_HOPS):
            if u16_at(start + at) == 0:
                return BAD
            at += HEAD + u16_at(start + at)
            if at == end and final:
                return GOOD
            if at > end:
                return BAD if final else CUT_SHORT
            if end - at >= FILE_HEADER and memcmp(start + at, MAGIC, 7) == 0:
                return GOOD
            outcome = self.check(start + at, end - at, False)
            if outcome == CUT_SHORT:
                return BAD if final else CUT_SHORT
            if outcome != UNKNOWN:
                return outcome
        return BAD

    cdef Py_ssize_t search(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, bint final) noexcept nogil:
        """The next message behind damage, or the negated first byte (minus 1) that has to be looked at again with more bytes behind it."""
        cdef Py_ssize_t last = end if final else end - 2 * LONGEST
        cdef Py_ssize_t after
        while at < last:
            if end - at >= FILE_HEADER and start[at] == 0x55 and memcmp(start + at, MAGIC, 7) == 0:
                return at
            if end - at > HEAD and is_known(start[at + 2]) and self.check(start + at, end - at, True) == GOOD:
                after = at + HEAD + u16_at(start + at)
                if start[at + 2] == 0x53 or (after == end and final) or self.check(start + after, end - after, True) == GOOD:
                    return at
            at += 1
        return -1 - at

    cdef Py_ssize_t walk_messages(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final) noexcept nogil:
        cdef Py_ssize_t size, found
        cdef uint8_t kind
        cdef Topic* topic
        cdef int32_t index
        cdef int outcome
        while True:
            if self.bad_count >= BAD_ROOM - 2:
                self.status = DRAIN
                return at
            if self.damage_at >= 0:
                found = self.search(start, at, end, final)
                if found < 0:
                    at = -1 - found
                    self.status = MORE
                    if final:
                        self.recovered(base + at, self.damage_reason)
                    return at
                at = found
                self.recovered(base + at, NO_MESSAGE)
            if end - at < HEAD:
                self.status = MORE
                if final:
                    self.note(base + at, end - at, CUT)
                    return end
                return at
            size = u16_at(start + at)
            kind = start[at + 2]
            if kind == 0x44 and size >= ID_BYTES and end - at >= HEAD + size:
                index = self.topic_of[u16_at(start + at + HEAD)]
                if index > 0:
                    topic = &self.topics[index]
                    if topic.least_size <= size - ID_BYTES <= topic.row_size:
                        if topic.count == topic.capacity:
                            outcome = self.grow(topic)
                            if outcome:
                                self.status = outcome
                                return at
                        if not self.push(topic, start + at + HEAD + ID_BYTES, size - ID_BYTES):
                            self.note(base + at, HEAD + size, BAD_TIME)
                            if self.bad_count >= BAD_ROOM - 2:
                                self.status = DRAIN
                                return at + HEAD + size
                        at += HEAD + size
                        continue
                elif index == 0:
                    self.topics[0].read_over += 1
                    at += HEAD + size
                    continue
            if start[at] == 0x55 and end - at >= FILE_HEADER and memcmp(start + at, MAGIC, 7) == 0:
                self.status = FILE_START
                self.message_at = at
                return at
            outcome = self.check(start + at, end - at, False)
            if outcome == GOOD and kind == 0x53:
                at += HEAD + size
                continue
            if outcome == GOOD:
                self.status = CONTROL
                self.message_at = at
                self.message_size = HEAD + size
                return at
            if outcome == CUT_SHORT:
                if not final:
                    self.status = MORE
                    return at
                if kind == 0x44:  # the head was checked as a whole
                    self.note(base + at, end - at, CUT)
                    self.status = MORE
                    return end
            else:
                found = self.follows(start, at, end, final)
                if found == CUT_SHORT and end - at < (MOST_HOPS + 1) * LONGEST:
                    self.status = MORE
                    return at
                if found == GOOD and outcome == UNKNOWN:
                    self.kinds[kind] += 1
                    at += HEAD + size
                    continue
                if found == GOOD:
                    self.note(base + at, HEAD + size, self.reason_of(start + at))
                    at += HEAD + size
                    continue
            self.damage_at = base + at
            self.damage_reason = CUT if outcome == CUT_SHORT else NO_MESSAGE
            at += 1

    cdef int reason_of(self, const uint8_t* at) noexcept nogil:
        """Why a message that is whole was not good."""
        if at[2] != 0x44 or u16_at(at) < ID_BYTES:
            return BAD_CONTENT
        return NO_SUBSCRIPTION if self.topic_of[u16_at(at + HEAD)] < 0 else BAD_DATA_SIZE

    def walk(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads messages of `window` from `at` on; `base` is the file offset of the window, `final` says that the data ends with it.

        Returns the first byte not used; `status` says why. Raises MemoryError.
        """
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        cdef const uint8_t* start = &window[0] if window.shape[0] else NULL
        cdef Py_ssize_t used
        with nogil:
            used = self.walk_messages(start, at, window.shape[0], base, final)
        if self.status == NO_MEMORY:
            raise MemoryError
        return used
