/* What is added to rows, or becomes them, normalized first, add_norm.h. */
#include "add_norm.h"

#include "depend.cuh"
#include "prepare.cuh"

/* What the norm of a row is added to, from quad `first` on. */
static __device__ __forceinline__ void load_sum(quads &sum, const add_norm_args &a, const float *x,
                                                int first)
{
    const int thread = threadIdx.x, n = a.D / 4;
    if (a.is_first)
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++)
            sum.v[j] = make_float4(-0.0f, -0.0f, -0.0f, -0.0f);
    else
        load_quads(sum, x, first, thread, n);
    if (a.norm_bias)
        add_bias(sum, a.norm_bias, first, thread, n);
}

/* sum + (y - mean) * factor * norm. */
static __device__ __forceinline__ float4 add_scaled(const float4 &sum, float4 y,
                                                    const row_standard &s, const float4 &norm)
{
    subtract(y, s.mean);
    return make_float4(fmaf(y.x * s.factor, norm.x, sum.x), fmaf(y.y * s.factor, norm.y, sum.y),
                       fmaf(y.z * s.factor, norm.z, sum.z), fmaf(y.w * s.factor, norm.w, sum.w));
}

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 3)
    add_norm(const __grid_constant__ add_norm_args a)
{
    __shared__ float partial[2 * PREPARE_WARPS];
    const int thread = threadIdx.x, n = a.D / 4;
    const size_t row = (size_t)blockIdx.x * a.ld;
    const float *y = a.y + row;
    float *x = a.x + row;
    quads norm, value, sum;
    load_quads(norm, a.norm, 0, thread, n);
    wait_for_kernels_before();
    load_quads(value, y, 0, thread, n);
    load_sum(sum, a, x, 0);
    const row_standard standard =
        standard_of<true>(value, y, a.D, a.norm_kind == NORM_LAYER, a.eps, partial);
    int first = 0;
#pragma unroll 1
    while (true) {
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++) {
            const int i = first + thread + j * PREPARE_THREADS;
            if (i < n)
                ((float4 *)x)[i] = add_scaled(sum.v[j], value.v[j], standard, norm.v[j]);
        }
        first += PREPARE_QUADS;
        if (first >= n)
            break;
        load_quads(value, y, first, thread, n);
        load_sum(sum, a, x, first);
        load_quads(norm, a.norm, first, thread, n);
    }
}
