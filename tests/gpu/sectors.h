/* Which sectors of global memory each launch has touched: what DRAM must move at least where a
 * cache holds all that is asked for again. Thread safe. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SECTOR 32 /* bytes that global memory moves at least */

/* A number for a launch, from 1 on. */
uint32_t sectors_launch(void);

/* How many of the n sectors (addresses / SECTOR) the launch reads, or writes, for the first time:
 * they are marked. */
uint32_t sectors_touch(uint32_t launch, const uint64_t *sector, uint32_t n, bool writes);

void sectors_end(void); /* frees all */
