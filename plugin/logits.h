/* What sampling asks of a row of numbers: its maximum, the sum of its exponentials, the
 * part above a bound, and the largest ones without sorting. NaN counts as absent
 * everywhere. All of it is plain C over fixed-size inner loops that compilers turn into
 * vector code, and gives the same bits whatever they turn it into. */
#pragma once

#include "base/base.h"

enum { LOGITS_BLOCKS = 1024 };

/* A row cut into blocks of a multiple of 128; what is learnt of blocks lets later passes
 * leave out most of the row. */
struct logits {
    const float *value; /* (V), borrowed */
    size_t V, block;    /* block: numbers in each, fewer in the last */
    size_t n_blocks;    /* at most LOGITS_BLOCKS */
    float max;          /* -inf: there is nothing but NaN and -inf */
    float block_max[LOGITS_BLOCKS];
};

void logits_scan(struct logits *l, const float *value, size_t V);

/* The lowest index of the maximum. max > -inf. */
size_t logits_argmax(const struct logits *l);

/* e^((value - max) * scale) for scale > 0 and value <= max, relative error below 3e-7;
 * exactly 1 at max and 0 below e^-87 and for NaN. */
float logits_weight(float value, float max, float scale);

/* The sum of all weights; sum: (n_blocks) the same per block. */
double logits_sum(const struct logits *l, float scale, double *sum);

/* Replaces value[id[i]], which are logits of the row, by their weights. */
void logits_weigh(const struct logits *l, float *value, const uint32_t *id, size_t n, float scale);

/* Ascending indices of all values >= bound into id; how many. */
size_t logits_gather(const struct logits *l, float bound, uint32_t *id);

/* A finite bound that all of the k largest finite values reach, and not many more. */
float logits_bound(const struct logits *l, size_t k);

/* Keeps of the n ascending indices id the fewest with the largest values (the lowest
 * index first among equals) that reach the target together: their number, or the sum
 * of their values, which are then not negative. At least one stays if n > 0. */
size_t logits_cut_count(const float *value, uint32_t *id, size_t n, size_t target);
size_t logits_cut_sum(const float *value, uint32_t *id, size_t n, double target);
