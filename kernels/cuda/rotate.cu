/* Norms of heads, rotary embedding, and the way to the pages: rotate.h. */
#include "rotate.h"

#include "depend.cuh"
#include "heads.cuh"

#define THREADS 256
#define PAIRS   4 /* of a lane, 128 of a head */

template <int TYPE> static __device__ __forceinline__ void rotate(const attend_args &a)
{
    const int t = blockIdx.x, i = blockIdx.y * (THREADS / 32) + threadIdx.x / 32;
    const int s = a.sequence[t], n = a.first[s + 1] - a.first[s];
    if (i >= a.H + 2 * a.K || attend_is_decode(n, a.length[s], a.H, a.K, a.rows_most))
        return;
    const int position = a.growth == 0 ? 0 : a.position[t];
    const head_source from = source_of(a, t, i, position);
    const int slot = a.slot[t];
    head<PAIRS> h;
    wait_for_kernels_before();
    load_head(h, a, from);
    rotate_head(h, a, from);
    if (i < a.H) {
        uint16_t *q = a.q + ((size_t)t * a.H + i) * a.width;
        store_bf16(h, a, from.half, [q](int column) { return q + column; });
        return;
    }
    const int part = i >= a.H + a.K, kv = i - a.H - part * a.K;
    uint8_t *block =
        a.pool + (uint64_t)(slot / PAGE_TOKENS) * a.page_bytes + (uint64_t)kv * a.block_bytes;
    float scale = 0;
    if constexpr (TYPE != KV_BF16)
        scale = quantize<TYPE>(h);
    append<TYPE>(h, a, from.half, block, slot, part, scale);
}

extern "C" __global__ void __launch_bounds__(THREADS, 5)
    rotate_bf16(const __grid_constant__ attend_args a)
{
    rotate<KV_BF16>(a);
}

extern "C" __global__ void __launch_bounds__(THREADS, 5)
    rotate_int8(const __grid_constant__ attend_args a)
{
    rotate<KV_INT8>(a);
}

extern "C" __global__ void __launch_bounds__(THREADS, 5)
    rotate_fp8(const __grid_constant__ attend_args a)
{
    rotate<KV_FP8>(a);
}
