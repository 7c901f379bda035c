/* The steps of attention that decode.h and prefill.h share, by which they give the same bits: see
 * attend.h for the order of sums. Steps that must round alike in both are written with intrinsics,
 * which the compiler may not fuse.
 *
 * A block of WARPS warps has WARPS / SHARERS groups of 16 rows. The SHARERS warps of a group share
 * the columns of the output. Rows of queries, keys and values stand in shared memory as bfloat16;
 * columns from the width of the heads to that of the kernel are zeros, which change no sum. */
#pragma once

#include "attend.h"
#include "depend.cuh"
#include "dequant.cuh"
#include "mma.cuh"

#include "../kv_type.h"

#define TILE_PAGES (TILE_POSITIONS / PAGE_TOKENS)
#define ALL_LANES  0xffffffff

template <int TYPE_, int W_, int WARPS_, int SHARERS_> struct shape {
    static constexpr int TYPE = TYPE_; /* enum kv_type */
    static constexpr bool SCALED = TYPE != KV_BF16;
    static constexpr int W = W_, WARPS = WARPS_, SHARERS = SHARERS_; /* W: width at most */
    static constexpr int THREADS = 32 * WARPS, ROWS = 16 * WARPS / SHARERS;
    static constexpr int COLUMNS = W / SHARERS, N = COLUMNS / 8; /* of a warp; in mma's eights */
    static constexpr int PITCH = 2 * W; /* bytes of a row in shared memory */
    static constexpr int TILE = TILE_POSITIONS * PITCH;

    /* Places in shared memory: queries; then of bfloat16 keys and values of each stage, scaled one
     * tile that has become bfloat16, keys and values as they come, scales of two tiles. */
    static constexpr int STAGES = ATTEND_STAGES(W_, SCALED);
    static constexpr int QUERY = 0, TILES = ROWS * PITCH, RAW = TILES + TILE;
    static constexpr int SCALE = RAW + TILE, END = TILES + ATTEND_TILES(W_, SCALED);
    static_assert(!SCALED || SCALE + 4 * TILE_POSITIONS * 4 == END, "as launched");

    /* Pieces of 16 bytes of a tile as it comes: thread i has number i % CHUNKS of rows
     * i / CHUNKS + STEP j. */
    static constexpr int CHUNKS = (SCALED ? W : PITCH) / 16, STEP = THREADS / CHUNKS;

    /* Of keys (kind 0) and values (kind 1). */
    static __device__ constexpr int tile(int number, int kind)
    {
        return SCALED ? TILES : TILES + (number % STAGES * 2 + kind) * TILE;
    }
    static __device__ constexpr int raw(int kind)
    {
        return RAW + kind * TILE / 2;
    }
    static __device__ constexpr int scales(int number, int kind)
    {
        return SCALE + (number % 2 * 2 + kind) * TILE_POSITIONS * 4;
    }
};

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Where a block reads. */
struct place {
    uint8_t *pool; /* the head of page 0 */
    int sequence, first, n, length, head;
};

static __device__ __forceinline__ place place_of(const attend_args &a, int sequence, int head)
{
    const int first = a.first[sequence];
    return {a.pool + (uint64_t)head * a.block_bytes, sequence,           first,
            a.first[sequence + 1] - first,           a.length[sequence], head};
}

/* Page i of the sequence; 0 if it begins at `end` or after it. */
static __device__ __forceinline__ int page_of(const attend_args &a, const place &p, int i, int end)
{
    return i * PAGE_TOKENS < end ? a.page[(size_t)p.sequence * a.max_pages + i] : 0;
}

/* max and sum of rows lane / 4 and 8 after it; columns as mma has them. */
template <int N> struct partial {
    float max[2], sum[2], o[N][4];
};

template <int N> static __device__ __forceinline__ void clear(partial<N> &p)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
        p.max[i] = -INFINITY, p.sum[i] = 0;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            p.o[n][c] = 0;
}

static __device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The weights of what is there and of what comes, and the new max. What comes has a max. */
static __device__ __forceinline__ float2 merge_weights(float &max, float other)
{
    const float most = fmaxf(max, other);
    const float2 weights = {exp2_fast(__fsub_rn(max, most)), exp2_fast(__fsub_rn(other, most))};
    max = most;
    return weights;
}

static __device__ __forceinline__ float merge(float2 weights, float x, float other)
{
    return __fmaf_rn(other, weights.y, __fmul_rn(x, weights.x));
}

/* A head's sink is one more position, without a value. Returns what the output is to be multiplied
 * with, and the sum. */
static __device__ __forceinline__ float2 with_sink(const attend_args &a, int head, float max,
                                                   float sum)
{
    if (!a.sinks)
        return {1, sum};
    const float2 weights = merge_weights(max, __fmul_rn(a.sinks[head], LOG2_E));
    return {weights.x, merge(weights, sum, 1)};
}

/* By with_sink. The sum is not 0, a token sees itself. The sum with 0 makes zeros positive. */
static __device__ __forceinline__ float divide(float o, float2 end)
{
    return __fmaf_rn(__fmul_rn(o, end.x), __frcp_rn(end.y), 0.0f);
}

/* Four 8x8 matrices of 16-bit numbers, lane i gives row i % 8 of matrix i / 8 (9.7.14.5.15). */
static __device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

static __device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

/* 16 bytes, number chunk of a row: eight rows of one chunk fall on all banks. */
template <class S> static __device__ __forceinline__ int chunk_at(int row, int chunk)
{
    return row * S::PITCH + ((chunk ^ (row & 7)) << 4);
}

/* Begins to copy 16 bytes from global to shared memory, past L1; zeros, and nothing is read, if
 * they are not there (9.7.9.25.3.1). */
static __device__ __forceinline__ void copy_if(void *to, const void *from, bool is_there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(is_there ? 16 : 0)
                 : "memory");
}

/* 4 bytes, by way of L1. */
static __device__ __forceinline__ void copy_word_if(void *to, const void *from, bool is_there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(is_there ? 4 : 0)
                 : "memory");
}

/* Bytes 0 and 1, or 2 and 3, of a word of four int8. */
static __device__ __forceinline__ uint2 bf16_of_int8(uint32_t q)
{
    return {pair_of_int8(__byte_perm(q, 0, 0x4140)), pair_of_int8(__byte_perm(q, 0, 0x4342))};
}

/* Two E4M3 in bits 8 .. 15 and 24 .. 31. Their bits are the middle ones of a bfloat16 that is 2^120
 * too small: the product is exact, subnormals too. */
static __device__ __forceinline__ uint32_t pair_of_e4m3(uint32_t q)
{
    const uint32_t small = (q & 0x80008000) | (q >> 4 & 0x07f007f0);
    uint32_t pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;"
        : "=r"(pair)
        : "r"(small), "r"(0x7b807b80), "r"(0x80008000));
    return pair;
}

static __device__ __forceinline__ uint2 bf16_of_e4m3(uint32_t q)
{
    return {pair_of_e4m3(__byte_perm(q, 0, 0x1404)), pair_of_e4m3(__byte_perm(q, 0, 0x3424))};
}

/* Four numbers of one byte. */
template <int TYPE> static __device__ __forceinline__ uint2 bf16_of(uint32_t q)
{
    return TYPE == KV_INT8 ? bf16_of_int8(q) : bf16_of_e4m3(q);
}

/* 16 numbers of one byte as chunks 2 chunk and 2 chunk + 1 of a row. */
template <class S>
static __device__ __forceinline__ void unpack(uint8_t *to, int row, int chunk, uint4 q)
{
    const uint2 w[4] = {bf16_of<S::TYPE>(q.x), bf16_of<S::TYPE>(q.y), bf16_of<S::TYPE>(q.z),
                        bf16_of<S::TYPE>(q.w)};
    *(uint4 *)(to + chunk_at<S>(row, 2 * chunk)) = {w[0].x, w[0].y, w[1].x, w[1].y};
    *(uint4 *)(to + chunk_at<S>(row, 2 * chunk + 1)) = {w[2].x, w[2].y, w[3].x, w[3].y};
}

/* Columns that nothing is loaded to. */
template <class S> static __device__ __forceinline__ void clear_columns(uint8_t *shared, int width)
{
    if (width == S::W)
        return;
    const int rows = S::SCALED ? S::RAW / S::PITCH : S::END / S::PITCH, chunks = (S::W - width) / 8;
    for (int i = threadIdx.x; i < rows * chunks; i += S::THREADS)
        *(uint4 *)(shared + chunk_at<S>(i / chunks, width / 8 + i % chunks)) = {0, 0, 0, 0};
}

/* Which positions a tile has: from first on; below `old` they are in pages, from `end` on they are
 * not there, and zeros, for what stands there may be NaN. */
struct span {
    int first, old, end;
};

static __device__ __forceinline__ bool is_loaded(const span &span, int position)
{
    return position < span.old || position >= span.end;
}

/* Begins to load keys (kind 0) or values (kind 1) of tile `number`. A lane has a page in `page`:
 * lane `at` that of the tile's first positions. By all lanes. */
template <class S>
static __device__ __forceinline__ void load_tile(uint8_t *shared, const attend_args &a,
                                                 const place &p, const span &span, int page, int at,
                                                 int number, int kind)
{
    const int thread = threadIdx.x, chunk = thread % S::CHUNKS;
    const int row_bytes = a.width * (S::SCALED ? 1 : 2);
#pragma unroll(S::ROWS == 16 ? 8 : S::STAGES)
    for (int i = 0; i < TILE_POSITIONS / S::STEP; i++) {
        const int row = i * S::STEP + thread / S::CHUNKS, position = span.first + row;
        const int in = __shfl_sync(ALL_LANES, page, at + row / PAGE_TOKENS);
        const uint8_t *from = p.pool + (uint64_t)in * a.page_bytes +
                              (kind * PAGE_TOKENS + row % PAGE_TOKENS) * row_bytes + chunk * 16;
        uint8_t *to = S::SCALED ? shared + S::raw(kind) + row * S::W + chunk * 16
                                : shared + S::tile(number, kind) + chunk_at<S>(row, chunk);
        if (chunk * 16 < row_bytes && is_loaded(span, position))
            copy_if(to, from, position < span.old);
    }
    if (S::SCALED && thread < TILE_POSITIONS) {
        const int row = thread, position = span.first + row;
        const int in = __shfl_sync(ALL_LANES, page, at + row / PAGE_TOKENS);
        const uint8_t *scales = p.pool + (uint64_t)in * a.page_bytes + 2 * PAGE_TOKENS * a.width;
        if (is_loaded(span, position))
            copy_word_if(shared + S::scales(number, kind) + row * 4,
                         scales + (kind * PAGE_TOKENS + row % PAGE_TOKENS) * 4,
                         position < span.old);
    }
}

/* What this thread has loaded of one byte a number becomes bfloat16. */
template <class S>
static __device__ __forceinline__ void unpack_tile(uint8_t *shared, const span &span, int width,
                                                   int kind)
{
    const int thread = threadIdx.x, chunk = thread % S::CHUNKS;
#pragma unroll(S::ROWS == 16 ? 8 : 1)
    for (int i = 0; i < TILE_POSITIONS / S::STEP; i++) {
        const int row = i * S::STEP + thread / S::CHUNKS;
        const uint8_t *from = shared + S::raw(kind) + row * S::W + chunk * 16;
        if (chunk * 16 < width && is_loaded(span, span.first + row))
            unpack<S>(shared + S::TILES, row, chunk, *(const uint4 *)from);
    }
}

/* Products of 16 rows with 16 * PAIRS positions from `from` on. Chunk 2 k + i of a row is chunk i
 * with the bits of 2 k changed, which leaves one address to keep. */
template <class S, int PAIRS>
static __device__ __forceinline__ void scores(float (&s)[2 * PAIRS][4], uint32_t queries,
                                              uint32_t keys, int row, int from)
{
    const int lane = threadIdx.x % 32, matrix = lane / 8, in = lane % 8;
    const uint32_t query = queries + chunk_at<S>(row + (matrix & 1) * 8 + in, matrix >> 1);
    const uint32_t key = keys + chunk_at<S>(from + (matrix >> 1) * 8 + in, matrix & 1);
#pragma unroll
    for (int i = 0; i < 2 * PAIRS; i++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            s[i][c] = 0;
#pragma unroll(PAIRS == 1 || S::STAGES == 2 ? S::W / 16 : 1)
    for (int k = 0; k < S::W / 16; k++) {
        uint32_t q[4], b[4];
        load_matrices(q, query ^ (k << 5));
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            load_matrices(b, (key ^ (k << 5)) + i * 16 * S::PITCH);
            mma_bf16(s[2 * i], q, b[0], b[1]);
            mma_bf16(s[2 * i + 1], q, b[2], b[3]);
        }
    }
}

/* A warp's 16 rows: the first, positions of lane's two, the lowest and highest of all. */
struct rows {
    int first, position[2], lowest, highest;
};

static __device__ __forceinline__ rows rows_of(const attend_args &a, const place &p, int first)
{
    const int group = a.H / a.K, g = threadIdx.x % 32 / 4, before = p.length - p.n;
    return {first,
            {before + (first + g) / group, before + (first + g + 8) / group},
            before + first / group,
            before + (first + 15) / group};
}

/* The query head of row r of a sequence. */
static __device__ __forceinline__ int head_of(const attend_args &a, const place &p, int r)
{
    const int group = a.H / a.K;
    return p.head * group + r % group;
}

static __device__ __forceinline__ float reciprocal_fast(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* cap tanh(s / cap) = cap - 2 cap / (1 + 2^(s 2 / cap)), s and the result in powers of two. */
static __device__ __forceinline__ float capped(const attend_args &a, float s)
{
    const float e = exp2_fast(__fmul_rn(s, a.cap_rate));
    const float weight = reciprocal_fast(__fadd_rn(e, 1.0f));
    return __fmaf_rn(__fmul_rn(-2.0f, a.cap_log2), weight, a.cap_log2);
}

/* + slope (j - position), for positions j from `first` on. */
static __device__ __forceinline__ void add_bias(float (&s)[8][4], const attend_args &a,
                                                const place &p, const rows &rows, int first)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float slope = __fmul_rn(a.slopes[head_of(a, p, rows.first + g + 8 * r)], LOG2_E);
        const int distance = first + 2 * t - rows.position[r];
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int c = 2 * r; c < 2 * r + 2; c++)
                s[i][c] = __fmaf_rn(slope, (float)(distance + 8 * i + (c & 1)), s[i][c]);
    }
}

/* -inf for what a row does not see of positions from `first` on. */
static __device__ __forceinline__ void hide(float (&s)[8][4], const attend_args &a,
                                            const rows &rows, int first)
{
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int last = rows.position[r] - first - 2 * t;
        const int before = a.window ? last - a.window : -TILE_POSITIONS;
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int c = 2 * r; c < 2 * r + 2; c++)
                if (8 * i + (c & 1) > last || 8 * i + (c & 1) <= before)
                    s[i][c] = -INFINITY;
    }
}

/* Products become scores in powers of two. scales: of scaled numbers, the tile's keys. */
template <class S>
static __device__ __forceinline__ void finish_scores(float (&s)[8][4], const float *scales,
                                                     const attend_args &a, const place &p,
                                                     const rows &rows, int tile)
{
    const int t = threadIdx.x % 4, first = tile * TILE_POSITIONS;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float2 f = {a.scale_log2, a.scale_log2};
        if constexpr (S::SCALED) {
            const float2 scale = *(const float2 *)(scales + 8 * i + 2 * t);
            f = {__fmul_rn(f.x, scale.x), __fmul_rn(f.y, scale.y)};
        }
#pragma unroll
        for (int c = 0; c < 4; c++)
            s[i][c] = __fmul_rn(s[i][c], c & 1 ? f.y : f.x);
    }
    if (a.cap_rate > 0) {
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                s[i][c] = capped(a, s[i][c]);
    }
    if (a.slopes)
        add_bias(s, a, p, rows, first);
    if (first + TILE_POSITIONS - 1 > rows.lowest ||
        (a.window && first < rows.lowest + 16 - a.window))
        hide(s, a, rows, first);
}

/* One step of the online softmax: s becomes weights, p is made ready for their products. The sum
 * is of the lane's own columns until the split ends. */
template <int N> static __device__ __forceinline__ void soften(float (&s)[8][4], partial<N> &p)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float most = p.max[r];
#pragma unroll
        for (int i = 0; i < 8; i++)
            most = fmaxf(most, fmaxf(s[i][2 * r], s[i][2 * r + 1]));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
        const float base = most == -INFINITY ? 0 : most;
        const float weight = exp2_fast(__fsub_rn(p.max[r], base));
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int c = 2 * r; c < 2 * r + 2; c++) {
                s[i][c] = exp2_fast(__fsub_rn(s[i][c], base));
                sum = __fadd_rn(sum, s[i][c]);
            }
        p.max[r] = most;
        p.sum[r] = __fmaf_rn(p.sum[r], weight, sum);
#pragma unroll
        for (int n = 0; n < N; n++) {
            p.o[n][2 * r] = __fmul_rn(p.o[n][2 * r], weight);
            p.o[n][2 * r + 1] = __fmul_rn(p.o[n][2 * r + 1], weight);
        }
    }
}

/* Weights as operands of products: 16 positions each. scales: the tile's, of scaled values. */
template <class S>
static __device__ __forceinline__ void pack_weights(uint32_t (&w)[4][4], const float (&s)[8][4],
                                                    const float *scales)
{
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float2 f = {1, 1};
        if constexpr (S::SCALED)
            f = *(const float2 *)(scales + 8 * i + 2 * t);
        w[i / 2][i % 2 * 2] = pack_bf16x2(s[i][0] * f.x, s[i][1] * f.y);
        w[i / 2][i % 2 * 2 + 1] = pack_bf16x2(s[i][2] * f.x, s[i][3] * f.y);
    }
}

/* p += weights times values, columns from `column` on. */
template <class S>
static __device__ __forceinline__ void add_values(partial<S::N> &p, const uint32_t (&w)[4][4],
                                                  uint32_t values, int column)
{
    const int lane = threadIdx.x % 32, matrix = lane / 8, in = lane % 8;
    const uint32_t value = values + chunk_at<S>((matrix & 1) * 8 + in, column / 8 + (matrix >> 1));
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int n = 0; n < S::N; n += 2) {
            uint32_t b[4];
            load_transposed(b, (value ^ (n << 4)) + k * 16 * S::PITCH);
            mma_bf16(p.o[n], w[k], b[0], b[1]);
            mma_bf16(p.o[n + 1], w[k], b[2], b[3]);
        }
}

/* The lanes of a row have one sum. */
template <int N> static __device__ __forceinline__ void end_split(partial<N> &p)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        p.sum[r] = __fadd_rn(p.sum[r], __shfl_xor_sync(ALL_LANES, p.sum[r], 1));
        p.sum[r] = __fadd_rn(p.sum[r], __shfl_xor_sync(ALL_LANES, p.sum[r], 2));
    }
}

template <int N>
static __device__ __forceinline__ void merge_split(partial<N> &total, const partial<N> &p)
{
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (p.max[r] > -INFINITY) {
            const float2 weights = merge_weights(total.max[r], p.max[r]);
            total.sum[r] = merge(weights, total.sum[r], p.sum[r]);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int c = 2 * r; c < 2 * r + 2; c++)
                    total.o[n][c] = merge(weights, total.o[n][c], p.o[n][c]);
        }
}
