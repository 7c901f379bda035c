/* Top-p without other filters. It draws until a token is of the nucleus: what it gives is
 * compared with the nucleus that sorting gives, by how often and, with the same random
 * numbers, token by token. */
#include "t.h"

#include "sample_row.h"

#include <stdlib.h>

/* What sorting says of each token of model. */
static struct {
    double share[MAX_V];  /* of the sum of all weights; 0 if absent */
    double before[MAX_V]; /* share of those before it in the descending order */
    int32_t rank[MAX_V];  /* in that order; V if absent */
    int32_t order[MAX_V]; /* the n ids that are not absent, in that order */
    int32_t n;
} plainly;

/* Where rounding may decide: 3e-6 is what the engine's sums may be wrong by. */
#define SLACK 3e-6

static void sort_row(const struct sampling *s, int32_t V)
{
    double total = 0, before = 0;
    plainly.n = 0;
    for (int32_t i = 0; i < V; i++) {
        plainly.share[i] = 0;
        plainly.rank[i] = V;
        if (model[i] > -INFINITY)
            items[plainly.n++] = (struct item){i, model[i], 0};
    }
    qsort(items, (size_t)plainly.n, sizeof *items, by_logit);
    for (int32_t i = 0; i < plainly.n; i++) {
        double below = (double)items[i].logit - (double)items[0].logit;
        items[i].p = exp(below / (double)s->temperature);
        total += items[i].p;
    }
    for (int32_t i = 0; i < plainly.n; i++) {
        int32_t id = items[i].id;
        plainly.share[id] = items[i].p / total;
        plainly.before[id] = before;
        plainly.rank[id] = i;
        plainly.order[i] = id;
        before += plainly.share[id];
    }
}

/* How many tokens are of the nucleus. */
static int32_t nucleus(const struct sampling *s)
{
    int32_t n = 1;
    while (n < plainly.n && plainly.before[plainly.order[n]] < (double)s->top_p)
        n++;
    return n;
}

/* A token that was drawn has a weight and is of the nucleus; rounding may let one more in. */
static void check_token(const struct sampling *s, int32_t token)
{
    int32_t n = nucleus(s), rank = plainly.rank[token];
    bool one_more = rank == n && plainly.before[token] < (double)s->top_p + SLACK;
    if (!(rank < n || one_more) ||
        logits_weight(model[token], model[plainly.order[0]], 1 / s->temperature) == 0)
        t_fail(__FILE__, __LINE__, "p %g: token %d of rank %d, the nucleus has %d",
               (double)s->top_p, token, rank, n);
}

/* ---- Token by token --------------------------------------------------------------- */

/* Of the tokens with a rank below the bound, in the order of ids, the one that a random
 * number says; -1 if rounding may decide. */
static int32_t draw(int32_t V, int32_t bound, double random)
{
    double total = 0, sum = 0;
    int32_t id = -1;
    for (int32_t i = 0; i < V; i++)
        total += plainly.rank[i] < bound ? plainly.share[i] : 0;
    while (sum <= random * total && ++id < V)
        sum += plainly.rank[id] < bound ? plainly.share[id] : 0;
    if (id >= V || sum - random * total < SLACK ||
        random * total - (sum - plainly.share[id]) < SLACK)
        return -1;
    return id;
}

/* The definition with the random numbers of a position, and the draws that it took. */
static int32_t expected(const struct sampling *s, int32_t V, int32_t position, uint32_t *draws)
{
    int32_t bound = V;
    for (*draws = 1;; ++*draws) {
        float random = rng_attempt(s->seed, (uint64_t)position, 0, *draws - 1);
        int32_t token = draw(V, bound, (double)random);
        if (token >= 0 && plainly.rank[token] == 0) /* nothing comes before it */
            return token;
        if (token < 0 || fabs(plainly.before[token] - (double)s->top_p) < SLACK)
            return -1;
        if (plainly.before[token] < (double)s->top_p)
            return token;
        bound = plainly.rank[token];
    }
}

struct tally {
    int unsure;     /* positions at which rounding may decide */
    uint32_t draws; /* the most that one took */
};

static void check_draws(const struct sampling *s, int32_t V, int positions, struct tally *tally)
{
    sort_row(s, V);
    for (int32_t position = 1; position <= positions; position++) {
        uint32_t draws;
        int32_t want = expected(s, V, position, &draws);
        CHECK(sample(s, V, position));
        check_token(s, out.token);
        tally->draws = MAX(tally->draws, draws);
        tally->unsure += want < 0;
        if (want >= 0 && out.token != want) {
            t_fail(__FILE__, __LINE__, "V %d T %g p %g at %d: token %d, want %d", V,
                   (double)s->temperature, (double)s->top_p, position, out.token, want);
            break;
        }
    }
}

static void check_all_sizes(const struct sampling *s, struct tally *tally)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int kind = 0; kind < 4; kind++) {
            static const float deviation[] = {1, 3, 10, 2};
            if (sizes[i] > 2000 && kind % 2 == 0) /* sorting them all takes its time */
                continue;
            fill(sizes[i], deviation[kind], i + 10);
            for (int32_t j = 0; kind == 3 && j < sizes[i]; j++) /* ties, and holes */
                model[j] = j % 11 == 5 ? NAN : j % 11 == 6 ? -INFINITY : floorf(model[j]);
            check_draws(s, sizes[i], sizes[i] > 2000 ? 12 : 60, tally);
        }
}

/* Nearly no draw is left to rounding; many take several attempts. */
TEST(nucleus, draws_are_those_defined)
{
    static const float top_p[] = {1e-6f, 0.05f, 0.1f, 0.3f, 0.5f, 0.9f, 0.95f, 0.999f, 0.9999999f};
    struct tally tally = {0, 0};
    for (size_t i = 0; i < COUNT_OF(top_p); i++) {
        struct sampling s = plain();
        s.top_p = top_p[i];
        check_all_sizes(&s, &tally);
    }
    CHECK(tally.unsure < 100);
    CHECK(tally.draws >= 6);
}

TEST(nucleus, draws_are_those_defined_at_any_temperature)
{
    struct tally tally = {0, 0};
    for (uint64_t i = 0; i < 8; i++) {
        struct sampling s = plain();
        s.seed = i;
        s.temperature = i == 7 ? 100 : 0.1f + 2 * rng_uniform(98, i, 0);
        s.top_p = 0.1f + 0.9f * rng_uniform(98, i, 1);
        s.top_k = i % 2 ? MAX_V : 0; /* more than there are is no filter */
        check_all_sizes(&s, &tally);
    }
    CHECK(tally.unsure < 100);
}

/* ---- How often -------------------------------------------------------------------- */

enum row_kind { FLAT, PEAKED, TIES, HOLES, EQUAL, ROW_KINDS };

static void fill_kind(int32_t V, enum row_kind kind)
{
    fill(V, 2, 40 + (uint64_t)kind);
    for (int32_t i = 0; kind == PEAKED && i < 20; i++)
        model[i * 997 % V] = 20 - 0.5f * (float)i;
    for (int32_t i = 0; i < V; i++) {
        if (kind == TIES)
            model[i] = floorf(model[i]);
        if (kind == HOLES)
            model[i] = i % 7 == 3 ? NAN : i % 5 == 2 ? -INFINITY : model[i];
        if (kind == EQUAL)
            model[i] = -3;
    }
}

/* Chi-square of the counts of tokens against their shares of the nucleus, over classes of
 * neighbours in the descending order that expect at least 20; what it exceeds for one seed in
 * 10000 by the approximation of Wilson and Hilferty is refused. */
static void check_counts(const struct sampling *s, const int32_t *count, int32_t draws)
{
    int32_t n = nucleus(s), last = plainly.order[n - 1], classes = 0, seen = 0;
    double whole = plainly.before[last] + plainly.share[last], statistic = 0, want = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = plainly.order[i];
        want += draws * plainly.share[id] / whole;
        seen += count[id];
        /* What is left behind the last class is part of it. */
        if (i < n - 1 &&
            (want < 20 || draws * (1 - plainly.before[plainly.order[i + 1]] / whole) < 20))
            continue;
        statistic += (seen - want) * (seen - want) / want;
        classes++;
        want = seen = 0;
    }
    double degrees = classes > 1 ? classes - 1 : 1, spread = 2 / (9 * degrees);
    double most = degrees * pow(1 - spread + 3.719 * sqrt(spread), 3);
    if (!(statistic <= most))
        t_fail(__FILE__, __LINE__, "p %g: %d classes, chi-square %g, at most %g", (double)s->top_p,
               classes, statistic, most);
}

static void check_frequencies(int32_t V, enum row_kind kind, float top_p, int32_t draws)
{
    static int32_t count[MAX_V];
    struct sampling s = plain();
    s.top_p = top_p;
    s.temperature = 0.8f;
    fill_kind(V, kind);
    sort_row(&s, V);
    memset(count, 0, sizeof count);
    for (int32_t i = 0; i < draws; i++) {
        s.seed = (uint64_t)i;
        CHECK(sample(&s, V, 5));
        count[out.token]++;
    }
    for (int32_t i = 0; i < V; i++)
        if (count[i])
            check_token(&s, i);
    check_counts(&s, count, draws);
}

TEST(nucleus, frequencies_are_the_shares)
{
    static const float top_p[] = {0.05f, 0.3f, 0.95f, 0.999f};
    for (size_t i = 0; i < COUNT_OF(top_p); i++)
        for (enum row_kind kind = 0; kind < ROW_KINDS; kind++)
            check_frequencies(1500, kind, top_p[i], 10000);
}

TEST(nucleus, frequencies_of_a_large_vocabulary_are_the_shares)
{
    check_frequencies(49152, FLAT, 0.95f, 4000);
    check_frequencies(49152, PEAKED, 0.95f, 4000);
    check_frequencies(49152, FLAT, 0.1f, 4000);
}

/* ---- Edges ------------------------------------------------------------------------ */

TEST(nucleus, the_smallest_share_leaves_the_largest)
{
    static const float top_p[] = {1e-45f, 1e-30f, 1e-7f};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int32_t position = 0; position < 30; position++) {
            struct sampling s = plain();
            s.top_p = top_p[position % 3];
            s.temperature = position % 2 ? 100 : 1;
            fill(sizes[i], 2, i);
            for (int32_t j = 0; j < sizes[i]; j++)
                model[j] = position % 5 == 4 ? 1 : j % 11 == 6 ? NAN : floorf(model[j] * 2);
            int32_t best = 0;
            for (int32_t j = 0; j < sizes[i]; j++)
                best = model[j] > model[best] ? j : best;
            CHECK(sample(&s, sizes[i], position));
            CHECK_EQ(out.token, best);
        }
}

/* All but three tokens have a weight of 0 or none. */
TEST(nucleus, what_weighs_nothing_is_not_drawn)
{
    static const float light[] = {-200, -3e38f, -INFINITY, NAN};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int32_t position = 0; position < 50; position++) {
            int32_t V = sizes[i], at[3] = {V / 3, V / 2, V - 1};
            struct sampling s = plain();
            s.top_p = position % 2 ? 0.9999999f : 0.9f;
            for (int32_t j = 0; j < V; j++)
                model[j] = light[(j + position) % 4];
            for (int32_t k = 0; k < 3; k++)
                model[at[k]] = (float)(k % 2);
            CHECK(sample(&s, V, position));
            CHECK(out.token == at[0] || out.token == at[1] || out.token == at[2]);
        }
}

TEST(nucleus, attempts_are_numbers_of_their_own)
{
    int equal = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        float first = rng_attempt(i, 3, 0, 0);
        CHECK(first == rng_uniform(i, 3, 0));
        for (uint32_t k = 1; k < 4; k++) {
            float other = rng_attempt(i, 3, 0, k);
            CHECK(other >= 0 && other < 1);
            equal += other == first || other == rng_uniform(i, 3, k) ||
                     other == rng_uniform(i, 3 + k, 0) || other == rng_uniform(i + k, 3, 0);
        }
    }
    CHECK(equal < 3); /* of 3000, each of 24 bits */
}
