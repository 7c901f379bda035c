/* Stream capture: calls on a stream become nodes of a graph in place of work. A stream joins a
 * capture by waiting for an event that was recorded in it, and must be waited for in turn by
 * the stream where the capture began.
 *
 * What may not be called meanwhile, and with which error: CUDA Driver API, cuStreamBeginCapture,
 * cuThreadExchangeStreamCaptureMode; CUDA C++ Programming Guide 13.0, "Prohibited and Unhandled
 * Operations". */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static uint64_t last_id;
static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

bool list_add(struct node_list *list, uint32_t node)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (list->node[i] == node)
            return true;
    if (list->n == list->capacity) {
        uint32_t capacity = list->capacity ? 2 * list->capacity : 4;
        uint32_t *grown = realloc(list->node, capacity * sizeof *grown);
        if (!grown)
            return false;
        list->node = grown;
        list->capacity = capacity;
    }
    list->node[list->n++] = node;
    return true;
}

static bool list_merge(struct node_list *to, const struct node_list *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        if (!list_add(to, from->node[i]))
            return false;
    return true;
}

bool list_copy(struct node_list *to, const struct node_list *from)
{
    to->n = 0;
    return list_merge(to, from);
}

void list_release(struct node_list *list)
{
    free(list->node);
    *list = (struct node_list){0};
}

CUresult capture_invalidate(struct stream *stream, CUresult code)
{
    stream->capture->invalid = true;
    return code;
}

CUresult capture_allows_unsafe(void)
{
    CUresult rc = CUDA_SUCCESS;
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return rc;
    for (struct capture *c = driver.captures; c; c = c->next) {
        bool mine = pthread_equal(c->thread, pthread_self());
        bool others = thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                      c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (c->mode == CU_STREAM_CAPTURE_MODE_RELAXED || !(mine || others))
            continue;
        c->invalid = true;
        rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return rc;
}

CUresult capture_allows_legacy(const struct context *context)
{
    CUresult rc = CUDA_SUCCESS;
    for (struct stream *s = driver.streams; s; s = s->next)
        if (s->object.context == context && s->capture && !(s->flags & CU_STREAM_NON_BLOCKING))
            rc = capture_invalidate(s, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    return rc;
}

static struct node *add_node(struct nodes *nodes)
{
    if (nodes->n == nodes->capacity) {
        uint32_t capacity = nodes->capacity ? 2 * nodes->capacity : 64;
        struct node *grown = realloc(nodes->node, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        nodes->node = grown;
        nodes->capacity = capacity;
    }
    struct node *node = &nodes->node[nodes->n];
    *node = (struct node){0};
    return node;
}

CUresult capture_add(struct stream *stream, struct work *work)
{
    struct capture *capture = stream->capture;
    if (capture->invalid) {
        work_release(work);
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    if (work->kind == WORK_GRAPH || work->kind == WORK_FREE) {
        work_release(work);
        return capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    struct nodes *nodes = &capture->graph->nodes;
    struct node *node = add_node(nodes);
    if (!node || !list_copy(&node->after, &stream->nodes)) {
        work_release(work);
        return capture_invalidate(stream, CUDA_ERROR_OUT_OF_MEMORY);
    }
    node->work = *work;
    stream->nodes.n = 0;
    return list_add(&stream->nodes, nodes->n++)
               ? CUDA_SUCCESS
               : capture_invalidate(stream, CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult capture_record(struct stream *stream, struct event *event)
{
    if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!list_copy(&event->nodes, &stream->nodes))
        return capture_invalidate(stream, CUDA_ERROR_OUT_OF_MEMORY);
    event->capture = stream->capture->id;
    return CUDA_SUCCESS;
}

static struct capture *find_capture(uint64_t id)
{
    struct capture *capture = driver.captures;
    while (capture && capture->id != id)
        capture = capture->next;
    return capture;
}

/* Work that is not captured is no part of a graph, so a captured stream cannot wait for it. */
CUresult capture_wait(struct stream *stream, struct event *event)
{
    if (stream->capture && stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!event->capture)
        return event->recorded ? capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
                               : CUDA_SUCCESS;
    struct capture *capture = find_capture(event->capture);
    if (!capture)
        return stream->capture ? capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
                               : CUDA_ERROR_CAPTURED_EVENT;
    if (capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->legacy) {
        capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    if (stream->capture && stream->capture != capture) {
        capture->invalid = true;
        return capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    stream->capture = capture;
    return list_merge(&stream->nodes, &event->nodes)
               ? CUDA_SUCCESS
               : capture_invalidate(stream, CUDA_ERROR_OUT_OF_MEMORY);
}

/* Takes the capture off its streams and forgets it, but for the graph. */
static void close_capture(struct capture *capture)
{
    for (struct stream *s = driver.streams; s; s = s->next)
        if (s->capture == capture) {
            s->capture = NULL;
            s->nodes.n = 0;
        }
    struct capture **link = &driver.captures;
    while (*link != capture)
        link = &(*link)->next;
    *link = capture->next;
    free(capture);
}

void capture_abandon(struct capture *capture)
{
    object_retire(&capture->graph->object);
    close_capture(capture);
}

/* Whether all that was captured comes before the end of the origin stream. */
static bool is_joined(const struct capture *capture)
{
    const struct nodes *nodes = &capture->graph->nodes;
    const struct node_list *end = &capture->origin->nodes;
    bool *reached = calloc(nodes->n + 1, sizeof *reached), all = reached;
    for (uint32_t i = 0; reached && i < end->n; i++)
        reached[end->node[i]] = true;
    for (uint32_t i = nodes->n; reached && i-- > 0;) {
        all = all && reached[i];
        for (uint32_t k = 0; reached[i] && k < nodes->node[i].after.n; k++)
            reached[nodes->node[i].after.node[k]] = true;
    }
    free(reached);
    return all;
}

static CUresult begin(struct stream *stream, CUstreamCaptureMode mode)
{
    if (stream->legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    struct capture *capture = calloc(1, sizeof *capture);
    struct graph *graph = capture ? graph_new(stream->object.context) : NULL;
    if (!graph) {
        free(capture);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *capture = (struct capture){.next = driver.captures,
                                .id = ++last_id,
                                .origin = stream,
                                .graph = graph,
                                .mode = mode,
                                .thread = pthread_self()};
    driver.captures = capture;
    stream->capture = capture;
    stream->nodes.n = 0;
    return CUDA_SUCCESS;
}

/* The call's context, and its stream in that context. */
static CUresult enter_stream(CUstream handle, const void *out, struct stream **stream)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    *stream = rc ? NULL : stream_find(context, handle);
    if (!rc && !*stream)
        rc = CUDA_ERROR_INVALID_HANDLE;
    return !rc && !out ? CUDA_ERROR_INVALID_VALUE : rc;
}

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, &mode, &stream);
    if (!rc && ((int)mode < 0 || mode > CU_STREAM_CAPTURE_MODE_RELAXED))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        rc = begin(stream, mode);
    return leave(rc);
}

static CUresult end(struct stream *stream, CUgraph *out)
{
    struct capture *capture = stream->capture;
    if (!capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    if (capture->origin != stream)
        return capture_invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CUresult rc = fail_now(FAIL_CAPTURE, stream->object.context);
    if (!rc && capture->invalid)
        rc = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!rc && !is_joined(capture))
        rc = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    if (rc) {
        capture_abandon(capture);
        return rc;
    }
    *out = object_handle(&capture->graph->object);
    driver.counts.captures++;
    close_capture(capture);
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *out)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, out, &stream);
    if (!rc) {
        *out = NULL;
        rc = end(stream, out);
    }
    return leave(rc);
}

static CUstreamCaptureStatus status_of(const struct stream *stream)
{
    return !stream->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
           : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                      : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *out)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, out, &stream);
    if (!rc && stream->legacy)
        rc = capture_allows_legacy(stream->object.context);
    if (!rc)
        *out = status_of(stream);
    return leave(rc);
}

/* Graphs are not edited here, so their nodes have no handles to give out. */
CUresult cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus *out, cuuint64_t *id,
                                CUgraph *graph, const CUgraphNode **nodes,
                                const CUgraphEdgeData **edges, size_t *n_node)
{
    struct stream *stream;
    CUresult rc = enter_stream(handle, out, &stream);
    if (!rc && stream->legacy)
        rc = capture_allows_legacy(stream->object.context);
    if (!rc && (nodes || edges))
        rc = CUDA_ERROR_NOT_SUPPORTED;
    if (rc)
        return leave(rc);
    *out = status_of(stream);
    if (id && *out == CU_STREAM_CAPTURE_STATUS_ACTIVE)
        *id = stream->capture->id;
    if (graph && *out == CU_STREAM_CAPTURE_STATUS_ACTIVE)
        *graph = object_handle(&stream->capture->graph->object);
    if (n_node)
        *n_node = stream->nodes.n;
    return leave(CUDA_SUCCESS);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    CUresult rc = enter();
    if (!rc && (!mode || (int)*mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc) {
        CUstreamCaptureMode before = thread_mode;
        thread_mode = *mode;
        *mode = before;
    }
    return leave(rc);
}
