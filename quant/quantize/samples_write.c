#include "samples.h"

#include "../../plugin/base/rng.h"
#include "../../plugin/model/model.h"

#include <math.h>

enum { AT_ONCE = 64 }; /* samples that are written together: weights are read once for all */

struct writing {
    struct model *model;
    const struct samples_source *source;
    struct samples *samples;
    int32_t V;
    int32_t token[AT_ONCE], position[AT_ONCE], row[AT_ONCE];
    float scale[AT_ONCE];
    struct batch_seq seq[AT_ONCE];
    int32_t *page; /* (AT_ONCE, pages of a sample) 0, 1, ..., in the arena */
};

static int32_t pages_of(int32_t length)
{
    return (length + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

static int32_t open_writer(struct writing *w, struct err *err)
{
    const struct samples_source *source = w->source;
    const int32_t at_once = MIN(source->n, AT_ONCE);
    struct fallback passed = {0};
    const struct model_params params = {
        .path = source->checkpoint->path,
        .device = source->device,
        .fallback = &passed,
        .mem = &mem_system,
        .context = source->length,
        .threads = source->threads,
        .activations = ACT_FLOAT,
        .kv_type = KV_BF16,
        .kv_tokens = (int64_t)at_once * pages_of(source->length) * PAGE_TOKENS,
        .max_tokens = at_once,
        .max_rows = at_once,
    };
    int32_t rc;
    do {
        model_close(w->model);
        w->model = NULL;
        rc = model_open(&w->model, &params, err);
        if (rc)
            break;
        rc = model_load(w->model, NULL, NULL, err);
    } while (rc && model_pass_over(w->model, &passed, err));
    return rc ? err_prefix(err, "the model cannot write what to calibrate by; --calibration is a "
                                "text to use instead")
              : INFLIGHT_OK;
}

/* ---- Drawing a token */

/* Weights of ids in their order; the sums of blocks are of e^(logit - max of the block). */
struct row {
    const float *logit;              /* (V) */
    const struct logit_block *block; /* (logit_blocks(V)) */
    int32_t V;
    float max;
};

static double weight_of(const struct row *row, float logit, double times)
{
    return logit > -INFINITY ? times * exp((double)logit - (double)row->max) : 0;
}

/* In a block: the first id whose weight and those before it are more than `left`, or else, since
 * sums are rounded, the last one that has a weight. */
static int32_t draw_in(const struct row *row, int32_t block, double left)
{
    const int32_t first = block * LOGIT_BLOCK, end = MIN(first + LOGIT_BLOCK, row->V);
    int32_t last = first;
    for (int32_t id = first; id < end && left >= 0; id++) {
        const double weight = weight_of(row, row->logit[id], 1);
        if (weight > 0)
            last = id;
        left -= weight;
    }
    return last;
}

/* share: in 0 .. 1, of all weights, how many come before the token. -1: there are none. */
static int32_t draw(struct row *row, double share)
{
    const int32_t n = logit_blocks(row->V);
    double total = 0;
    int32_t last = -1;
    row->max = -INFINITY;
    for (int32_t b = 0; b < n; b++)
        row->max = fmaxf(row->max, row->block[b].max);
    for (int32_t b = 0; b < n; b++)
        total += weight_of(row, row->block[b].max, (double)row->block[b].sum);
    if (!(total > 0) || !isfinite(total))
        return -1;
    double left = share * total;
    for (int32_t b = 0; b < n; b++) {
        const double weight = weight_of(row, row->block[b].max, (double)row->block[b].sum);
        if (weight > left)
            return draw_in(row, b, left);
        if (weight > 0)
            last = b;
        left -= weight;
    }
    return draw_in(row, last, INFINITY);
}

/* ---- Writing */

/* The token at `position` of sample i, of row r. */
static int32_t put(struct writing *w, int32_t i, int32_t r, int32_t position, struct err *err)
{
    struct row row = {
        .logit = model_logits(w->model, r), .block = model_blocks(w->model, r), .V = w->V};
    const int32_t token = draw(&row, rng_uniform((uint64_t)i, (uint64_t)position, 0));
    if (token < 0)
        return err_set(err, INFLIGHT_E_MODEL, "what the model computes is no number");
    w->samples->token[(int64_t)i * w->samples->length + position] = token;
    return INFLIGHT_OK;
}

/* Token `position` + 1 of samples first .. first + n - 1. */
static int32_t write_step(struct writing *w, int32_t first, int32_t n, int32_t position,
                          struct err *err)
{
    const struct samples *s = w->samples;
    for (int32_t r = 0; r < n; r++) {
        w->token[r] = s->token[(int64_t)(first + r) * s->length + position];
        w->position[r] = w->seq[r].position = position;
    }
    const struct batch batch = {.T = n,
                                .S = n,
                                .R = n,
                                .token = w->token,
                                .position = w->position,
                                .seq = w->seq,
                                .row = w->row,
                                .scale = w->scale};
    const int code = model_forward(w->model, &batch);
    if (code)
        return err_set(err, code, "a forward pass over %d samples has failed: %s", n,
                       model_backend(w->model)->describe(model_device(w->model)));
    for (int32_t r = 0; r < n; r++)
        if (put(w, first + r, r, position + 1, err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t write_all(struct writing *w, struct err *err)
{
    const struct samples *s = w->samples;
    struct progress *progress = w->source->progress;
    progress_begin(progress, "writing samples", "tokens", (uint64_t)s->n * (uint64_t)s->length,
                   w->source->is_quiet);
    for (int32_t first = 0; first < s->n; first += AT_ONCE) {
        const int32_t n = MIN(s->n - first, AT_ONCE);
        for (int32_t position = 0; position + 1 < s->length; position++) {
            if (write_step(w, first, n, position, err))
                return err->code;
            progress_show(progress,
                          (uint64_t)first * (uint64_t)s->length + (uint64_t)n * (uint64_t)position);
        }
    }
    return INFLIGHT_OK;
}

/* What a text begins with, where the model has a token for that, else what stands between texts. */
static int32_t first_token(const struct tokenizer *t)
{
    const int32_t start = samples_start(t);
    if (start >= 0)
        return start;
    return tokenizer_bos(t) >= 0 ? tokenizer_bos(t) : tokenizer_eos(t);
}

static int32_t take_tables(struct writing *w, struct arena *arena, struct err *err)
{
    const int32_t pages = pages_of(w->samples->length);
    w->page = arena_take_array(arena, (size_t)AT_ONCE * (size_t)pages, sizeof *w->page);
    if (!w->page)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to write %d samples", w->samples->n);
    for (int32_t i = 0; i < AT_ONCE * pages; i++)
        w->page[i] = i;
    for (int32_t r = 0; r < AT_ONCE; r++) {
        w->row[r] = r;
        w->scale[r] = 1;
        w->seq[r] = (struct batch_seq){.first = r, .n = 1, .page = w->page + r * pages};
    }
    return INFLIGHT_OK;
}

int32_t samples_write(struct samples *s, const struct samples_source *source, int32_t V,
                      struct arena *arena, struct err *err)
{
    struct writing w = {.source = source, .samples = s, .V = V};
    int32_t rc = take_tables(&w, arena, err);
    if (!rc)
        rc = open_writer(&w, err);
    const int32_t start = rc ? 0 : first_token(model_tokenizer(w.model));
    if (!rc && (start < 0 || start >= V))
        rc = err_set(err, INFLIGHT_E_UNSUPPORTED,
                     "%s has no token that a text begins with: it cannot write what to calibrate "
                     "by, --calibration is a text to use instead",
                     source->checkpoint->path);
    for (int32_t i = 0; i < s->n && !rc; i++)
        s->token[(int64_t)i * s->length] = start;
    if (!rc)
        rc = write_all(&w, err);
    progress_end(source->progress);
    model_close(w.model);
    return rc;
}
