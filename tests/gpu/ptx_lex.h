/* PTX text as tokens. The text need not end with a 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Punctuation is a token of its own character's code. */
enum {
    TOKEN_END = 0,
    TOKEN_WORD = 256, /* an identifier or a dotted opcode: %r1, %tid.x, ld.global.L2::128B.u32 */
    TOKEN_DIRECTIVE,  /* .reg, with its dot */
    TOKEN_NUMBER,     /* 12, 0x1f, 0f3F800000, 9.0 */
    TOKEN_STRING,     /* without its quotes */
    TOKEN_INVALID     /* a character PTX does not know, an open comment or string */
};

struct token {
    int kind;
    const char *text;
    size_t n;
    uint32_t line;
};

struct lexer {
    const char *at, *end;
    uint32_t line;
};

struct token lexer_next(struct lexer *lexer);
bool token_is(const struct token *token, const char *text);
/* True if the token starts with this text. */
bool token_starts(const struct token *token, const char *text);

/* An integer without its sign, in any of PTX's bases, with or without U; false: not one, or
 * more than 64 bits. */
bool token_integer(const struct token *token, uint64_t *value);
/* 0f and 8 hexadecimal digits, or 0d and 16: the bits. bytes is 4 or 8. */
bool token_float(const struct token *token, uint64_t *bits, uint8_t *bytes);
