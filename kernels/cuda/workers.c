#include "workers.h"

#include "../../plugin/base/base.h"
#include "../../plugin/base/thread.h"

struct worker {
    struct thread thread;
    struct workers *all;
    int i;
};

struct workers {
    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    struct worker worker[WORKERS_MOST]; /* [1, n) are threads */
    int n;
    /* Under the mutex. */
    void (*body)(void *arg, int i);
    void *arg;
    uint64_t round;
    int wanted; /* workers of this round */
    int busy;   /* of them, the caller left out */
    bool stop;
};

static void *work(void *arg)
{
    struct worker *me = arg;
    struct workers *w = me->all;
    uint64_t seen = 0;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (w->round == seen && !w->stop)
            pthread_cond_wait(&w->begin, &w->mutex);
        if (w->stop)
            break;
        seen = w->round;
        if (me->i >= w->wanted)
            continue;
        pthread_mutex_unlock(&w->mutex);
        w->body(w->arg, me->i);
        pthread_mutex_lock(&w->mutex);
        if (--w->busy == 0)
            pthread_cond_signal(&w->end);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

struct workers *workers_open(int n, const struct mem *mem)
{
    struct workers *w = mem_take_zeroed(mem, sizeof *w, CACHE_LINE);
    struct err unheard;
    if (!w)
        return NULL;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->begin, NULL);
    pthread_cond_init(&w->end, NULL);
    for (w->n = 1; w->n < MIN(n, WORKERS_MOST); w->n++) {
        struct worker *worker = &w->worker[w->n];
        worker->all = w;
        worker->i = w->n;
        if (thread_start(&worker->thread, "inflight-load", work, worker, &unheard))
            break;
    }
    return w;
}

void workers_close(struct workers *w, const struct mem *mem)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->begin);
    pthread_mutex_unlock(&w->mutex);
    for (int i = 1; i < w->n; i++)
        thread_join(&w->worker[i].thread);
    pthread_cond_destroy(&w->end);
    pthread_cond_destroy(&w->begin);
    pthread_mutex_destroy(&w->mutex);
    mem_give(mem, w, sizeof *w);
}

int workers_count(const struct workers *w)
{
    return w->n;
}

void workers_run(struct workers *w, int n, void (*body)(void *arg, int i), void *arg)
{
    n = MAX(1, MIN(n, w->n));
    if (n > 1) {
        pthread_mutex_lock(&w->mutex);
        w->body = body;
        w->arg = arg;
        w->wanted = n;
        w->busy = n - 1;
        w->round++;
        pthread_cond_broadcast(&w->begin);
        pthread_mutex_unlock(&w->mutex);
    }
    body(arg, 0);
    if (n > 1) {
        pthread_mutex_lock(&w->mutex);
        while (w->busy)
            pthread_cond_wait(&w->end, &w->mutex);
        pthread_mutex_unlock(&w->mutex);
    }
}
