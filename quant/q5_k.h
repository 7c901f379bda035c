/* q5_k: 256 values of 5 bits in 8 groups of 32; each group has a scale and a minimum
 * of 6 bits. value = (d * scale[g]) * q - dmin * min[g], g = i / 32.
 *
 *   byte  0    2       4              16           48                              176
 *        | d  | dmin  | packed (12)  | high (32)  | q[0]  q[1]  ...        q[127]  |
 *
 *   packed and q: as in q4_k. The fifth bit of value i is bit i / 32 of high[i % 32].
 */
#pragma once

#include "q4_k.h"

struct __attribute__((packed)) q5_k {
    uint16_t d, dmin;   /* halves */
    uint8_t packed[12]; /* scales and minima of the groups */
    uint8_t high[32];
    uint8_t q[128];
};
static_assert(sizeof(struct q5_k) == 176, "q5_k is 176 bytes");

/* The integer of value i, 0 .. 31. */
HD int q5_k_q(const struct q5_k *b, int i)
{
    int low = b->q[i / 64 * 32 + i % 32] >> (i & 32) / 8 & 15;
    int fifth = b->high[i % 32] >> i / 32 & 1;
    return low | fifth << 4;
}

/* Scale and minimum of group g: value = scale * q - min. */
HD float q5_k_scale(const struct q5_k *b, int g)
{
    return f16_to_float(b->d) * (float)q4_k_packed_scale(b->packed, g);
}

HD float q5_k_min(const struct q5_k *b, int g)
{
    return f16_to_float(b->dmin) * (float)q4_k_packed_min(b->packed, g);
}

HD float q5_k_at(const struct q5_k *b, int i)
{
    return q5_k_scale(b, i / 32) * (float)q5_k_q(b, i) - q5_k_min(b, i / 32);
}

HD void q5_k_decode(const struct q5_k *b, float *out)
{
    for (int g = 0; g < 8; g += 2) {
        float scale0 = q5_k_scale(b, g), scale1 = q5_k_scale(b, g + 1);
        float min0 = q5_k_min(b, g), min1 = q5_k_min(b, g + 1);
        const uint8_t *q = b->q + g * 16;
        float *even = out + g * 32, *odd = even + 32;
        for (int j = 0; j < 32; j++) {
            int fifths = b->high[j] >> g;
            even[j] = scale0 * (float)((q[j] & 15) | (fifths & 1) << 4) - min0;
            odd[j] = scale1 * (float)(q[j] >> 4 | (fifths & 2) << 3) - min1;
        }
    }
}
