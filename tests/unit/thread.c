/* Threads lowered below others: each its own, with the threads it starts, and never raised. */
#define _GNU_SOURCE
#include "t.h"

#include "kernels/cpu/pool.h"
#include "plugin/base/thread.h"

#include <sched.h>
#include <sys/resource.h>

#define LANES 3

struct place {
    int policy, nice;
};

static struct place place_now(void)
{
    return (struct place){sched_getscheduler(0) & ~SCHED_RESET_ON_FORK,
                          getpriority(PRIO_PROCESS, 0)};
}

struct lowered {
    enum thread_priority priority;
    int policy_before; /* to begin with, if it can be had */
    bool had;
    struct place own, lane[LANES];
};

static int look(struct lane *lane, void *arg)
{
    ((struct lowered *)arg)->lane[lane->id] = place_now();
    return 0;
}

/* As the engine thread does: lowers itself, then starts the lanes. */
static void *lower_body(void *arg)
{
    struct lowered *l = arg;
    static struct device device;
    struct sched_param param = {.sched_priority = l->policy_before == SCHED_FIFO};
    l->had = l->policy_before == SCHED_OTHER ||
             pthread_setschedparam(pthread_self(), l->policy_before, &param) == 0;
    thread_lower(l->priority);
    l->own = place_now();
    if (pool_open(&device.pool, LANES, &device, &mem_system, NULL))
        return NULL;
    pool_set_active(device.pool, 1);
    pool_run(device.pool, look, l);
    pool_set_active(device.pool, LANES);
    pool_run(device.pool, look, l);
    pool_close(device.pool);
    return NULL;
}

static struct lowered lower(enum thread_priority priority, int policy_before)
{
    struct lowered l = {.priority = priority, .policy_before = policy_before};
    struct thread thread = {0};
    struct place before = place_now();
    CHECK_EQ(thread_start(&thread, "lowered", lower_body, &l, NULL), 0);
    thread_join(&thread);
    CHECK_EQ(place_now().policy, before.policy);
    CHECK_EQ(place_now().nice, before.nice);
    for (int i = 0; i < LANES; i++) {
        CHECK_EQ(l.lane[i].policy, l.own.policy);
        CHECK_EQ(l.lane[i].nice, l.own.nice);
    }
    return l;
}

TEST(thread, idle_and_low_are_of_the_thread_and_the_lanes_it_starts)
{
    int nice = place_now().nice;
    struct lowered idle = lower(THREAD_IDLE, SCHED_OTHER);
    CHECK_EQ(idle.own.policy, SCHED_IDLE);
    CHECK_EQ(idle.own.nice, nice);
    struct lowered low = lower(THREAD_LOW, SCHED_OTHER);
    CHECK_EQ(low.own.policy, SCHED_BATCH);
    CHECK_EQ(low.own.nice, nice > 10 ? nice : 10);
}

TEST(thread, normal_changes_nothing)
{
    struct place before = place_now();
    struct lowered l = lower(THREAD_NORMAL, SCHED_OTHER);
    CHECK_EQ(l.own.policy, before.policy);
    CHECK_EQ(l.own.nice, before.nice);
}

TEST(thread, what_is_low_already_is_not_raised)
{
    CHECK_EQ(lower(THREAD_NORMAL, SCHED_IDLE).own.policy, SCHED_IDLE);
    CHECK_EQ(lower(THREAD_LOW, SCHED_IDLE).own.policy, SCHED_IDLE);
    CHECK_EQ(lower(THREAD_NORMAL, SCHED_BATCH).own.policy, SCHED_BATCH);
}

TEST(thread, a_real_time_policy_is_not_inherited)
{
    struct lowered l = lower(THREAD_NORMAL, SCHED_FIFO);
    if (!l.had) {
        t_skip("no permission for a real-time policy");
        return;
    }
    CHECK_EQ(l.own.policy, SCHED_OTHER);
    CHECK_EQ(lower(THREAD_IDLE, SCHED_FIFO).own.policy, SCHED_IDLE);
}
