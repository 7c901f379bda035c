/* Tokens -> tree: expressions, by precedence climbing. From loose to tight: choice (a if
 * b else c), or, and, not, comparisons, + -, ~, * / // %, **, unary signs, then what is
 * written behind: .name [index] (arguments) |filter "is test". */
#include "jinja_parser.h"

#include "jinja_builtin.h"

#include <string.h>

static struct node *parse_unary(struct parser *p, bool with_filters);
static struct node *parse_or(struct parser *p);

static struct node *binary(struct parser *p, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *node = a && b ? parser_node(p, kind) : NULL;
    if (node) {
        node->at = a->at;
        node->a = a;
        node->b = b;
    }
    return node;
}

static struct node *one_child(struct parser *p, enum node_kind kind, struct node *a)
{
    struct node *node = a ? parser_node(p, kind) : NULL;
    if (node) {
        node->at = a->at;
        node->a = a;
    }
    return node;
}

/* ---- Lists of expressions -------------------------------------------------------- */

/* Items up to the closing bracket, with a comma allowed at the end. */
static struct node *parse_items(struct parser *p, enum node_kind kind, enum token_kind close)
{
    struct node *node = parser_node(p, kind), **last = node ? &node->a : NULL;
    while (last && !p->failed && p->token->kind != (uint32_t)close) {
        if (node->a && !parser_expect(p, TOKEN_COMMA, ", is expected"))
            break;
        if (p->token->kind == (uint32_t)close)
            break;
        struct node *item = *last = parser_expression(p);
        if (!item)
            break;
        last = &item->next;
        if (kind == NODE_DICT && parser_expect(p, TOKEN_COLON, ": is expected")) {
            item = *last = parser_expression(p);
            if (item)
                last = &item->next;
        }
    }
    parser_expect(p, close, "a closing bracket is expected");
    return p->failed ? NULL : node;
}

static struct node *parse_argument(struct parser *p, bool *keywords)
{
    if (p->token->kind == TOKEN_NAME && p->token[1].kind == TOKEN_ASSIGN) {
        struct node *node = parser_node(p, NODE_KEYWORD);
        if (!node || !parser_name(p, &node->atom))
            return NULL;
        p->token++;
        node->a = parser_expression(p);
        *keywords = true;
        return node;
    }
    if (*keywords)
        parser_refuse(p, p->token, "an argument by position follows one by name");
    if (p->token->kind == TOKEN_MUL || p->token->kind == TOKEN_POWER)
        parser_refuse(p, p->token, "unpacked arguments are not supported");
    return parser_expression(p);
}

/* After "(" up to and with ")". */
static struct node *parse_arguments(struct parser *p)
{
    struct node *first = NULL, **last = &first;
    bool keywords = false;
    while (!p->failed && p->token->kind != TOKEN_RIGHT_PAREN) {
        if (first && !parser_expect(p, TOKEN_COMMA, ", or ) is expected"))
            break;
        if (p->token->kind == TOKEN_RIGHT_PAREN)
            break;
        struct node *argument = *last = parse_argument(p, &keywords);
        if (argument)
            last = &argument->next;
    }
    parser_expect(p, TOKEN_RIGHT_PAREN, ") is expected");
    return first;
}

/* ---- Literals and names ---------------------------------------------------------- */

static struct node *parse_name(struct parser *p)
{
    static const struct {
        const char *name;
        struct value value;
    } constants[] = {
        {"true", {.kind = VALUE_BOOL, .trusted = true, .as.truth = true}},
        {"True", {.kind = VALUE_BOOL, .trusted = true, .as.truth = true}},
        {"false", {.kind = VALUE_BOOL, .trusted = true}},
        {"False", {.kind = VALUE_BOOL, .trusted = true}},
        {"none", {.kind = VALUE_NONE, .trusted = true}},
        {"None", {.kind = VALUE_NONE, .trusted = true}},
    };
    struct node *node = parser_node(p, NODE_NAME);
    for (size_t i = 0; node && i < COUNT_OF(constants); i++) {
        if (!parser_is_name(p, constants[i].name))
            continue;
        node->kind = NODE_CONST;
        node->value = constants[i].value;
        p->token++;
        return node;
    }
    return node && parser_name(p, &node->atom) ? node : NULL;
}

static struct node *parse_primary(struct parser *p)
{
    switch (p->token->kind) {
    case TOKEN_NAME:
        return parse_name(p);
    case TOKEN_STRING:
    case TOKEN_INT:
    case TOKEN_FLOAT:
        return parser_literal(p);
    case TOKEN_LEFT_BRACKET:
        p->token++;
        return parse_items(p, NODE_LIST, TOKEN_RIGHT_BRACKET);
    case TOKEN_LEFT_BRACE:
        p->token++;
        return parse_items(p, NODE_DICT, TOKEN_RIGHT_BRACE);
    case TOKEN_LEFT_PAREN: {
        p->token++;
        if (p->token->kind == TOKEN_RIGHT_PAREN)
            return parse_items(p, NODE_TUPLE, TOKEN_RIGHT_PAREN);
        struct node *node = parser_tuple(p, true);
        parser_expect(p, TOKEN_RIGHT_PAREN, ") is expected");
        return node;
    }
    default:
        parser_refuse(p, p->token, "an expression is expected");
        return NULL;
    }
}

/* ---- What is written behind ------------------------------------------------------- */

static struct node *parse_slice_part(struct parser *p)
{
    uint32_t kind = p->token->kind;
    return kind == TOKEN_COLON || kind == TOKEN_RIGHT_BRACKET ? NULL : parser_expression(p);
}

static struct node *parse_index(struct parser *p)
{
    struct node *from = parse_slice_part(p);
    if (!parser_skip(p, TOKEN_COLON)) {
        if (!from)
            parser_refuse(p, p->token, "an index is expected");
        return from;
    }
    struct node *slice = parser_node(p, NODE_SLICE);
    if (!slice)
        return NULL;
    slice->a = from;
    slice->b = parse_slice_part(p);
    if (parser_skip(p, TOKEN_COLON))
        slice->c = parse_slice_part(p);
    return slice;
}

static struct node *parse_dot(struct parser *p, struct node *object)
{
    struct node *node = one_child(p, NODE_ATTRIBUTE, object);
    if (!node)
        return NULL;
    node->at = p->token->at;
    if (p->token->kind == TOKEN_INT) {
        node->kind = NODE_ITEM;
        node->b = parser_literal(p);
        return node;
    }
    return parser_name(p, &node->atom) ? node : NULL;
}

static struct node *parse_call(struct parser *p, struct node *callee)
{
    struct node *node = one_child(p, NODE_CALL, callee);
    if (node)
        node->b = parse_arguments(p);
    return node;
}

static struct node *parse_postfix(struct parser *p, struct node *node)
{
    while (node && !p->failed) {
        if (parser_skip(p, TOKEN_DOT)) {
            node = parse_dot(p, node);
        } else if (parser_skip(p, TOKEN_LEFT_BRACKET)) {
            node = binary(p, NODE_ITEM, node, parse_index(p));
            parser_expect(p, TOKEN_RIGHT_BRACKET, "] is expected");
        } else if (parser_skip(p, TOKEN_LEFT_PAREN)) {
            node = parse_call(p, node);
        } else {
            return node;
        }
    }
    return NULL;
}

struct node *parser_filters(struct parser *p, struct node *subject, bool first)
{
    while (!p->failed && (first || parser_skip(p, TOKEN_PIPE))) {
        struct node *node = parser_node(p, NODE_FILTER);
        if (!node)
            return NULL;
        node->a = subject;
        node->function = builtin_filter(parser_token_text(p, p->token));
        if (!parser_name(p, &node->atom))
            return NULL;
        if (parser_skip(p, TOKEN_LEFT_PAREN))
            node->b = parse_arguments(p);
        subject = node;
        first = false;
    }
    return p->failed ? NULL : subject;
}

/* Whether an argument without brackets follows: "x is divisibleby 3". */
static bool at_test_argument(const struct parser *p)
{
    switch (p->token->kind) {
    case TOKEN_STRING:
    case TOKEN_INT:
    case TOKEN_FLOAT:
    case TOKEN_LEFT_BRACKET:
    case TOKEN_LEFT_BRACE:
        return true;
    case TOKEN_NAME:
        return !parser_is_name(p, "else") && !parser_is_name(p, "or") &&
               !parser_is_name(p, "and") && !parser_is_name(p, "if") && !parser_is_name(p, "is");
    default:
        return false;
    }
}

static struct node *parse_test(struct parser *p, struct node *subject)
{
    struct node *node = one_child(p, NODE_TEST, subject);
    if (!node)
        return NULL;
    node->op = parser_skip_name(p, "not");
    node->at = p->token->at;
    node->function = builtin_find(&builtin_tests, parser_token_text(p, p->token));
    if (!parser_name(p, &node->atom))
        return NULL;
    if (parser_skip(p, TOKEN_LEFT_PAREN))
        node->b = parse_arguments(p);
    else if (at_test_argument(p))
        node->b = parse_postfix(p, parse_primary(p));
    return node;
}

static struct node *parse_filters_and_tests(struct parser *p, struct node *node)
{
    while (node && !p->failed) {
        if (p->token->kind == TOKEN_PIPE)
            node = parser_filters(p, node, false);
        else if (parser_skip_name(p, "is"))
            node = parse_test(p, node);
        else if (parser_skip(p, TOKEN_LEFT_PAREN))
            node = parse_call(p, node);
        else
            return node;
    }
    return NULL;
}

/* ---- Operators -------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p, bool with_filters)
{
    struct node *node;
    if (!parser_enter(p))
        return NULL;
    if (parser_skip(p, TOKEN_SUB))
        node = one_child(p, NODE_NEGATE, parse_unary(p, false));
    else if (parser_skip(p, TOKEN_ADD))
        node = one_child(p, NODE_PLUS, parse_unary(p, false));
    else
        node = parse_primary(p);
    node = parse_postfix(p, node);
    if (with_filters)
        node = parse_filters_and_tests(p, node);
    p->depth--;
    return node;
}

enum { LEVEL_ADD, LEVEL_CONCAT, LEVEL_MUL, LEVEL_POWER, LEVEL_UNARY };

static int level_of(uint32_t kind)
{
    switch (kind) {
    case TOKEN_ADD:
    case TOKEN_SUB:
        return LEVEL_ADD;
    case TOKEN_TILDE:
        return LEVEL_CONCAT;
    case TOKEN_MUL:
    case TOKEN_DIV:
    case TOKEN_FLOOR:
    case TOKEN_MOD:
        return LEVEL_MUL;
    case TOKEN_POWER:
        return LEVEL_POWER;
    default:
        return -1;
    }
}

/* Operators of this level and tighter ones; all of them group to the left. */
static struct node *parse_binary(struct parser *p, int level)
{
    if (level == LEVEL_UNARY)
        return parse_unary(p, true);
    struct node *left = parse_binary(p, level + 1);
    while (left && !p->failed && level_of(p->token->kind) == level) {
        uint8_t op = (uint8_t)p->token->kind;
        p->token++;
        struct node *right = parse_binary(p, level + 1);
        if (op == TOKEN_TILDE && left->kind == NODE_CONCAT) {
            left->e->next = right; /* the list's last, kept in e while it grows */
            left->e = right;
            continue;
        }
        struct node *first = left;
        left = binary(p, op == TOKEN_TILDE ? NODE_CONCAT : NODE_BINARY, left, right);
        if (left && op == TOKEN_TILDE) {
            first->next = right;
            left->b = NULL;
            left->e = right;
        } else if (left) {
            left->op = op;
        }
    }
    return p->failed ? NULL : left;
}

static uint8_t skip_comparison(struct parser *p)
{
    uint32_t kind = p->token->kind;
    if (kind >= TOKEN_EQ && kind <= TOKEN_GE) {
        p->token++;
        return (uint8_t)kind;
    }
    if (parser_skip_name(p, "in"))
        return TOKEN_IN;
    if (parser_is_name(p, "not") && p->token[1].kind == TOKEN_NAME) {
        p->token++;
        if (parser_skip_name(p, "in"))
            return TOKEN_NOT_IN;
        p->token--;
    }
    return 0;
}

static struct node *parse_comparison(struct parser *p)
{
    struct node *first = parse_binary(p, LEVEL_ADD), *node = first, **last = NULL;
    uint8_t op;
    while (node && !p->failed && (op = skip_comparison(p)) != 0) {
        struct node *operand = one_child(p, NODE_OPERAND, parse_binary(p, LEVEL_ADD));
        if (!operand)
            return NULL;
        operand->op = op;
        if (!last) {
            node = binary(p, NODE_COMPARE, first, operand);
            if (!node)
                return NULL;
        } else {
            *last = operand;
        }
        last = &operand->next;
    }
    return p->failed ? NULL : node;
}

static struct node *parse_not(struct parser *p)
{
    if (!parser_skip_name(p, "not"))
        return parse_comparison(p);
    if (!parser_enter(p))
        return NULL;
    struct node *node = one_child(p, NODE_NOT, parse_not(p));
    p->depth--;
    return node;
}

static struct node *parse_and(struct parser *p)
{
    struct node *node = parse_not(p);
    while (node && parser_skip_name(p, "and"))
        node = binary(p, NODE_AND, node, parse_not(p));
    return p->failed ? NULL : node;
}

static struct node *parse_or(struct parser *p)
{
    struct node *node = parse_and(p);
    while (node && parser_skip_name(p, "or"))
        node = binary(p, NODE_OR, node, parse_and(p));
    return p->failed ? NULL : node;
}

struct node *parser_expression(struct parser *p)
{
    if (p->failed || !parser_enter(p))
        return NULL;
    struct node *node = parse_or(p);
    while (node && parser_skip_name(p, "if")) {
        node = binary(p, NODE_CHOICE, node, parse_or(p));
        if (node && parser_skip_name(p, "else"))
            node->c = parser_expression(p);
    }
    p->depth--;
    return p->failed ? NULL : node;
}

static bool at_tuple_end(const struct parser *p)
{
    uint32_t kind = p->token->kind;
    return kind == TOKEN_PRINT_END || kind == TOKEN_BLOCK_END || kind == TOKEN_RIGHT_PAREN;
}

struct node *parser_tuple(struct parser *p, bool choice)
{
    if (p->failed || !parser_enter(p))
        return NULL;
    struct node *first = choice ? parser_expression(p) : parse_or(p), *tuple = NULL;
    struct node *last = first;
    while (last && !p->failed && parser_skip(p, TOKEN_COMMA)) {
        if (!tuple)
            tuple = one_child(p, NODE_TUPLE, first);
        if (!tuple || at_tuple_end(p))
            break;
        last->next = choice ? parser_expression(p) : parse_or(p);
        last = last->next;
    }
    p->depth--;
    return p->failed ? NULL : tuple ? tuple : first;
}

/* One name, ns.name, or several of them in brackets. */
static struct node *parse_target_part(struct parser *p, bool namespace)
{
    if (!parser_enter(p))
        return NULL;
    struct node *node;
    if (parser_skip(p, TOKEN_LEFT_PAREN)) {
        node = parser_target(p, namespace);
        parser_expect(p, TOKEN_RIGHT_PAREN, ") is expected");
    } else {
        const struct token *at = p->token;
        node = p->token->kind == TOKEN_NAME ? parse_name(p) : NULL;
        if (!node || node->kind != NODE_NAME)
            parser_refuse(p, at, "a name to assign to is expected");
        else if (namespace && parser_skip(p, TOKEN_DOT))
            node = parse_dot(p, node);
    }
    p->depth--;
    return p->failed ? NULL : node;
}

struct node *parser_target(struct parser *p, bool namespace)
{
    struct node *first = parse_target_part(p, namespace), *last = first, *tuple = NULL;
    while (last && parser_skip(p, TOKEN_COMMA)) {
        if (!tuple)
            tuple = one_child(p, NODE_TUPLE, first);
        if (!tuple || p->token->kind == TOKEN_RIGHT_PAREN || parser_is_name(p, "in") ||
            p->token->kind == TOKEN_ASSIGN)
            break;
        last->next = parse_target_part(p, namespace);
        last = last->next;
    }
    return p->failed ? NULL : tuple ? tuple : first;
}
