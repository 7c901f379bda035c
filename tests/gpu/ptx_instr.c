/* Statements of a function's body. */
#include "ptx_parser.h"

#include <string.h>

/* Longest opcode with its suffixes; nvcc's longest have about 80 characters. */
#define OPCODE_MOST 160

static ptx_find *const families[] = {
    find_move, find_integer, find_float, find_convert, find_memory, find_control,
    find_half, find_warp,    find_async, find_atomic,  find_matrix,
};

void instr_add(struct parser *p, const struct ptx_instr *instr)
{
    struct ptx_function *f = p->function;
    f->instr = parse_grow(p, f->instr, f->n_instr, sizeof *f->instr);
    f->instr[f->n_instr++] = *instr;
}

static bool find_form(const char *opcode, int n_operand, struct ptx_form *form)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        *form = (struct ptx_form){0};
        if (families[i](opcode, n_operand, form))
            return operand_count(form->operands) == n_operand;
    }
    return false;
}

/* What kernels for later targets have and those for sm_80 must not. */
static int target_least(const char *opcode)
{
    if (strncmp(opcode, "griddepcontrol.", 15) == 0)
        return 90;
    return strstr(opcode, ".e4m3") || strstr(opcode, ".e5m2") ? 89 : 80;
}

const struct ptx_form *instr_form(struct parser *p, const struct token *opcode, int n_operand)
{
    uint32_t index;
    char text[OPCODE_MOST];
    if (name_find(p, opcode, (uint64_t)n_operand, NAME_FORM, &index))
        return &p->form[index];
    if (opcode->n >= sizeof text)
        parse_fail(p, opcode->line, "unsupported instruction %.*s", TOKEN_TEXT(*opcode));
    memcpy(text, opcode->text, opcode->n);
    text[opcode->n] = '\0';
    p->form = parse_grow(p, p->form, p->n_form, sizeof *p->form);
    if (p->module->target < target_least(text))
        parse_fail(p, opcode->line, "%s needs sm_%d", text, target_least(text));
    if (!find_form(text, n_operand, &p->form[p->n_form]))
        parse_fail(p, opcode->line, "unsupported instruction %s with %d operands", text, n_operand);
    name_add(p, opcode, (uint64_t)n_operand, NAME_FORM, p->n_form);
    return &p->form[p->n_form++];
}

/* What the text of an instruction shows before its operands are understood. */
struct shape {
    int n_operand;
    int first, second; /* elements of the first two operands if they are vectors, else 0 */
};

/* Looks ahead to the ';' without taking anything. */
static struct shape look_ahead(const struct parser *p)
{
    struct lexer lexer = p->lexer;
    struct shape shape = {0};
    int depth = 0, elements = 0;
    for (struct token t = p->token;; t = lexer_next(&lexer)) {
        bool ends = t.kind == ';' || t.kind == TOKEN_END || t.kind == TOKEN_INVALID ||
                    (t.kind == '}' && depth == 0);
        if (!ends && shape.n_operand == 0)
            shape.n_operand = 1;
        if (t.kind == '{' || t.kind == '[' || t.kind == '(')
            depth++;
        if (t.kind == '}' || t.kind == ']' || t.kind == ')')
            depth--;
        if (t.kind == '{')
            elements = 1;
        if (t.kind == ',' && depth > 0)
            elements++;
        if (t.kind == '}' && shape.n_operand == 1)
            shape.first = elements;
        if (t.kind == '}' && shape.n_operand == 2)
            shape.second = elements;
        if (t.kind == ',' && depth == 0)
            shape.n_operand++;
        if (ends)
            return shape;
    }
}

/* mov with a vector has a name of its own (ptx.h); the text stays as it is for all others. */
static const char *mov_name(const struct token *opcode, const struct shape *shape)
{
    static const struct {
        const char *text;
        int first, second;
        const char *name;
    } movs[] = {
        {"mov.b32", 2, 0, "mov.b32.unpack2"}, {"mov.b32", 4, 0, "mov.b32.unpack4"},
        {"mov.b64", 2, 0, "mov.b64.unpack2"}, {"mov.b64", 4, 0, "mov.b64.unpack4"},
        {"mov.b32", 0, 2, "mov.b32.pack2"},   {"mov.b32", 0, 4, "mov.b32.pack4"},
        {"mov.b64", 0, 2, "mov.b64.pack2"},   {"mov.b64", 0, 4, "mov.b64.pack4"},
    };
    for (size_t i = 0; i < sizeof movs / sizeof *movs; i++)
        if (token_is(opcode, movs[i].text) && shape->first == movs[i].first &&
            shape->second == movs[i].second)
            return movs[i].name;
    return NULL;
}

/* call (result), name, (arguments): the name is the first word outside of parentheses. */
_Noreturn static void refuse_call(struct parser *p, uint32_t line)
{
    uint32_t depth = 0;
    while (p->token.kind != ';' && p->token.kind != TOKEN_END) {
        struct token token = parse_take(p);
        if (token.kind == '(')
            depth++;
        else if (token.kind == ')' && depth > 0)
            depth--;
        else if (token.kind == TOKEN_WORD && depth == 0)
            parse_fail(p, token.line, "unsupported call of %.*s", TOKEN_TEXT(token));
    }
    parse_fail(p, line, "unsupported call");
}

static bool is_call(const struct token *token)
{
    return token->kind == TOKEN_WORD && (token_is(token, "call") || token_starts(token, "call."));
}

/* .param in a body holds the arguments of a call that follows. */
_Noreturn static void refuse_param(struct parser *p)
{
    uint32_t line = p->token.line;
    while (p->token.kind != TOKEN_END && p->token.kind != '}') {
        struct token token = parse_take(p);
        if (is_call(&token))
            refuse_call(p, token.line);
    }
    parse_fail(p, line, "unsupported .param in a body");
}

static void parse_guard(struct parser *p, struct ptx_instr *instr)
{
    struct reg reg;
    if (!parse_accept(p, '@'))
        return;
    instr->guard_not = parse_accept(p, '!');
    struct token name = parse_take_kind(p, TOKEN_WORD, "predicate");
    if (!scope_register(p, &name, &reg) || reg.width != 0)
        parse_fail(p, name.line, "'%.*s' is not a predicate", TOKEN_TEXT(name));
    instr->guard = reg.slot;
}

/* Everything behind the guard and the opcode. */
static void parse_instruction(struct parser *p, struct ptx_instr *instr, const struct token *opcode)
{
    uint32_t n_fixup = p->n_fixup;
    if (is_call(opcode))
        refuse_call(p, opcode->line);
    struct shape shape = look_ahead(p);
    const char *mov = mov_name(opcode, &shape);
    struct token name = *opcode;
    if (mov) {
        name.text = mov;
        name.n = strlen(mov);
    }
    instr->line = opcode->line;
    instr->form = *instr_form(p, &name, shape.n_operand);
    instr->run = instr->form.run;
    parse_operands(p, instr);
    for (uint32_t i = n_fixup; i < p->n_fixup; i++)
        p->fixup[i].instr = p->function->n_instr;
    instr_add(p, instr);
}

/* A label, or an instruction with or without a guard. */
static void parse_statement(struct parser *p)
{
    struct ptx_instr instr = {.guard = PTX_NONE, .target = PTX_NONE};
    parse_guard(p, &instr);
    struct token word = parse_take_kind(p, TOKEN_WORD, "instruction");
    if (instr.guard == PTX_NONE && parse_accept(p, ':'))
        scope_label(p, &word);
    else
        parse_instruction(p, &instr, &word);
}

static void parse_directive(struct parser *p)
{
    enum ptx_space space;
    if (parse_skip(p))
        return;
    if (token_is(&p->token, ".param"))
        refuse_param(p);
    struct token token = parse_take(p);
    if (token_is(&token, ".reg"))
        parse_registers(p);
    else if (decl_space(&token, &space))
        parse_variable(p, space, false);
    else if (token_is(&token, ".branchtargets"))
        parse_fail(p, token.line, "unsupported .branchtargets (brx.idx, a table of branches)");
    else
        parse_fail(p, token.line, "unsupported directive %.*s", TOKEN_TEXT(token));
}

/* The executor relies on a ret at the end, which also stands for a label there. */
static void end_with_ret(struct parser *p, uint32_t line)
{
    struct ptx_function *f = p->function;
    const struct token ret = {TOKEN_WORD, "ret", 3, line};
    const struct ptx_instr *last = f->n_instr > 0 ? &f->instr[f->n_instr - 1] : NULL;
    bool labelled = p->label_end == f->n_instr;
    if (last && last->form.flow == FLOW_EXIT && last->guard == PTX_NONE && !labelled)
        return;
    struct ptx_instr instr = {.guard = PTX_NONE, .target = PTX_NONE, .line = line};
    instr.form = *instr_form(p, &ret, 0);
    instr.run = instr.form.run;
    instr_add(p, &instr);
}

void parse_body(struct parser *p)
{
    uint32_t outermost = p->depth;
    for (;;) {
        if (p->token.kind == TOKEN_END)
            parse_fail(p, p->token.line, "the text ends inside '%s'", p->function->name);
        if (p->token.kind == '}' && p->depth == outermost)
            break;
        if (parse_accept(p, '{'))
            scope_push(p);
        else if (parse_accept(p, '}'))
            scope_pop(p);
        else if (p->token.kind == TOKEN_DIRECTIVE)
            parse_directive(p);
        else if (!parse_accept(p, ';'))
            parse_statement(p);
    }
    end_with_ret(p, p->token.line);
    parse_expect(p, '}');
}
