#include "tile.h"

#include "cuda.h"
#include "device.h"

#include "../../plugin/base/base.h"

#include <assert.h>

static_assert(KERNEL_tile_32_fp8_128 - KERNEL_tile_32_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16 &&
                  KERNEL_tile_64_fp8_128 - KERNEL_tile_64_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16,
              "a kernel for each layout, in their order");

#define STAGES_MOST 4

/* Of which blocks of fewer tokens may leave some unread. */
int32_t tile_rows(int32_t T)
{
    return T <= 32 ? 32 : T <= 64 ? 64 : ROUND_UP(T, 128);
}

static int32_t blocks_of_tokens(const struct product_args *args, const struct tile_cut *cut)
{
    return (args->T + cut->tokens - 1) / cut->tokens;
}

/* Rows of a part that a block has; of a gate, those of each matrix. */
static int32_t rows_of(const struct product_args *args, int32_t warps)
{
    const bool gated = product_is_gated(args->epilogue) && args->n_part == 2;
    return warps * STRIP_ROWS * (gated ? 1 : TILE_STRIPS);
}

/* Blocks of a cut that do not share K. */
static int32_t blocks_of(const struct product_args *args, const struct tile_cut *cut,
                         int32_t token_blocks)
{
    struct product_args copy = *args;
    return (int32_t)product_blocks(&copy, rows_of(args, cut->warps)) * token_blocks;
}

static bool fits_scratch(const struct tile_cut *cut, int32_t blocks)
{
    const int64_t sums = SLICES + 1 - SLICES / cut->split;
    return cut->split == 1 ||
           (blocks * sums * tile_sum_bytes(cut->warps, cut->tokens) <= TILE_PARTIAL_BYTES &&
            blocks * cut->warps <= TILE_ARRIVED_MOST);
}

static int32_t stage_bytes(const struct device *device, const struct tile_cut *cut, int32_t layout)
{
    return tile_stage_bytes(layout, cut->warps * TILE_STRIPS, cut->tokens, device->has_fp8);
}

/* As many stages as fit; room: shared memory for a block. */
static int32_t stages_of(const struct device *device, const struct tile_cut *cut, int32_t layout,
                         int32_t room)
{
    const int32_t stage = stage_bytes(device, cut, layout);
    return MIN(STAGES_MOST, (room - tile_sum_bytes(cut->warps, cut->tokens)) / stage);
}

/* What a cut costs, in hundredths of the time that an SM takes for one value of K of 256 rows and
 * 32 tokens. An SM has room for one block of eight warps, or for two of four if its memory is
 * large; these read more, and one alone takes two thirds of the time of eight warps. Twice the
 * tokens cost less than twice as much: weights are made operands once. Adding up what blocks have
 * left costs the last of them as much as it reads, about 30 values of K for each sum. */
static int64_t cost_of(const struct device *device, const struct tile_cut *cut, int32_t blocks,
                       int32_t K)
{
    const int64_t n = (int64_t)blocks * cut->split, room = (int64_t)cut->per_sm * device->n_sm;
    const int64_t full = n / room, rest = n % room;
    const int64_t eight = cut->tokens == 32 ? 100 : cut->tokens == 64 ? 160 : 270;
    const int64_t alone = cut->warps == 8 ? eight : eight * 2 / 3;
    const int64_t all = cut->warps == 8 ? eight : cut->per_sm == 2 ? eight * 21 / 20 : alone;
    const int64_t last = rest == 0 ? 0 : rest <= device->n_sm ? alone : all;
    const int64_t sums = cut->split > 1 ? SLICES + 1 - SLICES / cut->split + 8 : 0;
    return (full * all + last) * (K / cut->split) + sums * 30 * eight * cut->warps / 8;
}

/* Fills in what follows from warps and tokens; false: there is no room for two stages. */
static bool complete(const struct device *device, struct tile_cut *cut, int32_t layout)
{
    const int32_t half = (device->shared_most - 1024) / 2; /* 1 KiB of each block is the system's */
    cut->per_sm = cut->warps == 4 && stages_of(device, cut, layout, half) >= 2 ? 2 : 1;
    cut->stages = stages_of(device, cut, layout, cut->per_sm == 2 ? half : device->shared_most);
    return cut->stages >= 2;
}

/* The best cut that there is yet, and its cost. */
struct choice {
    struct tile_cut cut; /* tokens 0: none */
    int64_t cost;
};

/* Cuts for blocks of so many tokens. token_blocks: 0, or how many there are. */
static void choose_among(const struct device *device, const struct product_args *args,
                         int32_t tokens, int32_t token_blocks, struct choice *best)
{
    const int32_t layout = args->part[0].layout;
    const int32_t most = layout_tiles(layout, args->K) < SLICES ? 1 : SLICES; /* no empty slices */
    for (int32_t warps = 8; warps >= 4; warps /= 2)
        for (int32_t split = 1; split <= most; split *= 2) {
            struct tile_cut cut = {.tokens = tokens, .warps = warps, .split = split};
            const int32_t blocks =
                blocks_of(args, &cut, token_blocks ? token_blocks : blocks_of_tokens(args, &cut));
            if (!complete(device, &cut, layout) || !fits_scratch(&cut, blocks))
                continue;
            const int64_t cost = cost_of(device, &cut, blocks, args->K);
            if (!best->cut.tokens || cost < best->cost)
                *best = (struct choice){cut, cost};
        }
}

struct tile_cut tile_cut_of(const struct device *device, const struct product_args *args)
{
    const int32_t layout = args->part[0].layout;
    const int32_t widest = args->T <= 32 ? 32 : args->T <= 64 || layout != LAYOUT_BF16 ? 64 : 128;
    struct choice best = {.cost = 0};
    for (int32_t tokens = widest; tokens >= 32; tokens /= 2)
        choose_among(device, args, tokens, 0, &best);
    return best.cut;
}

int32_t tile_kernel(int32_t layout, int32_t tokens)
{
    const int32_t first = tokens == 32   ? KERNEL_tile_32_bf16
                          : tokens == 64 ? KERNEL_tile_64_bf16
                                         : KERNEL_tile_128_bf16;
    return first + layout - LAYOUT_BF16;
}

/* Of a cut; the rest of args. */
static struct grid apply(struct device *device, const struct tile_cut *cut, int32_t token_blocks,
                         struct tile_args *args)
{
    struct product_args *product = &args->product;
    const CUdeviceptr scratch =
        device->linear_scratch + device->linear_scratch_bytes - TILE_SCRATCH_BYTES;
    const int32_t stage = stage_bytes(device, cut, product->part[0].layout);
    const int32_t shared = cut->stages * stage + tile_sum_bytes(cut->warps, cut->tokens);
    struct grid grid = {.x = (uint32_t)token_blocks,
                        .y = product_blocks(product, rows_of(product, cut->warps)),
                        .z = (uint32_t)cut->split,
                        .threads = (uint32_t)cut->warps * WARP,
                        .shared = (uint32_t)shared};
    args->partial = (float *)(uintptr_t)(scratch + TILE_ARRIVED_MOST * 4);
    args->arrived = (uint32_t *)(uintptr_t)scratch;
    args->stages = cut->stages;
    args->split = cut->split;
    CLEAR_PADDING(product, product_args, n_part, offsetof(struct product_args, part));
    return grid;
}

struct grid tile_prepare(struct device *device, struct tile_args *args, int32_t tokens,
                         int32_t token_blocks)
{
    struct choice best = {.cost = 0};
    choose_among(device, &args->product, tokens, token_blocks, &best);
    return apply(device, &best.cut, token_blocks, args);
}

/* Parts of one layout. */
static int launch(struct device *device, struct product_args *product)
{
    const struct tile_cut cut = tile_cut_of(device, product);
    struct tile_args args = {.product = *product};
    struct grid grid = apply(device, &cut, blocks_of_tokens(product, &cut), &args);
    return cuda_launch(device, (enum kernel)tile_kernel(product->part[0].layout, cut.tokens), grid,
                       &args);
}

/* A gate whose matrices differ in layout: the first leaves its outputs in y, where the second
 * finds them. */
static int launch_apart(struct device *device, const struct product_args *args)
{
    struct product_args gate = *args, up = *args;
    gate.epilogue = EPILOGUE_STORE;
    gate.n_part = up.n_part = 1;
    up.part[0] = args->part[1];
    up.part[0].column = args->part[0].column;
    int rc = launch(device, &gate);
    return rc ? rc : launch(device, &up);
}

int tile_launch(struct device *device, const struct product_args *args)
{
    if (product_is_gated(args->epilogue) && args->part[0].layout != args->part[1].layout)
        return launch_apart(device, args);
    for (int32_t layout = 0; layout < LAYOUT_COUNT; layout++) {
        struct product_args alike = *args;
        alike.n_part = 0;
        for (int32_t i = 0; i < args->n_part; i++)
            if (args->part[i].layout == layout)
                alike.part[alike.n_part++] = args->part[i];
        int rc = alike.n_part ? launch(device, &alike) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int32_t tile_open(struct device *device, struct err *err)
{
    static const uint32_t zeros[TILE_ARRIVED_MOST];
    const CUdeviceptr arrived =
        device->linear_scratch + device->linear_scratch_bytes - TILE_SCRATCH_BYTES;
    for (int32_t kernel = KERNEL_tile_32_bf16; kernel <= KERNEL_tile_128_bf16; kernel++) {
        int32_t rc =
            cuda_allow_shared(device, (enum kernel)kernel, (uint32_t)device->shared_most, err);
        if (rc)
            return rc;
    }
    int32_t rc = cuda_write(device, (void *)(uintptr_t)arrived, zeros, sizeof zeros);
    return rc ? err_set(err, rc, "the counters of products cannot be cleared") : INFLIGHT_OK;
}
