/* Activations of products, prepare.h. */
#include "prepare.h"

#include "depend.cuh"
#include "prepare.cuh"

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 3)
    prepare(const __grid_constant__ prepare_args a)
{
    const int r = blockIdx.x;
    const bool taken = r < a.T;
    __shared__ float partial[2 * PREPARE_WARPS];
    const row_place to = {(uint16_t *)a.out + (size_t)r * a.padded,
                          a.sums + r,
                          a.sums != NULL,
                          a.rows,
                          a.padded,
                          partial,
                          thread_of_group()};
    quads norm = {};
    if (a.norm)
        load_quads(norm, a.norm, 0, thread_of_group(), a.K / 4);
    wait_for_kernels_before();
    const float *x = a.x + (taken ? (size_t)(a.row ? a.row[r] : r) * a.K : 0);
    const row_norm how = {taken ? a.norm : NULL, a.norm_bias, a.eps, a.norm_kind == NORM_LAYER};
    put_row<true>(to, x, taken ? a.K : 0, how, norm, blockIdx.y * PREPARE_QUADS,
                  gridDim.y * PREPARE_QUADS);
}
