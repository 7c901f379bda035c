/* Pinned host memory. What the driver allocates is the device's own memory (a device pointer is
 * a host pointer here), so that kernels may read and write it in place; what a caller registers
 * is known for copies alone. */
#include "driver.h"

#include <stdlib.h>

static uint64_t total_bytes; /* of all contexts, without the registered */

uint64_t pinned_bytes(void)
{
    return total_bytes;
}

struct pinned *pinned_find(const struct context *context, uint64_t address, size_t bytes)
{
    for (struct pinned *p = context->pinned; p; p = p->next)
        if (address >= p->address && bytes <= p->bytes && address - p->address <= p->bytes - bytes)
            return p;
    return NULL;
}

static bool overlaps(const struct context *context, uint64_t address, size_t bytes)
{
    for (const struct pinned *p = context->pinned; p; p = p->next)
        if (address < p->address + p->bytes && p->address < address + bytes)
            return true;
    return false;
}

static struct pinned *find_start(const struct context *context, const void *start, bool registered)
{
    struct pinned *p = pinned_find(context, (uint64_t)(uintptr_t)start, 1);
    bool is_it = p && p->address == (uint64_t)(uintptr_t)start && p->registered == registered;
    return is_it ? p : NULL;
}

static void remove_pinned(struct context *context, struct pinned *pinned)
{
    struct pinned **link = &context->pinned;
    while (*link != pinned)
        link = &(*link)->next;
    *link = pinned->next;
    if (!pinned->registered) {
        memory_give(pinned->address, context->id);
        total_bytes -= pinned->bytes;
    }
    free(pinned);
}

uint64_t pinned_give_all(struct context *context)
{
    uint64_t n = 0;
    for (; context->pinned; n++)
        remove_pinned(context, context->pinned);
    return n;
}

static CUresult add(struct context *context, uint64_t address, size_t bytes, unsigned flags,
                    bool registered)
{
    struct pinned *pinned = malloc(sizeof *pinned);
    if (!pinned)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *pinned = (struct pinned){context->pinned, address, bytes, flags, registered};
    context->pinned = pinned;
    driver.counts.host_allocations++;
    driver.counts.living++;
    return CUDA_SUCCESS;
}

/* The host may write it without the driver's knowledge: all of it counts as written. */
static CUresult take(struct context *context, size_t bytes, unsigned flags, void **out)
{
    CUresult rc = fail_now(FAIL_HOST, context);
    uint64_t address = rc ? 0 : memory_take(bytes, context->id);
    if (!rc && (!address || !memory_set(address, 0, 1, bytes, context->id)))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc)
        rc = add(context, address, bytes, flags, false);
    if (rc && address)
        memory_give(address, context->id);
    if (!rc) {
        total_bytes += bytes;
        *out = (void *)(uintptr_t)address;
    }
    return rc;
}

static CUresult host_alloc(void **out, size_t bytes, unsigned flags)
{
    const unsigned known =
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc && (!out || !bytes || flags & ~known))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = take(context, bytes, flags, out);
    return leave(rc);
}

CUresult cuMemAllocHost(void **out, size_t bytes)
{
    return host_alloc(out, bytes, 0);
}

CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    return host_alloc(out, bytes, flags);
}

/* Work that may still use the memory is done first, as the driver does. */
static CUresult host_free(void *memory, bool registered, CUresult not_found)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    struct pinned *pinned = rc ? NULL : find_start(context, memory, registered);
    if (!rc && !pinned)
        rc = memory ? not_found : CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = queue_drain_context(context);
    if (!rc) {
        remove_pinned(context, pinned);
        driver.counts.living--;
    }
    return leave(rc);
}

CUresult cuMemFreeHost(void *memory)
{
    return host_free(memory, false, CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemHostUnregister(void *memory)
{
    return host_free(memory, true, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

CUresult cuMemHostRegister(void *memory, size_t bytes, unsigned int flags)
{
    const unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;
    uint64_t address = (uint64_t)(uintptr_t)memory, base;
    size_t size;
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc && (!memory || !bytes || bytes > UINT64_MAX - address))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && flags & ~known)
        rc = flags & CU_MEMHOSTREGISTER_READ_ONLY ? CUDA_ERROR_NOT_SUPPORTED
                                                  : CUDA_ERROR_INVALID_VALUE;
    if (!rc && overlaps(context, address, bytes))
        rc = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    if (!rc && memory_range(address, 1, context->id, &base, &size))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = fail_now(FAIL_HOST, context);
    if (!rc)
        rc = add(context, address, bytes, flags, true);
    return leave(rc);
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *out, void *memory, unsigned int flags)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct pinned *pinned = rc ? NULL : pinned_find(context, (uint64_t)(uintptr_t)memory, 1);
    if (!rc && (!out || !pinned || flags))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && pinned->registered)
        rc = CUDA_ERROR_NOT_SUPPORTED;
    if (!rc)
        *out = (uint64_t)(uintptr_t)memory;
    return leave(rc);
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *memory)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct pinned *pinned = rc ? NULL : pinned_find(context, (uint64_t)(uintptr_t)memory, 1);
    if (!rc && (!flags || !pinned))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *flags = pinned->flags;
    return leave(rc);
}
