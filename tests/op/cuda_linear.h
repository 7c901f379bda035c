/* A problem of the operation linear on a CUDA device, beside its definition over inputs as products
 * read them: for the tests of all formats and of E4M3. */
#pragma once

#include "on_cuda.h"
#include "problem.h"
#include "ref.h"

#include <math.h>

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/cuda.h"
#include "../../kernels/cuda/layout.h"

/* Sums in float of up to K_MAX products, each kind of which the CPU's float kernels meet too. */
#define EXACT 2e-6

/* Rounding to bfloat16 errs by at most 2^-8 of a value, evenly: 2^-8 / sqrt(3) in the mean. The
 * signs of errors are random, so an output errs by as much of the outputs' mean; by sqrt(2) of
 * it if weights are rounded too, and by sqrt(2) of that if it is a product of two. */
#define ROUNDED (2 * 0x1p-8 / 1.7320508)

/* The same of E4M3 and its 2^-4; what is small beside its row's largest errs by no more than that
 * of the smallest normal number, which is 2^-15 of the largest. */
#define ROUNDED_FP8 (2 * 0x1p-4 / 1.7320508)

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

static inline bool copy_init(struct copy *c, const struct problem *p)
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
    c->op.norm_kind = (int32_t)p->norm_kind;
    if (p->normed)
        c->op.norm = cuda_array(c->device, p->norm, (size_t)p->K * sizeof(float));
    if (p->norm_biased)
        c->op.norm_bias = cuda_array(c->device, p->norm_bias, (size_t)p->K * sizeof(float));
    for (int i = 0; i < p->n_part; i++) {
        c->weight[i] = cuda_matrix(c->device, &config, &p->matrix[i]);
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
    cuda_drop(c->device, c->op.norm, (size_t)p->K * sizeof(float));
    cuda_drop(c->device, c->op.norm_bias, (size_t)p->K * sizeof(float));
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

/* What stands after the rows of y that an operation has must stay. */
static inline void check_rest(const struct copy *c, const struct problem *p, int T)
{
    size_t bytes = (size_t)(T_MAX - T) * (size_t)p->ldy * sizeof *c->y;
    float *rest = malloc(bytes + 1);
    CHECK_EQ(backend_cuda.read(c->device, rest, c->y + T * p->ldy, bytes), 0);
    CHECK(memcmp(rest, p->before + T * p->ldy, bytes) == 0);
    free(rest);
}

/* Tokens [first, first + T) of the problem into y (T, ldy). */
static inline void compute(struct copy *c, const struct problem *p, int first, int T, float *y)
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

static inline bool part_is_fp8(const struct copy *c, int part)
{
    return layout_x_is_fp8(c->weight[part].layout, c->device->has_fp8);
}

static inline double rounding_of(const struct copy *c, const struct problem *p)
{
    for (int i = 0; i < p->n_part; i++)
        if (part_is_fp8(c, i))
            return ROUNDED_FP8;
    return ROUNDED;
}

/* The definition in double; rounded: over inputs as products read them. */
static inline void define(const struct copy *c, const struct problem *p, bool rounded, double *y)
{
    double *x = malloc(T_MAX * (size_t)p->K * sizeof *x);
    double *x_fp8 = malloc(T_MAX * (size_t)p->K * sizeof *x_fp8);
    struct ref_linear op = {.x = x,
                            .y = y,
                            .norm = p->normed ? p->norm : NULL,
                            .norm_bias = p->norm_biased ? p->norm_bias : NULL,
                            .norm_kind = p->norm_kind,
                            .eps = 1e-5,
                            .D = p->K,
                            .ldy = p->ldy,
                            .n_part = p->n_part,
                            .epilogue = p->epilogue};
    struct batch batch = {.T = T_MAX};
    for (int i = 0; i < p->n_part; i++)
        op.part[i] = (struct ref_part){.weight = p->matrix[i].value,
                                       .bias = p->bias[i],
                                       .N = p->matrix[i].source.N,
                                       .column = p->column[i],
                                       .x = rounded && part_is_fp8(c, i) ? x_fp8 : NULL};
    for (int i = 0; i < T_MAX * p->ldy; i++)
        y[i] = (double)p->before[i];
    for (int i = 0; i < T_MAX * p->K; i++)
        x[i] = (double)(rounded ? bf16_to_float(bf16_of_float(p->x[i])) : p->x[i]);
    for (int t = 0; t < T_MAX; t++)
        round_to_fp8(p->x + t * p->K, p->K, x_fp8 + t * p->K);
    ref_linear(&op, &batch);
    free(x);
    free(x_fp8);
}

/* |y - want| / |want| over all outputs, and the largest single error over the mean size. */
static inline void check_near(const struct problem *p, const float *y, const double *want,
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
static inline void check_same(const struct problem *p, const float *y, const float *base, int first,
                              int T)
{
    for (int t = 0; t < T; t++)
        if (memcmp(y + t * p->ldy, base + (first + t) * p->ldy, (size_t)p->ldy * sizeof *y)) {
            t_fail(__FILE__, __LINE__, "%s, epilogue %d: token %d of %d tokens from %d differs",
                   fmt_info[p->matrix[0].source.fmt].name, (int)p->epilogue, t, T, first);
            return;
        }
}

/* T_MAX tokens against the definition; over rounded inputs exactly, but only without a norm,
 * whose own rounding may move an input across a rounding boundary. Then some of the tokens
 * again, by the kernels for few. near: signs of inputs' errors are random. */
static inline void check_problem(const struct problem *p, bool near)
{
    size_t n = T_MAX * (size_t)p->ldy;
    double *want = malloc(n * sizeof *want);
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    static const int tokens[] = {1, 3, 8, 13, 27, 40};
    struct copy c;
    if (copy_init(&c, p)) {
        compute(&c, p, 0, T_MAX, base);
        define(&c, p, false, want);
        if (near)
            check_near(p, base, want, rounding_of(&c, p));
        for (int i = 0; i < p->n_part; i++)
            round_matrix((struct matrix *)(uintptr_t)&p->matrix[i]);
        define(&c, p, true, want);
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
#endif
