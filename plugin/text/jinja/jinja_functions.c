/* Functions: those of Jinja, and the two that Hugging Face's transformers adds, which
 * are raise_exception and strftime_now. */
#define _GNU_SOURCE /* gmtime_r */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static bool function_range(struct run *run, const struct value *arg, struct value *out)
{
    int64_t from = 0, to, step = 1;
    bool one = arg[2].kind == VALUE_ABSENT;
    if (!argument_int(run, &arg[1], 0, one ? &to : &from) ||
        (!one && !argument_int(run, &arg[2], 0, &to)) || !argument_int(run, &arg[3], 1, &step))
        return false;
    if (step == 0)
        return run_fail(run, INFLIGHT_E_ARG, "the step of range() is zero");
    bool any = step > 0 ? from < to : from > to;
    uint64_t distance = step > 0 ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
    uint64_t stride = step > 0 ? (uint64_t)step : -(uint64_t)step;
    uint64_t n = any ? (distance - 1) / stride + 1 : 0;
    if (n > RUN_RANGE)
        return run_fail(run, INFLIGHT_E_ARG, "range() of %llu numbers, at most %d",
                        (unsigned long long)n, RUN_RANGE);
    if (!list_make(run, out, VALUE_LIST, n))
        return false;
    bool trusted = (one || arg[1].trusted) && arg[one ? 1 : 2].trusted;
    for (uint64_t i = 0; i < n; i++)
        if (!list_push(run, out,
                       value_int((int64_t)((uint64_t)from + i * (uint64_t)step), trusted)))
            return false;
    return true;
}

/* namespace(a=1) and dict(a=1), or with one mapping to begin with. */
static bool make_mapping(struct run *run, uint8_t kind, struct value *out)
{
    const struct arguments *given = run->arguments;
    if (!dict_make(run, out, given->n))
        return false;
    out->kind = kind;
    for (size_t i = 0; i < given->n; i++) {
        const struct value *v = &given->value[i];
        if (given->keyword[i] != NO_KEYWORD) {
            struct str name = run->program->atom[given->keyword[i]];
            if (!dict_put(run, out, value_text(name.ptr, name.len, true), *v))
                return false;
            continue;
        }
        if (v->kind != VALUE_DICT || i > 0)
            return run_fail(run, INFLIGHT_E_ARG, "a mapping is made from names and one mapping");
        for (size_t j = 0; j < v->as.dict->n; j++)
            if (!dict_put(run, out, v->as.dict->key[j], v->as.dict->value[j]))
                return false;
    }
    return true;
}

static bool function_namespace(struct run *run, const struct value *arg, struct value *out)
{
    (void)arg;
    return make_mapping(run, VALUE_NAMESPACE, out);
}

static bool function_dict(struct run *run, const struct value *arg, struct value *out)
{
    (void)arg;
    return make_mapping(run, VALUE_DICT, out);
}

/* The template refuses the conversion; its words are the error. */
static bool function_raise(struct run *run, const struct value *arg, struct value *out)
{
    (void)out;
    struct value text;
    if (!string_of(run, &arg[1], &text))
        return false;
    size_t len = MIN(text.len, 300u);
    while (len > 0 && len < text.len && (text.as.text[len] & 0xc0) == 0x80)
        len--;
    return run_fail(run, INFLIGHT_E_ARG, "%.*s", (int)len, text.as.text);
}

static void put_number(struct text *text, int number, int width)
{
    char digits[16];
    (void)snprintf(digits, sizeof digits, "%0*d", width, number);
    text_put(text, digits, strlen(digits), true);
}

/* One conversion of strftime in English; false: unknown. */
static bool put_date(struct text *text, char c, bool pad, const struct tm *t)
{
    static const char *const month[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};
    static const char *const day[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                      "Thursday", "Friday", "Saturday"};
    const struct {
        char c;
        int value, width;
    } number[] = {{'Y', t->tm_year + 1900, 4},
                  {'y', t->tm_year % 100, 2},
                  {'m', t->tm_mon + 1, 2},
                  {'d', t->tm_mday, 2},
                  {'H', t->tm_hour, 2},
                  {'M', t->tm_min, 2},
                  {'S', t->tm_sec, 2},
                  {'j', t->tm_yday + 1, 3},
                  {'I', (t->tm_hour + 11) % 12 + 1, 2}};
    const char *name = c == 'B' || c == 'b' || c == 'h' ? month[t->tm_mon]
                       : c == 'A' || c == 'a'           ? day[t->tm_wday]
                       : c == 'p'                       ? t->tm_hour < 12 ? "AM" : "PM"
                       : c == '%'                       ? "%"
                                                        : NULL;
    if (name) {
        bool whole = c == 'A' || c == 'B' || c == 'p' || c == '%';
        text_put(text, name, whole ? strlen(name) : 3, true);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(number); i++)
        if (number[i].c == c) {
            put_number(text, number[i].value, pad ? number[i].width : 1);
            return true;
        }
    return false;
}

/* The date and time in UTC: the host's time zone would have to be read from its
 * environment. */
static bool function_strftime(struct run *run, const struct value *arg, struct value *out)
{
    struct text text;
    struct tm now;
    time_t seconds = time(NULL);
    if (arg[1].kind != VALUE_STRING || !gmtime_r(&seconds, &now))
        return run_fail(run, INFLIGHT_E_ARG, "strftime_now needs a string");
    text_init(&text, run);
    for (uint32_t i = 0; i < arg[1].len; i++) {
        const char *p = arg[1].as.text + i, *end = arg[1].as.text + arg[1].len;
        if (*p != '%') {
            text_put(&text, p, 1, string_mark(&arg[1], i));
            continue;
        }
        bool pad = end - p < 2 || p[1] != '-';
        p += pad ? 1 : 2;
        if (p >= end || !put_date(&text, *p, pad, &now))
            return run_fail(run, INFLIGHT_E_MODEL, "this format of strftime_now is not supported");
        i = (uint32_t)(p - arg[1].as.text);
    }
    return text_done(&text, out);
}

static const struct builtin rows[] = {
    {"range", function_range, 1, false, {"", "", ""}},
    {"namespace", function_namespace, 0, true, {NULL}},
    {"dict", function_dict, 0, true, {NULL}},
    {"raise_exception", function_raise, 1, false, {"message"}},
    {"strftime_now", function_strftime, 1, false, {"format"}},
};

const struct builtin_table builtin_functions = {rows, COUNT_OF(rows)};
