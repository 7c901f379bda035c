/* How often all lanes wait for each other: what a step costs beside its arithmetic. */
#include "direct.h"
#include "t.h"

#include "kernels/cpu/pool.h"

/* Of a model with 30 layers: five of each layer, one each of the embedding and the head,
 * and a few to spare. */
#define MOST_OF_A_TOKEN 160

static uint64_t barriers_of_a_token(struct model *m, int32_t position)
{
    static const int32_t token[1] = {1};
    const struct pool *pool = model_device(m)->pool;
    uint64_t before = pool_barriers(pool);
    CHECK(direct_continue(m, token, position, 1));
    return pool_barriers(pool) - before;
}

/* The last position lies behind the first split of attention, which then is cut between the
 * lanes along its keys. */
TEST(barriers, a_decoded_token_takes_few_on_any_number_of_lanes)
{
    static const int32_t position[] = {0, 100, 300};
    for (int threads = 1; threads <= 3; threads++) {
        struct model *m = direct_open(ACT_INT8, KV_BF16, threads);
        if (!m)
            return;
        CHECK_EQ(model_hparams(m)->L, 30);
        for (size_t i = 0; i < COUNT_OF(position); i++) {
            uint64_t n = barriers_of_a_token(m, position[i]);
            if (n > MOST_OF_A_TOKEN)
                t_fail(__FILE__, __LINE__, "%d threads, position %d: %llu barriers, at most %d",
                       threads, position[i], (unsigned long long)n, MOST_OF_A_TOKEN);
        }
        model_close(m);
    }
}
