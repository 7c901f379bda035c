/* What the files that find matrices share: a matrix on its way, and tensors of its module. */
#pragma once

#include "matrix.h"

/* "<module>.weight_scale" */
#define NAME_MOST 256

/* A matrix on its way. */
struct finding {
    struct matrix *m;
    struct matrix_finder *f;
    char module[NAME_MOST]; /* its name without ".weight"; cut if it is too long, and not found */
    struct err *err;
};

struct finding finding_of(struct matrix *m, struct matrix_finder *f, const char *name,
                          struct err *err);

/* "<module><end>". NULL: there is none. */
const struct tensor *finding_named(const struct finding *o, const char *end);

/* A matrix is made of the tensor, or goes without. */
void finding_use(const struct finding *o, const struct tensor *t);

/* The file that the tensor is in. */
const char *finding_path(const struct finding *o, const struct tensor *t);

int32_t finding_refuse_dtype(const struct finding *o, const struct tensor *t, const char *want);
