/* The operation add_norm against its definition, and its promise: the same bits for a token
 * whatever is computed beside it. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "../../plugin/base/base.h"
#include "matrix.h"
#include "ref.h"

#include <math.h>

extern const struct backend backend_cpu;

enum { T = 9, D_MAX = 640 };

static const float eps = 1e-6f;

struct call {
    struct op_add_norm op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cpu.add_norm(lane, &call->op, &call->batch);
}

/* Tokens [first, first + n) of y into x. */
static void compute(enum isa isa, struct op_add_norm op, int first, int n, float *x)
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
    struct call call = {.op = op, .batch = {.T = n}};
    struct device *device = NULL;
    CHECK_EQ(backend_cpu.open(&config, &mem_system, &device, NULL), 0);
    call.op.x = x;
    call.op.y += first * op.ld;
    CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
    backend_cpu.close(device);
}

/* kind: enum norm, the second with a bias. */
static void check_width(int32_t D, int32_t kind, bool is_first)
{
    static float before[T * D_MAX], y[T * D_MAX], norm[D_MAX], bias[D_MAX];
    static float x[T * D_MAX], alone[D_MAX];
    static double want[T * D_MAX], added[T * D_MAX];
    for (int i = 0; i < T * D; i++) {
        before[i] = random_float();
        y[i] = 30 * random_float() + (kind == NORM_LAYER ? 20 : 0);
        want[i] = (double)before[i];
        added[i] = (double)y[i];
    }
    for (int i = 0; i < D; i++) {
        norm[i] = 1 + random_float();
        bias[i] = random_float();
    }
    const float *b = kind == NORM_LAYER ? bias : NULL;
    const struct batch batch = {.T = T};
    const struct ref_add_norm ref = {want, added, norm,     (double)eps, D,   D,
                                     b,    kind,  is_first, 0,           NULL};
    ref_add_norm(&ref, &batch);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        const struct op_add_norm op = {.y = y,
                                       .norm = norm,
                                       .norm_bias = b,
                                       .norm_kind = kind,
                                       .eps = eps,
                                       .D = D,
                                       .ld = D,
                                       .is_first = is_first};
        memcpy(x, before, sizeof x);
        compute(isa, op, 0, T, x);
        for (int i = 0; i < T * D; i++)
            CHECK_NEAR(x[i], want[i], 2e-6);
        memcpy(alone, before + (T - 1) * D, sizeof *alone * (size_t)D);
        compute(isa, op, T - 1, 1, alone);
        CHECK(memcmp(alone, x + (T - 1) * D, sizeof *alone * (size_t)D) == 0);
    }
}

/* Heads of a token, normalised where they stand: the other columns stay. */
TEST(add_norm, part_of_a_row_becomes_its_norm)
{
    enum { D = 40, LD = 72, FIRST = 24 };
    static float before[T * LD], x[T * LD], norm[D];
    static double want[T * LD];
    for (int i = 0; i < T * LD; i++) {
        before[i] = 30 * random_float();
        want[i] = (double)before[i];
    }
    for (int i = 0; i < D; i++)
        norm[i] = 1 + random_float();
    const struct batch batch = {.T = T};
    const struct ref_add_norm ref = {.x = want + FIRST,
                                     .y = want + FIRST,
                                     .norm = norm,
                                     .eps = (double)eps,
                                     .D = D,
                                     .ld = LD,
                                     .is_first = true};
    ref_add_norm(&ref, &batch);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        const struct op_add_norm op = {
            .y = x + FIRST, .norm = norm, .eps = eps, .D = D, .ld = LD, .is_first = true};
        memcpy(x, before, sizeof x);
        compute(isa, op, 0, T, x + FIRST);
        for (int i = 0; i < T * LD; i++)
            CHECK_NEAR(x[i], want[i], 2e-6);
    }
}

/* And what is left comes times a number. */
TEST(add_norm, parts_of_a_row_are_normalised_each_by_itself)
{
    enum { D = 40, PARTS = 3, LD = D * PARTS };
    static float before[T * LD], y[T * LD], x[T * LD], norm[D], alone[LD];
    static double want[T * LD], added[T * LD];
    static const float factor = 0.375f;
    for (int i = 0; i < T * LD; i++) {
        before[i] = random_float();
        y[i] = 30 * random_float() * (float)(1 + i / D % PARTS);
        want[i] = (double)before[i];
        added[i] = (double)y[i];
    }
    for (int i = 0; i < D; i++)
        norm[i] = 1 + random_float();
    const struct batch batch = {.T = T};
    const struct ref_add_norm ref = {.x = want,
                                     .y = added,
                                     .norm = norm,
                                     .eps = (double)eps,
                                     .D = D,
                                     .ld = LD,
                                     .parts = PARTS,
                                     .factor = &factor};
    ref_add_norm(&ref, &batch);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        const struct op_add_norm op = {
            .y = y, .norm = norm, .eps = eps, .D = D, .ld = LD, .parts = PARTS, .factor = &factor};
        memcpy(x, before, sizeof x);
        compute(isa, op, 0, T, x);
        for (int i = 0; i < T * LD; i++)
            CHECK_NEAR(x[i], want[i], 2e-6);
        memcpy(alone, before + (T - 1) * LD, sizeof alone);
        compute(isa, op, T - 1, 1, alone);
        CHECK(memcmp(alone, x + (T - 1) * LD, sizeof alone) == 0);
    }
}

TEST(add_norm, gives_what_its_definition_says)
{
    static const int32_t widths[] = {32, 40, 64, 576, D_MAX};
    for (size_t i = 0; i < COUNT_OF(widths); i++)
        for (int32_t kind = NORM_RMS; kind <= NORM_LAYER; kind++) {
            check_width(widths[i], kind, false);
            check_width(widths[i], kind, true);
        }
}
