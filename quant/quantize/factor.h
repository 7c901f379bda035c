/* The factor by which GPTQ passes errors on: U, upper triangular, with U^T U = H^-1.
 *
 * With rows and columns in reverse order H has a Cholesky factor V, V^T V = H, and U is V^-T in
 * reverse order: one factorization and the inverse of a triangle, and never that of H. */
#pragma once

#include "../../plugin/base/err.h"

struct factor {
    int32_t K;
    float *U;       /* (K, K), owned; 0 below the diagonal */
    float *scratch; /* (K, K), owned */
    int32_t *order; /* (K), owned; the column of H that U's i-th is of; NULL: they are the same */
    double damping; /* share of the diagonal's mean that was added to it */
};

int32_t factor_init(struct factor *f, int32_t K, struct err *err);
void factor_release(struct factor *f); /* zeroed is allowed */

#define FACTOR_DAMPING 0.01

/* Of H (K, K), whose diagonal is not negative. Damping begins with FACTOR_DAMPING, and is ten
 * times as large each time that H is not positive definite with it; INFLIGHT_E_MODEL: nor is it
 * with 1. */
int32_t factor_make(struct factor *f, const float *H, int32_t threads, struct err *err);
