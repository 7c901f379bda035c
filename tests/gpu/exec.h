/* Executing a grid: launch -> CTAs -> warps of 32 lanes -> instructions.
 *
 * A warp is a list of groups (pc, lanes). The group with the smallest pc runs next; groups
 * that meet merge, so that lanes converge again without an analysis of the program. CTAs run
 * to their end one after the other on each of a few host threads; warps of a CTA take turns
 * at barriers, in an order that the seed shuffles. */
#pragma once

#include "fault.h"
#include "overlap.h"
#include "ptx.h"
#include "races.h"

#include <setjmp.h>

struct launch_config {
    const struct ptx_function *function;
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;   /* dynamic */
    const uint8_t *param;    /* (function->param_bytes) */
    uint32_t context;        /* whose memory it may touch */
    uint64_t seed;           /* order of warps and CTAs; 0: as numbered */
    bool split;              /* lanes part at random and meet again only at .sync instructions */
    int threads;             /* host threads */
    bool count;              /* fill function->counts */
    bool races;              /* find those between blocks; then there is one host thread */
    struct overlap *overlap; /* with the kernels before; NULL: none, in tests */
};

/* Runs the grid to its end or to its first fault, which is returned in fault. */
void launch_run(const struct launch_config *config, struct fault *fault);

/* Some blocks of a launch, which run up to griddepcontrol.wait while the kernel before has not run
 * (overlap.h). config's parameters must live as long; its overlap is not looked at. *n: blocks at
 * most, and those that ran. NULL: no memory. One of the other two ends it. */
#define AHEAD_MOST 4 /* blocks */
struct ahead;
struct ahead *launch_ahead(const struct launch_config *config, uint32_t *n);
/* The kernel's turn: runs all of the grid. before: the kernels that may still run, in place of
 * which come those that the next launch may run beside. */
void launch_go_on(struct ahead *ahead, struct unfinished *before, struct fault *fault);
void launch_forget(struct ahead *ahead); /* NULL is allowed */
/* Whether the function can let the next kernel begin before it has ended (control.c). */
bool control_lets_go(const struct ptx_function *function);

struct group {
    uint32_t pc;
    uint32_t mask;
};

struct warp {
    struct cta *cta;
    uint8_t *reg;  /* (function->register_bytes), 64-byte aligned */
    uint32_t id;   /* in its CTA */
    uint32_t live; /* lanes that have not exited */
    struct group group[WARP_LANES];
    int n_group;
    const struct ptx_instr *barrier_instr; /* that it came to last */
    bool waits;                            /* there */
    uint64_t steps;                        /* instructions since its start */
    uint64_t random;                       /* of the split mode */
    bool filled;                           /* what all blocks have in common is in reg */
    uint32_t carry;                        /* CC.CF, bit l for lane l (PTX ISA 9.0, 9.7.2) */
    struct async *async;                   /* its cp.async in flight, mem_async.c */
    const struct allocation *latest;       /* that it accessed, memory.c */
    uint32_t *written;                     /* (n_watched) lanes that wrote the register */
    uint32_t early;                        /* lanes that have not waited for the kernels before */
    bool held;                             /* at griddepcontrol.wait, in a block that runs ahead */
};

struct cta {
    struct launch *launch; /* launch.c */
    const struct launch_config *config;
    uint32_t id[3];
    uint8_t *shared;            /* (static + dynamic bytes) */
    struct shared_state *state; /* shadow of the shared memory, shared.c */
    uint32_t shared_bytes;
    uint8_t *local;            /* (n_warp, 32, local_bytes), lane by lane */
    uint8_t *local_written;    /* a flag per byte of local */
    struct warp *warp;         /* (n_warp) */
    struct barrier *barrier;   /* (16), barrier.c */
    struct ptx_counts *counts; /* (n_instr) of this host thread, NULL: not counted */
    uint32_t n_warp;
    uint32_t launch_number;         /* sectors.h */
    bool runs_ahead;                /* of the kernel before its own: up to griddepcontrol.wait */
    bool lets_go;                   /* the next kernel, before it has waited */
    struct early_reads early_reads; /* while it ran ahead */
    struct race_block race;         /* with other blocks */
    jmp_buf *escape;                /* fault_raise jumps here */
    struct fault *fault;
};

/* Slot k of an instruction, as the type its width says; NULL for a destination left out. */
static inline void *slot_of(const struct warp *w, const struct ptx_instr *in, int k)
{
    return in->slot[k] == PTX_NONE ? NULL : w->reg + in->slot[k];
}
static inline uint16_t *slot16(const struct warp *w, const struct ptx_instr *in, int k)
{
    return (uint16_t *)slot_of(w, in, k);
}
static inline uint32_t *slot32(const struct warp *w, const struct ptx_instr *in, int k)
{
    return (uint32_t *)slot_of(w, in, k);
}
static inline uint64_t *slot64(const struct warp *w, const struct ptx_instr *in, int k)
{
    return (uint64_t *)slot_of(w, in, k);
}
/* A predicate: bit l for lane l. */
static inline uint32_t *slot_pred(const struct warp *w, const struct ptx_instr *in, int k)
{
    return (uint32_t *)slot_of(w, in, k);
}
