/* BLF: each container inflated by libdeflate into one buffer, and from object to object through it; no columns: the physical limit. */
#include "columns.h"

struct libdeflate_decompressor;
struct libdeflate_decompressor *libdeflate_alloc_decompressor(void);
int libdeflate_zlib_decompress(struct libdeflate_decompressor *, const void *, size_t, void *, size_t, size_t *);

static uint16_t u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

static uint32_t u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

int main(int argc, char **argv) {
    static uint8_t packed[1 << 22], content[1 << 22];
    uint8_t head[16];
    size_t tail = 0;
    long frames = 0;
    if (argc != 2) return 1;
    int file = open(argv[1], O_RDONLY);
    struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor();
    if (file < 0 || !inflater || pread(file, head, 16, 0) != 16) fail("cannot open");
    off_t at = u32(head + 4);
    double start = cpu();
    while (pread(file, head, 16, at) == 16) {
        if (memcmp(head, "LOBJ", 4)) {
            at++;
            continue;
        }
        size_t size = u32(head + 8), inside, got;
        if (size > sizeof packed || pread(file, packed, size, at) != (ssize_t)size) fail("container too long");
        at += size;
        if (u32(head + 12) != 10) continue;
        inside = u16(head + 4) + 16;
        if (tail + u32(packed + inside - 8) > sizeof content) fail("container too long");
        if (libdeflate_zlib_decompress(inflater, packed + inside, size - inside, content + tail, u32(packed + inside - 8), &got))
            fail("container is damaged");
        const uint8_t *p = content, *end = content + tail + got;
        while (end - p >= 16) {
            if (memcmp(p, "LOBJ", 4)) {
                p++;
                continue;
            }
            uint32_t step = u32(p + 8), type = u32(p + 12);
            if (step > (size_t)(end - p)) break;
            frames += type == 1 || type == 86 || type == 100 || type == 101;
            p += step;
        }
        tail = end - p;
        memmove(content, p, tail);
    }
    report(cpu() - start, frames);
    return 0;
}
