/* A vector or a matrix of a model: where it is in the files and where it goes. Of weights_open.c,
 * which finds them, weights.c, which places them, and weights_load.c. */
#pragma once

#include "matrix.h"
#include "weights.h"

enum kind { MATRIX, VECTOR };

#define ITEM_NAME 64 /* bytes of a tensor's name, at most, with its end */

/* What the values of a vector are. */
enum values {
    OF_TENSOR,
    MEAN_OF_TENSOR, /* rope_mean of it */
    ONE_MORE,       /* 1 + of it */
    BY_GROUPS,      /* of it in another order, as matrix_ungroup's rows */
    EVEN_ONES,      /* every other one of it, from the first or the second on */
    ODD_ONES,
    SLOPES,      /* of POSITIONS_ALIBI; there is no tensor */
    FREQUENCIES, /* of hparams; there is no tensor */
    NEAR_FREQUENCIES,
};

struct weight_item {
    struct matrix matrix;
    const struct tensor *tensor; /* of a vector, or NULL */
    char name[ITEM_NAME];
    enum kind kind;
    enum values values;
    float factor;  /* of a vector's values: 1, but for what scales logits */
    enum fmt fmt;  /* of a matrix on the device */
    bool stays;    /* never converted: a router */
    void *target;  /* struct weight or const float * */
    size_t offset; /* in the memory */
    size_t bytes;  /* there */
    uint64_t file_bytes;
    double error; /* of a converted matrix, relative; negative: not loaded yet */
};

/* Whether the tensor of that name in the files is one that code leaves out: keys or values of a
 * layer that attends to those of another, or what is made anew. */
bool weights_leave_out(const struct hparams *h, enum naming naming, const struct scheme *scheme,
                       struct str name);
