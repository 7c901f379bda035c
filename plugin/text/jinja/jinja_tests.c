/* Tests: "x is name". Most ask for the kind of a value, some compare. A row's function
 * gives a boolean; "is not" turns it around in jinja_eval.c. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#define KIND_TEST(name, condition)                                                       \
    static bool test_##name(struct run *run, const struct value *arg, struct value *out) \
    {                                                                                    \
        (void)run;                                                                       \
        *out = value_bool(condition, true);                                              \
        return true;                                                                     \
    }

KIND_TEST(defined, arg->kind != VALUE_UNDEFINED)
KIND_TEST(undefined, arg->kind == VALUE_UNDEFINED)
KIND_TEST(none, arg->kind == VALUE_NONE)
KIND_TEST(boolean, arg->kind == VALUE_BOOL)
KIND_TEST(true, arg->kind == VALUE_BOOL && arg->as.truth)
KIND_TEST(false, arg->kind == VALUE_BOOL && !arg->as.truth)
KIND_TEST(integer, arg->kind == VALUE_INT)
KIND_TEST(float, arg->kind == VALUE_FLOAT)
KIND_TEST(number, value_is_number(arg))
KIND_TEST(string, arg->kind == VALUE_STRING)
KIND_TEST(mapping, arg->kind == VALUE_DICT)
KIND_TEST(callable, arg->kind >= VALUE_MACRO || arg->kind == VALUE_UNDEFINED)
KIND_TEST(sequence, arg->kind == VALUE_STRING || arg->kind == VALUE_DICT || value_is_list(arg) ||
                        arg->kind == VALUE_UNDEFINED)
KIND_TEST(iterable, arg->kind == VALUE_STRING || arg->kind == VALUE_DICT || value_is_list(arg) ||
                        arg->kind == VALUE_UNDEFINED || arg->kind == VALUE_LOOP)

static bool compare(struct run *run, int op, const struct value *arg, struct value *out)
{
    bool holds;
    if (!run_compare(run, op, &arg[0], &arg[1], &holds))
        return false;
    *out = value_bool(holds, true);
    return true;
}

#define COMPARE_TEST(name, op)                                                           \
    static bool test_##name(struct run *run, const struct value *arg, struct value *out) \
    {                                                                                    \
        return compare(run, op, arg, out);                                               \
    }

COMPARE_TEST(eq, TOKEN_EQ)
COMPARE_TEST(ne, TOKEN_NE)
COMPARE_TEST(lt, TOKEN_LT)
COMPARE_TEST(le, TOKEN_LE)
COMPARE_TEST(gt, TOKEN_GT)
COMPARE_TEST(ge, TOKEN_GE)
COMPARE_TEST(in, TOKEN_IN)

/* Whether arg[0] modulo the divisor is the wanted rest. */
static bool has_rest(struct run *run, const struct value *v, const struct value *divisor,
                     int64_t wanted, struct value *out)
{
    struct value rest, want = value_int(wanted, true);
    bool equal;
    if (!value_is_number(v))
        return run_fail(run, INFLIGHT_E_ARG, "a number is needed here, not %s", value_kind_name(v));
    if (!run_binary(run, TOKEN_MOD, v, divisor, &rest) || !value_equal(run, &rest, &want, &equal))
        return false;
    *out = value_bool(equal, true);
    return true;
}

static bool test_odd(struct run *run, const struct value *arg, struct value *out)
{
    struct value two = value_int(2, true);
    return has_rest(run, &arg[0], &two, 1, out);
}

static bool test_even(struct run *run, const struct value *arg, struct value *out)
{
    struct value two = value_int(2, true);
    return has_rest(run, &arg[0], &two, 0, out);
}

static bool test_divisibleby(struct run *run, const struct value *arg, struct value *out)
{
    return has_rest(run, &arg[0], &arg[1], 0, out);
}

/* Of the same kind and equal; identity has no other meaning for values that never change. */
static bool test_sameas(struct run *run, const struct value *arg, struct value *out)
{
    bool equal = false;
    if (arg[0].kind == arg[1].kind && !value_equal(run, &arg[0], &arg[1], &equal))
        return false;
    *out = value_bool(equal, true);
    return true;
}

/* All letters of one case, and at least one. */
static bool is_case(struct run *run, const struct value *arg, enum string_case kind,
                    struct value *out)
{
    struct value string, same, other;
    bool unchanged, caseless;
    if (!string_of(run, &arg[0], &string) || !string_case(run, &string, kind, &same) ||
        !string_case(run, &string, kind == CASE_LOWER ? CASE_UPPER : CASE_LOWER, &other) ||
        !value_equal(run, &string, &same, &unchanged) ||
        !value_equal(run, &string, &other, &caseless))
        return false;
    *out = value_bool(unchanged && !caseless, true);
    return true;
}

static bool test_lower(struct run *run, const struct value *arg, struct value *out)
{
    return is_case(run, arg, CASE_LOWER, out);
}

static bool test_upper(struct run *run, const struct value *arg, struct value *out)
{
    return is_case(run, arg, CASE_UPPER, out);
}

static const struct builtin rows[] = {
    {"defined", test_defined, 0, false, {NULL}},
    {"undefined", test_undefined, 0, false, {NULL}},
    {"none", test_none, 0, false, {NULL}},
    {"string", test_string, 0, false, {NULL}},
    {"mapping", test_mapping, 0, false, {NULL}},
    {"sequence", test_sequence, 0, false, {NULL}},
    {"iterable", test_iterable, 0, false, {NULL}},
    {"boolean", test_boolean, 0, false, {NULL}},
    {"true", test_true, 0, false, {NULL}},
    {"false", test_false, 0, false, {NULL}},
    {"integer", test_integer, 0, false, {NULL}},
    {"float", test_float, 0, false, {NULL}},
    {"number", test_number, 0, false, {NULL}},
    {"callable", test_callable, 0, false, {NULL}},
    {"odd", test_odd, 0, false, {NULL}},
    {"even", test_even, 0, false, {NULL}},
    {"divisibleby", test_divisibleby, 1, false, {"num"}},
    {"eq", test_eq, 1, false, {""}},
    {"equalto", test_eq, 1, false, {""}},
    {"==", test_eq, 1, false, {""}},
    {"ne", test_ne, 1, false, {""}},
    {"!=", test_ne, 1, false, {""}},
    {"lt", test_lt, 1, false, {""}},
    {"lessthan", test_lt, 1, false, {""}},
    {"<", test_lt, 1, false, {""}},
    {"le", test_le, 1, false, {""}},
    {"<=", test_le, 1, false, {""}},
    {"gt", test_gt, 1, false, {""}},
    {"greaterthan", test_gt, 1, false, {""}},
    {">", test_gt, 1, false, {""}},
    {"ge", test_ge, 1, false, {""}},
    {">=", test_ge, 1, false, {""}},
    {"in", test_in, 1, false, {"seq"}},
    {"sameas", test_sameas, 1, false, {"other"}},
    {"lower", test_lower, 0, false, {NULL}},
    {"upper", test_upper, 0, false, {NULL}},
};

const struct builtin_table builtin_tests = {rows, COUNT_OF(rows)};
