/* Memory, limits, variables and output of one rendering. Memory is only ever taken;
 * the arena goes at the end of the rendering. */
#include "jinja_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool run_fail(struct run *run, int32_t code, const char *format, ...)
{
    char what[400];
    uint32_t line, column;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    jinja_place(run->program->source, run->at ? run->at->at : 0, &line, &column);
    run->code = err_set(run->err, code, "chat template %u:%u: %s", line, column, what);
    return false;
}

void *run_take(struct run *run, size_t n, size_t element_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes) || bytes > RUN_MEMORY - run->memory) {
        run_fail(run, INFLIGHT_E_ARG, "more than %d MiB of values", RUN_MEMORY >> 20);
        return NULL;
    }
    run->memory += ROUND_UP(bytes, 16);
    run->memory = MIN(run->memory, (size_t)RUN_MEMORY);
    void *ptr = arena_take(&run->arena, bytes);
    if (!ptr)
        run_fail(run, INFLIGHT_E_NOMEM, "no memory for %zu bytes", bytes);
    return ptr;
}

bool run_pay(struct run *run, size_t bytes)
{
    run->steps -= 1 + (int64_t)(bytes / RUN_BYTES_PER_STEP);
    return run->steps > 0 || run_fail(run, INFLIGHT_E_ARG, "more than %d steps", RUN_STEPS);
}

bool run_enter(struct run *run)
{
    if (run->depth >= RUN_DEPTH)
        return run_fail(run, INFLIGHT_E_ARG, "nested more than %d deep", RUN_DEPTH);
    run->depth++;
    return true;
}

void run_leave(struct run *run)
{
    run->depth--;
}

bool run_put(struct run *run, const struct value *string)
{
    size_t n = string->len;
    if (n == 0)
        return true;
    if (run->text->len - run->text_start + n > RUN_OUTPUT)
        return run_fail(run, INFLIGHT_E_TOO_LONG, "more than %d MiB of text", RUN_OUTPUT >> 20);
    buf_put(run->text, string->as.text, n);
    char *mark = buf_room(run->mark, n);
    if (run->text->failed || !mark)
        return run_fail(run, INFLIGHT_E_NOMEM, "no memory for the text");
    if (string->mark)
        memcpy(mark, string->mark, n);
    else
        memset(mark, string->trusted, n);
    run->mark->len += n;
    return run_pay(run, n);
}

bool run_capture(struct run *run, size_t start, struct value *string)
{
    size_t n = run->text->len - start;
    char *text = run_take(run, n, 2);
    if (!text)
        return false;
    if (n) {
        memcpy(text, run->text->ptr + start, n);
        memcpy(text + n, run->mark->ptr + start, n);
    }
    run->text->len = run->mark->len = start;
    *string = value_text(text, n, false);
    string->mark = (const uint8_t *)text + n;
    return run_pay(run, n);
}

bool run_push_scope(struct run *run, struct scope *outer)
{
    struct scope *scope = run_take(run, 1, sizeof *scope);
    if (!scope)
        return false;
    scope->outer = outer;
    run->scope = scope;
    return true;
}

bool run_set(struct run *run, uint32_t atom, struct value value)
{
    if (!run->scope) {
        run->global[atom] = value;
        return true;
    }
    size_t n = 0;
    struct variable *v = run->scope->variable;
    for (; v && v->atom != atom; v = v->next)
        n++;
    if (!v) {
        v = run_take(run, 1, sizeof *v);
        if (!v)
            return false;
        v->atom = atom;
        v->next = run->scope->variable;
        run->scope->variable = v;
    }
    v->value = value;
    return run_pay(run, n * sizeof *v);
}

bool run_find(struct run *run, uint32_t atom, struct value *value)
{
    size_t n = 0;
    for (const struct scope *scope = run->scope; scope; scope = scope->outer)
        for (const struct variable *v = scope->variable; v; v = v->next, n++)
            if (v->atom == atom) {
                *value = v->value;
                return run_pay(run, n * sizeof *v);
            }
    *value = run->global[atom];
    return run_pay(run, n * sizeof *value);
}
