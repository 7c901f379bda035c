/* Moving 8 x 8 matrices of 16-bit elements: ldmatrix, stmatrix, movmatrix
 * (PTX ISA 9.0, 9.7.14.5.15 to 9.7.14.5.17), and the look-up of all matrix instructions.
 *
 * Lane l holds of every matrix row l / 4, columns 2 (l % 4) and the next; with .trans column
 * l / 4, rows 2 (l % 4) and the next. The address of row r of matrix m is lane 8 m + r's. */
#include "counters.h"
#include "lanes.h"
#include "mma.h"
#include "shared.h"

#include <string.h>

#define ROWS      8
#define ROW_BYTES 16

struct matrix {
    uint16_t element[ROWS][8];
};

static void need_all_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    if (mask != UINT32_MAX)
        fault_raise(w, in, -1, FAULT_DIVERGENT, "all lanes are needed, only 0x%08x are here", mask);
}

/* What the lanes hold of a matrix, in one register. */
static void to_lanes(const struct matrix *matrix, bool trans, uint32_t *reg)
{
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        uint32_t i = l / 4, j = 2 * (l % 4);
        uint32_t low = trans ? matrix->element[j][i] : matrix->element[i][j];
        uint32_t high = trans ? matrix->element[j + 1][i] : matrix->element[i][j + 1];
        reg[l] = low | high << 16;
    }
}

static void of_lanes(struct matrix *matrix, bool trans, const uint32_t *reg)
{
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        uint32_t i = l / 4, j = 2 * (l % 4);
        *(trans ? &matrix->element[j][i] : &matrix->element[i][j]) = (uint16_t)reg[l];
        *(trans ? &matrix->element[j + 1][i] : &matrix->element[i][j + 1]) =
            (uint16_t)(reg[l] >> 16);
    }
}

/* The rows' offsets in shared memory from the address operand in slot k, and their count. */
static void row_offsets(struct warp *w, const struct ptx_instr *in, int k, int n_row,
                        uint64_t *offset)
{
    for (int l = 0; l < n_row; l++)
        offset[l] = lane_address(w, in, k, in->address32, in->offset, l);
    if (w->cta->counts)
        count_shared(w, in, n_row == WARP_LANES ? UINT32_MAX : (1u << n_row) - 1, offset,
                     ROW_BYTES);
}

/* detail: matrices, .trans. */
static void run_ldmatrix(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    int n = (int)in->form.detail[0];
    uint64_t offset[WARP_LANES] = {0};
    struct matrix matrix[4];
    need_all_lanes(w, in, mask);
    row_offsets(w, in, n, n * ROWS, offset);
    shared_read_lanes(w, in, UINT32_MAX >> (WARP_LANES - n * ROWS), offset, ROW_BYTES);
    for (int l = 0; l < n * ROWS; l++)
        memcpy(matrix[l / ROWS].element[l % ROWS], w->cta->shared + offset[l], ROW_BYTES);
    for (int m = 0; m < n; m++) {
        uint32_t reg[WARP_LANES];
        to_lanes(&matrix[m], in->form.detail[1], reg);
        store_lanes(slot32(w, in, m), reg, mask);
    }
}

static void run_stmatrix(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    int n = (int)in->form.detail[0];
    uint64_t offset[WARP_LANES];
    need_all_lanes(w, in, mask);
    row_offsets(w, in, 0, n * ROWS, offset);
    for (int m = 0; m < n; m++) {
        struct matrix matrix;
        of_lanes(&matrix, in->form.detail[1], slot32(w, in, 1 + m));
        for (int r = 0; r < ROWS; r++) {
            int l = ROWS * m + r;
            memcpy(shared_write(w, in, l, offset[l], ROW_BYTES), matrix.element[r], ROW_BYTES);
        }
    }
}

static void run_movmatrix(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t reg[WARP_LANES];
    struct matrix matrix;
    need_all_lanes(w, in, mask);
    of_lanes(&matrix, false, slot32(w, in, 1));
    to_lanes(&matrix, true, reg);
    store_lanes(slot32(w, in, 0), reg, mask);
}

static const struct matrix_form {
    const char *head, *tail; /* .shared or .shared::cta goes between; tail NULL: the head is all */
    struct ptx_form form;
} forms[] = {
    {"ldmatrix.sync.aligned.m8n8.x1", ".b16", {"r=a", run_ldmatrix, FLOW_ALIGNED, {1, 0}}},
    {"ldmatrix.sync.aligned.m8n8.x2", ".b16", {"r2=a", run_ldmatrix, FLOW_ALIGNED, {2, 0}}},
    {"ldmatrix.sync.aligned.m8n8.x4", ".b16", {"r4=a", run_ldmatrix, FLOW_ALIGNED, {4, 0}}},
    {"ldmatrix.sync.aligned.m8n8.x1.trans", ".b16", {"r=a", run_ldmatrix, FLOW_ALIGNED, {1, 1}}},
    {"ldmatrix.sync.aligned.m8n8.x2.trans", ".b16", {"r2=a", run_ldmatrix, FLOW_ALIGNED, {2, 1}}},
    {"ldmatrix.sync.aligned.m8n8.x4.trans", ".b16", {"r4=a", run_ldmatrix, FLOW_ALIGNED, {4, 1}}},
    {"stmatrix.sync.aligned.m8n8.x1", ".b16", {"=ar", run_stmatrix, FLOW_ALIGNED, {1, 0}}},
    {"stmatrix.sync.aligned.m8n8.x2", ".b16", {"=ar2", run_stmatrix, FLOW_ALIGNED, {2, 0}}},
    {"stmatrix.sync.aligned.m8n8.x4", ".b16", {"=ar4", run_stmatrix, FLOW_ALIGNED, {4, 0}}},
    {"stmatrix.sync.aligned.m8n8.x1.trans", ".b16", {"=ar", run_stmatrix, FLOW_ALIGNED, {1, 1}}},
    {"stmatrix.sync.aligned.m8n8.x2.trans", ".b16", {"=ar2", run_stmatrix, FLOW_ALIGNED, {2, 1}}},
    {"stmatrix.sync.aligned.m8n8.x4.trans", ".b16", {"=ar4", run_stmatrix, FLOW_ALIGNED, {4, 1}}},
    {"movmatrix.sync.aligned.m8n8.trans.b16", NULL, {"r=r", run_movmatrix, FLOW_ALIGNED, {0}}},
};

static bool matches(const char *opcode, const struct matrix_form *form)
{
    size_t head = strlen(form->head);
    if (strncmp(opcode, form->head, head) != 0)
        return false;
    const char *rest = opcode + head;
    if (!form->tail)
        return !*rest;
    static const char space[] = ".shared", cta[] = "::cta";
    if (strncmp(rest, space, sizeof space - 1) != 0)
        return false;
    rest += sizeof space - 1;
    if (strncmp(rest, cta, sizeof cta - 1) == 0)
        rest += sizeof cta - 1;
    return strcmp(rest, form->tail) == 0;
}

bool find_matrix(const char *opcode, int n_operand, struct ptx_form *form)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (matches(opcode, &forms[i])) {
            *form = forms[i].form;
            return true;
        }
    return mma_find(opcode, n_operand, form);
}
