/* Operands to slots. A form's signature (ptx.h) is read beside the text. */
#include "ptx_parser.h"

#include <string.h>

/* One item of a signature: r, r4, r|p. */
struct item {
    char kind, second; /* second: behind '|', 0 without */
    uint32_t count;    /* of a vector's elements, 0: not a vector */
    bool is_source;
};

struct signature {
    const char *at;
    bool in_sources;
};

static bool next_item(struct signature *s, struct item *item)
{
    if (*s->at == '=') {
        s->in_sources = true;
        s->at++;
    }
    if (*s->at == '\0')
        return false;
    *item = (struct item){.kind = *s->at++, .is_source = s->in_sources};
    while (*s->at >= '0' && *s->at <= '9' && item->count < PTX_SLOTS)
        item->count = item->count * 10 + (uint32_t)(*s->at++ - '0');
    if (*s->at == '|') {
        item->second = s->at[1];
        s->at += 2;
    }
    return true;
}

int operand_count(const char *operands)
{
    struct signature signature = {operands, false};
    struct item item;
    int n = 0;
    while (next_item(&signature, &item))
        n++;
    return n;
}

/* Bytes of a kind's slot, 0 for a predicate; of an 'x' the most it can have. */
static uint8_t kind_width(char kind)
{
    switch (kind) {
    case 'p':
        return 0;
    case 'h':
        return 2;
    case 'r':
        return 4;
    default:
        return 8;
    }
}

static void add_slot(struct parser *p, struct ptx_instr *instr, uint32_t slot, uint8_t width)
{
    if (instr->n_slot == PTX_SLOTS)
        parse_fail(p, instr->line, "more than %d operands", PTX_SLOTS);
    instr->slot[instr->n_slot] = slot;
    instr->width[instr->n_slot] = width;
    instr->n_slot++;
}

/* The slot already made under this key; else a new one of this width is entered. */
static bool shared_slot(struct parser *p, const struct ptx_key *key, uint8_t width, uint32_t *slot)
{
    if (table_find(&p->constants, key, slot))
        return true;
    *slot = scope_slot(p, 1, width);
    if (!table_add(&p->constants, key, *slot))
        parse_fail(p, p->token.line, "out of memory");
    return false;
}

uint32_t operand_constant(struct parser *p, uint8_t width, int32_t variable, uint64_t value)
{
    struct ptx_function *f = p->function;
    if (width == 0)
        value = value != 0;
    else if (width < 8)
        value &= (UINT64_C(1) << (8 * width)) - 1;
    struct ptx_key key = {NULL, 0, value, (uint64_t)(variable + 1) << 8 | width};
    uint32_t slot;
    if (shared_slot(p, &key, width, &slot))
        return slot;
    f->constant = parse_grow(p, f->constant, f->n_constant, sizeof *f->constant);
    f->constant[f->n_constant++] = (struct ptx_constant){
        .slot = slot, .bytes = width ? width : 1, .variable = variable, .value = value};
    return slot;
}

static const struct {
    const char *name;
    enum ptx_special what;
    uint8_t bytes;
} specials[] = {
    {"%tid.x", SPECIAL_TID_X, 4},
    {"%tid.y", SPECIAL_TID_Y, 4},
    {"%tid.z", SPECIAL_TID_Z, 4},
    {"%ntid.x", SPECIAL_NTID_X, 4},
    {"%ntid.y", SPECIAL_NTID_Y, 4},
    {"%ntid.z", SPECIAL_NTID_Z, 4},
    {"%ctaid.x", SPECIAL_CTAID_X, 4},
    {"%ctaid.y", SPECIAL_CTAID_Y, 4},
    {"%ctaid.z", SPECIAL_CTAID_Z, 4},
    {"%nctaid.x", SPECIAL_NCTAID_X, 4},
    {"%nctaid.y", SPECIAL_NCTAID_Y, 4},
    {"%nctaid.z", SPECIAL_NCTAID_Z, 4},
    {"%laneid", SPECIAL_LANEID, 4},
    {"%warpid", SPECIAL_WARPID, 4},
    {"%nwarpid", SPECIAL_NWARPID, 4},
    {"%lanemask_eq", SPECIAL_LANEMASK_EQ, 4},
    {"%lanemask_lt", SPECIAL_LANEMASK_LT, 4},
    {"%lanemask_le", SPECIAL_LANEMASK_LE, 4},
    {"%lanemask_gt", SPECIAL_LANEMASK_GT, 4},
    {"%lanemask_ge", SPECIAL_LANEMASK_GE, 4},
    {"%smid", SPECIAL_SMID, 4},
    {"%clock", SPECIAL_CLOCK, 4},
    {"%clock64", SPECIAL_CLOCK64, 8},
    {"%globaltimer", SPECIAL_GLOBALTIMER, 8},
    {"%dynamic_smem_size", SPECIAL_DYNAMIC_SMEM_SIZE, 4},
    {"%total_smem_size", SPECIAL_TOTAL_SMEM_SIZE, 4},
};

/* Above the keys of constants, whose number of a variable has 32 bits. */
#define SPECIAL_KEY (UINT64_C(1) << 48)

static bool special_register(struct parser *p, const struct token *name, struct reg *reg)
{
    struct ptx_function *f = p->function;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        if (!token_is(name, specials[i].name))
            continue;
        struct ptx_key key = {NULL, 0, (uint64_t)specials[i].what, SPECIAL_KEY};
        reg->width = specials[i].bytes;
        if (shared_slot(p, &key, reg->width, &reg->slot))
            return true;
        f->special = parse_grow(p, f->special, f->n_special, sizeof *f->special);
        f->special[f->n_special++] =
            (struct ptx_special_slot){reg->slot, reg->width, specials[i].what};
        return true;
    }
    return false;
}

/* A register must be as wide as its operand says; 'x' takes any but a predicate. */
static void add_register_slot(struct parser *p, struct ptx_instr *instr, char kind,
                              const struct token *name, const struct reg *reg)
{
    bool fits = kind == 'x' ? reg->width != 0 : reg->width == kind_width(kind);
    if (!fits)
        parse_fail(p, name->line, "'%.*s' is not the kind of register that operand %u needs",
                   TOKEN_TEXT(*name), instr->n_slot + 1u);
    add_slot(p, instr, reg->slot, reg->width);
}

static void parse_destination(struct parser *p, struct ptx_instr *instr, char kind)
{
    struct reg reg;
    struct token name = parse_take_kind(p, TOKEN_WORD, "register");
    if (token_is(&name, "_"))
        add_slot(p, instr, PTX_NONE, kind_width(kind));
    else if (scope_register(p, &name, &reg))
        add_register_slot(p, instr, kind, &name, &reg);
    else
        parse_fail(p, name.line, "unknown register '%.*s'", TOKEN_TEXT(name));
}

static void parse_literal(struct parser *p, struct ptx_instr *instr, char kind)
{
    uint64_t bits;
    uint8_t bytes;
    struct token token = p->token;
    uint8_t width = kind_width(kind);
    if (token_float(&token, &bits, &bytes)) {
        parse_take(p);
        if (kind == 'x')
            width = bytes;
        if (bytes != width)
            parse_fail(p, token.line, "'%.*s' is not as wide as its operand", TOKEN_TEXT(token));
    } else {
        bits = (uint64_t)parse_integer(p);
    }
    add_slot(p, instr, operand_constant(p, width, -1, bits), width);
}

/* !%p: a predicate of the instruction's own that a not.pred before it sets. */
static void parse_not(struct parser *p, struct ptx_instr *instr, char kind)
{
    struct reg reg;
    struct token opcode = {TOKEN_WORD, "not.pred", 8, instr->line};
    parse_expect(p, '!');
    struct token name = parse_take_kind(p, TOKEN_WORD, "predicate");
    if (kind != 'p' || !scope_register(p, &name, &reg) || reg.width != 0)
        parse_fail(p, name.line, "'!%.*s' is not a predicate's complement", TOKEN_TEXT(name));
    struct ptx_instr not = {.guard = PTX_NONE, .line = instr->line, .target = PTX_NONE};
    not .form = *instr_form(p, &opcode, 2);
    not .run = not .form.run;
    add_slot(p, &not, scope_slot(p, 1, 0), 0);
    add_slot(p, &not, reg.slot, 0);
    not .n_destination = 1;
    instr_add(p, &not );
    add_slot(p, instr, not .slot[0], 0);
}

static void parse_source(struct parser *p, struct ptx_instr *instr, char kind)
{
    struct reg reg;
    if (p->token.kind == '!') {
        parse_not(p, instr, kind);
        return;
    }
    if (p->token.kind == TOKEN_NUMBER || p->token.kind == '-') {
        parse_literal(p, instr, kind);
        return;
    }
    struct token name = parse_take_kind(p, TOKEN_WORD, "operand");
    if (scope_register(p, &name, &reg) || special_register(p, &name, &reg)) {
        add_register_slot(p, instr, kind, &name, &reg);
        return;
    }
    uint8_t width = kind_width(kind);
    int32_t variable = -1;
    uint64_t value = 0;
    if (token_is(&name, "WARP_SZ"))
        value = WARP_LANES;
    else
        variable = decl_variable(p, &name);
    if ((variable < 0 && value == 0) || width < 4)
        parse_fail(p, name.line, "unknown operand '%.*s'", TOKEN_TEXT(name));
    if (variable >= 0 && parse_accept(p, '+'))
        value = (uint64_t)parse_integer(p);
    add_slot(p, instr, operand_constant(p, width, variable, value), width);
}

static void parse_element_of(struct parser *p, struct ptx_instr *instr, const struct item *item)
{
    if (item->is_source)
        parse_source(p, instr, item->kind);
    else
        parse_destination(p, instr, item->kind);
}

/* A single register may stand in braces too: ldmatrix.x1 {%r1}, mma's {%r5}. */
static void parse_vector(struct parser *p, struct ptx_instr *instr, const struct item *item)
{
    uint32_t n = item->count > 0 ? item->count : 1;
    parse_expect(p, '{');
    for (uint32_t k = 0; k < n; k++) {
        if (k > 0)
            parse_expect(p, ',');
        parse_element_of(p, instr, item);
    }
    parse_expect(p, '}');
}

/* What is between the '[' and an offset: a register, a variable or a number. */
static bool parse_base(struct parser *p, struct ptx_instr *instr)
{
    struct reg reg = {PTX_NONE, 8};
    int32_t variable;
    struct token name = p->token;
    if (name.kind == TOKEN_NUMBER) {
        reg.slot = operand_constant(p, 8, -1, (uint64_t)parse_integer(p));
    } else {
        name = parse_take_kind(p, TOKEN_WORD, "address");
        if (scope_register(p, &name, &reg)) {
            if (reg.width != 4 && reg.width != 8)
                parse_fail(p, name.line, "'%.*s' cannot hold an address", TOKEN_TEXT(name));
        } else {
            variable = decl_variable(p, &name);
            if (variable < 0)
                parse_fail(p, name.line, "unknown address '%.*s'", TOKEN_TEXT(name));
            reg.slot = operand_constant(p, 8, variable, 0);
        }
    }
    add_slot(p, instr, reg.slot, reg.width);
    return reg.width == 4;
}

static void parse_address(struct parser *p, struct ptx_instr *instr, uint32_t n_address)
{
    int64_t offset = 0;
    parse_expect(p, '[');
    bool is32 = parse_base(p, instr);
    if (parse_accept(p, '+') || p->token.kind == '-')
        offset = parse_integer(p);
    parse_expect(p, ']');
    if (n_address == 0) {
        instr->offset = offset;
        instr->address32 = is32;
    } else if (n_address == 1) {
        instr->offset2 = offset;
        instr->address32_2 = is32;
    } else
        parse_fail(p, instr->line, "unsupported: more than two addresses");
}

static void parse_label(struct parser *p, struct ptx_instr *instr)
{
    struct token label = parse_take_kind(p, TOKEN_WORD, "label");
    instr->target = PTX_NONE;
    p->fixup = parse_grow(p, p->fixup, p->n_fixup, sizeof *p->fixup);
    p->fixup[p->n_fixup++] = (struct fixup){label, PTX_NONE, p->scope};
}

static void parse_pair(struct parser *p, struct ptx_instr *instr, const struct item *item)
{
    parse_destination(p, instr, item->kind);
    if (parse_accept(p, '|'))
        parse_destination(p, instr, item->second);
    else
        add_slot(p, instr, PTX_NONE, kind_width(item->second));
}

void parse_operands(struct parser *p, struct ptx_instr *instr)
{
    struct signature signature = {instr->form.operands, false};
    struct item item;
    uint32_t n_address = 0, n_literal = 0;
    for (bool first = true; next_item(&signature, &item); first = false) {
        if (!first)
            parse_expect(p, ',');
        if (item.kind == 'a')
            parse_address(p, instr, n_address++);
        else if (item.kind == 'l')
            parse_label(p, instr);
        else if (item.kind == 'i' && n_literal < 2)
            instr->literal[n_literal++] = parse_integer(p);
        else if (item.count > 0 || p->token.kind == '{')
            parse_vector(p, instr, &item);
        else if (item.second)
            parse_pair(p, instr, &item);
        else
            parse_element_of(p, instr, &item);
        if (!item.is_source)
            instr->n_destination = instr->n_slot;
    }
    parse_expect(p, ';');
}
