/* Streams. */
#include "driver.h"

#include <stdlib.h>

static void release(struct object *object)
{
    struct stream *stream = (struct stream *)object;
    struct stream **link = &driver.streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    queue_drop(stream);
    list_release(&stream->nodes);
    free(stream);
}

struct stream *stream_new(struct context *context, unsigned flags, int priority)
{
    struct stream *stream = object_new(OBJECT_STREAM, sizeof *stream, context, release);
    if (!stream)
        return NULL;
    stream->flags = flags;
    stream->priority = priority;
    stream->last = &stream->first;
    stream->next = driver.streams;
    driver.streams = stream;
    return stream;
}

struct stream *stream_find(struct context *context, CUstream handle)
{
    if (!handle || handle == CU_STREAM_LEGACY)
        return context->legacy;
    struct stream *stream = object_find(handle, OBJECT_STREAM);
    return stream && stream->object.context == context ? stream : NULL;
}

CUresult stream_submit(struct stream *stream, struct work *work)
{
    CUresult rc = stream->legacy ? capture_allows_legacy(stream->object.context) : CUDA_SUCCESS;
    if (rc) {
        work_release(work);
        return rc;
    }
    if (stream->capture)
        return capture_add(stream, work);
    struct task task = {.work = *work};
    return queue_task(stream, &task);
}

/* The call's context, and its stream in that context. */
static CUresult enter_stream(CUstream handle, struct stream **out)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    *out = rc ? NULL : stream_find(context, handle);
    return !rc && !*out ? CUDA_ERROR_INVALID_HANDLE : rc;
}

CUresult cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && (!out || flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc) {
        int clamped = priority < PRIORITY_GREATEST ? PRIORITY_GREATEST
                      : priority > PRIORITY_LEAST  ? PRIORITY_LEAST
                                                   : priority;
        struct stream *stream = stream_new(context, flags, clamped);
        rc = stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        if (stream)
            *out = object_handle(&stream->object);
    }
    return leave(rc);
}

CUresult cuStreamCreate(CUstream *out, unsigned int flags)
{
    return cuStreamCreateWithPriority(out, flags, 0);
}

/* Its work is done first: the driver lets it end in its own time. */
CUresult cuStreamDestroy(CUstream handle)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc && stream->legacy)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && stream->capture)
        capture_abandon(stream->capture);
    if (!rc) {
        rc = queue_drain(stream);
        object_retire(&stream->object);
    }
    return leave(rc);
}

CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc && !priority)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *priority = stream->priority;
    return leave(rc);
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc && !flags)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *flags = stream->flags;
    return leave(rc);
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *out)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *out = object_handle(&stream->object.context->object);
    return leave(rc);
}

CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext *out, CUgreenCtx *green)
{
    CUresult rc = cuStreamGetCtx(handle, out);
    if (!rc && green)
        *green = NULL;
    return rc;
}

/* Neither may be asked of a stream that is captured, nor, during a capture, of another. */
static CUresult check_idle_call(struct stream *stream)
{
    if (stream->capture)
        return capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUresult rc = stream->legacy ? capture_allows_legacy(stream->object.context) : CUDA_SUCCESS;
    return rc ? rc : capture_allows_unsafe();
}

/* Each call lets a task be done, so that a loop of them ends. */
CUresult cuStreamQuery(CUstream handle)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc)
        rc = check_idle_call(stream);
    if (!rc && stream->first) {
        rc = queue_step(stream);
        rc = rc ? rc : CUDA_ERROR_NOT_READY;
    }
    return leave(rc);
}

CUresult cuStreamSynchronize(CUstream handle)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc)
        rc = check_idle_call(stream);
    if (!rc) {
        driver.counts.syncs++;
        rc = fail_now(FAIL_SYNC, stream->object.context);
    }
    if (!rc)
        rc = queue_drain(stream);
    return leave(rc);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    if (!rc && !function)
        rc = CUDA_ERROR_INVALID_VALUE;
    struct work work = {.kind = WORK_HOST, .host = {function, data}};
    if (!rc)
        rc = stream_submit(stream, &work);
    return leave(rc);
}

/* An event that was never recorded is waited for by nobody. */
CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &stream);
    struct event *event = object_find(event_handle, OBJECT_EVENT);
    if (!rc && !event)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && flags)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && stream->legacy)
        rc = capture_allows_legacy(stream->object.context);
    if (!rc && (stream->capture || event->capture))
        rc = capture_wait(stream, event);
    else if (!rc && event->done < event->recorded) {
        struct task task = {.gate = {&event->object, &event->done, event->recorded}};
        rc = queue_task(stream, &task);
    }
    return leave(rc);
}
