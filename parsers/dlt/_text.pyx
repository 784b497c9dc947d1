"""Writes the payload of DLT messages as text: verbose arguments of every type, message ids, control services, kinds of traces.

Type info bits and layouts: AUTOSAR PRS_LogAndTraceProtocol, section "Payload"; services: the same, section "Control messages".
"""

from libc.math cimport ldexp
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from parsers.dlt._header cimport u16_of, u32_of, u64_of

cdef enum:
    BOOL = 0x10
    SINT = 0x20
    UINT = 0x40
    FLOA = 0x80
    ARAY = 0x100
    STRG = 0x200
    RAWD = 0x400
    VARI = 0x800
    FIXP = 0x1000
    TRAI = 0x2000
    STRU = 0x4000
    BASES = 0x18000  # of whole numbers: 2 hexadecimal, 3 binary
    HEXADECIMAL = 0x10000
    BINARY = 0x18000
    ONE_TYPE = BOOL | SINT | UINT | FLOA | STRG | RAWD | TRAI | STRU
    KNOWN_BITS = 0xFFFFFF

    LOG = 0
    APP_TRACE = 1
    NETWORK_TRACE = 2
    CONTROL_REQUEST = 1
    MOST_DEPTH = 8  # structures inside structures
    INJECTION = 0xFFF  # service ids from here on belong to the applications

cdef extern from *:
    """
    static const char *const ARGUS_DLT_APP_TRACES[6] = {"", "[variable] ", "[function in] ", "[function out] ", "[state] ", "[vfb] "};
    static const char *const ARGUS_DLT_NETWORKS[7] = {"", "[ipc] ", "[can] ", "[flexray] ", "[most] ", "[ethernet] ", "[someip] "};
    static const char *const ARGUS_DLT_SERVICES[0x25] = {
        0, "SetLogLevel", "SetTraceStatus", "GetLogInfo", "GetDefaultLogLevel", "StoreConfiguration", "ResetToFactoryDefault",
        "SetComInterfaceStatus", "SetComInterfaceMaxBandwidth", "SetVerboseMode", "SetMessageFiltering", "SetTimingPackets",
        "GetLocalTime", "SetUseECUID", "SetUseSessionID", "SetUseTimestamp", "SetUseExtendedHeader", "SetDefaultLogLevel",
        "SetDefaultTraceStatus", "GetSoftwareVersion", "MessageBufferOverflow", "GetDefaultTraceStatus", "GetComInterfaceStatus",
        "GetLogChannelNames", "GetComInterfaceMaxBandwidth", "GetVerboseModeStatus", "GetMessageFilteringStatus", "GetUseECUID",
        "GetUseSessionID", "GetUseTimestamp", "GetUseExtendedHeader", "GetTraceStatus", "SetLogChannelAssignment",
        "SetLogChannelThreshold", "GetLogChannelThreshold", "BufferOverflowNotification", "SyncTimeStamp"};
    static const char *const ARGUS_DLT_DAEMON_SERVICES[9] = {
        "UnregisterContext", "ConnectionInfo", "Timezone", "Marker", "OfflineLogStorage", "PassiveNodeConnect",
        "PassiveNodeConnectionStatus", "SetAllLogLevel", "SetAllTraceStatus"};
    static const char *const ARGUS_DLT_STATES[9] = {
        " ok", " not supported", " error", " permission denied", " warning", 0, 0, 0, " no matching context"};
    """
    const char* const* ARGUS_DLT_APP_TRACES
    const char* const* ARGUS_DLT_NETWORKS
    const char* const* ARGUS_DLT_SERVICES
    const char* const* ARGUS_DLT_DAEMON_SERVICES
    const char* const* ARGUS_DLT_STATES

cdef enum:
    GET_SOFTWARE_VERSION = 0x13
    LAST_SERVICE = 0x24
    FIRST_DAEMON_SERVICE = 0xF01  # of dlt-daemon, not of AUTOSAR
    LAST_DAEMON_SERVICE = 0xF09
    TIME_ZONE_SERVICE = 0xF03


cdef struct Rest:
    const uint8_t* at
    const uint8_t* end
    bint big


cdef inline Py_ssize_t left(const Rest* rest) noexcept nogil:
    return rest.end - rest.at


cdef inline bint is_type(uint32_t info) noexcept nogil:
    cdef uint32_t kind = info & ONE_TYPE
    return kind != 0 and kind & (kind - 1) == 0 and info & ~<uint32_t>KNOWN_BITS == 0


cdef bint order_of(const DltMessage* message) noexcept nogil:
    """Whether the payload is big-endian. Version 2 does not say so: what writers of both orders left decides."""
    cdef const uint8_t* at = message.payload
    if message.version == 1 or message.payload_size < 4:
        return message.big_endian
    if message.control:
        return u32_of(at, False) > 0xFFFF and u32_of(at, True) <= 0xFFFF
    return not is_type(u32_of(at, False)) and is_type(u32_of(at, True))


cdef int kind_of(const DltMessage* message) noexcept nogil:
    """Which messages are more than text: file transfers and segments by their first argument, answers about the ECU by their service."""
    cdef const uint8_t* at = message.payload
    cdef uint32_t service
    if message.control:
        if message.msin >> 4 == CONTROL_REQUEST or message.payload_size < 5:
            return ORDINARY
        service = u32_of(at, order_of(message))
        if service == GET_SOFTWARE_VERSION:
            return SOFTWARE_VERSION
        return TIME_ZONE if service == TIME_ZONE_SERVICE else ORDINARY
    if not message.verbose or message.payload_size < 11 or at[10] or not (at[4] == 5 and at[5] == 0 or at[4] == 0 and at[5] == 5):
        return ORDINARY
    if not u32_of(at, order_of(message)) & STRG:
        return ORDINARY
    if memcmp(at + 6, b"FLST", 4) == 0:
        return FILE_START
    if memcmp(at + 6, b"FLDA", 4) == 0:
        return FILE_DATA
    return NETWORK_SEGMENT if memcmp(at + 6, b"NWCH", 4) == 0 else ORDINARY


cdef double half_of(uint16_t bits) noexcept nogil:
    """IEEE 754 binary16."""
    cdef int exponent = bits >> 10 & 31
    cdef double fraction = <double>(bits & 0x3FF)
    cdef double value
    if exponent == 31:
        value = <double>1e308 * 10 if fraction == 0 else (<double>1e308 * 10) * 0
    elif exponent == 0:
        value = ldexp(fraction, -24)
    else:
        value = ldexp(fraction + 1024, exponent - 25)
    return -value if bits >> 15 else value


cdef inline Py_ssize_t width_of(uint32_t info) noexcept nogil:
    """Bytes of a number, by TYLE; 0 when it is none of the allowed."""
    cdef int length = info & 15
    return <Py_ssize_t>1 << (length - 1) if 1 <= length <= 5 else 0


cdef uint64_t bits_of(const Rest* rest, Py_ssize_t width) noexcept nogil:
    if width == 1:
        return rest.at[0]
    if width == 2:
        return u16_of(rest.at, rest.big)
    return u32_of(rest.at, rest.big) if width == 4 else u64_of(rest.at, rest.big)


cdef int64_t extended(uint64_t bits, Py_ssize_t width) noexcept nogil:
    """A signed number of `width` bytes."""
    if width == 1:
        return <int8_t>bits
    if width == 2:
        return <int16_t>bits
    return <int32_t>bits if width == 4 else <int64_t>bits


cdef void put_wide(MessageColumns columns, const Rest* rest) noexcept nogil:
    """A number of 128 bits, as hex digits."""
    cdef uint8_t turned[16]
    cdef int i
    for i in range(16):
        turned[i] = rest.at[i] if rest.big else rest.at[15 - i]
    columns.put_plain(b"0x")
    columns.put_hex(turned, 16)


cdef void put_binary(MessageColumns columns, uint64_t bits, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t i
    columns.put_plain(b"0b")
    for i in range(8 * width - 1, -1, -1):
        columns.put_byte(<uint8_t>(0x30 + (bits >> i & 1)))


cdef void put_value(MessageColumns columns, const Rest* rest, uint32_t info, Py_ssize_t width, double quantization, double shift) noexcept nogil:
    """One number; there are `width` bytes."""
    cdef uint64_t bits
    cdef uint8_t turned[8]
    cdef uint32_t half
    cdef float single
    cdef double value
    cdef Py_ssize_t i
    if width == 16:
        put_wide(columns, rest)
        return
    bits = bits_of(rest, width)
    if info & BOOL:
        columns.put_plain(b"true" if bits else b"false")
    elif info & FLOA:
        if width == 2:
            columns.put_single(<float>half_of(<uint16_t>bits))
        elif width == 4:
            half = <uint32_t>bits
            memcpy(&single, &half, 4)
            columns.put_single(single)
        else:
            memcpy(&value, &bits, 8)
            columns.put_double(value)
    elif info & FIXP:
        columns.put_double((<double>extended(bits, width) if info & SINT else <double>bits) * quantization + shift)
    elif info & SINT:
        columns.put_signed(extended(bits, width))
    elif info & BASES == HEXADECIMAL:
        for i in range(width):
            turned[i] = <uint8_t>(bits >> 8 * (width - 1 - i))
        columns.put_plain(b"0x")
        columns.put_hex(turned, width)
    elif info & BASES == BINARY:
        put_binary(columns, bits, width)
    else:
        columns.put_unsigned(bits)


cdef inline void put_name(MessageColumns columns, const uint8_t* at, Py_ssize_t size) noexcept nogil:
    while size and at[size - 1] == 0:
        size -= 1
    columns.put(at, size)


cdef bint read_name(Rest* rest, const uint8_t** name, Py_ssize_t* size) noexcept nogil:
    """VARI of texts, bytes and truth values: u16 length and name."""
    if left(rest) < 2 or left(rest) - 2 < u16_of(rest.at, rest.big):
        return False
    size[0] = u16_of(rest.at, rest.big)
    name[0] = rest.at + 2
    rest.at += 2 + size[0]
    return True


cdef bint put_block(MessageColumns columns, Rest* rest, uint32_t info) noexcept nogil:
    """STRG, RAWD or TRAI: u16 length of the data, with VARI a name, then the data."""
    cdef const uint8_t* name = NULL
    cdef Py_ssize_t name_size = 0, size
    if left(rest) < 2:
        return False
    size = u16_of(rest.at, rest.big)
    rest.at += 2
    if info & VARI and not read_name(rest, &name, &name_size):
        return False
    if left(rest) < size:
        return False
    if name_size > 1:
        put_name(columns, name, name_size)
        columns.put_byte(0x3D)
    if info & RAWD:
        columns.put_hex(rest.at, size)
    else:
        put_name(columns, rest.at, size)
    rest.at += size
    return True


cdef Py_ssize_t elements_of(Rest* rest, uint32_t info) noexcept nogil:
    """Elements of an array: u16 number of dimensions, u16 each; 1 without ARAY, -1 when more than a message can hold."""
    cdef Py_ssize_t count = 1, dimensions, i
    if not info & ARAY:
        return 1
    if left(rest) < 2:
        return -1
    dimensions = u16_of(rest.at, rest.big)
    rest.at += 2
    if left(rest) < 2 * dimensions:
        return -1
    for i in range(dimensions):
        count *= u16_of(rest.at + 2 * i, rest.big)
        if count > 65535:
            return -1
    rest.at += 2 * dimensions
    return count


cdef bint read_fixed_point(Rest* rest, Py_ssize_t width, double* quantization, double* shift) noexcept nogil:
    """f32 quantization and an offset of 32 bits, 64 for numbers of 64 bits: value = number * quantization + offset."""
    cdef uint32_t bits
    cdef float single
    cdef Py_ssize_t size = 4 if width < 8 else width
    if left(rest) < 4 + size:
        return False
    bits = u32_of(rest.at, rest.big)
    memcpy(&single, &bits, 4)
    quantization[0] = single
    rest.at += 4
    if size == 4:
        shift[0] = <double><int32_t>u32_of(rest.at, rest.big)
    elif size == 8:
        shift[0] = <double><int64_t>u64_of(rest.at, rest.big)
    rest.at += size
    return True


cdef bint put_numbers(MessageColumns columns, Rest* rest, uint32_t info) noexcept nogil:
    """BOOL, SINT, UINT or FLOA, one or an array: with VARI names of value and unit, with FIXP the scale, then the data."""
    cdef Py_ssize_t width = 1 if info & BOOL else width_of(info)
    cdef Py_ssize_t count = elements_of(rest, info)
    cdef const uint8_t* name = NULL
    cdef const uint8_t* unit = NULL
    cdef Py_ssize_t name_size = 0, unit_size = 0, i
    cdef double quantization = 1, shift = 0
    if count < 0 or width == 0 or (info & FLOA and width == 1):
        return False
    if info & VARI and info & BOOL:
        if not read_name(rest, &name, &name_size):
            return False
    elif info & VARI:
        if left(rest) < 4:
            return False
        name_size = u16_of(rest.at, rest.big)
        unit_size = u16_of(rest.at + 2, rest.big)
        name = rest.at + 4
        unit = name + name_size
        if left(rest) - 4 < name_size + unit_size:
            return False
        rest.at += 4 + name_size + unit_size
    if info & FIXP and not info & (BOOL | FLOA) and not read_fixed_point(rest, width, &quantization, &shift):
        return False
    if left(rest) < count * width:
        return False
    if name_size > 1:
        put_name(columns, name, name_size)
        columns.put_byte(0x3D)
    if info & ARAY:
        columns.put_byte(0x5B)
    for i in range(count):
        if i:
            columns.put_plain(b", ")
        put_value(columns, rest, info, width, quantization, shift)
        rest.at += width
    if info & ARAY:
        columns.put_byte(0x5D)
    if unit_size > 1:
        columns.put_byte(0x20)
        put_name(columns, unit, unit_size)
    return True


cdef bint put_argument(MessageColumns columns, Rest* rest, int* inner) noexcept nogil:
    """One argument; `inner` becomes the number of arguments that a structure announces, which follow. False: it is not what it says."""
    cdef const uint8_t* name = NULL
    cdef Py_ssize_t name_size = 0
    cdef uint32_t info
    inner[0] = -1
    if left(rest) < 4:
        return False
    info = u32_of(rest.at, rest.big)
    if not is_type(info):
        return False
    rest.at += 4
    if info & STRU:
        if left(rest) < 2:
            return False
        inner[0] = u16_of(rest.at, rest.big)
        rest.at += 2
        if info & VARI and not read_name(rest, &name, &name_size):
            return False
        if name_size > 1:
            put_name(columns, name, name_size)
            columns.put_byte(0x3D)
        columns.put_byte(0x7B)
        return True
    if info & (STRG | RAWD | TRAI):
        return put_block(columns, rest, info)
    return put_numbers(columns, rest, info)


cdef int put_arguments(MessageColumns columns, Rest* rest, int count) noexcept nogil:
    """`count` arguments with blanks between; what cannot be read as it says is shown as bytes."""
    cdef int missing[MOST_DEPTH]  # arguments of each open structure that are still to come
    cdef int depth = 0, inner = -1
    cdef int outcome = READ
    cdef bint first = True
    cdef const uint8_t* begun
    while outcome == READ:
        while depth and missing[depth - 1] == 0:
            depth -= 1
            columns.put_byte(0x7D)
        if depth:
            missing[depth - 1] -= 1
        elif count:
            count -= 1
        else:
            break
        if left(rest) == 0:
            outcome = MISSING_ARGUMENTS
            break
        if not first:
            columns.put_byte(0x20)
        first = False
        begun = rest.at
        if not put_argument(columns, rest, &inner) or (inner >= 0 and depth == MOST_DEPTH):
            rest.at = begun
            outcome = BAD_ARGUMENT
        elif inner >= 0:
            missing[depth] = inner
            depth += 1
            first = True
    if left(rest):
        if not first and outcome == READ:
            columns.put_byte(0x20)
        columns.put_hex(rest.at, left(rest))
        if outcome == READ:
            outcome = LEFT_OVER
    return outcome


cdef void put_state(MessageColumns columns, uint8_t state) noexcept nogil:
    if state <= 8 and ARGUS_DLT_STATES[state] != NULL:
        columns.put_plain(ARGUS_DLT_STATES[state])
    else:
        columns.put_plain(b" status ")
        columns.put_unsigned(state)


cdef int put_control(MessageColumns columns, DltMessage* message, Rest* rest) noexcept nogil:
    """u32 service; in an answer u8 status; then what the service defines."""
    cdef uint32_t service, length
    if left(rest) < 4:
        columns.put_plain(b"control message ")
        columns.put_hex(rest.at, left(rest))
        return NO_MESSAGE_ID
    service = u32_of(rest.at, rest.big)
    rest.at += 4
    if 0 < service <= LAST_SERVICE:
        columns.put_plain(ARGUS_DLT_SERVICES[service])
    elif FIRST_DAEMON_SERVICE <= service <= LAST_DAEMON_SERVICE:
        columns.put_plain(ARGUS_DLT_DAEMON_SERVICES[service - FIRST_DAEMON_SERVICE])
    else:
        columns.put_plain(b"injection " if service >= INJECTION else b"service ")
        columns.put_unsigned(service)
    if message.msin >> 4 == CONTROL_REQUEST:
        columns.put_plain(b" request")
    else:
        columns.put_plain(b" response")
        if left(rest):
            put_state(columns, rest.at[0])
            rest.at += 1
        if service == GET_SOFTWARE_VERSION and left(rest) >= 4:
            length = u32_of(rest.at, rest.big)
            if length <= left(rest) - 4:
                columns.put_plain(b": ")
                put_name(columns, rest.at + 4, length)
                rest.at += 4 + length
    if left(rest):
        columns.put_byte(0x20)
        columns.put_hex(rest.at, left(rest))
    return READ


cdef void put_place(MessageColumns columns, const DltMessage* message) noexcept nogil:
    """Where version 2 says that the message was written: source file, line and tags."""
    cdef const uint8_t* tag = message.tags
    cdef int i
    if message.file_name == NULL and message.tag_count == 0:
        return
    columns.put_plain(b" [")
    if message.file_name != NULL:
        put_name(columns, message.file_name, message.file_name_size)
        columns.put_byte(0x3A)
        columns.put_unsigned(message.line)
    for i in range(message.tag_count):
        if i or message.file_name != NULL:
            columns.put_byte(0x20)
        put_name(columns, tag + 1, tag[0])
        tag += 1 + tag[0]
    columns.put_byte(0x5D)


cdef int put_payload(MessageColumns columns, DltMessage* message) noexcept nogil:
    """The whole text of a message; READ, or what is wrong with the payload."""
    cdef Rest rest
    cdef int outcome = READ
    cdef int kind = message.msin >> 1 & 7, detail = message.msin >> 4
    rest.at = message.payload
    rest.end = message.payload + message.payload_size
    rest.big = order_of(message)
    if message.has_extended and kind == APP_TRACE and detail < 6:
        columns.put_plain(ARGUS_DLT_APP_TRACES[detail])
    elif message.has_extended and kind == NETWORK_TRACE and detail < 7:
        columns.put_plain(ARGUS_DLT_NETWORKS[detail])
    if message.segment:
        columns.put_plain(b"[segment] ")
        columns.put_hex(rest.at, left(&rest))
    elif message.control:
        outcome = put_control(columns, message, &rest)
    elif message.verbose:
        outcome = put_arguments(columns, &rest, message.noar)
    else:
        if not message.has_id and left(&rest) >= 4:
            message.message_id = u32_of(rest.at, rest.big)
            message.has_id = True
            rest.at += 4
        columns.put_byte(0x5B)
        if message.has_id:
            columns.put_unsigned(message.message_id)
        else:
            outcome = NO_MESSAGE_ID
        columns.put_plain(b"] ")
        columns.put_hex(rest.at, left(&rest))
    put_place(columns, message)
    return outcome
