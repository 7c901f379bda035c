/* Calls: arguments are evaluated, then bound by position and by name, to the
 * parameters of a macro of the template or of a row of the tables. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

bool call_arguments(struct run *run, const struct node *node, struct arguments *out)
{
    *out = (struct arguments){0};
    size_t n = 0;
    for (const struct node *argument = node; argument; argument = argument->next)
        n++;
    if (n == 0)
        return true;
    out->value = run_take(run, n, sizeof *out->value);
    out->keyword = run_take(run, n, sizeof *out->keyword);
    if (!out->value || !out->keyword)
        return false;
    for (; node; node = node->next, out->n++) {
        bool named = node->kind == NODE_KEYWORD;
        out->keyword[out->n] = named ? node->atom : NO_KEYWORD;
        if (!run_eval(run, named ? node->a : node, &out->value[out->n]))
            return false;
    }
    return true;
}

static bool same(struct str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

/* The parameter an argument belongs to, or -1. */
static int parameter_of(struct run *run, const struct builtin *b, const struct arguments *arguments,
                        size_t i)
{
    if (arguments->keyword[i] == NO_KEYWORD)
        return i < COUNT_OF(b->parameter) && b->parameter[i] ? (int)i : -1;
    struct str name = run->program->atom[arguments->keyword[i]];
    for (int j = 0; j < (int)COUNT_OF(b->parameter) && b->parameter[j]; j++)
        if (same(name, b->parameter[j]))
            return j;
    return -1;
}

bool call_builtin(struct run *run, const struct builtin *b, const struct value *subject,
                  const struct arguments *arguments, struct value *out)
{
    struct value arg[BUILTIN_ARGS] = {{0}};
    if (subject)
        arg[0] = *subject;
    for (size_t i = 0; i < arguments->n; i++) {
        int at = parameter_of(run, b, arguments, i);
        if (at < 0 || arg[at + 1].kind != VALUE_ABSENT)
            return run_fail(run, INFLIGHT_E_ARG, "argument %zu does not belong to '%s'", i + 1,
                            b->name);
        arg[at + 1] = arguments->value[i];
    }
    for (int i = 0; i < b->required; i++)
        if (arg[i + 1].kind == VALUE_ABSENT)
            return run_fail(run, INFLIGHT_E_ARG, "'%s' needs its argument %d", b->name, i + 1);
    return b->call(run, arg, out);
}

/* ---- Macros ----------------------------------------------------------------------- */

static bool bind_keyword(struct run *run, const struct node *macro, uint32_t atom,
                         struct value value)
{
    const struct node *parameter = macro->a;
    while (parameter && parameter->atom != atom)
        parameter = parameter->next;
    struct str name = run->program->atom[atom];
    if (!parameter && !same(name, "caller"))
        return run_fail(run, INFLIGHT_E_ARG, "the macro has no parameter '%.*s'",
                        (int)MIN(name.len, (size_t)64), name.ptr);
    return run_set(run, atom, value);
}

/* Sets the parameters in the macro's scope, which is the current one. */
static bool bind_macro(struct run *run, const struct node *macro, const struct arguments *arguments)
{
    size_t i = 0;
    const struct node *parameter = macro->a;
    for (; i < arguments->n && arguments->keyword[i] == NO_KEYWORD; i++) {
        if (!parameter)
            return run_fail(run, INFLIGHT_E_ARG, "too many arguments for the macro");
        if (!run_set(run, parameter->atom, arguments->value[i]))
            return false;
        parameter = parameter->next;
    }
    for (const struct node *rest = parameter; rest; rest = rest->next)
        if (!run_set(run, rest->atom, (struct value){0}))
            return false;
    for (; i < arguments->n; i++)
        if (!bind_keyword(run, macro, arguments->keyword[i], arguments->value[i]))
            return false;
    for (; parameter; parameter = parameter->next) {
        struct str name = run->program->atom[parameter->atom];
        struct value v;
        if (!run_find(run, parameter->atom, &v))
            return false;
        if (v.kind != VALUE_ABSENT)
            continue;
        v = value_undefined(name);
        if ((parameter->a && !run_eval(run, parameter->a, &v)) || !run_set(run, parameter->atom, v))
            return false;
    }
    return true;
}

static bool call_macro(struct run *run, const struct macro *macro,
                       const struct arguments *arguments, struct value *out)
{
    struct scope *caller = run->scope;
    size_t start = run->text->len;
    bool ok = run_push_scope(run, macro->scope) && bind_macro(run, macro->node, arguments) &&
              run_body(run, macro->node->d) != EXEC_FAIL && run_capture(run, start, out);
    run->scope = caller;
    return ok;
}

bool call_value(struct run *run, const struct value *callee, const struct arguments *arguments,
                struct value *out)
{
    static const struct arguments none;
    switch (callee->kind) {
    case VALUE_MACRO:
        return call_macro(run, callee->as.macro, arguments, out);
    case VALUE_FUNCTION:
        run->arguments = arguments;
        return call_builtin(run, callee->as.function, NULL,
                            callee->as.function->variadic ? &none : arguments, out);
    case VALUE_METHOD:
        return call_builtin(run, callee->as.method->function, &callee->as.method->receiver,
                            arguments, out);
    case VALUE_UNDEFINED:
        return run_fail(run, INFLIGHT_E_MODEL, "'%.*s' is undefined and cannot be called",
                        (int)callee->len, callee->as.text);
    default:
        return run_fail(run, INFLIGHT_E_ARG, "%s cannot be called", value_kind_name(callee));
    }
}

/* ---- By name, for map and select -------------------------------------------------- */

static struct str name_of(const struct value *name)
{
    return name->kind == VALUE_STRING ? (struct str){name->as.text, name->len}
                                      : (struct str){"", 0};
}

static bool call_by_name(struct run *run, const struct builtin *b, const struct value *name,
                         const struct value *arg, struct value *out)
{
    struct str text = name_of(name);
    if (!b)
        return run_fail(run, INFLIGHT_E_MODEL, "there is no filter or test '%.*s'",
                        (int)MIN(text.len, (size_t)64), text.ptr);
    for (int i = 1; i < BUILTIN_ARGS; i++) {
        bool given = arg[i].kind != VALUE_ABSENT;
        if ((given && !b->parameter[i - 1]) || (!given && i <= b->required))
            return run_fail(run, INFLIGHT_E_ARG, "'%s' does not take these arguments", b->name);
    }
    return run_pay(run, 0) && b->call(run, arg, out);
}

bool call_filter(struct run *run, const struct value *name, const struct value *arg,
                 struct value *out)
{
    return call_by_name(run, builtin_filter(name_of(name)), name, arg, out);
}

bool call_test(struct run *run, const struct value *name, const struct value *arg, bool *out)
{
    struct value result;
    if (!call_by_name(run, builtin_find(&builtin_tests, name_of(name)), name, arg, &result))
        return false;
    *out = result.as.truth;
    return true;
}

/* A part of a path: an integer if it is all digits. */
static struct value path_key(struct value part)
{
    int64_t number = 0;
    if (part.len == 0 || part.len > 9)
        return part;
    for (uint32_t i = 0; i < part.len; i++) {
        if (part.as.text[i] < '0' || part.as.text[i] > '9')
            return part;
        number = number * 10 + (part.as.text[i] - '0');
    }
    return value_int(number, true);
}

bool call_path(struct run *run, const struct value *object, const struct value *path,
               const struct value *otherwise, struct value *out)
{
    struct value at = *object, part = *path, dot = value_literal(".");
    if (path->kind == VALUE_INT)
        return run_item(run, object, path, out);
    if (path->kind != VALUE_STRING)
        return run_fail(run, INFLIGHT_E_ARG, "an attribute is a string or an integer, not %s",
                        value_kind_name(path));
    for (bool last = false; !last;) {
        size_t end = string_find(&part, &dot, 0);
        last = end == SIZE_MAX;
        struct value index = path_key(string_part(&part, 0, last ? part.len : end));
        if (!run_item(run, &at, &index, out))
            return false;
        if (out->kind == VALUE_UNDEFINED && otherwise && otherwise->kind != VALUE_ABSENT)
            *out = *otherwise;
        at = *out;
        if (!last)
            part = string_part(&part, end + 1, part.len);
    }
    return true;
}

const struct builtin *builtin_find(const struct builtin_table *table, struct str name)
{
    for (size_t i = 0; i < table->n; i++)
        if (same(name, table->row[i].name))
            return &table->row[i];
    return NULL;
}

const struct builtin *builtin_filter(struct str name)
{
    const struct builtin_table *table[] = {&builtin_filters_text, &builtin_filters_list,
                                           &builtin_filters_number};
    const struct builtin *found = NULL;
    for (size_t i = 0; !found && i < COUNT_OF(table); i++)
        found = builtin_find(table[i], name);
    return found;
}

bool argument_int(struct run *run, const struct value *arg, int64_t default_value, int64_t *out)
{
    *out = default_value;
    if (arg->kind == VALUE_ABSENT || arg->kind == VALUE_NONE)
        return true;
    if (arg->kind != VALUE_INT && arg->kind != VALUE_BOOL)
        return run_fail(run, INFLIGHT_E_ARG, "an integer is needed here, not %s",
                        value_kind_name(arg));
    *out = arg->kind == VALUE_INT ? arg->as.integer : arg->as.truth;
    return true;
}

bool argument_text(struct run *run, const struct value *arg, struct value *out)
{
    *out = value_literal("");
    return arg->kind == VALUE_ABSENT || string_of(run, arg, out);
}
