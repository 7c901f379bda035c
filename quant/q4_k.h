/* q4_k: 256 values of 4 bits in 8 groups of 32; each group has a scale and a minimum
 * of 6 bits. value = (d * scale[g]) * q - dmin * min[g], g = i / 32.
 *
 *   byte  0    2       4                16                                 144
 *        | d  | dmin  | packed (12)    | q[0]  q[1]  ...          q[127]   |
 *
 *   q: two groups share 32 bytes, the even one in the low four bits:
 *      q[0..31]: groups 0 and 1, q[32..63]: 2 and 3, q[64..95]: 4 and 5, q[96..127]: 6 and 7.
 *
 *   packed: eight scales s and eight minima m of 6 bits.
 *      bits      7 6           5 .. 0              bits      7 .. 4         3 .. 0
 *      [0 .. 3]  s[4+j] 5..4   s[j]                [8 .. 11] m[4+j] 3..0    s[4+j] 3..0
 *      [4 .. 7]  m[4+j] 5..4   m[j]                                         (j = index % 4)
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) q4_k {
    uint16_t d, dmin;   /* halves */
    uint8_t packed[12]; /* scales and minima of the groups */
    uint8_t q[128];
};
static_assert(sizeof(struct q4_k) == 144, "q4_k is 144 bytes");

/* The scale of group g, 0 .. 63; q5_k packs them alike. */
HD int q4_k_packed_scale(const uint8_t packed[12], int g)
{
    return g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
}

/* The minimum of group g, 0 .. 63. */
HD int q4_k_packed_min(const uint8_t packed[12], int g)
{
    return g < 4 ? packed[g + 4] & 63 : packed[g + 4] >> 4 | packed[g] >> 6 << 4;
}

/* The integer of value i, 0 .. 15. */
HD int q4_k_q(const struct q4_k *b, int i)
{
    return b->q[i / 64 * 32 + i % 32] >> (i & 32) / 8 & 15;
}

/* Scale and minimum of group g: value = scale * q - min. */
HD float q4_k_scale(const struct q4_k *b, int g)
{
    return f16_to_float(b->d) * (float)q4_k_packed_scale(b->packed, g);
}

HD float q4_k_min(const struct q4_k *b, int g)
{
    return f16_to_float(b->dmin) * (float)q4_k_packed_min(b->packed, g);
}

HD float q4_k_at(const struct q4_k *b, int i)
{
    return q4_k_scale(b, i / 32) * (float)q4_k_q(b, i) - q4_k_min(b, i / 32);
}

HD void q4_k_decode(const struct q4_k *b, float *out)
{
    for (int g = 0; g < 8; g += 2) {
        float scale0 = q4_k_scale(b, g), scale1 = q4_k_scale(b, g + 1);
        float min0 = q4_k_min(b, g), min1 = q4_k_min(b, g + 1);
        const uint8_t *q = b->q + g * 16;
        float *even = out + g * 32, *odd = even + 32;
        for (int j = 0; j < 32; j++) {
            even[j] = scale0 * (float)(q[j] & 15) - min0;
            odd[j] = scale1 * (float)(q[j] >> 4) - min1;
        }
    }
}
