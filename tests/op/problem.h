/* A random problem of the operation linear, for the tests of every back end: what is computed,
 * over the largest number of tokens that they take from it. */
#pragma once

#include "../../plugin/base/base.h"
#include "matrix.h"

#ifndef T_MAX
#define T_MAX 130
#endif
#define K_MAX     30720
#define PARTS_MAX 3

/* What is computed. */
struct problem {
    enum epilogue epilogue;
    int n_part, K, ldy;
    struct matrix matrix[PARTS_MAX];
    float *bias[PARTS_MAX]; /* or NULL */
    int column[PARTS_MAX];
    float norm[K_MAX], norm_bias[K_MAX];
    bool normed;
    enum norm norm_kind;
    bool norm_biased;
    float *x, *before; /* (T_MAX, K), (T_MAX, ldy): y before the operation */
};

static inline void problem_init(struct problem *p, const enum fmt *fmt, const int *N, int K)
{
    p->K = K;
    p->ldy = 3;
    for (int i = 0; i < p->n_part; i++) {
        matrix_init(&p->matrix[i], fmt[i], N[i], K);
        p->column[i] = p->ldy;
        p->ldy += epilogue_is_gated((int32_t)p->epilogue) && i == 1 ? 0 : N[i] + 1;
        if (p->bias[i]) {
            p->bias[i] = malloc((size_t)N[i] * sizeof(float));
            for (int j = 0; j < N[i]; j++)
                p->bias[i][j] = random_float();
        }
    }
    p->x = malloc(T_MAX * (size_t)K * sizeof *p->x);
    random_inputs(p->x, T_MAX * (size_t)K);
    memset(p->x + 2 * K, 0, (size_t)MIN(K, 32) * sizeof *p->x); /* a group of zeros */
    for (int k = 0; k < K; k++) {
        p->norm[k] = 1.0f + 0.5f * random_float();
        p->norm_bias[k] = random_float();
    }
    p->before = malloc(T_MAX * (size_t)p->ldy * sizeof *p->before);
    for (int i = 0; i < T_MAX * p->ldy; i++)
        p->before[i] = random_float();
}

static inline void problem_release(struct problem *p)
{
    for (int i = 0; i < p->n_part; i++) {
        matrix_release(&p->matrix[i]);
        free(p->bias[i]);
    }
    free(p->x);
    free(p->before);
}
