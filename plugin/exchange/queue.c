/* The queue, without a lock: no host thread ever waits for another one.
 *
 *   free  ->  [pop]  submit fills the slot  [push]  ->  fresh  ->  [take all]  engine
 *     ^                                                                           |
 *     +---------------------------  retire  <---------------  its DONE was polled +
 *
 * free is a stack of slot numbers whose top carries a tag that counts every change, so
 * that a slow thread cannot mistake an old top for the present one. fresh is a stack that
 * only grows until the engine takes it whole, which turns it round into arrival order.
 * The engine sleeps on a counter of reasons to wake: a reason that comes between its last
 * look and its sleep changes the counter, and the kernel then refuses to put it to sleep. */
#define _GNU_SOURCE
#include "queue.h"

#include "../base/futex.h"
#include "../base/thread.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define NONE UINT32_MAX

struct slot {
    struct request request;
    void *bytes; /* owned: input and options, (n_bytes) */
    size_t n_bytes;
    uint32_t generation;            /* of whoever holds the slot */
    _Atomic uint32_t next;          /* in free or fresh */
    _Atomic inflight_req live;      /* the id while it names something, else 0 */
    _Atomic inflight_req cancelled; /* the newest id somebody cancelled */
};

struct queue {
    struct mem mem;
    struct slot *slot; /* (n_slots) */
    uint32_t n_slots;
    uint32_t taken; /* list through next, oldest first: of the engine thread alone */
    uint32_t seen;  /* value of reasons when the last wait returned: engine thread */
    _Alignas(CACHE_LINE) _Atomic uint64_t free; /* tag << 32 | top */
    _Alignas(CACHE_LINE) _Atomic uint32_t fresh;
    _Atomic uint32_t waiting;
    _Alignas(CACHE_LINE) _Atomic uint32_t reasons;
    _Atomic uint32_t asleep;
    _Atomic int32_t shut; /* 0 or the status of every later submit */
};

static uint32_t take_free(struct queue *q)
{
    uint64_t top = atomic_load(&q->free);
    for (;;) {
        uint32_t i = (uint32_t)top;
        if (i == NONE)
            return NONE;
        uint64_t rest = (top >> 32) + 1;
        rest = rest << 32 | atomic_load_explicit(&q->slot[i].next, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&q->free, &top, rest))
            return i;
    }
}

static void give_free(struct queue *q, uint32_t i)
{
    uint64_t top = atomic_load(&q->free), mine;
    do {
        atomic_store_explicit(&q->slot[i].next, (uint32_t)top, memory_order_relaxed);
        mine = ((top >> 32) + 1) << 32 | i;
    } while (!atomic_compare_exchange_weak(&q->free, &top, mine));
}

int32_t queue_open(struct queue **out, const struct mem *mem, uint32_t slots, struct err *err)
{
    *out = NULL;
    struct queue *q = mem_take_zeroed(mem, sizeof *q, CACHE_LINE);
    if (!q)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the queue");
    q->mem = *mem;
    q->slot = mem_take_zeroed(mem, slots * sizeof *q->slot, CACHE_LINE);
    if (!q->slot) {
        mem_give(mem, q, sizeof *q);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a queue of %u requests", slots);
    }
    q->n_slots = slots;
    q->taken = NONE;
    atomic_init(&q->free, NONE);
    atomic_init(&q->fresh, NONE);
    for (uint32_t i = slots; i-- > 0;)
        give_free(q, i);
    *out = q;
    return INFLIGHT_OK;
}

static void drop_bytes(struct queue *q, struct slot *slot)
{
    mem_give(&q->mem, slot->bytes, slot->n_bytes);
    slot->bytes = NULL;
    slot->n_bytes = 0;
}

void queue_close(struct queue *q)
{
    if (!q)
        return;
    for (uint32_t i = 0; i < q->n_slots; i++)
        drop_bytes(q, &q->slot[i]);
    struct mem mem = q->mem;
    mem_give(&mem, q->slot, q->n_slots * sizeof *q->slot);
    mem_give(&mem, q, sizeof *q);
}

void queue_wake(struct queue *q)
{
    atomic_fetch_add(&q->reasons, 1);
    if (atomic_load(&q->asleep))
        futex_wake(&q->reasons, 1);
}

void queue_wait(struct queue *q, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    bool forever = deadline_ns == UINT64_MAX;
    while (atomic_load(&q->reasons) == q->seen) {
        if (!forever && clock_ns() >= deadline_ns)
            return;
        atomic_store(&q->asleep, 1);
        /* BITSET: the time is absolute and of CLOCK_MONOTONIC. */
        (void)syscall(SYS_futex, &q->reasons, FUTEX_WAIT_BITSET_PRIVATE, q->seen,
                      forever ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
        atomic_store(&q->asleep, 0);
    }
    q->seen = atomic_load(&q->reasons);
}

/* Input and options in one block, each followed by a NUL for readers that want one. */
static int32_t copy_bytes(const struct queue *q, const inflight_request *request, char **block,
                          size_t *n)
{
    *block = NULL;
    if (request->input.len > SIZE_MAX / 4 || request->options.len > SIZE_MAX / 4)
        return INFLIGHT_E_NOMEM;
    size_t input = (size_t)request->input.len, options = (size_t)request->options.len;
    *n = input + options + 2;
    char *p = mem_take(&q->mem, *n, 16);
    if (!p)
        return INFLIGHT_E_NOMEM;
    if (input)
        memcpy(p, request->input.ptr, input);
    p[input] = '\0';
    if (options)
        memcpy(p + input + 1, request->options.ptr, options);
    p[input + 1 + options] = '\0';
    *block = p;
    return INFLIGHT_OK;
}

static void push_fresh(struct queue *q, uint32_t i)
{
    atomic_fetch_add(&q->waiting, 1);
    uint32_t top = atomic_load(&q->fresh);
    do
        atomic_store_explicit(&q->slot[i].next, top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&q->fresh, &top, i));
}

int32_t queue_submit(struct queue *q, const inflight_request *request, inflight_req *id,
                     struct err *err)
{
    int32_t shut = atomic_load(&q->shut);
    if (shut)
        return err_set(err, shut, "the engine takes no more requests");
    uint32_t i = take_free(q);
    if (i == NONE)
        return err_set(err, INFLIGHT_E_BUSY,
                       "all %u requests of the queue are in use: poll, then submit again",
                       q->n_slots);
    struct slot *slot = &q->slot[i];
    char *block;
    if (copy_bytes(q, request, &block, &slot->n_bytes)) {
        slot->n_bytes = 0;
        give_free(q, i);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to copy a request of %llu bytes",
                       (unsigned long long)request->input.len);
    }
    slot->bytes = block;
    slot->generation += slot->generation == UINT32_MAX ? 2 : 1;
    inflight_req mine = (uint64_t)slot->generation << 32 | (i + 1);
    size_t input = (size_t)request->input.len;
    slot->request = (struct request){
        .id = mine,
        .user = request->user,
        .submit_ns = clock_ns(),
        .deadline_ns = request->deadline_ns,
        .kind = request->kind,
        .priority = request->priority,
        .overflow = request->overflow,
        .flags = request->flags,
        .max_tokens = request->max_tokens,
        .input = {block, input},
        .options = {block + input + 1, (size_t)request->options.len},
    };
    atomic_store(&slot->live, mine);
    *id = mine; /* before the push: the host may see events of it right after */
    push_fresh(q, i);
    queue_wake(q);
    return INFLIGHT_OK;
}

int32_t queue_cancel(struct queue *q, inflight_req id)
{
    uint32_t i = (uint32_t)id - 1;
    if (i >= q->n_slots || atomic_load(&q->slot[i].live) != id)
        return INFLIGHT_E_STALE;
    /* Only forwards: a slow cancel of an earlier request of this slot changes nothing. */
    inflight_req known = atomic_load(&q->slot[i].cancelled);
    while (known < id)
        if (atomic_compare_exchange_weak(&q->slot[i].cancelled, &known, id)) {
            queue_wake(q);
            break;
        }
    return INFLIGHT_OK;
}

/* Everything fresh, newest first, goes to the end of taken, oldest first. */
static void turn_round(struct queue *q)
{
    uint32_t i = atomic_exchange(&q->fresh, NONE), list = NONE;
    while (i != NONE) {
        uint32_t next = atomic_load_explicit(&q->slot[i].next, memory_order_relaxed);
        atomic_store_explicit(&q->slot[i].next, list, memory_order_relaxed);
        list = i;
        i = next;
    }
    q->taken = list;
}

uint32_t queue_take(struct queue *q, uint32_t *slot, uint32_t cap)
{
    uint32_t n = 0;
    while (n < cap) {
        if (q->taken == NONE)
            turn_round(q);
        if (q->taken == NONE)
            break;
        slot[n++] = q->taken;
        q->taken = atomic_load_explicit(&q->slot[q->taken].next, memory_order_relaxed);
    }
    if (n)
        atomic_fetch_sub(&q->waiting, n);
    return n;
}

const struct request *queue_at(const struct queue *q, uint32_t slot)
{
    return &q->slot[slot].request;
}

bool queue_cancelled(const struct queue *q, uint32_t slot)
{
    return atomic_load(&q->slot[slot].cancelled) == q->slot[slot].request.id;
}

uint32_t queue_waiting(const struct queue *q)
{
    return atomic_load(&q->waiting);
}

void queue_retire(struct queue *q, uint32_t slot)
{
    atomic_store(&q->slot[slot].live, 0);
    drop_bytes(q, &q->slot[slot]);
    give_free(q, slot);
}

void queue_shut(struct queue *q, int32_t status)
{
    atomic_store(&q->shut, status);
    queue_wake(q);
}
