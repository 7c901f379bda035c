/* What the kernels of products for many tokens ask of memory. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/tile.h"

enum { T_MAX = 512, K_MAX = 4096, N_MAX = 512 };

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T_MAX,
                                            .max_rows = 1,
                                            .max_context = 64,
                                            .max_width = K_MAX,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

/* n_sm: as many processors as the card shall have; with one, blocks are large and none share K. */
struct shape {
    enum fmt fmt;
    int N, K, T;
    enum epilogue epilogue;
    int n_sm;
};

/* Widths of SmolLM2 (576, 1536), of Llama (4096). */
static const struct shape shapes[] = {
    {FMT_q4_1, 512, 576, 512, EPILOGUE_STORE, 1},
    {FMT_q4_1, 64, 4096, 32, EPILOGUE_ADD, 132},
    {FMT_q4_0, 128, 1536, 64, EPILOGUE_GLU_SILU, 132},
    {FMT_q4_0, 256, 576, 128, EPILOGUE_STORE, 1},
    {FMT_q4_k, 128, 1536, 128, EPILOGUE_STORE, 132},
    {FMT_q4_k, 256, 1536, 64, EPILOGUE_ADD, 1},
    {FMT_q8_0, 128, 576, 32, EPILOGUE_GLU_SILU, 8},
    {FMT_q8_0, 256, 576, 128, EPILOGUE_ADD, 1},
    {FMT_q6_k, 256, 1536, 128, EPILOGUE_STORE, 1},
    {FMT_q6_k, 64, 1536, 32, EPILOGUE_ADD, 132},
    {FMT_q5_1, 256, 576, 64, EPILOGUE_STORE, 1},
    {FMT_q5_k, 128, 1536, 128, EPILOGUE_ADD, 4},
    {FMT_bf16, 256, 576, 64, EPILOGUE_STORE, 1},
    {FMT_bf16, 256, 576, 128, EPILOGUE_ADD, 1},
    {FMT_bf16, 128, 1536, 32, EPILOGUE_STORE, 132},
    {FMT_int4_128, 256, 1536, 128, EPILOGUE_STORE, 1},
    {FMT_int4_64, 128, 1536, 64, EPILOGUE_GLU_SILU, 132},
    {FMT_int4_32, 256, 576, 32, EPILOGUE_ADD, 1},
    {FMT_fp8, 256, 576, 128, EPILOGUE_STORE, 1},
    {FMT_fp8, 128, 576, 32, EPILOGUE_GLU_SILU, 8},
    {FMT_fp8_128, 256, 1536, 64, EPILOGUE_ADD, 1},
    {FMT_int8, 64, 1536, 32, EPILOGUE_STORE, 132},
    {FMT_mxfp4, 256, 1536, 64, EPILOGUE_STORE, 1},
    {FMT_nvfp4, 256, 1536, 64, EPILOGUE_STORE, 1},
};

/* A shape and how it is cut, what of it are the design's numbers. */
struct design {
    const struct shape *s;
    struct tile_cut cut;
    int layout, words;
    int64_t warps; /* of all blocks that do not share K */
    int64_t tiles; /* of two strips of each of these */
    bool x_is_fp8;
    int64_t chunks; /* of K, of which a token's activations are 64 bytes */
    int64_t tokens; /* of all blocks: those of each block of rows once */
};

static int matrices(const struct shape *s)
{
    return s->epilogue == EPILOGUE_GLU_SILU ? 2 : 1;
}

static struct design design_of(const struct device *device, const struct shape *s)
{
    struct design d = {.s = s, .layout = cuda_layout(s->fmt)};
    d.x_is_fp8 = layout_x_is_fp8(d.layout, device->has_fp8);
    struct product_args args = {
        .T = s->T, .K = s->K, .epilogue = (int32_t)s->epilogue, .n_part = matrices(s)};
    for (int i = 0; i < matrices(s); i++)
        args.part[i] = (struct product_part){.N = s->N, .layout = d.layout};
    d.cut = tile_cut_of(device, &args);
    const int rows = d.cut.warps * STRIP_ROWS * TILE_STRIPS / matrices(s);
    const int64_t across = (s->N + rows - 1) / rows;
    const int64_t down = (s->T + d.cut.tokens - 1) / d.cut.tokens;
    d.words = layout_words(d.layout);
    d.warps = across * down * d.cut.warps;
    d.tiles = d.warps * TILE_STRIPS * layout_tiles(d.layout, s->K);
    d.chunks = layout_tiles(d.layout, s->K) * layout_tile_width(d.layout) /
               layout_x_chunk(d.layout, device->has_fp8);
    d.tokens = across * down * d.cut.tokens;
    return d;
}

static const char *design_name(const struct design *d)
{
    static char text[80];
    const struct shape *s = d->s;
    (void)snprintf(text, sizeof text, "%s %dx%d T %d%s, %d warps / %d", fmt_info[s->fmt].name, s->N,
                   s->K, s->T,
                   s->epilogue == EPILOGUE_ADD        ? " add"
                   : s->epilogue == EPILOGUE_GLU_SILU ? " gate"
                                                      : "",
                   d->cut.warps, d->cut.split);
    return text;
}

/* Sums that blocks leave that share K: of the first together, of the others for each slice. */
static int64_t partials(const struct design *d)
{
    return d->cut.split == 1 ? 0 : SLICES + 1 - SLICES / d->cut.split;
}

static int64_t warp_sums_bytes(const struct design *d)
{
    return tile_sum_bytes(1, d->cut.tokens);
}

/* tile.h. For each block the weights of its rows, activations of its tokens and their sums for
 * minima; what blocks leave that share K, and a counter for each warp of these; outputs, of which a
 * request has 8 rows of 4 tokens. */
static struct traffic traffic_wanted(const struct design *d)
{
    const struct shape *s = d->s;
    const int64_t weights = d->tiles * (TILE_BYTES + STRIP_ROWS * 4 * d->words);
    const int64_t x = d->tokens * d->chunks * 64;
    const int64_t sums = layout_has_min(d->layout) ? d->tokens * d->chunks * 4 : 0;
    const int64_t left = d->warps * partials(d) * warp_sums_bytes(d);
    const int64_t arrivals = d->cut.split == 1 ? 0 : d->warps * d->cut.split;
    const int64_t y = (int64_t)s->T * s->N * 4;
    const int64_t read = weights + x + sums + left + (s->epilogue == EPILOGUE_ADD ? y : 0);
    struct traffic t = {0};
    add_read(&t, read, read / SECTOR);
    if (tile_stage_width(d->layout) < WIDTH_STEP) /* stages want half of the sectors of sums */
        add_read(&t, 0, sums / SECTOR);
    add_read(&t, arrivals * 4, arrivals);
    if (layout_has_row_scale(d->layout)) { /* eight rows at a time, by four lanes each */
        const int64_t down = (s->T + d->cut.tokens - 1) / d->cut.tokens;
        const int64_t eights = down * s->N / 8 * matrices(s);
        add_read(&t, eights * WARP * 4, eights);
    }
    if (d->x_is_fp8) { /* of eight tokens at a time, for each strip's outputs */
        const int64_t eights = d->warps * TILE_STRIPS / matrices(s) * d->cut.tokens / 8;
        add_read(&t, eights * WARP * 8, eights);
    }
    add_written(&t, left + y, (left + y) / SECTOR);
    return t;
}

/* Words of a tile's records that a lane reads: of each chunk, or of those that share one, of two
 * rows. */
static int64_t record_loads(int layout)
{
    static const int64_t loads[LAYOUT_COUNT] = {
        [LAYOUT_INT4_D] = 4 * 2,       [LAYOUT_INT4_DM] = 4 * 2, [LAYOUT_INT4_K] = 4 * 2 * 2,
        [LAYOUT_INT8_D] = 2 * 2,       [LAYOUT_INT8_DM] = 2 * 2, [LAYOUT_INT8_K] = 2 * 2 * 2,
        [LAYOUT_INT8_K16] = 2 * 2 * 2, [LAYOUT_INT4_Z] = 4 * 2,  [LAYOUT_INT4_Z128] = 2,
        [LAYOUT_FP8_128] = 2,          [LAYOUT_E2M1] = 4 * 2,    [LAYOUT_E2M1_16] = 4 * 2 * 2};
    return loads[layout];
}

/* None of them a conflict: what is copied comes and is read, 128 bytes in each, activations and
 * their sums by each warp; sums of slices are added and at last put out, of a gate after another
 * round. */
static int64_t wavefronts(const struct design *d)
{
    const int64_t mt = d->cut.tokens / 8, has_min = layout_has_min(d->layout);
    const int64_t sums = d->warps * warp_sums_bytes(d) / 128;
    const int64_t slices = MIN(SLICES, layout_tiles(d->layout, d->s->K));
    int64_t n = d->tiles * (8 + 8 + (d->words + 1) / 2 + record_loads(d->layout));
    n += d->tokens * d->chunks * (64 + (has_min ? 4 : 0)) / 128;
    n += d->warps * d->chunks * mt * (4 + (has_min ? 2 : 0));
    n += sums * d->cut.split + sums * 2 * slices / d->cut.split + sums;
    n += d->cut.split > 1 ? 2 * sums : 0;
    return n + (matrices(d->s) == 2 ? sums : 0);
}

/* Branches that part the lanes of a warp: some copy records, some sums, one counts, and of a stage
 * of two tiles that has but one half of the lanes copy activations. */
static int64_t branches(const struct design *d)
{
    const int64_t n = layout_tiles(d->layout, d->s->K), blocks = d->warps / d->cut.warps;
    const int64_t copy_sums = tile_sums_bytes(d->layout, d->cut.tokens) / 16;
    const bool two = layout_tile_width(d->layout) < tile_stage_width(d->layout);
    int64_t odd = 0;
    for (int s = 0; two && s < SLICES; s += SLICES / d->cut.split)
        odd += (slice_first((int)n, s + SLICES / d->cut.split) - slice_first((int)n, s)) % 2;
    return (d->words ? d->tiles : 0) + (copy_sums % WARP ? blocks * n : 0) + d->warps * odd +
           (d->cut.split > 1 ? d->warps * d->cut.split : 0);
}

static void check_product(const struct device *device, const struct shape *s)
{
    const struct design d = design_of(device, s);
    const enum kernel kernel = (enum kernel)tile_kernel(d.layout, d.cut.tokens);
    const struct gpu_kernel_counts counts = costs_of(kernel);
    const struct traffic got = traffic_of(&counts), want = traffic_wanted(&d);
    const int64_t tile = TILE_BYTES + STRIP_ROWS * 4 * d.words, y = (int64_t)s->T * s->N * 4;
    const int64_t weights = layout_strips(s->N) * layout_tiles(d.layout, s->K) * tile * matrices(s);
    const int64_t x = (int64_t)s->T * (d.x_is_fp8 ? s->K + 4 : s->K * 2);
    const int64_t sums = layout_has_min(d.layout) ? (int64_t)s->T * s->K / CHUNK * 4 : 0;
    const int64_t left = d.warps * partials(&d) * warp_sums_bytes(&d);
    const struct traffic least =
        traffic_least(weights + x + sums + left + (s->epilogue == EPILOGUE_ADD ? y : 0), left + y);
    print_traffic(design_name(&d), kernel, &got, &least);
    check_least(design_name(&d), kernel, &counts, &least, 105);
    check_traffic(design_name(&d), kernel, &got, &want, 0);
    /* nvcc loads one in 64 of the 16 bytes of activations in two halves, which conflict. */
    check_wavefronts(design_name(&d), kernel, &counts, wavefronts(&d), 102);
    CHECK_EQ(counts.mma, 2 * d.warps * TILE_STRIPS * d.chunks * d.cut.tokens / 8);
    CHECK_EQ(counts.divergent, branches(&d));
}

struct bench {
    struct device *device;
    float *x, *y;
    struct op_linear linear;
    struct batch batch;
};

static int linear_body(struct lane *lane, void *arg)
{
    struct bench *b = arg;
    return backend_cuda.linear(lane, &b->linear, &b->batch);
}

static void run_product(struct bench *b, const struct shape *s)
{
    struct matrix matrix;
    const int n_sm = b->device->n_sm;
    matrix_init_values(&matrix, s->fmt, s->N, s->K, false);
    struct weight weight[2];
    for (int i = 0; i < matrices(s); i++)
        weight[i] = cuda_matrix(b->device, &config, &matrix);
    b->device->n_sm = s->n_sm;
    b->batch = (struct batch){.T = s->T};
    b->linear = (struct op_linear){.x = b->x,
                                   .y = b->y,
                                   .D = s->K,
                                   .ldy = s->N,
                                   .n_part = matrices(s),
                                   .epilogue = (int32_t)s->epilogue,
                                   .part = {{.weight = &weight[0]}, {.weight = &weight[1]}}};
    CHECK_EQ(backend_cuda.run(b->device, linear_body, b), 0);
    check_product(b->device, s);
    b->device->n_sm = n_sm;
    for (int i = 0; i < matrices(s); i++)
        cuda_drop(b->device, weight[i].data, weight[i].bytes);
    matrix_release(&matrix);
}

TEST(cuda_costs, products_for_many_tokens_ask_for_what_the_design_says)
{
    struct bench b = {.device = costs_open() ? cuda_device(&config) : NULL};
    const size_t x = (size_t)T_MAX * K_MAX, y = (size_t)T_MAX * N_MAX;
    if (!b.device)
        return;
    float *zeros = calloc(MAX(x, y), sizeof *zeros);
    b.x = cuda_array(b.device, zeros, x * sizeof *zeros);
    b.y = cuda_array(b.device, zeros, y * sizeof *zeros);
    free(zeros);
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        run_product(&b, &shapes[i]);
    cuda_drop(b.device, b.x, x * sizeof *zeros);
    cuda_drop(b.device, b.y, y * sizeof *zeros);
    backend_cuda.close(b.device);
}

/* dense.h: each tile once, of a record of three words a word by each lane, of others the record by
 * the four lanes of its row; and each value once, as bfloat16. */
static void check_unpack(enum fmt fmt, int N, int K)
{
    const int layout = cuda_layout(fmt), words = layout_words(layout);
    const int64_t tiles = (int64_t)layout_strips(N) * layout_tiles(layout, K);
    const int64_t written = (int64_t)N * K * 2;
    const struct gpu_kernel_counts counts = costs_of(KERNEL_dense_unpack);
    const struct traffic got = traffic_of(&counts);
    const struct traffic least =
        traffic_least(tiles * (TILE_BYTES + STRIP_ROWS * 4 * words), written);
    struct traffic want = {0};
    add_read(&want, tiles * TILE_BYTES, tiles * TILE_BYTES / SECTOR);
    add_read(&want, tiles * 2 * WARP * 4 * (words == 3 ? 1 : words), tiles * 2 * words);
    add_written(&want, written, written / SECTOR);
    print_traffic(fmt_info[fmt].name, KERNEL_dense_unpack, &got, &least);
    check_least(fmt_info[fmt].name, KERNEL_dense_unpack, &counts, &least, 105);
    check_traffic(fmt_info[fmt].name, KERNEL_dense_unpack, &got, &want, 0);
    CHECK(got.sectors_read + got.sectors_written == least.sectors_read + least.sectors_written);
}

TEST(cuda_costs, weights_for_the_library_are_read_and_written_once)
{
    enum { T = 384, N = 64, K = 1024 };
    static const enum fmt fmts[] = {FMT_bf16,    FMT_q4_0,  FMT_q4_1, FMT_q4_k,
                                    FMT_q8_0,    FMT_q5_k,  FMT_q6_k, FMT_int4_128,
                                    FMT_fp8_128, FMT_mxfp4, FMT_nvfp4};
    struct device_config with_library = config;
    with_library.cublaslt = true;
    struct bench b = {.device = costs_open() ? cuda_device(&with_library) : NULL};
    if (!b.device)
        return;
    float *zeros = calloc((size_t)T * K, sizeof *zeros);
    b.x = cuda_array(b.device, zeros, (size_t)T * K * sizeof *zeros);
    b.y = cuda_array(b.device, zeros, (size_t)T * N * sizeof *zeros);
    free(zeros);
    b.batch = (struct batch){.T = T};
    for (size_t i = 0; i < COUNT_OF(fmts); i++) {
        struct matrix matrix;
        matrix_init_values(&matrix, fmts[i], N, K, false);
        struct weight weight = cuda_matrix(b.device, &with_library, &matrix);
        b.linear = (struct op_linear){
            .x = b.x, .y = b.y, .D = K, .ldy = N, .n_part = 1, .part = {{.weight = &weight}}};
        CHECK_EQ(backend_cuda.run(b.device, linear_body, &b), 0);
        check_unpack(fmts[i], N, K);
        cuda_drop(b.device, weight.data, weight.bytes);
        matrix_release(&matrix);
    }
    cuda_drop(b.device, b.x, (size_t)T * K * sizeof *zeros);
    cuda_drop(b.device, b.y, (size_t)T * N * sizeof *zeros);
    backend_cuda.close(b.device);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
