#include "smooth.h"

#include "../encode.h"
#include "jobs.h"

#include <math.h>

void smooth_columns(const float *W, int64_t N, int64_t K, float *largest)
{
    for (int64_t r = 0; r < N; r++)
        for (int64_t k = 0; k < K; k++)
            largest[k] = fmaxf(largest[k], fabsf(W[r * K + k]));
}

static float floor_of(const float *largest, int64_t K)
{
    float most = 0;
    for (int64_t k = 0; k < K; k++)
        most = fmaxf(most, largest[k]);
    return most > 0 ? most * SMOOTH_LEAST : 1;
}

void smooth_scales(const float *inputs, const float *weights, int64_t K, float alpha, float *s)
{
    const float least_input = floor_of(inputs, K), least_weight = floor_of(weights, K);
    for (int64_t k = 0; k < K; k++)
        s[k] = powf(fmaxf(inputs[k], least_input), alpha) /
               powf(fmaxf(weights[k], least_weight), 1 - alpha);
}

static void round_row(void *arg, int64_t row, int32_t thread)
{
    const struct smooth_matrix *m = arg;
    const struct packing *p = m->packing;
    const float *from = m->W + row * p->K, divisor = m->t ? m->t[row] : 1;
    float *scaled = m->back + row * p->K;
    (void)thread;
    for (int64_t k = 0; k < p->K; k++)
        scaled[k] = from[k] * (m->s ? m->s[k] : 1) / divisor;
    const float largest = encode_largest(scaled, p->K);
    encode_row(p->fmt, scaled, p->K, &largest, m->rows + (size_t)row * fmt_row_bytes(p->fmt, p->K));
}

void smooth_round(const struct smooth_matrix *m, int32_t threads)
{
    jobs_run(threads, m->packing->N, round_row, (void *)(uintptr_t)m);
}
