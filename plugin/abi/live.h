/* The handles of this process. A handle is not an address: it names a place in a fixed
 * table and a generation, so a stale, foreign or invented one is an error and is never
 * followed. It is also where calls in progress are counted, so that free can wait for
 * them. This table is the library's only process-wide state besides hooks and thread
 * errors; all are fixed, lock-free or held for a copy of a few bytes. */
#pragma once

#include "../base/err.h"

struct instance;

#define LIVE_MOST 64 /* engines at a time */

/* INFLIGHT_E_BUSY if there are LIVE_MOST. The instance is reachable from here on. */
int32_t live_add(struct instance *instance, inflight_engine **handle, struct err *err);

/* Begins a call. On INFLIGHT_OK the instance stays until live_leave. INFLIGHT_E_ARG for
 * NULL, INFLIGHT_E_STALE, INFLIGHT_E_SHUTDOWN while it is being freed. */
int32_t live_enter(const inflight_engine *handle, struct instance **instance);
void live_leave(const inflight_engine *handle);

/* Ends the handle's life for new calls; only the first caller gets INFLIGHT_OK and the
 * instance. The others see what live_enter would. */
int32_t live_retire(const inflight_engine *handle, struct instance **instance);

/* Waits until no call is in progress. Calls are bounded, and a poll that waits has been
 * woken, so this is short. */
void live_drain(const inflight_engine *handle);

/* Gives the place free. */
void live_remove(const inflight_engine *handle);
