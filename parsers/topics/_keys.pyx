"""The tree of the keys that messages have, and what has been seen under each."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    MAX_LATE = 256  # names kept of keys that come after the beginning


cdef inline uint32_t hash_of(int32_t parent, const uint8_t* key, int32_t length, int64_t number) noexcept nogil:
    cdef uint64_t value = <uint64_t>parent * <uint64_t>0x9E3779B97F4A7C15 + <uint64_t>length + <uint64_t>number * 0x2545F491
    cdef uint64_t piece
    while length >= 8:
        memcpy(&piece, key, 8)
        value = (value ^ piece) * <uint64_t>0xFF51AFD7ED558CCD
        value ^= value >> 32
        key += 8
        length -= 8
    piece = 0
    if length > 0:
        memcpy(&piece, key, <size_t>length)
    value = (value ^ piece) * <uint64_t>0xFF51AFD7ED558CCD
    return <uint32_t>(value >> 32)


cdef bint is_plain(const uint8_t* key, int32_t length) noexcept nogil:
    cdef int32_t i
    if length < 0:
        return False
    for i in range(length):
        if key[i] == 0x22 or key[i] == 0x5C or key[i] < 0x20:
            return False
    return True


cdef class KeyTree:
    """Number 0 is the message itself. At most `most_nodes` others."""

    def __cinit__(self, int64_t most_nodes, *_):
        self.most_nodes = most_nodes + 1
        self.learning = True
        self.slot_count = 64
        self.slots = <int32_t*>calloc(<size_t>self.slot_count, sizeof(int32_t))
        if self.slots == NULL:
            raise MemoryError
        if self.add(-1, NULL, 0, 0, 0) < 0:
            raise MemoryError

    def __dealloc__(self):
        free(self.nodes)
        free(self.slots)
        free(self.keys)

    cdef bint rehash(self) noexcept nogil:
        cdef int64_t slot_count = 2 * self.slot_count
        cdef int32_t* slots = <int32_t*>calloc(<size_t>slot_count, sizeof(int32_t))
        cdef int64_t i, slot
        if slots == NULL:
            return False
        free(self.slots)
        self.slots = slots
        self.slot_count = slot_count
        for i in range(1, self.count):
            slot = self.nodes[i].hash & <uint64_t>(slot_count - 1)
            while slots[slot]:
                slot = (slot + 1) & (slot_count - 1)
            slots[slot] = <int32_t>i
        return True

    cdef int32_t add(self, int32_t parent, const uint8_t* key, int64_t number, int32_t key_length, uint32_t value) noexcept nogil:
        """A new node; -1 when there is no room. `number` is that of an element, whose key_length is -1."""
        cdef Node* nodes
        cdef uint8_t* keys
        cdef int64_t wanted, slot
        cdef int32_t index = <int32_t>self.count
        if self.count >= self.most_nodes:
            return -1
        if self.count == self.room:
            wanted = 2 * self.room if self.room else 32
            nodes = <Node*>realloc(self.nodes, <size_t>wanted * sizeof(Node))
            if nodes == NULL:
                return -1
            self.nodes = nodes
            self.room = wanted
        if 2 * self.count >= self.slot_count and not self.rehash():
            return -1
        if key_length > 0:
            wanted = self.keys_used + key_length
            if wanted > self.keys_room:
                wanted = 2 * wanted
                keys = <uint8_t*>realloc(self.keys, <size_t>wanted)
                if keys == NULL:
                    return -1
                self.keys = keys
                self.keys_room = wanted
            memcpy(self.keys + self.keys_used, key, <size_t>key_length)
            number = self.keys_used
            self.keys_used += key_length
        memset(&self.nodes[index], 0, sizeof(Node))
        self.nodes[index].parent = parent
        self.nodes[index].first_child = self.nodes[index].last_child = self.nodes[index].next = self.nodes[index].guess = -1
        self.nodes[index].hash = value
        self.nodes[index].key = number
        self.nodes[index].key_length = key_length
        self.nodes[index].plain = is_plain(key, key_length)
        self.nodes[index].column = self.nodes[index].length_column = -1
        self.nodes[index].stamp = -1
        self.count += 1
        if parent >= 0:
            if self.nodes[parent].last_child < 0:
                self.nodes[parent].first_child = index
            else:
                self.nodes[self.nodes[parent].last_child].next = index
            self.nodes[parent].last_child = index
            slot = value & <uint64_t>(self.slot_count - 1)
            while self.slots[slot]:
                slot = (slot + 1) & (self.slot_count - 1)
            self.slots[slot] = index
        return index

    cdef int32_t find(self, int32_t parent, const uint8_t* key, int32_t length, int64_t number, uint32_t value) noexcept nogil:
        cdef int64_t slot = value & <uint64_t>(self.slot_count - 1)
        cdef Node* node
        while self.slots[slot]:
            node = &self.nodes[self.slots[slot]]
            if node.hash == value and node.parent == parent and node.key_length == length:
                if length < 0:
                    if node.key == number:
                        return self.slots[slot]
                elif memcmp(self.keys + node.key, key, <size_t>length) == 0:
                    return self.slots[slot]
            slot = (slot + 1) & (self.slot_count - 1)
        return -1

    cdef int32_t key_node(self, int32_t parent, const uint8_t* key, int32_t length) noexcept nogil:
        """The child of that key. A new one while it learns; later -1, and the key is noted."""
        cdef uint32_t value = hash_of(parent, key, length, 0)
        cdef int32_t found = self.find(parent, key, length, 0, value)
        if found < 0:
            if not self.learning:
                if self.late_count >= MAX_LATE:
                    return -1
                self.late_count += 1
                self.most_nodes += 1
            found = self.add(parent, key, 0, length, value)
        if found >= 0:
            self.nodes[parent].guess = self.nodes[found].next
        return found

    cdef int32_t element_node(self, int32_t parent, int64_t number) noexcept nogil:
        """The element of that number. A new one while it learns; later -1."""
        cdef uint32_t value = hash_of(parent, NULL, -1, number)
        cdef int32_t found = self.find(parent, NULL, -1, number, value)
        if found < 0 and self.learning:
            found = self.add(parent, NULL, number, -1, value)
        if found >= 0:
            self.nodes[parent].guess = self.nodes[found].next
        return found

    # --- from Python

    def child(self, int32_t parent, bytes key not None):
        """The node of a key of an object; -1 when there are too many."""
        if not 0 <= parent < self.count or len(key) > 1000:
            return -1
        cdef const uint8_t* text = key
        cdef uint32_t value = hash_of(parent, text, <int32_t>len(key), 0)
        cdef int32_t found = self.find(parent, text, <int32_t>len(key), 0, value)
        return self.add(parent, text, 0, <int32_t>len(key), value) if found < 0 else found

    def see(self, int32_t index, int32_t kinds):
        """Notes what a schema says of a node."""
        if 0 <= index < self.count:
            self.nodes[index].seen |= kinds

    def describe(self):
        """(parent, key or number of the element, seen, most elements, late) of every node, in the order of their numbers."""
        out = []
        cdef Node* node
        for i in range(self.count):
            node = &self.nodes[i]
            key = int(node.key) if node.key_length < 0 else self.keys[node.key:node.key + node.key_length].decode("utf-8", "replace")
            out.append((node.parent, key, node.seen, node.most, node.late))
        return out
