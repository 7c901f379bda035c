/* All memory of a sequence is taken at admission and sized by its limit, so that a step
 * has nothing to allocate: one block for tokens and page numbers, and three buffers. The
 * buffers may grow past what is reserved here only for a token with a very long text. */
#include "seq.h"

#include "../kernels/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_RESERVED     1024                 /* bytes of text that can wait for the ring */
#define HELD_RESERVED     256                  /* bytes of text of one token */
#define LOGPROBS_RESERVED (STEPS_AHEAD * 4096) /* bytes of JSON of a token of each step */

static size_t block_bytes(int32_t limit)
{
    return ((size_t)limit + (size_t)kv_pages_for(limit)) * sizeof(int32_t);
}

/* What may be held back: less than the longest stop string and one token's text. */
static size_t held_bytes(const struct sampling *sampling)
{
    size_t longest = 0;
    for (int32_t i = 0; i < sampling->n_stop; i++)
        longest = MAX(longest, sampling->stop[i].len);
    return longest + HELD_RESERVED;
}

bool seq_init(struct seq *s, struct job *job, uint32_t choice, const struct seq_start *start)
{
    *s = (struct seq){.job = job,
                      .choice = choice,
                      .state = choice ? SEQ_FORK : SEQ_WAITING,
                      .n_token = start->n_prompt,
                      .n_prompt = start->n_prompt,
                      .limit = start->limit};
    buf_init(&s->text, job->mem);
    buf_init(&s->logprobs, job->mem);
    detok_init(&s->detok, start->tokenizer, job->sampling.stop, job->sampling.n_stop, job->mem);
    s->detok.is_written = !job->sampling.skip_special_tokens;
    if (job->request->kind == INFLIGHT_CHAT)
        detok_stand_alone(&s->detok);
    s->token = mem_take(job->mem, block_bytes(s->limit), CACHE_LINE);
    if (!s->token)
        return false;
    memcpy(s->token, start->prompt, (size_t)start->n_prompt * sizeof(int32_t));
    s->page = s->token + s->limit;
    return buf_room(&s->text, TEXT_RESERVED) &&
           buf_room(&s->detok.held, held_bytes(&job->sampling)) &&
           (job->sampling.logprobs < 0 || buf_room(&s->logprobs, LOGPROBS_RESERVED));
}

void seq_expect(struct seq *s, int32_t row)
{
    s->token[s->n_token++] = -1 - row;
    s->n_pending++;
}

void seq_learn(struct seq *s, int32_t token)
{
    if (s->n_pending == 0)
        s->token[s->n_token++] = token;
    else
        s->token[s->n_token - s->n_pending--] = token;
}

void seq_give_pages(struct seq *s, struct prefix *prefix)
{
    while (s->n_page > 0)
        prefix_give(prefix, s->page[--s->n_page]);
    s->n_computed = s->n_indexed = 0;
    s->prefix_id = PREFIX_ROOT;
}

void seq_release(struct seq *s)
{
    if (!s->job)
        return;
    mem_give(s->job->mem, s->token, block_bytes(s->limit));
    buf_release(&s->text);
    buf_release(&s->logprobs);
    detok_release(&s->detok);
    *s = (struct seq){0};
}

void job_release(struct job *job)
{
    for (int32_t i = 0; i < job->n_seq; i++)
        seq_release(&job->seq[i]);
    arena_release(&job->arena);
    *job = (struct job){0};
}

void job_fail(struct job *job, int32_t status, const char *format, ...)
{
    if (job->over)
        return;
    char text[sizeof job->err.text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)err_set(&job->err, status, "%s", text);
    job->over = true;
}
