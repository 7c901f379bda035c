/* Sentences for faults, with the place in the program and in the grid. */
#include "exec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const fault_names[FAULT_KINDS] = {
    [FAULT_NONE] = "none",
    [FAULT_OUT_OF_BOUNDS] = "out of bounds",
    [FAULT_MISALIGNED] = "misaligned",
    [FAULT_FREED] = "use after free",
    [FAULT_UNINITIALISED] = "uninitialised read",
    [FAULT_RACE] = "race",
    [FAULT_IN_FLIGHT] = "cp.async in flight",
    [FAULT_DIVERGENT] = "divergent .sync",
    [FAULT_DEADLOCK] = "deadlock",
    [FAULT_TRAP] = "trap",
    [FAULT_EARLY] = "too early",
    [FAULT_TIMEOUT] = "timeout",
};

_Noreturn void fault_raise(struct warp *w, const struct ptx_instr *in, int lane,
                           enum fault_kind kind, const char *format, ...)
{
    struct cta *cta = w->cta;
    const struct ptx_function *function = cta->config->function;
    char what[192], line[160] = "?";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    uint32_t number = in ? in->line : 0;
    if (in && function->module)
        ptx_line(function->module, number, line, sizeof line);
    cta->fault->kind = kind;
    (void)snprintf(cta->fault->text, sizeof cta->fault->text,
                   "%s: %s; %s, line %u: %s; block (%u, %u, %u), warp %u, lane %d",
                   fault_names[kind], what, function->name, number, line, cta->id[0], cta->id[1],
                   cta->id[2], w->id, lane);
    longjmp(*cta->escape, 1);
}
