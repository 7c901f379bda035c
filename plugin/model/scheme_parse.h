/* What the readers of quantization_config share: typed values of an object, and rules. Each failure
 * is a sentence with the file, the key and what is served. */
#pragma once

#include "scheme.h"

enum match {
    MATCH_NAME,    /* the module's name */
    MATCH_PART,    /* some of its components in a row, "mlp.gate" or "lm_head" */
    MATCH_GLOB,    /* the name or what it is part of, with * for any characters */
    MATCH_PATTERN, /* a regular expression that matches from the name's first character on */
    MATCH_CLASS    /* the module's class */
};

struct scheme_rule {
    enum match match;
    const char *text;             /* in the arena */
    struct pcre2_real_code_8 *re; /* owned, of MATCH_PATTERN */
    struct storage storage;       /* CODES_NONE: left alone */
};

/* An object of JSON under way. */
struct scheme_reader {
    struct scheme *scheme;
    struct arena *arena;
    struct err *err;
};

/* Most columns or rows that share a scale. */
#define SCHEME_GROUP_MOST (1 << 20)

/* INFLIGHT_E_UNSUPPORTED with "<file>: quant_method <method>: " before the sentence. */
int32_t scheme_refuse(const struct scheme_reader *r, const char *format, ...) PRINTF_LIKE(2, 3);

/* A key that may be missing or null, which leaves *value as it is. */
int32_t scheme_integer(const struct scheme_reader *r, const json_t *object, const char *key,
                       int32_t *value);
int32_t scheme_bool(const struct scheme_reader *r, const json_t *object, const char *key,
                    bool *value);
int32_t scheme_text(const struct scheme_reader *r, const json_t *object, const char *key,
                    const char **value);
/* An array of texts or an object; *value: NULL if it is missing. */
int32_t scheme_texts(const struct scheme_reader *r, const json_t *object, const char *key,
                     const json_t **value);
int32_t scheme_object(const struct scheme_reader *r, const json_t *object, const char *key,
                      const json_t **value);

/* Room for n more rules. */
int32_t scheme_room(const struct scheme_reader *r, size_t n);
int32_t scheme_add(const struct scheme_reader *r, enum match match, const char *text,
                   const struct storage *storage);
/* Each module of the array, which may be NULL, is left alone. */
int32_t scheme_add_ignored(const struct scheme_reader *r, const json_t *texts, enum match match);

/* Each reads the object of one or more methods. */
int32_t scheme_parse_compressed(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_awq(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_gptq(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_fp8(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_fbgemm(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_modelopt(const struct scheme_reader *r, const json_t *object);
int32_t scheme_parse_mxfp4(const struct scheme_reader *r, const json_t *object);
