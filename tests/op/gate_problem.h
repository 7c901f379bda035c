/* What the operation gate is tested on, by any back end: rows, and what the definition (ref.h)
 * makes of them. */
#pragma once

#include "../t.h"

#include "../../plugin/base/base.h"
#include "matrix.h"
#include "ref.h"

#include <math.h>

enum { T = 9, D_MAX = 2100, F_MAX = 300 };

static const float eps = 1e-6f;

struct problem {
    int D, F;
    float x[T * D_MAX], from[T * F_MAX], norm[D_MAX], gate[D_MAX];
    double want[T * F_MAX];
};

static inline void problem_init(struct problem *p, int D, int F)
{
    static double x[T * D_MAX], from[T * F_MAX];
    p->D = D;
    p->F = F;
    for (int i = 0; i < T * D; i++)
        x[i] = (double)(p->x[i] = 30 * random_float());
    for (int i = 0; i < T * F; i++)
        from[i] = (double)(p->from[i] = random_float());
    for (int i = 0; i < D; i++) {
        p->norm[i] = 1 + random_float();
        p->gate[i] = 4 * random_float() / sqrtf((float)D);
    }
    const struct ref_gate ref = {x, from, p->norm, p->gate, p->want, (double)eps, D, F};
    ref_gate(&ref, &(struct batch){.T = T});
}

/* Of all tokens. */
static inline void check_values(const struct problem *p, const float *y)
{
    for (int i = 0; i < T * p->F; i++)
        if (!(fabs((double)y[i] - p->want[i]) <= 2e-6)) {
            t_fail(__FILE__, __LINE__, "D %d, F %d: value %d of token %d is %.9g, want %.9g", p->D,
                   p->F, i % p->F, i / p->F, (double)y[i], p->want[i]);
            return;
        }
}
