#include "ptx_lex.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* PTX ISA 9.0, 4.4: what follows the first character of an identifier. */
static bool is_follow(char c)
{
    return is_letter(c) || is_digit(c) || c == '_' || c == '$';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The character k places on, 0 behind the end. */
static char peek(const struct lexer *l, size_t k)
{
    return (size_t)(l->end - l->at) > k ? l->at[k] : 0;
}

static void step(struct lexer *l)
{
    if (*l->at == '\n')
        l->line++;
    l->at++;
}

/* False: a comment that does not end. */
static bool skip_comment(struct lexer *l)
{
    if (peek(l, 1) == '/') {
        while (l->at < l->end && *l->at != '\n')
            l->at++;
        return true;
    }
    l->at += 2;
    while (l->at < l->end) {
        if (*l->at == '*' && peek(l, 1) == '/') {
            l->at += 2;
            return true;
        }
        step(l);
    }
    return false;
}

static bool skip_space(struct lexer *l)
{
    while (l->at < l->end) {
        if (is_space(*l->at))
            step(l);
        else if (*l->at == '/' && (peek(l, 1) == '/' || peek(l, 1) == '*')) {
            if (!skip_comment(l))
                return false;
        } else
            break;
    }
    return true;
}

/* The rest of a word: parts joined by '.' or '::'. A label's single ':' ends it. */
static void take_word(struct lexer *l)
{
    for (;;) {
        while (is_follow(peek(l, 0)))
            l->at++;
        if (peek(l, 0) == '.' && is_follow(peek(l, 1)))
            l->at++;
        else if (peek(l, 0) == ':' && peek(l, 1) == ':' && is_follow(peek(l, 2)))
            l->at += 2;
        else
            return;
    }
}

static int take_string(struct lexer *l)
{
    l->at++;
    while (l->at < l->end && *l->at != '"' && *l->at != '\n') {
        if (*l->at == '\\' && l->end - l->at > 1 && l->at[1] != '\n')
            l->at++;
        l->at++;
    }
    return peek(l, 0) == '"' ? TOKEN_STRING : TOKEN_INVALID;
}

static int take(struct lexer *l)
{
    char c = *l->at;
    if (is_letter(c) || c == '_' || c == '$' || c == '%') {
        l->at++;
        take_word(l);
        return TOKEN_WORD;
    }
    if (c == '.') {
        /* .reg.b32 is two of them. */
        do
            l->at++;
        while (is_follow(peek(l, 0)));
        return TOKEN_DIRECTIVE;
    }
    if (is_digit(c)) {
        while (is_follow(peek(l, 0)) || (peek(l, 0) == '.' && is_digit(peek(l, 1))))
            l->at++;
        return TOKEN_NUMBER;
    }
    if (c == '"')
        return take_string(l);
    l->at++;
    return c && strchr("{}[]()<>,;:=+-|!@&*/~", c) ? c : TOKEN_INVALID;
}

struct token lexer_next(struct lexer *l)
{
    bool closed = skip_space(l);
    struct token token = {TOKEN_END, l->at, 0, l->line};
    if (!closed)
        token.kind = TOKEN_INVALID;
    if (l->at == l->end)
        return token;
    token.kind = take(l);
    token.n = (size_t)(l->at - token.text);
    if (token.kind == TOKEN_STRING) {
        token.text++;
        token.n--;
        l->at++;
    }
    return token;
}

bool token_is(const struct token *token, const char *text)
{
    return token->n == strlen(text) && memcmp(token->text, text, token->n) == 0;
}

bool token_starts(const struct token *token, const char *text)
{
    size_t n = strlen(text);
    return token->n >= n && memcmp(token->text, text, n) == 0;
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static bool read_digits(const char *text, size_t n, unsigned base, uint64_t *value)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)digit_value(text[i]);
        if (digit >= base || v > (UINT64_MAX - digit) / base)
            return false;
        v = v * base + digit;
    }
    *value = v;
    return n > 0;
}

bool token_integer(const struct token *token, uint64_t *value)
{
    const char *text = token->text;
    size_t n = token->n;
    if (token->kind != TOKEN_NUMBER)
        return false;
    if (n > 1 && text[n - 1] == 'U')
        n--;
    if (n > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return read_digits(text + 2, n - 2, 16, value);
    if (n > 2 && text[0] == '0' && (text[1] == 'b' || text[1] == 'B'))
        return read_digits(text + 2, n - 2, 2, value);
    if (n > 1 && text[0] == '0')
        return read_digits(text + 1, n - 1, 8, value);
    return read_digits(text, n, 10, value);
}

bool token_float(const struct token *token, uint64_t *bits, uint8_t *bytes)
{
    if (token->kind != TOKEN_NUMBER || token->n < 2 || token->text[0] != '0')
        return false;
    char kind = (char)(token->text[1] | 0x20);
    if (!(kind == 'f' && token->n == 10) && !(kind == 'd' && token->n == 18))
        return false;
    *bytes = kind == 'f' ? 4 : 8;
    return read_digits(token->text + 2, token->n - 2, 16, bits);
}
