/* How much a token takes of what all share: gate.h. */
#include "gate.h"

#include "depend.cuh"

#define WARPS (GATE_THREADS / 32)

static __device__ __forceinline__ float sum_of_warp(float sum)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, i);
    return sum;
}

/* 1 / (1 + e^-g) of a row x, in all threads. */
static __device__ __forceinline__ float share_of(const gate_args &a, const float *x)
{
    __shared__ float squares[WARPS], products[WARPS];
    float square = 0, product = 0;
    for (int d = threadIdx.x; d < a.D; d += GATE_THREADS) {
        square = fmaf(x[d], x[d], square);
        product = fmaf(x[d] * a.norm[d], a.gate[d], product);
    }
    square = sum_of_warp(square);
    product = sum_of_warp(product);
    if (threadIdx.x % 32 == 0) {
        squares[threadIdx.x / 32] = square;
        products[threadIdx.x / 32] = product;
    }
    __syncthreads();
    square = product = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        square += squares[i];
        product += products[i];
    }
    return 1 / (1 + expf(-product / sqrtf(square / a.D + a.eps)));
}

extern "C" __global__ void __launch_bounds__(GATE_THREADS) gate(const __grid_constant__ gate_args a)
{
    const size_t row = (size_t)blockIdx.x * a.F;
    wait_for_kernels_before();
    const float share = share_of(a, a.x + (size_t)blockIdx.x * a.D);
    for (int i = threadIdx.x; i < a.F; i += GATE_THREADS)
        a.y[row + i] = share * a.from[row + i];
}
