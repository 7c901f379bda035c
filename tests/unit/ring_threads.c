/* The ring with both sides running: an engine thread that does something at random for a
 * random request, and a host that polls with random room and sleeps only on the
 * descriptor. Every byte of every choice is checked for its place, so a lost, doubled or
 * torn record shows; a lost wake-up shows as a host that sleeps too long; a descriptor
 * that is readable for nothing shows at once. */
#include "t.h"

#include "plugin/base/rng.h"
#include "plugin/base/thread.h"
#include "plugin/exchange/ring.h"

#include <poll.h>
#include <stdatomic.h>

enum { SLOTS = 70, CHOICES = 3, STEPS = 1000000, MOST = 2000 /* records of a request */ };

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || \
    __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SCALE 10
#else
#define SCALE 1
#endif

static struct queue *queue;
static struct ring *ring;
static atomic_bool stop;

/* Letter at a place in the endless text of one choice. */
static char letter(uint64_t user, uint32_t choice, uint64_t at)
{
    return (char)('a' + (user + choice * 5 + at * 7 + at / 26) % 26);
}

/* ---- The engine */

struct writer {
    bool running;
    uint64_t user;
    uint64_t text[CHOICES]; /* bytes put */
    uint32_t left;          /* records */
    uint32_t overflow;
    bool full, ended[CHOICES];
};

static struct writer writer[SLOTS];
static uint64_t draws;

static uint32_t draw(uint32_t n)
{
    uint32_t out[4];
    rng_philox(42, draws++, 0, out);
    return out[0] % n;
}

static void begin_writer(uint32_t slot)
{
    const struct request *r = queue_at(queue, slot);
    writer[slot] = (struct writer){.running = true, .user = r->user, .overflow = r->overflow};
    writer[slot].left = draw(10) ? draw(40) : draw(MOST);
    ring_begin(ring, slot, r);
}

static void end_writer(uint32_t slot)
{
    struct writer *w = &writer[slot];
    for (uint32_t c = 0; c < CHOICES; c++)
        if (!w->ended[c])
            ring_last(ring, slot, c, INFLIGHT_FINISH_STOP);
    struct ring_done done = {.n_tokens = (uint32_t)(w->text[0] + w->text[1] + w->text[2])};
    ring_done(ring, slot, &done);
    w->running = false;
}

static void write_text(uint32_t slot, uint32_t choice)
{
    struct writer *w = &writer[slot];
    char text[64];
    uint32_t n = 1 + draw(sizeof text - 1);
    for (uint32_t i = 0; i < n; i++)
        text[i] = letter(w->user, choice, w->text[choice] + i);
    w->full = ring_text(ring, slot, choice, (struct str){text, n}, 1) == RING_FULL;
    if (!w->full)
        w->text[choice] += n;
    if (w->full && w->overflow == INFLIGHT_OVERFLOW_FAIL)
        w->left = 0;
}

static void step_writer(uint32_t slot)
{
    struct writer *w = &writer[slot];
    if (w->full && !ring_half_free(ring, slot))
        return;
    w->full = false;
    bool one = w->overflow == INFLIGHT_OVERFLOW_DROP_OLDEST; /* its place is then known */
    uint32_t choice = one ? 0 : draw(CHOICES);
    if (!w->left || queue_cancelled(queue, slot))
        end_writer(slot);
    else if (w->ended[choice])
        w->left--;
    else if (draw(20) == 0)
        (void)ring_logprobs(ring, slot, choice, (struct str){"{\"a\":1}", 7});
    else if (draw(60) == 0 && !one) {
        w->ended[choice] = true;
        ring_last(ring, slot, choice, INFLIGHT_FINISH_STOP);
    } else {
        w->left--;
        write_text(slot, choice);
    }
}

static bool any_can_go(void)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (writer[i].running && (!writer[i].full || ring_half_free(ring, i)))
            return true;
    return false;
}

static void *engine(void *arg)
{
    (void)arg;
    ring_ready(ring, INFLIGHT_OK, (struct str){"{}", 2});
    while (!atomic_load(&stop)) {
        uint32_t slot[4], n = queue_take(queue, slot, 4);
        for (uint32_t i = 0; i < n; i++)
            begin_writer(slot[i]);
        uint32_t i = draw(SLOTS);
        for (uint32_t k = 0; k < SLOTS && !writer[(i + k) % SLOTS].running; k++)
            i++;
        i %= SLOTS;
        if (writer[i].running)
            for (uint32_t burst = draw(6); burst && writer[i].running; burst--)
                step_writer(i);
        if (draw(500) == 0)
            ring_log(ring, 1, (struct str){"line", 4});
        if (draw(400) == 0)
            queue_wait(queue, clock_ns() + 50000); /* lets the ring run dry now and then */
        else if (!n && !any_can_go())
            queue_wait(queue, UINT64_MAX);
    }
    return NULL;
}

/* ---- The host */

struct reader {
    inflight_req req; /* 0: none */
    uint32_t overflow;
    uint64_t text[CHOICES], seq, got, lost;
    bool last[CHOICES];
};

static struct reader reader[SLOTS]; /* by user number modulo SLOTS */
static uint64_t users;
static int in_flight, readies, logs, failures;

#define EXPECT(condition)                                 \
    do {                                                  \
        if (!(condition) && failures++ < 10)              \
            t_fail(__FILE__, __LINE__, "%s", #condition); \
    } while (0)

static void submit_one(uint64_t salt)
{
    struct reader *r = &reader[users % SLOTS];
    if (r->req)
        return;
    inflight_request request = {.h = {sizeof request, INFLIGHT_ABI}, .user = users};
    request.overflow = (uint32_t)(salt % 3);
    request.flags = salt % 5 == 0 ? INFLIGHT_REQ_NO_COALESCE : 0;
    *r = (struct reader){.overflow = request.overflow};
    EXPECT(queue_submit(queue, &request, &r->req, NULL) == INFLIGHT_OK);
    users++;
    in_flight++;
}

static void read_text(struct reader *r, const inflight_event *e)
{
    uint32_t c = e->choice;
    EXPECT(!r->last[c]);
    if (e->flags & INFLIGHT_EVF_GAP) {
        EXPECT(r->overflow == INFLIGHT_OVERFLOW_DROP_OLDEST);
        EXPECT(e->done > r->lost);
        r->text[c] += e->done - r->lost; /* only one choice speaks then */
        r->lost = e->done;
    }
    for (uint64_t i = 0; i < e->data_len; i++)
        EXPECT(e->data[i] == letter(e->user, c, r->text[c] + i));
    r->text[c] += e->data_len;
    r->got += e->data_len;
    r->last[c] = e->flags & INFLIGHT_EVF_LAST;
}

static void read_event(const inflight_event *e)
{
    if (!e->req) {
        readies += e->type == INFLIGHT_EV_READY;
        logs += e->type == INFLIGHT_EV_LOG;
        return;
    }
    struct reader *r = &reader[e->user % SLOTS];
    EXPECT(e->req == r->req);
    EXPECT(e->seq == r->seq++);
    if (e->type == INFLIGHT_EV_TEXT)
        read_text(r, e);
    else if (e->type == INFLIGHT_EV_LOGPROBS)
        EXPECT(!r->last[e->choice] && e->data_len == 7);
    if (e->type != INFLIGHT_EV_DONE)
        return;
    EXPECT(r->last[0] && r->last[1] && r->last[2]);
    EXPECT(r->got + r->lost <= e->n_tokens);
    EXPECT(r->overflow == INFLIGHT_OVERFLOW_DROP_OLDEST || r->got == e->n_tokens);
    EXPECT(queue_cancel(queue, e->req) == INFLIGHT_E_STALE);
    r->req = 0;
    in_flight--;
}

static bool readable(int timeout_ms)
{
    struct pollfd p = {.fd = ring_fd(ring), .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

TEST(ring_threads, a_million_random_steps_lose_nothing)
{
    struct err err = {0};
    struct ring_config config = {SLOTS, 0, NULL, NULL};
    CHECK_EQ(queue_open(&queue, &mem_system, SLOTS, &err), INFLIGHT_OK);
    CHECK_EQ(ring_open(&ring, &mem_system, &config, queue, &err), INFLIGHT_OK);
    struct thread thread = {0};
    CHECK_EQ(thread_start(&thread, "t-engine", engine, NULL, &err), INFLIGHT_OK);

    static inflight_event ev[80];
    uint64_t step = 0, for_nothing = 0, polls = 0;
    bool draining = false;
    while (!(draining && !in_flight) && failures < 10) {
        uint32_t random[4];
        rng_philox(7, polls++, 1, random);
        draining = step > STEPS / SCALE;
        if (!draining && random[0] % 3 == 0)
            submit_one(random[1]);
        if (!draining && random[0] % 40 == 0)
            (void)queue_cancel(queue, reader[random[2] % SLOTS].req);
        if (in_flight && !readable(10000)) {
            t_fail(__FILE__, __LINE__, "no event for 10 s with %d in flight", in_flight);
            break;
        }
        bool before = readable(0);
        uint32_t cap = random[3] % 4 ? 1 + random[3] % 80 : 1;
        int32_t n = ring_poll(ring, ev, sizeof *ev, cap, random[3] % 7 ? 0 : 20000);
        EXPECT(n >= 0 && n <= (int32_t)cap);
        for_nothing += before && n == 0;
        for (int32_t i = 0; i < n; i++)
            read_event(&ev[i]);
        step += (uint64_t)MAX(n, 0);
    }
    atomic_store(&stop, true);
    queue_wake(queue);
    thread_join(&thread);
    CHECK_EQ(readies, 1);
    CHECK(logs > 0);
    CHECK_EQ(in_flight, 0);
    CHECK_EQ(for_nothing, 0);
    printf("  %llu events in %llu polls, %llu requests\n", (unsigned long long)step,
           (unsigned long long)polls, (unsigned long long)users);
    ring_close(ring);
    queue_close(queue);
}

/* ---- Two texts close together, then silence until both were polled: if the second falls
 * into the moment in which the poll of the first lowers the descriptor, nothing later can
 * make up for a wake-up that is lost. */

enum { PAIRS = 100000 / SCALE };

static _Atomic uint64_t taken;

static void *pairs(void *arg)
{
    uint32_t slot = *(const uint32_t *)arg;
    for (uint64_t i = 0; i < PAIRS && !atomic_load(&stop); i++) {
        ring_text(ring, slot, 0, (struct str){"a", 1}, 1);
        for (uint64_t pause = i * 7919 % 900; pause; pause--)
            atomic_load(&stop);
        ring_text(ring, slot, 0, (struct str){"b", 1}, 1);
        while (atomic_load(&taken) < 2 * (i + 1) && !atomic_load(&stop))
            ;
    }
    return NULL;
}

TEST(ring_threads, a_text_while_the_descriptor_is_lowered_is_not_forgotten)
{
    struct err err = {0};
    struct ring_config config = {1, 0, NULL, NULL};
    CHECK_EQ(queue_open(&queue, &mem_system, 1, &err), INFLIGHT_OK);
    CHECK_EQ(ring_open(&ring, &mem_system, &config, queue, &err), INFLIGHT_OK);
    inflight_request request = {.h = {sizeof request, INFLIGHT_ABI}};
    inflight_req id;
    uint32_t slot = 0;
    CHECK_EQ(queue_submit(queue, &request, &id, NULL), INFLIGHT_OK);
    CHECK_EQ(queue_take(queue, &slot, 1), 1);
    ring_begin(ring, slot, queue_at(queue, slot));
    atomic_store(&stop, false);
    atomic_store(&taken, 0);
    struct thread thread = {0};
    CHECK_EQ(thread_start(&thread, "t-pairs", pairs, &slot, NULL), 0);
    uint64_t got = 0, for_nothing = 0;
    while (got < 2 * PAIRS) {
        inflight_event ev;
        if (!readable(5000)) {
            t_fail(__FILE__, __LINE__, "silence after %llu texts", (unsigned long long)got);
            break;
        }
        int32_t n = ring_poll(ring, &ev, sizeof ev, 1, 0);
        for_nothing += n == 0;
        got += n > 0 ? ev.n_tokens : 0;
        atomic_store(&taken, got);
    }
    atomic_store(&stop, true);
    thread_join(&thread);
    CHECK_EQ(for_nothing, 0);
    ring_close(ring);
    queue_close(queue);
}

/* ---- Concurrent polls */

static atomic_int refused, polled;

static void *poller(void *arg)
{
    inflight_event ev[4];
    (void)arg;
    int32_t n = ring_poll(ring, ev, sizeof *ev, 4, 300000000);
    atomic_fetch_add(n == INFLIGHT_E_BUSY ? &refused : &polled, 1);
    return NULL;
}

TEST(ring_threads, refuses_a_second_poll_at_the_same_time)
{
    struct err err = {0};
    struct ring_config config = {4, 0, NULL, NULL};
    CHECK_EQ(queue_open(&queue, &mem_system, 4, &err), INFLIGHT_OK);
    CHECK_EQ(ring_open(&ring, &mem_system, &config, queue, &err), INFLIGHT_OK);
    struct thread thread[4] = {0};
    for (int i = 0; i < 4; i++)
        CHECK_EQ(thread_start(&thread[i], "t-poll", poller, NULL, &err), INFLIGHT_OK);
    for (int i = 0; i < 4; i++)
        thread_join(&thread[i]);
    CHECK_EQ(atomic_load(&refused), 3);
    CHECK_EQ(atomic_load(&polled), 1);
    ring_close(ring);
    queue_close(queue);
}
