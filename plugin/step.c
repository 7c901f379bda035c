/* The stages of a step: forward, sample, emit.
 *
 * At once, where the host computes or chooses the tokens: one after the other. Ahead, on a device
 * that does both by itself:
 *
 *   turn   device                      host
 *   n      step n - 1 | step n         launches step n, waits for n - 1, emits its tokens
 *   n + 1  step n | step n + 1         launches step n + 1, waits for n, emits its tokens
 *
 * So the device has the next step before it has ended one, and the host's work costs no time. What
 * a sequence generates in step n - 1 is not known when step n is launched: it goes in as a
 * placeholder (seq_expect). If it turns out to have ended the sequence, what step n computes for
 * it is dropped. Its pages may have a new owner by then: the device does what it is told in order,
 * so that the owner writes after the last who reads. */
#include "state.h"

static struct batch_space *batch_at(struct engine *e, uint64_t step)
{
    return &e->batch[step % STEPS_AHEAD];
}

/* Every sequence of a step ends with its request. */
static void fail_step(struct engine *e, struct batch_space *b, const char *what, int rc)
{
    engine_log(e, 0, "%s failed with %d, %d sequences are lost: %s", what, rc, b->batch.S,
               model_backend(e->model)->describe(model_device(e->model)));
    for (int32_t i = 0; i < b->batch.S; i++)
        if (b->picked[i])
            job_fail(b->picked[i]->job, INFLIGHT_E_DEVICE, "%s failed with code %d", what, rc);
    e->is_lost = model_is_lost(e->model);
}

/* begun_ns: of the slice's clock. */
static void count_step(struct engine *e, const struct batch_space *b, uint64_t begun_ns)
{
    uint64_t step_ns = time_slice_clock(&e->slice) - begun_ns;
    e->counts.steps++;
    e->counts.batch_rows += (uint64_t)b->batch.S;
    e->counts.step_ns += step_ns;
    pace_learn(&e->pace, step_ns, b->n_decode, b->batch.T - b->n_decode);
}

/* What the new token means for its sequence; NULL: there was no finite logit. */
static void emit(struct engine *e, struct seq *q, const struct sample_output *output,
                 uint64_t now_ns)
{
    if (output)
        emit_token(&e->emit, q, output, now_ns);
    else
        job_fail(q->job, INFLIGHT_E_INTERNAL, "the model gave no finite logit at position %d",
                 seq_n_known(q) - 1);
    e->counts.generated += output != NULL;
}

/* ---- At once */

static int sample(struct engine *e, const struct batch_space *b)
{
    for (int32_t r = 0; r < b->batch.R && e->tap; r++) {
        const struct seq *q = b->sampled[r];
        e->tap(e->tap_user, q->job->request->id, q->choice, q->n_token - 1,
               model_logits(e->model, r), e->rows.V);
    }
    return rows_sample(&e->rows, b);
}

static void run_at_once(struct engine *e, struct batch_space *b)
{
    uint64_t begun_ns = time_slice_clock(&e->slice);
    int rc = model_forward(e->model, &b->batch);
    if (rc) {
        fail_step(e, b, "the forward pass", rc);
    } else {
        sched_advance(&e->sched);
        rc = sample(e, b);
        if (rc)
            fail_step(e, b, "sampling", rc);
    }
    uint64_t now_ns = b->batch.R && !rc ? clock_ns() : 0;
    for (int32_t r = 0; r < b->batch.R && !rc; r++)
        if (!b->sampled[r]->job->over)
            emit(e, b->sampled[r], e->rows.ok[r] ? &e->rows.output[r] : NULL, now_ns);
    count_step(e, b, begun_ns);
}

/* ---- Ahead */

static void launch(struct engine *e, struct batch_space *b)
{
    b->begun_ns = time_slice_clock(&e->slice);
    int rc = model_launch(e->model, &b->batch);
    if (rc) {
        fail_step(e, b, "the forward pass", rc);
        return;
    }
    e->n_launched++;
    sched_advance(&e->sched);
    for (int32_t r = 0; r < b->batch.R; r++)
        seq_expect(b->sampled[r], r);
}

/* A sequence that has ended since is not waited for. */
static bool is_wanted(const struct seq *q)
{
    return q && !q->job->over && q->state < SEQ_DRAINING;
}

/* Returns what the step did. */
static int settle_oldest(struct engine *e)
{
    struct batch_space *b = batch_at(e, e->n_settled++);
    const struct sample_output *output = e->choices.output;
    int rc = model_settle(e->model, e->choices.output);
    uint64_t now_ns = clock_ns();
    if (rc)
        fail_step(e, b, "the forward pass", rc);
    for (int32_t r = 0; r < b->batch.R && !rc; r++)
        if (is_wanted(b->sampled[r]))
            emit(e, b->sampled[r], output[r].token < 0 ? NULL : &output[r], now_ns);
    count_step(e, b, MAX(b->begun_ns, e->settled_ns));
    e->settled_ns = time_slice_clock(&e->slice);
    return rc;
}

static bool is_under_way(const struct engine *e)
{
    return e->n_launched > e->n_settled;
}

void step_settle(struct engine *e)
{
    while (is_under_way(e))
        (void)settle_oldest(e);
}

void step_forget(struct engine *e, const struct job *job)
{
    for (uint64_t step = e->n_settled; step < e->n_launched; step++)
        batch_forget(batch_at(e, step), job);
}

/* ---- Which of both */

/* True: the batch has choices, and every token that is not known is on the device. */
static bool goes_ahead(struct engine *e, struct batch_space *b)
{
    return model_launches(e->model) && !e->tap && choices_build(&e->choices, b);
}

bool step_run(struct engine *e)
{
    bool was_under_way = is_under_way(e);
    if (e->sched.n_pick == 0) {
        step_settle(e);
        return was_under_way;
    }
    struct batch_space *b = batch_at(e, e->n_launched);
    batch_build(b, e->sched.pick, e->sched.n_pick);
    if (goes_ahead(e, b)) {
        launch(e, b);
        /* What was launched behind a failed step fails too: nothing is to come behind that. */
        while (e->n_launched - e->n_settled == STEPS_AHEAD)
            if (settle_oldest(e))
                step_settle(e);
    } else if (was_under_way) {
        step_settle(e); /* the next turn knows all tokens, and picks anew */
    } else {
        run_at_once(e, b);
    }
    return true;
}
