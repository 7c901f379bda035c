/* The parser's module for texts as nvcc 13.0 writes them, its refusals, and the choice of a
 * fatbin's PTX. */
#include "gpu/fatbin.h"
#include "gpu/ptx.h"
#include "t.h"

#include <stdlib.h>

#define HEADER ".version 9.0\n.target sm_80\n.address_size 64\n"
/* The body begins on line 6. */
#define ENTRY(body) HEADER ".visible .entry k(.param .u64 k_param_0)\n{\n" body "}\n"

static char error[256];

static struct ptx_module *parse(const char *text)
{
    error[0] = '\0';
    struct ptx_module *module = ptx_parse(text, strlen(text), error, sizeof error);
    if (!module)
        t_fail(__FILE__, __LINE__, "%s", error);
    return module;
}

/* The constant in a slot, which must be one. */
static const struct ptx_constant *constant_at(const struct ptx_function *f, uint32_t slot)
{
    static const struct ptx_constant none = {0};
    for (uint32_t i = 0; i < f->n_constant; i++)
        if (f->constant[i].slot == slot)
            return &f->constant[i];
    t_fail(__FILE__, __LINE__, "slot %u is no constant of %s", slot, f->name);
    return &none;
}

static const struct ptx_variable *variable_of(const struct ptx_module *m, const char *name)
{
    static const struct ptx_variable none = {0};
    for (uint32_t i = 0; i < m->n_variable; i++)
        if (strcmp(m->variable[i].name, name) == 0)
            return &m->variable[i];
    t_fail(__FILE__, __LINE__, "no variable %s", name);
    return &none;
}

TEST(ptx_module, header_entry_and_params)
{
    struct ptx_module *m = parse(".version 9.0\n.target sm_90a, debug\n.address_size 64\n"
                                 ".file 1 \"a b.cu\"\n"
                                 ".visible .entry f(\n"
                                 " .param .u8 f_0,\n .param .align 8 .b8 f_1[40],\n"
                                 " .param .u64 .ptr .global .align 16 f_2\n)\n"
                                 ".maxntid 64, 2, 1\n.minnctapersm 2\n"
                                 "{ .loc 1 3 4\n ret;\n}\n"
                                 ".visible .entry g()\n.reqntid 32\n{\n}\n"
                                 ".section .debug_str\n{\n$L__x:\n.b8 97,0\n}\n");
    if (!m)
        return;
    CHECK_EQ(m->version_major, 9);
    CHECK_EQ(m->target, 90);
    CHECK_EQ(m->n_function, 2);
    const struct ptx_function *f = ptx_find_function(m, "f"), *g = ptx_find_function(m, "g");
    CHECK(f == &m->function[0] && g == &m->function[1] && !ptx_find_function(m, "h"));
    CHECK(f->module == m && g->module == m);
    CHECK_EQ(f->n_param, 3);
    CHECK_EQ(f->param[1].offset, 8);
    CHECK_EQ(f->param[1].bytes, 40);
    CHECK_EQ(f->param[2].offset, 48);
    CHECK_EQ(f->param_bytes, 56);
    CHECK_EQ(f->max_threads, 128);
    CHECK_EQ(f->min_ctas, 2);
    CHECK_EQ(f->n_instr, 1);
    CHECK_EQ(g->required[0], 32);
    CHECK_EQ(g->required[2], 1);
    CHECK_EQ(g->n_instr, 1);
    CHECK(g->instr[0].form.flow == FLOW_EXIT);
    ptx_free(m);
}

TEST(ptx_module, loop_with_guards_and_labels)
{
    struct ptx_module *m = parse(ENTRY(".reg .pred %p<3>;\n.reg .b32 %r<4>;\n"
                                       "mov.u32 %r1, %tid.x;\n"
                                       "$L1:\n"
                                       "add.s32 %r1, %r1, -1;\n"
                                       "setp.gt.s32 %p1, %r1, 0;\n"
                                       "@%p1 bra $L1;\n"
                                       "@!%p1 bra $L2;\n"
                                       "$L2:\n"));
    if (!m)
        return;
    const struct ptx_function *f = &m->function[0];
    CHECK_EQ(f->n_instr, 6);
    CHECK_EQ(f->instr[3].target, 1);
    CHECK(f->instr[3].form.flow == FLOW_BRANCH && !f->instr[3].guard_not);
    CHECK_EQ(f->instr[3].guard, f->instr[2].slot[0]);
    CHECK_EQ(f->instr[4].target, 5);
    CHECK(f->instr[4].guard_not);
    CHECK(f->instr[5].form.flow == FLOW_EXIT && f->instr[5].guard == PTX_NONE);
    CHECK_EQ(f->instr[0].line, 8);
    CHECK_EQ(f->n_special, 1);
    CHECK(f->special[0].what == SPECIAL_TID_X);
    CHECK_EQ(f->special[0].slot, f->instr[0].slot[1]);
    CHECK_EQ(constant_at(f, f->instr[1].slot[2])->value, 0xffffffff);
    /* One predicate, one register, the special register and two constants. */
    CHECK_EQ(f->register_bytes, 64 + 4 * 128);
    ptx_free(m);
}

TEST(ptx_module, constants_of_one_width_and_value_share_a_slot)
{
    struct ptx_module *m = parse(ENTRY(".reg .b32 %r<4>;\n.reg .b64 %rd<3>;\n.reg .f32 %f<3>;\n"
                                       "add.s32 %r1, %r2, 7;\n"
                                       "add.s32 %r2, %r1, 0x7;\n"
                                       "add.s64 %rd1, %rd2, 7;\n"
                                       "add.f32 %f1, %f2, 0f3F800000;\n"
                                       "mov.u32 %r3, 1065353216;\n"));
    if (!m)
        return;
    const struct ptx_function *f = &m->function[0];
    CHECK_EQ(f->n_constant, 3);
    CHECK_EQ(f->instr[0].slot[2], f->instr[1].slot[2]);
    CHECK(f->instr[0].slot[2] != f->instr[2].slot[2]);
    CHECK_EQ(constant_at(f, f->instr[2].slot[2])->bytes, 8);
    CHECK_EQ(constant_at(f, f->instr[3].slot[2])->value, 0x3f800000);
    CHECK_EQ(f->instr[3].slot[2], f->instr[4].slot[1]);
    ptx_free(m);
}

TEST(ptx_module, addresses_vectors_and_widths)
{
    struct ptx_module *m = parse(HEADER ".visible .entry k(.param .align 8 .b8 k_param_0[40])\n{\n"
                                        ".reg .b16 %rs<3>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<3>;\n"
                                        ".shared .align 16 .b8 tile[64];\n"
                                        "ld.param.u64 %rd1, [k_param_0+32];\n"
                                        "ld.global.u8 %rs1, [%rd1+-4];\n"
                                        "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1-16];\n"
                                        "st.shared.u32 [%r5+8], %r1;\n"
                                        "st.shared.v2.u32 [tile+4], {%r1, %r2};\n"
                                        "cp.async.cg.shared.global [%r5+16], [%rd1+32], 16;\n"
                                        "mov.u32 %r6, tile;\n"
                                        "mov.b64 {%r7, %r8}, %rd1;\n"
                                        "mov.b64 %rd2, {%r7, %r8};\n}\n");
    if (!m)
        return;
    const struct ptx_function *f = &m->function[0];
    const struct ptx_instr *in = f->instr;
    CHECK_EQ(in[0].offset, 32);
    CHECK_EQ(constant_at(f, in[0].slot[1])->bytes, 8);
    CHECK_EQ(constant_at(f, in[0].slot[1])->variable, 0);
    CHECK_EQ(in[1].offset, -4);
    CHECK_EQ(in[1].width[0], 2);
    CHECK(!in[1].address32 && in[1].width[1] == 8);
    CHECK_EQ(in[2].n_slot, 5);
    CHECK_EQ(in[2].slot[3] - in[2].slot[0], 3 * 128);
    CHECK_EQ(in[2].offset, -16);
    CHECK(in[3].address32 && in[3].width[0] == 4);
    CHECK_EQ(in[4].n_slot, 3);
    CHECK_EQ(constant_at(f, in[4].slot[0])->variable, 1);
    CHECK(in[5].address32 && !in[5].address32_2);
    CHECK_EQ(in[5].offset, 16);
    CHECK_EQ(in[5].offset2, 32);
    CHECK_EQ(in[5].literal[0], 16);
    CHECK_EQ(constant_at(f, in[6].slot[1])->variable, 1);
    CHECK_EQ(in[7].n_slot, 3);
    CHECK_EQ(in[7].width[2], 8);
    CHECK_EQ(in[8].width[0], 8);
    CHECK_EQ(f->shared_bytes, 64);
    ptx_free(m);
}

TEST(ptx_module, pairs_sinks_and_complements)
{
    struct ptx_module *m = parse(ENTRY(".reg .pred %p<5>;\n.reg .b32 %r<4>;\n"
                                       "shfl.sync.bfly.b32 %r1|%p1, %r2, 16, 31, -1;\n"
                                       "shfl.sync.bfly.b32 %r1, %r2, 16, 31, -1;\n"
                                       "setp.lt.s32 %p1|%p2, %r1, %r2;\n"
                                       "$L:\n"
                                       "@%p3 setp.lt.and.s32 %p1, %r1, %r2, !%p3;\n"
                                       "bra $L;\n"));
    if (!m)
        return;
    const struct ptx_instr *in = m->function[0].instr;
    CHECK_EQ(in[0].n_slot, 6);
    CHECK_EQ(in[0].width[1], 0);
    CHECK_EQ(in[1].n_slot, 6);
    CHECK_EQ(in[1].slot[1], PTX_NONE);
    CHECK_EQ(in[0].slot[5], in[1].slot[5]);
    CHECK(in[2].slot[0] != in[2].slot[1] && in[2].slot[1] != PTX_NONE);
    CHECK_EQ(in[2].n_destination, 2);
    /* A not.pred comes before the instruction, and the label before both. */
    CHECK_EQ(in[3].n_slot, 2);
    CHECK_EQ(in[3].guard, PTX_NONE);
    CHECK_EQ(in[3].slot[1], in[4].guard);
    CHECK_EQ(in[4].slot[4], in[3].slot[0]);
    CHECK_EQ(in[5].target, 3);
    ptx_free(m);
}

TEST(ptx_module, scopes_have_registers_and_labels_of_their_own)
{
    struct ptx_module *m = parse(ENTRY(".reg .b32 %r<4>;\n"
                                       "mov.u32 %r1, 2;\n"
                                       "{ .reg .b32 %r1, t; mov.u32 t, 1; mov.u32 %r1, t;\n"
                                       "  bra done; done: }\n"
                                       "{ .reg .b64 t; mov.u64 t, 1;\n"
                                       "  bra done; bra end; done: }\n"
                                       "mov.u32 %r2, %r1;\n"
                                       "end: ret;\n"));
    if (!m)
        return;
    const struct ptx_instr *in = m->function[0].instr;
    CHECK_EQ(in[3].target, 4);
    CHECK_EQ(in[5].target, 7);
    CHECK_EQ(in[6].target, 8);
    CHECK_EQ(in[7].slot[1], in[0].slot[0]);
    CHECK(in[2].slot[0] != in[0].slot[0]);
    CHECK_EQ(in[4].width[0], 8);
    CHECK_EQ(m->function[0].n_instr, 9);
    ptx_free(m);
}

/* The registers of one width that a body needs at once, by the bytes of its register file. */
static uint32_t registers_of(const char *text)
{
    struct ptx_module *m = parse(text);
    if (!m)
        return 0;
    const struct ptx_function *f = &m->function[0];
    uint32_t n = f->register_bytes / 128 - f->n_constant - f->n_special;
    ptx_free(m);
    return n;
}

TEST(ptx_slots, shared_by_values_of_which_one_ends_before_the_other)
{
    /* Two at a time: an instruction never writes over what it reads. */
    CHECK_EQ(registers_of(ENTRY(".reg .b32 %r<9>;\nmov.u32 %r1, 1;\nadd.s32 %r2, %r1, 1;\n"
                                "add.s32 %r3, %r2, 1;\nadd.s32 %r4, %r3, 1;\n")),
             2);
    /* %r1 is read at the end. */
    CHECK_EQ(registers_of(ENTRY(".reg .b32 %r<9>;\nmov.u32 %r1, 1;\nadd.s32 %r2, %r1, 1;\n"
                                "add.s32 %r3, %r2, 1;\nadd.s32 %r4, %r3, %r1;\n")),
             3);
}

TEST(ptx_slots, kept_through_loops_and_guards)
{
    struct ptx_module *m = parse(ENTRY(".reg .b32 %r<9>;\n.reg .pred %p;\n"
                                       "mov.u32 %r1, 1;\n"
                                       "mov.u32 %r5, 1;\n"
                                       "$L:\n"
                                       "add.s32 %r2, %r1, 1;\n"
                                       "mov.u32 %r3, 4;\n"
                                       "setp.lt.s32 %p, %r3, %r2;\n"
                                       "@%p mov.u32 %r5, 7;\n"
                                       "@%p bra $L;\n"
                                       "mov.u32 %r6, 8;\n"
                                       "mov.u32 %r4, %r5;\n"));
    if (!m)
        return;
    const struct ptx_instr *in = m->function[0].instr;
    uint32_t r1 = in[0].slot[0], r5 = in[1].slot[0];
    CHECK_EQ(in[2].slot[1], r1);
    /* Read again after the branch back, though not below in the text. */
    for (int k = 1; k < 6; k++)
        CHECK(in[k].slot[0] != r1);
    /* Where the guard is false the value from before the loop goes on. */
    CHECK_EQ(in[5].slot[0], r5);
    CHECK_EQ(in[8].slot[1], r5);
    CHECK(in[2].slot[0] != r5 && in[3].slot[0] != r5 && in[7].slot[0] != r5);
    ptx_free(m);
}

TEST(ptx_slots, kept_where_a_branch_skips_the_next_value)
{
    struct ptx_module *m = parse(ENTRY(".reg .b32 %r<9>;\n.reg .pred %p;\n"
                                       "mov.u32 %r1, 1;\n"
                                       "setp.lt.s32 %p, %r1, 3;\n"
                                       "@%p bra $L;\n"
                                       "mov.u32 %r2, 2;\n"
                                       "mov.u32 %r1, %r2;\n"
                                       "$L:\n"
                                       "mov.u32 %r3, %r1;\n"));
    if (!m)
        return;
    const struct ptx_instr *in = m->function[0].instr;
    CHECK_EQ(in[0].slot[0], in[5].slot[1]);
    CHECK(in[3].slot[0] != in[0].slot[0]);
    ptx_free(m);
}

TEST(ptx_module, variables_and_their_initialisers)
{
    struct ptx_module *m = parse(HEADER ".const .align 4 .b8 table[8] = {0, 0, 128, 63};\n"
                                        ".global .align 4 .u32 counter = 7;\n"
                                        ".global .f32 scale[2] = {0f3F800000, 0fBF800000};\n"
                                        ".global .s16 grid[2][2] = {{1, -2}, {3, 4}};\n"
                                        ".global .align 1 .b8 text[] = {104, 105, 0};\n"
                                        ".global .align 16 .b8 space[1000];\n");
    if (!m)
        return;
    const struct ptx_variable *v = variable_of(m, "table");
    static const uint8_t table[8] = {0, 0, 128, 63}, grid[8] = {1, 0, 0xfe, 0xff, 3, 0, 4, 0};
    CHECK(v->space == SPACE_CONST && v->bytes == 8 && memcmp(v->init, table, 8) == 0);
    v = variable_of(m, "counter");
    CHECK(v->space == SPACE_GLOBAL && v->bytes == 4 && v->init[0] == 7 && v->init[3] == 0);
    float scale[2];
    memcpy(scale, variable_of(m, "scale")->init, sizeof scale);
    CHECK(scale[0] == 1.0f && scale[1] == -1.0f);
    v = variable_of(m, "grid");
    CHECK(v->bytes == 8 && v->align == 2 && memcmp(v->init, grid, 8) == 0);
    v = variable_of(m, "text");
    CHECK(v->bytes == 3 && memcmp(v->init, "hi", 3) == 0);
    v = variable_of(m, "space");
    CHECK(v->bytes == 1000 && v->align == 16 && !v->init);
    ptx_free(m);
}

TEST(ptx_module, shared_and_local_windows_belong_to_each_function)
{
    struct ptx_module *m = parse(HEADER ".shared .align 4 .b8 common[20];\n"
                                        ".extern .shared .align 16 .b8 dynamic[];\n"
                                        ".visible .entry one()\n{ .reg .b32 %r<3>;\n"
                                        ".local .align 16 .b8 depot[24];\n"
                                        "mov.u32 %r1, common; mov.u32 %r2, dynamic; }\n"
                                        ".visible .entry two()\n{ .reg .b32 %r<3>;\n"
                                        ".shared .align 1 .b8 own[41];\n"
                                        "mov.u32 %r1, common; mov.u32 %r2, dynamic; }\n"
                                        ".visible .entry three() { }\n");
    if (!m)
        return;
    static const uint32_t shared[] = {32, 64, 0}, common[] = {0, 44}, dynamic[] = {32, 64};
    for (int k = 0; k < 3; k++)
        CHECK_EQ(m->function[k].shared_bytes, shared[k]);
    for (int k = 0; k < 2; k++) {
        const struct ptx_function *f = &m->function[k];
        int32_t c = constant_at(f, f->instr[0].slot[1])->variable;
        int32_t d = constant_at(f, f->instr[1].slot[1])->variable;
        CHECK_EQ(m->variable[c].address, common[k]);
        CHECK_EQ(m->variable[d].address, dynamic[k]);
        CHECK_EQ(m->variable[d].bytes, 0);
    }
    CHECK_EQ(m->function[0].local_bytes, 24);
    ptx_free(m);
}

TEST(ptx_module, uncalled_functions_are_skipped)
{
    struct ptx_module *m =
        parse(HEADER ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n"
                     ".func (.param .b32 r) helper(.param .b32 a)\n{ .reg .b32 %r<2>;\n"
                     "{ ld.param.u32 %r1, [a]; } st.param.b32 [r+0], %r1; ret; }\n"
                     ".visible .entry k() { ret; }\n");
    if (!m)
        return;
    CHECK_EQ(m->n_function, 1);
    ptx_free(m);
}

static void check_refused(const char *text, const char *why)
{
    struct ptx_module *m = ptx_parse(text, strlen(text), error, sizeof error);
    if (m)
        t_fail(__FILE__, __LINE__, "parsed, not refused with \"%s\"", why);
    else
        CHECK_TEXT(error, why);
    ptx_free(m);
}

TEST(ptx_refuse, bodies)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {ENTRY("foo.s32 %r1;\n"), "line 6: unsupported instruction foo.s32 with 1 operands"},
        {ENTRY(".reg .b32 %r<3>;\nadd.s32 %r1, %r2;\n"),
         "line 7: unsupported instruction add.s32 with 2 operands"},
        {ENTRY(".reg .b32 %r<3>;\nadd.s32 %r1, %r2, %r3;\n"), "line 7: unknown operand '%r3'"},
        {ENTRY(".reg .b32 %r<3>;\nadd.s32 %r1, %r2, %r02;\n"), "line 7: unknown operand '%r02'"},
        {ENTRY(".reg .b32 %r<3>;\nadd.s32 7, %r1, %r2;\n"), "line 7: register expected, not '7'"},
        {ENTRY(".reg .b32 %r<3>;\n.reg .b64 %rd;\nadd.s32 %r1, %rd, %r2;\n"),
         "line 8: '%rd' is not the kind of register that operand 2 needs"},
        {ENTRY(".reg .b32 %r<3>;\nmov.u32 %r1, 0d3FF0000000000000;\n"),
         "line 7: '0d3FF0000000000000' is not as wide as its operand"},
        {ENTRY(".reg .b32 %r<3>;\nmov.u32 %r1, 1.5;\n"), "line 7: '1.5' is not an integer"},
        {ENTRY(".reg .b32 %r<3>, %q;\n.reg .b16 %r1;\n"),
         "line 7: register '%r1' is declared twice"},
        {ENTRY(".reg .b32 %r1;\n.reg .b16 %r<3>;\n"), "line 7: register '%r' is declared twice"},
        {ENTRY(".reg .b32 %r<99999999>;\n"), "line 6: more than 33554432 bytes of registers"},
        {ENTRY("bra $L;\n"), "line 6: unknown label '$L'"},
        {ENTRY("bra $L;\n{ $L: }\n"), "line 6: unknown label '$L'"},
        {ENTRY("$L:\n$L:\n"), "line 7: '$L' is declared twice"},
        {ENTRY("{ .param .b64 param0;\ncall.uni (r), printf, (param0);\n}\n"),
         "line 7: unsupported call of printf"},
        {ENTRY("call.uni __assertfail, (a);\n"), "line 6: unsupported call of __assertfail"},
        {ENTRY("$L: .branchtargets $A, $B;\n"),
         "line 6: unsupported .branchtargets (brx.idx, a table of branches)"},
        {ENTRY("ret;\n{\n"), "line 9: the text ends inside 'k'"},
        {ENTRY("ret\n"), "line 7: ';' expected, not '}'"},
        {ENTRY("ret; ?\n"), "line 6: not PTX: '?'"},
        {ENTRY("/* ret;\n"), "line 8: not PTX: ''"},
        {ENTRY("@%p1 ret;\n"), "line 6: '%p1' is not a predicate"},
        {ENTRY(".shared .b8 t[300000];\n"), "line 6: 't' goes beyond 262144 bytes"},
        {ENTRY(".reg .b32 %r<3>;\nld.shared.u32 %r1, [t];\n"), "line 7: unknown address 't'"},
        {ENTRY(".reg .b16 %r<3>;\nld.shared.u16 %r1, [%r2];\n"),
         "line 7: '%r2' cannot hold an address"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].text, cases[i].why);
}

/* PTX ISA 9.0, 9.7.9.21 and 9.7.14.5.14. */
TEST(ptx_refuse, numbers_of_eight_bits_below_sm_89)
{
#define PRODUCT(type)                                                         \
    ".reg .b32 %r<11>;\nmma.sync.aligned.m16n8k32.row.col.f32." type "." type \
    ".f32 {%r1, %r2, %r3, %r4}, {%r5, %r6, %r7, %r8}, {%r9, %r10}, {%r1, %r2, %r3, %r4};\n"
#define ROUNDING ".reg .b16 %h;\n.reg .b32 %f<3>;\ncvt.rn.satfinite.e4m3x2.f32 %h, %f1, %f2;\n"
    check_refused(ENTRY(PRODUCT("e4m3")),
                  "line 7: mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 needs sm_89");
    check_refused(ENTRY(PRODUCT("e5m2")),
                  "line 7: mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32 needs sm_89");
    check_refused(ENTRY(ROUNDING), "line 8: cvt.rn.satfinite.e4m3x2.f32 needs sm_89");
    static const char later[] = ".version 9.0\n.target sm_89\n.address_size 64\n"
                                ".visible .entry k()\n{\n{\n" PRODUCT("e4m3") "}\n" ROUNDING "}\n";
    ptx_free(parse(later));
}

TEST(ptx_refuse, modules)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "line 1: no .version or no .target"},
        {".version x\n", "line 1: version expected, not 'x'"},
        {".version 9.0\n.target compute_80\n", "line 2: unsupported target 'compute_80'"},
        {".version 9.0\n.target sm_80\n.address_size 32\n",
         "line 4: unsupported address size, 64 only"},
        {HEADER ".entry k() {}\n.entry k() {}\n", "line 5: 'k' is declared twice"},
        {HEADER ".entry k()\n.reqnctapercluster 2\n{}\n",
         "line 5: unsupported directive .reqnctapercluster"},
        {HEADER ".entry k()\n.maxntid 1024, 2\n{}\n",
         "line 5: a shape of 0 or more than 1024 threads"},
        {HEADER ".extern .global .b32 x;\n", "line 4: unsupported: 'x' is of another module"},
        {HEADER ".global .u64 p = generic(x);\n", "line 4: unsupported initialiser 'generic'"},
        {HEADER ".global .b8 x[2] = {1, 2, 3};\n", "line 4: too many bytes for 'x'"},
        {HEADER ".global .b8 x[4294967295][4294967295];\n", "line 4: a variable too large"},
        {HEADER ".global .align 3 .b8 x;\n", "line 4: an alignment of 3"},
        {HEADER ".tex .u64 x;\n", "line 4: unsupported directive .tex"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].text, cases[i].why);
}

TEST(ptx_refuse, any_prefix_of_a_text)
{
    static const char text[] = ENTRY(".reg .b32 %r<3>;\n.reg .pred %p;\n/* */\n"
                                     ".shared .align 4 .b8 t[4];\n{ .reg .b64 d;\n"
                                     "cvt.u64.u32 d, %r1; }\n$L: @!%p bra $L;\n"
                                     "ld.shared.v2.u32 {%r1, %r2}, [t+-4];\n");
    for (size_t n = 0; n < sizeof text - 3; n++) {
        /* A copy of its own, so that a sanitizer sees a read behind the end. */
        char *part = malloc(n + 1);
        if (!part)
            return;
        memcpy(part, text, n);
        struct ptx_module *m = ptx_parse(part, n, error, sizeof error);
        if (m)
            CHECK(n >= strlen(".version 9.0\n.target sm_8") && n <= strlen(HEADER));
        else
            CHECK(strncmp(error, "line ", 5) == 0);
        ptx_free(m);
        free(part);
    }
}

TEST(ptx_module, lines_for_messages)
{
    char line[16];
    struct ptx_module *m = parse(HEADER "\n\t  // a line with more than sixteen\n");
    if (!m)
        return;
    ptx_line(m, 2, line, sizeof line);
    CHECK_TEXT(line, ".target sm_80");
    ptx_line(m, 5, line, sizeof line);
    CHECK_TEXT(line, "// a line with ");
    ptx_line(m, 99, line, sizeof line);
    CHECK_TEXT(line, "");
    ptx_free(m);
}

/* A fatbin as nvcc lays it out: a header of 16 bytes, then entries of 64 with a payload. */
struct image {
    _Alignas(8) uint8_t bytes[2048];
    size_t n;
};

static void image_open(struct image *image)
{
    static const uint8_t header[8] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0};
    *image = (struct image){.n = 16};
    memcpy(image->bytes, header, sizeof header);
}

static void image_add(struct image *image, uint16_t kind, uint32_t arch, uint64_t flags,
                      const void *payload, uint32_t n, uint64_t text_bytes)
{
    uint8_t *entry = image->bytes + image->n;
    uint32_t header_bytes = 64;
    uint64_t padded = ((uint64_t)n + 8) & ~UINT64_C(7), total;
    memcpy(entry, &kind, 2);
    memcpy(entry + 4, &header_bytes, 4);
    memcpy(entry + 8, &padded, 8);
    memcpy(entry + 16, &n, 4);
    memcpy(entry + 28, &arch, 4);
    memcpy(entry + 40, &flags, 8);
    memcpy(entry + 56, &text_bytes, 8);
    memcpy(entry + 64, payload, n);
    image->n += 64 + padded;
    total = image->n - 16;
    memcpy(image->bytes + 8, &total, 8);
}

static void check_choice(const void *image, int capability, const char *want)
{
    size_t bytes;
    void *owned;
    char text[64] = "";
    error[0] = '\0';
    const char *got = fatbin_ptx(image, capability, &bytes, &owned, error, sizeof error);
    if (got)
        snprintf(text, sizeof text, "%.*s", (int)bytes, got);
    CHECK_TEXT(got ? text : error, want);
    free(owned);
}

TEST(fatbin, highest_architecture_not_above_the_device)
{
    struct image image;
    image_open(&image);
    image_add(&image, 1, 80, 0, "text 80", 7, 0);
    image_add(&image, 2, 90, 0, "machine code", 12, 0);
    image_add(&image, 1, 120, 0, "text 120", 8, 0);
    image_add(&image, 1, 90, 0x100000, "text 90a", 8, 0);
    image_add(&image, 1, 89, 0, "text 89", 7, 0);
    check_choice(image.bytes, 80, "text 80");
    check_choice(image.bytes, 86, "text 80");
    check_choice(image.bytes, 89, "text 89");
    check_choice(image.bytes, 90, "text 90a");
    check_choice(image.bytes, 100, "text 89");
    check_choice(image.bytes, 120, "text 120");
    check_choice(image.bytes, 75, "the fatbin has no PTX for sm_75 or below");
}

TEST(fatbin, wrapper_text_and_cubin)
{
    struct image image;
    image_open(&image);
    image_add(&image, 1, 80, 0, "text 80", 7, 0);
    const struct {
        uint32_t magic, version;
        const void *fatbin, *file;
    } wrapper = {0x466243b1, 1, image.bytes, NULL};
    check_choice(&wrapper, 80, "text 80");
    check_choice(".version 9.0\n", 80, ".version 9.0\n");
    check_choice("", 80, "");
    check_choice("\177ELF", 80, "a cubin holds machine code and no PTX");
}

TEST(fatbin, compressed)
{
    /* Literals "abc", then 12 bytes from 3 back, then the literals "xyz". */
    static const uint8_t lz4[] = {0x38, 'a', 'b', 'c', 3, 0, 0x30, 'x', 'y', 'z'};
    struct image image;
    image_open(&image);
    image_add(&image, 1, 80, 0x2000, lz4, sizeof lz4, 18);
    image_add(&image, 1, 89, 0x8000, lz4, sizeof lz4, 18);
    image_add(&image, 1, 90, 0x2000, lz4, sizeof lz4, 17);
    image_add(&image, 1, 120, 0x2000, lz4 + 4, sizeof lz4 - 4, 18);
    check_choice(image.bytes, 80, "abcabcabcabcabcxyz");
    check_choice(image.bytes, 89,
                 "the fatbin's PTX is compressed with zstd; build it with --compress-mode=none");
    check_choice(image.bytes, 90, "the fatbin's PTX cannot be uncompressed");
    check_choice(image.bytes, 120, "the fatbin's PTX cannot be uncompressed");
}

TEST(fatbin, entries_that_go_beyond_their_fatbin)
{
    struct image image;
    uint64_t beyond = 4096;
    image_open(&image);
    image_add(&image, 1, 80, 0, "text 80", 7, 0);
    size_t second = image.n;
    image_add(&image, 1, 89, 0, "text 89", 7, 0);
    memcpy(image.bytes + second + 8, &beyond, 8);
    check_choice(image.bytes, 89, "text 80");
    memset(image.bytes + second + 4, 0, 4);
    check_choice(image.bytes, 89, "text 80");
}
