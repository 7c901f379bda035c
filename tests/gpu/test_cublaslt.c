/* The stand-in for cuBLASLt: its descriptors against the real library, which is loaded where it is
 * installed, for it needs no driver for them; what it supports against the documentation; products
 * against plain sums. */
#define __CUDA_API_PUSH_VISIBILITY_DEFAULT
#include "test_driver.h"

#include <cublasLt.h>
#include <math.h>

struct lt {
    void *library;
#define CUBLASLT(symbol) __typeof__(symbol) *symbol;
#include "../../kernels/cuda/cublaslt.def"
    CUBLASLT(cublasLtMatrixLayoutSetAttribute)
#undef CUBLASLT
};

/* False: it is not there. */
static bool lt_open(struct lt *lt, const char *name)
{
    *lt = (struct lt){.library = dlopen(name, RTLD_NOW | RTLD_LOCAL)};
    if (!lt->library)
        return false;
#define CUBLASLT(symbol)                             \
    {                                                \
        void *at = dlsym(lt->library, #symbol);      \
        CHECK(at != NULL);                           \
        memcpy(&lt->symbol, &at, sizeof lt->symbol); \
    }
#include "../../kernels/cuda/cublaslt.def"
    CUBLASLT(cublasLtMatrixLayoutSetAttribute)
#undef CUBLASLT
    return true;
}

/* ---- Beside the real one */

#define IDS_MOST 48

/* What each does with attributes of every number and size. */
static void set_all(const struct lt *lt, int out[3][IDS_MOST][17])
{
    static const uint8_t value[16];
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t layout;
    cublasLtMatmulPreferenceOpaque_t preference;
    for (int id = 0; id < IDS_MOST; id++)
        for (size_t bytes = 0; bytes <= 16; bytes++) {
            CHECK_EQ(lt->cublasLtMatmulDescInit_internal(&desc, sizeof desc, CUBLAS_COMPUTE_32F,
                                                         CUDA_R_32F),
                     0);
            CHECK_EQ(
                lt->cublasLtMatrixLayoutInit_internal(&layout, sizeof layout, CUDA_R_32F, 4, 4, 4),
                0);
            CHECK_EQ(lt->cublasLtMatmulPreferenceInit_internal(&preference, sizeof preference), 0);
            out[0][id][bytes] = (int)lt->cublasLtMatmulDescSetAttribute(
                &desc, (cublasLtMatmulDescAttributes_t)id, value, bytes);
            out[1][id][bytes] = (int)lt->cublasLtMatrixLayoutSetAttribute(
                &layout, (cublasLtMatrixLayoutAttribute_t)id, value, bytes);
            out[2][id][bytes] = (int)lt->cublasLtMatmulPreferenceSetAttribute(
                &preference, (cublasLtMatmulPreferenceAttributes_t)id, value, bytes);
        }
}

TEST(cublaslt, attributes_have_the_numbers_and_sizes_of_the_real_library)
{
    static int ours[3][IDS_MOST][17], theirs[3][IDS_MOST][17];
    struct lt real, stand_in;
    if (!lt_open(&real, "libcublasLt.so.13")) {
        t_skip("cuBLASLt is not installed");
        return;
    }
    CHECK(lt_open(&stand_in, CUBLASLT_LIBRARY));
    CHECK(real.cublasLtCreate != stand_in.cublasLtCreate);
    set_all(&real, theirs);
    set_all(&stand_in, ours);
    for (int kind = 0; kind < 3; kind++)
        for (int id = 0; id < IDS_MOST; id++)
            for (int bytes = 0; bytes <= 16; bytes++)
                if (ours[kind][id][bytes] != theirs[kind][id][bytes])
                    t_fail(__FILE__, __LINE__, "kind %d, attribute %d, %d bytes: %d, want %d", kind,
                           id, bytes, ours[kind][id][bytes], theirs[kind][id][bytes]);
    CHECK_EQ(theirs[0][CUBLASLT_MATMUL_DESC_TRANSA][4], 0);
    for (int status = 0; status < 20; status++)
        CHECK_TEXT(stand_in.cublasLtGetStatusName((cublasStatus_t)status),
                   real.cublasLtGetStatusName((cublasStatus_t)status));
    CHECK_EQ(stand_in.cublasLtGetVersion() / 10000, real.cublasLtGetVersion() / 10000);
    /* Without room for them nothing is initialized. */
    const struct lt *both[] = {&real, &stand_in};
    for (int i = 0; i < 2; i++) {
        cublasLtMatmulDescOpaque_t desc;
        cublasLtMatrixLayoutOpaque_t layout;
        cublasLtMatmulPreferenceOpaque_t preference;
        CHECK_EQ(both[i]->cublasLtMatmulDescInit_internal(&desc, 8, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 CUBLAS_STATUS_ALLOC_FAILED);
        CHECK_EQ(both[i]->cublasLtMatrixLayoutInit_internal(&layout, 8, CUDA_R_32F, 4, 4, 4),
                 CUBLAS_STATUS_ALLOC_FAILED);
        CHECK_EQ(both[i]->cublasLtMatmulPreferenceInit_internal(&preference, 8),
                 CUBLAS_STATUS_ALLOC_FAILED);
    }
    dlclose(stand_in.library);
}

/* ---- What is supported */

enum { A, B, C, D };

/* A product that is asked for: m, n, k; of the matrices their types. */
struct question {
    int m, n, k;
    cudaDataType_t type[4];
    bool transa, transb;
    int scale_mode[2];
    bool scaled, fast;
    cublasLtEpilogue_t epilogue;
    int ld_extra; /* of D */
};

struct asked {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t layout[4];
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
};

static struct lt lt;
static cublasLtHandle_t handle;

static void start(const char *settings)
{
    gpu_start(settings);
    CHECK(lt_open(&lt, CUBLASLT_LIBRARY));
    CHECK_EQ(lt.cublasLtCreate(&handle), 0);
}

static void stop(void)
{
    CHECK_EQ(lt.cublasLtDestroy(handle), 0);
    dlclose(lt.library);
    gpu_stop();
}

static void set(struct asked *a, cublasLtMatmulDescAttributes_t id, const void *value, size_t bytes)
{
    CHECK_EQ(lt.cublasLtMatmulDescSetAttribute(&a->desc, id, value, bytes), 0);
}

/* scales, bias: of the device's memory, or 0. */
static cublasStatus_t ask(const struct question *q, uint64_t scales, uint64_t bias, struct asked *a)
{
    const int32_t ops[] = {q->transa ? CUBLAS_OP_T : CUBLAS_OP_N,
                           q->transb ? CUBLAS_OP_T : CUBLAS_OP_N};
    const uint64_t workspace = 1 << 20;
    const int8_t fast = q->fast;
    const uint32_t epilogue = q->epilogue ? q->epilogue : CUBLASLT_EPILOGUE_DEFAULT;
    const int rows[] = {q->transa ? q->k : q->m, q->transb ? q->n : q->k, q->m, q->m};
    const int columns[] = {q->transa ? q->m : q->k, q->transb ? q->k : q->n, q->n, q->n};
    int n = 0;
    CHECK_EQ(lt.cublasLtMatmulDescInit_internal(&a->desc, sizeof a->desc, CUBLAS_COMPUTE_32F,
                                                CUDA_R_32F),
             0);
    set(a, CUBLASLT_MATMUL_DESC_TRANSA, &ops[A], 4);
    set(a, CUBLASLT_MATMUL_DESC_TRANSB, &ops[B], 4);
    set(a, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, 4);
    set(a, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, 8);
    set(a, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, 1);
    set(a, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &q->scale_mode[A], 4);
    set(a, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &q->scale_mode[B], 4);
    if (q->scaled) {
        const uint64_t second = scales + 256;
        set(a, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &scales, 8);
        set(a, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &second, 8);
    }
    for (int i = 0; i < 4; i++)
        CHECK_EQ(lt.cublasLtMatrixLayoutInit_internal(
                     &a->layout[i], sizeof a->layout[i], q->type[i], (uint64_t)rows[i],
                     (uint64_t)columns[i], rows[i] + (i >= C ? q->ld_extra : 0)),
                 0);
    CHECK_EQ(lt.cublasLtMatmulPreferenceInit_internal(&a->preference, sizeof a->preference), 0);
    CHECK_EQ(lt.cublasLtMatmulPreferenceSetAttribute(
                 &a->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, 8),
             0);
    cublasStatus_t status = lt.cublasLtMatmulAlgoGetHeuristic(
        handle, &a->desc, &a->layout[A], &a->layout[B], &a->layout[C], &a->layout[D],
        &a->preference, 1, &a->result, &n);
    CHECK_EQ(n, status ? 0 : 1);
    return status;
}

#define OF(a, b, c, d)                                 \
    {                                                  \
        CUDA_R_##a, CUDA_R_##b, CUDA_R_##c, CUDA_R_##d \
    }
#define BF16_TO_FLOAT OF(16BF, 16BF, 32F, 32F)
#define FP8_TO_BF16   OF(8F_E4M3, 8F_E4M3, 16BF, 16BF)

TEST(cublaslt, supports_what_its_documentation_says)
{
    enum { YES = CUBLAS_STATUS_SUCCESS, NO = CUBLAS_STATUS_NOT_SUPPORTED };
    static const char *const cards[] = {"GPU_CC=8.0", "GPU_CC=8.9", "GPU_CC=9.0", "GPU_CC=12.0"};
    static const struct {
        struct question q;
        int want[4]; /* of each card */
    } rows[] = {
        {{32, 5, 64, BF16_TO_FLOAT, .transa = true}, {YES, YES, YES, YES}},
        {{32, 5, 64, OF(16BF, 16BF, 16BF, 16BF), .transa = false}, {YES, YES, YES, YES}},
        {{32, 8, 64, OF(16F, 16F, 32F, 32F), .transb = true}, {YES, YES, YES, YES}},
        {{32, 5, 64, OF(32F, 32F, 32F, 32F), .transa = false}, {YES, YES, YES, YES}},
        {{32, 5, 64, OF(16BF, 16F, 32F, 32F), .transa = true}, {NO, NO, NO, NO}},
        {{32, 5, 64, OF(16BF, 16BF, 16F, 16F), .transa = true}, {NO, NO, NO, NO}},
        {{32, 5, 64, OF(16BF, 16BF, 16BF, 32F), .transa = true}, {NO, NO, NO, NO}},
        {{33, 5, 64, BF16_TO_FLOAT, .transa = true}, {NO, NO, NO, NO}}, /* ld of D */
        {{33, 5, 64, BF16_TO_FLOAT, .transa = true, .ld_extra = 3}, {YES, YES, YES, YES}},
        {{32, 5, 60, BF16_TO_FLOAT, .transa = true}, {NO, NO, NO, NO}}, /* ld of A */
        {{32, 5, 64, BF16_TO_FLOAT, .transa = true, .scaled = true}, {NO, NO, NO, NO}},
        {{32, 5, 64, BF16_TO_FLOAT, .transa = true, .epilogue = CUBLASLT_EPILOGUE_BIAS},
         {YES, YES, YES, YES}},
        {{32, 5, 64, BF16_TO_FLOAT, .transa = true, .epilogue = CUBLASLT_EPILOGUE_GELU},
         {NO, NO, NO, NO}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true}, {NO, YES, YES, YES}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true, .scaled = true, .fast = true},
         {NO, YES, YES, YES}},
        {{32, 5, 64, FP8_TO_BF16, .transa = false}, {NO, NO, NO, NO}}, /* TN alone */
        {{40, 5, 64, FP8_TO_BF16, .transa = true}, {NO, NO, NO, NO}},
        {{32, 5, 64, OF(8F_E5M2, 8F_E4M3, 32F, 32F), .transa = true}, {NO, YES, YES, YES}},
        {{32, 5, 64, OF(8F_E5M2, 8F_E5M2, 32F, 32F), .transa = true}, {NO, NO, NO, NO}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true, .scale_mode = {3, 3}, .scaled = true},
         {NO, NO, YES, NO}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true, .scale_mode = {3, 0}, .scaled = true},
         {NO, NO, NO, NO}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true, .scale_mode = {3, 3}, .scaled = false},
         {NO, NO, NO, NO}},
        {{32, 5, 64, FP8_TO_BF16, .transa = true, .scale_mode = {2, 2}, .scaled = true},
         {NO, NO, NO, NO}},
    };
    for (int card = 0; card < 4; card++) {
        start(cards[card]);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct asked a;
            const cublasStatus_t status = ask(&rows[i].q, 4096, 4096, &a);
            if ((int)status != rows[i].want[card])
                t_fail(__FILE__, __LINE__, "%s, row %zu: %d", cards[card], i, (int)status);
        }
        stop();
    }
}

/* ---- Products */

#define M 32
#define N 3
#define K 64

/* The device's memory of a product of bfloat16 with float, each with rubbish behind it. */
struct product {
    struct question q;
    struct asked asked;
    CUdeviceptr memory, a, b, d, workspace;
    float want[N * M];
};

static uint16_t bf16_of(int i)
{
    const float f = (float)(i % 17 - 8); /* exact */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static float number(int i)
{
    return (float)(i % 17 - 8);
}

static void take(struct product *p)
{
    uint16_t a[M * K], b[N * K];
    float d[N * M];
    *p = (struct product){.q = {M, N, K, BF16_TO_FLOAT, .transa = true}};
    for (int i = 0; i < M * K; i++)
        a[i] = bf16_of(i * 7);
    for (int i = 0; i < N * K; i++)
        b[i] = bf16_of(i * 5);
    for (int i = 0; i < N * M; i++) {
        d[i] = (float)i;
        p->want[i] = 2 * (float)i;
        for (int k = 0; k < K; k++)
            p->want[i] += 0.5f * number((i % M * K + k) * 7) * number((i / M * K + k) * 5);
    }
    OK(gpu.cuMemAlloc(&p->a, sizeof a));
    OK(gpu.cuMemAlloc(&p->b, sizeof b));
    OK(gpu.cuMemAlloc(&p->d, sizeof d));
    OK(gpu.cuMemAlloc(&p->workspace, 1 << 20));
    OK(gpu.cuMemcpyHtoD(p->a, a, sizeof a));
    OK(gpu.cuMemcpyHtoD(p->b, b, sizeof b));
    OK(gpu.cuMemcpyHtoD(p->d, d, sizeof d));
    CHECK_EQ(ask(&p->q, 0, 0, &p->asked), 0);
}

static void give(struct product *p)
{
    OK(gpu.cuMemFree(p->a));
    OK(gpu.cuMemFree(p->b));
    OK(gpu.cuMemFree(p->d));
    OK(gpu.cuMemFree(p->workspace));
}

/* D = 0.5 A B + 2 D. */
static cublasStatus_t multiply(struct product *p, size_t workspace, CUstream stream)
{
    const float alpha = 0.5f, beta = 2;
    struct asked *a = &p->asked;
    void *d = (void *)(uintptr_t)p->d;
    return lt.cublasLtMatmul(handle, &a->desc, &alpha, (const void *)(uintptr_t)p->a, &a->layout[A],
                             (const void *)(uintptr_t)p->b, &a->layout[B], &beta, d, &a->layout[C],
                             d, &a->layout[D], &a->result.algo, (void *)(uintptr_t)p->workspace,
                             workspace, stream);
}

static void check_product(const struct product *p)
{
    float d[N * M];
    OK(gpu.cuMemcpyDtoH(d, p->d, sizeof d));
    for (int i = 0; i < N * M; i++)
        CHECK_EQ(d[i] * 2, p->want[i] * 2);
}

TEST(cublaslt, products_are_done_in_their_turn_and_in_graphs)
{
    struct product p;
    CUstream stream;
    CUgraph graph;
    CUgraphExec exec;
    float zeros[N * M] = {0};
    start("GPU_CC=9.0");
    take(&p);
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK_EQ(multiply(&p, 1 << 20, stream), 0);
    OK(gpu.cuStreamSynchronize(stream));
    check_product(&p);

    OK(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK_EQ(multiply(&p, 1 << 20, stream), 0);
    OK(gpu.cuStreamEndCapture(stream, &graph));
    OK(gpu.cuGraphInstantiate(&exec, graph, 0));
    OK(gpu.cuMemcpyHtoD(p.d, zeros, sizeof zeros));
    OK(gpu.cuGraphLaunch(exec, stream));
    OK(gpu.cuStreamSynchronize(stream));
    for (int i = 0; i < N * M; i++)
        p.want[i] -= 2 * (float)i;
    check_product(&p);
    OK(gpu.cuGraphExecDestroy(exec));
    OK(gpu.cuGraphDestroy(graph));
    OK(gpu.cuStreamDestroy(stream));
    give(&p);
    stop();
}

TEST(cublaslt, what_is_wrong_is_refused)
{
    struct product p;
    struct asked other;
    start("GPU_CC=8.0");
    take(&p);
    CHECK(p.asked.result.workspaceSize > 0);
    CHECK_EQ(multiply(&p, p.asked.result.workspaceSize - 1, NULL), CUBLAS_STATUS_INVALID_VALUE);
    p.workspace += 128;
    CHECK_EQ(multiply(&p, 1 << 19, NULL), CUBLAS_STATUS_INVALID_VALUE);
    p.workspace -= 128;
    p.b += 16; /* 256 were promised */
    CHECK_EQ(multiply(&p, 1 << 20, NULL), CUBLAS_STATUS_INVALID_VALUE);
    p.b -= 16;
    struct question q = p.q;
    q.n = N + 1;
    CHECK_EQ(ask(&q, 0, 0, &other), 0);
    const cublasLtMatmulAlgo_t algo = p.asked.result.algo;
    p.asked.result.algo = other.result.algo;
    CHECK_EQ(multiply(&p, 1 << 20, NULL), CUBLAS_STATUS_NOT_SUPPORTED);
    p.asked.result.algo = algo;
    CHECK(gpu.gpu_fail("library:1"));
    CHECK_EQ(multiply(&p, 1 << 20, NULL), CUBLAS_STATUS_EXECUTION_FAILED);
    CHECK_EQ(multiply(&p, 1 << 20, NULL), 0);
    check_product(&p);
    give(&p);
    stop();
}

TEST(cublaslt, reads_and_writes_are_checked)
{
    for (int wrong = 0; wrong < 4; wrong++) {
        struct product p;
        CUdeviceptr small;
        struct gpu_counts counts;
        start("GPU_CC=8.0");
        take(&p);
        OK(gpu.cuMemAlloc(&small, 512));
        CUdeviceptr *const place[] = {&p.a, &p.b, &p.d, &p.workspace};
        /* Long enough for B and D, but nobody has written there. */
        *place[wrong] = wrong == 3 ? small + 256 : small;
        CHECK_EQ(multiply(&p, 1 << 20, NULL), 0);
        CHECK_EQ(gpu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
        gpu.gpu_counts(&counts);
        CHECK_EQ(counts.faults, 1);
        CHECK_EQ(lt.cublasLtDestroy(handle), 0);
        dlclose(lt.library);
        OK(gpu.cuDevicePrimaryCtxRelease(0));
    }
}

TEST(cublaslt, nothing_starts_without_a_driver_or_where_it_is_not_to)
{
    start("GPU_CC=8.0");
    CHECK_EQ(setenv("GPU_CUBLASLT", "create", 1), 0);
    cublasLtHandle_t none;
    CHECK_EQ(lt.cublasLtCreate(&none), CUBLAS_STATUS_NOT_INITIALIZED);
    CHECK_EQ(setenv("GPU_CUBLASLT", "old", 1), 0);
    CHECK_EQ(lt.cublasLtGetVersion(), 120901);
    CHECK_EQ(unsetenv("GPU_CUBLASLT"), 0);
    stop();
}
