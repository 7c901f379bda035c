/* What is behind an inflight_engine handle: the engine, and what the boundary itself
 * needs around it. */
#pragma once

#include "../base/thread.h"
#include "../engine.h"
#include "hooks.h"
#include "live.h"
#include "pin.h"

struct instance {
    struct hooks hooks;
    struct mem mem;         /* over hooks */
    _Atomic uint64_t taken; /* bytes of mem that are taken */
    struct engine *engine;
    struct queue *queue; /* of the engine */
    struct ring *ring;
    struct fork_guard guard;
    void *pin;            /* reference to this object, or NULL */
    pthread_mutex_t lock; /* of last, held for a copy */
    struct err last;      /* the last failure that a caller was told */
};

int32_t instance_open(const inflight_init_params *params, inflight_engine **handle,
                      struct err *err);

/* What is left to do when an instance is gone: return the status, after giving the pin
 * back if there is one. */
struct farewell {
    void *pin;
    int32_t status;
};

/* Wakes a waiting poll, waits for calls in progress, closes the engine. INFLIGHT_E_BUSY
 * inside a hook. Releases nothing unless the status is INFLIGHT_OK. */
struct farewell instance_close(inflight_engine *handle);

/* Every call on an engine stands between these two; leave only after INFLIGHT_OK. */
int32_t instance_enter(const inflight_engine *handle, struct instance **instance);
void instance_leave(const inflight_engine *handle);

/* Keeps a failure for INFLIGHT_Q_ERROR and returns its code. */
int32_t instance_fail(struct instance *instance, const struct err *err);
void instance_last(struct instance *instance, struct err *err);
