/* Slices of time: who computes when, what the clock leaves out, and that nobody sleeps on. */
#define _GNU_SOURCE
#include "t.h"

#include "../../kernels/cpu/pool.h"
#include "../../plugin/base/thread.h"
#include "../../plugin/base/time_slice.h"

#include <time.h>

#define MS         1000000u
#define MOST_LANES 4

static struct time_slice slice;
static struct device device;

static void open_slice(void)
{
    struct err err = {0};
    CHECK_EQ(time_slice_init(&slice, &err), INFLIGHT_OK);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * MS}, NULL);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* A thread that computes, and shows it. */
struct computer {
    struct thread thread;
    _Atomic uint64_t rounds;
    _Atomic bool stop;
};

static void *compute(void *arg)
{
    struct computer *c = arg;
    while (!atomic_load(&c->stop)) {
        time_slice_wait(&slice);
        atomic_fetch_add(&c->rounds, 1);
    }
    return NULL;
}

static void start(struct computer *c, int n)
{
    struct err err = {0};
    for (int i = 0; i < n; i++)
        CHECK_EQ(thread_start(&c[i].thread, "inflight-test", compute, &c[i], &err), INFLIGHT_OK);
}

static void stop(struct computer *c, int n)
{
    for (int i = 0; i < n; i++)
        atomic_store(&c[i].stop, true);
    time_slice_grant(&slice, UINT64_MAX);
    for (int i = 0; i < n; i++)
        thread_join(&c[i].thread);
}

/* Waits until all have gone on from here; false after 10 seconds. */
static bool all_go_on(struct computer *c, int n)
{
    uint64_t from[MOST_LANES], end_ns = clock_ns() + 10000ull * MS;
    int on = 0;
    for (int i = 0; i < n; i++)
        from[i] = atomic_load(&c[i].rounds);
    while (on < n && clock_ns() < end_ns) {
        sleep_ms(1);
        on = 0;
        for (int i = 0; i < n; i++)
            on += atomic_load(&c[i].rounds) > from[i];
    }
    return on == n;
}

static void wait_for_sleepers(uint32_t n)
{
    for (int i = 0; i < 5000 && atomic_load(&slice.sleepers) != n; i++)
        sleep_ms(1);
    CHECK_EQ(atomic_load(&slice.sleepers), n);
}

TEST(time_slice, has_no_end_before_the_first_grant)
{
    open_slice();
    time_slice_wait(&slice);
    time_slice_wait(NULL);
    uint64_t a = clock_ns(), b = time_slice_clock(&slice), c = clock_ns();
    CHECK(a <= b && b <= c);
    time_slice_release(&slice);
}

TEST(time_slice, all_threads_stop_at_its_end_and_go_on_at_the_next)
{
    static struct computer c[MOST_LANES];
    memset(c, 0, sizeof c);
    open_slice();
    start(c, MOST_LANES);
    CHECK(all_go_on(c, MOST_LANES));
    for (int round = 0; round < 5; round++) {
        time_slice_grant(&slice, round % 2 ? clock_ns() + 5 * MS : 0);
        wait_for_sleepers(MOST_LANES);
        uint64_t rounds[MOST_LANES];
        for (int i = 0; i < MOST_LANES; i++)
            rounds[i] = atomic_load(&c[i].rounds);
        sleep_ms(5);
        for (int i = 0; i < MOST_LANES; i++)
            CHECK_EQ(atomic_load(&c[i].rounds), rounds[i]);
        time_slice_grant(&slice, UINT64_MAX);
        CHECK(all_go_on(c, MOST_LANES));
    }
    stop(c, MOST_LANES);
    time_slice_release(&slice);
}

TEST(time_slice, threads_that_sleep_take_no_time)
{
    static struct computer c[MOST_LANES];
    memset(c, 0, sizeof c);
    open_slice();
    time_slice_grant(&slice, 0);
    start(c, MOST_LANES);
    wait_for_sleepers(MOST_LANES);
    double before = cpu_ms();
    sleep_ms(100);
    double spent = cpu_ms() - before;
    CHECK_NEAR(spent, 0, 2);
    stop(c, MOST_LANES);
    time_slice_release(&slice);
}

/* Short slices, so that ends and grants meet in every order. A thread that slept on would not be
 * woken by the last grant alone: it wakes the leader, who wakes the others. */
TEST(time_slice, nobody_sleeps_on_however_grants_and_ends_meet)
{
    for (int n = 1; n <= MOST_LANES; n++) {
        static struct computer c[MOST_LANES];
        memset(c, 0, sizeof c);
        open_slice();
        start(c, n);
        for (uint64_t k = 0; k < 2000; k++) {
            time_slice_grant(&slice, clock_ns() + k * 7919 % 150000);
            nanosleep(&(struct timespec){0, (long)(k * 104729 % 200000)}, NULL);
        }
        time_slice_grant(&slice, UINT64_MAX);
        CHECK(all_go_on(c, n));
        stop(c, n);
        CHECK_EQ(atomic_load(&slice.sleepers), 0);
        time_slice_release(&slice);
    }
}

TEST(time_slice, its_clock_leaves_out_what_is_between_two)
{
    open_slice();
    time_slice_grant(&slice, 0);
    uint64_t stopped = time_slice_clock(&slice);
    sleep_ms(3);
    CHECK_EQ(time_slice_clock(&slice), stopped);
    uint64_t before = clock_ns(), end_ns = before + 2 * MS;
    time_slice_grant(&slice, end_ns);
    uint64_t after = clock_ns();
    sleep_ms(5);
    uint64_t took = time_slice_clock(&slice) - stopped;
    CHECK(end_ns - after <= took && took <= end_ns - before);
    /* In the middle of one. */
    time_slice_grant(&slice, clock_ns() + 60000ull * MS);
    uint64_t from = time_slice_clock(&slice), begun = clock_ns();
    time_slice_grant(&slice, UINT64_MAX);
    sleep_ms(2);
    uint64_t ran = time_slice_clock(&slice) - from, passed = clock_ns() - begun;
    CHECK(ran >= 2 * MS);
    CHECK(ran <= passed + MS);
    time_slice_release(&slice);
}

/* Grants of one thread beside those of another. */
static void *grant_shortly(void *arg)
{
    for (const _Atomic bool *over = arg; !atomic_load(over);)
        time_slice_grant(&slice, clock_ns() + 20000);
    return NULL;
}

TEST(time_slice, its_clock_never_goes_back)
{
    struct thread thread;
    struct err err = {0};
    _Atomic bool over = false;
    int back = 0;
    open_slice();
    CHECK_EQ(thread_start(&thread, "inflight-test", grant_shortly, &over, &err), INFLIGHT_OK);
    for (uint64_t i = 0, last = 0; i < 200000; i++) {
        uint64_t now = time_slice_clock(&slice);
        back += now < last;
        last = now;
        if (i % 16 == 0)
            time_slice_grant(&slice, i % 32 ? 0 : clock_ns() + 10000);
    }
    CHECK_EQ(back, 0);
    atomic_store(&over, true);
    thread_join(&thread);
    time_slice_release(&slice);
}

/* ---- The lanes of a pool */

static int take_and_meet(struct lane *lane, void *arg)
{
    atomic_int *taken = arg;
    for (int round = 0; round < 100; round++) {
        for (int i; (i = lane_take(lane)) < 20;)
            atomic_fetch_add(taken, 1);
        lane_barrier(lane);
        for (int k = 0; k < lane->count && lane->count > 1; k++)
            for (int i; (i = lane_take_of(lane, (lane->id + k) % lane->count)) < 5;)
                atomic_fetch_add(taken, 1);
        lane_barrier(lane);
    }
    return 0;
}

static void *grant_in_turn(void *arg)
{
    const _Atomic bool *over = arg;
    for (uint64_t k = 0; !atomic_load(over); k++) {
        time_slice_grant(&slice, clock_ns() + 20000 + k * 7919 % 100000);
        nanosleep(&(struct timespec){0, 150000}, NULL);
    }
    return NULL;
}

TEST(time_slice, lanes_stop_in_the_middle_of_a_run_and_finish_it)
{
    for (int n = 1; n <= MOST_LANES; n++) {
        struct err err = {0};
        struct thread host;
        atomic_int taken = 0;
        _Atomic bool over = false;
        open_slice();
        device.config.slice = &slice;
        CHECK_EQ(pool_open(&device.pool, n, &device, &mem_system, &err), 0);
        CHECK_EQ(thread_start(&host, "inflight-test", grant_in_turn, &over, &err), INFLIGHT_OK);
        for (int run = 0; run < 5; run++)
            CHECK_EQ(pool_run(device.pool, take_and_meet, &taken), 0);
        atomic_store(&over, true);
        thread_join(&host);
        CHECK_EQ(atomic_load(&taken), 5 * 100 * (20 + (n > 1 ? 5 * n : 0)));
        pool_close(device.pool);
        time_slice_release(&slice);
    }
}
