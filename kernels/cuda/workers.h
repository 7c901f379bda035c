/* Threads of the host that load weights together; they sleep between two jobs. */
#pragma once

#include "../../plugin/base/err.h"
#include "../../plugin/base/mem.h"

struct workers;

#define WORKERS_MOST 32

/* n: the caller of workers_run among them, at most WORKERS_MOST. NULL if there is no memory; fewer
 * threads than asked for are no failure. */
struct workers *workers_open(int n, const struct mem *mem);

/* Joins all threads. NULL is allowed. */
void workers_close(struct workers *workers, const struct mem *mem);

int workers_count(const struct workers *workers);

/* body(arg, i) for i from 0 to n - 1 at once, 0 on the caller's thread and at most one call for
 * each thread; returns when all have returned. One caller at a time. */
void workers_run(struct workers *workers, int n, void (*body)(void *arg, int i), void *arg);
