/* Races between blocks in global memory: what orders blocks, and what does not. */
#include "memory.h"
#include "t.h"

#include <stdlib.h>

#define CONTEXT 7
#define WORDS   256
#define SEEDS   8

/* p and q, (WORDS) words, in %rd1 and %rd2; %rd3 and %rd4: the block's own words of them, %rd5 and
 * %rd6 those of the block before, of the first block the last; %p1 is the first block, %p2 lane 0.
 * p is 0, its last word counts. */
#define HEAD                                                                                       \
    ".version 8.0\n.target sm_80\n.address_size 64\n"                                              \
    ".visible .entry k(.param .u64 p, .param .u64 q)\n{\n"                                         \
    ".reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .b16 %h<4>;\n"                    \
    "ld.param.u64 %rd1, [p]; ld.param.u64 %rd2, [q]; mov.u32 %r1, %ctaid.x; mov.u32 %r2, 4; "      \
    "mov.u16 %h1, 1;\n"                                                                            \
    "mul.wide.u32 %rd7, %r1, 4; add.s64 %rd3, %rd1, %rd7; add.s64 %rd4, %rd2, %rd7;\n"             \
    "mov.u32 %r3, %nctaid.x; add.u32 %r4, %r1, %r3; sub.u32 %r4, %r4, 1; rem.u32 %r4, %r4, %r3;\n" \
    "mul.wide.u32 %rd7, %r4, 4; add.s64 %rd5, %rd1, %rd7; add.s64 %rd6, %rd2, %rd7;\n"             \
    "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, %tid.x; setp.eq.u32 %p2, %r5, 0;\n"
#define TAIL  "ret;\n}\n"
#define COUNT "[%rd1+1020]"

static enum fault_kind run(const char *program, uint32_t blocks, uint64_t seed, bool races)
{
    char text[8192], error[256] = "";
    struct fault fault;
    snprintf(text, sizeof text, "%s%s%s", HEAD, program, TAIL);
    struct ptx_module *module = ptx_parse(text, strlen(text), error, sizeof error);
    if (!module) {
        t_fail(__FILE__, __LINE__, "%s", error);
        return FAULT_TRAP;
    }
    memory_keep_records(races);
    uint64_t param[2] = {memory_take(4 * WORDS, CONTEXT), memory_take(4 * WORDS, CONTEXT)};
    for (int i = 0; i < 2; i++)
        CHECK(memory_set(param[i], 0, 4, WORDS, CONTEXT));
    struct launch_config config = {.function = ptx_find_function(module, "k"),
                                   .grid = {blocks, 1, 1},
                                   .block = {32, 1, 1},
                                   .param = (const uint8_t *)param,
                                   .context = CONTEXT,
                                   .seed = seed,
                                   .races = races,
                                   .threads = 3};
    for (int i = 0; i < 2; i++) { /* launches do not race with one another */
        launch_run(&config, &fault);
        if (fault.kind)
            break;
    }
    if (fault.kind && fault.kind != FAULT_RACE)
        t_fail(__FILE__, __LINE__, "%s", fault.text);
    memory_give_all(CONTEXT);
    ptx_free(module);
    return fault.kind;
}

static void expect(const char *program, bool race)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        if (run(program, 5, seed, true) != (race ? FAULT_RACE : FAULT_NONE))
            t_fail(__FILE__, __LINE__, "%s a race, seed %d: %s", race ? "is" : "is not", (int)seed,
                   program);
        CHECK_EQ(run(program, 1, seed, true), FAULT_NONE);
        CHECK_EQ(run(program, 5, seed, false), FAULT_NONE);
    }
}

TEST(races, each_block_may_do_what_it_wants_with_its_own)
{
    expect("ld.global.u32 %r6, [%rd3]; st.global.u32 [%rd3], %r6; ld.global.u32 %r6, [%rd3];\n",
           false);
    expect("ld.global.u32 %r6, [%rd1]; st.global.u32 [%rd4], %r6;\n", false);
}

TEST(races, blocks_that_meet_at_a_byte_are_found_in_every_order)
{
    expect("st.global.u32 [%rd1], %r2;\n", true);
    expect("st.global.u32 [%rd3], %r2; ld.global.u32 %r6, [%rd5];\n", true);
    expect("@%p1 st.global.u32 [%rd1], %r2; @!%p1 ld.global.u32 %r6, [%rd1];\n", true);
    expect("ld.global.u32 %r6, [%rd1]; @%p1 st.global.u32 [%rd1], %r2;\n", true);
    expect("ld.global.v4.u32 {%r6, %r7, %r8, %r9}, [%rd1]; @%p1 st.global.u16 [%rd1+12], %h1;\n",
           true);
}

TEST(races, halves_of_a_word_are_apart)
{
    expect("shr.u64 %rd8, %rd7, 1; add.s64 %rd9, %rd1, %rd8; mov.u16 %h1, 1;\n"
           "st.global.u16 [%rd9], %h1;\n",
           false);
}

TEST(races, a_copy_reads_when_it_is_issued)
{
    expect(".shared .align 16 .b8 s[512]; mov.u32 %r6, s; mad.lo.u32 %r6, %r5, 4, %r6;\n"
           "cp.async.ca.shared.global [%r6], [%rd5], 4; cp.async.wait_all;\n"
           "st.global.u32 [%rd3], %r2;\n",
           true);
}

TEST(races, atomics_do_not_race_with_one_another_but_with_all_else)
{
    expect("red.global.add.u32 [%rd1], 1; atom.global.max.u32 %r6, [%rd1], 3;\n", false);
    expect("red.global.add.u32 [%rd1], 1; @%p1 st.global.u32 [%rd1], %r2;\n", true);
    expect("red.global.add.u32 [%rd1], 1; ld.global.u32 %r6, [%rd1];\n", true);
    expect("ld.global.u32 %r6, [%rd1]; red.global.add.u32 [%rd1], 1;\n", true);
    expect("membar.gl; atom.global.add.u32 %r6, [%rd1], 1; membar.gl; rem.u32 %r6, %r6, 160;\n"
           "setp.eq.u32 %p3, %r6, 159; @%p3 st.global.u32 [%rd1], 0;\n",
           false);
}

/* Blocks write, count in, and the last reads what all wrote. */
#define WRITE "@%p2 st.global.u32 [%rd3], %r2; bar.sync 0;\n"
#define LAST  "rem.u32 %r6, %r6, 160; setp.eq.u32 %p3, %r6, 159;\n"
#define READ                                                              \
    "@%p3 ld.global.u32 %r7, [%rd1]; @%p3 ld.global.u32 %r7, [%rd1+4];\n" \
    "@%p3 ld.global.u32 %r7, [%rd5];\n"

TEST(races, fences_and_atomics_order_blocks)
{
    static const char count_in[] = "atom.global.add.u32 %r6, " COUNT ", 1;\n";
    static const char ordered[] = "atom.acq_rel.gpu.global.add.u32 %r6, " COUNT ", 1;\n";
    static const char released[] = "atom.release.gpu.global.add.u32 %r6, " COUNT ", 1;\n";
    static const char narrow[] = "atom.acq_rel.cta.global.add.u32 %r6, " COUNT ", 1;\n";
    static const char other[] = "atom.acq_rel.gpu.global.add.u32 %r6, [%rd4], 1;\n"
                                "atom.global.add.u32 %r6, " COUNT ", 1;\n";
    const struct {
        const char *before, *atomic, *behind;
        bool race;
    } rows[] = {
        {"membar.gl;\n", count_in, "membar.gl;\n", false},
        {"fence.acq_rel.gpu;\n", count_in, "fence.acq_rel.gpu;\n", false},
        {"", count_in, "membar.gl;\n", true},
        {"membar.gl;\n", count_in, "", true},
        {"membar.cta;\n", count_in, "membar.cta;\n", true},
        {"", count_in, "", true},
        {"", ordered, "", false},
        {"", released, "membar.gl;\n", false},
        {"", released, "", true},
        {"", narrow, "", true},
        {"", other, "", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char program[1024];
        snprintf(program, sizeof program, "%s%s%s%s%s%s", WRITE, rows[i].before, rows[i].atomic,
                 rows[i].behind, LAST, READ);
        expect(program, rows[i].race);
    }
}

TEST(races, what_is_written_behind_the_fence_is_not_ordered)
{
    expect("membar.gl;\n" WRITE "atom.global.add.u32 %r6, " COUNT ", 1; membar.gl;\n" LAST READ,
           true);
}
