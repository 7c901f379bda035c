/* One block holds all arrays, sized for the largest step: building a batch only copies. */
#include "batch.h"

#include <string.h>

/* Of the one block; pointers first, so that all arrays are aligned. */
uint64_t batch_bytes(int32_t max_tokens, int32_t max_sequences)
{
    return (uint64_t)max_sequences * (2 * sizeof(struct seq *) + sizeof(struct batch_seq) +
                                      sizeof(float) + sizeof(int32_t)) +
           (uint64_t)max_tokens * 2 * sizeof(int32_t);
}

int32_t batch_init(struct batch_space *b, const struct mem *mem, int32_t max_tokens,
                   int32_t max_sequences, struct err *err)
{
    *b = (struct batch_space){.mem = mem, .max_tokens = max_tokens, .max_sequences = max_sequences};
    size_t bytes = (size_t)batch_bytes(max_tokens, max_sequences);
    b->sampled = mem_take_zeroed(mem, bytes, CACHE_LINE);
    if (!b->sampled)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for steps of %d tokens", max_tokens);
    b->picked = b->sampled + max_sequences;
    b->seq = (struct batch_seq *)(void *)(b->picked + max_sequences);
    b->scale = (float *)(void *)(b->seq + max_sequences);
    b->row = (int32_t *)(void *)(b->scale + max_sequences);
    b->token = b->row + max_sequences;
    b->position = b->token + max_tokens;
    b->batch.token = b->token;
    b->batch.position = b->position;
    b->batch.seq = b->seq;
    b->batch.row = b->row;
    b->batch.scale = b->scale;
    return INFLIGHT_OK;
}

void batch_release(struct batch_space *b)
{
    if (b->mem)
        mem_give(b->mem, b->sampled, batch_bytes(b->max_tokens, b->max_sequences));
    *b = (struct batch_space){0};
}

void batch_build(struct batch_space *b, struct seq *const *pick, int32_t n)
{
    int32_t T = 0, R = 0;
    b->n_decode = 0;
    for (int32_t i = 0; i < n; i++) {
        struct seq *q = pick[i];
        b->picked[i] = q;
        b->n_decode += seq_left(q) == 1;
        b->seq[i] = (struct batch_seq){T, q->n_step, q->n_computed, q->page};
        memcpy(b->token + T, q->token + q->n_computed, (size_t)q->n_step * sizeof(int32_t));
        for (int32_t k = 0; k < q->n_step; k++)
            b->position[T + k] = q->n_computed + k;
        T += q->n_step;
        if (q->n_step == seq_left(q)) {
            b->sampled[R] = q;
            b->scale[R] = q->job->scale;
            b->row[R++] = T - 1;
        }
    }
    b->batch.T = T;
    b->batch.S = n;
    b->batch.R = R;
    b->batch.choice = NULL;
}

void batch_forget(struct batch_space *b, const struct job *job)
{
    for (int32_t r = 0; r < b->batch.R; r++)
        if (b->sampled[r] && b->sampled[r]->job == job)
            b->sampled[r] = NULL;
    for (int32_t i = 0; i < b->batch.S; i++)
        if (b->picked[i] && b->picked[i]->job == job)
            b->picked[i] = NULL;
}
