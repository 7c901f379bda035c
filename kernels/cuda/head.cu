/* Caps of the logits and notes of them, head.h. */
#include "head.h"

#include "depend.cuh"
#include "notes.cuh"

#define THREADS 256

/* Of a block, in place. */
static __device__ __forceinline__ void cap_block(float (&x)[EACH_LANE], float *logit,
                                                 const head_args &a, int b)
{
#pragma unroll
    for (int i = 0; i < EACH_LANE; i++) {
        const int v = b * LOGIT_BLOCK + i * 32 + (int)(threadIdx.x % 32);
        x[i] = a.cap - 2 * a.cap / (1 + expf(x[i] * a.cap_rate));
        if (v < a.V)
            logit[v] = x[i];
        else
            x[i] = -INFINITY;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_notes(const __grid_constant__ head_args a)
{
    const int b = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, r = blockIdx.y;
    wait_for_kernels_before();
    if (b >= a.n_blocks)
        return;
    const float scale = a.scale[r];
    logit_block note = {-INFINITY, 0};
    if (scale != SCALE_DEAD) {
        float x[EACH_LANE], *logit = a.logits + (size_t)r * a.V;
        load_block(x, logit, a.V, b);
        if (a.cap_rate > 0)
            cap_block(x, logit, a, b);
        note = note_of(x, scale);
    }
    if (threadIdx.x % 32 == 0)
        a.block[(size_t)r * a.n_blocks + b] = note;
}
