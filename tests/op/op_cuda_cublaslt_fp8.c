/* Products of E4M3 by E4M3 by cuBLASLt, where the code at hand makes E4M3 of activations. */
#define _GNU_SOURCE
#include "cuda_cublaslt.h"

#ifdef INFLIGHT_CUDA
#define T_LEAST DENSE_FROM_OTHERS

TEST(cuda_cublaslt_fp8, code_from_8_9_on_makes_e4m3)
{
    static const struct {
        int arch;
        bool makes;
    } cards[] = {{80, false}, {86, false}, {87, false}, {89, true},  {90, true},
                 {100, true}, {103, true}, {110, true}, {120, true}, {121, true}};
    for (size_t i = 0; i < COUNT_OF(cards); i++)
        CHECK_EQ(arch_makes_fp8(cards[i].arch), cards[i].makes);
}

/* 1 + 2^-6 is a number of bfloat16 and none of E4M3 beside a 448. */
TEST(cuda_cublaslt_fp8, host_and_kernels_agree_on_who_makes_it)
{
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    struct copy c;
    problem_init(&p, (enum fmt[]){FMT_fp8}, (int[]){16}, 64);
    uint8_t *data = (uint8_t *)(uintptr_t)p.matrix[0].source.data;
    put_float(data, 1);
    memset(data + 4, 0, 64);
    data[4] = 0x38; /* 1 */
    memset(p.x, 0, T_MAX * 64 * sizeof *p.x);
    p.x[0] = 1 + 0x1p-6f, p.x[1] = E4M3_MAX;
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (copy_init(&c, &p, true) && has_library(&c, &p)) {
        CHECK_EQ(compute(&c, &p, T_LEAST, y), 0);
        CHECK(y[p.column[0]] == (c.device->makes_fp8 ? 1 : 1 + 0x1p-6f));
        CHECK(!c.device->has_fp8 || c.device->makes_fp8);
        copy_release(&c, &p);
    }
    free(y);
    problem_release(&p);
}

/* Widths that are no multiple of 16, of a tile or of what activations are padded to; numbers of
 * rows that are none of a strip. */
TEST(cuda_cublaslt_fp8, gives_what_the_definition_says)
{
    static const int widths[] = {32, 72, 200, 256, 1280};
    for (size_t k = 0; k < COUNT_OF(widths); k++)
        for (int round = 0; round < 4; round++) {
            struct problem p = {.epilogue = round & 1 ? EPILOGUE_ADD : EPILOGUE_STORE,
                                .n_part = 1 + (round + (int)k) % 3};
            p.bias[0] = round & 2 ? &yes : NULL;
            problem_init(&p, (enum fmt[]){FMT_fp8, FMT_fp8, FMT_fp8},
                         (int[]){32, 5 + round, 17 + 13 * round}, widths[k]);
            if (round < 2)
                align(&p);
            check_problem(&p, T_LEAST + (int)k % 4, 0, p.n_part);
            problem_release(&p);
        }
}

TEST(cuda_cublaslt_fp8, every_activation_is_that_of_its_definition)
{
    static const enum epilogue kinds[] = {EPILOGUE_GELU, EPILOGUE_GELU_TANH, EPILOGUE_RELU2,
                                          EPILOGUE_GLU_GELU, EPILOGUE_GLU_SILU};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int biased = 0; biased < 2; biased++) {
            const int n_part = epilogue_is_gated((int32_t)kinds[i]) ? 2 : 1;
            struct problem p = {.epilogue = kinds[i], .n_part = n_part};
            p.bias[0] = biased ? &yes : NULL;
            p.bias[1] = biased && n_part == 2 ? &yes : NULL;
            problem_init(&p, (enum fmt[]){FMT_fp8, FMT_fp8}, (int[]){53, 53}, 192);
            check_problem(&p, T_LEAST, 0, n_part);
            problem_release(&p);
        }
}

/* Matrices of other formats, and of scales along K, beside those of E4M3; a gate has one kind. */
TEST(cuda_cublaslt_fp8, parts_that_differ_are_each_of_their_kind)
{
    struct problem p = {.epilogue = EPILOGUE_ADD, .n_part = 3};
    problem_init(&p, (enum fmt[]){FMT_fp8, FMT_q4_1, FMT_fp8_128}, (int[]){20, 33, 16}, 256);
    check_problem(&p, T_LEAST, 0, 3);
    problem_release(&p);
    p = (struct problem){.epilogue = EPILOGUE_STORE, .n_part = 3};
    problem_init(&p, (enum fmt[]){FMT_bf16, FMT_fp8, FMT_fp8}, (int[]){20, 33, 16}, 256);
    check_problem(&p, T_LEAST, 0, 3);
    problem_release(&p);
    for (int first = 0; first < 2; first++) {
        p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
        problem_init(&p, (enum fmt[]){first ? FMT_bf16 : FMT_fp8, first ? FMT_fp8 : FMT_bf16},
                     (int[]){24, 24}, 128);
        check_problem(&p, T_LEAST, 0, 2);
        problem_release(&p);
    }
}

/* Scratch for 16 or 32 rows of E4M3 at once: the last chunk has fewer. */
TEST(cuda_cublaslt_fp8, matrices_go_in_chunks)
{
    struct problem p = {.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    struct copy c;
    p.bias[1] = &yes;
    problem_init(&p, (enum fmt[]){FMT_fp8, FMT_fp8}, (int[]){70, 70}, 192);
    const uint64_t row = 2 * 192 + 2 * 4 * (uint64_t)T_LEAST;
    if (copy_init(&c, &p, true)) {
        /* What bfloat16 takes leaves room for half of the rows, or for none. */
        const bool is_fp8 = c.device->makes_fp8;
        copy_release(&c, &p);
        if (is_fp8) {
            check_problem(&p, T_LEAST, 47 * row, 2 * 3);
            check_problem(&p, T_LEAST, 16 * row, 2 * 5);
        }
    }
    problem_release(&p);
}

/* The library has no way to do it, is asked once for each, and bfloat16 serves. */
TEST(cuda_cublaslt_fp8, what_the_library_refuses_is_multiplied_in_bfloat16)
{
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 2};
    struct copy c;
    if (!is_simulated())
        return;
    CHECK_EQ(setenv("GPU_CUBLASLT", "bf16", 1), 0);
    fp8_is_refused = true;
    problem_init(&p, (enum fmt[]){FMT_fp8, FMT_fp8}, (int[]){20, 33}, 192);
    check_problem(&p, T_LEAST, 0, 2);
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (copy_init(&c, &p, true)) {
        const uint64_t asked = gpu.asked();
        for (int i = 0; i < 3; i++)
            CHECK_EQ(compute(&c, &p, T_LEAST, y), 0);
        CHECK_EQ(gpu.asked() - asked, c.device->makes_fp8 ? 4 : 2);
        copy_release(&c, &p);
    }
    CHECK_EQ(unsetenv("GPU_CUBLASLT"), 0);
    fp8_is_refused = false;
    free(y);
    problem_release(&p);
}

TEST(cuda_cublaslt_fp8, few_tokens_are_computed_as_ever)
{
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    struct copy c;
    problem_init(&p, (enum fmt[]){FMT_fp8}, (int[]){33}, 256);
    float *own = malloc(T_MAX * (size_t)p.ldy * sizeof *own);
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (compute_own(&p, T_LEAST - 1, own) && copy_init(&c, &p, true) && has_library(&c, &p)) {
        const int64_t before = works();
        CHECK_EQ(compute(&c, &p, T_LEAST - 1, y), 0);
        CHECK(is_same(&p, y, own));
        CHECK_EQ(works() - before, 0);
        copy_release(&c, &p);
    }
    free(own);
    free(y);
    problem_release(&p);
}

/* A row of zeros has outputs of zeros, one with an infinity or no number none that is finite, and
 * those beside them are as they would be. */
TEST(cuda_cublaslt_fp8, rows_may_be_zero_or_no_numbers)
{
    enum { ZERO = 1, INFINITE = 3, NONE = 5, LAST = 7, N = 40, K = 192 };
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    struct copy c;
    problem_init(&p, (enum fmt[]){FMT_fp8}, (int[]){N}, K);
    memset(p.x + ZERO * K, 0, K * sizeof *p.x);
    p.x[INFINITE * K + 77] = -INFINITY;
    p.x[NONE * K + 150] = NAN;
    const size_t n = T_MAX * (size_t)p.ldy;
    double *want = malloc(n * sizeof *want);
    float *y = malloc(n * sizeof *y);
    if (copy_init(&c, &p, true) && has_library(&c, &p)) {
        CHECK_EQ(compute(&c, &p, T_LEAST, y), 0);
        define(&c, &p, T_LEAST, want);
        for (int t = 0; t < LAST; t++)
            for (int i = 0; i < N; i++) {
                const double is = (double)y[t * p.ldy + p.column[0] + i];
                const double is_to_be = want[t * p.ldy + p.column[0] + i];
                if (t == INFINITE || t == NONE)
                    CHECK(!isfinite(is));
                else
                    CHECK(fabs(is - is_to_be) <= 1000 * exact_of(&c, &p) * fabs(is_to_be));
            }
        copy_release(&c, &p);
    }
    free(want);
    free(y);
    problem_release(&p);
}
#else
TEST(cuda_cublaslt_fp8, is_built)
{
    t_skip("built without CUDA");
}
#endif
