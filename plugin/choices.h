/* What a device that chooses tokens itself is told of each row: its sequence's sampling, and the
 * logits that change before anything is chosen. */
#pragma once

#include "batch.h"

struct choices {
    const struct mem *mem;   /* borrowed; NULL: nothing is owned */
    struct row_choice *row;  /* (max_rows) owned */
    struct logit_edit *edit; /* (STEP_EDITS) owned */
    int32_t *edit_of;        /* (V) owned; 1 + a token's edit in the row at hand, 0: it has none */
    struct sample_output *output; /* (max_rows) owned; for what was chosen */
    int32_t n_edit, V, max_rows;
};

/* Host memory of choices. */
uint64_t choices_bytes(int32_t V, int32_t max_rows);

int32_t choices_init(struct choices *c, const struct mem *mem, int32_t V, int32_t max_rows,
                     struct err *err);
void choices_release(struct choices *c);

/* Sets the choices and edits of a batch that was built, which borrows them until the next call.
 * False: there are more edits than a step has room for or a larger vocabulary than a device chooses
 * from, and the batch has no choices. */
bool choices_build(struct choices *c, struct batch_space *b);
