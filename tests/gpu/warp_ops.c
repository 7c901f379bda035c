/* Instructions by which the lanes of a warp exchange values: shfl, vote, match, redux, elect,
 * activemask, bar.warp.sync. The executor calls them once all lanes of the member mask are
 * there, so mask is the set of lanes that take part. In all of them the member mask is the last
 * operand. */
#include "lanes.h"

#include <string.h>

/* What a lane gets from a lane that does not take part, which the text leaves undefined
 * (PTX ISA 9.0, shfl.sync): not a number as f32, f16x2 and bf16x2, so that a use of it shows. It
 * is no fault, because reductions over a part of a warp read such values and drop them. */
#define UNDEFINED 0x7fff7fffu

enum shfl_mode { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

/* The lane that the text's pseudo code gives for one lane; *inside says whether it lies within
 * the segment (PTX ISA 9.0, shfl.sync). */
static inline int32_t shfl_source(enum shfl_mode mode, int32_t lane, uint32_t b, uint32_t c,
                                  bool *inside)
{
    int32_t offset = (int32_t)(b & 31), clamp = (int32_t)(c & 31), segment = (int32_t)(c >> 8 & 31);
    int32_t least = lane & segment;
    int32_t limit = least | (clamp & ~segment);
    int32_t from = mode == SHFL_UP     ? lane - offset
                   : mode == SHFL_DOWN ? lane + offset
                   : mode == SHFL_BFLY ? lane ^ offset
                                       : least | (offset & ~segment);
    *inside = mode == SHFL_UP ? from >= limit : from <= limit;
    return *inside ? from : lane;
}

static inline void shfl(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        enum shfl_mode mode)
{
    const uint32_t *a = slot32(w, in, 2), *b = slot32(w, in, 3), *c = slot32(w, in, 4);
    uint32_t value[WARP_LANES], lanes_inside = 0;
    for (int32_t l = 0; l < WARP_LANES; l++) {
        bool inside;
        int32_t from = shfl_source(mode, l, b[l], c[l], &inside);
        value[l] = mask >> from & 1 ? a[from] : UNDEFINED;
        lanes_inside |= (uint32_t)inside << l;
    }
    store_lanes(slot32(w, in, 0), value, mask);
    store_pred(slot_pred(w, in, 1), lanes_inside, mask);
}

static void run_shfl_up(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    shfl(w, in, mask, SHFL_UP);
}

static void run_shfl_down(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    shfl(w, in, mask, SHFL_DOWN);
}

static void run_shfl_bfly(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    shfl(w, in, mask, SHFL_BFLY);
}

static void run_shfl_idx(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    shfl(w, in, mask, SHFL_IDX);
}

static void run_vote_all(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t votes = *slot_pred(w, in, 1) & mask;
    store_pred(slot_pred(w, in, 0), votes == mask ? mask : 0, mask);
}

static void run_vote_any(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t votes = *slot_pred(w, in, 1) & mask;
    store_pred(slot_pred(w, in, 0), votes ? mask : 0, mask);
}

static void run_vote_uni(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t votes = *slot_pred(w, in, 1) & mask;
    store_pred(slot_pred(w, in, 0), votes == 0 || votes == mask ? mask : 0, mask);
}

static void run_ballot(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    store_uniform(slot32(w, in, 0), *slot_pred(w, in, 1) & mask, mask);
}

/* The lanes of mask whose value is the given one. */
static uint32_t lanes_equal(const uint64_t *value, uint64_t wanted, uint32_t mask)
{
    uint32_t equal = 0;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        equal |= (uint32_t)(value[l] == wanted) << l;
    return equal & mask;
}

/* Operand k, of 32 or 64 bits, as 64 bits. */
static void widen(const struct warp *w, const struct ptx_instr *in, int k, uint64_t *out)
{
    if (in->form.detail[0] == 8)
        memcpy(out, slot64(w, in, k), WARP_LANES * sizeof *out);
    else
        for (uint32_t l = 0; l < WARP_LANES; l++)
            out[l] = slot32(w, in, k)[l];
}

static void run_match_any(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint64_t value[WARP_LANES];
    uint32_t *to = slot32(w, in, 0);
    widen(w, in, 1, value);
    for (uint32_t left = mask; left;) {
        uint32_t equal = lanes_equal(value, value[__builtin_ctz(left)], mask);
        store_uniform(to, equal, equal);
        left &= ~equal;
    }
}

static void run_match_all(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint64_t value[WARP_LANES];
    if (!mask)
        return;
    widen(w, in, 2, value);
    bool all = lanes_equal(value, value[__builtin_ctz(mask)], mask) == mask;
    store_uniform(slot32(w, in, 0), all ? mask : 0, mask);
    store_pred(slot_pred(w, in, 1), all ? mask : 0, mask);
}

enum redux {
    REDUX_ADD,
    REDUX_MIN_S,
    REDUX_MAX_S,
    REDUX_MIN_U,
    REDUX_MAX_U,
    REDUX_AND,
    REDUX_OR,
    REDUX_XOR
};

static inline uint32_t combine(enum redux op, uint32_t x, uint32_t y)
{
    switch (op) {
    case REDUX_ADD:
        return x + y;
    case REDUX_MIN_S:
        return (int32_t)x < (int32_t)y ? x : y;
    case REDUX_MAX_S:
        return (int32_t)x > (int32_t)y ? x : y;
    case REDUX_MIN_U:
        return x < y ? x : y;
    case REDUX_MAX_U:
        return x > y ? x : y;
    case REDUX_AND:
        return x & y;
    case REDUX_OR:
        return x | y;
    case REDUX_XOR:
        break;
    }
    return x ^ y;
}

static void run_redux(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    const uint32_t *a = slot32(w, in, 1);
    if (!mask)
        return;
    uint32_t result = a[__builtin_ctz(mask)];
    for (uint32_t left = mask & (mask - 1); left; left &= left - 1)
        result = combine((enum redux)in->form.detail[0], result, a[__builtin_ctz(left)]);
    store_uniform(slot32(w, in, 0), result, mask);
}

static void run_activemask(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    store_uniform(slot32(w, in, 0), mask, mask);
}

/* Which lane is elected is the implementation's choice, the same for the same mask (PTX ISA
 * 9.0, elect.sync): here the lowest. */
static void run_elect(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    if (!mask)
        return;
    store_uniform(slot32(w, in, 0), (uint32_t)__builtin_ctz(mask), mask);
    store_pred(slot_pred(w, in, 1), mask & -mask, mask);
}

/* That all lanes are there is all it means: lanes of a warp see each other's writes at once. */
static void run_bar_warp(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)w, (void)in, (void)mask;
}

static const struct warp_form {
    const char *opcode;
    struct ptx_form form;
} forms[] = {
    {"shfl.sync.up.b32", {"r|p=rrrr", run_shfl_up, FLOW_SYNC, {0}}},
    {"shfl.sync.down.b32", {"r|p=rrrr", run_shfl_down, FLOW_SYNC, {0}}},
    {"shfl.sync.bfly.b32", {"r|p=rrrr", run_shfl_bfly, FLOW_SYNC, {0}}},
    {"shfl.sync.idx.b32", {"r|p=rrrr", run_shfl_idx, FLOW_SYNC, {0}}},
    {"vote.sync.all.pred", {"p=pr", run_vote_all, FLOW_SYNC, {0}}},
    {"vote.sync.any.pred", {"p=pr", run_vote_any, FLOW_SYNC, {0}}},
    {"vote.sync.uni.pred", {"p=pr", run_vote_uni, FLOW_SYNC, {0}}},
    {"vote.sync.ballot.b32", {"r=pr", run_ballot, FLOW_SYNC, {0}}},
    {"match.any.sync.b32", {"r=rr", run_match_any, FLOW_SYNC, {4}}},
    {"match.any.sync.b64", {"r=dr", run_match_any, FLOW_SYNC, {8}}},
    {"match.all.sync.b32", {"r|p=rr", run_match_all, FLOW_SYNC, {4}}},
    {"match.all.sync.b64", {"r|p=dr", run_match_all, FLOW_SYNC, {8}}},
    {"redux.sync.add.s32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_ADD}}},
    {"redux.sync.add.u32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_ADD}}},
    {"redux.sync.min.s32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_MIN_S}}},
    {"redux.sync.max.s32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_MAX_S}}},
    {"redux.sync.min.u32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_MIN_U}}},
    {"redux.sync.max.u32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_MAX_U}}},
    {"redux.sync.and.b32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_AND}}},
    {"redux.sync.or.b32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_OR}}},
    {"redux.sync.xor.b32", {"r=rr", run_redux, FLOW_SYNC, {REDUX_XOR}}},
    {"elect.sync", {"r|p=r", run_elect, FLOW_SYNC, {0}}},
    {"bar.warp.sync", {"=r", run_bar_warp, FLOW_SYNC, {0}}},
    {"activemask.b32", {"r=", run_activemask, FLOW_NEXT, {0}}},
};

bool find_warp(const char *opcode, int n_operand, struct ptx_form *form)
{
    (void)n_operand;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(opcode, forms[i].opcode) == 0) {
            *form = forms[i].form;
            return true;
        }
    return false;
}
