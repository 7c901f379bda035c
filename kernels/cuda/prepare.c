#include "prepare.h"

#include "cuda.h"

int prepare_launch(struct device *device, struct prepare_args *args)
{
    const int32_t parts = (args->padded / 4 + PREPARE_QUADS - 1) / PREPARE_QUADS;
    struct grid grid = {.x = (uint32_t)args->rows,
                        .y = args->norm || args->fp8 ? 1 : (uint32_t)parts,
                        .z = 1,
                        .threads = PREPARE_THREADS};
    return cuda_launch(device, KERNEL_prepare, grid, args);
}
