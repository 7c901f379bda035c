/* f16: one IEEE half: sign, 5 bits of exponent (bias 15), 10 bits of fraction.
 *
 *    15  14      10  9                0
 *   | s | exponent | fraction          |
 *
 * Also the scale of most other formats, so the conversions live here. They are exact
 * in both directions and use integer arithmetic, so they do not depend on the
 * processor's rounding or flush-to-zero modes. */
#pragma once

#include "quant.h"

#include <assert.h>
#include <string.h>

struct __attribute__((packed)) f16 {
    uint16_t bits;
};
static_assert(sizeof(struct f16) == 2, "f16 is 2 bytes");

HD uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

HD float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Every half is a float: no rounding. A NaN keeps its payload. */
HD float f16_to_float(uint16_t half)
{
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31u;
    uint32_t fraction = half & 0x3ffu;

    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24, a normal float */
        float magnitude = (float)fraction * 0x1p-24f;
        return float_of_bits(sign | float_bits(magnitude));
    }
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* To nearest, ties to even; from 65520 on infinity, up to 2^-25 zero; a NaN becomes a
 * quiet one with the upper bits of its payload. */
HD uint16_t f16_of_float(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t a = bits & 0x7fffffffu; /* the magnitude, which orders like an integer */

    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x1ffu));
    if (a >= 0x477ff000u) /* 65520, half-way between the largest half and 2^16 */
        return (uint16_t)(sign | 0x7c00u);
    if (a >= 0x38800000u) { /* 2^-14, the smallest normal half; a carry may raise the exponent */
        uint32_t odd = a >> 13 & 1u;
        return (uint16_t)(sign | (a - 0x38000000u + 0xfffu + odd) >> 13);
    }
    uint32_t exponent = a >> 23;
    if (exponent < 102) /* below 2^-25 */
        return (uint16_t)sign;
    /* Subnormal: significand * 2^(exponent - 150) in units of 2^-24. */
    uint32_t significand = (a & 0x7fffffu) | 0x800000u;
    uint32_t shift = 126 - exponent; /* 14 .. 24 */
    uint32_t units = significand >> shift;
    uint32_t rest = significand & ((1u << shift) - 1);
    uint32_t half_unit = 1u << (shift - 1);
    units += rest > half_unit || (rest == half_unit && (units & 1u));
    return (uint16_t)(sign | units);
}

HD float f16_at(const struct f16 *b, int i)
{
    return f16_to_float(b[i].bits);
}

HD void f16_decode(const struct f16 *b, float *out)
{
    *out = f16_to_float(b->bits);
}
