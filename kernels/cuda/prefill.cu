/* Attention of many rows: prefill.h. */
#include "prefill.h"

#include "attend.cuh"

template <int N>
static __device__ __forceinline__ void store(const attend_args &a, const place &p,
                                             const partial<N> &total, int row, int column)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, group = a.H / a.K;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int r = row + g + 8 * i;
        if (r >= p.n * group)
            continue;
        float *y = a.y + ((size_t)(p.first + r / group) * a.H + p.head * group + r % group) * a.dim;
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int at = column + 8 * n + 2 * t;
            if (at < a.dim)
                *(float2 *)(y + at) = {divide(total.o[n][2 * i], total.sum[i]),
                                       divide(total.o[n][2 * i + 1], total.sum[i])};
        }
    }
}

template <bool INT8, int W> static __device__ __forceinline__ void prefill(const attend_args &a)
{
    constexpr int SHARERS = W > 128 ? 2 : 1;
    using S = shape<INT8, W, 4 * SHARERS, SHARERS, false>;
    static_assert(S::ROWS == PREFILL_ROWS, "");
    extern __shared__ __align__(1024) uint8_t shared[];
    const int group = a.H / a.K, warp = threadIdx.x / 32;
    const place p = place_of(a, a.sequence + blockIdx.x % a.n_sequences, blockIdx.y);
    const int row = (a.items - 1 - (int)(blockIdx.x / a.n_sequences)) * S::ROWS;
    if (row >= p.n * group || attend_is_decode(p.n, p.length, a.H, a.K, a.rows_most))
        return;
    const int last = min((row + S::ROWS - 1) / group, p.n - 1);
    const int tiles = (p.length - p.n + last) / TILE_POSITIONS + 1;
    partial<S::N> total;
    walk<S, true>(total, shared, a, p, row, 0, tiles);
    store(a, p, total, row + warp / SHARERS * 16, warp % SHARERS * S::COLUMNS);
}

#define PREFILL(type, int8, W, ...)                                 \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)       \
        prefill_##type##_##W(const __grid_constant__ attend_args a) \
    {                                                               \
        prefill<int8, W>(a);                                        \
    }
PREFILL(bf16, false, 64, 128, 2)
PREFILL(bf16, false, 128, 128)
PREFILL(bf16, false, 256, 256)
PREFILL(int8, true, 64, 128, 2)
PREFILL(int8, true, 128, 128)
PREFILL(int8, true, 256, 256)
