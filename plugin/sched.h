/* The scheduler: before each step it decides which sequences take part, with how many
 * tokens, and in which pages their keys and values go. See sched.c for the rules.
 *
 * Invariants (sched_check): sequences stand in one total order that never changes while
 * they live; pages held and pages owned agree; a step that could have had a sequence
 * has one. */
#pragma once

#include "seq.h"

/* Each level of priority is worth this much waiting. */
#define SCHED_PRIORITY_NS 50000000

struct sched {
    const struct mem *mem;             /* borrowed */
    struct kv *kv;                     /* borrowed */
    struct prefix *prefix;             /* borrowed */
    int32_t max_sequences, max_tokens; /* of a step; max_sequences <= max_tokens */
    int32_t beside;                    /* most prefilled in a step in which others decode */
    bool is_static;                    /* see enum batching */
    void (*copy_page)(void *arg, int32_t to, int32_t from, int32_t n); /* as in struct backend */
    void *copy_arg;

    struct seq *first, *last; /* all that have not finished generating, in order */
    int32_t n_seq, n_held;    /* of these: in all, parked by the host */

    struct seq **pick; /* (max_sequences) owned; the sequences of this step, in order */
    int32_t n_pick, n_tokens, n_decode; /* n_decode: of these, with one token left */

    uint64_t n_prefilled, n_cached, n_preempted; /* since init: tokens, tokens, sequences */
};

struct sched_config {
    const struct mem *mem;
    struct kv *kv;
    struct prefix *prefix;
    int32_t max_sequences, max_tokens;
    bool is_static;
    void (*copy_page)(void *arg, int32_t to, int32_t from, int32_t n);
    void *copy_arg;
};

/* Host memory of a scheduler of steps of so many sequences. */
static inline uint64_t sched_bytes(int32_t max_sequences)
{
    return (uint64_t)max_sequences * sizeof(struct seq *);
}

int32_t sched_init(struct sched *s, const struct sched_config *config, struct err *err);
void sched_release(struct sched *s);

/* Puts a new sequence in its place in the order. Its job's rank_ns and serial are set. */
void sched_add(struct sched *s, struct seq *seq);

/* Takes it out, in whatever state, and its pages back. Nothing happens if it is out. */
void sched_remove(struct sched *s, struct seq *seq);

/* The host does not poll: leaves steps, keeps its pages as long as nobody needs them. */
void sched_hold(struct sched *s, struct seq *seq);
void sched_resume(struct sched *s, struct seq *seq);

void sched_set_static(struct sched *s, bool is_static);

/* Fills pick, n_pick and n_tokens, and n_step of the sequences picked. After it their
 * pages are long enough for the step and no page to be written has another owner. */
void sched_pick(struct sched *s);

/* The step was computed, or will have been before any later one is: counts it, keeps full pages
 * for others, lets choices begin. */
void sched_advance(struct sched *s);

/* A token has become known: so may have been those of a full page. */
void sched_learned(struct sched *s, struct seq *seq);

/* Takes the pages of a sequence back; it will compute them anew. */
void sched_preempt(struct sched *s, struct seq *seq);

/* Makes room for up to n more tokens of a sequence, at the cost of those behind it;
 * returns for how many there is room. */
int32_t sched_supply(struct sched *s, struct seq *seq, int32_t n);

/* Whom a page would be taken from for seq, or NULL. */
struct seq *sched_victim(const struct sched *s, const struct seq *seq);

/* Whether the invariants hold; for tests. scratch: (kv->n_pages). */
bool sched_check(const struct sched *s, int32_t *scratch);
