/* Attention of few rows, split by positions: decode.h. */
#include "decode.h"

#include "attend.cuh"

#define MERGE_THREADS 256

/* Column pairs of a warp's rows, to y or to scratch. */
template <int N>
static __device__ __forceinline__ void store(const attend_args &a, const place &p,
                                             const partial<N> &part, int row, int split, int column)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, group = a.H / a.K;
    const bool only = p.length <= SPLIT_POSITIONS;
    const int64_t item = (int64_t)blockIdx.x * a.K + p.head;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int r = row + g + 8 * i;
        if (r >= p.n * group)
            continue;
        const int64_t place = item * a.rows + r;
        float *to =
            only ? a.y + ((size_t)(p.first + r / group) * a.H + p.head * group + r % group) * a.dim
                 : a.output + place * a.width;
        const int columns = only ? a.dim : a.width;
        if (!only && t == 0 && column == 0)
            *(float2 *)(a.pair + 2 * place) = {part.max[i], part.sum[i]};
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int at = column + 8 * n + 2 * t;
            float2 o = {part.o[n][2 * i], part.o[n][2 * i + 1]};
            if (only)
                o = {divide(o.x, part.sum[i]), divide(o.y, part.sum[i])};
            if (at < columns)
                *(float2 *)(to + at) = o;
        }
    }
}

template <bool INT8, int W> static __device__ __forceinline__ void decode(const attend_args &a)
{
    using S = shape<INT8, W, 4, 4, true>;
    extern __shared__ __align__(1024) uint8_t shared[];
    const int split = blockIdx.x % a.items, tiles = blockIdx.y / a.K;
    const place p = place_of(a, a.sequence + blockIdx.x / a.items, blockIdx.y % a.K);
    const int row = tiles * DECODE_ROWS, first = split * SPLIT_POSITIONS;
    if (first >= p.length || row >= p.n * (a.H / a.K) ||
        !attend_is_decode(p.n, p.length, a.H, a.K, a.rows_most))
        return;
    constexpr int TILES = SPLIT_POSITIONS / TILE_POSITIONS;
    const int all = (p.length + TILE_POSITIONS - 1) / TILE_POSITIONS;
    partial<S::N> part;
    walk<S, false>(part, shared, a, p, row, split * TILES, min(split * TILES + TILES, all));
    store(a, p, part, row, split, threadIdx.x / 32 * S::COLUMNS);
}

#define DECODE(type, int8, W)                                      \
    extern "C" __global__ void __launch_bounds__(128)              \
        decode_##type##_##W(const __grid_constant__ attend_args a) \
    {                                                              \
        decode<int8, W>(a);                                        \
    }
DECODE(bf16, false, 64)
DECODE(bf16, false, 128)
DECODE(bf16, false, 256)
DECODE(int8, true, 64)
DECODE(int8, true, 128)
DECODE(int8, true, 256)

/* blockIdx: sequence of the launch; key/value head; warps for rows and columns. */
extern "C" __global__ void __launch_bounds__(MERGE_THREADS)
    decode_merge(const __grid_constant__ attend_args a)
{
    const int columns = (a.width + 31) / 32, group = a.H / a.K;
    const int i = blockIdx.z * (MERGE_THREADS / 32) + threadIdx.x / 32;
    const int r = i / columns, column = i % columns * 32 + threadIdx.x % 32;
    const place p = place_of(a, a.sequence + blockIdx.x, blockIdx.y);
    if (p.length <= SPLIT_POSITIONS || r >= p.n * group || column >= a.dim ||
        !attend_is_decode(p.n, p.length, a.H, a.K, a.rows_most))
        return;
    const int64_t step = (int64_t)a.K * a.rows;
    int64_t at = (int64_t)blockIdx.x * a.items * step + (int64_t)p.head * a.rows + r;
    float max = -INFINITY, sum = 0, o = 0;
    const int splits = attend_splits(p.length);
#pragma unroll 8
    for (int split = 0; split < splits; split++, at += step) {
        const float2 pair = *(const float2 *)(a.pair + 2 * at);
        const float other = a.output[at * a.width + column];
        if (pair.x > -INFINITY) {
            const float2 weights = merge_weights(max, pair.x);
            sum = merge(weights, sum, pair.y);
            o = merge(weights, o, other);
        }
    }
    a.y[((size_t)(p.first + r / group) * a.H + p.head * group + r % group) * a.dim + column] =
        divide(o, sum);
}
