/* Eight numbers at a time, and their exponentials. GCC and Clang turn operators on these into
 * vector instructions without being asked to optimise loops, and into two where a processor's
 * vectors are of four. No comparison is among them: GCC would make eight of it there. */
#pragma once

#include "../quant/vectors.h"

#include <stdint.h>
#include <string.h>

typedef float wide __attribute__((vector_size(32)));
typedef uint32_t wide_bits __attribute__((vector_size(32)));
typedef int32_t wide_ints __attribute__((vector_size(32)));

enum { WIDE = 8, BITS_OF_87 = 0x42ae0000 };

INTO_BOTH void load_wide(const float *value, wide *out)
{
    memcpy(out, value, sizeof *out);
}

/* Numbers <= 0 become their exponentials, 0 below -87 and for NaN. 2^n * p(r) with x = n ln 2 + r
 * and |r| <= ln 2 / 2; p is the polynomial of degree 5 with p(0) = 1 of least relative error
 * there, 9.2e-8. Adding and subtracting 1.5 * 2^23 rounds to an integer without a call; its low
 * bits are that integer. */
INTO_BOTH void exp_not_positive(wide *x)
{
    const wide shifted = *x * 0x1.715476p0f + 0x1.8p23f;
    const wide n = shifted - 0x1.8p23f;
    wide r = *x - n * 0x1.62e4p-1f; /* the first 15 bits of ln 2: this product is exact */
    r = r - n * 0x1.7f7d1cp-20f;    /* the rest of ln 2 */
    wide p = r * 0x1.0fa822p-7f + 0x1.573a6cp-5f;
    p = p * r + 0x1.555a6cp-3f;
    p = p * r + 0x1.fffdc6p-2f;
    p = p * r + 0x1.fffff6p-1f;
    p = p * r + 1.0f;
    const wide_bits bits = (wide_bits)p + ((wide_bits)shifted << 23);
    const wide_bits size = (wide_bits)*x & 0x7fffffff; /* of NaN the largest */
    const wide_ints is_small = (wide_ints)(size - (BITS_OF_87 + 1)) >> 31;
    *x = (wide)(bits & (wide_bits)is_small);
}

/* Logits become their weights. */
INTO_BOTH void weigh_wide(wide *value, float max, float scale)
{
    *value = (*value - max) * scale;
    exp_not_positive(value);
}

/* In an order that is always the same. */
INTO_BOTH double sum_wide(const wide *x)
{
    const wide s = *x;
    return (double)((s[0] + s[4]) + (s[2] + s[6])) + (double)((s[1] + s[5]) + (s[3] + s[7]));
}
