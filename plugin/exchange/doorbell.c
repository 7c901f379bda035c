/* The descriptor and the state behind it cannot change in one instant, so the state has
 * a middle, and the counter of the eventfd does the rest:
 *
 *                 producer: add 1 to the descriptor, then RAISED
 *        DOWN --------------------> RAISING --------------------> RAISED
 *         ^                                                          |
 *         +------- consumer: found nothing, DOWN, then take 1 -------+
 *
 * Silent when it should be: nothing is handed out before RAISED, so a producer that is
 * stopped in RAISING before its write has a silent descriptor and a poll that returns
 * nothing. Stopped after its write, the descriptor says so, and a consumer that meets
 * RAISING asks it and moves on to RAISED itself. Each raise adds one and each lowering
 * takes one (EFD_SEMAPHORE), so the end of a lowering cannot swallow the next raise.
 *
 * Not raised for nothing: what a producer published may be taken before it rings, by a
 * poll that an earlier event has let in. So it rings only if its event is still there
 * when the state is DOWN, where nobody takes anything. Each move of the consumer counts
 * up the state's upper bits, so that the producer notices if it was not DOWN all along.
 *
 * Not lost: the producer publishes and then reads the state, the consumer goes DOWN and
 * then looks for events. In the one order all threads see of these four steps, either
 * the producer finds DOWN and raises, or the consumer finds the event. */
#define _GNU_SOURCE
#include "doorbell.h"

#include "../base/thread.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum phase { DOWN, RAISING, RAISED };

#define PHASE 3u /* mask */
#define MOVE  4u /* one move of the consumer */

int32_t doorbell_open(struct doorbell *bell, struct err *err)
{
    atomic_init(&bell->state, DOWN);
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    if (bell->fd < 0)
        return err_set(err, INFLIGHT_E_IO, "cannot open an event descriptor: %s", strerror(errno));
    return INFLIGHT_OK;
}

void doorbell_close(struct doorbell *bell)
{
    if (bell->fd >= 0)
        close(bell->fd);
    bell->fd = -1;
}

/* Cannot fail: the counter is a few, its end is 2^64 - 2. */
static void add_one(struct doorbell *bell)
{
    uint64_t one = 1;
    ssize_t n = write(bell->fd, &one, sizeof one);
    (void)n;
}

bool doorbell_ring(struct doorbell *bell, bool (*wanted)(const void *what), const void *what)
{
    uint32_t state = atomic_load(&bell->state);
    do {
        if ((state & PHASE) != DOWN || !wanted(what))
            return false;
    } while (!atomic_compare_exchange_weak(&bell->state, &state, state | RAISING));
    add_one(bell);
    uint32_t raising = state | RAISING;
    (void)atomic_compare_exchange_strong(&bell->state, &raising, state | RAISED);
    return true;
}

static bool readable(const struct doorbell *bell, const struct timespec *timeout)
{
    struct pollfd p = {.fd = bell->fd, .events = POLLIN};
    return ppoll(&p, 1, timeout, NULL) > 0;
}

bool doorbell_rung(struct doorbell *bell)
{
    uint32_t state = atomic_load(&bell->state);
    if ((state & PHASE) == RAISING && readable(bell, &(struct timespec){0, 0})) {
        uint32_t raised = (state & ~PHASE) | RAISED;
        (void)atomic_compare_exchange_strong(&bell->state, &state, raised);
        state = raised; /* by this call or by the producer */
    }
    return (state & PHASE) == RAISED;
}

void doorbell_lower(struct doorbell *bell)
{
    uint32_t state = atomic_load(&bell->state);
    atomic_store(&bell->state, ((state & ~PHASE) + MOVE) | DOWN);
}

void doorbell_drain(struct doorbell *bell)
{
    uint64_t one;
    ssize_t n = read(bell->fd, &one, sizeof one);
    (void)n;
}

void doorbell_keep(struct doorbell *bell)
{
    uint32_t state = atomic_load(&bell->state);
    /* A producer that was quicker adds one of its own, so the old one goes. */
    if ((state & PHASE) != DOWN ||
        !atomic_compare_exchange_strong(&bell->state, &state, ((state & ~PHASE) + MOVE) | RAISED))
        doorbell_drain(bell);
}

void doorbell_wait(struct doorbell *bell, uint64_t deadline_ns)
{
    uint64_t now = clock_ns();
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / 1000000000u),
                         .tv_nsec = (long)(left % 1000000000u)};
    (void)readable(bell, &t);
}

void doorbell_break(struct doorbell *bell)
{
    add_one(bell);
}
