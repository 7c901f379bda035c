/* The request queue: identity of requests, order, bounds, wake-ups, many submitters. */
#include "t.h"

#include "plugin/base/thread.h"
#include "plugin/exchange/queue.h"

#include <stdatomic.h>
#include <stdlib.h>

static inflight_request text_request(const char *input, uint64_t user)
{
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .user = user};
    r.input = (inflight_str){input, strlen(input)};
    return r;
}

static struct queue *open_queue(uint32_t slots)
{
    struct queue *q = NULL;
    struct err err = {0};
    CHECK_EQ(queue_open(&q, &mem_system, slots, &err), INFLIGHT_OK);
    return q;
}

static inflight_req submit(struct queue *q, uint64_t user)
{
    inflight_request r = text_request("hello", user);
    inflight_req id = 0;
    CHECK_EQ(queue_submit(q, &r, &id, NULL), INFLIGHT_OK);
    return id;
}

TEST(queue, hands_requests_over_in_order_with_copied_text)
{
    struct queue *q = open_queue(4);
    char text[] = "first";
    inflight_request r = text_request(text, 7);
    r.options = (inflight_str){"{}", 2};
    inflight_req id;
    CHECK_EQ(queue_submit(q, &r, &id, NULL), INFLIGHT_OK);
    text[0] = 'X';
    submit(q, 8);
    submit(q, 9);
    CHECK_EQ(queue_waiting(q), 3);
    uint32_t slot[4];
    CHECK_EQ(queue_take(q, slot, 2), 2);
    CHECK_EQ(queue_at(q, slot[0])->user, 7);
    CHECK_EQ(queue_at(q, slot[0])->id, id);
    CHECK_TEXT(queue_at(q, slot[0])->input.ptr, "first");
    CHECK_TEXT(queue_at(q, slot[0])->options.ptr, "{}");
    CHECK_EQ(queue_at(q, slot[1])->user, 8);
    submit(q, 10);
    CHECK_EQ(queue_take(q, slot, 4), 2);
    CHECK_EQ(queue_at(q, slot[0])->user, 9);
    CHECK_EQ(queue_at(q, slot[1])->user, 10);
    CHECK_EQ(queue_waiting(q), 0);
    queue_close(q);
}

TEST(queue, is_bounded_and_says_so)
{
    struct queue *q = open_queue(2);
    submit(q, 1);
    submit(q, 2);
    inflight_request r = text_request("x", 3);
    inflight_req id = 99;
    struct err err = {0};
    CHECK_EQ(queue_submit(q, &r, &id, &err), INFLIGHT_E_BUSY);
    CHECK_EQ(id, 99);
    CHECK(strstr(err.text, "all 2 requests") != NULL);
    uint32_t slot[2];
    CHECK_EQ(queue_take(q, slot, 2), 2);
    CHECK_EQ(queue_submit(q, &r, &id, NULL), INFLIGHT_E_BUSY);
    queue_retire(q, slot[1]);
    CHECK_EQ(queue_submit(q, &r, &id, NULL), INFLIGHT_OK);
    CHECK_EQ((uint32_t)id, slot[1] + 1);
    queue_close(q);
}

TEST(queue, cancel_reaches_only_the_request_it_names)
{
    struct queue *q = open_queue(1);
    inflight_req old = submit(q, 1);
    uint32_t slot;
    CHECK_EQ(queue_take(q, &slot, 1), 1);
    CHECK(!queue_cancelled(q, slot));
    CHECK_EQ(queue_cancel(q, old), INFLIGHT_OK);
    CHECK_EQ(queue_cancel(q, old), INFLIGHT_OK);
    CHECK(queue_cancelled(q, slot));
    queue_retire(q, slot);
    CHECK_EQ(queue_cancel(q, old), INFLIGHT_E_STALE);
    inflight_req id = submit(q, 2);
    CHECK(id != old);
    CHECK_EQ(queue_take(q, &slot, 1), 1);
    CHECK(!queue_cancelled(q, slot));
    CHECK_EQ(queue_cancel(q, old), INFLIGHT_E_STALE);
    CHECK(!queue_cancelled(q, slot));
    CHECK_EQ(queue_cancel(q, 0), INFLIGHT_E_STALE);
    CHECK_EQ(queue_cancel(q, UINT64_MAX), INFLIGHT_E_STALE);
    CHECK_EQ(queue_cancel(q, id + 1), INFLIGHT_E_STALE);
    queue_close(q);
}

TEST(queue, answers_with_the_status_after_shut)
{
    struct queue *q = open_queue(1);
    queue_shut(q, INFLIGHT_E_SHUTDOWN);
    inflight_request r = text_request("x", 3);
    inflight_req id;
    struct err err = {0};
    CHECK_EQ(queue_submit(q, &r, &id, &err), INFLIGHT_E_SHUTDOWN);
    CHECK(err.text[0] != 0);
    queue_close(q);
}

TEST(queue, wait_returns_at_once_after_a_wake_and_otherwise_at_the_deadline)
{
    struct queue *q = open_queue(1);
    queue_wake(q);
    queue_wait(q, UINT64_MAX);
    uint64_t begin = clock_ns();
    queue_wait(q, begin + 20000000);
    CHECK(clock_ns() - begin >= 20000000);
    submit(q, 1);
    queue_wait(q, UINT64_MAX);
    queue_close(q);
}

struct no_memory {
    int left; /* allocations until they fail */
    int64_t balance;
};

static void *fail_alloc(void *user, uint64_t bytes, uint64_t align)
{
    struct no_memory *m = user;
    if (m->left-- <= 0)
        return NULL;
    m->balance += (int64_t)bytes;
    return aligned_alloc(align < 16 ? 16 : align, (bytes + align - 1) / align * align);
}

static void fail_release(void *user, void *ptr, uint64_t bytes)
{
    ((struct no_memory *)user)->balance -= (int64_t)bytes;
    free(ptr);
}

TEST(queue, without_memory_fails_and_keeps_its_slots)
{
    struct no_memory m = {0};
    struct mem mem = {&m, NULL, fail_alloc, fail_release};
    struct queue *q;
    struct err err;
    for (m.left = 0; m.left < 2;) {
        int n = m.left;
        CHECK_EQ(queue_open(&q, &mem, 1, &err), INFLIGHT_E_NOMEM);
        m.left = n + 1;
    }
    CHECK_EQ(queue_open(&q, &mem, 1, &err), INFLIGHT_OK);
    inflight_request r = text_request("x", 3);
    inflight_req id;
    m.left = 0;
    CHECK_EQ(queue_submit(q, &r, &id, &err), INFLIGHT_E_NOMEM);
    m.left = 1;
    CHECK_EQ(queue_submit(q, &r, &id, &err), INFLIGHT_OK);
    queue_close(q);
    CHECK_EQ(m.balance, 0);
}

/* ---- Many submitters, one engine that sleeps whenever it has nothing to do. */

enum { SUBMITTERS = 4, EACH = 20000, SLOTS = 16 };

static struct queue *shared;
static atomic_int submitted_done;
static unsigned char seen[SUBMITTERS][EACH];

static void *submitter(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;
    for (uint64_t i = 0; i < EACH;) {
        char text[24];
        snprintf(text, sizeof text, "%u:%u", (unsigned)me, (unsigned)i);
        inflight_request r = text_request(text, me << 32 | i);
        inflight_req id;
        int32_t rc = queue_submit(shared, &r, &id, NULL);
        if (rc == INFLIGHT_OK) {
            i++;
            if (i % 3 == 0)
                (void)queue_cancel(shared, id);
        } else if (rc != INFLIGHT_E_BUSY) {
            t_fail(__FILE__, __LINE__, "submit: %d", rc);
            break;
        }
    }
    atomic_fetch_add(&submitted_done, 1);
    queue_wake(shared);
    return NULL;
}

static void serve(uint32_t slot, uint64_t last[SUBMITTERS])
{
    const struct request *r = queue_at(shared, slot);
    uint32_t who = (uint32_t)(r->user >> 32), i = (uint32_t)r->user;
    char text[24];
    snprintf(text, sizeof text, "%u:%u", who, i);
    CHECK_TEXT(r->input.ptr, text);
    CHECK(i == 0 || last[who] + 1 == i); /* in the order of its submitter */
    last[who] = i;
    seen[who][i]++;
    queue_retire(shared, slot);
}

TEST(queue, many_submitters_lose_nothing_and_keep_their_order)
{
    shared = open_queue(SLOTS);
    memset(seen, 0, sizeof seen);
    atomic_store(&submitted_done, 0);
    struct thread thread[SUBMITTERS] = {0};
    uint64_t last[SUBMITTERS] = {0};
    for (int i = 0; i < SUBMITTERS; i++)
        CHECK_EQ(thread_start(&thread[i], "t-submit", submitter, (void *)(uintptr_t)i, NULL), 0);
    int served = 0;
    uint64_t give_up = clock_ns() + 60000000000u;
    while (served < SUBMITTERS * EACH && clock_ns() < give_up) {
        uint32_t slot[5];
        uint32_t n = queue_take(shared, slot, 5);
        for (uint32_t i = 0; i < n; i++)
            serve(slot[i], last);
        served += (int)n;
        if (!n)
            queue_wait(shared, give_up);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        thread_join(&thread[i]);
    CHECK_EQ(served, SUBMITTERS * EACH);
    for (int i = 0; i < SUBMITTERS; i++)
        for (int j = 0; j < EACH; j++)
            if (seen[i][j] != 1)
                t_fail(__FILE__, __LINE__, "request %d:%d was seen %d times", i, j, seen[i][j]);
    CHECK_EQ(queue_waiting(shared), 0);
    queue_close(shared);
}
