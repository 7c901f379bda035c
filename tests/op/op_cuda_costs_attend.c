/* What the kernels of attention ask of memory. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/attend.h"
#include "../../kernels/cuda/kv.h"

#define TILE_PAGES (TILE_POSITIONS / PAGE_TOKENS)

/* S sequences alike, each with n tokens behind `before` positions. */
struct shape {
    int H, K, dim;
    enum kv_type type;
    int S, n, before;
    enum rope_kind rope;
};

/* Heads of SmolLM2 (9 and 3 of 64), of Llama (four queries to a key, of 128), of 256. */
static const struct shape shapes[] = {
    {9, 3, 64, KV_BF16, 2, 1, 199, ROPE_INTERLEAVED},
    {9, 3, 64, KV_BF16, 2, 1, 511, ROPE_INTERLEAVED},
    {9, 3, 64, KV_INT8, 2, 1, 511, ROPE_INTERLEAVED},
    {9, 3, 64, KV_FP8, 2, 1, 511, ROPE_INTERLEAVED},
    {8, 2, 128, KV_BF16, 8, 1, 255, ROPE_HALF},
    {8, 2, 128, KV_BF16, 1, 1, 1023, ROPE_INTERLEAVED},
    {8, 2, 128, KV_INT8, 1, 1, 1023, ROPE_HALF},
    {8, 2, 128, KV_FP8, 1, 1, 1023, ROPE_HALF},
    {4, 1, 256, KV_BF16, 1, 1, 511, ROPE_HALF},
    {4, 1, 256, KV_INT8, 1, 1, 511, ROPE_HALF},
    {4, 1, 256, KV_FP8, 1, 1, 511, ROPE_HALF},
    {3, 1, 64, KV_BF16, 1, 512, 0, ROPE_INTERLEAVED},
    {3, 1, 64, KV_INT8, 1, 256, 0, ROPE_INTERLEAVED},
    {3, 1, 64, KV_FP8, 1, 256, 0, ROPE_INTERLEAVED},
    {4, 1, 128, KV_BF16, 1, 128, 128, ROPE_HALF},
    {4, 1, 128, KV_INT8, 1, 128, 128, ROPE_HALF},
    {4, 1, 128, KV_FP8, 1, 128, 128, ROPE_HALF},
    {4, 1, 256, KV_BF16, 1, 128, 0, ROPE_HALF},
    {4, 1, 256, KV_INT8, 1, 128, 0, ROPE_HALF},
    {4, 1, 256, KV_FP8, 1, 128, 0, ROPE_HALF},
};

static int length(const struct shape *s)
{
    return s->before + s->n;
}

static int group(const struct shape *s)
{
    return s->H / s->K;
}

static bool is_decode(const struct shape *s)
{
    return s->n * group(s) <= DECODE_ROWS;
}

static bool is_scaled(const struct shape *s)
{
    return s->type != KV_BF16;
}

static const char *const type_name[] = {[KV_BF16] = "bf16", [KV_INT8] = "int8", [KV_FP8] = "fp8"};

static const char *shape_name(const struct shape *s)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "%d/%d/%d %s %dx%d to %d", s->H, s->K, s->dim,
                   type_name[s->type], s->S, s->n, length(s));
    return text;
}

/* Keys and values of one head and position. */
static int64_t kv_bytes(const struct shape *s)
{
    return is_scaled(s) ? 2 * (s->dim + 4) : 4 * s->dim;
}

/* rotate.h, for what prefill.h has: a warp reads its head, and if it turns, the token's rotary row
 * from L1; where its token belongs, and its slot. */
static struct traffic rotate_design(const struct shape *s)
{
    const int64_t T = s->S * s->n, row = s->dim * 4, turned = T * (s->H + s->K);
    const int64_t heads = T * (s->H + 2 * s->K);
    const int64_t number = is_scaled(s) ? 1 : 2, scale = is_scaled(s) ? 1 : 0;
    struct traffic t = {0};
    add_read(&t, heads * row, heads * row / SECTOR);
    add_read(&t, turned * row, turned * row / SECTOR);
    add_broadcasts(&t, 5 * heads);
    add_written(&t, T * s->H * s->dim * 2, T * s->H * s->dim * 2 / SECTOR);
    add_written(&t, T * 2 * s->K * (s->dim * number + 4 * scale),
                T * 2 * s->K * (s->dim * number / SECTOR + scale));
    return t;
}

static struct traffic rotate_least(const struct shape *s)
{
    const int64_t T = s->S * s->n, row = s->dim * 4;
    return traffic_least(T * (s->H + 2 * s->K) * row + T * row,
                         T * (s->H * s->dim * 2 + s->K * kv_bytes(s)));
}

/* Zeros that cp.async writes where it reads nothing: the simulated GPU counts the mean of what such
 * a copy reads and writes. They are at the end of a tile and of a block's rows. */
static void add_zeros(struct traffic *t, const struct shape *s, int64_t positions, int64_t rows)
{
    add_read(t, (positions * kv_bytes(s) + rows * s->dim * 2) / 2, 0);
}

static int width_of(const struct shape *s)
{
    return s->dim <= 64 ? 64 : s->dim <= 128 ? 128 : 256;
}

/* What a block of prefill.h asks for that has so many tiles and rows: keys and values of their
 * positions and the rows' queries once; by each of its warps the pages of eight tiles at a time,
 * and twice first row and last row, once the length. */
static void add_block(struct traffic *t, const struct shape *s, int tiles, int rows)
{
    const int64_t positions = MIN(tiles * TILE_POSITIONS, length(s)),
                  q = (int64_t)rows * s->dim * 2;
    const int all = (length(s) + PAGE_TOKENS - 1) / PAGE_TOKENS, warps = PREFILL_WARPS(width_of(s));
    add_read(t, positions * kv_bytes(s), positions * kv_bytes(s) / SECTOR);
    add_read(t, q, q / SECTOR);
    for (int page = 0; page < tiles * TILE_PAGES; page += WARP) {
        const int pages = MIN(WARP, all - page);
        add_read(t, warps * pages * 4, warps * ((pages * 4 + SECTOR - 1) / SECTOR));
    }
    add_broadcasts(t, 5 * warps);
}

/* The wavefronts of tiles in shared memory, if no lanes of one request met on a bank. Each: 16
 * bytes of keys and values at a time, of int8 and fp8 also to and from another place before, with
 * scales. */
static int64_t load_wavefronts(const struct shape *s, int tiles)
{
    const int stores = 2 * TILE_POSITIONS * s->dim / 8 / WARP;
    const bool scaled = is_scaled(s);
    return (int64_t)tiles * (4 * stores * (scaled ? 2 : 1) + (scaled ? 4 : 0));
}

/* Of a warp that works on so many tiles and has 1 / sharers of the output's columns: ldmatrix of
 * queries, of keys and of values; scales in pairs of floats. */
static int64_t warp_wavefronts(const struct shape *s, int tiles, int keys, int sharers)
{
    const int scores = s->dim / 16 * (1 + keys), values = 4 * (s->dim / sharers / 16);
    return (int64_t)tiles * (4 * (scores + values) + (is_scaled(s) ? (8 + 8) * 2 : 0));
}

/* Rows of queries, 16 bytes at a time. */
static int64_t query_wavefronts(const struct shape *s, int rows)
{
    return 4 * rows * s->dim / 8 / WARP;
}

/* What all blocks of a launch ask for. branches: those that part a warp's lanes, at most. Pages are
 * loaded by as many lanes as there are pages, by each warp of a split or of eight tiles. At
 * its two ends a block of decode has warps with more rows than there are, and one that keeps max
 * and sum; the step's own positions are for some lanes of a warp, their scales for one, twelve
 * branches for a key and a value; of several splits one thread of each counts, and the last may
 * have four warps that are not full. */
struct design {
    struct traffic traffic;
    int64_t wavefronts, branches;
};

static struct design of_all_heads(struct design one, int64_t heads)
{
    return (struct design){{one.traffic.read * heads, one.traffic.written * heads,
                            one.traffic.sectors_read * heads, one.traffic.sectors_written * heads},
                           one.wavefronts * heads,
                           one.branches * heads};
}

/* A block of decode.h with positions [first, end): keys and values of those before the step; by
 * each of its four warps the pages of all, first row, last row and length; the heads of its rows
 * and of the step's own keys and values, with a rotary row for those that turn. */
static void add_split(struct traffic *t, const struct shape *s, int first, int end)
{
    const int fresh = MAX(end - MAX(first, s->before), 0), rows = s->n * group(s);
    const int64_t old = end - first - fresh, row = s->dim * 4;
    const int pages = (end - first + PAGE_TOKENS - 1) / PAGE_TOKENS;
    const int64_t heads = (2 * (rows + fresh) + fresh) * row;
    add_read(t, old * kv_bytes(s), old * kv_bytes(s) / SECTOR);
    add_zeros(t, s, ROUND_UP(end - first, TILE_POSITIONS) - (end - first), 0);
    add_read(t, 4 * pages * 4, 4 * ((pages * 4 + SECTOR - 1) / SECTOR));
    add_broadcasts(t, 4 * 3);
    add_read(t, heads, heads / SECTOR);
    add_written(t, fresh * kv_bytes(s), fresh * ((kv_bytes(s) + SECTOR - 1) / SECTOR));
}

/* decode.h: a block for each split of 256 positions; its warps exchange scores as pairs. The only
 * one of a sequence gives y. Of several each gives the output and its max and sum for each row, and
 * counts; the last reads them, max and sum for every four columns, and gives y. */
static struct design decode_design(const struct shape *s)
{
    const int splits = attend_splits(length(s)), rows = s->n * group(s);
    const int64_t y = (int64_t)rows * s->dim * 4, fours = rows * s->dim / 4;
    struct design one = {0};
    for (int i = 0; i < splits; i++) {
        const int first = i * SPLIT_POSITIONS, end = MIN(first + SPLIT_POSITIONS, length(s));
        const int tiles = (end - first + TILE_POSITIONS - 1) / TILE_POSITIONS;
        add_split(&one.traffic, s, first, end);
        add_written(&one.traffic, y, y / SECTOR);
        one.wavefronts += load_wavefronts(s, tiles) + 4 * warp_wavefronts(s, tiles, 1, 4);
        one.wavefronts += tiles * 4 * (4 + 16) * 2 + query_wavefronts(s, DECODE_ROWS);
        one.branches += 4 + 6;
    }
    one.branches += s->n * (is_scaled(s) ? 12 : 6);
    if (splits > 1) {
        one.branches += splits + 4;
        add_written(&one.traffic, splits * rows * 8, splits * ((rows * 8 + SECTOR - 1) / SECTOR));
        add_written(&one.traffic, y, y / SECTOR);
        add_read(&one.traffic, splits * (y + fours * 8), splits * (y / SECTOR + fours / WARP));
        add_read(&one.traffic, splits * 4, splits);
    }
    return of_all_heads(one, s->S * s->K);
}

/* prefill.h: a block for each so many rows, tiles up to the position of its last; its warps, if
 * each has all columns of its rows, to that of theirs. */
static struct design prefill_design(const struct shape *s)
{
    const int rows = s->n * group(s), W = width_of(s), sharers = W > 128 ? 2 : 1;
    const int64_t y = (int64_t)rows * s->dim * 4;
    struct design one = {0};
    for (int row = 0; row < rows; row += PREFILL_ROWS(W)) {
        const int last = MIN((row + PREFILL_ROWS(W) - 1) / group(s), s->n - 1);
        const int tiles = (s->before + last) / TILE_POSITIONS + 1;
        add_block(&one.traffic, s, tiles, MIN(PREFILL_ROWS(W), rows - row));
        one.wavefronts += load_wavefronts(s, tiles) + query_wavefronts(s, PREFILL_ROWS(W));
        one.branches += PREFILL_WARPS(W) * (1 + tiles / 8);
        for (int at = row; at < row + PREFILL_ROWS(W); at += 16) {
            const int own = (s->before + (at + 15) / group(s)) / TILE_POSITIONS + 1;
            const int walked = ATTEND_STAGES(W, is_scaled(s)) == 2 ? MIN(own, tiles) : tiles;
            one.wavefronts += sharers * warp_wavefronts(s, walked, 4, sharers);
        }
    }
    add_written(&one.traffic, y, y / SECTOR);
    return of_all_heads(one, s->S * s->K);
}

/* Of all blocks: tiles of keys and values that they need, and what they write. */
struct share {
    int64_t positions; /* of a sequence and key/value head, of all blocks */
    int64_t partials;  /* splits whose results are merged */
};

static struct share share_of(const struct shape *s)
{
    const int splits = attend_splits(length(s)), rows = s->n * group(s);
    if (is_decode(s))
        return (struct share){length(s), splits > 1 ? splits : 0};
    struct share share = {0};
    const int block = PREFILL_ROWS(width_of(s));
    for (int row = 0; row < rows; row += block) {
        const int last = s->before + MIN((row + block - 1) / group(s), s->n - 1);
        share.positions += MIN((last / TILE_POSITIONS + 1) * TILE_POSITIONS, length(s));
    }
    return share;
}

/* Queries and outputs once, keys and values once for each block that needs their tile; partial
 * results where a sequence is split, written and read. decode.h has the heads' rows as they come
 * and appends the step's own keys and values. */
static struct traffic attend_least(const struct shape *s)
{
    const struct share share = share_of(s);
    const int64_t T = s->S * s->n, y = T * s->H * s->dim * 4, partial = y + T * s->H * 8;
    const int64_t kv = s->S * s->K * share.positions * kv_bytes(s);
    if (!is_decode(s))
        return traffic_least(T * s->H * s->dim * 2 + kv, y);
    return traffic_least(y + T * 2 * s->K * s->dim * 4 + kv + share.partials * partial,
                         y + T * s->K * kv_bytes(s) + share.partials * partial);
}

static enum kernel variant(const struct shape *s, enum kernel first)
{
    const int width = width_of(s) == 64 ? 0 : width_of(s) == 128 ? 1 : 2;
    return (enum kernel)((int)first + width + 3 * (int)s->type);
}

/* int8 and fp8 of width 128 and 256 are stored by lanes that have every other piece of 16 bytes of
 * a row, so eight of them meet on the banks of four: 8 wavefronts where 4 are the ideal. */
static int64_t wavefronts_allowed(const struct shape *s)
{
    return s->type == KV_BF16 || s->dim == 64 ? 105 : 135;
}

/* What DRAM must move: keys and values once, though every block asks for them. */
static struct traffic moved_least(const struct shape *s)
{
    const int64_t again = share_of(s).positions - length(s);
    struct traffic least = attend_least(s);
    add_read(&least, -s->S * s->K * again * kv_bytes(s),
             -s->S * s->K * again * kv_bytes(s) / SECTOR);
    return least;
}

static void check_rotate(const struct shape *s)
{
    const enum kernel rotate = (enum kernel)(KERNEL_rotate_bf16 + s->type);
    const struct gpu_kernel_counts counts = costs_of(rotate);
    const struct traffic got = traffic_of(&counts), want = rotate_design(s);
    const struct traffic least = rotate_least(s);
    print_traffic(shape_name(s), rotate, &got, &least);
    check_least(shape_name(s), rotate, &counts, &least, 105);
    check_traffic(shape_name(s), rotate, &got, &want, 0);
}

static void check_shape(const struct shape *s)
{
    const enum kernel kernel =
        variant(s, is_decode(s) ? KERNEL_decode_bf16_64 : KERNEL_prefill_bf16_64);
    if (!is_decode(s))
        check_rotate(s);
    const struct gpu_kernel_counts counts = costs_of(kernel);
    const struct traffic got = traffic_of(&counts), least = attend_least(s);
    const struct design design = is_decode(s) ? decode_design(s) : prefill_design(s);
    print_traffic(shape_name(s), kernel, &got, &least);
    const struct traffic once = moved_least(s);
    check_least(shape_name(s), kernel, &counts, &once, 110);
    /* Rows of partial results begin where they may, up to two sectors a block. */
    check_traffic(shape_name(s), kernel, &got, &design.traffic,
                  is_decode(s) ? 2 * s->S * s->K * attend_splits(length(s)) : 0);
    check_wavefronts(shape_name(s), kernel, &counts, design.wavefronts, wavefronts_allowed(s));
    CHECK((int64_t)counts.divergent <= design.branches);
    CHECK((got.sectors_read + got.sectors_written) * 100 <=
          (least.sectors_read + least.sectors_written) * 110);
    printf("  %-16s %-30s keys and values %.2f times\n", costs_name(kernel), shape_name(s),
           (double)share_of(s).positions / length(s));
}

struct bench {
    struct op_attend op;
    struct batch batch;
};

static int attend_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.attend(lane, &b->op, &b->batch);
}

static void *zeros(struct device *device, size_t bytes)
{
    void *host = calloc(1, bytes), *array = cuda_array(device, host, bytes);
    free(host);
    return array;
}

/* Runs it over pages of zeros, a sequence after the other. */
static void run_attend(struct device *device, const struct shape *s)
{
    enum { T_MAX = 512, PAGES_MAX = 256 };
    static int32_t page[PAGES_MAX], position[T_MAX], token[T_MAX];
    static struct batch_seq seq[8];
    const int pages = (length(s) + PAGE_TOKENS - 1) / PAGE_TOKENS, T = s->S * s->n;
    const size_t qkv = (size_t)(T * (s->H + 2 * s->K) * s->dim) * sizeof(float);
    const size_t y = (size_t)(T * s->H * s->dim) * sizeof(float);
    const size_t rotary = (size_t)(T * s->dim) * sizeof(float);
    void *pool = calloc(1, device->kv_bytes);
    CHECK_EQ(backend_cuda.write(device, (void *)(uintptr_t)device->kv, pool, device->kv_bytes), 0);
    free(pool);
    for (int i = 0; i < s->S * pages; i++)
        page[i] = i;
    for (int i = 0; i < T; i++)
        position[i] = s->before + i % s->n;
    for (int i = 0; i < s->S; i++)
        seq[i] = (struct batch_seq){i * s->n, s->n, s->before, page + i * pages};
    struct bench b = {
        .op = {.qkv = zeros(device, qkv),
               .y = zeros(device, y),
               .rotary = zeros(device, rotary),
               .eps = 1e-5f,
               .scale = 0.1f,
               .H = s->H,
               .K = s->K,
               .dim = s->dim,
               .rope = (int32_t)s->rope},
        .batch = {.T = T, .S = s->S, .token = token, .position = position, .seq = seq}};
    CHECK_EQ(backend_cuda.run(device, attend_body, &b), 0);
    cuda_drop(device, b.op.qkv, qkv);
    cuda_drop(device, b.op.y, y);
    cuda_drop(device, b.op.rotary, rotary);
}

TEST(cuda_costs, attention_reads_keys_and_values_once_for_its_rows)
{
    for (size_t i = 0; i < COUNT_OF(shapes) && costs_open(); i++) {
        const struct shape *s = &shapes[i];
        const struct device_config config = {.threads = 1,
                                             .max_tokens = s->S * s->n,
                                             .max_rows = 1,
                                             .max_context = length(s),
                                             .max_width = 64,
                                             .L = 1,
                                             .H = s->H,
                                             .K = s->K,
                                             .dim = s->dim,
                                             .kv_type = (int32_t)s->type,
                                             .kv_pages = s->S * (length(s) / PAGE_TOKENS + 1)};
        struct device *device = cuda_device(&config);
        if (!device)
            return;
        run_attend(device, s);
        check_shape(s);
        backend_cuda.close(device);
    }
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
