/* Values of the template interpreter. Values are immutable and live in the arena of
 * one rendering (constants: of the program), so copying a struct value is a copy.
 *
 * Every string carries the origin of its bytes: either all the same (trusted), or one
 * mark per byte. Numbers and the rest carry it as a whole, for when they are printed.
 * What is put together from several values is trusted where its parts are. */
#pragma once

#include "../../base/base.h"

struct builtin;
struct dict;
struct list;
struct loop;
struct macro;
struct run;
struct value;

enum value_kind {
    VALUE_ABSENT, /* an argument that was not given; never a value of a template */
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_DICT,
    VALUE_NAMESPACE, /* the one thing that changes: {% set ns.x = ... %} */
    VALUE_LOOP,
    VALUE_MACRO,
    VALUE_FUNCTION,
    VALUE_METHOD, /* a method with its receiver */
};

struct value {
    uint8_t kind;
    bool trusted; /* strings with marks: not used */
    uint32_t len; /* VALUE_STRING, VALUE_UNDEFINED: bytes */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text; /* UTF-8; VALUE_UNDEFINED: the name that was looked for */
        struct list *list;
        struct dict *dict;
        struct loop *loop;
        const struct macro *macro;
        const struct builtin *function;
        const struct method *method;
    } as;
    const uint8_t *mark; /* VALUE_STRING: (len) 1 trusted, 0 not; NULL: all as trusted says */
};

/* Grows while it is being made, not afterwards. */
struct list {
    struct value *item; /* (n) */
    size_t n, cap;
};

/* Keys in the order they were put; never more than a person would write, so lookups
 * are linear and paid for in steps. */
struct dict {
    struct value *key, *value; /* (n) */
    size_t n, cap;
};

struct method {
    const struct builtin *function;
    struct value receiver;
};

struct value value_bool(bool truth, bool trusted);
struct value value_int(int64_t integer, bool trusted);
struct value value_real(double real, bool trusted);
struct value value_text(const char *text, size_t len, bool trusted);
struct value value_undefined(struct str name); /* what was looked for, outlives the run */
struct value value_literal(const char *text);  /* NUL-terminated, trusted, outlives the run */

bool value_is_number(const struct value *v); /* also a bool, as in Python */
bool value_is_list(const struct value *v);   /* list or tuple */
bool value_truth(const struct value *v);
const char *value_kind_name(const struct value *v);

/* Whether all bytes of a string, or the value as a whole, are trusted. */
bool value_is_trusted(const struct value *v);

/* What can fail says so with false and has written the run's error. */
bool value_equal(struct run *run, const struct value *a, const struct value *b, bool *equal);
bool value_order(struct run *run, const struct value *a, const struct value *b, int *order);
bool value_contains(struct run *run, const struct value *all, const struct value *one, bool *found);
bool value_len(struct run *run, const struct value *v, struct value *len);

/* The items to iterate over: of a list itself, of a dict its keys, of a string its
 * characters, of an undefined nothing. */
bool value_items(struct run *run, const struct value *v, const struct list **items);

bool list_make(struct run *run, struct value *list, uint8_t kind, size_t cap);
bool list_push(struct run *run, struct value *list, struct value item);

bool dict_make(struct run *run, struct value *dict, size_t cap);
/* Replaces the value of a key that is there. */
bool dict_put(struct run *run, struct value *dict, struct value key, struct value value);
/* *value is absent if the key is not there. */
bool dict_find(struct run *run, const struct dict *dict, const struct value *key,
               struct value *value);
