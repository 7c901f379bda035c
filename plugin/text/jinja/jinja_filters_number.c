/* Filters that give numbers, and the default of what is undefined. Decimals are read
 * through the JSON library, which does not depend on the locale. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

static bool filter_default(struct run *run, const struct value *arg, struct value *out)
{
    (void)run;
    bool missing =
        arg[0].kind == VALUE_UNDEFINED || (value_truth(&arg[2]) && !value_truth(&arg[0]));
    *out = !missing ? arg[0] : arg[1].kind == VALUE_ABSENT ? value_literal("") : arg[1];
    return true;
}

/* Digits of a base, with a sign and underscores between digits; false: not that. */
static bool parse_int(const struct value *string, int64_t base, int64_t *out)
{
    struct value s = string_strip(string, NULL, STRIP_LEFT | STRIP_RIGHT);
    bool negative = s.len && s.as.text[0] == '-', digits = false;
    *out = 0;
    for (uint32_t i = s.len && (negative || s.as.text[0] == '+'); i < s.len; i++) {
        char c = s.as.text[i], lower = (char)(c | 0x20);
        if (c == '_' && digits && i + 1 < s.len && s.as.text[i + 1] != '_')
            continue;
        int digit = c >= '0' && c <= '9'           ? c - '0'
                    : lower >= 'a' && lower <= 'z' ? lower - 'a' + 10
                                                   : 99;
        if (digit >= base || __builtin_mul_overflow(*out, base, out) ||
            __builtin_add_overflow(*out, digit, out))
            return false;
        digits = true;
    }
    *out = negative ? -*out : *out;
    return digits;
}

/* Decimals as in JSON; false: not that. */
static bool parse_real(const struct value *string, double *out)
{
    struct value s = string_strip(string, NULL, STRIP_LEFT | STRIP_RIGHT);
    if (s.len > 400)
        return false;
    json_t *json = json_loadb(s.as.text, s.len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    bool ok = json_is_real(json);
    *out = json_real_value(json);
    json_decref(json);
    return ok;
}

static bool truncated(double real, int64_t *out)
{
    bool fits = real > -0x1p63 && real < 0x1p63;
    *out = fits ? (int64_t)real : 0;
    return fits;
}

static bool refuse_undefined(struct run *run, const struct value *v)
{
    return v->kind != VALUE_UNDEFINED ||
           run_fail(run, INFLIGHT_E_ARG, "'%.*s' is undefined", (int)v->len, v->as.text);
}

static bool filter_int(struct run *run, const struct value *arg, struct value *out)
{
    int64_t base, n = 0;
    double real = arg[0].as.real;
    bool ok = false;
    if (!refuse_undefined(run, &arg[0]) || !argument_int(run, &arg[2], 10, &base))
        return false;
    if (base < 2 || base > 36)
        return run_fail(run, INFLIGHT_E_ARG, "a base is 2 to 36");
    if (arg[0].kind == VALUE_INT || arg[0].kind == VALUE_BOOL)
        ok = argument_int(run, &arg[0], 0, &n);
    else if (arg[0].kind == VALUE_STRING)
        ok = parse_int(&arg[0], base, &n) || (parse_real(&arg[0], &real) && truncated(real, &n));
    else if (arg[0].kind == VALUE_FLOAT)
        ok = truncated(real, &n);
    *out = ok                            ? value_int(n, value_is_trusted(&arg[0]))
           : arg[1].kind != VALUE_ABSENT ? arg[1]
                                         : value_int(0, true);
    return true;
}

static bool filter_float(struct run *run, const struct value *arg, struct value *out)
{
    double real = 0;
    int64_t n = 0;
    bool ok = true;
    if (!refuse_undefined(run, &arg[0]))
        return false;
    if (arg[0].kind == VALUE_FLOAT)
        real = arg[0].as.real;
    else if (arg[0].kind == VALUE_STRING)
        ok = parse_real(&arg[0], &real);
    else if (!value_is_number(&arg[0]))
        ok = false;
    else if (argument_int(run, &arg[0], 0, &n))
        real = (double)n;
    *out = ok                            ? value_real(real, value_is_trusted(&arg[0]))
           : arg[1].kind != VALUE_ABSENT ? arg[1]
                                         : value_real(0, true);
    return true;
}

static bool need_number(struct run *run, const struct value *v)
{
    return value_is_number(v) ||
           run_fail(run, INFLIGHT_E_ARG, "a number is needed here, not %s", value_kind_name(v));
}

static bool filter_abs(struct run *run, const struct value *arg, struct value *out)
{
    int64_t n;
    if (!need_number(run, &arg[0]))
        return false;
    if (arg[0].kind == VALUE_FLOAT) {
        *out = value_real(fabs(arg[0].as.real), arg[0].trusted);
        return true;
    }
    if (!argument_int(run, &arg[0], 0, &n))
        return false;
    struct value zero = value_int(0, true), v = value_int(n, arg[0].trusted);
    if (n < 0)
        return run_binary(run, TOKEN_SUB, &zero, &v, out);
    *out = v;
    return true;
}

/* To so many decimals, halves to even of the exact value, as Python does. */
static double round_decimals(double real, int decimals)
{
    char text[400];
    if (!isfinite(real))
        return real;
    if (decimals <= 0) {
        double scale = pow(10, -decimals);
        return nearbyint(real / scale) * scale;
    }
    (void)snprintf(text, sizeof text, "%.*f", decimals, real);
    return strtod(text, NULL); /* the same locale wrote it */
}

static bool filter_round(struct run *run, const struct value *arg, struct value *out)
{
    int64_t precision, n = 0;
    struct value method = arg[2];
    if (!need_number(run, &arg[0]) || !argument_int(run, &arg[1], 0, &precision))
        return false;
    if (method.kind == VALUE_ABSENT)
        method = value_literal("common");
    if (precision < -15 || precision > 15)
        return run_fail(run, INFLIGHT_E_ARG, "a precision is -15 to 15");
    if (arg[0].kind != VALUE_FLOAT && !argument_int(run, &arg[0], 0, &n))
        return false;
    double real = arg[0].kind == VALUE_FLOAT ? arg[0].as.real : (double)n;
    double scale = pow(10, (double)precision);
    if (string_is(&method, "common") && arg[0].kind != VALUE_FLOAT && precision >= 0)
        *out = value_int(n, arg[0].trusted);
    else if (string_is(&method, "common"))
        *out = value_real(round_decimals(real, (int)precision), arg[0].trusted);
    else if (string_is(&method, "ceil"))
        *out = value_real(ceil(real * scale) / scale, arg[0].trusted);
    else if (string_is(&method, "floor"))
        *out = value_real(floor(real * scale) / scale, arg[0].trusted);
    else
        return run_fail(run, INFLIGHT_E_ARG, "round: common, ceil or floor");
    return true;
}

static bool filter_length(struct run *run, const struct value *arg, struct value *out)
{
    return value_len(run, &arg[0], out);
}

static const struct builtin rows[] = {
    {"default", filter_default, 0, false, {"default_value", "boolean"}},
    {"d", filter_default, 0, false, {"default_value", "boolean"}},
    {"int", filter_int, 0, false, {"default", "base"}},
    {"float", filter_float, 0, false, {"default"}},
    {"abs", filter_abs, 0, false, {NULL}},
    {"round", filter_round, 0, false, {"precision", "method"}},
    {"length", filter_length, 0, false, {NULL}},
    {"count", filter_length, 0, false, {NULL}},
};

const struct builtin_table builtin_filters_number = {rows, COUNT_OF(rows)};
