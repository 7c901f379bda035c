/* Activations of products, prepare.h. */
#include "prepare.h"

#include "depend.cuh"
#include "prepare.cuh"

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 3)
    prepare(const __grid_constant__ prepare_args a)
{
    const int r = blockIdx.x;
    __shared__ float partial[PREPARE_PARTIALS];
    const size_t row = (size_t)r * a.padded;
    const sums_order order = (sums_order)a.sums_order;
    const row_place to = {a.out ? (uint16_t *)a.out + row : NULL,
                          a.sums + sums_place(order, r, 0),
                          a.sums != NULL,
                          SUMS_CHUNKS * a.rows,
                          sums_place(order, 0, 1),
                          a.padded,
                          partial,
                          thread_of_group(),
                          a.fp8 ? (uint32_t *)a.fp8 + row / 4 : NULL};
    quads norm = {};
    if (a.norm)
        load_quads(norm, a.norm, 0, thread_of_group(), a.K / 4);
    wait_for_kernels_before();
    int from = r < a.T ? a.row ? a.row[r] : r : -1;
    if (a.live && r < a.T && a.live[r] < 0)
        from = -1;
    const bool taken = from >= 0;
    const float *x = a.x + (taken ? (size_t)from * a.K : 0);
    const row_norm how = {taken ? a.norm : NULL, a.norm_bias, a.eps, a.norm_kind == NORM_LAYER};
    const float scale = put_row<true>(to, x, taken ? a.K : 0, how, norm, blockIdx.y * PREPARE_QUADS,
                                      gridDim.y * PREPARE_QUADS);
    if (MAKES_FP8 && a.fp8 && threadIdx.x == 0)
        a.scale[r] = scale;
}
