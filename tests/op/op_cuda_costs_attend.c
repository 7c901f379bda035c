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
    {8, 2, 128, KV_BF16, 8, 1, 255, ROPE_HALF},
    {8, 2, 128, KV_BF16, 1, 1, 1023, ROPE_INTERLEAVED},
    {8, 2, 128, KV_INT8, 1, 1, 1023, ROPE_HALF},
    {4, 1, 256, KV_BF16, 1, 1, 511, ROPE_HALF},
    {4, 1, 256, KV_INT8, 1, 1, 511, ROPE_HALF},
    {3, 1, 64, KV_BF16, 1, 512, 0, ROPE_INTERLEAVED},
    {3, 1, 64, KV_INT8, 1, 256, 0, ROPE_INTERLEAVED},
    {4, 1, 128, KV_BF16, 1, 128, 128, ROPE_HALF},
    {4, 1, 128, KV_INT8, 1, 128, 128, ROPE_HALF},
    {4, 1, 256, KV_BF16, 1, 128, 0, ROPE_HALF},
    {4, 1, 256, KV_INT8, 1, 128, 0, ROPE_HALF},
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

static const char *shape_name(const struct shape *s)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "%d/%d/%d %s %dx%d to %d", s->H, s->K, s->dim,
                   s->type == KV_INT8 ? "int8" : "bf16", s->S, s->n, length(s));
    return text;
}

/* Keys and values of one head and position. */
static int64_t kv_bytes(const struct shape *s)
{
    return s->type == KV_INT8 ? 2 * (s->dim + 4) : 4 * s->dim;
}

/* rotate.h: a warp reads its head, and if it turns, the token's rotary row from L1; keys and
 * values ask for their slot. Neighbours, of keys and queries if they are pairs and of values
 * always, come in two loads, of even and of odd columns: of each sector a half, twice. */
static struct traffic rotate_design(const struct shape *s)
{
    const int64_t T = s->S * s->n, row = s->dim * 4, turned = T * (s->H + s->K);
    const int64_t twice = s->rope == ROPE_HALF ? 1 : 2;
    const int64_t number = s->type == KV_INT8 ? 1 : 2, scale = s->type == KV_INT8 ? 1 : 0;
    struct traffic t = {0};
    add_read(&t, turned * row, turned * row / SECTOR * twice);
    add_read(&t, T * s->K * row, T * s->K * row / SECTOR * 2);
    add_read(&t, turned * row, turned * row / SECTOR);
    add_broadcasts(&t, T * 2 * s->K);
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

/* What a block asks for that has tiles [first, end) of a sequence and rows of a head: keys and
 * values of their positions and the rows' queries once; pages of one tile more than it has, a
 * sector for each tile; first row, last row and length by each of its warps. */
static void add_block(struct traffic *t, const struct shape *s, int first, int end, int rows,
                      int warps)
{
    const int64_t positions = MIN(end * TILE_POSITIONS, length(s)) - first * TILE_POSITIONS;
    const int pages = (length(s) + PAGE_TOKENS - 1) / PAGE_TOKENS;
    const int last = MIN(pages, (end + 1) * TILE_PAGES);
    const int64_t q = (int64_t)rows * s->dim * 2;
    add_read(t, positions * kv_bytes(s), positions * kv_bytes(s) / SECTOR);
    add_read(t, q, q / SECTOR);
    add_read(t, (last - first * TILE_PAGES) * 4, (last + TILE_PAGES - 1) / TILE_PAGES - first);
    add_broadcasts(t, 3 * warps);
}

/* The wavefronts of the same block, if no lanes of one request met on a bank. Of a tile: 16 bytes
 * of keys and values at a time, each warp's request after one for its page; ldmatrix; and of a
 * lane in pairs of floats scores that warps exchange, and scales. */
static int64_t block_wavefronts(const struct shape *s, int tiles, int rows, int warps)
{
    const bool decode = is_decode(s), int8 = s->type == KV_INT8;
    const int sharers = decode ? 4 : s->dim > 128 ? 2 : 1;
    const int stores = 2 * TILE_POSITIONS * s->dim / 8 / WARP;
    const int lookups = int8 ? stores / 2 + 4 : stores;
    const int scores = warps * s->dim / 16 * (1 + (decode ? 1 : 4));
    const int values = warps * 4 * (s->dim / sharers / 16);
    const int exchange = decode ? warps * (4 + 16) * 2 : 0;
    const int scales = int8 ? 4 + warps * (8 + 8) * 2 : 0;
    const int tile = 4 * (stores + scores + values) + lookups + exchange + scales + 1;
    return (int64_t)tiles * tile + 1 + 4 * rows * s->dim / 8 / WARP;
}

/* What all blocks of a launch ask for. branches: those that part a warp's lanes, at most. The pages
 * of a tile are loaded by the lanes that they are as many as; at its two ends a block of decode
 * has warps with more rows than there are, and one that keeps max and sum. */
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

/* decode.h: a block for each split of 256 positions. The only one of a sequence gives y, others
 * the output and its max and sum for each row. */
static struct design decode_design(const struct shape *s)
{
    const int splits = attend_splits(length(s)), rows = s->n * group(s);
    const int64_t y = (int64_t)rows * s->dim * 4;
    struct design one = {0};
    for (int i = 0; i < splits; i++) {
        const int first = i * SPLIT_POSITIONS / TILE_POSITIONS;
        const int all = (length(s) + TILE_POSITIONS - 1) / TILE_POSITIONS;
        const int end = MIN(first + SPLIT_POSITIONS / TILE_POSITIONS, all);
        add_block(&one.traffic, s, first, end, rows, 4);
        add_written(&one.traffic, y, y / SECTOR);
        if (splits > 1)
            add_written(&one.traffic, rows * 8, (rows * 8 + SECTOR - 1) / SECTOR);
        one.wavefronts += block_wavefronts(s, end - first, DECODE_ROWS, 4);
        one.branches += end - first + 1 + 6;
    }
    return of_all_heads(one, s->S * s->K);
}

/* A warp has 32 columns of a row: of each split so many, and max and sum, the same for all. There
 * is a place for rows * (width + 31) / 32 warps, up to one for each row more than have work. */
static struct traffic merge_design(const struct shape *s)
{
    const int64_t rows = s->n * group(s), warps = rows * s->dim / WARP, heads = s->S * s->K;
    const int64_t splits = attend_splits(length(s)), y = rows * s->dim * 4;
    struct traffic t = {0};
    add_read(&t, heads * warps * splits * WARP * (4 + 8), heads * warps * splits * (4 + 1));
    add_broadcasts(&t, heads * ROUND_UP(rows * ((s->dim + WARP - 1) / WARP), 8) * 3);
    add_written(&t, heads * y, heads * y / SECTOR);
    return t;
}

/* prefill.h: a block for each 64 rows, tiles up to the position of its last. */
static struct design prefill_design(const struct shape *s)
{
    const int rows = s->n * group(s), warps = s->dim > 128 ? 8 : 4;
    const int64_t y = (int64_t)rows * s->dim * 4;
    struct design one = {0};
    for (int row = 0; row < rows; row += PREFILL_ROWS) {
        const int last = MIN((row + PREFILL_ROWS - 1) / group(s), s->n - 1);
        const int tiles = (s->before + last) / TILE_POSITIONS + 1;
        add_block(&one.traffic, s, 0, tiles, MIN(PREFILL_ROWS, rows - row), warps);
        one.wavefronts += block_wavefronts(s, tiles, PREFILL_ROWS, warps);
        one.branches += tiles + 1;
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
    for (int row = 0; row < rows; row += PREFILL_ROWS) {
        const int last = s->before + MIN((row + PREFILL_ROWS - 1) / group(s), s->n - 1);
        share.positions += MIN((last / TILE_POSITIONS + 1) * TILE_POSITIONS, length(s));
    }
    return share;
}

/* Queries and outputs once, keys and values once for each block that needs their tile; partial
 * results where a sequence is split. */
static struct traffic attend_least(const struct shape *s)
{
    const struct share share = share_of(s);
    const int64_t T = s->S * s->n, y = T * s->H * s->dim * 4;
    return traffic_least(T * s->H * s->dim * 2 + s->S * s->K * share.positions * kv_bytes(s),
                         share.partials ? share.partials * (y + T * s->H * 8) : y);
}

static enum kernel variant(const struct shape *s, enum kernel first)
{
    const int width = s->dim <= 64 ? 0 : s->dim <= 128 ? 1 : 2;
    return (enum kernel)((int)first + width + (s->type == KV_INT8 ? 3 : 0));
}

/* int8 of width 128 and 256 is stored by lanes that have every other piece of 16 bytes of a row,
 * so eight of them meet on the banks of four: 8 wavefronts where 4 are the ideal. */
static int64_t wavefronts_allowed(const struct shape *s)
{
    return s->type == KV_BF16 || s->dim == 64 ? 105 : 135;
}

static void check_merge(const struct shape *s)
{
    const struct gpu_kernel_counts counts = costs_of(KERNEL_decode_merge);
    const struct traffic got = traffic_of(&counts), want = merge_design(s);
    const int64_t y = (int64_t)s->S * s->n * s->H * s->dim * 4, splits = attend_splits(length(s));
    const struct traffic least = traffic_least(splits * (y + s->S * s->n * s->H * 8), y);
    /* Of max and sum, which nvcc may load one by one. */
    const int64_t pairs = want.sectors_read / 5;
    print_traffic(shape_name(s), KERNEL_decode_merge, &got, &least);
    check_traffic(shape_name(s), KERNEL_decode_merge, &got, &want, pairs);
}

static void check_shape(const struct shape *s)
{
    const enum kernel rotate = s->type == KV_INT8 ? KERNEL_rotate_int8 : KERNEL_rotate_bf16;
    const enum kernel kernel =
        variant(s, is_decode(s) ? KERNEL_decode_bf16_64 : KERNEL_prefill_bf16_64);
    struct gpu_kernel_counts counts = costs_of(rotate);
    struct traffic got = traffic_of(&counts), want = rotate_design(s), least = rotate_least(s);
    print_traffic(shape_name(s), rotate, &got, &least);
    check_traffic(shape_name(s), rotate, &got, &want, 0);
    counts = costs_of(kernel);
    got = traffic_of(&counts);
    const struct design design = is_decode(s) ? decode_design(s) : prefill_design(s);
    least = attend_least(s);
    print_traffic(shape_name(s), kernel, &got, &least);
    /* Rows of partial results begin where they may, up to two sectors a block. */
    check_traffic(shape_name(s), kernel, &got, &design.traffic,
                  is_decode(s) ? 2 * s->S * s->K * attend_splits(length(s)) : 0);
    check_wavefronts(shape_name(s), kernel, &counts, design.wavefronts, wavefronts_allowed(s));
    CHECK((int64_t)counts.divergent <= design.branches);
    CHECK((got.sectors_read + got.sectors_written) * 100 <=
          (least.sectors_read + least.sectors_written) * 110);
    CHECK((got.read + got.written) * 100 <= (least.read + least.written) * 110);
    printf("  %-16s %-30s keys and values %.2f times\n", costs_name(kernel), shape_name(s),
           (double)share_of(s).positions / length(s));
    if (is_decode(s) && attend_splits(length(s)) > 1)
        check_merge(s);
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
