/* A warp's view of a block of logits, and the notes of it. */
#pragma once

#include "../batch.h"

#include <math.h>

#define EACH_LANE (LOGIT_BLOCK / 32) /* logits of a block that a lane holds */

/* Logits 32 i + lane of block b; -inf beyond the row. */
static __device__ __forceinline__ void load_block(float (&x)[EACH_LANE], const float *logit, int V,
                                                  int b)
{
#pragma unroll
    for (int i = 0; i < EACH_LANE; i++) {
        const int v = b * LOGIT_BLOCK + i * 32 + (int)(threadIdx.x % 32);
        x[i] = v < V ? logit[v] : -INFINITY;
    }
}

/* Notes of a block, the same in all lanes. */
static __device__ __forceinline__ logit_block note_of(const float (&x)[EACH_LANE], float scale)
{
    float max = -INFINITY, sum = 0;
#pragma unroll
    for (int i = 0; i < EACH_LANE; i++)
        max = fmaxf(x[i], max); /* the number, if one of them is NaN */
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        max = fmaxf(max, __shfl_xor_sync(0xffffffff, max, i));
    if (scale > 0 && max > -INFINITY) {
#pragma unroll
        for (int i = 0; i < EACH_LANE; i++) { /* NaN: a logit that is absent, or inf - inf */
            const float power = (x[i] - max) * scale;
            sum += power <= 0 ? expf(power) : 0;
        }
#pragma unroll
        for (int i = 16; i > 0; i /= 2)
            sum += __shfl_xor_sync(0xffffffff, sum, i);
    }
    return {max, sum};
}
