/* A block's walk over the tiles of one sequence and one key/value head, the same for decode.h and
 * prefill.h: see attend.h for the order of sums. Steps that must round alike in both are written
 * with intrinsics, which the compiler may not fuse.
 *
 * A block of WARPS warps has WARPS / SHARERS groups of 16 rows. The SHARERS warps of a group share
 * the columns of the output. They all need the scores of all 64 positions of a tile: with SHARED
 * each computes those of a part and they exchange them, otherwise each computes them all. */
#pragma once

#include "attend.h"
#include "dequant.cuh"
#include "mma.cuh"

#define TILE_PAGES (TILE_POSITIONS / PAGE_TOKENS)
#define ALL_LANES  0xffffffff

template <bool INT8_, int W_, int WARPS_, int SHARERS_, bool SHARED_> struct shape {
    static constexpr bool INT8 = INT8_, SHARED = SHARED_;
    static constexpr int W = W_, WARPS = WARPS_, SHARERS = SHARERS_; /* W: width at most */
    static constexpr int THREADS = 32 * WARPS, ROWS = 16 * WARPS / SHARERS;
    static constexpr int COLUMNS = W / SHARERS, N = COLUMNS / 8; /* of a warp; in mma's eights */
    static constexpr int PITCH = 2 * W; /* bytes of a row in shared memory */
    static constexpr int QUERY = 0, KEY = QUERY + ROWS * PITCH;
    static constexpr int VALUE = KEY + TILE_POSITIONS * PITCH;
    static constexpr int SCALE = VALUE + TILE_POSITIONS * PITCH; /* of keys, of values */
    static constexpr int SCORE = SCALE + (INT8 ? 2 * TILE_POSITIONS * 4 : 0);
    static constexpr int PAGE = SCORE + (SHARED ? ROWS * SCORE_PITCH * 4 : 0); /* of two tiles */
    static_assert(PAGE + 2 * TILE_PAGES * 4 == ATTEND_SHARED(W, ROWS, INT8, SHARED), "as launched");
};

/* Where a block reads. */
struct place {
    const uint8_t *pool; /* the head of page 0 */
    const int32_t *page; /* of the sequence */
    int first, n, length, head;
};

static __device__ __forceinline__ place place_of(const attend_args &a, int sequence, int head)
{
    const int first = a.step.first[sequence];
    return {a.pool + (uint64_t)head * a.block_bytes,
            a.step.page + (size_t)sequence * a.step.max_pages,
            first,
            a.step.first[sequence + 1] - first,
            a.step.length[sequence],
            head};
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

/* The sum is not 0, a token sees itself. The sum with 0 makes zeros positive. */
static __device__ __forceinline__ float divide(float o, float sum)
{
    return __fmaf_rn(o, __frcp_rn(sum), 0.0f);
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

/* The pages of a tile, for all threads after the next barrier. */
template <class S>
static __device__ __forceinline__ void load_pages(uint8_t *shared, const place &p, int tile)
{
    const int i = threadIdx.x, at = tile * TILE_PAGES + i;
    if (i < TILE_PAGES)
        ((int *)(shared + S::PAGE))[tile % 2 * TILE_PAGES + i] =
            at * PAGE_TOKENS < p.length ? p.page[at] : 0;
}

/* A head's block in the page of a row of a tile. */
template <class S>
static __device__ __forceinline__ const uint8_t *block_of(const uint8_t *shared,
                                                          const attend_args &a, const place &p,
                                                          int tile, int row)
{
    const int *page = (const int *)(shared + S::PAGE) + tile % 2 * TILE_PAGES;
    return p.pool + (uint64_t)page[row / PAGE_TOKENS] * a.page_bytes;
}

/* Begins to load keys (part 0) or values (part 1) of a tile; zeros where the sequence has ended,
 * for what stands there may be NaN. */
template <class S>
static __device__ __forceinline__ void load_bf16(uint8_t *to, const uint8_t *shared,
                                                 const attend_args &a, const place &p, int tile,
                                                 int part)
{
    constexpr int CHUNKS = S::W / 8, STEP = S::THREADS / CHUNKS;
    const int chunk = threadIdx.x % CHUNKS;
    if (chunk * 8 >= a.width)
        return;
#pragma unroll(S::SHARED ? 8 : 2)
    for (int i = 0; i < TILE_POSITIONS / STEP; i++) {
        const int row = i * STEP + threadIdx.x / CHUNKS;
        uint8_t *at = to + chunk_at<S>(row, chunk);
        if (tile * TILE_POSITIONS + row < p.length) {
            const int in_block = (part * PAGE_TOKENS + row % PAGE_TOKENS) * a.width + chunk * 8;
            copy_async(at, block_of<S>(shared, a, p, tile, row) + in_block * 2);
        } else {
            *(uint4 *)at = {0, 0, 0, 0};
        }
    }
}

/* Bytes 0 and 1, or 2 and 3, of a word of four int8. */
static __device__ __forceinline__ uint2 bf16_of_int8(uint32_t q)
{
    return {pair_of_int8(__byte_perm(q, 0, 0x4140)), pair_of_int8(__byte_perm(q, 0, 0x4342))};
}

template <class S>
static __device__ __forceinline__ void load_int8(uint8_t *to, float *scale, const uint8_t *shared,
                                                 const attend_args &a, const place &p, int tile,
                                                 int part)
{
    constexpr int CHUNKS = S::W / 16, STEP = S::THREADS / CHUNKS, N = TILE_POSITIONS / STEP;
    const int chunk = threadIdx.x % CHUNKS;
    uint4 q[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int row = i * STEP + threadIdx.x / CHUNKS;
        q[i] = {0, 0, 0, 0};
        if (tile * TILE_POSITIONS + row < p.length && chunk * 16 < a.width)
            q[i] =
                *(const uint4 *)(block_of<S>(shared, a, p, tile, row) +
                                 (part * PAGE_TOKENS + row % PAGE_TOKENS) * a.width + chunk * 16);
    }
    const int row = threadIdx.x;
    if (row < TILE_POSITIONS)
        scale[row] = tile * TILE_POSITIONS + row < p.length
                         ? ((const float *)(block_of<S>(shared, a, p, tile, row) +
                                            2 * PAGE_TOKENS *
                                                a.width))[part * PAGE_TOKENS + row % PAGE_TOKENS]
                         : 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int at = i * STEP + threadIdx.x / CHUNKS;
        const uint2 w[4] = {bf16_of_int8(q[i].x), bf16_of_int8(q[i].y), bf16_of_int8(q[i].z),
                            bf16_of_int8(q[i].w)};
        *(uint4 *)(to + chunk_at<S>(at, 2 * chunk)) = {w[0].x, w[0].y, w[1].x, w[1].y};
        *(uint4 *)(to + chunk_at<S>(at, 2 * chunk + 1)) = {w[2].x, w[2].y, w[3].x, w[3].y};
    }
}

template <class S>
static __device__ __forceinline__ void load_tile(uint8_t *shared, const attend_args &a,
                                                 const place &p, int tile, int part)
{
    uint8_t *to = shared + (part ? S::VALUE : S::KEY);
    if constexpr (S::INT8)
        load_int8<S>(to, (float *)(shared + S::SCALE) + part * TILE_POSITIONS, shared, a, p, tile,
                     part);
    else
        load_bf16<S>(to, shared, a, p, tile, part);
}

/* Rows [row, row + ROWS) of the sequence. */
template <class S>
static __device__ __forceinline__ void load_queries(uint8_t *shared, const attend_args &a,
                                                    const place &p, int row)
{
    constexpr int CHUNKS = S::W / 8;
    const int group = a.H / a.K;
    for (int i = threadIdx.x; i < S::ROWS * CHUNKS; i += S::THREADS) {
        const int r = row + i / CHUNKS, chunk = i % CHUNKS;
        uint8_t *to = shared + S::QUERY + chunk_at<S>(i / CHUNKS, chunk);
        if (chunk * 8 >= a.width)
            continue;
        if (r < p.n * group) {
            const size_t head = (size_t)(p.first + r / group) * a.H + p.head * group + r % group;
            copy_async(to, (const uint16_t *)a.q + head * a.width + chunk * 8);
        } else {
            *(uint4 *)to = {0, 0, 0, 0};
        }
    }
}

/* Products of 16 rows with 16 * PAIRS positions from `from` on. Chunk 2 k + i of a row is chunk i
 * with the bits of 2 k changed, which leaves one address to keep. */
template <class S, int PAIRS>
static __device__ __forceinline__ void scores(float (&s)[2 * PAIRS][4], const uint8_t *shared,
                                              int row, int from, int width)
{
    const int lane = threadIdx.x % 32, matrix = lane / 8, in = lane % 8;
    const uint32_t base = (uint32_t)__cvta_generic_to_shared(shared);
    const uint32_t query = base + S::QUERY + chunk_at<S>(row + (matrix & 1) * 8 + in, matrix >> 1);
    const uint32_t key = base + S::KEY + chunk_at<S>(from + (matrix >> 1) * 8 + in, matrix & 1);
#pragma unroll
    for (int i = 0; i < 2 * PAIRS; i++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            s[i][c] = 0;
#pragma unroll(S::SHARED ? 4 : 1)
    for (int k = 0; k < width / 16; k++) {
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

/* A warp's scores to where all warps of its rows find them. SHARERS is 4: 16 positions each. */
template <class S>
static __device__ __forceinline__ void give_scores(uint8_t *shared, const float (&s)[2][4],
                                                   int slice)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float *to = (float *)(shared + S::SCORE) + g * SCORE_PITCH + 16 * slice + 2 * t;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        *(float2 *)(to + 8 * i) = {s[i][0], s[i][1]};
        *(float2 *)(to + 8 * i + 8 * SCORE_PITCH) = {s[i][2], s[i][3]};
    }
}

template <class S>
static __device__ __forceinline__ void take_scores(float (&s)[8][4], const uint8_t *shared)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const float *from = (const float *)(shared + S::SCORE) + g * SCORE_PITCH + 2 * t;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float2 low = *(const float2 *)(from + 8 * i);
        const float2 high = *(const float2 *)(from + 8 * i + 8 * SCORE_PITCH);
        s[i][0] = low.x, s[i][1] = low.y, s[i][2] = high.x, s[i][3] = high.y;
    }
}

/* Scores in powers of two; -inf beyond a row's position. */
template <class S>
static __device__ __forceinline__ void scale_scores(float (&s)[8][4], const uint8_t *shared,
                                                    float factor, int tile,
                                                    const int (&position)[2], int lowest)
{
    const int t = threadIdx.x % 4;
    const bool boundary = (tile + 1) * TILE_POSITIONS - 1 > lowest;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float2 f = {factor, factor};
        if constexpr (S::INT8) {
            const float2 scale =
                *(const float2 *)((const float *)(shared + S::SCALE) + 8 * i + 2 * t);
            f = {__fmul_rn(factor, scale.x), __fmul_rn(factor, scale.y)};
        }
#pragma unroll
        for (int c = 0; c < 4; c++)
            s[i][c] = __fmul_rn(s[i][c], c & 1 ? f.y : f.x);
    }
    if (!boundary)
        return;
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (tile * TILE_POSITIONS + 8 * i + 2 * t + (c & 1) > position[c >> 1])
                s[i][c] = -INFINITY;
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

/* p += weights times values, columns from `column` on. */
template <class S>
static __device__ __forceinline__ void add_values(partial<S::N> &p, const float (&s)[8][4],
                                                  const uint8_t *shared, int column, int width)
{
    const int lane = threadIdx.x % 32, matrix = lane / 8, in = lane % 8, t = lane % 4;
    const uint32_t value = (uint32_t)__cvta_generic_to_shared(shared) + S::VALUE +
                           chunk_at<S>((matrix & 1) * 8 + in, column / 8 + (matrix >> 1));
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint32_t w[4], b[4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float *x = s[2 * k + i];
            float2 f = {1, 1};
            if constexpr (S::INT8)
                f = *(const float2 *)((const float *)(shared + S::SCALE) + TILE_POSITIONS +
                                      8 * (2 * k + i) + 2 * t);
            w[2 * i] = pack_bf16x2(x[0] * f.x, x[1] * f.y);
            w[2 * i + 1] = pack_bf16x2(x[2] * f.x, x[3] * f.y);
        }
#pragma unroll
        for (int n = 0; n < S::N; n += 2)
            if (column + 8 * n < width) {
                load_transposed(b, (value ^ (n << 4)) + k * 16 * S::PITCH);
                mma_bf16(p.o[n], w, b[0], b[1]);
                mma_bf16(p.o[n + 1], w, b[2], b[3]);
            }
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

/* A warp's 16 rows: the first, positions of lane's two, the lowest of all. */
struct rows {
    int first, position[2], lowest;
};

static __device__ __forceinline__ rows rows_of(const attend_args &a, const place &p, int first)
{
    const int group = a.H / a.K, g = threadIdx.x % 32 / 4, before = p.length - p.n;
    return {first,
            {before + (first + g) / group, before + (first + g + 8) / group},
            before + first / group};
}

/* Scores of the tile in s; afterwards nobody needs its keys. */
template <class S>
static __device__ __forceinline__ void tile_scores(float (&s)[8][4], uint8_t *shared, int warp,
                                                   int width)
{
    if constexpr (S::SHARED) {
        float part[2][4];
        scores<S, 1>(part, shared, 0, 16 * warp, width);
        give_scores<S>(shared, part, warp);
        __syncthreads();
        take_scores<S>(s, shared);
    } else {
        scores<S, 4>(s, shared, warp / S::SHARERS * 16, 0, width);
    }
}

/* Tiles [tile, end) for the block's rows; total has their sum, p is its place for a split. One
 * buffer of keys and one of values: keys load while values are used, and the other way round. */
template <class S, bool MERGE>
static __device__ __forceinline__ void walk(partial<S::N> &total, uint8_t *shared,
                                            const attend_args &a, const place &p, int row, int tile,
                                            int end)
{
    const int warp = threadIdx.x / 32, column = warp % S::SHARERS * S::COLUMNS;
    const rows rows = rows_of(a, p, row + warp / S::SHARERS * 16);
    partial<S::N> part;
    load_pages<S>(shared, p, tile);
    load_queries<S>(shared, a, p, row);
    __syncthreads();
    load_tile<S>(shared, a, p, tile, 0);
    copy_commit();
    clear(total);
    clear(part);
#pragma unroll 1
    for (; tile < end; tile++) {
        float s[8][4];
        load_tile<S>(shared, a, p, tile, 1);
        copy_commit();
        load_pages<S>(shared, p, tile + 1);
        copy_wait<1>();
        __syncthreads();
        tile_scores<S>(s, shared, warp, a.width);
        scale_scores<S>(s, shared, a.scale_log2, tile, rows.position, rows.lowest);
        __syncthreads();
        if (tile + 1 < end)
            load_tile<S>(shared, a, p, tile + 1, 0);
        copy_commit();
        soften(s, part);
        copy_wait<1>();
        __syncthreads();
        add_values<S>(part, s, shared, column, a.width);
        __syncthreads();
        if constexpr (MERGE)
            if ((tile + 1) % (SPLIT_POSITIONS / TILE_POSITIONS) == 0 || tile + 1 == end) {
                end_split(part);
                merge_split(total, part);
                clear(part);
            }
    }
    if constexpr (!MERGE) {
        end_split(part);
        total = part;
    }
}
