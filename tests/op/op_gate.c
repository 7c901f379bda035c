/* The operation gate against its definition, and its promise: the same bits for a token whatever is
 * computed beside it. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "gate_problem.h"

extern const struct backend backend_cpu;

struct call {
    struct op_gate op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cpu.gate(lane, &call->op, &call->batch);
}

/* Tokens [first, first + n), in place, into y. */
static void compute(enum isa isa, const struct problem *p, int first, int n, float *y)
{
    const struct device_config config = {.threads = 2,
                                         .isa = (int32_t)isa,
                                         .max_tokens = T,
                                         .max_rows = T,
                                         .max_context = 64,
                                         .max_width = D_MAX,
                                         .L = 1,
                                         .H = 1,
                                         .K = 1,
                                         .dim = 64,
                                         .kv_pages = 1};
    struct call call = {.op = {.x = p->x + first * p->D,
                               .norm = p->norm,
                               .gate = p->gate,
                               .from = y,
                               .y = y,
                               .eps = eps,
                               .D = p->D,
                               .F = p->F},
                        .batch = {.T = n}};
    struct device *device = NULL;
    memcpy(y, p->from + first * p->F, (size_t)(n * p->F) * sizeof *y);
    CHECK_EQ(backend_cpu.open(&config, &mem_system, &device, NULL), 0);
    CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
    backend_cpu.close(device);
}

TEST(gate, gives_what_its_definition_says)
{
    static const int sizes[][2] = {{32, 32}, {40, 33}, {576, 64}, {D_MAX, F_MAX}};
    static struct problem p;
    static float y[T * F_MAX], alone[F_MAX];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        problem_init(&p, sizes[i][0], sizes[i][1]);
        for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
            if (!cpu_can(isa))
                continue;
            compute(isa, &p, 0, T, y);
            check_values(&p, y);
            compute(isa, &p, T - 1, 1, alone);
            CHECK(memcmp(alone, y + (T - 1) * p.F, sizeof *alone * (size_t)p.F) == 0);
        }
    }
}
