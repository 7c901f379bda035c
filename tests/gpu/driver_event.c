/* Events. Each record has a number; the event is done when the last of them was executed. */
#include "driver.h"

#include <stdlib.h>

static void release(struct object *object)
{
    struct event *event = (struct event *)object;
    list_release(&event->nodes);
    free(event);
}

/* Events may be used from any context of the device, but recorded in their own alone. */
static CUresult enter_event(CUevent handle, struct context **context, struct event **out)
{
    CUresult rc = enter_context(context, CALL_SAFE);
    *out = rc ? NULL : object_find(handle, OBJECT_EVENT);
    return !rc && !*out ? CUDA_ERROR_INVALID_HANDLE : rc;
}

CUresult cuEventCreate(CUevent *out, unsigned int flags)
{
    const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc && (!out || flags & ~known))
        rc = out && flags & CU_EVENT_INTERPROCESS ? CUDA_ERROR_NOT_SUPPORTED
                                                  : CUDA_ERROR_INVALID_VALUE;
    if (!rc) {
        struct event *event = object_new(OBJECT_EVENT, sizeof *event, context, release);
        rc = event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        if (event) {
            event->flags = flags;
            *out = object_handle(&event->object);
        }
    }
    return leave(rc);
}

CUresult cuEventDestroy(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult rc = enter_event(handle, &context, &event);
    if (!rc)
        object_retire(&event->object);
    return leave(rc);
}

static CUresult record(struct stream *stream, struct event *event)
{
    CUresult rc = stream->legacy ? capture_allows_legacy(stream->object.context) : CUDA_SUCCESS;
    if (rc)
        return rc;
    if (stream->capture)
        return capture_record(stream, event);
    event->capture = 0;
    event->recorded++;
    struct task task = {.signal = {&event->object, &event->done, event->recorded}, .record = event};
    return queue_task(stream, &task);
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags)
{
    struct context *context;
    struct event *event;
    CUresult rc = enter_event(handle, &context, &event);
    struct stream *stream = rc ? NULL : stream_find(context, stream_handle);
    if (!rc && (!stream || event->object.context != context))
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && flags)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = record(stream, event);
    return leave(rc);
}

CUresult cuEventRecord(CUevent handle, CUstream stream)
{
    return cuEventRecordWithFlags(handle, stream, 0);
}

/* What host calls on an event need: it was not last recorded into a graph. */
static CUresult check_host_call(const struct event *event)
{
    return event->capture ? CUDA_ERROR_CAPTURED_EVENT : capture_allows_unsafe();
}

CUresult cuEventQuery(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult rc = enter_event(handle, &context, &event);
    if (!rc)
        rc = check_host_call(event);
    if (!rc && event->done < event->recorded) {
        rc = queue_advance(context, &event->done, event->recorded);
        rc = rc ? rc : CUDA_ERROR_NOT_READY;
    }
    return leave(rc);
}

CUresult cuEventSynchronize(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult rc = enter_event(handle, &context, &event);
    if (!rc)
        rc = check_host_call(event);
    if (!rc) {
        driver.counts.syncs++;
        rc = fail_now(FAIL_SYNC, context);
    }
    while (!rc && event->done < event->recorded)
        rc = queue_advance(context, &event->done, event->recorded);
    return leave(rc);
}

/* Times are those of the host that simulates, no property of a GPU. */
CUresult cuEventElapsedTime(float *ms, CUevent start_handle, CUevent end_handle)
{
    struct context *context;
    struct event *start, *end = object_find(end_handle, OBJECT_EVENT);
    CUresult rc = enter_event(start_handle, &context, &start);
    if (!rc && !ms)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && (!end || !start->recorded || !end->recorded ||
                (start->flags | end->flags) & CU_EVENT_DISABLE_TIMING))
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && (start->capture || end->capture))
        rc = CUDA_ERROR_CAPTURED_EVENT;
    if (!rc && (start->done < start->recorded || end->done < end->recorded))
        rc = CUDA_ERROR_NOT_READY;
    if (!rc)
        *ms = (float)((double)(int64_t)(end->time_ns - start->time_ns) / 1e6);
    return leave(rc);
}
