/* Filters that give strings. What is not a string is mostly taken as str() would show
 * it, as Jinja does. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

static bool filter_string(struct run *run, const struct value *arg, struct value *out)
{
    return string_of(run, &arg[0], out);
}

static bool filter_trim(struct run *run, const struct value *arg, struct value *out)
{
    struct value string;
    bool chars = arg[1].kind == VALUE_STRING;
    if (!string_of(run, &arg[0], &string) ||
        !run_pay(run, (size_t)string.len * (chars ? arg[1].len : 1)))
        return false;
    *out = string_strip(&string, chars ? &arg[1] : NULL, STRIP_LEFT | STRIP_RIGHT);
    return true;
}

static bool change_case(struct run *run, const struct value *v, enum string_case kind,
                        struct value *out)
{
    struct value string;
    return string_of(run, v, &string) && string_case(run, &string, kind, out);
}

static bool filter_lower(struct run *run, const struct value *arg, struct value *out)
{
    return change_case(run, &arg[0], CASE_LOWER, out);
}

static bool filter_upper(struct run *run, const struct value *arg, struct value *out)
{
    return change_case(run, &arg[0], CASE_UPPER, out);
}

static bool filter_capitalize(struct run *run, const struct value *arg, struct value *out)
{
    return change_case(run, &arg[0], CASE_CAPITAL, out);
}

static bool filter_title(struct run *run, const struct value *arg, struct value *out)
{
    return change_case(run, &arg[0], CASE_FILTER_TITLE, out);
}

static bool filter_replace(struct run *run, const struct value *arg, struct value *out)
{
    struct value string, parts[2];
    int64_t most;
    return string_of(run, &arg[0], &string) && string_of(run, &arg[1], &parts[0]) &&
           string_of(run, &arg[2], &parts[1]) && argument_int(run, &arg[3], -1, &most) &&
           string_replace(run, &string, parts, most, out);
}

static bool filter_escape(struct run *run, const struct value *arg, struct value *out)
{
    static const char special[] = "&<>'\"";
    static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct value string;
    struct text text;
    if (!string_of(run, &arg[0], &string))
        return false;
    text_init(&text, run);
    for (size_t i = 0; i < string.len; i++) {
        char c = string.as.text[i];
        const char *found = c ? strchr(special, c) : NULL;
        const char *put = found ? entity[found - special] : &string.as.text[i];
        text_put(&text, put, found ? strlen(put) : 1, string_mark(&string, i));
    }
    return text_done(&text, out);
}

/* What is put before lines: a number of spaces, or a string. */
static bool indentation(struct run *run, const struct value *width, struct value *out)
{
    int64_t n;
    struct value space = value_literal(" "), times;
    if (width->kind == VALUE_STRING) {
        *out = *width;
        return true;
    }
    if (!argument_int(run, width, 4, &n))
        return false;
    times = value_int(n, true);
    return run_binary(run, TOKEN_MUL, &space, &times, out);
}

static bool filter_indent(struct run *run, const struct value *arg, struct value *out)
{
    struct value string = arg[0], lines, before;
    struct text text;
    bool first = value_truth(&arg[2]), blank = value_truth(&arg[3]);
    if (string.kind != VALUE_STRING)
        return run_fail(run, INFLIGHT_E_ARG, "%s cannot be indented", value_kind_name(&string));
    if (!indentation(run, &arg[1], &before) || !string_lines(run, &string, &lines))
        return false;
    text_init(&text, run);
    /* A last line break begins one more line, which is empty. */
    size_t n = lines.as.list->n + (string.len == 0 || string.as.text[string.len - 1] == '\n');
    for (size_t i = 0; i < n; i++) {
        struct value line = i < lines.as.list->n ? lines.as.list->item[i] : value_literal("");
        text_put(&text, "\n", i > 0, true);
        if (i == 0 ? first : blank || line.len)
            text_put_string(&text, &before);
        text_put_string(&text, &line);
    }
    return text_done(&text, out);
}

static bool json_separators(struct run *run, const struct value *arg, struct json_style *style)
{
    style->item_separator =
        value_text(style->indent < 0 ? ", " : ",", style->indent < 0 ? 2 : 1, false);
    style->key_separator = value_text(": ", 2, false);
    if (arg->kind == VALUE_ABSENT || arg->kind == VALUE_NONE)
        return true;
    if (!value_is_list(arg) || arg->as.list->n != 2 || arg->as.list->item[0].kind != VALUE_STRING ||
        arg->as.list->item[1].kind != VALUE_STRING)
        return run_fail(run, INFLIGHT_E_ARG, "separators are two strings");
    style->item_separator = arg->as.list->item[0];
    style->key_separator = arg->as.list->item[1];
    return true;
}

static bool filter_tojson(struct run *run, const struct value *arg, struct value *out)
{
    struct json_style style = {.ascii = value_truth(&arg[1]), .sort = value_truth(&arg[4])};
    int64_t indent;
    if (!argument_int(run, &arg[2], -1, &indent))
        return false;
    if (arg[2].kind == VALUE_INT && indent < 0)
        indent = 0;
    if (indent > 64)
        return run_fail(run, INFLIGHT_E_ARG, "an indent of more than 64");
    style.indent = (int32_t)indent;
    return json_separators(run, &arg[3], &style) && json_text(run, &arg[0], &style, out);
}

static bool filter_join(struct run *run, const struct value *arg, struct value *out)
{
    const struct list *items;
    struct value between, part, shown;
    struct text text;
    if (!argument_text(run, &arg[1], &between) || !value_items(run, &arg[0], &items))
        return false;
    text_init(&text, run);
    for (size_t i = 0; i < items->n; i++) {
        part = items->item[i];
        if (arg[2].kind != VALUE_ABSENT && arg[2].kind != VALUE_NONE &&
            !call_path(run, &items->item[i], &arg[2], NULL, &part))
            return false;
        if (!string_of(run, &part, &shown) || !run_pay(run, 0))
            return false;
        if (i)
            text_put_string(&text, &between);
        text_put_string(&text, &shown);
    }
    return text_done(&text, out);
}

static const struct builtin rows[] = {
    {"string", filter_string, 0, false, {NULL}},
    {"safe", filter_string, 0, false, {NULL}},
    {"trim", filter_trim, 0, false, {"chars"}},
    {"lower", filter_lower, 0, false, {NULL}},
    {"upper", filter_upper, 0, false, {NULL}},
    {"capitalize", filter_capitalize, 0, false, {NULL}},
    {"title", filter_title, 0, false, {NULL}},
    {"replace", filter_replace, 2, false, {"old", "new", "count"}},
    {"escape", filter_escape, 0, false, {NULL}},
    {"e", filter_escape, 0, false, {NULL}},
    {"indent", filter_indent, 0, false, {"width", "first", "blank"}},
    {"tojson", filter_tojson, 0, false, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"join", filter_join, 0, false, {"d", "attribute"}},
};

const struct builtin_table builtin_filters_text = {rows, COUNT_OF(rows)};
