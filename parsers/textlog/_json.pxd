# Log lines that are JSON objects.

from libc.stdint cimport uint8_t

from parsers._core.messages cimport MessageColumns
from parsers.textlog._prefix cimport Head
from parsers.textlog._stamp cimport Text


cdef enum:
    MOST_FIELDS = 128

    STRING = 1
    NUMBER = 2
    OTHER = 3  # true, false, null, arrays and objects: shown as they stand there

    TIME = 0
    LEVEL = 1
    MESSAGE = 2
    SOURCE = 3
    ROLES = 4


cdef struct Field:
    const uint8_t* key
    const uint8_t* value
    Py_ssize_t key_size
    Py_ssize_t value_size
    int kind


cdef struct Object:
    Field fields[MOST_FIELDS]
    int count
    int role[ROLES]  # index of the field, or -1


cdef bint read_object(const Text* text, Object* found) noexcept nogil
cdef bint read_object_head(Object* found, Head* head) noexcept nogil
cdef void put_object(MessageColumns columns, const Object* found) noexcept nogil
