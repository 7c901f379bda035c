/* The operation experts: router, choice, products of each expert's tokens, their sum.
 *
 *   scores           T x E, a product like any other
 *   experts_choose   of each token the U largest, and their shares
 *   experts_slots    rows of experts: which tokens each has, from an even row on
 *   prepare          those tokens, normalized, in the order of the rows
 *   experts_*        hidden[row] = gate of both products;  then prepare, and answer[row]
 *   experts_add      x[t] += sum of share[i] answer[slot[i]]
 *
 *   expert    e0 e0 e0  .   e2 e2   e3  .          first = 0 4 4 6, count = 3 0 2 1
 *   token     t0 t2 t5  -1  t0 t1   t2  -1
 *
 * A block of experts_* has up to 32 rows of one expert and finds which by count: the host knows
 * the most that there may be, T U / 32 + E, and blocks beyond end at once. Rows begin at even
 * numbers, since sums and scales of activations are read for two at a time (product.h); rows of no
 * token are zeros. Arithmetic and order are those of tile.h: a token's bits do not depend on
 * others. Dead rows of a step (step.h) choose no expert.
 *
 * Work: experts_choose a warp for each token; experts_slots one block, a warp for each expert,
 * which reads all choices twice; experts_add a block for each token. Bytes: weights of the experts
 * that are chosen, once for each 32 of their tokens; of a choice 8 D of x, twice 4 F of hidden, 8 D
 * of answer. Target: as tile.h up to 32 tokens of an expert; of many more weights are read again
 * from L2 for each 32. */
#pragma once

#include "tile.h"

#define EXPERTS_TOKENS       32 /* rows of a block */
#define EXPERTS_SLOT_THREADS 1024

struct experts_choose_args {
    float *scores;                /* (T, E); overwritten by p if experts are chosen by it */
    const int32_t *slot;          /* (T) of the step: below 0 of dead rows */
    struct expert_choice *choice; /* (T, U); expert -1 of dead rows */
    const float *choice_bias;     /* (E) or NULL */
    int32_t T, E, U;
    int32_t shares; /* enum shares */
    int32_t has_p;  /* bool: experts are chosen by p, see op_experts */
    float factor;
};

struct experts_slots_args {
    struct expert_choice *choice; /* (n) */
    int32_t *first;               /* (E + 1) */
    int32_t *count;               /* (E) */
    int32_t *token;               /* (rows) -1: of none */
    int32_t n, E, U, rows;
};

/* Of experts one behind the other with alike matrices: product.part is of the first. */
struct experts_args {
    struct tile_args tile;        /* product.T: not read */
    const int32_t *first, *count; /* (n) */
    uint64_t stride[2];           /* bytes from one expert's matrix of a part to the next */
    int32_t n;
    float limit; /* of EPILOGUE_GLU_CLAMPED; 0: the gate is product.epilogue's */
};

struct experts_add_args {
    float *x;                           /* (T, D), 16-byte aligned, as is answer */
    const float *answer;                /* (rows, D) */
    const struct expert_choice *choice; /* (T, U) */
    int32_t T, U, D;                    /* D a multiple of 4 */
};

#ifndef __CUDACC__
struct device;
struct err;

/* Rows that products of experts read. */
int32_t experts_rows(int32_t T, int32_t U, int32_t E);
/* Shared memory limits of the kernels; once, at open. */
int32_t experts_open(struct device *device, struct err *err);
#endif
