/* What calibration keeps of the inputs of a matrix: how large each column is, its largest value,
 * and the second moments H = X^T X over all tokens. By H alone the error of the outputs is known:
 * ||X (W - V)^T||^2 = sum over rows d of W - V of d H d^T. */
#pragma once

#include "../../plugin/base/err.h"

struct moments {
    int32_t K;    /* of the inputs that it is of now */
    int32_t most; /* that K may be */
    int32_t threads;
    int64_t tokens;
    int64_t limit;     /* tokens that H is of: the first; the rest is of all */
    float *H;          /* (K, K), owned; until moments_end the upper triangle alone */
    double *magnitude; /* (K), owned: sums of |x| */
    float *largest;    /* (K), owned: of |x| */
    float *scratch;    /* of the threads */
    bool has_scratch;  /* which it owns */
};

/* Of K inputs at most, without a limit. */
int32_t moments_init(struct moments *m, int32_t K, int32_t threads, struct err *err);

/* Of no more than other, whose scratch it takes for as long as it is there: they do not compute at
 * once. */
int32_t moments_init_beside(struct moments *m, int32_t K, const struct moments *other,
                            struct err *err);
void moments_release(struct moments *m); /* zeroed is allowed */

/* Of K inputs from now on, and of no token yet. */
void moments_clear(struct moments *m, int32_t K);

/* T tokens: x (T, K). */
void moments_add(struct moments *m, const float *x, int32_t T);

/* After the last token; INFLIGHT_E_MODEL: the inputs are not all finite numbers, or the squares
 * that H has are not. */
int32_t moments_end(struct moments *m, struct err *err);

/* Of all inputs. */
float moments_largest(const struct moments *m);

/* The sum of d H d^T over the rows d of A - B, (N, K) both; B NULL: of A. */
double moments_energy(const struct moments *m, const float *A, const float *B, int64_t N);
