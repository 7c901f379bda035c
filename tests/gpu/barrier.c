/* The barriers of a CTA (PTX ISA 9.0, 9.7.13.1): warps arrive, and those that wait go on when all
 * that the barrier is for are there. Arrivals count by whole warps, as in the text, so the
 * variants without .aligned are held to the same: every living lane at one instruction. */
#include "run.h"
#include "access.h"
#include "lanes.h"

#include <string.h>

#define BARRIERS 16

enum reduce { REDUCE_NONE, REDUCE_POPC, REDUCE_AND, REDUCE_OR };

/* form.detail */
enum { REDUCE, COUNTED };

struct barrier {
    uint32_t wanted;           /* warps that complete it, 0: none has come yet */
    uint32_t arrived;          /* set of warps */
    uint32_t waiting;          /* set of warps, those of bar.arrive are not in it */
    uint32_t n, n_true;        /* lanes that brought a predicate, and those where it holds */
    uint32_t seen[WARP_LANES]; /* of the shared memory, by all that have come */
};

size_t barrier_bytes(void)
{
    return BARRIERS * sizeof(struct barrier);
}

void barrier_clear(struct cta *cta)
{
    memset(cta->barrier, 0, barrier_bytes());
}

static uint32_t set_of_all(const struct cta *cta)
{
    return cta->n_warp == WARP_LANES ? UINT32_MAX : (1u << cta->n_warp) - 1;
}

static uint32_t exited(const struct cta *cta)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < cta->n_warp; i++)
        out |= (uint32_t)!cta->warp[i].live << i;
    return out;
}

static void leave(struct warp *w, const struct barrier *b)
{
    const struct ptx_instr *in = w->barrier_instr;
    switch ((enum reduce)in->form.detail[REDUCE]) {
    case REDUCE_NONE:
        break;
    case REDUCE_POPC:
        store_uniform(slot32(w, in, 0), b->n_true, w->live);
        break;
    case REDUCE_AND:
        store_pred(slot_pred(w, in, 0), b->n_true == b->n ? UINT32_MAX : 0, w->live);
        break;
    case REDUCE_OR:
        store_pred(slot_pred(w, in, 0), b->n_true ? UINT32_MAX : 0, w->live);
        break;
    }
    w->waits = false;
}

/* Lets those that wait go on. A warp that has exited counts for a barrier of the whole CTA. */
static bool settle(struct cta *cta, struct barrier *b)
{
    uint32_t all = set_of_all(cta), gone = exited(cta);
    bool whole = b->wanted == cta->n_warp && (b->arrived | gone) == all;
    if (!b->wanted || (!whole && (uint32_t)__builtin_popcount(b->arrived) != b->wanted))
        return false;
    uint32_t absent = whole ? gone & ~b->arrived : 0;
    bool everyone = (b->waiting | absent) == all;
    if (everyone)
        shared_barrier(cta);
    for (uint32_t left = absent; left && !everyone; left &= left - 1)
        shared_arrive(cta->state, (uint32_t)__builtin_ctz(left), b->seen);
    for (uint32_t left = b->waiting; left; left &= left - 1) {
        struct warp *w = &cta->warp[__builtin_ctz(left)];
        if (!everyone)
            shared_depart(cta->state, w->id, b->seen);
        leave(w, b);
    }
    *b = (struct barrier){0};
    return true;
}

/* Warps that the instruction's barrier is for. */
static uint32_t wanted_by(struct warp *w, const struct ptx_instr *in, int lane)
{
    if (!in->form.detail[COUNTED])
        return w->cta->n_warp;
    uint32_t threads = slot32(w, in, in->n_destination + 1)[lane];
    if (!threads || threads % WARP_LANES || threads / WARP_LANES > w->cta->n_warp)
        fault_raise(w, in, -1, FAULT_TRAP, "a barrier for %u of %u threads", threads,
                    w->cta->n_warp * WARP_LANES);
    return threads / WARP_LANES;
}

static struct barrier *arrive(struct warp *w, const struct ptx_instr *in)
{
    int lane = __builtin_ctz(w->live);
    uint32_t number = slot32(w, in, in->n_destination)[lane], wanted = wanted_by(w, in, lane);
    if (number >= BARRIERS)
        fault_raise(w, in, -1, FAULT_TRAP, "barrier %u", number);
    struct barrier *b = &w->cta->barrier[number];
    if (b->wanted && b->wanted != wanted)
        fault_raise(w, in, -1, FAULT_TRAP, "barrier %u for %u warps, others came to it for %u",
                    number, wanted, b->wanted);
    if (b->arrived >> w->id & 1)
        fault_raise(w, in, -1, FAULT_TRAP, "warp %u comes to barrier %u twice", w->id, number);
    b->wanted = wanted;
    b->arrived |= 1u << w->id;
    shared_arrive(w->cta->state, w->id, b->seen);
    return b;
}

void barrier_wait(struct warp *w)
{
    const struct ptx_instr *in = w->barrier_instr;
    struct barrier *b = arrive(w, in);
    if (in->form.detail[REDUCE] != REDUCE_NONE) {
        uint32_t votes = *slot_pred(w, in, in->n_slot - 1) & w->live;
        b->n_true += (uint32_t)__builtin_popcount(votes);
        b->n += (uint32_t)__builtin_popcount(w->live);
    }
    b->waiting |= 1u << w->id;
    w->waits = true;
    (void)settle(w->cta, b);
}

static void run_arrive(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)mask;
    (void)settle(w->cta, arrive(w, in));
}

static void run_nothing(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)w;
    (void)in;
    (void)mask;
}

bool barrier_settle(struct cta *cta)
{
    bool any = false;
    for (int i = 0; i < BARRIERS; i++)
        any |= settle(cta, &cta->barrier[i]);
    return any;
}

static uint32_t number_of(const struct warp *w)
{
    const struct ptx_instr *in = w->barrier_instr;
    return slot32(w, in, in->n_destination)[__builtin_ctz(w->live)];
}

void barrier_check_deadlock(struct cta *cta)
{
    struct warp *first = NULL, *other = NULL;
    for (uint32_t i = 0; i < cta->n_warp; i++) {
        struct warp *w = &cta->warp[i];
        if (w->waits && first && !other && number_of(w) != number_of(first))
            other = w;
        first = w->waits && !first ? w : first;
    }
    if (other)
        fault_raise(other, other->barrier_instr, -1, FAULT_DEADLOCK,
                    "at barrier %u, warp %u at barrier %u (line %u)", number_of(other), first->id,
                    number_of(first), first->barrier_instr->line);
    if (first) {
        const struct barrier *b = &cta->barrier[number_of(first)];
        fault_raise(first, first->barrier_instr, -1, FAULT_DEADLOCK,
                    "at barrier %u for %u warps, of which %d have come and no other can",
                    number_of(first), b->wanted, __builtin_popcount(b->arrived));
    }
}

/* bar{.cta}.sync, .arrive, .red.op.type; of barrier{.cta} each may have .aligned. */
bool find_barrier(const char *opcode, int n_operand, struct ptx_form *form)
{
    static const char *const reductions[] = {
        [REDUCE_POPC] = "popc", [REDUCE_AND] = "and", [REDUCE_OR] = "or"};
    const char *rest = opcode;
    uint32_t reduce = REDUCE_NONE;
    bool general = access_take(&rest, "barrier");
    if (!general && !access_take(&rest, "bar"))
        return false;
    (void)access_take(&rest, "cta");
    bool arrives = access_take(&rest, "arrive");
    if (!arrives && access_take(&rest, "red"))
        for (uint32_t i = REDUCE_POPC; i <= REDUCE_OR; i++)
            reduce = access_take(&rest, reductions[i]) ? i : reduce;
    else if (!arrives && !access_take(&rest, "sync"))
        return false;
    if (general)
        (void)access_take(&rest, "aligned");
    const char *type = reduce == REDUCE_NONE ? "" : reduce == REDUCE_POPC ? "u32" : "pred";
    int least = arrives ? 2 : reduce ? 3 : 1;
    bool counted = arrives || n_operand == least + 1;
    static const char *const operands[][2] = {[REDUCE_NONE] = {"=r", "=rr"},
                                              [REDUCE_POPC] = {"r=rp", "r=rrp"},
                                              [REDUCE_AND] = {"p=rp", "p=rrp"},
                                              [REDUCE_OR] = {"p=rp", "p=rrp"}};
    *form = (struct ptx_form){.operands = operands[reduce][counted],
                              .run = arrives ? run_arrive : run_nothing,
                              .flow = arrives ? FLOW_ALIGNED : FLOW_BARRIER,
                              .detail = {reduce, counted}};
    return strcmp(rest, type) == 0 && (n_operand == least || (!arrives && counted));
}
