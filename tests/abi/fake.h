/* What the parts of the stand-in engine share. */
#pragma once

#include "plugin/engine.h"

struct fake_config {
    uint64_t token_us, load_us; /* of one token of all requests; of loading */
    uint32_t requests, stream_bytes;
    bool broken; /* loading fails */
};

/* Behind the struct config that fake_config.c filled. */
const struct fake_config *fake_config_of(const struct config *config);
