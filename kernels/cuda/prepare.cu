/* Activations of products, prepare.h. */
#include "prepare.h"

#include "layout.h"
#include "mma.cuh"

#define THREADS 256

/* The sum over the block, the same in all threads. */
static __device__ __forceinline__ float sum_of_block(float value)
{
    __shared__ float partial[THREADS / 32];
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        value += __shfl_xor_sync(0xffffffff, value, i);
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++)
        sum += partial[i];
    return sum;
}

static __device__ __forceinline__ float norm_factor(const float *x, int K, float eps)
{
    float sum = 0;
    for (int i = threadIdx.x; i < K / 4; i += THREADS) {
        const float4 v = ((const float4 *)x)[i];
        sum = fmaf(v.x, v.x, sum);
        sum = fmaf(v.y, v.y, sum);
        sum = fmaf(v.z, v.z, sum);
        sum = fmaf(v.w, v.w, sum);
    }
    return 1.0f / sqrtf(sum_of_block(sum) / (float)K + eps);
}

static __device__ __forceinline__ float4 normalized(float4 v, float factor, const float *norm,
                                                    int i)
{
    const float4 w = ((const float4 *)norm)[i];
    return make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z,
                       v.w * factor * w.w);
}

/* The sum of the two bfloat16 of a word. */
static __device__ __forceinline__ float sum_of(uint32_t pair)
{
    return __uint_as_float(pair << 16) + __uint_as_float(pair & 0xffff0000);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prepare(const __grid_constant__ prepare_args a)
{
    const int r = blockIdx.x;
    const bool taken = r < a.T;
    const float *x = a.x + (taken ? (size_t)(a.row ? a.row[r] : r) * a.K : 0);
    const float factor = taken && a.norm ? norm_factor(x, a.K, a.eps) : 1;
    uint16_t *out = (uint16_t *)a.out + (size_t)r * a.padded;
    for (int i = threadIdx.x; i < a.padded / 4; i += THREADS) {
        float4 v = {0, 0, 0, 0};
        if (taken && 4 * i < a.K) {
            v = ((const float4 *)x)[i];
            if (a.norm)
                v = normalized(v, factor, a.norm, i);
        }
        const uint2 pairs = {pack_bf16x2(v.x, v.y), pack_bf16x2(v.z, v.w)};
        const int k = 4 * i;
        *(uint2 *)(out + k / CHUNK * CHUNK + chunk_place(k % CHUNK)) = pairs;
        float sum = sum_of(pairs.x) + sum_of(pairs.y);
#pragma unroll
        for (int j = 1; j < 8; j *= 2)
            sum += __shfl_xor_sync(0xffffffff, sum, j);
        if (i % 8 == 0)
            a.sums[(size_t)(i / 8) * a.rows + r] = sum;
    }
}
