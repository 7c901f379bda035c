/* When queued work is done. Nothing is done before a call waits for it, and then only what it
 * needs; so work that was not waited for is missed, not luckily there. With a seed any stream
 * that may go on does, at random, also when a call only queues.
 *
 * A task may go on when it is the first of its stream, its gate is open, and the default
 * stream's rule allows it: that stream and those that were not made non-blocking do their work
 * in the order of the calls (CUDA Driver API, "Stream synchronization behavior"). What a task
 * waits for was queued before it, so there is no circle. */
#include "driver.h"

#include <stdlib.h>
#include <time.h>

#define EAGER 8 /* with a seed, one call of so many lets a task be done */

static void task_release(struct task *task)
{
    work_release(&task->work);
    object_drop(task->gate.owner);
    object_drop(task->signal.owner);
    free(task);
}

static struct task *pop(struct stream *stream)
{
    struct task *task = stream->first;
    stream->first = task->next;
    if (!stream->first)
        stream->last = &stream->first;
    return task;
}

void queue_drop(struct stream *stream)
{
    while (stream->first)
        task_release(pop(stream));
}

static bool is_open(const struct counter *gate)
{
    return !gate->owner || *gate->at >= gate->value;
}

/* The stream whose work raises a counter to a value; NULL: none will. */
static struct stream *signaller(const uint64_t *at, uint64_t value)
{
    for (struct stream *s = driver.streams; s; s = s->next)
        for (const struct task *t = s->first; t; t = t->next)
            if (t->signal.owner && t->signal.at == at && t->signal.value >= value)
                return s;
    return NULL;
}

/* Whether b's earlier work comes first for work of a. */
static bool are_ordered(const struct stream *a, const struct stream *b)
{
    return a != b && a->object.context == b->object.context &&
           ((a->legacy && !(b->flags & CU_STREAM_NON_BLOCKING)) ||
            (b->legacy && !(a->flags & CU_STREAM_NON_BLOCKING)));
}

static struct stream *earlier(const struct stream *stream)
{
    for (struct stream *s = driver.streams; s; s = s->next)
        if (are_ordered(stream, s) && s->first && s->first->order < stream->first->order)
            return s;
    return NULL;
}

static bool is_ready(const struct stream *stream)
{
    return stream->first && !stream->object.context->fault && is_open(&stream->first->gate) &&
           !earlier(stream);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void run_first(struct stream *stream)
{
    struct context *context = stream->object.context;
    struct task *task = pop(stream);
    if (stream->first && is_ready(stream))
        launch_early(&stream->first->work, &task->work, context);
    CUresult rc = work_run(&task->work, context, &stream->unfinished);
    if (rc)
        context_break(context, rc);
    else if (task->signal.owner)
        *task->signal.at = task->signal.value;
    if (!rc && task->record)
        task->record->time_ns = now_ns();
    task_release(task);
}

static struct stream *random_ready(void)
{
    struct stream *chosen = NULL;
    uint64_t n = 0;
    for (struct stream *s = driver.streams; s; s = s->next)
        if (is_ready(s) && driver_random() % ++n == 0)
            chosen = s;
    return chosen;
}

/* The stream that must move for this one to. CUDA_ERROR_LAUNCH_FAILED: what it waits for was
 * lost with another context. */
static CUresult needed(struct stream **stream)
{
    for (;;) {
        struct stream *s = *stream;
        if (s->object.context->fault)
            return s->object.context->fault;
        if (is_ready(s))
            return CUDA_SUCCESS;
        *stream = is_open(&s->first->gate) ? earlier(s)
                                           : signaller(s->first->gate.at, s->first->gate.value);
        if (!*stream)
            return context_break(s->object.context, CUDA_ERROR_LAUNCH_FAILED);
    }
}

CUresult queue_step(struct stream *stream)
{
    struct stream *chosen = driver.settings.seed ? random_ready() : NULL;
    if (!chosen) {
        chosen = stream;
        CUresult rc = needed(&chosen);
        if (rc)
            return rc;
    }
    run_first(chosen);
    return stream->object.context->fault;
}

CUresult queue_drain(struct stream *stream)
{
    CUresult rc = stream->object.context->fault;
    while (!rc && stream->first)
        rc = queue_step(stream);
    return rc;
}

CUresult queue_drain_context(struct context *context)
{
    CUresult rc = context->fault;
    for (struct stream *s = driver.streams; !rc && s; s = s->next)
        if (s->object.context == context)
            rc = queue_drain(s);
    return rc;
}

CUresult queue_advance(struct context *context, const uint64_t *counter, uint64_t value)
{
    struct stream *stream = signaller(counter, value);
    CUresult rc = stream ? queue_step(stream) : CUDA_ERROR_LAUNCH_FAILED;
    return context->fault ? context->fault : rc;
}

CUresult queue_task(struct stream *stream, struct task *task)
{
    struct task *queued = malloc(sizeof *queued);
    if (!queued) {
        work_release(&task->work);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *queued = *task;
    queued->next = NULL;
    queued->order = driver.order++;
    object_hold(queued->gate.owner);
    object_hold(queued->signal.owner);
    *stream->last = queued;
    stream->last = &queued->next;
    struct stream *eager =
        driver.settings.seed && driver_random() % EAGER == 0 ? random_ready() : NULL;
    if (eager)
        run_first(eager);
    return CUDA_SUCCESS;
}
