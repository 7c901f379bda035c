/* What matrices become, by the word of --recipe, and how compressed-tensors names it. */
#pragma once

#include "../encode.h"

#include <jansson.h>

/* How matrices are rounded. */
enum method {
    METHOD_RTN,    /* each value to the nearest of a grid that fits the group */
    METHOD_AWQ,    /* with columns scaled by how large inputs are, see awq.h */
    METHOD_GPTQ,   /* errors passed on to columns that are not rounded yet, see gptq.h */
    METHOD_SMOOTH, /* with columns scaled so that inputs are easier to round, see smooth.h */
    METHODS
};
const char *method_name(int32_t method);
int32_t method_find(const char *name); /* METHODS: there is none of that name */

struct recipe {
    const char *name;
    enum fmt fmt;           /* in the largest groups, see recipe_fmt */
    bool is_static;         /* a scale a matrix, one for its inputs, and for keys and values */
    unsigned methods;       /* bits 1 << enum method: what it is served by */
    const char *format;     /* of compressed-tensors */
    const char *quant_algo; /* of ModelOpt, or NULL */
    const char *what;       /* for people */
};

/* NULL: there is none of that name. */
const struct recipe *recipe_find(const char *name);
extern const struct recipe recipes[]; /* ends with a NULL name */

/* The format of rows of K values where fmt is wished for: int4 in the largest groups that they
 * consist of; FMT_COUNT: they do not consist of its groups. */
enum fmt recipe_fmt(enum fmt fmt, int64_t K);

/* The scheme of one format: an object of quantization_config's config_groups, without targets. */
json_t *recipe_scheme(const struct recipe *recipe, enum fmt fmt, bool is_symmetric);

/* The same of int8 in words, whose activations are as they are. */
json_t *recipe_scheme_words(void);

/* What keys and values are, of a static recipe: an object. */
json_t *recipe_cache_scheme(void);
