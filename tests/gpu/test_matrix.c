/* ldmatrix, stmatrix and movmatrix against their description (PTX ISA 9.0, 9.7.14.5.15 to
 * 9.7.14.5.17): four lanes hold a row, each two elements of it; with .trans, of a column. */
#include "counters.h"
#include "test_warp.h"

#define ROW_BYTES 16

static uint8_t hashed(uint32_t i)
{
    return (uint8_t)(i * 0x9e3779b1u >> 24 ^ i);
}

/* Different places for up to 32 rows, in no order, from a second row of the memory on. */
static void scatter_rows(uint32_t *offset)
{
    for (uint32_t row = 0; row < 32; row++)
        offset[row] = ROW_BYTES * (1 + 13 * row % 32 * 7);
}

/* Lane and half of its register that hold element [row][column] of a matrix. */
static uint16_t held(const uint32_t *reg, int row, int column, bool trans)
{
    int major = trans ? column : row, minor = trans ? row : column;
    return (uint16_t)(reg[4 * major + minor / 2] >> 16 * (minor % 2));
}

/* The address operand of slot k, with the rows' offsets less the instruction's own. */
static void put_addresses(struct rig *r, int k, const uint32_t *offset, int n, bool is32)
{
    r->in.address32 = is32;
    r->in.offset = is32 ? 32 : -16;
    for (int l = 0; l < WARP_LANES; l++) {
        uint32_t base = l < n ? offset[l] - (uint32_t)r->in.offset : 0xfffffff0; /* unused */
        if (is32)
            slot32(&r->warp, &r->in, k)[l] = base;
        else
            slot64(&r->warp, &r->in, k)[l] = base;
    }
}

static void check_ldmatrix(struct rig *r, int n, bool trans, bool is32)
{
    uint32_t offset[32];
    scatter_rows(offset);
    put_addresses(r, n, offset, 8 * n, is32);
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int m = 0; m < n; m++)
        for (int row = 0; row < 8; row++)
            for (int column = 0; column < 8; column++) {
                uint32_t at = offset[8 * m + row] + 2 * (uint32_t)column;
                uint32_t want = hashed(at) | (uint32_t)hashed(at + 1) << 8;
                CHECK_EQ(held(rig_reg(r, m), row, column, trans), want);
            }
}

static void spell(char *opcode, size_t bytes, const char *name, int n, bool trans, bool cta)
{
    snprintf(opcode, bytes, "%s.sync.aligned.m8n8.x%d%s.shared%s.b16", name, n,
             trans ? ".trans" : "", cta ? "::cta" : "");
}

TEST(gpu_matrix, ldmatrix_reads_the_rows_its_lanes_point_to)
{
    struct rig r;
    rig_open(&r);
    rig_fill_shared(&r, hashed);
    for (int form = 0; form < 12; form++) {
        char opcode[64];
        int n = 1 << form % 3;
        bool trans = form / 3 % 2, cta = form / 6;
        spell(opcode, sizeof opcode, "ldmatrix", n, trans, cta);
        CHECK(rig_take(&r, find_matrix, opcode, 2));
        CHECK_EQ(r.in.form.flow, FLOW_ALIGNED);
        CHECK_EQ(r.in.n_slot, n + 1);
        check_ldmatrix(&r, n, trans, false);
        check_ldmatrix(&r, n, trans, true);
    }
    rig_close(&r);
}

TEST(gpu_matrix, ldmatrix_may_overwrite_its_address)
{
    struct rig r;
    rig_open(&r);
    rig_fill_shared(&r, hashed);
    CHECK(rig_take(&r, find_matrix, "ldmatrix.sync.aligned.m8n8.x4.shared.b16", 2));
    r.in.slot[2] = r.in.slot[4];
    check_ldmatrix(&r, 4, false, true);
    rig_close(&r);
}

TEST(gpu_matrix, ldmatrix_checks_alignment_and_bounds_of_every_row)
{
    struct rig r;
    uint32_t offset[32];
    rig_open(&r);
    rig_fill_shared(&r, hashed);
    CHECK(rig_take(&r, find_matrix, "ldmatrix.sync.aligned.m8n8.x4.shared.b16", 2));
    for (int row = 0; row < 32; row += 31) {
        scatter_rows(offset);
        offset[row] += 8;
        put_addresses(&r, 4, offset, 32, true);
        CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_MISALIGNED);
        offset[row] = RIG_SHARED_BYTES;
        put_addresses(&r, 4, offset, 32, true);
        CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_OUT_OF_BOUNDS);
    }
    CHECK_EQ(rig_run(&r, 0x7fffffff), FAULT_DIVERGENT);
    rig_close(&r);
}

static void check_stmatrix(struct rig *r, int n, bool trans, bool is32)
{
    uint32_t offset[32];
    rig_fill_shared(r, hashed);
    scatter_rows(offset);
    put_addresses(r, 0, offset, 8 * n, is32);
    for (int m = 0; m < n; m++)
        for (int l = 0; l < WARP_LANES; l++)
            rig_reg(r, 1 + m)[l] = rig_random();
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int m = 0; m < n; m++)
        for (int row = 0; row < 8; row++)
            for (int column = 0; column < 8; column++) {
                const uint8_t *at = r->shared + offset[8 * m + row] + 2 * column;
                CHECK_EQ(at[0] | at[1] << 8, held(rig_reg(r, 1 + m), row, column, trans));
            }
    uint32_t changed = 0;
    for (uint32_t i = 0; i < RIG_SHARED_BYTES; i += ROW_BYTES)
        for (uint32_t k = 0; k < ROW_BYTES; k++)
            if (r->shared[i + k] != hashed(i + k)) {
                changed++;
                break;
            }
    CHECK_EQ(changed, 8 * n);
}

TEST(gpu_matrix, stmatrix_writes_the_rows_its_lanes_point_to)
{
    struct rig r;
    rig_open(&r);
    for (int form = 0; form < 12; form++) {
        char opcode[64];
        int n = 1 << form % 3;
        bool trans = form / 3 % 2, cta = form / 6;
        spell(opcode, sizeof opcode, "stmatrix", n, trans, cta);
        CHECK(rig_take(&r, find_matrix, opcode, 2));
        CHECK_EQ(r.in.form.flow, FLOW_ALIGNED);
        CHECK_EQ(r.in.n_slot, n + 1);
        check_stmatrix(&r, n, trans, false);
        check_stmatrix(&r, n, trans, true);
    }
    CHECK_EQ(rig_run(&r, 0x7fffffff), FAULT_DIVERGENT);
    rig_close(&r);
}

TEST(gpu_matrix, movmatrix_transposes)
{
    struct rig r;
    uint32_t before[WARP_LANES];
    rig_open(&r);
    for (int in_place = 0; in_place < 2; in_place++) {
        CHECK(rig_take(&r, find_matrix, "movmatrix.sync.aligned.m8n8.trans.b16", 2));
        if (in_place)
            r.in.slot[0] = r.in.slot[1];
        for (int l = 0; l < WARP_LANES; l++)
            rig_reg(&r, 1)[l] = before[l] = rig_random();
        CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_NONE);
        for (int row = 0; row < 8; row++)
            for (int column = 0; column < 8; column++)
                CHECK_EQ(held(rig_reg(&r, 0), row, column, false),
                         held(before, column, row, false));
    }
    CHECK_EQ(rig_run(&r, 1), FAULT_DIVERGENT);
    rig_close(&r);
}

/* Rows one behind the other take the least passes, 8 rows of 16 bytes each; rows 128 bytes apart
 * lie in the same banks and take one pass each. */
TEST(gpu_matrix, ldmatrix_counts_bytes_and_bank_conflicts)
{
    struct rig r;
    struct ptx_counts counts;
    rig_open(&r);
    rig_fill_shared(&r, hashed);
    r.cta.counts = &counts;
    for (int n = 1; n <= 4; n *= 2)
        for (uint32_t stride = 16; stride <= 128; stride += 112) {
            char opcode[64];
            uint32_t offset[32];
            spell(opcode, sizeof opcode, "ldmatrix", n, false, false);
            CHECK(rig_take(&r, find_matrix, opcode, 2));
            for (uint32_t row = 0; row < 32; row++)
                offset[row] = row * stride;
            put_addresses(&r, n, offset, 8 * n, true);
            counts = (struct ptx_counts){0};
            CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_NONE);
            CHECK_EQ(counts.bytes, 128 * n);
            CHECK_EQ(counts.wavefronts, stride == 16 ? n : 8 * n);
        }
    rig_close(&r);
}

TEST(gpu_matrix, unknown_forms_are_refused)
{
    static const char *const opcodes[] = {
        "ldmatrix.sync.aligned.m8n8.x4.b16",         "ldmatrix.sync.aligned.m8n8.x3.shared.b16",
        "ldmatrix.sync.aligned.m16n16.x1.shared.b8", "ldmatrix.sync.aligned.m8n8.x4.shared.b16.x",
        "stmatrix.sync.aligned.m8n8.x4.shared.b8",   "movmatrix.sync.aligned.m8n8.b16",
        "movmatrix.sync.aligned.m8n8.trans.b16.x",
    };
    struct ptx_form form;
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        CHECK(!find_matrix(opcodes[i], 2, &form));
}
