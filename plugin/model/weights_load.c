/* Loading: every lane packs its share of each matrix into memory of the device, or the memory is a
 * file in which a load before this one has kept it. */
#include "weights_load.h"

#include "rope.h"

#include <math.h>
#include <string.h>

/* Of n = 2^i heads 2^(-most / n), 2^(-2 most / n), ...; of more those that twice as many have at
 * the odd places, until there are enough: Press et al. 2021. */
static void alibi_slopes(int32_t H, float most, float *slope)
{
    int32_t n = 1;
    while (2 * n <= H)
        n *= 2;
    for (int32_t i = 0; i < H; i++) {
        const int32_t place = i < n ? 2 * (i + 1) : 2 * (i - n) + 1;
        slope[i] = (float)exp2(-(double)most * place / (2.0 * n));
    }
}

/* A bias whose values stand by groups, as rows of its matrix do. */
static int32_t ungroup(struct weights_loader *l, float *x, int64_t n, struct err *err)
{
    const struct hparams *h = l->source->h;
    const struct matrix rows = {.N = (int32_t)n, .heads = h->H / h->K, .dim = h->dim};
    float *from = mem_take(l->source->mem, (size_t)n * sizeof *from, CACHE_LINE);
    if (!from)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a bias of %lld values", (long long)n);
    memcpy(from, x, (size_t)n * sizeof *from);
    for (int32_t i = 0; i < n; i++)
        x[i] = from[matrix_row(&rows, i)];
    mem_give(l->source->mem, from, (size_t)n * sizeof *from);
    return INFLIGHT_OK;
}

/* Of formats of one value a block. */
static void every_other(const struct weight_item *item, const uint8_t *data, float *to)
{
    const struct fmt_info *info = &fmt_info[item->tensor->fmt];
    const size_t n = item->bytes / sizeof *to;
    for (size_t i = 0; i < n; i++)
        info->decode(data + (2 * i + (item->values == ODD_ONES)) * (size_t)info->bytes, &to[i]);
}

int32_t loader_vector(struct weights_loader *l, const struct weight_item *item, float *to,
                      struct err *err)
{
    const struct hparams *h = l->source->h;
    if (item->values == FREQUENCIES || item->values == NEAR_FREQUENCIES) {
        memcpy(to, item->values == FREQUENCIES ? h->freq : h->near_freq, item->bytes);
        return INFLIGHT_OK;
    }
    if (item->values == SLOPES) {
        alibi_slopes(h->H, h->alibi_max, to);
        return INFLIGHT_OK;
    }
    const void *data = tensors_view(l->w->tensors, item->tensor, &l->file, err);
    if (!data)
        return err->code;
    const int64_t n = item->tensor->dim[0] * item->tensor->dim[1];
    if (item->values == EVEN_ONES || item->values == ODD_ONES)
        return every_other(item, data, to), INFLIGHT_OK;
    fmt_decode_row(item->tensor->fmt, data, n, to);
    if (item->values == MEAN_OF_TENSOR)
        rope_mean(h, to);
    if (item->values == BY_GROUPS)
        return ungroup(l, to, n, err);
    for (int64_t i = 0; item->values == ONE_MORE && i < n; i++)
        to[i] += 1;
    for (int64_t i = 0; item->factor != 1 && i < n; i++)
        to[i] *= item->factor;
    return INFLIGHT_OK;
}

static bool is_converted(const struct weight_item *item)
{
    return item->fmt != item->matrix.fmt;
}

int32_t loader_rows(struct weights_loader *l, const struct weight_item *item,
                    struct weight_source *rows, struct err *err)
{
    if (matrix_begin(&l->reader, l->w->tensors, &item->matrix, rows, err))
        return err->code;
    if (is_converted(item))
        *rows = convert_begin(&l->converter, rows, item->fmt);
    return INFLIGHT_OK;
}

int32_t loader_explain(struct weights_loader *l, const struct weight_item *item, struct err *err)
{
    if (is_converted(item))
        (void)convert_explain(&l->converter, err);
    return matrix_explain(&l->reader, err);
}

/* Or the file and what is packed from it would be in memory side by side. */
void loader_done(struct weights_loader *l)
{
    matrix_end(&l->reader, l->w->tensors);
}

static int32_t load_vector(struct weights_loader *l, const struct weight_item *item,
                           struct err *err)
{
    const struct backend *backend = l->source->backend;
    float *target = *(float **)item->target, *to = target;
    if (!backend->is_host)
        to = (float *)(void *)buf_room(&l->vector, item->bytes);
    if (!to)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to decode tensor %s", item->name);
    if (loader_vector(l, item, to, err))
        return err->code;
    if (to != target && backend->write(l->source->device, target, to, item->bytes))
        return err_set(err, INFLIGHT_E_DEVICE, "tensor %s cannot be written to the device",
                       item->name);
    return INFLIGHT_OK;
}

static int32_t load_matrix(struct weights_loader *l, struct weight_item *item, struct err *err)
{
    struct weight_source rows;
    if (loader_rows(l, item, &rows, err))
        return err_prefix(err, "tensor %s", item->name);
    if (l->source->backend->pack(l->source->device, &rows, item->target, err)) {
        (void)loader_explain(l, item, err);
        return err_prefix(err, "tensor %s", item->name);
    }
    if (is_converted(item))
        item->error = convert_error(&l->converter);
    loader_done(l);
    return INFLIGHT_OK;
}

#define TOUCH_WINDOW ((size_t)64 << 20) /* at once, so that loading can be stopped */

/* The memory from *touched on, at least up to the end of the item. What is between it and the next
 * item is zero: a file may come of it. */
static void touch_for(const struct weights_loader *l, const struct weight_item *item,
                      size_t *touched)
{
    const struct weights *w = l->w;
    const struct backend *backend = l->source->backend;
    const size_t end = item->offset + item->bytes;
    for (size_t n; backend->touch && *touched < end; *touched += n) {
        n = MIN(TOUCH_WINDOW, w->bytes - *touched);
        backend->touch(w->device, (char *)w->memory + *touched, n);
    }
    if (backend->is_host)
        memset((char *)w->memory + end, 0, ROUND_UP(end, (size_t)CACHE_LINE) - end);
}

static int32_t load_items(struct weights_loader *l, struct err *err)
{
    const struct weights_source *source = l->source;
    struct weights *w = l->w;
    uint64_t done = 0;
    size_t touched = 0;
    for (int32_t i = 0; i < w->n_item; i++) {
        struct weight_item *item = &w->item[i];
        touch_for(l, item, &touched);
        if (source->progress && source->progress(source->user, done, w->file_bytes))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "loading was stopped");
        if (item->kind == MATRIX ? load_matrix(l, item, err) : load_vector(l, item, err))
            return err->code;
        done += item->file_bytes;
    }
    return INFLIGHT_OK;
}

/* Into memory of the device. */
static int32_t pack(struct weights_loader *l, struct err *err)
{
    struct weights *w = l->w;
    char text[BYTES_TEXT];
    w->memory = w->backend->take(w->device, w->bytes);
    if (!w->memory)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of weights",
                       bytes_text(w->bytes, text));
    weights_place(w, w->memory);
    return load_items(l, err);
}

static int32_t load(struct weights_loader *l, struct err *err)
{
    const bool keeps = l->source->packed && l->source->backend->packing;
    bool mapped = false;
    int32_t rc = keeps ? weights_map(l, &mapped, err) : INFLIGHT_OK;
    if (rc || mapped)
        return rc;
    rc = pack(l, err);
    return rc || !keeps ? rc : weights_keep(l, err);
}

int32_t weights_load(struct weights *w, const struct weights_source *source, struct err *err)
{
    const struct mem *mem = source->mem;
    struct weights_loader l = {.w = w, .source = source};
    w->backend = source->backend;
    w->device = source->device;
    buf_init(&l.file, mem);
    buf_init(&l.vector, mem);
    matrix_reader_init(&l.reader, source->config->threads, mem);
    int32_t rc = INFLIGHT_OK;
    if (w->quantization)
        rc = convert_open(&l.converter, w->quantization, source->config->threads, w->max_width, mem,
                          err);
    if (!rc)
        rc = load(&l, err);
    packed_close_table(&w->packed);
    convert_close(&l.converter);
    matrix_reader_close(&l.reader);
    buf_release(&l.file);
    buf_release(&l.vector);
    if (!rc && w->tied)
        w->head = w->embed;
    return rc;
}

void weights_release(struct weights *w)
{
    if (w->memory)
        w->backend->give(w->device, w->memory, w->bytes);
    w->memory = NULL;
    packed_release(&w->packed);
}
