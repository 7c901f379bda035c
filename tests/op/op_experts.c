/* The operation experts against its definition, and its promises: a token has the same bits
 * whatever is computed beside it, and scores that are no numbers break nothing. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "experts_problem.h"

#include <math.h>

extern const struct backend backend_cpu;

struct call {
    struct op_experts op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cpu.experts(lane, &call->op, &call->batch);
}

/* Packed weights of a device; the operation has them as arrays. */
struct packed {
    struct weight gate[E_MAX], up[E_MAX], down[E_MAX];
};

static bool pack(struct problem *p, struct device *device, const struct device_config *config,
                 struct packed *packed)
{
    bool ok = matrix_pack(&p->router, &backend_cpu, device, config);
    for (int e = 0; e < p->E && ok; e++) {
        ok = matrix_pack(&p->gate[e], &backend_cpu, device, config) &&
             matrix_pack(&p->up[e], &backend_cpu, device, config) &&
             matrix_pack(&p->down[e], &backend_cpu, device, config);
        packed->gate[e] = p->gate[e].weight;
        packed->up[e] = p->up[e].weight;
        packed->down[e] = p->down[e].weight;
    }
    return ok;
}

/* Tokens [first, first + n) of p->x, to the same rows of x. */
static void compute(enum isa isa, int32_t activations, int threads, struct problem *p, int first,
                    int n, float *x)
{
    static float scores[T * E_MAX];
    static _Alignas(64) float hidden[ROWS_MAX * F], answer[ROWS_MAX * D];
    static struct expert_choice choice[T * U_MAX];
    static int32_t slots[E_MAX + 1], count[E_MAX], token[ROWS_MAX];
    static struct packed packed;
    const struct device_config config = {.threads = threads,
                                         .isa = (int32_t)isa,
                                         .activations = activations,
                                         .max_tokens = T,
                                         .max_rows = T,
                                         .max_context = 64,
                                         .max_width = MAX(D, F),
                                         .L = 1,
                                         .H = 1,
                                         .K = 1,
                                         .dim = 64,
                                         .kv_pages = 1,
                                         .experts = p->E};
    struct device *device = NULL;
    struct call call = {.op = {.x = x + first * D,
                               .norm = p->norm,
                               .router = &p->router.weight,
                               .gate = packed.gate,
                               .up = packed.up,
                               .down = packed.down,
                               .scores = scores,
                               .choice = choice,
                               .first = slots,
                               .count = count,
                               .token = token,
                               .hidden = hidden,
                               .answer = answer,
                               .eps = eps,
                               .D = D,
                               .F = F,
                               .E = p->E,
                               .U = p->U,
                               .choice_bias = if_chosen(p, p->choice_bias),
                               .shares = p->shares,
                               .factor = factor_of(p),
                               .router_bias = if_biased(p, p->router_bias),
                               .gate_bias = if_biased(p, p->gate_bias),
                               .up_bias = if_biased(p, p->up_bias),
                               .down_bias = if_biased(p, p->down_bias),
                               .limit = p->limit},
                        .batch = {.T = n}};
    memcpy(x + first * D, p->x + first * D, (size_t)(n * D) * sizeof *x);
    CHECK_EQ(backend_cpu.open(&config, &mem_system, &device, NULL), 0);
    CHECK(pack(p, device, &config, &packed));
    CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
    backend_cpu.close(device);
}

/* Largest error over the largest number. */
static double largest_error(const float *x, const double *want)
{
    double most = 0, size = 0;
    for (int i = 0; i < T * D; i++) {
        most = fmax(most, fabs((double)x[i] - want[i]));
        size = fmax(size, fabs(want[i]));
    }
    return most / size;
}

static void check_isa(enum isa isa, struct problem *p)
{
    static float x[T * D], alone[T * D];
    static double want[T * D];
    define(p, want);
    compute(isa, ACT_FLOAT, 2, p, 0, T, x);
    CHECK_NEAR(largest_error(x, want), 0, 1e-5);
    compute(isa, ACT_FLOAT, 1, p, T - 1, 1, alone);
    CHECK(memcmp(alone + (T - 1) * D, x + (T - 1) * D, D * sizeof *x) == 0);
    compute(isa, ACT_INT8, 2, p, 0, T, x);
    CHECK_NEAR(largest_error(x, want), 0, 0.05);
    compute(isa, ACT_INT8, 1, p, 3, 2, alone);
    CHECK(memcmp(alone + 3 * D, x + 3 * D, 2 * D * sizeof *x) == 0);
}

static void for_each_isa(struct problem *p, void (*what)(enum isa isa, struct problem *p))
{
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++)
        if (cpu_can(isa))
            what(isa, p);
}

TEST(experts, give_what_their_definition_says)
{
    static const struct problem cases[] = {
        {.fmt = FMT_f32, .E = 8, .U = 2},
        {.fmt = FMT_q8_0, .E = 8, .U = 2},
        {.fmt = FMT_q4_1, .E = 12, .U = 4},
        {.fmt = FMT_bf16, .E = 5, .U = 3, .shares = SHARES_OF_ALL},
        {.fmt = FMT_f32, .E = 3, .U = 1, .shares = SHARES_OF_ALL},
        {.fmt = FMT_f16, .E = 4, .U = 4},
        {.fmt = FMT_int4_32, .E = 6, .U = 2, .shares = SHARES_OF_ALL},
        {.fmt = FMT_f32, .E = 6, .U = 4, .limit = 0.7f},
        {.fmt = FMT_mxfp4, .E = 5, .U = 2, .limit = 7},
        {.fmt = FMT_f32, .E = 12, .U = 4, .has_choice = true},
        {.fmt = FMT_f32, .E = 9, .U = 3, .has_choice = true, .shares = SHARES_OF_ALL},
        {.fmt = FMT_f32, .E = 12, .U = 4, .shares = SHARES_LOGISTIC, .factor = 2.5f},
        {.fmt = FMT_f32, .E = 12, .U = 3, .shares = SHARES_OF_LOGISTIC},
        {.fmt = FMT_q8_0,
         .E = 11,
         .U = 4,
         .has_choice = true,
         .shares = SHARES_OF_LOGISTIC,
         .factor = 1.5f,
         .router_size = 0.2f}};
    static struct problem p;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        p = cases[i];
        problem_init(&p);
        for_each_isa(&p, check_isa);
        problem_release(&p);
    }
}

static void check_ties(enum isa isa, struct problem *p)
{
    static float x[T * D];
    static double want[T * D];
    define(p, want);
    compute(isa, ACT_FLOAT, 2, p, 0, T, x);
    CHECK_NEAR(largest_error(x, want), 0, 1e-5);
}

/* All scores are zero. */
TEST(experts, of_equal_scores_the_first_are_chosen)
{
    struct problem p = {.fmt = FMT_f32, .E = 6, .U = 2};
    problem_init(&p);
    memset((void *)(uintptr_t)p.router.source.data, 0, (size_t)p.E * D * sizeof(float));
    memset(p.router.value, 0, (size_t)p.E * D * sizeof(float));
    for_each_isa(&p, check_ties);
    problem_release(&p);
}

static void check_nan(enum isa isa, struct problem *p)
{
    static float x[T * D], alone[T * D];
    compute(isa, ACT_FLOAT, 2, p, 0, T, x);
    for (int t = 0; t < T; t++)
        CHECK_EQ(isnan(x[t * D]) != 0, t == 2);
    compute(isa, ACT_FLOAT, 1, p, 5, 1, alone);
    CHECK(memcmp(alone + 5 * D, x + 5 * D, D * sizeof *x) == 0);
}

TEST(experts, a_token_of_no_numbers_leaves_the_others_alone)
{
    struct problem p = {.fmt = FMT_f32, .E = 6, .U = 3};
    problem_init(&p);
    for (int d = 0; d < D; d++)
        p.x[2 * D + d] = NAN;
    for_each_isa(&p, check_nan);
    problem_release(&p);
}
