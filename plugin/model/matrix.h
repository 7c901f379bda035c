/* A matrix of a checkpoint, in whatever tensors it is stored. It is found and checked once, when
 * headers are read; its rows are made in a format of ours while it is loaded, a few at a time by
 * the threads that pack them.
 *
 * The format is the smallest one that has exactly the values of the file:
 *
 *   E4M3   fp8 if a row has one scale, fp8_128 if each 128 columns of it have
 *   4 bits int4_128, int4_64 or int4_32, the largest that groups and rows consist of; int8 if
 *          rows do not consist of any and have one scale
 *   E2M1   mxfp4 if each 32 columns have a power of two, nvfp4 if each 16 have a scale and rows
 *          consist of blocks of 64
 *   8 bits int8 if a row has one scale, q8_0 if each 32 columns of it have; with the zero in the
 *          middle
 *
 * or f16, into which values are rounded (by at most 2^-11 of a value, or 2^-25), where there is
 * none: groups of other sizes, groups whose columns do not stand together (GPTQ's desc_act), zero
 * points of 8 bits, other rows of NVFP4, inputs that are scaled (ModelOpt's pre_quant_scale, whose
 * factors become those of the columns). int4 and q8_0 have scales of half precision: those of F16
 * are kept, those of BF16 too from 2^-17 on, those of F32 are rounded, by at most 2^-11 of the
 * scale or 2^-25. What compressed-tensors divides scales of NVFP4 by becomes a factor, rounded
 * once. */
#pragma once

#include "scheme.h"

#include "../../kernels/backend.h"
#include "../file/tensors.h"

enum matrix_part {
    PART_CODES,
    PART_SCALES,
    PART_ZEROS,
    PART_GROUPS, /* (K), the group of each column */
    PART_INPUTS, /* (K), what each input is multiplied by first */
    PART_COUNT
};

struct matrix {
    enum fmt fmt;   /* of the rows it gives */
    int32_t N, K;   /* of them */
    int32_t first;  /* row of the tensors */
    int32_t n;      /* rows of the tensors, which other matrices may share */
    uint64_t bytes; /* of its tensors, its share of them */
    struct storage storage;
    float factor;                          /* of all scales; 1, but of NVFP4 */
    const struct tensor *part[PART_COUNT]; /* NULL: it has none */
    bool is_scattered; /* groups of columns that do not stand together: PART_GROUPS is needed */
    bool is_across;    /* plain numbers that stand by columns: K rows of n */
    int32_t table;     /* of these, which of several such tables that stand one after the other */
    int32_t step;      /* rows of the tensors from one row to the next; 0: 1 */
    int32_t heads,
        dim; /* rows by groups: of each as many heads of queries, a key, a value; 0: no */
};

/* Where the matrix of an expert is among those of others: its rows are every step-th from `first`
 * on of expert e's, of whom there are E. */
struct matrix_place {
    int32_t e, E, first, step;
};

/* What checks of the matrices of a model share. */
struct matrix_finder {
    const struct tensors *tensors;
    const struct scheme *scheme;
    bool *used;         /* (tensors->n): those that a matrix is made of, or goes without */
    struct buf scratch; /* for small tensors, behind a read hook */
};

/* The matrix of (N, K) whose name is "<module>.weight", also where its tensors have others; class:
 * see scheme_find. A matrix that stands there as plain numbers is taken whatever the scheme says of
 * it. */
int32_t matrix_find(struct matrix *m, struct matrix_finder *f, const char *name, const char *class,
                    int32_t N, int32_t K, struct err *err);

/* Whether it is stored at all. */
bool matrix_is_there(struct matrix_finder *f, const char *name);

/* The same of plain numbers that are stored by columns, (K, N). */
int32_t matrix_find_across(struct matrix *m, struct matrix_finder *f, const char *name, int32_t N,
                           int32_t K, struct err *err);

/* Plain numbers of n matrices of (N, K) in one tensor, as one of (n N, K), for matrix_rows. */
int32_t matrix_find_stack(struct matrix *m, struct matrix_finder *f, const char *name, int32_t n,
                          int32_t N, int32_t K, struct err *err);

/* The matrix (N, K) of one expert of a folder that has all of them in one tensor, of n = step N
 * rows each: plain numbers by columns, "<module>" (E, K, n), or "<module>_blocks" and
 * "<module>_scales" as CODES_MXFP4 has them. name: "<module>.weight". */
int32_t matrix_find_expert(struct matrix *m, struct matrix_finder *f, const char *name,
                           struct matrix_place place, int32_t N, int32_t K, struct err *err);

/* Makes rows of a found one come as queries, keys and values, where they stand by key/value heads:
 * of each, as many heads of queries, one of keys, one of values, each of dim rows. */
int32_t matrix_ungroup(struct matrix *m, int32_t heads, int32_t dim, struct err *err);

/* The row of the tensors that row i of a matrix is. */
int32_t matrix_row(const struct matrix *m, int32_t i);

/* Rows first .. first + n - 1 as a matrix of their own. */
struct matrix matrix_rows(const struct matrix *m, int32_t first, int32_t n);

/* ---- While it is loaded */

struct matrix_worker;

/* Host memory on the way. */
struct matrix_reader {
    const struct mem *mem;
    struct matrix_worker *worker; /* (n), owned */
    int32_t n;
    uint8_t *memory;                 /* rows of all workers, owned, (n each) */
    size_t each;                     /* bytes */
    struct buf scratch[PART_COUNT];  /* for tensors_view */
    struct matrix m;                 /* under way */
    struct tensor piece[PART_COUNT]; /* what is viewed of its tensors */
    const uint8_t *part[PART_COUNT]; /* that */
};

/* threads make rows at once. Nothing is taken before it is needed. */
void matrix_reader_init(struct matrix_reader *r, int32_t threads, const struct mem *mem);
void matrix_reader_close(struct matrix_reader *r);

/* Its rows; they and *m live until the next one. */
int32_t matrix_begin(struct matrix_reader *r, const struct tensors *tensors, const struct matrix *m,
                     struct weight_source *rows, struct err *err);

/* Rows could not be made: says in err what of the file is in the way. Leaves err as it is if
 * nothing is. */
int32_t matrix_explain(const struct matrix_reader *r, struct err *err);

/* The file's bytes are not wanted any more. */
void matrix_end(struct matrix_reader *r, const struct tensors *tensors);
