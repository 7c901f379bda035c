/* Steps that are launched while one is under way.
 *
 * Each fills one half of `chosen` on the device, by turns, with the tokens of its rows and behind
 * them the reports of those with log probabilities (choose.h); the step behind it reads the tokens
 * there, and the host has a copy of both, made in one piece, once it has settled the step. */
#pragma once

#include "choose.h"
#include "driver.h"

#include "../backend.h"

#include <assert.h>

struct ahead {
    int32_t *chosen;              /* pinned, (STEPS_AHEAD, ahead_stride) */
    CUevent settled[STEPS_AHEAD]; /* behind the copy of what a step has chosen */
    int32_t rows[STEPS_AHEAD];
    int32_t places[STEPS_AHEAD]; /* of tokens: rows, and dead ones behind them (step.h) */
    int32_t reports[STEPS_AHEAD];
    uint64_t n_launched, n_settled; /* since opening */
};

static_assert(STEPS_AHEAD == 2, "a step reads one half of chosen and fills the other");

/* Numbers of one half: tokens of as many rows as there can be, and as many reports. */
static inline int32_t ahead_stride(const struct device_config *config)
{
    return config->max_rows * (int32_t)(1 + sizeof(struct row_report) / sizeof(int32_t));
}

/* Host memory that is pinned for both halves. */
static inline uint64_t ahead_bytes(const struct device_config *config)
{
    return (uint64_t)STEPS_AHEAD * (uint64_t)ahead_stride(config) * sizeof(int32_t);
}

/* Between cuda_enter and cuda_leave. */
int32_t ahead_open(struct device *device, struct err *err);
void ahead_close(struct device *device);

/* As in struct backend. */
int ahead_launch(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg);
int ahead_settle(struct device *device, struct sample_output *output);
