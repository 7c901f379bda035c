/* What the kernels of products, of embedding and of the head ask of memory. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/layout.h"
#include "../../kernels/cuda/skinny.h"
#include "../../kernels/cuda/tile.h"

enum { T_MAX = 512, K_MAX = 4096, N_MAX = 128, V = 512, DIM = 64 };

/* More than one block of 64 tokens, and the card is not to be filled (linear.c): tile. */
#define IS_TILE(T) ((T) > SKINNY_MOST)

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T_MAX,
                                            .max_rows = T_MAX,
                                            .max_context = 64,
                                            .max_width = K_MAX,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = DIM,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

struct shape {
    enum fmt fmt;
    int N, K, T;
    enum epilogue epilogue;
    bool normed;
};

/* Widths of SmolLM2 (576, 1536), of Llama (4096); N of a few strips, for all blocks are alike. */
static const struct shape shapes[] = {
    {FMT_q4_k, 64, 4096, 1, EPILOGUE_STORE, true},
    {FMT_q4_k, 64, 4096, 8, EPILOGUE_ADD, false},
    {FMT_q4_1, 64, 1536, 16, EPILOGUE_STORE, false},
    {FMT_q4_0, 64, 576, 64, EPILOGUE_STORE, false},
    {FMT_q8_0, 64, 576, 1, EPILOGUE_GLU_SILU, true},
    {FMT_q8_0, 64, 576, 32, EPILOGUE_GLU_SILU, true},
    {FMT_q6_k, 64, 4096, 1, EPILOGUE_ADD, false},
    {FMT_bf16, 64, 576, 1, EPILOGUE_STORE, true},
    {FMT_bf16, 64, 576, 8, EPILOGUE_ADD, false},
    {FMT_q5_1, 64, 1536, 8, EPILOGUE_STORE, true},
    {FMT_q5_k, 64, 1536, 8, EPILOGUE_STORE, true},
    {FMT_q4_1, 128, 576, 512, EPILOGUE_STORE, true},
    {FMT_q4_0, 128, 576, 128, EPILOGUE_STORE, false},
    {FMT_q4_k, 128, 1536, 128, EPILOGUE_STORE, true},
    {FMT_q8_0, 128, 576, 128, EPILOGUE_ADD, false},
    {FMT_q6_k, 128, 1536, 128, EPILOGUE_STORE, true},
    {FMT_q5_1, 128, 576, 128, EPILOGUE_STORE, true},
    {FMT_q5_k, 128, 1536, 128, EPILOGUE_STORE, true},
    {FMT_bf16, 128, 576, 128, EPILOGUE_STORE, true},
};

static const char *shape_name(const struct shape *s)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "%s %dx%d T %d%s", fmt_info[s->fmt].name, s->N, s->K, s->T,
                   s->epilogue == EPILOGUE_ADD        ? " add"
                   : s->epilogue == EPILOGUE_GLU_SILU ? " gate"
                                                      : "");
    return text;
}

static enum kernel kernel_of(const struct shape *s)
{
    if (IS_TILE(s->T))
        return (enum kernel)(KERNEL_tile_bf16 + cuda_layout(s->fmt) - LAYOUT_BF16);
    return s->T <= 8    ? KERNEL_skinny_8
           : s->T <= 16 ? KERNEL_skinny_16
           : s->T <= 32 ? KERNEL_skinny_32
                        : KERNEL_skinny_64;
}

static int matrices(const struct shape *s)
{
    return s->epilogue == EPILOGUE_GLU_SILU ? 2 : 1;
}

/* A tile's numbers once, and its records: each of a row's four lanes takes all of the row's, which
 * are one request of whole sectors. Three words do not make one request but three, each of which
 * touches all three sectors; two of them find these in L1. */
static void add_weights(struct traffic *t, int layout, int64_t tiles)
{
    const int64_t words = layout_words(layout);
    add_read(t, tiles * TILE_BYTES, tiles * TILE_BYTES / SECTOR);
    add_read(t, tiles * STRIP_ROWS * words * 4 * 4, tiles * 2 * words * (words == 3 ? 3 : 1));
}

/* Sums for the minima: of 8 tokens, for each chunk and strip, from L1 or L2. */
static void add_sums(struct traffic *t, int layout, int64_t n)
{
    if (layout_has_min(layout))
        add_read(t, n * WARP * 8, n);
}

/* y: 16 rows of a token are two sectors. Added to, it is read too. */
static void add_outputs(struct traffic *t, const struct shape *s)
{
    const int64_t bytes = (int64_t)s->T * s->N * 4;
    add_written(t, bytes, bytes / SECTOR);
    if (s->epilogue == EPILOGUE_ADD)
        add_read(t, bytes, bytes / SECTOR);
}

/* skinny.h: weights once, and for each strip the activations from L2: a chunk of 8 tokens is 64
 * bytes of each. Of eight tokens or fewer, the last is asked for in place of those that are not,
 * which costs no sector. */
static struct traffic skinny_design(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt), mt = skinny_rows(s->T) / 8;
    const int64_t tiles = (int64_t)layout_strips(s->N) * layout_tiles(layout, s->K) * matrices(s);
    const int64_t eights = tiles * layout_tile_width(layout) / CHUNK * mt;
    struct traffic t = {0};
    add_weights(&t, layout, tiles);
    add_read(&t, eights * 8 * 64, eights * 2 * (mt == 1 ? MIN(s->T, 8) : 8));
    add_sums(&t, layout, eights);
    add_outputs(&t, s);
    return t;
}

/* tile.h: for each block of 64 tokens the weights, for each of 128 rows the activations, and for
 * each strip of it the sums. */
static struct traffic tile_design(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t across = (s->N + 127) / 128, down = tile_rows(s->T) / 64;
    const int64_t tiles = across * 8 * down * layout_tiles(layout, s->K);
    const int64_t x = across * tile_rows(s->T) * ROUND_UP(s->K, WIDTH_STEP) * 2;
    struct traffic t = {0};
    add_weights(&t, layout, tiles);
    add_read(&t, x, x / SECTOR);
    add_sums(&t, layout, tiles * layout_tile_width(layout) / CHUNK * 8);
    add_outputs(&t, s);
    return t;
}

/* No weight is read twice but by tile, once for each 64 tokens; what else is read, want says. */
static void check_weights(const struct shape *s, const struct traffic *got,
                          const struct traffic *want)
{
    const int layout = cuda_layout(s->fmt), words = layout_words(layout);
    const int64_t times = matrices(s) * (IS_TILE(s->T) ? tile_rows(s->T) / 64 : 1);
    const int64_t tiles = times * layout_strips(s->N) * layout_tiles(layout, s->K);
    const int64_t least = tiles * (TILE_BYTES + STRIP_ROWS * words * 4) / SECTOR;
    struct traffic weights = {0};
    add_weights(&weights, layout, tiles);
    const int64_t read = got->sectors_read - (want->sectors_read - weights.sectors_read);
    printf("  %-16s %-30s weights %lld sectors, least %lld: %.3f\n", costs_name(kernel_of(s)),
           shape_name(s), (long long)read, (long long)least, (double)read / (double)least);
    CHECK(read * 100 <= least * (words == 3 ? 132 : 100));
}

/* The operation's own: each weight byte, activation, sum and output once. */
static struct traffic product_least(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t tile = TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout);
    const int64_t y = (int64_t)s->T * s->N * 4;
    int64_t read = layout_strips(s->N) * layout_tiles(layout, s->K) * tile * matrices(s);
    read += (int64_t)s->T * s->K * 2;
    read += layout_has_min(layout) ? (int64_t)s->T * s->K / CHUNK * 4 : 0;
    return traffic_least(read + (s->epilogue == EPILOGUE_ADD ? y : 0), y);
}

/* prepare.h: x twice if there is a norm, and that for each token; rows of zeros where the product
 * reads more than there are. A sum of four bytes has a sector to itself: those of one group and
 * all tokens stand together, and a block has one token. */
static struct traffic prepare_design(const struct shape *s, bool gathered)
{
    const int64_t rows = IS_TILE(s->T) ? tile_rows(s->T) : skinny_rows(s->T);
    const int64_t padded = ROUND_UP(s->K, WIDTH_STEP), x = (int64_t)s->T * s->K * 4;
    struct traffic t = {0};
    add_read(&t, x * (s->normed ? 3 : 1), x * (s->normed ? 3 : 1) / SECTOR);
    add_broadcasts(&t, gathered ? s->T * 8 : 0);
    add_written(&t, rows * padded * 2, rows * padded * 2 / SECTOR);
    add_written(&t, rows * padded / CHUNK * 4, rows * padded / CHUNK);
    return t;
}

static struct traffic prepare_least(const struct shape *s)
{
    const int64_t n = (int64_t)s->T * s->K;
    return traffic_least(n * 4 + (s->normed ? s->K * 4 : 0), n * 2 + n / CHUNK * 4);
}

/* Branches that part a warp's lanes: one lane in eight keeps a sum, one in 32 the warp's part of
 * the norm, and K ends inside a warp, which a norm meets twice. */
static int64_t prepare_branches(const struct shape *s)
{
    const int64_t rows = IS_TILE(s->T) ? tile_rows(s->T) : skinny_rows(s->T);
    const int64_t ends = s->K % WIDTH_STEP ? (s->normed ? 2 : 1) : 0;
    return rows * ROUND_UP(s->K, WIDTH_STEP) / WIDTH_STEP + s->T * ((s->normed ? 8 : 0) + ends);
}

/* tile: all are of 16 bytes, 4 wavefronts. skinny: one of 4 bytes is one wavefront; of the sums of
 * slices half are stores without conflicts, and loads of two tokens' rows, 20 apart, meet on four
 * banks: 1.5 where 1 is the ideal. Up to 8 tokens half of the warps have nothing to load. */
static void check_product_shared(const struct shape *s, const struct gpu_kernel_counts *counts)
{
    const bool tile = IS_TILE(s->T);
    check_wavefronts(shape_name(s), kernel_of(s), counts,
                     (int64_t)counts->shared_requests * (tile ? 4 : 1), tile ? 100 : 150);
}

/* Two mma for a chunk, a strip and 8 tokens, and no branch that parts the lanes of a warp but at
 * the end, where tokens are missing. */
static void check_product_work(const struct shape *s, const struct gpu_kernel_counts *counts)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t rows = IS_TILE(s->T) ? tile_rows(s->T) : skinny_rows(s->T);
    const int64_t chunks = layout_tiles(layout, s->K) * layout_tile_width(layout) / CHUNK;
    CHECK_EQ(counts->mma, 2 * chunks * layout_strips(s->N) * matrices(s) * rows / 8);
    CHECK_EQ(counts->divergent, s->T % 2 ? layout_strips(s->N) : 0);
}

static void check_product(const struct shape *s)
{
    const enum kernel kernel = kernel_of(s);
    const struct gpu_kernel_counts before = costs_of(KERNEL_prepare), counts = costs_of(kernel);
    const struct traffic prepare = traffic_of(&before), got = traffic_of(&counts);
    struct traffic least = prepare_least(s), want = prepare_design(s, false);
    print_traffic(shape_name(s), KERNEL_prepare, &prepare, &least);
    check_traffic(shape_name(s), KERNEL_prepare, &prepare, &want, 0);
    CHECK_EQ(before.wavefronts, before.shared_requests); /* one float each */
    CHECK_EQ(before.divergent, prepare_branches(s));
    least = product_least(s);
    want = IS_TILE(s->T) ? tile_design(s) : skinny_design(s);
    print_traffic(shape_name(s), kernel, &got, &least);
    check_traffic(shape_name(s), kernel, &got, &want, 0);
    check_weights(s, &got, &want);
    check_product_shared(s, &counts);
    check_product_work(s, &counts);
}

/* Arrays of the device that every shape fits in, of zeros. */
struct bench {
    struct device *device;
    float *x, *y, *norm;
    struct op_linear linear;
    struct op_embed embed;
    struct op_head head;
    struct batch batch;
};

static float *zeros(struct device *device, size_t n)
{
    float *host = calloc(n, sizeof *host), *array = cuda_array(device, host, n * sizeof *host);
    free(host);
    return array;
}

static bool bench_open(struct bench *b)
{
    *b = (struct bench){.device = costs_open() ? cuda_device(&config) : NULL};
    if (!b->device)
        return false;
    b->x = zeros(b->device, (size_t)T_MAX * K_MAX);
    b->y = zeros(b->device, (size_t)T_MAX * V);
    b->norm = zeros(b->device, K_MAX);
    return true;
}

static void bench_close(struct bench *b)
{
    cuda_drop(b->device, b->x, (size_t)T_MAX * K_MAX * sizeof(float));
    cuda_drop(b->device, b->y, (size_t)T_MAX * V * sizeof(float));
    cuda_drop(b->device, b->norm, K_MAX * sizeof(float));
    backend_cuda.close(b->device);
}

static int linear_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.linear(lane, &b->linear, &b->batch);
}

static void run_product(struct bench *b, const struct shape *s)
{
    struct matrix matrix;
    matrix_init_values(&matrix, s->fmt, s->N, s->K, false);
    struct weight weight = cuda_matrix(b->device, &config, &matrix);
    b->batch = (struct batch){.T = s->T};
    b->linear = (struct op_linear){.x = b->x,
                                   .y = b->y,
                                   .norm = s->normed ? b->norm : NULL,
                                   .eps = 1e-5f,
                                   .D = s->K,
                                   .ldy = s->N,
                                   .n_part = matrices(s),
                                   .epilogue = (int32_t)s->epilogue,
                                   .part = {{.weight = &weight}, {.weight = &weight}}};
    CHECK_EQ(backend_cuda.run(b->device, linear_body, b), 0);
    check_product(s);
    cuda_drop(b->device, weight.data, weight.bytes);
    matrix_release(&matrix);
}

TEST(cuda_costs, products_read_weights_once_and_what_the_design_says)
{
    struct bench b;
    if (!bench_open(&b))
        return;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        run_product(&b, &shapes[i]);
    bench_close(&b);
}

static int embed_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.embed(lane, &b->embed, &b->batch);
}

static int head_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.head(lane, &b->head, &b->batch);
}

static void set_batch(struct bench *b, int T)
{
    static int32_t count[T_MAX];
    static float scale[T_MAX];
    static const struct batch_seq seq[T_MAX]; /* no tokens: there is no attention */
    for (int i = 0; i < T_MAX; i++) {
        count[i] = i;
        scale[i] = 1;
    }
    b->batch = (struct batch){.T = T,
                              .R = T,
                              .token = count,
                              .position = count,
                              .row = count,
                              .scale = scale,
                              .seq = seq};
}

/* embed.h: a warp has a chunk, whose numbers are two sectors of a tile. The instructions that read
 * what a record says of it come one by one, each a sector; all but bfloat16 read a tile's sectors
 * as often as it has chunks, from L1. */
static struct traffic embed_design(enum fmt fmt, int D, int T)
{
    const int layout = cuda_layout(fmt);
    const int64_t loads = layout == LAYOUT_BF16                                ? 0
                          : layout == LAYOUT_INT4_D || layout == LAYOUT_INT8_D ? 1
                          : layout == LAYOUT_INT4_K || layout == LAYOUT_INT8_K ? 4
                                                                               : 2;
    const int64_t chunks = (int64_t)T * D / CHUNK;
    const bool bytes = layout == LAYOUT_INT4_K || layout == LAYOUT_INT8_K;
    struct traffic t = {0};
    add_read(&t, chunks * CHUNK * (layout == LAYOUT_BF16 ? 2 : 1), chunks * 2);
    add_read(&t,
             chunks * CHUNK *
                 (bytes                       ? 6
                  : layout == LAYOUT_INT8_K16 ? 3
                                              : 2 * loads),
             chunks * loads);
    add_broadcasts(&t, (int64_t)T * 8 * 2); /* token, position */
    add_read(&t, (int64_t)T * DIM / 2 * 4, (int64_t)T * DIM / 2 * 4 / SECTOR);
    add_written(&t, (int64_t)T * (D + DIM) * 4, (int64_t)T * (D + DIM) * 4 / SECTOR);
    return t;
}

static void check_embed(struct bench *b, enum fmt fmt, int D, int T, const struct weight *table)
{
    char what[64];
    const int layout = cuda_layout(fmt);
    const int64_t row = (int64_t)layout_tiles(layout, D) * (64 + 4 * layout_words(layout));
    (void)snprintf(what, sizeof what, "%s D %d T %d", fmt_info[fmt].name, D, T);
    set_batch(b, T);
    b->embed = (struct op_embed){
        .x = b->x, .table = table, .rotary = b->y, .freq = b->norm, .D = D, .dim = DIM};
    CHECK_EQ(backend_cuda.run(b->device, embed_body, b), 0);
    const struct gpu_kernel_counts counts = costs_of(KERNEL_embed);
    const struct traffic got = traffic_of(&counts), want = embed_design(fmt, D, T);
    const struct traffic least =
        traffic_least(T * (row + 8) + DIM / 2 * 4, (int64_t)T * (D + DIM) * 4);
    print_traffic(what, KERNEL_embed, &got, &least);
    check_traffic(what, KERNEL_embed, &got, &want, 0);
}

/* head.h: logits once, and for each row's block of 128 a scale, and a note whose two floats are
 * stored one after the other, to the same sector. */
static void check_head(struct bench *b, enum fmt fmt, int D, int R, const struct weight *table)
{
    char what[64];
    const struct shape s = {fmt, V, D, R, EPILOGUE_STORE, true};
    const int64_t blocks = (int64_t)R * logit_blocks(V), logits = (int64_t)R * V * 4;
    struct traffic want = {0}, least = traffic_least(logits + R * 4, blocks * 8);
    (void)snprintf(what, sizeof what, "V %d R %d", V, R);
    set_batch(b, R);
    float *block = cuda_array(b->device, NULL, (size_t)blocks * sizeof(struct logit_block));
    b->head = (struct op_head){.x = b->x,
                               .norm = b->norm,
                               .logits = b->y,
                               .block = (struct logit_block *)(void *)block,
                               .weight = table,
                               .eps = 1e-5f,
                               .D = D,
                               .V = V};
    CHECK_EQ(backend_cuda.run(b->device, head_body, b), 0);
    const struct gpu_kernel_counts notes = costs_of(KERNEL_head_notes);
    const struct gpu_kernel_counts product = costs_of(kernel_of(&s));
    const struct gpu_kernel_counts before = costs_of(KERNEL_prepare);
    struct traffic got = traffic_of(&notes);
    add_read(&want, logits, logits / SECTOR);
    add_broadcasts(&want, blocks);
    add_written(&want, blocks * 8, blocks * 2);
    print_traffic(what, KERNEL_head_notes, &got, &least);
    check_traffic(what, KERNEL_head_notes, &got, &want, 0);
    got = traffic_of(&product);
    want = IS_TILE(R) ? tile_design(&s) : skinny_design(&s);
    check_traffic(what, kernel_of(&s), &got, &want, 0);
    got = traffic_of(&before);
    want = prepare_design(&s, true);
    check_traffic(what, KERNEL_prepare, &got, &want, 0);
    cuda_drop(b->device, block, (size_t)blocks * sizeof(struct logit_block));
}

TEST(cuda_costs, embed_and_head_read_what_the_design_says)
{
    static const struct {
        enum fmt fmt;
        int D, T;
    } cases[] = {{FMT_q8_0, 576, 1}, {FMT_q8_0, 576, 64}, {FMT_q4_k, 2048, 1}, {FMT_q6_k, 2048, 8},
                 {FMT_bf16, 576, 8}, {FMT_q4_0, 2048, 8}, {FMT_q4_1, 576, 8},  {FMT_q5_k, 2048, 8}};
    struct bench b;
    if (!bench_open(&b))
        return;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct matrix matrix;
        matrix_init_values(&matrix, cases[i].fmt, V, cases[i].D, false);
        struct weight table = cuda_matrix(b.device, &config, &matrix);
        check_embed(&b, cases[i].fmt, cases[i].D, cases[i].T, &table);
        if (i < 3)
            check_head(&b, cases[i].fmt, cases[i].D, cases[i].T, &table);
        cuda_drop(b.device, table.data, table.bytes);
        matrix_release(&matrix);
    }
    bench_close(&b);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
