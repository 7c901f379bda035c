/* Sampling options -> row_choice and logit_edit. A token has one edit however many reasons there
 * are for it, so that the device can make all edits at once. */
#include "choices.h"

#include <string.h>

uint64_t choices_bytes(int32_t V, int32_t max_rows)
{
    return (uint64_t)max_rows * (sizeof(struct row_choice) + sizeof(struct sample_output)) +
           STEP_EDITS * sizeof(struct logit_edit) + (uint64_t)V * sizeof(int32_t);
}

int32_t choices_init(struct choices *c, const struct mem *mem, int32_t V, int32_t max_rows,
                     struct err *err)
{
    *c = (struct choices){.mem = mem, .V = V, .max_rows = max_rows};
    c->row = mem_take(mem, (size_t)max_rows * sizeof *c->row, CACHE_LINE);
    c->edit = mem_take(mem, STEP_EDITS * sizeof *c->edit, CACHE_LINE);
    c->edit_of = mem_take_zeroed(mem, (size_t)V * sizeof *c->edit_of, CACHE_LINE);
    c->output = mem_take(mem, (size_t)max_rows * sizeof *c->output, CACHE_LINE);
    if (c->row && c->edit && c->edit_of && c->output)
        return INFLIGHT_OK;
    choices_release(c);
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for the choices of %d rows", max_rows);
}

void choices_release(struct choices *c)
{
    if (!c->mem)
        return;
    mem_give(c->mem, c->row, (size_t)c->max_rows * sizeof *c->row);
    mem_give(c->mem, c->edit, STEP_EDITS * sizeof *c->edit);
    mem_give(c->mem, c->edit_of, (size_t)c->V * sizeof *c->edit_of);
    mem_give(c->mem, c->output, (size_t)c->max_rows * sizeof *c->output);
    *c = (struct choices){0};
}

/* The token's edit in the row at hand, made if there is none; NULL: no room, or no such token. */
static struct logit_edit *edit_of(struct choices *c, int32_t token)
{
    if (token < 0 || token >= c->V)
        return NULL;
    if (c->edit_of[token] == 0) {
        if (c->n_edit == STEP_EDITS)
            return NULL;
        c->edit[c->n_edit++] = (struct logit_edit){.token = token, .n_generated = -1};
        c->edit_of[token] = c->n_edit;
    }
    return &c->edit[c->edit_of[token] - 1];
}

static void add_bias(struct choices *c, const struct sampling *s)
{
    for (int32_t i = 0; i < s->n_bias; i++) {
        struct logit_edit *edit = edit_of(c, s->bias[i].token);
        if (edit)
            edit->bias += s->bias[i].bias;
    }
}

static void add_occurrences(struct choices *c, const struct seq *q, struct row_choice *row)
{
    const struct sampling *s = &q->job->sampling;
    if (s->repetition_penalty == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0)
        return;
    for (int32_t i = 0; i < seq_n_known(q); i++) {
        struct logit_edit *edit = edit_of(c, q->token[i]);
        if (edit)
            edit->n_generated = MAX(edit->n_generated, 0) + (i >= q->n_prompt);
    }
    if (q->n_pending)
        row->pending = -1 - q->token[q->n_token - 1];
}

static void bar_ends(struct choices *c, const struct seq *q)
{
    const struct job *job = q->job;
    if (!job->sampling.ignore_eos && q->n_token - q->n_prompt >= job->sampling.min_tokens)
        return;
    for (int32_t i = 0; i < job->n_end; i++) {
        struct logit_edit *edit = edit_of(c, job->end[i]);
        if (edit)
            edit->is_barred = true;
    }
}

static void build_row(struct choices *c, const struct seq *q, struct row_choice *row)
{
    const struct sampling *s = &q->job->sampling;
    *row = (struct row_choice){.seed = s->seed,
                               .position = (uint32_t)q->n_token,
                               .choice = q->choice,
                               .temperature = sample_is_greedy(s) ? 0 : s->temperature,
                               .top_p = s->top_p,
                               .min_p = s->min_p,
                               .top_k = MAX(s->top_k, 0),
                               .repetition = s->repetition_penalty,
                               .presence = s->presence_penalty,
                               .frequency = s->frequency_penalty,
                               .pending = -1,
                               .first_edit = c->n_edit};
    add_bias(c, s);
    add_occurrences(c, q, row);
    bar_ends(c, q);
    row->n_edit = c->n_edit - row->first_edit;
    for (int32_t i = row->first_edit; i < c->n_edit; i++)
        c->edit_of[c->edit[i].token] = 0;
}

bool choices_build(struct choices *c, struct batch_space *b)
{
    int32_t n_report = 0;
    c->n_edit = 0;
    if (c->V > CHOICE_V_MOST)
        return false;
    for (int32_t r = 0; r < b->batch.R; r++) {
        const int32_t logprobs = b->sampled[r]->job->sampling.logprobs;
        build_row(c, b->sampled[r], &c->row[r]);
        if (logprobs < 0)
            continue;
        c->row[r].report = ++n_report;
        c->row[r].n_top = MIN(logprobs, TOP_LOGPROBS);
    }
    /* Full: some edit may have found no room. */
    if (c->n_edit == STEP_EDITS)
        return false;
    b->batch.choice = c->row;
    b->batch.edit = c->edit;
    b->batch.n_edit = c->n_edit;
    b->batch.n_report = n_report;
    return true;
}
