"""Texts of a column given their numbers, and texts of log messages put one behind the other, without a Python object per text."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from parsers.topics._spans cimport check_spans

import numpy as np

cdef enum:
    SMALLEST = 64


cdef uint8_t[1] NOTHING  # what an empty buffer points to


cdef struct Entry:
    uint64_t hash
    int64_t start
    int64_t length


cdef inline uint64_t hash_of(const uint8_t* at, int64_t length) noexcept nogil:
    cdef uint64_t value = <uint64_t>length * <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t word
    while length >= 8:
        memcpy(&word, at, 8)
        value = (value ^ word) * <uint64_t>0xFF51AFD7ED558CCD
        value ^= value >> 32
        at += 8
        length -= 8
    word = 0
    if length > 0:
        memcpy(&word, at, <size_t>length)
    value = (value ^ word) * <uint64_t>0xFF51AFD7ED558CCD
    return value ^ (value >> 29)


cdef inline int64_t cut(const uint8_t* at, int64_t length, int64_t characters) noexcept nogil:
    """Bytes of the first so many UTF-8 characters; at most four for each, whatever the bytes are."""
    cdef int64_t i
    cdef int64_t left = characters
    if length <= characters:
        return length
    if length > 4 * characters:
        length = 4 * characters
    for i in range(length):
        if at[i] & 0xC0 != 0x80:
            if left == 0:
                return i
            left -= 1
    return length


@cython.final
cdef class TextBudget:
    """Bytes of different texts that one file may have in all its columns."""

    cdef public int64_t left

    def __init__(self, int64_t left):
        self.left = left


@cython.final
cdef class SpanCoder:
    """Numbers texts in order of first sight into `choices`, as `parsers.texts.TextCodes` does; for columns of TextSpans.

    A text that comes when `limit` different ones are known, or when `budget` is used up, has no number: `dropped` counts them.
    """

    cdef readonly dict choices
    cdef readonly int64_t dropped
    cdef int64_t limit
    cdef int64_t characters
    cdef TextBudget budget
    cdef int32_t* slots  # number of a text plus 1, 0 when free
    cdef Entry* entries
    cdef uint8_t* text
    cdef int64_t slot_count, count, room, text_used, text_room

    def __cinit__(self, dict choices not None, TextBudget budget not None, int64_t limit, int64_t characters=1000):
        self.choices = choices
        self.budget = budget
        self.limit = min(limit, 1 << 20)
        self.characters = characters
        self.grow()

    def __dealloc__(self):
        free(self.slots)
        free(self.entries)
        free(self.text)

    cdef int grow(self) except -1:
        """Room for twice as many texts."""
        cdef int64_t slot_count = max(2 * self.slot_count, 2 * SMALLEST)
        cdef int32_t* slots = <int32_t*>calloc(<size_t>slot_count, sizeof(int32_t))
        if slots == NULL:
            raise MemoryError
        cdef Entry* entries = <Entry*>realloc(self.entries, <size_t>(slot_count // 2) * sizeof(Entry))
        if entries == NULL:
            free(slots)
            raise MemoryError
        free(self.slots)
        self.slots = slots
        self.entries = entries
        self.slot_count = slot_count
        self.room = slot_count // 2
        cdef int64_t i, at
        for i in range(self.count):
            at = entries[i].hash & <uint64_t>(slot_count - 1)
            while slots[at]:
                at = (at + 1) & (slot_count - 1)
            slots[at] = <int32_t>i + 1
        return 0

    cdef int32_t find(self, const uint8_t* at, int64_t length, uint64_t value) noexcept nogil:
        cdef int64_t slot = value & <uint64_t>(self.slot_count - 1)
        cdef Entry* entry
        while self.slots[slot]:
            entry = &self.entries[self.slots[slot] - 1]
            if entry.hash == value and entry.length == length and memcmp(self.text + entry.start, at, <size_t>length) == 0:
                return self.slots[slot] - 1
            slot = (slot + 1) & (self.slot_count - 1)
        return -1

    cdef int32_t add(self, const uint8_t* at, int64_t length, uint64_t value) except -2:
        """The number of a new text; -1 when there is no room."""
        if self.count >= self.limit or self.budget.left < length + 64:
            self.dropped += 1
            return -1
        if self.count == self.room:
            self.grow()
        cdef uint8_t* text
        cdef int64_t wanted = self.text_used + length
        if wanted > self.text_room:
            wanted = max(2 * wanted, 1024)
            text = <uint8_t*>realloc(self.text, <size_t>wanted)
            if text == NULL:
                raise MemoryError
            self.text = text
            self.text_room = wanted
        self.choices[self.count] = at[:length].decode("utf-8", "replace")
        self.budget.left -= length + 64
        if length:
            memcpy(self.text + self.text_used, at, <size_t>length)
        self.entries[self.count] = Entry(value, self.text_used, length)
        self.text_used += length
        cdef int64_t slot = value & <uint64_t>(self.slot_count - 1)
        while self.slots[slot]:
            slot = (slot + 1) & (self.slot_count - 1)
        self.count += 1
        self.slots[slot] = <int32_t>self.count
        return <int32_t>self.count - 1

    def codes(self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None, mask=None):
        """The numbers of texts (int32) and the mask (uint8, 1: valid; None: all valid). `mask` says which texts are there at all."""
        cdef Py_ssize_t rows = offset.shape[0]
        cdef Py_ssize_t i
        check_spans(data, offset, length)
        column = np.zeros(rows, np.int32)
        cdef int32_t[::1] out = column
        cdef const uint8_t[::1] valid_in
        cdef bint has_mask = mask is not None
        if has_mask:
            valid_in = mask
            if valid_in.shape[0] != rows:
                raise ValueError("the mask has another length")
        valid = np.ones(rows, np.uint8)
        cdef uint8_t[::1] valid_out = valid
        cdef Py_ssize_t missing = 0
        cdef const uint8_t* start = &data[0] if data.shape[0] else NOTHING
        cdef const uint8_t* at
        cdef const uint8_t* last = NULL
        cdef int64_t size, last_size = -1
        cdef int32_t code = 0
        cdef uint64_t value
        with nogil:
            for i in range(rows):
                if has_mask and not valid_in[i]:
                    valid_out[i] = 0
                    missing += 1
                    continue
                at = start + offset[i]
                size = cut(at, length[i], self.characters)
                # Most columns of texts change seldom.
                if size != last_size or memcmp(at, last, <size_t>size) != 0:
                    value = hash_of(at, size)
                    code = self.find(at, size, value)
                    if code < 0:
                        with gil:
                            code = self.add(at, size, value)
                    if code < 0:
                        valid_out[i] = 0
                        missing += 1
                        last_size = -1
                        continue
                    last = at
                    last_size = size
                out[i] = code
        return column, (valid if missing else None)


def joined(const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None, int64_t characters,
           int64_t most_bytes):
    """Texts one behind the other, each cut to so many characters: (uint8 text, int32 offsets, texts taken).

    Takes as many texts as fit into `most_bytes`, but at least one.
    """
    cdef Py_ssize_t rows = offset.shape[0]
    cdef Py_ssize_t i, taken = rows
    cdef int64_t total = 0, size
    check_spans(data, offset, length)
    offsets = np.zeros(rows + 1, np.int32)
    cdef int32_t[::1] out = offsets
    cdef const uint8_t* start = &data[0] if data.shape[0] else NOTHING
    for i in range(rows):
        size = cut(start + offset[i], length[i], characters)
        if i and total + size > most_bytes:
            taken = i
            break
        total += size
        out[i + 1] = <int32_t>total
    text = np.empty(total, np.uint8)
    cdef uint8_t[::1] to = text
    for i in range(taken):
        if out[i + 1] > out[i]:
            memcpy(&to[out[i]], start + offset[i], <size_t>(out[i + 1] - out[i]))
    return text, offsets[: taken + 1], taken


def gathered(const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None):
    """The messages of a batch one behind the other: (uint8 data, int64 offsets)."""
    cdef Py_ssize_t rows = offset.shape[0]
    cdef Py_ssize_t i
    cdef int64_t total = 0
    check_spans(data, offset, length)
    offsets = np.empty(rows, np.int64)
    cdef int64_t[::1] to_offset = offsets
    for i in range(rows):
        to_offset[i] = total
        total += length[i]
    out = np.empty(total, np.uint8)
    cdef uint8_t[::1] to = out
    for i in range(rows):
        if length[i]:
            memcpy(&to[to_offset[i]], &data[offset[i]], <size_t>length[i])
    return out, offsets
