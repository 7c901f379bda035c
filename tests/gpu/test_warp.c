/* Instructions by which lanes exchange values, against the pseudo code and sentences of the
 * PTX ISA. */
#include "test_warp.h"

/* What lanes that take no part must keep. */
#define KEPT 0xabababab

static const uint32_t masks[] = {UINT32_MAX, 0x0000ffff, 0xffff0000, 0x000000ff,
                                 0x80000001, 0x00000010, 0x5a5a1234};

#define FOR_EACH_MASK(mask)                                                    \
    for (size_t mask_i = 0; mask_i < sizeof masks / sizeof masks[0]; mask_i++) \
        for (uint32_t mask = masks[mask_i], mask_once = 1; mask_once; mask_once = 0)

static void fill(uint32_t *reg, uint32_t value)
{
    for (int l = 0; l < WARP_LANES; l++)
        reg[l] = value;
}

/* The text's pseudo code of shfl.sync for one thread, with its names. */
static uint32_t shfl_by_text(const char *mode, int lane, uint32_t b, uint32_t c,
                             const uint32_t *SourceA, bool *p, int *from)
{
    int bval = b & 0x1f, cval = c & 0x1f, segmask = c >> 8 & 0x1f, j = 0;
    int maxLane = (lane & segmask) | (cval & ~segmask);
    int minLane = lane & segmask;
    bool pval = false;
    if (strcmp(mode, "up") == 0) {
        j = lane - bval;
        pval = j >= maxLane;
    } else if (strcmp(mode, "down") == 0) {
        j = lane + bval;
        pval = j <= maxLane;
    } else if (strcmp(mode, "bfly") == 0) {
        j = lane ^ bval;
        pval = j <= maxLane;
    } else if (strcmp(mode, "idx") == 0) {
        j = minLane | (bval & ~segmask);
        pval = j <= maxLane;
    }
    if (!pval)
        j = lane;
    *p = pval;
    *from = j;
    return SourceA[j];
}

/* One shfl with b and c for all lanes, or (vary) others in each. */
static void check_shfl(struct rig *r, const char *mode, uint32_t mask, uint32_t b, uint32_t c,
                       bool vary)
{
    uint32_t a[WARP_LANES];
    fill(rig_reg(r, 0), KEPT);
    *slot_pred(&r->warp, &r->in, 1) = KEPT;
    for (int l = 0; l < WARP_LANES; l++) {
        rig_reg(r, 2)[l] = a[l] = rig_random();
        rig_reg(r, 3)[l] = vary ? rig_random() : b;
        rig_reg(r, 4)[l] = vary ? rig_random() : c;
    }
    CHECK_EQ(rig_run(r, mask), FAULT_NONE);
    for (int l = 0; l < WARP_LANES; l++) {
        bool p;
        int from;
        uint32_t value = shfl_by_text(mode, l, rig_reg(r, 3)[l], rig_reg(r, 4)[l], a, &p, &from);
        bool takes_part = mask >> l & 1;
        uint32_t got_p = *slot_pred(&r->warp, &r->in, 1) >> l & 1;
        CHECK_EQ(got_p, takes_part ? p : KEPT >> l & 1);
        if (!takes_part)
            CHECK_EQ(rig_reg(r, 0)[l], KEPT);
        else if (mask >> from & 1)
            CHECK_EQ(rig_reg(r, 0)[l], value);
        else /* undefined: a number that nobody had */
            CHECK_EQ(rig_reg(r, 0)[l], 0x7fff7fff);
    }
}

TEST(gpu_warp, shfl_follows_the_pseudo_code)
{
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    struct rig r;
    rig_open(&r);
    for (size_t m = 0; m < 4; m++) {
        char opcode[32];
        snprintf(opcode, sizeof opcode, "shfl.sync.%s.b32", modes[m]);
        CHECK(rig_take(&r, find_warp, opcode, 5));
        CHECK_EQ(r.in.form.flow, FLOW_SYNC);
        CHECK_EQ(r.in.n_slot, 6);
        FOR_EACH_MASK(mask)
        for (uint32_t width = 2; width <= 32; width *= 2)
            for (uint32_t b = 0; b < 32; b += 1 + width / 8) {
                uint32_t clamp = m == 0 ? 0 : 31;
                check_shfl(&r, modes[m], mask, b, (32 - width) << 8 | clamp, false);
                check_shfl(&r, modes[m], mask, 0, 0, true);
            }
    }
    rig_close(&r);
}

TEST(gpu_warp, shfl_may_leave_out_its_predicate_and_overwrite_its_operand)
{
    struct rig r;
    rig_open(&r);
    CHECK(rig_take(&r, find_warp, "shfl.sync.bfly.b32", 5));
    r.in.slot[1] = PTX_NONE;
    r.in.slot[0] = r.in.slot[2];
    for (uint32_t l = 0; l < WARP_LANES; l++)
        rig_reg(&r, 2)[l] = 100 + l;
    fill(rig_reg(&r, 3), 1);
    fill(rig_reg(&r, 4), 0x1f);
    CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_NONE);
    for (uint32_t l = 0; l < WARP_LANES; l++)
        CHECK_EQ(rig_reg(&r, 0)[l], 100 + (l ^ 1));
    rig_close(&r);
}

static uint32_t vote_lanes(struct rig *r, uint32_t votes, uint32_t mask)
{
    *slot_pred(&r->warp, &r->in, 0) = KEPT;
    *slot_pred(&r->warp, &r->in, 1) = votes;
    CHECK_EQ(rig_run(r, mask), FAULT_NONE);
    uint32_t got = *slot_pred(&r->warp, &r->in, 0);
    CHECK_EQ(got & ~mask, KEPT & ~mask);
    return got & mask;
}

TEST(gpu_warp, vote_all_any_uni_count_the_lanes_of_the_mask)
{
    struct rig r;
    rig_open(&r);
    FOR_EACH_MASK(mask)
    {
        uint32_t one = mask & -mask;
        bool single = mask == one;
        CHECK(rig_take(&r, find_warp, "vote.sync.all.pred", 3));
        CHECK_EQ(vote_lanes(&r, mask, mask), mask);
        CHECK_EQ(vote_lanes(&r, UINT32_MAX & ~one, mask), 0);
        CHECK(rig_take(&r, find_warp, "vote.sync.any.pred", 3));
        CHECK_EQ(vote_lanes(&r, ~mask, mask), 0);
        CHECK_EQ(vote_lanes(&r, one, mask), mask);
        CHECK(rig_take(&r, find_warp, "vote.sync.uni.pred", 3));
        CHECK_EQ(vote_lanes(&r, ~mask, mask), mask);
        CHECK_EQ(vote_lanes(&r, mask, mask), mask);
        CHECK_EQ(vote_lanes(&r, one, mask), single ? mask : 0);
    }
    rig_close(&r);
}

TEST(gpu_warp, ballot_is_the_votes_of_the_mask)
{
    struct rig r;
    rig_open(&r);
    CHECK(rig_take(&r, find_warp, "vote.sync.ballot.b32", 3));
    FOR_EACH_MASK(mask)
    {
        uint32_t votes = rig_random();
        fill(rig_reg(&r, 0), KEPT);
        *slot_pred(&r.warp, &r.in, 1) = votes;
        CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
        for (int l = 0; l < WARP_LANES; l++)
            CHECK_EQ(rig_reg(&r, 0)[l], mask >> l & 1 ? votes & mask : KEPT);
    }
    rig_close(&r);
}

/* Values of a few kinds, so that some are equal; 64-bit ones differ in the upper half only. */
static uint64_t put_value(struct rig *r, int k, int lane, uint32_t bytes)
{
    uint32_t kind = rig_random() % 3;
    if (bytes == 4)
        return slot32(&r->warp, &r->in, k)[lane] = kind;
    return slot64(&r->warp, &r->in, k)[lane] = (uint64_t)kind << 32 | 7;
}

TEST(gpu_warp, match_any_gives_the_lanes_with_the_same_value)
{
    struct rig r;
    rig_open(&r);
    for (uint32_t bytes = 4; bytes <= 8; bytes += 4)
        FOR_EACH_MASK(mask)
        {
            uint64_t value[WARP_LANES];
            CHECK(rig_take(&r, find_warp, bytes == 4 ? "match.any.sync.b32" : "match.any.sync.b64",
                           3));
            fill(rig_reg(&r, 0), KEPT);
            for (int l = 0; l < WARP_LANES; l++)
                value[l] = put_value(&r, 1, l, bytes);
            CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
            for (int l = 0; l < WARP_LANES; l++) {
                uint32_t same = 0;
                for (int k = 0; k < WARP_LANES; k++)
                    same |= (uint32_t)((mask >> k & 1) && value[k] == value[l]) << k;
                CHECK_EQ(rig_reg(&r, 0)[l], mask >> l & 1 ? same : KEPT);
            }
        }
    rig_close(&r);
}

TEST(gpu_warp, match_all_says_whether_all_lanes_have_one_value)
{
    struct rig r;
    rig_open(&r);
    for (uint32_t bytes = 4; bytes <= 8; bytes += 4)
        FOR_EACH_MASK(mask)
    for (int equal = 0; equal < 2; equal++) {
        CHECK(rig_take(&r, find_warp, bytes == 4 ? "match.all.sync.b32" : "match.all.sync.b64", 3));
        uint32_t *pred = slot_pred(&r.warp, &r.in, 1);
        *pred = 0;
        for (int l = 0; l < WARP_LANES; l++) {
            bool odd = !equal && l == __builtin_ctz(mask);
            uint64_t value = !(mask >> l & 1) ? 1 : odd ? 2 : 3;
            if (bytes == 4)
                rig_reg(&r, 2)[l] = (uint32_t)value;
            else
                slot64(&r.warp, &r.in, 2)[l] = value << 32;
        }
        CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
        uint32_t want = equal || (mask & (mask - 1)) == 0 ? mask : 0;
        CHECK_EQ(*pred, want);
        CHECK_EQ(rig_reg(&r, 0)[__builtin_ctz(mask)], want);
    }
    rig_close(&r);
}

static int64_t reduce(const char *op, int64_t x, int64_t y)
{
    if (strcmp(op, "add") == 0)
        return x + y;
    if (strcmp(op, "min") == 0)
        return x < y ? x : y;
    if (strcmp(op, "max") == 0)
        return x > y ? x : y;
    if (strcmp(op, "and") == 0)
        return x & y;
    return strcmp(op, "or") == 0 ? x | y : x ^ y;
}

TEST(gpu_warp, redux_reduces_the_lanes_of_the_mask)
{
    static const struct {
        const char *op, *type;
    } forms[] = {{"add", "s32"}, {"add", "u32"}, {"min", "s32"}, {"min", "u32"}, {"max", "s32"},
                 {"max", "u32"}, {"and", "b32"}, {"or", "b32"},  {"xor", "b32"}};
    struct rig r;
    rig_open(&r);
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++)
        FOR_EACH_MASK(mask)
        {
            char opcode[32];
            bool is_signed = forms[f].type[0] == 's', first = true;
            int64_t want = 0;
            snprintf(opcode, sizeof opcode, "redux.sync.%s.%s", forms[f].op, forms[f].type);
            CHECK(rig_take(&r, find_warp, opcode, 3));
            fill(rig_reg(&r, 0), KEPT);
            for (int l = 0; l < WARP_LANES; l++) {
                uint32_t bits = rig_random();
                int64_t value = is_signed ? (int64_t)(int32_t)bits : (int64_t)bits;
                rig_reg(&r, 1)[l] = bits;
                if (mask >> l & 1)
                    want = first ? value : reduce(forms[f].op, want, value);
                first = first && !(mask >> l & 1);
            }
            CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
            for (int l = 0; l < WARP_LANES; l++)
                CHECK_EQ(rig_reg(&r, 0)[l], mask >> l & 1 ? (uint32_t)want : KEPT);
        }
    rig_close(&r);
}

TEST(gpu_warp, elect_names_one_lane_of_the_mask_and_activemask_those_running)
{
    struct rig r;
    rig_open(&r);
    FOR_EACH_MASK(mask)
    {
        CHECK(rig_take(&r, find_warp, "elect.sync", 2));
        CHECK_EQ(r.in.n_slot, 3);
        *slot_pred(&r.warp, &r.in, 1) = ~mask;
        CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
        uint32_t leader = rig_reg(&r, 0)[__builtin_ctz(mask)];
        CHECK(leader < 32 && (mask >> leader & 1));
        CHECK_EQ(*slot_pred(&r.warp, &r.in, 1), ~mask | 1u << (leader & 31));
        r.in.slot[0] = PTX_NONE;
        CHECK_EQ(rig_run(&r, mask), FAULT_NONE);

        CHECK(rig_take(&r, find_warp, "activemask.b32", 1));
        CHECK_EQ(r.in.form.flow, FLOW_NEXT);
        fill(rig_reg(&r, 0), KEPT);
        CHECK_EQ(rig_run(&r, mask), FAULT_NONE);
        for (int l = 0; l < WARP_LANES; l++)
            CHECK_EQ(rig_reg(&r, 0)[l], mask >> l & 1 ? mask : KEPT);
    }
    rig_close(&r);
}

TEST(gpu_warp, bar_warp_sync_changes_no_register)
{
    struct rig r;
    rig_open(&r);
    CHECK(rig_take(&r, find_warp, "bar.warp.sync", 1));
    CHECK_EQ(r.in.form.flow, FLOW_SYNC);
    CHECK_EQ(r.in.n_slot, 1);
    fill(rig_reg(&r, 0), 0xff);
    CHECK_EQ(rig_run(&r, 0xff), FAULT_NONE);
    for (size_t i = 0; i < sizeof r.reg / sizeof r.reg[0]; i++)
        CHECK_EQ(r.reg[i], i < WARP_LANES / 2 ? 0x000000ff000000ff : 0);
    rig_close(&r);
}

TEST(gpu_warp, unknown_instructions_are_refused)
{
    static const char *const opcodes[] = {
        "shfl.up.b32",        "shfl.sync.up.b64",   "vote.sync.ballot.b64", "redux.sync.add.b32",
        "redux.sync.min.f32", "match.sync.any.b32", "bar.warp.sync.aligned"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        CHECK(!find_warp(opcodes[i], 3, &form));
}
