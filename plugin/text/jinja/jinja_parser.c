/* Tokens -> tree: statements. One function per tag, found by the tag's name. Inclusion
 * and inheritance of other templates do not exist here. */
#include "jinja_parser.h"

#include "jinja_builtin.h"

#include <string.h>

struct str parser_token_text(const struct parser *p, const struct token *token)
{
    return (struct str){p->program->source.ptr + token->at, token->len};
}

bool parser_refuse(struct parser *p, const struct token *at, const char *what)
{
    if (!p->failed) {
        uint32_t line, column;
        struct str text = parser_token_text(p, at);
        jinja_place(p->program->source, at->at, &line, &column);
        if (at->kind == TOKEN_END)
            err_set(p->err, INFLIGHT_E_MODEL, "chat template %u:%u: %s, at the end", line, column,
                    what);
        else
            err_set(p->err, INFLIGHT_E_MODEL, "chat template %u:%u: %s, at '%.*s'", line, column,
                    what, (int)MIN(text.len, (size_t)40), text.ptr);
        p->code = INFLIGHT_E_MODEL;
    }
    p->failed = true;
    return false;
}

struct node *parser_node(struct parser *p, enum node_kind kind)
{
    struct node *node = arena_take(&p->program->arena, sizeof *node);
    if (!node) {
        if (!p->failed)
            p->code = err_set(p->err, INFLIGHT_E_NOMEM, "no memory to compile the chat template");
        p->failed = true;
        return NULL;
    }
    node->kind = (uint8_t)kind;
    node->at = p->token->at;
    return node;
}

bool parser_enter(struct parser *p)
{
    if (p->depth >= JINJA_NESTING)
        return parser_refuse(p, p->token, "blocks or expressions are nested too deeply");
    p->depth++;
    return true;
}

bool parser_is_name(const struct parser *p, const char *name)
{
    struct str text = parser_token_text(p, p->token);
    return p->token->kind == TOKEN_NAME && text.len == strlen(name) &&
           memcmp(text.ptr, name, text.len) == 0;
}

bool parser_skip(struct parser *p, enum token_kind kind)
{
    if (p->failed || p->token->kind != kind)
        return false;
    p->token++;
    return true;
}

bool parser_skip_name(struct parser *p, const char *name)
{
    if (p->failed || !parser_is_name(p, name))
        return false;
    p->token++;
    return true;
}

bool parser_expect(struct parser *p, enum token_kind kind, const char *what)
{
    return parser_skip(p, kind) || parser_refuse(p, p->token, what);
}

/* The atom of a name: the same number for the same text. */
static bool intern(struct parser *p, struct str text, uint32_t *atom)
{
    struct program *program = p->program;
    int32_t known = hash_find(&program->names, text.ptr, text.len, -1);
    if (known < 0) {
        known = (int32_t)program->n_atoms;
        if (!hash_put(&program->names, text.ptr, text.len, known))
            return parser_refuse(p, p->token, "too many names");
        program->atom[program->n_atoms++] = text;
    }
    *atom = (uint32_t)known;
    return true;
}

bool parser_name(struct parser *p, uint32_t *atom)
{
    if (p->failed || p->token->kind != TOKEN_NAME)
        return parser_refuse(p, p->token, "a name is expected");
    bool ok = intern(p, parser_token_text(p, p->token), atom);
    p->token++;
    return ok;
}

static struct node *parse_statements(struct parser *p, const char *const *ends);

/* Statements up to one of the end tags, whose name is then the current token. */
static struct node *parse_body(struct parser *p, const char *const *ends)
{
    if (!parser_expect(p, TOKEN_BLOCK_END, "the end of the tag is expected") || !parser_enter(p))
        return NULL;
    struct node *body = parse_statements(p, ends);
    p->depth--;
    return body;
}

static struct node *parse_whole_body(struct parser *p, const char *end)
{
    const char *ends[] = {end, NULL};
    struct node *body = parse_body(p, ends);
    parser_skip_name(p, end);
    return body;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct node *node = parser_node(p, NODE_IF), **last = node ? &node->a : NULL;
    bool otherwise = false;
    do {
        struct node *branch = last ? parser_node(p, NODE_BRANCH) : NULL;
        if (!branch)
            return NULL;
        if (!otherwise)
            branch->a = parser_tuple(p, false);
        branch->d = parse_body(p, otherwise ? ends + 2 : ends);
        *last = branch;
        last = &branch->next;
        if (otherwise)
            break;
        otherwise = parser_skip_name(p, "else");
    } while (!p->failed && (otherwise || parser_skip_name(p, "elif")));
    parser_skip_name(p, "endif");
    return node;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct node *node = parser_node(p, NODE_FOR);
    if (!node)
        return NULL;
    node->a = parser_target(p, false);
    if (!parser_skip_name(p, "in"))
        parser_refuse(p, p->token, "'in' is expected");
    node->b = parser_tuple(p, false);
    if (parser_skip_name(p, "if"))
        node->c = parser_expression(p);
    if (!p->failed && parser_is_name(p, "recursive"))
        parser_refuse(p, p->token, "recursive loops are not supported");
    p->loops++;
    node->d = parse_body(p, ends);
    p->loops--;
    if (parser_skip_name(p, "else"))
        node->e = parse_body(p, ends + 1);
    parser_skip_name(p, "endfor");
    return node;
}

static struct node *parse_set(struct parser *p)
{
    struct node *node = parser_node(p, NODE_SET);
    if (!node)
        return NULL;
    node->a = parser_target(p, true);
    if (parser_skip(p, TOKEN_ASSIGN)) {
        node->b = parser_tuple(p, true);
    } else {
        node->c = parser_filters(p, NULL, false);
        node->d = parse_whole_body(p, "endset");
    }
    return node;
}

static void parse_parameters(struct parser *p, struct node *macro)
{
    struct node **last = &macro->a;
    bool with_default = false;
    parser_expect(p, TOKEN_LEFT_PAREN, "( is expected");
    while (!p->failed && p->token->kind != TOKEN_RIGHT_PAREN) {
        if (macro->a && !parser_expect(p, TOKEN_COMMA, ", is expected"))
            return;
        struct node *parameter = parser_node(p, NODE_PARAMETER);
        if (!parameter || !parser_name(p, &parameter->atom))
            return;
        if (parser_skip(p, TOKEN_ASSIGN)) {
            parameter->a = parser_expression(p);
            with_default = true;
        } else if (with_default) {
            parser_refuse(p, p->token, "a parameter without default follows one with default");
        }
        *last = parameter;
        last = &parameter->next;
    }
    parser_expect(p, TOKEN_RIGHT_PAREN, ") is expected");
}

/* The body of a macro is not inside of the loops around it. */
static struct node *parse_macro_body(struct parser *p, const char *end)
{
    int loops = p->loops;
    p->loops = 0;
    struct node *body = parse_whole_body(p, end);
    p->loops = loops;
    return body;
}

static struct node *parse_macro(struct parser *p)
{
    struct node *node = parser_node(p, NODE_MACRO);
    if (!node || !parser_name(p, &node->atom))
        return NULL;
    parse_parameters(p, node);
    node->d = parse_macro_body(p, "endmacro");
    return node;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *node = parser_node(p, NODE_CALL_BLOCK);
    struct node *macro = node ? parser_node(p, NODE_MACRO) : NULL;
    if (!macro || !intern(p, (struct str){"caller", 6}, &macro->atom))
        return NULL;
    if (p->token->kind == TOKEN_LEFT_PAREN)
        parse_parameters(p, macro);
    node->b = parser_expression(p);
    if (node->b && node->b->kind != NODE_CALL)
        parser_refuse(p, p->token, "a call is expected");
    macro->d = parse_macro_body(p, "endcall");
    node->c = macro;
    return node;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *node = parser_node(p, NODE_FILTERED);
    if (!node)
        return NULL;
    node->c = parser_filters(p, NULL, true);
    node->d = parse_whole_body(p, "endfilter");
    return node;
}

static struct node *parse_with(struct parser *p)
{
    struct node *node = parser_node(p, NODE_SCOPE), **last = node ? &node->a : NULL;
    while (last && !p->failed && p->token->kind != TOKEN_BLOCK_END) {
        if (node->a && !parser_expect(p, TOKEN_COMMA, ", is expected"))
            break;
        struct node *set = parser_node(p, NODE_SET);
        if (!set)
            return NULL;
        set->a = parser_target(p, false);
        parser_expect(p, TOKEN_ASSIGN, "= is expected");
        set->b = parser_expression(p);
        *last = set;
        last = &set->next;
    }
    if (node)
        node->d = parse_whole_body(p, "endwith");
    return node;
}

/* Marks the assistant's words for training; here it is only a block. */
static struct node *parse_generation(struct parser *p)
{
    struct node *node = parser_node(p, NODE_SCOPE);
    if (node)
        node->d = parse_whole_body(p, "endgeneration");
    return node;
}

static struct node *parse_break(struct parser *p)
{
    if (!p->loops)
        parser_refuse(p, p->token - 1, "this stands outside of a loop");
    return parser_node(p, NODE_BREAK);
}

static struct node *parse_continue(struct parser *p)
{
    if (!p->loops)
        parser_refuse(p, p->token - 1, "this stands outside of a loop");
    return parser_node(p, NODE_CONTINUE);
}

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p); /* after the name */
} tags[] = {
    {"if", parse_if},           {"for", parse_for},
    {"set", parse_set},         {"macro", parse_macro},
    {"call", parse_call_block}, {"filter", parse_filter_block},
    {"with", parse_with},       {"generation", parse_generation},
    {"break", parse_break},     {"continue", parse_continue},
};

static struct node *parse_tag(struct parser *p)
{
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        if (!parser_skip_name(p, tags[i].name))
            continue;
        struct node *node = tags[i].parse(p);
        parser_expect(p, TOKEN_BLOCK_END, "the end of the tag is expected");
        return p->failed ? NULL : node;
    }
    parser_refuse(p, p->token, "this tag is not supported here");
    return NULL;
}

static bool at_end(const struct parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (parser_is_name(p, *ends))
            return true;
    return false;
}

/* ends: names of the tags that end the list, NULL after the last; empty: the source's end. */
static struct node *parse_statements(struct parser *p, const char *const *ends)
{
    struct node *first = NULL, **last = &first;
    while (!p->failed && p->token->kind != TOKEN_END) {
        struct node *node;
        if (p->token->kind == TOKEN_DATA) {
            struct str text = parser_token_text(p, p->token);
            node = parser_node(p, NODE_DATA);
            if (node)
                node->value = value_text(text.ptr, text.len, true);
            p->token++;
        } else if (parser_skip(p, TOKEN_PRINT_BEGIN)) {
            node = parser_node(p, NODE_PRINT);
            if (node)
                node->a = parser_tuple(p, true);
            parser_expect(p, TOKEN_PRINT_END, "}} is expected");
        } else {
            p->token++;
            if (at_end(p, ends))
                return first;
            node = parse_tag(p);
        }
        if (!node)
            break;
        *last = node;
        last = &node->next;
    }
    if (!p->failed && *ends)
        parser_refuse(p, p->token, "a block is not closed");
    return first;
}

int32_t jinja_parse(struct program *program, const struct token *token, size_t n, struct err *err)
{
    static const char *const no_ends[] = {NULL};
    struct parser p = {.program = program, .token = token, .err = err};
    size_t n_names = 2; /* "caller" and "loop" */
    for (size_t i = 0; i < n; i++)
        n_names += token[i].kind == TOKEN_NAME;
    program->atom = arena_take_array(&program->arena, n_names, sizeof *program->atom);
    if (!program->atom || !hash_init(&program->names, &program->arena, n_names))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to compile the chat template");
    if (intern(&p, (struct str){"loop", 4}, &program->loop_atom))
        program->body = parse_statements(&p, no_ends);
    return p.failed ? p.code : INFLIGHT_OK;
}
