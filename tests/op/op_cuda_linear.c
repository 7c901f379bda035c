/* The operation linear on CUDA against its definition, and its promise: the same bits for a
 * token whatever the number of tokens and its place among them, and so whichever kernel ran. */
#include "on_cuda.h"
#include "problem.h"
#include "ref.h"

#include <math.h>

#ifdef INFLIGHT_CUDA

/* Sums in float of up to K_MAX products, each kind of which the CPU's float kernels meet too. */
#define EXACT 2e-6

/* Rounding to bfloat16 errs by at most 2^-8 of a value, evenly: 2^-8 / sqrt(3) in the mean. The
 * signs of errors are random, so an output errs by as much of the outputs' mean; by sqrt(2) of
 * it if weights are rounded too, and by sqrt(2) of that if it is a product of two. */
#define ROUNDED (2 * 0x1p-8 / 1.7320508)

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

/* A problem in the device's memory. */
struct copy {
    struct device *device;
    struct op_linear op;
    struct weight weight[PARTS_MAX];
    struct batch batch;
    float *x, *y;
};

static bool copy_init(struct copy *c, const struct problem *p)
{
    *c = (struct copy){.device = cuda_device(&config)};
    if (!c->device)
        return false;
    c->x = cuda_array(c->device, p->x, T_MAX * (size_t)p->K * sizeof(float));
    c->y = cuda_array(c->device, NULL, T_MAX * (size_t)p->ldy * sizeof(float));
    c->op = (struct op_linear){.eps = 1e-5f,
                               .D = p->K,
                               .ldy = p->ldy,
                               .n_part = p->n_part,
                               .epilogue = (int32_t)p->epilogue};
    if (p->normed)
        c->op.norm = cuda_array(c->device, p->norm, (size_t)p->K * sizeof(float));
    for (int i = 0; i < p->n_part; i++) {
        c->weight[i] = cuda_matrix(c->device, &config, &p->matrix[i]);
        c->op.part[i] = (struct linear_part){.weight = &c->weight[i], .column = p->column[i]};
        if (p->bias[i])
            c->op.part[i].bias =
                cuda_array(c->device, p->bias[i], (size_t)p->matrix[i].source.N * sizeof(float));
    }
    return true;
}

static void copy_release(struct copy *c, const struct problem *p)
{
    cuda_drop(c->device, c->x, T_MAX * (size_t)p->K * sizeof(float));
    cuda_drop(c->device, c->y, T_MAX * (size_t)p->ldy * sizeof(float));
    cuda_drop(c->device, c->op.norm, (size_t)p->K * sizeof(float));
    for (int i = 0; i < p->n_part; i++) {
        cuda_drop(c->device, c->weight[i].data, c->weight[i].bytes);
        cuda_drop(c->device, c->op.part[i].bias, (size_t)p->matrix[i].source.N * sizeof(float));
    }
    backend_cuda.close(c->device);
}

static int copy_body(struct lane *lane, void *arg)
{
    struct copy *c = arg;
    return backend_cuda.linear(lane, &c->op, &c->batch);
}

/* What stands after the rows of y that an operation has must stay. */
static void check_rest(const struct copy *c, const struct problem *p, int T)
{
    size_t bytes = (size_t)(T_MAX - T) * (size_t)p->ldy * sizeof *c->y;
    float *rest = malloc(bytes + 1);
    CHECK_EQ(backend_cuda.read(c->device, rest, c->y + T * p->ldy, bytes), 0);
    CHECK(memcmp(rest, p->before + T * p->ldy, bytes) == 0);
    free(rest);
}

/* Tokens [first, first + T) of the problem into y (T, ldy). */
static void compute(struct copy *c, const struct problem *p, int first, int T, float *y)
{
    size_t bytes = (size_t)T * (size_t)p->ldy * sizeof *y;
    size_t rest = (size_t)(T_MAX - T) * (size_t)p->ldy * sizeof *y;
    c->op.x = c->x + first * p->K;
    c->op.y = c->y;
    c->batch = (struct batch){.T = T};
    CHECK_EQ(backend_cuda.write(c->device, c->y, p->before + first * p->ldy, bytes), 0);
    CHECK_EQ(backend_cuda.write(c->device, c->y + T * p->ldy, p->before + T * p->ldy, rest), 0);
    CHECK_EQ(backend_cuda.run(c->device, copy_body, c), 0);
    CHECK_EQ(backend_cuda.read(c->device, y, c->y, bytes), 0);
    check_rest(c, p, T);
}

/* The definition in double; rounded: over inputs in bfloat16. */
static void define(const struct problem *p, bool rounded, double *y)
{
    double *x = malloc(T_MAX * (size_t)p->K * sizeof *x);
    struct ref_linear op = {.x = x,
                            .y = y,
                            .norm = p->normed ? p->norm : NULL,
                            .eps = 1e-5,
                            .D = p->K,
                            .ldy = p->ldy,
                            .n_part = p->n_part,
                            .epilogue = p->epilogue};
    struct batch batch = {.T = T_MAX};
    for (int i = 0; i < p->n_part; i++)
        op.part[i] =
            (struct ref_part){p->matrix[i].value, p->bias[i], p->matrix[i].source.N, p->column[i]};
    for (int i = 0; i < T_MAX * p->ldy; i++)
        y[i] = (double)p->before[i];
    for (int i = 0; i < T_MAX * p->K; i++)
        x[i] = (double)(rounded ? bf16_to_float(bf16_of_float(p->x[i])) : p->x[i]);
    ref_linear(&op, &batch);
    free(x);
}

/* |y - want| / |want| over all outputs, and the largest single error over the mean size. */
static void check_near(const struct problem *p, const float *y, const double *want,
                       double tolerance)
{
    double off = 0, size = 0, worst = 0;
    size_t n = T_MAX * (size_t)p->ldy;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)y[i] - want[i]);
        off += d * d;
        size += want[i] * want[i];
        worst = d > worst || d != d ? d : worst;
    }
    double mean = sqrt(size / (double)n);
    if (!(sqrt(off / size) <= tolerance) || !(worst <= 20 * tolerance * mean))
        t_fail(__FILE__, __LINE__, "%s, K %d, epilogue %d: error %.3g, worst %.3g, allowed %g",
               fmt_info[p->matrix[0].source.fmt].name, p->K, (int)p->epilogue, sqrt(off / size),
               worst / mean, tolerance);
}

/* Rows of y must be those of base, which starts at token 0; first: of y. */
static void check_same(const struct problem *p, const float *y, const float *base, int first, int T)
{
    for (int t = 0; t < T; t++)
        if (memcmp(y + t * p->ldy, base + (first + t) * p->ldy, (size_t)p->ldy * sizeof *y)) {
            t_fail(__FILE__, __LINE__, "%s: token %d of %d tokens from %d differs",
                   fmt_info[p->matrix[0].source.fmt].name, t, T, first);
            return;
        }
}

/* T_MAX tokens against the definition; over rounded inputs exactly, but only without a norm,
 * whose own rounding may move an input across a rounding boundary. Then some of the tokens
 * again, by the kernels for few. near: signs of inputs' errors are random. */
static void check_problem(const struct problem *p, bool near)
{
    size_t n = T_MAX * (size_t)p->ldy;
    double *want = malloc(n * sizeof *want);
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    static const int tokens[] = {1, 3, 8, 13, 27, 40};
    struct copy c;
    if (copy_init(&c, p)) {
        compute(&c, p, 0, T_MAX, base);
        define(p, false, want);
        if (near)
            check_near(p, base, want, ROUNDED);
        for (int i = 0; i < p->n_part; i++)
            round_matrix((struct matrix *)(uintptr_t)&p->matrix[i]);
        define(p, true, want);
        if (!p->normed)
            check_near(p, base, want, EXACT);
        for (size_t i = 0; i < COUNT_OF(tokens); i++) {
            compute(&c, p, (int)i, tokens[i], y);
            check_same(p, y, base, (int)i, tokens[i]);
        }
        copy_release(&c, p);
    }
    free(want);
    free(base);
    free(y);
}

/* The last is more than eight tiles of every layout, the first less than one of most. */
static const int widths[] = {32, 96, 256, 1280};

TEST(cuda_linear, gives_what_the_definition_says_in_every_format)
{
    static float yes;
    int round = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t k = 0; k < COUNT_OF(widths); k++, round++) {
            if (widths[k] % fmt_info[fmt].n)
                continue;
            const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt, (enum fmt)fmt};
            const int N[] = {32, 5 + round % 40, 16};
            struct problem p = {.epilogue = round & 1 ? EPILOGUE_ADD : EPILOGUE_STORE,
                                .n_part = 1 + round % 3,
                                .normed = round % 4 == 3};
            if (round & 2)
                p.bias[0] = p.bias[2] = &yes;
            problem_init(&p, fmts, N, widths[k]);
            check_problem(&p, true);
            problem_release(&p);
        }
}

/* Every value of a matrix from the same byte, scales as ever. */
static void fill_matrix(struct matrix *m, uint8_t byte)
{
    uint8_t *data = (uint8_t *)(uintptr_t)m->source.data;
    size_t row = fmt_row_bytes(m->source.fmt, m->source.K), bytes = row * (size_t)m->source.N;
    memset(data, byte, bytes);
    for (size_t i = 0; i < bytes; i += (size_t)fmt_info[m->source.fmt].bytes)
        tame_block(m->source.fmt, data + i);
    for (int32_t n = 0; n < m->source.N; n++)
        fmt_decode_row(m->source.fmt, data + (size_t)n * row, m->source.K,
                       m->value + (size_t)n * (size_t)m->source.K);
}

/* The largest and the smallest integers of every format. */
TEST(cuda_linear, extreme_integers_are_exact)
{
    static const uint8_t bytes[] = {0x00, 0xff, 0x80, 0x7f};
    for (int fmt = FMT_q4_0; fmt < FMT_COUNT; fmt++)
        for (size_t i = 0; i < COUNT_OF(bytes); i++) {
            struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
            problem_init(&p, (enum fmt[]){(enum fmt)fmt}, (int[]){32}, 256);
            fill_matrix(&p.matrix[0], bytes[i]);
            check_problem(&p, false);
            problem_release(&p);
        }
}

TEST(cuda_linear, gates_in_every_format)
{
    static float yes;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt};
        const int N[] = {53, 53};
        struct problem p = {.epilogue = EPILOGUE_GLU_SILU, .n_part = 2, .normed = fmt % 2};
        p.bias[0] = p.bias[1] = fmt % 3 ? &yes : NULL;
        problem_init(&p, fmts, N, 256);
        check_problem(&p, true);
        problem_release(&p);
    }
}

TEST(cuda_linear, parts_may_differ_in_format)
{
    const enum fmt fmts[] = {FMT_q4_k, FMT_bf16, FMT_q6_k};
    const int N[] = {48, 20, 17};
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 3};
    problem_init(&p, fmts, N, 768);
    check_problem(&p, true);
    problem_release(&p);

    const enum fmt gate[] = {FMT_f32, FMT_q8_0};
    const int width[] = {70, 70};
    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, gate, width, 96);
    check_problem(&p, true);
    problem_release(&p);
}

/* A matrix of floats need not have whole chunks; and rows that go to several blocks. */
TEST(cuda_linear, widths_of_floats_may_be_any_multiple_of_eight)
{
    for (int K = 8; K <= 200; K += 96) {
        struct problem p = {.epilogue = EPILOGUE_ADD, .n_part = 2};
        problem_init(&p, (enum fmt[]){FMT_f16, FMT_bf16}, (int[]){150, 3}, K);
        check_problem(&p, true);
        problem_release(&p);
    }
}

TEST(cuda_linear, tokens_do_not_change_a_bit)
{
    static const int tokens[] = {2, 7, 9, 16, 17, 32, 33, 64, 65, 128};
    const enum fmt fmts[] = {FMT_q4_k, FMT_q6_k, FMT_q8_0};
    const int N[] = {83, 35, 16};
    struct problem p = {.epilogue = EPILOGUE_ADD, .n_part = 3, .normed = true};
    problem_init(&p, fmts, N, 512);
    size_t n = T_MAX * (size_t)p.ldy;
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    struct copy c;
    if (copy_init(&c, &p)) {
        compute(&c, &p, 0, T_MAX, base);
        for (size_t i = 0; i < COUNT_OF(tokens); i++) {
            int T = tokens[i], last = T_MAX - T;
            compute(&c, &p, 0, T, y);
            check_same(&p, y, base, 0, T);
            compute(&c, &p, last, T, y);
            check_same(&p, y, base, last, T);
        }
        copy_release(&c, &p);
    }
    free(base);
    free(y);
    problem_release(&p);
}
#else
TEST(cuda_linear, is_built)
{
    t_skip("built without CUDA");
}
#endif
