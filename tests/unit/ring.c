/* The ring of events: joining, order, bounds, policies and the descriptor, one step at a
 * time. ring_threads.c is the same with both sides running. */
#include "t.h"

#include "plugin/base/thread.h"
#include "plugin/exchange/ring.h"

#include <poll.h>
#include <stdlib.h>

static struct queue *queue;
static struct ring *ring;
static int woken;

static void count_wakeup(void *user)
{
    ++*(int *)user;
}

static void begin_test(uint32_t slots, uint32_t stream_bytes)
{
    struct err err = {0};
    struct ring_config config = {slots, stream_bytes, &woken, count_wakeup};
    woken = 0;
    CHECK_EQ(queue_open(&queue, &mem_system, slots, &err), INFLIGHT_OK);
    CHECK_EQ(ring_open(&ring, &mem_system, &config, queue, &err), INFLIGHT_OK);
}

static void end_test(void)
{
    ring_close(ring);
    queue_close(queue);
}

/* Submits and takes a request and begins its events; returns the slot. */
static uint32_t begin_request(uint64_t user, uint32_t overflow, uint32_t flags)
{
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .user = user};
    r.overflow = overflow;
    r.flags = flags;
    inflight_req id;
    uint32_t slot = 0;
    CHECK_EQ(queue_submit(queue, &r, &id, NULL), INFLIGHT_OK);
    CHECK_EQ(queue_take(queue, &slot, 1), 1);
    ring_begin(ring, slot, queue_at(queue, slot));
    return slot;
}

static enum ring_result say(uint32_t slot, uint32_t choice, const char *text)
{
    return ring_text(ring, slot, choice, (struct str){text, strlen(text)}, 1);
}

static void finish(uint32_t slot, int32_t status)
{
    struct ring_done done = {.status = status, .finish = INFLIGHT_FINISH_STOP, .n_tokens = 5};
    done.text = (struct str){"why", 3};
    ring_done(ring, slot, &done);
}

static inflight_event ev[64];

static int32_t take(uint32_t cap)
{
    return ring_poll(ring, ev, sizeof *ev, cap, 0);
}

static bool readable(void)
{
    struct pollfd p = {.fd = ring_fd(ring), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static bool data_is(const inflight_event *e, const char *want)
{
    return e->data_len == strlen(want) && memcmp(e->data, want, strlen(want)) == 0;
}

TEST(ring, joins_pending_text_of_a_request_into_one_event)
{
    begin_test(4, 0);
    uint32_t slot = begin_request(77, 0, 0);
    CHECK_EQ(say(slot, 0, "Hel"), RING_OK);
    CHECK_EQ(say(slot, 0, "lo"), RING_OK);
    CHECK_EQ(say(slot, 0, ", world"), RING_OK);
    CHECK_EQ(take(64), 1);
    CHECK(data_is(ev, "Hello, world"));
    CHECK_EQ(ev->type, INFLIGHT_EV_TEXT);
    CHECK_EQ(ev->user, 77);
    CHECK_EQ(ev->n_tokens, 3);
    CHECK_EQ(ev->seq, 0);
    CHECK_EQ(say(slot, 0, "!"), RING_OK);
    finish(slot, INFLIGHT_OK);
    CHECK_EQ(take(64), 2);
    CHECK(data_is(ev, "!"));
    CHECK_EQ(ev[0].seq, 1);
    CHECK_EQ(ev[1].type, INFLIGHT_EV_DONE);
    CHECK_EQ(ev[1].seq, 2);
    CHECK_EQ(ev[1].n_tokens, 5);
    CHECK(data_is(&ev[1], "why"));
    CHECK_EQ(take(64), 0);
    end_test();
}

TEST(ring, gives_every_token_its_event_when_asked)
{
    begin_test(4, 0);
    uint32_t slot = begin_request(1, 0, INFLIGHT_REQ_NO_COALESCE);
    say(slot, 0, "a");
    say(slot, 0, "b");
    say(slot, 0, "c");
    ring_last(ring, slot, 0, INFLIGHT_FINISH_LENGTH);
    CHECK_EQ(take(64), 3);
    CHECK(data_is(&ev[0], "a") && data_is(&ev[1], "b") && data_is(&ev[2], "c"));
    CHECK_EQ(ev[1].flags, 0);
    CHECK_EQ(ev[2].flags, INFLIGHT_EVF_LAST);
    CHECK_EQ(ev[2].finish, INFLIGHT_FINISH_LENGTH);
    end_test();
}

TEST(ring, keeps_choices_apart_and_ends_each)
{
    begin_test(4, 0);
    uint32_t slot = begin_request(1, 0, 0);
    for (int i = 0; i < 3; i++) {
        say(slot, 0, "a");
        say(slot, 1, "b");
    }
    ring_last(ring, slot, 1, INFLIGHT_FINISH_STOP);
    say(slot, 0, "A");
    ring_logprobs(ring, slot, 0, (struct str){"{}", 2});
    ring_last(ring, slot, 0, INFLIGHT_FINISH_LENGTH);
    CHECK_EQ(take(64), 4);
    CHECK(data_is(&ev[0], "aaaA"));
    CHECK_EQ(ev[0].flags, 0);
    CHECK(data_is(&ev[1], "bbb"));
    CHECK_EQ(ev[1].choice, 1);
    CHECK_EQ(ev[1].flags, INFLIGHT_EVF_LAST);
    CHECK_EQ(ev[2].type, INFLIGHT_EV_LOGPROBS);
    CHECK(data_is(&ev[2], "{}"));
    CHECK_EQ(ev[3].flags, INFLIGHT_EVF_LAST); /* not before the choice's log-probabilities */
    CHECK_EQ(ev[3].data_len, 0);
    CHECK_EQ(ev[3].finish, INFLIGHT_FINISH_LENGTH);
    end_test();
}

TEST(ring, with_room_for_one_event_goes_round_and_forgets_nothing)
{
    begin_test(4, 0);
    uint32_t a = begin_request(1, 0, 0), b = begin_request(2, 0, 0);
    say(a, 0, "x");
    ring_logprobs(ring, a, 0, (struct str){"{}", 2});
    say(b, 0, "y");
    finish(a, INFLIGHT_OK);
    finish(b, INFLIGHT_OK);
    uint64_t order[5] = {0};
    for (int i = 0; i < 5; i++) {
        CHECK(readable());
        CHECK_EQ(take(1), 1);
        order[i] = ev->user * 10 + ev->type;
    }
    CHECK_EQ(take(1), 0);
    CHECK(!readable());
    CHECK_EQ(order[0], 13);
    CHECK_EQ(order[1], 14);
    CHECK_EQ(order[2], 15);
    CHECK_EQ(order[3], 23);
    CHECK_EQ(order[4], 25);
    end_test();
}

TEST(ring, a_talkative_request_does_not_starve_its_neighbour)
{
    begin_test(2, 0);
    uint32_t a = begin_request(1, 0, 0), b = begin_request(2, 0, 0);
    say(b, 0, "quiet");
    int until_b = 0;
    do {
        say(a, 0, "talk");
        CHECK_EQ(take(1), 1);
        until_b++;
    } while (ev->user != 2 && until_b < 10);
    CHECK(until_b <= 2);
    end_test();
}

TEST(ring, parks_at_the_bound_and_wakes_the_engine_when_half_free)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(1, INFLIGHT_OVERFLOW_PARK, 0);
    int n = 0;
    while (say(slot, 0, "12345678") == RING_OK)
        n++;
    CHECK_EQ(n, (16 << 10) / 32);
    CHECK(!ring_half_free(ring, slot));
    queue_wait(queue, clock_ns() + 1000000); /* the submit */
    CHECK_EQ(take(64), 1);
    CHECK_EQ(ev->data_len, n * 8);
    CHECK(ring_half_free(ring, slot));
    uint64_t begin = clock_ns();
    queue_wait(queue, begin + 2000000000); /* the poll's wake */
    CHECK(clock_ns() - begin < 1000000000);
    CHECK_EQ(say(slot, 0, "on"), RING_OK);
    end_test();
}

TEST(ring, last_and_done_find_room_in_a_full_stream)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(1, INFLIGHT_OVERFLOW_FAIL, 0);
    for (uint32_t c = 0; say(slot, c % 128, "12345678") == RING_OK; c++)
        ;
    for (uint32_t c = 0; c < 128; c++)
        ring_last(ring, slot, c, INFLIGHT_FINISH_LENGTH);
    finish(slot, INFLIGHT_E_OVERFLOW);
    int lasts = 0, dones = 0, n;
    while ((n = take(7)) > 0)
        for (int i = 0; i < n; i++) {
            lasts += (ev[i].flags & INFLIGHT_EVF_LAST) != 0;
            dones += ev[i].type == INFLIGHT_EV_DONE;
        }
    CHECK_EQ(lasts, 128);
    CHECK_EQ(dones, 1);
    end_test();
}

TEST(ring, drop_oldest_keeps_the_newest_and_counts_what_is_gone)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(1, INFLIGHT_OVERFLOW_DROP_OLDEST, 0);
    char text[9];
    say(slot, 1, "short");
    ring_last(ring, slot, 1, INFLIGHT_FINISH_STOP);
    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "%08d", i);
        CHECK_EQ(say(slot, 0, text), RING_OK);
    }
    CHECK_EQ(take(64), 2);
    inflight_event *t = ev[0].choice == 0 ? &ev[0] : &ev[1], *other = t == ev ? &ev[1] : &ev[0];
    CHECK_EQ(t->flags, INFLIGHT_EVF_GAP);
    CHECK_EQ(t->done + t->data_len, 5000 * 8 + 5);
    CHECK(memcmp(t->data + t->data_len - 8, "00004999", 8) == 0);
    CHECK_EQ(other->choice, 1); /* its end was not dropped */
    CHECK_EQ(other->flags, INFLIGHT_EVF_LAST);
    say(slot, 0, "next");
    finish(slot, INFLIGHT_OK);
    CHECK_EQ(take(64), 2);
    CHECK_EQ(ev[0].flags, 0);
    CHECK_EQ(ev[0].done, 0);
    end_test();
}

TEST(ring, a_new_request_in_the_same_slot_starts_clean)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(1, INFLIGHT_OVERFLOW_DROP_OLDEST, 0);
    for (int i = 0; i < 3000; i++)
        say(slot, 0, "12345678");
    ring_last(ring, slot, 0, INFLIGHT_FINISH_STOP);
    finish(slot, INFLIGHT_OK);
    CHECK_EQ(take(64), 2);
    inflight_req old = ev[0].req;
    CHECK_EQ(queue_cancel(queue, old), INFLIGHT_E_STALE);
    slot = begin_request(2, 0, 0);
    say(slot, 0, "new");
    ring_last(ring, slot, 0, INFLIGHT_FINISH_STOP);
    CHECK_EQ(take(64), 1);
    CHECK(ev->req != old);
    CHECK_EQ(ev->seq, 0);
    CHECK_EQ(ev->user, 2);
    CHECK_EQ(ev->flags, INFLIGHT_EVF_LAST);
    CHECK(data_is(ev, "new"));
    end_test();
}

TEST(ring, cuts_a_monstrous_piece_at_a_code_point_and_marks_the_gap)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(1, 0, 0);
    static char text[9001];
    for (int i = 0; i < 9000; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    say(slot, 0, text);
    say(slot, 0, "after");
    CHECK_EQ(take(64), 1);
    CHECK_EQ(ev->data_len, 8190 + 5);
    CHECK_EQ(ev->flags, INFLIGHT_EVF_GAP);
    CHECK_EQ(ev->done, 9000 - 8190);
    end_test();
}

TEST(ring, writes_as_much_of_an_event_as_the_host_knows)
{
    begin_test(1, 0);
    uint32_t slot = begin_request(5, 0, 0);
    say(slot, 0, "text");
    finish(slot, INFLIGHT_OK);
    unsigned char small[3 * 48], large[2 * 160];
    memset(small, 0xee, sizeof small);
    CHECK_EQ(ring_poll(ring, (inflight_event *)(void *)small, 48, 1, 0), 1);
    inflight_event got;
    memcpy(&got, small, 48);
    CHECK_EQ(got.struct_size, 48);
    CHECK_EQ(got.user, 5);
    CHECK_EQ(small[48], 0xee);
    memset(large, 0xee, sizeof large);
    CHECK_EQ(ring_poll(ring, (inflight_event *)(void *)large, 160, 2, 0), 1);
    memcpy(&got, large, sizeof got);
    CHECK_EQ(got.type, INFLIGHT_EV_DONE);
    CHECK_EQ(got.struct_size, 160);
    CHECK_EQ(large[sizeof got], 0);
    CHECK_EQ(large[159], 0);
    CHECK_EQ(large[160], 0xee);
    end_test();
}

TEST(ring, reports_loading_with_the_newest_progress_then_ready_once)
{
    begin_test(1, 0);
    for (uint64_t i = 1; i <= 100; i++)
        ring_load(ring, "weights", i, 100);
    CHECK_EQ(woken, 1);
    CHECK_EQ(take(1), 1);
    CHECK_EQ(ev->type, INFLIGHT_EV_LOAD);
    CHECK_EQ(ev->done, 100);
    CHECK(data_is(ev, "weights"));
    CHECK_EQ(ev->req, 0);
    ring_load(ring, "tokenizer", 1, 2);
    ring_ready(ring, INFLIGHT_E_MODEL, (struct str){"{\"x\":1}", 7});
    ring_ready(ring, INFLIGHT_OK, (struct str){"", 0});
    CHECK_EQ(take(64), 2);
    CHECK_EQ(ev[0].type, INFLIGHT_EV_LOAD);
    CHECK_EQ(ev[1].type, INFLIGHT_EV_READY);
    CHECK_EQ(ev[1].status, INFLIGHT_E_MODEL);
    CHECK(data_is(&ev[1], "{\"x\":1}"));
    CHECK_EQ(take(64), 0);
    CHECK(!readable());
    end_test();
}

TEST(ring, drops_log_lines_over_the_bound)
{
    begin_test(1, 0);
    for (int i = 0; i < 100; i++)
        ring_log(ring, 2, (struct str){"line", 4});
    ring_budget(ring, INFLIGHT_OK, 4);
    CHECK_EQ(take(64), 64);
    CHECK_EQ(ev[63].type, INFLIGHT_EV_LOG);
    CHECK_EQ(ev[63].status, 2);
    CHECK_EQ(take(64), 0);
    ring_budget(ring, INFLIGHT_OK, 4);
    CHECK_EQ(take(64), 1);
    CHECK_EQ(ev->type, INFLIGHT_EV_BUDGET);
    CHECK_EQ(ev->done, 4);
    end_test();
}

TEST(ring, descriptor_follows_the_level_and_the_hook_the_edge)
{
    begin_test(2, 0);
    uint32_t slot = begin_request(1, 0, 0);
    CHECK(!readable());
    CHECK_EQ(take(64), 0);
    CHECK(!readable());
    say(slot, 0, "a");
    say(slot, 0, "b");
    CHECK(readable());
    CHECK_EQ(woken, 1);
    CHECK_EQ(take(64), 1);
    CHECK(!readable());
    say(slot, 0, "c");
    CHECK(readable());
    CHECK_EQ(woken, 2);
    finish(slot, INFLIGHT_OK);
    CHECK_EQ(take(1), 1);
    CHECK(readable());
    CHECK_EQ(take(1), 1);
    CHECK(!readable());
    CHECK_EQ(take(0), 0);
    CHECK_EQ(woken, 2);
    end_test();
}

TEST(ring, waits_until_the_timeout_and_not_longer)
{
    begin_test(1, 0);
    uint64_t begin = clock_ns();
    CHECK_EQ(ring_poll(ring, ev, sizeof *ev, 4, 15000000), 0);
    uint64_t took = clock_ns() - begin;
    CHECK(took >= 15000000 && took < 2000000000);
    ring_shut(ring);
    CHECK_EQ(ring_poll(ring, ev, sizeof *ev, 4, UINT64_MAX), INFLIGHT_E_SHUTDOWN);
    end_test();
}

struct no_memory {
    int left;
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

TEST(ring, without_memory_fails_and_leaks_nothing)
{
    struct no_memory m = {0};
    struct mem mem = {&m, NULL, fail_alloc, fail_release};
    struct ring_config config = {8, 0, NULL, NULL};
    struct err err = {0};
    CHECK_EQ(queue_open(&queue, &mem_system, 8, &err), INFLIGHT_OK);
    int n = 0;
    for (int rc = -1; rc && n < 50; n++) {
        m.left = n;
        rc = ring_open(&ring, &mem, &config, queue, &err);
        CHECK(rc == INFLIGHT_OK || rc == INFLIGHT_E_NOMEM);
        CHECK(rc == INFLIGHT_OK || m.balance == 0);
    }
    CHECK(n > 5 && n < 50);
    ring_close(ring);
    CHECK_EQ(m.balance, 0);
    queue_close(queue);
}
