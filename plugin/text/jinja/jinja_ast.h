/* A compiled template: tokens on the way, then a tree of nodes in an arena. Immutable
 * after compilation, rendered by any number of threads at once. */
#pragma once

#include "../../base/arena.h"
#include "../../base/buf.h"
#include "../../base/err.h"
#include "../../base/hash.h"
#include "jinja_value.h"

enum { JINJA_SOURCE = 1 << 20, JINJA_NESTING = 64 }; /* most bytes; nested blocks and expressions */

enum token_kind {
    TOKEN_END,
    TOKEN_DATA, /* literal text */
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_NAME,
    TOKEN_STRING, /* with its quotes and escapes */
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_FLOOR,
    TOKEN_MOD,
    TOKEN_POWER,
    TOKEN_TILDE,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_LT,
    TOKEN_LE,
    TOKEN_GT,
    TOKEN_GE,
    TOKEN_IN,     /* only as an operator of a comparison */
    TOKEN_NOT_IN, /* likewise */
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COMMA,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
};

struct token {
    uint32_t kind;
    uint32_t at, len; /* bytes of the source */
};

/* What the children a .. e of a node are. A list is its first node, linked by next. */
enum node_kind {
    NODE_CONST,      /* value */
    NODE_NAME,       /* atom */
    NODE_LIST,       /* a: list of items */
    NODE_TUPLE,      /* a: list of items */
    NODE_DICT,       /* a: list of key, value, key, value ... */
    NODE_NEGATE,     /* a */
    NODE_PLUS,       /* a */
    NODE_NOT,        /* a */
    NODE_AND,        /* a, b */
    NODE_OR,         /* a, b */
    NODE_BINARY,     /* a op b */
    NODE_CONCAT,     /* a: list */
    NODE_COMPARE,    /* a, b: list of NODE_OPERAND */
    NODE_OPERAND,    /* op a */
    NODE_CHOICE,     /* a if b else c, c may be NULL */
    NODE_ATTRIBUTE,  /* a.atom */
    NODE_ITEM,       /* a[b] */
    NODE_SLICE,      /* a:b:c, each may be NULL; only as b of NODE_ITEM */
    NODE_CALL,       /* a(b: list of arguments) */
    NODE_KEYWORD,    /* atom = a; only as an argument, after all others */
    NODE_FILTER,     /* a|atom(b: list); a is NULL where the subject is a captured block */
    NODE_TEST,       /* a is atom(b: list); op: 1 negated */
    NODE_DATA,       /* value */
    NODE_PRINT,      /* a */
    NODE_IF,         /* a: list of NODE_BRANCH */
    NODE_BRANCH,     /* a: condition, NULL for else; d: body */
    NODE_FOR,        /* a: target, b: iterable, c: condition or NULL, d: body, e: else */
    NODE_SET,        /* a: target, b: expression; NULL: the captured d, through filter c */
    NODE_MACRO,      /* atom; a: list of NODE_PARAMETER, d: body */
    NODE_PARAMETER,  /* atom; a: default or NULL */
    NODE_CALL_BLOCK, /* b: call, c: NODE_MACRO with the body */
    NODE_FILTERED,   /* c: filter, d: body */
    NODE_SCOPE,      /* a: list of NODE_SET evaluated outside, d: body */
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_KINDS
};

struct node {
    uint8_t kind, op; /* op: enum token_kind */
    uint32_t at;      /* byte of the source, for errors */
    uint32_t atom;    /* name */
    struct node *a, *b, *c, *d, *e, *next;
    const struct builtin *function; /* of a filter or test; NULL: unknown */
    struct value value;
};

struct program {
    const struct mem *mem;
    struct arena arena;
    struct str source; /* line ends are \n, without the last one */
    struct str *atom;  /* (n_atoms) every name in the source */
    uint32_t n_atoms;
    struct hash names;  /* text -> atom */
    uint32_t loop_atom; /* of "loop" */
    struct node *body;
};

/* Appends struct tokens, the last of them TOKEN_END. */
int32_t jinja_lex(struct str source, struct buf *tokens, struct err *err);

/* Fills program->body and the atoms. */
int32_t jinja_parse(struct program *program, const struct token *token, size_t n, struct err *err);

/* Line and column, from 1, of a byte of the source. */
void jinja_place(struct str source, size_t at, uint32_t *line, uint32_t *column);
