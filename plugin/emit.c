/* Text goes out as soon as it is certain. If the ring is full the text stays with the
 * sequence, and the sequence leaves the steps until the host has polled: nothing is
 * generated that has no place to go, and nothing generated is lost. */
#include "emit.h"

#include "logprobs.h"

#include <string.h>

#define LOGPROBS_END '\n' /* which JSON has not within strings */

static void choice_ended(struct emit *e, struct seq *seq)
{
    struct job *job = seq->job;
    seq->state = SEQ_ENDED;
    if (job->n_seq > 1)
        ring_last(e->ring, job->slot, seq->choice, seq->finish);
    if (--job->n_open == 0)
        job->over = true;
}

/* An event for each token: steps that were under way when the ring had no room left have their
 * tokens behind one another. */
static enum ring_result send_logprobs(struct emit *e, struct seq *seq)
{
    struct buf *json = &seq->logprobs;
    const char *end;
    while (json->len && (end = memchr(json->ptr, LOGPROBS_END, json->len))) {
        struct str one = {json->ptr, (size_t)(end - json->ptr)};
        if (ring_logprobs(e->ring, seq->job->slot, seq->choice, one) == RING_FULL)
            return RING_FULL;
        json->len -= one.len + 1;
        memmove(json->ptr, end + 1, json->len);
    }
    return RING_OK;
}

/* Puts what waits into the ring. RING_FULL: some of it still waits. */
static enum ring_result send(struct emit *e, struct seq *seq)
{
    uint32_t slot = seq->job->slot;
    if (seq->text.len) {
        struct str text = {seq->text.ptr, seq->text.len};
        if (ring_text(e->ring, slot, seq->choice, text, seq->n_unsent) == RING_FULL)
            return RING_FULL;
        seq->text.len = 0;
        seq->n_unsent = 0;
    }
    return send_logprobs(e, seq);
}

/* Sends, and does what a full ring asks for. */
static void send_or_park(struct emit *e, struct seq *seq)
{
    if (seq->job->over)
        return;
    if (send(e, seq) == RING_OK) {
        if (seq->state == SEQ_DRAINING) {
            e->n_draining--;
            choice_ended(e, seq);
        }
        return;
    }
    if (seq->job->request->overflow == INFLIGHT_OVERFLOW_FAIL)
        job_fail(seq->job, INFLIGHT_E_OVERFLOW,
                 "the host did not poll and the request's stream buffer is full");
    else if (seq->state != SEQ_DRAINING && seq->state != SEQ_PARKED_HOST)
        sched_hold(e->sched, seq);
}

/* INFLIGHT_FINISH_* if this token ends generation, else INFLIGHT_FINISH_NONE. */
static uint32_t finish_of(const struct emit *e, const struct seq *seq, int32_t token)
{
    const struct sampling *sampling = &seq->job->sampling;
    if (tokenizer_is_end(e->tokenizer, token) && !sampling->ignore_eos)
        return INFLIGHT_FINISH_STOP;
    for (int32_t i = 0; i < sampling->n_stop_token; i++)
        if (sampling->stop_token[i] == token && seq_n_generated(seq) > sampling->min_tokens)
            return INFLIGHT_FINISH_STOP;
    return INFLIGHT_FINISH_NONE;
}

static void end_generation(struct emit *e, struct seq *seq, uint32_t finish)
{
    sched_remove(e->sched, seq);
    seq->state = SEQ_DRAINING;
    seq->finish = finish;
    e->n_draining++;
    if (seq->choice == 0)
        seq->job->finish = finish;
}

static bool append_text(struct seq *seq, int32_t token, uint32_t *finish)
{
    enum detok_result result = detok_push(&seq->detok, token, &seq->text);
    if (result == DETOK_STOP)
        *finish = INFLIGHT_FINISH_STOP;
    else if (result == DETOK_GO && seq_n_known(seq) == seq->limit)
        *finish = INFLIGHT_FINISH_LENGTH;
    if (result == DETOK_GO && *finish != INFLIGHT_FINISH_NONE)
        result = detok_flush(&seq->detok, &seq->text);
    return result != DETOK_NOMEM;
}

void emit_token(struct emit *e, struct seq *seq, const struct sample_output *output,
                uint64_t now_ns)
{
    struct job *job = seq->job;
    seq_learn(seq, output->token);
    sched_learned(e->sched, seq);
    seq->n_unsent++;
    job->n_generated++;
    if (!job->first_ns)
        job->first_ns = now_ns;
    uint32_t finish = finish_of(e, seq, output->token);
    bool ok;
    if (finish != INFLIGHT_FINISH_NONE) {
        /* The token that ends generation has no text of its own. */
        ok = detok_flush(&seq->detok, &seq->text) != DETOK_NOMEM;
    } else {
        ok = append_text(seq, output->token, &finish);
        if (job->sampling.logprobs >= 0) {
            logprobs_print(&seq->logprobs, e->tokenizer, output);
            buf_put_char(&seq->logprobs, LOGPROBS_END);
        }
    }
    if (!ok || seq->text.failed || seq->logprobs.failed) {
        job_fail(job, INFLIGHT_E_NOMEM, "no memory for the text of a token");
        return;
    }
    if (finish != INFLIGHT_FINISH_NONE)
        end_generation(e, seq, finish);
    send_or_park(e, seq);
}

void emit_resume(struct emit *e, struct seq *seq)
{
    bool held = seq->state == SEQ_PARKED_HOST;
    if ((!held && seq->state != SEQ_DRAINING) || send(e, seq) == RING_FULL)
        return;
    if (held)
        sched_resume(e->sched, seq);
    else
        send_or_park(e, seq);
}

bool emit_rest(struct emit *e, struct job *job)
{
    bool sent = true;
    for (int32_t i = 0; i < job->n_seq; i++) {
        struct seq *seq = &job->seq[i];
        e->n_draining -= seq->state == SEQ_DRAINING;
        if (seq->state != SEQ_ENDED && seq->state != SEQ_DRAINING)
            (void)detok_flush(&seq->detok, &seq->text);
        seq->state = SEQ_ENDED;
        sent &= send(e, seq) == RING_OK;
    }
    return sent || job->err.code == INFLIGHT_E_CANCELLED ||
           job->request->overflow == INFLIGHT_OVERFLOW_FAIL;
}

void emit_done(struct emit *e, struct job *job, uint64_t now_ns)
{
    const struct request *request = job->request;
    struct ring_done done = {.status = job->err.code,
                             .finish = job->finish,
                             .n_tokens = job->n_generated,
                             .n_prompt = (uint32_t)job->n_prompt,
                             .n_cached = (uint32_t)job->n_cached,
                             .total_ns = now_ns - request->submit_ns};
    if (job->first_ns)
        done.ttft_ns = job->first_ns - request->submit_ns;
    if (done.status != INFLIGHT_OK)
        done.text = (struct str){job->err.text, strlen(job->err.text)};
    ring_done(e->ring, job->slot, &done);
}
