/* The page pool: every page is free or owned, whatever the order of takes and gives. */
#include "t.h"

#include "plugin/base/rng.h"
#include "plugin/kv.h"

TEST(kv, pages_are_taken_once_and_come_back_with_their_last_owner)
{
    struct kv kv;
    CHECK_EQ(kv_init(&kv, &mem_system, 3, NULL), INFLIGHT_OK);
    int32_t a = kv_take(&kv), b = kv_take(&kv), c = kv_take(&kv);
    CHECK(a != b && b != c && a != c);
    CHECK_EQ(kv_take(&kv), -1);
    kv_share(&kv, b);
    CHECK_EQ(kv_give(&kv, b), 1);
    CHECK_EQ(kv_take(&kv), -1);
    CHECK_EQ(kv_give(&kv, b), 0);
    CHECK_EQ(kv_take(&kv), b);
    CHECK(kv_check(&kv));
    kv_release(&kv);
}

TEST(kv, the_check_sees_a_page_that_is_free_and_owned_or_free_twice)
{
    struct kv kv;
    CHECK_EQ(kv_init(&kv, &mem_system, 4, NULL), INFLIGHT_OK);
    CHECK(kv_check(&kv));
    kv.owners[kv.free[0]] = 1;
    CHECK(!kv_check(&kv));
    kv.owners[kv.free[0]] = 0;
    int32_t was = kv.free[1];
    kv.free[1] = kv.free[2];
    CHECK(!kv_check(&kv));
    kv.free[1] = was;
    CHECK(kv_check(&kv));
    kv_release(&kv);
}

TEST(kv, a_pool_without_pages_is_refused)
{
    struct kv kv;
    struct err err;
    CHECK_EQ(kv_init(&kv, &mem_system, 0, &err), INFLIGHT_E_INTERNAL);
    kv_release(&kv);
}

TEST(kv, positions_round_up_to_pages)
{
    CHECK_EQ(kv_pages_for(0), 0);
    CHECK_EQ(kv_pages_for(1), 1);
    CHECK_EQ(kv_pages_for(16), 1);
    CHECK_EQ(kv_pages_for(17), 2);
    CHECK_EQ(kv_pages_for(INT32_MAX), 134217728);
}

TEST(kv, random_owners_keep_the_books)
{
    struct kv kv;
    int32_t held[200], n = 0;
    CHECK_EQ(kv_init(&kv, &mem_system, 37, NULL), INFLIGHT_OK);
    for (uint64_t i = 0; i < 5000; i++) {
        uint32_t dice[4];
        rng_philox(9, i, 0, dice);
        if (dice[0] % 3 == 0 && n < 200) {
            int32_t n_free = kv.n_free, page = kv_take(&kv);
            CHECK_EQ(page < 0, n_free == 0);
            if (page >= 0)
                held[n++] = page;
        } else if (dice[0] % 3 == 1 && n && n < 200) {
            held[n] = held[dice[1] % (uint32_t)n];
            kv_share(&kv, held[n++]);
        } else if (n) {
            uint32_t k = dice[1] % (uint32_t)n;
            kv_give(&kv, held[k]);
            held[k] = held[--n];
        }
        CHECK(kv_check(&kv));
    }
    while (n)
        kv_give(&kv, held[--n]);
    CHECK_EQ(kv.n_free, 37);
    kv_release(&kv);
}
