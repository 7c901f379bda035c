/* Sampled tokens -> text -> ring: what a token means for its sequence (text, its end,
 * parking), and the events that tell the host. */
#pragma once

#include "exchange/ring.h"
#include "sched.h"

struct emit {
    struct ring *ring;                 /* borrowed */
    struct sched *sched;               /* borrowed */
    const struct tokenizer *tokenizer; /* borrowed */
    int32_t n_draining;                /* sequences in SEQ_DRAINING */
};

/* Appends the token to its sequence, ends the sequence if it was its last, and sends
 * what text has become certain. now_ns: of this step. */
void emit_token(struct emit *e, struct seq *seq, const struct sample_output *output,
                uint64_t now_ns);

/* For a sequence that waits for the ring: goes on if what it holds fits now. A poll empties
 * a stream whole, so it does not come back for a single token; and a try that fails is what
 * makes the next poll wake the engine. */
void emit_resume(struct emit *e, struct seq *seq);

/* The request is over and the scheduler has its sequences no more: sends what they still
 * hold. False: the ring has no room for some of it, and the next poll wakes the engine to
 * try again. A request that was cancelled or asked to fail when its stream is full does
 * not wait for that. */
bool emit_rest(struct emit *e, struct job *job);

/* The DONE. The slot belongs to the ring and the queue afterwards. */
void emit_done(struct emit *e, struct job *job, uint64_t now_ns);
