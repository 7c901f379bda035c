/* q5_1: 32 values of 5 bits, a scale and a minimum. value = d * q + m.
 *
 *   byte  0    2    4          8                             24
 *        | d  | m  | high     | q[0]  q[1]  ...       q[15]  |
 *
 *   q[j], low four bits: value j; high four bits: value j + 16.
 *   The fifth bit of value i is bit i of high.
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q5_1 {
    uint16_t d, m; /* halves */
    uint32_t high;
    uint8_t q[16];
};
static_assert(sizeof(struct q5_1) == 24, "q5_1 is 24 bytes");

/* The integer of value i, 0 .. 31. */
HD int q5_1_q(const struct q5_1 *b, int i)
{
    int low = b->q[i & 15] >> (i & 16) / 4 & 15;
    int fifth = (int)(b->high >> i & 1);
    return low | fifth << 4;
}

HD float q5_1_at(const struct q5_1 *b, int i)
{
    return (float)q5_1_q(b, i) * f16_to_float(b->d) + f16_to_float(b->m);
}

HD void q5_1_decode(const struct q5_1 *b, float *out)
{
    float d = f16_to_float(b->d), m = f16_to_float(b->m);
    for (int j = 0; j < 16; j++) {
        int low = (b->q[j] & 15) | (int)(b->high >> j & 1) << 4;
        int high = b->q[j] >> 4 | (int)(b->high >> (j + 16) & 1) << 4;
        out[j] = (float)low * d + m;
        out[j + 16] = (float)high * d + m;
    }
}
