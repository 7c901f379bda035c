/* The operation add_norm on CUDA against its definition, and its promise: the same bits for a token
 * whatever is computed beside it. */
#include "on_cuda.h"
#include "ref.h"

#ifdef INFLIGHT_CUDA

enum { T = 9, D_MAX = 9000 };

static const float eps = 1e-6f;

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T,
                                            .max_rows = T,
                                            .max_context = 64,
                                            .max_width = D_MAX,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

struct call {
    struct op_add_norm op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cuda.add_norm(lane, &call->op, &call->batch);
}

/* The second launch reads what the first has written, and may begin before it has ended. */
static int call_twice(struct lane *lane, void *arg)
{
    int rc = call_body(lane, arg);
    return rc ? rc : call_body(lane, arg);
}

/* Arrays of the device of (T, D) and (D), and which norm it is: of NORM_LAYER with a bias. */
struct arrays {
    struct device *device;
    float *x, *y, *norm, *bias;
    size_t row; /* bytes */
    int32_t kind;
    bool is_first;
};

static void take(struct arrays *a, const float *y, const float *norm, const float *bias, int32_t D)
{
    a->row = (size_t)D * sizeof(float);
    a->x = cuda_array(a->device, NULL, T * a->row);
    a->y = cuda_array(a->device, y, T * a->row);
    a->norm = cuda_array(a->device, norm, a->row);
    a->bias = cuda_array(a->device, bias, a->row);
}

static void drop(struct arrays *a)
{
    cuda_drop(a->device, a->x, T * a->row);
    cuda_drop(a->device, a->y, T * a->row);
    cuda_drop(a->device, a->norm, a->row);
    cuda_drop(a->device, a->bias, a->row);
}

/* Tokens [first, first + n) of y into x, (n, D) in the host's memory. */
static void compute(const struct arrays *a, int (*body)(struct lane *lane, void *arg), int first,
                    int n, float *x)
{
    const int32_t D = (int32_t)(a->row / sizeof(float));
    struct call call = {
        .op = {.x = a->x,
               .y = a->y + first * D,
               .norm = a->norm,
               .norm_bias = a->kind == NORM_LAYER ? a->bias : NULL,
               .norm_kind = a->kind,
               .eps = eps,
               .D = D,
               .ld = D,
               .is_first = a->is_first},
        .batch = {.T = n},
    };
    CHECK_EQ(backend_cuda.write(a->device, a->x, x, (size_t)n * a->row), 0);
    CHECK_EQ(backend_cuda.run(a->device, body, &call), 0);
    CHECK_EQ(backend_cuda.read(a->device, x, a->x, (size_t)n * a->row), 0);
}

static void check_values(const float *x, const double *want, int32_t D)
{
    for (int i = 0; i < T * D; i++)
        if (!(fabs((double)x[i] - want[i]) <= 3e-6)) {
            t_fail(__FILE__, __LINE__, "D %d: value %d of token %d is %.9g, want %.9g", D, i % D,
                   i / D, (double)x[i], want[i]);
            return;
        }
}

static void check_width(struct arrays *a, int32_t D)
{
    static float before[T * D_MAX], y[T * D_MAX], norm[D_MAX], bias[D_MAX];
    static float x[T * D_MAX], alone[D_MAX];
    static double want[T * D_MAX], added[T * D_MAX];
    for (int i = 0; i < T * D; i++) {
        before[i] = random_float();
        y[i] = (float)(i / D) * (random_float() + (float)a->kind); /* the first are zeros */
        want[i] = (double)before[i];
        added[i] = (double)y[i];
    }
    for (int i = 0; i < D; i++) {
        norm[i] = 1 + random_float();
        bias[i] = random_float();
    }
    const struct batch batch = {.T = T};
    const struct ref_add_norm ref = {
        want,    added,       norm, (double)eps, D, D, a->kind == NORM_LAYER ? bias : NULL,
        a->kind, a->is_first, 0,    NULL};
    take(a, y, norm, bias, D);
    ref_add_norm(&ref, &batch);
    memcpy(x, before, T * a->row);
    compute(a, call_body, 0, T, x);
    check_values(x, want, D);
    for (int t = 0; t < T; t++) {
        memcpy(alone, before + t * D, a->row);
        compute(a, call_body, t, 1, alone);
        CHECK(memcmp(alone, x + t * D, a->row) == 0);
    }
    ref_add_norm(&ref, &batch);
    memcpy(x, before, T * a->row);
    compute(a, call_twice, 0, T, x);
    check_values(x, want, D);
    drop(a);
}

/* A row ends within a thread's first quads, with them, and in the last of several rounds; not every
 * width is one of whole warps. */
TEST(cuda_add_norm, gives_what_its_definition_says)
{
    static const int32_t widths[] = {4, 32, 40, 576, 640, 1028, 4096, 4100, D_MAX};
    struct arrays a = {.device = cuda_device(&config)};
    for (size_t i = 0; i < COUNT_OF(widths) && a.device; i++)
        for (int how = 0; how < 4; how++) {
            a.kind = how / 2 ? NORM_LAYER : NORM_RMS;
            a.is_first = how % 2;
            check_width(&a, widths[i]);
        }
    if (a.device)
        backend_cuda.close(a.device);
}

/* Heads of a token, normalised where they stand, twice: the other columns stay. */
TEST(cuda_add_norm, part_of_a_row_becomes_its_norm)
{
    enum { D = 40, LD = 72, FIRST = 24 };
    static float x[T * LD], norm[D];
    static double want[T * LD];
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    for (int i = 0; i < T * LD; i++) {
        x[i] = 30 * random_float();
        want[i] = (double)x[i];
    }
    for (int i = 0; i < D; i++)
        norm[i] = 1 + random_float();
    float *on_card = cuda_array(device, x, sizeof x);
    float *norm_on_card = cuda_array(device, norm, sizeof norm);
    struct call call = {.op = {.x = on_card + FIRST,
                               .y = on_card + FIRST,
                               .norm = norm_on_card,
                               .eps = eps,
                               .D = D,
                               .ld = LD,
                               .is_first = true},
                        .batch = {.T = T}};
    const struct ref_add_norm ref = {.x = want + FIRST,
                                     .y = want + FIRST,
                                     .norm = norm,
                                     .eps = (double)eps,
                                     .D = D,
                                     .ld = LD,
                                     .is_first = true};
    ref_add_norm(&ref, &call.batch);
    ref_add_norm(&ref, &call.batch);
    CHECK_EQ(backend_cuda.run(device, call_twice, &call), 0);
    CHECK_EQ(backend_cuda.read(device, x, on_card, sizeof x), 0);
    for (int i = 0; i < T * LD; i++)
        CHECK_NEAR(x[i], want[i], 3e-6);
    cuda_drop(device, on_card, sizeof x);
    cuda_drop(device, norm_on_card, sizeof norm);
    backend_cuda.close(device);
}
#else
TEST(cuda_add_norm, is_built)
{
    t_skip("built without CUDA");
}
#endif
