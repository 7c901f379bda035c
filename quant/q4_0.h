/* q4_0: 32 values of 4 bits and a scale. value = d * (q - 8).
 *
 *   byte  0    2                             18
 *        | d  | q[0]  q[1]  ...       q[15]  |
 *
 *   q[j], low four bits: value j; high four bits: value j + 16.
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q4_0 {
    uint16_t d; /* half */
    uint8_t q[16];
};
static_assert(sizeof(struct q4_0) == 18, "q4_0 is 18 bytes");

/* The integer of value i, -8 .. 7. */
HD int q4_0_q(const struct q4_0 *b, int i)
{
    return (b->q[i & 15] >> (i & 16) / 4 & 15) - 8;
}

HD float q4_0_at(const struct q4_0 *b, int i)
{
    return (float)q4_0_q(b, i) * f16_to_float(b->d);
}

HD void q4_0_decode(const struct q4_0 *b, float *out)
{
    float d = f16_to_float(b->d);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((b->q[j] & 15) - 8) * d;
        out[j + 16] = (float)((b->q[j] >> 4) - 8) * d;
    }
}
