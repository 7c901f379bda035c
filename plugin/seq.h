/* Sequences and the requests they belong to. A request becomes a job; a job has one
 * sequence for each of its n choices. Both live from admission until the DONE, in the
 * engine thread only.
 *
 *     FORK ----------.
 *     WAITING --> RUNNING <--> PARKED_PAGES     pages given back, computed anew later
 *                 |     ^
 *                 |     '----> PARKED_HOST      the host does not poll; keeps its pages
 *                 v                             as long as nobody else needs them
 *             DRAINING --> ENDED                no pages; text waits for the ring
 *
 * A sequence that runs is in prefill while more than one of its tokens is not computed
 * and in decode when it is only the last one: the scheduler needs no other difference. */
#pragma once

#include "detok.h"
#include "prefix.h"
#include "exchange/queue.h"
#include "sample.h"

#include "base/arena.h"
#include "base/buf.h"

enum seq_state {
    SEQ_FORK,         /* choice 1 .. n-1: waits until choice 0 has computed the prompt */
    SEQ_WAITING,      /* never ran */
    SEQ_RUNNING,      /* may have pages, takes part in steps */
    SEQ_PARKED_PAGES, /* others needed its pages */
    SEQ_PARKED_HOST,  /* the ring is full of its text */
    SEQ_DRAINING,     /* generation has ended, some text is not in the ring yet */
    SEQ_ENDED,
};

struct job;

struct seq {
    struct job *job; /* borrowed, outlives the sequence */
    uint32_t choice;
    enum seq_state state;
    uint32_t finish;            /* INFLIGHT_FINISH_*, once draining */
    struct seq *before, *after; /* the scheduler's order */

    int32_t *token; /* (limit) owned: prompt, then generated */
    int32_t n_token, n_prompt, limit;
    int32_t n_pending; /* the last of them: a step under way chooses them, see seq_expect */
    int32_t *page;     /* (kv_pages_for(limit)) in the block of token */
    int32_t n_page;
    int32_t n_computed; /* positions whose keys and values stand in the pages */
    int32_t n_indexed;  /* leading pages that the prefix cache knows */
    uint64_t prefix_id; /* entry of the last of these */
    uint64_t refused;   /* kv.n_given + 1 when it was last refused pages; 0: never */

    int32_t n_step; /* tokens in the present step; meaningful if picked */
    bool in_batch;  /* static batching: one of the batch that must end first */

    struct detok detok;
    struct buf text;     /* certain, not yet in the ring */
    struct buf logprobs; /* JSON of the last tokens, not yet in the ring */
    uint32_t n_unsent;   /* tokens that text stands for */
};

struct job {
    const struct request *request; /* borrowed from the queue until the DONE is out */
    uint32_t slot;
    const struct mem *mem; /* borrowed */
    struct arena arena;    /* owned: sampling's arrays, end, seq */
    struct sampling sampling;
    float scale;        /* sample_scale of it and the vocabulary */
    const int32_t *end; /* (n_end) ids that end generation */
    int32_t n_end;
    int64_t rank_ns; /* the scheduler's order, see sched.c */
    uint64_t serial; /* breaks ties: order of admission */
    struct seq *seq; /* (n_seq) in the arena */
    int32_t n_seq;
    int32_t n_open; /* choices that have not ended */
    int32_t n_prompt, n_cached;
    uint32_t n_generated;
    uint64_t first_ns; /* clock at the first sampled token, 0: none yet */
    bool over;         /* to be retired, with what follows */
    uint32_t finish;
    struct err err; /* code INFLIGHT_OK if it ended by itself */
};

/* Tokens that are there, if only in the device, and not computed. */
static inline int32_t seq_left(const struct seq *s)
{
    return s->n_token - s->n_computed;
}

static inline int32_t seq_n_known(const struct seq *s)
{
    return s->n_token - s->n_pending;
}

static inline int32_t seq_n_generated(const struct seq *s)
{
    return seq_n_known(s) - s->n_prompt;
}

/* The next token is what a step that was launched chooses for this row. Until it is learned it
 * stands as -1 - row, which is how the step after that one asks for it (struct batch). */
void seq_expect(struct seq *s, int32_t row);

/* The first of the tokens expected, or the next one if none is. */
void seq_learn(struct seq *s, int32_t token);

/* What a sequence starts from. */
struct seq_start {
    const int32_t *prompt; /* (n_prompt) copied */
    int32_t n_prompt;
    int32_t limit;                     /* most tokens, prompt included; > n_prompt */
    const struct tokenizer *tokenizer; /* borrowed, outlives the sequence */
};

/* Takes everything that steps will need. False: no memory (release it all the same). */
bool seq_init(struct seq *s, struct job *job, uint32_t choice, const struct seq_start *start);

/* Gives all pages back, the last one first, and forgets what was computed. */
void seq_give_pages(struct seq *s, struct prefix *prefix);

/* Gives memory back; the pages must have been given back before. */
void seq_release(struct seq *s);

/* A zeroed job is allowed. */
void job_release(struct job *job);

/* Marks the job to be retired with this status, unless it is over already. */
void job_fail(struct job *job, int32_t status, const char *format, ...) PRINTF_LIKE(3, 4);
