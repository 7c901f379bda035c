/* The inputs of a product as its kernels read them: tokens in blocks of columns, in int8
 * with a scale for each group of 32, in pairs of bfloat16, in float, or in several of these.
 *
 * All blocks are 8 columns wide except the last, which has the narrowest width that
 * kernels exist for; columns past the last token are zero. A block of width W is a
 * run of records, one per group:
 *
 *   int8:  int8 q[W][32]; struct column_numbers number[W]
 *   pairs: struct { bfloat16 even, odd; } x[16][W], inputs 2k and 2k + 1
 *   float: float x[32][W]
 *
 * x = scale q. */
#pragma once

#include "layout.h"

#include "../../ops.h"

#define BLOCK_COLUMNS 8
#define WIDTHS        6 /* widths of a block that kernels exist for: X(width, ...) of each */
#define EACH_WIDTH(X, ...) \
    X(1, __VA_ARGS__)      \
    X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__) X(6, __VA_ARGS__) X(8, __VA_ARGS__)

/* The kinds, bits of a set; their records stand in this order. */
enum { INPUTS_INT8 = 1, INPUTS_PAIRS = 2, INPUTS_FLOAT = 4 };

#define INPUTS_ALL (INPUTS_INT8 | (DOT_PAIRS ? INPUTS_PAIRS : 0) | INPUTS_FLOAT)

/* Of a column of an int8 record. scaled_sum is scale times the sum of q; minus_sum, an integer, is
 * what a zero point of the weights is multiplied by. The biases are where a dot product of bytes as
 * stored starts, to come out as that of the signed values: minus the stored_bias of 4, 6 and 8 bits
 * times the sum of q, over the group or over its first and last 16. */
struct column_numbers {
    float scale, scaled_sum, minus_sum;
    int32_t bias_s4, bias_s8, bias_s6_low, bias_s6_high;
};

/* Bytes of a column of one group. */
enum {
    RECORD_INT8 = GROUP + (int)sizeof(struct column_numbers),
    RECORD_PAIRS = GROUP * 2,
    RECORD_FLOAT = GROUP * 4
};

struct inputs {
    const float *x;         /* (any, K) */
    const int32_t *row;     /* (n) rows of x, or NULL: the first n */
    const float *norm;      /* (K) weight, or NULL: no norm */
    const float *norm_bias; /* (K) of NORM_LAYER, or NULL */
    enum norm norm_kind;
    float eps;
    int32_t n, K;   /* tokens; inputs, a multiple of 32 */
    unsigned kinds; /* which are wanted */
    uint8_t *out;   /* (columns, column_bytes) */
};

/* Index 0 .. WIDTHS - 1 of the narrowest block for n >= 1 tokens; and the width itself. */
int ISA_FN(width_index)(int n);
int ISA_FN(width_at)(int index);

/* Tokens with those that fill the last block. */
int ISA_FN(columns_of)(int n);

/* Groups of a row: K / 32, made even. */
SIMD size_t groups_of(int32_t K)
{
    return ((size_t)K + 2 * GROUP - 1) / (2 * GROUP) * 2;
}

SIMD size_t column_bytes(int32_t K, unsigned kinds)
{
    return groups_of(K) * (size_t)((kinds & INPUTS_INT8 ? RECORD_INT8 : 0) +
                                   (kinds & INPUTS_PAIRS ? RECORD_PAIRS : 0) +
                                   (kinds & INPUTS_FLOAT ? RECORD_FLOAT : 0));
}

/* Where the records of a kind begin in block b, which has this width. */
SIMD uint8_t *block_of(const struct inputs *in, unsigned kind, int b, int width)
{
    unsigned before = in->kinds & (kind - 1);
    return in->out + (size_t)b * BLOCK_COLUMNS * column_bytes(in->K, in->kinds) +
           (size_t)width * column_bytes(in->K, before);
}

/* Writes columns [first, last) of columns_of(n). A column depends on its token alone. */
void ISA_FN(inputs_write)(const struct inputs *in, int first, int last);
