# The headers of one DLT message, version 1 (AUTOSAR R4.0 to R20-11) and version 2 (PRS_LogAndTraceProtocol R21-11 and later).

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef enum:
    STORAGE_1 = 16  # magic, u32 seconds, i32 microseconds, ECU; little-endian
    STORAGE_2 = 14  # magic, 9 bytes of time, u8 length of the ECU's name, which follows
    MOST_HEAD = 32  # bytes that message_size looks at

    # Negative sizes
    NEED = -1  # more bytes must be read to tell
    NOT_HERE = -2  # no message begins here
    BAD_LENGTH = -3  # its length has no room for its own header

    # HTYP of version 1
    UEH = 0x01
    MSBF = 0x02
    WEID = 0x04
    WSID = 0x08
    WTMS = 0x10

    # HTYP2 of version 2: bits 0 and 1 are the kind of content
    V2_VERBOSE = 0
    V2_PLAIN = 1
    V2_CONTROL = 2
    V2_WEID = 0x04
    V2_WACID = 0x08
    V2_WSID = 0x10
    V2_WSFLN = 0x0100
    V2_WTGS = 0x0200
    V2_WPVL = 0x0400
    V2_WSGM = 0x0800

    # Layouts of the 9 bytes of time in a version 2 storage header: which field comes first, and how each is ordered
    SECONDS_BE_NANOS_LE = 0
    NANOS_LE_SECONDS_LE = 1
    SECONDS_BE_NANOS_BE = 2
    NANOS_BE_SECONDS_BE = 3
    SECONDS_LE_NANOS_LE = 4
    LAYOUTS = 5


cdef struct DltMessage:
    const uint8_t* storage_ecu  # NULL without storage header
    const uint8_t* ecu  # NULL when the header has none
    const uint8_t* apid
    const uint8_t* ctid
    const uint8_t* payload
    const uint8_t* stamp  # the 9 bytes of time in a version 2 base header
    const uint8_t* storage_stamp  # and in a version 2 storage header
    const uint8_t* file_name
    const uint8_t* tags  # u8 length and text, tag_count times
    Py_ssize_t payload_size
    int64_t storage_ns
    int64_t uptime_ns  # since the start of the ECU
    uint32_t line
    uint32_t message_id
    int storage_ecu_size
    int ecu_size
    int apid_size
    int ctid_size
    int file_name_size
    int tag_count
    uint8_t version
    uint8_t mcnt
    uint8_t msin
    uint8_t noar
    bint has_storage
    bint has_uptime
    bint has_extended  # msin and noar are there
    bint has_id  # the message id stands in the header
    bint verbose
    bint control
    bint big_endian
    bint segment


cdef inline uint16_t u16_of(const uint8_t* at, bint big) noexcept nogil:
    return <uint16_t>(at[0] << 8 | at[1]) if big else <uint16_t>(at[1] << 8 | at[0])


cdef inline uint32_t u32_of(const uint8_t* at, bint big) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    if big:
        value = value << 24 | (value & 0xFF00) << 8 | (value >> 8 & 0xFF00) | value >> 24
    return value


cdef inline uint64_t u64_of(const uint8_t* at, bint big) noexcept nogil:
    if big:
        return <uint64_t>u32_of(at, True) << 32 | u32_of(at + 4, True)
    return <uint64_t>u32_of(at + 4, False) << 32 | u32_of(at, False)


cdef inline bint is_magic(const uint8_t* at) noexcept nogil:
    """Whether `DLT` and a version that is read stand in the four bytes."""
    return at[0] == 0x44 and at[1] == 0x4C and at[2] == 0x54 and 1 <= at[3] <= 2


cdef Py_ssize_t storage_size(const uint8_t* at, const uint8_t* end) noexcept nogil
cdef Py_ssize_t message_size(const uint8_t* at, const uint8_t* end, bint strict, bint big) noexcept nogil
cdef bint stamp_plausible(const uint8_t* stamp, int layout) noexcept nogil
cdef int64_t stamp_ns(const uint8_t* stamp, int layout) noexcept nogil
cdef void read_storage(const uint8_t* at, DltMessage* message, int layout) noexcept nogil
cdef bint read_header(const uint8_t* at, const uint8_t* end, DltMessage* message, bint big) noexcept nogil
