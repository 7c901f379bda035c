/* Memory of the device and pinned memory of the host, which the device reads by itself. */
#include "device.h"

#include <stdio.h>

static int32_t refuse(const struct device *device, CUresult result, uint64_t bytes,
                      const char *what, struct err *err)
{
    char text[BYTES_TEXT], sentence[96];
    (void)snprintf(sentence, sizeof sentence, "taking %s for %s", bytes_text(bytes, text), what);
    return driver_refuse(device->driver, result, sentence, err);
}

int32_t cuda_alloc(struct device *device, uint64_t bytes, const char *what, CUdeviceptr *out,
                   struct err *err)
{
    *out = 0;
    CUresult result = bytes ? device->driver->cuMemAlloc(out, bytes) : CUDA_SUCCESS;
    if (!result)
        return INFLIGHT_OK;
    *out = 0;
    return refuse(device, result, bytes, what, err);
}

void cuda_free(struct device *device, CUdeviceptr *memory)
{
    if (*memory)
        (void)device->driver->cuMemFree(*memory);
    *memory = 0;
}

int32_t cuda_alloc_pinned(struct device *device, size_t bytes, const char *what, void **out,
                          struct err *err)
{
    *out = NULL;
    CUresult result = device->driver->cuMemHostAlloc(out, bytes, 0);
    if (!result)
        return INFLIGHT_OK;
    *out = NULL;
    return refuse(device, result, bytes, what, err);
}

void cuda_free_pinned(struct device *device, void **memory)
{
    if (*memory)
        (void)device->driver->cuMemFreeHost(*memory);
    *memory = NULL;
}

void *cuda_take(struct device *device, size_t bytes)
{
    CUdeviceptr memory = 0;
    if (!cuda_enter(device))
        return NULL;
    (void)cuda_alloc(device, bytes, "weights", &memory, NULL);
    cuda_leave(device);
    return (void *)(uintptr_t)memory;
}

void cuda_give(struct device *device, void *memory, size_t bytes)
{
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)memory;
    (void)bytes;
    if (!cuda_enter(device))
        return;
    cuda_free(device, &at);
    cuda_leave(device);
}

/* Pinned: copies to pageable memory go through a buffer of the driver, several times slower. */
void *cuda_take_host(struct device *device, size_t bytes)
{
    void *memory = NULL;
    if (!cuda_enter(device))
        return NULL;
    (void)cuda_alloc_pinned(device, bytes, "logits", &memory, NULL);
    cuda_leave(device);
    return memory;
}

void cuda_give_host(struct device *device, void *memory, size_t bytes)
{
    (void)bytes;
    if (!cuda_enter(device))
        return;
    cuda_free_pinned(device, &memory);
    cuda_leave(device);
}

/* Copies are queued behind what the stream has, so they see what it wrote. */
static int32_t finish_copy(struct device *device, CUresult result)
{
    device->queued = true;
    int rc = cuda_wait(device);
    cuda_leave(device);
    return result || rc ? INFLIGHT_E_DEVICE : INFLIGHT_OK;
}

int32_t cuda_write(struct device *device, void *to, const void *from, size_t bytes)
{
    if (!bytes)
        return INFLIGHT_OK;
    if (!cuda_enter(device))
        return INFLIGHT_E_DEVICE;
    return finish_copy(device, device->driver->cuMemcpyHtoDAsync((CUdeviceptr)(uintptr_t)to, from,
                                                                 bytes, device->stream));
}

int32_t cuda_read(struct device *device, void *to, const void *from, size_t bytes)
{
    if (!bytes)
        return INFLIGHT_OK;
    if (!cuda_enter(device))
        return INFLIGHT_E_DEVICE;
    return finish_copy(device, device->driver->cuMemcpyDtoHAsync(to, (CUdeviceptr)(uintptr_t)from,
                                                                 bytes, device->stream));
}

/* What was recorded is queued first, since the copy is of what it writes. */
int cuda_fetch(struct lane *lane, void *to, const void *from, size_t bytes)
{
    struct device *device = lane->device;
    if (!bytes)
        return 0;
    if (graph_end(device, false))
        return INFLIGHT_E_DEVICE;
    CUresult result =
        device->driver->cuMemcpyDtoHAsync(to, (CUdeviceptr)(uintptr_t)from, bytes, device->stream);
    device->queued = true;
    device->failed = device->failed ? device->failed : result;
    return result ? INFLIGHT_E_DEVICE : 0;
}
