#include "jobs.h"

#include "../../plugin/base/thread.h"

#include <stdatomic.h>

struct jobs {
    job *body;
    void *arg;
    int64_t n;
    _Atomic int64_t next;
};

struct worker {
    struct jobs *jobs;
    int32_t number;
};

static void *work(void *arg)
{
    const struct worker *w = arg;
    struct jobs *jobs = w->jobs;
    for (int64_t piece; (piece = atomic_fetch_add(&jobs->next, 1)) < jobs->n;)
        jobs->body(jobs->arg, piece, w->number);
    return NULL;
}

void jobs_run(int32_t threads, int64_t n, job *body, void *arg)
{
    struct jobs jobs = {.body = body, .arg = arg, .n = n};
    struct worker worker[JOB_THREADS_MOST];
    struct thread thread[JOB_THREADS_MOST] = {{0}};
    const int32_t most = (int32_t)MIN(MIN(threads, JOB_THREADS_MOST), n);
    struct err ignored = {0};
    for (int32_t i = 1; i < most; i++) {
        worker[i] = (struct worker){&jobs, i};
        (void)thread_start(&thread[i], "quantize", work, &worker[i], &ignored);
    }
    worker[0] = (struct worker){&jobs, 0};
    (void)work(&worker[0]);
    for (int32_t i = 1; i < most; i++)
        thread_join(&thread[i]);
}
