/* What matrices become, by the word of --recipe, and how compressed-tensors names it. */
#pragma once

#include "../encode.h"

#include <jansson.h>

struct recipe {
    const char *name;
    enum fmt fmt;       /* in the largest groups, see quantize_fmt */
    const char *format; /* of compressed-tensors */
    const char *what;   /* for people */
};

/* NULL: there is none of that name. */
const struct recipe *recipe_find(const char *name);
extern const struct recipe recipes[]; /* ends with a NULL name */

/* The format of rows of K values where fmt is wished for: int4 in the largest groups that they
 * consist of; FMT_COUNT: there is none. */
enum fmt recipe_fmt(enum fmt fmt, int64_t K);

/* How its matrices are rounded. */
enum method {
    METHOD_RTN,  /* each value to the nearest of a grid that fits the group */
    METHOD_AWQ,  /* with columns scaled by how large inputs are, see quantize_awq.h */
    METHOD_GPTQ, /* errors passed on to columns that are not rounded yet, see quantize_gptq.h */
    METHODS
};
const char *method_name(int32_t method);
int32_t method_find(const char *name); /* METHODS: there is none of that name */

/* The scheme of one format: an object of quantization_config's config_groups, without targets. */
json_t *recipe_scheme(enum fmt fmt, bool is_symmetric);
