/* Attention of many rows: prefill.h. */
#include "prefill.h"

#include "attend.cuh"

/* Rows [row, row + ROWS) of the sequence, zeros beyond it. */
template <class S>
static __device__ __forceinline__ void load_queries(uint8_t *shared, const attend_args &a,
                                                    const place &p, int row)
{
    constexpr int CHUNKS = S::W / 8;
    const int group = a.H / a.K, chunk = threadIdx.x % CHUNKS;
    if (chunk * 8 >= a.width)
        return;
    for (int i = threadIdx.x / CHUNKS; i < S::ROWS; i += S::THREADS / CHUNKS) {
        const int r = min(row + i, p.n * group - 1);
        const size_t head = (size_t)(p.first + r / group) * a.H + p.head * group + r % group;
        copy_if(shared + S::QUERY + chunk_at<S>(i, chunk), a.q + head * a.width + chunk * 8,
                row + i < p.n * group);
    }
}

/* What a block walks over: tiles [begin, end) of a sequence and head; pages of eight tiles at a
 * time, one for each lane. */
struct walker {
    place p;
    int begin, end, page;
};

/* Begins to load keys or values: of the tiles in their order, keys first. A group of copies. */
template <class S>
static __device__ __forceinline__ void load(uint8_t *shared, const attend_args &a, walker &w,
                                            int tile, int kind)
{
    constexpr int TILES = 32 / TILE_PAGES;
    if (tile < w.end) {
        if ((tile % TILES == 0 || tile == w.begin) && kind == 0)
            w.page = page_of(a, w.p, tile / TILES * 32 + threadIdx.x % 32, w.p.length);
        load_tile<S>(shared, a, w.p, {tile * TILE_POSITIONS, w.p.length, w.p.length}, w.page,
                     tile % TILES * TILE_PAGES, tile, kind);
    }
    copy_commit();
}

/* Keys or values of a tile, if there is one place for each kind, for all warps after the next
 * barrier. */
template <class S>
static __device__ __forceinline__ void finish_load(uint8_t *shared, const attend_args &a, walker &w,
                                                   int tile, int kind)
{
    copy_wait<1>();
    if constexpr (S::SCALED) {
        unpack_tile<S>(shared, {tile * TILE_POSITIONS, w.p.length, w.p.length}, a.width, kind);
        load<S>(shared, a, w, tile + 1, kind);
    }
}

/* Weights of a tile. */
template <class S>
static __device__ __forceinline__ void weigh(float (&s)[8][4], partial<S::N> &part,
                                             const uint8_t *shared, const attend_args &a,
                                             const walker &w, const rows &rows, int tile)
{
    finish_scores<S>(s, (const float *)(shared + S::scales(tile, 0)), a, w.p, rows, tile);
    soften(s, part);
}

/* A tile with places for two: the next one loads meanwhile, and warps wait for each other once. A
 * tile of which a warp's rows see nothing is not for it. */
template <class S>
static __device__ __forceinline__ void two_stages(partial<S::N> &part, uint8_t *shared,
                                                  const attend_args &a, walker &w, const rows &rows,
                                                  int tile)
{
    const uint32_t base = shared_address(shared);
    float s[8][4];
    uint32_t packed[4][4];
    copy_wait<0>();
    __syncthreads();
    load<S>(shared, a, w, tile + 1, 0);
    load<S>(shared, a, w, tile + 1, 1);
    if (tile * TILE_POSITIONS > rows.highest ||
        (tile + 1) * TILE_POSITIONS <= attend_first_seen(rows.lowest, a.window))
        return;
    scores<S, 4>(s, base + S::QUERY, base + S::tile(tile, 0), threadIdx.x / 32 * 16, 0);
    weigh<S>(s, part, shared, a, w, rows, tile);
    pack_weights<S>(packed, s, (const float *)(shared + S::scales(tile, 1)));
    add_values<S>(part, packed, base + S::tile(tile, 1), 0);
}

/* A tile with a place for keys and one for values: keys load while values are used, and the other
 * way round. */
template <class S>
static __device__ __forceinline__ void one_stage(partial<S::N> &part, uint8_t *shared,
                                                 const attend_args &a, walker &w, const rows &rows,
                                                 int tile)
{
    const int warp = threadIdx.x / 32;
    const uint32_t base = shared_address(shared);
    float s[8][4];
    uint32_t packed[4][4];
    finish_load<S>(shared, a, w, tile, 0);
    __syncthreads();
    scores<S, 4>(s, base + S::QUERY, base + S::tile(tile, 0), warp / S::SHARERS * 16, 0);
    __syncthreads();
    if constexpr (!S::SCALED)
        load<S>(shared, a, w, tile + 1, 0);
    weigh<S>(s, part, shared, a, w, rows, tile);
    finish_load<S>(shared, a, w, tile, 1);
    __syncthreads();
    pack_weights<S>(packed, s, (const float *)(shared + S::scales(tile, 1)));
    add_values<S>(part, packed, base + S::tile(tile, 1), warp % S::SHARERS * S::COLUMNS);
    __syncthreads();
    if constexpr (!S::SCALED)
        load<S>(shared, a, w, tile + 1, 1);
}

/* The sum over all tiles for the block's rows. */
template <class S>
static __device__ __forceinline__ void walk(partial<S::N> &total, uint8_t *shared,
                                            const attend_args &a, walker &w, int row)
{
    const rows rows = rows_of(a, w.p, row + threadIdx.x / 32 / S::SHARERS * 16);
    partial<S::N> part;
    load<S>(shared, a, w, w.begin, 0);
    load<S>(shared, a, w, w.begin, 1);
    clear(total);
#pragma unroll 1
    for (int tile = w.begin; tile < w.end;) {
        constexpr int TILES = SPLIT_POSITIONS / TILE_POSITIONS;
        const int split_end = min((tile / TILES + 1) * TILES, w.end);
        clear(part);
#pragma unroll 1
        for (; tile < split_end; tile++)
            if constexpr (S::STAGES == 2)
                two_stages<S>(part, shared, a, w, rows, tile);
            else
                one_stage<S>(part, shared, a, w, rows, tile);
        end_split(part);
        merge_split(total, part);
    }
}

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
        const float2 end = with_sink(a, head_of(a, p, r), total.max[i], total.sum[i]);
        float *y = a.y + ((size_t)(p.first + r / group) * a.H + p.head * group + r % group) * a.dim;
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int at = column + 8 * n + 2 * t;
            if (at < a.dim)
                *(float2 *)(y + at) = {divide(total.o[n][2 * i], end),
                                       divide(total.o[n][2 * i + 1], end)};
        }
    }
}

template <int TYPE, int W> static __device__ __forceinline__ void prefill(const attend_args &a)
{
    constexpr int SHARERS = W > 128 ? 2 : 1;
    using S = shape<TYPE, W, PREFILL_WARPS(W), SHARERS>;
    static_assert(S::ROWS == PREFILL_ROWS(W) && S::END == PREFILL_SHARED(W, S::SCALED),
                  "as launched");
    extern __shared__ __align__(1024) uint8_t shared[];
    const int group = a.H / a.K, warp = threadIdx.x / 32;
    const place p = place_of(a, a.first_sequence + blockIdx.x % a.n_sequences, blockIdx.y);
    const int row = (a.items - 1 - (int)(blockIdx.x / a.n_sequences)) * S::ROWS;
    if (row >= p.n * group || attend_is_decode(p.n, p.length, a.H, a.K, a.rows_most))
        return;
    const int last = min((row + S::ROWS - 1) / group, p.n - 1);
    const int before = p.length - p.n, seen = attend_first_seen(before + row / group, a.window);
    walker w = {p, seen / TILE_POSITIONS, (before + last) / TILE_POSITIONS + 1, 0};
    clear_columns<S>(shared, a.width);
    wait_for_kernels_before();
    load_queries<S>(shared, a, p, row);
    partial<S::N> total;
    walk<S>(total, shared, a, w, row);
    store(a, place_of(a, a.first_sequence + blockIdx.x % a.n_sequences, blockIdx.y), total,
          row + warp / S::SHARERS * 16, warp % S::SHARERS * S::COLUMNS);
}

#define PREFILL(type, TYPE, W, blocks)                                          \
    extern "C" __global__ void __launch_bounds__(32 * PREFILL_WARPS(W), blocks) \
        prefill_##type##_##W(const __grid_constant__ attend_args a)             \
    {                                                                           \
        prefill<TYPE, W>(a);                                                    \
    }
PREFILL(bf16, KV_BF16, 64, 3)
PREFILL(bf16, KV_BF16, 128, 1)
PREFILL(bf16, KV_BF16, 256, 1)
PREFILL(int8, KV_INT8, 64, 3)
PREFILL(int8, KV_INT8, 128, 1)
PREFILL(int8, KV_INT8, 256, 1)
PREFILL(fp8, KV_FP8, 64, 3)
PREFILL(fp8, KV_FP8, 128, 1)
PREFILL(fp8, KV_FP8, 256, 1)
