/* Instructions that steer: branches, exits, fences (PTX ISA 9.0, 9.7.12, 9.7.13). */
#include "run.h"

#include <string.h>

static void run_nothing(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)w;
    (void)in;
    (void)mask;
}

static void run_fence(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)in;
    (void)mask;
    race_fence(w);
}

static void run_trap(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    fault_raise(w, in, __builtin_ctz(mask), FAULT_TRAP, "the program gave up");
}

/* What was written before is there: blocks run ahead only up to here (warp.c). */
static void run_wait(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)in;
    w->early &= ~mask;
    if (w->cta->config->overlap)
        atomic_store(&w->cta->config->overlap->has_waited, true);
}

static void run_let_go(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)in;
    w->cta->lets_go = w->cta->lets_go || w->early & mask;
}

bool control_lets_go(const struct ptx_function *function)
{
    for (uint32_t i = 0; i < function->n_instr; i++)
        if (function->instr[i].run == run_let_go)
            return true;
    return false;
}

static const struct {
    const char *opcode;
    struct ptx_form form;
} forms[] = {
    {"bra", {"=l", NULL, FLOW_BRANCH, {0}}},
    {"bra.uni", {"=l", NULL, FLOW_BRANCH, {0}}},
    {"ret", {"=", NULL, FLOW_EXIT, {0}}},
    {"ret.uni", {"=", NULL, FLOW_EXIT, {0}}},
    {"exit", {"=", NULL, FLOW_EXIT, {0}}},
    {"trap", {"=", run_trap, FLOW_NEXT, {0}}},
    {"nanosleep.u32", {"=r", run_nothing, FLOW_NEXT, {0}}},
    {"griddepcontrol.wait", {"=", run_wait, FLOW_GRID, {0}}},
    {"griddepcontrol.launch_dependents", {"=", run_let_go, FLOW_NEXT, {0}}},
};

/* membar.level, fence.sem.scope: all see all memory in one order here. within: a block alone. */
static bool is_fence(const char *opcode, bool *within)
{
    static const char *const names[] = {"membar", "fence.sc", "fence.acq_rel", "fence.acquire",
                                        "fence.release"};
    static const char *const scopes[] = {".cta", ".cluster", ".gpu", ".gl", ".sys"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < sizeof scopes / sizeof *scopes; k++) {
            size_t n = strlen(names[i]);
            *within = k == 0;
            if (strncmp(opcode, names[i], n) == 0 && strcmp(opcode + n, scopes[k]) == 0)
                return true;
        }
    return false;
}

bool find_control(const char *opcode, int n_operand, struct ptx_form *form)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        int wanted = 0;
        for (const char *p = forms[i].form.operands; *p; p++)
            wanted += *p != '=';
        if (wanted == n_operand && strcmp(opcode, forms[i].opcode) == 0) {
            *form = forms[i].form;
            return true;
        }
    }
    bool within;
    if (n_operand == 0 && is_fence(opcode, &within)) {
        *form = (struct ptx_form){.operands = "=", .run = within ? run_nothing : run_fence};
        return true;
    }
    return find_barrier(opcode, n_operand, form);
}
