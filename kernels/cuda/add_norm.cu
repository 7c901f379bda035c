/* What is added to rows, normalized first, add_norm.h. */
#include "add_norm.h"

#include "depend.cuh"
#include "prepare.cuh"

/* x += y * factor * norm. */
static __device__ __forceinline__ float4 add_scaled(const float4 &x, const float4 &y, float factor,
                                                    const float4 &norm)
{
    return make_float4(fmaf(y.x * factor, norm.x, x.x), fmaf(y.y * factor, norm.y, x.y),
                       fmaf(y.z * factor, norm.z, x.z), fmaf(y.w * factor, norm.w, x.w));
}

/* What is in x from `first` on, and the bias. ANY: or nothing; else there is no bias. */
template <bool ANY>
static __device__ __forceinline__ void load_sums(quads &sum, const add_norm_args &a, const float *x,
                                                 int first, int thread, int n)
{
    if (!ANY || !a.is_first) {
        load_quads(sum, x, first, thread, n);
    } else {
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++)
            sum.v[j] = make_float4(0, 0, 0, 0);
    }
    if (ANY && a.bias)
        add_bias(sum, a.bias, first, thread, n);
}

/* ANY: whatever the arguments say, which takes registers; else NORM_RMS is added. */
template <bool ANY> static __device__ __forceinline__ void add_rows(const add_norm_args &a)
{
    __shared__ float partial[2 * PREPARE_WARPS];
    const int thread = threadIdx.x, n = a.D / 4;
    const size_t row = (size_t)blockIdx.x * a.D;
    const float *y = a.y + row;
    float *x = a.x + row;
    float mean = 0, factor;
    quads norm, value, sum;
    load_quads(norm, a.norm, 0, thread, n);
    wait_for_kernels_before();
    load_quads(value, y, 0, thread, n);
    load_sums<ANY>(sum, a, x, 0, thread, n);
    if (ANY && a.is_layer) {
        mean = mean_of(value, y, a.D, partial);
        factor = layer_factor(y, a.D, mean, a.eps, partial + PREPARE_WARPS);
    } else {
        factor = norm_factor(value, y, a.D, a.eps, partial);
    }
    int first = 0;
#pragma unroll 1
    while (true) {
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++) {
            const int i = first + thread + j * PREPARE_THREADS;
            if (ANY)
                subtract(value.v[j], mean);
            if (i < n)
                ((float4 *)x)[i] = add_scaled(sum.v[j], value.v[j], factor, norm.v[j]);
        }
        first += PREPARE_QUADS;
        if (first >= n)
            break;
        load_quads(value, y, first, thread, n);
        load_sums<ANY>(sum, a, x, first, thread, n);
        load_quads(norm, a.norm, first, thread, n);
    }
}

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 3)
    add_norm(const __grid_constant__ add_norm_args a)
{
    add_rows<false>(a);
}

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 2)
    add_norm_any(const __grid_constant__ add_norm_args a)
{
    add_rows<true>(a);
}
