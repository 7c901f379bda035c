/* What the kernels of products for few tokens, of embedding, of added norms and of the head ask of
 * memory. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/layout.h"
#include "../../kernels/cuda/skinny.h"

enum { T_MAX = 16, K_MAX = 4096, NORM_MAX = 2 * K_MAX, V = 512, DIM = 64 };

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
    {FMT_q4_0, 512, 576, 13, EPILOGUE_STORE, false},
    {FMT_q8_0, 64, 576, 1, EPILOGUE_GLU_SILU, true},
    {FMT_q8_0, 64, 576, 16, EPILOGUE_GLU_SILU, true},
    {FMT_q6_k, 64, 4096, 1, EPILOGUE_ADD, false},
    {FMT_bf16, 64, 576, 1, EPILOGUE_STORE, true},
    {FMT_bf16, 64, 576, 8, EPILOGUE_ADD, false},
    {FMT_q5_1, 64, 1536, 8, EPILOGUE_STORE, true},
    {FMT_q5_k, 64, 1536, 8, EPILOGUE_STORE, true},
    {FMT_int4_128, 64, 4096, 1, EPILOGUE_STORE, true},
    {FMT_int4_64, 64, 576, 8, EPILOGUE_ADD, false},
    {FMT_int4_32, 64, 1536, 16, EPILOGUE_GLU_SILU, true},
    {FMT_fp8, 64, 4096, 1, EPILOGUE_GLU_SILU, true},
    {FMT_fp8, 64, 576, 8, EPILOGUE_STORE, false},
    {FMT_fp8_128, 64, 4096, 1, EPILOGUE_ADD, false},
    {FMT_int8, 64, 1536, 16, EPILOGUE_STORE, true},
    {FMT_mxfp4, 64, 4096, 1, EPILOGUE_STORE, true},
    {FMT_nvfp4, 64, 4096, 1, EPILOGUE_STORE, true},
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
    return (enum kernel)((s->T == 1   ? KERNEL_skinny_1_bf16
                          : s->T <= 8 ? KERNEL_skinny_8_bf16
                                      : KERNEL_skinny_16_bf16) +
                         cuda_layout(s->fmt) - LAYOUT_BF16);
}

/* The kernel prepares its row itself. */
static bool takes_input(const struct shape *s)
{
    return s->T == 1;
}

/* Of the device at hand. */
static bool has_fp8;

/* Activations are E4M3, layout.h. */
static bool x_is_fp8(const struct shape *s)
{
    return layout_x_is_fp8(cuda_layout(s->fmt), has_fp8);
}

/* Parts of a tile's width that have activations of 64 bytes, and two mma, of a token. */
static int x_chunks(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt);
    return layout_tile_width(layout) / layout_x_chunk(layout, has_fp8);
}

static int matrices(const struct shape *s)
{
    return s->epilogue == EPILOGUE_GLU_SILU ? 2 : 1;
}

/* Sums for the minima: of 8 tokens, for each chunk and strip, from L1 or L2. Tiles of two chunks
 * want half of the sectors of four. */
static void add_sums(struct traffic *t, int layout, int64_t n)
{
    if (layout_has_min(layout))
        add_read(t, n * WARP * 8, n * SUMS_CHUNKS * CHUNK / layout_tile_width(layout));
}

/* y: 16 rows of a token are two sectors. Added to, it is read too. */
static void add_outputs(struct traffic *t, const struct shape *s)
{
    const int64_t bytes = (int64_t)s->T * s->N * 4;
    add_written(t, bytes, bytes / SECTOR);
    if (s->epilogue == EPILOGUE_ADD)
        add_read(t, bytes, bytes / SECTOR);
}

/* Blocks of skinny.h, which here are fewer than the card has at once. */
static int64_t strips(const struct shape *s)
{
    return layout_strips(s->N);
}

/* skinny.h: weights once. A row that a block prepares is read by each, and its norm. Else the
 * activations come from L2 for each strip: a chunk of 8 tokens is 64 bytes of each. Of eight tokens
 * or fewer, the last is asked for in place of those that are not, which costs no sector. Scales of
 * E4M3 tokens are read once by each block, of two by each warp. */
static struct traffic skinny_design(const struct shape *s, bool gathered)
{
    const int layout = cuda_layout(s->fmt), mt = skinny_rows(s->T) / 8;
    const int64_t tiles = strips(s) * layout_tiles(layout, s->K) * matrices(s);
    const int64_t eights = tiles * x_chunks(s) * mt;
    struct traffic t = {0};
    add_read(&t, tiles * skinny_slot(layout), tiles * skinny_slot(layout) / SECTOR);
    if (takes_input(s)) {
        const int64_t row = strips(s) * s->K * 4 * (s->normed ? 2 : 1);
        add_read(&t, row, row / SECTOR);
        add_broadcasts(&t, gathered ? strips(s) * 8 : 0);
    } else {
        add_read(&t, eights * 8 * 64, eights * 2 * (mt == 1 ? MIN(s->T, 8) : 8));
        add_sums(&t, layout, eights);
        if (x_is_fp8(s))
            add_read(&t, strips(s) * SLICES * WARP * 4, strips(s) * SLICES);
    }
    if (layout_has_row_scale(layout)) /* with each output; a warp's are of two tokens */
        add_read(&t, (int64_t)s->T * s->N * 4 * matrices(s),
                 strips(s) * ((s->T + 1) / 2) * 2 * matrices(s));
    add_outputs(&t, s);
    return t;
}

/* No weight is read twice; what else is read, want says. */
static void check_weights(const struct shape *s, const struct traffic *got,
                          const struct traffic *want)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t tiles = (int64_t)matrices(s) * layout_strips(s->N) * layout_tiles(layout, s->K);
    const int64_t least = tiles * skinny_slot(layout) / SECTOR;
    const int64_t read = got->sectors_read - (want->sectors_read - least);
    printf("  %-16s %-30s weights %lld sectors, least %lld: %.3f\n", costs_name(kernel_of(s)),
           shape_name(s), (long long)read, (long long)least, (double)read / (double)least);
    CHECK(read <= least);
}

/* The operation's own: each weight byte, activation, sum and output once. Where the kernel prepares
 * its row, that comes as floats, with its norm. */
static struct traffic product_least(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t tile = TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout);
    const int64_t y = (int64_t)s->T * s->N * 4;
    int64_t read = layout_strips(s->N) * layout_tiles(layout, s->K) * tile * matrices(s);
    if (takes_input(s))
        read += (int64_t)s->K * 4 * (s->normed ? 2 : 1);
    else
        read += (int64_t)s->T * (x_is_fp8(s)              ? s->K + 4
                                 : layout_has_min(layout) ? s->K * 2 + s->K / CHUNK * 4
                                                          : s->K * 2);
    read += layout_has_row_scale(layout) ? (int64_t)s->N * 4 * matrices(s) : 0;
    return traffic_least(read + (s->epilogue == EPILOGUE_ADD ? y : 0), y);
}

static bool wants_sums(const struct shape *s)
{
    return layout_has_min(cuda_layout(s->fmt));
}

/* prepare.h: x, and the norm for each token; rows of zeros where the product reads more than there
 * are. A block has one token and a warp the sums of four chunks, which are half of a sector: the
 * other half is of the token that a lane of a product multiplies beside it. A scale of E4M3
 * activations is one a token. */
static struct traffic prepare_design(const struct shape *s, bool gathered)
{
    const int64_t rows = skinny_rows(s->T);
    const int64_t padded = ROUND_UP(s->K, WIDTH_STEP), x = (int64_t)s->T * s->K * 4;
    const int64_t sums = wants_sums(s) ? rows * padded / CHUNK : 0;
    struct traffic t = {0};
    add_read(&t, x * (s->normed ? 2 : 1), x * (s->normed ? 2 : 1) / SECTOR);
    add_broadcasts(&t, gathered ? s->T * 8 : 0);
    const int64_t written = rows * padded * (x_is_fp8(s) ? 1 : 2);
    add_written(&t, written, written / SECTOR);
    if (x_is_fp8(s))
        add_written(&t, rows * 4, rows);
    add_written(&t, sums * 4, sums / SUMS_CHUNKS);
    return t;
}

/* Activations are written for as many tokens as products read. */
static struct traffic prepare_least(const struct shape *s)
{
    const int64_t rows = skinny_rows(s->T), n = rows * s->K;
    const int64_t written =
        x_is_fp8(s) ? n + rows * 4 : n * 2 + (wants_sums(s) ? n / CHUNK * 4 : 0);
    return traffic_least((int64_t)s->T * s->K * 4 + (s->normed ? s->K * 4 : 0), written);
}

/* Branches that part a warp's lanes, of a row that is prepared: one lane in eight keeps a sum, one
 * in 32 the warp's part of the norm and of the largest value, and K ends inside a warp. */
static int64_t row_branches(const struct shape *s, bool is_zero)
{
    const int64_t sums = wants_sums(s) ? ROUND_UP(s->K, WIDTH_STEP) / WIDTH_STEP : 0;
    const int64_t ends = s->K % WIDTH_STEP ? (s->normed ? 2 : 1) : 0;
    return sums + (x_is_fp8(s) ? 8 : 0) + (is_zero ? 0 : (s->normed ? 8 : 0) + ends);
}

static int64_t prepare_branches(const struct shape *s)
{
    const int64_t rows = skinny_rows(s->T);
    return s->T * row_branches(s, false) + (rows - s->T) * row_branches(s, true) +
           (x_is_fp8(s) ? rows : 0); /* one thread writes the scale */
}

/* Wavefronts of skinny.h, none of them a conflict. A tile: its numbers are copied and read, four
 * for each 512 bytes; so are records, whose rows are read by four lanes each; for each chunk the
 * activations and the sum of a row in shared memory. A strip: each warp's sums are stored and each
 * output's eight read. The row: its pairs, sums and what a norm and a scale exchange. */
static int64_t skinny_wavefronts(const struct shape *s)
{
    const int layout = cuda_layout(s->fmt), words = layout_words(layout), eights = (s->T + 7) / 8;
    const int64_t n = strips(s) * matrices(s), tiles = n * layout_tiles(layout, s->K);
    const int64_t chunks = tiles * x_chunks(s);
    const int64_t warps = ROUND_UP(s->K, WIDTH_STEP) / WIDTH_STEP;
    int64_t sum = tiles * (2 * 4 + (words + 1) / 2 + 2 * 4 + 2 * words);
    if (!takes_input(s))
        return sum + n * (8 * 4 * eights + 4 * 8 * eights);
    sum += chunks * (4 + wants_sums(s)) + n * (8 + 8);
    const int64_t exchanged = (s->normed + x_is_fp8(s)) * (8 + 8 * 8);
    return sum + strips(s) * (warps * ((x_is_fp8(s) ? 1 : 2) + wants_sums(s)) + exchanged);
}

static void check_product_shared(const struct shape *s, const struct gpu_kernel_counts *counts)
{
    check_wavefronts(shape_name(s), kernel_of(s), counts, skinny_wavefronts(s), 100);
}

/* Two mma for a chunk, a strip and 8 tokens. Branches part the lanes of a warp where a row is
 * prepared, and at both ends of a strip where half of a warp has the outputs of the last token. */
static void check_product_work(const struct shape *s, const struct gpu_kernel_counts *counts)
{
    const int layout = cuda_layout(s->fmt);
    const int64_t rows = skinny_rows(s->T);
    const int64_t chunks = (int64_t)layout_tiles(layout, s->K) * x_chunks(s);
    CHECK_EQ(counts->mma, 2 * chunks * layout_strips(s->N) * matrices(s) * rows / 8);
    CHECK_EQ(counts->divergent, takes_input(s)
                                    ? strips(s) * (row_branches(s, false) + 2 * matrices(s))
                                : s->T % 2 ? 2 * strips(s)
                                           : 0);
}

static void check_prepare(const struct shape *s)
{
    const struct gpu_kernel_counts counts = costs_of(KERNEL_prepare);
    const struct traffic got = traffic_of(&counts), least = prepare_least(s);
    const struct traffic want = prepare_design(s, false);
    print_traffic(shape_name(s), KERNEL_prepare, &got, &least);
    check_least(shape_name(s), KERNEL_prepare, &counts, &least, 105);
    check_traffic(shape_name(s), KERNEL_prepare, &got, &want, 0);
    CHECK_EQ(counts.wavefronts, counts.shared_requests); /* one float each */
    CHECK_EQ(counts.divergent, prepare_branches(s));
}

static void check_product(const struct shape *s)
{
    const enum kernel kernel = kernel_of(s);
    const struct gpu_kernel_counts counts = costs_of(kernel);
    const struct traffic got = traffic_of(&counts), least = product_least(s);
    const struct traffic want = skinny_design(s, false);
    if (!takes_input(s))
        check_prepare(s);
    print_traffic(shape_name(s), kernel, &got, &least);
    check_least(shape_name(s), kernel, &counts, &least, 105);
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
    struct op_add_norm add_norm;
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
    has_fp8 = b->device->has_fp8;
    b->x = zeros(b->device, (size_t)T_MAX * K_MAX);
    b->y = zeros(b->device, (size_t)T_MAX * V);
    b->norm = zeros(b->device, NORM_MAX);
    return true;
}

static void bench_close(struct bench *b)
{
    cuda_drop(b->device, b->x, (size_t)T_MAX * K_MAX * sizeof(float));
    cuda_drop(b->device, b->y, (size_t)T_MAX * V * sizeof(float));
    cuda_drop(b->device, b->norm, NORM_MAX * sizeof(float));
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
    struct weight weight[2];
    for (int i = 0; i < matrices(s); i++)
        weight[i] = cuda_matrix(b->device, &config, &matrix);
    b->batch = (struct batch){.T = s->T};
    b->linear = (struct op_linear){.x = b->x,
                                   .y = b->y,
                                   .norm = s->normed ? b->norm : NULL,
                                   .eps = 1e-5f,
                                   .D = s->K,
                                   .ldy = s->N,
                                   .n_part = matrices(s),
                                   .epilogue = (int32_t)s->epilogue,
                                   .part = {{.weight = &weight[0]}, {.weight = &weight[1]}}};
    CHECK_EQ(backend_cuda.run(b->device, linear_body, b), 0);
    check_product(s);
    for (int i = 0; i < matrices(s); i++)
        cuda_drop(b->device, weight[i].data, weight[i].bytes);
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
    static int32_t count[T_MAX], token[T_MAX];
    static float scale[T_MAX];
    static const struct batch_seq seq[T_MAX]; /* no tokens: there is no attention */
    for (int i = 0; i < T_MAX; i++) {
        count[i] = i;
        token[i] = i * STRIP_ROWS; /* of different tiles */
        scale[i] = 1;
    }
    b->batch = (struct batch){.T = T,
                              .R = T,
                              .token = token,
                              .position = count,
                              .row = count,
                              .scale = scale,
                              .seq = seq};
}

/* embed.h: the two sectors that a row has of a tile, and the one of its record there, of which a
 * lane loads a word, or of two levels of scales two; those of three words are loaded one a lane. Of
 * a rotary table one warp has the frequencies, and wants the position. */
static struct traffic embed_design(enum fmt fmt, int D, int T, int tables)
{
    const int layout = cuda_layout(fmt), per_tile = layout_tile_width(layout) / CHUNK;
    const bool two = layout == LAYOUT_INT8_K || layout == LAYOUT_INT8_K16;
    const bool has_row_scale = layout_has_row_scale(layout), has_record = layout_words(layout);
    const int64_t tiles = (int64_t)T * layout_tiles(layout, D), lanes = (int64_t)T * D / 8;
    struct traffic t = {0};
    add_read(&t, lanes * 16 / per_tile, tiles * 2);
    add_read(&t, has_record ? lanes * (two ? 8 : 4) : 0, has_record ? tiles : 0);
    add_read(&t, lanes * 4, T * ((D / 8 + WARP - 1) / WARP)); /* the token */
    if (has_row_scale)
        add_read(&t, lanes * 4, T * ((D / 8 + WARP - 1) / WARP));
    add_broadcasts(&t, (int64_t)T * tables); /* the position */
    const int64_t freq = (int64_t)T * tables * DIM / 2 * 4;
    const int64_t written = (int64_t)T * (D + tables * DIM) * 4;
    add_read(&t, freq, freq / SECTOR);
    add_written(&t, written, written / SECTOR);
    return t;
}

/* Of each tile the row's two sectors and, if there are records, the one that has its own; tokens,
 * positions, which half of the chosen ones and frequencies. */
static struct traffic embed_least(int layout, int D, int T, int tables)
{
    const int64_t tiles = (int64_t)T * layout_tiles(layout, D);
    const int64_t freq = (int64_t)tables * DIM / 2 * 4;
    struct traffic t = traffic_least(0, (int64_t)T * (D + tables * DIM) * 4);
    add_read(&t, tiles * (64 + 4 * layout_words(layout)), tiles * (layout_words(layout) ? 3 : 2));
    if (layout_has_row_scale(layout))
        add_read(&t, T * 4, T);
    const int numbers = tables ? 2 : 1; /* nobody else wants the position */
    add_read(&t, T * 4 * numbers + freq, numbers * ((T * 4 + SECTOR - 1) / SECTOR) + freq / SECTOR);
    return t;
}

static void check_embed(struct bench *b, enum fmt fmt, int D, int T, int tables,
                        const struct weight *table)
{
    char what[64];
    const int layout = cuda_layout(fmt);
    (void)snprintf(what, sizeof what, "%s D %d T %d", fmt_info[fmt].name, D, T);
    set_batch(b, T);
    b->embed = (struct op_embed){.x = b->x, .table = table, .scale = 1, .D = D};
    for (int i = 0; i < tables; i++)
        b->embed.rotary[i] =
            (struct rotary_table){b->y + i * T_MAX * DIM, b->norm + i * DIM / 2, 1, DIM};
    CHECK_EQ(backend_cuda.run(b->device, embed_body, b), 0);
    const struct gpu_kernel_counts counts = costs_of(KERNEL_embed);
    const struct traffic got = traffic_of(&counts), want = embed_design(fmt, D, T, tables);
    const struct traffic least = embed_least(layout, D, T, tables);
    print_traffic(what, KERNEL_embed, &got, &least);
    check_least(what, KERNEL_embed, &counts, &least, 105);
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
    struct traffic got = traffic_of(&notes);
    add_read(&want, logits, logits / SECTOR);
    add_broadcasts(&want, blocks);
    add_written(&want, blocks * 8, blocks * 2);
    print_traffic(what, KERNEL_head_notes, &got, &least);
    check_least(what, KERNEL_head_notes, &notes, &least, 105);
    check_traffic(what, KERNEL_head_notes, &got, &want, 0);
    got = traffic_of(&product);
    want = skinny_design(&s, true);
    check_traffic(what, kernel_of(&s), &got, &want, 0);
    if (!takes_input(&s)) {
        const struct gpu_kernel_counts before = costs_of(KERNEL_prepare);
        got = traffic_of(&before);
        want = prepare_design(&s, true);
        check_traffic(what, KERNEL_prepare, &got, &want, 0);
    }
    cuda_drop(b->device, block, (size_t)blocks * sizeof(struct logit_block));
}

TEST(cuda_costs, embed_and_head_read_what_the_design_says)
{
    static const struct {
        enum fmt fmt;
        int D, T, tables;
    } cases[] = {{FMT_q8_0, 576, 1, 1},      {FMT_q8_0, 576, 16, 2},    {FMT_q4_k, 2048, 1, 2},
                 {FMT_q6_k, 2048, 8, 1},     {FMT_bf16, 576, 8, 0},     {FMT_q4_0, 2048, 8, 1},
                 {FMT_q4_1, 576, 8, 1},      {FMT_q5_k, 2048, 8, 1},    {FMT_fp8, 576, 8, 1},
                 {FMT_int4_128, 2048, 8, 1}, {FMT_fp8_128, 2048, 8, 1}, {FMT_int8, 2048, 1, 1},
                 {FMT_mxfp4, 2048, 8, 1}};
    struct bench b;
    if (!bench_open(&b))
        return;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct matrix matrix;
        matrix_init_values(&matrix, cases[i].fmt, V, cases[i].D, false);
        struct weight table = cuda_matrix(b.device, &config, &matrix);
        check_embed(&b, cases[i].fmt, cases[i].D, cases[i].T, cases[i].tables, &table);
        if (i < 3)
            check_head(&b, cases[i].fmt, cases[i].D, cases[i].T, &table);
        cuda_drop(b.device, table.data, table.bytes);
        matrix_release(&matrix);
    }
    bench_close(&b);
}

static int add_norm_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.add_norm(lane, &b->add_norm, &b->batch);
}

/* add_norm.h: x, y and the norm of each token, and y beyond the first values again. */
static void check_add_norm(struct bench *b, int D, int T)
{
    char what[64];
    const int64_t row = (int64_t)D * 4, again = MAX(D - 4 * PREPARE_QUADS, 0) * 4, rows = T * row;
    const struct traffic least = traffic_least(2 * rows + row, rows);
    struct traffic want = {0};
    (void)snprintf(what, sizeof what, "D %d T %d", D, T);
    b->batch = (struct batch){.T = T};
    b->add_norm =
        (struct op_add_norm){.x = b->x, .y = b->y, .norm = b->norm, .eps = 1e-6f, .D = D, .ld = D};
    CHECK_EQ(backend_cuda.run(b->device, add_norm_body, b), 0);
    const struct gpu_kernel_counts counts = costs_of(KERNEL_add_norm);
    const struct traffic got = traffic_of(&counts);
    add_read(&want, 3 * rows + T * again, (3 * rows + T * again) / SECTOR);
    add_written(&want, rows, rows / SECTOR);
    print_traffic(what, KERNEL_add_norm, &got, &least);
    check_least(what, KERNEL_add_norm, &counts, &least, 100);
    check_traffic(what, KERNEL_add_norm, &got, &want, 0);
    CHECK_EQ(counts.wavefronts, counts.shared_requests); /* one float each */
}

TEST(cuda_costs, add_norm_reads_what_the_design_says)
{
    struct bench b;
    if (!bench_open(&b))
        return;
    check_add_norm(&b, 576, 1);
    check_add_norm(&b, 576, 13);
    check_add_norm(&b, 4096, 2);
    check_add_norm(&b, NORM_MAX, 1); /* y has no room for more */
    bench_close(&b);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
