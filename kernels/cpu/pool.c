#define _GNU_SOURCE
#include "pool.h"

#include "../../plugin/base/futex.h"
#include "../../plugin/base/thread.h"
#include "../../plugin/base/time_slice.h"

#include <stdio.h>

#define SPIN_NS     30000 /* longest spin before a lane sleeps */
#define SPIN_ROUNDS 32    /* looks at a word between two looks at the clock */
#define VAIN_STEP   8     /* each spin in vain adds this, each other wait takes one away */
#define VAIN_LIMIT  24    /* from here on the lane sleeps without spinning */

/* A number that threads wait on until it changes. The waiter counts itself in before its
 * last look, the setter looks for sleepers after its store; both are sequentially
 * consistent, so one of them sees the other. */
struct gate {
    _Atomic uint32_t value; /* the kernel's futex word */
    _Atomic uint32_t sleepers;
};

struct worker {
    _Alignas(CACHE_LINE) struct gate start; /* one more for each run of this lane */
    struct lane lane;
    struct pool *pool;
    struct thread thread;
    int result;
    int vain;          /* how often spinning did not help of late; its own thread's */
    uint64_t barriers; /* this lane came to, in all */
    _Alignas(CACHE_LINE) atomic_int calls[LANE_PLACES]; /* of lane_is_last, any lane's */
    _Alignas(CACHE_LINE) atomic_ullong next; /* of lane_take_of: the barrier since which, above 32
                                                bits of how many */
};

struct pool {
    const struct mem *mem;
    int threads, active;
    int cores;                                 /* of the process when the pool was opened */
    atomic_bool crowded;                       /* more active lanes than cores */
    int (*body)(struct lane *lane, void *arg); /* NULL tells the workers to end */
    void *arg;

    /* Each on a line of its own: all lanes write here while they work. */
    _Alignas(CACHE_LINE) struct gate barrier;
    _Alignas(CACHE_LINE) atomic_int arrived;
    _Alignas(CACHE_LINE) atomic_int next;    /* of lane_take */
    _Alignas(CACHE_LINE) atomic_int running; /* workers still in the body */
    _Alignas(CACHE_LINE) struct gate done;   /* one more for each finished run */

    struct worker worker[]; /* (threads); the first is the caller and has no thread */
};

/* True as soon as the value is no longer old, false after SPIN_NS. */
static bool gate_spin(struct gate *gate, unsigned old)
{
    uint64_t start = 0;
    for (;;) {
        for (int i = 0; i < SPIN_ROUNDS; i++) {
            if (atomic_load_explicit(&gate->value, memory_order_acquire) != old)
                return true;
            __builtin_ia32_pause();
        }
        uint64_t now = clock_ns();
        if (start == 0)
            start = now;
        if (now - start > SPIN_NS)
            return false;
    }
}

static void gate_sleep(struct gate *gate, unsigned old)
{
    atomic_fetch_add(&gate->sleepers, 1);
    while (atomic_load(&gate->value) == old)
        futex_wait(&gate->value, old);
    atomic_fetch_sub(&gate->sleepers, 1);
}

/* Waits until the value is no longer old. */
static void gate_wait(struct gate *gate, unsigned old, bool spin)
{
    if (!spin || !gate_spin(gate, old))
        gate_sleep(gate, old);
}

static unsigned gate_value(struct gate *gate)
{
    return atomic_load_explicit(&gate->value, memory_order_relaxed);
}

/* One setter at a time. */
static void gate_advance(struct gate *gate)
{
    atomic_store(&gate->value, gate_value(gate) + 1);
    if (atomic_load(&gate->sleepers))
        futex_wake(&gate->value, INT_MAX);
}

static bool spins(const struct worker *worker)
{
    return !atomic_load_explicit(&worker->pool->crowded, memory_order_relaxed) &&
           worker->vain < VAIN_LIMIT;
}

/* A barrier wait of this lane: like gate_wait, and learns whether spinning helps. Where
 * lanes share a core, with each other or with other programs, a spin only holds up the lane
 * that is waited for, and every barrier would take SPIN_NS: so it spins now and then only,
 * until that helps again. */
static void barrier_wait(struct worker *worker, struct gate *gate, unsigned old)
{
    bool spin = spins(worker);
    bool helped = spin && gate_spin(gate, old);
    if (!helped)
        gate_sleep(gate, old);
    if (spin && !helped)
        worker->vain += VAIN_STEP;
    else if (worker->vain > 0)
        worker->vain--;
}

void lane_barrier(struct lane *lane)
{
    struct pool *pool = lane->device->pool;
    struct gate *gate = &pool->barrier;
    time_slice_wait(lane->device->config.slice);
    unsigned generation = gate_value(gate);
    pool->worker[lane->id].barriers++;
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 < lane->count) {
        barrier_wait(&pool->worker[lane->id], gate, generation);
        return;
    }
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    if (lane->count > 1)
        gate_advance(gate);
}

int lane_take(struct lane *lane)
{
    time_slice_wait(lane->device->config.slice);
    return atomic_fetch_add_explicit(&lane->device->pool->next, 1, memory_order_relaxed);
}

/* Nobody has to clear the counts of all lanes at every barrier. */
int lane_take_of(struct lane *lane, int owner)
{
    struct pool *pool = lane->device->pool;
    atomic_ullong *next = &pool->worker[owner].next;
    time_slice_wait(lane->device->config.slice);
    const unsigned long long since = (unsigned long long)gate_value(&pool->barrier) << 32;
    unsigned long long old = atomic_load_explicit(next, memory_order_relaxed), n;
    do {
        n = (old ^ since) >> 32 ? 0 : old & UINT32_MAX;
    } while (!atomic_compare_exchange_weak_explicit(next, &old, since | (n + 1),
                                                    memory_order_relaxed, memory_order_relaxed));
    return (int)n;
}

bool lane_is_last(struct lane *lane, int place, int n)
{
    struct worker *owner = &lane->device->pool->worker[place / LANE_PLACES];
    atomic_int *calls = &owner->calls[place % LANE_PLACES];
    if (atomic_fetch_add_explicit(calls, 1, memory_order_acq_rel) + 1 < n)
        return false;
    atomic_store_explicit(calls, 0, memory_order_relaxed);
    return true;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    for (unsigned seen = 0;; seen++) {
        /* The first wait follows the start of the thread: nothing is about to come. */
        gate_wait(&worker->start, seen, seen > 0 && spins(worker));
        if (!pool->body)
            return NULL;
        worker->result = pool->body(&worker->lane, pool->arg);
        if (atomic_fetch_sub_explicit(&pool->running, 1, memory_order_acq_rel) == 1)
            gate_advance(&pool->done);
    }
}

int pool_run(struct pool *pool, int (*body)(struct lane *lane, void *arg), void *arg)
{
    int active = pool->active;
    unsigned done = gate_value(&pool->done);
    pool->body = body;
    pool->arg = arg;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->running, active - 1, memory_order_relaxed);
    for (int i = 1; i < active; i++) {
        pool->worker[i].lane.count = active;
        gate_advance(&pool->worker[i].start);
    }
    struct worker *caller = &pool->worker[0];
    caller->lane.count = active;
    int result = body(&caller->lane, arg);
    if (active > 1)
        barrier_wait(caller, &pool->done, done);
    for (int i = 1; i < active && result == 0; i++)
        result = pool->worker[i].result;
    return result;
}

void pool_set_active(struct pool *pool, int active)
{
    pool->active = MIN(MAX(active, 1), pool->threads);
    atomic_store_explicit(&pool->crowded, pool->active > pool->cores, memory_order_relaxed);
    pool->worker[0].vain = 0;
}

int pool_active(const struct pool *pool)
{
    return pool->active;
}

uint64_t pool_barriers(const struct pool *pool)
{
    return pool->worker[0].barriers;
}

size_t pool_bytes(int threads)
{
    return sizeof(struct pool) + (size_t)threads * sizeof(struct worker);
}

int32_t pool_open(struct pool **out, int threads, struct device *device, const struct mem *mem,
                  struct err *err)
{
    *out = NULL;
    if (threads < 1 || threads > POOL_LANES_MAX)
        return err_set(err, INFLIGHT_E_ARG, "%d threads, expected 1 to %d", threads,
                       POOL_LANES_MAX);
    struct pool *pool = mem_take_zeroed(mem, pool_bytes(threads), CACHE_LINE);
    if (!pool)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a pool of %d threads", threads);
    pool->mem = mem;
    pool->threads = threads;
    pool->cores = cores_available();
    pool_set_active(pool, threads);
    for (int i = 0; i < threads; i++) {
        struct worker *worker = &pool->worker[i];
        worker->pool = pool;
        worker->lane = (struct lane){device, i, threads};
        if (i == 0)
            continue;
        char name[24];
        (void)snprintf(name, sizeof name, "inflight-%d", i);
        int32_t rc = thread_start(&worker->thread, name, worker_main, worker, err);
        if (rc) {
            pool_close(pool);
            return rc;
        }
    }
    *out = pool;
    return INFLIGHT_OK;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    pool->body = NULL;
    for (int i = 1; i < pool->threads; i++)
        gate_advance(&pool->worker[i].start);
    for (int i = 1; i < pool->threads; i++)
        thread_join(&pool->worker[i].thread);
    mem_give(pool->mem, pool, pool_bytes(pool->threads));
}
