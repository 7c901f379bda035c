/* For whom a token's key and value count, so that these are rounded for what attention makes of
 * them. With errors a of keys and b of values the outputs o[i] = sum over j of p[i][j] v[j] of a
 * head are off, to first order, by
 *
 *   sum over j of p[i][j] (b[j] + scale (q[i] . a[j]) (v[j] - o[i]))
 *
 * and tokens are far from alike in that: many heads rest on the first one, whose errors are in the
 * outputs of all others. Of X (T, D), which keys and values are computed from, the moments are for
 * W_v the sum over heads of (P X)^T P X, as of Kim et al. 2024 (BoA); for W_k, X^T diag(w) X with
 *
 *   w[j] = sum over heads and queries of (|q[i]| p[i][j] (1 - p[i][j]))^2
 *
 * as v[j] is 1 - p[i][j] times as far from o[i] as from what the query reads of the others. */
#pragma once

#include "../../plugin/base/err.h"

#include <stdbool.h>

/* What attention reads of a sample, (T) rows of each: heads of queries and keys as they are
 * multiplied, and of values. */
struct qkv {
    const float *q, *k, *v; /* (H, dim), (K, dim), (K, dim) */
    int64_t row;            /* values from a token to the next */
};

struct attention {
    int32_t T, H, K, dim;
    int32_t threads, n;    /* n: samples */
    float *mix;            /* (T, T): M transposed, see attention_see; owned, as all of these */
    float *weight;         /* (n, T): square roots of w */
    float *keys;           /* (K, dim, T) */
    float *part, *scratch; /* (pieces, T): w by queries of a piece; of the threads */
    float *seen;           /* (T, D) */
};

/* Of one layer; see struct op_attend. */
struct attention_rule {
    float scale, cap, growth;
    int32_t growth_from; /* of struct op_attend, as all here */
    int32_t window;
    const float *slopes, *sinks; /* (H) or NULL */
};

/* T, H, K, dim, threads and n are set; D: values of X. */
int32_t attention_init(struct attention *a, int32_t D, struct err *err);
void attention_release(struct attention *a); /* zeroed is allowed */

/* Sample i, whose rows are x. */
void attention_weigh(struct attention *a, const struct attention_rule *rule, const struct qkv *x,
                     int32_t i);

/* X (T, D) of sample i becomes what has, of all tokens alike, the moments of W_k, or of W_v: then
 * it must be the sample that was weighed last. For W_v that is M X, with
 *
 *   M[i][j] = sum over heads h of s[h][i] p[i][j] of h
 *
 * and signs s drawn at random, by which what two heads have in common is 0 in the mean. */
enum attended { ATTENDED_KEYS, ATTENDED_VALUES };
void attention_see(const struct attention *a, enum attended as, int32_t i, float *X, int32_t D);
