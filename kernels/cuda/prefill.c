#include "prefill.h"

#include "cuda.h"
#include "rotate.h"

#include "../../plugin/base/base.h"

/* Every sequence of a launch has as many blocks as the longest, most of which may have nothing to
 * do: a limit for those. */
#define PLACES_MOST 4096

/* Tiles of rows; 0 for what decode.h has. */
static int32_t tiles_of(const struct device *device, const struct attend_args *args,
                        const struct batch_seq *seq)
{
    int32_t rows = PREFILL_ROWS(attend_variant_width(attend_variant(&device->config)));
    int32_t group = args->H / args->K;
    if (attend_is_decode(seq->n, seq->position + seq->n, args->H, args->K, args->rows_most))
        return 0;
    return (int32_t)(((int64_t)seq->n * group + rows - 1) / rows);
}

/* Sequences [first, first + n), of which each has at most so many tiles. */
static int launch(struct device *device, struct attend_args *args, int32_t first, int32_t n,
                  int32_t tiles)
{
    if (tiles == 0)
        return 0;
    args->first_sequence = first;
    args->n_sequences = n;
    args->items = tiles;
    int32_t variant = attend_variant(&device->config);
    struct grid grid = {
        .x = (uint32_t)n * (uint32_t)tiles,
        .y = (uint32_t)args->K,
        .z = 1,
        .threads = PREFILL_WARPS(attend_variant_width(variant)) * WARP,
        .shared = prefill_shared(variant),
    };
    return cuda_launch(device, (enum kernel)(KERNEL_prefill_bf16_64 + variant), grid, args);
}

int prefill_launch(struct device *device, struct attend_args *args, const struct batch *batch)
{
    int32_t first = 0, most = 0;
    int rc = 0;
    for (int32_t s = 0; s < batch->S && !most; s++)
        most = tiles_of(device, args, &batch->seq[s]);
    if (most)
        rc = rotate_launch(device, args, batch->T);
    most = 0;
    for (int32_t s = 0; s < batch->S && !rc; s++) {
        int32_t tiles = tiles_of(device, args, &batch->seq[s]);
        if (s > first && (int64_t)(s - first + 1) * MAX(most, tiles) > PLACES_MOST) {
            rc = launch(device, args, first, s - first, most);
            first = s;
            most = 0;
        }
        most = MAX(most, tiles);
    }
    return rc ? rc : launch(device, args, first, batch->S - first, most);
}

uint32_t prefill_shared(int32_t variant)
{
    return (uint32_t)PREFILL_SHARED((int32_t)attend_variant_width(variant), variant >= 3);
}
