/* e4m3: sign, 4 bits of exponent (bias 7), 3 bits of fraction; the "FN" format of the Open Compute
 * Project: no infinity, the largest number is 448, and 0x7f and 0xff are no numbers.
 *
 *    7   6       3  2        0
 *   | s | exponent | fraction |
 */
#pragma once

#include "f16.h"

/* Every number is a float: no rounding. Without a branch, which would keep rows from being vectors:
 * the difference of 2^-6 (1 + fraction / 8) and 2^-6 is fraction * 2^-9. */
HD float e4m3_to_float(uint8_t bits)
{
    const uint32_t sign = (bits & 0x80u) << 24, magnitude = bits & 0x7fu;
    const uint32_t normal = (magnitude + (120u << 3)) << 20;
    const uint32_t small = float_bits(float_of_bits(121u << 23 | magnitude << 20) - 0x1p-6f);
    const uint32_t is_small = 0u - (magnitude < 8), is_none = 0u - (magnitude == 0x7f);
    return float_of_bits(sign | (small & is_small) | (normal & ~is_small) |
                         (0x7fc00000u & is_none));
}

#define E4M3_MAX 448.0f

/* To nearest, ties to even; what is larger than the largest number becomes it. */
HD uint8_t e4m3_of_float(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t sign = bits >> 24 & 0x80u;
    uint32_t a = bits & 0x7fffffffu; /* the magnitude, which orders like an integer */

    if (a > 0x7f800000u)
        return 0x7f;
    if (a >= 0x43e80000u) /* 464, above which the code would be that of no number */
        return (uint8_t)(sign | 0x7eu);
    if (a >= 0x3c800000u) { /* 2^-6, the smallest normal; a carry may raise the exponent */
        uint32_t odd = a >> 20 & 1u;
        return (uint8_t)(sign | (a - (120u << 23) + 0x7ffffu + odd) >> 20);
    }
    /* Subnormal: in units of 2^-9, which are those of the last place of 2^14. */
    float units = float_of_bits(a) + 0x1p14f;
    return (uint8_t)(sign | (float_bits(units) & 0xfu));
}
