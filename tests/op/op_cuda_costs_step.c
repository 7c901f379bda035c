/* What a step of a model asks of the driver, and how often warps part. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"

#ifdef INFLIGHT_CUDA

#include "../../plugin/model/model.h"

#include <stdio.h>

#define MODEL "build/models/tiny.gguf"

enum { CONTEXT = 512, TOKENS = 32 };

static struct model *open_model(void)
{
    struct model_params params = {.path = MODEL,
                                  .device = "cuda",
                                  .mem = &mem_system,
                                  .context = CONTEXT,
                                  .threads = 1,
                                  .activations = ACT_INT8,
                                  .kv_type = KV_BF16,
                                  .kv_tokens = CONTEXT,
                                  .max_tokens = TOKENS,
                                  .max_rows = TOKENS};
    struct err err = {0};
    struct model *m = NULL;
    FILE *f = costs_open() ? fopen(MODEL, "rb") : NULL;
    if (!f) {
        if (costs.kernel)
            t_skip("no " MODEL ": make check-build");
        return NULL;
    }
    (void)fclose(f);
    if (model_open(&m, &params, &err) || model_load(m, NULL, NULL, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        model_close(m);
        return NULL;
    }
    return m;
}

/* n tokens of one sequence from a position on, with logits of the last R. */
static void forward(struct model *m, int position, int n, int R)
{
    static int32_t count[CONTEXT], token[CONTEXT];
    for (int i = 0; i < CONTEXT; i++)
        count[i] = i;
    struct batch_seq seq = {.n = n, .position = position, .page = count};
    struct batch batch = {.T = n,
                          .S = 1,
                          .R = R,
                          .token = token,
                          .position = count + position,
                          .seq = &seq,
                          .row = count + n - R};
    CHECK_EQ(model_forward(m, &batch), 0);
}

static uint64_t divergent(void)
{
    uint64_t sum = 0;
    struct gpu_kernel_counts counts;
    for (int i = 0; i < KERNEL_COUNT; i++)
        sum += costs.kernel(costs_name((enum kernel)i), &counts) ? counts.divergent : 0;
    return sum;
}

struct step_costs {
    struct gpu_counts calls;
    uint64_t divergent;
};

static struct step_costs cost_of_step(struct model *m, int position, int n, int R)
{
    struct step_costs before = {.divergent = divergent()}, after;
    costs.calls(&before.calls);
    forward(m, position, n, R);
    costs.calls(&after.calls);
    after.divergent = divergent() - before.divergent;
    const struct gpu_counts *b = &before.calls;
    struct gpu_counts *a = &after.calls;
    a->launches -= b->launches;
    a->syncs -= b->syncs;
    a->allocations -= b->allocations;
    a->host_allocations -= b->host_allocations;
    a->copies_to_device -= b->copies_to_device;
    a->bytes_to_device -= b->bytes_to_device;
    a->copies_to_host -= b->copies_to_host;
    a->bytes_to_host -= b->bytes_to_host;
    a->copies_on_device -= b->copies_on_device;
    a->sets -= b->sets;
    return after;
}

/* Embedding; in a layer four products and attention, after rotation if there are many rows (more
 * than 8 here); the head's product and its notes. A product of more rows than one has a launch that
 * prepares them. */
static int64_t launches(const struct model *m, int n, int R)
{
    const int64_t L = model_hparams(m)->L;
    const int64_t head = R == 0 ? 0 : R == 1 ? 2 : 3;
    return 1 + L * (4 * (n == 1 ? 1 : 2) + 1 + (n > 8)) + head;
}

static void check_step(struct model *m, const char *what, int position, int n, int R)
{
    const int64_t V = model_hparams(m)->V, rows = R;
    const struct step_costs cost = cost_of_step(m, position, n, R);
    const struct gpu_counts *c = &cost.calls;
    printf("  %s: %llu launches, %llu waits, %llu copies to the device of %llu bytes, %llu back, "
           "%llu branches that part\n",
           what, (unsigned long long)c->launches, (unsigned long long)c->syncs,
           (unsigned long long)c->copies_to_device, (unsigned long long)c->bytes_to_device,
           (unsigned long long)c->copies_to_host, (unsigned long long)cost.divergent);
    CHECK_EQ(c->launches, launches(m, n, R));
    CHECK_EQ(c->copies_to_device, 1); /* the batch in one piece */
    CHECK_EQ(c->copies_to_host, R ? 2 : 0);
    CHECK_EQ(c->bytes_to_host,
             rows * (V * 4 + logit_blocks((int32_t)V) * (int64_t)sizeof(struct logit_block)));
    CHECK_EQ(c->syncs, 1); /* for the step and what is copied back */
    CHECK_EQ(c->allocations + c->host_allocations, 0);
    CHECK_EQ(c->copies_on_device + c->sets, 0);
}

TEST(cuda_costs, a_step_is_one_copy_and_a_fixed_number_of_launches)
{
    struct model *m = open_model();
    if (!m)
        return;
    printf("  %d layers: 5 launches each of one token, 9 or 10 of more\n", model_hparams(m)->L);
    check_step(m, "prompt of 8", 0, 8, 1);
    check_step(m, "part of a prompt, no logits", 8, 32, 0);
    check_step(m, "end of a prompt, two rows", 40, 8, 2);
    check_step(m, "one token", 48, 1, 1);
    for (int position = 49; position < 321; position += TOKENS)
        forward(m, position, TOKENS, 0);
    check_step(m, "one token at 321, split", 321, 1, 1);
    model_close(m);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
