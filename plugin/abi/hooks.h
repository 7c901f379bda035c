/* The host's callbacks behind trampolines that note which threads are inside one, so
 * that freeing an engine from a hook is an error instead of a thread that joins itself. */
#pragma once

#include "../base/mem.h"

/* The host's side, at a fixed address while the engine lives. */
struct hooks {
    inflight_alloc alloc;
    inflight_io io;
    inflight_io io_wrapped; /* what the engine calls */
    void *user;
    void (*log)(void *user, int32_t level, const char *line, uint64_t len);
    void (*wakeup)(void *user);
};

/* What the engine calls instead; user is the struct hooks. The last two only if the host
 * gave one. */
struct mem hooks_mem(struct hooks *hooks);        /* the system's without an alloc hook */
const inflight_io *hooks_io(struct hooks *hooks); /* NULL without */
void hooks_log(void *hooks, int32_t level, const char *line, uint64_t len);
void hooks_wakeup(void *hooks);

/* The calling thread is inside a hook, of any engine. */
bool hooks_inside(void);
