/* A warp made by hand for the tests of single instructions: registers that the test fills and
 * reads, a CTA with shared memory around it, and a place where faults arrive. */
#pragma once

#include "../t.h"
#include "async.h"
#include "exec.h"
#include "shared.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define RIG_SLOT_BYTES   256 /* every slot has the room of the widest */
#define RIG_SHARED_BYTES 8192

struct rig {
    struct warp warp;
    struct cta cta;
    struct launch_config config;
    struct ptx_function function;
    struct ptx_module module;
    struct fault fault;
    jmp_buf escape;
    char text[8];
    struct ptx_instr in;
    uint64_t reg[PTX_SLOTS * RIG_SLOT_BYTES / 8] __attribute__((aligned(64)));
    uint8_t shared[RIG_SHARED_BYTES] __attribute__((aligned(64)));
};

static inline void rig_open(struct rig *r)
{
    memset(r, 0, sizeof *r);
    strcpy(r->text, "test\n");
    r->module = (struct ptx_module){.text = r->text, .function = &r->function, .n_function = 1};
    r->function =
        (struct ptx_function){.name = r->text, .instr = &r->in, .n_instr = 1, .module = &r->module};
    r->config =
        (struct launch_config){.function = &r->function, .grid = {1, 1, 1}, .block = {32, 1, 1}};
    r->cta = (struct cta){.config = &r->config,
                          .shared = r->shared,
                          .state = shared_open(RIG_SHARED_BYTES),
                          .shared_bytes = RIG_SHARED_BYTES,
                          .warp = &r->warp,
                          .n_warp = 1,
                          .escape = &r->escape,
                          .fault = &r->fault};
    r->warp = (struct warp){
        .cta = &r->cta, .reg = (uint8_t *)r->reg, .live = UINT32_MAX, .async = async_open()};
}

static inline void rig_close(struct rig *r)
{
    async_close(r->warp.async);
    shared_close(r->cta.state);
}

/* Slots for the operands of a signature ("r|p=rrrr", "r4=r4r2r4"), one behind the other. */
static inline void rig_slots(struct ptx_instr *in)
{
    const char *s = in->form.operands;
    for (char kind = 0; *s; s++) {
        int more = 0;
        if (strchr("phrda", *s)) {
            kind = *s;
            more = 1;
        } else if (*s >= '2' && *s <= '4') {
            more = *s - '1';
        }
        for (; more; more--) {
            in->slot[in->n_slot] = (uint32_t)in->n_slot * RIG_SLOT_BYTES;
            in->width[in->n_slot++] = kind == 'p' ? 0 : kind == 'h' ? 2 : kind == 'r' ? 4 : 8;
        }
    }
}

/* Takes an instruction by its opcode. False: nobody knows it. */
static inline bool rig_take(struct rig *r, ptx_find *find, const char *opcode, int n_operand)
{
    memset(&r->in, 0, sizeof r->in);
    if (!find(opcode, n_operand, &r->in.form))
        return false;
    r->in.run = r->in.form.run;
    r->in.guard = PTX_NONE;
    r->in.line = 1;
    rig_slots(&r->in);
    return true;
}

static inline uint32_t *rig_reg(struct rig *r, int k)
{
    return slot32(&r->warp, &r->in, k);
}

/* Runs the instruction taken last; the kind of the fault it raised. */
static inline enum fault_kind rig_run(struct rig *r, uint32_t mask)
{
    r->fault.kind = FAULT_NONE;
    if (setjmp(r->escape) == 0)
        r->in.run(&r->warp, &r->in, mask);
    return r->fault.kind;
}

/* xorshift64*: the same numbers in every run. */
static inline uint32_t rig_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32);
}

/* Writes all of the shared memory, so that every byte may be read: byte i becomes fill(i). */
static inline void rig_fill_shared(struct rig *r, uint8_t (*fill)(uint32_t i))
{
    for (uint32_t i = 0; i < RIG_SHARED_BYTES; i += 16) {
        uint8_t *to = shared_write(&r->warp, &r->in, 0, i, 16);
        for (uint32_t k = 0; k < 16; k++)
            to[k] = fill(i + k);
    }
}
