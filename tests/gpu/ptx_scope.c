/* Scopes: { } in a function, with the registers and labels declared in them. */
#include "ptx_parser.h"

#include <string.h>

void scope_push(struct parser *p)
{
    if (p->depth == SCOPE_DEPTH)
        parse_fail(p, p->token.line, "more than %d { inside each other", SCOPE_DEPTH);
    p->parent = parse_grow(p, p->parent, p->n_scope, sizeof *p->parent);
    p->parent[p->n_scope] = p->depth == 0 ? SCOPE_MODULE : p->scope;
    p->scope = p->n_scope++;
    p->depth++;
}

void scope_pop(struct parser *p)
{
    while (p->n_reg > 0 && p->reg[p->n_reg - 1].scope == p->scope)
        p->n_reg--;
    p->scope = p->parent[p->scope];
    p->depth--;
}

/* Bytes of a slot by its width, as ptx.h has them. */
static uint32_t slot_bytes(uint8_t width)
{
    return width <= 2 ? 64 : WARP_LANES * (uint32_t)width;
}

uint32_t scope_slot(struct parser *p, uint64_t count, uint8_t width)
{
    struct ptx_function *f = p->function;
    uint32_t each = slot_bytes(width), slot = f->register_bytes;
    if (count > (REGISTER_BYTES_MOST - slot) / each)
        parse_fail(p, p->token.line, "more than %u bytes of registers", REGISTER_BYTES_MOST);
    f->register_bytes += (uint32_t)count * each;
    return slot;
}

/* True if the name is the prefix and a number without leading zeros, below count. */
static bool is_numbered(const struct token *name, const struct reg_decl *decl, uint32_t *number)
{
    uint64_t value = 0;
    if (name->n <= decl->n || name->n > decl->n + 10 ||
        memcmp(name->text, decl->name, decl->n) != 0)
        return false;
    const char *digit = name->text + decl->n, *end = name->text + name->n;
    if (*digit == '0' && end - digit > 1)
        return false;
    for (; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        value = value * 10 + (uint64_t)(*digit - '0');
    }
    *number = (uint32_t)value;
    return value < decl->count;
}

static bool is_register(const struct token *name, const struct reg_decl *decl, uint32_t *number)
{
    *number = 0;
    if (decl->many)
        return is_numbered(name, decl, number);
    return name->n == decl->n && memcmp(name->text, decl->name, name->n) == 0;
}

bool scope_register(struct parser *p, const struct token *name, struct reg *reg)
{
    uint32_t number;
    for (uint32_t i = p->n_reg; i-- > 0;) {
        const struct reg_decl *decl = &p->reg[i];
        if (!is_register(name, decl, &number))
            continue;
        *reg = (struct reg){decl->slot + number * slot_bytes(decl->width), decl->width};
        return true;
    }
    return false;
}

/* Do two declarations share a name? Of two ranges the longer prefix would have to be one of the
 * other's names, or the same. */
static bool overlaps(const struct reg_decl *x, const struct reg_decl *y)
{
    uint32_t number;
    struct token name = {TOKEN_WORD, y->name, y->n, 0};
    if (x->many && y->many && x->n > y->n)
        return overlaps(y, x);
    if (x->many && y->many && x->n == y->n)
        return memcmp(x->name, y->name, x->n) == 0;
    if (!x->many && y->many)
        return overlaps(y, x);
    return is_register(&name, x, &number);
}

static void add_register(struct parser *p, const struct token *name, uint8_t width)
{
    struct reg_decl decl = {.name = name->text, .n = name->n, .count = 1, .width = width};
    decl.scope = p->scope;
    if (parse_accept(p, '<')) {
        decl.many = true;
        decl.count = parse_count(p);
        parse_expect(p, '>');
    }
    for (uint32_t i = p->n_reg; i-- > 0 && p->reg[i].scope == p->scope;)
        if (overlaps(&p->reg[i], &decl))
            parse_fail(p, name->line, "register '%.*s' is declared twice", TOKEN_TEXT(*name));
    if (p->n_reg == REGISTERS_OPEN)
        parse_fail(p, name->line, "more than %d declarations of registers", REGISTERS_OPEN);
    decl.slot = scope_slot(p, decl.count, width);
    p->reg = parse_grow(p, p->reg, p->n_reg, sizeof *p->reg);
    p->reg[p->n_reg++] = decl;
}

void parse_registers(struct parser *p)
{
    struct token type = parse_take_kind(p, TOKEN_DIRECTIVE, "type");
    uint8_t width = decl_type_bytes(&type);
    bool is_pred = token_is(&type, ".pred");
    if (width == 0 && !is_pred)
        parse_fail(p, type.line, "unsupported type %.*s of a register", TOKEN_TEXT(type));
    if (width == 1)
        width = 2;
    do {
        struct token name = parse_take_kind(p, TOKEN_WORD, "register");
        add_register(p, &name, width);
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
}

void scope_label(struct parser *p, const struct token *name)
{
    name_add(p, name, p->scope, NAME_LABEL, p->function->n_instr);
    p->label_end = p->function->n_instr;
}

/* A label is seen in its own scope and those inside (PTX ISA 9.0, 4.4 and 9.2). */
void scope_resolve(struct parser *p)
{
    for (uint32_t i = 0; i < p->n_fixup; i++) {
        const struct fixup *fixup = &p->fixup[i];
        uint32_t scope = fixup->scope, target;
        while (!name_find(p, &fixup->label, scope, NAME_LABEL, &target)) {
            if (scope == p->function_scope || scope == SCOPE_MODULE)
                parse_fail(p, fixup->label.line, "unknown label '%.*s'", TOKEN_TEXT(fixup->label));
            scope = p->parent[scope];
        }
        p->function->instr[fixup->instr].target = target;
    }
}
