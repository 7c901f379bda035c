/* Filters, tests, methods and functions: rows of tables. Arguments are bound by
 * position or by name to the row's parameters before the function is called. */
#pragma once

#include "jinja_run.h"

enum { BUILTIN_ARGS = 6 }; /* the subject and five more */

/* arg: (BUILTIN_ARGS), [0] the subject of a filter or test or the receiver of a method;
 * what was not given is absent. */
typedef bool builtin_fn(struct run *run, const struct value *arg, struct value *out);

struct builtin {
    const char *name;
    builtin_fn *call;
    uint8_t required;                        /* arguments beyond the subject */
    bool variadic;                           /* a function that reads run.arguments itself */
    const char *parameter[BUILTIN_ARGS - 1]; /* names, NULL after the last */
};

/* Evaluated arguments: those by position first. */
struct arguments {
    struct value *value; /* (n) */
    uint32_t *keyword;   /* (n) atom, or NO_KEYWORD */
    size_t n;
};
#define NO_KEYWORD UINT32_MAX

struct builtin_table {
    const struct builtin *row;
    size_t n;
};

extern const struct builtin_table builtin_filters_text, builtin_filters_list,
    builtin_filters_number, builtin_tests;
extern const struct builtin_table builtin_methods_string, builtin_methods_list,
    builtin_methods_dict;
extern const struct builtin_table builtin_methods_loop, builtin_functions;

/* NULL if there is none. */
const struct builtin *builtin_find(const struct builtin_table *table, struct str name);
const struct builtin *builtin_filter(struct str name);

/* An argument that should be an integer, or default_value where it is absent or none. */
bool argument_int(struct run *run, const struct value *arg, int64_t default_value, int64_t *out);
/* As text, "" where it is absent. */
bool argument_text(struct run *run, const struct value *arg, struct value *out);

/* Evaluates argument nodes. */
bool call_arguments(struct run *run, const struct node *node, struct arguments *out);
/* subject: arg[0], may be NULL for functions, whose parameters then begin at arg[1]. */
bool call_builtin(struct run *run, const struct builtin *b, const struct value *subject,
                  const struct arguments *arguments, struct value *out);
/* Anything that can be called. */
bool call_value(struct run *run, const struct value *callee, const struct arguments *arguments,
                struct value *out);

/* map('upper') and select('defined'): a filter or test by name, on one item. */
bool call_filter(struct run *run, const struct value *name, const struct value *arg,
                 struct value *out);
bool call_test(struct run *run, const struct value *name, const struct value *arg, bool *out);

/* "a.b.0" of map(attribute=...) and its kin. otherwise: what stands for an undefined
 * part, absent or NULL if nothing does. */
bool call_path(struct run *run, const struct value *object, const struct value *path,
               const struct value *otherwise, struct value *out);

/* jinja_json.c: as json.dumps shows it. */
struct json_style {
    bool ascii, sort;
    int32_t indent; /* < 0: on one line */
    struct value item_separator, key_separator;
};
bool json_text(struct run *run, const struct value *v, const struct json_style *style,
               struct value *out);
struct text;
/* A number as repr() shows it. */
void text_put_real(struct text *text, double real, bool trusted);
