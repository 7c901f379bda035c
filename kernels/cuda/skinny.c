#include "skinny.h"

#include "cuda.h"

#include "../../plugin/base/base.h"

#include <assert.h>

/* Of one kernel that an SM has, if they have one group. */
#define BLOCKS_OF_SM 2

static_assert(KERNEL_skinny_1_fp8_128 - KERNEL_skinny_1_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16 &&
                  KERNEL_skinny_8_fp8_128 - KERNEL_skinny_8_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16 &&
                  KERNEL_skinny_16_fp8_128 - KERNEL_skinny_16_bf16 == LAYOUT_FP8_128 - LAYOUT_BF16,
              "a kernel for each layout, in their order");

static const struct {
    int32_t tokens;
    enum kernel kernel; /* of LAYOUT_BF16 */
} sizes[] = {
    {1, KERNEL_skinny_1_bf16},
    {8, KERNEL_skinny_8_bf16},
    {SKINNY_MOST, KERNEL_skinny_16_bf16},
};

/* As many as there may be, if there is work for more than one. */
static int32_t groups_of_block(const struct device *device, const struct skinny_args *args,
                               int32_t tokens)
{
    const int32_t most = tokens == 1 ? device->skinny_groups : 1;
    const int32_t shared = skinny_shared(args->product.part[0].layout, tokens, most,
                                         args->product.padded, device->has_fp8);
    return args->n_strips > device->n_sm && shared <= device->shared_most ? most : 1;
}

static int32_t shared_of_widest(const struct device *device, int32_t layout, int32_t tokens)
{
    const int32_t padded = ROUND_UP(device->config.max_width, WIDTH_STEP);
    return MIN(skinny_shared(layout, tokens, skinny_groups(tokens), padded, device->has_fp8),
               device->shared_most);
}

/* Images say how many threads their kernels have registers for, and which of them runs depends on
 * what this build has and not on the card alone. */
static int32_t find_groups(struct device *device, struct err *err)
{
    device->skinny_groups = skinny_groups(1);
    for (int32_t layout = 0; layout < LAYOUT_COUNT; layout++) {
        int threads = 0;
        CUresult result =
            device->driver->cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                                               device->kernel[(int32_t)sizes[0].kernel + layout]);
        if (result)
            return driver_refuse(device->driver, result, "asking for the threads of kernels", err);
        if (threads < skinny_groups(1) * SKINNY_THREADS)
            device->skinny_groups = 1;
    }
    return INFLIGHT_OK;
}

int32_t skinny_open(struct device *device, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int32_t layout = 0; layout < LAYOUT_COUNT; layout++) {
            const int32_t bytes = shared_of_widest(device, layout, sizes[i].tokens);
            int32_t rc = cuda_allow_shared(device, (enum kernel)((int32_t)sizes[i].kernel + layout),
                                           (uint32_t)bytes, err);
            if (rc)
                return rc;
        }
    return find_groups(device, err);
}

bool skinny_takes_input(const struct device *device, const struct product_input *input,
                        const struct product_args *args)
{
    bool fits = args->T == 1 && (!input->norm || input->norm_kind == NORM_RMS);
    for (int32_t i = 0; i < args->n_part; i++)
        fits = fits && skinny_shared(args->part[i].layout, 1, 1, args->padded, device->has_fp8) <=
                           device->shared_most;
    return fits;
}

int32_t skinny_rows(int32_t T)
{
    return T <= 8 ? 8 : SKINNY_MOST;
}

/* Numbers the strips of all parts. Parts that are not there come after all of them; the matrices
 * of a gate are beside each other and have one place for their outputs. */
static void number_strips(struct skinny_args *args)
{
    struct product_args *product = &args->product;
    args->n_strips = (int32_t)product_blocks(product, STRIP_ROWS);
    for (int32_t i = product->n_part; i < (int32_t)COUNT_OF(product->part); i++)
        product->part[i] = (struct product_part){.first_block = INT32_MAX};
    if (product_is_gated(product->epilogue) && product->n_part == 2) {
        product->part[1].first_block = product->part[0].first_block;
        product->part[1].column = product->part[0].column;
    }
}

/* Parts of one layout. */
static int launch(struct device *device, struct skinny_args *args, int size)
{
    const int32_t layout = args->product.part[0].layout;
    const int32_t tokens = sizes[size].tokens, padded = args->product.padded;
    number_strips(args);
    const int32_t groups = groups_of_block(device, args, tokens);
    const int32_t shared = skinny_shared(layout, tokens, groups, padded, device->has_fp8);
    const int32_t most = (groups == 1 ? BLOCKS_OF_SM : 1) * device->n_sm;
    struct grid grid = {.x = (uint32_t)MIN(args->n_strips, most),
                        .y = 1,
                        .z = 1,
                        .threads = (uint32_t)(groups * SKINNY_THREADS),
                        .shared = (uint32_t)shared};
    CLEAR_PADDING(&args->product, product_args, n_part, offsetof(struct product_args, part));
    CLEAR_PADDING(&args->input, product_input, norm_kind, sizeof args->input);
    CLEAR_PADDING(args, skinny_args, n_strips, sizeof *args);
    return cuda_launch(device, (enum kernel)((int32_t)sizes[size].kernel + layout), grid, args);
}

/* The first leaves its outputs in y, where the second finds them. */
static int launch_gate_of_two_layouts(struct device *device, const struct skinny_args *args,
                                      int size)
{
    struct skinny_args gate = *args, up = *args;
    gate.product.epilogue = EPILOGUE_STORE;
    gate.product.n_part = up.product.n_part = 1;
    up.product.part[0] = args->product.part[1];
    up.product.part[0].column = args->product.part[0].column;
    int rc = launch(device, &gate, size);
    return rc ? rc : launch(device, &up, size);
}

int skinny_launch(struct device *device, const struct product_input *input,
                  const struct product_args *product)
{
    const int size = input ? 0 : product->T <= 8 ? 1 : 2;
    struct skinny_args args = {.product = *product};
    if (input)
        args.input = *input;
    if (product_is_gated(product->epilogue) && product->part[0].layout != product->part[1].layout)
        return launch_gate_of_two_layouts(device, &args, size);
    for (int32_t layout = 0; layout < LAYOUT_COUNT; layout++) {
        struct skinny_args alike = args;
        alike.product.n_part = 0;
        for (int32_t i = 0; i < product->n_part; i++)
            if (product->part[i].layout == layout)
                alike.product.part[alike.product.n_part++] = product->part[i];
        int rc = alike.product.n_part ? launch(device, &alike, size) : 0;
        if (rc)
            return rc;
    }
    return 0;
}
