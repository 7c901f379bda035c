/* Literals of templates: strings with Python's escapes, integers of 64 bits, decimals.
 * They become values in the arena of the program. */
#include "jinja_parser.h"

#include <string.h>

#include <jansson.h>

/* Writes the UTF-8 of a character that is not a surrogate; bytes written. */
static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Up to most digits; how many there were. */
static size_t read_digits(struct str in, int base, size_t most, uint32_t *out)
{
    size_t n = 0;
    for (*out = 0; n < most && n < in.len && digit_of(in.ptr[n]) < base; n++)
        *out = *out * (uint32_t)base + (uint32_t)digit_of(in.ptr[n]);
    return n;
}

/* An escape after its backslash: how many bytes it took, 0 if it is malformed. What is
 * no escape keeps the backslash, as in Python. */
static size_t read_escape(struct str in, char *out, size_t *written)
{
    static const char plain[] = "\\'\"abfnrtv", meaning[] = "\\'\"\a\b\f\n\r\t\v";
    const char *found = in.ptr[0] ? strchr(plain, in.ptr[0]) : NULL;
    struct str rest = {in.ptr + 1, in.len - 1};
    uint32_t c;
    *written = 0;
    if (found) {
        out[(*written)++] = meaning[found - plain];
        return 1;
    }
    if (in.ptr[0] == '\n')
        return 1;
    if (in.ptr[0] >= '0' && in.ptr[0] <= '7') {
        size_t n = read_digits(in, 8, 3, &c);
        *written = put_utf8(out, c);
        return n;
    }
    if (in.ptr[0] == 'x' || in.ptr[0] == 'u' || in.ptr[0] == 'U') {
        size_t n = in.ptr[0] == 'x' ? 2 : in.ptr[0] == 'u' ? 4 : 8;
        if (read_digits(rest, 16, n, &c) != n || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return 0;
        *written = put_utf8(out, c);
        return n + 1;
    }
    if (in.ptr[0] == 'N')
        return 0;
    out[(*written)++] = '\\';
    out[(*written)++] = in.ptr[0];
    return 1;
}

/* Appends to out, which has room for quoted.len bytes: no escape grows. */
static bool unescape(struct parser *p, struct str quoted, char *out, size_t *len)
{
    struct str in = {quoted.ptr + 1, quoted.len - 2};
    while (in.len) {
        size_t used = 1, written = 1;
        if (*in.ptr == '\\') {
            struct str escape = {in.ptr + 1, in.len - 1};
            size_t n = read_escape(escape, out + *len, &written);
            if (n == 0)
                return parser_refuse(p, p->token, "this escape is not supported");
            used += n;
        } else {
            out[*len] = *in.ptr;
        }
        *len += written;
        in.ptr += used;
        in.len -= used;
    }
    return true;
}

/* Neighbouring strings are one. */
static bool read_string(struct parser *p, struct value *out)
{
    size_t room = 0, len = 0;
    for (const struct token *t = p->token; t->kind == TOKEN_STRING; t++)
        room += t->len;
    char *text = arena_take(&p->program->arena, room);
    if (!text)
        return parser_refuse(p, p->token, "no memory");
    for (; p->token->kind == TOKEN_STRING; p->token++)
        if (!unescape(p, parser_token_text(p, p->token), text, &len))
            return false;
    *out = value_text(text, len, true);
    return true;
}

static bool read_int(struct parser *p, struct str text, struct value *out)
{
    int base = 10;
    int64_t n = 0;
    if (text.len > 2 && text.ptr[0] == '0' && strchr("xXoObB", text.ptr[1])) {
        base = (text.ptr[1] | 0x20) == 'x' ? 16 : (text.ptr[1] | 0x20) == 'o' ? 8 : 2;
        text.ptr += 2;
        text.len -= 2;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '_')
            continue;
        int digit = digit_of(text.ptr[i]);
        if (digit >= base)
            return parser_refuse(p, p->token, "this is not a number");
        if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, digit, &n))
            return parser_refuse(p, p->token, "this number does not fit 64 bits");
    }
    *out = value_int(n, true);
    return true;
}

/* Through the JSON library, whose decimals do not depend on the locale. */
static bool read_real(struct parser *p, struct str text, struct value *out)
{
    char digits[64];
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '_')
            continue;
        if (n == sizeof digits)
            return parser_refuse(p, p->token, "this number is too long");
        digits[n++] = text.ptr[i];
    }
    json_t *json = json_loadb(digits, n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    bool ok = json_is_real(json);
    *out = value_real(json_real_value(json), true);
    json_decref(json);
    return ok || parser_refuse(p, p->token, "this is not a number");
}

struct node *parser_literal(struct parser *p)
{
    struct node *node = parser_node(p, NODE_CONST);
    struct str text = parser_token_text(p, p->token);
    if (!node)
        return NULL;
    if (p->token->kind == TOKEN_STRING)
        return read_string(p, &node->value) ? node : NULL;
    bool ok = p->token->kind == TOKEN_INT ? read_int(p, text, &node->value)
                                          : read_real(p, text, &node->value);
    p->token++;
    return ok ? node : NULL;
}
