/* Requests from many host threads to the one engine thread: a fixed table of slots
 * and a bounded list of new ones. A slot lives from submit until its DONE has been
 * polled. Also the engine thread's place to sleep. */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

struct queue;

/* One accepted request. Read-only after submit, owned by the queue until retired. */
struct request {
    inflight_req id;
    uint64_t user;
    uint64_t submit_ns;
    uint64_t deadline_ns; /* 0: none */
    uint32_t kind, priority, overflow, flags, max_tokens;
    struct str input, options;
};

int32_t queue_open(struct queue **out, const struct mem *mem, uint32_t slots, struct err *err);
void queue_close(struct queue *q);

/* Copies the request (already checked and of full size) and wakes the engine.
 * INFLIGHT_E_BUSY when no slot is free, INFLIGHT_E_NOMEM. [any thread, bounded] */
int32_t queue_submit(struct queue *q, const inflight_request *request, inflight_req *id,
                     struct err *err);

/* INFLIGHT_E_STALE for an id that names nothing any more. [any thread, bounded] */
int32_t queue_cancel(struct queue *q, inflight_req id);

/* Wakes the engine thread. [any thread, bounded] */
void queue_wake(struct queue *q);

/* Sleeps until a submit, cancel or wake that came after the last wait returned, or
 * until deadline_ns (UINT64_MAX: none). [engine thread] */
void queue_wait(struct queue *q, uint64_t deadline_ns);

/* Moves up to cap newly submitted slots, oldest first; returns how many. [engine thread] */
uint32_t queue_take(struct queue *q, uint32_t *slot, uint32_t cap);

const struct request *queue_at(const struct queue *q, uint32_t slot); /* [engine thread] */
bool queue_cancelled(const struct queue *q, uint32_t slot);           /* [engine thread] */

/* Submitted and not yet taken. [any thread] */
uint32_t queue_waiting(const struct queue *q);

/* The request is over and its DONE was handed out: frees the slot. [poll thread] */
void queue_retire(struct queue *q, uint32_t slot);

/* From now on submit answers with status. [any thread] */
void queue_shut(struct queue *q, int32_t status);
