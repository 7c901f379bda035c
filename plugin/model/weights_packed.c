/* Weights that a load before this one has packed, in a file (packed.h). That they are this model's
 * and what would be packed now is seen by packing the first rows of each matrix again; that they
 * are whole, by the checksums. */
#include "weights_load.h"

#include "../base/checksum.h"
#include "../base/time_slice.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_ROWS 16                /* compared of each matrix, or one weight_source.step */
#define WINDOW      ((uint32_t)32)    /* pieces between two looks at whether loading is stopped */
#define NONE        ((uint32_t)0 - 1) /* of the pieces */

/* Says how much of the model's bytes is done. */
static bool is_stopped(const struct weights_loader *l, uint64_t done)
{
    const struct weights_source *source = l->source;
    return source->progress && source->progress(source->user, done, l->w->file_bytes);
}

static uint64_t files_sum(const struct weights_loader *l)
{
    const struct tensors *tensors = l->w->tensors;
    uint64_t sum = 0;
    for (int32_t i = 0; i < tensors->n_files; i++) {
        const struct file *file = &tensors->file[i];
        const uint64_t part[] = {sum, file->bytes, (uint64_t)file->changed_ns};
        sum = checksum(part, sizeof part);
    }
    return sum;
}

static void fill_item(const struct weight_item *item, struct packed_item *out)
{
    const bool is_matrix = item->kind == MATRIX;
    *out = (struct packed_item){.fmt = (int32_t)(is_matrix ? item->fmt : FMT_f32),
                                .N = is_matrix ? item->matrix.N
                                               : (int32_t)(item->bytes / sizeof(float)),
                                .K = is_matrix ? item->matrix.K : 1,
                                .offset = item->offset,
                                .bytes = item->bytes,
                                .error = item->error};
    (void)snprintf(out->name, sizeof out->name, "%s", item->name);
}

static int32_t fill(struct weights_loader *l, struct err *err)
{
    struct weights *w = l->w;
    if (packed_init(&w->packed, (uint32_t)w->n_item, w->bytes, l->source->mem, err))
        return err->code;
    struct packed_head *head = w->packed.head;
    (void)snprintf(head->packing, sizeof head->packing, "%s", w->backend->packing(w->device));
    head->files = files_sum(l);
    for (int32_t i = 0; i < w->n_item; i++)
        fill_item(&w->item[i], &w->packed.item[i]);
    return INFLIGHT_OK;
}

/* ---- Pieces, on all lanes */

struct pieces {
    struct packed *packed;
    const void *memory;
    struct time_slice *slice;
    bool compare; /* or the sums are filled */
    uint32_t end;
    _Atomic uint32_t next, damaged; /* a piece, or NONE */
};

static int pieces_body(struct lane *lane, void *arg)
{
    struct pieces *p = arg;
    (void)lane;
    for (uint32_t i; (i = atomic_fetch_add(&p->next, 1)) < p->end;) {
        time_slice_wait(p->slice);
        const uint64_t sum = packed_sum(p->packed, p->memory, i);
        if (!p->compare)
            p->packed->sum[i] = sum;
        else if (sum != p->packed->sum[i])
            atomic_store(&p->damaged, i);
    }
    return 0;
}

/* *damaged: a piece whose sum is another, or NONE. */
static int32_t sum_pieces(struct weights_loader *l, const void *memory, bool compare,
                          uint32_t *damaged, struct err *err)
{
    const struct weights_source *source = l->source;
    struct weights *w = l->w;
    const uint32_t n = w->packed.head->n_pieces;
    struct pieces p = {
        .packed = &w->packed, .memory = memory, .slice = source->config->slice, .compare = compare};
    atomic_init(&p.damaged, NONE);
    for (uint32_t first = 0; first < n && atomic_load(&p.damaged) == NONE; first = p.end) {
        if (is_stopped(l, compare ? w->file_bytes * first / n : w->file_bytes))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "loading was stopped");
        p.end = MIN(first + WINDOW, n);
        atomic_store(&p.next, first);
        (void)source->backend->run(source->device, pieces_body, &p);
    }
    *damaged = atomic_load(&p.damaged);
    return INFLIGHT_OK;
}

/* ---- Samples */

/* rows: of the item, from the first on; packs them into memory of its own. */
static bool same_rows(struct weights_loader *l, const struct weight_item *item,
                      const struct weight_source *rows)
{
    const struct weights_source *source = l->source;
    const struct mem *mem = source->mem;
    const size_t bytes = source->backend->packed_bytes(source->config, rows->fmt, rows->N, rows->K);
    struct weight *target = item->target;
    struct err none = {0};
    void *packed = mem_take(mem, bytes, CACHE_LINE);
    struct weight out = {.data = packed, .bytes = bytes};
    const bool same = packed && bytes <= item->bytes &&
                      !source->backend->pack(source->device, rows, &out, &none) &&
                      memcmp(packed, target->data, bytes) == 0;
    target->layout = out.layout;
    mem_give(mem, packed, bytes);
    return same;
}

static bool same_matrix(struct weights_loader *l, const struct weight_item *item)
{
    struct weight_source rows, first;
    struct err none = {0};
    bool same = false;
    if (!loader_rows(l, item, &rows, &none)) {
        const int32_t n = MIN(rows.N, rows.data ? SAMPLE_ROWS : rows.step);
        same = weight_source_rows(&rows, 0, 0, n, &first) && same_rows(l, item, &first);
    }
    loader_done(l);
    return same;
}

static bool same_vector(struct weights_loader *l, const struct weight_item *item)
{
    struct err none = {0};
    float *want = (float *)(void *)buf_room(&l->vector, item->bytes);
    return want && !loader_vector(l, item, want, &none) &&
           memcmp(want, *(const float **)item->target, item->bytes) == 0;
}

/* *other: one that is not the model's, or NULL. Fills what pack would have. */
static int32_t find_other(struct weights_loader *l, const struct weight_item **other,
                          struct err *err)
{
    struct weights *w = l->w;
    *other = NULL;
    for (int32_t i = 0; i < w->n_item && !*other; i++) {
        struct weight_item *item = &w->item[i];
        if (is_stopped(l, 0))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "loading was stopped");
        if (!(item->kind == MATRIX ? same_matrix(l, item) : same_vector(l, item)))
            *other = item;
        item->error = w->packed.item[i].error;
    }
    return INFLIGHT_OK;
}

/* ---- The file */

/* Of a file that is mapped. */
static int32_t check(struct weights_loader *l, bool *good, struct err *err)
{
    struct weights *w = l->w;
    uint32_t damaged = NONE;
    const struct weight_item *other;
    weights_place(w, (void *)(uintptr_t)packed_memory(&w->packed));
    if (find_other(l, &other, err) ||
        (!other && sum_pieces(l, packed_memory(&w->packed), true, &damaged, err)))
        return err->code;
    if (other)
        (void)err_set(&w->packed_note, INFLIGHT_E_IO, "has other values than the model's %s",
                      other->name);
    if (damaged != NONE)
        (void)err_set(&w->packed_note, INFLIGHT_E_IO,
                      "is damaged: the checksum of its piece %u is another", damaged);
    *good = !w->packed_note.code;
    return INFLIGHT_OK;
}

int32_t weights_map(struct weights_loader *l, bool *mapped, struct err *err)
{
    struct weights *w = l->w;
    if (fill(l, err))
        return err->code;
    enum packed_found found = packed_map(&w->packed, l->source->packed, &w->packed_note);
    w->packed_use = found == PACKED_FOREIGN ? PACKED_REFUSED : PACKED_UNUSED;
    if (found != PACKED_FOUND)
        return INFLIGHT_OK;
    if (check(l, mapped, err))
        return err->code;
    if (*mapped)
        w->packed_use = PACKED_MAPPED;
    else
        packed_unmap(&w->packed);
    return INFLIGHT_OK;
}

/* packed_progress: all that was to be loaded is. */
static int on_written(void *user, uint64_t done, uint64_t total)
{
    const struct weights_loader *l = user;
    (void)done;
    (void)total;
    return is_stopped(l, l->w->file_bytes);
}

int32_t weights_keep(struct weights_loader *l, struct err *err)
{
    struct weights *w = l->w;
    struct err why = {0};
    uint32_t none;
    if (w->packed_use == PACKED_REFUSED)
        return INFLIGHT_OK;
    for (int32_t i = 0; i < w->n_item; i++)
        w->packed.item[i].error = w->item[i].error;
    if (sum_pieces(l, w->memory, false, &none, err))
        return err->code;
    if (!packed_write(&w->packed, l->source->packed, w->memory, on_written, l, &why)) {
        w->packed_use = PACKED_WRITTEN;
    } else if (why.code == INFLIGHT_E_SHUTDOWN) {
        return err_set(err, why.code, "loading was stopped");
    } else {
        w->packed_use = PACKED_REFUSED;
        w->packed_note = why;
    }
    return INFLIGHT_OK;
}
