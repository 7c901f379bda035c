/* Picks become flat arrays: rows without gaps, and logits only where a sequence ends. */
#include "t.h"

#include "plugin/batch.h"

static void make(struct seq *q, int32_t *token, int32_t n_token, int32_t n_computed, int32_t n_step)
{
    static struct job job[64];
    job[n_token].scale = (float)n_token;
    *q = (struct seq){.job = &job[n_token],
                      .token = token,
                      .n_token = n_token,
                      .n_computed = n_computed,
                      .n_step = n_step};
    for (int32_t i = 0; i < n_token; i++)
        token[i] = 1000 * n_token + i;
}

TEST(batch, mixed_prefill_and_decode_are_laid_out_in_order)
{
    struct batch_space b;
    struct seq decode, part, last;
    int32_t token[3][64];
    make(&decode, token[0], 20, 19, 1);
    make(&part, token[1], 40, 16, 16);
    make(&last, token[2], 7, 2, 5);
    struct seq *pick[3] = {&decode, &part, &last};
    CHECK_EQ(batch_init(&b, &mem_system, 22, 3, NULL), INFLIGHT_OK);
    batch_build(&b, pick, 3);
    CHECK_EQ(b.batch.T, 22);
    CHECK_EQ(b.batch.S, 3);
    CHECK_EQ(b.batch.R, 2);
    static const int32_t first[] = {0, 1, 17}, n[] = {1, 16, 5}, position[] = {19, 16, 2};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(b.batch.seq[i].first, first[i]);
        CHECK_EQ(b.batch.seq[i].n, n[i]);
        CHECK_EQ(b.batch.seq[i].position, position[i]);
        for (int32_t k = 0; k < n[i]; k++) {
            CHECK_EQ(b.batch.position[first[i] + k], position[i] + k);
            CHECK_EQ(b.batch.token[first[i] + k], token[i][position[i] + k]);
        }
    }
    CHECK_EQ(b.batch.row[0], 0);
    CHECK_EQ(b.batch.row[1], 21);
    CHECK(b.sampled[0] == &decode);
    CHECK(b.sampled[1] == &last);
    CHECK(b.batch.scale[0] == 20 && b.batch.scale[1] == 7);
    batch_release(&b);
}

TEST(batch, nothing_picked_is_an_empty_batch)
{
    struct batch_space b;
    CHECK_EQ(batch_init(&b, &mem_system, 4, 2, NULL), INFLIGHT_OK);
    batch_build(&b, NULL, 0);
    CHECK_EQ(b.batch.T, 0);
    CHECK_EQ(b.batch.S, 0);
    CHECK_EQ(b.batch.R, 0);
    batch_release(&b);
}
