/* A warp's lanes in groups that stand at different instructions.
 *
 * groups are sorted by pc and the first that can go on runs until it branches, waits or reaches
 * the next group, with which it then is one. In split mode groups part at random, any of them
 * runs, and they meet again only where an instruction needs them all: what the hardware may do
 * with lanes that a program does not hold together. */
#include "counters.h"
#include "run.h"

#include <stdio.h>
#include <string.h>

#define STEPS_MOST (UINT64_C(1) << 27) /* instructions of one warp, then it hangs */

/* Split mode: groups up to which lanes are parted, beside those that branches make, and
 * instructions after which, on average, another group has its turn. */
#define SPLIT_GROUPS 4
#define SPLIT_STEPS  4

static uint32_t next_random(struct warp *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)(w->random >> 16);
}

static bool holds_together(const struct ptx_instr *in)
{
    return in->form.flow >= FLOW_SYNC;
}

/* Enters lanes at pc; with others there already they become one group, in split mode only where
 * they must be. */
static void enter(struct warp *w, uint32_t pc, uint32_t mask)
{
    const struct ptx_function *function = w->cta->config->function;
    bool merges = !w->cta->config->split || holds_together(&function->instr[pc]);
    int at = 0;
    if (!mask)
        return;
    while (at < w->n_group && w->group[at].pc < pc)
        at++;
    if (merges && at < w->n_group && w->group[at].pc == pc) {
        w->group[at].mask |= mask;
        return;
    }
    memmove(w->group + at + 1, w->group + at, (size_t)(w->n_group - at) * sizeof *w->group);
    w->group[at] = (struct group){pc, mask};
    w->n_group++;
}

static struct group leave(struct warp *w, int at)
{
    struct group g = w->group[at];
    w->n_group--;
    memmove(w->group + at, w->group + at + 1, (size_t)(w->n_group - at) * sizeof *w->group);
    return g;
}

static uint32_t guarded(const struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    if (in->guard == PTX_NONE)
        return mask;
    uint32_t holds;
    memcpy(&holds, w->reg + in->guard, sizeof holds);
    return mask & (in->guard_not ? ~holds : holds);
}

/* The lanes that the first lane of mask needs with it. */
static uint32_t members(const struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    if (in->form.flow != FLOW_SYNC)
        return w->live;
    int k = in->n_slot - 1;
    return in->slot[k] == PTX_NONE ? mask : slot32(w, in, k)[__builtin_ctz(mask)];
}

/* The lanes of mask that name the same members as its first. */
static uint32_t alike(const struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    int k = in->n_slot - 1;
    if (in->form.flow != FLOW_SYNC || in->slot[k] == PTX_NONE)
        return mask;
    const uint32_t *named = slot32(w, in, k);
    uint32_t first = named[__builtin_ctz(mask)], out = 0;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        out |= (uint32_t)(named[l] == first) << l;
    return out & mask;
}

/* The lanes of mask that have all they need: parts of a warp may each name their own members. */
static uint32_t complete(const struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t out = 0;
    for (uint32_t left = mask; left;) {
        uint32_t part = alike(w, in, left);
        out |= members(w, in, part) & ~part ? 0 : part;
        left &= ~part;
    }
    return out;
}

/* Whether the group can execute where it stands. */
static bool can_run(const struct warp *w, const struct group *g)
{
    const struct ptx_instr *in = &w->cta->config->function->instr[g->pc];
    if (!holds_together(in))
        return true;
    uint32_t mask = guarded(w, in, g->mask);
    return !mask || complete(w, in, mask);
}

static _Noreturn void raise_divergent(struct warp *w)
{
    const struct ptx_instr *program = w->cta->config->function->instr;
    const struct group *g = &w->group[0];
    const struct ptx_instr *in = &program[g->pc];
    uint32_t mask = guarded(w, in, g->mask), need = members(w, in, mask);
    char elsewhere[64] = "";
    for (int i = 1; i < w->n_group && !*elsewhere; i++)
        if (w->group[i].mask & need)
            (void)snprintf(elsewhere, sizeof elsewhere, ", 0x%08x at line %u",
                           w->group[i].mask & need, program[w->group[i].pc].line);
    fault_raise(w, in, __builtin_ctz(mask), FAULT_DIVERGENT,
                "lanes 0x%08x wait for 0x%08x, of which 0x%08x have exited%s", mask, need,
                need & ~w->live, elsewhere);
}

/* Lanes that stand at a .sync instruction of others, which their own predicate keeps them from,
 * need not wait with them. Where an instruction is for the whole warp that is an error of the
 * program; lanes that take another way and exit are none, as on hardware. */
static bool send_past(struct warp *w)
{
    for (int i = 0; i < w->n_group; i++) {
        struct group *g = &w->group[i];
        const struct ptx_instr *in = &w->cta->config->function->instr[g->pc];
        uint32_t mask = guarded(w, in, g->mask), others = g->mask & ~mask;
        if (others && in->form.flow == FLOW_SYNC) {
            g->mask = mask;
            enter(w, g->pc + 1, others);
            return true;
        }
    }
    return false;
}

static int pick(struct warp *w)
{
    do {
        int first = w->cta->config->split ? (int)(next_random(w) % (uint32_t)w->n_group) : 0;
        for (int i = 0; i < w->n_group; i++) {
            int at = (first + i) % w->n_group;
            if (can_run(w, &w->group[at]))
                return at;
        }
    } while (send_past(w));
    raise_divergent(w);
}

static uint32_t *written_of(const struct warp *w, uint32_t slot)
{
    const struct ptx_function *f = w->cta->config->function;
    uint32_t k = 0;
    while (f->watched[k] != slot)
        k++;
    return &w->written[k];
}

/* Registers that may be read before they are written; mask: lanes that execute the instruction. */
static void check_registers(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    for (uint32_t k = in->n_destination; k < in->n_slot; k++) {
        if (!(in->watched >> k & 1))
            continue;
        uint32_t missing = mask & ~*written_of(w, in->slot[k]);
        if (missing)
            fault_raise(w, in, __builtin_ctz(missing), FAULT_UNINITIALISED,
                        "read of a register that was not written, operand %u", k + 1);
    }
    for (uint32_t k = 0; k < in->n_destination; k++)
        if (in->watched >> k & 1)
            *written_of(w, in->slot[k]) |= mask;
}

static void check_guard(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t missing = mask & ~*written_of(w, in->guard);
    if (missing)
        fault_raise(w, in, __builtin_ctz(missing), FAULT_UNINITIALISED,
                    "read of a predicate that was not written");
}

static void count(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    struct ptx_counts *c = &w->cta->counts[in - w->cta->config->function->instr];
    c->warps++;
    c->lanes += (uint64_t)__builtin_popcount(mask);
}

/* Sends the lanes of a branch both ways. */
static void branch(struct warp *w, const struct ptx_instr *in, struct group g, uint32_t mask)
{
    if (w->cta->counts && mask && mask != g.mask)
        w->cta->counts[in - w->cta->config->function->instr].divergent++;
    enter(w, in->target, mask);
    enter(w, g.pc + 1, g.mask & ~mask);
}

/* Whether the group must hand over before the instruction at pc, split ones now and then. */
static bool must_stop(struct warp *w, const struct ptx_instr *in, uint32_t pc, bool split)
{
    if (split)
        return holds_together(in) || next_random(w) % SPLIT_STEPS == 0;
    return w->n_group && (holds_together(in) || pc >= w->group[0].pc);
}

/* Each part of mask that names members of its own is a warp of its own to the instruction. */
static void run_parts(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    for (uint32_t left = mask; left;) {
        uint32_t part = alike(w, in, left), strangers = part & ~members(w, in, part);
        if (strangers)
            fault_raise(w, in, __builtin_ctz(strangers), FAULT_DIVERGENT,
                        "lanes 0x%08x are not among the members 0x%08x they name", strangers,
                        members(w, in, part));
        in->run(w, in, part);
        left &= ~part;
    }
}

/* One instruction for the lanes of mask, not 0, of group g, which all have what they need. False:
 * the group has parted or stops here. */
static bool step(struct warp *w, const struct ptx_instr *in, struct group *g, uint32_t mask)
{
    switch (in->form.flow) {
    case FLOW_BRANCH:
        if (mask != g->mask) {
            branch(w, in, *g, mask);
            return false;
        }
        g->pc = in->target;
        return true;
    case FLOW_EXIT:
        w->live &= ~mask;
        enter(w, g->pc + 1, g->mask & ~mask);
        return false;
    case FLOW_BARRIER:
        w->barrier_instr = in;
        enter(w, g->pc + 1, g->mask);
        return false;
    case FLOW_GRID:
        if (w->cta->runs_ahead) {
            w->held = true;
            enter(w, g->pc, g->mask);
            return false;
        }
        if (w->cta->counts)
            count(w, in, mask);
        in->run(w, in, mask);
        break;
    case FLOW_SYNC:
        run_parts(w, in, mask);
        break;
    case FLOW_NEXT:
    case FLOW_ALIGNED:
        in->run(w, in, mask);
        break;
    }
    g->pc++;
    return true;
}

/* Runs a group, which has left the list, until it waits, exits, branches or meets another. */
static void run_group(struct warp *w, struct group g)
{
    const struct ptx_instr *program = w->cta->config->function->instr;
    bool split = w->cta->config->split, counts = w->cta->counts;
    for (bool first = true;; first = false) {
        const struct ptx_instr *in = &program[g.pc];
        if (!first && must_stop(w, in, g.pc, split)) {
            enter(w, g.pc, g.mask);
            return;
        }
        if (in->watched >> PTX_WATCHED_GUARD)
            check_guard(w, in, g.mask);
        uint32_t mask = guarded(w, in, g.mask);
        if (++w->steps > STEPS_MOST)
            fault_raise(w, in, -1, FAULT_TIMEOUT, "%llu instructions of one warp",
                        (unsigned long long)STEPS_MOST);
        if (!mask) {
            g.pc++;
            continue;
        }
        if (in->watched)
            check_registers(w, in, mask);
        if (counts && in->form.flow < FLOW_GRID)
            count(w, in, mask);
        if (in->form.flow == FLOW_NEXT) { /* most are */
            in->run(w, in, mask);
            g.pc++;
            continue;
        }
        if (holds_together(in)) {
            uint32_t ready = complete(w, in, mask);
            enter(w, g.pc, ready ? mask & ~ready : g.mask); /* others are on their way */
            if (!ready)
                return;
            g.mask &= ~(mask & ~ready);
            mask = ready;
            if (counts)
                count(w, in, mask);
        }
        if (!step(w, in, &g, mask))
            return;
    }
}

enum warp_state warp_run(struct warp *w)
{
    bool split = w->cta->config->split;
    w->barrier_instr = NULL;
    while (w->n_group) {
        struct group g = leave(w, pick(w));
        if (split && (g.mask & (g.mask - 1)) && w->n_group < SPLIT_GROUPS - 1 &&
            !holds_together(&w->cta->config->function->instr[g.pc])) {
            uint32_t some = g.mask & next_random(w);
            if (some && some != g.mask) {
                enter(w, g.pc, g.mask & ~some);
                g.mask = some;
            }
        }
        run_group(w, g);
        if (w->barrier_instr)
            return WARP_WAITS;
        if (w->held)
            return WARP_HELD;
    }
    return WARP_DONE;
}

/* ---- The start */

/* All lanes' elements of a slot; 1 byte: of a predicate. */
static void fill(uint8_t *slot, uint8_t bytes, uint64_t value)
{
    if (bytes == 1)
        memset(slot, value ? 0xff : 0, sizeof(uint32_t));
    for (int l = 0; bytes == 2 && l < WARP_LANES; l++)
        ((uint16_t *)(void *)slot)[l] = (uint16_t)value;
    for (int l = 0; bytes == 4 && l < WARP_LANES; l++)
        ((uint32_t *)(void *)slot)[l] = (uint32_t)value;
    for (int l = 0; bytes == 8 && l < WARP_LANES; l++)
        ((uint64_t *)(void *)slot)[l] = value;
}

static uint64_t special_of(const struct warp *w, enum ptx_special what, uint32_t lane)
{
    const struct launch_config *c = w->cta->config;
    uint32_t thread = w->id * WARP_LANES + lane, x = c->block[0], y = c->block[1];
    uint64_t bit = UINT64_C(1) << lane;
    switch (what) {
    case SPECIAL_TID_X:
        return thread % x;
    case SPECIAL_TID_Y:
        return thread / x % y;
    case SPECIAL_TID_Z:
        return thread / x / y;
    case SPECIAL_NTID_X:
    case SPECIAL_NTID_Y:
    case SPECIAL_NTID_Z:
        return c->block[what - SPECIAL_NTID_X];
    case SPECIAL_CTAID_X:
    case SPECIAL_CTAID_Y:
    case SPECIAL_CTAID_Z:
        return w->cta->id[what - SPECIAL_CTAID_X];
    case SPECIAL_NCTAID_X:
    case SPECIAL_NCTAID_Y:
    case SPECIAL_NCTAID_Z:
        return c->grid[what - SPECIAL_NCTAID_X];
    case SPECIAL_LANEID:
        return lane;
    case SPECIAL_WARPID:
        return w->id;
    case SPECIAL_NWARPID:
        return w->cta->n_warp;
    case SPECIAL_LANEMASK_EQ:
        return bit;
    case SPECIAL_LANEMASK_LT:
        return bit - 1;
    case SPECIAL_LANEMASK_LE:
        return 2 * bit - 1;
    case SPECIAL_LANEMASK_GT:
        return (uint32_t) ~(2 * bit - 1);
    case SPECIAL_LANEMASK_GE:
        return (uint32_t) ~(bit - 1);
    case SPECIAL_DYNAMIC_SMEM_SIZE:
        return c->shared_bytes;
    case SPECIAL_TOTAL_SMEM_SIZE:
        return w->cta->shared_bytes;
    case SPECIAL_SMID:
    case SPECIAL_CLOCK: /* a clock that stands still */
    case SPECIAL_CLOCK64:
    case SPECIAL_GLOBALTIMER:
    case SPECIAL_COUNT:
        return 0;
    }
    return 0;
}

static bool is_of_block(enum ptx_special what)
{
    return what == SPECIAL_CTAID_X || what == SPECIAL_CTAID_Y || what == SPECIAL_CTAID_Z;
}

/* of_block: those that the next block has others in. */
static void fill_specials(struct warp *w, const struct ptx_function *f, bool of_block)
{
    for (uint32_t i = 0; i < f->n_special; i++) {
        const struct ptx_special_slot *s = &f->special[i];
        if (is_of_block(s->what) != of_block)
            continue;
        if (of_block)
            fill(w->reg + s->slot, s->bytes, special_of(w, s->what, 0));
        for (uint32_t lane = 0; !of_block && lane < WARP_LANES; lane++) {
            uint64_t value = special_of(w, s->what, lane);
            memcpy(w->reg + s->slot + lane * s->bytes, &value, s->bytes);
        }
    }
}

static void fill_constants(struct warp *w, const struct ptx_function *f)
{
    for (uint32_t i = 0; i < f->n_constant; i++) {
        const struct ptx_constant *c = &f->constant[i];
        uint64_t base = c->variable < 0 ? 0 : f->module->variable[c->variable].address;
        fill(w->reg + c->slot, c->bytes, c->value + base);
    }
}

void warp_start(struct warp *w, uint32_t id, const struct launch_config *config)
{
    uint32_t threads = config->block[0] * config->block[1] * config->block[2];
    uint32_t n = threads - id * WARP_LANES < WARP_LANES ? threads - id * WARP_LANES : WARP_LANES;
    w->id = id;
    w->live = n == WARP_LANES ? UINT32_MAX : (1u << n) - 1;
    w->n_group = 1;
    w->group[0] = (struct group){0, w->live};
    w->barrier_instr = NULL;
    w->waits = false;
    w->held = false;
    w->early = config->overlap && config->overlap->begins_early ? w->live : 0;
    w->steps = 0;
    memset(w->written, 0, config->function->n_watched * sizeof *w->written);
    w->random = config->seed * UINT64_C(0x9e3779b97f4a7c15) + id + 1;
    if (!w->filled) {
        fill_constants(w, config->function);
        fill_specials(w, config->function, false);
    }
    w->filled = true;
    fill_specials(w, config->function, true);
}
