/* Where instructions come from: the lines of the source that the PTX names (.loc, of nvcc
 * -lineinfo), or its own. */
#pragma once

#include "ptx.h"

struct source {
    uint32_t file; /* its number in the PTX, 0: the PTX itself */
    uint32_t line;
};

/* Of each instruction: out, (n_instr). Where functions were inlined it is the innermost's line. */
void lines_find(const struct ptx_function *function, struct source *out);
/* The file's name without its folder. */
void lines_file(const struct ptx_module *module, uint32_t number, char *out, size_t bytes);
