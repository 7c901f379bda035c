/* cp.async: what is copied, when, and for which lanes. */
#include "counters.h"
#include "memory.h"
#include "test_warp.h"

#define SOURCE_BYTES 1019 /* ends in the middle of an access */

static uint8_t old_byte(uint32_t i)
{
    return (uint8_t)(0x80 | i);
}

/* A rig with a source in device memory; byte i of it is i / 8 + 1. */
struct async_rig {
    struct rig rig;
    uint64_t source;
    struct ptx_instr issue, commit, wait, wait_all;
};

static uint8_t new_byte(uint32_t i)
{
    return (uint8_t)(i / 8 + 1);
}

static void open_async(struct async_rig *a, const char *opcode, int n_operand, uint32_t bytes)
{
    uint8_t source[SOURCE_BYTES];
    memory_init(1 << 20);
    rig_open(&a->rig);
    a->rig.config.context = 1;
    a->source = memory_take(SOURCE_BYTES, 1);
    CHECK(a->source);
    for (uint32_t i = 0; i < SOURCE_BYTES; i++)
        source[i] = new_byte(i);
    CHECK(memory_write(a->source, source, sizeof source, 1));
    CHECK(rig_take(&a->rig, find_async, "cp.async.commit_group", 0));
    a->commit = a->rig.in;
    CHECK(rig_take(&a->rig, find_async, "cp.async.wait_group", 1));
    a->wait = a->rig.in;
    CHECK(rig_take(&a->rig, find_async, "cp.async.wait_all", 0));
    a->wait_all = a->rig.in;
    CHECK(rig_take(&a->rig, find_async, opcode, n_operand));
    CHECK_EQ(a->rig.in.n_slot, n_operand - 1);
    a->issue = a->rig.in;
    a->issue.literal[0] = bytes;
    rig_fill_shared(&a->rig, old_byte);
}

static void close_async(struct async_rig *a)
{
    rig_close(&a->rig);
    CHECK(memory_give(a->source, 1));
}

static enum fault_kind run(struct async_rig *a, const struct ptx_instr *in, uint32_t mask)
{
    a->rig.in = *in;
    return rig_run(&a->rig, mask);
}

/* Every lane l copies to to + l bytes from the source's from + l bytes. */
static enum fault_kind issue(struct async_rig *a, uint32_t to, uint32_t from, uint32_t mask)
{
    uint32_t bytes = (uint32_t)a->issue.literal[0];
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        slot64(&a->rig.warp, &a->issue, 0)[l] = to + l * bytes;
        slot64(&a->rig.warp, &a->issue, 1)[l] = a->source + from + l * bytes;
    }
    return run(a, &a->issue, mask);
}

static enum fault_kind wait_group(struct async_rig *a, int64_t n, uint32_t mask)
{
    a->wait.literal[0] = n;
    return run(a, &a->wait, mask);
}

/* Reads a byte of shared memory as the kernel would. */
static enum fault_kind read_shared(struct async_rig *a, uint32_t offset, uint8_t *out)
{
    a->rig.fault.kind = FAULT_NONE;
    if (setjmp(a->rig.escape) == 0)
        *out = *shared_read(&a->rig.warp, &a->commit, 0, offset, 1);
    return a->rig.fault.kind;
}

static enum fault_kind write_shared(struct async_rig *a, uint32_t offset)
{
    a->rig.fault.kind = FAULT_NONE;
    if (setjmp(a->rig.escape) == 0)
        *shared_write(&a->rig.warp, &a->commit, 0, offset, 1) = 0;
    return a->rig.fault.kind;
}

/* For the lanes of mask: whether all their bytes at to are those of the source at from, can be
 * read, or are in flight. */
static void check_arrived(struct async_rig *a, uint32_t to, uint32_t from, uint32_t mask)
{
    uint32_t bytes = (uint32_t)a->issue.literal[0];
    for (uint32_t i = 0; i < WARP_LANES * bytes; i++)
        if (mask >> i / bytes & 1) {
            uint8_t got = 0;
            CHECK_EQ(read_shared(a, to + i, &got), FAULT_NONE);
            CHECK_EQ(got, new_byte(from + i));
        }
}

static void check_in_flight(struct async_rig *a, uint32_t to, uint32_t mask)
{
    uint32_t bytes = (uint32_t)a->issue.literal[0];
    for (uint32_t i = 0; i < WARP_LANES * bytes; i++)
        if (mask >> i / bytes & 1) {
            uint8_t got = 0;
            CHECK_EQ(read_shared(a, to + i, &got), FAULT_IN_FLIGHT);
            CHECK_EQ(a->rig.shared[to + i], old_byte(to + i));
        }
}

TEST(gpu_async, every_spelling_and_width_copies)
{
    static const struct {
        const char *opcode;
        uint32_t bytes;
    } forms[] = {{"cp.async.ca.shared.global", 4},
                 {"cp.async.ca.shared::cta.global", 8},
                 {"cp.async.ca.shared.global.L2::64B", 16},
                 {"cp.async.ca.shared::cta.global.L2::128B", 4},
                 {"cp.async.ca.shared.global.L2::256B", 8},
                 {"cp.async.cg.shared.global", 16},
                 {"cp.async.cg.shared::cta.global", 16},
                 {"cp.async.cg.shared.global.L2::64B", 16},
                 {"cp.async.cg.shared.global.L2::128B", 16},
                 {"cp.async.cg.shared::cta.global.L2::256B", 16}};
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        struct async_rig a;
        open_async(&a, forms[f].opcode, 3, forms[f].bytes);
        CHECK_EQ(issue(&a, 512, 64, 0x0fffffff), FAULT_NONE);
        check_in_flight(&a, 512, 0x0fffffff);
        CHECK_EQ(async_pending(a.rig.warp.async), 28);
        CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE);
        check_in_flight(&a, 512, 0x0fffffff);
        CHECK_EQ(wait_group(&a, 0, UINT32_MAX), FAULT_NONE);
        check_arrived(&a, 512, 64, 0x0fffffff);
        CHECK_EQ(a.rig.shared[512 + 28 * forms[f].bytes], old_byte(512 + 28 * forms[f].bytes));
        CHECK_EQ(async_pending(a.rig.warp.async), 0);
        close_async(&a);
    }
}

TEST(gpu_async, wait_group_leaves_the_latest_groups_in_flight)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    for (uint32_t stage = 0; stage < 3; stage++) {
        CHECK_EQ(issue(&a, 512 * stage, 16 * stage, UINT32_MAX), FAULT_NONE);
        CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE);
    }
    CHECK_EQ(wait_group(&a, 3, UINT32_MAX), FAULT_NONE);
    check_in_flight(&a, 0, UINT32_MAX);
    CHECK_EQ(wait_group(&a, 2, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 0, 0, UINT32_MAX);
    check_in_flight(&a, 512, UINT32_MAX);
    CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE); /* an empty group counts too */
    CHECK_EQ(wait_group(&a, 2, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 512, 16, UINT32_MAX);
    check_in_flight(&a, 1024, UINT32_MAX);
    CHECK_EQ(wait_group(&a, 1, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 1024, 32, UINT32_MAX);
    close_async(&a);
}

TEST(gpu_async, copies_without_a_commit_are_waited_for_by_wait_all_only)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    CHECK_EQ(issue(&a, 0, 0, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(wait_group(&a, 0, UINT32_MAX), FAULT_NONE);
    check_in_flight(&a, 0, UINT32_MAX);
    CHECK_EQ(run(&a, &a.wait_all, 0xffff), FAULT_NONE);
    check_arrived(&a, 0, 0, 0xffff);
    check_in_flight(&a, 0, 0xffff0000);
    CHECK_EQ(run(&a, &a.wait_all, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 0, 0, UINT32_MAX);
    close_async(&a);
}

TEST(gpu_async, lanes_commit_and_wait_each_for_themselves)
{
    struct async_rig a;
    uint32_t even = 0x55555555, odd = 0xaaaaaaaa;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    CHECK_EQ(issue(&a, 0, 0, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(run(&a, &a.commit, even), FAULT_NONE);
    CHECK_EQ(issue(&a, 512, 16, UINT32_MAX), FAULT_NONE); /* odd: the same group as before */
    CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(wait_group(&a, 1, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 0, 0, even);
    check_in_flight(&a, 0, odd);
    check_in_flight(&a, 512, UINT32_MAX);
    CHECK_EQ(wait_group(&a, 0, odd), FAULT_NONE);
    check_arrived(&a, 0, 0, UINT32_MAX);
    check_arrived(&a, 512, 16, odd);
    check_in_flight(&a, 512, even);
    close_async(&a);
}

TEST(gpu_async, a_source_size_fills_with_zeros_and_reads_no_further)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 4, 16);
    /* Lane 15's source ends with the allocation, the following ones' lie behind it. */
    uint32_t from = SOURCE_BYTES + 5 - 16 * 16, *size = slot32(&a.rig.warp, &a.issue, 2);
    for (uint32_t l = 0; l < WARP_LANES; l++)
        size[l] = l < 15 ? l : l == 15 ? 11 : 0;
    CHECK_EQ(issue(&a, 0, from, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(run(&a, &a.wait_all, UINT32_MAX), FAULT_NONE);
    for (uint32_t i = 0; i < 512; i++) {
        uint8_t got = 1;
        CHECK_EQ(read_shared(&a, i, &got), FAULT_NONE);
        CHECK_EQ(got, i < 256 && i % 16 < size[i / 16] ? new_byte(from + i) : 0);
    }
    close_async(&a);
}

TEST(gpu_async, a_source_size_is_checked)
{
    static const struct {
        uint32_t from, size;
        enum fault_kind kind;
    } cases[] = {{0, 17, FAULT_TRAP},
                 {8, 4, FAULT_MISALIGNED},
                 {8, 0, FAULT_NONE},
                 {SOURCE_BYTES + 5 - 16, 11, FAULT_NONE},
                 {SOURCE_BYTES + 5 - 16, 12, FAULT_OUT_OF_BOUNDS},
                 {SOURCE_BYTES + 5 - 16, 15, FAULT_OUT_OF_BOUNDS}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct async_rig a;
        open_async(&a, "cp.async.cg.shared.global", 4, 16);
        slot32(&a.rig.warp, &a.issue, 2)[0] = cases[i].size;
        CHECK_EQ(issue(&a, 0, cases[i].from, 1), cases[i].kind);
        close_async(&a);
    }
}

TEST(gpu_async, the_source_is_checked_at_issue_and_read_at_the_wait)
{
    struct async_rig a;
    uint32_t word = 0x01020304;
    open_async(&a, "cp.async.ca.shared.global", 3, 4);
    CHECK_EQ(issue(&a, 0, SOURCE_BYTES + 1 - 30 * 4, UINT32_MAX), FAULT_OUT_OF_BOUNDS);
    async_reset(a.rig.warp.async);
    shared_clear(a.rig.cta.state);
    rig_fill_shared(&a.rig, old_byte);
    CHECK_EQ(issue(&a, 0, 2, UINT32_MAX), FAULT_MISALIGNED);
    CHECK_EQ(issue(&a, 0, 0, 1), FAULT_NONE);
    CHECK(memory_write(a.source, &word, sizeof word, 1));
    CHECK_EQ(run(&a, &a.wait_all, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(memcmp(a.rig.shared, &word, sizeof word), 0);
    close_async(&a);
}

/* What is read counts in sectors, what is written in wavefronts; zeros are not read. */
TEST(gpu_async, copies_are_counted_on_both_sides)
{
    struct async_rig a;
    struct ptx_counts counts = {0};
    open_async(&a, "cp.async.cg.shared.global", 4, 16);
    a.rig.cta.counts = &counts;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        slot32(&a.rig.warp, &a.issue, 2)[l] = l < 16 ? 16 : 0;
    CHECK_EQ(issue(&a, 0, 0, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(counts.sectors, 16 * 16 / 32);
    CHECK_EQ(counts.wavefronts, 32 * 16 / 128);
    CHECK_EQ(counts.bytes, 16 * 16 + 32 * 16);
    close_async(&a);
}

TEST(gpu_async, bytes_in_flight_must_not_be_written)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    CHECK_EQ(issue(&a, 0, 0, 1), FAULT_NONE);
    CHECK_EQ(write_shared(&a, 15), FAULT_IN_FLIGHT);
    CHECK_EQ(write_shared(&a, 16), FAULT_NONE);
    CHECK_EQ(run(&a, &a.wait_all, 1), FAULT_NONE);
    CHECK_EQ(write_shared(&a, 15), FAULT_NONE);
    close_async(&a);
}

TEST(gpu_async, addresses_may_have_32_bits_and_an_offset)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    a.issue.address32 = true;
    a.issue.offset = 32;
    a.issue.offset2 = -48;
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        slot32(&a.rig.warp, &a.issue, 0)[l] = 16 * l;
        slot64(&a.rig.warp, &a.issue, 1)[l] = a.source + 48 + 16 * l;
    }
    CHECK_EQ(run(&a, &a.issue, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(run(&a, &a.wait_all, UINT32_MAX), FAULT_NONE);
    check_arrived(&a, 32, 0, UINT32_MAX);
    close_async(&a);
}

TEST(gpu_async, a_reset_forgets_copies_and_groups)
{
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 16);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(issue(&a, 512 * (uint32_t)i, 0, UINT32_MAX), FAULT_NONE);
        CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE);
    }
    CHECK_EQ(async_pending(a.rig.warp.async), 160);
    async_reset(a.rig.warp.async);
    shared_clear(a.rig.cta.state);
    rig_fill_shared(&a.rig, old_byte);
    CHECK_EQ(async_pending(a.rig.warp.async), 0);
    CHECK_EQ(issue(&a, 0, 0, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(run(&a, &a.commit, UINT32_MAX), FAULT_NONE);
    CHECK_EQ(wait_group(&a, 1, UINT32_MAX), FAULT_NONE);
    check_in_flight(&a, 0, UINT32_MAX);
    close_async(&a);
}

TEST(gpu_async, unknown_forms_and_sizes_are_refused)
{
    static const char *const opcodes[] = {
        "cp.async.cg.shared.shared",           "cp.async.ca.global.shared",
        "cp.async.ca.shared.global.L2::32B",   "cp.async.ca.shared.global.L2::cache_hint",
        "cp.async.cg.shared::cluster.global",  "cp.async.bulk.commit_group",
        "cp.async.mbarrier.arrive.shared.b64", "mbarrier.init.shared.b64"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        CHECK(!find_async(opcodes[i], 3, &form));
    CHECK(!find_async("cp.async.cg.shared.global", 5, &form));
    struct async_rig a;
    open_async(&a, "cp.async.cg.shared.global", 3, 8);
    CHECK_EQ(issue(&a, 0, 0, UINT32_MAX), FAULT_TRAP);
    close_async(&a);
}
