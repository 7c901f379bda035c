/* Lanes take rows by turns: row r belongs to lane r modulo their number. */
#include "rows.h"

uint64_t rows_bytes(int32_t V, int32_t max_rows, int32_t lanes)
{
    return (uint64_t)max_rows * (sizeof(struct sample_output) + sizeof(bool)) +
           (uint64_t)lanes * sample_scratch(V) * sizeof(uint64_t);
}

static size_t scratch_bytes(const struct rows *rows)
{
    return (size_t)rows->lanes * sample_scratch(rows->V) * sizeof(uint64_t);
}

int32_t rows_init(struct rows *rows, const struct mem *mem, struct model *model, int32_t max_rows,
                  int32_t lanes, struct err *err)
{
    *rows = (struct rows){.mem = mem,
                          .model = model,
                          .V = model_hparams(model)->V,
                          .max_rows = max_rows,
                          .lanes = lanes};
    size_t scratch = scratch_bytes(rows);
    rows->output = mem_take(mem, (size_t)max_rows * sizeof *rows->output, CACHE_LINE);
    rows->ok = mem_take(mem, (size_t)max_rows * sizeof *rows->ok, CACHE_LINE);
    rows->scratch = mem_take(mem, scratch, CACHE_LINE);
    if (rows->output && rows->ok && rows->scratch)
        return INFLIGHT_OK;
    rows_release(rows);
    return err_set(err, INFLIGHT_E_NOMEM, "no memory to sample %d rows on %d lanes", max_rows,
                   lanes);
}

void rows_release(struct rows *rows)
{
    if (!rows->mem)
        return;
    mem_give(rows->mem, rows->output, (size_t)rows->max_rows * sizeof *rows->output);
    mem_give(rows->mem, rows->ok, (size_t)rows->max_rows * sizeof *rows->ok);
    mem_give(rows->mem, rows->scratch, scratch_bytes(rows));
    *rows = (struct rows){0};
}

void rows_discard(struct rows *rows)
{
    mem_discard(rows->scratch, scratch_bytes(rows));
}

struct run {
    const struct rows *rows;
    const struct batch_space *b;
    const struct backend *backend;
};

static bool sample_one(const struct rows *rows, const struct seq *q, int32_t r, uint64_t *scratch)
{
    const struct job *job = q->job;
    struct sample_input input = {.logits = model_logits(rows->model, r),
                                 .block = model_blocks(rows->model, r),
                                 .scale = job->scale,
                                 .V = rows->V,
                                 .sampling = &job->sampling,
                                 .token = q->token,
                                 .n_token = q->n_token,
                                 .n_prompt = q->n_prompt,
                                 .choice = q->choice,
                                 .end = job->end,
                                 .n_end = job->n_end};
    return sample_row(&input, scratch, &rows->output[r]);
}

static int sample_lane(struct lane *lane, void *arg)
{
    const struct run *run = arg;
    const struct rows *rows = run->rows;
    int id = run->backend->lane_id(lane), n = run->backend->lane_count(lane);
    for (int32_t r = id; r < run->b->batch.R; r += n)
        rows->ok[r] = sample_one(rows, run->b->sampled[r], r,
                                 rows->scratch + (size_t)id * sample_scratch(rows->V));
    return 0;
}

int rows_sample(struct rows *rows, const struct batch_space *b)
{
    if (b->batch.R == 0)
        return 0;
    struct run run = {rows, b, model_backend(rows->model)};
    return run.backend->run(model_device(rows->model), sample_lane, &run);
}
