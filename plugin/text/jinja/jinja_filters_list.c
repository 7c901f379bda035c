/* Filters over lists. What is a generator in Jinja is a list here. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

static const struct value absent = {0};

static bool filter_first(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    if (!value_items(run, &arg[0], &items))
        return false;
    *out = items->n ? items->item[0] : value_undefined((struct str){"first item", 10});
    return true;
}

static bool filter_last(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    if (!value_items(run, &arg[0], &items))
        return false;
    *out = items->n ? items->item[items->n - 1] : value_undefined((struct str){"last item", 9});
    return true;
}

static bool copy_items(struct run *run, const struct value *from, struct value *out)
{
    const struct list *items;
    if (!value_items(run, from, &items) || !list_make(run, out, VALUE_LIST, items->n))
        return false;
    out->trusted = value_is_trusted(from);
    for (size_t i = 0; i < items->n; i++)
        if (!list_push(run, out, items->item[i]))
            return false;
    return true;
}

static bool filter_list(struct run *run, const struct value *arg, struct value *out)
{
    return copy_items(run, &arg[0], out);
}

static bool filter_reverse(struct run *run, const struct value *arg, struct value *out)
{
    struct value back[3] = {absent, absent, value_int(-1, true)}, list;
    if (arg[0].kind == VALUE_STRING)
        return run_slice(run, &arg[0], back, out);
    return copy_items(run, &arg[0], &list) && run_slice(run, &list, back, out);
}

static bool filter_items(struct run *run, const struct value *arg, struct value *out)
{
    struct value pair;
    if (arg[0].kind == VALUE_UNDEFINED)
        return list_make(run, out, VALUE_LIST, 0);
    if (arg[0].kind != VALUE_DICT)
        return run_fail(run, INFLIGHT_E_ARG, "items of %s", value_kind_name(&arg[0]));
    const struct dict *dict = arg[0].as.dict;
    if (!list_make(run, out, VALUE_LIST, dict->n))
        return false;
    out->trusted = arg[0].trusted;
    for (size_t i = 0; i < dict->n; i++)
        if (!list_make(run, &pair, VALUE_TUPLE, 2) || !list_push(run, &pair, dict->key[i]) ||
            !list_push(run, &pair, dict->value[i]) || !list_push(run, out, pair))
            return false;
    return true;
}

/* ---- map, select, reject ---------------------------------------------------------- */

static bool filter_map(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    const struct value *path = &arg[4], *otherwise = &arg[5];
    if (!value_truth(&arg[0])) /* none too has no items here */
        return list_make(run, out, VALUE_LIST, 0);
    if (!value_items(run, &arg[0], &items) || !list_make(run, out, VALUE_LIST, items->n))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct value call[BUILTIN_ARGS] = {items->item[i], arg[2], arg[3]}, result;
        if (path->kind != VALUE_ABSENT ? !call_path(run, &items->item[i], path, otherwise, &result)
                                       : !call_filter(run, &arg[1], call, &result))
            return false;
        if (!list_push(run, out, result))
            return false;
    }
    return true;
}

/* Items (path absent) or items whose attribute passes a test, or is true without one;
 * test: the test's name and up to two arguments. */
static bool choose(struct run *run, const struct value *from, const struct value *path,
                   const struct value *test, bool keep, struct value *out)
{
    const struct list *items;
    if (!list_make(run, out, VALUE_LIST, 0))
        return false;
    if (!value_truth(from)) /* none too has no items here */
        return true;
    if (!value_items(run, from, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct value call[BUILTIN_ARGS] = {items->item[i], test[1], test[2]};
        if (path->kind != VALUE_ABSENT && !call_path(run, &items->item[i], path, NULL, &call[0]))
            return false;
        bool passes = value_truth(&call[0]);
        if (test[0].kind != VALUE_ABSENT && !call_test(run, &test[0], call, &passes))
            return false;
        if (!run_pay(run, 0) || (passes == keep && !list_push(run, out, items->item[i])))
            return false;
    }
    return true;
}

static bool filter_select(struct run *run, const struct value *arg, struct value *out)
{
    return choose(run, &arg[0], &absent, &arg[1], true, out);
}

static bool filter_reject(struct run *run, const struct value *arg, struct value *out)
{
    return choose(run, &arg[0], &absent, &arg[1], false, out);
}

static bool filter_selectattr(struct run *run, const struct value *arg, struct value *out)
{
    return choose(run, &arg[0], &arg[1], &arg[2], true, out);
}

static bool filter_rejectattr(struct run *run, const struct value *arg, struct value *out)
{
    return choose(run, &arg[0], &arg[1], &arg[2], false, out);
}

/* ---- Order ------------------------------------------------------------------------ */

struct sort {
    struct run *run;
    struct value *key, *item; /* (n) */
    struct value *key_to, *item_to;
    bool by_attribute; /* Jinja wraps these keys, so that equal ones need no order */
    bool reverse;
};

/* What an item is ordered by: itself or an attribute, strings in lower case. */
static bool sort_key(struct run *run, const struct value *item, const struct value *path,
                     bool case_sensitive, struct value *out)
{
    *out = *item;
    if (path->kind != VALUE_ABSENT && path->kind != VALUE_NONE &&
        !call_path(run, item, path, NULL, out))
        return false;
    return case_sensitive || out->kind != VALUE_STRING || string_case(run, out, CASE_LOWER, out);
}

static bool order_keys(struct sort *s, const struct value *a, const struct value *b, int *order)
{
    bool equal = false;
    *order = 0;
    if (s->by_attribute && !value_equal(s->run, a, b, &equal))
        return false;
    return equal || value_order(s->run, a, b, order);
}

/* Merges the sorted halves from..middle..to; stable, also in reverse. */
static bool merge(struct sort *s, size_t from, size_t middle, size_t to)
{
    size_t a = from, b = middle;
    for (size_t i = from; i < to; i++) {
        int order = 0;
        if (a < middle && b < to && !order_keys(s, &s->key[a], &s->key[b], &order))
            return false;
        bool left = b == to || (a < middle && (s->reverse ? order >= 0 : order <= 0));
        size_t at = left ? a++ : b++;
        s->key_to[i] = s->key[at];
        s->item_to[i] = s->item[at];
    }
    return true;
}

static bool sort_items(struct sort *s, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width)
            if (!merge(s, from, MIN(from + width, n), MIN(from + 2 * width, n)))
                return false;
        struct value *key = s->key, *item = s->item;
        s->key = s->key_to;
        s->item = s->item_to;
        s->key_to = key;
        s->item_to = item;
    }
    return true;
}

static bool sorted(struct run *run, const struct list *items, const struct value *path,
                   bool case_sensitive, bool reverse, struct value *out)
{
    size_t n = items->n;
    struct value *room = run_take(run, n * 4, sizeof *room);
    if (!room || !list_make(run, out, VALUE_LIST, n))
        return false;
    struct sort s = {run, room, room + n, room + 2 * n, room + 3 * n, false, reverse};
    s.by_attribute = path->kind != VALUE_ABSENT && path->kind != VALUE_NONE;
    for (size_t i = 0; i < n; i++) {
        s.item[i] = items->item[i];
        if (!sort_key(run, &items->item[i], path, case_sensitive, &s.key[i]))
            return false;
    }
    if (!sort_items(&s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!list_push(run, out, s.item[i]))
            return false;
    return true;
}

static bool filter_sort(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    return value_items(run, &arg[0], &items) &&
           sorted(run, items, &arg[3], value_truth(&arg[2]), value_truth(&arg[1]), out);
}

static bool filter_dictsort(struct run *run, const struct value *arg, struct value *out)
{
    struct value pairs, by = value_int(string_is(&arg[2], "value"), true);
    if (arg[0].kind != VALUE_DICT)
        return run_fail(run, INFLIGHT_E_ARG, "dictsort of %s", value_kind_name(&arg[0]));
    return filter_items(run, arg, &pairs) &&
           sorted(run, pairs.as.list, &by, value_truth(&arg[1]), value_truth(&arg[3]), out);
}

static bool extreme(struct run *run, const struct value *arg, bool most, struct value *out)
{
    const struct list *items;
    struct value best = absent, key;
    if (!value_items(run, &arg[0], &items))
        return false;
    *out = value_undefined((struct str){"item of an empty sequence", 25});
    for (size_t i = 0; i < items->n; i++) {
        int order = 0;
        if (!sort_key(run, &items->item[i], &arg[2], value_truth(&arg[1]), &key) ||
            (i && !value_order(run, &key, &best, &order)))
            return false;
        if (i == 0 || (most ? order > 0 : order < 0)) {
            best = key;
            *out = items->item[i];
        }
    }
    return true;
}

static bool filter_min(struct run *run, const struct value *arg, struct value *out)
{
    return extreme(run, arg, false, out);
}

static bool filter_max(struct run *run, const struct value *arg, struct value *out)
{
    return extreme(run, arg, true, out);
}

static bool filter_unique(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    struct value seen, key;
    if (!value_items(run, &arg[0], &items) || !list_make(run, out, VALUE_LIST, 0) ||
        !list_make(run, &seen, VALUE_LIST, 0))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        bool found;
        if (!sort_key(run, &items->item[i], &arg[2], value_truth(&arg[1]), &key) ||
            !value_contains(run, &seen, &key, &found))
            return false;
        if (!found && (!list_push(run, &seen, key) || !list_push(run, out, items->item[i])))
            return false;
    }
    return true;
}

static bool filter_sum(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    if (!value_items(run, &arg[0], &items))
        return false;
    *out = arg[2].kind == VALUE_ABSENT ? value_int(0, true) : arg[2];
    for (size_t i = 0; i < items->n; i++) {
        struct value item = items->item[i], sum;
        if (arg[1].kind != VALUE_ABSENT && arg[1].kind != VALUE_NONE &&
            !call_path(run, &items->item[i], &arg[1], NULL, &item))
            return false;
        if (!run_binary(run, TOKEN_ADD, out, &item, &sum) || !run_pay(run, 0))
            return false;
        *out = sum;
    }
    return true;
}

static const struct builtin rows[] = {
    {"first", filter_first, 0, false, {NULL}},
    {"last", filter_last, 0, false, {NULL}},
    {"list", filter_list, 0, false, {NULL}},
    {"reverse", filter_reverse, 0, false, {NULL}},
    {"items", filter_items, 0, false, {NULL}},
    {"map", filter_map, 0, false, {"", "", "", "attribute", "default"}},
    {"select", filter_select, 0, false, {"", "", ""}},
    {"reject", filter_reject, 0, false, {"", "", ""}},
    {"selectattr", filter_selectattr, 1, false, {"", "", "", ""}},
    {"rejectattr", filter_rejectattr, 1, false, {"", "", "", ""}},
    {"sort", filter_sort, 0, false, {"reverse", "case_sensitive", "attribute"}},
    {"dictsort", filter_dictsort, 0, false, {"case_sensitive", "by", "reverse"}},
    {"min", filter_min, 0, false, {"case_sensitive", "attribute"}},
    {"max", filter_max, 0, false, {"case_sensitive", "attribute"}},
    {"unique", filter_unique, 0, false, {"case_sensitive", "attribute"}},
    {"sum", filter_sum, 0, false, {"attribute", "start"}},
};

const struct builtin_table builtin_filters_list = {rows, COUNT_OF(rows)};
