/* The operation head: logits of the rows that are sampled, and of no others; then their blocks are
 * capped and noted, by lanes that have just computed most of them. */
#include "multiply.h"

#include "../../../plugin/base/base.h"

#include <math.h>

#define VECTORS (LOGIT_BLOCK / LANES)

/* The last block of a row, filled up with what counts for nothing. */
static const float *padded(const float *logit, int n, float *out)
{
    for (int i = 0; i < LOGIT_BLOCK; i++)
        out[i] = i < n ? logit[i] : -INFINITY;
    return out;
}

/* LOGIT_BLOCK logits. The maximum comes second where NaN would win as the second. */
static struct logit_block note(const float *logit, float scale)
{
    vf x[VECTORS], most = vf_set1(-INFINITY), sum = vf_zero();
    for (int i = 0; i < VECTORS; i++) {
        x[i] = vf_load(logit + i * LANES);
        most = vf_max(x[i], most);
    }
    struct logit_block block = {.max = vf_largest(most)};
    if (scale <= 0 || block.max == -INFINITY)
        return block;
    for (int i = 0; i < VECTORS; i++)
        sum = vf_add(sum, vf_exp(vf_mul(vf_sub(x[i], vf_set1(block.max)), vf_set1(scale))));
    block.sum = vf_sum(sum);
    return block;
}

static void cap_logits(float *logit, int n, float cap)
{
    for (int i = 0; i < n; i += LANES) {
        const int m = MIN(n - i, LANES);
        vf_store_first(logit + i, vf_cap(vf_load_first(logit + i, m), cap), m);
    }
}

static void note_blocks(const struct op_head *op, const struct batch *batch, int first, int last)
{
    float tail[LOGIT_BLOCK];
    int32_t n_blocks = logit_blocks(op->V);
    for (int32_t r = 0; r < batch->R; r++) {
        float *row = op->logits + (size_t)r * (size_t)op->V;
        struct logit_block *out = op->block + (size_t)r * (size_t)n_blocks;
        for (int b = first; b < last; b++) {
            int from = b * LOGIT_BLOCK, n = MIN(op->V - from, LOGIT_BLOCK);
            if (op->cap > 0)
                cap_logits(row + from, n, op->cap);
            const float *logit = n < LOGIT_BLOCK ? padded(row + from, n, tail) : row + from;
            out[b] = note(logit, batch->scale ? batch->scale[r] : 0);
        }
    }
}

int ISA_FN(head)(struct lane *lane, const struct op_head *op, const struct batch *batch)
{
    const struct linear_part part = {.weight = op->weight, .bias = op->bias};
    struct product product = {
        .in = {.x = op->x,
               .row = batch->row,
               .norm = op->norm,
               .norm_bias = op->norm_bias,
               .norm_kind = (enum norm)op->norm_kind,
               .eps = op->eps,
               .n = batch->R,
               .K = op->D},
        .y = op->logits,
        .ldy = (size_t)op->V,
        .epilogue = EPILOGUE_STORE,
        .n_part = 1,
        .part = &part,
    };
    ISA_FN(multiply)(lane, &product);
    int first, last;
    lane_share(lane, logit_blocks(op->V), &first, &last);
    note_blocks(op, batch, first, last);
    lane_barrier(lane);
    return 0;
}
