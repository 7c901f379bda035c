/* nvfp4: 64 numbers of 4 bits (E2M1, see mxfp4.h) with an E4M3 scale for 16 of them; a row has one
 * scale more, a float before its blocks. value = row scale * scale[i / 16] * number. NVIDIA's
 * NVFP4, whose scale of a whole matrix stands in each of its rows here.
 *
 *   byte  0   4                                  36
 *        | s | q[0]  q[1]  ...           q[31]  |
 *
 *   s[g]: of numbers 16 g .. 16 g + 15, without a sign
 *   q[j], low four bits: number 2 j; high four bits: number 2 j + 1
 */
#pragma once

#include "e4m3.h"
#include "mxfp4.h"

struct __attribute__((packed)) nvfp4 {
    uint8_t scale[4];
    uint8_t q[32];
};
static_assert(sizeof(struct nvfp4) == 36, "nvfp4 is 36 bytes");

/* The code of number i. */
HD int nvfp4_code(const struct nvfp4 *b, int i)
{
    return b->q[i / 2] >> i % 2 * 4 & 15;
}

/* Value i without the scale of its row: exact. */
HD float nvfp4_at(const struct nvfp4 *b, int i)
{
    return (float)e2m1_twice(nvfp4_code(b, i)) * (0.5f * e4m3_to_float(b->scale[i / 16]));
}

HD void nvfp4_decode(const struct nvfp4 *b, float *out)
{
    for (int g = 0; g < 4; g++) {
        const float d = 0.5f * e4m3_to_float(b->scale[g]);
        for (int j = 8 * g; j < 8 * g + 8; j++) {
            out[2 * j] = (float)e2m1_twice(b->q[j] & 15) * d;
            out[2 * j + 1] = (float)e2m1_twice(b->q[j] >> 4) * d;
        }
    }
}
