/* What an engine is made of. For engine.c and the files it is split into (load, admit,
 * control, board); every other module sees its neighbours only. */
#pragma once

#include "batch.h"
#include "board.h"
#include "choices.h"
#include "emit.h"
#include "engine.h"
#include "pace.h"
#include "rows.h"
#include "sched.h"

#include "base/thread.h"
#include "base/time_slice.h"
#include "model/model.h"

#include <stdatomic.h>

/* A process has no more devices to lose. */
#define MODELS_LOST 4

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
    struct time_slice slice;     /* the engine thread and the lanes keep to it */

    /* Of the engine thread from here on. */
    struct model *model;
    struct model *lost[MODELS_LOST]; /* (n_lost) unloaded; hosts may still read their headers */
    int32_t n_lost;
    bool is_lost;             /* the model's device is, and nothing was done about it yet */
    struct fallback fallback; /* devices that "auto" could not use */
    struct kv kv;
    struct prefix prefix;
    struct sched sched;
    struct pace pace;
    struct batch_space batch[STEPS_AHEAD]; /* by turns */
    struct rows rows;
    struct choices choices;         /* for a device that chooses */
    uint64_t n_launched, n_settled; /* steps; those between are under way, step.c */
    uint64_t settled_ns;            /* slice's clock when the last of these had been settled */
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
/* The device is lost and nothing is under way: the model goes to the next device that may serve
 * it, or e->failed says why there is none. Says DEVICE. */
void load_elsewhere(struct engine *e);
/* Gives back what both took. */
void load_release(struct engine *e);

/* New requests become jobs; cancelled and late ones are over; those the host has made
 * room for go on. */
void admit_requests(struct engine *e);

/* One step for the picks: computed and its tokens emitted, or launched while the one before is
 * emitted. True: something was done. */
bool step_run(struct engine *e);

/* Waits for all steps that are under way and emits their tokens. */
void step_settle(struct engine *e);

/* Nobody asks for sequences of this job any more. */
void step_forget(struct engine *e, const struct job *job);

/* The controls that came since the last turn, each answered with a BUDGET event. */
void control_apply(struct engine *e);

/* A line for the host, if its level is wanted. */
void engine_log(struct engine *e, int32_t level, const char *format, ...) PRINTF_LIKE(3, 4);
