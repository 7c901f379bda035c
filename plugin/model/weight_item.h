/* A vector or a matrix of a model: where it is in the files and where it goes. Of weights.c, which
 * finds them, and weights_load.c. */
#pragma once

#include "matrix.h"
#include "weights.h"

enum kind { MATRIX, VECTOR };

/* What the values of a vector are. */
enum values {
    OF_TENSOR,
    MEAN_OF_TENSOR, /* rope_mean of it */
    ONE_MORE,       /* 1 + of it */
    FREQUENCIES,    /* of hparams; there is no tensor */
    NEAR_FREQUENCIES,
};

struct weight_item {
    struct matrix matrix;
    const struct tensor *tensor; /* of a vector, or NULL */
    char name[64];
    enum kind kind;
    enum values values;
    enum fmt fmt;  /* of a matrix on the device */
    void *target;  /* struct weight or const float * */
    size_t offset; /* in the memory */
    size_t bytes;  /* there */
    uint64_t file_bytes;
    double error; /* of a converted matrix, relative; negative: not loaded yet */
};
