/* A scheduler without an engine: jobs made by hand, steps that compute nothing. */
#pragma once

#include "t.h"

#include "plugin/sched.h"

#define FAKE_JOBS  16
#define FAKE_STEPS 20000 /* a scheduler that needs more never ends */

struct fake_sched {
    struct kv kv;
    struct prefix prefix;
    struct sched sched;
    struct job job[FAKE_JOBS];
    struct seq seq[FAKE_JOBS];
    int32_t token[FAKE_JOBS][512], page[FAKE_JOBS][32];
    int32_t n, n_copies, n_steps;
    int32_t scratch[256];
};

static void fake_copy(void *arg, int32_t to, int32_t from, int32_t n)
{
    struct fake_sched *f = arg;
    CHECK(to != from && n > 0 && n < PAGE_TOKENS);
    f->n_copies++;
}

static void fake_sched_init(struct fake_sched *f, int32_t pages, int32_t sequences, int32_t tokens)
{
    memset(f, 0, sizeof *f);
    struct sched_config config = {.mem = &mem_system,
                                  .kv = &f->kv,
                                  .prefix = &f->prefix,
                                  .max_sequences = sequences,
                                  .max_tokens = tokens,
                                  .copy_page = fake_copy,
                                  .copy_arg = f};
    CHECK_EQ(kv_init(&f->kv, &mem_system, pages, NULL), INFLIGHT_OK);
    CHECK_EQ(prefix_init(&f->prefix, &f->kv, &mem_system, false, NULL), INFLIGHT_OK);
    CHECK_EQ(sched_init(&f->sched, &config, NULL), INFLIGHT_OK);
}

static void fake_sched_release(struct fake_sched *f)
{
    for (int32_t i = 0; i < f->n; i++)
        sched_remove(&f->sched, &f->seq[i]);
    CHECK_EQ(f->kv.n_free, f->kv.n_pages);
    sched_release(&f->sched);
    prefix_release(&f->prefix);
    kv_release(&f->kv);
}

/* A request submitted at this millisecond: n_prompt tokens, at most limit in all. */
static struct seq *fake_submit(struct fake_sched *f, int64_t ms, int32_t priority, int32_t n_prompt,
                               int32_t limit)
{
    int32_t i = f->n++;
    struct job *job = &f->job[i];
    struct seq *q = &f->seq[i];
    *job = (struct job){.seq = q,
                        .n_seq = 1,
                        .serial = (uint64_t)i,
                        .rank_ns = ms * 1000000 - (int64_t)priority * SCHED_PRIORITY_NS};
    *q = (struct seq){.job = job,
                      .state = SEQ_WAITING,
                      .token = f->token[i],
                      .page = f->page[i],
                      .n_token = n_prompt,
                      .n_prompt = n_prompt,
                      .limit = limit};
    sched_add(&f->sched, q);
    return q;
}

/* One turn: pick, compute, one new token where the last one was computed; who has all of
 * its tokens leaves. Returns how many tokens were computed; 0 also if it goes on for ever. */
static int32_t fake_step(struct fake_sched *f)
{
    sched_pick(&f->sched);
    CHECK(sched_check(&f->sched, f->scratch));
    CHECK(f->sched.n_tokens <= f->sched.max_tokens);
    CHECK(f->sched.n_pick <= f->sched.max_sequences);
    sched_advance(&f->sched);
    for (int32_t i = 0; i < f->sched.n_pick; i++) {
        struct seq *q = f->sched.pick[i];
        if (seq_left(q) > 0)
            continue;
        q->n_token++;
        if (q->n_token == q->limit) {
            sched_remove(&f->sched, q);
            q->state = SEQ_ENDED;
        }
    }
    CHECK(sched_check(&f->sched, f->scratch));
    return f->n_steps++ < FAKE_STEPS ? f->sched.n_tokens : 0;
}

/* Steps until the sequence has ended; all of them have, if it is NULL. */
static void fake_run(struct fake_sched *f, const struct seq *q)
{
    while ((q ? q->state != SEQ_ENDED : f->sched.n_seq > 0) && fake_step(f) > 0)
        continue;
    CHECK(q ? q->state == SEQ_ENDED : f->sched.n_seq == 0);
}

static int32_t step_of(const struct fake_sched *f, const struct seq *q)
{
    for (int32_t i = 0; i < f->sched.n_pick; i++)
        if (f->sched.pick[i] == q)
            return q->n_step;
    return 0;
}
