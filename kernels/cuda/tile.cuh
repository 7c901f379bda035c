/* Products for many tokens, tile.h: what tile.cu and experts.cu share. */
#pragma once

#include "tile.h"

#include "depend.cuh"
#include "product.cuh"

#define THREADS_MOST 256

/* What a block of MT * 8 tokens over layout L is made of. */
template <int L, int MT> struct shape {
    static constexpr int TOKENS = MT * 8;
    static constexpr int WIDTH = tile_stage_width(L);
    static constexpr int TILES = WIDTH / layout_tile_width(L);       /* of a stage */
    static constexpr int CHUNKS = layout_tile_width(L) / x_chunk<L>; /* of a tile */
    static constexpr int X_BYTES = x_is_fp8<L> ? 1 : 2;              /* of an activation */
    static constexpr int PIECES = WIDTH * X_BYTES / 16;              /* of a token in a stage */
    static constexpr int COPIERS = TOKENS * PIECES < THREADS_MOST ? TOKENS * PIECES : THREADS_MOST;
    static constexpr int RECORD = STRIP_ROWS * 4 * layout_words(L); /* bytes of a tile's */
    static constexpr int SUMS = TILE_STRIPS * MT * 32;              /* float4 of a warp */
    static constexpr int PAIR = WIDTH / CHUNK * 8; /* bytes of two tokens' sums in a stage */
};

/* Lanes 0 .. 7 of a load of 16 bytes have rows 2i and 2i + 1: the halves of their 128 bytes are
 * changed over in one of them, so that these lanes fall on all 32 banks. Rows of 64 bytes do so as
 * they are. */
template <int PIECES> static __device__ __forceinline__ int place(int row, int piece)
{
    return row * PIECES + (PIECES > 4 ? piece ^ (row & 1) << 2 : piece);
}

/* Where parts of a stage are in shared memory; numbers and records: the warp's. */
template <int L, int MT> struct places {
    int numbers, records, x, sums, bytes;

    __device__ __forceinline__ places(int warps, int warp)
    {
        const int strips = warps * TILE_STRIPS;
        numbers = warp * tile_numbers_bytes(L, TILE_STRIPS);
        records = tile_numbers_bytes(L, strips) + warp * tile_records_bytes(L, TILE_STRIPS);
        x = tile_numbers_bytes(L, strips) + tile_records_bytes(L, strips);
        sums = x + tile_x_bytes(L, MT * 8, HAS_FP8);
        bytes = sums + tile_sums_bytes(L, MT * 8);
    }
};

/* What a warp and its block work on: tiles [first, last) of n, of slices from `slice` on. */
struct work {
    const uint8_t *strip[TILE_STRIPS];
    int first_token;
    int n, first, last, slice;
};

/* Weights of a warp on their way: each lane copies the numbers that it reads itself. */
template <int L, int MT> struct weight_copier {
    using S = shape<L, MT>;
    const uint8_t *numbers[TILE_STRIPS], *records[TILE_STRIPS];
    uint32_t to_numbers, to_records; /* in a stage */
    int left;                        /* tiles */

    __device__ __forceinline__ weight_copier(const work &w, const places<L, MT> &at)
    {
        const int lane = threadIdx.x & 31;
#pragma unroll
        for (int r = 0; r < TILE_STRIPS; r++) {
            numbers[r] = w.strip[r] + (size_t)w.first * TILE_BYTES + lane * 16;
            records[r] =
                w.strip[r] + (size_t)w.n * TILE_BYTES + (size_t)w.first * S::RECORD + lane * 16;
        }
        to_numbers = at.numbers + lane * 16;
        to_records = at.records + lane * 16;
        left = w.last - w.first;
    }

    /* The next stage, to shared address `stage`. */
    __device__ __forceinline__ void copy(uint32_t stage)
    {
        const bool has_record = (int)(threadIdx.x & 31) * 16 < S::RECORD;
#pragma unroll
        for (int j = 0; j < S::TILES; j++, left--) {
            if (left <= 0)
                continue;
#pragma unroll
            for (int r = 0; r < TILE_STRIPS; r++) {
                const uint32_t to = stage + to_numbers + (r * S::TILES + j) * TILE_BYTES;
                copy_async_to(to, numbers[r]);
                copy_async_to(to + 512, numbers[r] + 512);
                if (has_record)
                    copy_async_to(stage + to_records + (r * S::TILES + j) * S::RECORD, records[r]);
                numbers[r] += TILE_BYTES;
                records[r] += S::RECORD;
            }
        }
    }
};

/* Activations of a block and their sums on their way: byte offsets, which are less than 4 GiB. Half
 * as many threads copy twice as often. */
template <int L, int MT> struct token_copier {
    using S = shape<L, MT>;
    static constexpr int STEP = S::COPIERS / S::PIECES;       /* rows between two of a thread */
    static constexpr int PAIR_STAGES = WIDTH_STEP / S::WIDTH; /* that four chunks are in */
    uint32_t x, row, sums;                                    /* row: bytes of one */
    uint32_t to_x, to_sums;                                   /* in a stage */
    int k, end; /* columns: of the thread's piece, of the block's slices */
    int chunk;  /* the first of the next stage */

    __device__ __forceinline__ token_copier(const product_args &a, const work &w,
                                            const places<L, MT> &at)
    {
        const int first_row = threadIdx.x / S::PIECES, piece = threadIdx.x % S::PIECES;
        const int first = w.first * layout_tile_width(L);
        row = x_row_bytes<L>(a);
        x = (w.first_token + first_row) * row + first * S::X_BYTES + piece * 16;
        sums = w.first_token * (SUMS_CHUNKS * 4) + threadIdx.x * (16 * PAIR_STAGES);
        chunk = first / CHUNK;
        to_x = at.x + place<S::PIECES>(first_row, piece) * 16;
        to_sums = at.sums + threadIdx.x * 16;
        k = first + piece * (16 / S::X_BYTES);
        end = w.last * layout_tile_width(L);
    }

    __device__ __forceinline__ void copy(const product_args &a, uint32_t stage)
    {
        /* Columns end with a tile. One that has sums is all of a stage: they end with it. */
        if (k < end && threadIdx.x < S::COPIERS) {
            const uint8_t *from = x_of<L>(a);
            uint32_t at = x, to = stage + to_x;
            for (int n = S::COPIERS; n > 0; n -= blockDim.x) {
#pragma unroll
                for (int i = 0; i < S::TOKENS / STEP; i++)
                    copy_async_to(to + i * S::COPIERS * 16, from + at + i * STEP * row);
                at += blockDim.x / S::PIECES * row;
                to += blockDim.x * 16;
            }
            if constexpr (layout_has_min(L))
                if (threadIdx.x < S::TOKENS / 2 * S::PAIR / 16)
                    copy_async_to(stage + to_sums, (const uint8_t *)a.sums + sums_at(a));
        }
        x += S::WIDTH * S::X_BYTES;
        chunk += S::WIDTH / CHUNK;
        k += S::WIDTH;
    }

    /* A stage has all of four chunks, or two of them: 16 bytes of each pair of tokens. */
    __device__ __forceinline__ uint32_t sums_at(const product_args &a) const
    {
        return sums + chunk / SUMS_CHUNKS * a.rows * (SUMS_CHUNKS * 4) + chunk % SUMS_CHUNKS * 8;
    }
};

/* Until all but the youngest stages - 2 groups of copies are there. */
static __device__ __forceinline__ void wait_for_stage(int stages)
{
    if (stages == 2)
        copy_wait<0>();
    else if (stages == 3)
        copy_wait<1>();
    else
        copy_wait<2>();
}

/* A stage as a lane reads it; numbers: the warp's. nothing: zero, which the compiler does not know:
 * operands that are numbers as they stand in memory would else be moved into the order of their
 * registers once for each mma. */
struct stage {
    const uint8_t *numbers, *records, *x, *sums;
    uint32_t nothing;
};

/* Whether the scales of chunk c are in word i of a record, layout.h. */
static __device__ constexpr bool needs_word(int layout, int c, int i)
{
    return layout == LAYOUT_INT4_D                                ? i == c / 2
           : layout == LAYOUT_INT4_DM || layout == LAYOUT_INT8_DM ? i == c
           : layout_has_zero(layout)                              ? i * layout_group(layout) == c
           : layout == LAYOUT_FP8_128                             ? c == 0
           : layout_words(layout) == 3                            ? i == 0 || i == 1 + c / 2
                                                                  : true;
}

/* Records of strip r's tile j of a stage, as load_records. Volatile, so that each chunk reads the
 * words that it needs when it needs them: all at once they would take too many registers. */
template <int L, int MT>
static __device__ __forceinline__ void take_records(tile<L> &out, const stage &s, int r, int j,
                                                    int c)
{
    using S = shape<L, MT>;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const volatile uint32_t *record =
            (const volatile uint32_t *)(s.records + (r * S::TILES + j) * S::RECORD) +
            h * 8 * layout_words(L);
#pragma unroll
        for (int i = 0; i < layout_words(L); i++)
            if (needs_word(L, c, i))
                out.record[h][i] = record[i];
    }
}

/* acc += tile j of a stage; odd: of the token that the lane loads, place(). Calls copy() after a
 * chunk, when the tensor cores have begun. */
template <int L, int MT, typename F>
static __device__ __forceinline__ void add_tile(const stage &s, int j, int odd, F copy,
                                                float (&acc)[TILE_STRIPS][MT][4])
{
    using S = shape<L, MT>;
    float group[TILE_STRIPS][MT][4] = {};
    tile<L> w[TILE_STRIPS];
#pragma unroll
    for (int r = 0; r < TILE_STRIPS; r++)
        load_numbers(w[r], s.numbers + (r * S::TILES + j) * TILE_BYTES);
#pragma unroll
    for (int c = 0; c < S::CHUNKS; c++) {
        const int chunk = j * S::CHUNKS + c;
        uint32_t operand[TILE_STRIPS][8];
        scales low[TILE_STRIPS], high[TILE_STRIPS];
#pragma unroll
        for (int r = 0; r < TILE_STRIPS; r++) {
            take_records<L, MT>(w[r], s, r, j, c);
            operands_of_chunk(w[r], c, operand[r]);
            if constexpr (L == LAYOUT_BF16 || x_is_fp8<L>)
#pragma unroll
                for (int i = 0; i < 8; i++)
                    operand[r][i] ^= s.nothing;
            low[r] = scales_of(w[r], c, 0);
            high[r] = scales_of(w[r], c, 1);
        }
#pragma unroll
        for (int m = 0; m < MT; m++) {
            const uint4 x = *(const uint4 *)(s.x + m * 8 * S::PIECES * 16 + (chunk ^ odd) * 64);
            float2 sum = {0, 0};
            if constexpr (layout_has_min(L))
                sum = *(const float2 *)(s.sums + m * 4 * S::PAIR + chunk * 8);
#pragma unroll
            for (int r = 0; r < TILE_STRIPS; r++)
                multiply_chunk<L>(operand[r], low[r], high[r], x, sum, c, group[r][m], acc[r][m]);
        }
        if (c == 0)
            copy();
    }
}

/* Sums of a lane are float4 i = r * MT + m: rows g and g + 8 of strip r, of tokens 8m + 2t and the
 * next. Those of a warp stand side by side, 32 to an i, in shared memory as in scratch. */
static __device__ __forceinline__ float4 add(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/* A slice is complete: total += acc, or in a block that does not have the first slices to scratch.
 * The next begins with zeros. */
template <int MT>
static __device__ __forceinline__ void end_slice(float4 *total, float4 *partial,
                                                 float (&acc)[TILE_STRIPS][MT][4])
{
#pragma unroll
    for (int i = 0; i < TILE_STRIPS * MT; i++) {
        float(&v)[4] = acc[i / MT][i % MT];
        const float4 sum = make_float4(v[0], v[1], v[2], v[3]);
        if (partial)
            partial[i * 32] = sum;
        else
            total[i * 32] = add(total[i * 32], sum);
        v[0] = v[1] = v[2] = v[3] = 0;
    }
}

/* total = the slices of a block, of a warp's rows and the block's tokens: a lane's, in shared
 * memory. partial: the lane's place in scratch for the slice after those of the first block; NULL
 * in this one. */
template <int L, int MT>
static __device__ __forceinline__ void multiply(const tile_args &a, const product_args &p,
                                                const work &w, uint8_t *shared, float4 *total,
                                                float4 *partial)
{
    using S = shape<L, MT>;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, ahead = a.stages - 1;
    const places<L, MT> at(blockDim.x >> 5, warp);
    const int n_stages = (w.last - w.first + S::TILES - 1) / S::TILES;
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    weight_copier<L, MT> weights(w, at);
    token_copier<L, MT> tokens(p, w, at);
#pragma unroll 1
    for (int s = 0; s < ahead; s++)
        weights.copy(to + s * at.bytes);
    wait_for_kernels_before();
#pragma unroll 1
    for (int s = 0; s < ahead; s++) {
        tokens.copy(p, to + s * at.bytes);
        copy_commit();
    }
    float acc[TILE_STRIPS][MT][4] = {};
#pragma unroll
    for (int i = 0; i < TILE_STRIPS * MT; i++)
        total[i * 32] = make_float4(0, 0, 0, 0);
    const int odd = S::PIECES > 4 ? lane >> 2 & 1 : 0;
    const uint8_t *numbers = shared + at.numbers;
    const uint8_t *records = shared + at.records + (lane >> 2) * 4 * layout_words(L);
    const uint8_t *x = shared + at.x + ((lane >> 2) * S::PIECES + (lane & 3)) * 16;
    const uint8_t *sums = shared + at.sums + (lane & 3) * S::PAIR;
    int slice = w.slice, buffer = 0, i = w.first;
    for (int s = 0; s < n_stages; s++) {
        wait_for_stage(a.stages);
        __syncthreads();
        const int refilled = (buffer == 0 ? ahead : buffer - 1) * at.bytes;
        const int used = buffer * at.bytes;
        const stage now = {numbers + used, records + used, x + used, sums + used,
                           (uint32_t)a.stages >> 8};
#pragma unroll 1
        for (int j = 0; j < S::TILES && i < w.last; j++) {
            const auto refill = [&] {
                if (j > 0)
                    return;
                weights.copy(to + refilled);
                tokens.copy(p, to + refilled);
                copy_commit();
            };
            add_tile<L, MT>(now, j, odd, refill, acc);
            if (slice_first(w.n, slice + 1) > ++i)
                continue;
            end_slice<MT>(total, partial, acc);
            partial = partial ? partial + S::SUMS : NULL;
            do /* slices without a tile */
                slice++;
            while (slice < SLICES && slice_first(w.n, slice + 1) <= i);
        }
        buffer = buffer == ahead ? 0 : buffer + 1;
    }
}

/* True in the last warp of those that share the same outputs, whose total is then of all slices.
 * partial: the lane's in scratch for the slices of the first block. */
template <int MT>
static __device__ __forceinline__ bool join(const tile_args &a, int unit, float4 *total,
                                            float4 *partial)
{
    constexpr int SUMS = TILE_STRIPS * MT * 32;
    const int n = SLICES + 1 - SLICES / a.split;
    uint32_t before = 0;
    if (blockIdx.z == 0)
#pragma unroll 4
        for (int i = 0; i < TILE_STRIPS * MT; i++)
            partial[i * 32] = total[i * 32];
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
        before = count_in(a.arrived + unit, (uint32_t)a.split - 1);
    __syncwarp();
    before = __shfl_sync(0xffffffff, before, 0);
    if (before != (uint32_t)a.split - 1)
        return false;
#pragma unroll 4
    for (int i = 0; i < TILE_STRIPS * MT; i++) {
        float4 v[SLICES], sum = {0, 0, 0, 0};
#pragma unroll
        for (int s = 0; s < SLICES; s++)
            v[s] = s < n ? __ldcg(partial + s * SUMS + i * 32) : make_float4(0, 0, 0, 0);
#pragma unroll
        for (int s = 0; s < SLICES; s++)
            sum = add(sum, v[s]);
        total[i * 32] = sum;
    }
    return true;
}

/* The scale of row n of a part; 1 if it has none, or if it is in the sums and weight is NULL. */
template <int L>
static __device__ __forceinline__ float scale_of(const product_args &a, const product_part &part,
                                                 int n)
{
    if constexpr (layout_has_row_scale(L))
        if (part.weight && n < part.N)
            return row_scale<L>(part.weight, a.K, n);
    return 1;
}

/* Scales of the lane's two tokens of eight from `token` on; 1 if they have none, or if they are in
 * the sums and the weight is NULL. */
template <int L>
static __device__ __forceinline__ float2 token_scales(const product_args &a,
                                                      const product_part &part, int token)
{
    if constexpr (x_is_fp8<L>)
        if (part.weight)
            return *(const float2 *)(a.x_scale + token + (threadIdx.x & 3) * 2);
    return make_float2(1, 1);
}

/* The first strip of total = the outputs of a gate whose sums total has. gate_of: both numbers. */
template <int L, int MT, typename GATE>
static __device__ __forceinline__ void apply_gate(const product_args &a, int strip, int first_token,
                                                  GATE gate_of, float4 *total)
{
    float bias[2][2] = {}, scale[2][2];
#pragma unroll
    for (int p = 0; p < 2; p++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int n = strip * STRIP_ROWS + ((threadIdx.x & 31) >> 2) + h * 8;
            scale[p][h] = scale_of<L>(a, a.part[p], n);
            if (a.part[p].bias && n < a.part[p].N)
                bias[p][h] = a.part[p].bias[n];
        }
#pragma unroll 2
    for (int i = 0; i < MT; i++) {
        const float4 gate = total[i * 32], up = total[(MT + i) * 32];
        const float2 of_token = token_scales<L>(a, a.part[0], first_token + i * 8);
        const auto output = [&](float g, float u, int h, float token_scale) {
            return gate_of(biased<L>(g, scale[0][h], token_scale, bias[0][h]),
                           biased<L>(u, scale[1][h], token_scale, bias[1][h]));
        };
        total[i * 32] =
            make_float4(output(gate.x, up.x, 0, of_token.x), output(gate.y, up.y, 0, of_token.y),
                        output(gate.z, up.z, 1, of_token.x), output(gate.w, up.w, 1, of_token.y));
    }
}

/* The outputs of a strip, whose sums are in total. What y has is read for some tokens at once, for
 * it takes a while. A gate of two launches finds there what the first has left. */
template <int L, int MT>
static __device__ __forceinline__ void put_strip(const product_args &a, const product_part &part,
                                                 int epilogue, int strip, int first_token,
                                                 const float4 *total)
{
    constexpr int AT_ONCE = 4;
    const int n = strip * STRIP_ROWS + ((threadIdx.x & 31) >> 2);
    const bool is[2] = {n < part.N, n + 8 < part.N};
    const float bias[2] = {part.bias && is[0] ? part.bias[n] : 0,
                           part.bias && is[1] ? part.bias[n + 8] : 0};
    const float scale[2] = {scale_of<L>(a, part, n), scale_of<L>(a, part, n + 8)};
#pragma unroll 1
    for (int i = 0; i < MT; i += AT_ONCE) {
        const int token = first_token + i * 8 + (threadIdx.x & 3) * 2;
        float *y = a.y + (size_t)token * a.ldy + part.column + n;
        float old[AT_ONCE][4] = {}, value[AT_ONCE][4];
        float2 of_token[AT_ONCE];
        if (product_reads_y(epilogue))
#pragma unroll
            for (int j = 0; j < AT_ONCE * 4; j++)
                if (token + j / 4 * 8 + j % 2 < a.T && is[j / 2 % 2])
                    old[j / 4][j % 4] = y[(size_t)(j / 4 * 8 + j % 2) * a.ldy + j / 2 % 2 * 8];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            const float4 v = total[(i + j) * 32];
            of_token[j] = token_scales<L>(a, part, first_token + (i + j) * 8);
            value[j][0] = v.x, value[j][1] = v.y, value[j][2] = v.z, value[j][3] = v.w;
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE * 4; j++) {
            const int h = j / 2 % 2;
            const float before = old[j / 4][j % 4];
            const float token_scale = j % 2 ? of_token[j / 4].y : of_token[j / 4].x;
            const float sum = biased<L>(value[j / 4][j % 4], scale[h], token_scale, bias[h]);
            if (token + j / 4 * 8 + j % 2 < a.T && is[h])
                y[(size_t)(j / 4 * 8 + j % 2) * a.ldy + h * 8] = finished(epilogue, before, sum);
        }
    }
}

/* The outputs of a block: of rows of `part`, which it is of, and tokens from first_token on. p: the
 * product; a.product but for experts. */
template <int L, int MT, typename GATE>
static __device__ __forceinline__ void tile_product(const tile_args &a, const product_args &p,
                                                    product_part part, int first_token,
                                                    GATE gate_of)
{
    extern __shared__ __align__(16) uint8_t shared[];
    using S = shape<L, MT>;
    const bool gated = product_is_gated(p.epilogue) && p.n_part == 2;
    const int warps = blockDim.x >> 5, warp = threadIdx.x >> 5, per = SLICES / a.split;
    const int pair = ((int)blockIdx.y - part.first_block) * warps + warp;
    const int unit = (blockIdx.y * gridDim.x + blockIdx.x) * warps + warp;
    const int last = layout_strips(part.N) - 1;
    work w;
    w.first_token = first_token;
    w.n = layout_tiles(L, p.K);
    w.slice = blockIdx.z * per;
    w.first = slice_first(w.n, w.slice);
    w.last = slice_first(w.n, w.slice + per);
    w.strip[0] =
        part.weight + (size_t)min(gated ? pair : pair * 2, last) * layout_strip_bytes(L, p.K);
    w.strip[1] = (gated ? p.part[1].weight : part.weight) +
                 (size_t)min(gated ? pair : pair * 2 + 1, last) * layout_strip_bytes(L, p.K);
    float4 *total = (float4 *)(shared + a.stages * tile_stage_bytes(L, warps * TILE_STRIPS,
                                                                    S::TOKENS, HAS_FP8)) +
                    warp * S::SUMS + (threadIdx.x & 31);
    float4 *partial =
        (float4 *)a.partial + (size_t)unit * (SLICES + 1 - per) * S::SUMS + (threadIdx.x & 31);
    multiply<L, MT>(a, p, w, shared, total,
                    blockIdx.z ? partial + (w.slice + 1 - per) * S::SUMS : NULL);
    if (a.split > 1 && !join<MT>(a, unit, total, partial))
        return;
    if (gated) {
        apply_gate<L, MT>(p, pair, w.first_token, gate_of, total);
        part.bias = NULL, part.weight = NULL; /* are in it */
        put_strip<L, MT>(p, part, EPILOGUE_STORE, pair, w.first_token, total);
        return;
    }
#pragma unroll 1
    for (int r = 0; r < TILE_STRIPS; r++)
        put_strip<L, MT>(p, part, p.epilogue, pair * 2 + r, w.first_token, total + r * MT * 32);
}
