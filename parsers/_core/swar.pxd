# Eight characters at a time in one word (little-endian: the first character is the lowest byte). No operation carries into a neighbour.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #define argus_ctz64(x) __builtin_ctzll(x)
    #define argus_bswap32(x) __builtin_bswap32(x)
    #define argus_likely(x) __builtin_expect(!!(x), 1)
    """
    int ctz64 "argus_ctz64"(uint64_t) noexcept nogil  # not of 0
    uint32_t bswap32 "argus_bswap32"(uint32_t) noexcept nogil
    bint likely "argus_likely"(bint) noexcept nogil

cdef enum:
    WORD = 8

cdef inline uint64_t each(uint8_t byte) noexcept nogil:
    return <uint64_t>0x0101010101010101 * byte


cdef inline uint64_t load8(const uint8_t* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint32_t load4(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t not_digits(uint64_t text) noexcept nogil:
    """0 when all eight are decimal digits; otherwise not 0, in whichever byte."""
    return ((text & each(0xF0)) | ((text + each(0x06)) & each(0xF0)) >> 4) ^ each(0x33)


cdef inline uint64_t eight_digits(uint64_t text) noexcept nogil:
    """The number that eight decimal digits are: pairs, then fours, then all."""
    text &= each(0x0F)
    text = (text * 10 + (text >> 8)) & <uint64_t>0x00FF00FF00FF00FF
    text = (text * 100 + (text >> 16)) & <uint64_t>0x0000FFFF0000FFFF
    return <uint32_t>(text * 10000 + (text >> 32))


cdef inline uint64_t nibbles(uint64_t text, uint64_t* wrong) noexcept nogil:
    """The value of each hex digit in its byte; `wrong` is not 0 in each byte that is none, and what stands there is arbitrary."""
    cdef uint64_t letter = text >> 6 & each(1)
    cdef uint64_t value = (text & each(0x0F)) + letter * 9
    # Digits are 30 to 39, letters 41 to 46 or 61 to 66: the upper half must fit, and a letter's value must be 10 to 15, a digit's 0 to 9.
    wrong[0] = (
        ((text & ~(letter << 5) & each(0xF0)) ^ (each(0x30) + (letter << 4)))
        | (((value + each(6)) >> 4 ^ letter) & each(1))
        | (value & each(0x10))
    )
    return value


cdef inline uint32_t four_bytes(uint64_t digits) noexcept nogil:
    """Eight nibbles in text order to four bytes in memory order."""
    digits = (digits << 4 | digits >> 8) & <uint64_t>0x00FF00FF00FF00FF
    digits = (digits | digits >> 8) & <uint64_t>0x0000FFFF0000FFFF
    return <uint32_t>(digits | digits >> 16)
