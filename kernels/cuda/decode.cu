/* Attention of few rows, split by positions: decode.h. */
#include "decode.h"

#include "attend.cuh"
#include "heads.cuh"

/* Shared memory behind queries and tiles: scores, and the step's own keys and values. */
template <int TYPE_, int W_> struct decode_shape : shape<TYPE_, W_, 4, 4> {
    using S = shape<TYPE_, W_, 4, 4>;
    static constexpr int SCORE = S::END, FRESH = SCORE + 4 * SCORE_PITCH * DECODE_ROWS;
    static constexpr int PAIRS = W_ / 64; /* of a lane, of a head */
    static_assert(S::ROWS == DECODE_ROWS && FRESH == DECODE_SHARED(W_, S::SCALED, 0),
                  "as launched");
};

/* A block's part: rows [row, row + rows) of a sequence, tiles [begin, tiles) of the positions from
 * `first` on. Positions from `old` on are the step's own. */
struct part_of {
    place p;
    int row, rows, first, old, begin, tiles;
    int fresh, n_fresh; /* the step's own positions that the part has */
    int page;           /* of positions first + 16 lane */
};

static __device__ __forceinline__ part_of part(const attend_args &a, const place &p, int row,
                                               int first)
{
    const int end = min(first + SPLIT_POSITIONS, p.length), old = p.length - p.n;
    const int seen = max(attend_first_seen(old, a.window) - first, 0);
    return {p,
            row,
            min(DECODE_ROWS, p.n * (a.H / a.K) - row),
            first,
            old,
            seen / TILE_POSITIONS,
            (end - first + TILE_POSITIONS - 1) / TILE_POSITIONS,
            max(first, old),
            max(end - max(first, old), 0),
            page_of(a, p, first / PAGE_TOKENS + threadIdx.x % 32, end)};
}

static __device__ __forceinline__ span span_of(const part_of &part, int tile)
{
    return {part.first + tile * TILE_POSITIONS, part.old, part.p.length};
}

/* Begins to load a tile's keys or values of the positions before the step: a group of copies. */
template <class S>
static __device__ __forceinline__ void load(uint8_t *shared, const attend_args &a,
                                            const part_of &part, int tile, int kind)
{
    if (tile < part.tiles)
        load_tile<S>(shared, a, part.p, span_of(part, tile), part.page, tile * TILE_PAGES, tile,
                     kind);
    copy_commit();
}

/* ---- What is of the step itself */

/* Items of a part: its rows, then key and value of each of its own positions. Warp i % 4 has item
 * i, from beginning to end. */
static __device__ __forceinline__ int items_of(const part_of &part)
{
    return part.rows + 2 * part.n_fresh;
}

static __device__ __forceinline__ head_source item_source(const attend_args &a, const part_of &part,
                                                          int i)
{
    const int group = a.H / a.K, r = part.row + i, fresh = (i - part.rows) >> 1;
    if (i < part.rows)
        return source_of(a, part.p.first + r / group, part.p.head * group + r % group,
                         part.old + r / group);
    return source_of(a, part.p.first + part.fresh - part.old + fresh,
                     a.H + (i - part.rows) % 2 * a.K + part.p.head, 0);
}

template <class S>
static __device__ __forceinline__ uint8_t *fresh_at(uint8_t *shared, const part_of &part, int i)
{
    return shared + S::FRESH + (i - part.rows) * DECODE_FRESH(S::W);
}

/* A key or value to shared memory and, once for all blocks that have it, to its page. */
template <class S>
static __device__ __forceinline__ void keep(uint8_t *shared, const attend_args &a,
                                            const part_of &part, head<S::PAIRS> &h, int half, int i)
{
    const int position = part.fresh + (i - part.rows) / 2, kind = (i - part.rows) % 2;
    const int page = __shfl_sync(ALL_LANES, part.page, (position - part.first) / PAGE_TOKENS);
    uint8_t *block = part.p.pool + (uint64_t)page * a.page_bytes;
    uint16_t *to = (uint16_t *)fresh_at<S>(shared, part, i);
    float scale = 0;
    if constexpr (S::SCALED) {
        scale = quantize<S::TYPE>(h);
        if (threadIdx.x % 32 == 0)
            *(float *)(to + S::W) = scale;
    }
    store_bf16(h, a, half, [to](int column) { return to + column; });
    if (part.row == 0)
        append<S::TYPE>(h, a, half, block, position, kind, scale);
}

/* All items, each loaded while the one before it is at work; zeros for rows that are missing. */
template <class S>
static __device__ __forceinline__ void load_step(uint8_t *shared, const attend_args &a,
                                                 const part_of &part)
{
    const int warp = threadIdx.x / 32, n = items_of(part);
    head<S::PAIRS> h, next;
    head_source from = {}, after = {};
    if (warp < n) {
        from = item_source(a, part, warp);
        load_head(h, a, from);
    }
#pragma unroll 1
    for (int i = warp; i < n; i += S::WARPS) {
        if (i + S::WARPS < n) {
            after = item_source(a, part, i + S::WARPS);
            load_head(next, a, after);
        }
        rotate_head(h, a, from);
        if (i < part.rows) {
            uint8_t *q = shared + S::QUERY;
            store_bf16(h, a, from.half, [q, i](int column) {
                return (uint16_t *)(q + chunk_at<S>(i, column / 8)) + column % 8;
            });
        } else {
            keep<S>(shared, a, part, h, from.half, i);
        }
        from = after;
        h = next;
    }
}

template <class S>
static __device__ __forceinline__ void clear_rows(uint8_t *shared, const part_of &part, int width)
{
    constexpr int CHUNKS = S::W / 8;
    for (int i = part.rows * CHUNKS + threadIdx.x; i < DECODE_ROWS * CHUNKS; i += S::THREADS)
        if (i % CHUNKS * 8 < width)
            *(uint4 *)(shared + S::QUERY + chunk_at<S>(i / CHUNKS, i % CHUNKS)) = {0, 0, 0, 0};
}

/* The step's own keys or values of a tile to their rows in it: each warp what it has kept. */
template <class S>
static __device__ __forceinline__ void place_step(uint8_t *shared, const attend_args &a,
                                                  const part_of &part, int tile, int kind)
{
    const int first = part.first + tile * TILE_POSITIONS, lane = threadIdx.x % 32;
    if (first + TILE_POSITIONS <= part.fresh)
        return;
    __syncwarp();
    for (int i = threadIdx.x / 32; i < items_of(part); i += S::WARPS) {
        const int row = part.fresh + (i - part.rows) / 2 - first;
        if (i < part.rows || (i - part.rows) % 2 != kind || row < 0 || row >= TILE_POSITIONS)
            continue;
        const uint8_t *from = fresh_at<S>(shared, part, i);
        if (lane * 8 < a.width)
            *(uint4 *)(shared + S::tile(tile, kind) + chunk_at<S>(row, lane)) =
                *(const uint4 *)(from + lane * 16);
        if (S::SCALED && lane == 0)
            ((float *)(shared + S::scales(tile, kind)))[row] = *(const float *)(from + S::PITCH);
    }
}

/* ---- Scores, output */

/* A warp's scores, those of 16 positions, to where all find them. */
template <class S>
static __device__ __forceinline__ void give_scores(uint8_t *shared, const float (&s)[2][4])
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, slice = threadIdx.x / 32;
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

/* Keys or values of a tile, for all warps after the next barrier. Groups of copies are keys,
 * values, keys ... of the tiles in turn, 2 STAGES at a time. */
template <class S>
static __device__ __forceinline__ void finish_load(uint8_t *shared, const attend_args &a,
                                                   const part_of &part, int tile, int kind)
{
    copy_wait<2 * S::STAGES - 1>();
    if constexpr (S::SCALED) {
        unpack_tile<S>(shared, span_of(part, tile), a.width, kind);
        load<S>(shared, a, part, tile + 1, kind);
    }
    place_step<S>(shared, a, part, tile, kind);
}

/* The sum over a part's tiles, whose first STAGES are on their way. A tile of bfloat16 is loaded
 * when the one whose place it takes has been used. */
template <class S>
static __device__ __forceinline__ void walk(partial<S::N> &sum, uint8_t *shared,
                                            const attend_args &a, const part_of &part)
{
    const int warp = threadIdx.x / 32;
    const rows rows = rows_of(a, part.p, part.row);
    const uint32_t base = shared_address(shared);
    clear(sum);
#pragma unroll 1
    for (int tile = part.begin; tile < part.tiles; tile++) {
        float slice[2][4], s[8][4];
        uint32_t packed[4][4];
        finish_load<S>(shared, a, part, tile, 0);
        __syncthreads();
        scores<S, 1>(slice, base + S::QUERY, base + S::tile(tile, 0), 0, 16 * warp);
        give_scores<S>(shared, slice);
        __syncthreads();
        if constexpr (!S::SCALED)
            load<S>(shared, a, part, tile + S::STAGES, 0);
        take_scores<S>(s, shared);
        finish_scores<S>(s, (const float *)(shared + S::scales(tile, 0)), a, part.p, rows,
                         part.first / TILE_POSITIONS + tile);
        soften(s, sum);
        finish_load<S>(shared, a, part, tile, 1);
        __syncthreads();
        pack_weights<S>(packed, s, (const float *)(shared + S::scales(tile, 1)));
        add_values<S>(sum, packed, base + S::tile(tile, 1), warp * S::COLUMNS);
        __syncthreads();
        if constexpr (!S::SCALED)
            load<S>(shared, a, part, tile + S::STAGES, 1);
    }
    end_split(sum);
}

/* The first split that a row of the sequence sees something of, and how many there are. */
static __device__ __forceinline__ int first_split(const attend_args &a, const place &p)
{
    return attend_first_seen(p.length - p.n, a.window) / SPLIT_POSITIONS;
}

static __device__ __forceinline__ int splits_of(const attend_args &a, const place &p)
{
    return attend_splits(p.length) - first_split(a, p);
}

/* Where row r of a sequence and head goes. */
static __device__ __forceinline__ float *output_of(const attend_args &a, const place &p, int r)
{
    return a.y + ((size_t)(p.first + r / (a.H / a.K)) * a.H + head_of(a, p, r)) * a.dim;
}

/* The first row of a split in scratch, and rows from one split to the next. */
static __device__ __forceinline__ int64_t scratch_row(const attend_args &a, const place &p,
                                                      int split)
{
    return (((int64_t)(blockIdx.x / a.items) * a.items + split) * a.K + p.head) * a.rows;
}

/* Column pairs of a warp's rows, to y or to scratch. */
template <int N>
static __device__ __forceinline__ void store(const attend_args &a, const part_of &part,
                                             const partial<N> &sum, int column)
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const bool only = splits_of(a, part.p) == 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (g + 8 * i >= part.rows)
            continue;
        const int r = part.row + g + 8 * i, columns = only ? a.dim : a.width;
        const int64_t place = scratch_row(a, part.p, part.first / SPLIT_POSITIONS) + r;
        const float2 end = with_sink(a, head_of(a, part.p, r), sum.max[i], sum.sum[i]);
        float *to = only ? output_of(a, part.p, r) : a.output + place * a.width;
        if (!only && t == 0 && column == 0)
            *(float2 *)(a.pair + 2 * place) = {sum.max[i], sum.sum[i]};
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int at = column + 8 * n + 2 * t;
            float2 o = {sum.o[n][2 * i], sum.o[n][2 * i + 1]};
            if (only)
                o = {divide(o.x, end), divide(o.y, end)};
            if (at < columns)
                *(float2 *)(to + at) = o;
        }
    }
}

/* Whether this block is the last of its sequence, head and rows: all others' results can be read.
 * The counter is then 0 again. told: shared memory. */
static __device__ __forceinline__ bool is_last(const attend_args &a, const part_of &part,
                                               uint32_t *told)
{
    const uint32_t others = (uint32_t)splits_of(a, part.p) - 1;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        *told = atomicInc(a.arrived + blockIdx.x / a.items * gridDim.y + blockIdx.y, others);
    __syncthreads();
    __threadfence();
    return *told == others;
}

/* Columns [column, column + 4) of a row of `dim`, an even number. */
static __device__ __forceinline__ void store_four(float *row, int column, int dim, float4 x)
{
    if (dim % 4 == 0 && column < dim) {
        *(float4 *)(row + column) = x;
    } else {
        if (column < dim)
            *(float2 *)(row + column) = {x.x, x.y};
        if (column + 2 < dim)
            *(float2 *)(row + column + 2) = {x.z, x.w};
    }
}

/* y of the block's rows from all splits: four columns of a row for a thread. */
static __device__ __forceinline__ void merge_splits(const attend_args &a, const part_of &part)
{
    const int fours = a.width / 4, first = first_split(a, part.p), n = splits_of(a, part.p);
    const int64_t step = (int64_t)a.K * a.rows;
    for (int i = threadIdx.x; i < part.rows * fours; i += blockDim.x) {
        const int r = part.row + i / fours, column = i % fours * 4;
        int64_t at = scratch_row(a, part.p, first) + r;
        float max = -INFINITY, sum = 0;
        float4 o = {0, 0, 0, 0};
#pragma unroll 16
        for (int split = 0; split < n; split++, at += step) {
            const float2 pair = __ldcg((const float2 *)(a.pair + 2 * at));
            const float4 other = __ldcg((const float4 *)(a.output + at * a.width + column));
            if (pair.x > -INFINITY) {
                const float2 weights = merge_weights(max, pair.x);
                sum = merge(weights, sum, pair.y);
                o = {merge(weights, o.x, other.x), merge(weights, o.y, other.y),
                     merge(weights, o.z, other.z), merge(weights, o.w, other.w)};
            }
        }
        const float2 end = with_sink(a, head_of(a, part.p, r), max, sum);
        store_four(output_of(a, part.p, r), column, a.dim,
                   {divide(o.x, end), divide(o.y, end), divide(o.z, end), divide(o.w, end)});
    }
}

/* y of a dead row and its head's group (step.h): zeros, for others read it. */
static __device__ __forceinline__ void clear_output(const attend_args &a, const place &p)
{
    wait_for_kernels_before();
    float *y = output_of(a, p, 0);
    for (int i = threadIdx.x; i < a.H / a.K * a.dim; i += blockDim.x)
        y[i] = 0;
}

template <int TYPE, int W> static __device__ __forceinline__ void decode(const attend_args &a)
{
    using S = decode_shape<TYPE, W>;
    extern __shared__ __align__(1024) uint8_t shared[];
    const int row = blockIdx.y / a.K * DECODE_ROWS, first = blockIdx.x % a.items * SPLIT_POSITIONS;
    const place p = place_of(a, a.first_sequence + blockIdx.x / a.items, blockIdx.y % a.K);
    if (p.length == 0 && first == 0 && row == 0)
        clear_output(a, p);
    if (first >= p.length || first / SPLIT_POSITIONS < first_split(a, p) ||
        row >= p.n * (a.H / a.K) || !attend_is_decode(p.n, p.length, a.H, a.K, a.rows_most))
        return;
    const part_of mine = part(a, p, row, first);
#pragma unroll
    for (int i = 0; i < 2 * S::STAGES; i++)
        load<S>(shared, a, mine, mine.begin + i / 2, i % 2);
    clear_columns<S>(shared, a.width);
    clear_rows<S>(shared, mine, a.width);
    wait_for_kernels_before();
    load_step<S>(shared, a, mine);
    partial<S::N> sum;
    walk<S>(sum, shared, a, mine);
    store(a, mine, sum, threadIdx.x / 32 * S::COLUMNS);
    if (splits_of(a, p) > 1 && is_last(a, mine, (uint32_t *)(shared + S::SCORE)))
        merge_splits(a, mine);
}

#define DECODE(type, TYPE, W, blocks)                              \
    extern "C" __global__ void __launch_bounds__(128, blocks)      \
        decode_##type##_##W(const __grid_constant__ attend_args a) \
    {                                                              \
        decode<TYPE, W>(a);                                        \
    }
DECODE(bf16, KV_BF16, 64, 4)
DECODE(bf16, KV_BF16, 128, 3)
DECODE(bf16, KV_BF16, 256, 2)
DECODE(int8, KV_INT8, 64, 4)
DECODE(int8, KV_INT8, 128, 3)
DECODE(int8, KV_INT8, 256, 2)
DECODE(fp8, KV_FP8, 64, 4)
DECODE(fp8, KV_FP8, 128, 3)
DECODE(fp8, KV_FP8, 256, 2)
