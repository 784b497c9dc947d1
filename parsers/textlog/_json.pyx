"""Reads JSON lines: one object a line, whose time, level, message and source are found by the names that loggers give them."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, memcmp, memset, strlen

from parsers._core.messages cimport LEVEL_DEBUG, LEVEL_ERROR, LEVEL_FATAL, LEVEL_INFO, LEVEL_NONE, LEVEL_TRACE, LEVEL_WARNING
from parsers.textlog._prefix cimport level_of, severity_level
from parsers.textlog._stamp cimport ZONED, Stamp, is_blank, is_digit, left, peek, read_epoch, read_stamp, skip_blanks, take

cdef enum:
    MOST_DEPTH = 64
    BILLION = 1000000000

cdef extern from *:
    """
    /* by role, the names that count more first */
    static const char *const ARGUS_JSON_TIME[] = {
        "time", "timestamp", "@timestamp", "ts", "t", "datetime", "asctime", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP",
        "created", "date", 0};
    static const char *const ARGUS_JSON_LEVEL[] = {
        "level", "severity", "lvl", "levelname", "log.level", "loglevel", "PRIORITY", "priority", "levelno", 0};
    static const char *const ARGUS_JSON_MESSAGE[] = {"message", "msg", "text", "MESSAGE", "short_message", "event", "log", 0};
    static const char *const ARGUS_JSON_SOURCE[] = {
        "logger", "name", "source", "module", "tag", "log.logger", "logger_name", "SYSLOG_IDENTIFIER", "_COMM", "component", "service",
        "node", 0};
    static const char *const *const ARGUS_JSON_NAMES[4] = {ARGUS_JSON_TIME, ARGUS_JSON_LEVEL, ARGUS_JSON_MESSAGE, ARGUS_JSON_SOURCE};
    """
    const char* const* const* ARGUS_JSON_NAMES


cdef bint skip_string(Text* text) noexcept nogil:
    """A text in quotes; on its first quote."""
    text.at += 1
    while text.at < text.end:
        if text.at[0] == 0x22:
            text.at += 1
            return True
        text.at += 2 if text.at[0] == 0x5C else 1
    text.at = text.end
    return False


cdef bint skip_nested(Text* text) noexcept nogil:
    """An array or an object; on its bracket."""
    cdef int depth = 0
    cdef uint8_t ch
    while text.at < text.end:
        ch = text.at[0]
        if ch == 0x22:
            if not skip_string(text):
                return False
            continue
        text.at += 1
        if ch == 0x7B or ch == 0x5B:
            depth += 1
            if depth > MOST_DEPTH:
                return False
        elif ch == 0x7D or ch == 0x5D:
            depth -= 1
            if depth == 0:
                return True
    return False


cdef bint read_value(Text* text, Field* field) noexcept nogil:
    cdef int ch = peek(text)
    field.value = text.at
    if ch == 0x22:
        field.kind = STRING
        if not skip_string(text):
            return False
        field.value += 1
        field.value_size = text.at - 1 - field.value
        return True
    if ch == 0x7B or ch == 0x5B:
        field.kind = OTHER
        if not skip_nested(text):
            return False
    else:
        field.kind = NUMBER if ch == 0x2D or is_digit(ch) else OTHER
        while text.at < text.end and not is_blank(text.at[0]) and text.at[0] != 0x2C and text.at[0] != 0x7D:
            text.at += 1
    field.value_size = text.at - field.value
    return field.value_size > 0


cdef int rank_of(const Field* field, int role) noexcept nogil:
    """Place of a name among those of a role, or -1."""
    cdef const char* const* names = ARGUS_JSON_NAMES[role]
    cdef int i = 0
    while names[i] != NULL:
        if names[i][0] == <char>field.key[0] and <Py_ssize_t>strlen(names[i]) == field.key_size:
            if memcmp(names[i], field.key, <size_t>field.key_size) == 0:
                return i
        i += 1
    return -1


cdef void give_roles(Object* found) noexcept nogil:
    cdef int best[ROLES]
    cdef int i, role, rank
    for role in range(ROLES):
        found.role[role] = -1
        best[role] = 1000
    for i in range(found.count):
        if found.fields[i].key_size == 0 or found.fields[i].kind == OTHER:
            continue
        for role in range(ROLES):
            if found.fields[i].kind == NUMBER and role >= MESSAGE:
                continue
            rank = rank_of(&found.fields[i], role)
            if 0 <= rank < best[role]:
                best[role] = rank
                found.role[role] = i


cdef bint read_object(const Text* text, Object* found) noexcept nogil:
    """The fields of the object that is the whole line; False when it is none, or one with more fields than MOST_FIELDS."""
    cdef Text ahead = text[0]
    cdef Field* field
    found.count = 0
    if not take(&ahead, 0x7B):
        return False
    skip_blanks(&ahead)
    if not take(&ahead, 0x7D):
        while True:
            skip_blanks(&ahead)
            if found.count == MOST_FIELDS or peek(&ahead) != 0x22:
                return False
            field = &found.fields[found.count]
            field.key = ahead.at + 1
            if not skip_string(&ahead):
                return False
            field.key_size = ahead.at - 1 - field.key
            skip_blanks(&ahead)
            if not take(&ahead, 0x3A):
                return False
            skip_blanks(&ahead)
            if not read_value(&ahead, field):
                return False
            found.count += 1
            skip_blanks(&ahead)
            if take(&ahead, 0x7D):
                break
            if not take(&ahead, 0x2C):
                return False
    skip_blanks(&ahead)
    take(&ahead, 0x2C)  # lines of an array
    skip_blanks(&ahead)
    if left(&ahead):
        return False
    give_roles(found)
    return True


cdef bint read_number_time(const Field* field, Stamp* stamp) noexcept nogil:
    """Seconds, milli-, micro- or nanoseconds since 1970, by their size; a fraction and an exponent are understood."""
    cdef const uint8_t* at = field.value
    cdef const uint8_t* end = at + field.value_size
    cdef int64_t digits = 0
    cdef int places = 0, point = -1, exponent = 0, sign = 1, scale
    while at < end and (is_digit(at[0]) or (at[0] == 0x2E and point < 0)):
        if at[0] == 0x2E:
            point = places
        elif places < 18:
            digits = digits * 10 + at[0] - 0x30
            places += 1
        elif point < 0:
            exponent += 1
        at += 1
    if places == 0:
        return False
    if point >= 0:
        exponent -= places - point
    if at < end and (at[0] | 0x20) == 0x65:
        at += 1
        if at < end and (at[0] == 0x2B or at[0] == 0x2D):
            sign = -1 if at[0] == 0x2D else 1
            at += 1
        scale = 0
        while at < end and is_digit(at[0]) and scale < 100:
            scale = scale * 10 + at[0] - 0x30
            at += 1
        exponent += sign * scale
    if at != end or digits == 0:
        return False
    scale = places + exponent  # digits before the point
    if 9 <= scale <= 10:
        exponent += 9
    elif 12 <= scale <= 13:
        exponent += 6
    elif 15 <= scale <= 16:
        exponent += 3
    elif not 18 <= scale <= 19:
        return False
    while exponent > 0:
        if digits > <int64_t>922337203685477580:
            return False
        digits *= 10
        exponent -= 1
    while exponent < 0:
        digits //= 10
        exponent += 1
    stamp.kind = ZONED
    stamp.year = 0
    stamp.ns = digits
    return True


cdef bint read_time(const Field* field, Stamp* stamp) noexcept nogil:
    cdef Text text
    if field.kind == NUMBER:
        return read_number_time(field, stamp)
    text.at = field.value
    text.end = field.value + field.value_size
    if read_stamp(&text, stamp) and left(&text) == 0:
        return True
    memset(stamp, 0, sizeof(Stamp))
    return read_number_time(field, stamp)


cdef int numeric_level(int value) noexcept nogil:
    """0 to 7 as syslog counts, 10 to 60 as Bunyan and Pino do."""
    if value < 8:
        return severity_level(value)
    if value < 20:
        return LEVEL_TRACE
    if value < 30:
        return LEVEL_DEBUG
    if value < 40:
        return LEVEL_INFO
    if value < 50:
        return LEVEL_WARNING
    return LEVEL_ERROR if value < 60 else LEVEL_FATAL


cdef int read_level(const Field* field) noexcept nogil:
    """The level that a word or a number means; Python's `levelno` counts from 10 debug to 50 critical."""
    cdef int value = 0, i
    if field.value_size == 0 or field.value_size > 16:
        return LEVEL_NONE
    if not is_digit(field.value[0]):
        return level_of(field.value, field.value_size)
    if field.value_size > 3:
        return LEVEL_NONE
    for i in range(<int>field.value_size):
        if not is_digit(field.value[i]):
            return LEVEL_NONE
        value = value * 10 + field.value[i] - 0x30
    if field.key_size == 7 and memcmp(field.key, b"levelno", 7) == 0:
        value += 10
    return numeric_level(value)


cdef bint read_object_head(Object* found, Head* head) noexcept nogil:
    """Time, level and source of an object; False when it has neither time nor level nor message and so is no log line.

    A field whose value is not what its name promises loses its role and is shown with the others.
    """
    memset(head, 0, sizeof(Head))
    if found.role[TIME] >= 0 and not read_time(&found.fields[found.role[TIME]], &head.stamp):
        found.role[TIME] = -1
    if found.role[LEVEL] >= 0:
        head.level = <uint8_t>read_level(&found.fields[found.role[LEVEL]])
        if head.level == LEVEL_NONE:
            found.role[LEVEL] = -1
    if found.role[SOURCE] >= 0:
        head.source = found.fields[found.role[SOURCE]].value
        head.source_size = found.fields[found.role[SOURCE]].value_size
        if memchr(head.source, 0x5C, <size_t>head.source_size) != NULL or head.source_size == 0:
            head.source_size = 0
            found.role[SOURCE] = -1
    head.known = found.role[TIME] >= 0 or found.role[LEVEL] >= 0
    return head.known or found.role[MESSAGE] >= 0


cdef int four_hex(const uint8_t* at) noexcept nogil:
    cdef int value = 0, i, digit
    for i in range(4):
        digit = at[i] - 0x30 if is_digit(at[i]) else ((at[i] | 0x20) - 0x57 if 0x61 <= (at[i] | 0x20) <= 0x66 else -1)
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


cdef int put_escaped(MessageColumns columns, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """What a backslash sequence means; the bytes it takes."""
    cdef uint8_t piece[4]
    cdef int code, low, size = 1, used = 6
    cdef bint latin1
    if end - at < 2:
        columns.put(at, 1)
        return 1
    if at[1] != 0x75:
        piece[0] = at[1]
        if at[1] == 0x6E:
            piece[0] = 0x0A
        elif at[1] == 0x74:
            piece[0] = 0x09
        elif at[1] == 0x72:
            piece[0] = 0x0D
        elif at[1] == 0x62:
            piece[0] = 0x08
        elif at[1] == 0x66:
            piece[0] = 0x0C
        columns.put(piece, 1)
        return 2
    code = four_hex(at + 2) if end - at >= 6 else -1
    if code < 0:
        columns.put(at, 1)
        return 1
    if 0xD800 <= code < 0xDC00 and end - at >= 12 and at[6] == 0x5C and at[7] == 0x75:
        low = four_hex(at + 8)
        if 0xDC00 <= low < 0xE000:
            code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
            used = 12
    if 0xD800 <= code < 0xE000:  # half of a character
        code = 0xFFFD
    if code < 0x80:
        piece[0] = <uint8_t>code
    elif code < 0x800:
        piece[0] = <uint8_t>(0xC0 | code >> 6)
        piece[1] = <uint8_t>(0x80 | (code & 63))
        size = 2
    elif code < 0x10000:
        piece[0] = <uint8_t>(0xE0 | code >> 12)
        piece[1] = <uint8_t>(0x80 | (code >> 6 & 63))
        piece[2] = <uint8_t>(0x80 | (code & 63))
        size = 3
    else:
        piece[0] = <uint8_t>(0xF0 | code >> 18)
        piece[1] = <uint8_t>(0x80 | (code >> 12 & 63))
        piece[2] = <uint8_t>(0x80 | (code >> 6 & 63))
        piece[3] = <uint8_t>(0x80 | (code & 63))
        size = 4
    latin1 = columns.latin1
    columns.latin1 = False  # the escape says which character it is, whatever the bytes around it are
    columns.put(piece, size)
    columns.latin1 = latin1
    return used


cdef void put_string(MessageColumns columns, const uint8_t* at, Py_ssize_t size) noexcept nogil:
    """The content of a text in quotes."""
    cdef const uint8_t* end = at + size
    cdef const uint8_t* escape
    while at < end:
        escape = <const uint8_t*>memchr(at, 0x5C, <size_t>(end - at))
        if escape == NULL:
            escape = end
        columns.put(at, escape - at)
        at = escape
        if at < end:
            at += put_escaped(columns, at, end)


cdef void put_object(MessageColumns columns, const Object* found) noexcept nogil:
    """The message, then the fields without a role as `key=value`; values with blanks in quotes."""
    cdef const Field* field
    cdef int i
    cdef bint quoted
    if found.role[MESSAGE] >= 0:
        field = &found.fields[found.role[MESSAGE]]
        put_string(columns, field.value, field.value_size)
    for i in range(found.count):
        if i == found.role[TIME] or i == found.role[LEVEL] or i == found.role[MESSAGE] or i == found.role[SOURCE]:
            continue
        field = &found.fields[i]
        if columns.has_text():
            columns.put_byte(0x20)
        put_string(columns, field.key, field.key_size)
        columns.put_byte(0x3D)
        if field.kind != STRING:
            columns.put(field.value, field.value_size)
            continue
        quoted = field.value_size == 0 or memchr(field.value, 0x20, <size_t>field.value_size) != NULL
        if quoted:
            columns.put_byte(0x22)
        put_string(columns, field.value, field.value_size)
        if quoted:
            columns.put_byte(0x22)
