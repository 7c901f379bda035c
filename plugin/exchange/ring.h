/* Events from the engine thread to the one polling host thread, without a lock
 * between them: each request slot has a bounded single-producer single-consumer
 * stream of records, and a DONE record of its own that can never be lost.
 *
 * The descriptor is level-triggered: readable exactly while poll would return
 * something. It is written only when the ring goes from empty to non-empty and
 * drained by the poll that empties it. */
#pragma once

#include "queue.h"

struct ring;

struct ring_config {
    uint32_t slots;
    uint32_t stream_bytes; /* per slot, 24 bytes of header per record included; at least 16 KiB */
    void *user;
    void (*wakeup)(void *user);
};

/* The queue is told to retire a slot when its DONE has been polled. */
int32_t ring_open(struct ring **out, const struct mem *mem, const struct ring_config *config,
                  struct queue *queue, struct err *err);
void ring_close(struct ring *r);

/* From now on poll returns INFLIGHT_E_SHUTDOWN, also one that waits. [any thread] */
void ring_shut(struct ring *r);
int ring_fd(const struct ring *r);

/* ---- [engine thread] */

/* Before the first record of a slot's request. overflow, flags as in inflight_request. */
void ring_begin(struct ring *r, uint32_t slot, const struct request *request);

enum ring_result {
    RING_OK,
    RING_FULL, /* nothing was written (park and fail policies); drop_oldest never says so.
                  The poll that makes room calls queue_wake. */
};

/* Text of one token or of several; choice < 128. More than 8 KiB in one call are cut at
 * a code point and marked as a gap; JSON of more than 8 KiB is left out. */
enum ring_result ring_text(struct ring *r, uint32_t slot, uint32_t choice, struct str text,
                           uint32_t n_tokens);
enum ring_result ring_logprobs(struct ring *r, uint32_t slot, uint32_t choice, struct str json);

/* The end of one choice of several: a TEXT with INFLIGHT_EVF_LAST, merged with text that
 * is still pending. Never fails. */
void ring_last(struct ring *r, uint32_t slot, uint32_t choice, uint32_t finish);

/* At least half of the stream buffer is free: a parked sequence may go on. */
bool ring_half_free(const struct ring *r, uint32_t slot);

/* The end of a request. Never fails; exactly once per ring_begin. */
struct ring_done {
    int32_t status;
    uint32_t finish, n_tokens, n_prompt, n_cached;
    uint64_t ttft_ns, total_ns;
    struct str text; /* error sentence, cut at 256 bytes */
};
void ring_done(struct ring *r, uint32_t slot, const struct ring_done *done);

/* Engine events. LOAD keeps only the newest; READY and DEVICE, each at most once, are never lost;
 * LOG and BUDGET are dropped when more than 64 are pending. data is copied (LOAD, LOG: cut at 256
 * bytes, the other two at 4096). */
void ring_load(struct ring *r, const char *stage, uint64_t done, uint64_t total);
void ring_ready(struct ring *r, int32_t status, struct str json);
void ring_device(struct ring *r, int32_t status, struct str json);
void ring_budget(struct ring *r, int32_t status, uint64_t value);
void ring_log(struct ring *r, int32_t level, struct str line);

/* ---- [poll thread] */

/* See inflight_poll. Concurrent calls: INFLIGHT_E_BUSY. */
int32_t ring_poll(struct ring *r, inflight_event *events, uint32_t stride, uint32_t cap,
                  uint64_t timeout_ns);
