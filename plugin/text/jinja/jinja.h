/* The template interpreter as a whole: compile once, render often. */
#pragma once

#include "jinja_run.h"

/* Compiles into program->arena, which the caller releases also after a failure. */
int32_t jinja_compile(struct program *program, struct str source, const struct mem *mem,
                      struct err *err);

/* Between begin and end, variables are made in the run's arena and set by name; a name
 * that the template does not contain is ignored. text and mark are appended to; after
 * a failure they are as before. */
int32_t jinja_begin(struct run *run, const struct program *program, const struct mem *mem,
                    struct err *err);
void jinja_set(struct run *run, struct str name, struct value value);
int32_t jinja_render(struct run *run, struct buf *text, struct buf *mark);
void jinja_end(struct run *run);
