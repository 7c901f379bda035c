/* The tensors of a model, whatever kind of file they are in: one directory for all its files. */
#pragma once

#include "file.h"

#include "../base/arena.h"
#include "../base/hash.h"
#include "../../quant/quant.h"

/* Numbers of safetensors files, by the names there. */
enum dtype {
    DTYPE_NONE, /* a block format of a GGUF file */
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F8_E4M3,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_OTHER, /* that no matrix is made of */
};

/* As safetensors files have it; of a block format and of others a word. */
const char *dtype_name(enum dtype dtype);

#define TENSOR_DIMS 5 /* matrices have two; patches of films have all of them */

struct tensor {
    struct str name;
    enum fmt fmt;     /* of its rows; FMT_COUNT: they are no weights by themselves */
    enum dtype dtype; /* of its numbers */
    int32_t file;     /* which of the files it is in */
    int32_t n_dims;
    int64_t dim[TENSOR_DIMS]; /* dim[0] is the contiguous one; missing ones are 1 */
    uint64_t offset;          /* absolute, in the file */
    uint64_t bytes;
    bool is_apart; /* of no part of the model that is served: not to be looked up */
};

/* Whether it is third x second x first, the last contiguous, and nothing more. */
static inline bool tensor_is(const struct tensor *t, int64_t third, int64_t second, int64_t first)
{
    return t->dim[0] == first && t->dim[1] == second && t->dim[2] == third && t->dim[3] == 1 &&
           t->dim[4] == 1;
}

/* Who named them: blk.0.attn_q.weight, or model.layers.0.self_attn.q_proj.weight. */
enum naming { NAMING_GGUF, NAMING_HUGGING_FACE };

struct tensors {
    enum naming naming;
    struct tensor *tensor; /* (n), in the arena; of a file in its order */
    uint64_t n;
    struct hash by_name;
    struct file *file; /* (n_files), in the arena; open until tensors_close */
    int32_t n_files;
};

/* Fills by_name; INFLIGHT_E_MODEL if two have one name. */
int32_t tensors_index(struct tensors *t, struct arena *arena, struct err *err);

/* (n) of them in the order of files and places there, empty ones before others; in the arena.
 * NULL: no memory. */
const struct tensor **tensors_by_place(const struct tensors *t, struct arena *arena);

/* No two of a file share bytes, of which each has one at least. */
int32_t tensors_check_overlaps(const struct tensors *t, struct arena *arena, struct err *err);

/* NULL if there is none. */
const struct tensor *tensors_find(const struct tensors *t, const char *name);

/* All bytes of a tensor, its numbers aligned: file_view and file_done of its file. */
const void *tensors_view(const struct tensors *t, const struct tensor *tensor, struct buf *scratch,
                         struct err *err);
void tensors_done(const struct tensors *t, const struct tensor *tensor);

void tensors_close(struct tensors *t); /* its files; zeroed or closed is allowed */
