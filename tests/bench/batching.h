/* In-flight against static batching on one list of requests, in one engine. */
#ifndef BENCH_BATCHING_H
#define BENCH_BATCHING_H

#include "client.h"

#define BATCHING_PLACES 16

/* The engine is open for BATCHING_PLACES sequences; at most STATS_ROUNDS rounds. */
void batching_bench(struct client *client, int rounds);

#endif
