/* A grid: its CTAs are dealt out to host threads, each with the memory of one CTA, which runs
 * the warps in turns from barrier to barrier. */
#include "async.h"
#include "counters.h"
#include "run.h"
#include "shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MOST 16

/* What the host threads of a launch share. */
struct launch {
    const struct launch_config *config;
    uint64_t n_cta;
    _Atomic uint64_t next; /* CTAs dealt out */
    _Atomic bool stopped;  /* a fault somewhere */
    pthread_mutex_t lock;  /* of fault and of the function's counts */
    struct fault *fault;
    uint64_t stride, offset; /* CTA i is number (i stride + offset) % n_cta */
};

/* One host thread's. */
struct worker {
    struct launch *launch;
    pthread_t thread;
    struct cta cta;
    struct fault fault;
    uint8_t *registers; /* (n_warp, register_bytes) */
};

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    return b ? greatest_divisor(b, a % b) : a;
}

/* Any order of CTAs is legal; the seed picks one. */
static void choose_order(struct launch *launch)
{
    uint64_t seed = launch->config->seed * UINT64_C(0x9e3779b97f4a7c15);
    launch->stride = 1;
    launch->offset = 0;
    if (!launch->config->seed || launch->n_cta < 2)
        return;
    launch->stride = seed % launch->n_cta | 1;
    while (greatest_divisor(launch->stride, launch->n_cta) != 1)
        launch->stride++;
    launch->offset = (seed >> 32) % launch->n_cta;
}

static void place(struct cta *cta, uint64_t number)
{
    const uint32_t *grid = cta->config->grid;
    cta->id[0] = (uint32_t)(number % grid[0]);
    cta->id[1] = (uint32_t)(number / grid[0] % grid[1]);
    cta->id[2] = (uint32_t)(number / grid[0] / grid[1]);
}

/* Lets each warp that can run go on to its next barrier, in the order of numbers or one that
 * the seed picks anew each time. False: none could. */
static bool run_round(struct cta *cta, uint64_t *random)
{
    uint32_t flip = 0;
    bool any = false;
    if (cta->config->seed) {
        *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        flip = (uint32_t)(*random >> 33) % WARP_LANES;
    }
    for (uint32_t i = 0; i < WARP_LANES; i++) {
        struct warp *w = (i ^ flip) < cta->n_warp ? &cta->warp[i ^ flip] : NULL;
        if (!w || w->waits || !w->n_group)
            continue;
        any = true;
        if (warp_run(w) == WARP_WAITS)
            barrier_wait(w);
    }
    return any;
}

static void run_cta(struct cta *cta, uint64_t number)
{
    const struct launch_config *config = cta->config;
    uint64_t random = config->seed + number;
    place(cta, number);
    shared_clear(cta->state);
    barrier_clear(cta);
    if (cta->local)
        memset(cta->local_written, 0,
               (size_t)cta->n_warp * WARP_LANES * config->function->local_bytes);
    for (uint32_t i = 0; i < cta->n_warp; i++) {
        async_reset(cta->warp[i].async);
        warp_start(&cta->warp[i], i, config);
    }
    while (run_round(cta, &random) || barrier_settle(cta))
        ;
    barrier_check_deadlock(cta);
}

static void add_counts(struct worker *worker)
{
    const struct ptx_function *f = worker->cta.config->function;
    const struct ptx_counts *from = worker->cta.counts;
    pthread_mutex_lock(&worker->launch->lock);
    for (uint32_t i = 0; i < f->n_instr; i++) {
        struct ptx_counts *to = &f->counts[i];
        to->warps += from[i].warps;
        to->lanes += from[i].lanes;
        to->bytes += from[i].bytes;
        to->sectors += from[i].sectors;
        to->wavefronts += from[i].wavefronts;
        to->divergent += from[i].divergent;
    }
    pthread_mutex_unlock(&worker->launch->lock);
}

static void keep_fault(struct worker *worker)
{
    struct launch *launch = worker->launch;
    pthread_mutex_lock(&launch->lock);
    if (launch->fault->kind == FAULT_NONE)
        *launch->fault = worker->fault;
    pthread_mutex_unlock(&launch->lock);
    atomic_store(&launch->stopped, true);
}

/* A function of its own: what setjmp returns to must not be kept in registers. */
static bool try_cta(struct worker *worker, uint64_t number)
{
    jmp_buf escape;
    worker->cta.escape = &escape;
    if (setjmp(escape)) {
        keep_fault(worker);
        return false;
    }
    run_cta(&worker->cta, number);
    return true;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct launch *launch = worker->launch;
    for (uint64_t i; !atomic_load(&launch->stopped) &&
                     (i = atomic_fetch_add(&launch->next, 1)) < launch->n_cta;)
        if (!try_cta(worker, (i * launch->stride + launch->offset) % launch->n_cta))
            break;
    if (worker->cta.counts)
        add_counts(worker);
    return NULL;
}

/* ---- Memory of a worker */

static void close_worker(struct worker *worker)
{
    struct cta *cta = &worker->cta;
    for (uint32_t i = 0; cta->warp && i < cta->n_warp; i++)
        async_close(cta->warp[i].async);
    shared_close(cta->state);
    free(cta->shared);
    free(cta->local);
    free(cta->local_written);
    free(cta->counts);
    free(cta->warp);
    free(cta->barrier);
    free(worker->registers);
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static bool take_memory(struct worker *worker)
{
    struct cta *cta = &worker->cta;
    const struct ptx_function *f = cta->config->function;
    size_t registers = round_up(f->register_bytes, 64);
    size_t local = (size_t)cta->n_warp * WARP_LANES * f->local_bytes;
    worker->registers = aligned_alloc(64, cta->n_warp * registers + 64);
    cta->warp = calloc(cta->n_warp, sizeof *cta->warp);
    cta->shared = aligned_alloc(128, round_up(cta->shared_bytes + 1, 128));
    cta->barrier = malloc(barrier_bytes());
    cta->state = shared_open_coarse(cta->shared_bytes, memory_granule(f));
    cta->local = local ? malloc(local) : NULL;
    cta->local_written = local ? malloc(local) : NULL;
    cta->counts = cta->config->count && f->counts ? calloc(f->n_instr, sizeof *cta->counts) : NULL;
    if (!worker->registers || !cta->warp || !cta->barrier || !cta->shared || !cta->state ||
        (local && (!cta->local || !cta->local_written)))
        return false;
    memset(worker->registers, 0, cta->n_warp * registers + 64);
    for (uint32_t i = 0; i < cta->n_warp; i++) {
        struct warp *w = &cta->warp[i];
        w->cta = cta;
        w->reg = worker->registers + i * registers;
        w->async = async_open();
        if (!w->async)
            return false;
    }
    return true;
}

static bool open_worker(struct worker *worker, struct launch *launch)
{
    const struct launch_config *config = launch->config;
    uint32_t threads = config->block[0] * config->block[1] * config->block[2];
    *worker = (struct worker){.launch = launch};
    worker->cta.config = config;
    worker->cta.fault = &worker->fault;
    worker->cta.n_warp = (threads + WARP_LANES - 1) / WARP_LANES;
    worker->cta.shared_bytes = config->function->shared_bytes + config->shared_bytes;
    return take_memory(worker);
}

void launch_run(const struct launch_config *config, struct fault *fault)
{
    struct worker worker[THREADS_MOST];
    struct launch launch = {.config = config, .fault = fault};
    int n = config->threads < 1              ? 1
            : config->threads > THREADS_MOST ? THREADS_MOST
                                             : config->threads;
    int opened = 0, started = 1;
    *fault = (struct fault){0};
    launch.n_cta = (uint64_t)config->grid[0] * config->grid[1] * config->grid[2];
    n = launch.n_cta < (uint64_t)n ? (int)launch.n_cta : n;
    choose_order(&launch);
    if (config->count && counters_open(config->function))
        config->function->counts[config->function->n_instr].warps++;
    pthread_mutex_init(&launch.lock, NULL);
    while (opened < n && open_worker(&worker[opened], &launch))
        opened++;
    if (opened < n)
        close_worker(&worker[opened]);
    if (!opened) {
        fault->kind = FAULT_TRAP;
        strcpy(fault->text, "no host memory to run a block");
    } else {
        while (started < opened &&
               !pthread_create(&worker[started].thread, NULL, work, &worker[started]))
            started++;
        work(&worker[0]);
        for (int i = 1; i < started; i++)
            pthread_join(worker[i].thread, NULL);
    }
    for (int i = 0; i < opened; i++)
        close_worker(&worker[i]);
    pthread_mutex_destroy(&launch.lock);
}
