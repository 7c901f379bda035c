/* Graphs, and executable ones. Nodes are in an order in which they may be executed, since a
 * node is captured after those it waits for; with a seed, another such order is taken. */
#include "driver.h"

#include <stdlib.h>

void nodes_release(struct nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->n; i++) {
        work_release(&nodes->node[i].work);
        list_release(&nodes->node[i].after);
    }
    free(nodes->node);
    *nodes = (struct nodes){0};
}

bool nodes_copy(struct nodes *to, const struct nodes *from)
{
    *to = (struct nodes){.node = calloc(from->n + 1, sizeof *to->node), .capacity = from->n + 1};
    for (uint32_t i = 0; to->node && i < from->n; i++) {
        struct node *node = &to->node[i];
        if (!work_copy(&node->work, &from->node[i].work)) {
            node->work = (struct work){.kind = WORK_NOTHING};
            break;
        }
        to->n++;
        if (!list_copy(&node->after, &from->node[i].after))
            break;
    }
    if (to->node && to->n == from->n)
        return true;
    nodes_release(to);
    return false;
}

static void release_graph(struct object *object)
{
    nodes_release(&((struct graph *)object)->nodes);
    free(object);
}

static void release_exec(struct object *object)
{
    nodes_release(&((struct exec *)object)->nodes);
    free(object);
}

struct graph *graph_new(struct context *context)
{
    return object_new(OBJECT_GRAPH, sizeof(struct graph), context, release_graph);
}

/* Of what may be executed next, the seed's choice or the first. */
static uint32_t choose(const struct nodes *nodes, const bool *done)
{
    uint32_t chosen = 0;
    uint64_t n = 0;
    for (uint32_t i = 0; i < nodes->n; i++) {
        bool ready = !done[i];
        for (uint32_t k = 0; ready && k < nodes->node[i].after.n; k++)
            ready = done[nodes->node[i].after.node[k]];
        if (!ready)
            continue;
        if (!driver.settings.seed)
            return i;
        if (driver_random() % ++n == 0)
            chosen = i;
    }
    return chosen;
}

/* Capture makes an edge between two kernels programmatic if the later one begins early (CUDA C++
 * Programming Guide 13.0, "Use in CUDA Graphs"). */
static CUresult run_node(struct nodes *nodes, uint32_t i, struct context *context,
                         struct unfinished *after)
{
    const struct node_list *before = &nodes->node[i].after;
    struct node *next = i + 1 < nodes->n ? &nodes->node[i + 1] : NULL;
    if (before->n == 1)
        after[i] = after[before->node[0]];
    if (next && next->after.n == 1 && next->after.node[0] == i)
        launch_early(&next->work, &nodes->node[i].work, context);
    return work_run(&nodes->node[i].work, context, &after[i]);
}

CUresult exec_run(struct exec *exec, struct context *context)
{
    struct nodes *nodes = &exec->nodes;
    bool *done = calloc(nodes->n + 1, sizeof *done);
    struct unfinished *after = calloc(nodes->n + 1, sizeof *after); /* (n) each node */
    CUresult rc = done && after ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t n = 0; !rc && n < nodes->n; n++) {
        uint32_t i = driver.settings.seed ? choose(nodes, done) : n;
        rc = run_node(nodes, i, context, after);
        done[i] = true;
    }
    for (uint32_t i = 0; rc && i < nodes->n; i++)
        if (nodes->node[i].work.kind == WORK_KERNEL) {
            launch_forget(nodes->node[i].work.kernel.ahead);
            nodes->node[i].work.kernel.ahead = NULL;
        }
    free(after);
    free(done);
    return rc;
}

/* The call's context, and an object of it. A graph that is still captured is not complete. */
static CUresult enter_object(const void *handle, enum object_kind kind, void *out)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct object *object = rc ? NULL : object_find(handle, kind);
    if (!rc && (!object || object->context != context))
        rc = CUDA_ERROR_INVALID_VALUE;
    for (const struct capture *c = driver.captures; !rc && c; c = c->next)
        if (object == &c->graph->object)
            rc = CUDA_ERROR_INVALID_VALUE;
    *(struct object **)out = rc ? NULL : object;
    return rc;
}

static CUresult instantiate(const struct graph *graph, struct exec **out)
{
    struct exec *exec = object_new(OBJECT_EXEC, sizeof *exec, graph->object.context, release_exec);
    if (!exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!nodes_copy(&exec->nodes, &graph->nodes)) {
        object_retire(&exec->object);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = exec;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate(CUgraphExec *out, CUgraph handle, unsigned long long flags)
{
    const unsigned long long known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                                     CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    struct graph *graph;
    CUresult rc = enter_object(handle, OBJECT_GRAPH, &graph);
    if (!rc && (!out || flags & ~known))
        rc = CUDA_ERROR_INVALID_VALUE;
    struct exec *exec = NULL;
    if (!rc)
        rc = instantiate(graph, &exec);
    if (!rc)
        *out = object_handle(&exec->object);
    return leave(rc);
}

CUresult cuGraphDestroy(CUgraph handle)
{
    struct graph *graph;
    CUresult rc = enter_object(handle, OBJECT_GRAPH, &graph);
    if (!rc)
        object_retire(&graph->object);
    return leave(rc);
}

CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    struct exec *exec;
    CUresult rc = enter_object(handle, OBJECT_EXEC, &exec);
    if (!rc)
        object_retire(&exec->object);
    return leave(rc);
}

/* The number of nodes; they have no handles, see cuStreamGetCaptureInfo. */
CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *n)
{
    struct graph *graph;
    CUresult rc = enter_object(handle, OBJECT_GRAPH, &graph);
    if (!rc && !n)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && nodes)
        rc = CUDA_ERROR_NOT_SUPPORTED;
    if (!rc)
        *n = graph->nodes.n;
    return leave(rc);
}

/* Launches of one graph run one after the other, in whatever streams. */
static CUresult launch(struct exec *exec, struct stream *stream)
{
    struct task task = {.work = {.kind = WORK_GRAPH, .exec = exec},
                        .gate = {&exec->object, &exec->done, exec->launched},
                        .signal = {&exec->object, &exec->done, exec->launched + 1}};
    object_hold(&exec->object);
    if (stream->capture)
        return capture_add(stream, &task.work);
    CUresult rc = queue_task(stream, &task);
    if (!rc) {
        exec->launched++;
        driver.counts.graph_launches++;
    }
    return rc;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle)
{
    struct exec *exec;
    CUresult rc = enter_object(handle, OBJECT_EXEC, &exec);
    struct context *context = rc ? NULL : exec->object.context;
    struct stream *stream = rc ? NULL : stream_find(context, stream_handle);
    if (!rc && !stream)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc && stream->legacy)
        rc = capture_allows_legacy(context);
    if (!rc)
        rc = fail_now(FAIL_GRAPH, context);
    if (!rc)
        rc = launch(exec, stream);
    return leave(rc);
}

/* There is nothing to be made ready. */
CUresult cuGraphUpload(CUgraphExec handle, CUstream stream_handle)
{
    struct exec *exec;
    CUresult rc = enter_object(handle, OBJECT_EXEC, &exec);
    if (!rc && !stream_find(exec->object.context, stream_handle))
        rc = CUDA_ERROR_INVALID_HANDLE;
    return leave(rc);
}

static bool same_list(const struct node_list *a, const struct node_list *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = a->node[i] == b->node[i];
    return same;
}

/* What an update may change: parameters, sizes, addresses. Not: nodes, their kinds, their order,
 * and, here, their functions. */
static CUgraphExecUpdateResult compare(const struct nodes *a, const struct nodes *b)
{
    if (a->n != b->n)
        return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct node *x = &a->node[i], *y = &b->node[i];
        if (x->work.kind != y->work.kind)
            return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        if (!same_list(&x->after, &y->after))
            return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        if (x->work.kind == WORK_KERNEL && x->work.kernel.function != y->work.kernel.function)
            return CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED;
    }
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

/* Launches that are queued run with what the graph was: they are done first. */
static CUresult update(struct exec *exec, const struct graph *graph)
{
    struct nodes nodes;
    CUresult rc = CUDA_SUCCESS;
    while (!rc && exec->done < exec->launched)
        rc = queue_advance(exec->object.context, &exec->done, exec->launched);
    if (!rc && !nodes_copy(&nodes, &graph->nodes))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc) {
        nodes_release(&exec->nodes);
        exec->nodes = nodes;
    }
    return rc;
}

CUresult cuGraphExecUpdate(CUgraphExec handle, CUgraph graph_handle,
                           CUgraphExecUpdateResultInfo *out)
{
    struct exec *exec;
    CUresult rc = enter_object(handle, OBJECT_EXEC, &exec);
    struct graph *graph = object_find(graph_handle, OBJECT_GRAPH);
    if (!rc && (!graph || !out || graph->object.context != exec->object.context))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (rc)
        return leave(rc);
    *out = (CUgraphExecUpdateResultInfo){.result = compare(&exec->nodes, &graph->nodes)};
    rc = out->result == CU_GRAPH_EXEC_UPDATE_SUCCESS ? update(exec, graph)
                                                     : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    return leave(rc);
}
