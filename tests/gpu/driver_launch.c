/* Launches: what a grid may be, its parameters, and running it. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    uint32_t grid[3], block[3], shared;
    bool begins_early;
};

static bool within(const uint32_t n[3], const uint32_t most[3])
{
    for (int i = 0; i < 3; i++)
        if (n[i] == 0 || n[i] > most[i])
            return false;
    return true;
}

static CUresult check_shape(const struct function *function, const struct shape *shape)
{
    static const uint32_t grid_most[3] = {GRID_X_MOST, GRID_YZ_MOST, GRID_YZ_MOST};
    static const uint32_t block_most[3] = {BLOCK_X_MOST, BLOCK_Y_MOST, BLOCK_Z_MOST};
    const uint32_t *required = function->ptx->required;
    if (!within(shape->grid, grid_most) || !within(shape->block, block_most))
        return CUDA_ERROR_INVALID_VALUE;
    uint32_t threads = shape->block[0] * shape->block[1] * shape->block[2];
    if (threads > THREADS_PER_BLOCK)
        return CUDA_ERROR_INVALID_VALUE;
    if (required[0] && memcmp(required, shape->block, sizeof shape->block) != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads > (uint32_t)function_threads_most(function->ptx))
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (shape->shared > (uint32_t)function->dynamic_most ||
        shape->shared + function->ptx->shared_bytes > (uint32_t)device_limits()->shared_per_block)
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* All parameters in one buffer: {BUFFER_POINTER, p, BUFFER_SIZE, &bytes, END}. */
static bool copy_extra(uint8_t *out, uint32_t param_bytes, void **extra)
{
    const void *buffer = NULL;
    const size_t *bytes = NULL;
    for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (i > 2)
            return false;
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            bytes = extra[i + 1];
        else
            return false;
    }
    if (!buffer || !bytes || *bytes != param_bytes)
        return false;
    memcpy(out, buffer, param_bytes);
    return true;
}

static bool copy_params(const struct ptx_function *ptx, uint8_t *out, void **params, void **extra)
{
    if (ptx->n_param == 0)
        return true;
    if (!params == !extra)
        return false;
    if (extra)
        return copy_extra(out, ptx->param_bytes, extra);
    for (uint32_t i = 0; i < ptx->n_param; i++) {
        if (!params[i])
            return false;
        memcpy(out + ptx->param[i].offset, params[i], ptx->param[i].bytes);
    }
    return true;
}

static CUresult launch(struct context *context, const struct shape *shape, const void *handle,
                       CUstream stream_handle, void **params, void **extra)
{
    struct function *function = function_find(context, handle);
    struct stream *stream = stream_find(context, stream_handle);
    if (!function || !stream)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult rc = check_shape(function, shape);
    if (!rc)
        rc = fail_now(FAIL_LAUNCH, context);
    if (rc)
        return rc;
    struct work work = {.kind = WORK_KERNEL};
    work.kernel.param = calloc(1, function->ptx->param_bytes + 1);
    if (!work.kernel.param)
        return CUDA_ERROR_OUT_OF_MEMORY;
    work.kernel.function = function;
    object_hold(&function->object);
    memcpy(work.kernel.grid, shape->grid, sizeof shape->grid);
    memcpy(work.kernel.block, shape->block, sizeof shape->block);
    work.kernel.shared = shape->shared;
    work.kernel.begins_early = shape->begins_early;
    if (!copy_params(function->ptx, work.kernel.param, params, extra)) {
        work_release(&work);
        return CUDA_ERROR_INVALID_VALUE;
    }
    driver.counts.launches++;
    return stream_submit(stream, &work);
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                        unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                        unsigned int block_z, unsigned int shared, CUstream stream, void **params,
                        void **extra)
{
    struct shape shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, false};
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc)
        rc = launch(context, &shape, function, stream, params, extra);
    return leave(rc);
}

/* Hints change nothing; what would change how the grid runs is refused. */
static CUresult check_attribute(const CUlaunchAttribute *attribute)
{
    switch ((int)attribute->id) {
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        return driver.settings.capability >= 90 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        return attribute->value.cooperative ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        return attribute->value.clusterDim.x * attribute->value.clusterDim.y *
                           attribute->value.clusterDim.z ==
                       1
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

static bool begins_early(const CUlaunchConfig *config)
{
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
            return config->attrs[i].value.programmaticStreamSerializationAllowed;
    return false;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params,
                          void **extra)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && (!config || (config->numAttrs && !config->attrs)))
        rc = CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; !rc && i < config->numAttrs; i++)
        rc = check_attribute(&config->attrs[i]);
    if (!rc) {
        struct shape shape = {{config->gridDimX, config->gridDimY, config->gridDimZ},
                              {config->blockDimX, config->blockDimY, config->blockDimZ},
                              config->sharedMemBytes,
                              begins_early(config)};
        rc = launch(context, &shape, function, config->hStream, params, extra);
    }
    return leave(rc);
}

/* Blocks run one after the other here: a barrier of the grid would never end. */
CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                   unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                   unsigned int block_z, unsigned int shared, CUstream stream,
                                   void **params)
{
    struct shape shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, false};
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct function *found = rc ? NULL : function_find(context, function);
    if (!rc && (!found || !stream_find(context, stream)))
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc)
        rc = check_shape(found, &shape);
    if (!rc && found->ptx->n_param && !params)
        rc = CUDA_ERROR_INVALID_VALUE;
    return leave(rc ? rc : CUDA_ERROR_NOT_SUPPORTED);
}

static CUresult code_of(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_NONE:
        return CUDA_SUCCESS;
    case FAULT_OUT_OF_BOUNDS:
    case FAULT_FREED:
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FAULT_MISALIGNED:
        return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FAULT_TIMEOUT:
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    default:
        return CUDA_ERROR_LAUNCH_FAILED;
    }
}

static struct launch_config config_of(const struct work *work, const struct context *context)
{
    const struct settings *settings = &driver.settings;
    struct launch_config config = {.function = work->kernel.function->ptx,
                                   .shared_bytes = work->kernel.shared,
                                   .param = work->kernel.param,
                                   .context = context->id,
                                   .seed = settings->seed ? driver_random() : 0,
                                   .split = settings->split,
                                   .races = settings->races,
                                   .threads = settings->threads,
                                   .count = settings->count != 0};
    memcpy(config.grid, work->kernel.grid, sizeof config.grid);
    memcpy(config.block, work->kernel.block, sizeof config.block);
    return config;
}

CUresult launch_now(struct work *work, struct context *context, struct unfinished *before)
{
    struct fault fault = {.kind = FAULT_NONE};
    struct ahead *ahead = work->kernel.ahead;
    work->kernel.ahead = NULL;
    driver.counts.kernels++;
    driver.counts.early_launches += work->kernel.begins_early;
    if (ahead) {
        launch_go_on(ahead, before, &fault);
    } else {
        struct overlap overlap;
        struct launch_config config = config_of(work, context);
        overlap_start(&overlap, before, work->kernel.begins_early);
        config.overlap = &overlap;
        launch_run(&config, &fault);
        overlap_end(&overlap, before);
    }
    if (fault.kind) {
        driver.fault = fault;
        driver.counts.faults++;
        fprintf(stderr, "gpu: %s\n", fault.text);
    }
    return code_of(fault.kind);
}

/* Without a seed every third kernel. */
static bool is_chosen(void)
{
    return driver.settings.seed ? driver_random() % 2 : ++driver.early % 3 == 0;
}

void launch_early(struct work *work, const struct work *first, struct context *context)
{
    if (work->kind != WORK_KERNEL || first->kind != WORK_KERNEL || !work->kernel.begins_early ||
        work->kernel.ahead || !control_lets_go(first->kernel.function->ptx) || !is_chosen())
        return;
    struct launch_config config = config_of(work, context);
    uint32_t n = driver.settings.seed ? 1 + (uint32_t)(driver_random() % AHEAD_MOST) : AHEAD_MOST;
    work->kernel.ahead = launch_ahead(&config, &n);
    driver.counts.early_blocks += n;
}
