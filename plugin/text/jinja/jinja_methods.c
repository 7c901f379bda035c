/* Methods of strings, lists, mappings and loops. Nothing here changes its receiver: the
 * sandbox that model templates are written for forbids it. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

static bool need_string(struct run *run, const struct value *v)
{
    return v->kind == VALUE_STRING ||
           run_fail(run, INFLIGHT_E_ARG, "a string is needed here, not %s", value_kind_name(v));
}

static bool strip(struct run *run, const struct value *arg, int sides, struct value *out)
{
    bool chars = arg[1].kind != VALUE_ABSENT && arg[1].kind != VALUE_NONE;
    if ((chars && !need_string(run, &arg[1])) ||
        !run_pay(run, (size_t)arg[0].len * (chars ? arg[1].len : 1)))
        return false;
    *out = string_strip(&arg[0], chars ? &arg[1] : NULL, sides);
    return true;
}

static bool string_strip_both(struct run *run, const struct value *arg, struct value *out)
{
    return strip(run, arg, STRIP_LEFT | STRIP_RIGHT, out);
}

static bool string_lstrip(struct run *run, const struct value *arg, struct value *out)
{
    return strip(run, arg, STRIP_LEFT, out);
}

static bool string_rstrip(struct run *run, const struct value *arg, struct value *out)
{
    return strip(run, arg, STRIP_RIGHT, out);
}

static bool separator_of(struct run *run, const struct value *arg, const struct value **separator)
{
    *separator = arg->kind == VALUE_ABSENT || arg->kind == VALUE_NONE ? NULL : arg;
    return !*separator || need_string(run, arg);
}

static bool method_split(struct run *run, const struct value *arg, struct value *out)
{
    const struct value *separator;
    int64_t most;
    return separator_of(run, &arg[1], &separator) && argument_int(run, &arg[2], -1, &most) &&
           string_split(run, &arg[0], separator, most, out);
}

/* As split, but a limited number of cuts is made at the end: what the first cuts would
 * have been is joined again. */
static bool method_rsplit(struct run *run, const struct value *arg, struct value *out)
{
    const struct value *separator;
    struct value all;
    int64_t most;
    if (!separator_of(run, &arg[1], &separator) || !argument_int(run, &arg[2], -1, &most) ||
        !string_split(run, &arg[0], separator, -1, &all))
        return false;
    const struct list *parts = all.as.list;
    *out = all;
    if (most < 0 || (size_t)most + 1 >= parts->n)
        return true;
    const struct value *cut = &parts->item[parts->n - (size_t)most - 1];
    struct value head = string_part(&arg[0], 0, (size_t)(cut->as.text - arg[0].as.text) + cut->len);
    if (!separator)
        head = string_strip(&head, NULL, STRIP_LEFT);
    if (!list_make(run, out, VALUE_LIST, (size_t)most + 1) || !list_push(run, out, head))
        return false;
    for (size_t i = parts->n - (size_t)most; i < parts->n; i++)
        if (!list_push(run, out, parts->item[i]))
            return false;
    return true;
}

static bool method_splitlines(struct run *run, const struct value *arg, struct value *out)
{
    return string_lines(run, &arg[0], out);
}

/* Whether one of the affixes (a string, or a tuple of them) is at that end. */
static bool has_affix(struct run *run, const struct value *arg, bool at_end, bool *has)
{
    const struct value *affix = &arg[1];
    size_t n = 1;
    if (affix->kind == VALUE_TUPLE) {
        n = affix->as.list->n;
        affix = affix->as.list->item;
    }
    *has = false;
    for (size_t i = 0; i < n && !*has; i++, affix++) {
        if (!need_string(run, affix) || !run_pay(run, affix->len))
            return false;
        size_t at = at_end ? arg[0].len - affix->len : 0;
        *has = affix->len <= arg[0].len &&
               memcmp(arg[0].as.text + at, affix->as.text, affix->len) == 0;
    }
    return true;
}

static bool method_startswith(struct run *run, const struct value *arg, struct value *out)
{
    bool has;
    if (!has_affix(run, arg, false, &has))
        return false;
    *out = value_bool(has, true);
    return true;
}

static bool method_endswith(struct run *run, const struct value *arg, struct value *out)
{
    bool has;
    if (!has_affix(run, arg, true, &has))
        return false;
    *out = value_bool(has, true);
    return true;
}

static bool method_removeprefix(struct run *run, const struct value *arg, struct value *out)
{
    bool has;
    if (!need_string(run, &arg[1]) || !has_affix(run, arg, false, &has))
        return false;
    *out = string_part(&arg[0], has ? arg[1].len : 0, arg[0].len);
    return true;
}

static bool method_removesuffix(struct run *run, const struct value *arg, struct value *out)
{
    bool has;
    if (!need_string(run, &arg[1]) || !has_affix(run, arg, true, &has))
        return false;
    *out = string_part(&arg[0], 0, arg[0].len - (has ? arg[1].len : 0));
    return true;
}

static bool method_replace(struct run *run, const struct value *arg, struct value *out)
{
    int64_t most;
    return need_string(run, &arg[1]) && need_string(run, &arg[2]) &&
           argument_int(run, &arg[3], -1, &most) &&
           string_replace(run, &arg[0], &arg[1], most, out);
}

static bool method_lower(struct run *run, const struct value *arg, struct value *out)
{
    return string_case(run, &arg[0], CASE_LOWER, out);
}

static bool method_upper(struct run *run, const struct value *arg, struct value *out)
{
    return string_case(run, &arg[0], CASE_UPPER, out);
}

static bool method_title(struct run *run, const struct value *arg, struct value *out)
{
    return string_case(run, &arg[0], CASE_TITLE, out);
}

static bool method_capitalize(struct run *run, const struct value *arg, struct value *out)
{
    return string_case(run, &arg[0], CASE_CAPITAL, out);
}

static bool method_find(struct run *run, const struct value *arg, struct value *out)
{
    if (!need_string(run, &arg[1]) || !run_pay(run, arg[0].len))
        return false;
    size_t at = string_find(&arg[0], &arg[1], 0);
    struct value before = string_part(&arg[0], 0, at == SIZE_MAX ? 0 : at);
    *out =
        value_int(at == SIZE_MAX ? -1 : (int64_t)string_count(&before), value_is_trusted(&arg[0]));
    return true;
}

static bool method_count(struct run *run, const struct value *arg, struct value *out)
{
    int64_t n = 0;
    if (!need_string(run, &arg[1]) || !run_pay(run, arg[0].len))
        return false;
    if (arg[1].len == 0)
        n = (int64_t)string_count(&arg[0]) + 1;
    else
        for (size_t at = 0; (at = string_find(&arg[0], &arg[1], at)) != SIZE_MAX; at += arg[1].len)
            n++;
    *out = value_int(n, value_is_trusted(&arg[0]));
    return true;
}

/* Whether there are bytes, and all of them are in a set. */
static bool all_in(const struct value *string, const char *set)
{
    for (uint32_t i = 0; i < string->len; i++)
        if (!string->as.text[i] || !strchr(set, string->as.text[i]))
            return false;
    return string->len > 0;
}

static bool method_isdigit(struct run *run, const struct value *arg, struct value *out)
{
    *out = value_bool(all_in(&arg[0], "0123456789"), true);
    return run_pay(run, arg[0].len);
}

static bool method_isspace(struct run *run, const struct value *arg, struct value *out)
{
    *out = value_bool(arg[0].len && !string_strip(&arg[0], NULL, STRIP_LEFT).len, true);
    return run_pay(run, arg[0].len);
}

static bool method_join(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    struct text text;
    if (!value_items(run, &arg[1], &items))
        return false;
    text_init(&text, run);
    for (size_t i = 0; i < items->n; i++) {
        if (!need_string(run, &items->item[i]) || !run_pay(run, 0))
            return false;
        if (i)
            text_put_string(&text, &arg[0]);
        text_put_string(&text, &items->item[i]);
    }
    return text_done(&text, out);
}

/* ---- Lists ------------------------------------------------------------------------ */

static bool method_list_count(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *list = arg[0].as.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        bool equal;
        if (!value_equal(run, &list->item[i], &arg[1], &equal))
            return false;
        n += equal;
    }
    *out = value_int(n, arg[0].trusted);
    return true;
}

static bool method_list_index(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *list = arg[0].as.list;
    bool equal = false;
    for (size_t i = 0; i < list->n; i++) {
        if (!value_equal(run, &list->item[i], &arg[1], &equal))
            return false;
        *out = value_int((int64_t)i, arg[0].trusted);
        if (equal)
            return true;
    }
    return run_fail(run, INFLIGHT_E_ARG, "index() of what is not in the list");
}

/* ---- Mappings --------------------------------------------------------------------- */

static bool method_get(struct run *run, const struct value *arg, struct value *out)
{
    if (!dict_find(run, arg[0].as.dict, &arg[1], out))
        return false;
    if (out->kind == VALUE_ABSENT)
        *out = arg[2].kind == VALUE_ABSENT ? (struct value){.kind = VALUE_NONE, .trusted = true}
                                           : arg[2];
    return true;
}

static bool method_items(struct run *run, const struct value *arg, struct value *out)
{
    const struct builtin *items = builtin_filter((struct str){"items", 5});
    return items->call(run, arg, out);
}

static bool list_of(struct run *run, const struct value *item, size_t n, struct value *out)
{
    if (!list_make(run, out, VALUE_LIST, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!list_push(run, out, item[i]))
            return false;
    return true;
}

static bool method_keys(struct run *run, const struct value *arg, struct value *out)
{
    return list_of(run, arg[0].as.dict->key, arg[0].as.dict->n, out);
}

static bool method_values(struct run *run, const struct value *arg, struct value *out)
{
    return list_of(run, arg[0].as.dict->value, arg[0].as.dict->n, out);
}

static bool method_refused(struct run *run, const struct value *arg, struct value *out)
{
    (void)arg;
    (void)out;
    return run_fail(run, INFLIGHT_E_MODEL, "templates do not change lists and mappings");
}

/* ---- Loops ------------------------------------------------------------------------ */

static bool method_cycle(struct run *run, const struct value *arg, struct value *out)
{
    size_t n = 0;
    while (n + 1 < BUILTIN_ARGS && arg[n + 1].kind != VALUE_ABSENT)
        n++;
    if (n == 0)
        return run_fail(run, INFLIGHT_E_ARG, "nothing to cycle through");
    *out = arg[1 + arg[0].as.loop->index % n];
    return true;
}

static bool method_changed(struct run *run, const struct value *arg, struct value *out)
{
    struct loop *loop = arg[0].as.loop;
    bool equal = false;
    if (loop->changed.kind != VALUE_ABSENT && !value_equal(run, &loop->changed, &arg[1], &equal))
        return false;
    loop->changed = arg[1];
    *out = value_bool(!equal, true);
    return true;
}

static const struct builtin string_rows[] = {
    {"strip", string_strip_both, 0, false, {""}},
    {"lstrip", string_lstrip, 0, false, {""}},
    {"rstrip", string_rstrip, 0, false, {""}},
    {"split", method_split, 0, false, {"sep", "maxsplit"}},
    {"rsplit", method_rsplit, 0, false, {"sep", "maxsplit"}},
    {"splitlines", method_splitlines, 0, false, {NULL}},
    {"startswith", method_startswith, 1, false, {""}},
    {"endswith", method_endswith, 1, false, {""}},
    {"removeprefix", method_removeprefix, 1, false, {""}},
    {"removesuffix", method_removesuffix, 1, false, {""}},
    {"replace", method_replace, 2, false, {"", "", ""}},
    {"lower", method_lower, 0, false, {NULL}},
    {"upper", method_upper, 0, false, {NULL}},
    {"title", method_title, 0, false, {NULL}},
    {"capitalize", method_capitalize, 0, false, {NULL}},
    {"find", method_find, 1, false, {""}},
    {"count", method_count, 1, false, {""}},
    {"isdigit", method_isdigit, 0, false, {NULL}},
    {"isspace", method_isspace, 0, false, {NULL}},
    {"join", method_join, 1, false, {""}},
};

static const struct builtin dict_rows[] = {
    {"get", method_get, 1, false, {"", ""}},
    {"items", method_items, 0, false, {NULL}},
    {"keys", method_keys, 0, false, {NULL}},
    {"values", method_values, 0, false, {NULL}},
    {"update", method_refused, 0, false, {"", "", "", "", ""}},
    {"pop", method_refused, 0, false, {"", "", "", "", ""}},
    {"popitem", method_refused, 0, false, {NULL}},
    {"clear", method_refused, 0, false, {NULL}},
    {"setdefault", method_refused, 0, false, {"", "", "", "", ""}},
};

static const struct builtin list_rows[] = {
    {"count", method_list_count, 1, false, {""}},   {"index", method_list_index, 1, false, {""}},
    {"append", method_refused, 0, false, {""}},     {"extend", method_refused, 0, false, {""}},
    {"insert", method_refused, 0, false, {"", ""}}, {"pop", method_refused, 0, false, {""}},
};

static const struct builtin loop_rows[] = {
    {"cycle", method_cycle, 0, false, {"", "", "", "", ""}},
    {"changed", method_changed, 1, false, {""}},
};

const struct builtin_table builtin_methods_string = {string_rows, COUNT_OF(string_rows)};
const struct builtin_table builtin_methods_list = {list_rows, COUNT_OF(list_rows)};
const struct builtin_table builtin_methods_dict = {dict_rows, COUNT_OF(dict_rows)};
const struct builtin_table builtin_methods_loop = {loop_rows, COUNT_OF(loop_rows)};
