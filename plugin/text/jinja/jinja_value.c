/* Values: making them, comparing them, looking into them. What can take long or go deep
 * pays steps and enters a level. */
#include "jinja_value.h"

#include "jinja_run.h"
#include "jinja_string.h"

#include <math.h>
#include <string.h>

struct value value_bool(bool truth, bool trusted)
{
    return (struct value){.kind = VALUE_BOOL, .trusted = trusted, .as.truth = truth};
}

struct value value_int(int64_t integer, bool trusted)
{
    return (struct value){.kind = VALUE_INT, .trusted = trusted, .as.integer = integer};
}

struct value value_real(double real, bool trusted)
{
    return (struct value){.kind = VALUE_FLOAT, .trusted = trusted, .as.real = real};
}

struct value value_text(const char *text, size_t len, bool trusted)
{
    return (struct value){
        .kind = VALUE_STRING, .trusted = trusted, .len = (uint32_t)len, .as.text = text};
}

struct value value_undefined(struct str name)
{
    return (struct value){.kind = VALUE_UNDEFINED,
                          .trusted = true,
                          .len = (uint32_t)MIN(name.len, (size_t)64),
                          .as.text = name.ptr};
}

struct value value_literal(const char *text)
{
    return value_text(text, strlen(text), true);
}

bool value_is_number(const struct value *v)
{
    return v->kind == VALUE_BOOL || v->kind == VALUE_INT || v->kind == VALUE_FLOAT;
}

bool value_is_list(const struct value *v)
{
    return v->kind == VALUE_LIST || v->kind == VALUE_TUPLE;
}

bool value_truth(const struct value *v)
{
    switch (v->kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v->as.truth;
    case VALUE_INT:
        return v->as.integer != 0;
    case VALUE_FLOAT:
        return v->as.real != 0;
    case VALUE_STRING:
        return v->len > 0;
    case VALUE_LIST:
    case VALUE_TUPLE:
        return v->as.list->n > 0;
    case VALUE_DICT:
        return v->as.dict->n > 0;
    default:
        return true;
    }
}

const char *value_kind_name(const struct value *v)
{
    static const char *const name[] = {
        [VALUE_ABSENT] = "nothing",
        [VALUE_UNDEFINED] = "an undefined value",
        [VALUE_NONE] = "none",
        [VALUE_BOOL] = "a boolean",
        [VALUE_INT] = "an integer",
        [VALUE_FLOAT] = "a float",
        [VALUE_STRING] = "a string",
        [VALUE_LIST] = "a list",
        [VALUE_TUPLE] = "a tuple",
        [VALUE_DICT] = "a mapping",
        [VALUE_NAMESPACE] = "a namespace",
        [VALUE_LOOP] = "a loop",
        [VALUE_MACRO] = "a macro",
        [VALUE_FUNCTION] = "a function",
        [VALUE_METHOD] = "a method",
    };
    return name[v->kind];
}

bool value_is_trusted(const struct value *v)
{
    return v->kind == VALUE_STRING && v->mark ? !memchr(v->mark, 0, v->len) : v->trusted;
}

static double real_of(const struct value *v)
{
    return v->kind == VALUE_FLOAT ? v->as.real
           : v->kind == VALUE_INT ? (double)v->as.integer
                                  : (double)v->as.truth;
}

static int64_t int_of(const struct value *v)
{
    return v->kind == VALUE_INT ? v->as.integer : v->as.truth;
}

static int order_numbers(const struct value *a, const struct value *b)
{
    if (a->kind != VALUE_FLOAT && b->kind != VALUE_FLOAT)
        return (int_of(a) > int_of(b)) - (int_of(a) < int_of(b));
    return (real_of(a) > real_of(b)) - (real_of(a) < real_of(b));
}

static int order_strings(const struct value *a, const struct value *b)
{
    size_t n = MIN(a->len, b->len);
    int order = n ? memcmp(a->as.text, b->as.text, n) : 0;
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static bool equal_lists(struct run *run, const struct list *a, const struct list *b, bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; *equal && i < a->n; i++)
        if (!value_equal(run, &a->item[i], &b->item[i], equal))
            return false;
    return true;
}

static bool equal_dicts(struct run *run, const struct dict *a, const struct dict *b, bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; *equal && i < a->n; i++) {
        struct value other;
        if (!dict_find(run, b, &a->key[i], &other))
            return false;
        *equal = other.kind != VALUE_ABSENT;
        if (*equal && !value_equal(run, &a->value[i], &other, equal))
            return false;
    }
    return true;
}

static bool equal_same_kind(struct run *run, const struct value *a, const struct value *b,
                            bool *equal)
{
    switch (a->kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        *equal = true;
        return true;
    case VALUE_STRING:
        *equal = a->len == b->len && order_strings(a, b) == 0;
        return run_pay(run, *equal ? a->len : 0);
    case VALUE_LIST:
    case VALUE_TUPLE:
        return equal_lists(run, a->as.list, b->as.list, equal);
    case VALUE_DICT:
        return equal_dicts(run, a->as.dict, b->as.dict, equal);
    default:
        *equal = a->as.list == b->as.list;
        return true;
    }
}

bool value_equal(struct run *run, const struct value *a, const struct value *b, bool *equal)
{
    *equal = false;
    if (value_is_number(a) && value_is_number(b)) {
        bool nan = (a->kind == VALUE_FLOAT && isnan(a->as.real)) ||
                   (b->kind == VALUE_FLOAT && isnan(b->as.real));
        *equal = !nan && order_numbers(a, b) == 0;
        return run_pay(run, 0);
    }
    if (a->kind != b->kind)
        return run_pay(run, 0);
    if (!run_enter(run))
        return false;
    bool ok = run_pay(run, 0) && equal_same_kind(run, a, b, equal);
    run_leave(run);
    return ok;
}

static bool order_lists(struct run *run, const struct list *a, const struct list *b, int *order)
{
    for (size_t i = 0; i < MIN(a->n, b->n); i++) {
        bool equal;
        if (!value_equal(run, &a->item[i], &b->item[i], &equal))
            return false;
        if (!equal) {
            if (!run_enter(run))
                return false;
            bool ok = value_order(run, &a->item[i], &b->item[i], order);
            run_leave(run);
            return ok;
        }
    }
    *order = (a->n > b->n) - (a->n < b->n);
    return true;
}

bool value_order(struct run *run, const struct value *a, const struct value *b, int *order)
{
    if (value_is_number(a) && value_is_number(b)) {
        *order = order_numbers(a, b);
        return run_pay(run, 0);
    }
    if (a->kind == VALUE_STRING && b->kind == VALUE_STRING) {
        *order = order_strings(a, b);
        return run_pay(run, MIN(a->len, b->len));
    }
    if (a->kind == b->kind && value_is_list(a))
        return order_lists(run, a->as.list, b->as.list, order);
    return run_fail(run, INFLIGHT_E_ARG, "%s and %s have no order", value_kind_name(a),
                    value_kind_name(b));
}

static bool list_contains(struct run *run, const struct list *list, const struct value *one,
                          bool *found)
{
    *found = false;
    for (size_t i = 0; !*found && i < list->n; i++)
        if (!value_equal(run, &list->item[i], one, found))
            return false;
    return true;
}

bool value_contains(struct run *run, const struct value *all, const struct value *one, bool *found)
{
    *found = false;
    if (all->kind == VALUE_STRING && one->kind == VALUE_STRING) {
        *found = string_find(all, one, 0) != SIZE_MAX;
        return run_pay(run, all->len);
    }
    if (all->kind == VALUE_UNDEFINED)
        return true;
    if (all->kind == VALUE_DICT) {
        struct value value;
        bool ok = dict_find(run, all->as.dict, one, &value);
        *found = ok && value.kind != VALUE_ABSENT;
        return ok;
    }
    if (value_is_list(all))
        return list_contains(run, all->as.list, one, found);
    return run_fail(run, INFLIGHT_E_ARG, "'in' needs something that can contain %s, not %s",
                    value_kind_name(one), value_kind_name(all));
}

bool value_len(struct run *run, const struct value *v, struct value *len)
{
    size_t n = 0;
    if (v->kind == VALUE_STRING)
        n = string_count(v);
    else if (value_is_list(v))
        n = v->as.list->n;
    else if (v->kind == VALUE_DICT)
        n = v->as.dict->n;
    else if (v->kind == VALUE_LOOP)
        n = v->as.loop->items->n;
    else if (v->kind != VALUE_UNDEFINED)
        return run_fail(run, INFLIGHT_E_ARG, "%s has no length", value_kind_name(v));
    *len = value_int((int64_t)n, value_is_trusted(v));
    return run_pay(run, v->kind == VALUE_STRING ? v->len : 0);
}

static bool string_items(struct run *run, const struct value *v, struct value *list)
{
    if (!list_make(run, list, VALUE_LIST, string_count(v)))
        return false;
    for (size_t at = 0, len; at < v->len; at += len) {
        string_decode(v->as.text + at, v->as.text + v->len, &len);
        if (!list_push(run, list, string_part(v, at, at + len)))
            return false;
    }
    return run_pay(run, v->len);
}

bool value_items(struct run *run, const struct value *v, const struct list **items)
{
    struct value list;
    if (value_is_list(v)) {
        *items = v->as.list;
        return true;
    }
    if (v->kind == VALUE_STRING) {
        if (!string_items(run, v, &list))
            return false;
    } else if (v->kind == VALUE_DICT) {
        const struct dict *dict = v->as.dict;
        if (!list_make(run, &list, VALUE_LIST, dict->n))
            return false;
        for (size_t i = 0; i < dict->n; i++)
            if (!list_push(run, &list, dict->key[i]))
                return false;
    } else if (v->kind == VALUE_UNDEFINED) {
        if (!list_make(run, &list, VALUE_LIST, 0))
            return false;
    } else {
        return run_fail(run, INFLIGHT_E_ARG, "%s cannot be iterated", value_kind_name(v));
    }
    *items = list.as.list;
    return true;
}

bool list_make(struct run *run, struct value *list, uint8_t kind, size_t cap)
{
    struct list *l = run_take(run, 1, sizeof *l);
    if (!l || (cap && !(l->item = run_take(run, cap, sizeof *l->item))))
        return false;
    l->cap = cap;
    *list = (struct value){.kind = kind, .trusted = true, .as.list = l};
    return true;
}

bool list_push(struct run *run, struct value *list, struct value item)
{
    struct list *l = list->as.list;
    if (l->n == l->cap) {
        size_t cap = MAX(l->cap * 2, (size_t)8);
        struct value *grown = run_take(run, cap, sizeof *grown);
        if (!grown)
            return false;
        if (l->n)
            memcpy(grown, l->item, l->n * sizeof *grown);
        l->item = grown;
        l->cap = cap;
    }
    l->item[l->n++] = item;
    return run_pay(run, 0);
}

bool dict_make(struct run *run, struct value *dict, size_t cap)
{
    struct dict *d = run_take(run, 1, sizeof *d);
    if (!d)
        return false;
    d->cap = MAX(cap, (size_t)4);
    d->key = run_take(run, d->cap, sizeof *d->key);
    d->value = run_take(run, d->cap, sizeof *d->value);
    *dict = (struct value){.kind = VALUE_DICT, .trusted = true, .as.dict = d};
    return d->key && d->value;
}

/* The index of the key, or n. */
static bool find_key(struct run *run, const struct dict *dict, const struct value *key, size_t *at)
{
    bool equal = false;
    if (key->kind == VALUE_LIST || key->kind == VALUE_DICT)
        return run_fail(run, INFLIGHT_E_ARG, "%s cannot be a key", value_kind_name(key));
    for (*at = 0; *at < dict->n; ++*at) {
        const struct value *k = &dict->key[*at];
        bool strings = k->kind == VALUE_STRING && key->kind == VALUE_STRING;
        if (strings && k->len != key->len)
            continue;
        if (!value_equal(run, k, key, &equal))
            return false;
        if (equal)
            break;
    }
    return run_pay(run, *at * sizeof *key);
}

static bool dict_grow(struct run *run, struct dict *d)
{
    size_t cap = d->cap * 2;
    struct value *key = run_take(run, cap, sizeof *key);
    struct value *value = key ? run_take(run, cap, sizeof *value) : NULL;
    if (!value)
        return false;
    memcpy(key, d->key, d->n * sizeof *key);
    memcpy(value, d->value, d->n * sizeof *value);
    d->key = key;
    d->value = value;
    d->cap = cap;
    return true;
}

bool dict_put(struct run *run, struct value *dict, struct value key, struct value value)
{
    struct dict *d = dict->as.dict;
    size_t at;
    if (!find_key(run, d, &key, &at))
        return false;
    if (at == d->n) {
        if (d->n == d->cap && !dict_grow(run, d))
            return false;
        d->key[d->n++] = key;
    }
    d->value[at] = value;
    return true;
}

bool dict_find(struct run *run, const struct dict *dict, const struct value *key,
               struct value *value)
{
    size_t at;
    *value = (struct value){0};
    if (!find_key(run, dict, key, &at))
        return false;
    if (at < dict->n)
        *value = dict->value[at];
    return true;
}
