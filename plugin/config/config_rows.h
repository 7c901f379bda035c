/* Every key of the configuration is one row: its name, its type and range, the field
 * it fills, its default and a sentence about it. Parsing, "did you mean", printing,
 * and the tests of examples/inflight.yaml and its JSON Schema all read these rows. */
#pragma once

#include "config.h"

enum config_kind {
    CONFIG_VERSION, /* the integer 1; fills nothing */
    CONFIG_INT,     /* int32_t */
    CONFIG_LONG,    /* int64_t */
    CONFIG_FLOAT,   /* float */
    CONFIG_BOOL,    /* bool */
    CONFIG_SIZE,    /* uint64_t, bytes with an optional unit */
    CONFIG_SIZE_32, /* int32_t, the same */
    CONFIG_NAME,    /* int32_t, the index of one of names */
    CONFIG_WORD,    /* const char *, one of names */
    CONFIG_PATH,    /* const char *, in the arena; NULL: none */
    CONFIG_SEED,    /* sampling.seed, and sampling.has_seed is set */
};

#define CONFIG_NAMES 8 /* most names of a row */

struct config_row {
    const char *section; /* NULL: at the top level */
    const char *key;
    enum config_kind kind;
    size_t offset;     /* of the field in struct config */
    double min, max;   /* of numbers and sizes, both allowed */
    const char *unset; /* the default as YAML text; "": none; NULL: the key is required */
    const char *doc;   /* one sentence without its full stop */
    const char *const names[CONFIG_NAMES + 1]; /* NULL-terminated */
};

#define CONFIG_ROWS 37

/* In the order in which they are printed; the rows of a section stand together. */
extern const struct config_row config_rows[CONFIG_ROWS];
