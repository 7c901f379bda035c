/* Device memory, and what a pointer is. */
#include "driver.h"

/* Pinned memory is taken from the same place, but not from the device's bytes. */
static uint64_t bytes_used(void)
{
    return memory_used() - pinned_bytes();
}

static CUresult take(struct context *context, size_t bytes, CUdeviceptr *out)
{
    CUresult rc = fail_now(FAIL_ALLOC, context);
    if (rc)
        return rc;
    uint64_t used = bytes_used();
    bool fits = used <= driver.settings.memory && bytes <= driver.settings.memory - used;
    uint64_t address = fits ? memory_take(bytes, context->id) : 0;
    if (!address)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->n_allocated++;
    driver.counts.allocations++;
    driver.counts.living++;
    *out = address;
    return CUDA_SUCCESS;
}

/* Memory that cuMemFree may give back: the start of an allocation that is neither pinned nor a
 * variable of a module. */
static bool is_allocation(const struct context *context, uint64_t address)
{
    uint64_t base;
    size_t size;
    return memory_range(address, 1, context->id, &base, &size) && base == address &&
           !pinned_find(context, address, 1) && !module_owns(context, address);
}

static void note_free(struct context *context)
{
    context->n_allocated--;
    driver.counts.frees++;
    driver.counts.living--;
}

CUresult cuMemAlloc(CUdeviceptr *out, size_t bytes)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc && (!out || !bytes))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = take(context, bytes, out);
    return leave(rc);
}

/* Waits for the context's work, as the driver does; of NULL it is nothing. */
CUresult cuMemFree(CUdeviceptr address)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc && address) {
        rc = is_allocation(context, address) ? queue_drain_context(context)
                                             : CUDA_ERROR_INVALID_VALUE;
        if (!rc && !memory_give(address, context->id))
            rc = CUDA_ERROR_INVALID_VALUE; /* a free that was queued came first */
        if (!rc)
            note_free(context);
    }
    return leave(rc);
}

CUresult free_now(const struct work *work, struct context *context)
{
    if (!memory_give(work->address, context->id))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    note_free(context);
    return CUDA_SUCCESS;
}

/* The memory is there at once; that is within what stream order allows. */
CUresult cuMemAllocAsync(CUdeviceptr *out, size_t bytes, CUstream handle)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct stream *stream = rc ? NULL : stream_find(context, handle);
    if (!rc && (!out || !bytes))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && !stream)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && stream->capture)
        rc = capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (!rc)
        rc = take(context, bytes, out);
    return leave(rc);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct stream *stream = rc ? NULL : stream_find(context, handle);
    if (!rc && !stream)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && stream->capture)
        rc = capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (!rc && address && !is_allocation(context, address))
        rc = CUDA_ERROR_INVALID_VALUE;
    struct work work = {.kind = WORK_FREE, .address = address};
    if (!rc && address)
        rc = stream_submit(stream, &work);
    return leave(rc);
}

CUresult cuMemGetInfo(size_t *left, size_t *total)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && (!left || !total))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc) {
        uint64_t used = bytes_used();
        *total = driver.settings.memory;
        *left = used < *total ? *total - used : 0;
    }
    return leave(rc);
}

CUresult cuMemGetAddressRange(CUdeviceptr *out_base, size_t *out_size, CUdeviceptr address)
{
    uint64_t base;
    size_t size;
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && !memory_range(address, 1, context->id, &base, &size))
        rc = CUDA_ERROR_NOT_FOUND;
    if (!rc && out_base)
        *out_base = base;
    if (!rc && out_size)
        *out_size = size;
    return leave(rc);
}

/* What is known of an address, in whichever context it is. */
struct pointer {
    struct context *context;
    const struct pinned *pinned; /* NULL: device memory */
    uint64_t base;
    size_t size;
};

static bool find_pointer(uint64_t address, struct pointer *out)
{
    struct context *context = NULL;
    while ((context = object_next(OBJECT_CONTEXT, NULL, context))) {
        *out = (struct pointer){context, pinned_find(context, address, 1), 0, 0};
        if (out->pinned) {
            out->base = out->pinned->address;
            out->size = out->pinned->bytes;
            return true;
        }
        if (memory_range(address, 1, context->id, &out->base, &out->size))
            return true;
    }
    return false;
}

static CUresult describe(void *data, CUpointer_attribute attribute, CUdeviceptr address,
                         const struct pointer *pointer)
{
    bool mapped = !pointer->pinned || !pointer->pinned->registered;
    switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)data = object_handle(&pointer->context->object);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(CUmemorytype *)data = pointer->pinned ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)data = address;
        return mapped ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *(void **)data = (void *)(uintptr_t)address;
        return pointer->pinned ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)data = pointer->base;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)data = pointer->size;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
    struct pointer pointer;
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && (!data || !find_pointer(address, &pointer)))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = describe(data, attribute, address, &pointer);
    return leave(rc);
}
