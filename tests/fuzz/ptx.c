/* Any bytes as the text of a module: refused with a line, or parsed so that every slot, target
 * and initialiser lies where the executor may use it. */
#include "tests/gpu/ptx.h"

#include <stdlib.h>
#include <string.h>

/* Keeps the compiler from dropping the reads. */
static volatile uint64_t sink;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_slot(const struct ptx_function *f, uint32_t slot, uint32_t width)
{
    uint32_t bytes = width <= 2 ? 64 : WARP_LANES * width;
    check(slot % 64 == 0 && slot < f->register_bytes && bytes <= f->register_bytes - slot);
}

static void check_instr(const struct ptx_function *f, const struct ptx_instr *instr)
{
    check(instr->n_slot <= PTX_SLOTS);
    for (uint32_t k = 0; k < instr->n_slot; k++)
        if (instr->slot[k] != PTX_NONE)
            check_slot(f, instr->slot[k], instr->width[k]);
    if (instr->guard != PTX_NONE)
        check_slot(f, instr->guard, 0);
    if (instr->form.flow == FLOW_BRANCH)
        check(instr->target < f->n_instr);
}

static void check_function(const struct ptx_module *m, const struct ptx_function *f)
{
    check(f->module == m && ptx_find_function(m, f->name) == f && f->n_instr > 0);
    check(f->instr[f->n_instr - 1].form.flow == FLOW_EXIT);
    for (uint32_t i = 0; i < f->n_instr; i++)
        check_instr(f, &f->instr[i]);
    for (uint32_t i = 0; i < f->n_constant; i++) {
        check_slot(f, f->constant[i].slot, f->constant[i].bytes);
        check(f->constant[i].variable < (int64_t)m->n_variable);
    }
    for (uint32_t i = 0; i < f->n_special; i++)
        check_slot(f, f->special[i].slot, f->special[i].bytes);
    for (uint32_t i = 0; i < f->n_param; i++)
        check(f->param[i].offset + f->param[i].bytes <= f->param_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char error[128] = "", line[64];
    struct ptx_module *m = ptx_parse((const char *)bytes, n, error, sizeof error);
    if (!m) {
        check(strncmp(error, "line ", 5) == 0);
        return 0;
    }
    for (uint32_t i = 0; i < m->n_function; i++)
        check_function(m, &m->function[i]);
    for (uint32_t i = 0; i < m->n_variable; i++) {
        const struct ptx_variable *v = &m->variable[i];
        check(v->align > 0 && v->address % v->align == 0);
        for (uint64_t k = 0; v->init && k < v->bytes; k++)
            sink += v->init[k];
    }
    ptx_line(m, (uint32_t)n / 8, line, sizeof line);
    ptx_free(m);
    return 0;
}
