/* What the two text formats share: digits, seconds, and a file handed out line by line from a window that is reused. */
#ifndef TEXT_H
#define TEXT_H
#include "columns.h"

static int8_t hex[256];

static void make_hex(void) {
    memset(hex, -1, sizeof hex);
    for (int i = 0; i < 10; i++) hex['0' + i] = i;
    for (int i = 0; i < 6; i++) hex['a' + i] = hex['A' + i] = 10 + i;
}

static inline const uint8_t *seconds(const uint8_t *p, const uint8_t *end, int64_t *out) {
    static const int64_t scale[] = {1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    int64_t whole = 0, part = 0;
    int places = 0;
    while (p < end && (uint8_t)(*p - '0') < 10) whole = whole * 10 + (*p++ - '0');
    if (p < end && *p == '.')
        for (p++; p < end && places < 9 && (uint8_t)(*p - '0') < 10; places++) part = part * 10 + (*p++ - '0');
    *out = whole * 1000000000 + part * scale[places];
    return p;
}

static inline const uint8_t *blanks(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p == ' ') p++;
    return p;
}

/* Calls `line` for each line; a line that the window cuts is moved to its front and read on. */
static double each_line(const char *path, void (*line)(const uint8_t *, const uint8_t *)) {
    static uint8_t window[2 * WINDOW];
    size_t held = 0;
    int file = open(path, O_RDONLY);
    if (file < 0) fail("cannot open");
    double start = cpu();
    for (;;) {
        ssize_t got = read(file, window + held, WINDOW);
        if (got <= 0) break;
        const uint8_t *at = window, *end = window + held + got, *newline;
        while ((newline = memchr(at, '\n', end - at))) {
            line(at, newline);
            at = newline + 1;
        }
        held = end - at;
        if (held > WINDOW) fail("line too long");
        memmove(window, at, held);
    }
    if (held) line(window, window + held);
    return cpu() - start;
}
#endif
