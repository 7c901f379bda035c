/* A grid: its CTAs are dealt out to host threads, each with the memory of one CTA, which runs
 * the warps in turns from barrier to barrier.
 *
 * Some CTAs may run ahead, up to griddepcontrol.wait, while the kernel before has not run
 * (overlap.h): each is held in a worker of its own until the rest of the grid runs. */
#include "async.h"
#include "counters.h"
#include "memory.h"
#include "run.h"
#include "sectors.h"
#include "shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
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
    struct worker *held;     /* (n_held) whose CTAs ran ahead */
    uint32_t n_held;
    uint32_t number; /* of those that count, sectors.h */
    struct races races;
    _Atomic uint32_t next_held; /* that go on */
};

/* One host thread's. */
struct worker {
    struct launch *launch;
    pthread_t thread;
    struct cta cta;
    struct fault fault;
    uint8_t *registers; /* (n_warp, register_bytes) */
    uint32_t *written;  /* (n_warp, n_watched) */
};

/* A launch of which some CTAs have run ahead. */
struct ahead {
    struct launch_config config;
    struct overlap overlap; /* so far only that it begins early */
    struct launch launch;
    struct worker worker[AHEAD_MOST];
    struct fault fault;
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
        if (!w || w->waits || w->held || !w->n_group)
            continue;
        any = true;
        if (warp_run(w) == WARP_WAITS)
            barrier_wait(w);
    }
    return any;
}

static bool is_held(const struct cta *cta)
{
    for (uint32_t i = 0; i < cta->n_warp; i++)
        if (cta->warp[i].held)
            return true;
    return false;
}

/* Runs until the CTA has ended, or no warp goes on before its kernel's turn. */
static void run_rounds(struct cta *cta, uint64_t *random)
{
    while (run_round(cta, random) || barrier_settle(cta))
        ;
    if (is_held(cta))
        return;
    barrier_check_deadlock(cta);
    if (cta->config->overlap && !cta->lets_go)
        atomic_store(&cta->config->overlap->keeps_next, true);
}

static void run_cta(struct cta *cta, uint64_t number)
{
    const struct launch_config *config = cta->config;
    uint64_t random = config->seed + number;
    place(cta, number);
    shared_clear(cta->state);
    barrier_clear(cta);
    race_block_start(&cta->race, config->races ? &cta->launch->races : NULL, number);
    cta->lets_go = false;
    cta->early_reads.n = 0;
    if (cta->local)
        memset(cta->local_written, 0,
               (size_t)cta->n_warp * WARP_LANES * config->function->local_bytes);
    for (uint32_t i = 0; i < cta->n_warp; i++) {
        async_reset(cta->warp[i].async);
        warp_start(&cta->warp[i], i, config);
    }
    run_rounds(cta, &random);
}

/* Lets a CTA that ran ahead go on. */
static void resume_cta(struct cta *cta)
{
    uint64_t random = cta->config->seed;
    cta->runs_ahead = false;
    for (size_t i = 0; i < cta->early_reads.n; i++)
        global_read_again(&cta->early_reads.read[i]);
    for (uint32_t i = 0; i < cta->n_warp; i++)
        cta->warp[i].held = false;
    run_rounds(cta, &random);
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
        to->fresh += from[i].fresh;
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

static bool try_resume(struct worker *worker)
{
    jmp_buf escape;
    worker->cta.escape = &escape;
    if (setjmp(escape)) {
        keep_fault(worker);
        return false;
    }
    resume_cta(&worker->cta);
    return true;
}

static uint64_t cta_number(const struct launch *launch, uint64_t i)
{
    return (i * launch->stride + launch->offset) % launch->n_cta;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct launch *launch = worker->launch;
    for (uint32_t i; !atomic_load(&launch->stopped) &&
                     (i = atomic_fetch_add(&launch->next_held, 1)) < launch->n_held;)
        if (!try_resume(&launch->held[i]))
            break;
    for (uint64_t i; !atomic_load(&launch->stopped) &&
                     (i = atomic_fetch_add(&launch->next, 1)) < launch->n_cta;)
        if (!try_cta(worker, cta_number(launch, i)))
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
    free(cta->early_reads.read);
    race_block_close(&cta->race);
    free(cta->warp);
    free(cta->barrier);
    free(worker->registers);
    free(worker->written);
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
    worker->written = calloc((size_t)cta->n_warp * f->n_watched + 1, sizeof *worker->written);
    cta->warp = calloc(cta->n_warp, sizeof *cta->warp);
    cta->shared = aligned_alloc(128, round_up(cta->shared_bytes + 1, 128));
    cta->barrier = malloc(barrier_bytes());
    cta->state = shared_open_coarse(cta->shared_bytes, f->shared_granule);
    cta->local = local ? malloc(local) : NULL;
    cta->local_written = local ? malloc(local) : NULL;
    cta->counts = cta->config->count && f->counts ? calloc(f->n_instr, sizeof *cta->counts) : NULL;
    if (!worker->registers || !worker->written || !cta->warp || !cta->barrier || !cta->shared ||
        !cta->state || (local && (!cta->local || !cta->local_written)))
        return false;
    memset(worker->registers, 0, cta->n_warp * registers + 64);
    for (uint32_t i = 0; i < cta->n_warp; i++) {
        struct warp *w = &cta->warp[i];
        w->cta = cta;
        w->reg = worker->registers + i * registers;
        w->written = worker->written + (size_t)i * f->n_watched;
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
    worker->cta.launch = launch;
    worker->cta.launch_number = launch->number;
    worker->cta.config = config;
    worker->cta.fault = &worker->fault;
    worker->cta.n_warp = (threads + WARP_LANES - 1) / WARP_LANES;
    worker->cta.shared_bytes = config->function->shared_bytes + config->shared_bytes;
    return take_memory(worker);
}

static void open_launch(struct launch *launch, const struct launch_config *config)
{
    *launch = (struct launch){.config = config};
    launch->n_cta = (uint64_t)config->grid[0] * config->grid[1] * config->grid[2];
    choose_order(launch);
    races_open(&launch->races);
    launch->number = config->count ? sectors_launch() : 0;
    if (config->count && counters_open(config->function))
        config->function->counts[config->function->n_instr].warps++;
    pthread_mutex_init(&launch->lock, NULL);
}

static void close_launch(struct launch *launch)
{
    races_close(&launch->races);
    pthread_mutex_destroy(&launch->lock);
}

/* Runs what is left of the grid on host threads. */
static void run_grid(struct launch *launch)
{
    struct worker worker[THREADS_MOST];
    uint64_t left = launch->n_cta - launch->next + launch->n_held;
    int threads = launch->config->races ? 1 : launch->config->threads, n = threads < 1 ? 1
                                                                           : threads > THREADS_MOST
                                                                               ? THREADS_MOST
                                                                               : threads;
    int opened = 0, started = 1;
    n = left < (uint64_t)n ? (left ? (int)left : 1) : n;
    while (opened < n && open_worker(&worker[opened], launch))
        opened++;
    if (opened < n)
        close_worker(&worker[opened]);
    if (!opened) {
        launch->fault->kind = FAULT_TRAP;
        strcpy(launch->fault->text, "no host memory to run a block");
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
}

/* What follows a kernel that did not wait would wait for it, and not for those before. */
static void check_waited(const struct launch_config *config, struct fault *fault)
{
    const struct overlap *overlap = config->overlap;
    if (fault->kind || !overlap || !overlap->begins_early || overlap->has_waited)
        return;
    fault->kind = FAULT_EARLY;
    (void)snprintf(fault->text, sizeof fault->text,
                   "%s: no thread of %s waits for the kernels before (griddepcontrol.wait), line "
                   "0: ?; block (0, 0, 0)",
                   fault_names[FAULT_EARLY], config->function->name);
}

void launch_run(const struct launch_config *config, struct fault *fault)
{
    struct launch launch;
    *fault = (struct fault){0};
    open_launch(&launch, config);
    launch.fault = fault;
    run_grid(&launch);
    check_waited(config, fault);
    close_launch(&launch);
}

/* ---- Running ahead */

struct ahead *launch_ahead(const struct launch_config *config, uint32_t *n)
{
    struct ahead *ahead = calloc(1, sizeof *ahead);
    uint32_t most = *n < AHEAD_MOST ? *n : AHEAD_MOST;
    *n = 0;
    if (!ahead)
        return NULL;
    ahead->config = *config;
    ahead->config.overlap = &ahead->overlap;
    ahead->overlap.begins_early = true;
    struct launch *launch = &ahead->launch;
    open_launch(launch, &ahead->config);
    launch->held = ahead->worker;
    launch->fault = &ahead->fault;
    most = most < launch->n_cta ? most : (uint32_t)launch->n_cta;
    while (launch->n_held < most && !launch->stopped) {
        struct worker *worker = &ahead->worker[launch->n_held];
        if (!open_worker(worker, launch)) {
            close_worker(worker);
            break;
        }
        launch->n_held++;
        worker->cta.runs_ahead = true;
        (void)try_cta(worker, cta_number(launch, launch->next++));
    }
    *n = launch->n_held;
    return ahead;
}

void launch_go_on(struct ahead *ahead, struct unfinished *before, struct fault *fault)
{
    struct launch *launch = &ahead->launch;
    *fault = ahead->fault;
    launch->fault = fault;
    overlap_start(&ahead->overlap, before, true);
    if (!fault->kind) {
        run_grid(launch);
        check_waited(&ahead->config, fault);
    }
    for (uint32_t i = 0; i < launch->n_held; i++)
        if (ahead->worker[i].cta.counts)
            add_counts(&ahead->worker[i]);
    overlap_end(&ahead->overlap, before);
    launch_forget(ahead);
}

void launch_forget(struct ahead *ahead)
{
    if (!ahead)
        return;
    for (uint32_t i = 0; i < ahead->launch.n_held; i++)
        close_worker(&ahead->worker[i]);
    close_launch(&ahead->launch);
    free(ahead);
}
