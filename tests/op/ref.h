/* What each operation of kernels/ops.def means, in double precision over plain arrays. The
 * structs mirror kernels/ops.h; weights are rows of floats as their format defines them,
 * keys and values stand in one array per sequence instead of pages. */
#pragma once

#include "../../kernels/batch.h"
#include "../../kernels/ops.h"

struct ref_rotary {
    double *out;       /* (T, 2, dim/2) or NULL */
    const float *freq; /* (dim/2) */
    double scale;
    int dim;
};

struct ref_embed {
    double *x;             /* (T, D) */
    const float *table;    /* (V, D) */
    const float *position; /* (positions, D) or NULL */
    double scale;
    struct ref_rotary rotary[ROTARY_KINDS];
    int D;
};

struct ref_add_norm {
    double *x;         /* (T, ld), columns 0 .. parts D - 1 of it */
    const double *y;   /* the same */
    const float *norm; /* (D) */
    double eps;
    int D, ld;
    const float *norm_bias; /* (D) or NULL */
    enum norm norm_kind;
    bool is_first;
    int parts;           /* 0: 1 */
    const float *factor; /* (1) or NULL */
};

struct ref_part {
    const float *weight; /* (N, D) */
    const float *bias;   /* (N) or NULL */
    int N, column;
    const double *x; /* (T, D) in place of the operation's, which then has no norm, or NULL */
};

struct ref_linear {
    const double *x;               /* (T, D) */
    double *y;                     /* (T, ldy) */
    const float *norm, *norm_bias; /* (D) or NULL */
    enum norm norm_kind;
    double eps;
    int D, ldy, n_part;
    enum epilogue epilogue;
    struct ref_part part[3];
    const float *factor; /* (T, ld_factor) of EPILOGUE_GELU_TIMES */
    int ld_factor;
};

struct ref_attend {
    const double *qkv;            /* (T, (H + 2K) * dim), of v_of_k (T, (H + K) * dim) */
    double *y;                    /* (T, H * dim) */
    const double *rotary;         /* (T, 2, rotary_dim/2) or NULL */
    const float *q_norm, *k_norm; /* (dim) or NULL */
    double eps, scale;
    int H, K, dim;
    enum rope_kind rope;
    int rotary_dim, window;      /* 0: dim; 0: all */
    double cap;                  /* 0: none */
    const float *slopes, *sinks; /* (H) or NULL */
    double growth;               /* 0: none */
    int growth_from;
    bool v_of_k, v_norm; /* values are keys before norm and rotation; are normalised */
    double **k, **v;     /* of each sequence of the batch: (positions, K, dim), appended to */
};

struct ref_gate {
    const double *x, *from;   /* (T, D), (T, F) */
    const float *norm, *gate; /* (D) */
    double *y;                /* (T, F) */
    double eps;
    int D, F;
};

struct ref_expert {
    const float *gate, *up, *down;                /* (F, D), (F, D), (D, F) */
    const float *gate_bias, *up_bias, *down_bias; /* (F), (F), (D), or NULL */
};

struct ref_experts {
    double *x;                       /* (T, D) */
    const float *norm;               /* (D) */
    const float *router;             /* (E, D) */
    const struct ref_expert *expert; /* (E) */
    double eps;
    int D, F, E, U;
    enum shares shares;
    const float *router_bias; /* (E) or NULL */
    double limit;             /* 0: none, and silu */
    const float *choice_bias; /* (E) or NULL */
    double factor;
};

struct ref_head {
    const double *x;        /* (T, D) */
    const float *norm;      /* (D) */
    const float *norm_bias; /* (D) or NULL */
    const float *bias;      /* (V) or NULL */
    enum norm norm_kind;
    double *logits;      /* (R, V) */
    const float *weight; /* (V, D) */
    double eps, cap;     /* 0: none */
    int D, V;
};

void ref_embed(const struct ref_embed *op, const struct batch *batch);
void ref_linear(const struct ref_linear *op, const struct batch *batch);
void ref_add_norm(const struct ref_add_norm *op, const struct batch *batch);
void ref_gate(const struct ref_gate *op, const struct batch *batch);
void ref_experts(const struct ref_experts *op, const struct batch *batch);
void ref_attend(const struct ref_attend *op, const struct batch *batch);
void ref_head(const struct ref_head *op, const struct batch *batch);
