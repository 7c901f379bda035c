#include "tile.h"

#include "cuda.h"

#include <assert.h>

#define BLOCK_ROWS   128
#define BLOCK_TOKENS 64

static_assert(KERNEL_tile_int8_k16 - KERNEL_tile_bf16 == LAYOUT_INT8_K16 - LAYOUT_BF16,
              "a kernel for each layout, in their order");

int32_t tile_rows(int32_t T)
{
    return (T + BLOCK_TOKENS - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
}

int32_t tile_blocks(const struct product_args *args)
{
    struct product_args copy = *args;
    return (int32_t)product_blocks(&copy, BLOCK_ROWS) * (tile_rows(args->T) / BLOCK_TOKENS);
}

/* Parts of one layout. */
static int launch(struct device *device, struct product_args *args)
{
    struct grid grid = {.x = (uint32_t)(tile_rows(args->T) / BLOCK_TOKENS),
                        .y = product_blocks(args, BLOCK_ROWS),
                        .z = 1,
                        .threads = 256};
    const int32_t kernel = KERNEL_tile_bf16 + args->part[0].layout - LAYOUT_BF16;
    return cuda_launch(device, (enum kernel)kernel, grid, args);
}

static int launch_gated(struct device *device, const struct product_args *args)
{
    struct product_args gate = *args, up = *args;
    gate.epilogue = EPILOGUE_STORE;
    gate.n_part = up.n_part = 1;
    up.part[0] = args->part[1];
    up.part[0].column = args->part[0].column;
    int rc = launch(device, &gate);
    return rc ? rc : launch(device, &up);
}

int tile_launch(struct device *device, struct product_args *args)
{
    if (args->epilogue == EPILOGUE_GLU_SILU)
        return launch_gated(device, args);
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
