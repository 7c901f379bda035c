/* AWQ, Lin et al. 2023: columns of a matrix whose inputs are large are multiplied by a scale
 * before they are rounded, and what gives the inputs is divided by it, so that these columns are
 * rounded more finely at the cost of others.
 *
 *   s[j] = (mean of |x[j]|)^r / c,  c so that the largest s is 1 / the least
 *
 * Of r = 0, 1/20, .. 19/20 that one is taken with which the outputs of all matrices that read x
 * change least. Then each group takes that grid, of those over parts of its range and that of
 * encode_int4, with which it changes the outputs least by itself. */
#pragma once

#include "moments.h"

#include "../encode_int4.h"
#include "../quant.h"

struct awq_matrix {
    const float *W; /* (N, K) */
    float *back;    /* (N, K) of scratch */
    int64_t N;
    enum fmt fmt; /* one of int4 */
    struct int4_style style;
};

/* s (K) for the n matrices that read these inputs; magnitude (K): of the columns, mean or sum. */
void awq_scales(const struct moments *m, const double *magnitude, const struct awq_matrix *matrix,
                int32_t n, float *s);

/* Rows of matrix->fmt, of W with its columns multiplied by s and its rows divided by t; NULL: by
 * 1. */
void awq_round(const struct moments *m, const struct awq_matrix *matrix, const float *s,
               const float *t, uint8_t *rows);
