/* Expressions: one function per kind of node, found through a table. Every evaluation
 * costs a step and a level of depth, which is what bounds them all. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

typedef bool eval_fn(struct run *run, const struct node *node, struct value *out);

static bool eval_const(struct run *run, const struct node *node, struct value *out)
{
    (void)run;
    *out = node->value;
    return true;
}

static bool eval_name(struct run *run, const struct node *node, struct value *out)
{
    struct str name = run->program->atom[node->atom];
    if (!run_find(run, node->atom, out))
        return false;
    if (out->kind != VALUE_ABSENT)
        return true;
    const struct builtin *function = builtin_find(&builtin_functions, name);
    *out = function ? (struct value){.kind = VALUE_FUNCTION, .as.function = function}
                    : value_undefined(name);
    return true;
}

static bool eval_list(struct run *run, const struct node *node, struct value *out)
{
    if (!list_make(run, out, node->kind == NODE_TUPLE ? VALUE_TUPLE : VALUE_LIST, 0))
        return false;
    for (const struct node *item = node->a; item; item = item->next) {
        struct value v;
        if (!run_eval(run, item, &v) || !list_push(run, out, v))
            return false;
    }
    return true;
}

static bool eval_dict(struct run *run, const struct node *node, struct value *out)
{
    if (!dict_make(run, out, 0))
        return false;
    for (const struct node *item = node->a; item; item = item->next->next) {
        struct value key, value;
        if (!run_eval(run, item, &key) || !run_eval(run, item->next, &value) ||
            !dict_put(run, out, key, value))
            return false;
    }
    return true;
}

static bool eval_sign(struct run *run, const struct node *node, struct value *out)
{
    struct value v, zero = value_int(0, true);
    if (!run_eval(run, node->a, &v))
        return false;
    if (node->kind == NODE_NEGATE && v.kind == VALUE_FLOAT) {
        *out = value_real(-v.as.real, v.trusted);
        return true;
    }
    return run_binary(run, node->kind == NODE_NEGATE ? TOKEN_SUB : TOKEN_ADD, &zero, &v, out);
}

static bool eval_not(struct run *run, const struct node *node, struct value *out)
{
    struct value v;
    if (!run_eval(run, node->a, &v))
        return false;
    *out = value_bool(!value_truth(&v), true);
    return true;
}

static bool eval_logic(struct run *run, const struct node *node, struct value *out)
{
    if (!run_eval(run, node->a, out))
        return false;
    return value_truth(out) == (node->kind == NODE_OR) || run_eval(run, node->b, out);
}

static bool eval_binary(struct run *run, const struct node *node, struct value *out)
{
    struct value a, b;
    if (!run_eval(run, node->a, &a) || !run_eval(run, node->b, &b))
        return false;
    run->at = node;
    return run_binary(run, node->op, &a, &b, out);
}

static bool eval_concat(struct run *run, const struct node *node, struct value *out)
{
    struct text text;
    text_init(&text, run);
    for (const struct node *item = node->a; item; item = item->next) {
        struct value v, shown;
        if (!run_eval(run, item, &v) || !string_of(run, &v, &shown))
            return false;
        text_put_string(&text, &shown);
    }
    return text_done(&text, out);
}

/* a < b < c: every part is evaluated once, up to the first that does not hold. */
static bool eval_compare(struct run *run, const struct node *node, struct value *out)
{
    struct value left, right;
    bool holds = true;
    if (!run_eval(run, node->a, &left))
        return false;
    for (const struct node *operand = node->b; operand && holds; operand = operand->next) {
        if (!run_eval(run, operand->a, &right))
            return false;
        run->at = operand;
        if (!run_compare(run, operand->op, &left, &right, &holds))
            return false;
        left = right;
    }
    *out = value_bool(holds, true);
    return true;
}

static bool eval_choice(struct run *run, const struct node *node, struct value *out)
{
    struct value condition;
    if (!run_eval(run, node->b, &condition))
        return false;
    if (value_truth(&condition))
        return run_eval(run, node->a, out);
    if (node->c)
        return run_eval(run, node->c, out);
    *out = value_undefined((struct str){"else", 4});
    return true;
}

static bool eval_attribute(struct run *run, const struct node *node, struct value *out)
{
    struct value object;
    if (!run_eval(run, node->a, &object))
        return false;
    run->at = node;
    return run_attribute(run, &object, run->program->atom[node->atom], out);
}

static bool eval_item(struct run *run, const struct node *node, struct value *out)
{
    struct value object, index;
    if (!run_eval(run, node->a, &object))
        return false;
    if (node->b->kind == NODE_SLICE) {
        const struct node *part[3] = {node->b->a, node->b->b, node->b->c};
        struct value bound[3] = {{0}};
        for (int i = 0; i < 3; i++)
            if (part[i] && !run_eval(run, part[i], &bound[i]))
                return false;
        run->at = node;
        return run_slice(run, &object, bound, out);
    }
    if (!run_eval(run, node->b, &index))
        return false;
    run->at = node;
    return run_item(run, &object, &index, out);
}

static bool eval_call(struct run *run, const struct node *node, struct value *out)
{
    struct value callee;
    struct arguments arguments;
    if (!run_eval(run, node->a, &callee) || !call_arguments(run, node->b, &arguments))
        return false;
    run->at = node;
    return call_value(run, &callee, &arguments, out);
}

static bool eval_filter(struct run *run, const struct node *node, struct value *out)
{
    struct value subject;
    struct arguments arguments;
    struct str name = run->program->atom[node->atom];
    if (node->a) {
        if (!run_eval(run, node->a, &subject))
            return false;
    } else {
        subject = run->captured;
    }
    if (!call_arguments(run, node->b, &arguments))
        return false;
    run->at = node;
    if (!node->function)
        return run_fail(run, INFLIGHT_E_MODEL, "the %s '%.*s' is not supported",
                        node->kind == NODE_TEST ? "test" : "filter", (int)MIN(name.len, (size_t)64),
                        name.ptr);
    if (!call_builtin(run, node->function, &subject, &arguments, out))
        return false;
    if (node->kind == NODE_TEST)
        out->as.truth ^= node->op;
    return true;
}

static eval_fn *const evaluate[NODE_KINDS] = {
    [NODE_CONST] = eval_const,     [NODE_NAME] = eval_name,     [NODE_LIST] = eval_list,
    [NODE_TUPLE] = eval_list,      [NODE_DICT] = eval_dict,     [NODE_NEGATE] = eval_sign,
    [NODE_PLUS] = eval_sign,       [NODE_NOT] = eval_not,       [NODE_AND] = eval_logic,
    [NODE_OR] = eval_logic,        [NODE_BINARY] = eval_binary, [NODE_CONCAT] = eval_concat,
    [NODE_COMPARE] = eval_compare, [NODE_CHOICE] = eval_choice, [NODE_ATTRIBUTE] = eval_attribute,
    [NODE_ITEM] = eval_item,       [NODE_CALL] = eval_call,     [NODE_FILTER] = eval_filter,
    [NODE_TEST] = eval_filter,
};

bool run_eval(struct run *run, const struct node *node, struct value *out)
{
    run->at = node;
    if (!run_pay(run, 0) || !run_enter(run))
        return false;
    bool ok = evaluate[node->kind](run, node, out);
    run_leave(run);
    return ok;
}
