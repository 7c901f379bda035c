#include "score.h"

#include <math.h>

void tally_add(struct tally *t, double value)
{
    t->sum += value;
    t->n++;
    t->window_sum += value;
    t->window_n++;
}

void tally_end_window(struct tally *t)
{
    if (!t->window_n)
        return;
    double mean = t->window_sum / (double)t->window_n;
    t->means += mean;
    t->squares += mean * mean;
    t->n_windows++;
    t->window_sum = 0;
    t->window_n = 0;
}

double tally_mean(const struct tally *t)
{
    return t->n ? t->sum / (double)t->n : 0;
}

double tally_error(const struct tally *t)
{
    double n = (double)t->n_windows;
    if (t->n_windows < 2)
        return -1;
    double variance = (t->squares - t->means * t->means / n) / (n - 1);
    return 1.96 * sqrt(fmax(variance, 0) / n);
}

/* The largest of a row, the first one that has it, and ln of the sum of e^(logit - largest). */
struct row {
    float most;
    int32_t best;
    double log_sum;
};

static struct row read_row(const float *logits, int32_t V)
{
    struct row row = {.most = -INFINITY};
    double sum = 0;
    for (int32_t i = 0; i < V; i++)
        if (logits[i] > row.most) {
            row.most = logits[i];
            row.best = i;
        }
    for (int32_t i = 0; i < V; i++)
        sum += (double)expf(logits[i] - row.most);
    row.log_sum = log(sum);
    return row;
}

/* ln of a token's probability. */
static double log_of(const struct row *row, const float *logits, int32_t token)
{
    return (double)logits[token] - (double)row->most - row->log_sum;
}

struct position_score score_position(const float *logits, const float *reference, int32_t V,
                                     int32_t next)
{
    struct row q = read_row(logits, V);
    struct position_score score = {.loss = -log_of(&q, logits, next)};
    if (!reference)
        return score;
    struct row p = read_row(reference, V);
    score.reference_loss = -log_of(&p, reference, next);
    score.agrees = p.best == q.best;
    /* sum of e^(p - most) * (p - q), the constants of both taken out of the sum. */
    double sum = 0;
    for (int32_t i = 0; i < V; i++) {
        float weight = expf(reference[i] - p.most);
        if (weight > 0)
            sum += (double)weight * ((double)reference[i] - (double)logits[i]);
    }
    double constant = ((double)p.most - (double)q.most) + (p.log_sum - q.log_sum);
    score.divergence = fmax(sum / exp(p.log_sum) - constant, 0);
    return score;
}

void score_put(struct score *s, const struct position_score *p, bool has_reference)
{
    tally_add(&s->loss, p->loss);
    if (!has_reference)
        return;
    tally_add(&s->reference_loss, p->reference_loss);
    tally_add(&s->excess, p->loss - p->reference_loss);
    tally_add(&s->divergence, p->divergence);
    tally_add(&s->agreement, p->agrees);
    s->largest_divergence = fmax(s->largest_divergence, p->divergence);
}

void score_end_window(struct score *s)
{
    const struct tally *d = &s->divergence;
    if (s->window_divergence && d->window_n)
        s->window_divergence[d->n_windows] = d->window_sum / (double)d->window_n;
    tally_end_window(&s->loss);
    tally_end_window(&s->reference_loss);
    tally_end_window(&s->excess);
    tally_end_window(&s->divergence);
    tally_end_window(&s->agreement);
}
