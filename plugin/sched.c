/* Iteration-level scheduling: the batch is put together anew before every step, so a
 * finished sequence leaves at once and a new one joins at once.
 *
 * Order. All sequences stand in one total order, by the time they were submitted less
 * 50 ms for each level of priority, then by admission, then by choice. Written as
 * "priority + waited / 50 ms, highest first" it is the same order: waiting raises every
 * sequence at the same rate, so who is ahead never changes and no clock is read. Of any
 * sequence only finitely many can be ahead: those submitted at most 12.75 s later.
 *
 * Who. The first max_sequences of the order that can run. One that has no pages yet is
 * let in only if there is room for all it knows and for what those ahead still have to
 * compute, or if someone behind it has pages to lose. If it is refused, so is everyone
 * behind it: a small request never starves a large one.
 *
 * How many tokens. A sequence with one token left gets it: decodes never wait for a
 * prefill. The rest of the step's budget is for prefills; beside decodes it is small, so
 * that the step is short (pace.c). While others want some too,
 * each takes at most half of what is left, in order; what remains is offered again in
 * order. So a short prompt behind a long one starts at the next step, and the long one
 * takes at most twice as many steps as alone. A prefill is cut at the end of a page.
 *
 * Pages. In order, each picked sequence gets the pages its tokens need: free ones, then
 * idle ones of the prefix cache, least recently used first, then those of the host-
 * parked, then those of the last in the order, as long as it is behind. Whoever loses
 * pages loses all of them; its tokens stay, and it comes back by computing them anew,
 * from what the prefix cache still has.
 *
 * Why this always ends. The first in the order that can run may take pages from all
 * others, and the pool holds one full context: it gets at least one token's room at
 * every step and loses nothing to anyone, hence it finishes. Then there is a new first.
 * Only decodes of others can leave it no budget; as long as they do, no prefill becomes
 * another decode, so their number falls until there is some.
 *
 * A trace: 32 tokens a step, 6 pages, no prefix cache. A has a prompt of 40 tokens, B of
 * 12. C, urgent, has 40 and comes before step 3. A ends with its 5th token, C with its
 * 2nd. In the columns: tokens of the sequence in this step, and its pages after it.
 *
 *   step |   A    |   B    |   C    | free | why
 *   -----+--------+--------+--------+------+-------------------------------------------
 *   1    | 16,  1 | 12,  1 |        |  4   | A gets half, B all it wants; the 4 left
 *        |        |        |        |      | are no whole page for A
 *   2    | 24,  3 |  1,  1 |        |  2   | B decodes; A's prompt is done
 *   3    |  1,  3 |  1,  1 | 16,  1 |  1   | C is first in order now, yet decodes come
 *        |        |        |        |      | first: 30 are left, cut to one page
 *   4    |  1,  3 |  -,  0 | 24,  3 |  0   | C needs two pages, one is free: B, the last,
 *        |        |        |        |      | gives its page back and keeps its tokens
 *   5    |  1,  3 |  -,  0 |  1,  0 |  3   | no room for B; C ends
 *   6    |  1,  0 | 15,  1 |        |  5   | B computes all 15 tokens anew and goes on
 *        |        |        |        |      | where it was; A ends
 */
#include "sched.h"

int32_t sched_init(struct sched *s, const struct sched_config *config, struct err *err)
{
    *s = (struct sched){.mem = config->mem,
                        .kv = config->kv,
                        .prefix = config->prefix,
                        .max_sequences = MIN(config->max_sequences, config->max_tokens),
                        .max_tokens = config->max_tokens,
                        .beside = config->max_tokens,
                        .is_static = config->is_static,
                        .copy_page = config->copy_page,
                        .copy_arg = config->copy_arg};
    s->pick = mem_take(s->mem, (size_t)s->max_sequences * sizeof *s->pick, CACHE_LINE);
    if (!s->pick)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to schedule %d sequences",
                       s->max_sequences);
    return INFLIGHT_OK;
}

void sched_release(struct sched *s)
{
    if (!s->mem)
        return;
    mem_give(s->mem, s->pick, (size_t)s->max_sequences * sizeof *s->pick);
    *s = (struct sched){0};
}

/* Whether a is ahead of b. */
static bool is_ahead(const struct seq *a, const struct seq *b)
{
    if (a->job->rank_ns != b->job->rank_ns)
        return a->job->rank_ns < b->job->rank_ns;
    if (a->job->serial != b->job->serial)
        return a->job->serial < b->job->serial;
    return a->choice < b->choice;
}

void sched_add(struct sched *s, struct seq *seq)
{
    struct seq *before = s->last;
    while (before && is_ahead(seq, before))
        before = before->before;
    struct seq *after = before ? before->after : s->first;
    seq->before = before;
    seq->after = after;
    *(before ? &before->after : &s->first) = seq;
    *(after ? &after->before : &s->last) = seq;
    s->n_seq++;
}

void sched_remove(struct sched *s, struct seq *seq)
{
    if (seq != s->first && !seq->before)
        return;
    if (seq->state == SEQ_PARKED_HOST)
        s->n_held--;
    seq_give_pages(seq, s->prefix);
    *(seq->before ? &seq->before->after : &s->first) = seq->after;
    *(seq->after ? &seq->after->before : &s->last) = seq->before;
    seq->before = seq->after = NULL;
    s->n_seq--;
}

void sched_hold(struct sched *s, struct seq *seq)
{
    seq->state = SEQ_PARKED_HOST;
    s->n_held++;
}

void sched_resume(struct sched *s, struct seq *seq)
{
    seq->state = seq->n_page ? SEQ_RUNNING : SEQ_PARKED_PAGES;
    s->n_held--;
}

/* In-flight batching knows no batch to be part of. Every change starts from none. */
void sched_set_static(struct sched *s, bool is_static)
{
    s->is_static = is_static;
    for (struct seq *q = s->first; q; q = q->after)
        q->in_batch = false;
}

/* Static batching: when all of the last batch have ended, the first of the order are
 * the next one. */
static void open_batch(struct sched *s)
{
    for (const struct seq *q = s->first; q; q = q->after)
        if (q->in_batch)
            return;
    int32_t n = 0;
    for (struct seq *q = s->first; q && n < s->max_sequences; q = q->after, n++)
        q->in_batch = true;
}

/* One whose last token is on its way ends with it. */
static bool can_run(const struct sched *s, const struct seq *q)
{
    return (!s->is_static || q->in_batch) && q->n_token < q->limit &&
           (q->state == SEQ_WAITING || q->state == SEQ_RUNNING || q->state == SEQ_PARKED_PAGES);
}

/* Pages it will take for the tokens it knows, and one for what it generates or for a
 * copy of a shared page. */
static int32_t pages_to_come(const struct seq *q)
{
    return MAX(kv_pages_for(q->n_token) - q->n_page, 0) + 1;
}

/* Lets a sequence without pages in: behind what the prefix cache has, if there is room
 * beside the promised pages. The first of a step needs no room: it may take all. */
static bool start(struct sched *s, struct seq *q, int32_t promised)
{
    bool may_take = s->n_pick == 0 || sched_victim(s, q);
    if (!may_take && q->refused == s->kv->n_given + 1)
        return false;
    q->n_page = prefix_find(s->prefix, q->token, q->n_token, q->page);
    /* The last token is always computed: its logits are what is wanted. */
    q->n_computed = MIN(q->n_page * PAGE_TOKENS, q->n_token - 1);
    q->n_indexed = q->n_computed / PAGE_TOKENS;
    q->prefix_id = prefix_last_id(s->prefix, q->page, q->n_indexed);
    if (!may_take && promised + pages_to_come(q) > s->kv->n_free + s->prefix->n_idle) {
        seq_give_pages(q, s->prefix);
        q->refused = s->kv->n_given + 1;
        return false;
    }
    int32_t n_cached = MIN(q->n_computed, q->n_prompt);
    if (q->state == SEQ_WAITING && q->choice == 0)
        q->job->n_cached = n_cached;
    s->n_cached += (uint64_t)n_cached;
    q->state = SEQ_RUNNING;
    return true;
}

static void pick_sequences(struct sched *s)
{
    if (s->is_static)
        open_batch(s);
    s->n_pick = 0;
    int32_t promised = 0;
    for (struct seq *q = s->first; q && s->n_pick < s->max_sequences; q = q->after) {
        if (!can_run(s, q))
            continue;
        if (q->state != SEQ_RUNNING && !start(s, q, promised))
            break;
        promised += pages_to_come(q);
        s->pick[s->n_pick++] = q;
    }
}

/* Up to most of the tokens left, cut at the end of a page unless they are all. */
static int32_t chunk(const struct seq *q, int32_t most)
{
    int32_t n = MIN(seq_left(q), most);
    int32_t whole = (q->n_computed + n) / PAGE_TOKENS * PAGE_TOKENS - q->n_computed;
    return n == seq_left(q) || whole <= 0 ? n : whole;
}

static void share_budget(struct sched *s)
{
    int32_t budget = s->max_tokens, n_prefill = 0;
    for (int32_t i = 0; i < s->n_pick; i++) {
        struct seq *q = s->pick[i];
        q->n_step = seq_left(q) == 1;
        budget -= q->n_step;
        n_prefill += !q->n_step;
    }
    if (n_prefill < s->n_pick)
        budget = MIN(budget, s->beside);
    for (int32_t i = 0; i < s->n_pick; i++) {
        struct seq *q = s->pick[i];
        if (q->n_step)
            continue;
        int32_t half = MAX(budget / 2, MIN(budget, PAGE_TOKENS));
        q->n_step = chunk(q, --n_prefill > 0 ? half : budget);
        budget -= q->n_step;
    }
    for (int32_t i = 0; i < s->n_pick && budget > 0; i++) {
        struct seq *q = s->pick[i];
        int32_t n = chunk(q, q->n_step + budget);
        budget -= n - q->n_step;
        q->n_step = n;
    }
}

void sched_pick(struct sched *s)
{
    pick_sequences(s);
    share_budget(s);
    int32_t n = 0;
    s->n_tokens = s->n_decode = 0;
    for (int32_t i = 0; i < s->n_pick; i++) {
        struct seq *q = s->pick[i];
        /* One picked may have lost its pages to one ahead of it. */
        q->n_step = q->state == SEQ_RUNNING ? sched_supply(s, q, q->n_step) : 0;
        s->n_tokens += q->n_step;
        s->n_decode += q->n_step == 1 && seq_left(q) == 1;
        if (q->n_step)
            s->pick[n++] = q;
    }
    s->n_pick = n;
}
