/* The executor on small programs: what each fault looks like and that the correct program beside
 * it has none, lanes that part and meet, barriers, counters. */
#include "counters.h"
#include "memory.h"
#include "t.h"

#include <stdlib.h>

#define CONTEXT 7
#define WORDS   1024

/* A kernel with pointers p and q (%rd1, %rd2), the thread's number in %r1 and the addresses of
 * its own words in %rd3 and %rd4. */
#define HEAD                                                                                  \
    ".version 8.0\n.target sm_80\n.address_size 64\n"                                         \
    ".visible .entry k(.param .u64 p, .param .u64 q)\n{\n"                                    \
    ".reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .shared .align 16 .b8 s[4096];\n" \
    ".local .align 8 .b8 l[64]; .reg .b16 %h<4>; .reg .f32 %f<8>;\n"                          \
    "ld.param.u64 %rd1, [p]; ld.param.u64 %rd2, [q]; mov.u32 %r1, %tid.x;\n"                  \
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r1, %r2, %r3, %r1;\n"           \
    "mul.wide.s32 %rd5, %r1, 4; add.s64 %rd3, %rd1, %rd5; add.s64 %rd4, %rd2, %rd5;\n"        \
    "mov.u32 %r4, %tid.x; shl.b32 %r5, %r4, 2; mov.u32 %r6, s; add.s32 %r7, %r6, %r5;\n"
#define TAIL "ret;\n}\n"
/* The first line of the program between the two. */
#define FIRST 12

struct run {
    const char *program;
    uint32_t grid, block;
    uint64_t seed;
    bool split, count;
    struct ptx_module *module; /* kept for its counts if count is set */
    uint64_t p, q;             /* (WORDS) words, i and unwritten before */
    struct fault fault;
};

static void execute(struct run *run)
{
    char text[8192], error[256] = "";
    uint32_t word[WORDS];
    uint64_t param[2];
    snprintf(text, sizeof text, "%s%s%s", HEAD, run->program, TAIL);
    run->module = ptx_parse(text, strlen(text), error, sizeof error);
    if (!run->module) {
        t_fail(__FILE__, __LINE__, "%s", error);
        return;
    }
    for (uint32_t i = 0; i < WORDS; i++)
        word[i] = i;
    run->p = param[0] = memory_take(sizeof word, CONTEXT);
    run->q = param[1] = memory_take(sizeof word, CONTEXT);
    CHECK(memory_write(run->p, word, sizeof word, CONTEXT));
    struct launch_config config = {.function = ptx_find_function(run->module, "k"),
                                   .grid = {run->grid ? run->grid : 1, 1, 1},
                                   .block = {run->block ? run->block : 64, 1, 1},
                                   .param = (const uint8_t *)param,
                                   .context = CONTEXT,
                                   .seed = run->seed,
                                   .split = run->split,
                                   .threads = 2,
                                   .count = run->count};
    launch_run(&config, &run->fault);
}

static void finish(struct run *run)
{
    memory_give_all(CONTEXT);
    ptx_free(run->module);
}

/* Word i of q. */
static uint32_t result(const struct run *run, uint32_t i)
{
    uint32_t word = 0;
    CHECK(memory_read(&word, run->q + 4 * i, sizeof word, CONTEXT, NULL));
    return word;
}

/* The program must fault so, at its line (counted from 1 in the program), in a block of so many
 * threads. */
static void expect_of(uint32_t block, const char *program, enum fault_kind kind, int line)
{
    char where[32];
    struct run run = {.program = program, .block = block};
    execute(&run);
    snprintf(where, sizeof where, "line %d:", FIRST + line - 1);
    if (run.fault.kind != kind || (kind && !strstr(run.fault.text, where)))
        t_fail(__FILE__, __LINE__, "want %s at %s, got: %s", fault_names[kind], where,
               run.fault.kind ? run.fault.text : "no fault");
    finish(&run);
}

static void expect(const char *program, enum fault_kind kind, int line)
{
    expect_of(64, program, kind, line);
}

TEST(exec, threads_of_many_blocks_each_do_their_own)
{
    struct run run = {.program = "ld.global.u32 %r8, [%rd3]; mul.lo.s32 %r8, %r8, 3;\n"
                                 "st.global.u32 [%rd4], %r8;\n",
                      .grid = 5,
                      .block = 100};
    for (uint64_t seed = 0; seed < 4; seed++) {
        run.seed = seed;
        execute(&run);
        CHECK_EQ(run.fault.kind, FAULT_NONE);
        for (uint32_t i = 0; i < 500; i++)
            CHECK_EQ(result(&run, i), 3 * i);
        finish(&run);
    }
}

/* Each lane goes round as often as its number says: lanes leave the loop one by one. */
TEST(exec, lanes_that_part_meet_again)
{
    struct run run = {.program = "mov.u32 %r8, 0; mov.u32 %r9, 0;\n"
                                 "LOOP: setp.ge.u32 %p1, %r9, %r4; @%p1 bra END;\n"
                                 "add.s32 %r8, %r8, %r9; add.s32 %r9, %r9, 1; bra LOOP;\n"
                                 "END: st.global.u32 [%rd4], %r8;\n"};
    for (int split = 0; split < 2; split++) {
        run.split = split;
        run.seed = 11;
        execute(&run);
        CHECK_EQ(run.fault.kind, FAULT_NONE);
        for (uint32_t i = 0; i < 64; i++)
            CHECK_EQ(result(&run, i), i * (i - 1) / 2);
        finish(&run);
    }
}

TEST(exec, global_memory_has_ends_and_an_age)
{
    expect("ld.global.u32 %r8, [%rd1+4092];\n", FAULT_NONE, 0);
    expect("ld.global.u32 %r8, [%rd1+4096];\n", FAULT_OUT_OF_BOUNDS, 1);
    expect("ld.global.u32 %r8, [%rd1-4];\n", FAULT_OUT_OF_BOUNDS, 1);
    expect("\nst.global.u32 [%rd1+4096], %r1;\n", FAULT_OUT_OF_BOUNDS, 2);
    expect("ld.global.u32 %r8, [%rd1+2];\n", FAULT_MISALIGNED, 1);
    expect("ld.global.v4.u32 {%r8, %r9, %r10, %r11}, [%rd1+8];\n", FAULT_MISALIGNED, 1);
    expect("ld.global.u32 %r8, [%rd2];\n", FAULT_UNINITIALISED, 1);
    expect("st.global.u32 [%rd4], %r1; ld.global.u32 %r8, [%rd4];\n", FAULT_NONE, 0);
    expect("mov.u64 %rd6, 4096; ld.global.u32 %r8, [%rd6];\n", FAULT_OUT_OF_BOUNDS, 1);
}

TEST(exec, registers_have_no_value_before_they_are_written)
{
    expect("st.global.u32 [%rd4], %r8;\n", FAULT_UNINITIALISED, 1);
    expect("mov.u32 %r8, 1;\nst.global.u32 [%rd4], %r8;\n", FAULT_NONE, 0);
    expect("@%p1 mov.u32 %r8, 1;\n", FAULT_UNINITIALISED, 1);
    expect("setp.lt.u32 %p1, %r4, 7; @%p1 mov.u32 %r8, 1;\n@%p1 add.u32 %r8, %r8, 1;\n", FAULT_NONE,
           0);
    expect("setp.lt.u32 %p1, %r4, 7; @%p1 mov.u32 %r8, 1;\n@!%p1 add.u32 %r8, %r8, 1;\n",
           FAULT_UNINITIALISED, 2);
    expect("setp.lt.u32 %p1, %r4, 7; @%p1 bra LESS; mov.u32 %r8, 1;\nLESS: add.u32 %r9, %r8, 1;\n",
           FAULT_UNINITIALISED, 2);
    expect("mov.u32 %r9, 0; LOOP: setp.gt.u32 %p1, %r9, 0; @%p1 add.u32 %r8, %r8, 1;\n"
           "@!%p1 mov.u32 %r8, 0; add.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 3; @%p1 bra LOOP;\n",
           FAULT_NONE, 0);
    expect("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4},\n"
           "{%r4, %r4, %r4, %r4}, {%r4, %r4}, {%f1, %f2, %f3, %f4};\n",
           FAULT_UNINITIALISED, 1);
}

TEST(exec, memory_given_back_is_known_as_such)
{
    char text[2048], error[256] = "";
    struct fault fault;
    snprintf(text, sizeof text, "%s%s%s", HEAD, "ld.global.u32 %r8, [%rd1];\n", TAIL);
    struct ptx_module *module = ptx_parse(text, strlen(text), error, sizeof error);
    uint64_t param[2] = {memory_take(64, CONTEXT), memory_take(64, CONTEXT)};
    CHECK(memory_give(param[0], CONTEXT));
    CHECK(!memory_give(param[0], CONTEXT));
    struct launch_config config = {.function = ptx_find_function(module, "k"),
                                   .grid = {1, 1, 1},
                                   .block = {1, 1, 1},
                                   .param = (const uint8_t *)param,
                                   .context = CONTEXT,
                                   .threads = 1};
    launch_run(&config, &fault);
    CHECK_EQ(fault.kind, FAULT_FREED);
    config.context = CONTEXT + 1;
    param[0] = param[1];
    launch_run(&config, &fault);
    CHECK_EQ(fault.kind, FAULT_OUT_OF_BOUNDS);
    CHECK_EQ(memory_leaks(CONTEXT), 1);
    memory_give_all(CONTEXT);
    ptx_free(module);
}

#define WRITE_OWN "st.shared.u32 [%r7], %r4;\n"
/* The word of the thread 32 further on, which another warp wrote. */
#define READ_OTHER "xor.b32 %r8, %r5, 128; add.s32 %r8, %r8, %r6; ld.shared.u32 %r9, [%r8];\n"

TEST(exec, shared_memory_is_ordered_by_barriers_alone)
{
    expect(WRITE_OWN "bar.sync 0;\n" READ_OTHER, FAULT_NONE, 0);
    expect(WRITE_OWN READ_OTHER, FAULT_UNINITIALISED, 2);
    expect(WRITE_OWN "bar.sync 0;\n" WRITE_OWN READ_OTHER, FAULT_RACE, 3);
    expect(WRITE_OWN "bar.sync 0;\n" READ_OTHER WRITE_OWN, FAULT_RACE, 3);
    expect(WRITE_OWN "bar.sync 0;\n" READ_OTHER "bar.sync 0;\n" WRITE_OWN, FAULT_NONE, 0);
    expect("st.shared.u32 [%r6], %r4;\n", FAULT_RACE, 1);
    expect("ld.shared.u32 %r8, [%r7];\n", FAULT_UNINITIALISED, 1);
    expect("st.shared.u32 [%r7+4096], %r4;\n", FAULT_OUT_OF_BOUNDS, 1);
    expect("st.shared.u32 [%r7+1], %r4;\n", FAULT_MISALIGNED, 1);
}

TEST(exec, atomics_do_not_race_and_lose_nothing)
{
    struct run run = {.program =
                          "setp.eq.u32 %p1, %r4, 0; @%p1 st.shared.u32 [%r6], 0;\n"
                          "bar.sync 0;\n"
                          "atom.shared.add.u32 %r8, [%r6], 1; red.global.add.u32 [%rd1], 1;\n"
                          "bar.sync 0;\n"
                          "ld.shared.u32 %r9, [%r6]; st.global.u32 [%rd4], %r9;\n",
                      .grid = 7};
    uint32_t sum = 0;
    execute(&run);
    CHECK_EQ(run.fault.kind, FAULT_NONE);
    for (uint32_t i = 0; i < 7 * 64; i++)
        CHECK_EQ(result(&run, i), 64);
    CHECK(memory_read(&sum, run.p, sizeof sum, CONTEXT, NULL));
    CHECK_EQ(sum, 7 * 64);
    finish(&run);
    expect("atom.shared.add.u32 %r8, [%r6], 1;\n", FAULT_UNINITIALISED, 1);
}

/* A counter of one warp is its own, one of two is not until they have met. */
TEST(exec, reads_race_with_the_atomics_of_others)
{
    expect(WRITE_OWN "atom.shared.add.u32 %r8, [%r7], 1; ld.shared.u32 %r9, [%r7];\n", FAULT_NONE,
           0);
    expect(WRITE_OWN "bar.sync 0; atom.shared.add.u32 %r8, [%r6], 1;\nld.shared.u32 %r9, [%r6];\n",
           FAULT_RACE, 2);
}

TEST(exec, races_name_both_lines)
{
    struct run run = {.program = WRITE_OWN "bar.sync 0; setp.lt.u32 %p1, %r4, 32;\n"
                                           "@%p1 ld.shared.u32 %r9, [%r7+128];\n"
                                           "@!%p1 st.shared.u32 [%r7], %r4;\n"};
    execute(&run);
    CHECK(strstr(run.fault.text, "read at line 14 by warp 0 "));
    CHECK(strstr(run.fault.text, ", line 15: @!%p1 st.shared.u32 [%r7], %r4;"));
    finish(&run);
    run.program = WRITE_OWN "bar.sync 0; setp.lt.u32 %p1, %r4, 32;\n"
                            "@%p1 st.shared.u32 [%r7], %r4;\n"
                            "@!%p1 ld.shared.u32 %r9, [%r7+-128];\n";
    execute(&run);
    CHECK(strstr(run.fault.text, "written at line 14 by warp 0 "));
    CHECK(strstr(run.fault.text, ", line 15: @!%p1 ld.shared.u32 %r9, [%r7+-128];"));
    finish(&run);
}

/* Halves of one word are not one thing. */
TEST(exec, races_are_of_bytes)
{
    const char *halves = "shr.u32 %r8, %r4, 5; shl.b32 %r8, %r8, 1; and.b32 %r9, %r5, 127;\n"
                         "add.s32 %r9, %r9, %r8; add.s32 %r9, %r9, %r6; cvt.u16.u32 %h1, %r4;\n";
    char text[1024];
    snprintf(text, sizeof text, "%sst.shared.u16 [%%r9], %%h1;\nld.shared.s16 %%r10, [%%r9];\n",
             halves);
    expect(text, FAULT_NONE, 0);
    snprintf(text, sizeof text, "%sst.shared.u16 [%%r9], %%h1;\nld.shared.u32 %%r10, [%%r7];\n",
             halves);
    expect_of(32, text, FAULT_UNINITIALISED, 4);
    snprintf(text, sizeof text,
             "%sst.shared.u16 [%%r9], %%h1; and.b32 %%r9, %%r9, -4;\n"
             "ld.shared.u32 %%r10, [%%r9];\n",
             halves);
    expect_of(32, text, FAULT_UNINITIALISED, 4);
}

TEST(exec, widths_and_vectors_of_loads_and_stores)
{
    struct run run = {
        .program = "mul.wide.s32 %rd6, %r4, 16; cvta.shared.u64 %rd7, %rd6;\n"
                   "mov.u32 %r8, 0x8281; st.local.u32 [l+4], %r8;\n"
                   "ld.local.s8 %r9, [l+4]; ld.local.u8 %r10, [l+5];\n"
                   "st.v2.u32 [%rd7], {%r9, %r10}; ld.shared.v2.u16 {%h1, %h2}, [%rd6];\n"
                   "st.shared.v4.u8 [%rd6+8], {%r4, %h1, %r10, %r9};\n"
                   "ld.volatile.shared.u64 %rd8, [%rd6+0]; ld.shared.u32 %r11, [%rd6+8];\n"
                   "shr.u64 %rd8, %rd8, 32; cvt.u32.u64 %r12, %rd8; add.s32 %r11, %r11, %r12;\n"
                   "st.relaxed.gpu.global.u32 [%rd4], %r11;\n"};
    execute(&run);
    CHECK_EQ(run.fault.kind, FAULT_NONE);
    CHECK_TEXT(run.fault.text, "");
    for (uint32_t i = 0; i < 64; i++)
        CHECK_EQ(result(&run, i), (0x81820000u | 0x8100 | i) + 0x82);
    finish(&run);
    expect("ld.local.u32 %r8, [l];\n", FAULT_UNINITIALISED, 1);
    expect("mov.u64 %rd6, l; add.s64 %rd6, %rd6, 64;\nst.local.u32 [%rd6], %r1;\n",
           FAULT_OUT_OF_BOUNDS, 2);
    expect("ld.global.v4.u32 {%r8, %r9, %r10, %r11}, [%rd1+8];\n", FAULT_MISALIGNED, 1);
    expect("add.s64 %rd6, %rd1, 1; ld.global.u8 %r8, [%rd6];\nld.global.u16 %h1, [%rd6];\n",
           FAULT_MISALIGNED, 2);
}

#define COPY                                                                    \
    "shl.b32 %r8, %r4, 4; add.s32 %r8, %r8, %r6; mul.wide.s32 %rd6, %r4, 16;\n" \
    "add.s64 %rd6, %rd6, %rd1; cp.async.cg.shared.global [%r8], [%rd6], 16;\n"  \
    "cp.async.commit_group;\n"

TEST(exec, a_copy_in_flight_is_not_there_yet)
{
    expect(COPY "cp.async.wait_group 0;\nbar.sync 0;\n" READ_OTHER, FAULT_NONE, 0);
    expect(COPY "cp.async.wait_group 1;\nbar.sync 0;\n" READ_OTHER, FAULT_IN_FLIGHT, 6);
    expect(COPY "ld.shared.u32 %r9, [%r8];\n", FAULT_IN_FLIGHT, 4);
    expect(COPY "st.shared.u32 [%r8], %r4;\n", FAULT_IN_FLIGHT, 4);
}

TEST(exec, lanes_of_a_sync_instruction_come_together_or_never)
{
    expect("shfl.sync.bfly.b32 %r8, %r4, 1, 31, -1;\n", FAULT_NONE, 0);
    expect("setp.lt.u32 %p1, %r4, 8;\n@%p1 shfl.sync.bfly.b32 %r8, %r4, 1, 31, -1;\n",
           FAULT_DIVERGENT, 2);
    expect("setp.lt.u32 %p1, %r4, 8; @%p1 bra L;\nret;\nL:\n"
           "shfl.sync.bfly.b32 %r8, %r4, 1, 31, -1;\n",
           FAULT_DIVERGENT, 4);
    expect("setp.lt.u32 %p1, %r4, 8; @%p1 bra L;\nret;\nL:\n"
           "shfl.sync.bfly.b32 %r8, %r4, 1, 31, 255;\n",
           FAULT_NONE, 0);
    expect("and.b32 %r8, %r4, 1; setp.eq.u32 %p1, %r8, 0; @%p1 bar.sync 0;\n", FAULT_DIVERGENT, 1);
    expect("shfl.sync.bfly.b32 %r8, %r4, 1, 31, 255;\n", FAULT_DIVERGENT, 1);
}

/* Halves of a warp that stand together, each with its own member mask. */
TEST(exec, parts_of_a_warp_name_their_own_members)
{
    struct run run = {.program = "and.b32 %r8, %r4, 16; mov.u32 %r9, 0xffff;\n"
                                 "shl.b32 %r9, %r9, %r8; setp.ge.u32 %p1, %r4, 0;\n"
                                 "vote.sync.ballot.b32 %r10, %p1, %r9;\n"
                                 "st.global.u32 [%rd4], %r10;\n",
                      .block = 32};
    for (int split = 0; split < 2; split++) {
        run.split = split;
        run.seed = 3;
        execute(&run);
        CHECK_EQ(run.fault.kind, FAULT_NONE);
        for (uint32_t i = 0; i < 32; i++)
            CHECK_EQ(result(&run, i), i < 16 ? 0xffffu : 0xffff0000u);
        finish(&run);
    }
}

/* The upper lanes are kept from the first vote by a predicate; lanes that the lower ones wait for
 * there need the upper ones at the second vote first. */
TEST(exec, a_predicate_keeps_no_lane_waiting)
{
    expect("setp.lt.u32 %p1, %r4, 8; setp.ge.u32 %p2, %r4, 16; setp.ge.u32 %p3, %r4, 0;\n"
           "@%p1 bra M; @%p2 bra M; bra L;\n"
           "M: mov.u32 %r8, 0xffff; @!%p2 vote.sync.ballot.b32 %r10, %p1, %r8; @!%p2 ret;\n"
           "L: mov.u32 %r9, 0xffffff00; and.b32 %r10, %r4, 32; setp.ne.u32 %p4, %r10, 0;\n"
           "@%p4 ret;\n"
           "vote.sync.ballot.b32 %r10, %p3, %r9;\n"
           "@!%p2 bra M;\n",
           FAULT_NONE, 0);
}

TEST(exec, warps_at_different_barriers_wait_for_ever)
{
    expect("setp.lt.u32 %p1, %r4, 32; @%p1 bra L;\nbar.sync 1;\nret;\nL: bar.sync 2;\n",
           FAULT_DEADLOCK, 2);
    expect("setp.lt.u32 %p1, %r4, 32; @%p1 bra L;\nbar.sync 1;\nret;\nL: bar.sync 1;\n", FAULT_NONE,
           0);
    expect("setp.lt.u32 %p1, %r4, 32; @%p1 bra L;\nret;\nL: bar.sync 1;\n", FAULT_NONE, 0);
}

/* %p1: the first warp, %p2: the third. */
#define ROLES "setp.lt.u32 %p1, %r4, 32; setp.ge.u32 %p2, %r4, 64;\n"
/* The word of the thread 32 below. */
#define READ_BELOW "ld.shared.u32 %r9, [%r7+-128];\n"

TEST(exec, barriers_for_some_warps_order_these_alone)
{
    expect(ROLES "@%p1 bra A;\nbar.sync 1, 64; " READ_BELOW "ret;\nA: " WRITE_OWN
                 "bar.arrive 1, 64;\n",
           FAULT_NONE, 0);
    expect(ROLES "@%p1 bra A;\nbar.sync 1, 64;\n" READ_BELOW
                 "ret;\nA: bar.arrive 1, 64;\n" WRITE_OWN,
           FAULT_RACE, 4);
    expect_of(96,
              ROLES "@%p2 bra C; " WRITE_OWN "barrier.cta.sync 3, 64;\n" READ_OTHER "ret;\nC:\n",
              FAULT_NONE, 0);
    expect_of(96, ROLES "@%p2 bra C; " WRITE_OWN "bar.sync 3, 64; ret;\nC:\n" READ_BELOW "ret;\n",
              FAULT_RACE, 5);
    /* The first warp's words reach the third by way of the second. */
    expect_of(96,
              ROLES "@%p2 bra C; @%p1 bra A;\nbar.sync 1, 64; bar.sync 2, 64; ret;\n"
                    "C: bar.sync 2, 64; ld.shared.u32 %r9, [%r7+-256]; ret;\nA: " WRITE_OWN
                    "bar.sync 1, 64;\n",
              FAULT_NONE, 0);
    expect_of(96,
              ROLES "@%p2 bra C; @%p1 bra A;\nbar.sync 2, 64; bar.sync 1, 64; ret;\n"
                    "C: bar.sync 2, 64;\nld.shared.u32 %r9, [%r7+-256]; ret;\nA: " WRITE_OWN
                    "bar.sync 1, 64;\n",
              FAULT_RACE, 5);
}

TEST(exec, barriers_have_rules)
{
    expect("mov.u32 %r8, 16;\nbar.sync %r8;\n", FAULT_TRAP, 2);
    expect("bar.sync 1, 33;\n", FAULT_TRAP, 1);
    expect("bar.sync 1, 96;\n", FAULT_TRAP, 1);
    expect("bar.sync 1, 32; bar.sync 1, 32;\n", FAULT_NONE, 0);
    expect(ROLES "@!%p1 bra A;\nbar.arrive 1, 64; bar.arrive 1, 64; ret;\nA: bar.sync 1;\n",
           FAULT_TRAP, 3);
    expect(ROLES "@%p1 bra A;\nret;\nA: bar.sync 1, 64;\n", FAULT_NONE, 0);
    expect_of(96, ROLES "@%p1 bra A;\nret;\nA: bar.sync 1, 64;\n", FAULT_DEADLOCK, 4);
}

TEST(exec, what_gives_up_and_what_never_ends)
{
    expect("trap;\n", FAULT_TRAP, 1);
    expect("L: bra L;\n", FAULT_TIMEOUT, 1);
}

TEST(exec, barriers_that_reduce)
{
    struct run run = {.program = "setp.lt.u32 %p1, %r4, 40; bar.red.popc.u32 %r8, 0, %p1;\n"
                                 "bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, %p1;\n"
                                 "@%p2 add.s32 %r8, %r8, 1000; @%p3 add.s32 %r8, %r8, 2000;\n"
                                 "st.global.u32 [%rd4], %r8;\n"};
    execute(&run);
    CHECK_EQ(run.fault.kind, FAULT_NONE);
    for (uint32_t i = 0; i < 64; i++)
        CHECK_EQ(result(&run, i), 2040);
    finish(&run);
}

#define NEIGHBOUR "xor.b32 %r8, %r5, 4; add.s32 %r8, %r8, %r6; ld.shared.u32 %r9, [%r8];\n"

/* Lockstep hides that nothing orders two lanes of a warp; split lanes show it. */
TEST(exec, split_lanes_find_a_missing_syncwarp)
{
    struct run with = {.program = WRITE_OWN "bar.warp.sync -1;\n" NEIGHBOUR, .split = true};
    struct run without = {.program = WRITE_OWN NEIGHBOUR};
    int n_found = 0;
    execute(&without);
    CHECK_EQ(without.fault.kind, FAULT_NONE);
    finish(&without);
    without.split = true;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        without.seed = with.seed = seed;
        execute(&without);
        n_found += without.fault.kind == FAULT_UNINITIALISED;
        finish(&without);
        execute(&with);
        CHECK_EQ(with.fault.kind, FAULT_NONE);
        finish(&with);
    }
    CHECK(n_found >= 7);
}

/* Sums of what the program's only access costs one warp. */
static void expect_cost(const char *program, uint64_t sectors, uint64_t wavefronts, uint64_t bytes)
{
    struct run run = {.program = program, .block = 32, .count = true};
    uint64_t sum_sectors = 0, sum_wavefronts = 0, sum_bytes = 0;
    execute(&run);
    CHECK_EQ(run.fault.kind, FAULT_NONE);
    const struct ptx_function *f = ptx_find_function(run.module, "k");
    for (uint32_t i = 0; i < f->n_instr; i++) {
        sum_sectors += f->counts[i].sectors;
        sum_wavefronts += f->counts[i].wavefronts;
        sum_bytes += f->counts[i].bytes;
    }
    CHECK_EQ(sum_sectors, sectors);
    CHECK_EQ(sum_wavefronts, wavefronts);
    CHECK_EQ(sum_bytes, bytes);
    finish(&run);
}

TEST(exec, costs_of_known_patterns)
{
    expect_cost("ld.global.u32 %r8, [%rd3];\n", 4, 0, 128);
    expect_cost("ld.global.u32 %r8, [%rd1];\n", 1, 0, 128);
    expect_cost("shl.b32 %r8, %r4, 5; cvt.u64.u32 %rd6, %r8; add.s64 %rd6, %rd6, %rd1;\n"
                "ld.global.u32 %r8, [%rd6];\n",
                32, 0, 128);
    expect_cost("st.shared.u32 [%r7], %r4;\n", 0, 1, 128);
    expect_cost("shl.b32 %r8, %r4, 3; add.s32 %r8, %r8, %r6; st.shared.u32 [%r8], %r4;\n", 0, 2,
                128);
    expect_cost("shl.b32 %r8, %r4, 7; and.b32 %r8, %r8, 4095; add.s32 %r8, %r8, %r6;\n"
                "st.shared.u32 [%r8], %r4;\n",
                0, 32, 128);
    expect_cost("shl.b32 %r8, %r4, 4; add.s32 %r8, %r8, %r6;\n"
                "st.shared.v4.u32 [%r8], {%r4, %r4, %r4, %r4};\n",
                0, 4, 512);
}

TEST(exec, divergent_branches_are_counted)
{
    struct run run = {
        .program = "setp.lt.u32 %p1, %r4, 5; @%p1 bra L;\nL:\n", .block = 64, .count = true};
    struct function_totals totals;
    execute(&run);
    counters_sum(ptx_find_function(run.module, "k"), &totals);
    CHECK_EQ(totals.divergent, 1);
    CHECK_EQ(totals.launches, 1);
    finish(&run);
}
