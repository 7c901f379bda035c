/* A request's options: JSON with OpenAI's field names -> struct sampling. Unknown
 * keys, wrong types and values out of range are refused by name, with "did you mean". */
#pragma once

#include "../base/arena.h"
#include "../base/err.h"
#include "sampling.h"

/* The engine's defaults when the configuration says nothing. */
struct sampling sampling_default(void);

/* Changes in *sampling what json sets; empty json changes nothing. Arrays go to the
 * arena. INFLIGHT_E_ARG with the key and the allowed range. */
int32_t options_parse(struct sampling *sampling, struct str json, struct arena *arena,
                      struct err *err);
