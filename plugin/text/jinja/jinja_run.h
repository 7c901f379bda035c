/* One rendering: its memory, its limits, its variables and its output. Every function
 * that can fail returns false after it has written the error once. */
#pragma once

#include "../../base/arena.h"
#include "../../base/buf.h"
#include "../../base/err.h"
#include "jinja_ast.h"

struct arguments;

enum {
    RUN_STEPS = 1000000,     /* nodes evaluated, plus one per RUN_BYTES_PER_STEP of work */
    RUN_BYTES_PER_STEP = 64, /* compared, searched or copied */
    RUN_MEMORY = 64 << 20,   /* bytes of values, nothing is given back before the end */
    RUN_OUTPUT = 4 << 20,    /* bytes */
    RUN_DEPTH = 160,         /* of nested nodes, calls and values */
    RUN_RANGE = 100000,      /* most numbers in range(), as in Jinja's sandbox */
};

struct variable {
    uint32_t atom;
    struct value value;
    struct variable *next;
};

/* What a macro was defined in lives on after its block has ended, so scopes are in the
 * arena. The outermost scope is run.global. */
struct scope {
    struct scope *outer;
    struct variable *variable;
};

struct macro {
    const struct node *node;
    struct scope *scope; /* where it was defined */
};

struct loop {
    const struct list *items;
    size_t index;
    int64_t depth;
    bool trusted;
    struct value changed; /* last argument of loop.changed() */
};

struct run {
    const struct program *program;
    struct arena arena;
    size_t memory; /* bytes taken from the arena */
    int64_t steps; /* left */
    int depth;
    struct value *global;  /* (n_atoms), absent: not set */
    struct scope *scope;   /* NULL: outermost */
    struct loop *loop;     /* innermost */
    struct value captured; /* the subject of a filter without one: the block before it */
    const struct arguments *arguments; /* of the variadic function being called */
    const struct node *at;
    struct buf *text, *mark; /* the output; a captured block is its tail */
    size_t text_start;
    int32_t code; /* of the first failure */
    struct err *err;
};

/* Memory of the run, or NULL with the error written. */
void *run_take(struct run *run, size_t n, size_t element_bytes);
/* Pays for work on so many bytes. */
bool run_pay(struct run *run, size_t bytes);
bool run_enter(struct run *run); /* one level deeper; run_leave only after true */
void run_leave(struct run *run);
/* Returns false. The text is preceded by the place in the template. */
bool run_fail(struct run *run, int32_t code, const char *format, ...) PRINTF_LIKE(3, 4);

bool run_put(struct run *run, const struct value *string);
/* Output from start on becomes a string and leaves the output. */
bool run_capture(struct run *run, size_t start, struct value *string);

bool run_push_scope(struct run *run, struct scope *outer);
bool run_set(struct run *run, uint32_t atom, struct value value);
/* *value is absent if there is none of that name. */
bool run_find(struct run *run, uint32_t atom, struct value *value);

/* jinja_exec.c: a list of statements. */
enum exec { EXEC_FAIL, EXEC_GO, EXEC_BREAK, EXEC_CONTINUE };
enum exec run_body(struct run *run, const struct node *body);

/* jinja_eval.c */
bool run_eval(struct run *run, const struct node *node, struct value *out);
/* object.name: a method or field of the object, else its item of that name. */
bool run_attribute(struct run *run, const struct value *object, struct str name, struct value *out);
/* object[index]; undefined if it is not there. */
bool run_item(struct run *run, const struct value *object, const struct value *index,
              struct value *out);

/* jinja_operators.c */
bool run_binary(struct run *run, int op, const struct value *a, const struct value *b,
                struct value *out);
bool run_compare(struct run *run, int op, const struct value *a, const struct value *b, bool *out);
/* object[from:to:step]; absent bounds are NULL or none. */
bool run_slice(struct run *run, const struct value *object, const struct value bound[3],
               struct value *out);
