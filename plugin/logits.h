/* What sampling asks of a row of logits: its maximum, the sum of its weights, the part
 * above a bound, and the largest ones without sorting. The notes that the head took of the row's
 * blocks answer most of it, so that hardly a block is read again. NaN counts as absent everywhere.
 * All of it is plain C over fixed-size inner loops that compilers turn into vector code, and gives
 * the same bits whatever they turn it into. */
#pragma once

#include "base/base.h"

#include "../kernels/batch.h"

struct logits {
    float *value; /* (V), borrowed */
    size_t V, n_blocks;
    struct logit_block *block; /* (n_blocks), borrowed; sums are of weights with this scale */
    float scale;               /* 0: there are no sums */
    float max;                 /* -inf: there is nothing but NaN and -inf */
};

/* From the notes of the head. */
void logits_init(struct logits *l, float *value, int32_t V, struct logit_block *block, float scale);

/* The same without them: takes the notes itself. */
void logits_scan(struct logits *l, float *value, int32_t V, struct logit_block *block, float scale);

/* Changes one; until logits_update the notes are not what they should be. */
void logits_set(struct logits *l, size_t i, float value);
void logits_update(struct logits *l);

/* The lowest index of the maximum. max > -inf. */
size_t logits_argmax(const struct logits *l);

/* e^((value - max) * scale) for scale > 0 and value <= max, relative error below 3e-7;
 * exactly 1 at max and 0 below e^-87 and for NaN. */
float logits_weight(float value, float max, float scale);

/* The sum of all weights, relative error below 3e-6; sum: (n_blocks) the same per block. */
double logits_sum(const struct logits *l, double *sum);

/* The weights of block b, LOGIT_BLOCK at most; how many. */
size_t logits_weigh_block(const struct logits *l, size_t b, float *weight);

/* Replaces value[id[i]] by their weights. */
void logits_weigh(const struct logits *l, const uint32_t *id, size_t n, float scale);

/* Ascending indices of all values >= bound into id; how many. */
size_t logits_gather(const struct logits *l, float bound, uint32_t *id);

/* A finite bound that all of the k largest finite values reach, and not many more. */
float logits_bound(const struct logits *l, size_t k);

/* Keeps of the n ascending indices id the fewest with the largest values (the lowest
 * index first among equals) that reach the target together: their number, or the sum
 * of their values, which are then not negative. At least one stays if n > 0. */
size_t logits_cut_count(const float *value, uint32_t *id, size_t n, size_t target);
size_t logits_cut_sum(const float *value, uint32_t *id, size_t n, double target);
