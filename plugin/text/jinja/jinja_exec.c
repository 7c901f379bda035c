/* Statements: one function per kind of node, found through a table. A loop's body, a
 * macro and a captured block have a scope of their own, the branches of an if do not. */
#include "jinja_builtin.h"
#include "jinja_string.h"

typedef enum exec exec_fn(struct run *run, const struct node *node);

static enum exec go_if(bool ok)
{
    return ok ? EXEC_GO : EXEC_FAIL;
}

static enum exec exec_data(struct run *run, const struct node *node)
{
    return go_if(run_put(run, &node->value));
}

static enum exec exec_print(struct run *run, const struct node *node)
{
    struct value v, shown;
    return go_if(run_eval(run, node->a, &v) && string_of(run, &v, &shown) && run_put(run, &shown));
}

static enum exec exec_if(struct run *run, const struct node *node)
{
    for (const struct node *branch = node->a; branch; branch = branch->next) {
        struct value condition;
        if (!branch->a)
            return run_body(run, branch->d);
        if (!run_eval(run, branch->a, &condition))
            return EXEC_FAIL;
        if (value_truth(&condition))
            return run_body(run, branch->d);
    }
    return EXEC_GO;
}

/* ---- Assignment ------------------------------------------------------------------- */

static bool assign(struct run *run, const struct node *target, const struct value *value);

static bool assign_each(struct run *run, const struct node *target, const struct value *value)
{
    const struct list *items;
    size_t n = 0;
    if (!value_items(run, value, &items))
        return false;
    for (const struct node *part = target->a; part; part = part->next, n++)
        if (n >= items->n || !assign(run, part, &items->item[n]))
            return run->code ? false : run_fail(run, INFLIGHT_E_ARG, "too few values to unpack");
    return n == items->n || run_fail(run, INFLIGHT_E_ARG, "too many values to unpack");
}

static bool assign_field(struct run *run, const struct node *target, const struct value *value)
{
    struct value object;
    struct str name = run->program->atom[target->atom];
    if (!run_eval(run, target->a, &object))
        return false;
    if (object.kind != VALUE_NAMESPACE)
        return run_fail(run, INFLIGHT_E_ARG, "only a namespace has fields to set, not %s",
                        value_kind_name(&object));
    return dict_put(run, &object, value_text(name.ptr, name.len, true), *value);
}

static bool assign(struct run *run, const struct node *target, const struct value *value)
{
    if (target->kind == NODE_NAME)
        return run_set(run, target->atom, *value);
    if (target->kind == NODE_ATTRIBUTE)
        return assign_field(run, target, value);
    if (!run_enter(run))
        return false;
    bool ok = assign_each(run, target, value);
    run_leave(run);
    return ok;
}

/* The text of a body in a scope of its own, through a filter if there is one. */
static bool capture(struct run *run, const struct node *body, const struct node *filter,
                    struct value *out)
{
    struct scope *scope = run->scope;
    size_t start = run->text->len;
    bool ok = run_push_scope(run, scope) && run_body(run, body) != EXEC_FAIL &&
              run_capture(run, start, out);
    run->scope = scope;
    if (!ok || !filter)
        return ok;
    run->captured = *out;
    return run_eval(run, filter, out);
}

static enum exec exec_set(struct run *run, const struct node *node)
{
    struct value value;
    if (node->b ? !run_eval(run, node->b, &value) : !capture(run, node->d, node->c, &value))
        return EXEC_FAIL;
    run->at = node;
    return go_if(assign(run, node->a, &value));
}

static enum exec exec_filtered(struct run *run, const struct node *node)
{
    struct value value, shown;
    return go_if(capture(run, node->d, node->c, &value) && string_of(run, &value, &shown) &&
                 run_put(run, &shown));
}

/* ---- Loops ------------------------------------------------------------------------ */

/* The items for which the loop's condition holds. */
static bool select_items(struct run *run, const struct node *node, const struct list *all,
                         const struct list **selected)
{
    struct value list, condition;
    struct scope *scope = run->scope;
    if (!list_make(run, &list, VALUE_LIST, 0))
        return false;
    for (size_t i = 0; i < all->n; i++) {
        bool ok = run_push_scope(run, scope) && assign(run, node->a, &all->item[i]) &&
                  run_eval(run, node->c, &condition) &&
                  (!value_truth(&condition) || list_push(run, &list, all->item[i]));
        run->scope = scope;
        if (!ok)
            return false;
    }
    *selected = list.as.list;
    return true;
}

static enum exec run_loop(struct run *run, const struct node *node, struct loop *loop)
{
    struct scope *outer = run->scope;
    struct value self = {.kind = VALUE_LOOP, .trusted = loop->trusted, .as.loop = loop};
    enum exec exec = EXEC_GO;
    for (; exec != EXEC_BREAK && loop->index < loop->items->n; loop->index++) {
        bool ok = run_push_scope(run, outer) && run_set(run, run->program->loop_atom, self) &&
                  assign(run, node->a, &loop->items->item[loop->index]);
        exec = ok ? run_body(run, node->d) : EXEC_FAIL;
        run->scope = outer;
        if (exec == EXEC_FAIL)
            return EXEC_FAIL;
    }
    return EXEC_GO;
}

static enum exec exec_for(struct run *run, const struct node *node)
{
    struct value iterable;
    const struct list *items;
    if (!run_eval(run, node->b, &iterable) || !value_items(run, &iterable, &items) ||
        (node->c && !select_items(run, node, items, &items)))
        return EXEC_FAIL;
    if (items->n == 0) {
        struct scope *scope = run->scope;
        enum exec exec = run_push_scope(run, scope) ? run_body(run, node->e) : EXEC_FAIL;
        run->scope = scope;
        return exec;
    }
    struct loop *loop = run_take(run, 1, sizeof *loop);
    if (!loop)
        return EXEC_FAIL;
    *loop = (struct loop){.items = items, .depth = 1, .trusted = value_is_trusted(&iterable)};
    return run_loop(run, node, loop);
}

static enum exec exec_break(struct run *run, const struct node *node)
{
    (void)run;
    return node->kind == NODE_BREAK ? EXEC_BREAK : EXEC_CONTINUE;
}

/* ---- Macros and blocks ------------------------------------------------------------ */

static bool make_macro(struct run *run, const struct node *node, struct value *out)
{
    struct macro *macro = run_take(run, 1, sizeof *macro);
    if (!macro)
        return false;
    *macro = (struct macro){node, run->scope};
    *out = (struct value){.kind = VALUE_MACRO, .as.macro = macro};
    return true;
}

static enum exec exec_macro(struct run *run, const struct node *node)
{
    struct value macro;
    return go_if(make_macro(run, node, &macro) && run_set(run, node->atom, macro));
}

/* {% call f(x) %}body{% endcall %} is f(x, caller=a macro of the body). */
static enum exec exec_call_block(struct run *run, const struct node *node)
{
    struct arguments given, all;
    struct value callee, result, shown;
    if (!run_eval(run, node->b->a, &callee) || !call_arguments(run, node->b->b, &given))
        return EXEC_FAIL;
    all.n = given.n + 1;
    all.value = run_take(run, all.n, sizeof *all.value);
    all.keyword = run_take(run, all.n, sizeof *all.keyword);
    if (!all.value || !all.keyword)
        return EXEC_FAIL;
    for (size_t i = 0; i < given.n; i++) {
        all.value[i] = given.value[i];
        all.keyword[i] = given.keyword[i];
    }
    all.keyword[given.n] = node->c->atom;
    return go_if(make_macro(run, node->c, &all.value[given.n]) &&
                 call_value(run, &callee, &all, &result) && string_of(run, &result, &shown) &&
                 run_put(run, &shown));
}

static enum exec exec_scope(struct run *run, const struct node *node)
{
    struct scope *outer = run->scope, *inner;
    if (!run_push_scope(run, outer))
        return EXEC_FAIL;
    inner = run->scope;
    enum exec exec = EXEC_GO;
    for (const struct node *set = node->a; set && exec == EXEC_GO; set = set->next) {
        struct value value;
        run->scope = outer;
        bool ok = run_eval(run, set->b, &value);
        run->scope = inner;
        exec = go_if(ok && assign(run, set->a, &value));
    }
    if (exec == EXEC_GO)
        exec = run_body(run, node->d);
    run->scope = outer;
    return exec;
}

static exec_fn *const execute[NODE_KINDS] = {
    [NODE_DATA] = exec_data,
    [NODE_PRINT] = exec_print,
    [NODE_IF] = exec_if,
    [NODE_FOR] = exec_for,
    [NODE_SET] = exec_set,
    [NODE_MACRO] = exec_macro,
    [NODE_CALL_BLOCK] = exec_call_block,
    [NODE_FILTERED] = exec_filtered,
    [NODE_SCOPE] = exec_scope,
    [NODE_BREAK] = exec_break,
    [NODE_CONTINUE] = exec_break,
};

enum exec run_body(struct run *run, const struct node *body)
{
    enum exec exec = EXEC_GO;
    if (!run_enter(run))
        return EXEC_FAIL;
    for (; body && exec == EXEC_GO; body = body->next) {
        run->at = body;
        exec = run_pay(run, 0) ? execute[body->kind](run, body) : EXEC_FAIL;
    }
    run_leave(run);
    return exec;
}
