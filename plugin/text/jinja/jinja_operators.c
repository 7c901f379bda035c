/* Operators, with Python's meaning; integers have 64 bits and say so when that is not
 * enough. */
#include "jinja_run.h"
#include "jinja_string.h"

#include <math.h>
#include <string.h>

static bool no_operator(struct run *run, const struct value *a, const struct value *b)
{
    const struct value *undefined = a->kind == VALUE_UNDEFINED   ? a
                                    : b->kind == VALUE_UNDEFINED ? b
                                                                 : NULL;
    if (undefined)
        return run_fail(run, INFLIGHT_E_ARG, "'%.*s' is undefined", (int)MIN(undefined->len, 64u),
                        undefined->as.text);
    return run_fail(run, INFLIGHT_E_ARG, "this operator does not go with %s and %s",
                    value_kind_name(a), value_kind_name(b));
}

static int64_t int_of(const struct value *v)
{
    return v->kind == VALUE_INT ? v->as.integer : v->as.truth;
}

static double real_of(const struct value *v)
{
    return v->kind == VALUE_FLOAT ? v->as.real : (double)int_of(v);
}

/* Rounds towards minus infinity, as Python does; b is not 0 and the quotient fits. */
static int64_t floor_divide(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static bool power_int(struct run *run, int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    for (bool big = false; exponent > 0; exponent >>= 1) {
        if (exponent & 1 && (big || __builtin_mul_overflow(*out, base, out)))
            return run_fail(run, INFLIGHT_E_ARG, "this number does not fit 64 bits");
        big |= __builtin_mul_overflow(base, base, &base);
    }
    return true;
}

static bool int_operator(struct run *run, int op, int64_t a, int64_t b, int64_t *out)
{
    bool overflow = false;
    switch (op) {
    case TOKEN_ADD:
        overflow = __builtin_add_overflow(a, b, out);
        break;
    case TOKEN_SUB:
        overflow = __builtin_sub_overflow(a, b, out);
        break;
    case TOKEN_MUL:
        overflow = __builtin_mul_overflow(a, b, out);
        break;
    case TOKEN_POWER:
        return power_int(run, a, b, out);
    default:
        if (b == 0)
            return run_fail(run, INFLIGHT_E_ARG, "division by zero");
        overflow = b == -1 && __builtin_sub_overflow((int64_t)0, a, out);
        if (b != -1)
            *out = op == TOKEN_FLOOR ? floor_divide(a, b) : a - floor_divide(a, b) * b;
        else if (op == TOKEN_MOD)
            *out = 0;
    }
    return !overflow || run_fail(run, INFLIGHT_E_ARG, "this number does not fit 64 bits");
}

static bool real_operator(struct run *run, int op, double a, double b, double *out)
{
    if ((op == TOKEN_DIV || op == TOKEN_FLOOR || op == TOKEN_MOD) && b == 0)
        return run_fail(run, INFLIGHT_E_ARG, "division by zero");
    switch (op) {
    case TOKEN_ADD:
        *out = a + b;
        break;
    case TOKEN_SUB:
        *out = a - b;
        break;
    case TOKEN_MUL:
        *out = a * b;
        break;
    case TOKEN_DIV:
        *out = a / b;
        break;
    case TOKEN_FLOOR:
        *out = floor(a / b);
        break;
    case TOKEN_MOD:
        *out = fmod(a, b);
        if (*out != 0 && (*out < 0) != (b < 0))
            *out += b;
        break;
    default:
        *out = pow(a, b);
    }
    return true;
}

static bool number_operator(struct run *run, int op, const struct value *a, const struct value *b,
                            struct value *out)
{
    bool trusted = a->trusted && b->trusted;
    bool integers = a->kind != VALUE_FLOAT && b->kind != VALUE_FLOAT && op != TOKEN_DIV &&
                    !(op == TOKEN_POWER && int_of(b) < 0);
    if (integers) {
        int64_t result = 0;
        bool ok = int_operator(run, op, int_of(a), int_of(b), &result);
        *out = value_int(result, trusted);
        return ok;
    }
    double result = 0;
    bool ok = real_operator(run, op, real_of(a), real_of(b), &result);
    *out = value_real(result, trusted);
    return ok;
}

static bool join_lists(struct run *run, const struct value *a, const struct value *b,
                       struct value *out)
{
    const struct list *part[2] = {a->as.list, b->as.list};
    if (!list_make(run, out, a->kind, part[0]->n + part[1]->n))
        return false;
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < part[i]->n; j++)
            if (!list_push(run, out, part[i]->item[j]))
                return false;
    out->trusted = a->trusted && b->trusted;
    return true;
}

static bool repeat(struct run *run, const struct value *what, int64_t times, struct value *out)
{
    struct text text;
    if (what->kind == VALUE_STRING) {
        text_init(&text, run);
        for (int64_t i = 0; i < times && what->len && !text.failed; i++)
            text_put_string(&text, what);
        return text_done(&text, out);
    }
    if (!list_make(run, out, what->kind, 0))
        return false;
    for (int64_t i = 0; i < times && what->as.list->n; i++)
        for (size_t j = 0; j < what->as.list->n; j++)
            if (!list_push(run, out, what->as.list->item[j]))
                return false;
    return true;
}

static bool is_sequence(const struct value *v)
{
    return v->kind == VALUE_STRING || value_is_list(v);
}

static bool is_whole(const struct value *v)
{
    return v->kind == VALUE_INT || v->kind == VALUE_BOOL;
}

bool run_binary(struct run *run, int op, const struct value *a, const struct value *b,
                struct value *out)
{
    struct text text;
    if (value_is_number(a) && value_is_number(b))
        return number_operator(run, op, a, b, out);
    if (op == TOKEN_ADD && a->kind == VALUE_STRING && b->kind == VALUE_STRING) {
        text_init(&text, run);
        text_put_string(&text, a);
        text_put_string(&text, b);
        return text_done(&text, out);
    }
    if (op == TOKEN_ADD && a->kind == b->kind && value_is_list(a))
        return join_lists(run, a, b, out);
    if (op == TOKEN_MUL && is_sequence(a) && is_whole(b))
        return repeat(run, a, int_of(b), out);
    if (op == TOKEN_MUL && is_whole(a) && is_sequence(b))
        return repeat(run, b, int_of(a), out);
    if (op == TOKEN_MOD && a->kind == VALUE_STRING)
        return run_fail(run, INFLIGHT_E_MODEL, "formatting with %% is not supported");
    return no_operator(run, a, b);
}

bool run_compare(struct run *run, int op, const struct value *a, const struct value *b, bool *out)
{
    int order = 0;
    switch (op) {
    case TOKEN_EQ:
    case TOKEN_NE:
        if (!value_equal(run, a, b, out))
            return false;
        *out = *out == (op == TOKEN_EQ);
        return true;
    case TOKEN_IN:
    case TOKEN_NOT_IN:
        if (!value_contains(run, b, a, out))
            return false;
        *out = *out == (op == TOKEN_IN);
        return true;
    default:
        if (a->kind == VALUE_UNDEFINED || b->kind == VALUE_UNDEFINED)
            return no_operator(run, a, b);
        if (!value_order(run, a, b, &order))
            return false;
        *out = op == TOKEN_LT   ? order < 0
               : op == TOKEN_LE ? order <= 0
               : op == TOKEN_GT ? order > 0
                                : order >= 0;
        return true;
    }
}

/* One bound of a slice, moved into the sequence; absent: the end that the step begins at. */
static bool slice_bound(struct run *run, const struct value *bound, int64_t n, int64_t absent,
                        int64_t step, int64_t *out)
{
    int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? n - 1 : n;
    *out = absent;
    if (bound->kind == VALUE_ABSENT || bound->kind == VALUE_NONE)
        return true;
    if (!is_whole(bound))
        return run_fail(run, INFLIGHT_E_ARG, "a slice needs integers, not %s",
                        value_kind_name(bound));
    int64_t at = int_of(bound);
    if (at < 0)
        at += n;
    *out = MAX(lowest, MIN(highest, at));
    return true;
}

static bool slice_string(struct run *run, const struct value *string, const int64_t bound[3],
                         struct value *out)
{
    int64_t from = bound[0], to = bound[1], step = bound[2];
    if (step == 1) {
        size_t start = string_offset(string, (size_t)from);
        struct value rest = string_part(string, start, string->len);
        *out = string_part(&rest, 0, to > from ? string_offset(&rest, (size_t)(to - from)) : 0);
        return true;
    }
    struct text text;
    const struct list *items;
    if (!value_items(run, string, &items))
        return false;
    text_init(&text, run);
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        text_put_string(&text, &items->item[i]);
    return text_done(&text, out);
}

bool run_slice(struct run *run, const struct value *object, const struct value bound[3],
               struct value *out)
{
    struct value len;
    int64_t b[3] = {0, 0, 1};
    if (!is_sequence(object))
        return object->kind == VALUE_UNDEFINED
                   ? no_operator(run, object, object)
                   : run_fail(run, INFLIGHT_E_ARG, "%s has no slices", value_kind_name(object));
    if (bound[2].kind == VALUE_INT)
        b[2] = bound[2].as.integer;
    else if (bound[2].kind != VALUE_ABSENT && bound[2].kind != VALUE_NONE)
        return run_fail(run, INFLIGHT_E_ARG, "a slice needs integers, not %s",
                        value_kind_name(&bound[2]));
    if (b[2] == 0)
        return run_fail(run, INFLIGHT_E_ARG, "the step of a slice is zero");
    if (!value_len(run, object, &len))
        return false;
    int64_t n = len.as.integer;
    b[2] = MAX(-n - 1, MIN(n + 1, b[2])); /* the same items, and no overflow */
    if (!slice_bound(run, &bound[0], n, b[2] < 0 ? n - 1 : 0, b[2], &b[0]) ||
        !slice_bound(run, &bound[1], n, b[2] < 0 ? -1 : n, b[2], &b[1]))
        return false;
    if (object->kind == VALUE_STRING)
        return slice_string(run, object, b, out);
    if (!list_make(run, out, object->kind, 0))
        return false;
    for (int64_t i = b[0]; b[2] > 0 ? i < b[1] : i > b[1]; i += b[2])
        if (!list_push(run, out, object->as.list->item[i]))
            return false;
    out->trusted = object->trusted;
    return true;
}
