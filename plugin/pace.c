/* A step beside answers takes about what the answers alone take, and so much for each
 * token of a prompt. Both change with the contexts and with what else the machine does, so
 * each step corrects the limit, by a factor of two at most. A model whose answers alone
 * take longer than half of the wanted time gets twice their time, or no prompt would ever
 * be done. */
#include "pace.h"

#define LEAST_TOKENS 8 /* what products take at once: smaller pieces cost as much */
#define FIRST_TOKENS 32

void pace_init(struct pace *pace, int32_t aim_ms, int32_t most)
{
    *pace = (struct pace){.aim_ns = (uint64_t)aim_ms * 1000000u, .most = most};
    pace->tokens = aim_ms ? MIN(FIRST_TOKENS, most) : most;
}

static void learn_decode(struct pace *pace, uint64_t step_ns)
{
    if (pace->decode_ns == 0)
        pace->decode_ns = step_ns;
    else
        pace->decode_ns = (3 * pace->decode_ns + step_ns) / 4;
}

void pace_learn(struct pace *pace, uint64_t step_ns, int32_t n_decode, int32_t n_prefill)
{
    if (pace->aim_ns == 0 || n_decode == 0)
        return;
    if (n_prefill == 0) {
        learn_decode(pace, step_ns);
        return;
    }
    uint64_t aim_ns = MAX(pace->aim_ns, 2 * pace->decode_ns);
    /* At least a quarter of the step was the prompts'. */
    uint64_t prefill_ns = step_ns - MIN(pace->decode_ns, step_ns / 4 * 3);
    double fit = (double)n_prefill * (double)(aim_ns - pace->decode_ns) / (double)(prefill_ns + 1);
    /* A step in time with few tokens says nothing against more. */
    if (step_ns <= aim_ns && fit < pace->tokens)
        return;
    fit = MIN(MAX(fit, pace->tokens * 0.5), pace->tokens * 2.0);
    pace->tokens = MIN(MAX((int32_t)fit, LEAST_TOKENS), pace->most);
}
