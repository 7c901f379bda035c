/* The argument struct of each operation in ops.def. Pointers are device memory of
 * the back end that runs the operation; shapes stand beside them.
 *
 * T tokens of the step, R rows whose logits are wanted, D model width, N output
 * width, H query heads, K key/value heads, dim head width, V vocabulary. */
#pragma once

#include "batch.h"
#include "weight.h"

#include <stdint.h>

enum op {
#define OP(name, doc) OP_##name,
#include "ops.def"
#undef OP
    OP_COUNT
};

/* x[t] = table[token[t]], and the rotary table of the step:
 * rotary[t] = (cos(position * freq[i]), i < dim/2 ; sin(same)). */
struct op_embed {
    float *x;                   /* (T, D) */
    const struct weight *table; /* (V, D) */
    float *rotary;              /* (T, 2, dim/2) */
    const float *freq;          /* (dim/2) radians per position */
    float rotary_scale;         /* multiplies cos and sin; 1 except for YaRN */
    int32_t D, dim;
};

enum epilogue {
    EPILOGUE_STORE,    /* y = x W^T + b */
    EPILOGUE_ADD,      /* y += x W^T + b */
    EPILOGUE_GLU_SILU, /* y = silu(x part[0]^T) * (x part[1]^T); two parts of one width */
};

/* One matrix of a linear step: its outputs go to columns [column, column + N) of y. */
struct linear_part {
    const struct weight *weight; /* (N, D) */
    const float *bias;           /* (N) or NULL */
    int32_t column;
};

/* y = epilogue(norm(x) W^T + bias) over up to three matrices that share x. */
struct op_linear {
    const float *x;    /* (T, D) */
    float *y;          /* (T, ldy); EPILOGUE_ADD: may not be x */
    const float *norm; /* (D) RMSNorm weight applied to x first, or NULL */
    float eps;
    int32_t D, ldy;
    int32_t n_part;
    int32_t epilogue; /* enum epilogue */
    struct linear_part part[3];
};

enum rope_kind {
    ROPE_INTERLEAVED, /* pairs (2i, 2i + 1): GPT-J, Llama as GGUF files store it */
    ROPE_HALF,        /* pairs (i, i + dim/2): GPT-NeoX, Qwen, Hugging Face Llama */
};

/* Attention of one layer. Rotates q and k, appends k and v of the step's tokens to
 * their pages, then attends each query to all keys up to its own position. The
 * order of every sum is fixed by position alone. */
struct op_attend {
    float *qkv;          /* (T, (H + 2K) * dim): q heads, k heads, v heads; overwritten */
    float *y;            /* (T, H * dim) */
    const float *rotary; /* (T, 2, dim/2), or NULL: no rotation in this layer */
    const float *q_norm; /* (dim) RMSNorm of each query head before rotation, or NULL */
    const float *k_norm; /* (dim) */
    float eps;
    float scale; /* of q k^T */
    int32_t layer, H, K, dim;
    int32_t rope; /* enum rope_kind */
};

/* logits[r] = norm(x[row[r]]) W^T for the rows of the batch that are sampled, and what
 * their blocks are like. */
struct op_head {
    const float *x;              /* (T, D) */
    const float *norm;           /* (D) */
    float *logits;               /* (R, V) */
    struct logit_block *block;   /* (R, logit_blocks(V)) */
    const struct weight *weight; /* (V, D) */
    float eps;
    int32_t D, V;
};
