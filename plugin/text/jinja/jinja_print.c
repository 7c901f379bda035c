/* Values as text, the way Python shows them: str(), and repr() inside of containers.
 * Punctuation of containers is nobody's text, so it is not trusted. */
#include "jinja_run.h"
#include "jinja_string.h"
#include "jinja_builtin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static void put_plain(struct text *text, const char *plain, bool trusted)
{
    text_put(text, plain, strlen(plain), trusted);
}

/* The fewest digits that read back as the same number, as d.ddde+xx; how many digits. */
static int shortest(double real, char digits[32], int *exponent)
{
    char written[40];
    int n = 1;
    for (; n <= 17; n++) {
        (void)snprintf(written, sizeof written, "%.*e", n - 1, real);
        if (strtod(written, NULL) == real) /* the same locale wrote it */
            break;
    }
    const char *e = strchr(written, 'e');
    int len = 0;
    for (const char *p = written; p < e && len < 31; p++)
        if (*p >= '0' && *p <= '9') /* not the decimal mark */
            digits[len++] = *p;
    *exponent = (int)strtol(e + 1, NULL, 10);
    return len;
}

static void put_fixed(struct text *text, const char *digits, int n, int exponent, bool trusted)
{
    if (exponent < 0) {
        put_plain(text, "0.", trusted);
        for (int i = -1; i > exponent; i--)
            put_plain(text, "0", trusted);
        text_put(text, digits, (size_t)n, trusted);
        return;
    }
    for (int i = 0; i < MAX(n, exponent + 2); i++) {
        if (i == exponent + 1)
            put_plain(text, ".", trusted);
        text_put(text, i < n ? &digits[i] : "0", 1, trusted);
    }
}

void text_put_real(struct text *text, double real, bool trusted)
{
    char digits[32], tail[16];
    int exponent;
    if (!isfinite(real)) {
        put_plain(text, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf", trusted);
        return;
    }
    if (signbit(real))
        put_plain(text, "-", trusted);
    int n = shortest(fabs(real), digits, &exponent);
    if (exponent >= -4 && exponent < 16) {
        put_fixed(text, digits, n, exponent, trusted);
        return;
    }
    text_put(text, digits, 1, trusted);
    if (n > 1) {
        put_plain(text, ".", trusted);
        text_put(text, digits + 1, (size_t)n - 1, trusted);
    }
    (void)snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    put_plain(text, tail, trusted);
}

static bool is_printable(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return c == ' ' || !(category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_ZS);
}

static void put_quoted_character(struct text *text, int32_t c, char quote, bool trusted)
{
    char escape[16] = {0};
    if (c == quote || c == '\\')
        (void)snprintf(escape, sizeof escape, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        (void)snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (!is_printable(c))
        (void)snprintf(escape, sizeof escape,
                       c < 0x100     ? "\\x%02x"
                       : c < 0x10000 ? "\\u%04x"
                                     : "\\U%08x",
                       (unsigned)c);
    if (escape[0])
        put_plain(text, escape, trusted);
    else
        text_put_code_point(text, c, trusted);
}

static void put_quoted(struct text *text, const struct value *string)
{
    bool single = memchr(string->as.text, '\'', string->len) != NULL;
    char quote = single && !memchr(string->as.text, '"', string->len) ? '"' : '\'';
    text_put(text, &quote, 1, false);
    for (size_t at = 0, len; at < string->len; at += len) {
        int32_t c = string_decode(string->as.text + at, string->as.text + string->len, &len);
        put_quoted_character(text, c, quote, string_mark(string, at));
    }
    text_put(text, &quote, 1, false);
}

static bool put_shown(struct text *text, const struct value *v, bool quoted);

static bool put_items(struct text *text, const struct value *v)
{
    const struct list *list = v->as.list;
    bool tuple = v->kind == VALUE_TUPLE;
    put_plain(text, tuple ? "(" : "[", false);
    for (size_t i = 0; i < list->n; i++) {
        put_plain(text, i ? ", " : "", false);
        if (!put_shown(text, &list->item[i], true))
            return false;
    }
    put_plain(text, tuple ? list->n == 1 ? ",)" : ")" : "]", false);
    return true;
}

static bool put_pairs(struct text *text, const struct value *v)
{
    const struct dict *dict = v->as.dict;
    put_plain(text, "{", false);
    for (size_t i = 0; i < dict->n; i++) {
        put_plain(text, i ? ", " : "", false);
        if (!put_shown(text, &dict->key[i], true))
            return false;
        put_plain(text, ": ", false);
        if (!put_shown(text, &dict->value[i], true))
            return false;
    }
    put_plain(text, "}", false);
    return true;
}

static bool put_value(struct text *text, const struct value *v, bool quoted)
{
    char number[32];
    switch (v->kind) {
    case VALUE_UNDEFINED:
        put_plain(text, quoted ? "Undefined" : "", true);
        return true;
    case VALUE_NONE:
        put_plain(text, "None", v->trusted);
        return true;
    case VALUE_BOOL:
        put_plain(text, v->as.truth ? "True" : "False", v->trusted);
        return true;
    case VALUE_INT:
        (void)snprintf(number, sizeof number, "%lld", (long long)v->as.integer);
        put_plain(text, number, v->trusted);
        return true;
    case VALUE_FLOAT:
        text_put_real(text, v->as.real, v->trusted);
        return true;
    case VALUE_STRING:
        if (quoted)
            put_quoted(text, v);
        else
            text_put_string(text, v);
        return true;
    case VALUE_LIST:
    case VALUE_TUPLE:
        return put_items(text, v);
    case VALUE_DICT:
        return put_pairs(text, v);
    default:
        return run_fail(text->run, INFLIGHT_E_MODEL, "%s cannot be shown as text",
                        value_kind_name(v));
    }
}

static bool put_shown(struct text *text, const struct value *v, bool quoted)
{
    if (text->failed || !run_pay(text->run, 0) || !run_enter(text->run))
        return false;
    bool ok = put_value(text, v, quoted);
    run_leave(text->run);
    return ok;
}

bool string_of(struct run *run, const struct value *v, struct value *out)
{
    struct text text;
    if (v->kind == VALUE_STRING) {
        *out = *v;
        return true;
    }
    text_init(&text, run);
    return put_shown(&text, v, false) && text_done(&text, out);
}
