/* Attention on CUDA against its definition, and its promise: the same bits whatever the chunks,
 * the neighbours and the kernel. Pages are not cleared: the simulated card reports whoever reads
 * what was not written, and in one test they are NaN. */
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/cuda.h"
#include "attend_problem.h"

/* One way to compute it: n tokens of each sequence in one step; 0: random. */
struct way {
    enum kv_type type;
    int n[SEQS_MAX];
    bool nan; /* pages begin as NaN */
};

/* A device at work on a problem; layer 1 of 2. */
struct work {
    const struct problem *p;
    struct device *device;
    const float *norm[2], *slope, *sink, *k_mean; /* on the device */
    int32_t *page[SEQS_MAX];
    int done[SEQS_MAX];
    float *y[SEQS_MAX]; /* (length, H * dim) */
};

static int total(const int n[SEQS_MAX])
{
    int sum = 0;
    for (int s = 0; s < SEQS_MAX; s++)
        sum += n[s];
    return sum;
}

/* Page tables scattered over a pool. */
static void scatter(struct work *w, int pages)
{
    const struct problem *p = w->p;
    int32_t *order = malloc((size_t)pages * sizeof *order);
    for (int i = 0; i < pages; i++) {
        uint32_t at = random_below((uint32_t)i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (int s = 0, next = 0; s < p->n_seqs; s++) {
        int n = p->length[s] / PAGE_TOKENS + 1;
        w->page[s] = malloc((size_t)n * sizeof *order);
        memcpy(w->page[s], order + next, (size_t)n * sizeof *order);
        next += n;
        w->y[s] = malloc((size_t)p->length[s] * (size_t)(p->H * p->dim) * sizeof(float));
    }
    free(order);
}

static void fill_pages(struct device *device)
{
    void *ones = malloc(device->kv_bytes);
    memset(ones, 0xff, device->kv_bytes);
    CHECK_EQ(backend_cuda.write(device, (void *)(uintptr_t)device->kv, ones, device->kv_bytes), 0);
    free(ones);
}

static bool work_init(struct work *w, const struct problem *p, const struct way *way)
{
    int length = total(p->length), pages = length / PAGE_TOKENS + SEQS_MAX + 3;
    struct device_config config = {.threads = 1,
                                   .max_tokens = way->n[0] ? MIN(total(way->n), length) : length,
                                   .max_rows = SEQS_MAX,
                                   .max_context = length,
                                   .max_width = 64,
                                   .L = 2,
                                   .H = p->H,
                                   .K = p->K,
                                   .dim = p->dim,
                                   .kv_type = (int32_t)way->type,
                                   .kv_pages = pages};
    *w = (struct work){.p = p, .device = cuda_device(&config)};
    if (!w->device)
        return false;
    for (int i = 0; i < 2; i++)
        w->norm[i] = cuda_array(w->device, p->norm[i], sizeof p->norm[i]);
    w->slope = cuda_array(w->device, p->slope, sizeof p->slope);
    w->sink = cuda_array(w->device, p->sink, sizeof p->sink);
    w->k_mean = cuda_array(w->device, p->k_mean, sizeof p->k_mean);
    if (way->nan)
        fill_pages(w->device);
    scatter(w, pages);
    return true;
}

static void work_release(struct work *w)
{
    for (int s = 0; s < w->p->n_seqs; s++) {
        free(w->page[s]);
        free(w->y[s]);
    }
    for (int i = 0; i < 2; i++)
        cuda_drop(w->device, w->norm[i], sizeof w->p->norm[i]);
    cuda_drop(w->device, w->slope, sizeof w->p->slope);
    cuda_drop(w->device, w->sink, sizeof w->p->sink);
    cuda_drop(w->device, w->k_mean, sizeof w->p->k_mean);
    backend_cuda.close(w->device);
}

struct call {
    const struct op_attend *op;
    const struct batch *batch;
};

static int attend_body(struct lane *lane, void *arg)
{
    const struct call *call = arg;
    return backend_cuda.attend(lane, call->op, call->batch);
}

/* The arrays of a step on the device, and y on the host. */
static void attend(const struct work *w, const struct batch *batch, const float *qkv,
                   const float *rotary, float *y)
{
    const struct problem *p = w->p;
    size_t T = (size_t)batch->T, f = sizeof(float);
    size_t in = T * (size_t)width(p) * f, table = T * (size_t)turned(p) * f;
    size_t out = T * (size_t)(p->H * p->dim) * f;
    struct op_attend op = {.qkv = cuda_array(w->device, qkv, in),
                           .y = cuda_array(w->device, NULL, out),
                           .q_norm = p->normed ? w->norm[0] : NULL,
                           .k_norm = p->normed ? w->norm[1] : NULL,
                           .k_mean = p->far ? w->k_mean : NULL,
                           .eps = 1e-5f,
                           .scale = score_scale(p),
                           .layer = 1,
                           .H = p->H,
                           .K = p->K,
                           .dim = p->dim,
                           .rope = (int32_t)p->rope,
                           .rotary_dim = p->rotary_dim,
                           .window = p->window,
                           .cap = p->cap,
                           .growth = p->growth_from ? GROWTH : 0,
                           .growth_from = p->growth_from,
                           .slopes = p->biased ? w->slope : NULL,
                           .sinks = p->sunk ? w->sink : NULL};
    const float *turned = cuda_array(w->device, rotary, table);
    op.rotary = p->unrotated ? NULL : turned;
    struct call call = {&op, batch};
    CHECK_EQ(backend_cuda.run(w->device, attend_body, &call), 0);
    CHECK_EQ(backend_cuda.read(w->device, y, op.y, out), 0);
    cuda_drop(w->device, op.qkv, in);
    cuda_drop(w->device, op.y, out);
    cuda_drop(w->device, turned, table);
}

/* One step of n[s] tokens of each sequence. */
static void step(struct work *w, const int n[SEQS_MAX])
{
    const struct problem *p = w->p;
    size_t row = (size_t)width(p), out = (size_t)(p->H * p->dim);
    size_t T = (size_t)total(n), at = 0;
    struct batch_seq seq[SEQS_MAX];
    int32_t *position = malloc(T * sizeof *position), *token = calloc(T, sizeof *token);
    struct batch batch = {.seq = seq, .position = position, .token = token};
    float *qkv = malloc(T * row * sizeof *qkv), *y = malloc(T * out * sizeof *y);
    float *rotary = malloc(T * (size_t)turned(p) * sizeof *rotary);
    for (int s = 0; s < p->n_seqs; s++) {
        if (n[s] == 0)
            continue;
        seq[batch.S++] = (struct batch_seq){batch.T, n[s], w->done[s], w->page[s]};
        memcpy(qkv + (size_t)batch.T * row, p->qkv[s] + (size_t)w->done[s] * row,
               (size_t)n[s] * row * sizeof *qkv);
        for (int i = 0; i < n[s]; i++, batch.T++) {
            position[batch.T] = w->done[s] + i;
            rotary_row(p, w->done[s] + i, rotary + batch.T * turned(p));
        }
    }
    attend(w, &batch, qkv, rotary, y);
    for (int s = 0; s < p->n_seqs; at += (size_t)n[s] * out, s++) {
        memcpy(w->y[s] + (size_t)w->done[s] * out, y + at, (size_t)n[s] * out * sizeof *y);
        w->done[s] += n[s];
    }
    free(position);
    free(token);
    free(qkv);
    free(y);
    free(rotary);
}

/* Random: a sequence stands still, takes some tokens or one. False: there is no card. */
static bool compute(struct work *w, const struct problem *p, const struct way *way)
{
    if (!work_init(w, p, way))
        return false;
    while (memcmp(w->done, p->length, sizeof w->done) != 0) {
        int n[SEQS_MAX] = {0};
        for (int s = 0; s < p->n_seqs; s++) {
            uint32_t kind = random_below(4);
            int some = kind == 0 ? 0 : kind == 1 ? (int)random_below(150) : 1 + (int)kind * 3;
            n[s] = MIN(way->n[0] ? way->n[s] : some, p->length[s] - w->done[s]);
        }
        if (total(n))
            step(w, n);
    }
    return true;
}

/* |y - want| / |want| over a sequence; NaN if a NaN came through. */
static double error(const struct work *w, int s)
{
    double off = 0, size = 0;
    size_t n = (size_t)w->p->length[s] * (size_t)(w->p->H * w->p->dim);
    for (size_t i = 0; i < n; i++) {
        double want = w->p->want[s][i], d = (double)w->y[s][i] - want;
        off += d * d;
        size += want * want;
    }
    return sqrt(off / size);
}

/* Errors are independent of each other and of their signs, so their squares add. The output is a
 * sum of products p v, and errs by as much of itself as p and v do of themselves. p errs by its
 * own rounding and, being an exponential, by as much as its score does, which is |score| times
 * what q and k err by; the mean square of scores is about 1, and 1.5 at most. bfloat16 rounds to
 * 2^-8, evenly: 2^-8 / sqrt(3) in the mean. int8 (k and v) rounds evenly to steps of
 * largest / 127, that is to 1 / (127 sqrt(12)) of the largest, which is no more than 3 times the
 * mean. fp8 rounds by up to 2^-4, as bfloat16 by 2^-8. */
static double bound(enum kv_type type)
{
    double bf16 = 0x1p-8 / sqrt(3), kv = type == KV_INT8  ? 3 / (127 * sqrt(12))
                                         : type == KV_FP8 ? 0x1p-4 / sqrt(3)
                                                          : bf16;
    return sqrt((bf16 * bf16 + kv * kv) * (1 + 1.5));
}

static const char *const type_name[] = {[KV_BF16] = "bf16", [KV_INT8] = "int8", [KV_FP8] = "fp8"};

static void check_error(const struct work *w, const struct way *way)
{
    const struct problem *p = w->p;
    for (int s = 0; s < p->n_seqs; s++)
        if (!(error(w, s) < bound(way->type)))
            t_fail(__FILE__, __LINE__,
                   "%s, dim %d, heads %d/%d, rope %d of %d, norm %d, unrotated %d, "
                   "far %d, window %d, cap %g, slopes %d, sinks %d, growth from %d, chunk %d: "
                   "error %g",
                   type_name[way->type], p->dim, p->H, p->K, p->rope, turned(p), p->normed,
                   p->unrotated, p->far, p->window, (double)p->cap, p->biased, p->sunk,
                   p->growth_from, way->n[s], error(w, s));
}

static void check_bits(const struct work *a, const struct work *b, const struct way *way)
{
    const struct problem *p = a->p;
    for (int s = 0; s < p->n_seqs; s++) {
        size_t n = (size_t)p->length[s] * (size_t)(p->H * p->dim), i = 0;
        while (i < n && memcmp(&a->y[s][i], &b->y[s][i], sizeof(float)) == 0)
            i++;
        if (i < n)
            t_fail(__FILE__, __LINE__,
                   "%s, dim %d, heads %d/%d: chunk %d differs at position %d of sequence %d: "
                   "%a, %a",
                   type_name[way->type], p->dim, p->H, p->K, way->n[0],
                   (int)(i / (size_t)(p->H * p->dim)), s, (double)a->y[s][i], (double)b->y[s][i]);
    }
}

/* All in one step, and each of n ways: what is defined, and the same bits. */
static void check_same(struct problem *p, enum kv_type type, const struct way *ways, int n)
{
    struct work a, b;
    struct way whole = {.type = type, .nan = true};
    memcpy(whole.n, p->length, sizeof whole.n);
    problem_init(p);
    if (compute(&a, p, &whole)) {
        check_error(&a, &whole);
        for (int i = 0; i < n; i++) {
            struct way way = ways[i];
            way.type = type;
            if (!compute(&b, p, &way))
                break;
            check_bits(&a, &b, &way);
            work_release(&b);
        }
        work_release(&a);
    }
    problem_release(p);
}

static const int dims[] = {64, 80, 96, 112, 128, 192, 256, 2, 40};
static const int heads[][2] = {{3, 1}, {4, 4}, {9, 3}, {10, 2}, {7, 1}, {1, 1}, {18, 1}, {6, 3}};

TEST(cuda_attend, gives_what_the_definition_says)
{
    for (size_t d = 0, round = 0; d < COUNT_OF(dims); d++)
        for (int type = KV_BF16; type <= KV_FP8; type++, round++) {
            const int *h = heads[round % COUNT_OF(heads)];
            struct problem p = {.H = h[0],
                                .K = h[1],
                                .dim = dims[d],
                                .n_seqs = 1,
                                .length = {37 + 3 * (int)round},
                                .rope = round & 1 ? ROPE_HALF : ROPE_INTERLEAVED,
                                .normed = round & 2,
                                .unrotated = round % 5 == 4};
            check_same(&p, (enum kv_type)type, NULL, 0);
        }
}

/* Widths of all kernels. Chunks of 17 are for prefill, those of 5 and 1 for decode. */
TEST(cuda_attend, chunks_do_not_change_a_bit)
{
    static const int shapes[][3] = {{2, 1, 64}, {1, 1, 128}, {1, 1, 256}};
    static const struct way ways[] = {{.n = {17}}, {.n = {5}}, {.n = {1}}};
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (int type = KV_BF16; type <= KV_FP8; type++) {
            struct problem p = {.H = shapes[i][0],
                                .K = shapes[i][1],
                                .dim = shapes[i][2],
                                .n_seqs = 1,
                                .length = {i == 0 ? 530 : 270},
                                .rope = i % 2 ? ROPE_HALF : ROPE_INTERLEAVED,
                                .normed = i == 1};
            check_same(&p, (enum kv_type)type, ways, i == 0 ? 3 : 2);
        }
}

/* Random steps, and steps of few tokens for which scratch is too small at once. */
TEST(cuda_attend, neighbours_do_not_change_a_bit)
{
    static const struct way ways[] = {{.nan = true}, {.n = {3, 1, 1, 1}}};
    for (size_t i = 0; i < 4; i++)
        for (int type = KV_BF16; type <= KV_FP8; type++) {
            struct problem p = {.H = heads[i][0],
                                .K = heads[i][1],
                                .dim = 16 << i,
                                .n_seqs = 4,
                                .length = {290, i == 0 ? 300 : 70, 1, 40},
                                .normed = i % 2};
            check_same(&p, (enum kv_type)type, ways, i == 0 ? 2 : 1);
        }
}

/* A sequence that ends where a split does, in a step with one that has another split. */
TEST(cuda_attend, neighbours_with_more_splits_do_not_change_a_bit)
{
    static const struct way ways[] = {{.n = {8, 9}}};
    for (int type = KV_BF16; type <= KV_FP8; type++) {
        struct problem p = {.H = 1, .K = 1, .dim = 32, .n_seqs = 2, .length = {256, 300}};
        check_same(&p, (enum kv_type)type, ways, 1);
    }
}

/* Random steps, some of them for decode; with windows and growth also five tokens at a time. */
TEST(cuda_attend, variants_give_what_the_definition_says_in_all_ways)
{
    static const struct way ways[] = {{.nan = true}, {.n = {5, 1}}};
    for (size_t v = 0; v < COUNT_OF(variants); v++)
        for (int type = KV_BF16; type <= KV_FP8; type++) {
            struct problem p = variants[v];
            p.H = v % 2 ? 6 : 2;
            p.K = v % 2 ? 2 : 1;
            p.dim = v % 3 == 0 ? 64 : v % 3 == 1 ? 80 : 40;
            p.normed = v % 4 == 0 && !p.far;
            p.n_seqs = 2;
            p.length[0] = p.window ? 530 : 290;
            p.length[1] = 45;
            check_same(&p, (enum kv_type)type, ways, p.window || p.growth_from ? 2 : 1);
        }
}

TEST(cuda_attend, refuses_f32_pages_with_a_reason)
{
    struct device_config config = {.threads = 1,
                                   .max_tokens = 1,
                                   .max_rows = 1,
                                   .max_context = 16,
                                   .max_width = 64,
                                   .L = 1,
                                   .H = 1,
                                   .K = 1,
                                   .dim = 64,
                                   .kv_type = KV_F32,
                                   .kv_pages = 1};
    struct err err = {0};
    CHECK_EQ(attend_check(&config, &err), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "keys and values are bf16, int8 or fp8 on a CUDA device, not f32");
    config.kv_type = KV_INT8;
    CHECK_EQ(attend_check(&config, &err), INFLIGHT_OK);
}
#endif
