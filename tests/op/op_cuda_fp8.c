/* Products of E4M3 matrices on CUDA: who multiplies them by E4M3, and rows that are unusual. */
#include "cuda_linear.h"

#ifdef INFLIGHT_CUDA
/* By an architecture's number, and by what runs here: a build's newest code for the card. */
TEST(cuda_fp8, kernels_and_host_agree_on_who_multiplies_fp8)
{
    static const struct {
        int arch;
        bool has;
    } cards[] = {{80, false},  {86, false},  {87, false},  {89, true},  {90, false},
                 {100, false}, {103, false}, {110, false}, {120, true}, {121, true}};
    for (size_t i = 0; i < COUNT_OF(cards); i++)
        CHECK_EQ(arch_has_fp8(cards[i].arch), cards[i].has);

    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_fp8}, (int[]){16}, 64);
    float y[T_MAX * 20];
    struct copy c;
    if (copy_init(&c, &p)) {
        /* 1 + 2^-6 is a number of bfloat16 and none of E4M3 beside a 448. */
        uint8_t *data = (uint8_t *)(uintptr_t)p.matrix[0].source.data;
        memset(data + 4, 0, 64);
        put_float(data, 1);
        data[4] = 0x38;
        cuda_drop(c.device, c.weight[0].data, c.weight[0].bytes);
        c.weight[0] = cuda_matrix(c.device, &config, &p.matrix[0]);
        memset(p.x, 0, T_MAX * 64 * sizeof *p.x);
        p.x[0] = 1 + 0x1p-6f, p.x[1] = E4M3_MAX;
        CHECK_EQ(backend_cuda.write(c.device, c.x, p.x, T_MAX * 64 * sizeof *p.x), 0);
        for (int T = 1; T <= 17; T += 8) {
            compute(&c, &p, 0, T, y);
            CHECK(y[p.column[0]] == (c.device->has_fp8 ? 1 : 1 + 0x1p-6f));
        }
        copy_release(&c, &p);
    }
    problem_release(&p);
}

/* What becomes of a row that is unusual. */
enum { ROW_USUAL, ROW_ZERO, ROW_HUGE, ROW_TINY, ROW_INFINITE, ROW_NONE, ROW_KINDS };

static void check_row(const struct problem *p, int t, const float *y, const double *want)
{
    double off = 0, size = 0;
    for (int i = 0; i < p->matrix[0].source.N; i++) {
        const int at = t * p->ldy + p->column[0] + i;
        const double d = (double)y[at] - want[at];
        if (t == ROW_INFINITE || t == ROW_NONE)
            CHECK(!isfinite(y[at]));
        off += d * d;
        size += want[at] * want[at];
    }
    if (t != ROW_INFINITE && t != ROW_NONE)
        CHECK(sqrt(off) <= EXACT * sqrt(size)); /* of zeros: none */
}

/* T_MAX rows, of which the first are of the kinds above; then these by the kernels for few. */
static void check_unusual(enum fmt fmt)
{
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, &fmt, (int[]){40}, 384);
    for (int k = 0; k < p.K; k++) {
        p.x[ROW_ZERO * p.K + k] = 0;
        p.x[ROW_HUGE * p.K + k] = random_float() * 1e34f;
        p.x[ROW_TINY * p.K + k] = random_float() * 1e-36f;
    }
    p.x[ROW_INFINITE * p.K + 77] = -INFINITY;
    p.x[ROW_NONE * p.K + 300] = NAN;
    const size_t n = T_MAX * (size_t)p.ldy;
    double *want = malloc(n * sizeof *want);
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    struct copy c;
    if (copy_init(&c, &p)) {
        compute(&c, &p, 0, T_MAX, base);
        define(&c, &p, true, want);
        for (int t = 0; t < ROW_KINDS; t++) {
            check_row(&p, t, base, want);
            compute(&c, &p, t, 1, y);
            check_same(&p, y, base, t, 1);
        }
        compute(&c, &p, 0, ROW_KINDS, y);
        check_same(&p, y, base, 0, ROW_KINDS);
        copy_release(&c, &p);
    }
    free(want);
    free(base);
    free(y);
    problem_release(&p);
}

TEST(cuda_fp8, rows_may_be_zero_huge_tiny_or_no_numbers)
{
    check_unusual(FMT_fp8);
    check_unusual(FMT_fp8_128);
    check_unusual(FMT_q8_0);
}
#else
TEST(cuda_fp8, is_built)
{
    t_skip("built without CUDA");
}
#endif
