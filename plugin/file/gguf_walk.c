/* Reads GGUF entries one by one and never past the bytes at hand. Nothing here trusts
 * a count or a length before it has been held against the bytes that remain. */
#include "gguf_walk.h"

#include <inttypes.h>
#include <string.h>

#define KEY_BYTES_MAX  65535 /* both limits are the format's own */
#define NAME_BYTES_MAX 64
#define DIMS_MAX       4

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is read by copying its words");

static const uint8_t scalar_bytes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

size_t gguf_scalar_bytes(enum gguf_type type)
{
    return scalar_bytes[type];
}

/* The next n bytes, or a failure: the file ends before, the header grows too long, or
 * more of the file has to be fetched. */
static int32_t take(struct walk *w, uint64_t n, const uint8_t **out)
{
    if (n > w->file_bytes - w->at)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "%" PRIu64 " bytes are expected at %zu, but the file ends at %" PRIu64, n,
                       w->at, w->file_bytes);
    if (w->at + n > GGUF_HEADER_MAX)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "%" PRIu64 " bytes at %zu are past %" PRIu64
                       ", the longest header that is read",
                       n, w->at, GGUF_HEADER_MAX);
    if (n > w->n - w->at) {
        w->need = (size_t)(w->at + n);
        return err_set(w->err, INFLIGHT_E_IO,
                       "the header goes on to byte %zu at least, only %zu are there", w->need,
                       w->n);
    }
    *out = w->bytes + w->at;
    w->at += (size_t)n;
    return INFLIGHT_OK;
}

static int32_t take_u32(struct walk *w, uint32_t *out)
{
    const uint8_t *p;
    int32_t rc = take(w, sizeof *out, &p);
    if (rc == INFLIGHT_OK)
        memcpy(out, p, sizeof *out);
    return rc;
}

static int32_t take_u64(struct walk *w, uint64_t *out)
{
    const uint8_t *p;
    int32_t rc = take(w, sizeof *out, &p);
    if (rc == INFLIGHT_OK)
        memcpy(out, p, sizeof *out);
    return rc;
}

/* A string: its length word, then its bytes. */
static int32_t take_string(struct walk *w, struct str *out)
{
    uint64_t len;
    const uint8_t *p;
    int32_t rc = take_u64(w, &len);
    if (rc == INFLIGHT_OK)
        rc = take(w, len, &p);
    if (rc == INFLIGHT_OK)
        *out = (struct str){(const char *)p, (size_t)len};
    return rc;
}

/* A string of 1 .. max bytes: a key, or a tensor's name. The length is judged before
 * the bytes are asked for, so that a wild one is reported as what it is. */
static int32_t take_name(struct walk *w, uint64_t max, struct str *out)
{
    size_t start = w->at;
    uint64_t len;
    int32_t rc = take_u64(w, &len);
    if (rc != INFLIGHT_OK)
        return rc;
    if (len < 1 || len > max)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "its name has %" PRIu64 " bytes, 1 to %" PRIu64 " are allowed", len, max);
    w->at = start;
    return take_string(w, out);
}

/* Refuses a count whose items, of at least item_bytes each, cannot be in the file. */
static int32_t check_count(struct walk *w, const char *what, uint64_t n, uint64_t item_bytes)
{
    uint64_t left = w->file_bytes - w->at;
    if (n > left / item_bytes)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "%" PRIu64 " %s cannot be in the %" PRIu64 " bytes that follow", n, what,
                       left);
    return INFLIGHT_OK;
}

static int32_t check_version(struct walk *w, uint32_t version)
{
    if (version == 2 || version == 3)
        return INFLIGHT_OK;
    if (version == 1)
        return err_set(w->err, INFLIGHT_E_UNSUPPORTED,
                       "is a GGUF file of version 1; versions 2 and 3 are read");
    if (version != 0 && (version & 0xffffu) == 0)
        return err_set(w->err, INFLIGHT_E_UNSUPPORTED,
                       "is a big-endian GGUF file; only little-endian ones are read");
    return err_set(w->err, INFLIGHT_E_UNSUPPORTED,
                   "is a GGUF file of version %" PRIu32 "; versions 2 and 3 are read", version);
}

static int32_t check_entries(struct walk *w, const char *what, uint64_t n, uint64_t item_bytes)
{
    if (n > GGUF_ENTRIES_MAX)
        return err_set(w->err, INFLIGHT_E_MODEL, "declares %" PRIu64 " %s, at most %d are read", n,
                       what, GGUF_ENTRIES_MAX);
    return check_count(w, what, n, item_bytes);
}

int32_t walk_prologue(struct walk *w, struct gguf *g)
{
    const uint8_t *magic;
    int32_t rc = take(w, 4, &magic);
    if (rc != INFLIGHT_OK)
        return rc;
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "is not a GGUF file: it begins with %02x %02x %02x %02x", magic[0], magic[1],
                       magic[2], magic[3]);
    rc = take_u32(w, &g->version);
    if (rc == INFLIGHT_OK)
        rc = check_version(w, g->version);
    if (rc == INFLIGHT_OK)
        rc = take_u64(w, &g->tensors.n);
    if (rc == INFLIGHT_OK)
        rc = take_u64(w, &g->n_values);
    /* The shortest key: length, one byte, type, one byte of value. The shortest tensor:
     * length, one byte, number of dimensions, one dimension, type, offset. */
    if (rc == INFLIGHT_OK)
        rc = check_entries(w, "keys", g->n_values, 8 + 1 + 4 + 1);
    if (rc == INFLIGHT_OK)
        rc = check_entries(w, "tensors", g->tensors.n, 8 + 1 + 4 + 8 + 4 + 8);
    return rc;
}

static int32_t take_type(struct walk *w, const char *what, enum gguf_type *out)
{
    uint32_t type;
    int32_t rc = take_u32(w, &type);
    if (rc != INFLIGHT_OK)
        return rc;
    if (type >= GGUF_TYPE_COUNT)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "%s type %" PRIu32 " is unknown, the last one is %d", what, type,
                       GGUF_TYPE_COUNT - 1);
    *out = (enum gguf_type)type;
    return INFLIGHT_OK;
}

/* Kind and number of an array's elements. */
static int32_t walk_array_head(struct walk *w, struct gguf_value *value)
{
    int32_t rc = take_type(w, "element", &value->element);
    if (rc == INFLIGHT_OK)
        rc = take_u64(w, &value->n);
    if (rc != INFLIGHT_OK)
        return rc;
    if (value->element == GGUF_ARRAY)
        return err_set(w->err, INFLIGHT_E_UNSUPPORTED, "is an array of arrays");
    size_t item_bytes = value->element == GGUF_STRING ? 8 : scalar_bytes[value->element];
    return check_count(w, "elements", value->n, item_bytes);
}

/* Passes as many of n strings as lie whole in the bytes at hand, which are usually all:
 * vocabularies are most of a header. Returns how many; the next one, if there is one, is for
 * take_string to judge. Where string_at is given, their places are counted from w->at. */
static uint64_t skip_strings(struct walk *w, uint64_t n, uint64_t *string_at)
{
    const size_t start = w->at, end = (size_t)MIN((uint64_t)w->n, GGUF_HEADER_MAX);
    uint64_t i = 0;
    for (size_t at = start; i < n && at <= end && end - at >= sizeof(uint64_t); i++) {
        uint64_t len;
        memcpy(&len, w->bytes + at, sizeof len);
        if (len > end - at - sizeof len)
            break;
        if (string_at)
            string_at[i] = at - start;
        w->at = at += sizeof len + (size_t)len;
    }
    return i;
}

/* n strings in a row, whose count has been checked. */
static int32_t walk_strings(struct walk *w, struct gguf_value *value, struct arena *arena)
{
    uint64_t *string_at = NULL;
    size_t start = w->at;

    if (arena) {
        string_at = arena_take_array(arena, value->n, sizeof *string_at);
        if (!string_at)
            return err_set(w->err, INFLIGHT_E_NOMEM, "no memory to index %" PRIu64 " strings",
                           value->n);
    }
    for (uint64_t i = skip_strings(w, value->n, string_at); i < value->n; i++) {
        size_t at = w->at;
        struct str string;
        int32_t rc = take_string(w, &string);
        if (rc != INFLIGHT_OK) {
            (void)err_prefix(w->err, "string %" PRIu64 " of %" PRIu64, i + 1, value->n);
            return rc;
        }
        if (string_at)
            string_at[i] = at - start;
    }
    value->string_at = string_at;
    return INFLIGHT_OK;
}

static int32_t walk_scalars(struct walk *w, const struct gguf_value *value)
{
    const uint8_t *p;
    int32_t rc = take(w, value->n * scalar_bytes[value->element], &p);
    if (rc != INFLIGHT_OK || value->element != GGUF_BOOL)
        return rc;
    for (uint64_t i = 0; i < value->n; i++)
        if (p[i] > 1)
            return err_set(w->err, INFLIGHT_E_MODEL, "has a truth value of %d, not 0 or 1", p[i]);
    return INFLIGHT_OK;
}

/* Type and value, after the key. For a scalar, element is its own type meanwhile, so
 * that it reads like an array of one. */
static int32_t walk_value_body(struct walk *w, struct gguf_value *value, struct arena *arena)
{
    int32_t rc = take_type(w, "value", &value->type);
    if (rc != INFLIGHT_OK)
        return rc;
    value->element = value->type;
    value->n = 1;
    if (value->type == GGUF_ARRAY)
        rc = walk_array_head(w, value);
    if (rc != INFLIGHT_OK)
        return rc;
    value->data = w->bytes + w->at;
    if (value->type == GGUF_STRING) {
        struct str string;
        return take_string(w, &string);
    }
    return value->element == GGUF_STRING ? walk_strings(w, value, arena) : walk_scalars(w, value);
}

int32_t walk_value(struct walk *w, struct gguf_value *value, struct arena *arena)
{
    char shown[SHOWN_TEXT];

    *value = (struct gguf_value){.n = 0};
    int32_t rc = take_name(w, KEY_BYTES_MAX, &value->key);
    if (rc != INFLIGHT_OK)
        return rc;
    rc = walk_value_body(w, value, arena);
    if (rc != INFLIGHT_OK)
        (void)err_prefix(w->err, "%s", shown_text(value->key, shown));
    return rc;
}

/* The dimensions and *n, their product. */
static int32_t walk_dims(struct walk *w, struct tensor *tensor, int64_t *n)
{
    uint32_t n_dims;
    int32_t rc = take_u32(w, &n_dims);
    if (rc != INFLIGHT_OK)
        return rc;
    if (n_dims < 1 || n_dims > DIMS_MAX)
        return err_set(w->err, INFLIGHT_E_MODEL, "has %" PRIu32 " dimensions, 1 to 4 are allowed",
                       n_dims);
    tensor->n_dims = (int32_t)n_dims;
    *n = 1;
    for (uint32_t i = 0; i < COUNT_OF(tensor->dim); i++) {
        uint64_t dim = 1;
        if (i < n_dims && (rc = take_u64(w, &dim)) != INFLIGHT_OK)
            return rc;
        if (dim < 1 || dim > INT64_MAX)
            return err_set(w->err, INFLIGHT_E_MODEL,
                           "dimension %" PRIu32 " is %" PRIu64 ", which no tensor can have", i,
                           dim);
        tensor->dim[i] = (int64_t)dim;
        if (__builtin_mul_overflow(*n, tensor->dim[i], n))
            return err_set(w->err, INFLIGHT_E_MODEL,
                           "has more values than 64 bits can count, with dimension %" PRIu32
                           " of %" PRIu64,
                           i, dim);
    }
    return INFLIGHT_OK;
}

/* The format, and from it the bytes of n values in whole rows. */
static int32_t walk_format(struct walk *w, struct tensor *tensor, int64_t n)
{
    uint32_t type;
    int32_t rc = take_u32(w, &type);
    if (rc != INFLIGHT_OK)
        return rc;
    tensor->fmt = fmt_of_gguf(type);
    if (tensor->fmt == FMT_COUNT)
        return err_set(w->err, INFLIGHT_E_UNSUPPORTED,
                       "is of GGUF tensor type %" PRIu32 ", which this build does not read", type);
    const struct fmt_info *info = &fmt_info[tensor->fmt];
    if (tensor->dim[0] % info->n != 0)
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "has rows of %" PRId64 " values, not a multiple of the %" PRId32
                       " in a block of %s",
                       tensor->dim[0], info->n, info->name);
    if (__builtin_mul_overflow((uint64_t)(n / info->n), (uint64_t)info->bytes, &tensor->bytes))
        return err_set(w->err, INFLIGHT_E_MODEL,
                       "has %" PRId64 " values of %s, more bytes than 64 bits can count", n,
                       info->name);
    return INFLIGHT_OK;
}

int32_t walk_tensor(struct walk *w, struct tensor *tensor)
{
    char shown[SHOWN_TEXT];
    int64_t n = 0;

    *tensor = (struct tensor){.n_dims = 0};
    int32_t rc = take_name(w, NAME_BYTES_MAX, &tensor->name);
    if (rc != INFLIGHT_OK)
        return rc;
    rc = walk_dims(w, tensor, &n);
    if (rc == INFLIGHT_OK)
        rc = walk_format(w, tensor, n);
    if (rc == INFLIGHT_OK)
        rc = take_u64(w, &tensor->offset);
    if (rc != INFLIGHT_OK)
        (void)err_prefix(w->err, "%s", shown_text(tensor->name, shown));
    return rc;
}
