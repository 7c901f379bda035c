/* What a request asks of sampling, and the configuration of all requests. */
#pragma once

#include "../../kernels/batch.h"
#include "../base/base.h"

struct logit_bias {
    int32_t token;
    float bias; /* added to the logit, -100 .. 100 */
};

/* What a request asks for; see options.h for the JSON names and ranges. */
struct sampling {
    float temperature;        /* 0: greedy */
    float top_p;              /* 1: off; 0: greedy */
    float min_p;              /* 0: off */
    int32_t top_k;            /* 0: off; 1: greedy */
    float repetition_penalty; /* 1: off; divides positive logits, multiplies negative */
    float presence_penalty;   /* 0: off; over generated tokens only, as OpenAI */
    float frequency_penalty;
    uint64_t seed;
    bool has_seed; /* otherwise the engine draws one per request */
    bool ignore_eos;
    bool skip_special_tokens; /* in the text of answers */
    int32_t max_tokens;       /* 0: until the context is full */
    int32_t min_tokens;
    int32_t n;
    int32_t logprobs; /* -1: none; 0 .. TOP_LOGPROBS alternatives per token */
    int32_t n_bias, n_stop, n_stop_token;
    const struct logit_bias *bias; /* these arrays: in the request's arena */
    const struct str *stop;
    const int32_t *stop_token;
};
