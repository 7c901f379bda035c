/* From a driver to a device that can step, and back: context, stream, kernels, memory. */
#include "device.h"

#include "dense.h"

#include <stdio.h>

#define ORDINAL 0 /* of the card */

static CUresult enter(const struct driver *driver, CUcontext context)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    CUresult result = driver->cuThreadExchangeStreamCaptureMode(&mode);
    return result ? result : driver->cuCtxPushCurrent(context);
}

bool cuda_enter(const struct device *device)
{
    return enter(device->driver, device->context) == CUDA_SUCCESS;
}

bool cuda_enter_step(struct device *device)
{
    if (device->lost)
        return false;
    CUresult result = enter(device->driver, device->context);
    device->lost = result;
    if (result)
        cuda_note_failure(device, result);
    return result == CUDA_SUCCESS;
}

void cuda_leave(const struct device *device)
{
    CUcontext context;
    (void)device->driver->cuCtxPopCurrent(&context);
}

int cuda_wait(struct device *device)
{
    if (!device->queued)
        return device->lost ? INFLIGHT_E_DEVICE : 0;
    device->queued = false;
    CUresult result = device->driver->cuStreamSynchronize(device->stream);
    if (result)
        device->lost = result;
    return device->lost ? INFLIGHT_E_DEVICE : 0;
}

/* ---- Finding */

static CUresult read_attributes(const struct driver *driver, struct device *device)
{
    int major = 0, minor = 0;
    const struct {
        int *to;
        CUdevice_attribute attribute;
    } rows[] = {
        {&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
        {&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
        {&device->n_sm, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
        {&device->shared_most, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
    };
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; !result && i < COUNT_OF(rows); i++)
        result = driver->cuDeviceGetAttribute(rows[i].to, rows[i].attribute, device->ordinal);
    device->capability = 10 * major + minor;
    return result;
}

static int32_t find_first(const struct driver *driver, struct device *device, struct err *err)
{
    int n = 0;
    CUresult result = driver->cuDeviceGetCount(&n);
    if (!result && n <= ORDINAL)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "the driver has no device");
    if (!result)
        result = driver->cuDeviceGet(&device->ordinal, ORDINAL);
    return result ? driver_refuse(driver, result, "asking the driver for a device", err)
                  : INFLIGHT_OK;
}

/* One that is not a context, or has an error, shows here. */
static int32_t find_by_context(const struct driver *driver, struct device *device, struct err *err)
{
    CUcontext context;
    CUresult result = enter(driver, device->config.cuda_context);
    if (!result) {
        result = driver->cuCtxGetDevice(&device->ordinal);
        (void)driver->cuCtxPopCurrent(&context);
    }
    return result ? driver_refuse(driver, result, "using the host's CUDA context", err)
                  : INFLIGHT_OK;
}

int32_t cuda_find_device(const struct driver *driver, struct device *device, struct err *err)
{
    char name[80] = "";
    if (device->config.cuda_context ? find_by_context(driver, device, err)
                                    : find_first(driver, device, err))
        return err->code;
    CUresult result = driver->cuDeviceGetName(name, sizeof name, device->ordinal);
    if (!result)
        result = read_attributes(driver, device);
    if (result)
        return driver_refuse(driver, result, "asking the driver about the device", err);
    if (device->capability < CAPABILITY_LEAST)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is sm_%d, at least sm_%d is needed", name,
                       device->capability, CAPABILITY_LEAST);
    (void)snprintf(device->description, sizeof device->description, "cuda %s (sm_%d, %d SMs)", name,
                   device->capability, device->n_sm);
    return INFLIGHT_OK;
}

/* The host's, or the one that all of the process shares; the host may have that already. */
static int32_t retain(struct device *device, struct err *err)
{
    device->context = device->config.cuda_context;
    if (device->context)
        return INFLIGHT_OK;
    CUresult result = device->driver->cuDevicePrimaryCtxRetain(&device->context, device->ordinal);
    if (result)
        device->context = NULL;
    return result ? driver_refuse(device->driver, result, "making a context", err) : INFLIGHT_OK;
}

static void release(struct device *device)
{
    if (device->context && !device->config.cuda_context)
        (void)device->driver->cuDevicePrimaryCtxRelease(device->ordinal);
    device->context = NULL;
}

static int32_t ask_free(struct device *device, uint64_t *bytes, struct err *err)
{
    size_t free = 0, total = 0;
    if (cuda_find_device(device->driver, device, err) || retain(device, err))
        return err->code;
    CUresult result = CUDA_ERROR_INVALID_CONTEXT;
    if (cuda_enter(device)) {
        result = device->driver->cuMemGetInfo(&free, &total);
        cuda_leave(device);
    }
    release(device);
    *bytes = free;
    return result ? driver_refuse(device->driver, result, "asking for free memory", err)
                  : INFLIGHT_OK;
}

int32_t cuda_free_bytes(const struct device_config *config, uint64_t *bytes, struct err *err)
{
    struct err unheard;
    struct driver driver;
    struct device device = {.driver = &driver, .config = *config};
    err = err ? err : &unheard;
    int32_t rc = driver_open(&driver, err);
    if (rc)
        return rc;
    rc = ask_free(&device, bytes, err);
    driver_close(&driver);
    return rc;
}

/* ---- Opening */

static int32_t open_stream(struct device *device, struct err *err)
{
    const struct driver *driver = device->driver;
    int least = 0, greatest = 0;
    CUresult result = driver->cuCtxGetStreamPriorityRange(&least, &greatest);
    /* What a host draws comes first, and does not wait for this stream nor this one for it. */
    if (!result)
        result = driver->cuStreamCreateWithPriority(&device->stream, CU_STREAM_NON_BLOCKING, least);
    return result ? driver_refuse(driver, result, "making a stream", err) : INFLIGHT_OK;
}

static int32_t load_modules(struct device *device, struct err *err)
{
    for (int i = 0; cuda_images[i].file; i++) {
        if (i == MODULES_MAX)
            return err_set(err, INFLIGHT_E_INTERNAL, "more than %d images of kernels", MODULES_MAX);
        CUresult result =
            device->driver->cuModuleLoadData(&device->module[i], cuda_images[i].image);
        if (result)
            return driver_refuse(device->driver, result, "loading kernels", err);
        device->n_module = i + 1;
    }
    return INFLIGHT_OK;
}

/* The file that a kernel is of (kernels.def), of several that could be the one with the longest
 * name; -1: there is none. */
static int file_of(const char *name)
{
    size_t longest = 0;
    int file = -1;
    for (int i = 0; cuda_images[i].file; i++) {
        const size_t len = strlen(cuda_images[i].file);
        if (len > longest && strncmp(name, cuda_images[i].file, len) == 0 &&
            (name[len] == '_' || name[len] == '\0')) {
            longest = len;
            file = i;
        }
    }
    return file;
}

static int32_t find_kernel(struct device *device, enum kernel kernel, const char *name,
                           struct err *err)
{
    const int file = file_of(name);
    CUresult result = CUDA_ERROR_NOT_FOUND;
    if (file >= 0)
        result = device->driver->cuModuleGetFunction(&device->kernel[kernel], device->module[file],
                                                     name);
    char what[64];
    (void)snprintf(what, sizeof what, "finding kernel %s", name);
    return result ? driver_refuse(device->driver, result, what, err) : INFLIGHT_OK;
}

/* Kernels wait for one another within themselves if they are compiled for sm_90 or later, which
 * depends on the images that are in this build and not on the card alone. */
static int32_t find_overlap(struct device *device, struct err *err)
{
    device->can_overlap = true;
    for (int i = 0; i < KERNEL_COUNT && device->can_overlap; i++) {
        int version = 0;
        CUresult result = device->driver->cuFuncGetAttribute(
            &version, CU_FUNC_ATTRIBUTE_PTX_VERSION, device->kernel[i]);
        if (result)
            return driver_refuse(device->driver, result, "asking what kernels are for", err);
        device->can_overlap = version >= CAPABILITY_OVERLAP;
    }
    return INFLIGHT_OK;
}

static int32_t find_kernels(struct device *device, struct err *err)
{
    static const char *const names[] = {
#define KERNEL(name) #name,
#include "kernels.def"
#undef KERNEL
    };
    for (int i = 0; i < KERNEL_COUNT; i++)
        if (find_kernel(device, (enum kernel)i, names[i], err))
            return err->code;
    return find_overlap(device, err);
}

/* None of it is cleared: no operation reads what none has written, but for the counters that
 * linear_open clears. */
static int32_t alloc_memory(struct device *device, struct err *err)
{
    const struct device_config *config = &device->config;
    struct step *step = &device->step;
    CUdeviceptr data = 0;
    device->kv_bytes = kv_page_bytes(config) * (uint64_t)config->kv_pages;
    device->linear_scratch_bytes = linear_scratch_bytes(config);
    device->attend_scratch_bytes = attend_scratch_bytes(config);
    step->bytes = step_bytes(config);
    if (cuda_alloc(device, device->kv_bytes, "key/value pages", &device->kv, err) ||
        cuda_alloc(device, device->linear_scratch_bytes, "scratch", &device->linear_scratch, err) ||
        cuda_alloc(device, device->attend_scratch_bytes, "scratch", &device->attend_scratch, err) ||
        cuda_alloc(device, step->bytes, "a step", &data, err))
        return err->code;
    step->data = data;
    for (int i = 0; i < 2; i++)
        if (cuda_alloc_pinned(device, step->bytes, "a step", &step->host[i], err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t fill_device(struct device *device, struct err *err)
{
    if (open_stream(device, err) || load_modules(device, err) || find_kernels(device, err) ||
        alloc_memory(device, err) || ahead_open(device, err) || graph_open(device, err) ||
        linear_open(device, err) || dense_open(device, err))
        return err->code;
    return attend_open(device, err);
}

static int32_t open_context(struct device *device, struct err *err)
{
    if (cuda_find_device(device->driver, device, err) || retain(device, err))
        return err->code;
    if (!cuda_enter(device))
        return err_set(err, INFLIGHT_E_DEVICE, "the context of %s cannot be used",
                       device->description);
    int32_t rc = fill_device(device, err);
    cuda_leave(device);
    return rc;
}

/* The device with its driver, in one piece. */
struct opened {
    struct device device; /* first */
    struct driver driver;
};

int32_t cuda_open_device(const struct device_config *config, const struct mem *mem,
                         struct device **out, struct err *err)
{
    struct err unheard;
    err = err ? err : &unheard;
    *out = NULL;
    struct opened *opened = mem_take_zeroed(mem, sizeof *opened, CACHE_LINE);
    if (!opened)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a device");
    struct device *device = &opened->device;
    device->config = *config;
    device->mem = mem;
    device->driver = &opened->driver;
    if (driver_open(&opened->driver, err) || open_context(device, err)) {
        cuda_close_device(device);
        return err->code;
    }
    *out = device;
    return INFLIGHT_OK;
}

/* ---- Closing */

/* With a lost device every call fails, which changes nothing: the context takes what it had
 * along when its last holder lets go. */
static void close_contents(struct device *device)
{
    const struct driver *driver = device->driver;
    CUdeviceptr step = device->step.data;
    if (device->stream)
        (void)driver->cuStreamSynchronize(device->stream);
    graph_close(device);
    dense_close(device);
    cuda_close_upload(device);
    ahead_close(device);
    for (int i = 0; i < 2; i++)
        cuda_free_pinned(device, &device->step.host[i]);
    cuda_free(device, &step);
    cuda_free(device, &device->attend_scratch);
    cuda_free(device, &device->linear_scratch);
    cuda_free(device, &device->kv);
    for (int i = 0; i < device->n_module; i++)
        (void)driver->cuModuleUnload(device->module[i]);
    if (device->stream)
        (void)driver->cuStreamDestroy(device->stream);
}

void cuda_close_device(struct device *device)
{
    if (!device)
        return;
    const struct mem *mem = device->mem;
    struct opened *opened = (struct opened *)(void *)device;
    if (device->context && cuda_enter(device)) {
        close_contents(device);
        cuda_leave(device);
    }
    graph_free(device);
    dense_free(device);
    cuda_free_upload(device);
    release(device);
    driver_close(&opened->driver);
    mem_give(mem, opened, sizeof *opened);
}

/* ---- Launching */

/* A kernel that follows another may begin before that one has ended (depend.cuh). The first of a
 * step follows copies, which it must not overtake: it is launched without. */

CUresult cuda_queue(struct device *device, enum kernel kernel, const struct grid *grid, void *args)
{
    void *params[] = {args};
    CUlaunchAttribute begins_early = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                      .value.programmaticStreamSerializationAllowed = 1};
    CUlaunchConfig config = {.gridDimX = grid->x,
                             .gridDimY = grid->y,
                             .gridDimZ = grid->z,
                             .blockDimX = grid->threads,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .sharedMemBytes = grid->shared,
                             .hStream = device->stream,
                             .attrs = &begins_early,
                             .numAttrs = device->can_overlap && device->after_kernel};
    device->queued = true;
    device->after_kernel = true;
    return device->driver->cuLaunchKernelEx(&config, device->kernel[kernel], params, NULL);
}

int cuda_launch(struct device *device, enum kernel kernel, struct grid grid, void *args)
{
    if (graph_record(device, (int32_t)kernel, &grid, args))
        return 0;
    CUresult result = cuda_queue(device, kernel, &grid, args);
    if (result && !device->failed)
        device->failed = result;
    return result ? INFLIGHT_E_DEVICE : 0;
}

int32_t cuda_allow_shared(struct device *device, enum kernel kernel, uint32_t bytes,
                          struct err *err)
{
    if (bytes > (uint32_t)device->shared_most)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "a kernel takes %u bytes of shared memory, %s has %d", bytes,
                       device->description, device->shared_most);
    CUresult result = device->driver->cuFuncSetAttribute(
        device->kernel[kernel], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes);
    return result ? driver_refuse(device->driver, result, "setting shared memory", err)
                  : INFLIGHT_OK;
}
