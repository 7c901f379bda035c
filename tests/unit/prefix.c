/* The prefix cache: the longest match, no false ones, and the order of eviction. */
#include "t.h"

#include "plugin/base/rng.h"
#include "plugin/prefix.h"

struct fixture {
    struct kv kv;
    struct prefix p;
};

static void setup(struct fixture *f, int32_t n_pages, bool enabled)
{
    CHECK_EQ(kv_init(&f->kv, &mem_system, n_pages, NULL), INFLIGHT_OK);
    CHECK_EQ(prefix_init(&f->p, &f->kv, &mem_system, enabled, NULL), INFLIGHT_OK);
}

static void teardown(struct fixture *f)
{
    CHECK(kv_check(&f->kv));
    CHECK(prefix_check(&f->p));
    prefix_release(&f->p);
    kv_release(&f->kv);
}

/* Computes n pages of tokens: shares what is cached, inserts the rest. */
static void compute(struct fixture *f, const int32_t *token, int32_t n, int32_t *page)
{
    int32_t have = prefix_find(&f->p, token, n * PAGE_TOKENS, page);
    uint64_t id = prefix_last_id(&f->p, page, have);
    for (int32_t i = have; i < n; i++) {
        page[i] = kv_take(&f->kv);
        CHECK(page[i] >= 0);
        id = prefix_insert(&f->p, id, token + i * PAGE_TOKENS, &page[i]);
    }
}

static void give(struct fixture *f, const int32_t *page, int32_t n)
{
    while (n > 0)
        prefix_give(&f->p, page[--n]);
}

static void fill(int32_t *token, int32_t n, int32_t first)
{
    for (int32_t i = 0; i < n; i++)
        token[i] = first + i;
}

TEST(prefix, the_longest_run_of_whole_pages_is_found)
{
    struct fixture f;
    int32_t token[64], page[4], found[4];
    setup(&f, 8, true);
    fill(token, 64, 0);
    compute(&f, token, 3, page);
    CHECK_EQ(prefix_find(&f.p, token, 64, found), 3);
    CHECK(memcmp(found, page, 3 * sizeof *page) == 0);
    give(&f, found, 3);
    CHECK_EQ(prefix_find(&f.p, token, 47, found), 2);
    give(&f, found, 2);
    CHECK_EQ(prefix_find(&f.p, token, 15, found), 0);
    token[20]++;
    CHECK_EQ(prefix_find(&f.p, token, 64, found), 1);
    give(&f, found, 1);
    give(&f, page, 3);
    CHECK_EQ(f.p.n_idle, 3);
    teardown(&f);
}

TEST(prefix, the_same_tokens_after_others_are_another_page)
{
    struct fixture f;
    int32_t a[32], b[32], page_a[2], page_b[2];
    setup(&f, 8, true);
    fill(a, 32, 0);
    fill(b, 16, 100);
    memcpy(b + 16, a + 16, 16 * sizeof *a);
    compute(&f, a, 2, page_a);
    compute(&f, b, 2, page_b);
    CHECK(page_a[1] != page_b[1]);
    int32_t found[2];
    CHECK_EQ(prefix_find(&f.p, a + 16, 16, found), 0);
    give(&f, page_a, 2);
    give(&f, page_b, 2);
    teardown(&f);
}

TEST(prefix, a_page_computed_twice_is_kept_once)
{
    struct fixture f;
    int32_t token[16], page, twin;
    setup(&f, 4, true);
    fill(token, 16, 0);
    page = kv_take(&f.kv);
    twin = kv_take(&f.kv);
    int32_t was = page;
    uint64_t id = prefix_insert(&f.p, PREFIX_ROOT, token, &page);
    CHECK_EQ(prefix_insert(&f.p, PREFIX_ROOT, token, &twin), id);
    CHECK_EQ(twin, was);
    CHECK_EQ(f.kv.owners[was], 3);
    CHECK_EQ(f.kv.n_free, 3);
    give(&f, &page, 1);
    CHECK_EQ(f.p.n_idle, 0);
    give(&f, &twin, 1);
    CHECK_EQ(f.p.n_idle, 1);
    teardown(&f);
}

TEST(prefix, leaves_go_before_what_they_hang_on_and_the_oldest_first)
{
    struct fixture f;
    int32_t a[48], b[48], page_a[3], page_b[3];
    setup(&f, 4, true);
    fill(a, 48, 0);
    fill(b, 48, 0);
    b[40] = -1;
    compute(&f, a, 3, page_a);
    compute(&f, b, 3, page_b);
    give(&f, page_a, 3);
    CHECK_EQ(f.p.n_idle, 1);
    give(&f, page_b, 3);
    int32_t order[4] = {page_a[2], page_b[2], page_a[1], page_a[0]};
    for (int i = 0; i < 4; i++) {
        CHECK(prefix_evict(&f.p));
        CHECK_EQ(kv_take(&f.kv), order[i]);
        CHECK(prefix_check(&f.p));
    }
    CHECK(!prefix_evict(&f.p));
    for (int i = 0; i < 4; i++)
        prefix_give(&f.p, order[i]);
    teardown(&f);
}

TEST(prefix, children_of_an_evicted_page_are_never_found_again)
{
    struct fixture f;
    int32_t token[32], page[2], again, found[2];
    setup(&f, 4, true);
    fill(token, 32, 0);
    compute(&f, token, 2, page);
    prefix_forget(&f.p, page[0]);
    CHECK_EQ(prefix_find(&f.p, token, 32, found), 0);
    /* The same page comes back with the same content: its old child stays lost. */
    again = page[0];
    prefix_insert(&f.p, PREFIX_ROOT, token, &again);
    CHECK_EQ(prefix_find(&f.p, token, 32, found), 1);
    give(&f, found, 1);
    give(&f, page, 2);
    teardown(&f);
}

TEST(prefix, a_disabled_cache_finds_and_keeps_nothing)
{
    struct fixture f;
    int32_t token[32], page[2], found[2];
    setup(&f, 4, false);
    fill(token, 32, 0);
    compute(&f, token, 2, page);
    CHECK_EQ(prefix_find(&f.p, token, 32, found), 0);
    give(&f, page, 2);
    CHECK_EQ(f.kv.n_free, 4);
    teardown(&f);
}

TEST(prefix, random_use_keeps_the_books)
{
    struct fixture f;
    uint32_t content[24] = {0}; /* what was computed into a page: depth and all before it */
    setup(&f, 24, true);
    for (uint64_t i = 0; i < 3000; i++) {
        uint32_t dice[4];
        rng_philox(3, i, 0, dice);
        int32_t token[96], page[6], n = 1 + (int32_t)(dice[0] % 6);
        for (int32_t k = 0; k < 96; k++)
            token[k] = (int32_t)(dice[1] >> k / 16 & 1);
        int32_t have = prefix_find(&f.p, token, n * PAGE_TOKENS, page);
        uint64_t id = prefix_last_id(&f.p, page, have);
        for (int32_t k = 0; k < n; k++) {
            uint32_t want = 1u << (k + 1) | (dice[1] & ((1u << (k + 1)) - 1));
            if (k < have) {
                CHECK_EQ(content[page[k]], want);
                continue;
            }
            while ((page[k] = kv_take(&f.kv)) < 0)
                CHECK(prefix_evict(&f.p));
            content[page[k]] = want;
            id = prefix_insert(&f.p, id, token + k * PAGE_TOKENS, &page[k]);
        }
        if (dice[2] % 8 == 0)
            prefix_forget(&f.p, page[dice[3] % (uint32_t)n]);
        CHECK(prefix_check(&f.p));
        give(&f, page, n);
        CHECK(kv_check(&f.kv));
        CHECK(prefix_check(&f.p));
    }
    CHECK_EQ(f.p.n_idle + f.kv.n_free, 24);
    teardown(&f);
}
