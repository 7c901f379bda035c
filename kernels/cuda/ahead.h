/* Steps that are launched while one is under way.
 *
 * Each fills one half of `chosen` on the device, by turns, with the tokens of its rows (choose.h);
 * the step behind it reads them there, and the host has a copy once it has settled the step. */
#pragma once

#include "driver.h"

#include "../backend.h"

#include <assert.h>

struct ahead {
    int32_t *token;               /* pinned, (STEPS_AHEAD, max_rows): what was chosen */
    CUevent settled[STEPS_AHEAD]; /* behind the copy of a step's tokens */
    int32_t rows[STEPS_AHEAD];
    uint64_t n_launched, n_settled; /* since opening */
};

static_assert(STEPS_AHEAD == 2, "a step reads one half of chosen and fills the other");

/* Host memory that is pinned for the tokens. */
static inline uint64_t ahead_bytes(const struct device_config *config)
{
    return (uint64_t)STEPS_AHEAD * (uint64_t)config->max_rows * sizeof(int32_t);
}

/* Between cuda_enter and cuda_leave. */
int32_t ahead_open(struct device *device, struct err *err);
void ahead_close(struct device *device);

/* As in struct backend. */
int ahead_launch(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg);
int ahead_settle(struct device *device, int32_t *token);
