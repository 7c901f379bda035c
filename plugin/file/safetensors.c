#include "safetensors.h"

#include <inttypes.h>
#include <string.h>

#define HEADER_MAX ((uint64_t)100000000) /* as in the library that defines the format */
#define SHARDS_MAX 4096
#define SINGLE     "model.safetensors"
#define INDEX      "model.safetensors.index.json"

/* What is read of a folder, until all of it is known to fit together. */
struct reading {
    struct tensors *t;
    const struct folder *folder;
    struct arena *arena;
    const json_t *map; /* tensor -> file, of the index; NULL: there is one file */
    const char **name; /* (n_files), in the arena */
    json_t **header;   /* (n_files), in the arena; each owned */
    uint64_t *data;    /* (n_files), in the arena: where the tensors begin */
    int32_t n_files;
    struct err *err;
};

/* ---- Which files */

/* The files of the index in the order in which it first names them. */
static int32_t list_shards(struct reading *r)
{
    struct hash seen;
    const char *tensor;
    json_t *file;
    size_t n = json_object_size(r->map);

    r->name = arena_take_array(r->arena, MIN(n, (size_t)SHARDS_MAX), sizeof *r->name);
    if (!r->name || !hash_init(&seen, r->arena, SHARDS_MAX))
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for the names of files");
    json_object_foreach((json_t *)(uintptr_t)r->map, tensor, file)
    {
        const char *name = json_string_value(file);
        char shown[SHOWN_TEXT];
        if (!name || strlen(name) != json_string_length(file))
            return err_set(r->err, INFLIGHT_E_MODEL, INDEX ": tensor %s: is not given a file",
                           shown_text((struct str){tensor, strlen(tensor)}, shown));
        if (hash_find(&seen, name, strlen(name), -1) >= 0)
            continue;
        if (r->n_files == SHARDS_MAX)
            return err_set(r->err, INFLIGHT_E_MODEL, INDEX ": names more than %d files",
                           SHARDS_MAX);
        const char *copy = arena_copy_text(r->arena, name, strlen(name));
        if (!copy)
            return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for the name of a file");
        r->name[r->n_files] = copy;
        (void)hash_put(&seen, copy, strlen(copy), r->n_files++);
    }
    if (!r->n_files)
        return err_set(r->err, INFLIGHT_E_MODEL, INDEX ": weight_map names no tensor");
    return INFLIGHT_OK;
}

/* The one file, for folders that have it: it comes first in Hugging Face's code, too. */
static int32_t take_single(struct reading *r)
{
    r->name = arena_take_array(r->arena, 1, sizeof *r->name);
    if (!r->name)
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for the name of a file");
    r->name[0] = SINGLE;
    r->n_files = 1;
    return INFLIGHT_OK;
}

/* *index: the object that map is in, owned by the caller. */
static int32_t find_files(struct reading *r, json_t **index)
{
    if (folder_has(r->folder, SINGLE))
        return take_single(r);
    if (!folder_has(r->folder, INDEX))
        return err_set(r->err, INFLIGHT_E_MODEL,
                       "%s: has neither " SINGLE " nor " INDEX ": weights in other files are not "
                       "served",
                       folder_shown(r->folder));
    *index = folder_json(r->folder, INDEX, false, r->err);
    if (!*index)
        return r->err->code;
    r->map = json_object_get(*index, "weight_map");
    if (!json_is_object(r->map))
        return err_set(r->err, INFLIGHT_E_MODEL, INDEX ": weight_map is missing");
    return list_shards(r);
}

/* ---- Headers */

/* The header's text; *data is where the tensors begin. */
static const char *view_header(const struct file *file, uint64_t *data, struct buf *scratch,
                               struct err *err)
{
    if (file->bytes < 8) {
        (void)err_set(err, INFLIGHT_E_MODEL, "%s: has %" PRIu64 " bytes, a header takes more",
                      file->path, file->bytes);
        return NULL;
    }
    const uint8_t *length = file_view(file, 0, 8, scratch, err);
    uint64_t n = 0;
    for (int i = 7; length && i >= 0; i--)
        n = n << 8 | length[i];
    if (length && (n > HEADER_MAX || n > file->bytes - 8)) {
        (void)err_set(err, INFLIGHT_E_MODEL,
                      "%s: says that its header has %" PRIu64 " bytes, but the file has %" PRIu64
                      " and at most %" PRIu64 " are read",
                      file->path, n, file->bytes, HEADER_MAX);
        return NULL;
    }
    *data = 8 + n;
    return length ? file_view(file, 8, (size_t)n, scratch, err) : NULL;
}

static int32_t read_header(struct reading *r, int32_t i)
{
    struct file *file = &r->t->file[i];
    struct buf scratch;
    if (folder_file(r->folder, r->name[i], file, r->err))
        return r->map ? err_prefix(r->err, INDEX) : r->err->code;
    r->t->n_files = i + 1;
    buf_init(&scratch, r->arena->mem);
    const char *text = view_header(file, &r->data[i], &scratch, r->err);
    if (text)
        r->header[i] = json_object_of(file, text, (size_t)r->data[i] - 8, r->err);
    buf_release(&scratch);
    return r->header[i] ? INFLIGHT_OK : r->err->code;
}

static int32_t read_headers(struct reading *r)
{
    size_t n = (size_t)r->n_files;
    r->t->file = arena_take_array(r->arena, n, sizeof *r->t->file);
    r->header = arena_take_array(r->arena, n, sizeof(json_t *));
    r->data = arena_take_array(r->arena, n, sizeof *r->data);
    if (!r->t->file || !r->header || !r->data)
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for %zu headers", n);
    for (int32_t i = 0; i < r->n_files; i++)
        if (read_header(r, i))
            return r->err->code;
    return INFLIGHT_OK;
}

/* ---- Tensors */

static const struct {
    const char *name;
    int32_t bits;
    enum dtype dtype;
    enum fmt fmt;
} dtypes[] = {
    {"F32", 32, DTYPE_F32, FMT_f32},
    {"F16", 16, DTYPE_F16, FMT_f16},
    {"BF16", 16, DTYPE_BF16, FMT_bf16},
    {"F8_E4M3", 8, DTYPE_F8_E4M3, FMT_COUNT},
    {"I8", 8, DTYPE_I8, FMT_COUNT},
    {"U8", 8, DTYPE_U8, FMT_COUNT},
    {"I32", 32, DTYPE_I32, FMT_COUNT},
    {"I64", 64, DTYPE_I64, FMT_COUNT},
    {"BOOL", 8, DTYPE_OTHER, FMT_COUNT},
    {"F4", 4, DTYPE_OTHER, FMT_COUNT},
    {"F6_E2M3", 6, DTYPE_OTHER, FMT_COUNT},
    {"F6_E3M2", 6, DTYPE_OTHER, FMT_COUNT},
    {"F8_E5M2", 8, DTYPE_OTHER, FMT_COUNT},
    {"F8_E8M0", 8, DTYPE_OTHER, FMT_COUNT},
    {"F8_E4M3FNUZ", 8, DTYPE_OTHER, FMT_COUNT},
    {"F8_E5M2FNUZ", 8, DTYPE_OTHER, FMT_COUNT},
    {"I16", 16, DTYPE_OTHER, FMT_COUNT},
    {"U16", 16, DTYPE_OTHER, FMT_COUNT},
    {"U32", 32, DTYPE_OTHER, FMT_COUNT},
    {"F64", 64, DTYPE_OTHER, FMT_COUNT},
    {"U64", 64, DTYPE_OTHER, FMT_COUNT},
    {"C64", 64, DTYPE_OTHER, FMT_COUNT},
};

/* *bits of one number; 0: the type is not known. */
static void read_dtype(struct tensor *t, const json_t *name, int32_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < COUNT_OF(dtypes); i++)
        if (json_is_string(name) && strcmp(json_string_value(name), dtypes[i].name) == 0) {
            t->dtype = dtypes[i].dtype;
            t->fmt = dtypes[i].fmt;
            *bits = dtypes[i].bits;
        }
}

/* The outermost dimension comes first in the header. *count: numbers in all; false if a dimension
 * is no count, or they are more than there can be. */
static bool read_shape(struct tensor *t, const json_t *shape, uint64_t *count)
{
    size_t n = json_array_size(shape);
    *count = 1;
    t->n_dims = (int32_t)n;
    for (size_t i = 0; i < COUNT_OF(t->dim); i++)
        t->dim[i] = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        int64_t extent = json_integer_value(dim);
        if (!json_is_integer(dim) || extent < 0 ||
            (extent > 0 && *count > (uint64_t)INT64_MAX / 64 / (uint64_t)extent))
            return false;
        t->dim[n - 1 - i] = extent;
        *count *= (uint64_t)extent;
    }
    return true;
}

/* Of the file, made absolute; false if it is none, or not in the file. */
static bool read_place(struct tensor *t, const json_t *offsets, const struct file *file,
                       uint64_t data)
{
    const json_t *first = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    int64_t from = json_integer_value(first), to = json_integer_value(end);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(end) ||
        from < 0 || to < from || (uint64_t)to > file->bytes - data)
        return false;
    t->offset = data + (uint64_t)from;
    t->bytes = (uint64_t)(to - from);
    return true;
}

/* One entry of a header; its name is copied. */
static int32_t read_tensor(struct reading *r, struct tensor *t, const char *name,
                           const json_t *entry)
{
    const struct file *file = &r->t->file[t->file];
    const json_t *shape = json_object_get(entry, "shape");
    uint64_t count;
    int32_t bits;
    char shown[SHOWN_TEXT];

    t->name = (struct str){arena_copy_text(r->arena, name, strlen(name)), strlen(name)};
    if (!t->name.ptr)
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for the name of a tensor");
    (void)shown_text(t->name, shown);
    read_dtype(t, json_object_get(entry, "dtype"), &bits);
    if (!bits)
        return err_set(r->err, INFLIGHT_E_MODEL, "%s: tensor %s: its dtype is not known",
                       file->path, shown);
    if (!json_is_array(shape) || json_array_size(shape) > COUNT_OF(t->dim))
        return err_set(r->err, INFLIGHT_E_MODEL, "%s: tensor %s: shape is no list of 0 to 5 sizes",
                       file->path, shown);
    if (!read_shape(t, shape, &count))
        return err_set(r->err, INFLIGHT_E_MODEL, "%s: tensor %s: its shape is impossible",
                       file->path, shown);
    if (!read_place(t, json_object_get(entry, "data_offsets"), file, r->data[t->file]))
        return err_set(r->err, INFLIGHT_E_MODEL,
                       "%s: tensor %s: data_offsets are not two places in the file's %" PRIu64
                       " bytes of data",
                       file->path, shown, file->bytes - r->data[t->file]);
    if (count * (uint64_t)bits != t->bytes * 8)
        return err_set(r->err, INFLIGHT_E_MODEL,
                       "%s: tensor %s: %" PRIu64 " numbers of %" PRId32
                       " bits do not take its %" PRIu64 " bytes",
                       file->path, shown, count, bits, t->bytes);
    return INFLIGHT_OK;
}

/* The index says of every tensor which file it is in, and of no other. */
static int32_t check_index(const struct reading *r, const char *name, int32_t file)
{
    const json_t *said = json_object_get(r->map, name);
    char shown[SHOWN_TEXT];
    if (!r->map || (said && strcmp(json_string_value(said), r->name[file]) == 0))
        return INFLIGHT_OK;
    (void)shown_text((struct str){name, strlen(name)}, shown);
    if (!said)
        return err_set(r->err, INFLIGHT_E_MODEL, "tensor %s of %s is not in " INDEX, shown,
                       r->name[file]);
    return err_set(r->err, INFLIGHT_E_MODEL, "tensor %s is in %s, but in %s according to " INDEX,
                   shown, r->name[file], json_string_value(said));
}

static int32_t read_tensors(struct reading *r, int32_t file)
{
    const char *name;
    json_t *entry;
    json_object_foreach(r->header[file], name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct tensor *t = &r->t->tensor[r->t->n];
        t->file = file;
        if (read_tensor(r, t, name, entry) || check_index(r, name, file))
            return r->err->code;
        r->t->n++;
    }
    return INFLIGHT_OK;
}

/* After all headers: whatever the index names must have been found. */
static int32_t check_found(const struct reading *r)
{
    const char *name;
    json_t *file;
    char shown[SHOWN_TEXT];
    json_object_foreach((json_t *)(uintptr_t)r->map, name, file)
    {
        if (!tensors_find(r->t, name))
            return err_set(
                r->err, INFLIGHT_E_MODEL, "tensor %s is not in %s, where " INDEX " has it",
                shown_text((struct str){name, strlen(name)}, shown), json_string_value(file));
    }
    return INFLIGHT_OK;
}

static int32_t say_gap(const struct reading *r, const struct tensor *t, uint64_t end)
{
    char shown[SHOWN_TEXT];
    uint64_t data = r->data[t->file];
    return err_set(r->err, INFLIGHT_E_MODEL,
                   "%s: tensor %s begins at %" PRIu64 " of the data, the one before it ends at "
                   "%" PRIu64,
                   r->t->file[t->file].path, shown_text(t->name, shown), t->offset - data,
                   end - data);
}

/* Each file's tensors stand one behind the other, from the first byte of its data to the last. */
static int32_t check_layout(const struct reading *r)
{
    const struct tensor **order = tensors_by_place(r->t, r->arena);
    uint64_t i = 0;
    if (!order)
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory to sort %" PRIu64 " tensors", r->t->n);
    for (int32_t file = 0; file < r->n_files; file++) {
        uint64_t end = r->data[file];
        for (; i < r->t->n && order[i]->file == file; i++) {
            if (order[i]->offset != end)
                return say_gap(r, order[i], end);
            end += order[i]->bytes;
        }
        if (end != r->t->file[file].bytes)
            return err_set(r->err, INFLIGHT_E_MODEL,
                           "%s: its last %" PRIu64 " bytes are of no tensor", r->t->file[file].path,
                           r->t->file[file].bytes - end);
    }
    return INFLIGHT_OK;
}

static int32_t read_folder(struct reading *r)
{
    size_t n = 0;
    if (read_headers(r))
        return r->err->code;
    for (int32_t i = 0; i < r->n_files; i++)
        n += json_object_size(r->header[i]);
    r->t->tensor = arena_take_array(r->arena, n, sizeof *r->t->tensor);
    if (!r->t->tensor)
        return err_set(r->err, INFLIGHT_E_NOMEM, "no memory for %zu tensors", n);
    for (int32_t i = 0; i < r->n_files; i++)
        if (read_tensors(r, i))
            return r->err->code;
    if (tensors_index(r->t, r->arena, r->err) || check_found(r) || check_layout(r))
        return r->err->code;
    return INFLIGHT_OK;
}

int32_t safetensors_open(struct tensors *t, const struct folder *folder, struct arena *arena,
                         struct err *err)
{
    struct reading r = {.t = t, .folder = folder, .arena = arena, .err = err};
    json_t *index = NULL;
    *t = (struct tensors){.naming = NAMING_HUGGING_FACE};
    int32_t rc = find_files(&r, &index);
    if (!rc)
        rc = read_folder(&r);
    for (int32_t i = 0; r.header && i < r.n_files; i++)
        json_decref(r.header[i]);
    json_decref(index);
    return rc;
}
