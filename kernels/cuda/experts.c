/* The operation experts: experts.h. */
#include "experts.h"

#include "cuda.h"

#include "../../plugin/base/base.h"

#include <assert.h>

static_assert(KERNEL_experts_fp8_128 - KERNEL_experts_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16,
              "a kernel for each layout, in their order");

int32_t experts_rows(int32_t T, int32_t U, int32_t E)
{
    return (int32_t)ROUND_UP(op_experts_rows(T, U, E) + EXPERTS_TOKENS - 1, EXPERTS_TOKENS);
}

int32_t experts_open(struct device *device, struct err *err)
{
    for (int32_t kernel = KERNEL_experts_bf16; kernel <= KERNEL_experts_fp8_128; kernel++) {
        int32_t rc =
            cuda_allow_shared(device, (enum kernel)kernel, (uint32_t)device->shared_most, err);
        if (rc)
            return rc;
    }
    return INFLIGHT_OK;
}

/* ---- Choice */

static int score(struct device *device, const struct op_experts *op, int32_t T)
{
    const struct product_input input = {.x = op->x, .norm = op->norm, .eps = op->eps};
    struct product_args args = {.y = op->scores,
                                .T = T,
                                .K = op->D,
                                .ldy = op->E,
                                .epilogue = EPILOGUE_STORE,
                                .n_part = 1,
                                .part = {{.weight = op->router->data,
                                          .bias = op->router_bias,
                                          .layout = op->router->layout,
                                          .N = op->E}}};
    return product_launch(device, &input, &args);
}

static int choose(struct device *device, const struct op_experts *op, int32_t T)
{
    struct experts_choose_args args = {.scores = op->scores,
                                       .slot = device->step.view.slot,
                                       .choice = op->choice,
                                       .choice_bias = op->choice_bias,
                                       .T = T,
                                       .E = op->E,
                                       .U = op->U,
                                       .shares = op->shares,
                                       .has_p = op_experts_has_p(op),
                                       .factor = op->factor};
    struct grid grid = {.x = (uint32_t)(T + 7) / 8, .y = 1, .z = 1, .threads = 256};
    return cuda_launch(device, KERNEL_experts_choose, grid, &args);
}

static int give_slots(struct device *device, const struct op_experts *op, int32_t T)
{
    struct experts_slots_args args = {.choice = op->choice,
                                      .first = op->first,
                                      .count = op->count,
                                      .token = op->token,
                                      .n = T * op->U,
                                      .E = op->E,
                                      .U = op->U,
                                      .rows = (int32_t)op_experts_rows(T, op->U, op->E)};
    struct grid grid = {.x = 1, .y = 1, .z = 1, .threads = EXPERTS_SLOT_THREADS};
    return cuda_launch(device, KERNEL_experts_slots, grid, &args);
}

/* ---- Products */

/* Experts first .. end - 1 and their matrices of one or two parts, (E) each. */
struct run {
    const struct weight *part[2];
    const float *bias[2]; /* (E, N) or NULL */
    int32_t n_part, first, end;
};

static bool is_alike(const struct weight *a, const struct weight *b)
{
    return a->layout == b->layout && a->N == b->N && a->K == b->K;
}

static uint64_t stride_of(const struct weight *a)
{
    return (uint64_t)((uintptr_t)a[1].data - (uintptr_t)a[0].data);
}

/* As many experts from run->first on as are alike and as far from one another. */
static void find_end(struct run *run, int32_t E)
{
    for (run->end = run->first + 1; run->end < E; run->end++)
        for (int32_t i = 0; i < run->n_part; i++) {
            const struct weight *first = &run->part[i][run->first], *w = &run->part[i][run->end];
            if (!is_alike(first, w) || stride_of(w - 1) != stride_of(first))
                return;
        }
}

static int launch(struct device *device, const struct op_experts *op, const struct run *run,
                  const struct product_args *product, int32_t T)
{
    const int32_t n = run->end - run->first, choices = T * op->U;
    const int32_t blocks = MIN(choices, choices / EXPERTS_TOKENS + n);
    struct experts_args args = {.tile.product = *product,
                                .first = op->first + run->first,
                                .count = op->count + run->first,
                                .n = n,
                                .limit = product->n_part == 2 ? op->limit : 0};
    for (int32_t i = 0; i < run->n_part && n > 1; i++)
        args.stride[i] = stride_of(&run->part[i][run->first]);
    struct grid grid = tile_prepare(device, &args.tile, EXPERTS_TOKENS, blocks);
    return cuda_launch(device,
                       (enum kernel)(KERNEL_experts_bf16 + product->part[0].layout - LAYOUT_BF16),
                       grid, &args);
}

/* One after the other, if a gate's matrices differ in layout: the first leaves its outputs in y.
 * What finds them there knows no limit. */
static int launch_run(struct device *device, const struct op_experts *op, const struct run *run,
                      const struct product_args *product, int32_t T)
{
    if (run->n_part == 1 || product->part[0].layout == product->part[1].layout)
        return launch(device, op, run, product, T);
    if (op->limit > 0)
        return INFLIGHT_E_UNSUPPORTED;
    struct product_args gate = *product, up = *product;
    struct run one = *run, other = *run;
    gate.epilogue = EPILOGUE_STORE;
    gate.n_part = up.n_part = one.n_part = other.n_part = 1;
    up.part[0] = product->part[1];
    other.part[0] = run->part[1];
    int rc = launch(device, op, &one, &gate, T);
    return rc ? rc : launch(device, op, &other, &up, T);
}

/* Of all experts, run by run. product: all but the parts and what is prepared. */
static int multiply(struct device *device, const struct op_experts *op,
                    const struct product_input *input, const struct product_args *product,
                    struct run run, int32_t T)
{
    struct product_args args = *product;
    int32_t prepared[2] = {-1, -1}; /* layouts */
    for (run.first = 0; run.first < op->E; run.first = run.end) {
        bool is_prepared = true;
        find_end(&run, op->E);
        for (int32_t i = 0; i < run.n_part; i++) {
            const struct weight *w = &run.part[i][run.first];
            const float *bias = run.bias[i];
            args.part[i] =
                (struct product_part){.weight = w->data,
                                      .bias = bias ? bias + (size_t)run.first * (size_t)w->N : NULL,
                                      .layout = w->layout,
                                      .N = w->N};
            is_prepared &= prepared[i] == w->layout;
            prepared[i] = w->layout;
        }
        int rc = is_prepared ? 0 : product_prepare(device, input, &args, SUMS_OF_PAIRS, NULL);
        if (!rc)
            rc = launch_run(device, op, &run, &args, T);
        if (rc)
            return rc;
    }
    return 0;
}

static struct product_args product_of(const struct op_experts *op, int32_t T, float *y, int32_t K,
                                      int32_t N, int32_t n_part)
{
    return (struct product_args){.y = y,
                                 .T = (int32_t)op_experts_rows(T, op->U, op->E),
                                 .rows = experts_rows(T, op->U, op->E),
                                 .K = K,
                                 .padded = ROUND_UP(K, WIDTH_STEP),
                                 .ldy = N,
                                 .epilogue = n_part == 2 ? EPILOGUE_GLU_SILU : EPILOGUE_STORE,
                                 .n_part = n_part};
}

static int make_hidden(struct device *device, const struct op_experts *op, int32_t T)
{
    const struct product_input input = {
        .x = op->x, .row = op->token, .norm = op->norm, .eps = op->eps};
    const struct product_args product = product_of(op, T, op->hidden, op->D, op->F, 2);
    const struct run run = {
        .part = {op->gate, op->up}, .bias = {op->gate_bias, op->up_bias}, .n_part = 2};
    return multiply(device, op, &input, &product, run, T);
}

static int make_answers(struct device *device, const struct op_experts *op, int32_t T)
{
    const struct product_input input = {.x = op->hidden, .live = op->token};
    const struct product_args product = product_of(op, T, op->answer, op->F, op->D, 1);
    const struct run run = {.part = {op->down}, .bias = {op->down_bias}, .n_part = 1};
    return multiply(device, op, &input, &product, run, T);
}

static int add_answers(struct device *device, const struct op_experts *op, int32_t T)
{
    struct experts_add_args args = {
        .x = op->x, .answer = op->answer, .choice = op->choice, .T = T, .U = op->U, .D = op->D};
    CLEAR_PADDING(&args, experts_add_args, D, sizeof args);
    struct grid grid = {.x = (uint32_t)T, .y = 1, .z = 1, .threads = 256};
    return cuda_launch(device, KERNEL_experts_add, grid, &args);
}

int cuda_experts(struct lane *lane, const struct op_experts *op, const struct batch *batch)
{
    struct device *device = lane->device;
    int rc = step_upload(device, batch);
    const int32_t T = device->step.view.T;
    if (!rc)
        rc = score(device, op, T);
    if (!rc)
        rc = choose(device, op, T);
    if (!rc)
        rc = give_slots(device, op, T);
    if (!rc)
        rc = make_hidden(device, op, T);
    if (!rc)
        rc = make_answers(device, op, T);
    return rc ? rc : add_answers(device, op, T);
}
