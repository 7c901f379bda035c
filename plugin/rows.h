/* The sample stage: every row of logits of a step becomes a token, on all lanes. A row
 * depends on its own sequence only, so the lanes share nothing but the model. */
#pragma once

#include "batch.h"

#include "model/model.h"

struct rows {
    const struct mem *mem;        /* borrowed */
    struct model *model;          /* borrowed */
    struct sample_output *output; /* (max_rows) owned */
    bool *ok;                     /* (max_rows) owned: false if a row had no finite logit */
    uint64_t *scratch;            /* (lanes, sample_scratch(V)) owned */
    int32_t V, max_rows, lanes;
};

/* Host memory that rows of this shape take. */
uint64_t rows_bytes(int32_t V, int32_t max_rows, int32_t lanes);

int32_t rows_init(struct rows *rows, const struct mem *mem, struct model *model, int32_t max_rows,
                  int32_t lanes, struct err *err);
void rows_release(struct rows *rows);

/* Between steps: the scratch may lose its memory to the system until the next one. */
void rows_discard(struct rows *rows);

/* Row r of the model's logits, for b->sampled[r], to output[r] and ok[r]. Changes the
 * logits. Returns what the back end's run returned. */
int rows_sample(struct rows *rows, const struct batch_space *b);
