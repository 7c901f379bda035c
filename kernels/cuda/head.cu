/* Notes of the logits, head.h. */
#include "head.h"

#define THREADS 256
#define PER     (LOGIT_BLOCK / 32) /* logits of a lane */

extern "C" __global__ void __launch_bounds__(THREADS)
    head_notes(const __grid_constant__ head_args a)
{
    const int b = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (b >= a.n_blocks)
        return;
    const float *logit = a.logits + (size_t)blockIdx.y * a.V;
    const float scale = a.scale[blockIdx.y];
    float x[PER], max = -INFINITY, sum = 0;
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int v = b * LOGIT_BLOCK + i * 32 + lane;
        x[i] = v < a.V ? logit[v] : -INFINITY;
        max = fmaxf(x[i], max); /* the number, if one of them is NaN */
    }
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        max = fmaxf(max, __shfl_xor_sync(0xffffffff, max, i));
    if (scale > 0 && max > -INFINITY) {
#pragma unroll
        for (int i = 0; i < PER; i++) { /* NaN: a logit that is absent, or inf - inf */
            const float power = (x[i] - max) * scale;
            sum += power <= 0 ? expf(power) : 0;
        }
#pragma unroll
        for (int i = 16; i > 0; i /= 2)
            sum += __shfl_xor_sync(0xffffffff, sum, i);
    }
    if (lane == 0)
        a.block[(size_t)blockIdx.y * a.n_blocks + b] = {max, sum};
}
