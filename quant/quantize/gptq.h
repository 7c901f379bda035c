/* GPTQ, Frantar et al. 2022: columns are rounded one after another, and the error of each is passed
 * on to those that are not rounded yet, so that the outputs change least.
 *
 *   for column j:  e = (w[j] - rounded(w[j])) / U[j][j]
 *                  w[i] -= e U[j][i] for i > j                 U of factor.h
 *
 * What is lost in all is the sum of e^2, so 1 / U[j][j]^2 is what the square of an error in column
 * j counts where the grids of int4 and the scales of fp8 are searched. Of int4, without an order of
 * columns, a group's grid is of the weights as they are when its first column is due. With an order
 * (those whose inputs are largest first), where the columns of a group are not rounded together,
 * and of formats of 8 bits, whose scales are of whole rows or blocks, grids are of the weights as
 * they were. Rows do not depend on one another, and each thread takes some of them through all
 * columns. */
#pragma once

#include "factor.h"
#include "moments.h"

#include "../encode_int4.h"
#include "../quant.h"

struct gptq {
    const struct factor *factor; /* of K columns, in its order */
    enum fmt fmt;
    struct int4_style style; /* of int4 */
    int32_t threads;
};

/* rows: of fmt, of W (N, K) by nearest_matrix, in place; scales of int8 and fp8_128 stay. */
int32_t gptq_round(const struct gptq *g, const float *W, int64_t N, uint8_t *rows, struct err *err);

/* The same, unless the error of the outputs for inputs with these moments would not be smaller:
 * then rows stay as they are. back (N, K): scratch. */
int32_t gptq_improve(const struct gptq *g, const struct moments *m, const float *W, float *back,
                     int64_t N, uint8_t *rows, struct err *err);

/* (K) columns by the diagonal of H, the largest first; of equal ones the first. */
int32_t gptq_order(const float *H, int32_t K, int32_t *order, struct err *err);
