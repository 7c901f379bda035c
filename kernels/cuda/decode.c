#include "decode.h"

#include "cuda.h"

#include "../../plugin/base/base.h"

#define MERGE_WARPS 8 /* of a block */

/* Sequences [first, first + n) of a batch, launched at once, and the most that one of them is. */
struct run {
    int32_t first, n, splits, rows;
};

static bool is_decode(const struct attend_args *args, const struct batch_seq *seq)
{
    return attend_is_decode(seq->n, seq->position + seq->n, args->H, args->K, args->rows_most);
}

/* Blocks for splits that a sequence does not have end at once. */
static int32_t splits_of(const struct device *device, const struct batch_seq *seq)
{
    return graph_round(device, attend_splits(seq->position + seq->n), 1,
                       attend_splits(device->config.max_context));
}

static struct run extended(struct run run, const struct device *device,
                           const struct attend_args *args, const struct batch_seq *seq)
{
    run.n++;
    if (is_decode(args, seq)) {
        run.splits = MAX(run.splits, splits_of(device, seq));
        run.rows = MAX(run.rows, seq->n * (args->H / args->K));
    }
    return run;
}

/* Every sequence has as much room in scratch as the most that one of them is. */
static bool fits(const struct run *run, const struct attend_args *args)
{
    int64_t places = (int64_t)run->n * run->splits;
    return run->splits <= 1 || places * run->rows * args->K <= args->rows_most;
}

static int launch(struct device *device, struct attend_args *args, const struct run *run)
{
    if (run->splits == 0)
        return 0;
    args->sequence = run->first;
    args->n_sequences = run->n;
    args->items = run->splits;
    args->rows = run->rows;
    int32_t variant = attend_variant(&device->config);
    uint32_t tiles = (uint32_t)(run->rows + DECODE_ROWS - 1) / DECODE_ROWS;
    struct grid grid = {
        .x = (uint32_t)run->n * (uint32_t)run->splits,
        .y = (uint32_t)args->K * tiles,
        .z = 1,
        .threads = 4 * WARP,
        .shared = decode_shared(variant),
    };
    int rc = cuda_launch(device, (enum kernel)(KERNEL_decode_bf16_64 + variant), grid, args);
    if (rc || run->splits == 1)
        return rc;
    uint32_t warps = (uint32_t)run->rows * (((uint32_t)args->width + WARP - 1) / WARP);
    grid = (struct grid){
        .x = (uint32_t)run->n,
        .y = (uint32_t)args->K,
        .z = (warps + MERGE_WARPS - 1) / MERGE_WARPS,
        .threads = MERGE_WARPS * WARP,
    };
    return cuda_launch(device, KERNEL_decode_merge, grid, args);
}

int decode_launch(struct device *device, struct attend_args *args, const struct batch *batch)
{
    struct run run = {0};
    int rc = 0;
    for (int32_t s = 0; s < batch->S && !rc; s++) {
        struct run longer = extended(run, device, args, &batch->seq[s]);
        if (!fits(&longer, args)) {
            rc = launch(device, args, &run);
            longer = extended((struct run){.first = s}, device, args, &batch->seq[s]);
        }
        run = longer;
    }
    return rc ? rc : launch(device, args, &run);
}

uint32_t decode_shared(int32_t variant)
{
    return ATTEND_SHARED(attend_variant_width(variant), DECODE_ROWS, variant >= 3, true);
}
