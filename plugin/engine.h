/* The engine: one thread that owns everything but the queue, the ring and the wake-up.
 *
 * | stage      | file                        | reads -> writes                | thread     |
 * |------------|-----------------------------|--------------------------------|------------|
 * | submit     | abi.c -> queue.c            | host request -> queue          | any host   |
 * | admit      | admit.c -> seq.c            | queue -> sequences             | engine     |
 * | schedule   | sched.c (+ kv.c, prefix.c)  | sequences, pages -> picks      | engine     |
 * | batch      | batch.c                     | picks -> flat arrays           | engine     |
 * | forward    | step.c -> model/decoder.c   | plan, batch -> logits          | all lanes  |
 * | sample     | rows.c -> sample.c          | logits -> tokens               | all lanes  |
 * | detokenize | detok.c                     | tokens -> bytes                | engine     |
 * | emit       | emit.c -> ring.c            | sequence -> events             | engine     |
 * | poll       | abi.c -> ring.c             | events -> host                 | host       |
 *
 * On a device that computes by itself the next step is launched before the tokens of one are
 * known; forward and sample are one there (choices.c), see step.c.
 */
#pragma once

#include "config/config.h"
#include "exchange/queue.h"
#include "exchange/ring.h"

struct engine;
struct model;

/* What the host lends. Structs are copied; what they point to outlives the engine. */
struct engine_host {
    struct mem mem;
    const inflight_io *io; /* full-size copy kept by the engine, or NULL */
    void *user;
    void (*log)(void *user, int32_t level, const char *line, uint64_t len);
    void (*wakeup)(void *user);
    bool plan_only;
    void *cuda_context; /* CUcontext, or NULL */
};

/* Takes over the arena with the configuration in it: *arena is empty afterwards, also on
 * failure. Starts the engine thread, which loads the model, reports READY and then steps
 * until close. Returns in milliseconds. */
int32_t engine_open(struct engine **out, const struct engine_host *host,
                    const struct config *config, struct arena *arena, struct err *err);

/* Every request gets its DONE in the ring's books, threads are joined, all is released.
 * INFLIGHT_E_BUSY when called on a thread of the engine itself (from a hook). No other call
 * may be running: inflight_free has waited for them, so nothing is accepted after the end. */
int32_t engine_close(struct engine *e);

struct queue *engine_queue(struct engine *e);
struct ring *engine_ring(struct engine *e);

/* [any thread, bounded] */
int32_t engine_control(struct engine *e, uint32_t op, uint32_t value, struct err *err);
void engine_run_until(struct engine *e, uint64_t until_ns);     /* as time_slice_grant */
void engine_stats(const struct engine *e, inflight_stats *out); /* all but the header */

/* Answers of inflight_query as text; INFLIGHT_E_STATE before they are known. */
int32_t engine_text(const struct engine *e, uint32_t what, struct buf *out);

/* The model once READY with status 0, otherwise NULL. Valid until close. [any thread] */
const struct model *engine_model(const struct engine *e);

/* For tests: called on the engine thread with every row of logits before sampling. */
typedef void engine_tap(void *user, inflight_req req, uint32_t choice, int32_t position,
                        const float *logits, int32_t V);
void engine_set_tap(struct engine *e, engine_tap *tap, void *user); /* before any submit */
