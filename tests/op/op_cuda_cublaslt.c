/* Products by cuBLASLt against the definition, over weights as they are rounded for it; and what
 * there is without it: the own kernels, whose bits are those of a device that was not asked to. */
#define _GNU_SOURCE
#include "cuda_cublaslt.h"

#ifdef INFLIGHT_CUDA
#include <unistd.h>

/* Outputs that the library writes in place, and those that dense_finish makes: y is aligned where
 * ldy and columns are multiples of 4. */
TEST(cuda_cublaslt, gives_what_the_definition_says_in_every_format)
{
    static const int widths[] = {32, 96, 256, 1280};
    int round = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t k = 0; k < COUNT_OF(widths); k++, round++) {
            if (widths[k] % fmt_info[fmt].n || !matrix_served(&backend_cuda, (enum fmt)fmt))
                continue;
            const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt, (enum fmt)fmt};
            const int N[] = {32, 5 + round % 40, 16};
            const bool wide = fmt == FMT_f32 || fmt == FMT_f16 || fmt == FMT_bf16;
            struct problem p = {.epilogue = round & 1 ? EPILOGUE_ADD : EPILOGUE_STORE,
                                .n_part = 1 + round % 3};
            p.bias[0] = p.bias[2] = round & 2 ? &yes : NULL;
            problem_init(&p, fmts, N, widths[k]);
            check_problem(&p, wide ? DENSE_FROM_BF16 : DENSE_FROM_OTHERS + round % 7, 0, p.n_part);
            problem_release(&p);
        }
}

TEST(cuda_cublaslt, aligned_outputs_are_written_in_place)
{
    for (int adds = 0; adds < 2; adds++) {
        struct problem p = {.epilogue = adds ? EPILOGUE_ADD : EPILOGUE_STORE, .n_part = 2};
        problem_init(&p, (enum fmt[]){FMT_q8_0, FMT_bf16}, (int[]){39, 20}, 96);
        align(&p);
        check_problem(&p, DENSE_FROM_BF16 + 1, 0, 2);
        problem_release(&p);
    }
}

TEST(cuda_cublaslt, every_activation_is_that_of_its_definition)
{
    static const enum epilogue kinds[] = {EPILOGUE_GELU, EPILOGUE_GELU_TANH, EPILOGUE_RELU2,
                                          EPILOGUE_GLU_GELU, EPILOGUE_GLU_SILU};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int biased = 0; biased < 2; biased++) {
            const int n_part = epilogue_is_gated((int32_t)kinds[i]) ? 2 : 1;
            struct problem p = {.epilogue = kinds[i], .n_part = n_part};
            p.bias[0] = biased ? &yes : NULL;
            p.bias[1] = biased && n_part == 2 ? &yes : NULL;
            problem_init(&p, (enum fmt[]){FMT_q4_k, FMT_q8_0}, (int[]){53, 53}, 256);
            check_problem(&p, DENSE_FROM_OTHERS, 0, n_part);
            problem_release(&p);
        }
}

/* Scratch for 16 to 48 rows at once, so that the last chunk has fewer. */
TEST(cuda_cublaslt, matrices_go_in_chunks)
{
    const int T = DENSE_FROM_OTHERS;
    struct problem p = {.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, (enum fmt[]){FMT_q4_1, FMT_bf16}, (int[]){70, 70}, 96);
    p.bias[0] = NULL;
    check_problem(&p, T, 47 * (2 * (128 + 96) + 2 * 4 * (uint64_t)T), 2 * 3);
    check_problem(&p, T, 16 * (2 * (128 + 96) + 2 * 4 * (uint64_t)T), 2 * 5);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_ADD, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_q4_1}, (int[]){300}, 256);
    align(&p);
    check_problem(&p, T, 140 * 2 * 256, 3);
    problem_release(&p);
}

/* ---- The own kernels */

static void take_problem(struct problem *p, enum fmt fmt)
{
    *p = (struct problem){.epilogue = EPILOGUE_STORE, .n_part = 2};
    problem_init(p, (enum fmt[]){fmt, FMT_bf16}, (int[]){20, 33}, 256);
}

TEST(cuda_cublaslt, few_tokens_and_recorded_steps_are_computed_as_ever)
{
    static const struct {
        enum fmt fmt;
        int from;
    } rows[] = {{FMT_q4_k, DENSE_FROM_OTHERS}, {FMT_bf16, DENSE_FROM_BF16}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problem p;
        struct copy c;
        take_problem(&p, rows[i].fmt);
        float *own = malloc(T_MAX * (size_t)p.ldy * sizeof *own);
        float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
        if (compute_own(&p, rows[i].from - 1, own) && copy_init(&c, &p, true) &&
            has_library(&c, &p)) {
            const int64_t before = works();
            CHECK_EQ(compute(&c, &p, rows[i].from - 1, y), 0);
            CHECK(is_same(&p, y, own));
            CHECK_EQ(works() - before, 0);
            c.device->graphs.is_recording = true;
            struct dense_plan plan;
            struct product_args args = {
                .y = c.y, .T = rows[i].from, .K = p.K, .ldy = p.ldy, .n_part = 1};
            args.part[0] = (struct product_part){.layout = c.weight[0].layout, .N = 20};
            CHECK(!dense_takes(c.device, &args, &plan));
            c.device->graphs.is_recording = false;
            c.device->dense->room = 15 * 2 * 256;
            CHECK(!dense_takes(c.device, &args, &plan));
            c.device->dense->room = DENSE_SCRATCH_BYTES;
            args.padded = ROUND_UP(p.K, WIDTH_STEP);
            CHECK(dense_takes(c.device, &args, &plan));
            copy_release(&c, &p);
        }
        free(own);
        free(y);
        problem_release(&p);
    }
}

/* Says so in its description and computes with its own kernels. */
static void check_without(const char *says)
{
    const int T = DENSE_FROM_OTHERS;
    struct problem p;
    struct copy c;
    take_problem(&p, FMT_q8_0);
    float *own = malloc(T_MAX * (size_t)p.ldy * sizeof *own);
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (compute_own(&p, T, own) && copy_init(&c, &p, true)) {
        const char *description = backend_cuda.describe(c.device);
        if (!strstr(description, says))
            t_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", description, says);
        CHECK_EQ(compute(&c, &p, T, y), 0);
        CHECK(is_same(&p, y, own));
        copy_release(&c, &p);
    }
    free(own);
    free(y);
    problem_release(&p);
}

TEST(cuda_cublaslt, a_library_that_cannot_be_used_is_named)
{
    static const struct {
        const char *setting, *says;
    } rows[] = {
        {"old", ", own products alone: cuBLASLt is of version 12.9.1, at least 13.0 is needed"},
        {"create", ", own products alone: cuBLASLt does not start: CUBLAS_STATUS_NOT_INITIALIZED"},
        {"heuristic", ", cuBLASLt 13.1.0 from 256 tokens on"},
    };
    if (!is_simulated())
        return;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_EQ(setenv("GPU_CUBLASLT", rows[i].setting, 1), 0);
        check_without(rows[i].says);
    }
    CHECK_EQ(unsetenv("GPU_CUBLASLT"), 0);
}

/* A file that is no library, found first by a process of its own. */
TEST(cuda_cublaslt, a_missing_library_is_named)
{
    char folder[] = "/tmp/cublaslt-XXXXXX", command[8192];
    if (getenv("TEST_BROKEN_CUBLASLT")) {
        check_without(", own products alone: no cuBLASLt: ");
        return;
    }
    if (!is_simulated() || !mkdtemp(folder))
        return;
    const char *path = getenv("LD_LIBRARY_PATH");
    (void)snprintf(command, sizeof command,
                   ": > %s/%s; LD_LIBRARY_PATH=%s:%s TEST_BROKEN_CUBLASLT=1 /proc/%d/exe missing "
                   ">/dev/null; rc=$?; rm -r %s; exit $rc",
                   folder, CUBLASLT_LIBRARY, folder, path ? path : "", (int)getpid(), folder);
    CHECK_EQ(system(command), 0);
}

/* The step fails, and those after it are computed by the own kernels. */
TEST(cuda_cublaslt, a_product_that_fails_fails_its_step)
{
    const int T = DENSE_FROM_OTHERS;
    struct problem p;
    struct copy c;
    if (!is_simulated())
        return;
    take_problem(&p, FMT_q8_0);
    float *own = malloc(T_MAX * (size_t)p.ldy * sizeof *own);
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (compute_own(&p, T, own) && copy_init(&c, &p, true)) {
        CHECK(gpu.fail("library:2"));
        CHECK_EQ(compute(&c, &p, T, y), INFLIGHT_E_DEVICE);
        CHECK(!gpu.fail || gpu.fail(NULL));
        CHECK(strstr(backend_cuda.describe(c.device),
                     ": a product of 33 x 256 by 256 tokens failed: "
                     "CUBLAS_STATUS_EXECUTION_FAILED; own products from here on"));
        CHECK(!backend_cuda.is_lost(c.device));
        CHECK_EQ(compute(&c, &p, T, y), 0);
        CHECK(is_same(&p, y, own));
        copy_release(&c, &p);
    }
    free(own);
    free(y);
    problem_release(&p);
}

TEST(cuda_cublaslt, its_memory_is_planned_and_may_be_missing)
{
    struct device_config with = config_of(true), without = config_of(false);
    struct device_bytes more, less;
    struct device *device = NULL;
    struct err err = {0};
    bool said[2] = {false, false};
    if (!is_simulated())
        return;
    CHECK_EQ(backend_cuda.measure(&with, &more, NULL), 0);
    CHECK_EQ(backend_cuda.measure(&without, &less, NULL), 0);
    CHECK_EQ(more.workspace - less.workspace,
             DENSE_SCRATCH_BYTES + CUBLASLT_WORKSPACE + sizeof(struct dense));
    for (int i = 1; i < 32; i++) {
        char what[32];
        (void)snprintf(what, sizeof what, "alloc:%d", i);
        CHECK(gpu.fail(what));
        if (!backend_cuda.open(&with, &mem_system, &device, &err))
            backend_cuda.close(device);
        said[0] |= strstr(err.text, "taking 32.0 MiB for cuBLASLt failed") != NULL;
        said[1] |= strstr(err.text, "taking 64.0 MiB for unpacked weights failed") != NULL;
        CHECK(gpu.fail(NULL));
    }
    CHECK(said[0] && said[1]);
    if (!said[0] || !said[1])
        printf("  %s\n", err.text);
}

TEST(cuda_cublaslt, a_shape_is_asked_for_once_and_a_step_takes_no_memory)
{
    struct gpu_counts before, after;
    struct problem p;
    struct copy c;
    if (!is_simulated())
        return;
    take_problem(&p, FMT_q4_0);
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    if (copy_init(&c, &p, true)) {
        const uint64_t asked = gpu.asked();
        CHECK_EQ(compute(&c, &p, 300, y), 0);
        CHECK_EQ(gpu.asked() - asked, 2);
        gpu.counts(&before);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(compute(&c, &p, 300, y), 0);
        gpu.counts(&after);
        CHECK_EQ(gpu.asked() - asked, 2);
        CHECK_EQ(after.allocations + after.host_allocations,
                 before.allocations + before.host_allocations);
        /* More shapes than are kept, and the first once more. */
        for (int32_t n = 0; n < SHAPES_MOST; n++) {
            const struct cublaslt_shape shape = {
                .m = 16, .n = 400 + n, .k = 32, .ldx = 32, .ldd = 16};
            CHECK(cublaslt_choose(&c.device->dense->lt, &shape) != NULL);
        }
        CHECK_EQ(gpu.asked() - asked, 2 + SHAPES_MOST);
        CHECK_EQ(compute(&c, &p, 300, y), 0);
        CHECK_EQ(gpu.asked() - asked, 4 + SHAPES_MOST);
        copy_release(&c, &p);
    }
    free(y);
    problem_release(&p);
}
#else
TEST(cuda_cublaslt, is_built)
{
    t_skip("built without CUDA");
}
#endif
