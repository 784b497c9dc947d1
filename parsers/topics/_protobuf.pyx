"""Reads protobuf messages into columns: a plan of the fields of every message type by its place, run over each message without the GIL."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcpy, memset

from parsers.topics._spans cimport check_spans

import numpy as np

cdef enum:
    # FieldDescriptorProto.Type, and our own from 20 on
    DOUBLE = 1
    FLOAT = 2
    INT64 = 3
    UINT64 = 4
    INT32 = 5
    FIXED64 = 6
    FIXED32 = 7
    BOOL = 8
    STRING = 9
    MESSAGE = 11
    BYTES = 12
    UINT32 = 13
    ENUM = 14
    SFIXED32 = 15
    SFIXED64 = 16
    SINT32 = 17
    SINT64 = 18
    TIME = 20
    PASSED = 21  # known, but without a signal

    # wire types, https://protobuf.dev/programming-guides/encoding
    VARINT = 0
    FIXED_64 = 1
    LENGTH = 2
    GROUP = 3
    END_GROUP = 4
    FIXED_32 = 5

    MAX_GROUPS = 64
    MAX_CHANGES = 64  # a writer sets one field of a oneof

    # Columns of the plan's table of fields
    F_NUMBER = 0
    F_KIND = 1
    F_COLUMN = 2  # of the value, or of the first element
    F_CHILD = 3  # node of the message, or of its first element
    F_REPEATED = 4
    F_ROOM = 5  # elements that have columns
    F_LENGTH = 6  # column of the length, -1 when there is none
    F_DEFAULT = 7  # absent means zero
    F_ONEOF = 8  # number of the oneof, -1 outside of one
    F_FIRST = 9  # columns of the field and all below it
    F_LAST = 10
    F_STEP = 11  # from the node of one element to that of the next

    # Why a message is not read
    READ = 0
    CUT = 1
    BAD_VARINT = 2
    BAD_FIELD = 3
    BAD_GROUP = 4
    BAD_CHOICE = 5

FIELD_COLUMNS = F_STEP + 1
KIND_TIME, KIND_PASSED = TIME, PASSED
REASONS = {
    CUT: "a field reaches beyond the end of the message",
    BAD_VARINT: "a number has more than ten bytes",
    BAD_FIELD: "a field has a number or a wire type that there is not",
    BAD_GROUP: "groups do not match",
    BAD_CHOICE: "fields that exclude each other take turns",
}


cdef struct Field:
    int64_t number
    int kind
    int32_t column
    int32_t child
    bint repeated
    int32_t room
    int32_t length_column
    bint default
    int32_t oneof
    int32_t first
    int32_t last
    int32_t step
    int64_t count  # elements of the message being read
    int64_t most  # elements of one message so far


cdef struct Choice:
    int64_t stamp
    Field* field


cdef struct Message:
    int32_t first  # its fields, by number
    int32_t count
    int64_t stamp  # the row it was last met in


cdef struct Out:
    uint8_t* data
    uint8_t* mask  # NULL when every row has a value
    int64_t* lengths  # of texts, whose offsets are in data
    int size


cdef inline int wire_of(int kind) noexcept nogil:
    if kind == DOUBLE or kind == FIXED64 or kind == SFIXED64:
        return FIXED_64
    if kind == FLOAT or kind == FIXED32 or kind == SFIXED32:
        return FIXED_32
    if kind == STRING or kind == MESSAGE or kind == BYTES or kind == TIME:
        return LENGTH
    return VARINT


cdef inline int read_varint(const uint8_t** at, const uint8_t* end, uint64_t* out) noexcept nogil:
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef const uint8_t* p = at[0]
    while shift < 70:
        if p >= end:
            return CUT
        if shift < 64:
            value |= <uint64_t>(p[0] & 0x7F) << shift
        if not p[0] & 0x80:
            at[0] = p + 1
            out[0] = value
            return READ
        p += 1
        shift += 7
    return BAD_VARINT


cdef int skip_field(const uint8_t** at, const uint8_t* end, uint64_t tag) noexcept nogil:
    """Passes over a field whose tag has been read; groups with all that is in them."""
    cdef uint64_t value
    cdef int outcome
    cdef int depth = 0
    cdef uint64_t[MAX_GROUPS] groups
    while True:
        if tag >> 3 == 0:
            return BAD_FIELD
        if tag & 7 == VARINT:
            outcome = read_varint(at, end, &value)
            if outcome != READ:
                return outcome
        elif tag & 7 == FIXED_64 or tag & 7 == FIXED_32:
            value = 8 if tag & 7 == FIXED_64 else 4
            if <uint64_t>(end - at[0]) < value:
                return CUT
            at[0] += value
        elif tag & 7 == LENGTH:
            outcome = read_varint(at, end, &value)
            if outcome != READ:
                return outcome
            if value > <uint64_t>(end - at[0]):
                return CUT
            at[0] += value
        elif tag & 7 == GROUP:
            if depth >= MAX_GROUPS:
                return BAD_GROUP
            groups[depth] = tag >> 3
            depth += 1
        elif tag & 7 == END_GROUP:
            if depth == 0 or groups[depth - 1] != tag >> 3:
                return BAD_GROUP
            depth -= 1
        else:
            return BAD_FIELD
        if depth == 0:
            return READ
        outcome = read_varint(at, end, &tag)
        if outcome != READ:
            return outcome


@cython.final
cdef class Plan:
    """Fields by message: `messages` has (first field, fields) per node, node 0 is the whole message; `fields` the columns F_... above,
    those of one node next to each other and sorted by number. `kinds` are the kinds of the columns, `always` says which have no mask.

    A plan that measures has no columns, and all elements of a repeated message share one node.
    """

    cdef Field* fields
    cdef Message* messages
    cdef Choice* choices  # by the number of the oneof
    cdef int changes  # of oneofs in the message being read
    cdef int64_t field_count, message_count
    cdef bint measuring
    cdef list storages, text, always
    cdef Out* out
    cdef int64_t column_count
    cdef int64_t row, stamp
    cdef bint touched
    cdef const uint8_t* base
    cdef readonly int64_t unknown  # fields that the schema does not have
    cdef readonly int64_t misfits  # times out of range
    cdef readonly int64_t beyond  # elements beyond those that have columns

    def __cinit__(self, const int64_t[:, ::1] messages not None, const int64_t[:, ::1] fields not None, list storages not None,
                  list always not None, bint measuring):
        cdef Py_ssize_t i
        cdef Field* field
        self.field_count = fields.shape[0]
        self.message_count = messages.shape[0]
        self.measuring = measuring
        self.storages = storages
        self.always = always
        self.column_count = len(storages)
        if fields.shape[1] != FIELD_COLUMNS or messages.shape[1] != 2 or not self.message_count or len(always) != self.column_count:
            raise ValueError("a plan of another shape")
        self.fields = <Field*>calloc(<size_t>self.field_count + 1, sizeof(Field))
        self.messages = <Message*>calloc(<size_t>self.message_count, sizeof(Message))
        self.out = <Out*>calloc(<size_t>self.column_count + 1, sizeof(Out))
        self.choices = <Choice*>calloc(<size_t>self.field_count + 1, sizeof(Choice))
        if self.fields == NULL or self.messages == NULL or self.out == NULL or self.choices == NULL:
            raise MemoryError
        for i in range(self.message_count):
            if not 0 <= messages[i, 0] <= messages[i, 0] + messages[i, 1] <= self.field_count:
                raise ValueError("fields of a message lie outside of the plan")
            self.messages[i] = Message(<int32_t>messages[i, 0], <int32_t>messages[i, 1], -1)
        for i in range(self.field_count):
            field = &self.fields[i]
            field.number = fields[i, F_NUMBER]
            field.kind = <int>fields[i, F_KIND]
            field.column = <int32_t>fields[i, F_COLUMN]
            field.child = <int32_t>fields[i, F_CHILD]
            field.repeated = fields[i, F_REPEATED] != 0
            field.room = <int32_t>fields[i, F_ROOM]
            field.length_column = <int32_t>fields[i, F_LENGTH]
            field.default = fields[i, F_DEFAULT] != 0
            field.oneof = <int32_t>fields[i, F_ONEOF]
            field.first = <int32_t>fields[i, F_FIRST]
            field.last = <int32_t>fields[i, F_LAST]
            field.step = <int32_t>fields[i, F_STEP]
            self.check(field)

    cdef int check(self, const Field* field) except -1:
        cdef int64_t room = field.room if field.repeated else 1
        cdef int64_t last
        if field.oneof >= self.field_count or field.length_column >= self.column_count or field.first < 0 or field.last > self.column_count or room < 0:
            raise ValueError("a column lies outside of the plan")
        if self.measuring or field.kind == PASSED:
            last = field.child
        elif field.kind == MESSAGE:
            last = field.child + (room - 1) * field.step if room else 0
        else:
            last = 0
            if room and (field.column < 0 or field.column + room > self.column_count):
                raise ValueError("a column lies outside of the plan")
        if field.kind == MESSAGE and not (0 <= field.child and last < self.message_count):
            raise ValueError("a message lies outside of the plan")
        return 0

    def __dealloc__(self):
        free(self.fields)
        free(self.messages)
        free(self.out)
        free(self.choices)

    cdef Field* field_of(self, const Message* message, int64_t number, int32_t* guess) noexcept nogil:
        cdef int32_t low = 0, high = message.count, middle
        cdef Field* fields = &self.fields[message.first]
        # Writers put fields in ascending order; an element of an array is the same field again.
        if guess[0] < high and fields[guess[0]].number == number:
            return &fields[guess[0]]
        if guess[0] + 1 < high and fields[guess[0] + 1].number == number:
            guess[0] += 1
            return &fields[guess[0]]
        while low < high:
            middle = (low + high) // 2
            if fields[middle].number < number:
                low = middle + 1
            else:
                high = middle
        if low < message.count and fields[low].number == number:
            guess[0] = low
            return &fields[low]
        return NULL

    # --- values

    cdef inline void valid(self, int32_t column) noexcept nogil:
        self.touched = True
        if self.out[column].mask != NULL:
            self.out[column].mask[self.row] = 1

    cdef inline void put_length(self, int32_t column, int64_t length) noexcept nogil:
        (<int64_t*>self.out[column].data)[self.row] = length
        self.valid(column)

    cdef void put_bits(self, int32_t column, int kind, uint64_t bits) noexcept nogil:
        """Stores what was read, as it came over the wire, into the column's type."""
        cdef Out* out = &self.out[column]
        cdef int64_t row = self.row
        cdef float single
        cdef uint32_t half
        if kind == FLOAT:
            half = <uint32_t>bits
            memcpy(&single, &half, 4)
            (<double*>out.data)[row] = single
        elif kind == BOOL:
            out.data[row] = bits != 0
        elif kind == SINT32:
            half = <uint32_t>bits
            (<uint32_t*>out.data)[row] = (half >> 1) ^ (~(half & 1) + 1)
        elif kind == SINT64:
            (<uint64_t*>out.data)[row] = (bits >> 1) ^ (~(bits & 1) + 1)
        elif out.size == 4:
            (<uint32_t*>out.data)[row] = <uint32_t>bits
        else:
            (<uint64_t*>out.data)[row] = bits
        self.valid(column)

    cdef int read_bits(self, const uint8_t** at, const uint8_t* end, int wire, uint64_t* bits) noexcept nogil:
        cdef uint32_t half
        if wire == VARINT:
            return read_varint(at, end, bits)
        if wire == FIXED_64:
            if end - at[0] < 8:
                return CUT
            memcpy(bits, at[0], 8)
            at[0] += 8
            return READ
        if end - at[0] < 4:
            return CUT
        memcpy(&half, at[0], 4)
        bits[0] = half
        at[0] += 4
        return READ

    cdef inline int32_t element(self, Field* field) noexcept nogil:
        """The number of the next element, -1 when it has no column; 0 for a field that is not repeated."""
        cdef int64_t number
        if not field.repeated:
            return 0
        number = field.count
        field.count += 1
        if field.count > field.most:
            field.most = field.count
        if number < field.room:
            return <int32_t>number
        if not self.measuring and field.room:
            self.beyond += 1
        return -1

    cdef int scalars(self, Field* field, const uint8_t** at, const uint8_t* end, int wire, bint packed) noexcept nogil:
        cdef const uint8_t* stop = end
        cdef uint64_t bits = 0, length
        cdef int32_t number
        cdef int outcome
        if packed:
            outcome = read_varint(at, end, &length)
            if outcome != READ:
                return outcome
            if length > <uint64_t>(end - at[0]):
                return CUT
            stop = at[0] + length
            if field.room == 0 and wire != VARINT:
                field.count += <int64_t>length // (8 if wire == FIXED_64 else 4)
                field.most = max(field.most, field.count)
                at[0] = stop
                return READ
        while at[0] < stop or not packed:
            outcome = self.read_bits(at, stop, wire, &bits)
            if outcome != READ:
                return outcome
            number = self.element(field)
            if number >= 0 and not self.measuring:
                self.put_bits(field.column + number, field.kind, bits)
            if not packed:
                return READ
        return READ

    cdef int time_of(self, Field* field, int32_t number, const uint8_t* at, const uint8_t* end) noexcept nogil:
        """google.protobuf.Timestamp and Duration: 1 seconds, 2 nanoseconds."""
        cdef uint64_t tag, bits
        cdef int64_t seconds = 0, nanoseconds = 0
        cdef int outcome
        while at < end:
            outcome = read_varint(&at, end, &tag)
            if outcome != READ:
                return outcome
            if tag == 8 or tag == 16:
                outcome = read_varint(&at, end, &bits)
                if tag == 8:
                    seconds = <int64_t>bits
                else:
                    nanoseconds = <int32_t>bits
            else:
                outcome = skip_field(&at, end, tag)
            if outcome != READ:
                return outcome
        if number < 0 or self.measuring:
            return READ
        if seconds < -<int64_t>9223372034 or seconds > <int64_t>9223372034:
            self.misfits += 1
            return READ
        self.put_length(field.column + number, seconds * 1000000000 + nanoseconds)
        return READ

    cdef int lengthy(self, Field* field, const uint8_t** at, const uint8_t* end) noexcept nogil:
        """A text, bytes, a time or a message."""
        cdef uint64_t length
        cdef const uint8_t* begin
        cdef int32_t number
        cdef int outcome = read_varint(at, end, &length)
        if outcome != READ:
            return outcome
        if length > <uint64_t>(end - at[0]):
            return CUT
        begin = at[0]
        at[0] += length
        number = self.element(field)
        if field.kind == TIME:
            return self.time_of(field, number, begin, begin + length)
        if field.kind == MESSAGE:
            if self.measuring:
                return self.message(field.child, begin, begin + length)
            # An element without columns is not looked into.
            return READ if number < 0 else self.message(field.child + number * field.step, begin, begin + length)
        if number < 0 or self.measuring:
            return READ
        if field.kind == BYTES:
            self.put_length(field.column + number, <int64_t>length)
            return READ
        (<int64_t*>self.out[field.column + number].data)[self.row] = begin - self.base
        self.out[field.column + number].lengths[self.row] = <int64_t>length
        self.valid(field.column + number)
        return READ

    cdef void begin(self, Message* message) noexcept nogil:
        """A message is met the first time in this row: what it may leave out is zero."""
        cdef int32_t i
        cdef Field* field
        message.stamp = self.stamp
        for i in range(message.first, message.first + message.count):
            field = &self.fields[i]
            if field.repeated:
                field.count = 0
                if field.length_column >= 0:
                    self.put_length(field.length_column, 0)
            elif field.default and not self.measuring and field.column >= 0:
                self.valid(field.column)

    cdef int choose(self, Field* chosen) noexcept nogil:
        """A field of a oneof is set: the one that was set before it, if any, is not."""
        cdef int32_t column
        cdef Choice* choice = &self.choices[chosen.oneof]
        cdef Field* old = choice.field
        if choice.stamp == self.stamp and old != chosen:
            self.changes += 1
            if self.changes > MAX_CHANGES:
                return BAD_CHOICE
            for column in range(old.first, old.last):
                if self.out[column].mask != NULL:
                    self.out[column].mask[self.row] = 0
        choice.stamp = self.stamp
        choice.field = chosen
        return READ

    cdef int message(self, int32_t index, const uint8_t* at, const uint8_t* end) noexcept nogil:
        cdef Message* message = &self.messages[index]
        cdef Field* field
        cdef uint64_t tag
        cdef int32_t guess = 0
        cdef int outcome, wire
        if self.measuring or message.stamp != self.stamp:
            self.begin(message)
        while at < end:
            outcome = read_varint(&at, end, &tag)
            if outcome != READ:
                return outcome
            field = self.field_of(message, <int64_t>(tag >> 3), &guess)
            if field == NULL or field.kind == PASSED:
                if field == NULL:
                    self.unknown += 1
                outcome = skip_field(&at, end, tag)
                if outcome != READ:
                    return outcome
                continue
            wire = wire_of(field.kind)
            if field.oneof >= 0 and not self.measuring:
                outcome = self.choose(field)
                if outcome != READ:
                    return outcome
            if tag & 7 == LENGTH and wire == LENGTH:
                outcome = self.lengthy(field, &at, end)
            elif <int>(tag & 7) == wire:
                outcome = self.scalars(field, &at, end, wire, False)
            elif tag & 7 == LENGTH and field.repeated:
                outcome = self.scalars(field, &at, end, wire, True)
            else:
                self.unknown += 1
                outcome = skip_field(&at, end, tag)
            if outcome != READ:
                return outcome
            if field.repeated and field.length_column >= 0:
                (<int64_t*>self.out[field.length_column].data)[self.row] = field.count
        return READ

    cdef void take_back(self) noexcept nogil:
        """The message at the current row is none: zeros again, for the next one."""
        cdef int64_t i
        if not self.touched:
            return
        for i in range(self.column_count):
            if self.out[i].mask != NULL:
                self.out[i].mask[self.row] = 0
            memset(self.out[i].data + self.row * self.out[i].size, 0, <size_t>self.out[i].size)
            if self.out[i].lengths != NULL:
                self.out[i].lengths[self.row] = 0

    # --- from Python

    def measure(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None):
        """The most elements that each field has in one of the messages, by the number of the field in the plan."""
        cdef Py_ssize_t i
        if not self.measuring:
            raise ValueError("a plan with columns does not measure")
        check_spans(data, offset, length)
        with nogil:
            for i in range(offset.shape[0]):
                self.message(0, &data[0] + offset[i], &data[0] + offset[i] + length[i])
        return [self.fields[i].most for i in range(self.field_count)]

    def run(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None):
        """Reads messages: (uint8 flags of those kept, columns, masks, failed, reason); the column of a text is (offsets, lengths) in `data`."""
        cdef Py_ssize_t rows = offset.shape[0]
        cdef Py_ssize_t i
        cdef int outcome, reason = READ
        cdef int64_t failed = 0
        if self.measuring:
            raise ValueError("a plan that measures has no columns")
        check_spans(data, offset, length)
        columns, masks = self.make_columns(rows)
        kept = np.ones(rows, np.uint8)
        cdef uint8_t[::1] kept_view = kept
        self.base = &data[0]
        self.row = 0
        with nogil:
            for i in range(rows):
                self.stamp += 1
                self.touched = False
                self.changes = 0
                outcome = self.message(0, self.base + offset[i], self.base + offset[i] + length[i])
                if outcome == READ:
                    self.row += 1
                    continue
                kept_view[i] = 0
                failed += 1
                if reason == READ:
                    reason = outcome
                self.take_back()
        self.base = NULL
        for i in range(self.column_count):
            if self.out[i].mask != NULL:
                masks[i] = masks[i][: self.row] if memchr(self.out[i].mask, 0, <size_t>self.row) != NULL else None
        return kept, columns, masks, failed, REASONS.get(reason, "")

    cdef make_columns(self, Py_ssize_t rows):
        columns, masks = [], []
        cdef uint8_t[::1] view
        cdef int64_t[::1] lengths
        cdef Out* out
        for i in range(self.column_count):
            out = &self.out[i]
            storage = self.storages[i]
            column = np.zeros(rows + 1, storage or np.int64)
            view = column.view(np.uint8)
            out.data = &view[0]
            out.size = column.itemsize
            out.lengths = NULL
            out.mask = NULL
            if storage is None:
                column = column, np.zeros(rows + 1, np.int64)
                lengths = column[1]
                out.lengths = &lengths[0]
            columns.append(column)
            mask = None
            if not self.always[i]:
                mask = np.zeros(rows + 1, np.uint8)
                view = mask
                out.mask = &view[0]
            masks.append(mask)
        return columns, masks
