/* Functions of modules: their attributes, and how many of their blocks fit on a multiprocessor. */
#include "driver.h"

#include <stdlib.h>

#define REGISTER_UNIT 8 /* registers of a thread come in these */

static void release(struct object *object)
{
    struct function *function = (struct function *)object;
    object_drop(&function->module->object);
    free(function);
}

CUresult function_get(struct module *module, const char *name, struct function **out)
{
    const struct ptx_function *ptx = ptx_find_function(module->ptx, name);
    if (!ptx || !ptx->is_entry)
        return CUDA_ERROR_NOT_FOUND;
    for (struct function *f = module->functions; f; f = f->next)
        if (f->ptx == ptx)
            return *out = f, CUDA_SUCCESS;
    struct function *function =
        object_new(OBJECT_FUNCTION, sizeof *function, module->object.context, release);
    if (!function)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_hold(&module->object);
    function->module = module;
    function->ptx = ptx;
    function->dynamic_most = SHARED_WITHOUT_OPT_IN > (int)ptx->shared_bytes
                                 ? SHARED_WITHOUT_OPT_IN - (int)ptx->shared_bytes
                                 : 0;
    function->carveout = -1;
    function->next = module->functions;
    module->functions = function;
    *out = function;
    return CUDA_SUCCESS;
}

void functions_retire(struct module *module)
{
    for (struct function *f = module->functions, *next; f; f = next) {
        next = f->next;
        object_retire(&f->object);
    }
    module->functions = NULL;
}

int function_threads_most(const struct ptx_function *ptx)
{
    uint32_t required = ptx->required[0] * ptx->required[1] * ptx->required[2];
    return (int)(required ? required : ptx->max_threads ? ptx->max_threads : THREADS_PER_BLOCK);
}

/* The registers of PTX are not those of the machine. This is the most that ptxas may have
 * used, given the kernel's bounds (PTX ISA 9.0, 11.4). */
static int registers_most(const struct ptx_function *ptx)
{
    int ctas = ptx->min_ctas ? (int)ptx->min_ctas : 1;
    int most = REGISTERS_PER_SM / (function_threads_most(ptx) * ctas);
    most -= most % REGISTER_UNIT;
    return most < REGISTERS_PER_THREAD ? most : REGISTERS_PER_THREAD;
}

static CUresult get_attribute(const struct function *function, CUfunction_attribute attribute,
                              int *out)
{
    const struct ptx_function *ptx = function->ptx;
    const struct ptx_module *module = function->module->ptx;
    switch ((int)attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *out = function_threads_most(ptx);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *out = (int)ptx->shared_bytes;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *out = (int)ptx->local_bytes;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *out = registers_most(ptx);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *out = module->target;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *out = driver.settings.capability;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *out = function->dynamic_most;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *out = function->carveout;
        return CUDA_SUCCESS;
    default:
        *out = 0;
        return (int)attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX ? CUDA_ERROR_INVALID_VALUE
                                                                        : CUDA_SUCCESS;
    }
}

static CUresult set_attribute(struct function *function, CUfunction_attribute attribute, int value)
{
    int static_bytes = (int)function->ptx->shared_bytes;
    switch ((int)attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || value > device_limits()->shared_per_block - static_bytes)
            return CUDA_ERROR_INVALID_VALUE;
        function->dynamic_most = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
        function->carveout = value;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

struct function *function_find(const struct context *context, const void *handle)
{
    struct function *function = object_find(handle, OBJECT_FUNCTION);
    return function && function->object.context == context ? function : NULL;
}

static CUresult enter_function(const void *handle, struct function **out)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    *out = rc ? NULL : function_find(context, handle);
    return !rc && !*out ? CUDA_ERROR_INVALID_HANDLE : rc;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc)
        rc = set_attribute(function, attribute, value);
    return leave(rc);
}

CUresult cuFuncGetAttribute(int *out, CUfunction_attribute attribute, CUfunction handle)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = get_attribute(function, attribute, out);
    return leave(rc);
}

/* Where the two sorts of memory share a multiprocessor's, a hint that nothing here depends on. */
CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && ((int)config < 0 || config > CU_FUNC_CACHE_PREFER_EQUAL))
        rc = CUDA_ERROR_INVALID_VALUE;
    return leave(rc);
}

CUresult cuFuncGetName(const char **out, CUfunction handle)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = function->ptx->name;
    return leave(rc);
}

CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *bytes)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && (!offset || index >= function->ptx->n_param))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *offset = function->ptx->param[index].offset;
    if (!rc && bytes)
        *bytes = function->ptx->param[index].bytes;
    return leave(rc);
}

CUresult cuKernelGetFunction(CUfunction *out, CUkernel handle)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = object_handle(&function->object);
    return leave(rc);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Blocks by threads, by shared memory, by registers and by their number; registers at their
 * most, so that hardware holds as many or more. */
static int occupancy(const struct function *function, int threads, size_t dynamic_bytes)
{
    const struct device_limits *limits = device_limits();
    int warps = (threads + WARP_LANES - 1) / WARP_LANES;
    size_t shared = function->ptx->shared_bytes + dynamic_bytes + SHARED_RESERVED;
    if (threads > function_threads_most(function->ptx) ||
        dynamic_bytes > (size_t)function->dynamic_most)
        return 0;
    int n = least(limits->blocks_per_sm, limits->threads_per_sm / (warps * WARP_LANES));
    n = least(n, (int)((size_t)limits->shared_per_sm / shared));
    return least(n, REGISTERS_PER_SM / (registers_most(function->ptx) * warps * WARP_LANES));
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, CUfunction handle,
                                                              int threads, size_t dynamic_bytes,
                                                              unsigned int flags)
{
    struct function *function;
    CUresult rc = enter_function(handle, &function);
    if (!rc && (!out || threads <= 0 || flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = occupancy(function, threads, dynamic_bytes);
    return leave(rc);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, CUfunction handle, int threads,
                                                     size_t dynamic_bytes)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, handle, threads, dynamic_bytes,
                                                                0);
}
