/* Notes of the logits, head.h. */
#include "head.h"

#include "depend.cuh"
#include "notes.cuh"

#define THREADS 256

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
        float x[EACH_LANE];
        load_block(x, a.logits + (size_t)r * a.V, a.V, b);
        note = note_of(x, scale);
    }
    if (threadIdx.x % 32 == 0)
        a.block[(size_t)r * a.n_blocks + b] = note;
}
