/* The operation gate on CUDA against its definition, and its promise: the same bits for a token
 * whatever is computed beside it. */
#include "on_cuda.h"

#include "gate_problem.h"

#ifdef INFLIGHT_CUDA

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
    struct op_gate op;
    struct batch batch;
    int times;
};

/* A launch reads what the one before it has written, and may begin before that has ended. */
static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    int rc = 0;
    for (int i = 0; i < call->times && !rc; i++)
        rc = backend_cuda.gate(lane, &call->op, &call->batch);
    return rc;
}

/* Tokens [first, first + n) of p, as often as that in place, into y. */
static void compute(struct device *device, const struct problem *p, int first, int n, int times,
                    float *y)
{
    const size_t row = (size_t)p->D * sizeof(float), bytes = (size_t)(n * p->F) * sizeof(float);
    float *x = cuda_array(device, p->x + first * p->D, (size_t)n * row);
    float *norm = cuda_array(device, p->norm, row), *gate = cuda_array(device, p->gate, row);
    float *there = cuda_array(device, p->from + first * p->F, bytes);
    struct call call = {.op = {.x = x,
                               .norm = norm,
                               .gate = gate,
                               .from = there,
                               .y = there,
                               .eps = eps,
                               .D = p->D,
                               .F = p->F},
                        .batch = {.T = n},
                        .times = times};
    CHECK_EQ(backend_cuda.run(device, call_body, &call), 0);
    CHECK_EQ(backend_cuda.read(device, y, there, bytes), 0);
    cuda_drop(device, x, (size_t)n * row);
    cuda_drop(device, norm, row);
    cuda_drop(device, gate, row);
    cuda_drop(device, there, bytes);
}

TEST(cuda_gate, gives_what_its_definition_says)
{
    static const int sizes[][2] = {{4, 32}, {40, 33}, {576, 256}, {1028, 64}, {D_MAX, F_MAX}};
    static struct problem p;
    static float y[T * F_MAX], twice[T * F_MAX], alone[F_MAX];
    struct device *device = cuda_device(&config);
    for (size_t i = 0; i < COUNT_OF(sizes) && device; i++) {
        problem_init(&p, sizes[i][0], sizes[i][1]);
        compute(device, &p, 0, T, 1, y);
        check_values(&p, y);
        for (int t = 0; t < T; t++) {
            compute(device, &p, t, 1, 1, alone);
            CHECK(memcmp(alone, y + t * p.F, sizeof *alone * (size_t)p.F) == 0);
        }
        compute(device, &p, 0, T, 2, twice);
        memcpy(p.from, y, sizeof y);
        compute(device, &p, 0, T, 1, y);
        CHECK(memcmp(twice, y, sizeof *y * (size_t)(T * p.F)) == 0);
    }
    if (device)
        backend_cuda.close(device);
}
#else
TEST(cuda_gate, is_built)
{
    t_skip("built without CUDA");
}
#endif
