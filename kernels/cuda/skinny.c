#include "skinny.h"

#include "cuda.h"

static const struct {
    int32_t rows;
    enum kernel kernel;
} kernels[] = {
    {8, KERNEL_skinny_8},
    {16, KERNEL_skinny_16},
    {32, KERNEL_skinny_32},
    {SKINNY_MOST, KERNEL_skinny_64},
};

static int choose(int32_t T)
{
    int i = 0;
    while (kernels[i].rows < T)
        i++;
    return i;
}

int32_t skinny_rows(int32_t T)
{
    return kernels[choose(T)].rows;
}

int skinny_launch(struct device *device, struct product_args *args)
{
    struct grid grid = {
        .x = product_blocks(args, STRIP_ROWS), .y = 1, .z = 1, .threads = SLICES * WARP};
    return cuda_launch(device, kernels[choose(args->T)].kernel, grid, args);
}
