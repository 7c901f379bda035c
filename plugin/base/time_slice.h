/* The time in which an engine's threads may compute. A host with frames to draw grants what they
 * leave; when a grant is over the threads sleep in the kernel, wherever in a step they are, until
 * the next one. */
#pragma once

#include "base.h"
#include "err.h"

#include <stdatomic.h>

struct time_slice {
    _Alignas(CACHE_LINE) _Atomic uint64_t until_ns; /* CLOCK_MONOTONIC; UINT64_MAX: no end */
    _Atomic uint64_t shut_ns;                       /* between a grant's end and the next, in all */
    _Atomic uint32_t version;                       /* odd while the two are changed */
    _Atomic uint32_t sleepers;                      /* on timer, who is led, and on version */
    _Atomic bool led, granting;
    int timer; /* timerfd, rings behind a grant */
};

/* Without an end. Where this failed, release is allowed. */
int32_t time_slice_init(struct time_slice *slice, struct err *err);
void time_slice_release(struct time_slice *slice);

/* From now until then; the last call counts, one beside another as the earlier of the two.
 * [any thread, bounded] */
void time_slice_grant(struct time_slice *slice, uint64_t until_ns);

/* Sleeps until a grant, if there is none. */
void time_slice_pass(struct time_slice *slice);

/* CLOCK_MONOTONIC without the time in which there was no grant: differences are what work took. */
uint64_t time_slice_clock(struct time_slice *slice);

/* For the middle of work: as time_slice_pass, and costs a look at one word where there is no end.
 * NULL: nobody grants anything. */
static inline void time_slice_wait(struct time_slice *slice)
{
    if (slice && atomic_load_explicit(&slice->until_ns, memory_order_relaxed) != UINT64_MAX)
        time_slice_pass(slice);
}
