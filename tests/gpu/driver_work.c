/* What streams and graphs execute: who owns what of it, and doing it. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static bool copy_bytes(uint8_t **at, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (copy && bytes)
        memcpy(copy, *at, bytes);
    *at = copy;
    return copy;
}

bool work_copy(struct work *to, const struct work *from)
{
    *to = *from;
    bool done = true;
    if (to->kind == WORK_KERNEL)
        done = copy_bytes(&to->kernel.param, to->kernel.function->ptx->param_bytes);
    if (to->kind == WORK_COPY && to->copy.staged)
        done = copy_bytes(&to->copy.staged, to->copy.width * to->copy.height);
    if (to->kind == WORK_LIBRARY)
        done = copy_bytes((uint8_t **)&to->library.arg, to->library.bytes);
    if (to->kind == WORK_KERNEL)
        to->kernel.ahead = NULL;
    if (!done)
        return false;
    if (to->kind == WORK_KERNEL)
        object_hold(&to->kernel.function->object);
    if (to->kind == WORK_GRAPH)
        object_hold(&to->exec->object);
    return true;
}

void work_release(struct work *work)
{
    if (work->kind == WORK_KERNEL) {
        launch_forget(work->kernel.ahead);
        free(work->kernel.param);
        object_drop(&work->kernel.function->object);
    }
    if (work->kind == WORK_COPY)
        free(work->copy.staged);
    if (work->kind == WORK_LIBRARY)
        free(work->library.arg);
    if (work->kind == WORK_GRAPH)
        object_drop(&work->exec->object);
    *work = (struct work){.kind = WORK_NOTHING};
}

static CUresult host_now(const struct work *work)
{
    in_host_function = true;
    work->host.function(work->host.data);
    in_host_function = false;
    return CUDA_SUCCESS;
}

CUresult work_run(struct work *work, struct context *context, struct unfinished *before)
{
    if (work->kind == WORK_NOTHING)
        return CUDA_SUCCESS;
    if (work->kind == WORK_KERNEL)
        return launch_now(work, context, before);
    before->n = 0; /* all else waits for all */
    switch (work->kind) {
    case WORK_NOTHING:
    case WORK_KERNEL:
        break;
    case WORK_COPY:
        return copy_now(work, context);
    case WORK_SET:
        return set_now(work, context);
    case WORK_HOST:
        return host_now(work);
    case WORK_LIBRARY:
        return library_now(work, context);
    case WORK_FREE:
        return free_now(work, context);
    case WORK_GRAPH:
        return exec_run(work->exec, context);
    }
    return CUDA_ERROR_UNKNOWN;
}
