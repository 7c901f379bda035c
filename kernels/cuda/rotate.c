#include "rotate.h"

#include "cuda.h"

#include <assert.h>

#define WARPS 8 /* of a block */

static_assert(KERNEL_rotate_int8 - KERNEL_rotate_bf16 == KV_INT8 &&
                  KERNEL_rotate_fp8 - KERNEL_rotate_bf16 == KV_FP8,
              "the order of enum kv_type");

int rotate_launch(struct device *device, struct attend_args *args, int32_t T)
{
    uint32_t heads = (uint32_t)(args->H + 2 * args->K);
    struct grid grid = {
        .x = (uint32_t)T, .y = (heads + WARPS - 1) / WARPS, .z = 1, .threads = WARPS * WARP};
    enum kernel kernel = (enum kernel)(KERNEL_rotate_bf16 + device->config.kv_type);
    return cuda_launch(device, kernel, grid, args);
}
