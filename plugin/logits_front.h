/* A front of a row's descending order: what comes before a token, that is larger logits, and equal
 * ones at lower indices. A front of a front is cut from it, so that each costs less. */
#pragma once

#include "logits.h"

/* Blocks whose share of a front is one sum; the last group of a row has fewer. */
#define LOGIT_GROUP_BLOCKS 16
#define LOGIT_GROUP        (LOGIT_GROUP_BLOCKS * LOGIT_BLOCK)
#define LOGIT_GROUP_ROOM   (LOGIT_GROUP + 8)

static inline size_t logit_groups(size_t V)
{
    return (V + LOGIT_GROUP - 1) / LOGIT_GROUP;
}

struct logit_group {
    double sum; /* of the weights of what is in the front */
    size_t n;
};

struct logits_front {
    const struct logits *row;
    struct logit_group *group; /* (groups), borrowed */
    float *value; /* (groups, LOGIT_GROUP_ROOM), borrowed: what is in the front, by indices */
    bool is_row;  /* all of the row is: there is nothing in value */
    /* The token before which the next one ends: its value, its group and its place in that. */
    float bound;
    size_t end_group, end;
    size_t n_equal; /* that the group has before it */
};

/* All of the row, and the token before which the first front ends. row, group and value are given.
 * sum: (n_blocks) of logits_sum. */
void logits_front_init(struct logits_front *f, const double *sum, size_t token);

/* Cuts the front before its token. Returns the sum of the weights, relative error below 3e-6, if it
 * reaches the limit; otherwise a number below the limit, and nothing but the token is left of f. */
double logits_front_cut(struct logits_front *f, double limit);

/* The weights of what group g has in the front, with room for LOGIT_GROUP_ROOM; how many. */
size_t logits_front_weigh(const struct logits_front *f, size_t g, float *weight);

/* Makes number i of group g the token. */
void logits_front_choose(struct logits_front *f, size_t g, size_t i);

/* The index in the row of the token that was chosen last. */
size_t logits_front_token(const struct logits_front *f);
