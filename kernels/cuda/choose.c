#include "choose.h"

#include "cuda.h"

int choose_launch(struct device *device, const struct op_head *op)
{
    const struct step_view *view = &device->step.view;
    struct choose_args args = {.logits = op->logits,
                               .block = op->block,
                               .scale = view->scale,
                               .choice = view->choice,
                               .edit = view->edit,
                               .raw = (float *)(uintptr_t)device->raw,
                               .chosen = (int32_t *)(uintptr_t)device->chosen,
                               .parity = view->parity,
                               .V = op->V,
                               .n_blocks = logit_blocks(op->V),
                               .stride = ahead_stride(&device->config)};
    struct grid grid = {.x = (uint32_t)view->R, .y = 1, .z = 1, .threads = CHOOSE_THREADS};
    CLEAR_PADDING(&args, choose_args, stride, sizeof args);
    if (args.n_blocks > CHOOSE_BLOCKS)
        return INFLIGHT_E_UNSUPPORTED;
    return cuda_launch(device, KERNEL_choose, grid, &args);
}
