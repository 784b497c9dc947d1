"""Unsorted MDF data: which record belongs to which channel group, and where the values of variable length lie."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.math cimport NAN, isnan
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

# Why a walk ended: the data end (inside a record or behind one), as many records as were asked for are found, no group has the record id,
# or a value of variable length is longer than the limit.
MORE, FULL, UNKNOWN, TOO_LONG = range(4)

TIME_REAL, TIME_SIGNED, TIME_BIG = 1, 2, 4

cdef enum:
    S_MORE = 0
    S_FULL = 1
    S_UNKNOWN = 2
    S_TOO_LONG = 3

    DIRECT = 65536  # ids below are looked up in a table
    CHAIN = 12  # records that must follow each other before damaged data are trusted again
    CHAIN_AT_END = 3  # the same where the data end earlier
    LONGEST_IN_CHAIN = 65536
    BREAK = 3
    LOOK_BACK = 4096  # records among which the last of each group is looked for
    BACK = 86400  # a second is this part of a day; records of one group may stand so far out of order
    LENGTH = 4  # a value of variable length stands behind its length, u32


    REAL = 1
    SIGNED = 2
    BIG = 4


cdef struct Group:
    uint64_t id
    int64_t size  # bytes of a record without its id; -1: u32 length and so many bytes
    bint seen
    # The time in the record: `time_size` bytes (0: it has none) at `time_offset`, as the flags REAL, SIGNED and BIG say; a whole number has
    # `time_bits` bits above `time_shift`. `last` is the last time that was met, NaN before, and `day` is a day in the same unit.
    int time_offset
    int time_size
    int time_shift
    int time_bits
    int time_flags
    double last
    double day
    int64_t turn


cdef double time_of(const Group* group, const uint8_t* record) noexcept nogil:
    """The time that stands in a record, in the unit of its group."""
    cdef uint64_t word = 0
    cdef double real
    cdef float short_real
    cdef int i
    cdef const uint8_t* at = record + group.time_offset
    for i in range(group.time_size):
        word |= <uint64_t>at[i] << 8 * (group.time_size - 1 - i if group.time_flags & BIG else i)
    if group.time_flags & REAL:
        if group.time_size == 4:
            memcpy(&short_real, &word, 4)
            return short_real
        memcpy(&real, &word, 8)
        return real
    word = (word >> group.time_shift) << (64 - group.time_bits)
    if group.time_flags & SIGNED:
        return <double>(<int64_t>word >> (64 - group.time_bits))
    return <double>(word >> (64 - group.time_bits))


@cython.final
cdef class RecordWalker:
    """Finds the records of unsorted data. `groups` are (record id, bytes or -1 for variable length, time), in the order of their numbers.

    The time is None or (offset in the record, bytes, bits below, bits, kind, a day in its unit) with the kinds TIME_REAL, TIME_SIGNED and
    TIME_BIG added up. `id_size` is 1, 2, 4 or 8 bytes. Raises ValueError for anything else.
    """

    cdef int id_size
    cdef int64_t longest
    cdef int group_count
    cdef int large_count
    cdef Group* groups
    cdef int32_t* table  # of ids below DIRECT: the number of the group
    cdef int32_t* large  # numbers of the groups with higher ids, in order of their ids
    cdef Py_ssize_t room
    cdef object group_array, position_array
    cdef uint16_t[::1] group_of
    cdef int64_t[::1] position_of
    cdef readonly Py_ssize_t count
    cdef readonly int status
    cdef int64_t turn

    def __cinit__(self, int id_size, list groups not None, int64_t longest, Py_ssize_t room):
        if id_size not in (1, 2, 4, 8) or len(groups) > 65535 or room <= 0:
            raise ValueError("record ids have 1, 2, 4 or 8 bytes")
        self.id_size = id_size
        self.longest = longest
        self.room = room
        self.group_count = len(groups)
        self.groups = <Group*>malloc(max(len(groups), 1) * sizeof(Group))
        self.table = <int32_t*>malloc(DIRECT * sizeof(int32_t))
        self.large = <int32_t*>malloc(max(len(groups), 1) * sizeof(int32_t))
        if self.groups == NULL or self.table == NULL or self.large == NULL:
            raise MemoryError
        memset(self.table, 0xFF, DIRECT * sizeof(int32_t))
        for number, (record_id, size, time) in enumerate(groups):
            self.set_group(&self.groups[number], record_id, size, time)
            if record_id < DIRECT and self.table[<int>record_id] < 0:
                self.table[<int>record_id] = number
        for record_id, number in sorted((entry[0], number) for number, entry in enumerate(groups) if entry[0] >= DIRECT):
            self.large[self.large_count] = number
            self.large_count += 1
        self.group_array = np.empty(room, np.uint16)
        self.position_array = np.empty(room, np.int64)
        self.group_of = self.group_array
        self.position_of = self.position_array

    cdef int set_group(self, Group* group, uint64_t record_id, int64_t size, object time) except -1:
        memset(group, 0, sizeof(Group))
        group.id, group.size, group.last = record_id, size, NAN
        if time is None:
            return 0
        group.time_offset, group.time_size, group.time_shift, group.time_bits, group.time_flags, group.day = time
        if not 1 <= group.time_size <= 8 or not 0 <= group.time_offset <= size - group.time_size:
            raise ValueError("a time outside of its record")
        if group.time_flags & REAL:
            if group.time_size != 4 and group.time_size != 8:
                raise ValueError("a real time of another size")
        elif not (1 <= group.time_bits <= 64 and 0 <= group.time_shift <= 7 and group.time_shift + group.time_bits <= 8 * group.time_size):
            raise ValueError("a time of other bits than it has")
        return 0

    def __dealloc__(self):
        free(self.groups)
        free(self.table)
        free(self.large)

    cdef int find(self, const uint8_t* at) noexcept nogil:
        """The number of the group whose id stands there; -1 when there is none."""
        cdef uint64_t record_id = 0
        cdef int low = 0, high = self.large_count, middle
        memcpy(&record_id, at, <size_t>self.id_size)
        if record_id < DIRECT:
            return self.table[record_id]
        while low < high:
            middle = (low + high) // 2
            if self.groups[self.large[middle]].id < record_id:
                low = middle + 1
            else:
                high = middle
        if low < self.large_count and self.groups[self.large[low]].id == record_id:
            return self.large[low]
        return -1

    cdef int64_t step(self, const uint8_t* data, int64_t at, int64_t end, int* group, int64_t longest) noexcept nogil:
        """The end of the record that begins at `at`; -1 - status when there is none."""
        cdef int64_t size
        cdef uint32_t length
        if end - at < self.id_size:
            return -1 - S_MORE
        group[0] = self.find(data + at)
        if group[0] < 0:
            return -1 - S_UNKNOWN
        at += self.id_size
        size = self.groups[group[0]].size
        if size < 0:
            if end - at < LENGTH:
                return -1 - S_MORE
            memcpy(&length, data + at, LENGTH)
            if length > longest:
                return -1 - S_TOO_LONG
            size = LENGTH + <int64_t>length
        return at + size if size <= end - at else -1 - S_MORE

    def walk(self, const uint8_t[::1] data not None, Py_ssize_t at):
        """Finds records from `at` on, at most `room`; returns the first byte that belongs to none. `status` says why it ended there."""
        cdef int64_t end = data.shape[0], behind
        cdef int group = 0
        if not 0 <= at <= end:
            raise ValueError("outside of the data")
        self.count = 0
        self.status = S_MORE
        if at == end:
            return at
        with nogil:
            while True:
                if self.count == self.room:
                    self.status = S_FULL
                    break
                behind = self.step(&data[0], at, end, &group, self.longest)
                if behind < 0:
                    self.status = <int>(-1 - behind)
                    break
                self.group_of[self.count] = <uint16_t>group
                self.position_of[self.count] = at + self.id_size
                self.count += 1
                at = behind
            self.remember(&data[0])
        return at

    cdef void remember(self, const uint8_t* data) noexcept nogil:
        """Which groups were met, and their last times, from the last records back."""
        cdef Py_ssize_t i = self.count - 1, end = max(<Py_ssize_t>-1, self.count - 1 - LOOK_BACK)
        cdef Group* group
        self.turn += 1
        while i > end:
            group = &self.groups[self.group_of[i]]
            if group.turn != self.turn:
                group.turn = self.turn
                group.seen = True
                if group.time_size:
                    group.last = time_of(group, data + self.position_of[i])
            i -= 1

    def last_long(self):
        """Where the length of the record found last stands, when it is one of variable length; -1 when it is not."""
        if not self.count or self.groups[self.group_of[self.count - 1]].size >= 0:
            return -1
        return self.position_of[self.count - 1]

    def first_break(self, const uint8_t[::1] data not None, int rows_of, int values_of, int64_t offset, int size, bint behind, int64_t begin):
        """The first of the records found from which on the rows of group `rows_of` name other values than theirs; -1 when all name theirs.

        A row and its value of group `values_of` stand next to each other, the value `behind` or in front; the first value found has the
        place `begin`. A single row that is wrong is no break, only BREAK rows that are wrong by as much.
        """
        cdef Py_ssize_t i
        cdef int64_t at, place = begin, last = -1, wrong = 0, by = 0, first = -1
        cdef uint64_t named
        cdef uint32_t length
        if not 1 <= size <= 8 or offset < 0 or not 0 <= rows_of < self.group_count or self.groups[rows_of].size < offset + size:
            raise ValueError("a field outside of its record")
        if self.groups[values_of].size >= 0:
            raise ValueError("not a group of variable length")
        with nogil:
            for i in range(self.count):
                at = self.position_of[i]
                if self.group_of[i] == values_of:
                    memcpy(&length, &data[at], LENGTH)
                    last = place
                    place += LENGTH + <int64_t>length
                elif self.group_of[i] == rows_of:
                    if not behind and last < 0:
                        continue
                    named = 0
                    memcpy(&named, &data[at + offset], <size_t>size)
                    at = <int64_t>named - (place if behind else last)
                    if at == 0:
                        wrong = 0
                        continue
                    if wrong == 0 or at != by:
                        wrong, by, first = 0, at, i
                    wrong += 1
                    if wrong == BREAK:
                        break
        return first if wrong == BREAK else -1

    def cut(self, Py_ssize_t count):
        """Forgets the records found but the first ones; returns where the first forgotten one stands in the data, its id included."""
        if not 0 <= count < self.count:
            raise ValueError("so many records were not found")
        self.count = count
        return self.position_of[count] - self.id_size

    def drop_last(self):
        """Forgets the record found last."""
        if self.count:
            self.count -= 1

    def found(self):
        """Of the records found last, group by group: (number of the group, where in the data its records begin, behind their ids)."""
        groups = self.group_array[: self.count]
        positions = self.position_array[: self.count]
        if not self.count:
            return []
        if (groups == groups[0]).all():
            return [(int(groups[0]), positions.copy())]
        order = np.argsort(groups, kind="stable")
        groups, positions = groups[order], positions[order]
        cuts = np.flatnonzero(np.diff(groups)) + 1
        return [(int(part[0]), where) for part, where in zip(np.split(groups, cuts), np.split(positions, cuts))]

    cdef bint follows(self, const uint8_t* data, int64_t at, int64_t end, bint any_seen, bint any_timed, bint final) noexcept nogil:
        """Whether records follow each other from `at` on: known ids, and times that go on from the last one without standing still.

        The records of a group have one size, so a byte that is always the same may look like their id; only time tells them apart.
        """
        cdef int64_t behind
        cdef int links = 0, group = 0, timed = -1
        cdef double first = 0, last = 0, time
        cdef Group* known
        while links < CHAIN:
            behind = self.step(data, at, end, &group, LONGEST_IN_CHAIN)
            if behind < 0:
                # Data that end in the middle of a record, or together with one, cannot show more.
                return (links >= CHAIN_AT_END and behind == -1 - S_MORE and (timed >= 0 or not any_timed) and (not final or at == end))
            known = &self.groups[group]
            if any_seen and not known.seen:
                return False
            if known.time_size:
                time = time_of(known, data + at + self.id_size)
                if not (known.last - known.day <= time <= known.last + known.day) and not isnan(known.last):
                    return False
                if group == timed:
                    if not last - known.day / BACK <= time:
                        return False
                    last = time
                elif timed < 0:
                    timed = group
                    first = last = time
                if isnan(time):
                    return False
            links += 1
            at = behind
        return first != last if timed >= 0 else not any_timed

    def resume(self, const uint8_t[::1] data not None, Py_ssize_t at, bint final):
        """The first byte from `at` on where records follow each other again; -1 when there is none in these data.

        Only groups that were met before the damage count; without any, all do.
        """
        cdef int64_t end = data.shape[0]
        cdef int i
        cdef bint any_seen = False, any_timed = False
        for i in range(self.group_count):
            any_seen = any_seen or self.groups[i].seen
        for i in range(self.group_count):
            any_timed = any_timed or (self.groups[i].time_size > 0 and (self.groups[i].seen or not any_seen))
        if at < 0 or at >= end:
            return -1
        with nogil:
            while at < end and not self.follows(&data[0], at, end, any_seen, any_timed, final):
                at += 1
        return at if at < end else -1


def spans(const uint64_t[::1] offsets not None, Py_ssize_t first, const uint8_t[::1] data not None, uint64_t base,
          int64_t[::1] starts not None, int64_t[::1] lengths not None):
    """Where the values of variable length of rows from `first` on lie in `data`, whose first byte is byte `base` of the signal data.

    Fills `starts` and `lengths` and returns the first row whose value does not lie there as a whole.
    """
    cdef Py_ssize_t i = first, n = offsets.shape[0]
    cdef uint64_t size = data.shape[0], at
    cdef uint32_t length
    if starts.shape[0] < n or lengths.shape[0] < n or first < 0:
        raise ValueError("no room for all rows")
    with nogil:
        while i < n:
            if offsets[i] < base:
                break
            at = offsets[i] - base
            if at > size or size - at < LENGTH:
                break
            memcpy(&length, &data[at], LENGTH)
            at += LENGTH
            if length > size - at:
                break
            starts[i] = <int64_t>at
            lengths[i] = length
            i += 1
    return i


def words(const uint8_t[::1] data not None, const int64_t[::1] positions not None, int64_t offset, int size):
    """Whole numbers of `size` bytes (1 to 8) that stand `offset` bytes behind each position (uint64)."""
    cdef Py_ssize_t i
    cdef int64_t at
    result = np.zeros(positions.shape[0], np.uint64)
    cdef uint64_t[::1] out = result
    if not 1 <= size <= 8:
        raise ValueError("a number has 1 to 8 bytes")
    for i in range(positions.shape[0]):
        at = positions[i] + offset
        if at < 0 or at > data.shape[0] - size:
            raise ValueError("a number outside of its data")
        memcpy(&out[i], &data[at], <size_t>size)
    return result


def collect(const uint8_t[::1] data not None, const int64_t[::1] positions not None):
    """The values of variable length at `positions`, each with its length in front, one behind the other."""
    cdef Py_ssize_t i
    cdef int64_t total = 0, size = data.shape[0], at
    cdef uint32_t length
    for i in range(positions.shape[0]):
        at = positions[i]
        if at < 0 or size - at < LENGTH:
            raise ValueError("a value outside of its data")
        memcpy(&length, &data[at], LENGTH)
        if length > size - at - LENGTH:
            raise ValueError("a value outside of its data")
        total += LENGTH + <int64_t>length
    result = np.empty(total, np.uint8)
    cdef uint8_t[::1] out = result
    total = 0
    with nogil:
        for i in range(positions.shape[0]):
            memcpy(&length, &data[positions[i]], LENGTH)
            memcpy(&out[total], &data[positions[i]], LENGTH + <size_t>length)
            total += LENGTH + <int64_t>length
    return result


def pairs(const uint8_t[::1] data not None, Py_ssize_t at, Py_ssize_t most):
    """Where the next values of variable length begin, at most `most` of them, when they are taken one after the other (uint64)."""
    cdef int64_t size = data.shape[0]
    cdef uint32_t length
    cdef Py_ssize_t n = 0
    result = np.empty(most, np.uint64)
    cdef uint64_t[::1] out = result
    while n < most and size - at >= LENGTH:
        memcpy(&length, &data[at], LENGTH)
        if length > size - at - LENGTH:
            break
        out[n] = <uint64_t>at
        n += 1
        at += LENGTH + <Py_ssize_t>length
    return result[:n]


def payloads(const uint8_t[::1] data not None, const int64_t[::1] starts not None, const uint8_t[::1] lengths not None, Py_ssize_t padding):
    """Payloads copied into slots of a multiple of 8 bytes, with `padding` bytes at the end: (uint8 data, uint32 offsets)."""
    cdef Py_ssize_t i, n = starts.shape[0]
    cdef int64_t size = data.shape[0], total = 0
    offsets = np.empty(n, np.uint32)
    cdef uint32_t[::1] offset = offsets
    if lengths.shape[0] != n:
        raise ValueError("starts and lengths differ in number")
    for i in range(n):
        if starts[i] < 0 or starts[i] > size - lengths[i]:
            raise ValueError("a payload outside of its data")
        offset[i] = <uint32_t>total
        total += max((lengths[i] + 7) & ~7, 8)
    result = np.zeros(total + padding, np.uint8)
    cdef uint8_t[::1] out = result
    with nogil:
        for i in range(n):
            if lengths[i]:
                memcpy(&out[offset[i]], &data[starts[i]], lengths[i])
    return result, offsets
