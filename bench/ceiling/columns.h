/* Columns of CAN frames as the readers of Argus fill them, reused block by block, and a clock of the processor time. */
#ifndef COLUMNS_H
#define COLUMNS_H
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, EXTENDED = 1, FD = 2, REMOTE = 4, ERROR = 8, TX = 64, WINDOW = 1 << 20 };

static int64_t t_ns[BLOCK];
static uint16_t channel[BLOCK];
static uint32_t arbitration_id[BLOCK];
static uint8_t flags[BLOCK], length[BLOCK];
static uint32_t data_offset[BLOCK];
static uint8_t data[BLOCK * 8 + 8];
static size_t count;
static long total;

static inline void push(int64_t t, uint16_t ch, uint32_t id, uint8_t flag, uint8_t len, const uint8_t *payload) {
    if (count == BLOCK) {
        total += BLOCK;
        count = 0;
    }
    t_ns[count] = t;
    channel[count] = ch;
    arbitration_id[count] = id;
    flags[count] = flag;
    length[count] = len;
    data_offset[count] = 8 * count;
    memcpy(data + 8 * count, payload, 8);
    count++;
}

static double cpu(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static void report(double seconds, long items) { printf("{\"cpu_seconds\": %.6f, \"items\": %ld}\n", seconds, items); }

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}
#endif
