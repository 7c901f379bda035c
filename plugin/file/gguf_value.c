/* Looking things up in a parsed header. The words lie unaligned in the header bytes and
 * are copied out one at a time. */
#include "gguf_walk.h"

#include <string.h>

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    int32_t i = hash_find(&g->by_key, key, strlen(key), -1);
    return i < 0 ? NULL : &g->value[i];
}

static uint64_t unsigned_at(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, p, bytes); /* little-endian: these are the low bytes */
    return value;
}

static int64_t signed_at(const uint8_t *p, size_t bytes)
{
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
    return (int64_t)((unsigned_at(p, bytes) ^ sign) - sign);
}

/* False: not an integer, or above INT64_MAX. */
static bool int_of(enum gguf_type type, const uint8_t *p, int64_t *out)
{
    size_t bytes = gguf_scalar_bytes(type);
    switch (type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        if (unsigned_at(p, bytes) > INT64_MAX)
            return false;
        *out = (int64_t)unsigned_at(p, bytes);
        return true;
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        *out = signed_at(p, bytes);
        return true;
    default:
        return false;
    }
}

/* False: not a number. */
static bool float_of(enum gguf_type type, const uint8_t *p, double *out)
{
    float single;
    int64_t integer;
    switch (type) {
    case GGUF_F32:
        memcpy(&single, p, sizeof single);
        *out = single;
        return true;
    case GGUF_F64:
        memcpy(out, p, sizeof *out);
        return true;
    case GGUF_U64:
        *out = (double)unsigned_at(p, sizeof(uint64_t));
        return true;
    default:
        if (!int_of(type, p, &integer))
            return false;
        *out = (double)integer;
        return true;
    }
}

/* A length word and the bytes after it; both were checked when the header was walked. */
static struct str string_of(const uint8_t *p)
{
    return (struct str){(const char *)p + 8, (size_t)unsigned_at(p, 8)};
}

bool gguf_int(const struct gguf *g, const char *key, int64_t *out)
{
    const struct gguf_value *value = gguf_find(g, key);
    return value && int_of(value->type, value->data, out);
}

bool gguf_float(const struct gguf *g, const char *key, double *out)
{
    const struct gguf_value *value = gguf_find(g, key);
    return value && float_of(value->type, value->data, out);
}

bool gguf_bool(const struct gguf *g, const char *key, bool *out)
{
    const struct gguf_value *value = gguf_find(g, key);
    if (!value || value->type != GGUF_BOOL)
        return false;
    *out = *value->data != 0;
    return true;
}

bool gguf_str(const struct gguf *g, const char *key, struct str *out)
{
    const struct gguf_value *value = gguf_find(g, key);
    if (!value || value->type != GGUF_STRING)
        return false;
    *out = string_of(value->data);
    return true;
}

bool gguf_is_integers(const struct gguf_value *value)
{
    int64_t integer;
    return value && value->type == GGUF_ARRAY && value->n &&
           int_of(value->element, value->data, &integer);
}

struct str gguf_str_at(const struct gguf_value *array, uint64_t i)
{
    if (array->type != GGUF_ARRAY || array->element != GGUF_STRING || i >= array->n)
        return (struct str){"", 0};
    return string_of(array->data + array->string_at[i]);
}

int64_t gguf_int_at(const struct gguf_value *array, uint64_t i)
{
    int64_t value = 0;
    if (array->type == GGUF_ARRAY && i < array->n)
        (void)int_of(array->element, array->data + i * gguf_scalar_bytes(array->element), &value);
    return value;
}

double gguf_float_at(const struct gguf_value *array, uint64_t i)
{
    double value = 0;
    if (array->type == GGUF_ARRAY && i < array->n)
        (void)float_of(array->element, array->data + i * gguf_scalar_bytes(array->element), &value);
    return value;
}
