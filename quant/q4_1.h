/* q4_1: 32 values of 4 bits, a scale and a minimum. value = d * q + m.
 *
 *   byte  0    2    4                             20
 *        | d  | m  | q[0]  q[1]  ...       q[15]  |
 *
 *   q[j], low four bits: value j; high four bits: value j + 16.
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q4_1 {
    uint16_t d, m; /* halves */
    uint8_t q[16];
};
static_assert(sizeof(struct q4_1) == 20, "q4_1 is 20 bytes");

/* The integer of value i, 0 .. 15. */
HD int q4_1_q(const struct q4_1 *b, int i)
{
    return b->q[i & 15] >> (i & 16) / 4 & 15;
}

HD float q4_1_at(const struct q4_1 *b, int i)
{
    return (float)q4_1_q(b, i) * f16_to_float(b->d) + f16_to_float(b->m);
}

HD void q4_1_decode(const struct q4_1 *b, float *out)
{
    float d = f16_to_float(b->d), m = f16_to_float(b->m);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(b->q[j] & 15) * d + m;
        out[j + 16] = (float)(b->q[j] >> 4) * d + m;
    }
}
