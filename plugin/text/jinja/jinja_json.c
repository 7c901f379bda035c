/* tojson, as Hugging Face's transformers defines it: json.dumps with ensure_ascii off.
 * The punctuation of JSON is nobody's text, so it is not trusted; the characters of
 * strings are as trusted as they were. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    struct text text;
    const struct json_style *style;
    int32_t level;
};

static bool put_json(struct writer *w, const struct value *v);

static void put_plain(struct writer *w, const char *plain, bool trusted)
{
    text_put(&w->text, plain, strlen(plain), trusted);
}

static void put_unicode(struct writer *w, int32_t c, bool trusted)
{
    char escape[16];
    if (c < 0x10000) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
    } else {
        unsigned rest = (unsigned)c - 0x10000;
        (void)snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 | rest >> 10,
                       0xdc00 | (rest & 0x3ff));
    }
    put_plain(w, escape, trusted);
}

static void put_character(struct writer *w, int32_t c, bool trusted)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *found = c > 0 && c < 128 ? strchr(from, c) : NULL;
    if (found) {
        char escape[2] = {'\\', to[found - from]};
        text_put(&w->text, escape, 2, trusted);
    } else if (c < 0x20 || (w->style->ascii && c > 0x7e)) {
        put_unicode(w, c, trusted);
    } else {
        text_put_code_point(&w->text, c, trusted);
    }
}

static void put_string(struct writer *w, const struct value *s)
{
    put_plain(w, "\"", false);
    for (size_t at = 0, len; at < s->len; at += len) {
        int32_t c = string_decode(s->as.text + at, s->as.text + s->len, &len);
        put_character(w, c, string_mark(s, at));
    }
    put_plain(w, "\"", false);
}

static void put_line(struct writer *w)
{
    if (w->style->indent < 0)
        return;
    put_plain(w, "\n", false);
    for (int64_t i = (int64_t)w->level * w->style->indent; i > 0 && !w->text.failed; i--)
        put_plain(w, " ", false);
}

static void put_separator(struct writer *w, size_t i)
{
    if (i)
        text_put_string(&w->text, &w->style->item_separator);
    put_line(w);
}

static bool put_list(struct writer *w, const struct list *list)
{
    put_plain(w, "[", false);
    w->level++;
    for (size_t i = 0; i < list->n; i++) {
        put_separator(w, i);
        if (!put_json(w, &list->item[i]))
            return false;
    }
    w->level--;
    if (list->n)
        put_line(w);
    put_plain(w, "]", false);
    return true;
}

/* Keys become strings as json.dumps makes them. */
static bool put_key(struct writer *w, const struct value *key)
{
    if (key->kind == VALUE_STRING) {
        put_string(w, key);
        return true;
    }
    if (!value_is_number(key) && key->kind != VALUE_NONE)
        return run_fail(w->text.run, INFLIGHT_E_ARG, "%s cannot be a key in JSON",
                        value_kind_name(key));
    put_plain(w, "\"", false);
    bool ok = put_json(w, key);
    put_plain(w, "\"", false);
    return ok;
}

/* The order of the keys: an insertion sort, whose comparisons are paid for. */
static bool key_order(struct writer *w, const struct dict *dict, uint32_t **order)
{
    uint32_t *o = *order = run_take(w->text.run, dict->n, sizeof *o);
    if (!o)
        return false;
    for (size_t i = 0; i < dict->n; i++) {
        size_t at = i;
        for (int order_of = -1; w->style->sort && at > 0; at--) {
            if (!value_order(w->text.run, &dict->key[i], &dict->key[o[at - 1]], &order_of))
                return false;
            if (order_of >= 0)
                break;
            o[at] = o[at - 1];
        }
        o[at] = (uint32_t)i;
    }
    return true;
}

static bool put_dict(struct writer *w, const struct dict *dict)
{
    uint32_t *order;
    if (!key_order(w, dict, &order))
        return false;
    put_plain(w, "{", false);
    w->level++;
    for (size_t i = 0; i < dict->n; i++) {
        put_separator(w, i);
        if (!put_key(w, &dict->key[order[i]]))
            return false;
        text_put_string(&w->text, &w->style->key_separator);
        if (!put_json(w, &dict->value[order[i]]))
            return false;
    }
    w->level--;
    if (dict->n)
        put_line(w);
    put_plain(w, "}", false);
    return true;
}

static void put_real(struct writer *w, const struct value *v)
{
    if (isfinite(v->as.real))
        text_put_real(&w->text, v->as.real, v->trusted);
    else
        put_plain(w,
                  isnan(v->as.real) ? "NaN"
                  : v->as.real < 0  ? "-Infinity"
                                    : "Infinity",
                  v->trusted);
}

static bool put_any(struct writer *w, const struct value *v)
{
    struct value shown;
    switch (v->kind) {
    case VALUE_NONE:
        put_plain(w, "null", v->trusted);
        return true;
    case VALUE_BOOL:
        put_plain(w, v->as.truth ? "true" : "false", v->trusted);
        return true;
    case VALUE_INT:
        if (!string_of(w->text.run, v, &shown))
            return false;
        text_put_string(&w->text, &shown);
        return true;
    case VALUE_FLOAT:
        put_real(w, v);
        return true;
    case VALUE_STRING:
        put_string(w, v);
        return true;
    case VALUE_LIST:
    case VALUE_TUPLE:
        return put_list(w, v->as.list);
    case VALUE_DICT:
        return put_dict(w, v->as.dict);
    default:
        return run_fail(w->text.run, INFLIGHT_E_ARG, "%s cannot be written as JSON",
                        value_kind_name(v));
    }
}

static bool put_json(struct writer *w, const struct value *v)
{
    if (w->text.failed || !run_pay(w->text.run, 0) || !run_enter(w->text.run))
        return false;
    bool ok = put_any(w, v);
    run_leave(w->text.run);
    return ok;
}

bool json_text(struct run *run, const struct value *v, const struct json_style *style,
               struct value *out)
{
    struct writer w = {.style = style};
    text_init(&w.text, run);
    return put_json(&w, v) && text_done(&w.text, out);
}
