/* Frames in memory to columns of physical values, message by message and signal by signal, by hand in plain C. */
#include "columns.h"

enum { MOST_IDS = 2048, MOST_SIGNALS = 4096 };

/* A signal as bench/parsers/can_inputs.py writes it: its word shifted left by `up`, then right by `spare`, is the raw value. */
struct signal {
    int id, up, spare, big, is_signed, width;         /* width: bytes of the column, 8 and real: double */
    int real;
    double scale, offset;
    long scale_int, offset_int;
    int mux_up, mux_spare;                            /* the multiplexer's word, always Intel; mux_value < 0: always there */
    long mux_value;
};

static struct signal signals[MOST_SIGNALS];
static int known;

static void read_signals(const char *path) {
    FILE *file = fopen(path, "r");
    struct signal s;
    if (!file) fail("no signals");
    while (fscanf(file, "%d %d %d %d %d %d %d %lf %lf %ld %ld %d %d %ld", &s.id, &s.up, &s.spare, &s.big, &s.is_signed, &s.width, &s.real,
                  &s.scale, &s.offset, &s.scale_int, &s.offset_int, &s.mux_up, &s.mux_spare, &s.mux_value) == 14) {
        if (known == MOST_SIGNALS || s.id < 0 || s.id >= MOST_IDS) fail("too many signals");
        signals[known++] = s;
    }
    fclose(file);
}

#define WHOLE(type)                                                                                                   \
    do {                                                                                                              \
        type *out = column, scale = (type)s->scale_int, add = (type)s->offset_int;                                    \
        if (s->is_signed)                                                                                             \
            for (long k = 0; k < n; k++) out[k] = (type)((int64_t)(word[k] << s->up) >> s->spare) * scale + add;      \
        else                                                                                                          \
            for (long k = 0; k < n; k++) out[k] = (type)(word[k] << s->up >> s->spare) * scale + add;                 \
    } while (0)

static void decode(const struct signal *s, const uint64_t *word, long n, void *column) {
    if (s->real) {
        double *out = column, scale = s->scale, add = s->offset;
        if (s->is_signed)
            for (long k = 0; k < n; k++) out[k] = (double)((int64_t)(word[k] << s->up) >> s->spare) * scale + add;
        else
            for (long k = 0; k < n; k++) out[k] = (double)(int64_t)(word[k] << s->up >> s->spare) * scale + add;
    } else if (s->width == 1) {
        WHOLE(uint8_t);
    } else if (s->width == 2) {
        WHOLE(uint16_t);
    } else if (s->width == 4) {
        WHOLE(uint32_t);
    } else {
        WHOLE(uint64_t);
    }
}

int main(int argc, char **argv) {
    static long starts[MOST_IDS + 1];
    if (argc != 3) return 1;
    read_signals(argv[2]);
    int file = open(argv[1], O_RDONLY);
    off_t size = file < 0 ? 0 : lseek(file, 0, SEEK_END);
    long n = size / 20, values = 0;
    char *content = malloc(size + 1);
    for (off_t at = 0; at < size;) {
        ssize_t got = pread(file, content + at, size - at, at);
        if (got <= 0) fail("cannot read");
        at += got;
    }
    const int64_t *time = (void *)content;
    const uint64_t *payload = (void *)(content + 8 * n);
    const uint32_t *id = (void *)(content + 16 * n);
    uint8_t **masks = calloc(MOST_SIGNALS, sizeof *masks);
    long *rows = calloc(MOST_SIGNALS, sizeof *rows);

    double start = cpu();
    for (long k = 0; k < n; k++) starts[id[k] + 1]++;
    for (int i = 0; i < MOST_IDS; i++) starts[i + 1] += starts[i];
    int64_t *times = malloc(8 * n + 1);
    uint64_t *little = malloc(8 * n + 1), *big = malloc(8 * n + 1);
    long at[MOST_IDS];
    memcpy(at, starts, sizeof at);
    for (long k = 0; k < n; k++) {
        long to = at[id[k]]++;
        times[to] = time[k];
        little[to] = payload[k];
        big[to] = __builtin_bswap64(payload[k]);
    }
    for (int i = 0; i < known; i++) {
        const struct signal *s = &signals[i];
        long first = starts[s->id], count = starts[s->id + 1] - first;
        decode(s, (s->big ? big : little) + first, count, malloc(s->width * count + 1));
        rows[i] = count;
        if (s->mux_value >= 0) {
            const uint64_t *word = little + first;
            masks[i] = malloc(count + 1);
            for (long k = 0; k < count; k++) masks[i][k] = (long)(word[k] << s->mux_up >> s->mux_spare) == s->mux_value;
        }
    }
    double spent = cpu() - start;

    for (int i = 0; i < known; i++)
        for (long k = 0; k < rows[i]; k++) values += masks[i] ? masks[i][k] : 1;
    report(spent, values);
    return 0;
}
