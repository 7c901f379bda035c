/* mxfp4: 32 numbers of 4 bits (E2M1) and a power of two, after the Open Compute Project's
 * Microscaling Formats 1.0. value = number * 2^(e - 127).
 *
 *   byte  0   1                             17
 *        | e | q[0]  q[1]  ...       q[15]  |
 *
 *   q[j], low four bits: value j; high four bits: value j + 16; of each a sign, two bits of an
 *   exponent and one of a fraction: 0 0.5 1 1.5 2 3 4 6. An e of 255, which stands for no number
 *   there, is infinite here.
 */
#pragma once

#include "quant.h"

#include <assert.h>
#include <string.h>

struct __attribute__((packed)) mxfp4 {
    uint8_t e;
    uint8_t q[16];
};
static_assert(sizeof(struct mxfp4) == 17, "mxfp4 is 17 bytes");

/* 2^(e - 127) */
HD float e8m0_to_float(uint8_t e)
{
    const uint32_t bits = e ? (uint32_t)e << 23 : 1u << 22;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Twice the number of a code, -12 .. 12. */
HD int e2m1_twice(int code)
{
    const int magnitude = code & 3, exponent = code >> 2 & 1;
    const int value = (code & 7) + exponent * (magnitude + (magnitude == 3 ? 2 : 0));
    return code & 8 ? -value : value;
}

HD float mxfp4_at(const struct mxfp4 *b, int i)
{
    return (float)e2m1_twice(b->q[i & 15] >> (i & 16) / 4 & 15) * (0.5f * e8m0_to_float(b->e));
}

HD void mxfp4_decode(const struct mxfp4 *b, float *out)
{
    const float d = 0.5f * e8m0_to_float(b->e);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)e2m1_twice(b->q[j] & 15) * d;
        out[j + 16] = (float)e2m1_twice(b->q[j] >> 4) * d;
    }
}
