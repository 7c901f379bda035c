/* The argument struct of each operation in ops.def. Pointers are device memory of
 * the back end that runs the operation; shapes stand beside them.
 *
 * Arrays of T or R rows have room for max_tokens or max_rows: a back end may work on rows behind
 * those of the batch.
 *
 * T tokens of the step, R rows whose logits are wanted, D model width, N output
 * width, H query heads, K key/value heads, dim head width, V vocabulary. */
#pragma once

#include "batch.h"
#include "weight.h"

#include <stdbool.h>
#include <stdint.h>

enum op {
#define OP(name, doc) OP_##name,
#include "ops.def"
#undef OP
    OP_COUNT
};

/* A rotary table of the step: out[t] = (cos(position * freq[i]), i < dim/2 ; sin(same)) * scale. */
struct rotary_table {
    float *out;        /* (T, 2, dim/2), or NULL: there is none */
    const float *freq; /* (dim/2) radians per position */
    float scale;       /* 1 except for YaRN */
    int32_t dim;       /* columns of a head that turn */
};

/* Rotations that layers of one model may differ in: Gemma 3 turns those that slide faster. */
#define ROTARY_KINDS 2

/* x[t] = table[token[t]] scale + position[position[t]], and the rotary tables of the step. */
struct op_embed {
    float *x;                   /* (T, D) */
    const struct weight *table; /* (V, D) */
    const float *position;      /* (max_context, D) or NULL. GPT-2 */
    float scale;                /* 1; Gemma: sqrt(D) */
    struct rotary_table rotary[ROTARY_KINDS];
    int32_t D;
};

enum norm {
    NORM_RMS,   /* x / sqrt(mean(x^2) + eps) * w: Zhang and Sennrich 2019 */
    NORM_LAYER, /* (x - mean(x)) / sqrt(var(x) + eps) * w + b: Ba, Kiros and Hinton 2016 */
};

/* gelu(x) = x P(X <= x) for a standard normal X, Hendrycks and Gimpel 2016; gelu_tanh is their
 * approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
enum epilogue {
    EPILOGUE_STORE,      /* y = x W^T + b */
    EPILOGUE_ADD,        /* y += x W^T + b */
    EPILOGUE_GELU,       /* y = gelu(x W^T + b): Falcon, MPT */
    EPILOGUE_GELU_TANH,  /* y = gelu_tanh(x W^T + b): GPT-2, GPT-J, BLOOM, Phi */
    EPILOGUE_GELU_TIMES, /* y = gelu_tanh(x W^T + b) * factor: Gemma 4 */
    EPILOGUE_RELU2,      /* y = max(x W^T + b, 0)^2: Nemotron, So et al. 2021 */
    /* Two parts of one width, y = f(x part[0]^T) * (x part[1]^T): */
    EPILOGUE_GLU_SILU, /* f(x) = x / (1 + e^-x): Llama */
    EPILOGUE_GLU_GELU, /* f = gelu_tanh: Gemma */
    /* y = f(min(x part[0]^T, limit)) * (1 + clamp(x part[1]^T, limit)), of experts alone: */
    EPILOGUE_GLU_CLAMPED, /* f(x) = x / (1 + e^-1.702x): gpt-oss */
};

static inline bool epilogue_is_gated(int32_t epilogue)
{
    return epilogue == EPILOGUE_GLU_SILU || epilogue == EPILOGUE_GLU_GELU ||
           epilogue == EPILOGUE_GLU_CLAMPED;
}

/* One matrix of a linear step: its outputs go to columns [column, column + N) of y. */
struct linear_part {
    const struct weight *weight; /* (N, D) */
    const float *bias;           /* (N) or NULL */
    int32_t column;
};

/* y = epilogue(norm(x) W^T + bias) over up to three matrices that share x. */
struct op_linear {
    const float *x;         /* (T, D) */
    float *y;               /* (T, ldy); EPILOGUE_ADD: may not be x */
    const float *norm;      /* (D) weight of a norm applied to x first, or NULL: none is */
    const float *norm_bias; /* (D) of NORM_LAYER, or NULL */
    int32_t norm_kind;      /* enum norm */
    float eps;
    int32_t D, ldy;
    int32_t n_part;
    int32_t epilogue; /* enum epilogue */
    struct linear_part part[3];
    const float *factor; /* of EPILOGUE_GELU_TIMES, of one part: what row t of that comes times */
    int32_t ld_factor;   /* from one row of it to the next */
};

/* x[t] = (x[t] + norm(y[t])) factor: Gemma 2 and 3 normalise what is added, too. Rows may be parts
 * of longer ones, or of several parts, each of which is normalised by itself. */
struct op_add_norm {
    float *x;               /* (T, parts, D) */
    const float *y;         /* (T, parts, D) */
    const float *norm;      /* (D) */
    const float *norm_bias; /* (D) of NORM_LAYER, or NULL */
    int32_t norm_kind;      /* enum norm */
    float eps;
    int32_t D;
    int32_t ld;          /* row t of both begins at t ld */
    bool is_first;       /* x[t] = norm(y[t]), and y may be x: BLOOM's embeddings, OLMo 2's heads */
    int32_t parts;       /* of a row, side by side; 0: one */
    const float *factor; /* (1) or NULL: 1. These two: Gemma 4 */
};

/* Of the columns that turn, dim: */
enum rope_kind {
    ROPE_INTERLEAVED, /* pairs (2i, 2i + 1): GPT-J, Llama as GGUF files store it */
    ROPE_HALF,        /* pairs (i, i + dim/2): GPT-NeoX, Qwen, Hugging Face Llama */
};

/* Attention of one layer. Rotates q and k, appends k and v of the step's tokens to
 * their pages, then attends each query to keys up to its own position. The order of every
 * sum is fixed by position alone. Zero in what stands after rope means "as in Llama".
 *
 *   s[j] = q (k[j] - k_mean) scale, then cap tanh(s[j] / cap), then + slopes[h] (j - position)
 *   y = sum of e^s[j] v[j] / (sum of e^s[j] + e^sinks[h]),  position - window < j <= position */
struct op_attend {
    float *qkv;          /* (T, attend_heads * dim): q heads, k heads, v heads; overwritten */
    float *y;            /* (T, H * dim) */
    const float *rotary; /* (T, 2, rotary_dim/2), or NULL: no rotation in this layer */
    const float *q_norm; /* (dim) RMSNorm of each query head before rotation, or NULL */
    const float *k_norm; /* (dim) */
    const float *k_mean; /* (K, dim) what pages hold keys less, or NULL: 0. All scores of a query
                            are lower by the same, which without cap and sinks changes nothing */
    float eps;
    float scale;   /* of q k^T */
    int32_t layer; /* whose keys and values: its own, or of `shared` those of one before it */
    int32_t H, K, dim;
    bool shared;        /* nothing is appended, and there are queries alone. This and the next two:
                           Gemma 4 */
    bool v_of_k;        /* values are what keys are before norm and rotation, and not in qkv */
    bool v_norm;        /* values are normalised as keys are, by weights of 1 */
    int32_t rope;       /* enum rope_kind */
    int32_t rotary_dim; /* the first columns of a head, which turn, an even number; 0: all. GPT-J,
                            GPT-NeoX, Phi */
    int32_t window;     /* positions that a query sees, its own is the last; 0: all. Mistral 7B */
    float cap;          /* of scores; 0: none. Gemma 2 */
    float growth;       /* queries at position p come times 1 + growth log(1 + floor(p / from));
                            0: they do not. Ministral 3 */
    int32_t growth_from;
    const float *slopes; /* (H) or NULL: no bias by distance. ALiBi, Press et al. 2021 */
    const float *sinks;  /* (H) logits that take weight and give nothing, or NULL. gpt-oss */
};

/* Heads of a token in qkv. */
static inline int32_t attend_heads(const struct op_attend *op)
{
    return op->shared ? op->H : op->H + (op->v_of_k ? 1 : 2) * op->K;
}

/* Columns of a head that turn. */
static inline int32_t attend_rotary_dim(const struct op_attend *op)
{
    return op->rotary_dim ? op->rotary_dim : op->dim;
}

/* What a token has of one of its experts. */
struct expert_choice {
    int32_t expert;
    float share;
    int32_t slot; /* where what the expert makes of it stands */
};

/* What the scores s of a token's experts become, before the factor of shares. */
enum shares {
    SHARES_OF_CHOSEN,  /* e^s[e] / sum of e^s over the U chosen: Mixtral */
    SHARES_OF_ALL,     /* over all E: OLMoE, Qwen 2 */
    SHARES_LOGISTIC,   /* p[e] = 1 / (1 + e^-s[e]), each by itself */
    SHARES_OF_LOGISTIC /* p[e] / (sum of p over the U chosen + SHARES_LEAST): GLM-4.5 */
};

#define SHARES_LEAST 1e-20f

static inline bool shares_are_logistic(int32_t shares)
{
    return shares == SHARES_LOGISTIC || shares == SHARES_OF_LOGISTIC;
}

/* A feed-forward part that is E of them, of which each token meets the U that its router scores
 * highest: Shazeer et al. 2017, Jiang et al. 2024 (Mixtral).
 *
 *   n = norm(x[t]),  s = n router^T,  e[0] .. e[U - 1]: of the largest s, of equals the first
 *   x[t] += sum over i of share[i] (silu(n gate[e[i]]^T) * (n up[e[i]]^T)) down[e[i]]^T
 *
 * or with a limit as in EPILOGUE_GLU_CLAMPED in the place of silu, and with a bias behind each
 * product where there is one. share[i] is what enum shares says of e[i], times a factor. With a
 * choice_bias, or shares of the logistic function, experts are not chosen by s but by
 * p + choice_bias, with p that function of s or e^s / sum of e^s over all E: Wang et al. 2024.
 *
 * The sum is taken in the order of i. A score that is no number is never chosen before one; if
 * there are fewer than U numbers, the first experts that are left. Beside x and the weights all is
 * memory that is the operation's while it runs. */
struct op_experts {
    float *x;                              /* (T, D) */
    const float *norm;                     /* (D) */
    const struct weight *router;           /* (E, D) */
    const struct weight *gate, *up, *down; /* (E) of (F, D), (F, D) and (D, F) */
    const float *router_bias;              /* (E) or NULL */
    const float *choice_bias;              /* (E) or NULL */
    const float *gate_bias, *up_bias;      /* (E, F) or NULL */
    const float *down_bias;                /* (E, D) or NULL */
    float *scores;                         /* (T, E) */
    struct expert_choice *choice;          /* (T, U) */
    int32_t *first;                        /* (E + 1) slot that each expert's begin with, the end */
    int32_t *count;                        /* (E) slots of each expert */
    int32_t *token;                        /* (op_experts_rows) of each slot */
    float *hidden;                         /* (op_experts_rows, F) */
    float *answer;                         /* (op_experts_rows, D) */
    float eps;
    float limit; /* of EPILOGUE_GLU_CLAMPED; 0: EPILOGUE_GLU_SILU */
    int32_t D, F, E, U;
    int32_t shares; /* enum shares */
    float factor;   /* of shares */
};

/* Whether experts are chosen by p, which stand in place of the scores then. */
static inline bool op_experts_has_p(const struct op_experts *op)
{
    return op->choice_bias || shares_are_logistic(op->shares);
}

#define EXPERTS_MOST 1024 /* of a layer */

/* Slots that there may be: one for each choice, and one that a back end leaves out behind each
 * expert. */
static inline int64_t op_experts_rows(int64_t T, int64_t U, int64_t E)
{
    return T * U + (E < T * U ? E : T * U);
}

/* y[t] = from[t] / (1 + e^-g), g = norm(x[t]) gate^T: how much a token takes of the expert that all
 * meet. Qwen 1.5 and 2 */
struct op_gate {
    const float *x;    /* (T, D) */
    const float *norm; /* (D) */
    const float *gate; /* (D) */
    const float *from; /* (T, F) */
    float *y;          /* (T, F), which may be from */
    float eps;
    int32_t D, F;
};

/* logits[r] = norm(x[row[r]]) W^T + b for the rows of the batch that are sampled, then cap
 * tanh(that / cap), and what their blocks are like. */
struct op_head {
    const float *x;              /* (T, D) */
    const float *norm;           /* (D), as in op_linear */
    const float *norm_bias;      /* (D) or NULL */
    float *logits;               /* (R, V) */
    struct logit_block *block;   /* (R, logit_blocks(V)) */
    const struct weight *weight; /* (V, D) */
    const float *bias;           /* (V) or NULL. GPT-J, Phi 2 */
    int32_t norm_kind;           /* enum norm */
    float eps;
    float cap; /* of logits; 0: none. Gemma 2 */
    int32_t D, V;
};
