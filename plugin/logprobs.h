/* One sampled token with its alternatives as JSON, in OpenAI's fields:
 * {"token":"...","logprob":-0.5,"bytes":[...],"top_logprobs":[{...}, ...]}. */
#pragma once

#include "sample.h"

#include "base/buf.h"
#include "text/tokenizer.h"

void logprobs_print(struct buf *out, const struct tokenizer *tokenizer,
                    const struct sample_output *output);
