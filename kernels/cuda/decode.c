#include "decode.h"

#include "cuda.h"

#include "../../plugin/base/base.h"

/* Sequences [first, first + n) of a batch, launched at once, and the most that one of them is. */
struct run {
    int32_t first, n, splits, tokens;
};

static bool is_decode(const struct attend_args *args, const struct batch_seq *seq)
{
    return attend_is_decode(seq->n, seq->position + seq->n, args->H, args->K, args->rows_most);
}

static struct run extended(struct run run, const struct attend_args *args,
                           const struct batch_seq *seq)
{
    run.n++;
    if (is_decode(args, seq)) {
        run.splits = MAX(run.splits, attend_splits(seq->position + seq->n));
        run.tokens = MAX(run.tokens, seq->n);
    }
    return run;
}

/* Every sequence has as much room in scratch as the most that one of them is. */
static bool fits(const struct run *run, const struct attend_args *args)
{
    int64_t places = (int64_t)run->n * run->splits;
    return run->splits <= 1 || places * run->tokens * args->H <= args->rows_most;
}

static int launch(struct device *device, struct attend_args *args, const struct run *run)
{
    if (run->splits == 0)
        return 0;
    args->first_sequence = run->first;
    args->n_sequences = run->n;
    args->items = run->splits;
    args->rows = run->tokens * (args->H / args->K);
    int32_t variant = attend_variant(&device->config);
    struct grid grid = {
        .x = (uint32_t)run->n * (uint32_t)run->splits,
        .y = (uint32_t)(args->K * decode_tiles(args->rows)),
        .z = 1,
        .threads = 4 * WARP,
        .shared = decode_shared(variant, run->tokens),
    };
    return cuda_launch(device, (enum kernel)(KERNEL_decode_bf16_64 + variant), grid, args);
}

/* One token of each sequence: all count as long as the rows of page numbers are, dead ones too, so
 * that launches depend on these sizes alone (graph.h). Blocks for splits that a sequence does not
 * have end at once. */
static int launch_equals(struct device *device, struct attend_args *args)
{
    const int32_t S = device->step.view.S, splits = attend_splits(args->max_pages * PAGE_TOKENS);
    const int64_t most = splits > 1 ? args->rows_most / args->H / splits : S;
    int rc = 0;
    for (int32_t s = 0; s < S && !rc; s += (int32_t)most) {
        const struct run run = {
            .first = s, .n = (int32_t)MIN(most, S - s), .splits = splits, .tokens = 1};
        rc = launch(device, args, &run);
    }
    return rc;
}

int decode_launch(struct device *device, struct attend_args *args, const struct batch *batch)
{
    struct run run = {0};
    int rc = 0;
    if (batch->T == batch->S)
        return launch_equals(device, args);
    for (int32_t s = 0; s < batch->S && !rc; s++) {
        struct run longer = extended(run, args, &batch->seq[s]);
        if (!fits(&longer, args)) {
            rc = launch(device, args, &run);
            longer = extended((struct run){.first = s}, args, &batch->seq[s]);
        }
        run = longer;
    }
    return rc ? rc : launch(device, args, &run);
}

uint32_t decode_shared(int32_t variant, int32_t n)
{
    return (uint32_t)DECODE_SHARED((int32_t)attend_variant_width(variant), variant >= 3, n);
}
