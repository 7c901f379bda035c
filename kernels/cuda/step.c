/* The engine's arrays and pointers become flat arrays, back to back in pinned memory, so that
 * a step costs one copy whatever its shape. */
#include "attend.h"
#include "device.h"
#include "product.h"

#include <string.h>

#define ALIGNMENT ((size_t)64)

/* Page numbers that always have room. Beyond, room is for as many sequences as rows, and the dead
 * ones behind them, at full length: the engine has no more sequences than rows, and full length for
 * every token would be gigabytes. */
#define PAGES_LEAST (1 << 18)

static uint64_t array_bytes(uint64_t n, size_t size)
{
    return ROUND_UP(n * size, (uint64_t)ALIGNMENT);
}

static uint64_t pages_of(int64_t positions)
{
    return (uint64_t)((positions + PAGE_TOKENS - 1) / PAGE_TOKENS);
}

uint64_t step_bytes(const struct device_config *config)
{
    uint64_t T = (uint64_t)config->max_tokens, R = (uint64_t)config->max_rows;
    uint64_t page = pages_of(config->max_context), S = (uint64_t)product_bucket(config->max_rows);
    uint64_t pages = MIN(T * page, MAX(S * page, (uint64_t)PAGES_LEAST));
    const size_t number = sizeof(int32_t);
    return 5 * array_bytes(T, number) + array_bytes(T + 1, number) + array_bytes(pages, number) +
           2 * array_bytes(R, number) + array_bytes(1, number) +
           array_bytes(R, sizeof(struct row_choice)) +
           array_bytes(STEP_EDITS, sizeof(struct logit_edit));
}

/* Where the next array goes in the pinned memory; at runs on past its end. */
struct cursor {
    struct step *step;
    size_t at;
};

static void *next_of(struct cursor *c, size_t n, size_t size)
{
    char *array = (char *)c->step->host[c->step->parity] + MIN(c->at, c->step->bytes);
    c->at += array_bytes(n, size);
    return array;
}

static void *next(struct cursor *c, size_t n)
{
    return next_of(c, n, sizeof(int32_t));
}

/* The same place in the device's copy. */
static const void *on_device(const struct step *step, const void *array)
{
    size_t at = (size_t)((const char *)array - (const char *)step->host[step->parity]);
    return (const void *)(uintptr_t)(step->data + at);
}

static void fill_tokens(const struct batch *batch, int32_t *sequence, int32_t *slot)
{
    for (int32_t s = 0; s < batch->S; s++) {
        const struct batch_seq *seq = &batch->seq[s];
        for (int32_t t = seq->first; t < seq->first + seq->n; t++) {
            int32_t position = batch->position[t];
            sequence[t] = s;
            slot[t] = seq->page[position / PAGE_TOKENS] * PAGE_TOKENS + position % PAGE_TOKENS;
        }
    }
}

static void fill_sequences(const struct batch *batch, int32_t *first, int32_t *length)
{
    for (int32_t s = 0; s < batch->S; s++) {
        first[s] = batch->seq[s].first;
        length[s] = batch->seq[s].position + batch->seq[s].n;
    }
    first[batch->S] = batch->T;
}

/* Rows of one width; what a shorter sequence leaves of its row is zeros, that every byte which
 * is copied has a value. */
static void fill_pages(const struct batch *batch, int32_t max_pages, int32_t *page)
{
    for (int32_t s = 0; s < batch->S; s++) {
        const struct batch_seq *seq = &batch->seq[s];
        size_t n = pages_of(seq->position + seq->n);
        int32_t *row = page + (size_t)s * (size_t)max_pages;
        if (n)
            memcpy(row, seq->page, n * sizeof *row);
        memset(row + n, 0, ((size_t)max_pages - n) * sizeof *row);
    }
}

static void fill_rows(const struct batch *batch, int32_t *row, float *scale)
{
    size_t R = (size_t)batch->R;
    if (R)
        memcpy(row, batch->row, R * sizeof *row);
    if (R && batch->scale)
        memcpy(scale, batch->scale, R * sizeof *scale);
    else
        memset(scale, 0, R * sizeof *scale);
}

/* The arrays in the pinned memory, in the order of struct step_view. */
struct arrays {
    int32_t *token, *position, *sequence, *slot, *first, *length, *page, *row;
    float *scale;
    int32_t *parity;
    struct row_choice *choice;
    struct logit_edit *edit;
};

/* What kernels read of the rows behind the batch's own, step.h. The rest is zeros, that every byte
 * which is copied has a value. */
static void fill_dead(const struct step_view *view, const struct batch *batch, struct arrays *a)
{
    const size_t pages = (size_t)view->max_pages;
    for (int32_t t = batch->T; t < view->T; t++) {
        a->token[t] = a->position[t] = a->length[t] = 0;
        a->sequence[t] = t;
        a->slot[t] = -1;
        a->first[t + 1] = t + 1;
        memset(a->page + (size_t)t * pages, 0, pages * sizeof *a->page);
    }
    for (int32_t r = batch->R; r < view->R; r++) {
        a->row[r] = 0;
        a->scale[r] = SCALE_DEAD;
        if (batch->choice)
            a->choice[r] = (struct row_choice){.pending = -1};
    }
}

static int32_t longest(const struct batch *batch)
{
    uint64_t most = 0;
    for (int32_t s = 0; s < batch->S; s++)
        most = MAX(most, pages_of(batch->seq[s].position + batch->seq[s].n));
    return (int32_t)most;
}

/* Bytes of all, which may be more than there are. Edits, whose number changes at every step, come
 * last: the others stay where they are. */
static size_t place(struct step *step, const struct batch *batch, struct arrays *a)
{
    struct cursor c = {step, 0};
    size_t T = (size_t)step->view.T, S = (size_t)step->view.S, R = (size_t)step->view.R;
    a->token = next(&c, T);
    a->position = next(&c, T);
    a->sequence = next(&c, T);
    a->slot = next(&c, T);
    a->first = next(&c, S + 1);
    a->length = next(&c, S);
    a->page = next(&c, S * (size_t)step->view.max_pages);
    a->row = next(&c, R);
    a->scale = next(&c, R);
    a->parity = next(&c, 1);
    a->choice = next_of(&c, batch->choice ? R : 0, sizeof *a->choice);
    a->edit = next_of(&c, batch->choice ? (size_t)batch->n_edit : 0, sizeof *a->edit);
    return c.at;
}

static void view(struct step *step, const struct arrays *a)
{
    step->view.token = on_device(step, a->token);
    step->view.position = on_device(step, a->position);
    step->view.sequence = on_device(step, a->sequence);
    step->view.slot = on_device(step, a->slot);
    step->view.first = on_device(step, a->first);
    step->view.length = on_device(step, a->length);
    step->view.page = on_device(step, a->page);
    step->view.row = on_device(step, a->row);
    step->view.scale = on_device(step, a->scale);
    step->view.parity = on_device(step, a->parity);
    step->view.choice = on_device(step, a->choice);
    step->view.edit = on_device(step, a->edit);
}

static void fill_choices(const struct step *step, const struct batch *batch, struct arrays *a)
{
    *a->parity = step->parity;
    if (!batch->choice)
        return;
    if (batch->R)
        memcpy(a->choice, batch->choice, (size_t)batch->R * sizeof *a->choice);
    if (batch->n_edit)
        memcpy(a->edit, batch->edit, (size_t)batch->n_edit * sizeof *a->edit);
}

/* Bytes of the arrays, 0 if they do not fit; sizes: the batch's, max_pages that of the longest
 * sequence, or more of a step that is recorded. */
static size_t fill(struct step *step, const struct batch *batch, struct step_view sizes)
{
    struct arrays a;
    size_t T = (size_t)batch->T;
    step->view = sizes;
    step->view.n_report = batch->choice ? batch->n_report : 0;
    step->rows = batch->R;
    size_t bytes = place(step, batch, &a);
    if (bytes > step->bytes)
        return 0;
    view(step, &a);
    memcpy(a.token, batch->token, T * sizeof *a.token);
    memcpy(a.position, batch->position, T * sizeof *a.position);
    fill_tokens(batch, a.sequence, a.slot);
    fill_sequences(batch, a.first, a.length);
    fill_pages(batch, step->view.max_pages, a.page);
    fill_rows(batch, a.row, a.scale);
    fill_choices(step, batch, &a);
    fill_dead(&step->view, batch, &a);
    return bytes;
}

/* Sizes of a step that is recorded: with dead rows, and with room for contexts to grow. So sizes
 * and addresses stay what they are while sequences come and go. */
static struct step_view rounded(const struct device *device, const struct step_view *exact)
{
    const struct device_config *config = &device->config;
    const int32_t T = MIN(product_bucket(exact->T), MAX(exact->T, config->max_tokens));
    return (struct step_view){
        .T = T,
        .S = T,
        .R = exact->R ? MIN(T, MAX(exact->R, config->max_rows)) : 0,
        .max_pages = graph_round(exact->max_pages, SPLIT_POSITIONS / PAGE_TOKENS,
                                 (int32_t)pages_of(config->max_context)),
    };
}

/* With rounded sizes if they fit. */
static size_t fill_roomy(struct device *device, const struct batch *batch)
{
    const struct step_view exact = {
        .T = batch->T, .S = batch->S, .R = batch->R, .max_pages = longest(batch)};
    size_t bytes = 0;
    if (device->graphs.is_recording)
        bytes = fill(&device->step, batch, rounded(device, &exact));
    return bytes ? bytes : fill(&device->step, batch, exact);
}

int32_t step_tokens(const struct device *device, const struct batch *batch)
{
    return device->step.of == batch ? device->step.view.T : batch->T;
}

int step_upload(struct device *device, const struct batch *batch)
{
    struct step *step = &device->step;
    if (step->of == batch)
        return 0;
    /* The copy of another batch of this run may still read the pinned arrays. */
    if (step->of && (graph_end(device, false) || cuda_wait(device)))
        return INFLIGHT_E_DEVICE;
    graph_begin(device, batch);
    size_t bytes = fill_roomy(device, batch);
    if (!bytes)
        return INFLIGHT_E_ARG;
    CUresult result = device->driver->cuMemcpyHtoDAsync(step->data, step->host[step->parity], bytes,
                                                        device->stream);
    device->queued = true;
    if (result) {
        device->failed = device->failed ? device->failed : result;
        return INFLIGHT_E_DEVICE;
    }
    step->of = batch;
    return 0;
}
