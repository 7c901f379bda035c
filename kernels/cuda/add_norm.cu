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

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS, 3)
    add_norm(const __grid_constant__ add_norm_args a)
{
    __shared__ float partial[PREPARE_WARPS];
    const int thread = threadIdx.x, n = a.D / 4;
    const size_t row = (size_t)blockIdx.x * a.D;
    const float *y = a.y + row;
    float *x = a.x + row;
    quads norm, value, sum;
    load_quads(norm, a.norm, 0, thread, n);
    wait_for_kernels_before();
    load_quads(value, y, 0, thread, n);
    load_quads(sum, x, 0, thread, n);
    const float factor = norm_factor(value, y, a.D, a.eps, partial);
    int first = 0;
#pragma unroll 1
    while (true) {
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++) {
            const int i = first + thread + j * PREPARE_THREADS;
            if (i < n)
                ((float4 *)x)[i] = add_scaled(sum.v[j], value.v[j], factor, norm.v[j]);
        }
        first += PREPARE_QUADS;
        if (first >= n)
            break;
        load_quads(value, y, first, thread, n);
        load_quads(sum, x, first, thread, n);
        load_quads(norm, a.norm, first, thread, n);
    }
}
