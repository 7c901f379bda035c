/* Sampling against its plain definition: sort everything, keep, add up, draw. Top-p without
 * other filters draws in another way, see nucleus.c. */
#include "t.h"

#include "sample_row.h"

#include <stdlib.h>

/* ---- The plain definition --------------------------------------------------------- */

static double total_of(size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += items[i].p;
    return total;
}

/* Survivors in items, by id; *sure is false if rounding may decide who survives. */
static size_t survivors(const struct sampling *s, int32_t V, bool *sure)
{
    size_t n = 0;
    *sure = true;
    for (int32_t i = 0; i < V; i++)
        if (model[i] > -INFINITY)
            items[n++] = (struct item){i, model[i], 0};
    qsort(items, n, sizeof *items, by_logit);
    for (size_t i = 0; i < n; i++)
        items[i].p =
            exp(((double)items[i].logit - (double)items[0].logit) / (double)s->temperature);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        kept += items[i].p >= (double)s->min_p;
        if (fabs(items[i].p - (double)s->min_p) < 1e-5 * (double)s->min_p)
            *sure = false;
    }
    n = kept;
    if (s->top_k > 0 && (size_t)s->top_k < n)
        n = (size_t)s->top_k;
    double total = total_of(n), sum = 0;
    for (kept = 0; s->top_p < 1 && kept < n;) {
        sum += items[kept++].p;
        if (fabs(sum / total - (double)s->top_p) < 1e-6)
            *sure = false;
        if (sum >= (double)s->top_p * total)
            n = kept;
    }
    qsort(items, n, sizeof *items, by_id);
    return n;
}

/* Draws of one row at several positions are what the definition says; the number of
 * positions at which rounding may decide is returned and has to be small. */
static int check_draws(const struct sampling *s, int32_t V, int n_draws)
{
    bool sure;
    int unsure = 0;
    size_t n = survivors(s, V, &sure);
    double total = total_of(n);
    if (!sure)
        return 0;
    for (int position = 1; position <= n_draws; position++) {
        double u = (double)rng_uniform(s->seed, (uint64_t)position, 0) * total, sum = 0;
        size_t i = 0;
        while (i + 1 < n && sum + items[i].p <= u)
            sum += items[i++].p;
        double slack = 3e-6 * total;
        if (u - sum < slack || sum + items[i].p - u < slack) {
            unsure++;
            continue;
        }
        CHECK(sample(s, V, position));
        if (out.token != items[i].id) {
            t_fail(__FILE__, __LINE__, "V %d T %g k %d p %g min %g at %d: token %d, want %d", V,
                   (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, position,
                   out.token, items[i].id);
            break;
        }
    }
    return unsure;
}

static bool is_top_p_alone(const struct sampling *s, int32_t V)
{
    return s->top_p < 1 && s->min_p <= 0 && (s->top_k <= 0 || s->top_k >= V);
}

static void check_all_sizes(const struct sampling *s)
{
    int unsure = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int kind = 0; kind < 4; kind++) {
            static const float deviation[] = {1, 3, 10, 2};
            if (is_top_p_alone(s, sizes[i]))
                continue;
            if (sizes[i] > 2000 && kind % 2 == 0) /* sorting them all takes its time */
                continue;
            fill(sizes[i], deviation[kind], i + 10);
            for (int32_t j = 0; kind == 3 && j < sizes[i]; j++) /* ties, and holes */
                model[j] = j % 11 == 5 ? NAN : j % 11 == 6 ? -INFINITY : floorf(model[j]);
            unsure += check_draws(s, sizes[i], sizes[i] > 2000 ? 12 : 60);
        }
    CHECK(unsure < 60);
}

TEST(sample, temperature_alone_draws_as_defined)
{
    static const float temperature[] = {0.1f, 0.7f, 1, 2, 100};
    for (size_t i = 0; i < COUNT_OF(temperature); i++) {
        struct sampling s = plain();
        s.temperature = temperature[i];
        check_all_sizes(&s);
    }
}

TEST(sample, top_k_alone_draws_as_defined)
{
    static const int32_t top_k[] = {2, 3, 40, 500, 1000, 49151, INT32_MAX};
    for (size_t i = 0; i < COUNT_OF(top_k); i++) {
        struct sampling s = plain();
        s.top_k = top_k[i];
        check_all_sizes(&s);
    }
}

TEST(sample, min_p_alone_draws_as_defined)
{
    static const float min_p[] = {1e-9f, 0.01f, 0.05f, 0.3f, 0.999f};
    for (size_t i = 0; i < COUNT_OF(min_p); i++) {
        struct sampling s = plain();
        s.min_p = min_p[i];
        check_all_sizes(&s);
    }
}

TEST(sample, filters_together_draw_as_defined)
{
    for (uint64_t i = 0; i < 15; i++) {
        struct sampling s = plain();
        s.seed = i;
        s.temperature = 0.2f + 2 * rng_uniform(99, i, 0);
        s.top_k = (int32_t)(2 + 60 * rng_uniform(99, i, 1)) * (i % 3 != 0);
        s.top_p = i % 5 ? 0.3f + 0.7f * rng_uniform(99, i, 2) : 1;
        s.min_p = i % 2 ? 0.1f * rng_uniform(99, i, 3) : 0;
        check_all_sizes(&s);
    }
}

TEST(sample, equal_logits_keep_the_lowest_ids)
{
    struct sampling s = plain();
    for (int i = 0; i < 1000; i++)
        model[i] = i < 10 ? -50 : 2.5f;
    s.top_k = 3;
    bool seen[1000] = {false};
    for (int32_t i = 0; i < 200; i++) {
        CHECK(sample(&s, 1000, i));
        seen[out.token] = true;
    }
    CHECK(seen[10] && seen[11] && seen[12]);
    for (int i = 0; i < 1000; i++)
        CHECK(!seen[i] || (i >= 10 && i <= 12));
    s.top_k = 0;
    s.top_p = 0.004f; /* of 990 equal ones the first four */
    for (int32_t i = 0; i < 200; i++) {
        CHECK(sample(&s, 1000, i));
        CHECK(out.token >= 10 && out.token <= 13);
    }
}

TEST(sample, draws_follow_the_probabilities)
{
    static const float p[8] = {0.3f, 0.2f, 0.15f, 0.12f, 0.1f, 0.08f, 0.04f, 0.01f};
    enum { DRAWS = 40000 };
    for (int filtered = 0; filtered < 2; filtered++) {
        struct sampling s = plain();
        double statistic = 0, share = 1;
        int count[8] = {0}, n = filtered ? 5 : 8;
        s.top_k = filtered ? 5 : 0;
        for (int i = 0; i < 8; i++)
            model[i] = logf(p[i]);
        for (int32_t i = 0; i < DRAWS; i++) {
            CHECK(sample(&s, 8, i));
            count[out.token]++;
        }
        if (filtered)
            share = 0.87;
        for (int i = 0; i < n; i++) {
            double want = DRAWS * (double)p[i] / share;
            statistic += (count[i] - want) * (count[i] - want) / want;
        }
        CHECK(statistic < 24.3); /* 7 degrees of freedom, one in a thousand */
        CHECK(!filtered || count[5] + count[6] + count[7] == 0);
    }
}

TEST(sample, a_draw_depends_on_seed_position_and_choice_alone)
{
    struct sampling s = plain();
    int32_t token = 0, differ = 0;
    struct sample_input in = {.logits = row,
                              .V = 3000,
                              .sampling = &s,
                              .token = &token,
                              .n_token = 1,
                              .n_prompt = 1,
                              .end = NULL,
                              .n_end = 0};
    fill(3000, 1, 5);
    for (uint64_t seed = 0; seed < 50; seed++) {
        int32_t first[3];
        s.seed = seed;
        s.top_p = seed % 2 ? 0.5f : 1;
        for (uint32_t choice = 0; choice < 3; choice++) {
            in.choice = choice;
            memcpy(row, model, sizeof row);
            memset(scratch, (int)seed, sizeof scratch);
            CHECK(sample_noted(&in));
            first[choice] = out.token;
            memcpy(row, model, sizeof row);
            memset(scratch, 0xee, sizeof scratch);
            CHECK(sample_noted(&in));
            CHECK_EQ(out.token, first[choice]);
        }
        differ += first[0] != first[1] && first[1] != first[2];
    }
    CHECK(differ > 40);
}

/* ---- Greedy ----------------------------------------------------------------------- */

TEST(sample, each_way_to_ask_for_greedy_gives_the_largest)
{
    for (int way = 0; way < 6; way++) {
        struct sampling s = plain();
        if (way == 0)
            s.temperature = 0;
        else if (way == 1)
            s.top_k = 1;
        else if (way == 2)
            s.top_p = 0;
        else if (way == 3)
            s.min_p = 1;
        else if (way == 4)
            s.temperature = 1e-6f;
        else
            s.temperature = 1e-45f;
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            fill(sizes[i], 3, i);
            int32_t best = 0;
            for (int32_t j = 0; j < sizes[i]; j++)
                best = model[j] > model[best] ? j : best;
            CHECK(sample(&s, sizes[i], 3));
            CHECK_EQ(out.token, best);
        }
    }
}

TEST(sample, greedy_takes_the_lowest_id_of_equals_and_no_nan)
{
    struct sampling s = plain();
    s.temperature = 0;
    for (int32_t at = 0; at < 700; at += 13) {
        for (int32_t i = 0; i < 700; i++)
            model[i] = i < at && i % 3 == 0 ? NAN : i < at ? 1 : i % 7 == 6 ? -INFINITY : 2;
        model[at] = 2;
        CHECK(sample(&s, 700, 1));
        CHECK_EQ(out.token, at);
    }
}

/* ---- Rows without sense ----------------------------------------------------------- */

TEST(sample, rows_of_nan_and_minus_infinity_are_refused_and_one_number_is_enough)
{
    for (int greedy = 0; greedy < 2; greedy++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            struct sampling s = plain();
            s.temperature = (float)!greedy;
            s.logprobs = 3;
            s.top_p = 0.9f;
            for (int32_t j = 0; j < sizes[i]; j++)
                model[j] = j % 2 ? NAN : -INFINITY;
            CHECK(!sample(&s, sizes[i], 1));
            CHECK_EQ(out.token, 0);
            CHECK_EQ(out.n_top, 0);
            model[sizes[i] / 2] = -3e38f;
            CHECK(sample(&s, sizes[i], 1));
            CHECK_EQ(out.token, sizes[i] / 2);
            CHECK_EQ(out.n_top, 1);
            CHECK(out.logprob == 0 && out.top[0].token == out.token);
        }
}

TEST(sample, an_infinite_logit_is_certain)
{
    struct sampling s = plain();
    s.logprobs = 2;
    fill(300, 3, 1);
    model[200] = model[100] = INFINITY;
    for (int32_t i = 0; i < 20; i++) {
        CHECK(sample(&s, 300, i));
        CHECK_EQ(out.token, 100);
        CHECK(out.logprob == 0);
        CHECK_EQ(out.top[1].token, 200);
    }
}

TEST(sample, hostile_numbers_give_a_token_of_the_row)
{
    static const float odd[] = {INFINITY, -INFINITY, NAN,   3.4e38f, -3.4e38f, 1e-45f,
                                -1e-45f,  0,         -0.0f, 1e30f,   -1e30f,   1};
    for (uint64_t i = 0; i < 3000; i++) {
        int32_t V = 1 + (int32_t)(300 * rng_uniform(1, i, 0));
        struct sampling s = plain();
        s.temperature = i % 3 ? 1 : i % 2 ? 1e-5f : 100;
        s.top_k = (int32_t)(10 * rng_uniform(1, i, 1));
        s.top_p = i % 4 ? rng_uniform(1, i, 2) : 1;
        s.min_p = i % 5 ? 0 : rng_uniform(1, i, 3);
        s.logprobs = (int32_t)(i % 22) - 1;
        bool any = false;
        for (int32_t j = 0; j < V; j++) {
            model[j] = odd[(int)(12 * rng_uniform(i, (uint64_t)j, 4))];
            any = any || model[j] > -INFINITY;
        }
        CHECK_EQ(sample(&s, V, (int32_t)i), any);
        CHECK(out.token >= 0 && out.token < V);
        CHECK(!any || model[out.token] > -INFINITY);
    }
}

/* ---- Edits ------------------------------------------------------------------------ */

TEST(sample, bias_forces_and_forbids)
{
    struct logit_bias bias[] = {{17, 100}, {3, -100}, {-1, 50}, {500, 50}};
    struct sampling s = plain();
    s.bias = bias;
    s.n_bias = 4;
    for (int i = 0; i < 100; i++)
        model[i] = 0;
    for (int32_t i = 0; i < 300; i++) {
        CHECK(sample(&s, 100, i));
        CHECK_EQ(out.token, 17);
    }
    s.bias = bias + 1;
    s.n_bias = 1;
    model[3] = 20;
    for (int32_t i = 0; i < 300; i++) {
        CHECK(sample(&s, 100, i));
        CHECK(out.token != 3);
    }
}

TEST(sample, penalties_are_those_computed_by_hand)
{
    static const int32_t token[] = {0, 1, 1, 2, 3, 3, 3, 1, -5, 99};
    struct sampling s = plain();
    struct sample_input in = {.logits = row,
                              .V = 6,
                              .sampling = &s,
                              .token = token,
                              .n_token = 10,
                              .n_prompt = 4,
                              .end = NULL,
                              .n_end = 0}; /* prompt: 0 1 1 2 */
    static const float logits[] = {2, -2, 4, 1, 3, -1};
    s.temperature = 0;
    s.repetition_penalty = 2;
    s.presence_penalty = 0.5f;
    s.frequency_penalty = 0.25f;
    memcpy(row, logits, sizeof logits);
    CHECK(sample_noted(&in));
    CHECK_NEAR(row[0], 1, 0);                    /* prompt only: 2 / 2 */
    CHECK_NEAR(row[1], -4 - 0.5 - 0.25, 0);      /* -2 * 2, generated once */
    CHECK_NEAR(row[2], 2, 0);                    /* 4 / 2 */
    CHECK_NEAR(row[3], 0.5 - 0.5 - 3 * 0.25, 0); /* 1 / 2, generated three times */
    CHECK_NEAR(row[4], 3, 0);
    CHECK_NEAR(row[5], -1, 0);
    CHECK_EQ(out.token, 4);
}

TEST(sample, bias_comes_before_penalties)
{
    static const int32_t token[] = {0};
    struct logit_bias bias = {0, 6};
    struct sampling s = plain();
    struct sample_input in = {.logits = row,
                              .V = 2,
                              .sampling = &s,
                              .token = token,
                              .n_token = 1,
                              .n_prompt = 1,
                              .end = NULL,
                              .n_end = 0};
    s.temperature = 0;
    s.bias = &bias;
    s.n_bias = 1;
    s.repetition_penalty = 4;
    row[0] = -2;
    row[1] = 0;
    CHECK(sample_noted(&in));
    CHECK_NEAR(row[0], 1, 0); /* (-2 + 6) / 4 */
    CHECK_EQ(out.token, 0);
}

TEST(sample, end_tokens_are_barred_below_min_tokens_and_with_ignore_eos)
{
    static const int32_t token[8] = {0}, end[] = {2, 5, 77, -1};
    struct sampling s = plain();
    struct sample_input in = {.logits = row,
                              .V = 6,
                              .sampling = &s,
                              .token = token,
                              .n_token = 3,
                              .n_prompt = 3,
                              .end = end,
                              .n_end = 4};
    s.temperature = 0;
    s.min_tokens = 2;
    for (int ignore = 0; ignore < 2; ignore++)
        for (in.n_token = 3; in.n_token < 8; in.n_token++) {
            for (int i = 0; i < 6; i++)
                row[i] = (float)i;
            row[2] = 50;
            s.ignore_eos = ignore;
            CHECK(sample_noted(&in));
            CHECK_EQ(out.token, ignore || in.n_token < 5 ? 4 : 2);
        }
    s.ignore_eos = true;
    row[0] = 1;
    in.V = 1;
    static const int32_t only[] = {0};
    in.end = only;
    in.n_end = 1;
    CHECK(!sample_noted(&in));
}

/* ---- Log probabilities ------------------------------------------------------------ */

TEST(sample, logprobs_are_of_the_model_and_sorted)
{
    struct logit_bias bias = {4, 100};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int32_t n = 0; n <= TOP_LOGPROBS; n += 5) {
            int32_t V = sizes[i];
            struct sampling s = plain();
            s.logprobs = n;
            s.bias = &bias;
            s.n_bias = 1;
            fill(V, 4, i);
            double sum = 0;
            for (int32_t j = 0; j < V; j++)
                sum += exp((double)model[j]);
            CHECK(sample(&s, V, 1));
            CHECK_EQ(out.n_top, MIN(n, V));
            CHECK_EQ(out.token, V > 4 ? 4 : out.token);
            CHECK_NEAR(out.logprob, (double)model[out.token] - log(sum), 2e-6 * 20);
            bool sure;
            struct sampling first = plain();
            survivors(&first, V, &sure);
            qsort(items, (size_t)V, sizeof *items, by_logit);
            for (int32_t j = 0; j < out.n_top; j++) {
                CHECK_EQ(out.top[j].token, items[j].id);
                CHECK_NEAR(out.top[j].logprob, (double)items[j].logit - log(sum), 2e-6 * 20);
            }
        }
}

TEST(sample, logits_that_round_to_one_logprob_keep_their_order)
{
    struct sampling s = plain();
    s.logprobs = 4;
    for (int32_t i = 0; i < 40000; i++)
        model[i] = 0;
    model[300] = 0x1p-26f;
    model[35000] = 0x1p-25f;
    CHECK(sample(&s, 40000, 1));
    CHECK_EQ(out.n_top, 4);
    CHECK_EQ(out.top[0].token, 35000);
    CHECK_EQ(out.top[1].token, 300);
    CHECK_EQ(out.top[2].token, 0);
    CHECK_EQ(out.top[3].token, 1);
    CHECK(out.top[0].logprob == out.top[3].logprob);
}

TEST(sample, logprobs_do_not_change_the_draw)
{
    fill(5003, 3, 8);
    for (int32_t i = 0; i < 100; i++) {
        struct sampling s = plain();
        s.top_p = i % 2 ? 0.9f : 1;
        s.top_k = i % 3 ? 0 : 50;
        CHECK(sample(&s, 5003, i));
        int32_t token = out.token;
        s.logprobs = 20;
        CHECK(sample(&s, 5003, i));
        CHECK_EQ(out.token, token);
    }
}
