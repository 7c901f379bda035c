/* What the operation gate asks of memory, as the simulated GPU counts it, against gate.h. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA

enum { T_MOST = 13, D_MOST = 4096, F_MOST = 5632 };

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T_MOST,
                                            .max_rows = T_MOST,
                                            .max_context = 64,
                                            .max_width = F_MOST,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

struct call {
    struct op_gate op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cuda.gate(lane, &call->op, &call->batch);
}

/* x, norm and gate of each token, and what it takes of. */
static void check_size(struct device *device, struct call *call, int D, int F, int T)
{
    char what[64];
    const int64_t row = (int64_t)D * 4, rows = T * row, part = (int64_t)T * F * 4;
    const struct traffic least = traffic_least(rows + part + 2 * row, part);
    struct traffic want = {0};
    (void)snprintf(what, sizeof what, "D %d F %d T %d", D, F, T);
    call->op.D = D;
    call->op.F = F;
    call->batch = (struct batch){.T = T};
    CHECK_EQ(backend_cuda.run(device, call_body, call), 0);
    const struct gpu_kernel_counts counts = costs_of(KERNEL_gate);
    const struct traffic got = traffic_of(&counts);
    add_read(&want, 3 * rows + part, (3 * rows + part) / SECTOR);
    add_written(&want, part, part / SECTOR);
    print_traffic(what, KERNEL_gate, &got, &least);
    check_least(what, KERNEL_gate, &counts, &least, 100);
    check_traffic(what, KERNEL_gate, &got, &want, 0);
}

TEST(cuda_costs, gate_reads_what_the_design_says)
{
    static float zeros[T_MOST * F_MOST];
    const size_t x = T_MOST * D_MOST * sizeof *zeros, vector = D_MOST * sizeof *zeros;
    struct device *device = costs_open() ? cuda_device(&config) : NULL;
    if (!device)
        return;
    struct call call = {.op = {.x = cuda_array(device, zeros, x),
                               .norm = cuda_array(device, zeros, vector),
                               .gate = cuda_array(device, zeros, vector),
                               .from = cuda_array(device, zeros, sizeof zeros),
                               .y = cuda_array(device, zeros, sizeof zeros),
                               .eps = 1e-6f}};
    check_size(device, &call, 576, 1408, 1);
    check_size(device, &call, 2048, 5632, 1);
    check_size(device, &call, 4096, 1408, T_MOST);
    cuda_drop(device, call.op.x, x);
    cuda_drop(device, call.op.norm, vector);
    cuda_drop(device, call.op.gate, vector);
    cuda_drop(device, call.op.from, sizeof zeros);
    cuda_drop(device, call.op.y, sizeof zeros);
    backend_cuda.close(device);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
