/* Modules and libraries: PTX that was parsed, and device memory for its variables. A library is
 * a module here, of the context that was current when it was loaded, and a kernel of it is a
 * function. */
#include "driver.h"
#include "fatbin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_in_memory(const struct ptx_variable *variable)
{
    return variable->space == SPACE_GLOBAL || variable->space == SPACE_CONST;
}

/* The functions of a module are retired with it, but live on while work needs them. */
static void release(struct object *object)
{
    struct module *module = (struct module *)object;
    if (module->ptx)
        for (uint32_t i = 0; i < module->ptx->n_function; i++)
            report_add(&module->ptx->function[i]);
    cache_give(module->ptx);
    free(module);
}

/* A variable without a value begins as zeros (PTX ISA 9.0, 5.4.4). */
static bool place(const struct ptx_variable *variable, uint64_t address, uint32_t context)
{
    return variable->init ? memory_write(address, variable->init, variable->bytes, context)
                          : memory_set(address, 0, 1, variable->bytes, context);
}

static CUresult place_variables(const struct module *module)
{
    uint32_t context = module->object.context->id;
    for (uint32_t i = 0; i < module->ptx->n_variable; i++) {
        struct ptx_variable *variable = &module->ptx->variable[i];
        if (!is_in_memory(variable) || !variable->bytes)
            continue;
        variable->address = memory_take(variable->bytes, context);
        if (!variable->address || !place(variable, variable->address, context))
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static void give_variables(const struct module *module)
{
    for (uint32_t i = 0; i < module->ptx->n_variable; i++) {
        const struct ptx_variable *variable = &module->ptx->variable[i];
        if (is_in_memory(variable) && variable->address)
            memory_give(variable->address, module->object.context->id);
    }
}

bool module_owns(const struct context *context, uint64_t address)
{
    const struct module *module = NULL;
    while ((module = object_next(OBJECT_MODULE, context, module)))
        for (uint32_t k = 0; k < module->ptx->n_variable; k++) {
            const struct ptx_variable *variable = &module->ptx->variable[k];
            if (is_in_memory(variable) && variable->address == address)
                return true;
        }
    return false;
}

/* Where the caller wants to read what is wrong with its PTX. */
struct log {
    char *text;
    size_t bytes;
};

static struct log log_of(unsigned n, const CUjit_option *options, void *const *values)
{
    struct log log = {0};
    for (unsigned i = 0; options && values && i < n; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
            log.text = values[i];
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            log.bytes = (size_t)(uintptr_t)values[i];
    }
    return log;
}

static CUresult refuse(CUresult code, const char *error, const struct log *log)
{
    fprintf(stderr, "gpu: module refused: %s\n", error);
    if (log->text && log->bytes)
        snprintf(log->text, log->bytes, "%s", error);
    return code;
}

static CUresult check_target(const struct ptx_module *ptx, const struct log *log)
{
    char error[128];
    if (ptx->version_major > DRIVER_PTX_MAJOR ||
        (ptx->version_major == DRIVER_PTX_MAJOR && ptx->version_minor > DRIVER_PTX_MINOR)) {
        snprintf(error, sizeof error, "PTX %d.%d is newer than the driver", ptx->version_major,
                 ptx->version_minor);
        return refuse(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, error, log);
    }
    if (ptx->target > driver.settings.capability) {
        snprintf(error, sizeof error, "PTX for sm_%d on sm_%d", ptx->target,
                 driver.settings.capability);
        return refuse(CUDA_ERROR_INVALID_PTX, error, log);
    }
    return CUDA_SUCCESS;
}

static CUresult parse(const void *image, const struct log *log, struct ptx_module **out)
{
    char error[512] = "";
    size_t bytes = 0;
    void *owned = NULL;
    const char *text =
        fatbin_ptx(image, driver.settings.capability, &bytes, &owned, error, sizeof error);
    if (!text)
        return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, error, log);
    *out = cache_take(text, bytes);
    if (!*out)
        *out = ptx_parse(text, bytes, error, sizeof error);
    free(owned);
    return *out ? check_target(*out, log) : refuse(CUDA_ERROR_INVALID_PTX, error, log);
}

static CUresult load(struct context *context, const void *image, const struct log *log,
                     struct module **out)
{
    CUresult rc = fail_now(FAIL_MODULE, context);
    struct ptx_module *ptx = NULL;
    if (!rc)
        rc = parse(image, log, &ptx);
    struct module *module = rc ? NULL : object_new(OBJECT_MODULE, sizeof *module, context, release);
    if (!module) {
        cache_give(ptx);
        return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
    }
    module->ptx = ptx;
    rc = place_variables(module);
    if (rc) {
        give_variables(module);
        object_retire(&module->object);
    }
    *out = module;
    return rc;
}

static CUresult load_call(void **out, const void *image, const struct log *log)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc && (!out || !image))
        rc = CUDA_ERROR_INVALID_VALUE;
    struct module *module = NULL;
    if (!rc)
        rc = load(context, image, log, &module);
    if (!rc)
        *out = object_handle(&module->object);
    return leave(rc);
}

CUresult cuModuleLoadData(CUmodule *out, const void *image)
{
    return load_call((void **)out, image, &(struct log){0});
}

CUresult cuModuleLoadFatBinary(CUmodule *out, const void *image)
{
    return load_call((void **)out, image, &(struct log){0});
}

CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int n, CUjit_option *options,
                            void **values)
{
    struct log log = log_of(n, options, values);
    return load_call((void **)out, image, &log);
}

CUresult cuLibraryLoadData(CUlibrary *out, const void *image, CUjit_option *options, void **values,
                           unsigned int n, CUlibraryOption *library_options, void **library_values,
                           unsigned int n_library)
{
    if (n_library && (!library_options || !library_values))
        image = NULL;
    struct log log = log_of(n, options, values);
    return load_call((void **)out, image, &log);
}

static CUresult enter_module(const void *handle, struct module **out)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct module *module = rc ? NULL : object_find(handle, OBJECT_MODULE);
    *out = module && module->object.context == context ? module : NULL;
    return !rc && !*out ? CUDA_ERROR_INVALID_HANDLE : rc;
}

/* Waits for the context's work first, which may still run the module's kernels. */
static CUresult unload(const void *handle)
{
    struct module *module;
    CUresult rc = enter_module(handle, &module);
    if (!rc)
        rc = capture_allows_unsafe();
    if (!rc)
        rc = queue_drain_context(module->object.context);
    if (!rc) {
        give_variables(module);
        functions_retire(module);
        object_retire(&module->object);
    }
    return leave(rc);
}

CUresult cuModuleUnload(CUmodule handle)
{
    return unload(handle);
}

CUresult cuLibraryUnload(CUlibrary handle)
{
    return unload(handle);
}

static CUresult get_global(CUdeviceptr *out, size_t *bytes, const void *handle, const char *name)
{
    struct module *module;
    CUresult rc = enter_module(handle, &module);
    if (!rc && (!name || (!out && !bytes)))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (rc)
        return leave(rc);
    rc = CUDA_ERROR_NOT_FOUND;
    for (uint32_t i = 0; rc && i < module->ptx->n_variable; i++) {
        const struct ptx_variable *variable = &module->ptx->variable[i];
        if (!is_in_memory(variable) || strcmp(variable->name, name) != 0)
            continue;
        if (out)
            *out = variable->address;
        if (bytes)
            *bytes = variable->bytes;
        rc = CUDA_SUCCESS;
    }
    return leave(rc);
}

CUresult cuModuleGetGlobal(CUdeviceptr *out, size_t *bytes, CUmodule module, const char *name)
{
    return get_global(out, bytes, module, name);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *out, size_t *bytes, CUlibrary library, const char *name)
{
    return get_global(out, bytes, library, name);
}

CUresult cuLibraryGetModule(CUmodule *out, CUlibrary library)
{
    struct module *module;
    CUresult rc = enter_module(library, &module);
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = object_handle(&module->object);
    return leave(rc);
}

static CUresult get_function(void **out, const void *handle, const char *name)
{
    struct module *module;
    CUresult rc = enter_module(handle, &module);
    if (!rc && (!out || !name))
        rc = CUDA_ERROR_INVALID_VALUE;
    struct function *function = NULL;
    if (!rc)
        rc = function_get(module, name, &function);
    if (!rc)
        *out = object_handle(&function->object);
    return leave(rc);
}

CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
    return get_function((void **)out, module, name);
}

CUresult cuLibraryGetKernel(CUkernel *out, CUlibrary library, const char *name)
{
    return get_function((void **)out, library, name);
}
