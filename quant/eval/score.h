/* How well a model predicts a text, and how far it is from another one.
 *
 * Of each scored position, with p the probabilities of the reference and q those of the model:
 *     loss        -ln q(next token); perplexity = e^mean
 *     divergence  KL(p || q) = sum over the vocabulary of p ln(p / q), in nats
 *     excess      loss - loss of the reference; e^mean is the ratio of the perplexities
 *     agreement   1 if both have the same best token
 * Means are over positions. Positions of one window depend on one another, so the 95 % interval of
 * a mean is from the means of the windows: 1.96 standard errors, and none of fewer than two
 * windows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A mean, and what its interval is made of. */
struct tally {
    double sum;
    int64_t n;
    double window_sum; /* of the window under way */
    int64_t window_n;
    double means, squares; /* sums over windows, of their means and those squared */
    int64_t n_windows;
};

void tally_add(struct tally *t, double value);
void tally_end_window(struct tally *t);
double tally_mean(const struct tally *t);
double tally_error(const struct tally *t); /* half of the 95 % interval; negative: not known */

struct score {
    struct tally loss;
    struct tally reference_loss, excess, divergence, agreement; /* empty without a reference */
    double largest_divergence;
    double *window_divergence; /* lent, one of each window: its mean; or NULL */
};

/* One position's logits (V); reference NULL: there is none. Returns what score_put adds: apart, for
 * these take long and do not depend on one another. */
struct position_score {
    double loss, reference_loss, divergence;
    bool agrees;
};
struct position_score score_position(const float *logits, const float *reference, int32_t V,
                                     int32_t next);
void score_put(struct score *s, const struct position_score *p, bool has_reference);
void score_end_window(struct score *s);
