/* Rounding to the nearest number of a grid that fits the values, each group for itself. */
#pragma once

#include "pack.h"

/* Rows of p->fmt, of n rows of values (n, K), none above encode_most. n: at most PACK_ROWS; of
 * fp8_128 all that share scales. largest (n): magnitude of each row. */
void nearest_rows(const struct packing *p, const float *value, int64_t n, const float *largest,
                  uint8_t *rows);

/* The same of a whole matrix W (N, K), on several threads. */
void nearest_matrix(const struct packing *p, const float *W, int32_t threads, uint8_t *rows);
