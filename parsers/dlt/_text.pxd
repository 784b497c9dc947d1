# How the payload of a DLT message becomes text.

from parsers._core.messages cimport MessageColumns
from parsers.dlt._header cimport DltMessage


cdef enum:
    # What is wrong with a payload; all of it is shown whatever it is
    READ = 0
    BAD_ARGUMENT = 1
    MISSING_ARGUMENTS = 2
    LEFT_OVER = 3
    NO_MESSAGE_ID = 4
    TEXT_REASONS = 5

    # Kinds of messages that Python wants to see, or that are only counted
    ORDINARY = 0
    FILE_START = 1
    FILE_DATA = 2
    NETWORK_SEGMENT = 3
    SOFTWARE_VERSION = 4
    TIME_ZONE = 5


cdef int kind_of(const DltMessage* message) noexcept nogil
cdef int put_payload(MessageColumns columns, DltMessage* message) noexcept nogil
