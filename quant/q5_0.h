/* q5_0: 32 values of 5 bits and a scale. value = d * (q - 16).
 *
 *   byte  0    2          6                             22
 *        | d  | high     | q[0]  q[1]  ...       q[15]  |
 *
 *   q[j], low four bits: value j; high four bits: value j + 16.
 *   The fifth bit of value i is bit i of high.
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q5_0 {
    uint16_t d; /* half */
    uint32_t high;
    uint8_t q[16];
};
static_assert(sizeof(struct q5_0) == 22, "q5_0 is 22 bytes");

/* The integer of value i, -16 .. 15. */
HD int q5_0_q(const struct q5_0 *b, int i)
{
    int low = b->q[i & 15] >> (i & 16) / 4 & 15;
    int fifth = (int)(b->high >> i & 1);
    return (low | fifth << 4) - 16;
}

HD float q5_0_at(const struct q5_0 *b, int i)
{
    return (float)q5_0_q(b, i) * f16_to_float(b->d);
}

HD void q5_0_decode(const struct q5_0 *b, float *out)
{
    float d = f16_to_float(b->d);
    for (int j = 0; j < 16; j++) {
        int low = (b->q[j] & 15) | (int)(b->high >> j & 1) << 4;
        int high = b->q[j] >> 4 | (int)(b->high >> (j + 16) & 1) << 4;
        out[j] = (float)(low - 16) * d;
        out[j + 16] = (float)(high - 16) * d;
    }
}
