"""Records of MDF channel groups into columns: tiles of rows are spread over all columns at once, without a Python object per row."""

cimport cython
from libc.stdint cimport UINT32_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

# What a field does with its bytes. COPY and SWAP take whole numbers of 1, 2, 4 or 8 bytes as they lie or turned round; FLOAT widens 4
# bytes to 8; BITS and BITS_SWAPPED cut `bits` bits at `shift` out of up to 9 bytes (SIGNED extends the sign); BYTES copies any number of
# bytes; VALID turns an invalidation bit into a mask; PLACE keeps where the record lay and reads nothing. PACKED takes the beginning of a
# payload into a slot of a multiple of 8 bytes, one slot behind the other, `width` being the longest; the field behind it, STARTS, cuts out
# how many bytes count (0 bits: all of them) and keeps where the slot begins.
COPY, SWAP, FLOAT, FLOAT_SWAPPED, BITS, BITS_SWAPPED, SIGNED, SIGNED_SWAPPED, BYTES, VALID, PLACE, PACKED, STARTS = range(13)

cdef enum:
    F_COPY = 0
    F_SWAP = 1
    F_FLOAT = 2
    F_FLOAT_SWAPPED = 3
    F_BITS = 4
    F_BITS_SWAPPED = 5
    F_SIGNED = 6
    F_SIGNED_SWAPPED = 7
    F_BYTES = 8
    F_VALID = 9
    F_PLACE = 10
    F_PACKED = 11
    F_STARTS = 12

    TILE_BYTES = 65536  # so that the records of a tile stay in the second cache while its columns are filled
    MOST_TILE = 256  # rows of short records: they stay in the first cache
    ALIGN = 64
    PADDING = 8
    SLOT = 8

cdef extern from *:
    """
    #define argus_swap16 __builtin_bswap16
    #define argus_swap32 __builtin_bswap32
    #define argus_swap64 __builtin_bswap64
    """
    uint16_t argus_swap16(uint16_t value) noexcept nogil
    uint32_t argus_swap32(uint32_t value) noexcept nogil
    uint64_t argus_swap64(uint64_t value) noexcept nogil

ctypedef fused Word:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef struct Field:
    int kind
    int shift  # bits below the value, 0 to 7
    int bits
    int size  # bytes that are read
    int width  # bytes of one value in the column
    bint roomy  # 8 bytes can be read at `offset` without leaving the record
    int64_t offset  # in the record
    size_t start  # where the column begins in the store


cdef inline Word swapped(Word value) noexcept nogil:
    if Word is uint16_t:
        return argus_swap16(value)
    elif Word is uint32_t:
        return argus_swap32(value)
    elif Word is uint64_t:
        return argus_swap64(value)
    else:
        return value


cdef inline void spread_words(const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, Word* out, bint swap) noexcept nogil:
    cdef Py_ssize_t i
    cdef Word value
    if not swap and stride == sizeof(Word):
        memcpy(out, at, <size_t>n * sizeof(Word))
    elif swap:
        for i in range(n):
            memcpy(&value, at, sizeof(Word))
            out[i] = swapped(value)
            at += stride
    else:
        for i in range(n):
            memcpy(&out[i], at, sizeof(Word))
            at += stride


cdef inline void spread_floats(const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, double* out, bint swap) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t word
    cdef float value
    for i in range(n):
        memcpy(&word, at, 4)
        if swap:
            word = argus_swap32(word)
        memcpy(&value, &word, 4)
        out[i] = value
        at += stride


cdef inline uint64_t cut_bits(const uint8_t* at, const Field* f, bint swap) noexcept nogil:
    """The bits of one value, at most 64, in the low end."""
    cdef uint64_t low = 0
    cdef int i
    if f.size == 9:
        memcpy(&low, at + 1 if swap else at, 8)
        if swap:
            return (argus_swap64(low) >> f.shift) | (<uint64_t>at[0] << (64 - f.shift))
        return (low >> f.shift) | (<uint64_t>at[8] << (64 - f.shift))
    if f.roomy:
        memcpy(&low, at, 8)
        if swap:
            low = argus_swap64(low) >> (64 - 8 * f.size)
    elif swap:
        for i in range(f.size):
            low = (low << 8) | at[i]
    else:
        for i in range(f.size):
            low |= <uint64_t>at[i] << (8 * i)
    return low >> f.shift


cdef inline void spread_bits(const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, Word* out, const Field* f, bint swap, bint signed) noexcept nogil:
    cdef Py_ssize_t i
    cdef int above = 64 - f.bits
    cdef uint64_t value
    for i in range(n):
        value = cut_bits(at, f, swap) << above
        out[i] = <Word>(<uint64_t>(<int64_t>value >> above)) if signed else <Word>(value >> above)
        at += stride


cdef inline void spread_valid(const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, uint8_t* out, int shift) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = ((at[0] >> shift) & 1) ^ 1
        at += stride


cdef inline void spread_bytes(const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, uint8_t* out, int width) noexcept nogil:
    cdef Py_ssize_t i
    if width == 8:
        for i in range(n):
            memcpy(out + 8 * i, at, 8)
            at += stride
    else:
        for i in range(n):
            memcpy(out + i * width, at, <size_t>width)
            at += stride


cdef void spread_number(const Field* f, const uint8_t* at, Py_ssize_t stride, Py_ssize_t n, uint8_t* out) noexcept nogil:
    cdef bint swap = f.kind == F_BITS_SWAPPED or f.kind == F_SIGNED_SWAPPED
    cdef bint signed = f.kind == F_SIGNED or f.kind == F_SIGNED_SWAPPED
    if f.width == 1:
        spread_bits[uint8_t](at, stride, n, out, f, swap, signed)
    elif f.width == 2:
        spread_bits[uint16_t](at, stride, n, <uint16_t*>out, f, swap, signed)
    elif f.width == 4:
        spread_bits[uint32_t](at, stride, n, <uint32_t*>out, f, swap, signed)
    else:
        spread_bits[uint64_t](at, stride, n, <uint64_t*>out, f, swap, signed)


cdef void spread(const Field* f, const uint8_t* records, Py_ssize_t stride, Py_ssize_t n, uint8_t* out) noexcept nogil:
    """One field of n records into its column."""
    cdef const uint8_t* at = records + f.offset
    cdef bint swap = f.kind == F_SWAP
    if f.kind == F_COPY or f.kind == F_SWAP:
        if f.width == 8:
            spread_words[uint64_t](at, stride, n, <uint64_t*>out, swap)
        elif f.width == 4:
            spread_words[uint32_t](at, stride, n, <uint32_t*>out, swap)
        elif f.width == 2:
            spread_words[uint16_t](at, stride, n, <uint16_t*>out, swap)
        else:
            spread_words[uint8_t](at, stride, n, out, False)
    elif f.kind == F_FLOAT or f.kind == F_FLOAT_SWAPPED:
        spread_floats(at, stride, n, <double*>out, f.kind == F_FLOAT_SWAPPED)
    elif f.kind == F_VALID:
        spread_valid(at, stride, n, out, f.shift)
    elif f.kind == F_BYTES:
        spread_bytes(at, stride, n, out, f.width)
    elif f.kind <= F_SIGNED_SWAPPED:
        spread_number(f, at, stride, n, out)


cdef size_t pack(const Field* f, const Field* counts, const uint8_t* records, Py_ssize_t stride, Py_ssize_t n,
                 uint32_t* starts, uint8_t* out, size_t used) noexcept nogil:
    """Payloads of n records into slots behind the bytes that are used; returns how many are used then."""
    cdef const uint8_t* at
    cdef uint64_t length, most = min(f.size, f.width)
    cdef size_t slot, k
    cdef size_t size = f.size
    cdef int above = 64 - counts.bits
    cdef Py_ssize_t i
    for i in range(n):
        at = records + f.offset
        length = min(cut_bits(records + counts.offset, counts, False) << above >> above, most) if counts.bits else most
        slot = max((length + SLOT - 1) & ~<size_t>(SLOT - 1), <size_t>SLOT)
        starts[i] = <uint32_t>used
        if slot <= size:
            k = 0
            while k < slot:
                memcpy(out + used + k, at + k, SLOT)
                k += SLOT
        else:
            memcpy(out + used, at, size)
            memset(out + used + size, 0, slot - size)
        used += slot
        records += stride
    return used


@cython.final
cdef class RecordColumns:
    """Columns that grow by records of one layout, at most `capacity` rows at a time.

    `fields` are (kind, offset, size, shift, bits, width) with byte offsets in the record; raises ValueError when one leaves the record.
    """

    cdef Field* fields
    cdef int field_count
    cdef readonly Py_ssize_t record_size
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t row_bytes  # of all columns together
    cdef object store
    cdef uint8_t* base
    cdef object scratch
    cdef Py_ssize_t tile
    cdef int packed  # number of the PACKED field; -1: there is none
    cdef size_t used  # bytes of its slots

    def __cinit__(self, list fields not None, Py_ssize_t record_size, Py_ssize_t capacity):
        cdef Field* f
        if record_size < 0 or capacity <= 0:
            raise ValueError("records need a size and columns a capacity")
        self.fields = <Field*>calloc(max(len(fields), 1), sizeof(Field))
        if self.fields == NULL:
            raise MemoryError
        self.field_count = len(fields)
        self.record_size = record_size
        self.row_bytes = 0
        self.packed = -1
        for place, (kind, offset, size, shift, bits, width) in enumerate(fields):
            f = &self.fields[place]
            f.kind, f.offset, f.size, f.shift, f.bits, f.width = kind, offset, size, shift, bits, width
            f.roomy = offset + 8 <= record_size
            self.row_bytes += width
            if not 0 <= offset <= offset + size <= record_size:
                raise ValueError("a field leaves its record")
            if not fits(f):
                raise ValueError("a field of a kind that does not fit its size")
            if f.kind == F_PACKED and self.packed < 0 and place + 1 < len(fields):
                self.packed = place
            elif f.kind == F_PACKED or (f.kind == F_STARTS) != (self.packed >= 0 and place == self.packed + 1):
                raise ValueError("one field of payloads, with that of their starts behind it")
        self.tile = min(max(TILE_BYTES // max(record_size, 1), 16), MOST_TILE)
        self.scratch = None
        self.begin(capacity)

    def __dealloc__(self):
        free(self.fields)

    cdef int begin(self, Py_ssize_t capacity) except -1:
        """A new store."""
        cdef size_t total = 0
        cdef int i
        if self.packed >= 0 and capacity > UINT32_MAX // self.fields[self.packed].width:
            raise ValueError("more payloads than their starts can count")
        for i in range(self.field_count):
            self.fields[i].start = total
            total += (<size_t>capacity * self.fields[i].width + ALIGN - 1) & ~<size_t>(ALIGN - 1)
        self.store = np.empty(total + PADDING, np.uint8)
        cdef uint8_t[::1] view = self.store
        self.base = &view[0]
        self.capacity = capacity
        self.count = 0
        self.used = 0
        return 0

    cdef void fill(self, const uint8_t* records, Py_ssize_t n) noexcept nogil:
        cdef Py_ssize_t done = 0, part
        cdef size_t row = self.count
        cdef Field* f
        cdef uint32_t* starts
        cdef int i
        while done < n:
            part = min(self.tile, n - done)
            for i in range(self.field_count):
                spread(&self.fields[i], records, self.record_size, part, self.base + self.fields[i].start + row * self.fields[i].width)
            if self.packed >= 0:
                f = &self.fields[self.packed]
                starts = <uint32_t*>(self.base + f[1].start) + row
                self.used = pack(f, f + 1, records, self.record_size, part, starts, self.base + f.start, self.used)
            records += part * self.record_size
            row += part
            done += part
        self.count += n

    def append(self, const uint8_t[::1] data not None, Py_ssize_t at, Py_ssize_t n):
        """Takes n records that lie one behind the other from `at` on."""
        if n < 0 or n > self.capacity - self.count or at < 0 or at > data.shape[0]:
            raise ValueError("records outside of their data, or too many")
        if self.record_size and n > (data.shape[0] - at) // self.record_size:
            raise ValueError("records outside of their data")
        if n == 0:
            return
        if not self.record_size:
            self.count += n
            return
        with nogil:
            self.fill(&data[at], n)

    def append_at(self, const uint8_t[::1] data not None, const int64_t[::1] positions not None, int64_t base):
        """Takes the records that begin at `positions`; a PLACE column gets `base` plus the position."""
        cdef Py_ssize_t n = positions.shape[0], done = 0, part, i
        cdef int64_t most = data.shape[0] - self.record_size
        cdef int place
        if n > self.capacity - self.count:
            raise ValueError("too many records")
        if n == 0:
            return
        for i in range(n):
            if not 0 <= positions[i] <= most:
                raise ValueError("a record outside of its data")
        self.place(&positions[0], n, base)
        if not self.record_size:
            self.count += n
            return
        if self.scratch is None:
            self.scratch = np.empty(self.tile * self.record_size, np.uint8)
        cdef uint8_t[::1] scratch = self.scratch
        with nogil:
            while done < n:
                part = min(self.tile, n - done)
                for i in range(part):
                    memcpy(&scratch[i * self.record_size], &data[positions[done + i]], <size_t>self.record_size)
                self.fill(&scratch[0], part)
                done += part

    cdef void place(self, const int64_t* positions, Py_ssize_t n, int64_t base) noexcept nogil:
        cdef int i
        cdef Py_ssize_t k
        cdef int64_t* out
        for i in range(self.field_count):
            if self.fields[i].kind == F_PLACE:
                out = <int64_t*>(self.base + self.fields[i].start) + self.count
                for k in range(n):
                    out[k] = base + positions[k]

    def grow(self, Py_ssize_t capacity):
        """Room for more rows; those that are there stay."""
        if capacity <= self.capacity:
            return
        self.move(0, self.count, capacity)

    cdef int move(self, Py_ssize_t first, Py_ssize_t n, Py_ssize_t capacity) except -1:
        """A new store of that capacity with the n rows from `first` on."""
        cdef object old = self.store  # keeps the memory until the rows are copied
        cdef uint8_t* base = self.base
        cdef size_t begin = self.packed_bytes(first), end = self.packed_bytes(first + n)
        cdef int i
        cdef Field* f
        starts = [self.fields[i].start for i in range(self.field_count)]
        self.begin(capacity)
        for i in range(self.field_count):
            f = &self.fields[i]
            if i != self.packed:
                memcpy(self.base + f.start, base + <size_t>starts[i] + <size_t>first * f.width, <size_t>n * f.width)
            else:
                memcpy(self.base + f.start, base + <size_t>starts[i] + begin, end - begin)
        self.count = n
        self.used = end - begin
        if begin:
            self.move_starts(<uint32_t>begin)
        return 0

    cdef size_t packed_bytes(self, Py_ssize_t n) noexcept:
        """Bytes of the payloads of the first n rows."""
        if self.packed < 0 or n >= self.count:
            return self.used
        return (<const uint32_t*>(self.base + self.fields[self.packed + 1].start))[n]

    cdef void move_starts(self, uint32_t by) noexcept:
        cdef uint32_t* starts = <uint32_t*>(self.base + self.fields[self.packed + 1].start)
        cdef Py_ssize_t i
        for i in range(self.count):
            starts[i] -= by

    def take(self, Py_ssize_t n, Py_ssize_t capacity):
        """The first n rows, one uint8 array for each field; the others stay, in a store of `capacity` or more rows.

        Behind the last value of a BYTES or PACKED field 8 bytes more can be read: its array is so much longer.
        """
        cdef Py_ssize_t i
        cdef Py_ssize_t kept = self.count - n
        if not 0 <= n <= self.count:
            raise ValueError("so many rows are not there")
        columns = [self.rows_of(i, n) for i in range(self.field_count)]
        if 2 * n < self.capacity:  # few rows must not keep the memory of many
            columns = [column.copy() for column in columns]
        self.move(n, kept, max(capacity, kept, 1))
        return columns

    cdef object rows_of(self, Py_ssize_t field, Py_ssize_t n):
        """The bytes of the first n rows of one column, with those that may be read behind them."""
        cdef Field* f = &self.fields[field]
        cdef size_t size = self.packed_bytes(n) if field == self.packed else <size_t>n * f.width
        return self.store[f.start : f.start + size + (PADDING if f.kind == F_BYTES or f.kind == F_PACKED else 0)]

    def column(self, int field):
        """The bytes of one column as they are now; only until the next call that changes rows."""
        if not 0 <= field < self.field_count:
            raise IndexError(field)
        return self.store[self.fields[field].start : self.fields[field].start + <size_t>self.count * self.fields[field].width]


cdef bint fits(const Field* f) noexcept:
    """Whether a field can be filled without leaving its bytes or its column."""
    if f.kind == F_COPY or f.kind == F_SWAP:
        return f.size == f.width and (f.width == 1 or f.width == 2 or f.width == 4 or f.width == 8)
    if f.kind == F_FLOAT or f.kind == F_FLOAT_SWAPPED:
        return f.size == 4 and f.width == 8
    if F_BITS <= f.kind <= F_SIGNED_SWAPPED:
        return (1 <= f.bits <= 64 and 0 <= f.shift <= 7 and f.size == (f.shift + f.bits + 7) // 8 and f.bits <= 8 * f.width
                and (f.width == 1 or f.width == 2 or f.width == 4 or f.width == 8))
    if f.kind == F_BYTES:
        return f.size == f.width and f.size > 0
    if f.kind == F_VALID:
        return f.size == 1 and f.width == 1 and 0 <= f.shift <= 7
    if f.kind == F_PACKED:
        return f.size > 0 and f.width > 0 and f.width % SLOT == 0 and f.width < f.size + SLOT
    if f.kind == F_STARTS:
        return f.width == 4 and 0 <= f.bits <= 64 and 0 <= f.shift <= 7 and f.size == ((f.shift + f.bits + 7) // 8 if f.bits else 0)
    return f.kind == F_PLACE and f.size == 0 and f.width == 8


def untranspose(const uint8_t[::1] data not None, Py_ssize_t columns):
    """The bytes of a transposed block (MDF 4.1, DZ block) in their own order; what does not fill a row stands at the end as it is."""
    cdef Py_ssize_t size = data.shape[0]
    cdef Py_ssize_t rows = size // columns if columns > 0 else 0
    cdef Py_ssize_t whole = rows * columns
    result = np.empty(size, np.uint8)
    cdef uint8_t[::1] out = result
    if size == 0:
        return result
    if whole < size:
        memcpy(&out[whole], &data[whole], <size_t>(size - whole))
    if whole:
        with nogil:
            turn(&data[0], rows, columns, &out[0])
    return result


cdef void turn(const uint8_t* data, Py_ssize_t rows, Py_ssize_t columns, uint8_t* out) noexcept nogil:
    """`columns` lines of `rows` bytes become `rows` lines of `columns` bytes, in squares of 8 by 8 bytes."""
    cdef Py_ssize_t r, c, i, k, tile, end
    cdef Py_ssize_t whole_rows = rows & ~<Py_ssize_t>7
    cdef Py_ssize_t whole_columns = columns & ~<Py_ssize_t>7
    cdef Py_ssize_t tile_rows = max(<Py_ssize_t>64, (TILE_BYTES // max(columns, 1)) & ~<Py_ssize_t>7)
    cdef uint64_t[8] square
    tile = 0
    while tile < whole_rows:
        end = min(tile + tile_rows, whole_rows)
        c = 0
        while c < whole_columns:
            r = tile
            while r < end:
                for i in range(8):
                    memcpy(&square[i], data + (c + i) * rows + r, 8)
                turn_square(square)
                for i in range(8):
                    memcpy(out + (r + i) * columns + c, &square[i], 8)
                r += 8
            c += 8
        for k in range(whole_columns, columns):
            for r in range(tile, end):
                out[r * columns + k] = data[k * rows + r]
        tile = end
    for k in range(columns):
        for r in range(whole_rows, rows):
            out[r * columns + k] = data[k * rows + r]


cdef inline void turn_square(uint64_t* square) noexcept nogil:
    """8 words of 8 bytes, transposed: halves, quarters and single bytes change places."""
    cdef int i
    cdef uint64_t a, b
    for i in range(4):
        a, b = square[i], square[i + 4]
        square[i] = (a & 0x00000000FFFFFFFFULL) | (b << 32)
        square[i + 4] = (a >> 32) | (b & 0xFFFFFFFF00000000ULL)
    for i in range(8):
        if i & 2:
            continue
        a, b = square[i], square[i + 2]
        square[i] = (a & 0x0000FFFF0000FFFFULL) | ((b & 0x0000FFFF0000FFFFULL) << 16)
        square[i + 2] = ((a >> 16) & 0x0000FFFF0000FFFFULL) | (b & 0xFFFF0000FFFF0000ULL)
    for i in range(0, 8, 2):
        a, b = square[i], square[i + 1]
        square[i] = (a & 0x00FF00FF00FF00FFULL) | ((b & 0x00FF00FF00FF00FFULL) << 8)
        square[i + 1] = ((a >> 8) & 0x00FF00FF00FF00FFULL) | (b & 0xFF00FF00FF00FF00ULL)
