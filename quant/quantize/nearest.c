#include "nearest.h"

#include "jobs.h"

#include "../../plugin/base/base.h"
#include "../encode.h"
#include "../encode_int4.h"

#include <math.h>

/* n rows of which each 128 columns share a scale. */
static void round_blocks(const struct packing *p, const float *value, int64_t n, uint8_t *rows)
{
    const size_t row = fmt_row_bytes(p->fmt, p->K), block = (size_t)fmt_info[p->fmt].bytes;
    for (int64_t b = 0; b < p->K / ENCODE_BLOCK; b++) {
        const float *first = value + b * ENCODE_BLOCK;
        float largest = 0;
        for (int64_t r = 0; r < n; r++)
            largest = fmaxf(largest, encode_largest(first + r * p->K, ENCODE_BLOCK));
        for (int64_t r = 0; r < n; r++)
            encode_row(p->fmt, first + r * p->K, ENCODE_BLOCK, &largest,
                       rows + (size_t)r * row + (size_t)b * block);
    }
}

void nearest_rows(const struct packing *p, const float *value, int64_t n, const float *largest,
                  uint8_t *rows)
{
    const struct int4_style style = {p->is_symmetric, p->is_bf16};
    const size_t bytes = fmt_row_bytes(p->fmt, p->K);
    if (p->fmt == FMT_fp8_128)
        round_blocks(p, value, n, rows);
    else if (p->fmt == FMT_fp8 || p->fmt == FMT_int8)
        for (int64_t r = 0; r < n; r++)
            encode_row(p->fmt, value + r * p->K, p->K, &largest[r], rows + (size_t)r * bytes);
    else if (p->fmt == FMT_q8_0)
        for (int64_t r = 0; r < n; r++)
            encode_q8_0(value + r * p->K, p->K, p->is_bf16, rows + (size_t)r * bytes);
    else
        for (int64_t r = 0; r < n; r++)
            encode_int4(value + r * p->K, p->K, fmt_info[p->fmt].n, style,
                        rows + (size_t)r * bytes);
}

struct nearest {
    const struct packing *p;
    const float *W;
    uint8_t *rows;
};

static void round_piece(void *arg, int64_t piece, int32_t thread)
{
    const struct nearest *w = arg;
    const int64_t first = piece * PACK_ROWS, n = MIN(w->p->N - first, PACK_ROWS), K = w->p->K;
    float largest[PACK_ROWS];
    (void)thread;
    for (int64_t r = 0; r < n; r++)
        largest[r] = encode_largest(w->W + (first + r) * K, K);
    nearest_rows(w->p, w->W + first * K, n, largest,
                 w->rows + (size_t)first * fmt_row_bytes(w->p->fmt, K));
}

void nearest_matrix(const struct packing *p, const float *W, int32_t threads, uint8_t *rows)
{
    struct nearest w = {p, W, rows};
    jobs_run(threads, (p->N + PACK_ROWS - 1) / PACK_ROWS, round_piece, &w);
}
