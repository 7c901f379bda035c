/* Which matrices stay finer than the recipe makes them, so that all that are converted have so many
 * bits a weight on average: those where it gains most for its bytes, one after another.
 *
 *   int4 -> in groups of 64 -> of 32 -> int8 -> as it is       others -> as it is
 *
 * What a matrix costs (output.cost), as rounded to the nearest:
 *   with samples    the error of its outputs, as a share of their squares, times what its half of
 *                   the layer adds to the hidden state, as a share of that: what is changed of it
 *   without         the error of its weights, as a share of their squares
 *
 * Matrices that other engines multiply as one, q, k and v, gate and up, go together: a model in
 * which they differ in format is not loaded there. */
#pragma once

#include "calibrate.h"

/* INFLIGHT_E_ARG: the recipe alone needs more bits than params->budget, which is above 0. */
int32_t budget_check(const struct quantize_plan *plan, const struct quantize_params *params,
                     struct err *err);

/* Measures all that is converted, decides, and places what is to be written anew. */
int32_t budget_spend(struct quantize_plan *plan, const struct calibration_source *source,
                     struct err *err);

/* What was decided, on standard output; as JSON, owned by the caller. */
void budget_print(const struct quantize_plan *plan, const struct quantize_params *params);
json_t *budget_describe(const struct quantize_plan *plan, const struct quantize_params *params);
