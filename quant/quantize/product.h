/* C += sign A^T B, which all that calibration computes consists of: moments of inputs (X^T X),
 * the rest of a matrix behind a block of a factorization or of rounded columns.
 *
 * A is (k, m), B (k, n), C (m, n), each row-major with its own distance of rows. An element of C
 * is the sum over k in an order that depends on k alone, so no bit depends on the number of
 * threads, nor on how wide the processor's vectors are. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct product {
    float *c;
    const float *a, *b;
    int64_t ldc, lda, ldb; /* values from a row to the next */
    int64_t m, n, k;
    float sign;    /* 1 or -1 */
    bool is_upper; /* elements below the diagonal of C are of no interest, and may change */
};

void product_add(const struct product *p); /* by the calling thread */
void product_add_on(int32_t threads, const struct product *p);
