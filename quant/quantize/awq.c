#include "awq.h"

#include "jobs.h"

#include <math.h>
#include <string.h>

enum {
    RATIOS = 20,
    CLIPS = 10, /* parts of the range: 1, 0.95 .. 0.55 */
    ROWS = 16,  /* of a piece of work */
    GROUP = 128 /* values of the largest group */
};

struct work {
    const struct moments *m;
    const struct awq_matrix *matrix;
    const float *s, *t;
    uint8_t *rows; /* or NULL: back alone is made */
};

static void scale_group(const struct work *w, int64_t r, int64_t k, int32_t n, float *out)
{
    const float *W = w->matrix->W + r * w->m->K + k;
    const float by = w->t ? 1 / w->t[r] : 1;
    for (int32_t i = 0; i < n; i++)
        out[i] = W[i] * (w->s ? w->s[k + i] : 1) * by;
}

/* ---- The scales */

/* The rows with the grid over the whole range, and the scale undone. */
static void round_plainly(void *arg, int64_t piece, int32_t thread)
{
    const struct work *w = arg;
    const struct awq_matrix *matrix = w->matrix;
    const int32_t n = fmt_info[matrix->fmt].n;
    const int64_t K = w->m->K, last = MIN(matrix->N, (piece + 1) * ROWS);
    float value[GROUP];
    uint8_t q[GROUP];
    (void)thread;
    for (int64_t r = piece * ROWS; r < last; r++)
        for (int64_t k = 0; k < K; k += n) {
            scale_group(w, r, k, n, value);
            struct int4_grid grid = int4_clip(value, n, 1, matrix->style);
            int4_round(value, n, grid, q);
            for (int32_t i = 0; i < n; i++)
                matrix->back[r * K + k + i] = ((float)q[i] - grid.zero) * grid.scale / w->s[k + i];
        }
}

/* Columns without any input would take all room from the others. */
static void scales_of(const double *magnitude, int32_t K, double ratio, float *s)
{
    double most = 0, low = INFINITY, high = 0;
    for (int32_t i = 0; i < K; i++)
        most = MAX(most, magnitude[i]);
    for (int32_t i = 0; i < K; i++) {
        double part = most > 0 ? MAX(magnitude[i] / most, 1e-4) : 1;
        s[i] = (float)pow(part, ratio);
        low = MIN(low, (double)s[i]);
        high = MAX(high, (double)s[i]);
    }
    for (int32_t i = 0; i < K; i++)
        s[i] /= (float)sqrt(low * high);
}

static double error_with(const struct moments *m, const struct awq_matrix *matrix, int32_t n,
                         const float *s)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        struct work w = {.m = m, .matrix = &matrix[i], .s = s};
        jobs_run(m->threads, (matrix[i].N + ROWS - 1) / ROWS, round_plainly, &w);
        sum += moments_energy(m, matrix[i].W, matrix[i].back, matrix[i].N);
    }
    return sum;
}

void awq_scales(const struct moments *m, const double *magnitude, const struct awq_matrix *matrix,
                int32_t n, float *s)
{
    double least = INFINITY;
    int32_t best = 0;
    for (int32_t ratio = 0; ratio < RATIOS; ratio++) {
        scales_of(magnitude, m->K, (double)ratio / RATIOS, s);
        double error = error_with(m, matrix, n, s);
        if (error < least) {
            least = error;
            best = ratio;
        }
    }
    scales_of(magnitude, m->K, (double)best / RATIOS, s);
}

/* ---- The grids */

/* d H d^T of the group's part of H. */
static double error_of(const struct moments *m, int64_t k, int32_t n, const float *d)
{
    float product[GROUP] = {0};
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        const float *H = m->H + (k + i) * m->K + k;
        for (int32_t j = 0; j < n; j++)
            product[j] += d[i] * H[j];
    }
    for (int32_t i = 0; i < n; i++)
        sum += (double)product[i] * (double)d[i];
    return sum;
}

struct found {
    struct int4_grid grid;
    double error;
};

static void try_grid(const struct work *w, const float *value, int64_t k, int32_t n,
                     struct int4_grid grid, struct found *found)
{
    uint8_t q[GROUP];
    float d[GROUP];
    int4_round(value, n, grid, q);
    for (int32_t i = 0; i < n; i++)
        d[i] = (((float)q[i] - grid.zero) * grid.scale - value[i]) / (w->s ? w->s[k + i] : 1);
    double error = error_of(w->m, k, n, d);
    if (error < found->error)
        *found = (struct found){grid, error};
}

static void round_group(const struct work *w, int64_t r, int64_t k, int32_t n, uint8_t *out)
{
    const struct int4_style style = w->matrix->style;
    float value[GROUP];
    uint8_t q[GROUP];
    scale_group(w, r, k, n, value);
    struct found found = {int4_fit(value, NULL, n, style), INFINITY};
    try_grid(w, value, k, n, found.grid, &found);
    for (int clip = 0; clip < CLIPS; clip++) {
        const struct int4_grid grid = int4_clip(value, n, 1 - (float)clip * 0.05f, style);
        try_grid(w, value, k, n, grid, &found);
        if (style.is_symmetric)
            try_grid(w, value, k, n, int4_turned(grid), &found);
    }
    int4_round(value, n, found.grid, q);
    int4_put(q, n, found.grid, out);
}

static void round_rows(void *arg, int64_t piece, int32_t thread)
{
    const struct work *w = arg;
    const struct awq_matrix *matrix = w->matrix;
    const int32_t n = fmt_info[matrix->fmt].n;
    const int64_t K = w->m->K, last = MIN(matrix->N, (piece + 1) * ROWS);
    (void)thread;
    for (int64_t r = piece * ROWS; r < last; r++) {
        uint8_t *row = w->rows + (size_t)r * fmt_row_bytes(matrix->fmt, K);
        for (int64_t k = 0; k < K; k += n, row += fmt_info[matrix->fmt].bytes)
            round_group(w, r, k, n, row);
    }
}

void awq_round(const struct moments *m, const struct awq_matrix *matrix, const float *s,
               const float *t, uint8_t *rows)
{
    struct work w = {.m = m, .matrix = matrix, .s = s, .t = t, .rows = rows};
    jobs_run(m->threads, (matrix->N + ROWS - 1) / ROWS, round_rows, &w);
}
