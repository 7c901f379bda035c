/* q8_0: 32 signed bytes and a scale. value = d * q.
 *
 *   byte  0    2                             34
 *        | d  | q[0]  q[1]  ...       q[31]  |
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q8_0 {
    uint16_t d; /* half */
    int8_t q[32];
};
static_assert(sizeof(struct q8_0) == 34, "q8_0 is 34 bytes");

/* The integer of value i, -128 .. 127. */
HD int q8_0_q(const struct q8_0 *b, int i)
{
    return b->q[i];
}

HD float q8_0_at(const struct q8_0 *b, int i)
{
    return (float)b->q[i] * f16_to_float(b->d);
}

HD void q8_0_decode(const struct q8_0 *b, float *out)
{
    float d = f16_to_float(b->d);
    for (int i = 0; i < 32; i++)
        out[i] = (float)b->q[i] * d;
}
