/* q6_k: 256 values of 6 bits in 16 groups of 16; each group has a signed scale of 8 bits.
 * value = (d * scale[g]) * (q - 32), g = i / 16.
 *
 *   byte  0                        128            192         208  210
 *        | low[0]  ...  low[127]  | high (64)    | scale (16) | d  |
 *
 *   Each half of the block (128 values) has 64 bytes of low and 32 of high. In it, with
 *   quarter t = 0 .. 3 and j = 0 .. 31, value 32 * t + j has
 *      its low four bits in low[j + 32 * (t % 2)], the low nibble for t < 2, else the high;
 *      its upper two bits in bits 2 * t and 2 * t + 1 of high[j].
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q6_k {
    uint8_t low[128];
    uint8_t high[64];
    int8_t scale[16];
    uint16_t d; /* half */
};
static_assert(sizeof(struct q6_k) == 210, "q6_k is 210 bytes");

/* The integer of value i, -32 .. 31. */
HD int q6_k_q(const struct q6_k *b, int i)
{
    int half = i / 128, t = i / 32 % 4, j = i % 32;
    int low = b->low[half * 64 + t % 2 * 32 + j] >> t / 2 * 4 & 15;
    int upper = b->high[half * 32 + j] >> t * 2 & 3;
    return (low | upper << 4) - 32;
}

/* The scale of group g: value = scale * q. */
HD float q6_k_scale(const struct q6_k *b, int g)
{
    return f16_to_float(b->d) * (float)b->scale[g];
}

HD float q6_k_at(const struct q6_k *b, int i)
{
    return q6_k_scale(b, i / 16) * (float)q6_k_q(b, i);
}

HD void q6_k_decode(const struct q6_k *b, float *out)
{
    for (int g = 0; g < 16; g++) {
        int half = g / 8, t = g / 2 % 4, first = g % 2 * 16;
        const uint8_t *low = b->low + half * 64 + t % 2 * 32 + first;
        const uint8_t *high = b->high + half * 32 + first;
        int low_shift = t / 2 * 4, high_shift = t * 2;
        float scale = q6_k_scale(b, g);
        for (int j = 0; j < 16; j++) {
            int q = (low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4;
            out[g * 16 + j] = scale * (float)(q - 32);
        }
    }
}
