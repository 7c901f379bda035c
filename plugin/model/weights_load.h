/* What weights_load.c, which packs, weights_packed.c, which maps what has been packed, and programs
 * that load one layer after the other share while weights are loaded. */
#pragma once

#include "convert.h"
#include "weight_item.h"

struct weights_loader {
    struct weights *w;
    const struct weights_source *source;
    struct buf file;   /* for tensors_view */
    struct buf vector; /* floats, for a device whose memory is not the host's, or to compare */
    struct matrix_reader reader;
    struct converter converter;
};

/* The values of a vector, (item->bytes) in to. */
int32_t loader_vector(struct weights_loader *l, const struct weight_item *item, float *to,
                      struct err *err);

/* The rows of a matrix in the format that it is packed in, until the next ones. If a back end or
 * the caller cannot have one of them: loader_explain. In any case loader_done. */
int32_t loader_rows(struct weights_loader *l, const struct weight_item *item,
                    struct weight_source *rows, struct err *err);
int32_t loader_explain(struct weights_loader *l, const struct weight_item *item, struct err *err);
void loader_done(struct weights_loader *l);

/* ---- weights_packed.c */

/* Uses the file source->packed if it has these weights; *mapped says so, and w->packed_note why it
 * is to be packed instead. Fails if loading is stopped. */
int32_t weights_map(struct weights_loader *l, bool *mapped, struct err *err);

/* Writes the file from memory that is packed. That it cannot be written is no failure, and in
 * w->packed_use and w->packed_note. */
int32_t weights_keep(struct weights_loader *l, struct err *err);
