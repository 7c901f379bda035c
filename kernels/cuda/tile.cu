/* Products for many tokens, tile.h. */
#include "tile.h"

#include "product.cuh"

#define THREADS 256
#define TOKENS  64
#define MT      (TOKENS / 8)
#define ROWS    (THREADS / 32 * STRIP_ROWS)
#define PIECES  (WIDTH_STEP / 8) /* of 16 bytes, of a token in a stage */
#define STAGES  3

/* Lanes 0 .. 7 of a load of 16 bytes have rows 2i and 2i + 1: the halves of their 128 bytes are
 * changed over in one of them, so that these lanes fall on all 32 banks. */
static __device__ __forceinline__ int place(int row, int piece)
{
    return row * PIECES + (piece ^ (row & 1) << 2);
}

static __device__ __forceinline__ void copy_stage(const product_args &a, int first_token, int stage,
                                                  uint4 *to)
{
#pragma unroll
    for (int i = 0; i < TOKENS * PIECES / THREADS; i++) {
        const int row = (threadIdx.x + i * THREADS) / PIECES, piece = threadIdx.x % PIECES;
        const uint16_t *x = (const uint16_t *)a.x + (size_t)(first_token + row) * a.padded;
        copy_async(to + place(row, piece), x + stage * WIDTH_STEP + piece * 8);
    }
}

/* acc += chunk c of a tile, which is chunk `chunk` of its stage and sums are those of. */
template <int L>
static __device__ __forceinline__ void add_chunk(const tile<L> &w, int c, const uint4 *stage,
                                                 int chunk, const float *sums, float (&acc)[MT][4])
{
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const scales low = scales_of(w, c, 0), high = scales_of(w, c, 1);
    uint32_t operand[8];
    operands(w, c, operand);
#pragma unroll
    for (int m = 0; m < MT; m++) {
        float2 sum = {0, 0};
        if constexpr (layout_has_min(L))
            sum = __ldg((const float2 *)(sums + m * 8 + t * 2));
        multiply_chunk<L>(operand, low, high, stage[place(m * 8 + g, chunk * 4 + t)], sum, acc[m]);
    }
}

/* total += acc, and the next slice begins. */
static __device__ __forceinline__ void end_slice(float (&acc)[MT][4], float (&total)[MT][4])
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            total[m][j] += acc[m][j];
            acc[m][j] = 0;
        }
}

/* total = 16 rows of a part times the tokens of the block. */
template <int L>
static __device__ __forceinline__ void multiply(const product_args &a, const product_part &part,
                                                int strip_index, int first_token,
                                                uint4 (&shared)[STAGES][TOKENS * PIECES],
                                                float (&total)[MT][4])
{
    constexpr int chunks = layout_tile_width(L) / CHUNK, per_stage = WIDTH_STEP / CHUNK / chunks;
    const int n = layout_tiles(L, a.K), n_stages = a.padded / WIDTH_STEP;
    const uint8_t *strip = part.weight + (size_t)min(strip_index, layout_strips(part.N) - 1) *
                                             layout_strip_bytes(L, a.K);
    float acc[MT][4] = {};
    tile<L> next = {};
    int slice = 0, buffer = 0;
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < n_stages)
            copy_stage(a, first_token, s, shared[s]);
        copy_commit();
    }
    load_numbers(next, strip, 0);
    for (int stage = 0; stage < n_stages; stage++) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        if (stage + STAGES - 1 < n_stages)
            copy_stage(a, first_token, stage + STAGES - 1,
                       shared[buffer == 0 ? STAGES - 1 : buffer - 1]);
        copy_commit();
#pragma unroll
        for (int j = 0; j < per_stage; j++) {
            const int i = stage * per_stage + j;
            if (i >= n)
                continue;
            tile<L> w = next;
            load_records(w, strip, n, i);
            if (i + 1 < n)
                load_numbers(next, strip, i + 1);
#pragma unroll
            for (int c = 0; c < chunks; c++)
                add_chunk<L>(w, c, shared[buffer], j * chunks + c,
                             a.sums + (size_t)(i * chunks + c) * a.rows + first_token, acc);
            if (slice_first(n, slice + 1) <= i + 1) {
                end_slice(acc, total);
                while (slice < SLICES && slice_first(n, slice + 1) <= i + 1)
                    slice++;
            }
        }
        buffer = buffer + 1 == STAGES ? 0 : buffer + 1;
    }
}

/* What a warp's lane holds of 16 rows and the tokens of the block. */
static __device__ __forceinline__ void put_outputs(const product_args &a, const product_part &part,
                                                   int strip, int first_token,
                                                   const float (&total)[MT][4])
{
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int n = strip * STRIP_ROWS + g + r * 8;
        if (n >= part.N)
            continue;
        const float bias = part.bias ? part.bias[n] : 0;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int token = first_token + m * 8 + t * 2 + e;
                if (token >= a.T)
                    continue;
                float value = total[m][r * 2 + e] + bias;
                if (a.epilogue == EPILOGUE_GLU_SILU)
                    value *= silu(a.y[(size_t)token * a.ldy + part.column + n]);
                put_output(a, part, token, n, value);
            }
    }
}

template <int L> static __device__ __forceinline__ void tile_product(const product_args &a)
{
    __shared__ __align__(16) uint4 shared[STAGES][TOKENS * PIECES];
    const int first_token = blockIdx.x * TOKENS;
    const product_part part = part_of(a, blockIdx.y);
    const int strip =
        ((int)blockIdx.y - part.first_block) * (ROWS / STRIP_ROWS) + (threadIdx.x >> 5);
    float total[MT][4] = {};
    multiply<L>(a, part, strip, first_token, shared, total);
    put_outputs(a, part, strip, first_token, total);
}

/* bound: threads for which ptxas must leave registers. More than there are where it would else
 * settle for 128 registers and spill. */
#define TILE(name, L, bound)                            \
    extern "C" __global__ void __launch_bounds__(bound) \
        name(const __grid_constant__ product_args a)    \
    {                                                   \
        tile_product<L>(a);                             \
    }

TILE(tile_bf16, LAYOUT_BF16, THREADS)
TILE(tile_int4_d, LAYOUT_INT4_D, 320)
TILE(tile_int4_dm, LAYOUT_INT4_DM, 320)
TILE(tile_int4_k, LAYOUT_INT4_K, 320)
TILE(tile_int8_d, LAYOUT_INT8_D, 320)
TILE(tile_int8_dm, LAYOUT_INT8_DM, 320)
TILE(tile_int8_k, LAYOUT_INT8_K, 320)
TILE(tile_int8_k16, LAYOUT_INT8_K16, 320)
