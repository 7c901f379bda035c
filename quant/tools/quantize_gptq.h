/* GPTQ, Frantar et al. 2022: columns are rounded one after another, and the error of each is passed
 * on to those that are not rounded yet, so that the outputs change least.
 *
 *   for column j:  e = (w[j] - rounded(w[j])) / U[j][j]
 *                  w[i] -= e U[j][i] for i > j                 U of quantize_factor.h
 *
 * A group's grid is that of encode_int4, of the weights as they are when its first column is due;
 * with an order of columns (those whose inputs are largest first) grids are of the weights as they
 * were, since the columns of a group are not rounded together. Rows do not depend on one another,
 * and each thread takes some of them through all columns. */
#pragma once

#include "quantize_factor.h"

#include "../encode_int4.h"
#include "../quant.h"

struct gptq {
    const struct factor *factor; /* of K columns, in its order */
    enum fmt fmt;                /* one of int4 */
    struct int4_style style;
    int32_t threads;
};

/* W (N, K) to rows of fmt. */
int32_t gptq_round(const struct gptq *g, const float *W, int64_t N, uint8_t *rows, struct err *err);

/* (K) columns by the diagonal of H, the largest first; of equal ones the first. */
int32_t gptq_order(const float *H, int32_t K, int32_t *order, struct err *err);
