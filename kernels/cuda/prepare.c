#include "prepare.h"

#include "cuda.h"

int prepare_launch(struct device *device, struct prepare_args *args)
{
    struct grid grid = {.x = (uint32_t)args->rows, .y = 1, .z = 1, .threads = 256};
    return cuda_launch(device, KERNEL_prepare, grid, args);
}
