/* What experts are tested on, by any back end: a layer of random ones, and what the definition
 * (ref.h) makes of it. */
#pragma once

#include "../../plugin/base/base.h"
#include "matrix.h"
#include "ref.h"

#ifndef LARGE_EXPERTS
enum { T = 21, D = 96, F = 64, E_MAX = 12, U_MAX = 4 };
#else /* for blocks of a card, and every format's */
enum { T = 150, D = 256, F = 256, E_MAX = 40, U_MAX = 6 };
#endif
enum { ROWS_MAX = T * U_MAX + E_MAX };

static const float eps = 1e-6f;

/* One layer of experts, its weights as files have them. */
struct problem {
    enum fmt fmt;
    bool is_mixed, is_apart; /* of experts from the middle on, and of ups, it is q8_0 */
    int E, U;
    enum shares shares;
    bool has_choice;   /* a bias for the choice */
    float factor;      /* of shares; 0: 1 */
    float router_size; /* of the router's numbers; 0: as they come */
    struct matrix router, gate[E_MAX], up[E_MAX], down[E_MAX];
    float norm[D], x[T * D];
    float limit; /* as gpt-oss has one; then there are biases, too */
    float choice_bias[E_MAX];
    float router_bias[E_MAX], gate_bias[E_MAX * F], up_bias[E_MAX * F], down_bias[E_MAX * D];
};

static inline void problem_init(struct problem *p)
{
    matrix_init(&p->router, FMT_f32, p->E, D);
    for (int i = 0; i < p->E * D && p->router_size > 0; i++) {
        p->router.value[i] *= p->router_size;
        memcpy((char *)(uintptr_t)p->router.source.data + (size_t)i * sizeof(float),
               &p->router.value[i], sizeof(float));
    }
    for (int e = 0; e < p->E; e++) {
        const enum fmt fmt = p->is_mixed && e >= p->E / 2 ? FMT_q8_0 : p->fmt;
        matrix_init(&p->gate[e], fmt, F, D);
        matrix_init(&p->up[e], p->is_apart ? FMT_q8_0 : fmt, F, D);
        matrix_init(&p->down[e], fmt, D, F);
    }
    for (int d = 0; d < D; d++)
        p->norm[d] = 1 + 0.5f * random_float();
    random_inputs(p->x, T * D);
    random_inputs(p->router_bias, E_MAX);
    random_inputs(p->choice_bias, E_MAX);
    random_inputs(p->gate_bias, E_MAX * F);
    random_inputs(p->up_bias, E_MAX * F);
    random_inputs(p->down_bias, E_MAX * D);
}

/* A bias of the problem, if it has any. */
static inline const float *if_biased(const struct problem *p, const float *bias)
{
    return p->limit > 0 ? bias : NULL;
}

static inline const float *if_chosen(const struct problem *p, const float *bias)
{
    return p->has_choice ? bias : NULL;
}

static inline float factor_of(const struct problem *p)
{
    return p->factor > 0 ? p->factor : 1;
}

static inline void problem_release(struct problem *p)
{
    matrix_release(&p->router);
    for (int e = 0; e < p->E; e++) {
        matrix_release(&p->gate[e]);
        matrix_release(&p->up[e]);
        matrix_release(&p->down[e]);
    }
}

/* x after the layer, (T, D). */
static inline void define(const struct problem *p, double *want)
{
    struct ref_expert expert[E_MAX];
    const struct batch batch = {.T = T};
    for (int e = 0; e < p->E; e++)
        expert[e] = (struct ref_expert){p->gate[e].value,
                                        p->up[e].value,
                                        p->down[e].value,
                                        if_biased(p, p->gate_bias + e * F),
                                        if_biased(p, p->up_bias + e * F),
                                        if_biased(p, p->down_bias + e * D)};
    for (int i = 0; i < T * D; i++)
        want[i] = (double)p->x[i];
    const struct ref_experts ref = {want,
                                    p->norm,
                                    p->router.value,
                                    expert,
                                    (double)eps,
                                    D,
                                    F,
                                    p->E,
                                    p->U,
                                    p->shares,
                                    if_biased(p, p->router_bias),
                                    (double)p->limit,
                                    if_chosen(p, p->choice_bias),
                                    (double)factor_of(p)};
    ref_experts(&ref, &batch);
}
