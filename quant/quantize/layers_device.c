#include "layers_device.h"

#include "../../plugin/model/rope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t layers_no_memory(struct err *err, size_t bytes)
{
    char text[BYTES_TEXT];
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of a layer", bytes_text(bytes, text));
}

int32_t layers_error(const struct layers *l, int32_t code, const char *what, struct err *err)
{
    const bool is_lost = l->backend->is_lost && l->backend->is_lost(l->device);
    if (!l->backend->is_host)
        return err_set(err, is_lost ? INFLIGHT_E_DEVICE : code, "%s: %s", what,
                       l->backend->describe(l->device));
    return err_set(err, code, "%s", what);
}

static int32_t no_room(const struct layers *l, size_t bytes, struct err *err)
{
    char text[BYTES_TEXT], what[96];
    (void)snprintf(what, sizeof what, "no memory of the device for %s", bytes_text(bytes, text));
    return layers_error(l, INFLIGHT_E_NOMEM, what, err);
}

/* ---- Opening */

static void configure(struct layers *l, int32_t threads)
{
    const struct hparams *h = &l->h;
    l->config = (struct device_config){
        .threads = threads,
        .activations = ACT_FLOAT,
        .max_tokens = l->length,
        .max_rows = 1,
        .max_context = l->length,
        .max_width = l->weights.max_width,
        .L = 1,
        .H = h->H,
        .K = h->K,
        .dim = h->dim,
        .experts = h->E,
        .experts_met = h->U,
        .kv_pages = l->length / PAGE_TOKENS + 2,
    };
}

static int32_t try_backend(struct layers *l, const struct backend *backend, struct err *err)
{
    struct device_bytes bytes;
    l->backend = backend;
    return backend->probe(err) || backend->measure(&l->config, &bytes, err) ||
                   backend->open(&l->config, &mem_system, &l->device, err)
               ? err->code
               : INFLIGHT_OK;
}

static int32_t choose_backend(struct layers *l, const char *device, struct err *err)
{
    const struct backend *backend = backend_find(device);
    if (strcmp(device, "auto") != 0 && !backend)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "this build has no device \"%s\"", device);
    if (backend)
        return try_backend(l, backend, err) ? err_prefix(err, "device %s", device) : INFLIGHT_OK;
    for (const struct backend *const *b = backends; *b; b++) {
        const size_t len = strlen(l->passed);
        *err = (struct err){0};
        if (!try_backend(l, *b, err))
            return INFLIGHT_OK;
        (void)snprintf(l->passed + len, sizeof l->passed - len, "%s%s: %.200s", len ? "; " : "",
                       (*b)->name, err->text);
    }
    return err->code;
}

int32_t layers_open_device(struct layers *l, const char *device, int32_t threads, struct err *err)
{
    configure(l, threads);
    rope_choose(&l->h, l->length);
    plan_measure(&l->buffers, l->arch, &l->h, l->length, 1);
    if (choose_backend(l, device, err))
        return err->code;
    l->activations = l->backend->take(l->device, l->buffers.bytes);
    return l->activations ? INFLIGHT_OK : no_room(l, l->buffers.bytes, err);
}

/* ---- Memory */

int32_t layers_write(const struct layers *l, void *to, const void *from, size_t bytes,
                     struct err *err)
{
    return l->backend->write(l->device, to, from, bytes)
               ? layers_error(l, INFLIGHT_E_DEVICE, "the device cannot be written to", err)
               : INFLIGHT_OK;
}

int32_t layers_read(const struct layers *l, void *host, uint64_t offset, size_t bytes,
                    struct err *err)
{
    return l->backend->read(l->device, host, l->activations + offset, bytes)
               ? layers_error(l, INFLIGHT_E_DEVICE, "the device cannot be read", err)
               : INFLIGHT_OK;
}

void layers_give(const struct layers *l, struct held *held)
{
    if (held->memory)
        l->backend->give(l->device, held->memory, held->bytes);
    free(held->value);
    *held = (struct held){.item = held->item, .tensor = held->tensor};
}

int32_t layers_reserve(const struct layers *l, struct held *held, size_t bytes, struct err *err)
{
    if (held->memory && held->bytes == bytes)
        return INFLIGHT_OK;
    layers_give(l, held);
    held->memory = l->backend->take(l->device, bytes);
    held->bytes = bytes;
    return held->memory ? INFLIGHT_OK : no_room(l, bytes, err);
}

int32_t layers_pack(const struct layers *l, struct held *held, const struct weight_source *source,
                    struct weight *out, struct err *err)
{
    size_t bytes = l->backend->packed_bytes(&l->config, source->fmt, source->N, source->K);
    if (!bytes)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s rows of %d values are not served by %s",
                       fmt_info[source->fmt].name, source->K, l->backend->name);
    if (layers_reserve(l, held, bytes, err))
        return err->code;
    *out = (struct weight){
        .fmt = source->fmt, .N = source->N, .K = source->K, .data = held->memory, .bytes = bytes};
    return l->backend->pack(l->device, source, out, err);
}
