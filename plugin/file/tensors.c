#include "tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *dtype_name(enum dtype dtype)
{
    static const char *const names[] = {
        [DTYPE_NONE] = "a block format",
        [DTYPE_F32] = "F32",
        [DTYPE_F16] = "F16",
        [DTYPE_BF16] = "BF16",
        [DTYPE_I8] = "I8",
        [DTYPE_F8_E4M3] = "F8_E4M3",
        [DTYPE_U8] = "U8",
        [DTYPE_I32] = "I32",
        [DTYPE_I64] = "I64",
        [DTYPE_OTHER] = "another type",
    };
    return names[dtype];
}

int32_t tensors_index(struct tensors *t, struct arena *arena, struct err *err)
{
    char shown[SHOWN_TEXT];
    if (t->n > INT32_MAX || !hash_init(&t->by_name, arena, t->n))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %" PRIu64 " tensors",
                       t->n);
    for (uint64_t i = 0; i < t->n; i++) {
        struct str name = t->tensor[i].name;
        int32_t before = hash_find(&t->by_name, name.ptr, name.len, -1);
        if (before >= 0)
            return err_set(err, INFLIGHT_E_MODEL,
                           "tensors %" PRId32 " and %" PRIu64 " are both named %s", before + 1,
                           i + 1, shown_text(name, shown));
        if (!hash_put(&t->by_name, name.ptr, name.len, (int32_t)i))
            return err_set(err, INFLIGHT_E_INTERNAL, "tensor %" PRIu64 ": the map is full", i + 1);
    }
    return INFLIGHT_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct tensor *a = *(const struct tensor *const *)left;
    const struct tensor *b = *(const struct tensor *const *)right;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

const struct tensor **tensors_by_place(const struct tensors *t, struct arena *arena)
{
    const struct tensor **order = arena_take_array(arena, t->n, sizeof *order);
    for (uint64_t i = 0; order && i < t->n; i++)
        order[i] = &t->tensor[i];
    if (order)
        qsort(order, t->n, sizeof *order, by_place);
    return order;
}

/* No tensor is empty, so two overlap exactly if neighbours in file order do. */
int32_t tensors_check_overlaps(const struct tensors *t, struct arena *arena, struct err *err)
{
    char shown[2][SHOWN_TEXT];
    const struct tensor **order = tensors_by_place(t, arena);

    if (!order)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to sort %" PRIu64 " tensors", t->n);
    for (uint64_t i = 1; i < t->n; i++) {
        const struct tensor *a = order[i - 1], *b = order[i];
        if (a->file == b->file && b->offset - a->offset < a->bytes)
            return err_set(err, INFLIGHT_E_MODEL,
                           "tensors %s (%" PRIu64 " bytes at %" PRIu64 ") and %s (at %" PRIu64
                           ") overlap",
                           shown_text(a->name, shown[0]), a->bytes, a->offset,
                           shown_text(b->name, shown[1]), b->offset);
    }
    return INFLIGHT_OK;
}

const struct tensor *tensors_find(const struct tensors *t, const char *name)
{
    int32_t i = hash_find(&t->by_name, name, strlen(name), -1);
    return i < 0 ? NULL : &t->tensor[i];
}

/* Of a number of a safetensors file, which may begin at any byte. */
static size_t alignment_of(enum dtype dtype)
{
    static const size_t bytes[] = {[DTYPE_F32] = 4, [DTYPE_F16] = 2, [DTYPE_BF16] = 2,
                                   [DTYPE_I32] = 4, [DTYPE_I64] = 8, [DTYPE_OTHER] = 0};
    return MAX(bytes[dtype], (size_t)1);
}

const void *tensors_view(const struct tensors *t, const struct tensor *tensor, struct buf *scratch,
                         struct err *err)
{
    const struct file *file = &t->file[tensor->file];
    bool is_aligned = tensor->offset % alignment_of(tensor->dtype) == 0;
    return (is_aligned ? file_view : file_copy)(file, tensor->offset, tensor->bytes, scratch, err);
}

void tensors_done(const struct tensors *t, const struct tensor *tensor)
{
    file_done(&t->file[tensor->file], tensor->offset, tensor->bytes);
}

void tensors_close(struct tensors *t)
{
    for (int32_t i = 0; i < t->n_files; i++)
        file_close(&t->file[i]);
    t->n_files = 0;
}
