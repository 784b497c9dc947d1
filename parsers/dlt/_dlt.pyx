"""Walks the messages of a DLT file into message columns; finds the next one again behind damage."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from parsers._core.messages cimport (
    LEVEL_DEBUG, LEVEL_ERROR, LEVEL_FATAL, LEVEL_INFO, LEVEL_NONE, LEVEL_TRACE, LEVEL_WARNING, MessageColumns, no_time,
)
from parsers.dlt._header cimport (
    BAD_LENGTH, LAYOUTS, MOST_HEAD, NEED, NOT_HERE, DltMessage, is_magic, message_size, read_header, read_storage, stamp_plausible,
    storage_size,
)
from parsers.dlt._text cimport (
    FILE_DATA, FILE_START, NETWORK_SEGMENT, ORDINARY, READ, SOFTWARE_VERSION, TEXT_REASONS, TIME_ZONE, kind_of, put_payload,
)

STATUS_MORE, STATUS_FULL, STATUS_DRAIN = range(3)

cdef enum:
    MORE = 0  # the window is used up
    FULL = 1  # the block is
    DRAIN = 2  # the list of bad spans is

    BAD_ROOM = 64
    CACHED = 64
    MOST_NOTES = 1000
    NOTE_BYTES = 4096

    # Reasons of lost spans
    NO_MESSAGE = 0
    WRONG_LENGTH = 1
    BAD_NAMES = 2
    CUT = 3

LOST_REASONS = (
    "not the beginning of a message",
    "the length of the message is wrong",
    "a name is longer than its message",
    "the file ends in a message",
)
REMARKS = (
    "",
    "an argument is not what its type info says; the rest of the message is shown as bytes",
    "fewer arguments than announced",
    "bytes behind the last argument",
    "the payload is shorter than its message id",
)

cdef struct BadSpan:
    int64_t offset
    int64_t length
    int reason


cdef struct Cached:
    uint8_t key[12]  # ECU, application, context as in version 1
    int32_t source  # -1: empty


cdef inline uint8_t level_of(const DltMessage* message) noexcept nogil:
    """The level of a log message; traces are traces, control messages and those without extended header have none."""
    cdef int kind = message.msin >> 1 & 7, detail = message.msin >> 4
    if not message.has_extended or kind > 2:
        return LEVEL_NONE
    if kind:
        return LEVEL_TRACE
    if detail == 1:
        return LEVEL_FATAL
    if detail == 2:
        return LEVEL_ERROR
    if detail == 3:
        return LEVEL_WARNING
    if detail == 4:
        return LEVEL_INFO
    if detail == 5:
        return LEVEL_DEBUG
    return LEVEL_TRACE if detail == 6 else LEVEL_NONE


cdef inline int trimmed(const uint8_t* name, int size, int most) noexcept nogil:
    """Length of a name without the zeros that fill it up, at most `most`."""
    cdef int i
    for i in range(size if size < most else most):
        if name[i] == 0:
            return i
    return size if size < most else most


cdef object named(const uint8_t* name, int size):
    return None if name == NULL else name[: trimmed(name, size, size)]


cdef class MessageHead:
    """The headers of one message, for those who look at few: names as bytes or None, times in nanoseconds or None."""

    cdef readonly int64_t offset
    cdef readonly int version
    cdef readonly object storage_ns, storage_ecu, storage_stamp, stamp, uptime_ns, ecu, apid, ctid, msin, noar
    cdef readonly int mcnt
    cdef readonly bytes payload


cdef MessageHead head_of(const DltMessage* message, int64_t offset):
    cdef MessageHead head = MessageHead.__new__(MessageHead)
    head.offset = offset
    head.version = message.version
    head.mcnt = message.mcnt
    head.storage_ns = message.storage_ns if message.has_storage or message.storage_ns else None
    head.storage_ecu = named(message.storage_ecu, message.storage_ecu_size)
    head.storage_stamp = None if message.storage_stamp == NULL else message.storage_stamp[:9]
    head.stamp = None if message.stamp == NULL else message.stamp[:9]
    head.uptime_ns = message.uptime_ns if message.has_uptime else None
    head.ecu = named(message.ecu, message.ecu_size)
    head.apid = named(message.apid, message.apid_size)
    head.ctid = named(message.ctid, message.ctid_size)
    head.msin = message.msin if message.has_extended else None
    head.noar = message.noar if message.has_extended else None
    head.payload = message.payload[: message.payload_size]
    return head


@cython.final
cdef class DltScanner:
    """Reads messages with storage headers, or (`stored` False) as they come from the wire, which may begin with `DLS\\x01`."""

    cdef readonly MessageColumns columns
    cdef bint stored
    cdef bint absolute
    cdef int layout
    cdef bint big_2
    cdef readonly int status
    cdef int64_t damage_at  # file offset where a damaged span began; -1 outside of one
    cdef int damage_reason
    cdef int64_t lost_end  # where the last lost span ended, and why it was one
    cdef int lost_reason
    cdef BadSpan bad[BAD_ROOM]
    cdef int bad_count
    cdef int64_t remarks[TEXT_REASONS]
    cdef int64_t remark_at[TEXT_REASONS]
    cdef readonly int64_t found  # messages, shown or not
    cdef readonly int64_t untimed
    cdef readonly int64_t file_data
    cdef readonly int64_t network_segments
    cdef Cached cache[CACHED]
    cdef int note_count
    cdef readonly list notes  # (kind, ECU, payload, whether it is big-endian) of messages that Python wants to see
    cdef list trace

    def __init__(self, MessageColumns columns not None, bint stored, bint absolute, int layout, bint big_2, list trace=None):
        """`layout` and `big_2` are for version 2: how storage headers write times, and the order of bytes behind them. `trace` gets the headers."""
        cdef int i
        self.columns = columns
        self.stored = stored
        self.absolute = absolute
        self.layout = layout
        self.big_2 = big_2
        self.damage_at = -1
        self.lost_end = -1
        for i in range(CACHED):
            self.cache[i].source = -1
        self.notes = []
        self.trace = trace

    cdef void note_lost(self, int64_t offset, int64_t length, int reason) noexcept nogil:
        """There is room: walk stops before it runs out."""
        self.bad[self.bad_count].offset = offset
        self.bad[self.bad_count].length = length
        self.bad[self.bad_count].reason = reason
        self.bad_count += 1
        self.lost_end = offset + length
        self.lost_reason = reason

    cdef void damaged(self, int64_t offset, int reason) noexcept nogil:
        """Damage begins, or goes on from the span before."""
        if self.damage_at >= 0:
            return
        self.damage_at = offset
        self.damage_reason = reason
        if offset == self.lost_end:
            self.damage_reason = self.lost_reason
            if self.bad_count:
                self.bad_count -= 1
                self.damage_at = self.bad[self.bad_count].offset

    cdef void recovered(self, int64_t offset) noexcept nogil:
        if self.damage_at >= 0:
            if offset > self.damage_at:
                self.note_lost(self.damage_at, offset - self.damage_at, self.damage_reason)
            self.damage_at = -1

    cdef Py_ssize_t prefix_size(self, const uint8_t* at, const uint8_t* end) noexcept nogil:
        """Bytes before the message itself: a storage header, or what serial lines put there."""
        if self.stored:
            return storage_size(at, end)
        if end - at < 4:
            return 0
        return 4 if at[0] == 0x44 and at[1] == 0x4C and at[2] == 0x53 and at[3] == 1 else 0

    cdef Py_ssize_t whole_size(self, const uint8_t* at, const uint8_t* end, Py_ssize_t* prefix) noexcept nogil:
        """Bytes of prefix and message at `at`; NEED, NOT_HERE or BAD_LENGTH."""
        cdef Py_ssize_t size
        prefix[0] = self.prefix_size(at, end)
        if prefix[0] < 0:
            return prefix[0]
        if end - at < prefix[0]:
            return NEED
        size = message_size(at + prefix[0], end, not self.stored, self.big_2)
        return size if size < 0 else prefix[0] + size

    cdef Py_ssize_t find(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, bint final) noexcept nogil:
        """The next place from `at` on where a message begins; -1 - n when there is none before n."""
        cdef const uint8_t* hit
        cdef Py_ssize_t size, prefix = 0
        if self.stored:
            while end - at >= 4:
                hit = <const uint8_t*>memchr(start + at, 0x44, <size_t>(end - at - 3))
                if hit == NULL:
                    at = end - 3
                    break
                at = hit - start
                if is_magic(hit):
                    return at
                at += 1
            return -1 - (end if final else at)
        while at < end:
            size = self.whole_size(start + at, start + end, &prefix)
            if size == NEED and not final:
                return -1 - at
            if size > 0:
                if at + size == end and final:
                    return at
                if end - at - size < MOST_HEAD and not final:
                    return -1 - at
                if at + size < end and self.whole_size(start + at + size, start + end, &prefix) > 0:
                    return at
            at += 1
        return -1 - end

    cdef int follows(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, bint final) noexcept nogil:
        """Whether a message, or the end of the file, comes at `at`; NEED when that cannot be told yet."""
        cdef Py_ssize_t size, prefix = 0
        if final and at == end:
            return True
        if self.stored:
            if end - at >= 4:
                return is_magic(start + at)
            return 0 if final else NEED
        if end - at < MOST_HEAD and not final:
            return NEED
        size = self.whole_size(start + at, start + end, &prefix)
        return size > 0 or size == NEED

    cdef Py_ssize_t walk_messages(self, const uint8_t* start, Py_ssize_t at, Py_ssize_t end, int64_t base, bint final) noexcept nogil:
        cdef Py_ssize_t size, found, prefix = 0
        while True:
            self.status = FULL
            if self.columns.is_full():
                return at
            self.status = DRAIN
            if self.bad_count >= BAD_ROOM - 2:
                return at
            self.status = MORE
            if self.damage_at >= 0:
                found = self.find(start, at, end, final)
                at = found if found >= 0 else -1 - found
                if found >= 0 or final:
                    self.recovered(base + at)
                if found < 0:
                    return at
            if at == end:
                return at
            size = self.whole_size(start + at, start + end, &prefix)
            if size == NOT_HERE or size == BAD_LENGTH:
                self.damaged(base + at, NO_MESSAGE if size == NOT_HERE else WRONG_LENGTH)
                at += 1
            elif size == NEED or end - at < size:
                if not final:
                    return at
                found = self.find(start, at + 1, end, True)
                self.damaged(base + at, WRONG_LENGTH if found >= 0 else CUT)
                at = found if found >= 0 else end
                self.recovered(base + at)
            else:
                found = self.take_message(start, at, prefix, size, end, base, final)
                if found < 0:
                    return at
                at = found

    cdef Py_ssize_t take_message(
        self, const uint8_t* start, Py_ssize_t at, Py_ssize_t prefix, Py_ssize_t size, Py_ssize_t end, int64_t base, bint final
    ) noexcept nogil:
        """Reads the message of `size` bytes and gives where to go on; NEED when it cannot be told yet whether its length is right."""
        cdef Py_ssize_t found
        cdef int next_fits = self.follows(start, at + size, end, final)
        if next_fits == NEED:
            return NEED
        if not next_fits and self.stored:
            found = self.find(start, at + 4, at + size, True)
            if found >= 0:  # the next message begins inside of this one
                self.damaged(base + at, WRONG_LENGTH)
                self.recovered(base + found)
                return found
        if not self.read_message(start + at, prefix, size, base + at):
            self.damaged(base + at, BAD_NAMES)
            self.recovered(base + at + size)
        if not next_fits:
            self.damaged(base + at + size, NO_MESSAGE)
        return at + size

    cdef bint read_message(self, const uint8_t* at, Py_ssize_t prefix, Py_ssize_t size, int64_t offset) noexcept nogil:
        """The message of `size` bytes at `at`; False when its header does not fit into it."""
        cdef DltMessage message
        cdef int kind, outcome
        cdef int64_t t_ns = no_time()
        if self.stored:
            read_storage(at, &message, self.layout)
        else:
            memset(&message, 0, sizeof(message))
        if not read_header(at + prefix, at + size, &message, self.big_2):
            return False
        self.found += 1
        if self.trace is not None:
            with gil:
                self.trace.append(head_of(&message, offset))
            return True
        kind = kind_of(&message)
        if kind != ORDINARY:
            if kind == FILE_DATA:
                self.file_data += 1
                return True
            if kind == NETWORK_SEGMENT:
                self.network_segments += 1
                return True
            if self.note_count < MOST_NOTES:
                self.note_count += 1
                with gil:
                    self.keep_note(kind, &message)
        if self.absolute:
            if message.storage_ns:
                t_ns = message.storage_ns
        elif message.has_uptime:
            t_ns = message.uptime_ns
        self.untimed += t_ns == no_time()
        outcome = put_payload(self.columns, &message)
        if outcome != READ:
            if self.remarks[outcome] == 0:
                self.remark_at[outcome] = offset
            self.remarks[outcome] += 1
        self.columns.end(t_ns, level_of(&message), self.source_of(&message))
        return True

    cdef int32_t source_of(self, const DltMessage* message) noexcept nogil:
        """The number of `ECU/application/context`, or of the ECU alone."""
        cdef const uint8_t* ecu = message.ecu
        cdef int ecu_size = message.ecu_size
        cdef uint8_t name[64]
        cdef Cached* cached = NULL
        cdef uint8_t key[12]
        cdef uint32_t first, second, third
        cdef int n, apid_size, ctid_size
        if ecu == NULL:
            ecu = message.storage_ecu
            ecu_size = message.storage_ecu_size
        if ecu_size == 4 and message.apid_size == 4 and message.ctid_size == 4:
            memcpy(key, ecu, 4)
            memcpy(key + 4, message.apid, 4)
            memcpy(key + 8, message.ctid, 4)
            memcpy(&first, key, 4)
            memcpy(&second, key + 4, 4)
            memcpy(&third, key + 8, 4)
            cached = &self.cache[(first * <uint32_t>0x9E3779B1 ^ second * <uint32_t>0x85EBCA77 ^ third * <uint32_t>0xC2B2AE3D) >> 26]
            if cached.source >= 0 and memcmp(cached.key, key, 12) == 0:
                return cached.source
        n = trimmed(ecu, ecu_size, 20)
        memcpy(name, ecu, n)
        apid_size = trimmed(message.apid, message.apid_size, 20)
        ctid_size = trimmed(message.ctid, message.ctid_size, 20)
        if apid_size or ctid_size:
            name[n] = 0x2F
            memcpy(name + n + 1, message.apid, apid_size)
            n += 1 + apid_size
            name[n] = 0x2F
            memcpy(name + n + 1, message.ctid, ctid_size)
            n += 1 + ctid_size
        n = self.columns.source_of(name, n)
        if cached != NULL:
            memcpy(cached.key, key, 12)
            cached.source = n
        return n

    cdef int keep_note(self, int kind, const DltMessage* message) except -1:
        cdef Py_ssize_t size = message.payload_size if message.payload_size < NOTE_BYTES else NOTE_BYTES
        ecu = named(message.ecu, message.ecu_size) or named(message.storage_ecu, message.storage_ecu_size) or b""
        self.notes.append((kind, ecu, message.payload[:size], bool(message.big_endian)))
        return 0

    def walk(self, const uint8_t[::1] window not None, Py_ssize_t at, int64_t base, bint final):
        """Reads messages of `window` from `at` on; `base` is the file offset of the window, `final` says that the file ends with it.

        Returns the first byte not used; `status` says why.
        """
        cdef Py_ssize_t used
        if not 0 <= at <= window.shape[0]:
            raise ValueError("start outside of the window")
        if window.shape[0] == 0:
            return 0
        with nogil:
            used = self.walk_messages(&window[0], at, window.shape[0], base, final)
        return used

    def drain_bad(self):
        """The spans that were lost since the last call: (offset, length, sentence)."""
        out = [(self.bad[i].offset, self.bad[i].length, LOST_REASONS[self.bad[i].reason]) for i in range(self.bad_count)]
        self.bad_count = 0
        return out

    def drain_remarks(self):
        """What was wrong with messages that were read, since the last call: (offset of the first one, count, sentence)."""
        out = [(self.remark_at[i], self.remarks[i], REMARKS[i]) for i in range(TEXT_REASONS) if self.remarks[i]]
        memset(self.remarks, 0, sizeof(self.remarks))
        return out


def chain(const uint8_t[::1] head not None, bint stored, bint big_2=True):
    """How many messages follow each other from the first byte on, and whether they reach the end of `head`.

    Without storage headers only messages of less than 8 KiB count: the length of a longer one could be two letters of a text.
    """
    cdef DltScanner scanner = DltScanner(MessageColumns(1, 1, 1, 1), stored, True, 0, big_2)
    cdef Py_ssize_t at = 0, size, prefix = 0, end = head.shape[0]
    cdef const uint8_t* start = &head[0] if end else NULL
    cdef int count = 0
    while at < end:
        size = scanner.whole_size(start + at, start + end, &prefix)
        if size == NEED or size > end - at:
            return count, True
        if size < 0 or (not stored and size - prefix >= 0x2000):
            return count, False
        at += size
        count += 1
    return count, True


def plausible_layouts(list stamps not None):
    """For each layout of the nine bytes of time in a version 2 storage header, how many of these are a time in it."""
    cdef const uint8_t[::1] stamp
    counts = [0] * LAYOUTS
    for stamp in stamps:
        if stamp.shape[0] != 9:
            raise ValueError("a stamp has nine bytes")
        for layout in range(LAYOUTS):
            counts[layout] += stamp_plausible(&stamp[0], layout)
    return counts
