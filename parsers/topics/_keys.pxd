# The keys of messages as a tree, in memory of its own, found by a hash of parent and key.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t


cdef struct Node:
    int32_t parent
    int32_t first_child
    int32_t last_child
    int32_t next
    int32_t guess  # child expected next, while a message is read
    uint32_t hash
    int64_t key  # offset in the key text; for an element, its number
    int32_t key_length  # -1 for an element of an array
    bint plain  # nothing in the key is ever escaped
    int32_t seen
    int32_t kind  # of the column, 0 when there is none
    int32_t column
    int32_t length_column  # of an array
    int32_t most  # elements seen in one message
    int64_t late  # values that came without a column
    int64_t stamp  # the message it was last met in


cdef class KeyTree:
    cdef Node* nodes
    cdef int32_t* slots
    cdef uint8_t* keys
    cdef int64_t count, room, most_nodes, slot_count, keys_used, keys_room
    cdef int late_count
    cdef bint learning

    cdef bint rehash(self) noexcept nogil
    cdef int32_t add(self, int32_t parent, const uint8_t* key, int64_t number, int32_t key_length, uint32_t value) noexcept nogil
    cdef int32_t find(self, int32_t parent, const uint8_t* key, int32_t length, int64_t number, uint32_t value) noexcept nogil
    cdef int32_t key_node(self, int32_t parent, const uint8_t* key, int32_t length) noexcept nogil
    cdef int32_t element_node(self, int32_t parent, int64_t number) noexcept nogil
