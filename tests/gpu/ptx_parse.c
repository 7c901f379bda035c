/* The module: header, linking directives, entries. Bodies are in ptx_instr.c. */
#include "ptx_parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void parse_fail(struct parser *p, uint32_t line, const char *format, ...)
{
    va_list args;
    int n = snprintf(p->error, p->error_bytes, "line %u: ", line);
    if (n > 0 && (size_t)n < p->error_bytes) {
        va_start(args, format);
        vsnprintf(p->error + n, p->error_bytes - (size_t)n, format, args);
        va_end(args);
    }
    longjmp(p->escape, 1);
}

void *parse_grow(struct parser *p, void *array, uint32_t n, size_t element)
{
    bool full = n == 0 || (n >= 8 && (n & (n - 1)) == 0);
    if (!full)
        return array;
    if (n >= UINT32_C(1) << 30)
        parse_fail(p, p->token.line, "too much of everything");
    void *larger = realloc(array, (n ? 2 * (size_t)n : 8) * element);
    if (!larger)
        parse_fail(p, p->token.line, "out of memory");
    return larger;
}

char *parse_copy(struct parser *p, const struct token *name)
{
    char *copy = strndup(name->text, name->n);
    if (!copy)
        parse_fail(p, name->line, "out of memory");
    return copy;
}

struct token parse_take(struct parser *p)
{
    struct token token = p->token;
    if (token.kind == TOKEN_INVALID)
        parse_fail(p, token.line, "not PTX: '%.*s'", TOKEN_TEXT(token));
    p->token = lexer_next(&p->lexer);
    return token;
}

struct token parse_take_kind(struct parser *p, int kind, const char *what)
{
    struct token token = parse_take(p);
    if (token.kind != kind)
        parse_fail(p, token.line, "%s expected, not '%.*s'", what, TOKEN_TEXT(token));
    return token;
}

bool parse_accept(struct parser *p, int punctuation)
{
    if (p->token.kind != punctuation)
        return false;
    parse_take(p);
    return true;
}

bool parse_accept_directive(struct parser *p, const char *text)
{
    if (p->token.kind != TOKEN_DIRECTIVE || !token_is(&p->token, text))
        return false;
    parse_take(p);
    return true;
}

void parse_expect(struct parser *p, int punctuation)
{
    struct token token = parse_take(p);
    if (token.kind != punctuation)
        parse_fail(p, token.line, "'%c' expected, not '%.*s'", punctuation, TOKEN_TEXT(token));
}

int64_t parse_integer(struct parser *p)
{
    uint64_t value;
    bool negative = parse_accept(p, '-');
    struct token token = parse_take_kind(p, TOKEN_NUMBER, "integer");
    if (!token_integer(&token, &value))
        parse_fail(p, token.line, "'%.*s' is not an integer", TOKEN_TEXT(token));
    return (int64_t)(negative ? 0 - value : value);
}

uint32_t parse_count(struct parser *p)
{
    uint32_t line = p->token.line;
    int64_t value = parse_integer(p);
    if (value < 0 || value > UINT32_MAX)
        parse_fail(p, line, "a count out of range");
    return (uint32_t)value;
}

void parse_skip_braces(struct parser *p)
{
    uint32_t line = p->token.line, depth = 0;
    parse_expect(p, '{');
    for (depth = 1; depth > 0;) {
        struct token token = parse_take(p);
        if (token.kind == TOKEN_END)
            parse_fail(p, line, "this '{' is never closed");
        depth += token.kind == '{';
        depth -= token.kind == '}';
    }
}

bool parse_skip(struct parser *p)
{
    if (parse_accept_directive(p, ".pragma")) {
        parse_take_kind(p, TOKEN_STRING, "string");
        parse_expect(p, ';');
        return true;
    }
    if (parse_accept_directive(p, ".section")) {
        while (p->token.kind != '{' && p->token.kind != TOKEN_END)
            parse_take(p);
        parse_skip_braces(p);
        return true;
    }
    if (p->token.kind != TOKEN_DIRECTIVE ||
        (!token_is(&p->token, ".loc") && !token_is(&p->token, ".file")))
        return false;
    for (uint32_t line = p->token.line; p->token.kind != TOKEN_END && p->token.line == line;)
        parse_take(p);
    return true;
}

static struct ptx_key name_key(const struct token *name, uint64_t scope, enum name_kind kind)
{
    return (struct ptx_key){name->text, name->n, scope, (uint64_t)kind};
}

bool name_find(struct parser *p, const struct token *name, uint64_t scope, enum name_kind kind,
               uint32_t *value)
{
    struct ptx_key key = name_key(name, scope, kind);
    return table_find(&p->names, &key, value);
}

void name_add(struct parser *p, const struct token *name, uint64_t scope, enum name_kind kind,
              uint32_t value)
{
    struct ptx_key key = name_key(name, scope, kind);
    uint32_t before;
    if (table_find(&p->names, &key, &before))
        parse_fail(p, name->line, "'%.*s' is declared twice", TOKEN_TEXT(*name));
    if (!table_add(&p->names, &key, value))
        parse_fail(p, name->line, "out of memory");
}

static void parse_version(struct parser *p)
{
    struct token token = parse_take_kind(p, TOKEN_NUMBER, "version");
    int major = 0, minor = 0;
    char text[16] = "";
    if (token.n < sizeof text)
        memcpy(text, token.text, token.n);
    if (sscanf(text, "%3d.%3d", &major, &minor) != 2)
        parse_fail(p, token.line, "'%.*s' is not a PTX version", TOKEN_TEXT(token));
    p->module->version_major = major;
    p->module->version_minor = minor;
}

/* sm_80, sm_90a; texture modes and "debug" may follow and change nothing here. */
static void parse_target(struct parser *p)
{
    struct token token = parse_take_kind(p, TOKEN_WORD, "target");
    char text[16] = "";
    if (token.n < sizeof text)
        memcpy(text, token.text, token.n);
    if (sscanf(text, "sm_%4d", &p->module->target) != 1)
        parse_fail(p, token.line, "unsupported target '%.*s'", TOKEN_TEXT(token));
    while (parse_accept(p, ','))
        parse_take_kind(p, TOKEN_WORD, "target option");
}

static bool parse_header(struct parser *p)
{
    if (parse_accept_directive(p, ".version"))
        parse_version(p);
    else if (parse_accept_directive(p, ".target"))
        parse_target(p);
    else if (parse_accept_directive(p, ".address_size")) {
        if (parse_integer(p) != 64)
            parse_fail(p, p->token.line, "unsupported address size, 64 only");
    } else
        return false;
    return true;
}

/* One to three counts; those left out are 1. */
static void parse_shape(struct parser *p, uint32_t shape[3])
{
    shape[0] = parse_count(p);
    shape[1] = parse_accept(p, ',') ? parse_count(p) : 1;
    shape[2] = parse_accept(p, ',') ? parse_count(p) : 1;
}

/* A CTA has at most 1024 threads (CUDA Programming Guide, compute capabilities). */
static uint32_t parse_threads(struct parser *p, uint32_t shape[3])
{
    uint32_t line = p->token.line, threads = 1;
    parse_shape(p, shape);
    for (int k = 0; k < 3; k++) {
        if (shape[k] == 0 || shape[k] > 1024 / threads)
            parse_fail(p, line, "a shape of 0 or more than 1024 threads");
        threads *= shape[k];
    }
    return threads;
}

static void parse_performance(struct parser *p, struct ptx_function *f)
{
    uint32_t shape[3];
    while (p->token.kind == TOKEN_DIRECTIVE) {
        if (parse_skip(p))
            continue;
        struct token token = parse_take(p);
        if (token_is(&token, ".maxntid"))
            f->max_threads = parse_threads(p, shape);
        else if (token_is(&token, ".reqntid"))
            parse_threads(p, f->required);
        else if (token_is(&token, ".minnctapersm"))
            f->min_ctas = parse_count(p);
        else if (token_is(&token, ".maxnreg"))
            parse_count(p);
        else if (!token_is(&token, ".noreturn"))
            parse_fail(p, token.line, "unsupported directive %.*s", TOKEN_TEXT(token));
    }
}

static struct ptx_function *add_function(struct parser *p, const struct token *name)
{
    struct ptx_module *m = p->module;
    m->function = parse_grow(p, m->function, m->n_function, sizeof *m->function);
    m->function[m->n_function] = (struct ptx_function){.is_entry = true, .module = m};
    p->function = &m->function[m->n_function++];
    p->function->name = parse_copy(p, name);
    return p->function;
}

static void begin_function(struct parser *p)
{
    table_clear(&p->constants);
    p->n_fixup = 0;
    p->label_end = 0;
    p->first_variable = p->module->n_variable;
    scope_push(p);
    p->function_scope = p->scope;
}

static void parse_entry(struct parser *p)
{
    struct token name = parse_take_kind(p, TOKEN_WORD, "name of the entry");
    struct ptx_function *f = add_function(p, &name);
    name_add(p, &name, SCOPE_MODULE, NAME_ENTRY, p->module->n_function - 1);
    begin_function(p);
    if (parse_accept(p, '('))
        parse_params(p);
    parse_performance(p, f);
    parse_expect(p, '{');
    parse_body(p);
    scope_resolve(p);
    decl_finish_shared(p);
    f->shared_granule = memory_granule(f);
    if (!share_registers(f))
        parse_fail(p, name.line, "out of memory");
    scope_pop(p);
    p->function = NULL;
}

/* A .func has no use without a call, and calls are refused where they stand. */
static void skip_func(struct parser *p)
{
    uint32_t line = p->token.line;
    while (p->token.kind != '{' && p->token.kind != ';') {
        if (p->token.kind == TOKEN_END)
            parse_fail(p, line, "a .func without an end");
        parse_take(p);
    }
    if (!parse_accept(p, ';'))
        parse_skip_braces(p);
}

static void parse_linked(struct parser *p)
{
    enum ptx_space space;
    bool is_extern = false;
    while (p->token.kind == TOKEN_DIRECTIVE &&
           (token_is(&p->token, ".visible") || token_is(&p->token, ".weak") ||
            token_is(&p->token, ".extern") || token_is(&p->token, ".common"))) {
        is_extern |= token_is(&p->token, ".extern");
        parse_take(p);
    }
    struct token token = parse_take_kind(p, TOKEN_DIRECTIVE, "directive");
    if (token_is(&token, ".entry") && !is_extern)
        parse_entry(p);
    else if (token_is(&token, ".func"))
        skip_func(p);
    else if (decl_space(&token, &space) && space != SPACE_LOCAL)
        parse_variable(p, space, is_extern);
    else
        parse_fail(p, token.line, "unsupported directive %.*s", TOKEN_TEXT(token));
}

static void parse_module(struct parser *p)
{
    p->parent = parse_grow(p, p->parent, 0, sizeof *p->parent);
    p->parent[p->n_scope++] = SCOPE_MODULE;
    p->token = lexer_next(&p->lexer);
    while (p->token.kind != TOKEN_END)
        if (!parse_header(p) && !parse_skip(p) && !parse_accept(p, ';'))
            parse_linked(p);
    if (p->module->version_major == 0 || p->module->target == 0)
        parse_fail(p, p->token.line, "no .version or no .target");
    /* The array of functions has moved while it grew, the module has not. */
    for (uint32_t i = 0; i < p->module->n_function; i++)
        p->module->function[i].module = p->module;
}

static void parser_free(struct parser *p)
{
    table_free(&p->names);
    table_free(&p->constants);
    free(p->form);
    free(p->reg);
    free(p->fixup);
    free(p->parent);
    free(p);
}

static bool find_lines(struct ptx_module *module)
{
    uint32_t n = 1;
    for (const char *at = module->text; (at = strchr(at, '\n')); at++)
        n++;
    module->line_at = calloc(n, sizeof *module->line_at);
    if (!module->line_at)
        return false;
    module->n_line = 1;
    for (const char *at = module->text; module->n_line < n; module->n_line++) {
        at = strchr(at, '\n') + 1;
        module->line_at[module->n_line] = (uint32_t)(at - module->text);
    }
    return true;
}

/* NULL: no memory. */
static struct ptx_module *module_open(const char *text, size_t bytes)
{
    struct ptx_module *module = calloc(1, sizeof *module);
    if (!module)
        return NULL;
    module->text = malloc(bytes + 1);
    if (module->text && bytes > 0)
        memcpy(module->text, text, bytes);
    if (module->text)
        module->text[bytes] = '\0';
    if (!module->text || !find_lines(module)) {
        ptx_free(module);
        return NULL;
    }
    return module;
}

/* False: an error, and p->error says which. */
static bool run(struct parser *p)
{
    if (setjmp(p->escape) != 0)
        return false;
    parse_module(p);
    return true;
}

struct ptx_module *ptx_parse(const char *text, size_t bytes, char *error, size_t error_bytes)
{
    struct parser *p = calloc(1, sizeof *p);
    struct ptx_module *module = bytes <= TEXT_BYTES_MOST ? module_open(text, bytes) : NULL;
    if (!p || !module) {
        snprintf(error, error_bytes, "line 1: out of memory for %zu bytes of text", bytes);
        ptx_free(module);
        free(p);
        return NULL;
    }
    p->module = module;
    p->lexer = (struct lexer){module->text, module->text + bytes, 1};
    p->error = error;
    p->error_bytes = error_bytes;
    if (!run(p)) {
        ptx_free(module);
        module = NULL;
    }
    parser_free(p);
    return module;
}

static void free_function(struct ptx_function *f)
{
    free(f->name);
    free(f->instr);
    free(f->constant);
    free(f->special);
    free(f->watched);
    free(f->param);
    free(f->counts);
}

void ptx_free(struct ptx_module *module)
{
    if (!module)
        return;
    for (uint32_t i = 0; i < module->n_function; i++)
        free_function(&module->function[i]);
    for (uint32_t i = 0; i < module->n_variable; i++) {
        free(module->variable[i].name);
        free(module->variable[i].init);
    }
    free(module->function);
    free(module->variable);
    free(module->text);
    free(module->line_at);
    free(module);
}

const struct ptx_function *ptx_find_function(const struct ptx_module *module, const char *name)
{
    for (uint32_t i = 0; i < module->n_function; i++)
        if (strcmp(module->function[i].name, name) == 0)
            return &module->function[i];
    return NULL;
}

void ptx_line(const struct ptx_module *module, uint32_t line, char *out, size_t bytes)
{
    const char *at = line - 1 < module->n_line ? module->text + module->line_at[line - 1] : "";
    at += strspn(at, " \t");
    snprintf(out, bytes, "%.*s", (int)strcspn(at, "\r\n"), at);
}
