/* The pool: every lane runs, barriers hold, idle threads sleep, nothing is left after close. */
#define _GNU_SOURCE
#include "t.h"

#include "../../kernels/cpu/pool.h"
#include "../../plugin/base/thread.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LANES_MAX 8

static struct device device;

static struct pool *pool_of(int threads)
{
    struct err err = {0};
    CHECK_EQ(pool_open(&device.pool, threads, &device, &mem_system, &err), 0);
    return device.pool;
}

/* Threads of this process whose name begins with "inflight-". */
static int threads_named(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file) {
            n += fgets(name, sizeof name, file) && strncmp(name, "inflight-", 9) == 0;
            fclose(file);
        }
    }
    closedir(dir);
    return n;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

struct visits {
    int times[LANES_MAX];
    int count[LANES_MAX];
    int fail_from; /* lanes from here on return 100 + id */
};

static int visit(struct lane *lane, void *arg)
{
    struct visits *visits = arg;
    visits->times[lane->id]++;
    visits->count[lane->id] = lane->count;
    return lane->id >= visits->fail_from ? 100 + lane->id : 0;
}

TEST(pool, every_lane_runs_the_body_once)
{
    for (int n = 1; n <= LANES_MAX; n++) {
        struct pool *pool = pool_of(n);
        struct visits visits = {.fail_from = LANES_MAX};
        for (int run = 0; run < 3; run++)
            CHECK_EQ(pool_run(pool, visit, &visits), 0);
        for (int i = 0; i < LANES_MAX; i++) {
            CHECK_EQ(visits.times[i], i < n ? 3 : 0);
            CHECK_EQ(visits.count[i], i < n ? n : 0);
        }
        pool_close(pool);
    }
}

TEST(pool, the_result_is_the_first_failure_in_lane_order)
{
    struct pool *pool = pool_of(4);
    struct visits visits = {.fail_from = 2};
    CHECK_EQ(pool_run(pool, visit, &visits), 102);
    visits.fail_from = 0;
    CHECK_EQ(pool_run(pool, visit, &visits), 100);
    visits.fail_from = LANES_MAX;
    CHECK_EQ(pool_run(pool, visit, &visits), 0);
    pool_close(pool);
}

struct rounds {
    int n;
    int written[LANES_MAX]; /* plain on purpose: the barrier alone orders it */
    int wrong[LANES_MAX];
};

static int check_rounds(struct lane *lane, void *arg)
{
    struct rounds *rounds = arg;
    for (int round = 1; round <= rounds->n; round++) {
        rounds->written[lane->id] = round;
        lane_barrier(lane);
        for (int i = 0; i < lane->count; i++)
            rounds->wrong[lane->id] += rounds->written[i] != round;
        lane_barrier(lane);
    }
    return 0;
}

TEST(pool, what_was_written_before_a_barrier_is_seen_after_it)
{
    for (int n = 1; n <= LANES_MAX; n++) {
        struct pool *pool = pool_of(n);
        struct rounds rounds = {.n = 300};
        pool_run(pool, check_rounds, &rounds);
        for (int i = 0; i < n; i++) {
            CHECK_EQ(rounds.written[i], 300);
            CHECK_EQ(rounds.wrong[i], 0);
        }
        pool_close(pool);
    }
}

#define CHUNKS 200

static int take_chunks(struct lane *lane, void *arg)
{
    atomic_int *taken = arg;
    for (int round = 0; round < 5; round++) {
        for (int i; (i = lane_take(lane)) < CHUNKS;)
            atomic_fetch_add(&taken[i], 1);
        lane_barrier(lane);
    }
    return 0;
}

TEST(pool, each_chunk_is_handed_out_once_between_two_barriers)
{
    static atomic_int taken[CHUNKS];
    struct pool *pool = pool_of(3);
    for (int run = 0; run < 2; run++)
        pool_run(pool, take_chunks, taken);
    for (int i = 0; i < CHUNKS; i++)
        CHECK_EQ(atomic_load(&taken[i]), 10);
    pool_close(pool);
}

/* Lanes begin with lists of different owners; a list is longer than any lane takes of it. */
static int take_lists(struct lane *lane, void *arg)
{
    atomic_int(*taken)[CHUNKS] = arg;
    for (int round = 0; round < 20; round++) {
        for (int k = 0; k < lane->count; k++) {
            int owner = (lane->id + k) % lane->count;
            for (int i; (i = lane_take_of(lane, owner)) < CHUNKS;)
                atomic_fetch_add(&taken[owner][i], 1);
        }
        lane_barrier(lane);
    }
    return 0;
}

TEST(pool, each_chunk_of_each_lanes_list_is_handed_out_once_between_two_barriers)
{
    for (int n = 2; n <= 4; n++) {
        static atomic_int taken[4][CHUNKS];
        memset(taken, 0, sizeof taken);
        struct pool *pool = pool_of(n);
        for (int run = 0; run < 3; run++)
            pool_run(pool, take_lists, taken);
        for (int owner = 0; owner < 4; owner++)
            for (int i = 0; i < CHUNKS; i++)
                CHECK_EQ(atomic_load(&taken[owner][i]), owner < n ? 60 : 0);
        pool_close(pool);
    }
}

static int count_last(struct lane *lane, void *arg)
{
    atomic_int *times = arg;
    for (int round = 0; round < 50; round++) {
        for (int place = 0; place < LANE_PLACES * lane->count; place++)
            if (lane_is_last(lane, place, lane->count))
                atomic_fetch_add(&times[place], 1);
        lane_barrier(lane);
    }
    return 0;
}

TEST(pool, one_of_n_calls_is_the_last_at_each_place)
{
    for (int n = 1; n <= 4; n++) {
        atomic_int times[LANE_PLACES * 4] = {0};
        struct pool *pool = pool_of(n);
        pool_run(pool, count_last, times);
        for (int place = 0; place < LANE_PLACES * n; place++)
            CHECK_EQ(atomic_load(&times[place]), 50);
        CHECK_EQ(pool_barriers(pool), 50);
        pool_close(pool);
    }
}

static int leave_a_chunk(struct lane *lane, void *arg)
{
    (void)arg;
    return lane_take(lane) + 1;
}

TEST(pool, a_run_starts_counting_chunks_at_zero)
{
    struct pool *pool = pool_of(1);
    CHECK_EQ(pool_run(pool, leave_a_chunk, NULL), 1);
    CHECK_EQ(pool_run(pool, leave_a_chunk, NULL), 1);
    pool_close(pool);
}

TEST(pool, active_lanes_change_between_runs)
{
    struct pool *pool = pool_of(4);
    const int active[] = {4, 1, 3, 2, 4}, held[] = {0, 9};
    for (size_t k = 0; k < COUNT_OF(active); k++) {
        struct visits visits = {.fail_from = LANES_MAX};
        pool_set_active(pool, active[k]);
        pool_run(pool, visit, &visits);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(visits.count[i], i < active[k] ? active[k] : 0);
        struct rounds rounds = {.n = 20};
        pool_run(pool, check_rounds, &rounds);
        CHECK_EQ(rounds.wrong[0], 0);
    }
    pool_set_active(pool, held[0]);
    CHECK_EQ(pool_active(pool), 1);
    pool_set_active(pool, held[1]);
    CHECK_EQ(pool_active(pool), 4);
    pool_close(pool);
}

TEST(pool, idle_threads_take_no_time)
{
    struct pool *pool = pool_of(4);
    struct visits visits = {.fail_from = LANES_MAX};
    pool_run(pool, visit, &visits);
    sleep_ms(5);
    double before = cpu_ms();
    sleep_ms(200);
    double spent = cpu_ms() - before;
    CHECK_NEAR(spent, 0, 2);
    pool_close(pool);
}

static int lane_zero_is_late(struct lane *lane, void *arg)
{
    (void)arg;
    for (int round = 0; round < 20; round++) {
        if (lane->id == 0)
            sleep_ms(3);
        lane_barrier(lane);
    }
    return 0;
}

TEST(pool, waiting_long_at_a_barrier_takes_no_time)
{
    struct pool *pool = pool_of(2);
    double before = cpu_ms();
    pool_run(pool, lane_zero_is_late, NULL);
    double spent = cpu_ms() - before;
    CHECK_NEAR(spent, 0, 15); /* of 60 ms and more; sanitizers are slow */
    pool_close(pool);
}

TEST(pool, threads_have_names_and_none_is_left_after_close)
{
    int before = threads_named();
    struct pool *pool = pool_of(5);
    struct visits visits = {.fail_from = LANES_MAX};
    pool_run(pool, visit, &visits);
    CHECK_EQ(threads_named() - before, 4);
    pool_close(pool);
    /* A joined thread may stand in /proc for a moment longer. */
    for (int i = 0; i < 100 && threads_named() != before; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    CHECK_EQ(threads_named(), before);
}

static int64_t counted;

static void *count_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    counted += (int64_t)bytes;
    return aligned_alloc(align, ROUND_UP(bytes, align));
}

static void count_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    counted -= (int64_t)bytes;
    free(ptr);
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    (void)bytes;
    (void)align;
    return NULL;
}

TEST(pool, takes_the_bytes_it_said_and_gives_them_back)
{
    const struct mem counting = {NULL, NULL, count_alloc, count_release};
    CHECK_EQ(pool_open(&device.pool, 3, &device, &counting, NULL), 0);
    CHECK_EQ(counted, pool_bytes(3));
    pool_close(device.pool);
    CHECK_EQ(counted, 0);
}

TEST(pool, refuses_what_it_cannot_have)
{
    struct err err = {0};
    struct pool *pool = NULL;
    CHECK_EQ(pool_open(&pool, 0, &device, &mem_system, &err), INFLIGHT_E_ARG);
    CHECK_TEXT(err.text, "0 threads, expected 1 to 1024");
    CHECK_EQ(pool_open(&pool, 1025, &device, &mem_system, &err), INFLIGHT_E_ARG);
    const struct mem none = {NULL, NULL, no_alloc, count_release};
    CHECK_EQ(pool_open(&pool, 2, &device, &none, &err), INFLIGHT_E_NOMEM);
    CHECK(pool == NULL);
    pool_close(NULL);
}
