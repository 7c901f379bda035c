/* What an engine is made of. For engine.c and the files it is split into (load, admit,
 * control, board); every other module sees its neighbours only. */
#pragma once

#include "batch.h"
#include "board.h"
#include "emit.h"
#include "engine.h"
#include "pace.h"
#include "rows.h"
#include "sched.h"

#include "base/thread.h"
#include "model/model.h"

#include <stdatomic.h>

struct engine {
    /* Written by open, read by any thread afterwards. */
    struct engine_host host;
    inflight_io io;
    struct arena arena; /* owned: the configuration's strings, job, live */
    struct config config;
    int32_t threads; /* most lanes */
    struct queue *queue;
    struct ring *ring;
    struct board *board;
    struct thread thread;
    engine_tap *tap;
    void *tap_user;

    /* Shared. */
    _Atomic bool stop;
    struct model *_Atomic ready; /* set once, when READY says 0 */

    /* Of the engine thread from here on. */
    struct model *model;
    struct fallback fallback; /* devices that "auto" could not use */
    struct kv kv;
    struct prefix prefix;
    struct sched sched;
    struct pace pace;
    struct batch_space batch;
    struct rows rows;
    struct emit emit;
    int32_t *end; /* (n_end) owned; the tokenizer's end tokens */
    int32_t n_end;
    int32_t context;   /* most tokens of a sequence */
    struct err failed; /* with a code: every request is answered with it */
    struct job *job;   /* (config.max_requests), by slot */
    uint32_t *live;    /* (config.max_requests) slots with a job */
    uint32_t n_live;
    uint64_t n_admitted;
    uint64_t seed; /* from the clock; with n_admitted, the seed of requests without one */
    int32_t active_threads;
    bool paused;
    bool idle;       /* the last turn had nothing to do: wait for a reason */
    uint64_t now_ns; /* clock at the beginning of this turn */
    struct board_counts counts;
};

/* Loads the model and says READY. Afterwards e->failed tells how it went. */
void load_run(struct engine *e);
/* Gives back what load_run took. */
void load_release(struct engine *e);

/* New requests become jobs; cancelled and late ones are over; those the host has made
 * room for go on. */
void admit_requests(struct engine *e);

/* The controls that came since the last turn, each answered with a BUDGET event. */
void control_apply(struct engine *e);

/* A line for the host, if its level is wanted. */
void engine_log(struct engine *e, int32_t level, const char *format, ...) PRINTF_LIKE(3, 4);
