/* The interpreter from outside: source -> tokens -> tree once, tree -> text per rendering.
 * The order of the parts: jinja_lexer, jinja_parser with jinja_expr and jinja_literal, then
 * jinja_exec for statements and jinja_eval for expressions, over jinja_value and jinja_run. */
#include "jinja.h"

#include "../../base/utf8.h"

#include <string.h>

/* A copy with \n line ends and without the last of them, as Jinja reads it. */
static bool copy_source(struct program *program, struct str source)
{
    char *copy = arena_take(&program->arena, source.len);
    size_t n = 0;
    if (!copy)
        return false;
    for (size_t i = 0; i < source.len; i++) {
        bool pair = source.ptr[i] == '\r' && i + 1 < source.len && source.ptr[i + 1] == '\n';
        if (!pair)
            copy[n++] = source.ptr[i] == '\r' ? '\n' : source.ptr[i];
    }
    n -= n > 0 && copy[n - 1] == '\n';
    program->source = (struct str){copy, n};
    return true;
}

int32_t jinja_compile(struct program *program, struct str source, const struct mem *mem,
                      struct err *err)
{
    struct buf tokens;
    *program = (struct program){.mem = mem};
    arena_init(&program->arena, mem);
    if (source.len > JINJA_SOURCE)
        return err_set(err, INFLIGHT_E_MODEL, "the chat template has %zu bytes, at most %d",
                       source.len, JINJA_SOURCE);
    size_t valid = utf8_valid(source.ptr, source.len);
    if (valid < source.len)
        return err_set(err, INFLIGHT_E_MODEL, "the chat template is not UTF-8 at byte %zu", valid);
    if (!copy_source(program, source))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to compile the chat template");
    buf_init(&tokens, mem);
    int32_t rc = jinja_lex(program->source, &tokens, err);
    if (rc == INFLIGHT_OK)
        rc = jinja_parse(program, (const struct token *)(const void *)tokens.ptr,
                         tokens.len / sizeof(struct token), err);
    buf_release(&tokens);
    return rc;
}

int32_t jinja_begin(struct run *run, const struct program *program, const struct mem *mem,
                    struct err *err)
{
    *run = (struct run){.program = program, .steps = RUN_STEPS, .err = err};
    arena_init(&run->arena, mem);
    run->global = run_take(run, program->n_atoms, sizeof *run->global);
    return run->code;
}

void jinja_set(struct run *run, struct str name, struct value value)
{
    int32_t atom = hash_find(&run->program->names, name.ptr, name.len, -1);
    if (atom >= 0)
        run->global[atom] = value;
}

int32_t jinja_render(struct run *run, struct buf *text, struct buf *mark)
{
    size_t text_len = text->len, mark_len = mark->len;
    if (text_len != mark_len)
        return err_set(run->err, INFLIGHT_E_INTERNAL, "text and marks are not of one length");
    run->text = text;
    run->mark = mark;
    run->text_start = text_len;
    if (run_body(run, run->program->body) != EXEC_FAIL)
        return INFLIGHT_OK;
    text->len = text_len;
    mark->len = mark_len;
    return run->code;
}

void jinja_end(struct run *run)
{
    arena_release(&run->arena);
}
