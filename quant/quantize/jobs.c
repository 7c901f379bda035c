#include "jobs.h"

#include "../../kernels/cpu/pool.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Asleep between runs: some are so short that a thread would not have started by their end. */
static struct pool *pool;
static int32_t lanes; /* of pool; 0: there is none */

struct jobs {
    job *body;
    void *arg;
    int64_t n;
    _Atomic int64_t next;
};

static int work(struct lane *lane, void *arg)
{
    struct jobs *jobs = arg;
    for (int64_t piece; (piece = atomic_fetch_add(&jobs->next, 1)) < jobs->n;)
        jobs->body(jobs->arg, piece, lane->id);
    return 0;
}

static void close_pool(void)
{
    pool_close(pool);
    pool = NULL;
    lanes = 0;
}

static bool open_pool(int32_t threads)
{
    static bool is_known_to_exit;
    struct err ignored = {0};
    if (lanes >= threads)
        return true;
    close_pool();
    if (!is_known_to_exit)
        is_known_to_exit = atexit(close_pool) == 0;
    lanes = pool_open(&pool, threads, NULL, &mem_system, &ignored) ? 0 : threads;
    return lanes > 0;
}

void jobs_run(int32_t threads, int64_t n, job *body, void *arg)
{
    struct jobs jobs = {.body = body, .arg = arg, .n = n};
    const int32_t most = (int32_t)MIN(MIN(threads, JOB_THREADS_MOST), n);
    struct lane alone = {.count = 1};
    if (most <= 1 || !open_pool(most)) {
        (void)work(&alone, &jobs);
        return;
    }
    pool_set_active(pool, most);
    (void)pool_run(pool, work, &jobs);
}
