#include "weights.h"

#include "convert.h"
#include "weight_item.h"

#include <stdio.h>

void weights_quantize(struct weights *w, enum fmt fmt, bool head)
{
    w->quantization = fmt;
    if (w->tied && head) {
        struct weight_item *item = &w->item[w->n_item++];
        *item = w->item[0]; /* the embedding */
        item->target = &w->head;
        w->file_bytes += item->file_bytes;
        w->tied = false;
    }
    for (int32_t i = 0; i < w->n_item; i++) {
        struct weight_item *item = &w->item[i];
        bool stays =
            item->stays || item->target == &w->embed || (item->target == &w->head && !head);
        if (item->kind == MATRIX && !stays)
            item->fmt = convert_fmt(fmt, item->matrix.K);
    }
}

int32_t weights_measure(struct weights *w, const struct backend *backend,
                        const struct device_config *config, struct err *err)
{
    w->bytes = 0;
    for (int32_t i = 0; i < w->n_item; i++) {
        struct weight_item *item = &w->item[i];
        const struct matrix *m = &item->matrix;
        if (item->kind == MATRIX)
            item->bytes = backend->packed_bytes(config, item->fmt, m->N, m->K);
        if (!item->bytes)
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "tensor %s: %s rows of %d values are not served by device %s",
                           item->name, fmt_info[item->fmt].name, m->K, backend->name);
        item->offset = w->bytes;
        w->bytes += ROUND_UP(item->bytes, (size_t)CACHE_LINE);
    }
    return INFLIGHT_OK;
}

void weights_place(struct weights *w, void *memory)
{
    for (int32_t i = 0; i < w->n_item; i++) {
        const struct weight_item *item = &w->item[i];
        char *at = (char *)memory + item->offset;
        if (item->kind == MATRIX)
            *(struct weight *)item->target = (struct weight){.fmt = item->fmt,
                                                             .N = item->matrix.N,
                                                             .K = item->matrix.K,
                                                             .data = at,
                                                             .bytes = item->bytes};
        else
            *(const float **)item->target = (const float *)(const void *)at;
    }
    if (w->tied)
        w->head = w->embed;
}

void weights_describe(const struct weights *w, struct buf *out)
{
    const char *comma = "";
    const bool is_file = w->tensors->naming == NAMING_GGUF;
    const char *head = is_file ? "output.weight" : "lm_head.weight";
    buf_put_text(out, "[");
    for (int32_t i = 0; i < w->n_item; i++) {
        const struct weight_item *item = &w->item[i];
        if (item->kind != MATRIX || item->fmt == item->matrix.fmt)
            continue;
        buf_format(out, "%s{\"tensor\": \"%s\", \"from\": \"%s\", \"to\": \"%s\", \"bytes\": %zu",
                   comma, item->target == &w->head ? head : item->name,
                   fmt_info[item->matrix.fmt].name, fmt_info[item->fmt].name, item->bytes);
        if (item->error >= 0)
            buf_format(out, ", \"relative_error\": %.3g", item->error);
        buf_put_text(out, "}");
        comma = ", ";
    }
    buf_put_text(out, "]");
}

const char *weights_name(const struct weights *w, const void *field)
{
    for (int32_t i = 0; i < w->n_item; i++) {
        const struct weight_item *item = &w->item[i];
        const void *at = item->kind == MATRIX ? item->target : *(void **)item->target;
        if (at == field)
            return item->name;
    }
    return field == &w->head ? w->item[0].name : "?";
}
