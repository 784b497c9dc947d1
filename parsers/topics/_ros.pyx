"""Reads the messages of ROS topics into columns: a flat plan of operations is run over each message of a batch, without the GIL.

ROS 1 messages are packed and little-endian (wiki.ros.org/ROS/Technical Overview); those of ROS 2 are CDR (OMG DDS-XTypes 1.3, clause
7.4): aligned to their own size, at most 8 or in PLAIN_CDR2 4 bytes, counted from behind the encapsulation header, in either byte order.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcpy

import numpy as np

cdef enum:
    # What one value is
    COPY_1 = 1
    COPY_2 = 2
    COPY_4 = 3
    COPY_8 = 4
    FLOAT_32 = 5
    TIME = 6  # u32 or, in ROS 2, i32 seconds; u32 nanoseconds
    DURATION = 7  # i32 seconds; i32 or, in ROS 2, u32 nanoseconds
    TEXT = 8
    STRUCT = 9  # the operations up to `end` are those of one element

    SINGLE = 0
    ARRAY = 1
    SEQUENCE = 2

    MOST_DEPTH = 16

    # What is known of a sequence
    VARIES = 1
    TOO_LONG = 2

    # Why a message was not read
    READ = 0
    SHORT
    LONG
    NO_HEADER
    PARAMETER_LIST
    DELIMITED
    UNKNOWN_ENCODING

    CDR_TAIL = 8  # writers pad to 4 or 8 bytes

REASONS = {
    SHORT: "they end inside a field",
    LONG: "they are longer than their definition",
    NO_HEADER: "they are too short for the encapsulation header",
    PARAMETER_LIST: "their members are a parameter list (PL_CDR)",
    DELIMITED: "their structs have delimiters (D_CDR)",
    UNKNOWN_ENCODING: "the encapsulation header names no encoding that is known",
}

CODES = {
    "bool": COPY_1, "byte": COPY_1, "int8": COPY_1, "uint8": COPY_1, "int16": COPY_2, "uint16": COPY_2, "int32": COPY_4, "uint32": COPY_4,
    "int64": COPY_8, "uint64": COPY_8, "float64": COPY_8, "float32": FLOAT_32, "time": TIME, "duration": DURATION, "string": TEXT,
}
STRUCT_CODE = STRUCT
SHAPE_SINGLE, SHAPE_ARRAY, SHAPE_SEQUENCE = SINGLE, ARRAY, SEQUENCE
DEPTH = MOST_DEPTH
LENGTH_VARIES, LENGTH_TOO_LONG = VARIES, TOO_LONG


# One operation of a plan; a row of the int32 table that `Plan` takes, in this order
cdef struct Op:
    int32_t code
    int32_t shape
    int32_t size  # bytes of one value; of a text or struct the fewest of one
    int32_t align
    int32_t column  # of the value, or of element 0; -1: not stored
    int32_t length_column  # of the number of elements; -1: none
    int32_t count  # elements of an array
    int32_t capacity  # elements that have columns
    int32_t stride  # columns of one element
    int32_t end  # behind the operations of a struct

FIELDS = 10


cdef struct Frame:
    int32_t first  # operation of the body
    int32_t end
    int64_t index
    int64_t count
    int64_t capacity
    int32_t stride
    int32_t shift  # of the columns outside
    bint storing


cdef struct Wire:
    bint swap
    bint delimited  # arrays and sequences of texts and structs have a length in bytes in front (XCDR version 2)
    bint terminated  # texts end with a zero
    bint signed_time
    int64_t most_align  # less 1: 0, 3 or 7


cdef inline uint16_t swap_2(uint16_t v) noexcept nogil:
    return (v << 8) | (v >> 8)


cdef inline uint32_t swap_4(uint32_t v) noexcept nogil:
    return (v << 24) | ((v << 8) & 0xFF0000) | ((v >> 8) & 0xFF00) | (v >> 24)


cdef inline uint64_t swap_8(uint64_t v) noexcept nogil:
    return (<uint64_t>swap_4(<uint32_t>v) << 32) | swap_4(<uint32_t>(v >> 32))


cdef inline uint32_t load_4(const uint8_t* at, bint swap) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, at, 4)
    return swap_4(v) if swap else v


cdef inline int64_t aligned(int64_t at, int32_t align, const Wire* wire) noexcept nogil:
    cdef int64_t mask = (align - 1) & wire.most_align
    return (at + mask) & ~mask


cdef inline void store(int32_t code, const uint8_t* at, uint8_t* column, Py_ssize_t row, const Wire* wire) noexcept nogil:
    """One value that is no text into its column."""
    cdef uint16_t v2
    cdef uint32_t v4
    cdef uint64_t v8
    cdef float f4
    cdef int64_t seconds, part
    if code == COPY_8:
        memcpy(&v8, at, 8)
        (<uint64_t*>column)[row] = swap_8(v8) if wire.swap else v8
    elif code == FLOAT_32:
        v4 = load_4(at, wire.swap)
        memcpy(&f4, &v4, 4)
        (<double*>column)[row] = f4
    elif code == COPY_1:
        column[row] = at[0]
    elif code == COPY_4:
        (<uint32_t*>column)[row] = load_4(at, wire.swap)
    elif code == COPY_2:
        memcpy(&v2, at, 2)
        (<uint16_t*>column)[row] = swap_2(v2) if wire.swap else v2
    else:
        v4 = load_4(at, wire.swap)
        seconds = <int32_t>v4 if code == DURATION or wire.signed_time else <int64_t>v4
        v4 = load_4(at + 4, wire.swap)
        part = <int32_t>v4 if code == DURATION and not wire.signed_time else <int64_t>v4
        (<int64_t*>column)[row] = seconds * 1000000000 + part


@cython.final
cdef class Plan:
    """The operations of one message type with the columns that they fill."""

    cdef Op* ops
    cdef int32_t op_count
    cdef Py_ssize_t column_count
    cdef object table  # owns ops
    cdef list kinds  # of each column what makes it and its type, int64 for texts
    cdef list masked  # columns that may have no value
    cdef uint8_t* is_text
    cdef uint8_t** columns
    cdef int64_t** text_lengths
    cdef uint8_t** masks
    cdef int64_t* longest  # elements of the longest sequence of each operation, of those not above `most_elements`
    cdef int64_t* first  # elements of the first one plus 1
    cdef uint8_t* varies
    cdef int64_t most_elements
    cdef bint cdr
    cdef int64_t most_tail  # bytes that may stand behind the last field

    def __cinit__(self, table, list kinds not None, list optional not None, bint cdr, bint whole, int64_t most_elements):
        """`table` (int32, operations x FIELDS), `kinds` and `optional` (one entry per column: storage type, None for texts; 0 or 1).

        `whole` says that the operations describe a message to its end.
        """
        cdef int32_t[:, ::1] ops = np.ascontiguousarray(table, np.int32)
        cdef Py_ssize_t i
        self.table = np.asarray(ops)
        if ops.shape[1] != FIELDS or sizeof(Op) != FIELDS * sizeof(int32_t) or len(kinds) != len(optional):
            raise ValueError("a plan has operations of 10 fields, and as many types as marks")
        self.op_count = <int32_t>ops.shape[0]
        self.ops = <Op*>&ops[0, 0] if self.op_count else NULL
        self.column_count = len(kinds)
        self.kinds = [(np.zeros if may_miss else np.empty, np.dtype(kind or np.int64)) for kind, may_miss in zip(kinds, optional)]
        self.masked = [i for i in range(len(optional)) if optional[i]]
        self.cdr = cdr
        self.most_tail = (CDR_TAIL - 1 if cdr else 0) if whole else 0x7FFFFFFFFFFFFFFF
        self.most_elements = most_elements
        cdef size_t room = <size_t>self.column_count + 1
        self.is_text = <uint8_t*>calloc(room, 1)
        self.columns = <uint8_t**>calloc(room, sizeof(void*))
        self.text_lengths = <int64_t**>calloc(room, sizeof(void*))
        self.masks = <uint8_t**>calloc(room, sizeof(void*))
        self.longest = <int64_t*>calloc(<size_t>self.op_count + 1, sizeof(int64_t))
        self.first = <int64_t*>calloc(<size_t>self.op_count + 1, sizeof(int64_t))
        self.varies = <uint8_t*>calloc(<size_t>self.op_count + 1, 1)
        if self.is_text == NULL or self.columns == NULL or self.text_lengths == NULL or self.masks == NULL:
            raise MemoryError
        if self.longest == NULL or self.first == NULL or self.varies == NULL:
            raise MemoryError
        for i in range(self.column_count):
            self.is_text[i] = kinds[i] is None
        self.check()

    def __dealloc__(self):
        free(self.is_text)
        free(self.columns)
        free(self.text_lengths)
        free(self.masks)
        free(self.longest)
        free(self.first)
        free(self.varies)

    cdef int check(self) except -1:
        """Raises ValueError when the operations would leave the columns, the plan or the stack."""
        cdef int32_t i, depth = 0
        cdef int32_t[MOST_DEPTH + 1] ends
        cdef int64_t[MOST_DEPTH + 1] reach  # how far the columns are shifted in the last element
        cdef int64_t least, far
        cdef Op* op
        ends[0] = self.op_count
        reach[0] = 0
        for i in range(self.op_count):
            while depth and i >= ends[depth]:
                depth -= 1
            op = &self.ops[i]
            if not COPY_1 <= op.code <= STRUCT or not SINGLE <= op.shape <= SEQUENCE or op.size < 0 or op.count < 0 or op.capacity < 0:
                raise ValueError(f"operation {i} is none")
            if op.align not in (1, 2, 4, 8) or op.stride < 0 or (op.size == 0 and op.code != STRUCT):
                raise ValueError(f"operation {i} has an impossible size")
            if op.length_column + reach[depth] >= self.column_count or op.length_column < -1 or op.column < -1:
                raise ValueError(f"operation {i} has no such column")
            if op.column >= 0:
                far = 0 if op.shape == SINGLE else <int64_t>max(op.capacity - 1, 0) * (1 if op.code != STRUCT else op.stride)
                if op.column + reach[depth] + far >= self.column_count:
                    raise ValueError(f"operation {i} has no such column")
            if op.code == STRUCT:
                if op.shape == SINGLE or not i < op.end <= ends[depth] or depth == MOST_DEPTH:
                    raise ValueError(f"operation {i} encloses no part of the plan")
                depth += 1
                ends[depth] = op.end
                reach[depth] = reach[depth - 1] + <int64_t>max(op.capacity - 1, 0) * op.stride
        return 0

    cdef inline void put(self, int32_t column, Py_ssize_t row) noexcept nogil:
        if self.masks[column] != NULL:
            self.masks[column][row] = 1

    cdef int64_t text(self, const uint8_t* start, int64_t at, int64_t size, int32_t column, Py_ssize_t row, int64_t base,
                      const Wire* wire) noexcept nogil:
        """Reads a text at `at`; where it ends, or -1."""
        cdef int64_t length
        at = aligned(at, 4, wire)
        if at > size - 4:
            return -1
        length = load_4(start + at, wire.swap)
        at += 4
        if length > size - at:
            return -1
        if column >= 0:
            (<int64_t*>self.columns[column])[row] = base + at
            self.text_lengths[column][row] = length - 1 if wire.terminated and length and start[at + length - 1] == 0 else length
            self.put(column, row)
        return at + length

    cdef int64_t values(self, const Op* op, const uint8_t* start, int64_t at, int64_t size, int64_t count, int64_t stored, int32_t shift,
                        Py_ssize_t row, int64_t base, const Wire* wire) noexcept nogil:
        """Reads `count` values that are no structs and stores the first of them; where they end, or -1."""
        cdef int64_t i
        cdef int32_t column = op.column + shift
        if op.code == TEXT:
            for i in range(count):
                at = self.text(start, at, size, column + <int32_t>i if i < stored else -1, row, base, wire)
                if at < 0:
                    return -1
            return at
        if count == 0:
            return at
        at = aligned(at, op.align, wire)
        if at > size or count > (size - at) // op.size:
            return -1
        for i in range(stored):
            store(op.code, start + at + i * op.size, self.columns[column + i], row, wire)
            self.put(column + <int32_t>i, row)
        return at + count * op.size

    cdef void measured(self, int32_t operation, int64_t count) noexcept nogil:
        """Notes the length of a sequence that differs from the first."""
        if self.first[operation]:
            self.varies[operation] |= VARIES
        else:
            self.first[operation] = count + 1
        if count > self.most_elements:
            self.varies[operation] |= TOO_LONG
        elif count > self.longest[operation]:
            self.longest[operation] = count

    cdef int walk(self, const uint8_t* start, int64_t size, int64_t base, Py_ssize_t row, bint store_any, const Wire* wire) noexcept nogil:
        """One message without its encapsulation header, of `size` bytes; `base` is where it begins in the buffer. READ or a reason."""
        cdef Frame[MOST_DEPTH] frames
        cdef Frame* frame
        cdef const Op* op
        cdef int depth = 0
        cdef int32_t i = 0, stop = self.op_count, shift = 0
        cdef bint storing = store_any
        cdef int64_t at = 0, count, stored
        while True:
            if i >= stop:
                if depth == 0:
                    break
                frame = &frames[depth - 1]
                frame.index += 1
                if frame.index < frame.count:
                    i = frame.first
                    shift = frame.shift + <int32_t>(frame.stride * frame.index if frame.index < frame.capacity else 0)
                    storing = frame.storing and frame.index < frame.capacity
                    continue
                i = frame.end
                shift = frame.shift
                storing = frame.storing
                depth -= 1
                stop = frames[depth - 1].end if depth else self.op_count
                continue
            op = &self.ops[i]
            i += 1
            if op.shape == SINGLE:
                if op.code == TEXT:
                    at = self.text(start, at, size, op.column + shift if storing and op.column >= 0 else -1, row, base, wire)
                    if at < 0:
                        return SHORT
                    continue
                at = aligned(at, op.align, wire)
                if at > size - op.size:
                    return SHORT
                if storing and op.column >= 0:
                    store(op.code, start + at, self.columns[op.column + shift], row, wire)
                    self.put(op.column + shift, row)
                at += op.size
                continue
            if wire.delimited and op.code >= TEXT:
                at = aligned(at, 4, wire) + 4
            count = op.count
            if op.shape == SEQUENCE:
                at = aligned(at, 4, wire)
                if at > size - 4:
                    return SHORT
                count = load_4(start + at, wire.swap)
                at += 4
                if count != self.first[i - 1] - 1:
                    self.measured(i - 1, count)
            if storing and op.length_column >= 0:
                (<uint32_t*>self.columns[op.length_column + shift])[row] = <uint32_t>count
                self.put(op.length_column + shift, row)
            if at > size or (op.size and count > (size - at) // op.size):
                return SHORT
            stored = 0
            if storing and op.column >= 0 and count <= self.most_elements:
                stored = count if count < op.capacity else op.capacity
            if op.code != STRUCT:
                at = self.values(op, start, at, size, count, stored, shift, row, base, wire)
                if at < 0:
                    return SHORT
                continue
            if count == 0 or op.size == 0:
                i = op.end
                continue
            frame = &frames[depth]
            depth += 1
            frame.first = i
            frame.end = op.end
            frame.index = 0
            frame.count = count
            frame.capacity = stored
            frame.stride = op.stride
            frame.shift = shift
            frame.storing = storing
            storing = storing and stored > 0
            stop = op.end
        if at > size:
            return SHORT
        return READ if size - at <= self.most_tail else LONG

    cdef int message(self, const uint8_t* start, int64_t size, int64_t base, Py_ssize_t row, bint store_any) noexcept nogil:
        """One message of a batch. READ or a reason."""
        cdef Wire wire
        wire.swap = wire.delimited = wire.terminated = wire.signed_time = False
        wire.most_align = 0
        if not self.cdr:
            return self.walk(start, size, base, row, store_any, &wire)
        # Encapsulation header: u16 big-endian kind, u16 options. Kinds as in DDS-XTypes 1.3 and, from 0x10 on, 1.2
        if size < 4:
            return NO_HEADER
        cdef int kind = start[0] << 8 | start[1]
        wire.swap = kind & 1 == 0
        wire.terminated = wire.signed_time = True
        wire.most_align = 7
        if kind in (0x06, 0x07, 0x10, 0x11):
            wire.most_align = 3
            wire.delimited = True
        elif kind in (0x02, 0x03, 0x0A, 0x0B, 0x12, 0x13):
            return PARAMETER_LIST
        elif kind in (0x08, 0x09, 0x14, 0x15):
            return DELIMITED
        elif kind > 1:
            return UNKNOWN_ENCODING
        return self.walk(start + 4, size - 4, base + 4, row, store_any, &wire)

    cdef void forget(self, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.column_count):
            if self.masks[i] != NULL:
                self.masks[i][row] = 0

    def longest_sequences(self):
        """Of each operation the elements of its longest sequence so far, of those that could become signals (int64).

        And whether the sequences differ in length, and whether one was too long for signals (VARIES, TOO_LONG: uint8).
        """
        longest = np.empty(self.op_count, np.int64)
        varies = np.empty(self.op_count, np.uint8)
        cdef int64_t[::1] to = longest
        cdef uint8_t[::1] to_varies = varies
        cdef Py_ssize_t i
        for i in range(self.op_count):
            to[i] = self.longest[i]
            to_varies[i] = self.varies[i]
        return longest, varies

    def measure(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None):
        """Looks at messages only for `longest_sequences`."""
        cdef Py_ssize_t i
        cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
        check_messages(data, offset, length)
        with nogil:
            for i in range(offset.shape[0]):
                self.message(start + offset[i], length[i], offset[i], 0, False)

    def run(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None,
            const int64_t[::1] t_ns not None):
        """Reads messages: (times, columns, text lengths, masks, failed, reason number).

        A column has its storage type, for texts int64 offsets, whose lengths stand in the other list; all are cut to the rows that were
        read. A mask is None where all rows are valid.
        """
        cdef Py_ssize_t n = offset.shape[0], row = 0, i, j
        cdef int reason, first_reason = READ
        cdef int64_t failed = 0
        check_messages(data, offset, length)
        if t_ns.shape[0] != n:
            raise ValueError("times and messages differ in number")
        # Where a row may have no value, zeros stand: a text that is not there must still lie in the buffer.
        columns = [make(n, kind) for make, kind in self.kinds]
        lengths = [make(n, np.int64) if self.is_text[i] else None for i, (make, _) in enumerate(self.kinds)]
        masks = [None] * self.column_count
        mask_buffer = np.zeros((len(self.masked), n), np.uint8)
        times = np.empty(n, np.int64)
        cdef int64_t[::1] out_times = times
        cdef uint8_t[:, ::1] mask_out = mask_buffer
        cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
        if n:
            for i in range(self.column_count):
                self.columns[i] = <uint8_t*>memory_of(columns[i])
                self.text_lengths[i] = <int64_t*>memory_of(lengths[i]) if self.is_text[i] else NULL
                self.masks[i] = NULL
            for j, i in enumerate(self.masked):
                self.masks[i] = &mask_out[j, 0]
        with nogil:
            for i in range(n):
                reason = self.message(start + offset[i], length[i], offset[i], row, True)
                if reason == READ:
                    out_times[row] = t_ns[i]
                    row += 1
                else:
                    failed += 1
                    if first_reason == READ:
                        first_reason = reason
                    self.forget(row)
        if row < n:
            times = times[:row]
            columns = [column[:row] for column in columns]
            lengths = [None if column is None else column[:row] for column in lengths]
        for j, i in enumerate(self.masked):
            if row and memchr(&mask_out[j, 0], 0, <size_t>row) != NULL:
                masks[i] = mask_buffer[j, :row]
        return times, columns, lengths, masks, failed, first_reason


cdef void* memory_of(array) except NULL:
    """Where the values of an array that owns them begin."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE)
    cdef void* at = view.buf
    PyBuffer_Release(&view)
    return at


cdef int check_messages(const uint8_t[::1] data, const int64_t[::1] offset, const int64_t[::1] length) except -1:
    """Raises ValueError when a message does not lie in the buffer."""
    cdef Py_ssize_t i
    cdef int64_t size = data.shape[0]
    if offset.shape[0] != length.shape[0]:
        raise ValueError("offsets and lengths differ in number")
    for i in range(offset.shape[0]):
        if offset[i] < 0 or length[i] < 0 or offset[i] > size or length[i] > size - offset[i]:
            raise ValueError("a message lies outside of its buffer")
    return 0
