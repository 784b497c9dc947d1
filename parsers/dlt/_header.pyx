"""Reads the headers of one DLT message; every length is checked against the bytes that are there."""

from libc.string cimport memset

cdef enum:
    EXTENDED_1 = 10  # msin, noar, apid[4], ctid[4]
    BASE_2 = 7  # HTYP2 u32 little-endian, mcnt, u16 length
    MOST_SECONDS = 9223372035
    BILLION = 1000000000


cdef Py_ssize_t storage_size(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes of the storage header at `at`; NEED, or NOT_HERE."""
    if end - at < 4:
        return NEED
    if not is_magic(at):
        return NOT_HERE
    if at[3] == 1:
        return STORAGE_1
    return STORAGE_2 + at[13] if end - at >= STORAGE_2 else NEED


cdef inline Py_ssize_t header_1(uint8_t htyp) noexcept nogil:
    return 4 + (4 if htyp & WEID else 0) + (4 if htyp & WSID else 0) + (4 if htyp & WTMS else 0) + (EXTENDED_1 if htyp & UEH else 0)


cdef inline Py_ssize_t header_2(uint8_t htyp) noexcept nogil:
    """The part of fixed length: control and verbose have msin and noar, all but control a time, the others a message id."""
    cdef int content = htyp & 3
    return BASE_2 + (2 if content == V2_CONTROL else (11 if content == V2_VERBOSE else 13))


cdef inline bint is_name(const uint8_t* at, int size) noexcept nogil:
    """Printable ASCII, filled up with zeros."""
    cdef int i
    for i in range(size):
        if at[i] == 0:
            continue
        if not 0x20 <= at[i] < 0x7F or (i and at[i - 1] == 0):
            return False
    return True


cdef Py_ssize_t message_size(const uint8_t* at, const uint8_t* end, bint strict, bint big) noexcept nogil:
    """Bytes of the message behind the storage header, as it says itself; NEED, NOT_HERE or BAD_LENGTH.

    `strict` is for streams without magic: the version and the names must look like those of a message. `big` is the order of bytes in
    a header of version 2: the standard says big-endian, dlt-daemon 2.18 writes that of its processor.
    """
    cdef uint8_t htyp
    cdef Py_ssize_t size, at_names
    if end - at < BASE_2:
        return NEED
    htyp = at[0]
    if htyp >> 5 == 2:
        if htyp & 3 == 3 or at[1] > 0x0F or at[2]:
            return NOT_HERE
        size = u16_of(at + 5, big)
        return size if size >= header_2(htyp) else BAD_LENGTH
    size = u16_of(at + 2, True)
    if strict:
        if htyp >> 5 != 1 or not htyp & (WEID | UEH):
            return NOT_HERE
        if end - at < header_1(htyp):
            return NEED
        if htyp & WEID and not is_name(at + 4, 4):
            return NOT_HERE
        if htyp & UEH:
            at_names = header_1(htyp) - 8
            if at[at_names - 2] & 0x0E > 6 or not is_name(at + at_names, 4) or not is_name(at + at_names + 4, 4):
                return NOT_HERE
    return size if size >= header_1(htyp) else BAD_LENGTH


cdef inline void split_stamp(const uint8_t* stamp, int layout, uint64_t* seconds, uint64_t* nanos) noexcept nogil:
    cdef const uint8_t* s = stamp + 4 if layout == NANOS_LE_SECONDS_LE or layout == NANOS_BE_SECONDS_BE else stamp
    cdef const uint8_t* n = stamp if s != stamp else stamp + 5
    if layout == NANOS_LE_SECONDS_LE or layout == SECONDS_LE_NANOS_LE:
        seconds[0] = <uint64_t>s[4] << 32 | u32_of(s, False)
    else:
        seconds[0] = <uint64_t>s[0] << 32 | u32_of(s + 1, True)
    nanos[0] = u32_of(n, layout == SECONDS_BE_NANOS_BE or layout == NANOS_BE_SECONDS_BE)


cdef bint stamp_plausible(const uint8_t* stamp, int layout) noexcept nogil:
    """Whether nine bytes are a time in this layout: less than 1e9 nanoseconds, before the year 2243."""
    cdef uint64_t seconds = 0, nanos = 0
    split_stamp(stamp, layout, &seconds, &nanos)
    return nanos < BILLION and seconds < <uint64_t>1 << 33


cdef int64_t stamp_ns(const uint8_t* stamp, int layout) noexcept nogil:
    """Nanoseconds since 1970; 0 when they do not fit."""
    cdef uint64_t seconds = 0, nanos = 0
    split_stamp(stamp, layout, &seconds, &nanos)
    if seconds > <uint64_t>MOST_SECONDS or nanos >= BILLION:
        return 0
    return <int64_t>(seconds * BILLION + nanos)


cdef void read_storage(const uint8_t* at, DltMessage* message, int layout) noexcept nogil:
    """The storage header, which the caller has measured with storage_size. A time of zero is none."""
    memset(message, 0, sizeof(DltMessage))
    message.has_storage = True
    if at[3] == 1:
        message.storage_ns = <int64_t>u32_of(at + 4, False) * BILLION + <int64_t><int>u32_of(at + 8, False) * 1000
        message.storage_ecu = at + 12
        message.storage_ecu_size = 4
    else:
        message.storage_stamp = at + 4
        message.storage_ns = stamp_ns(at + 4, layout)
        message.storage_ecu = at + STORAGE_2
        message.storage_ecu_size = at[13]


cdef bint read_header(const uint8_t* at, const uint8_t* end, DltMessage* message, bint big) noexcept nogil:
    """The message from `at` to `end`, both found with message_size; False when a name is longer than the message."""
    if at[0] >> 5 == 2:
        return read_header_2(at, end, message, big)
    cdef uint8_t htyp = at[0]
    message.version = 1
    message.mcnt = at[1]
    message.big_endian = htyp & MSBF != 0
    at += 4
    if htyp & WEID:
        message.ecu = at
        message.ecu_size = 4
        at += 4
    if htyp & WSID:
        at += 4
    if htyp & WTMS:  # in 0.1 ms
        message.has_uptime = True
        message.uptime_ns = <int64_t>u32_of(at, True) * 100000
        at += 4
    if htyp & UEH:
        message.has_extended = True
        message.msin = at[0]
        message.noar = at[1]
        message.verbose = at[0] & 1 != 0
        message.control = at[0] >> 1 & 7 == 3
        message.apid = at + 2
        message.ctid = at + 6
        message.apid_size = 4
        message.ctid_size = 4
        at += EXTENDED_1
    message.payload = at
    message.payload_size = end - at
    return True


cdef const uint8_t* read_name(const uint8_t* at, const uint8_t* end, const uint8_t** name, int* size) noexcept nogil:
    """A name with its length in front; NULL when it does not fit."""
    if end - at < 1 or end - at < 1 + at[0]:
        return NULL
    name[0] = at + 1
    size[0] = at[0]
    return at + 1 + at[0]


cdef const uint8_t* read_tags(const uint8_t* at, const uint8_t* end, DltMessage* message) noexcept nogil:
    cdef const uint8_t* name = NULL
    cdef int size = 0, i
    if end - at < 1:
        return NULL
    message.tag_count = at[0]
    at += 1
    message.tags = at
    for i in range(message.tag_count):
        at = read_name(at, end, &name, &size)
        if at == NULL:
            return NULL
    return at


cdef void read_stamp_2(const uint8_t* at, DltMessage* message, bint big) noexcept nogil:
    """u32 nanoseconds whose highest bit says that they count from the start of the ECU, then five bytes of seconds, always big-endian."""
    cdef uint32_t nanos = u32_of(at, big)
    cdef uint64_t seconds = <uint64_t>at[4] << 32 | u32_of(at + 5, True)
    message.stamp = at
    if seconds > <uint64_t>MOST_SECONDS or nanos & 0x7FFFFFFF >= BILLION:
        return
    if nanos >> 31:
        message.has_uptime = True
        message.uptime_ns = <int64_t>(seconds * BILLION + (nanos & 0x7FFFFFFF))
    elif not message.has_storage:
        message.storage_ns = <int64_t>(seconds * BILLION + nanos)


cdef bint read_header_2(const uint8_t* at, const uint8_t* end, DltMessage* message, bint big) noexcept nogil:
    cdef uint32_t htyp = u32_of(at, False)
    cdef int content = htyp & 3
    message.version = 2
    message.mcnt = at[4]
    message.verbose = content == V2_VERBOSE
    message.control = content == V2_CONTROL
    at += BASE_2
    if content != V2_PLAIN:
        message.has_extended = True
        message.msin = at[0]
        message.noar = at[1]
        at += 2
    if content != V2_CONTROL:
        read_stamp_2(at, message, big)
        at += 9
    if content == V2_PLAIN:
        message.has_id = True
        message.message_id = u32_of(at, big)
        at += 4
    if htyp & V2_WEID:
        at = read_name(at, end, &message.ecu, &message.ecu_size)
    if at != NULL and htyp & V2_WACID:
        at = read_name(at, end, &message.apid, &message.apid_size)
        if at != NULL:
            at = read_name(at, end, &message.ctid, &message.ctid_size)
    if at != NULL and htyp & V2_WSID:
        at = at + 4 if end - at >= 4 else NULL
    if at != NULL and htyp & V2_WSFLN:
        at = read_name(at, end, &message.file_name, &message.file_name_size)
        if at != NULL and end - at >= 4:
            message.line = u32_of(at, big)
            at += 4
        else:
            at = NULL
    if at != NULL and htyp & V2_WTGS:
        at = read_tags(at, end, message)
    if at != NULL and htyp & V2_WPVL:
        at = at + 1 if end - at >= 1 else NULL
    if at != NULL and htyp & V2_WSGM:
        message.segment = True
    if at == NULL:
        return False
    message.payload = at
    message.payload_size = end - at
    return True
