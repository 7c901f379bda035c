/* Products for few tokens, skinny.h. */
#include "skinny.h"

#include "product.cuh"

#define THREADS (SLICES * 32)
#define PITCH   20 /* floats of a token's 16 rows: lanes of a fragment fall on different banks */

/* acc += tile number i of a strip times 8 MT tokens. Where these are eight, the last is read again
 * in place of those from T on: one token costs the traffic of one. */
template <int L, int MT>
static __device__ __forceinline__ void add_tile(const product_args &a, const tile<L> &w, int i,
                                                float (&acc)[MT][4])
{
    const int lane_token = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const int g = MT == 1 ? min(lane_token, a.T - 1) : lane_token;
    constexpr int chunks = layout_tile_width(L) / CHUNK;
    const uint16_t *x = (const uint16_t *)a.x + (size_t)g * a.padded + i * chunks * CHUNK + t * 8;
    const float *sums = a.sums + (size_t)(i * chunks) * a.rows + t * 2;
#pragma unroll
    for (int c = 0; c < chunks; c++, x += CHUNK, sums += a.rows) {
        const scales low = scales_of(w, c, 0), high = scales_of(w, c, 1);
        uint32_t operand[8];
        operands(w, c, operand);
#pragma unroll
        for (int m = 0; m < MT; m++) {
            const uint4 in = __ldg((const uint4 *)(x + (size_t)(m * 8) * a.padded));
            float2 sum = {0, 0};
            if constexpr (layout_has_min(L))
                sum = __ldg((const float2 *)(sums + m * 8));
            multiply_chunk<L>(operand, low, high, in, sum, acc[m]);
        }
    }
}

/* acc += the warp's slice of a strip times 8 MT tokens, DEPTH tiles in flight; with their
 * records where registers are left for these. */
template <int L, int MT>
static __device__ __forceinline__ void add_slice(const product_args &a, const product_part &part,
                                                 int strip_index, float (&acc)[MT][4])
{
    constexpr int DEPTH = MT == 1 ? 4 : 2;
    constexpr bool AHEAD = MT <= 2;
    const int n = layout_tiles(L, a.K), slice = threadIdx.x >> 5;
    const int first = slice_first(n, slice), last = slice_first(n, slice + 1);
    const uint8_t *strip = part.weight + (size_t)strip_index * layout_strip_bytes(L, a.K);
    tile<L> ring[DEPTH] = {}; /* without the zeros ptxas keeps those of the pass before */
    auto load = [&](tile<L> &to, int i) {
        if (i < last) {
            load_numbers(to, strip, i);
            if (AHEAD)
                load_records(to, strip, n, i);
        }
    };
#pragma unroll
    for (int i = 0; i < DEPTH; i++)
        load(ring[i], first + i);
    for (int k = first; k < last; k += DEPTH) {
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            if (k + i < last) {
                if (!AHEAD)
                    load_records(ring[i], strip, n, k + i);
                add_tile<L, MT>(a, ring[i], k + i, acc);
            }
            load(ring[i], k + i + DEPTH);
        }
    }
}

template <int MT> struct partials {
    float slice[SLICES][8 * MT][PITCH];
};

/* The sums of the slices, those of token threadIdx.x / 16 + 16 i in total[i]. */
template <int MT, int PER>
static __device__ __forceinline__ void add_slices(partials<MT> &shared, const float (&acc)[MT][4],
                                                  float (&total)[PER])
{
    const int warp = threadIdx.x >> 5, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    __syncthreads(); /* those of the pass before have been read */
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            shared.slice[warp][m * 8 + t * 2 + j % 2][g + j / 2 * 8] = acc[m][j];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int token = threadIdx.x / STRIP_ROWS + i * (THREADS / STRIP_ROWS);
        total[i] = 0;
        if (token < 8 * MT)
#pragma unroll
            for (int s = 0; s < SLICES; s++)
                total[i] += shared.slice[s][token][threadIdx.x % STRIP_ROWS];
    }
}

/* 16 rows of one part times 8 MT tokens. */
template <int MT> static __device__ __forceinline__ void skinny(const product_args &a)
{
    constexpr int PER = MT > 2 ? MT / 2 : 1; /* outputs of a thread */
    __shared__ partials<MT> shared;
    const bool gated = a.epilogue == EPILOGUE_GLU_SILU;
    product_part part = part_of(a, blockIdx.x);
    const int strip = (int)blockIdx.x - part.first_block;
    const int n = strip * STRIP_ROWS + threadIdx.x % STRIP_ROWS;
    float gate[PER] = {};
    for (int pass = gated ? 0 : 1; pass < 2; pass++) {
        if (gated && pass)
            part = gated_part(a);
        float acc[MT][4] = {}, total[PER];
#define ADD_SLICE(L) add_slice<L, MT>(a, part, strip, acc)
        FOR_LAYOUT(part.layout, ADD_SLICE)
#undef ADD_SLICE
        add_slices<MT, PER>(shared, acc, total);
        const float bias = part.bias && n < part.N ? part.bias[n] : 0;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int token = threadIdx.x / STRIP_ROWS + i * (THREADS / STRIP_ROWS);
            const float value = total[i] + bias;
            if (!pass)
                gate[i] = value;
            else if (token < a.T && n < part.N)
                put_output(a, part, token, n, gated ? silu(gate[i]) * value : value);
        }
    }
}

#define SKINNY(name, MT)                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) \
        name(const __grid_constant__ product_args a)      \
    {                                                     \
        skinny<MT>(a);                                    \
    }

SKINNY(skinny_8, 1)
SKINNY(skinny_16, 2)
SKINNY(skinny_32, 4)
SKINNY(skinny_64, 8)
