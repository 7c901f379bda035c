/* GGUF v2 and v3: keys and the tensor directory. Little-endian files only.
 * Everything is checked here once: counts, lengths, types, alignment, that every
 * tensor lies inside the file and that none overlap. Format: ggml's docs/gguf.md. */
#pragma once

#include "tensors.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

/* A key's value. data points to it, or to the first element, in the header bytes:
 * unaligned, and a string with its length word before it. */
struct gguf_value {
    struct str key;
    enum gguf_type type;
    enum gguf_type element; /* of an array; type otherwise */
    uint64_t n;             /* elements of an array; 1 otherwise */
    const uint8_t *data;
    const uint64_t *string_at; /* (n) for arrays of strings: their length words, from data */
};

struct gguf {
    uint32_t version;
    uint32_t alignment;
    uint64_t n_values;
    struct gguf_value *value; /* (n_values) in file order */
    struct hash by_key;
    struct tensors tensors; /* without the file */
    uint64_t data_offset;   /* where tensor data begins */
};

/* Reads and checks the header of an open file. All memory, a copy of the header bytes
 * included, is the arena's: the file may be closed while g is used. */
int32_t gguf_open(struct gguf *g, const struct file *file, struct arena *arena, struct err *err);

/* The pure parser: the first n bytes of a file of file_bytes. If the header does not
 * end within them, returns INFLIGHT_E_IO with *need set to a length worth trying
 * (<= file_bytes); otherwise *need is 0. bytes must outlive g. */
int32_t gguf_parse(struct gguf *g, const uint8_t *bytes, size_t n, uint64_t file_bytes,
                   struct arena *arena, size_t *need, struct err *err);

/* NULL if there is none. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);

/* Typed reads; false if the key is missing or of another kind. Integers of every width
 * and sign convert when the value fits. */
bool gguf_int(const struct gguf *g, const char *key, int64_t *out);
bool gguf_float(const struct gguf *g, const char *key, double *out); /* f32, f64, integers */
bool gguf_bool(const struct gguf *g, const char *key, bool *out);
bool gguf_str(const struct gguf *g, const char *key, struct str *out);

/* Whether it is there and a list of integers. */
bool gguf_is_integers(const struct gguf_value *value);

/* Elements of arrays, i < n. What is of another kind, or does not fit, reads as zero or
 * empty: callers look at element and n first. */
struct str gguf_str_at(const struct gguf_value *array, uint64_t i);
int64_t gguf_int_at(const struct gguf_value *array, uint64_t i);
double gguf_float_at(const struct gguf_value *array, uint64_t i);
