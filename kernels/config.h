/* The checks of a configuration that are the same for every back end. */
#pragma once

#include "backend.h"

/* Each number in its range, heads that share evenly; dim_most is the back end's widest head.
 * What passes keeps every product of sizes in 64 bits. */
int32_t device_config_check(const struct device_config *config, int32_t dim_most, struct err *err);

/* The pool in bytes->kv and kv_token, from the bytes of one page; INFLIGHT_E_NOMEM if no
 * memory can hold it. */
int32_t device_config_pool(const struct device_config *config, uint64_t page,
                           struct device_bytes *bytes, struct err *err);
