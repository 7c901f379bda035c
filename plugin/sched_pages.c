/* The scheduler's dealings with pages: where they come from when there is none, copy on
 * write, and what happens to them after a step. */
#include "sched.h"

struct seq *sched_victim(const struct sched *s, const struct seq *seq)
{
    if (s->n_held)
        for (struct seq *q = s->last; q; q = q->before)
            if (q->state == SEQ_PARKED_HOST && q->n_page && q != seq)
                return q;
    for (struct seq *q = s->last; q && q != seq; q = q->before)
        if (q->n_page)
            return q;
    return NULL;
}

void sched_preempt(struct sched *s, struct seq *seq)
{
    seq_give_pages(seq, s->prefix);
    if (seq->state == SEQ_RUNNING)
        seq->state = SEQ_PARKED_PAGES;
    s->n_preempted++;
}

/* A page at the cost of whoever has to yield, or -1. A victim may have had no page of
 * its own alone, so one is not always enough; each is asked once. */
static int32_t take_page(struct sched *s, const struct seq *seq)
{
    for (;;) {
        int32_t page = kv_take(s->kv);
        if (page >= 0)
            return page;
        if (prefix_evict(s->prefix))
            continue;
        struct seq *victim = sched_victim(s, seq);
        if (!victim)
            return -1;
        sched_preempt(s, victim);
    }
}

/* The page of the next position is to be written: with another owner it becomes a copy.
 * If there is no page for a copy, nobody behind has pages any more, and the only other
 * owner can be the cache or someone ahead. */
static bool own_page(struct sched *s, struct seq *seq)
{
    int32_t i = seq->n_computed / PAGE_TOKENS;
    if (i >= seq->n_page || s->kv->owners[seq->page[i]] == 1)
        return true;
    int32_t page = take_page(s, seq);
    if (page < 0) {
        prefix_forget(s->prefix, seq->page[i]);
        return s->kv->owners[seq->page[i]] == 1;
    }
    s->copy_page(s->copy_arg, page, seq->page[i], seq->n_computed % PAGE_TOKENS);
    prefix_give(s->prefix, seq->page[i]);
    seq->page[i] = page;
    return true;
}

int32_t sched_supply(struct sched *s, struct seq *seq, int32_t n)
{
    if (n == 0 || !own_page(s, seq))
        return 0;
    while (seq->n_page < kv_pages_for(seq->n_computed + n)) {
        int32_t page = take_page(s, seq);
        if (page < 0)
            break;
        seq->page[seq->n_page++] = page;
    }
    return MIN(n, seq->n_page * PAGE_TOKENS - seq->n_computed);
}

/* Pages that have become full of tokens that are known are kept for others. */
static void index_pages(struct sched *s, struct seq *seq)
{
    int32_t n = MIN(seq->n_computed, seq_n_known(seq));
    for (; (seq->n_indexed + 1) * PAGE_TOKENS <= n; seq->n_indexed++)
        seq->prefix_id =
            prefix_insert(s->prefix, seq->prefix_id, seq->token + seq->n_indexed * PAGE_TOKENS,
                          &seq->page[seq->n_indexed]);
}

/* The other choices begin where the prompt ends: they share its pages and compute only
 * its last token anew, each for logits of its own. The page that token is in is copied
 * by whoever writes to it first. */
static void fork_choices(struct sched *s, const struct seq *leader)
{
    for (int32_t k = 1; k < leader->job->n_seq; k++) {
        struct seq *q = &leader->job->seq[k];
        if (q->state != SEQ_FORK)
            continue;
        q->n_computed = q->n_prompt - 1;
        q->n_page = kv_pages_for(q->n_computed);
        for (int32_t i = 0; i < q->n_page; i++) {
            q->page[i] = leader->page[i];
            kv_share(s->kv, q->page[i]);
        }
        q->n_indexed = q->n_computed / PAGE_TOKENS;
        q->prefix_id = prefix_last_id(s->prefix, q->page, q->n_indexed);
        q->state = SEQ_RUNNING;
    }
}

void sched_advance(struct sched *s)
{
    for (int32_t i = 0; i < s->n_pick; i++) {
        struct seq *q = s->pick[i];
        bool is_decode = q->n_step == 1 && q->n_computed >= q->n_prompt;
        s->n_prefilled += is_decode ? 0 : (uint64_t)q->n_step;
        q->n_computed += q->n_step;
        index_pages(s, q);
        if (q->choice == 0 && q->n_computed >= q->n_prompt)
            fork_choices(s, q);
    }
}

void sched_learned(struct sched *s, struct seq *seq)
{
    index_pages(s, seq);
}

static bool check_seq(const struct sched *s, const struct seq *q)
{
    bool has_pages = q->n_computed <= q->n_page * PAGE_TOKENS && q->n_computed <= q->n_token;
    bool indexed = q->n_indexed == MIN(q->n_computed, seq_n_known(q)) / PAGE_TOKENS;
    bool waits = q->state == SEQ_FORK || q->state == SEQ_WAITING || q->state == SEQ_PARKED_PAGES;
    bool linked = q->before ? q->before->after == q : s->first == q;
    return has_pages && indexed && linked && !(waits && q->n_page) && q->n_token <= q->limit &&
           q->state < SEQ_DRAINING;
}

bool sched_check(const struct sched *s, int32_t *scratch)
{
    int32_t n_seq = 0, n_held = 0;
    for (int32_t page = 0; page < s->kv->n_pages; page++)
        scratch[page] = s->prefix->entry[page].id != 0;
    for (const struct seq *q = s->first; q; q = q->after) {
        n_seq++;
        n_held += q->state == SEQ_PARKED_HOST;
        if (!check_seq(s, q))
            return false;
        for (int32_t i = 0; i < q->n_page; i++)
            scratch[q->page[i]]++;
    }
    for (int32_t page = 0; page < s->kv->n_pages; page++)
        if (scratch[page] != s->kv->owners[page])
            return false;
    return n_seq == s->n_seq && n_held == s->n_held && kv_check(s->kv) && prefix_check(s->prefix);
}
