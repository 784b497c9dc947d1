# Decimal text to the nearest float64, without Python: the algorithm of D. Lemire, "Number Parsing at a Gigabyte per Second" (2021).

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #define ARGUS_LEAST_POWER -342
    #define ARGUS_MOST_POWER 308
    typedef struct { uint64_t high, low; } argus_power;

    static const double ARGUS_EXACT[23] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                           1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    /* The float64 nearest to digits * 10^exponent; 0 when the short way cannot tell, and strtod has to. `powers` holds the leading 128
       bits of 10^-342 to 10^308, truncated. */
    static inline int argus_nearest(uint64_t digits, int64_t exponent, const argus_power* powers, double* out) {
        if (digits <= ((uint64_t)1 << 53) && exponent >= -22 && exponent <= 22) {
            *out = exponent < 0 ? (double)digits / ARGUS_EXACT[-exponent] : (double)digits * ARGUS_EXACT[exponent];
            return 1;
        }
        if (digits == 0) { *out = 0; return 1; }
        if (exponent < ARGUS_LEAST_POWER || exponent > ARGUS_MOST_POWER) return 0;
        int zeros = __builtin_clzll(digits);
        digits <<= zeros;
        argus_power power = powers[exponent - ARGUS_LEAST_POWER];
        unsigned __int128 product = (unsigned __int128)digits * power.high;
        uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
        if ((high & 0x1FF) == 0x1FF) {
            uint64_t more = (uint64_t)(((unsigned __int128)digits * power.low) >> 64);
            low += more;
            if (low < more) high++;
        }
        if (low == UINT64_MAX && (exponent < -27 || exponent > 55)) return 0;
        int top = (int)(high >> 63);
        int shift = top + 64 - 52 - 3;
        uint64_t mantissa = high >> shift;
        int binary = (int)(((152170 + 65536) * exponent) >> 16) + 63 + top - zeros + 1023;
        if (binary <= 0) return 0;
        if (low <= 1 && exponent >= -4 && exponent <= 23 && (mantissa & 3) == 1 && (mantissa << shift) == high) mantissa &= ~(uint64_t)1;
        mantissa = (mantissa + (mantissa & 1)) >> 1;
        if (mantissa >= ((uint64_t)2 << 52)) { mantissa = (uint64_t)1 << 52; binary++; }
        if (binary >= 0x7FF) return 0;
        uint64_t bits = (mantissa & ~((uint64_t)1 << 52)) | ((uint64_t)binary << 52);
        memcpy(out, &bits, 8);
        return 1;
    }
    """
    const double ARGUS_EXACT[23]
    ctypedef struct argus_power:
        uint64_t high
        uint64_t low
    int argus_nearest(uint64_t digits, int64_t exponent, const argus_power* powers, double* out) noexcept nogil
    enum:
        ARGUS_LEAST_POWER
        ARGUS_MOST_POWER
