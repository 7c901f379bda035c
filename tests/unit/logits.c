/* Passes over a row and the notes of its blocks against their plain definitions. */
#include "plugin/logits.h"

#include "logits_row.h"

#include "t.h"

#include <stdlib.h>

static struct logit_block block[MAX_V];

TEST(logits, weight_is_the_exponential)
{
    double worst = 0;
    CHECK(logits_weight(3, 3, 5) == 1);
    CHECK(logits_weight(-88, 0, 1) == 0 && logits_weight(NAN, 0, 1) == 0);
    CHECK(logits_weight(-INFINITY, 0, 1) == 0 && logits_weight(-3e38f, 3e38f, 1e5f) == 0);
    for (int i = 0; i <= 870000; i++) {
        float x = -(float)i / 10000;
        double want = exp((double)x), got = (double)logits_weight(x, 0, 1);
        worst = fmax(worst, fabs(got - want) / want);
    }
    CHECK_NEAR(worst, 0, 3e-7);
    CHECK(worst > 1e-9);
}

TEST(logits, cuts_keep_what_sorting_keeps)
{
    static uint32_t id[MAX_V];
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (size_t k = 1; k <= (size_t)sizes[i]; k = k * 3 + 1) {
            size_t V = (size_t)sizes[i];
            fill((int32_t)V, 2, k);
            for (size_t j = 0; j < V; j++) {
                model[j] = k % 2 ? model[j] : floorf(model[j] * 4) * 0.25f;
                items[j] = (struct item){(int32_t)j, model[j], 0};
                id[j] = (uint32_t)j;
            }
            qsort(items, V, sizeof *items, by_logit);
            qsort(items, k, sizeof *items, by_id);
            struct logits l;
            logits_scan(&l, model, sizes[i], block, 0);
            float bound = logits_bound(&l, k);
            CHECK_EQ(logits_cut_count(model, id, V, k), k);
            for (size_t j = 0; j < k; j++) {
                CHECK_EQ(id[j], items[j].id);
                CHECK(model[id[j]] >= bound);
            }
        }
}

TEST(logits, sums_and_gathers_see_every_number)
{
    static uint32_t id[MAX_V];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t V = (size_t)sizes[i], n = 0;
        static double part[MAX_V];
        double want = 0;
        struct logits l;
        fill(sizes[i], 3, 77);
        logits_scan(&l, model, sizes[i], block, 1);
        for (size_t j = 0; j < V; j++) {
            want += exp((double)model[j] - (double)l.max);
            n += model[j] >= 1;
        }
        CHECK_NEAR(logits_sum(&l, part) / want, 1, 1e-6);
        CHECK_EQ(logits_gather(&l, 1, id), n);
        for (size_t j = 0; j < n; j++)
            CHECK(model[id[j]] >= 1 && (j == 0 || id[j] > id[j - 1]));
    }
}

TEST(logits, blocks_are_weighed_number_by_number)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t V = (size_t)sizes[i];
        struct logits l;
        fill(sizes[i], 3, 21);
        for (size_t j = 0; j < V; j++)
            model[j] = j % 11 == 5 ? NAN : j % 11 == 6 ? -INFINITY : model[j];
        logits_scan(&l, model, sizes[i], block, 0.7f);
        for (size_t b = 0; b < l.n_blocks; b++) {
            float weight[LOGIT_BLOCK];
            size_t n = logits_weigh_block(&l, b, weight), from = b * LOGIT_BLOCK;
            CHECK_EQ(n, MIN((size_t)LOGIT_BLOCK, V - from));
            for (size_t j = 0; j < n; j++)
                CHECK(weight[j] == logits_weight(model[from + j], l.max, 0.7f));
        }
    }
}

/* Numbers are changed at random, among them the largest, and to NaN and -inf. */
TEST(logits, notes_brought_up_to_date_are_those_taken_anew)
{
    static struct logit_block anew[MAX_V];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct logits l, want;
        fill(sizes[i], 3, 5);
        logits_scan(&l, model, sizes[i], block, 0.7f);
        for (uint32_t round = 0; round < 20; round++) {
            static const float value[] = {9, -9, 0, -INFINITY, NAN};
            uint32_t dice[4];
            rng_philox(7, round, (uint32_t)i, dice);
            size_t best = l.max > -INFINITY ? logits_argmax(&l) : 0;
            for (size_t k = 0; k <= round; k++)
                logits_set(&l, ((size_t)dice[0] + k * dice[1]) % (size_t)sizes[i],
                           value[dice[2] % COUNT_OF(value)]);
            logits_set(&l, best, -1);
            logits_update(&l);
            logits_scan(&want, model, sizes[i], anew, 0.7f);
            CHECK(memcmp(&l.max, &want.max, sizeof l.max) == 0);
            CHECK(memcmp(block, anew, l.n_blocks * sizeof *block) == 0);
        }
    }
}
