/* How many prompt tokens may be computed in a step in which answers go on: as many as keep
 * the step near a wanted time on this machine, learnt from the steps so far. */
#pragma once

#include "base/base.h"

struct pace {
    uint64_t aim_ns;    /* 0: no limit */
    uint64_t decode_ns; /* of late, a step in which nothing but answers went on; 0: none yet */
    int32_t tokens;     /* the limit now in force */
    int32_t most;
};

/* aim_ms 0: always most. */
void pace_init(struct pace *pace, int32_t aim_ms, int32_t most);

/* A step took so long, for so many tokens of answers and of prompts. */
void pace_learn(struct pace *pace, uint64_t step_ns, int32_t n_decode, int32_t n_prefill);
