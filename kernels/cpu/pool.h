/* The threads of a CPU device. The caller of pool_run is lane 0; the other lanes are
 * persistent threads, asleep in the kernel while nothing runs: an idle engine takes no
 * time. Between two runs, and at a barrier, a lane spins for a few tens of microseconds
 * before it sleeps, unless there are more lanes than cores or spinning did not help of late. */
#pragma once

#include "cpu.h"

#define POOL_LANES_MAX 1024

/* Bytes pool_open takes for so many lanes. */
size_t pool_bytes(int threads);

/* threads: lanes, 1 .. POOL_LANES_MAX. device is what lane->device shows to bodies; it is
 * not touched. mem is borrowed until close. */
int32_t pool_open(struct pool **pool, int threads, struct device *device, const struct mem *mem,
                  struct err *err);

/* Joins every thread. NULL is allowed. Outside run. */
void pool_close(struct pool *pool);

/* body on every active lane; the first non-zero result in the order of lanes. One caller at
 * a time. Bodies must all reach the same barriers. */
int pool_run(struct pool *pool, int (*body)(struct lane *lane, void *arg), void *arg);

/* Lanes of the next runs, held to 1 .. threads. Outside run. */
void pool_set_active(struct pool *pool, int active);
int pool_active(const struct pool *pool);

/* Barriers so far, as lane 0 counted them. Outside run. */
uint64_t pool_barriers(const struct pool *pool);
