/* Shared by the two halves of the parser: statements and expressions. */
#pragma once

#include "jinja_ast.h"

struct parser {
    struct program *program;
    const struct token *token; /* the current one; TOKEN_END is never passed */
    int depth;
    int loops; /* around the current place, for break and continue */
    bool failed;
    int32_t code; /* why */
    struct err *err;
};

/* All return NULL or false when the parser has failed. */
struct node *parser_node(struct parser *p, enum node_kind kind);
bool parser_refuse(struct parser *p, const struct token *at, const char *what);
bool parser_enter(struct parser *p);
bool parser_is_name(const struct parser *p, const char *name);
bool parser_skip(struct parser *p, enum token_kind kind);
bool parser_skip_name(struct parser *p, const char *name);
bool parser_expect(struct parser *p, enum token_kind kind, const char *what);
bool parser_name(struct parser *p, uint32_t *atom);
struct str parser_token_text(const struct parser *p, const struct token *token);

/* jinja_expr.c */
struct node *parser_expression(struct parser *p);
/* An expression, or several with commas as a tuple. choice: allow "a if b". */
struct node *parser_tuple(struct parser *p, bool choice);
/* What can stand left of "in" and "=": names, tuples of them, ns.name if namespace. */
struct node *parser_target(struct parser *p, bool namespace);
/* Filters "|a|b" over subject; first: the name of the first follows without a bar. */
struct node *parser_filters(struct parser *p, struct node *subject, bool first);
/* A string, number or name token as it stands. */
struct node *parser_literal(struct parser *p);
