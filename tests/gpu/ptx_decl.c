/* Variables: .global, .const, .shared, .local, and the parameters of an entry. */
#include "ptx_parser.h"

#include <stdlib.h>
#include <string.h>

bool decl_space(const struct token *token, enum ptx_space *space)
{
    static const struct {
        const char *text;
        enum ptx_space space;
    } spaces[] = {{".global", SPACE_GLOBAL},
                  {".const", SPACE_CONST},
                  {".shared", SPACE_SHARED},
                  {".local", SPACE_LOCAL}};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (token->kind == TOKEN_DIRECTIVE && token_is(token, spaces[i].text)) {
            *space = spaces[i].space;
            return true;
        }
    return false;
}

uint8_t decl_type_bytes(const struct token *type)
{
    static const struct {
        const char *text;
        uint8_t bytes;
    } types[] = {{".b8", 1},  {".u8", 1},  {".s8", 1},    {".b16", 2},    {".u16", 2},
                 {".s16", 2}, {".f16", 2}, {".bf16", 2},  {".b32", 4},    {".u32", 4},
                 {".s32", 4}, {".f32", 4}, {".f16x2", 4}, {".bf16x2", 4}, {".b64", 8},
                 {".u64", 8}, {".s64", 8}, {".f64", 8},   {".e4m3x2", 2}, {".e5m2x2", 2}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (token_is(type, types[i].text))
            return types[i].bytes;
    return 0;
}

/* .align N, if it is there. */
static uint64_t parse_align(struct parser *p, uint64_t otherwise)
{
    if (!parse_accept_directive(p, ".align"))
        return otherwise;
    uint32_t line = p->token.line;
    uint32_t align = parse_count(p);
    if (align == 0 || align > 4096 || (align & (align - 1)))
        parse_fail(p, line, "an alignment of %u", align);
    return align;
}

/* What stands between the directive and the name. align is 0 without .align. */
static uint8_t parse_type(struct parser *p, uint64_t *align)
{
    *align = parse_align(p, 0);
    struct token type = parse_take_kind(p, TOKEN_DIRECTIVE, "type");
    uint8_t element = decl_type_bytes(&type);
    if (element == 0)
        parse_fail(p, type.line, "unsupported type %.*s of a variable", TOKEN_TEXT(type));
    /* .param .u64 .ptr .global .align 16 name: what the pointer points to. */
    if (parse_accept_directive(p, ".ptr")) {
        enum ptx_space space;
        if (decl_space(&p->token, &space))
            parse_take(p);
        parse_align(p, 0);
    }
    if (*align == 0)
        *align = element;
    return element;
}

/* [2][3]: elements in all. has_size: no dimension was left empty. */
static uint64_t parse_dimensions(struct parser *p, uint8_t element, bool *has_size)
{
    uint64_t n = 1, most = VARIABLE_BYTES_MOST / element;
    *has_size = true;
    while (parse_accept(p, '[')) {
        if (parse_accept(p, ']')) {
            *has_size = false;
            continue;
        }
        uint32_t line = p->token.line, count = parse_count(p);
        if (count != 0 && n > most / count)
            parse_fail(p, line, "a variable too large");
        n *= count;
        parse_expect(p, ']');
    }
    return n;
}

/* One element of an initialiser: its bits in the low bytes. */
static uint64_t parse_element(struct parser *p, uint8_t element)
{
    uint64_t bits;
    uint8_t bytes;
    struct token token = p->token;
    if (token_float(&token, &bits, &bytes)) {
        parse_take(p);
        if (bytes != element)
            parse_fail(p, token.line, "a float of another width than its variable's");
        return bits;
    }
    if (token.kind != TOKEN_NUMBER && token.kind != '-')
        parse_fail(p, token.line, "unsupported initialiser '%.*s'", TOKEN_TEXT(token));
    return (uint64_t)parse_integer(p);
}

/* How much of a variable's initialiser is there and allocated, in bytes. */
struct init {
    uint64_t n, room;
};

static void put_element(struct parser *p, struct ptx_variable *v, struct init *init,
                        uint8_t element, bool has_size)
{
    uint64_t bits = parse_element(p, element);
    if (init->n + element > init->room) {
        uint64_t room = has_size ? v->bytes : (init->room ? 2 * init->room : 64);
        if (room < init->n + element || room > INIT_BYTES_MOST)
            parse_fail(p, p->token.line, "too many bytes for '%s'", v->name);
        uint8_t *larger = realloc(v->init, room);
        if (!larger)
            parse_fail(p, p->token.line, "out of memory");
        memset(larger + init->room, 0, room - init->room);
        v->init = larger;
        init->room = room;
    }
    memcpy(v->init + init->n, &bits, element);
    init->n += element;
}

/* Elements in order; the braces of inner dimensions only group full rows in nvcc's output. */
static void parse_init(struct parser *p, struct ptx_variable *v, uint8_t element, bool has_size)
{
    struct init init = {0};
    uint32_t depth = 0;
    do {
        if (p->token.kind == '{') {
            parse_take(p);
            depth++;
            if (depth > 8)
                parse_fail(p, p->token.line, "unsupported initialiser");
            continue;
        }
        if (p->token.kind != '}')
            put_element(p, v, &init, element, has_size);
        while (depth > 0 && parse_accept(p, '}'))
            depth--;
        if (depth > 0)
            parse_expect(p, ',');
    } while (depth > 0);
    if (!has_size)
        v->bytes = init.n;
}

static struct ptx_variable *add_variable(struct parser *p, const struct token *name, uint32_t scope)
{
    struct ptx_module *m = p->module;
    m->variable = parse_grow(p, m->variable, m->n_variable, sizeof *m->variable);
    struct ptx_variable *v = &m->variable[m->n_variable];
    *v = (struct ptx_variable){.name = parse_copy(p, name)};
    m->n_variable++;
    name_add(p, name, scope, NAME_VARIABLE, m->n_variable - 1);
    return v;
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

/* Gives a variable its place in the function's window of the space. */
static void place(struct parser *p, struct ptx_variable *v, uint32_t *used, uint64_t most)
{
    uint64_t address = round_up(*used, v->align);
    if (v->bytes > most || address > most - v->bytes)
        parse_fail(p, p->token.line, "'%s' goes beyond %llu bytes", v->name,
                   (unsigned long long)most);
    v->address = address;
    *used = (uint32_t)(address + v->bytes);
}

static void place_in_function(struct parser *p, struct ptx_variable *v)
{
    if (v->space == SPACE_SHARED)
        place(p, v, &p->function->shared_bytes, SHARED_BYTES_MOST);
    else if (v->space == SPACE_LOCAL)
        place(p, v, &p->function->local_bytes, LOCAL_BYTES_MOST);
}

void parse_variable(struct parser *p, enum ptx_space space, bool is_extern)
{
    uint64_t align;
    uint8_t element = parse_type(p, &align);
    do {
        bool has_size;
        struct token name = parse_take_kind(p, TOKEN_WORD, "name of a variable");
        struct ptx_variable *v = add_variable(p, &name, p->function ? p->scope : SCOPE_MODULE);
        v->space = space;
        v->align = align;
        v->bytes = element * parse_dimensions(p, element, &has_size);
        if (!has_size)
            v->bytes = 0;
        if (parse_accept(p, '=')) {
            if (space != SPACE_GLOBAL && space != SPACE_CONST)
                parse_fail(p, name.line, "'%s' cannot have an initialiser", v->name);
            parse_init(p, v, element, has_size);
        } else if (!has_size && !(space == SPACE_SHARED && is_extern)) {
            parse_fail(p, name.line, "'%s' has no size", v->name);
        }
        if (is_extern && has_size)
            parse_fail(p, name.line, "unsupported: '%s' is of another module", v->name);
        if (p->function)
            place_in_function(p, v);
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
}

void parse_params(struct parser *p)
{
    struct ptx_function *f = p->function;
    if (parse_accept(p, ')'))
        return;
    do {
        uint64_t align;
        bool has_size;
        if (!parse_accept_directive(p, ".param"))
            parse_fail(p, p->token.line, ".param expected, not '%.*s'", TOKEN_TEXT(p->token));
        uint8_t element = parse_type(p, &align);
        struct token name = parse_take_kind(p, TOKEN_WORD, "name of a parameter");
        struct ptx_variable *v = add_variable(p, &name, p->scope);
        v->space = SPACE_PARAM;
        v->align = align;
        v->bytes = element * parse_dimensions(p, element, &has_size);
        if (!has_size)
            parse_fail(p, name.line, "'%s' has no size", v->name);
        place(p, v, &f->param_bytes, PARAM_BYTES_MOST);
        f->param = parse_grow(p, f->param, f->n_param, sizeof *f->param);
        f->param[f->n_param++] = (struct ptx_param){(uint32_t)v->address, (uint32_t)v->bytes};
    } while (parse_accept(p, ','));
    parse_expect(p, ')');
}

/* The module's shared variables have an address in each function that uses them: a copy of
 * the variable of the function's own. */
static uint32_t adopt_shared(struct parser *p, const struct token *name, uint32_t index)
{
    struct ptx_variable *v = add_variable(p, name, p->function_scope);
    v->space = SPACE_SHARED;
    v->bytes = p->module->variable[index].bytes;
    v->align = p->module->variable[index].align;
    if (v->bytes > 0)
        place_in_function(p, v);
    return p->module->n_variable - 1;
}

int32_t decl_variable(struct parser *p, const struct token *name)
{
    uint32_t index, scope = p->scope;
    while (scope != SCOPE_MODULE && !name_find(p, name, scope, NAME_VARIABLE, &index))
        scope = p->parent[scope];
    if (scope == SCOPE_MODULE) {
        if (!name_find(p, name, SCOPE_MODULE, NAME_VARIABLE, &index))
            return -1;
        if (p->module->variable[index].space == SPACE_SHARED)
            index = adopt_shared(p, name, index);
    }
    return (int32_t)index;
}

/* All dynamic arrays of a function begin at the same byte (CUDA Programming Guide, 10.2.3). */
void decl_finish_shared(struct parser *p)
{
    struct ptx_module *m = p->module;
    uint64_t align = 0;
    for (uint32_t i = p->first_variable; i < m->n_variable; i++)
        if (m->variable[i].space == SPACE_SHARED && m->variable[i].bytes == 0 &&
            m->variable[i].align > align)
            align = m->variable[i].align;
    if (align == 0)
        return;
    p->function->shared_bytes = (uint32_t)round_up(p->function->shared_bytes, align);
    for (uint32_t i = p->first_variable; i < m->n_variable; i++)
        if (m->variable[i].space == SPACE_SHARED && m->variable[i].bytes == 0)
            m->variable[i].address = p->function->shared_bytes;
}
