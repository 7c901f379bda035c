/* The operation linear against its definition, over the same int8 inputs and over the
 * inputs as they are, and its promise: the same bits for a token whatever the number of
 * tokens, its place among them and the lanes. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "problem.h"
#include "ref.h"

#include <math.h>

extern const struct backend backend_cpu;

#define FOR_EACH_ISA(isa)                                     \
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) \
        if (cpu_can(isa))

static const int tokens[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, T_MAX};

static struct device_config config_of(enum isa isa, int threads, int activations)
{
    return (struct device_config){.threads = threads,
                                  .isa = (int32_t)isa,
                                  .activations = activations,
                                  .max_tokens = T_MAX,
                                  .max_rows = T_MAX,
                                  .max_context = 64,
                                  .max_width = K_MAX,
                                  .L = 1,
                                  .H = 1,
                                  .K = 1,
                                  .dim = 64,
                                  .kv_type = KV_F32,
                                  .kv_pages = 1};
}

struct call {
    struct op_linear op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cpu.linear(lane, &call->op, &call->batch);
}

/* Tokens [first, first + T) of the problem into y (T, ldy). */
static void compute(struct problem *p, struct device *device, int first, int T, float *y)
{
    struct call call = {.batch.T = T};
    size_t n = (size_t)T * (size_t)p->ldy;
    memcpy(y, p->before + first * p->ldy, n * sizeof *y);
    call.op = (struct op_linear){.x = p->x + first * p->K,
                                 .y = y,
                                 .norm = p->normed ? p->norm : NULL,
                                 .norm_bias = p->norm_biased ? p->norm_bias : NULL,
                                 .norm_kind = (int32_t)p->norm_kind,
                                 .eps = 1e-5f,
                                 .D = p->K,
                                 .ldy = p->ldy,
                                 .n_part = p->n_part,
                                 .epilogue = (int32_t)p->epilogue};
    if (p->epilogue == EPILOGUE_GELU_TIMES) {
        call.op.factor = p->before + first * p->ldy;
        call.op.ld_factor = p->ldy;
    }
    for (int i = 0; i < p->n_part; i++)
        call.op.part[i] = (struct linear_part){&p->matrix[i].weight, p->bias[i], p->column[i]};
    CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
}

static struct device *open_for(struct problem *p, const struct device_config *config)
{
    struct device *device = NULL;
    struct err err = {0};
    if (backend_cpu.open(config, &mem_system, &device, &err))
        t_fail(__FILE__, __LINE__, "%s", err.text);
    for (int i = 0; i < p->n_part; i++)
        CHECK(matrix_pack(&p->matrix[i], &backend_cpu, device, config));
    return device;
}

/* x rounded to int8 in groups of 32, the definition of the inputs of a product. */
static void round_inputs(const float *x, double *out, int n)
{
    for (int g = 0; g < n; g += 32) {
        float peak = 0;
        for (int i = g; i < g + 32; i++)
            peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
        float scale = peak / 127.0f, inverse = peak > 0 ? 127.0f / peak : 0;
        for (int i = g; i < g + 32; i++)
            out[i] = (double)scale * rint((double)(x[i] * inverse));
    }
}

/* x rounded to bfloat16, ties to even: the inputs where pairs of them are multiplied. */
static void round_to_bf16(const float *x, double *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        float value;
        memcpy(&bits, &x[i], sizeof bits);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&value, &bits, sizeof value);
        out[i] = (double)value;
    }
}

typedef void rounding(const float *x, double *out, int n);

/* The definition in double; round: what becomes of the inputs, or NULL. */
static void define(const struct problem *p, rounding *round, double *y)
{
    double *x = malloc(T_MAX * (size_t)p->K * sizeof *x);
    struct ref_linear op = {.x = x,
                            .y = y,
                            .norm = p->normed ? p->norm : NULL,
                            .norm_bias = p->norm_biased ? p->norm_bias : NULL,
                            .norm_kind = p->norm_kind,
                            .eps = 1e-5,
                            .D = p->K,
                            .ldy = p->ldy,
                            .n_part = p->n_part,
                            .epilogue = p->epilogue,
                            .factor = p->before,
                            .ld_factor = p->ldy};
    struct batch batch = {.T = T_MAX};
    for (int i = 0; i < p->n_part; i++)
        op.part[i] = (struct ref_part){.weight = p->matrix[i].value,
                                       .bias = p->bias[i],
                                       .N = p->matrix[i].source.N,
                                       .column = p->column[i]};
    for (int i = 0; i < T_MAX * p->ldy; i++)
        y[i] = (double)p->before[i];
    for (int t = 0; t < T_MAX; t++)
        for (int k = 0; k < p->K; k++)
            x[t * p->K + k] = (double)p->x[t * p->K + k];
    for (int t = 0; round && t < T_MAX; t++)
        round(p->x + t * p->K, x + t * p->K, p->K);
    ref_linear(&op, &batch);
    free(x);
}

/* |y - want| / |want| over all outputs, and the largest single error over the mean size. */
static void check_near(const struct problem *p, const float *y, const double *want,
                       double tolerance, const char *what)
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
        t_fail(__FILE__, __LINE__, "%s, %s, K %d, epilogue %d: error %.3g, worst %.3g, allowed %g",
               what, fmt_info[p->matrix[0].source.fmt].name, p->K, (int)p->epilogue,
               sqrt(off / size), worst / mean, tolerance);
}

/* What becomes of the inputs of a matrix with the default activations. */
static rounding *rounding_of(enum fmt fmt, enum isa isa)
{
    bool is_e4m3 = fmt == FMT_fp8 || fmt == FMT_fp8_128;
    if ((fmt == FMT_bf16 || is_e4m3) && isa == ISA_ID_AVX512BF16)
        return round_to_bf16;
    return fmt == FMT_f32 || fmt == FMT_f16 || fmt == FMT_bf16 || is_e4m3 ? NULL : round_inputs;
}

/* All instruction sets; rounded inputs are compared exactly only without a norm, whose own
 * rounding may move an input across a rounding boundary. */
static void check_problem(struct problem *p)
{
    size_t n = T_MAX * (size_t)p->ldy;
    double *exact = malloc(n * sizeof *exact), *rounded = malloc(n * sizeof *rounded);
    float *y = malloc(n * sizeof *y);
    define(p, NULL, exact);
    FOR_EACH_ISA(isa)
    for (int activations = ACT_INT8; activations <= ACT_FLOAT; activations++) {
        struct device_config config = config_of(isa, 2, activations);
        rounding *round =
            activations == ACT_FLOAT ? NULL : rounding_of(p->matrix[0].source.fmt, isa);
        struct device *device = open_for(p, &config);
        compute(p, device, 0, T_MAX, y);
        const char *what = backend_cpu.describe(device);
        check_near(p, y, exact, round ? 2e-2 : 2e-6, what);
        if (round && !p->normed) {
            define(p, round, rounded);
            check_near(p, y, rounded, 2e-6, what);
        }
        backend_cpu.close(device);
    }
    free(exact);
    free(rounded);
    free(y);
}

static const int widths[] = {32, 96, 576, 256, 768, 544};

static bool has_width(enum fmt fmt, int K)
{
    return K % fmt_info[fmt].n == 0;
}

TEST(linear, gives_what_the_definition_says_in_every_format)
{
    static float yes;
    int round = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t k = 0; k < COUNT_OF(widths); k++, round++) {
            if (!has_width((enum fmt)fmt, widths[k]))
                continue;
            const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt, (enum fmt)fmt};
            const int N[] = {32, 5 + round % 40, 16};
            struct problem p = {.epilogue = round & 1 ? EPILOGUE_ADD : EPILOGUE_STORE,
                                .n_part = 1 + round % 3,
                                .normed = round % 4 == 3};
            if (round & 2)
                p.bias[0] = p.bias[2] = &yes;
            problem_init(&p, fmts, N, widths[k]);
            check_problem(&p);
            problem_release(&p);
        }
}

/* Every value of a matrix from the same byte, scales as ever; no minima in super-blocks, which
 * would take away most of the sums that are looked at. */
static void fill_matrix(struct matrix *m, uint8_t byte)
{
    uint8_t *data = (uint8_t *)(uintptr_t)m->source.data;
    size_t row = fmt_row_bytes(m->source.fmt, m->source.K), bytes = row * (size_t)m->source.N;
    memset(data, byte, bytes);
    for (int32_t n = 0; n < m->source.N; n++, data += row) {
        tame_row(m->source.fmt, data, m->source.K);
        if (m->source.fmt == FMT_q4_k || m->source.fmt == FMT_q5_k)
            for (size_t i = 0; i < row; i += (size_t)fmt_info[m->source.fmt].bytes)
                put_half(data + i + 2, 0);
        fmt_decode_row(m->source.fmt, data, m->source.K,
                       m->value + (size_t)n * (size_t)m->source.K);
    }
}

/* Where sums of products are kept in 16 bits they reach what these can hold. */
TEST(linear, the_largest_products_do_not_overflow)
{
    static const uint8_t bytes[] = {0x00, 0xff, 0x80, 0x7f};
    for (int fmt = FMT_q4_0; fmt < FMT_COUNT; fmt++)
        for (size_t i = 0; i < COUNT_OF(bytes); i++) {
            struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
            problem_init(&p, (enum fmt[]){(enum fmt)fmt}, (int[]){32}, 256);
            fill_matrix(&p.matrix[0], bytes[i]);
            /* One size in a group, so that all of it is rounded to 127, and others in others:
             * sums of equal floats are rounded to one side. */
            for (int k = 0; k < T_MAX * p.K; k++)
                p.x[k] = (k / p.K % 2 ? -1.0f : 1.0f) * (1.0f + 0.1f * (float)(k / 32 % 7));
            check_problem(&p);
            problem_release(&p);
        }
}

/* What is no number becomes the least byte of the scale that the others of its group set, wherever
 * it stands. */
TEST(linear, no_number_counts_for_nothing_in_a_scale)
{
    enum { T = 32, K = 96 };
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_q8_0}, (int[]){32}, K);
    float *least = malloc(sizeof(float) * T * K);
    memcpy(least, p.x, sizeof(float) * T * K);
    for (int t = 0; t < T; t++) { /* token t: at input t, and in the last group */
        for (int g = 0; g < K; g += 64) {
            float *x = p.x + t * K + g, peak = 0;
            for (int i = 0; i < 32; i++)
                peak = i != t && fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
            x[t] = NAN;
            least[t * K + g + t] = -peak;
        }
    }
    size_t n = (size_t)(T * p.ldy);
    float *y = malloc(n * sizeof *y), *want = malloc(n * sizeof *want);
    FOR_EACH_ISA(isa)
    {
        struct device_config config = config_of(isa, 2, ACT_INT8);
        struct device *device = open_for(&p, &config);
        compute(&p, device, 0, T, y);
        float *x = p.x;
        p.x = least;
        compute(&p, device, 0, T, want);
        p.x = x;
        CHECK(memcmp(y, want, n * sizeof *y) == 0);
        backend_cpu.close(device);
    }
    free(least);
    free(y);
    free(want);
    problem_release(&p);
}

TEST(linear, gates_in_every_format)
{
    static float yes;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt};
        const int N[] = {53, 53};
        struct problem p = {.epilogue = EPILOGUE_GLU_SILU, .n_part = 2, .normed = fmt % 2};
        p.bias[0] = p.bias[1] = fmt % 3 ? &yes : NULL;
        problem_init(&p, fmts, N, 256);
        check_problem(&p);
        problem_release(&p);
    }
}

TEST(linear, parts_may_differ_in_format)
{
    const enum fmt fmts[] = {FMT_q4_k, FMT_bf16, FMT_q6_k};
    const int N[] = {48, 20, 17};
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 3, .normed = true};
    problem_init(&p, fmts, N, 768);
    check_problem(&p);
    problem_release(&p);

    const enum fmt gate[] = {FMT_f32, FMT_q8_0};
    const int width[] = {70, 70};
    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, gate, width, 96);
    size_t n = T_MAX * (size_t)p.ldy;
    double *want = malloc(n * sizeof *want);
    float *y = malloc(n * sizeof *y);
    define(&p, NULL, want);
    FOR_EACH_ISA(isa)
    {
        struct device_config config = config_of(isa, 3, ACT_INT8);
        struct device *device = open_for(&p, &config);
        compute(&p, device, 0, T_MAX, y);
        check_near(&p, y, want, 2e-2, "mixed gate");
        backend_cpu.close(device);
    }
    free(want);
    free(y);
    problem_release(&p);
}

static void check_one(struct problem p, enum fmt fmt, int K)
{
    problem_init(&p, (enum fmt[]){fmt, fmt}, (int[]){37, 37}, K);
    for (int i = 0; i < T_MAX * K && p.normed; i++)
        p.x[i] += 3; /* a mean that matters */
    check_problem(&p);
    problem_release(&p);
}

TEST(linear, layers_are_normalized_with_and_without_a_bias)
{
    for (int i = 0; i < 2; i++) {
        struct problem p = {.epilogue = EPILOGUE_STORE,
                            .n_part = 1,
                            .normed = true,
                            .norm_kind = NORM_LAYER,
                            .norm_biased = i == 1};
        check_one(p, FMT_f32, 576);
        check_one(p, FMT_q8_0, 96);
        check_one(p, FMT_q4_k, 768);
    }
}

TEST(linear, every_activation_is_that_of_its_definition)
{
    static const enum epilogue kinds[] = {EPILOGUE_GELU, EPILOGUE_GELU_TANH, EPILOGUE_GELU_TIMES,
                                          EPILOGUE_RELU2, EPILOGUE_GLU_GELU};
    static float yes;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct problem p = {.epilogue = kinds[i],
                            .n_part = epilogue_is_gated((int32_t)kinds[i]) ? 2 : 1};
        p.bias[0] = p.n_part == 1 ? &yes : NULL;
        check_one(p, FMT_f32, 96);
        check_one(p, FMT_q4_0, 256);
        check_one(p, FMT_bf16, 576);
    }
}

/* An E4M3 value that is no number makes all that is computed of its row none, and nothing else. */
TEST(linear, a_weight_that_is_no_number_makes_none)
{
    static const enum fmt fmts[] = {FMT_fp8, FMT_fp8_128};
    enum { N = 20, K = 256, ROW = 3 };
    for (size_t f = 0; f < COUNT_OF(fmts); f++) {
        struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
        problem_init(&p, &fmts[f], (int[]){N}, K);
        uint8_t *row = (uint8_t *)(uintptr_t)p.matrix[0].source.data;
        row[ROW * fmt_row_bytes(fmts[f], K) + 4 + 77] = 0xff;
        float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
        FOR_EACH_ISA(isa)
        {
            struct device_config config = config_of(isa, 2, ACT_INT8);
            struct device *device = open_for(&p, &config);
            int wrong = 0;
            compute(&p, device, 0, T_MAX, y);
            for (int i = 0; i < T_MAX * N; i++)
                wrong += !isnan(y[i / N * p.ldy + p.column[0] + i % N]) != (i % N != ROW);
            CHECK_EQ(wrong, 0);
            backend_cpu.close(device);
        }
        free(y);
        problem_release(&p);
    }
}

/* All blocks of MXFP4 rows get this power, and inputs the one that makes up for it. */
static void set_power(struct problem *p, int e, int before)
{
    const struct weight_source *source = &p->matrix[0].source;
    uint8_t *block = (uint8_t *)(uintptr_t)source->data;
    for (int i = 0; i < source->N * p->K / 32; i++)
        block[i * fmt_info[FMT_mxfp4].bytes] = (uint8_t)e;
    for (int i = 0; i < T_MAX * p->K; i++)
        p->x[i] = ldexpf(p->x[i], before - e);
}

static void check_powers(struct problem *p, enum isa isa, int activations)
{
    static const int powers[] = {120, 2, 1, 0};
    const size_t n = T_MAX * (size_t)p->ldy;
    const struct device_config config = config_of(isa, 1, activations);
    float *want = calloc(n, sizeof *want), *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < COUNT_OF(powers); i++) {
        set_power(p, powers[i], powers[i ? i - 1 : 0]);
        struct device *device = open_for(p, &config);
        compute(p, device, 0, T_MAX, i ? y : want);
        CHECK(i == 0 || memcmp(want, y, n * sizeof *y) == 0);
        backend_cpu.close(device);
    }
    set_power(p, powers[0], 0);
    free(want);
    free(y);
}

/* The least powers of MXFP4 have no exponent of a float of their own: with inputs that are as much
 * larger all is the same, bit by bit. */
TEST(linear, powers_of_two_are_those_of_the_format_to_the_least)
{
    static const enum fmt fmt[] = {FMT_mxfp4};
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, fmt, (int[]){20}, 96);
    FOR_EACH_ISA(isa)
    {
        check_powers(&p, isa, ACT_INT8);
        check_powers(&p, isa, ACT_FLOAT);
    }
    problem_release(&p);
}

/* Norm then product is the product of the normalized tokens: same bits. */
TEST(linear, the_norm_is_that_of_its_definition)
{
    const enum fmt fmt[] = {FMT_f32};
    const int N[] = {19};
    struct problem p = {.n_part = 1, .normed = true};
    problem_init(&p, fmt, N, 576);
    check_problem(&p);
    problem_release(&p);
}

/* Rows of y must be those of base, which starts at token 0; first: of y. */
static void check_same(const struct problem *p, const float *y, const float *base, int first, int T,
                       const char *what)
{
    for (int t = 0; t < T; t++)
        if (memcmp(y + t * p->ldy, base + (first + t) * p->ldy, (size_t)p->ldy * sizeof *y)) {
            t_fail(__FILE__, __LINE__, "%s, %s: token %d of %d tokens from %d differs", what,
                   fmt_info[p->matrix[0].source.fmt].name, t, T, first);
            return;
        }
}

static void check_invariance(struct problem *p, enum isa isa, int activations)
{
    size_t n = T_MAX * (size_t)p->ldy;
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    for (int threads = 1; threads <= 3; threads++) {
        struct device_config config = config_of(isa, threads, activations);
        struct device *device = open_for(p, &config);
        const char *what = backend_cpu.describe(device);
        if (threads == 1)
            compute(p, device, 0, T_MAX, base);
        for (size_t i = 0; i < COUNT_OF(tokens); i++) {
            int T = tokens[i], last = T_MAX - T;
            compute(p, device, 0, T, y);
            check_same(p, y, base, 0, T, what);
            compute(p, device, last, T, y);
            check_same(p, y, base, last, T, what);
        }
        backend_cpu.close(device);
    }
    free(base);
    free(y);
}

TEST(linear, tokens_and_lanes_do_not_change_a_bit)
{
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt, (enum fmt)fmt};
        const int N[] = {83, 83, 35};
        bool gated = fmt % 3 == 1;
        struct problem p = {.epilogue = gated ? EPILOGUE_GLU_SILU : EPILOGUE_ADD,
                            .n_part = gated ? 2 : 3,
                            .normed = true};
        problem_init(&p, fmts, N, has_width((enum fmt)fmt, 96) ? 96 + 192 * (fmt % 2) : 512);
        FOR_EACH_ISA(isa)
        for (int activations = ACT_INT8; activations <= ACT_FLOAT; activations++)
            check_invariance(&p, isa, activations);
        problem_release(&p);
    }
}

/* T tokens at once: every step-th is as it is alone, to the bit. */
static void check_tokens_alone(enum fmt fmt, int T, int N, int K, int step)
{
    struct matrix m;
    matrix_init(&m, fmt, N, K);
    float *x = malloc(sizeof(float) * (size_t)(T * K)),
          *y = malloc(sizeof(float) * (size_t)(T * N));
    float *one = malloc(sizeof(float) * (size_t)N);
    random_inputs(x, (size_t)(T * K));
    FOR_EACH_ISA(isa)
    {
        struct device_config config = config_of(isa, 3, ACT_FLOAT);
        config.max_tokens = T;
        config.max_width = K;
        struct device *device;
        CHECK_EQ(backend_cpu.open(&config, &mem_system, &device, NULL), 0);
        CHECK(matrix_pack(&m, &backend_cpu, device, &config));
        struct call call = {.batch.T = T};
        call.op = (struct op_linear){.x = x, .y = y, .D = K, .ldy = N, .n_part = 1};
        call.op.part[0].weight = &m.weight;
        CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
        call.batch.T = 1;
        call.op.y = one;
        for (int t = 0; t < T; t += step) {
            call.op.x = x + t * K;
            CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
            CHECK(memcmp(one, y + t * N, sizeof(float) * (size_t)N) == 0);
        }
        backend_cpu.close(device);
    }
    matrix_release(&m);
    free(x);
    free(y);
    free(one);
}

/* A scratch too small for all tokens at once: they pass in panels. */
TEST(linear, many_tokens_pass_in_panels)
{
    check_tokens_alone(FMT_f16, 700, 24, 64, 37);
}

/* Chains that go on from one piece of a tile to the next, where a block of columns is not the
 * only one; of one tile, and of as many as a kernel does at once where there are many. */
TEST(linear, long_rows_pass_in_pieces)
{
    static const enum fmt fmts[] = {FMT_f32, FMT_f16, FMT_bf16, FMT_fp8};
    for (size_t i = 0; i < COUNT_OF(fmts); i++) {
        check_tokens_alone(fmts[i], 37, 24, 1120, 3);
        check_tokens_alone(fmts[i], 29, 824, 288, 7);
    }
    check_tokens_alone(FMT_fp8_128, 37, 24, 1152, 3);
    check_tokens_alone(FMT_fp8_128, 29, 824, 384, 7);
}

TEST(linear, refuses_shapes_no_kernel_takes)
{
    struct device_config config = config_of(ISA_AUTO, 1, ACT_INT8);
    CHECK(backend_cpu.packed_bytes(&config, FMT_q4_1, 16, 32) > 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_q4_1, 16, 48), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_q4_k, 16, 576), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_f32, 16, 31), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_int8, 16, 33), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_int4_128, 16, 192), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_fp8_128, 16, 64), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_COUNT, 16, 32), 0);
    CHECK_EQ(backend_cpu.packed_bytes(&config, FMT_q4_1, 16, 576) % 64, 0);
}
