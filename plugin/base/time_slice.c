/* A grant wakes nobody: it sets a timer that does, a moment later, when the host's thread has gone
 * to sleep. A thread that is woken beside a running one may be put on its core, and at the next
 * tick the system lets it run first, however low it stands: in 2 of 1000 frames the host waited for
 * a whole tick, 4 ms (Linux 6.18, two cores, two threads of SCHED_IDLE).
 *
 * One sleeper, the leader, waits for the timer and wakes the others, who wait for a change of the
 * version. All count themselves in before their last look at the version, a grant looks for
 * sleepers after it has changed that; both are sequentially consistent, so one sees the other. */
#define _GNU_SOURCE
#include "time_slice.h"

#include "futex.h"
#include "thread.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>

#define DELAY_NS 60000 /* of the timer */

int32_t time_slice_init(struct time_slice *slice, struct err *err)
{
    *slice = (struct time_slice){.until_ns = UINT64_MAX};
    slice->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (slice->timer < 0)
        return err_set(err, INFLIGHT_E_NOMEM, "no timer: %s", strerror(errno));
    return INFLIGHT_OK;
}

void time_slice_release(struct time_slice *slice)
{
    if (slice->timer >= 0)
        (void)close(slice->timer);
    slice->timer = -1;
}

/* Of this thread alone until it returns: a ring that came before is one that it was led by, or
 * whose grant has changed the version. */
static void lead(struct time_slice *slice, uint32_t seen)
{
    uint64_t rings;
    if (atomic_load(&slice->version) == seen)
        (void)!read(slice->timer, &rings, sizeof rings);
    atomic_store(&slice->led, false);
}

static void sleep_once(struct time_slice *slice, uint32_t seen)
{
    atomic_fetch_add(&slice->sleepers, 1);
    if (atomic_exchange(&slice->led, true))
        futex_wait(&slice->version, seen);
    else
        lead(slice, seen);
    atomic_fetch_sub(&slice->sleepers, 1);
}

void time_slice_pass(struct time_slice *slice)
{
    bool has_slept = false;
    for (;;) {
        uint32_t seen = atomic_load(&slice->version);
        if (clock_ns() < atomic_load(&slice->until_ns))
            break;
        sleep_once(slice, seen);
        has_slept = true;
    }
    if (has_slept && atomic_load(&slice->sleepers))
        futex_wake(&slice->version, INT_MAX);
}

void time_slice_grant(struct time_slice *slice, uint64_t until_ns)
{
    static const struct itimerspec soon = {.it_value = {0, DELAY_NS}};
    if (atomic_exchange(&slice->granting, true))
        return;
    atomic_fetch_add(&slice->version, 1);
    uint64_t now_ns = clock_ns();
    /* No grant ends before it is made: time that is shut is counted once. */
    uint64_t old_ns = atomic_exchange(&slice->until_ns, MAX(until_ns, now_ns));
    atomic_fetch_add(&slice->shut_ns, now_ns - MIN(old_ns, now_ns));
    atomic_fetch_add(&slice->version, 1);
    if (atomic_load(&slice->sleepers))
        (void)timerfd_settime(slice->timer, 0, &soon, NULL);
    atomic_store(&slice->granting, false);
}

uint64_t time_slice_clock(struct time_slice *slice)
{
    uint64_t now_ns, until_ns, shut_ns;
    uint32_t version;
    do {
        version = atomic_load(&slice->version);
        now_ns = clock_ns();
        until_ns = atomic_load(&slice->until_ns);
        shut_ns = atomic_load(&slice->shut_ns);
    } while (version % 2 || atomic_load(&slice->version) != version);
    return MIN(now_ns, until_ns) - shut_ns;
}
