/* The operation experts on CUDA against its definition, and its promise: the same bits for a token
 * whatever is computed beside it, in steps that are recorded, too. */
#include "cuda_experts.h"

#ifdef INFLIGHT_CUDA

static bool is_logistic(const struct problem *p)
{
    return p->shares == SHARES_LOGISTIC || p->shares == SHARES_OF_LOGISTIC;
}

/* Scores become what experts are chosen by. */
static void weigh(const struct problem *p, double *score)
{
    double sum = 0;
    if (!is_logistic(p) && !p->has_choice)
        return;
    for (int e = 0; e < p->E; e++)
        sum += score[e] = is_logistic(p) ? 1 / (1 + exp(-score[e])) : exp(score[e]);
    for (int e = 0; e < p->E; e++)
        score[e] =
            score[e] / (is_logistic(p) ? 1 : sum) + (p->has_choice ? (double)p->choice_bias[e] : 0);
}

/* What a difference of scores is at most in that. */
static double slope(const struct problem *p)
{
    return is_logistic(p) || p->has_choice ? 0.25 : 1;
}

/* How far a token's last expert is before the first that it does not meet. */
static double margin(const struct problem *p, int t)
{
    double score[E_MAX], square = 0;
    for (int d = 0; d < D; d++)
        square += (double)p->x[t * D + d] * (double)p->x[t * D + d];
    for (int e = 0; e < p->E; e++) {
        score[e] = p->limit > 0 ? (double)p->router_bias[e] : 0;
        for (int d = 0; d < D; d++)
            score[e] += (double)p->x[t * D + d] * (double)p->norm[d] *
                        (double)p->router.value[e * D + d] / sqrt(square / D + (double)eps);
    }
    weigh(p, score);
    for (int i = 0; i < p->E; i++) /* the largest come first */
        for (int j = i + 1; j < p->E; j++)
            if (score[j] > score[i]) {
                double other = score[i];
                score[i] = score[j];
                score[j] = other;
            }
    return p->U < p->E ? score[p->U - 1] - score[p->U] : 1;
}

/* Of the largest number. Measured: 0.0015 to 0.014, where shares of scores that are far apart are
 * most of it; 0.03 where cards multiply E4M3 by E4M3 inputs. */
static double bound_of(enum fmt fmt)
{
    return fmt == FMT_fp8 || fmt == FMT_fp8_128 ? 0.05 : 0.02;
}

/* Scores have bfloat16 inputs: tokens for which that may choose another expert are left out. */
static void check_values(const struct problem *p, const float *x, const double *want)
{
    double size = 0;
    int left_out = 0;
    for (int i = 0; i < T * D; i++)
        size = fmax(size, fabs(want[i]));
    for (int t = 0; t < T; t++) {
        double most = 0;
        if (margin(p, t) < slope(p) * 0.15 * (p->router_size > 0 ? (double)p->router_size : 1)) {
            left_out++;
            continue;
        }
        for (int d = 0; d < D; d++)
            most = fmax(most, fabs((double)x[t * D + d] - want[t * D + d]));
        if (!(most < bound_of(p->fmt) * size)) {
            t_fail(__FILE__, __LINE__, "%s, %d of %d experts: token %d is off by %.3g of %.3g",
                   fmt_info[p->fmt].name, p->U, p->E, t, most, size);
            return;
        }
    }
    CHECK(left_out < T / 3);
}

static void check_same(const float *one, const float *other, int first, int n)
{
    CHECK(memcmp(one + first * D, other + first * D, (size_t)(n * D) * sizeof *one) == 0);
}

static void check_problem(struct device *device, struct problem *p)
{
    static float x[T * D], part[T * D];
    static double want[T * D];
    static struct layer l;
    l = (struct layer){.device = device, .p = p};
    problem_init(p);
    round_matrix(&p->router);
    for (int e = 0; e < p->E; e++) {
        round_matrix(&p->gate[e]);
        round_matrix(&p->up[e]);
        round_matrix(&p->down[e]);
    }
    take_layer(&l);
    define(p, want);
    compute(&l, 0, T, false, x);
    check_values(p, x, want);
    compute(&l, T - 1, 1, false, part);
    check_same(part, x, T - 1, 1);
    compute(&l, 3, 20, false, part);
    check_same(part, x, 3, 20);
    compute(&l, 40, 5, true, part);
    check_same(part, x, 40, 5);
    compute(&l, 60, 1, true, part);
    check_same(part, x, 60, 1);
    drop_layer(&l);
    problem_release(p);
}

TEST(cuda_experts, give_what_their_definition_says)
{
    static const struct problem cases[] = {
        {.fmt = FMT_f32, .E = 8, .U = 2},
        {.fmt = FMT_bf16, .E = 40, .U = 6, .shares = SHARES_OF_ALL, .router_size = 0.05f},
        {.fmt = FMT_f32, .E = 35, .U = 3, .has_choice = true, .router_size = 0.05f},
        {.fmt = FMT_f32,
         .E = 34,
         .U = 3,
         .has_choice = true,
         .shares = SHARES_OF_ALL,
         .router_size = 0.05f},
        {.fmt = FMT_f32,
         .E = 8,
         .U = 2,
         .shares = SHARES_LOGISTIC,
         .factor = 2.5f,
         .router_size = 0.2f},
        {.fmt = FMT_bf16,
         .E = 36,
         .U = 4,
         .has_choice = true,
         .shares = SHARES_OF_LOGISTIC,
         .factor = 1.5f,
         .router_size = 0.05f},
        {.fmt = FMT_f16, .E = 3, .U = 1},
        {.fmt = FMT_f32, .E = 4, .U = 4},
        {.fmt = FMT_f32, .E = 6, .U = 4, .limit = 0.7f},
        {.fmt = FMT_q8_0, .E = 6, .U = 2, .limit = 7},
        {.fmt = FMT_q4_1, .E = 6, .U = 2, .is_mixed = true},
        {.fmt = FMT_int4_32, .E = 5, .U = 2, .is_apart = true},
        {.fmt = FMT_q4_0, .E = 1, .U = 1},
    };
    static struct problem p;
    struct device *device = cuda_device(&config);
    for (size_t i = 0; device && i < COUNT_OF(cases); i++) {
        p = cases[i];
        check_problem(device, &p);
    }
    if (device)
        backend_cuda.close(device);
}

TEST(cuda_experts, serve_every_format)
{
    static struct problem p;
    struct device *device = cuda_device(&config);
    for (int fmt = 0; device && fmt < FMT_COUNT; fmt++)
        if (matrix_served(&backend_cuda, (enum fmt)fmt)) {
            p = (struct problem){.fmt = (enum fmt)fmt, .E = 4, .U = 2};
            check_problem(device, &p);
        }
    if (device)
        backend_cuda.close(device);
}

/* No kernel has them; a wrong gate would be worse. */
TEST(cuda_experts, gates_with_a_limit_are_of_one_format)
{
    static struct problem p;
    static struct layer l;
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    p = (struct problem){.fmt = FMT_q4_0, .E = 4, .U = 2, .limit = 7, .is_apart = true};
    problem_init(&p);
    l = (struct layer){.device = device, .p = &p};
    take_layer(&l);
    CHECK_EQ(run_tokens(&l, 0, 5, false), INFLIGHT_E_UNSUPPORTED);
    drop_layer(&l);
    problem_release(&p);
    backend_cuda.close(device);
}

/* Of a router whose weights are all zero. */
static void read_choices(struct device *device, struct problem *p, float *x,
                         struct expert_choice *choice)
{
    static struct layer l;
    memset((void *)(uintptr_t)p->router.source.data, 0, (size_t)p->E * D * sizeof(float));
    l = (struct layer){.device = device, .p = p};
    take_layer(&l);
    compute(&l, 0, T, false, x);
    CHECK_EQ(backend_cuda.read(device, choice, l.choice, (size_t)(T * p->U) * sizeof *choice), 0);
    drop_layer(&l);
}

static struct problem hard;
static struct expert_choice choice[T * U_MAX];
static float after[T * D];

TEST(cuda_experts, of_equal_scores_the_first_are_chosen)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    hard = (struct problem){.fmt = FMT_f32, .E = 36, .U = 3};
    problem_init(&hard);
    for (int d = 0; d < D; d++)
        hard.x[2 * D + d] = NAN;
    read_choices(device, &hard, after, choice);
    for (int i = 0; i < T * hard.U; i++)
        CHECK_EQ(choice[i].expert, i % hard.U);
    for (int t = 0; t < T; t++)
        CHECK_EQ(isnan(after[t * D]) != 0, t == 2);
    problem_release(&hard);
    backend_cuda.close(device);
}

TEST(cuda_experts, a_score_of_no_number_comes_last)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    hard = (struct problem){.fmt = FMT_f32, .E = 36, .U = 4, .limit = 7};
    problem_init(&hard);
    for (int e = 0; e < hard.E; e++)
        hard.router_bias[e] = e == 5 ? 1 : e == 34 || e == 35 ? -1 : NAN;
    read_choices(device, &hard, after, choice);
    static const int32_t want[] = {5, 34, 35, 0};
    for (int i = 0; i < T * hard.U; i++)
        CHECK_EQ(choice[i].expert, want[i % hard.U]);
    problem_release(&hard);
    backend_cuda.close(device);
}

#else
TEST(cuda_experts, is_built)
{
    t_skip("built without CUDA");
}
#endif
