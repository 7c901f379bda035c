/* Contexts: the primary one of the device and those made on demand; which is current on a
 * thread; the error that ends one. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>

#define STACK_MOST 64 /* contexts pushed on a thread */

/* Handles, so that a context that another thread destroys is known to be dead. */
static _Thread_local void *stack[STACK_MOST];
static _Thread_local int n_stack;

static struct context *primary;
static unsigned primary_flags;
static uint32_t primary_retained;
static uint32_t last_id; /* of a context, for memory.h */

static const unsigned known_flags = CU_CTX_FLAGS_MASK;

CUresult context_break(struct context *context, CUresult code)
{
    if (!context->fault)
        context->fault = code;
    return context->fault;
}

CUresult enter_context(struct context **out, enum call call)
{
    *out = NULL;
    CUresult rc = enter();
    if (rc)
        return rc;
    void *handle = n_stack ? stack[n_stack - 1] : NULL;
    if (!handle)
        return CUDA_ERROR_INVALID_CONTEXT;
    struct context *context = object_find(handle, OBJECT_CONTEXT);
    if (!context)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (context->fault)
        return context->fault;
    *out = context;
    return call == CALL_UNSAFE ? capture_allows_unsafe() : CUDA_SUCCESS;
}

static void release(struct object *object)
{
    free(object);
}

static struct context *context_new(unsigned flags, bool is_primary)
{
    struct context *context = object_new(OBJECT_CONTEXT, sizeof *context, NULL, release);
    if (!context)
        return NULL;
    context->id = ++last_id;
    context->flags = flags;
    context->primary = is_primary;
    context->legacy = stream_new(context, CU_STREAM_DEFAULT, 0);
    if (!context->legacy) {
        object_retire(&context->object);
        return NULL;
    }
    context->legacy->legacy = true;
    driver.counts.contexts++;
    return context;
}

/* Work that was queued is done first, as on hardware. */
static void context_end(struct context *context)
{
    if (!context->fault)
        queue_drain_context(context);
    for (struct capture *c = driver.captures, *next; c; c = next) {
        next = c->next;
        if (c->origin->object.context == context)
            capture_abandon(c);
    }
    for (struct stream *s = driver.streams; s; s = s->next)
        if (s->object.context == context)
            queue_drop(s);
    uint64_t leaks = context->n_allocated + pinned_give_all(context);
    if (leaks) {
        fprintf(stderr, "gpu: a context was destroyed with %llu living allocations\n",
                (unsigned long long)leaks);
        driver.counts.leaks += leaks;
    }
    driver.counts.living -= leaks;
    driver.counts.contexts--;
    object_retire_all(context);
    memory_give_all(context->id);
    object_retire(&context->object);
}

static CUresult check_device(CUdevice device)
{
    return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device)
{
    CUresult rc = enter();
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = check_device(device);
    if (!rc && !primary) {
        primary = context_new(primary_flags, true);
        rc = primary ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!rc) {
        primary_retained++;
        *out = object_handle(&primary->object);
    }
    return leave(rc);
}

static void primary_end(void)
{
    context_end(primary);
    primary = NULL;
    primary_retained = 0;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CUresult rc = enter();
    if (!rc)
        rc = check_device(device);
    if (!rc && !primary)
        rc = CUDA_ERROR_INVALID_CONTEXT;
    if (!rc && --primary_retained == 0)
        primary_end();
    return leave(rc);
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    CUresult rc = enter();
    if (!rc)
        rc = check_device(device);
    if (!rc && primary)
        primary_end();
    return leave(rc);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active)
{
    CUresult rc = enter();
    if (!rc && (!flags || !active))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = check_device(device);
    if (!rc) {
        *flags = primary_flags;
        *active = primary != NULL;
    }
    return leave(rc);
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags)
{
    CUresult rc = enter();
    if (!rc && flags & ~known_flags)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = check_device(device);
    if (!rc)
        primary_flags = flags;
    return leave(rc);
}

static CUresult push(void *handle)
{
    if (n_stack == STACK_MOST)
        return CUDA_ERROR_INVALID_VALUE;
    stack[n_stack++] = handle;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate(CUcontext *out, CUctxCreateParams *params, unsigned int flags, CUdevice device)
{
    CUresult rc = enter();
    if (!rc && (!out || flags & ~known_flags))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = check_device(device);
    if (!rc && params && (params->numExecAffinityParams || params->cigParams))
        rc = CUDA_ERROR_NOT_SUPPORTED;
    if (!rc && n_stack == STACK_MOST)
        rc = CUDA_ERROR_INVALID_VALUE;
    struct context *context = rc ? NULL : context_new(flags, false);
    if (!rc && !context)
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc) {
        *out = object_handle(&context->object);
        rc = push(*out);
    }
    return leave(rc);
}

CUresult cuCtxDestroy(CUcontext handle)
{
    CUresult rc = enter();
    struct context *context = object_find(handle, OBJECT_CONTEXT);
    if (!rc && (!context || context->primary))
        rc = handle ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    if (!rc) {
        if (n_stack && stack[n_stack - 1] == handle)
            n_stack--;
        context_end(context);
    }
    return leave(rc);
}

CUresult cuCtxSetCurrent(CUcontext handle)
{
    CUresult rc = enter();
    if (!rc && handle && !object_find(handle, OBJECT_CONTEXT))
        rc = CUDA_ERROR_INVALID_CONTEXT;
    if (!rc && n_stack)
        n_stack--;
    if (!rc && handle)
        rc = push(handle);
    return leave(rc);
}

CUresult cuCtxGetCurrent(CUcontext *out)
{
    CUresult rc = enter();
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = n_stack ? stack[n_stack - 1] : NULL;
    return leave(rc);
}

CUresult cuCtxPushCurrent(CUcontext handle)
{
    CUresult rc = enter();
    if (!rc && !object_find(handle, OBJECT_CONTEXT))
        rc = handle ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = push(handle);
    return leave(rc);
}

CUresult cuCtxPopCurrent(CUcontext *out)
{
    CUresult rc = enter();
    if (!rc && !n_stack)
        rc = CUDA_ERROR_INVALID_CONTEXT;
    if (!rc) {
        n_stack--;
        if (out)
            *out = stack[n_stack];
    }
    return leave(rc);
}

static CUresult synchronize(struct context *context)
{
    driver.counts.syncs++;
    CUresult rc = fail_now(FAIL_SYNC, context);
    return rc ? rc : queue_drain_context(context);
}

CUresult cuCtxSynchronize(void)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_UNSAFE);
    if (!rc)
        rc = synchronize(context);
    return leave(rc);
}

/* A context by its handle; without one, the current. */
static CUresult enter_other(CUcontext handle, struct context **context, enum call call)
{
    if (!handle)
        return enter_context(context, call);
    CUresult rc = enter();
    *context = rc ? NULL : object_find(handle, OBJECT_CONTEXT);
    if (!rc && !*context)
        rc = CUDA_ERROR_INVALID_CONTEXT;
    if (!rc)
        rc = (*context)->fault;
    return !rc && call == CALL_UNSAFE ? capture_allows_unsafe() : rc;
}

CUresult cuCtxSynchronize_v2(CUcontext handle)
{
    struct context *context;
    CUresult rc = enter_other(handle, &context, CALL_UNSAFE);
    if (!rc)
        rc = synchronize(context);
    return leave(rc);
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    return cuCtxGetDevice_v2(device, NULL);
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext handle)
{
    struct context *context;
    CUresult rc = enter_other(handle, &context, CALL_SAFE);
    if (!rc && !device)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *device = 0;
    return leave(rc);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && least)
        *least = PRIORITY_LEAST;
    if (!rc && greatest)
        *greatest = PRIORITY_GREATEST;
    return leave(rc);
}
