/* The state of ptx_parse(), private to the ptx_*.c files. What is parsed goes straight into the
 * module, so that on an error, which jumps out of any depth, ptx_free() finds all of it. */
#pragma once

#include "ptx.h"
#include "ptx_lex.h"
#include "ptx_table.h"

#include <setjmp.h>

/* What a name in parser.names stands for; key.a is the scope, for a form the operand count. */
enum name_kind { NAME_LABEL, NAME_VARIABLE, NAME_ENTRY, NAME_FORM };

/* The scope of the module's own names. */
#define SCOPE_MODULE 0
/* { } inside each other; registers declared at one time. Far above what nvcc writes. */
#define SCOPE_DEPTH    64
#define REGISTERS_OPEN 4096
/* Lines and tokens are counted in 32 bits. */
#define TEXT_BYTES_MOST (UINT64_C(256) << 20)
/* Of one warp; a text that asks for more is refused, not served. */
#define REGISTER_BYTES_MOST (UINT32_C(32) << 20)
#define SHARED_BYTES_MOST   (UINT64_C(256) << 10)
#define LOCAL_BYTES_MOST    (UINT64_C(512) << 10)
#define PARAM_BYTES_MOST    (UINT64_C(32) << 10)
#define VARIABLE_BYTES_MOST (UINT64_C(1) << 40)
#define INIT_BYTES_MOST     (UINT64_C(64) << 20)

/* A declaration of registers: one name, or with a count prefix0 ... prefix<count - 1>. */
struct reg_decl {
    const char *name;
    size_t n;
    bool many;
    uint32_t count;
    uint32_t slot; /* of the first */
    uint8_t width; /* as ptx_instr.width */
    uint32_t scope;
};

struct reg {
    uint32_t slot;
    uint8_t width;
};

/* A branch whose label may still come. */
struct fixup {
    struct token label;
    uint32_t instr, scope;
};

struct parser {
    struct lexer lexer;
    struct token token; /* the next one, not yet taken */
    struct ptx_module *module;
    struct ptx_function *function; /* the one being parsed */
    struct ptx_table names, constants;
    struct ptx_form *form; /* (n_form) each opcode's, once looked up */
    uint32_t n_form;
    struct reg_decl *reg; /* (n_reg) of the open scopes */
    uint32_t n_reg;
    struct fixup *fixup; /* (n_fixup) of the function */
    uint32_t n_fixup;
    uint32_t *parent; /* (n_scope) the scope around each */
    uint32_t n_scope;
    uint32_t scope, depth;
    uint32_t function_scope; /* the outermost one of the function */
    uint32_t first_variable; /* of the function's own */
    uint32_t label_end;      /* instruction count at the last label */
    char *error;
    size_t error_bytes;
    jmp_buf escape;
};

/* ptx_parse.c: errors, memory, tokens. */
_Noreturn void parse_fail(struct parser *p, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Room for element n of an array that has grown one by one. */
void *parse_grow(struct parser *p, void *array, uint32_t n, size_t element);
char *parse_copy(struct parser *p, const struct token *name);
/* Takes the next token. */
struct token parse_take(struct parser *p);
struct token parse_take_kind(struct parser *p, int kind, const char *what);
/* Takes it if it is this one. */
bool parse_accept(struct parser *p, int punctuation);
bool parse_accept_directive(struct parser *p, const char *text);
void parse_expect(struct parser *p, int punctuation);
/* A literal integer with an optional minus. */
int64_t parse_integer(struct parser *p);
uint32_t parse_count(struct parser *p);
/* Skips .loc and .file (to the end of their line), .pragma and .section; false: none of them. */
bool parse_skip(struct parser *p);
void parse_skip_braces(struct parser *p);
bool name_find(struct parser *p, const struct token *name, uint64_t scope, enum name_kind kind,
               uint32_t *value);
void name_add(struct parser *p, const struct token *name, uint64_t scope, enum name_kind kind,
              uint32_t value);

/* How messages show a token: "%.*s" takes both. */
#define TOKEN_TEXT(token) (int)((token).n < 80 ? (token).n : 80), (token).text

/* ptx_scope.c: scopes, registers, labels. */
void scope_push(struct parser *p);
void scope_pop(struct parser *p);
uint32_t scope_slot(struct parser *p, uint64_t count, uint8_t width);
void parse_registers(struct parser *p); /* behind .reg */
bool scope_register(struct parser *p, const struct token *name, struct reg *reg);
void scope_label(struct parser *p, const struct token *name);
/* Sets the targets of the function's branches. */
void scope_resolve(struct parser *p);

/* ptx_decl.c: variables. */
bool decl_space(const struct token *token, enum ptx_space *space);
uint8_t decl_type_bytes(const struct token *type); /* .f32: 4; 0: not a type */
void parse_variable(struct parser *p, enum ptx_space space, bool is_extern);
void parse_params(struct parser *p); /* behind the '(' */
/* The variable a name means here, -1: none. */
int32_t decl_variable(struct parser *p, const struct token *name);
/* Lays dynamic shared memory behind the static. */
void decl_finish_shared(struct parser *p);

/* ptx_operand.c */
uint32_t operand_constant(struct parser *p, uint8_t width, int32_t variable, uint64_t value);
/* Operands in the text of an instruction with this signature. */
int operand_count(const char *operands);
/* The operands of one instruction, as its form's signature says. */
void parse_operands(struct parser *p, struct ptx_instr *instr);

/* ptx_instr.c */
void instr_add(struct parser *p, const struct ptx_instr *instr);
const struct ptx_form *instr_form(struct parser *p, const struct token *opcode, int n_operand);
void parse_body(struct parser *p); /* behind the '{' */

/* ptx_live.c: gives registers that are never live at once the same slot. False: no memory. */
bool share_registers(struct ptx_function *function);
