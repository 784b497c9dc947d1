"""Reads JSON messages into columns: a tree of the keys that are known, and one pass over each message without the GIL."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from parsers._core.cursor cimport MAX_SECONDS, Cursor, cursor_over
from parsers.topics._jsontext cimport (
    NOT_JSON,
    READ,
    REPEATED,
    TOO_DEEP,
    Number,
    quick_number,
    read_number,
    skip_space,
    skip_value,
    string_end,
    unescape,
    word,
)
from parsers.topics._keys cimport KeyTree, Node
from parsers.topics._spans cimport check_spans

import numpy as np

cdef enum:
    MAX_DEPTH = 32
    MAX_KEY = 1000  # bytes
    MAX_REPEATED = 64  # repeated keys in one message
    BLOB = 1000  # characters of a text without a space that is no text

    # What was seen of a node
    SEEN_NUMBER = 1
    SEEN_FRACTION = 2
    SEEN_LARGE = 4  # a whole number that float64 does not hold exactly
    SEEN_BOOL = 8
    SEEN_TEXT = 16
    SEEN_OBJECT = 32
    SEEN_ARRAY = 64
    SEEN_BLOB = 128
    SEEN_DEEP = 256
    SEEN_HUGE = 512  # a whole number beyond int64

    # What a column holds
    FLOAT = 1
    INT = 2
    BOOL = 3
    TEXT = 4
    SECONDS = 5
    NANOSECONDS = 6

SEEN = {
    "number": SEEN_NUMBER,
    "fraction": SEEN_FRACTION,
    "large": SEEN_LARGE,
    "bool": SEEN_BOOL,
    "text": SEEN_TEXT,
    "object": SEEN_OBJECT,
    "array": SEEN_ARRAY,
    "blob": SEEN_BLOB,
    "deep": SEEN_DEEP,
    "huge": SEEN_HUGE,
}
COLUMN_FLOAT, COLUMN_INT, COLUMN_BOOL, COLUMN_TEXT, COLUMN_SECONDS, COLUMN_NANOSECONDS = FLOAT, INT, BOOL, TEXT, SECONDS, NANOSECONDS
REASONS = {NOT_JSON: "not JSON", TOO_DEEP: "nested too deeply", REPEATED: "repeats its keys too often"}


cdef struct Out:
    double* floats
    int64_t* ints
    uint8_t* bools
    int64_t* offsets
    int64_t* lengths
    uint8_t* mask


@cython.final
cdef class JsonTree(KeyTree):
    """The keys of a topic's messages, and the columns of their values. `max_array` elements of an array are kept.

    First it learns from messages and from `child` and `see`; then columns are given to nodes, and `decode` fills them.
    """

    cdef uint8_t* scratch
    cdef int64_t scratch_room
    cdef int64_t max_array
    cdef int repeated
    cdef int64_t row, stamp
    cdef bint touched  # the message has given a value
    cdef readonly int64_t misfits  # values that their column cannot hold
    cdef Out* out
    cdef int64_t column_count
    cdef uint8_t* arena
    cdef int64_t arena_used

    def __cinit__(self, int64_t most_nodes, int64_t max_array):
        self.max_array = max_array

    def __dealloc__(self):
        free(self.scratch)
        free(self.out)

    cdef inline int32_t expected(self, Cursor* cur, int32_t parent) noexcept nogil:
        """The node of the key behind the key before it, if that is the one that comes; else -1 and nothing is read."""
        cdef int32_t guess = self.nodes[parent].guess
        cdef Node* node
        if guess < 0:
            return -1
        node = &self.nodes[guess]
        if (
            not node.plain
            or cur.end - cur.at <= node.key_length
            or cur.at[node.key_length] != 0x22
            or memcmp(self.keys + node.key, cur.at, <size_t>node.key_length) != 0
        ):
            return -1
        cur.at += node.key_length + 1
        self.nodes[parent].guess = node.next
        return guess

    cdef int key_of(self, Cursor* cur, int32_t parent, int32_t* child) noexcept nogil:
        """Reads a key behind its opening quote and finds its node."""
        cdef const uint8_t* key = cur.at
        cdef int64_t length
        cdef bint escaped = False
        if not string_end(cur, &escaped):
            return NOT_JSON
        length = cur.at - 1 - key
        if escaped and not self.unescaped_key(key, cur.at - 1, &key, &length):
            return NOT_JSON
        child[0] = self.key_node(parent, key, <int32_t>length) if length <= MAX_KEY else -1
        return READ

    cdef inline int32_t element_of(self, int32_t parent, int64_t number) noexcept nogil:
        cdef int32_t guess = self.nodes[parent].guess
        if not self.learning and number >= self.nodes[parent].most:
            return -1
        if guess >= 0 and self.nodes[guess].key_length == -1 and self.nodes[guess].key == number:
            self.nodes[parent].guess = self.nodes[guess].next
            return guess
        return self.element_node(parent, number) if number < self.max_array else -1

    # --- values

    cdef void clear(self, int32_t index) noexcept nogil:
        """Takes back what this message has given below a node: its key comes again, and the last one counts."""
        cdef int32_t at = index
        cdef Node* node
        while True:
            node = &self.nodes[at]
            node.stamp = -1
            if node.column >= 0:
                self.out[node.column].mask[self.row] = 0
            if node.length_column >= 0:
                self.out[node.length_column].mask[self.row] = 0
            if node.first_child >= 0:
                at = node.first_child
                continue
            while at != index and self.nodes[at].next < 0:
                at = self.nodes[at].parent
            if at == index:
                return
            at = self.nodes[at].next

    cdef int value_of(self, Cursor* cur, int32_t index, int depth) noexcept nogil:
        """Reads a value that belongs to a node (-1: to none); READ, or why the message is none."""
        cdef Node* node
        cdef Number number
        skip_space(cur)
        if cur.at >= cur.end:
            return NOT_JSON
        if index < 0:
            return skip_value(cur)
        node = &self.nodes[index]
        if not self.learning:
            if node.stamp == self.stamp:
                self.repeated += 1
                if self.repeated > MAX_REPEATED:
                    return REPEATED
                self.clear(index)
            node.stamp = self.stamp
        if cur.at[0] == 0x7B:
            return self.object_of(cur, index, depth)
        if cur.at[0] == 0x5B:
            return self.array_of(cur, index, depth)
        if cur.at[0] == 0x22:
            return self.text_of(cur, index)
        if cur.at[0] == 0x74 or cur.at[0] == 0x66:
            return self.bool_of(cur, node)
        if cur.at[0] == 0x6E:
            return READ if word(cur, b"null", 4) else NOT_JSON
        if not quick_number(cur, &number) and not read_number(cur, &number):
            return NOT_JSON
        if self.learning:
            self.see_number(node, &number)
        else:
            self.put_number(node, &number)
        return READ

    cdef void see_number(self, Node* node, const Number* number) noexcept nogil:
        node.seen |= SEEN_NUMBER
        if not number.whole:
            node.seen |= SEEN_FRACTION
        elif not number.fits or number.digits > <uint64_t>0x7FFFFFFFFFFFFFFF:
            node.seen |= SEEN_HUGE
        elif number.digits > <uint64_t>1 << 53:
            node.seen |= SEEN_LARGE

    cdef bint as_int(self, const Number* number, int64_t* out) noexcept nogil:
        if number.whole:
            if not number.fits or number.digits > <uint64_t>0x7FFFFFFFFFFFFFFF:
                return False
            out[0] = -<int64_t>number.digits if number.negative else <int64_t>number.digits
            return True
        if not -9.2e18 < number.value < 9.2e18 or <double><int64_t>number.value != number.value:
            return False
        out[0] = <int64_t>number.value
        return True

    cdef void put_number(self, Node* node, const Number* number) noexcept nogil:
        cdef int64_t value = 0
        cdef Out* out
        cdef int64_t at = self.row
        if node.column < 0:
            node.late += 1
            return
        self.touched = True
        out = &self.out[node.column]
        if node.kind == FLOAT:
            out.floats[at] = number.value
            out.mask[at] = 1
            return
        if node.kind == INT and self.as_int(number, &value):
            out.ints[at] = value
            out.mask[at] = 1
        elif node.kind == SECONDS and self.as_int(number, &value) and -<int64_t>MAX_SECONDS <= value <= <int64_t>MAX_SECONDS:
            out.ints[at] = value * 1000000000 + (out.ints[at] if out.mask[at] & 2 else 0)
            out.mask[at] |= 1
        elif node.kind == NANOSECONDS and self.as_int(number, &value) and 0 <= value < 1000000000:
            out.ints[at] = value + (out.ints[at] if out.mask[at] & 1 else 0)
            out.mask[at] |= 2
        else:
            self.misfits += 1

    cdef int bool_of(self, Cursor* cur, Node* node) noexcept nogil:
        cdef bint value = cur.at[0] == 0x74
        if not (word(cur, b"true", 4) if value else word(cur, b"false", 5)):
            return NOT_JSON
        if self.learning:
            node.seen |= SEEN_BOOL
        elif node.column < 0:
            node.late += 1
        elif node.kind == BOOL:
            self.touched = True
            self.out[node.column].bools[self.row] = value
            self.out[node.column].mask[self.row] = 1
        elif node.kind == FLOAT:
            self.touched = True
            self.out[node.column].floats[self.row] = value
            self.out[node.column].mask[self.row] = 1
        else:
            self.misfits += 1
        return READ

    cdef int text_of(self, Cursor* cur, int32_t index) noexcept nogil:
        cdef Node* node = &self.nodes[index]
        cdef const uint8_t* begin
        cdef bint escaped = False
        cdef int64_t length
        cdef Out* out
        cur.at += 1
        begin = cur.at
        if not string_end(cur, &escaped):
            return NOT_JSON
        length = cur.at - 1 - begin
        if self.learning:
            if length > BLOB and memchr(begin, 0x20, BLOB) == NULL:
                node.seen |= SEEN_BLOB
            else:
                node.seen |= SEEN_TEXT
            return READ
        if node.column < 0:
            node.late += 1
            return READ
        if node.kind != TEXT:
            self.misfits += 1
            return READ
        out = &self.out[node.column]
        # The texts of a message are shorter than the message, and a repeated key is written over: the arena is as long as the messages.
        if escaped:
            length = unescape(begin, cur.at - 1, self.arena + self.arena_used)
            if length < 0:
                return NOT_JSON
        elif length:
            memcpy(self.arena + self.arena_used, begin, <size_t>length)
        self.touched = True
        out.offsets[self.row] = self.arena_used
        out.lengths[self.row] = length
        out.mask[self.row] = 1
        self.arena_used += length
        return READ

    cdef bint unescaped_key(self, const uint8_t* begin, const uint8_t* end, const uint8_t** key, int64_t* length) noexcept nogil:
        cdef uint8_t* scratch
        if end - begin > self.scratch_room:
            scratch = <uint8_t*>realloc(self.scratch, <size_t>(end - begin))
            if scratch == NULL:
                return False
            self.scratch = scratch
            self.scratch_room = end - begin
        length[0] = unescape(begin, end, self.scratch)
        key[0] = self.scratch
        return length[0] >= 0

    cdef int object_of(self, Cursor* cur, int32_t index, int depth) noexcept nogil:
        cdef int32_t child
        cdef int outcome
        cdef uint8_t last
        if self.learning:
            self.nodes[index].seen |= SEEN_OBJECT
        if depth >= MAX_DEPTH or (not self.learning and self.nodes[index].first_child < 0):
            return self.pass_over(cur, index)
        self.nodes[index].guess = self.nodes[index].first_child
        cur.at += 1
        skip_space(cur)
        if cur.at < cur.end and cur.at[0] == 0x7D:
            cur.at += 1
            return READ
        while True:
            skip_space(cur)
            if cur.at >= cur.end or cur.at[0] != 0x22:
                return NOT_JSON
            cur.at += 1
            child = self.expected(cur, index)
            if child < 0:
                outcome = self.key_of(cur, index, &child)
                if outcome != READ:
                    return outcome
            skip_space(cur)
            if cur.at >= cur.end or cur.at[0] != 0x3A:
                return NOT_JSON
            cur.at += 1
            outcome = self.value_of(cur, child, depth + 1)
            if outcome != READ:
                return outcome
            skip_space(cur)
            if cur.at >= cur.end:
                return NOT_JSON
            last = cur.at[0]
            cur.at += 1
            if last == 0x7D:
                return READ
            if last != 0x2C:
                return NOT_JSON

    cdef int pass_over(self, Cursor* cur, int32_t index) noexcept nogil:
        """An object or array that has no column, or is nested too deeply."""
        cdef const uint8_t* begin = cur.at
        cdef int outcome = skip_value(cur)
        cdef bint empty = cur.at - begin == 2
        if self.learning:
            self.nodes[index].seen |= SEEN_DEEP
        elif not empty:
            self.nodes[index].late += 1
        return outcome

    cdef int array_of(self, Cursor* cur, int32_t index, int depth) noexcept nogil:
        cdef int64_t number = 0
        cdef int outcome
        cdef int32_t column
        cdef uint8_t last
        if self.learning:
            self.nodes[index].seen |= SEEN_ARRAY
        if depth >= MAX_DEPTH or (not self.learning and self.nodes[index].length_column < 0):
            return self.pass_over(cur, index)
        self.nodes[index].guess = self.nodes[index].first_child
        cur.at += 1
        skip_space(cur)
        if cur.at < cur.end and cur.at[0] == 0x5D:
            cur.at += 1
        else:
            while True:
                outcome = self.value_of(cur, self.element_of(index, number), depth + 1)
                if outcome != READ:
                    return outcome
                number += 1
                skip_space(cur)
                if cur.at >= cur.end:
                    return NOT_JSON
                last = cur.at[0]
                cur.at += 1
                if last == 0x5D:
                    break
                if last != 0x2C:
                    return NOT_JSON
        if self.learning:
            if number > self.nodes[index].most:
                self.nodes[index].most = <int32_t>min(number, 0x7FFFFFFF)
            return READ
        column = self.nodes[index].length_column
        self.touched = True
        self.out[column].ints[self.row] = number
        self.out[column].mask[self.row] = 1
        if self.nodes[index].most >= 0 and number > self.nodes[index].most:
            self.nodes[index].late += number - self.nodes[index].most
        return READ

    cdef int message(self, const uint8_t* start, int64_t length) noexcept nogil:
        cdef Cursor cur = cursor_over(start, start + length, 0)
        cdef int outcome
        self.repeated = 0
        self.stamp += 1
        self.touched = False
        if length >= 3 and memcmp(start, b"\xef\xbb\xbf", 3) == 0:
            cur.at += 3
        outcome = self.value_of(&cur, 0, 0)
        if outcome != READ:
            return outcome
        skip_space(&cur)
        while cur.at < cur.end and cur.at[0] == 0:
            cur.at += 1
        return READ if cur.at == cur.end else NOT_JSON

    # --- from Python

    def learn(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None):
        """Finds the keys and their kinds in messages."""
        cdef Py_ssize_t i
        check_spans(data, offset, length)
        with nogil:
            for i in range(offset.shape[0]):
                self.message(&data[0] + offset[i], length[i])

    def assign(self, int32_t index, int32_t kind, int32_t column):
        """Gives a node its column. Ends the learning."""
        self.learning = False
        self.nodes[index].kind = kind
        self.nodes[index].column = column
        self.column_count = max(self.column_count, column + 1)

    def assign_length(self, int32_t index, int32_t column, int32_t most):
        """Gives an array the column of its length; `most` elements have columns, -1: none is wanted. Ends the learning."""
        self.learning = False
        self.nodes[index].length_column = column
        self.nodes[index].most = most
        self.column_count = max(self.column_count, column + 1)

    def decode(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None, list kinds):
        """Reads messages. `kinds` are the kinds of the columns (SECONDS for a time, INT for a length).

        Returns (rows kept as uint8 flags of the messages, columns, masks, text, failed, reason): a text column is (offsets, lengths) in `text`.
        """
        cdef Py_ssize_t rows = offset.shape[0]
        cdef Py_ssize_t i, column
        cdef int outcome, reason = READ
        cdef int64_t failed = 0, total = 0
        check_spans(data, offset, length)
        if len(kinds) < self.column_count:
            raise ValueError("columns are missing")
        self.learning = False
        for i in range(rows):
            total += length[i]
        text = np.empty(total + 8, np.uint8)
        cdef uint8_t[::1] text_view = text
        self.arena = &text_view[0]
        self.arena_used = 0
        columns, masks = self.make_columns(kinds, rows)
        kept = np.ones(rows, np.uint8)
        cdef uint8_t[::1] kept_view = kept
        cdef int64_t arena_used
        self.row = 0
        with nogil:
            for i in range(rows):
                arena_used = self.arena_used
                outcome = self.message(&data[0] + offset[i], length[i])
                if outcome == READ:
                    self.row += 1
                    continue
                failed += 1
                if reason == READ:
                    reason = outcome
                kept_view[i] = 0
                self.take_back()
                self.arena_used = arena_used
        self.arena = NULL
        self.finish_masks(kinds, masks)
        return kept, columns, masks, text[: self.arena_used], failed, REASONS.get(reason, "")

    cdef void take_back(self) noexcept nogil:
        """The message at the current row is none: what it gave so far is taken back."""
        cdef int64_t i
        if self.touched:
            for i in range(self.column_count):
                self.out[i].mask[self.row] = 0
                if self.out[i].lengths != NULL:  # its text is not kept, and the row goes to the next message
                    self.out[i].offsets[self.row] = 0
                    self.out[i].lengths[self.row] = 0

    cdef finish_masks(self, list kinds, list masks):
        """Cuts the masks to the rows; one that is all ones becomes None. A time needs its seconds and its nanoseconds."""
        cdef uint8_t* mask
        cdef int64_t row
        for i, kind in enumerate(kinds):
            mask = self.out[i].mask
            if kind == SECONDS:
                for row in range(self.row):
                    mask[row] = mask[row] == 3
            masks[i] = masks[i][: self.row] if memchr(mask, 0, <size_t>self.row) != NULL else None

    cdef make_columns(self, list kinds, Py_ssize_t rows):
        """Columns and masks of zeros, and the pointers to them."""
        cdef Out* out = <Out*>realloc(self.out, (len(kinds) + 1) * sizeof(Out))
        if out == NULL:
            raise MemoryError
        self.out = out
        self.column_count = len(kinds)
        columns, masks = [], []
        cdef uint8_t[::1] mask_view, bool_view
        cdef double[::1] float_view
        cdef int64_t[::1] int_view, length_view
        for i, kind in enumerate(kinds):
            memset(&out[i], 0, sizeof(Out))
            mask = np.zeros(rows + 1, np.uint8)
            mask_view = mask
            out[i].mask = &mask_view[0]
            masks.append(mask)
            if kind == FLOAT:
                column = np.zeros(rows + 1, np.float64)
                float_view = column
                out[i].floats = &float_view[0]
            elif kind == BOOL:
                column = np.zeros(rows + 1, np.uint8)
                bool_view = column
                out[i].bools = &bool_view[0]
            elif kind == TEXT:
                column = np.zeros(rows + 1, np.int64), np.zeros(rows + 1, np.int64)
                int_view = column[0]
                length_view = column[1]
                out[i].offsets = &int_view[0]
                out[i].lengths = &length_view[0]
            else:
                column = np.zeros(rows + 1, np.int64)
                int_view = column
                out[i].ints = &int_view[0]
            columns.append(column)
        return columns, masks
