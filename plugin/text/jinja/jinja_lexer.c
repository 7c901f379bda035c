/* Template source -> tokens. The rules of Jinja with trim_blocks and lstrip_blocks, as
 * model templates are written for:
 *
 *   - the first newline after a block or comment tag is dropped;
 *   - spaces between the start of a line and a block or comment tag are dropped;
 *   - a minus inside a tag drops all whitespace on that side, a plus keeps it all. */
#include "jinja_ast.h"
#include "jinja_string.h"

#include <string.h>

struct lexer {
    struct str source;
    size_t at;
    struct buf *tokens;
    struct err *err;
    char open[JINJA_NESTING]; /* the brackets that wait for their other half */
    size_t n_open;
};

void jinja_place(struct str source, size_t at, uint32_t *line, uint32_t *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at && i < source.len; i++) {
        if (source.ptr[i] == '\n') {
            ++*line;
            *column = 1;
        } else if ((source.ptr[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static bool refuse(struct lexer *l, size_t at, const char *what)
{
    uint32_t line, column;
    jinja_place(l->source, at, &line, &column);
    err_set(l->err, INFLIGHT_E_MODEL, "chat template %u:%u: %s", line, column, what);
    return false;
}

static bool put(struct lexer *l, enum token_kind kind, size_t at, size_t len)
{
    struct token token = {kind, (uint32_t)at, (uint32_t)len};
    buf_put(l->tokens, &token, sizeof token);
    return true;
}

static char peek(const struct lexer *l, size_t ahead)
{
    return l->source.len - l->at > ahead ? l->source.ptr[l->at + ahead] : '\0';
}

static bool looking_at(const struct lexer *l, const char *text)
{
    size_t len = strlen(text);
    return l->source.len - l->at >= len && memcmp(l->source.ptr + l->at, text, len) == 0;
}

static void skip_space(struct lexer *l)
{
    const char *end = l->source.ptr + l->source.len;
    while (l->at < l->source.len) {
        size_t len;
        if (!string_is_space(string_decode(l->source.ptr + l->at, end, &len)))
            break;
        l->at += len;
    }
}

/* After the end of a block or comment: sign is the character before the closing pair. */
static void trim_after(struct lexer *l, char sign)
{
    if (sign == '-')
        skip_space(l);
    else if (sign != '+' && peek(l, 0) == '\n')
        l->at++;
}

static bool all_space(const struct lexer *l, size_t from, size_t to)
{
    struct value text = value_text(l->source.ptr + from, to - from, true);
    return string_strip(&text, NULL, STRIP_LEFT).len == 0;
}

/* Literal text before a tag, with what the tag's sign does to it. */
static bool put_data(struct lexer *l, size_t from, size_t to, char sign, bool lstrip)
{
    if (sign == '-') {
        struct value text = value_text(l->source.ptr + from, to - from, true);
        to = from + string_strip(&text, NULL, STRIP_RIGHT).len;
    } else if (sign != '+' && lstrip) {
        size_t line = to;
        while (line > from && l->source.ptr[line - 1] != '\n')
            line--;
        bool starts_line = line == 0 || l->source.ptr[line - 1] == '\n';
        if (starts_line && all_space(l, line, to))
            to = line;
    }
    return to == from || put(l, TOKEN_DATA, from, to - from);
}

static bool lex_comment(struct lexer *l)
{
    size_t start = l->at;
    for (; l->at < l->source.len; l->at++) {
        if (!looking_at(l, "#}"))
            continue;
        char sign = l->at > start ? l->source.ptr[l->at - 1] : '\0';
        l->at += 2;
        trim_after(l, sign);
        return true;
    }
    return refuse(l, start, "this comment has no end");
}

/* "{% name -%}" at the current place, without the opening pair: moves past it. */
static bool skip_tag(struct lexer *l, const char *name, char *sign)
{
    size_t start = l->at;
    if (peek(l, 0) == '-' || peek(l, 0) == '+')
        l->at++;
    skip_space(l);
    if (looking_at(l, name)) {
        l->at += strlen(name);
        skip_space(l);
        *sign = peek(l, 0);
        if (*sign == '-' || *sign == '+')
            l->at++;
        if (looking_at(l, "%}")) {
            l->at += 2;
            return true;
        }
    }
    l->at = start;
    return false;
}

/* {% raw %} text {% endraw %}, after the first tag. */
static bool lex_raw(struct lexer *l, char sign)
{
    if (sign == '-')
        skip_space(l);
    size_t start = l->at;
    for (; l->at < l->source.len; l->at++) {
        if (!looking_at(l, "{%"))
            continue;
        size_t end = l->at;
        l->at += 2;
        char before = peek(l, 0), after;
        if (skip_tag(l, "endraw", &after)) {
            put_data(l, start, end, before, true);
            trim_after(l, after);
            return true;
        }
        l->at = end;
    }
    return refuse(l, start, "this raw block has no end");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) ||
           (unsigned char)c >= 0x80;
}

static void skip_digits(struct lexer *l)
{
    while (is_digit(peek(l, 0)) || (peek(l, 0) == '_' && is_digit(peek(l, 1))))
        l->at++;
}

static bool lex_number(struct lexer *l)
{
    size_t start = l->at;
    bool after_dot = start > 0 && l->source.ptr[start - 1] == '.';
    enum token_kind kind = TOKEN_INT;
    if (peek(l, 0) == '0' && peek(l, 1) && strchr("xXoObB", peek(l, 1))) {
        l->at += 2;
        while (is_name(peek(l, 0)))
            l->at++;
        return put(l, TOKEN_INT, start, l->at - start);
    }
    skip_digits(l);
    if (!after_dot && peek(l, 0) == '.' && is_digit(peek(l, 1))) {
        kind = TOKEN_FLOAT;
        l->at++;
        skip_digits(l);
    }
    size_t sign = peek(l, 1) == '+' || peek(l, 1) == '-';
    if (!after_dot && (peek(l, 0) | 0x20) == 'e' && is_digit(peek(l, 1 + sign))) {
        kind = TOKEN_FLOAT;
        l->at += 1 + sign;
        skip_digits(l);
    }
    return put(l, kind, start, l->at - start);
}

static bool lex_string(struct lexer *l)
{
    size_t start = l->at;
    char quote = peek(l, 0);
    for (l->at++; l->at < l->source.len; l->at++) {
        if (peek(l, 0) == '\\')
            l->at++;
        else if (peek(l, 0) == quote) {
            l->at++;
            return put(l, TOKEN_STRING, start, l->at - start);
        }
    }
    return refuse(l, start, "this string has no end");
}

static const struct {
    char text[3];
    uint8_t kind;
} operators[] = {
    {"//", TOKEN_FLOOR},
    {"**", TOKEN_POWER},
    {"==", TOKEN_EQ},
    {"!=", TOKEN_NE},
    {"<=", TOKEN_LE},
    {">=", TOKEN_GE},
    {"+", TOKEN_ADD},
    {"-", TOKEN_SUB},
    {"*", TOKEN_MUL},
    {"/", TOKEN_DIV},
    {"%", TOKEN_MOD},
    {"~", TOKEN_TILDE},
    {"<", TOKEN_LT},
    {">", TOKEN_GT},
    {"=", TOKEN_ASSIGN},
    {".", TOKEN_DOT},
    {",", TOKEN_COMMA},
    {":", TOKEN_COLON},
    {"|", TOKEN_PIPE},
    {"(", TOKEN_LEFT_PAREN},
    {")", TOKEN_RIGHT_PAREN},
    {"[", TOKEN_LEFT_BRACKET},
    {"]", TOKEN_RIGHT_BRACKET},
    {"{", TOKEN_LEFT_BRACE},
    {"}", TOKEN_RIGHT_BRACE},
};

/* Keeps count of brackets: inside of them "}}" and "%}" end nothing. */
static bool balance(struct lexer *l, enum token_kind kind)
{
    static const char closing[] = {
        [TOKEN_LEFT_PAREN] = ')', [TOKEN_LEFT_BRACKET] = ']', [TOKEN_LEFT_BRACE] = '}'};
    if (kind == TOKEN_LEFT_PAREN || kind == TOKEN_LEFT_BRACKET || kind == TOKEN_LEFT_BRACE) {
        if (l->n_open == sizeof l->open)
            return refuse(l, l->at, "brackets are nested too deeply");
        l->open[l->n_open++] = closing[kind];
    } else if (kind == TOKEN_RIGHT_PAREN || kind == TOKEN_RIGHT_BRACKET ||
               kind == TOKEN_RIGHT_BRACE) {
        if (l->n_open == 0 || l->open[--l->n_open] != peek(l, 0))
            return refuse(l, l->at, "this bracket closes nothing");
    }
    return true;
}

static bool lex_operator(struct lexer *l)
{
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        if (!looking_at(l, operators[i].text))
            continue;
        size_t start = l->at, len = strlen(operators[i].text);
        if (!balance(l, operators[i].kind))
            return false;
        l->at += len;
        return put(l, operators[i].kind, start, len);
    }
    return refuse(l, l->at, "unexpected character");
}

/* The end of a tag at the current place, if it is there: moves past it. */
static bool skip_end(struct lexer *l, bool block, char *sign)
{
    *sign = peek(l, 0);
    size_t signed_by = *sign == '-' || (block && *sign == '+');
    if (l->n_open || peek(l, signed_by) != (block ? '%' : '}') || peek(l, signed_by + 1) != '}')
        return false;
    l->at += signed_by + 2;
    return true;
}

/* What stands in {{ }} or {% %}, after the opening pair and its sign. */
static bool lex_expression(struct lexer *l, bool block)
{
    size_t start = l->at;
    l->n_open = 0;
    while (l->at < l->source.len) {
        size_t at = l->at;
        char sign, c = peek(l, 0);
        if (skip_end(l, block, &sign)) {
            if (block || sign == '-')
                trim_after(l, sign);
            return put(l, block ? TOKEN_BLOCK_END : TOKEN_PRINT_END, at, 2);
        }
        skip_space(l);
        if (l->at > at)
            continue;
        if (is_digit(c)) {
            if (!lex_number(l))
                return false;
        } else if (is_name(c)) {
            while (is_name(peek(l, 0)))
                l->at++;
            put(l, TOKEN_NAME, at, l->at - at);
        } else if (!(c == '"' || c == '\'' ? lex_string(l) : lex_operator(l))) {
            return false;
        }
    }
    return refuse(l, start, block ? "this block tag has no end" : "this {{ has no end");
}

/* The tag at the current place; data before it begins at from. */
static bool lex_tag(struct lexer *l, size_t from)
{
    size_t start = l->at;
    char kind = peek(l, 1), sign = peek(l, 2), raw_sign;
    l->at += 2;
    if (!put_data(l, from, start, sign, kind != '{'))
        return false;
    if (kind == '%' && skip_tag(l, "raw", &raw_sign))
        return lex_raw(l, raw_sign);
    l->at += sign == '-' || sign == '+';
    if (kind == '#')
        return lex_comment(l);
    put(l, kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_PRINT_BEGIN, start, 2);
    return lex_expression(l, kind == '%');
}

int32_t jinja_lex(struct str source, struct buf *tokens, struct err *err)
{
    struct lexer l = {.source = source, .tokens = tokens, .err = err};
    size_t from = 0;
    while (l.at < source.len) {
        char second = peek(&l, 1);
        if (peek(&l, 0) == '{' && (second == '{' || second == '%' || second == '#')) {
            if (!lex_tag(&l, from))
                return INFLIGHT_E_MODEL;
            from = l.at;
        } else {
            l.at++;
        }
    }
    if (from < source.len)
        put(&l, TOKEN_DATA, from, source.len - from);
    put(&l, TOKEN_END, source.len, 0);
    if (tokens->failed)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to compile the chat template");
    return INFLIGHT_OK;
}
