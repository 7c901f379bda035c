/* handle: | generation, 32 bits | place + 1, 8 bits |, small enough for hosts that keep
 * pointers in 47 bits. Generations start at a number made of the table's own address, so
 * that two copies of the library in one process do not take each other's handles. */
#define _GNU_SOURCE
#include "live.h"

#include <stdatomic.h>
#include <time.h>

#define CLOSING (1ull << 63) /* in the place's handle: no new calls */

static struct place {
    _Atomic uint64_t handle; /* 0: free, TAKEN: being filled */
    _Atomic uint32_t calls;
    _Atomic uint32_t generation;
    struct instance *instance;
} places[LIVE_MOST];

#define TAKEN 1ull /* no handle: its place number is 0 */

static uint64_t number_of(const inflight_engine *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static struct place *place_of(uint64_t handle)
{
    uint64_t i = (handle & 0xff) - 1;
    return i < LIVE_MOST ? &places[i] : NULL;
}

int32_t live_add(struct instance *instance, inflight_engine **handle, struct err *err)
{
    for (uint64_t i = 0; i < LIVE_MOST; i++) {
        struct place *p = &places[i];
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(&p->handle, &none, TAKEN))
            continue;
        uint32_t seed = (uint32_t)((uintptr_t)places >> 12);
        uint64_t generation = (uint32_t)(seed + atomic_fetch_add(&p->generation, 1));
        uint64_t number = generation << 8 | (i + 1);
        p->instance = instance;
        *handle = (inflight_engine *)(uintptr_t)number;
        atomic_store(&p->handle, number);
        return INFLIGHT_OK;
    }
    return err_set(err, INFLIGHT_E_BUSY, "this process has %d engines already", LIVE_MOST);
}

/* What a handle that is not (or no more) the place's means. */
static int32_t refusal(uint64_t handle, uint64_t in_place)
{
    if (!handle)
        return INFLIGHT_E_ARG;
    return in_place == (handle | CLOSING) ? INFLIGHT_E_SHUTDOWN : INFLIGHT_E_STALE;
}

int32_t live_enter(const inflight_engine *handle, struct instance **instance)
{
    uint64_t number = number_of(handle);
    struct place *p = place_of(number);
    if (!p)
        return refusal(number, 0);
    /* Counted first, so that a free that comes between the two sees this call. */
    atomic_fetch_add(&p->calls, 1);
    uint64_t in_place = atomic_load(&p->handle);
    if (in_place != number) {
        atomic_fetch_sub(&p->calls, 1);
        return refusal(number, in_place);
    }
    *instance = p->instance;
    return INFLIGHT_OK;
}

void live_leave(const inflight_engine *handle)
{
    atomic_fetch_sub(&place_of(number_of(handle))->calls, 1);
}

int32_t live_retire(const inflight_engine *handle, struct instance **instance)
{
    uint64_t number = number_of(handle), in_place = number;
    struct place *p = place_of(number);
    if (!p)
        return refusal(number, 0);
    if (!atomic_compare_exchange_strong(&p->handle, &in_place, number | CLOSING))
        return refusal(number, in_place);
    *instance = p->instance;
    return INFLIGHT_OK;
}

void live_drain(const inflight_engine *handle)
{
    struct place *p = place_of(number_of(handle));
    while (atomic_load(&p->calls))
        nanosleep(&(struct timespec){0, 20000}, NULL);
}

void live_remove(const inflight_engine *handle)
{
    struct place *p = place_of(number_of(handle));
    p->instance = NULL;
    atomic_store(&p->handle, 0);
}
