/* Logits -> token. The chain, each link one function:
 *
 *   edits     logit bias, penalties, end tokens that are barred
 *   largest   greedy ends here
 *
 * With top-k or min-p then
 *
 *   candidates   a bound that these cannot fall below leaves out almost all of the row
 *                without looking at it again
 *   top-k, temperature, min-p, top-p   each keeps the front of the descending order, so
 *                they give the same in any order; top-p's total is that of the others
 *   draw      in the order of ids
 *
 * and without them, as what top-p keeps may be almost all of the row
 *
 *   draw      from the whole row, in the order of ids
 *   top-p     keeps the token if those before it in the descending order weigh less than its
 *             share of the total; otherwise the next draw is from those
 *
 * Nothing is ever sorted. */
#include "sample.h"

#include "logits.h"
#include "logits_front.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

#define GREEDY_TEMPERATURE 1e-5f /* below it weights other than the largest are all 0 */

bool sample_is_greedy(const struct sampling *s)
{
    return s->temperature < GREEDY_TEMPERATURE || s->top_k == 1 || s->top_p <= 0 || s->min_p >= 1;
}

/* The caller's scratch, divided. */
struct scratch {
    struct logit_block *block; /* (blocks) */
    double *sum;               /* (blocks) */
    struct logit_group *group; /* (groups) */
    float *raw;                /* (V) logits as the model gave them */
    uint32_t *id;              /* (V) ids or counts */
    float *kept;               /* (groups, LOGIT_GROUP_ROOM) in the same place */
};

/* ---- Edits ------------------------------------------------------------------------ */

static bool in_row(const struct logits *l, int32_t token)
{
    return token >= 0 && (size_t)token < l->V;
}

static void add_bias(const struct sampling *s, struct logits *l)
{
    for (int32_t i = 0; i < s->n_bias; i++) {
        int32_t token = s->bias[i].token;
        if (in_row(l, token))
            logits_set(l, (size_t)token, l->value[token] + s->bias[i].bias);
    }
}

static float penalised(const struct sampling *s, float logit, uint32_t n_generated)
{
    logit = logit > 0 ? logit / s->repetition_penalty : logit * s->repetition_penalty;
    if (n_generated)
        logit -= s->presence_penalty + s->frequency_penalty * (float)n_generated;
    return logit;
}

/* Every token that occurs is penalised once. count: (V), of which only the places of
 * tokens that occur are touched. */
static void add_penalties(const struct sample_input *in, struct logits *l, uint32_t *count)
{
    const struct sampling *s = in->sampling;
    const uint32_t occurs = 0x80000000u;
    if (s->repetition_penalty == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0)
        return;
    for (int32_t i = 0; i < in->n_token; i++)
        if (in_row(l, in->token[i]))
            count[in->token[i]] = occurs;
    for (int32_t i = in->n_prompt; i < in->n_token; i++)
        if (in_row(l, in->token[i]))
            count[in->token[i]]++;
    for (int32_t i = 0; i < in->n_token; i++) {
        int32_t token = in->token[i];
        if (!in_row(l, token) || !count[token])
            continue;
        logits_set(l, (size_t)token, penalised(s, l->value[token], count[token] & ~occurs));
        count[token] = 0;
    }
}

static void bar_end(const struct sample_input *in, struct logits *l)
{
    if (!in->sampling->ignore_eos && in->n_token - in->n_prompt >= in->sampling->min_tokens)
        return;
    for (int32_t i = 0; i < in->n_end; i++)
        if (in_row(l, in->end[i]))
            logits_set(l, (size_t)in->end[i], -INFINITY);
}

/* ---- Log probabilities ------------------------------------------------------------ */

struct logprobs {
    float max;
    double log_sum;
};

static float logprob_of(const struct logprobs *l, float logit)
{
    if (isinf(l->max)) /* one or several certain tokens */
        return logit == l->max ? 0.0f : -INFINITY;
    return (float)((double)(logit - l->max) - l->log_sum);
}

/* Descending order. By the logits: rounding makes one log probability of several of them. */
static void order_top(const float *value, uint32_t *id, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t one = id[i];
        size_t at = i;
        for (; at > 0 && value[id[at - 1]] < value[one]; at--)
            id[at] = id[at - 1];
        id[at] = one;
    }
}

/* l: as the model gave them, scale 1. */
static struct logprobs report(const struct logits *l, size_t n_top, const struct scratch *scratch,
                              struct sample_output *out)
{
    struct logprobs logprobs = {l->max, isinf(l->max) ? 0 : log(logits_sum(l, scratch->sum))};
    uint32_t *id = scratch->id;
    if (n_top == 0)
        return logprobs;
    size_t n = logits_gather(l, logits_bound(l, n_top), id);
    n = logits_cut_count(l->value, id, n, n_top);
    order_top(l->value, id, n);
    for (size_t i = 0; i < n; i++)
        out->top[i] =
            (struct token_logprob){(int32_t)id[i], logprob_of(&logprobs, l->value[id[i]])};
    out->n_top = (int32_t)n;
    return logprobs;
}

/* ---- Draw ------------------------------------------------------------------------- */

struct draw {
    const struct sample_input *in;
    float *value;              /* (V) logits, then of the candidates their weights */
    uint32_t *id;              /* (V) room for candidates */
    double *sum;               /* (blocks) room */
    struct logit_group *group; /* (groups) room */
    float *kept;               /* (groups, LOGIT_GROUP_ROOM) room */
    float scale;               /* 1 / temperature */
};

/* In [0, 1). */
static double dice(const struct draw *d, uint32_t attempt)
{
    uint64_t seed = d->in->sampling->seed, position = (uint64_t)d->in->n_token;
    return (double)rng_attempt(seed, position, d->in->choice, attempt);
}

/* The first index at which the weights up to and with it exceed the target; with
 * rounding against it the last one of any weight. id NULL: all n indices. */
static size_t walk(const float *weight, const uint32_t *id, size_t n, double target)
{
    double sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = id ? id[i] : i;
        if (weight[at] > 0) {
            sum += (double)weight[at];
            last = at;
        }
        if (sum > target)
            break;
    }
    return last;
}

/* The sums of blocks say in which of them the draw ends. That one weighs something: the
 * target is below the sum of all by more than rounding can take. */
static size_t draw_from_all(const struct draw *d, const struct logits *l, double target)
{
    float weight[LOGIT_BLOCK];
    size_t b = 0;
    while (b + 1 < l->n_blocks && d->sum[b] <= target)
        target -= d->sum[b++];
    size_t n = logits_weigh_block(l, b, weight);
    return b * LOGIT_BLOCK + walk(weight, NULL, n, target);
}

/* The same with the sums of groups. */
static void draw_from_front(struct logits_front *front, double target)
{
    float weight[LOGIT_GROUP_ROOM];
    size_t g = 0;
    while (g + 1 < logit_groups(front->row->V) && front->group[g].sum <= target)
        target -= front->group[g++].sum;
    size_t n = logits_front_weigh(front, g, weight);
    logits_front_choose(front, g, walk(weight, NULL, n, target));
}

/* Temperature, and top-p without other filters, by rejection. A draw from any front that has
 * all of the nucleus is, if it is of the nucleus, one from the nucleus. If it is not, the
 * front before it still has all of the nucleus, and is shorter: on average half of what was
 * too much is gone. The largest token ends it at the latest, nothing comes before it. */
static size_t draw_from_row(const struct draw *d, const struct logits *l)
{
    struct logits_front front = {.row = l, .group = d->group, .value = d->kept};
    double top_p = (double)d->in->sampling->top_p;
    double sum = logits_sum(l, d->sum), limit = top_p * sum;
    size_t token = draw_from_all(d, l, sum * dice(d, 0));
    if (top_p >= 1)
        return token;
    logits_front_init(&front, d->sum, token);
    for (uint32_t attempt = 1;; attempt++) {
        sum = logits_front_cut(&front, limit);
        if (!(sum >= limit && sum > 0)) /* notes without sums have to end it, too */
            return attempt > 1 ? logits_front_token(&front) : token;
        draw_from_front(&front, sum * dice(d, attempt));
    }
}

/* The lowest logit whose weight may be this large: slightly too low, never too high. */
static float logit_of_weight(const struct draw *d, float max, double weight)
{
    double below = (log(weight) - 0.01) / (double)d->scale;
    return (float)((double)max + below - fabs((double)max) * 1e-6);
}

static double sum_weights(const struct draw *d, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)d->value[d->id[i]];
    return sum;
}

static size_t keep_min_p(const struct draw *d, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = d->id[i];
        d->id[kept] = id;
        kept += d->value[id] >= d->in->sampling->min_p;
    }
    return kept;
}

static size_t draw_from_candidates(const struct draw *d, const struct logits *l)
{
    const struct sampling *s = d->in->sampling;
    size_t top_k = s->top_k > 0 ? (size_t)s->top_k : l->V;
    float bound = logits_bound(l, top_k);
    if (s->min_p > 0)
        bound = fmaxf(bound, logit_of_weight(d, l->max, (double)s->min_p));
    size_t n = logits_gather(l, bound, d->id);
    n = logits_cut_count(d->value, d->id, n, top_k);
    logits_weigh(l, d->id, n, d->scale);
    n = keep_min_p(d, n);
    if (s->top_p < 1)
        n = logits_cut_sum(d->value, d->id, n, (double)s->top_p * sum_weights(d, n));
    return walk(d->value, d->id, n, dice(d, 0) * sum_weights(d, n));
}

/* Whether a filter leaves few of the row however flat it is; top-p does not. */
static bool has_candidates(const struct sampling *s, int32_t V)
{
    return (s->top_k > 0 && s->top_k < V) || s->min_p > 0;
}

static size_t choose(const struct sample_input *in, const struct logits *l,
                     const struct scratch *scratch)
{
    const struct sampling *s = in->sampling;
    if (sample_is_greedy(s) || isinf(l->max))
        return logits_argmax(l);
    struct draw d = {.in = in,
                     .value = l->value,
                     .id = scratch->id,
                     .sum = scratch->sum,
                     .group = scratch->group,
                     .kept = scratch->kept,
                     .scale = 1 / s->temperature};
    return has_candidates(s, in->V) ? draw_from_candidates(&d, l) : draw_from_row(&d, l);
}

/* ---- One row ---------------------------------------------------------------------- */

float sample_scale(const struct sampling *s, int32_t V)
{
    if (!sample_is_greedy(s) && !has_candidates(s, V))
        return 1 / s->temperature;
    return s->logprobs >= 0 ? 1 : 0;
}

uint64_t sample_scratch(int32_t V)
{
    const uint64_t of_group = sizeof(struct logit_group) + LOGIT_GROUP_ROOM * sizeof(float);
    return (uint64_t)(V + 1) / 2 + (uint64_t)logit_blocks(V) * 2 +
           logit_groups((size_t)V) * of_group / sizeof(uint64_t);
}

static struct scratch divide(uint64_t *memory, int32_t V)
{
    int32_t n_blocks = logit_blocks(V);
    struct scratch s = {.block = (struct logit_block *)(void *)memory};
    s.sum = (double *)(void *)(s.block + n_blocks);
    s.group = (struct logit_group *)(void *)(s.sum + n_blocks);
    s.raw = (float *)(void *)(s.group + logit_groups((size_t)V));
    s.id = (uint32_t *)(void *)(s.raw + V);
    s.kept = (float *)(void *)s.id;
    return s;
}

bool sample_row(const struct sample_input *in, uint64_t *memory, struct sample_output *out)
{
    struct scratch scratch = divide(memory, in->V);
    const struct sampling *s = in->sampling;
    struct logprobs logprobs = {0};
    struct logits l;
    *out = (struct sample_output){0};
    if (s->logprobs >= 0) {
        size_t n_top = (size_t)MIN(s->logprobs, TOP_LOGPROBS);
        memcpy(scratch.raw, in->logits, (size_t)in->V * sizeof *scratch.raw);
        if (in->scale == 1)
            logits_init(&l, scratch.raw, in->V, in->block, 1);
        else
            logits_scan(&l, scratch.raw, in->V, scratch.block, 1);
        logprobs = report(&l, MIN(n_top, l.V), &scratch, out);
    }
    logits_init(&l, in->logits, in->V, in->block, in->scale);
    add_bias(s, &l);
    add_penalties(in, &l, scratch.id);
    bar_end(in, &l);
    logits_update(&l);
    if (l.max == -INFINITY)
        return false;
    out->token = (int32_t)choose(in, &l, &scratch);
    if (s->logprobs >= 0)
        out->logprob = logprob_of(&logprobs, scratch.raw[out->token]);
    return true;
}
