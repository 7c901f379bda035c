/* A long prompt joins answers that are being generated: how long steps take and how long
 * the answers wait for their next token until it is computed. */
#ifndef BENCH_JOINING_H
#define BENCH_JOINING_H

#include "client.h"

#define JOINING_SEQUENCES 9 /* the last one is the prompt */

/* The engine is open for JOINING_SEQUENCES sequences; at most STATS_ROUNDS rounds. */
void joining_bench(struct client *client, int prompt_tokens, int rounds);

#endif
