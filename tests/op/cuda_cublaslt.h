/* A problem of the operation linear on a CUDA device that multiplies with cuBLASLt, beside its
 * definition over inputs and weights as they are rounded for it. */
#pragma once

#define T_MAX 390

#include "on_cuda.h"
#include "problem.h"
#include "ref.h"

#include <math.h>

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/cuda.h"
#include "../../kernels/cuda/dense.h"
#include "../gpu/gpu.h"

#include <dlfcn.h>
#include <stdlib.h>

/* Sums in float, in whatever order. Tensor cores cut off what a sum has no bits for, 2^-24 of it,
 * as often as 16 products are added to it: 80 times. */
#define EXACT (80 * 0x1p-24)

/* The same on a card that sums E4M3 in 13 bits of a fraction (arXiv 2411.10958), 32 products at a
 * time. */
#define EXACT_FP8 (40 * 0x1p-13)

/* The simulated GPU and the library beside it; NULL on a card. */
static struct {
    void (*counts)(struct gpu_counts *out);
    bool (*fail)(const char *what);
    uint64_t (*asked)(void);
} gpu;

/* C does not convert between pointers to data and to code; POSIX has both of one size. */
static inline void find(const char *name, const char *symbol, void *function)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    void *at = library ? dlsym(library, symbol) : NULL;
    memcpy(function, &at, sizeof at);
    if (library)
        dlclose(library);
}

static inline struct device_config config_of(bool cublaslt)
{
    return (struct device_config){.threads = 1,
                                  .max_tokens = T_MAX,
                                  .max_rows = 1,
                                  .max_context = 64,
                                  .max_width = 1280,
                                  .L = 1,
                                  .H = 1,
                                  .K = 1,
                                  .dim = 64,
                                  .kv_type = KV_BF16,
                                  .kv_pages = 1,
                                  .cublaslt = cublaslt};
}

/* A problem in a device's memory. */
struct copy {
    struct device_config config;
    struct device *device;
    struct op_linear op;
    struct weight weight[PARTS_MAX];
    struct batch batch;
    float *x, *y;
};

static inline bool copy_init(struct copy *c, const struct problem *p, bool cublaslt)
{
    *c = (struct copy){.config = config_of(cublaslt)};
    c->device = cuda_device(&c->config);
    if (!c->device)
        return false;
    find("libcuda.so.1", "gpu_counts", &gpu.counts);
    find("libcuda.so.1", "gpu_fail", &gpu.fail);
    find(CUBLASLT_LIBRARY, "gpu_cublaslt_asked", &gpu.asked);
    c->x = cuda_array(c->device, p->x, T_MAX * (size_t)p->K * sizeof(float));
    c->y = cuda_array(c->device, NULL, T_MAX * (size_t)p->ldy * sizeof(float));
    c->op = (struct op_linear){.x = c->x,
                               .y = c->y,
                               .eps = 1e-5f,
                               .D = p->K,
                               .ldy = p->ldy,
                               .n_part = p->n_part,
                               .epilogue = (int32_t)p->epilogue};
    for (int i = 0; i < p->n_part; i++) {
        c->weight[i] = cuda_matrix(c->device, &c->config, &p->matrix[i]);
        c->op.part[i] = (struct linear_part){.weight = &c->weight[i], .column = p->column[i]};
        if (p->bias[i])
            c->op.part[i].bias =
                cuda_array(c->device, p->bias[i], (size_t)p->matrix[i].source.N * sizeof(float));
    }
    return true;
}

static inline void copy_release(struct copy *c, const struct problem *p)
{
    cuda_drop(c->device, c->x, T_MAX * (size_t)p->K * sizeof(float));
    cuda_drop(c->device, c->y, T_MAX * (size_t)p->ldy * sizeof(float));
    for (int i = 0; i < p->n_part; i++) {
        cuda_drop(c->device, c->weight[i].data, c->weight[i].bytes);
        cuda_drop(c->device, c->op.part[i].bias, (size_t)p->matrix[i].source.N * sizeof(float));
    }
    backend_cuda.close(c->device);
}

static inline int copy_body(struct lane *lane, void *arg)
{
    struct copy *c = arg;
    return backend_cuda.linear(lane, &c->op, &c->batch);
}

/* T tokens into y (T_MAX, ldy), whose rows from T on stay. Returns what the step does. */
static inline int compute(struct copy *c, const struct problem *p, int T, float *y)
{
    const size_t bytes = T_MAX * (size_t)p->ldy * sizeof *y;
    c->batch = (struct batch){.T = T};
    CHECK_EQ(backend_cuda.write(c->device, c->y, p->before, bytes), 0);
    int rc = backend_cuda.run(c->device, copy_body, c);
    CHECK_EQ(backend_cuda.read(c->device, y, c->y, bytes), 0);
    CHECK(memcmp(y + T * p->ldy, p->before + T * p->ldy,
                 (size_t)(T_MAX - T) * (size_t)p->ldy * sizeof *y) == 0);
    return rc;
}

/* Products that the library did so far; on a card it is not known. */
static inline int64_t works(void)
{
    struct gpu_counts counts = {.library_works = 0};
    if (gpu.counts)
        gpu.counts(&counts);
    return (int64_t)counts.library_works;
}

/* Set while the library is to refuse E4M3. */
static bool fp8_is_refused;

/* Whether a part is multiplied by E4M3: with a gate's other matrix or not at all. */
static inline bool part_is_fp8(const struct copy *c, const struct problem *p, int part)
{
    const bool is_gated = epilogue_is_gated((int32_t)p->epilogue);
    bool is = c->device->makes_fp8 && !fp8_is_refused;
    for (int i = 0; i < p->n_part; i++)
        if (i == part || is_gated)
            is = is && c->weight[i].layout == LAYOUT_FP8_ROW;
    return is;
}

/* The definition in double, over inputs and weights as they are multiplied: in bfloat16, or E4M3
 * with scales. */
static inline void define(const struct copy *c, const struct problem *p, int T, double *y)
{
    double *x = malloc(T_MAX * (size_t)p->K * sizeof *x);
    double *x_fp8 = malloc(T_MAX * (size_t)p->K * sizeof *x_fp8);
    struct ref_linear op = {.x = x,
                            .y = y,
                            .eps = 1e-5,
                            .D = p->K,
                            .ldy = p->ldy,
                            .n_part = p->n_part,
                            .epilogue = p->epilogue};
    struct batch batch = {.T = T};
    for (int i = 0; i < p->n_part; i++) {
        const struct matrix *m = &p->matrix[i];
        const bool is_fp8 = part_is_fp8(c, p, i);
        for (size_t j = 0; j < (size_t)m->source.N * (size_t)p->K && !is_fp8; j++)
            m->value[j] = bf16_to_float(bf16_of_float(m->value[j]));
        op.part[i] = (struct ref_part){.weight = m->value,
                                       .bias = p->bias[i],
                                       .N = m->source.N,
                                       .column = p->column[i],
                                       .x = is_fp8 ? x_fp8 : NULL};
    }
    for (int i = 0; i < T_MAX * p->ldy; i++)
        y[i] = (double)p->before[i];
    for (int i = 0; i < T_MAX * p->K; i++)
        x[i] = (double)bf16_to_float(bf16_of_float(p->x[i]));
    for (int t = 0; t < T_MAX; t++)
        round_to_fp8(p->x + t * p->K, p->K, x_fp8 + t * p->K);
    ref_linear(&op, &batch);
    free(x);
    free(x_fp8);
}

/* What sums may be off by, of their mean size. */
static inline double exact_of(const struct copy *c, const struct problem *p)
{
    for (int i = 0; i < p->n_part; i++)
        if (part_is_fp8(c, p, i) && !gpu.counts)
            return EXACT_FP8;
    return EXACT;
}

static inline void check_near(const struct problem *p, int T, const float *y, const double *want,
                              double exact)
{
    double off = 0, size = 0, worst = 0;
    const size_t n = (size_t)T * (size_t)p->ldy;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)y[i] - want[i]);
        off += d * d;
        size += want[i] * want[i];
        worst = d > worst || d != d ? d : worst;
    }
    if (!(sqrt(off / size) <= exact) || !(worst <= 20 * exact * sqrt(size / (double)n)))
        t_fail(__FILE__, __LINE__, "%s, K %d, epilogue %d, %d tokens: error %.3g, worst %.3g",
               fmt_info[p->matrix[0].source.fmt].name, p->K, (int)p->epilogue, T, sqrt(off / size),
               worst / sqrt(size / (double)n));
}

/* False, and the test is skipped: a card without the library. */
static inline bool has_library(struct copy *c, const struct problem *p)
{
    if (c->device->dense)
        return true;
    t_skip(backend_cuda.describe(c->device));
    copy_release(c, p);
    return false;
}

/* room: bytes of scratch, 0: all. n_products: that the library does for it. */
static inline void check_problem(const struct problem *p, int T, uint64_t room, int n_products)
{
    const size_t n = T_MAX * (size_t)p->ldy;
    double *want = malloc(n * sizeof *want);
    float *y = malloc(n * sizeof *y);
    struct copy c;
    if (copy_init(&c, p, true) && has_library(&c, p)) {
        const int64_t before = works();
        c.device->dense->room = room ? room : c.device->dense->room;
        CHECK_EQ(compute(&c, p, T, y), 0);
        if (gpu.counts)
            CHECK_EQ(works() - before, n_products);
        define(&c, p, T, want);
        check_near(p, T, y, want, exact_of(&c, p));
        copy_release(&c, p);
    }
    free(want);
    free(y);
}

static inline bool is_simulated(void)
{
    struct problem p;
    struct copy c;
    p = (struct problem){.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_q8_0}, (int[]){16}, 32);
    const bool opened = copy_init(&c, &p, true);
    if (opened)
        copy_release(&c, &p);
    problem_release(&p);
    if (opened && !gpu.asked)
        t_skip("the library is NVIDIA's own");
    return opened && gpu.asked;
}

/* Bits of a device that was not asked to use the library. */
static inline bool compute_own(const struct problem *p, int T, float *y)
{
    struct copy c;
    if (!copy_init(&c, p, false))
        return false;
    CHECK(c.device->dense == NULL);
    CHECK_EQ(compute(&c, p, T, y), 0);
    copy_release(&c, p);
    return true;
}

static inline bool is_same(const struct problem *p, const float *a, const float *b)
{
    return memcmp(a, b, T_MAX * (size_t)p->ldy * sizeof *a) == 0;
}

static float yes; /* a bias is wanted */

/* problem_init leaves columns and rows that are not aligned; here they are. */
static inline void align(struct problem *p)
{
    p->ldy = ROUND_UP(p->ldy + 8, 4);
    for (int i = 0; i < p->n_part; i++)
        p->column[i] = ROUND_UP(p->column[i], 4);
    free(p->before);
    p->before = malloc(T_MAX * (size_t)p->ldy * sizeof *p->before);
    for (int i = 0; i < T_MAX * p->ldy; i++)
        p->before[i] = random_float();
}
#endif
