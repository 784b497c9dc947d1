"""Takes time, level and source off the front of a log line, in the forms that loggers write.

syslog (RFC 3164, RFC 5424), journalctl, dmesg, logcat, glog and klog, ROS, log4j, logback, Python's logging, Rust, web servers, and any
order of `[bracketed]`, `- dashed -` and `coloned:` parts. What is not recognised stays in the text.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from parsers._core.messages cimport LEVEL_DEBUG, LEVEL_ERROR, LEVEL_FATAL, LEVEL_INFO, LEVEL_NONE, LEVEL_TRACE, LEVEL_WARNING
from parsers.textlog._stamp cimport (
    NO_STAMP, YEARLESS, ZONELESS, is_blank, is_digit, is_letter, left, peek, read_boot, read_epoch, read_stamp, read_time_of_day, skip_blanks,
    take,
)

cdef enum:
    MOST_PARTS = 10  # of what stands before the message
    MOST_BRACKET = 96
    MOST_NAME = 64
    NEAR = 64  # bytes of the message in which a level in capitals counts


cdef struct Word:
    const char* text
    int length
    int level


cdef extern from *:
    """
    typedef struct { const char *text; int length; int level; } argus_level_word;
    /* in the order of their first letters; the levels are those of parsers/blocks.py */
    static const argus_level_word ARGUS_LEVELS[] = {
        {"ALERT", 5, 6}, {"CRITICAL", 8, 6}, {"CRIT", 4, 6}, {"DEBUG", 5, 2}, {"DBG", 3, 2}, {"ERROR", 5, 5}, {"ERR", 3, 5},
        {"EMERGENCY", 9, 6}, {"EMERG", 5, 6}, {"FATAL", 5, 6}, {"FINE", 4, 2}, {"FINER", 5, 1}, {"FINEST", 6, 1}, {"INFO", 4, 3},
        {"INFORMATION", 11, 3}, {"INFORMATIONAL", 13, 3}, {"NOTICE", 6, 3}, {"PANIC", 5, 6}, {"SEVERE", 6, 5}, {"TRACE", 5, 1},
        {"VERBOSE", 7, 1}, {"WARN", 4, 4}, {"WARNING", 7, 4}};
    #define ARGUS_LEVEL_WORDS ((int)(sizeof(ARGUS_LEVELS) / sizeof(ARGUS_LEVELS[0])))
    """
    ctypedef struct LevelWord "argus_level_word":
        const char* text
        int length
        int level
    const LevelWord* ARGUS_LEVELS
    int ARGUS_LEVEL_WORDS


cdef int level_of(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    """The level that a word names, in letters of any case; 0 when it names none."""
    cdef int i
    cdef Py_ssize_t k
    cdef uint8_t first
    if not 3 <= length <= 13:
        return LEVEL_NONE
    first = at[0] & 0xDF
    for i in range(ARGUS_LEVEL_WORDS):
        if <uint8_t>ARGUS_LEVELS[i].text[0] != first or ARGUS_LEVELS[i].length != length:
            continue
        k = 1
        while k < length and at[k] & 0xDF == <uint8_t>ARGUS_LEVELS[i].text[k]:
            k += 1
        if k == length:
            return ARGUS_LEVELS[i].level
    return LEVEL_NONE


cdef int letter_level(int letter) noexcept nogil:
    """V, D, I, W, E, F, A as logcat writes them, also T, N, C."""
    if letter == 0x56 or letter == 0x54:
        return LEVEL_TRACE
    if letter == 0x44:
        return LEVEL_DEBUG
    if letter == 0x49 or letter == 0x4E:
        return LEVEL_INFO
    if letter == 0x57:
        return LEVEL_WARNING
    if letter == 0x45:
        return LEVEL_ERROR
    return LEVEL_FATAL if letter == 0x46 or letter == 0x41 or letter == 0x43 else LEVEL_NONE


cdef uint8_t severity_level(int severity) noexcept nogil:
    """0 emergency to 7 debug, as syslog counts."""
    if severity <= 2:
        return LEVEL_FATAL
    if severity == 3:
        return LEVEL_ERROR
    if severity == 4:
        return LEVEL_WARNING
    return LEVEL_INFO if severity <= 6 else LEVEL_DEBUG


cdef inline bint is_name(int ch) noexcept nogil:
    """Letters, digits and what joins them in names of loggers, programs and topics; also anything beyond ASCII."""
    return is_letter(ch) or is_digit(ch) or ch >= 0x80 or ch == 0x5F or ch == 0x2E or ch == 0x2F or ch == 0x2D or ch == 0x40 or ch == 0x24


cdef inline Py_ssize_t word_length(const Text* text) noexcept nogil:
    cdef const uint8_t* at = text.at
    while at < text.end and is_letter(at[0]):
        at += 1
    return at - text.at


cdef Py_ssize_t name_length(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes of the name at `at`; a colon belongs to it when a name character follows, as in a::b."""
    cdef const uint8_t* start = at
    while at < end and at - start <= MOST_NAME:
        if at[0] == 0x3A:
            if end - at >= 3 and at[1] == 0x3A and is_name(at[2]):
                at += 2
                continue
            break
        if not is_name(at[0]):
            break
        at += 1
    return at - start


cdef inline bint has_letter(const uint8_t* at, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        if is_letter(at[i]) or at[i] >= 0x80:
            return True
    return False


cdef inline void set_source(Head* head, const uint8_t* at, Py_ssize_t length) noexcept nogil:
    head.source = at
    head.source_size = length


cdef bint read_priority(Text* text, Head* head) noexcept nogil:
    """<PRI> of syslog: severity is its rest by eight."""
    cdef const uint8_t* at = text.at + 1
    cdef int value = 0
    while at < text.end and is_digit(at[0]) and at - text.at <= 3:
        value = value * 10 + at[0] - 0x30
        at += 1
    if at == text.at + 1 or at >= text.end or at[0] != 0x3E or value > 191:
        return False
    text.at = at + 1
    head.level = severity_level(value & 7)
    head.known = True
    return True


cdef bint read_5424(Text* text, Head* head) noexcept nogil:
    """`1 TIME HOST APP PROCID MSGID STRUCTURED-DATA MESSAGE` behind the priority."""
    cdef Text ahead = text[0]
    cdef Text part
    cdef int i
    if left(&ahead) < 4 or ahead.at[0] != 0x31 or ahead.at[1] != 0x20:
        return False
    ahead.at += 2
    if not take(&ahead, 0x2D) and not read_stamp(&ahead, &head.stamp):
        return False
    for i in range(4):
        if not take(&ahead, 0x20):
            return False
        part = ahead
        while ahead.at < ahead.end and ahead.at[0] != 0x20:
            ahead.at += 1
        if i == 1 and not (ahead.at - part.at == 1 and part.at[0] == 0x2D):
            set_source(head, part.at, ahead.at - part.at)
    skip_blanks(&ahead)
    if left(&ahead) >= 1 and ahead.at[0] == 0x2D and (left(&ahead) == 1 or ahead.at[1] == 0x20):
        ahead.at += 1
    skip_blanks(&ahead)
    if left(&ahead) >= 3 and memcmp(ahead.at, b"\xef\xbb\xbf", 3) == 0:
        ahead.at += 3
    text.at = ahead.at
    return True


cdef bint read_syslog(Text* text, Head* head, bint sure) noexcept nogil:
    """`host program[pid]: ` or `program[pid]: `; unless `sure`, only with a process number or when the kernel speaks."""
    cdef Text ahead = text[0]
    cdef const uint8_t* start
    cdef Py_ssize_t size
    cdef int part
    skip_blanks(&ahead)
    for part in range(2):
        start = ahead.at
        while ahead.at < ahead.end and is_name(ahead.at[0]) and ahead.at - start < MOST_NAME:
            ahead.at += 1
        size = ahead.at - start
        if size == 0:
            return False
        if peek(&ahead) == 0x5B:
            ahead.at += 1
            while is_digit(peek(&ahead)):
                ahead.at += 1
            if not take(&ahead, 0x5D):
                return False
            if take(&ahead, 0x3A):
                set_source(head, start, size)
                text.at = ahead.at
                return True
            return False
        if peek(&ahead) == 0x3A and (left(&ahead) == 1 or is_blank(ahead.at[1])):
            if not sure and not (part == 1 and size == 6 and memcmp(start, b"kernel", 6) == 0):
                return False
            ahead.at += 1
            if level_of(start, size):  # `host error: text` has no program
                return False
            set_source(head, start, size)
            text.at = ahead.at
            return True
        while ahead.at < ahead.end and part == 0 and not is_blank(ahead.at[0]) and ahead.at - start < MOST_NAME:
            ahead.at += 1  # a host may be an address with colons
        if not is_blank(peek(&ahead)):
            return False
        skip_blanks(&ahead)
    return False


cdef bint read_logcat(Text* text, Head* head) noexcept nogil:
    """`pid tid L Tag: ` or `L/Tag(pid): `, and `pid: tid L/Tag ]` of the long form."""
    cdef Text ahead = text[0]
    cdef const uint8_t* start
    cdef Py_ssize_t size
    cdef int numbers = 0, level
    cdef bint slash
    skip_blanks(&ahead)
    while is_digit(peek(&ahead)) and numbers < 3:
        while is_digit(peek(&ahead)):
            ahead.at += 1
        take(&ahead, 0x3A)
        if not is_blank(peek(&ahead)):
            return False
        skip_blanks(&ahead)
        numbers += 1
    level = letter_level(peek(&ahead))
    if level == LEVEL_NONE or left(&ahead) < 4 or not (ahead.at[1] == 0x2F or (numbers >= 2 and ahead.at[1] == 0x20)):
        return False
    slash = ahead.at[1] == 0x2F
    ahead.at += 2
    start = ahead.at
    while ahead.at < ahead.end and ahead.at[0] != 0x3A and ahead.at[0] != 0x28 and not (slash and is_blank(ahead.at[0])):
        ahead.at += 1
    size = ahead.at - start
    while size and is_blank(start[size - 1]):
        size -= 1
    if size > MOST_NAME:
        return False
    if slash and numbers == 0:  # without a process number `I/O error: ` would be one
        if not take(&ahead, 0x28):
            return False
        while is_digit(peek(&ahead)) or is_blank(peek(&ahead)):
            ahead.at += 1
        if not take(&ahead, 0x29):
            return False
    skip_blanks(&ahead)
    if not take(&ahead, 0x3A) and left(&ahead):
        return False
    set_source(head, start, size)
    head.level = <uint8_t>level
    head.known = True
    text.at = ahead.at
    return True


cdef bint read_glog(Text* text, Head* head) noexcept nogil:
    """`I1123 22:15:30.123456  pid file.cc:12] `, also with the year in front of the month."""
    cdef Text ahead = text[0]
    cdef const uint8_t* start
    cdef int digits = 0, level = letter_level(peek(text)), i, value = 0
    if level == LEVEL_NONE:
        return False
    ahead.at += 1
    while digits < 9 and left(&ahead) > digits and is_digit(ahead.at[digits]):
        digits += 1
    if (digits != 4 and digits != 8) or left(&ahead) < digits + 9 or ahead.at[digits] != 0x20:
        return False
    if digits == 8:
        if not read_stamp(&ahead, &head.stamp):
            return False
    else:
        for i in range(4):
            value = value * 10 + ahead.at[i] - 0x30
        ahead.at += 5
        if not 1 <= value // 100 <= 12 or not 1 <= value % 100 <= 31 or not read_time_of_day(&ahead, &head.stamp):
            return False
        head.stamp.kind = YEARLESS
        head.stamp.month = value // 100
        head.stamp.day = value % 100
    skip_blanks(&ahead)
    while is_digit(peek(&ahead)):
        ahead.at += 1
    skip_blanks(&ahead)
    start = ahead.at
    while ahead.at < ahead.end and ahead.at[0] != 0x3A and not is_blank(ahead.at[0]) and ahead.at[0] != 0x5D:
        ahead.at += 1
    set_source(head, start, ahead.at - start)
    if take(&ahead, 0x3A):
        while is_digit(peek(&ahead)):
            ahead.at += 1
    if not take(&ahead, 0x5D):
        ahead.at = start
        head.source_size = 0
    head.level = <uint8_t>level
    head.known = True
    text.at = ahead.at
    return True


cdef bint take_stamp(Text* text, Head* head) noexcept nogil:
    if not read_stamp(text, &head.stamp):
        return False
    head.known = True
    return True


cdef bint read_bracket(Text* text, Head* head, bint* from_bracket) noexcept nogil:
    """[time], [seconds since boot], [LEVEL], [part:level], [name], and [time LEVEL name]; also (LEVEL) in parentheses."""
    cdef Text inner
    cdef int closing = 0x5D if text.at[0] == 0x5B else 0x29
    cdef Py_ssize_t room = left(text) if left(text) < MOST_BRACKET else MOST_BRACKET
    cdef const uint8_t* close = <const uint8_t*>memchr(text.at, closing, <size_t>room)
    cdef Py_ssize_t size
    cdef int level
    if close == NULL:
        return False
    inner.at = text.at + 1
    inner.end = close
    skip_blanks(&inner)
    if head.stamp.kind == NO_STAMP:
        if take_stamp(&inner, head) or (closing == 0x5D and read_boot(&inner, &head.stamp)):
            head.known = True
            if not read_logcat(&inner, head):
                read_inside(&inner, head)
            text.at = close + 1
            take(text, 0x3A)
            return True
        memset(&head.stamp, 0, sizeof(Stamp))
    while inner.end > inner.at and is_blank((inner.end - 1)[0]):
        inner.end -= 1
    size = inner.end - inner.at
    level = level_of(inner.at, size)
    if level == LEVEL_NONE and size == 1:
        level = letter_level(inner.at[0])
    if level != LEVEL_NONE and head.level == LEVEL_NONE:
        head.level = <uint8_t>level
        head.known = True
    elif closing == 0x29:
        return False
    else:
        room = name_length(inner.at, inner.end)
        if room < size and inner.at[room] == 0x3A and level_of(inner.at + room + 1, size - room - 1):  # [core:error]
            head.level = <uint8_t>level_of(inner.at + room + 1, size - room - 1)
            head.known = True
            size = room
        if room < size or size == 0 or not has_letter(inner.at, size):
            return False
        if head.source_size and not (from_bracket[0] and text.end - close >= 2 and close[1] == 0x3A):  # a second name with a colon counts
            return False
        set_source(head, inner.at, size)
        from_bracket[0] = True
    text.at = close + 1
    take(text, 0x3A)
    return True


cdef void read_inside(Text* inner, Head* head) noexcept nogil:
    """What follows a time inside of its bracket: level and name, or a second time; the rest is read over."""
    cdef Py_ssize_t size
    cdef int part
    for part in range(2):
        skip_blanks(inner)
        size = name_length(inner.at, inner.end)
        if size == 0:
            return
        if part == 0 and level_of(inner.at, size):
            head.level = <uint8_t>level_of(inner.at, size)
        elif has_letter(inner.at, size) and head.source_size == 0:
            set_source(head, inner.at, size)
        inner.at += size


cdef bint read_level_word(Text* text, Head* head, bint first) noexcept nogil:
    """A level that stands alone. In small letters only with a colon behind it, for `info` may begin a sentence."""
    cdef Py_ssize_t size = word_length(text)
    cdef const uint8_t* behind = text.at + size
    cdef int level, next_one = behind[0] if behind < text.end else -1
    if head.level != LEVEL_NONE:
        return False
    level = level_of(text.at, size)
    if level == LEVEL_NONE or not (next_one == -1 or is_blank(next_one) or next_one == 0x3A or next_one == 0x7C or next_one == 0x2C):
        return False
    if text.at[size - 1] >= 0x61 and next_one != 0x3A:  # not capitals
        if head.stamp.kind != NO_STAMP and first:
            head.level = <uint8_t>level
        return False
    head.level = <uint8_t>level
    head.known = True
    text.at = behind
    if next_one == 0x3A or next_one == 0x2C:
        text.at += 1
    return True


cdef bint read_name(Text* text, Head* head, bint* from_bracket) noexcept nogil:
    """`name: `, `name - ` or `name : ` of the logger, the function or the program; `/node [` of ROS."""
    cdef Py_ssize_t size = name_length(text.at, text.end)
    cdef const uint8_t* behind = text.at + size
    cdef Py_ssize_t rest = text.end - behind
    if size == 0 or size > MOST_NAME or (head.source_size and not from_bracket[0]) or not has_letter(text.at, size):
        return False
    if rest >= 1 and behind[0] == 0x3A and (rest == 1 or is_blank(behind[1]) or head.stamp.kind == NO_STAMP):
        if rest >= 3 and behind[1] == 0x2F and behind[2] == 0x2F:  # an address
            return False
        behind += 1
    elif rest >= 3 and behind[0] == 0x20 and (behind[1] == 0x2D or behind[1] == 0x3A or behind[1] == 0x7C) and behind[2] == 0x20:
        behind += 2
    elif not (rest >= 2 and text.at[0] == 0x2F and behind[0] == 0x20 and behind[1] == 0x5B):
        return False
    set_source(head, text.at, size)
    from_bracket[0] = False
    text.at = behind
    return True


cdef bint skip_thread(Text* text) noexcept nogil:
    """`1234 --- [  main] ` of Spring Boot."""
    cdef Text ahead = text[0]
    cdef const uint8_t* close
    while is_digit(peek(&ahead)):
        ahead.at += 1
    if ahead.at == text.at or left(&ahead) < 6 or memcmp(ahead.at, b" --- [", 6) != 0:
        return False
    close = <const uint8_t*>memchr(ahead.at, 0x5D, <size_t>left(&ahead))
    if close == NULL:
        return False
    text.at = close + 1
    return True


cdef void read_parts(Text* text, Head* head) noexcept nogil:
    """Times, levels and names in any order, with brackets or separators, until something else comes."""
    cdef Text ahead = text[0]
    cdef bint from_bracket = False, first = True
    cdef int part, ch
    for part in range(MOST_PARTS):
        skip_blanks(&ahead)
        ch = peek(&ahead)
        if ch < 0:
            break
        if ch == 0x5B or ch == 0x28:
            if not read_bracket(&ahead, head, &from_bracket):
                break
            first = head.stamp.kind != NO_STAMP
            continue
        if head.stamp.kind == NO_STAMP and (is_digit(ch) or is_letter(ch)) and take_stamp(&ahead, head):
            take(&ahead, 0x3A)
            first = True
            if read_logcat(&ahead, head) or read_syslog(&ahead, head, head.stamp.named_month):
                break
            continue
        if is_letter(ch) and read_level_word(&ahead, head, first):
            first = False
            continue
        if ch == 0x7C or ((ch == 0x2D or ch == 0x3A) and part and left(&ahead) >= 2 and is_blank(ahead.at[1])):
            ahead.at += 1
            continue
        if is_digit(ch) and head.level != LEVEL_NONE and skip_thread(&ahead):
            continue
        if not head.known or not read_name(&ahead, head, &from_bracket):
            break
        first = False
    if head.known:
        text.at = ahead.at
    else:
        head.source_size = 0


cdef void find_level(const Text* text, Head* head) noexcept nogil:
    """A level in capitals among the first words of the message, or behind `level=`."""
    cdef const uint8_t* at = text.at
    cdef const uint8_t* end = text.at + NEAR if left(text) > NEAR else text.end
    cdef const uint8_t* start
    cdef bint named
    while at < end:
        if not is_letter(at[0]):
            at += 1
            continue
        start = at
        named = start > text.at and (start - 1)[0] == 0x3D
        while at < text.end and (is_letter(at[0]) or is_digit(at[0]) or at[0] == 0x5F):
            at += 1
        if (named or (start[0] <= 0x5A and (at - 1)[0] <= 0x5A)) and 3 <= at - start <= 13 and (start == text.at or (start - 1)[0] != 0x2D):
            head.level = <uint8_t>level_of(start, at - start)
            if head.level != LEVEL_NONE:
                return


cdef bint skip_key(Text* text) noexcept nogil:
    """`time=`, `ts=`, `timestamp=` or `t=` in front of a time, with or without a quote."""
    cdef Py_ssize_t size = word_length(text)
    if size >= left(text) or text.at[size] != 0x3D:
        return False
    if not (
        (size == 4 and memcmp(text.at, b"time", 4) == 0) or (size == 2 and memcmp(text.at, b"ts", 2) == 0)
        or (size == 9 and memcmp(text.at, b"timestamp", 9) == 0) or (size == 1 and text.at[0] == 0x74)
    ):  # fmt: skip
        return False
    text.at += size + 1
    take(text, 0x22)
    return True


cdef void find_stamp(const Text* text, Head* head) noexcept nogil:
    """The time in the middle of the lines of web servers: `[23/Nov/2026:22:15:30 +0000]` behind names and dashes."""
    cdef Text inner
    cdef Py_ssize_t room = left(text) if left(text) < MOST_BRACKET else MOST_BRACKET
    cdef const uint8_t* bracket = <const uint8_t*>memchr(text.at, 0x5B, <size_t>room)
    if bracket == NULL or text.end - bracket < 24 or bracket[3] != 0x2F or bracket[7] != 0x2F or bracket[12] != 0x3A:
        return
    inner.at = bracket + 1
    inner.end = text.end
    take_stamp(&inner, head)


cdef void read_head(Text* text, Head* head) noexcept nogil:
    """Takes what is recognised off the front of a line; the text that is left is the message."""
    cdef Text ahead
    cdef int ch
    memset(head, 0, sizeof(Head))
    ch = peek(text)
    if ch == 0x3C and read_priority(text, head):
        if read_5424(text, head):
            return
        take_stamp(text, head)
        if read_syslog(text, head, True):
            skip_blanks(text)
            return
        skip_blanks(text)
        ch = peek(text)
    if 0x41 <= ch <= 0x5A and left(text) > 4:
        if text.at[1] == 0x2F and read_logcat(text, head):
            skip_blanks(text)
            return
        if is_digit(text.at[1]) and read_glog(text, head):
            skip_blanks(text)
            return
    elif ch == 0x74:
        ahead = text[0]
        if skip_key(&ahead) and take_stamp(&ahead, head):
            take(&ahead, 0x22)
            text.at = ahead.at
    read_parts(text, head)
    skip_blanks(text)
    if not head.known:
        find_stamp(text, head)
    if head.level == LEVEL_NONE:
        find_level(text, head)


def head_of(bytes line not None):
    """(kind of time, nanoseconds, level, source, text) of a line: for tests."""
    cdef Text text
    cdef Head head
    cdef const uint8_t* start = line
    text.at = start
    text.end = start + len(line)
    read_head(&text, &head)
    source = head.source[: head.source_size] if head.source_size else b""
    return head.stamp.kind, head.stamp.ns, head.level, source, text.at[: text.end - text.at]
