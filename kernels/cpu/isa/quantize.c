/* Normalizes tokens and writes them as columns: see quantize.h. */
#include "quantize.h"

#include "../../../plugin/base/base.h"
#include "norm.h"

static const int widths[WIDTHS] = {1, 2, 3, 4, 6, 8};

int ISA_FN(width_index)(int n)
{
    int i = 0;
    while (i < WIDTHS - 1 && widths[i] < n)
        i++;
    return i;
}

int ISA_FN(width_at)(int index)
{
    return widths[index];
}

static int width_of(int n)
{
    return widths[ISA_FN(width_index)(n)];
}

int ISA_FN(columns_of)(int n)
{
    int rest = n % BLOCK_COLUMNS;
    return n - rest + (rest ? width_of(rest) : 0);
}

/* Groups worked on together: what one waits for passes while the others are computed. */
#define RUN_GROUPS ((size_t)LANES)

/* Groups [g, g + n) of x. */
static void normalize(const struct inputs *in, const struct standard *s, const float *x, size_t g,
                      size_t n, float *out)
{
    const float *weight = in->norm + g * GROUP;
    const float *bias = in->norm_bias ? in->norm_bias + g * GROUP : NULL;
    vf factor = vf_set1(s->factor), mean = vf_set1(s->mean);
    x += g * GROUP;
    for (size_t k = 0; k < n * GROUP; k += LANES) {
        vf a = vf_load(x + k);
        if (in->norm_kind == NORM_LAYER)
            a = vf_sub(a, mean);
        a = vf_mul(vf_mul(a, factor), vf_load(weight + k));
        if (in->norm_kind == NORM_LAYER && bias)
            a = vf_add(a, vf_load(bias + k));
        vf_store(out + k, a);
    }
}

/* Of each group of a run a vector that is yet to be folded. Behind the run are those of an earlier
 * one, or zeros. */
struct partials {
    vi peak[RUN_GROUPS], low[RUN_GROUPS], high[RUN_GROUPS];
};

/* One column being written. */
struct column {
    struct partials *partials;     /* room for them */
    uint8_t *int8, *pairs, *whole; /* its block's records of each kind, if wanted */
    size_t index, width;           /* its place in the block */
};

/* The largest magnitude of each of n groups, at most RUN_GROUPS. NaN counts for nothing: it comes
 * first where the larger of two is taken. The bits of magnitudes are ordered as they are. */
static vf peaks_of(const float *x, size_t n, vi peak[RUN_GROUPS])
{
    for (size_t g = 0; g < n; g++, x += GROUP) {
        vf most = vf_max(vf_abs(vf_load(x)), vf_zero());
        peak[g] = vf_as_vi(vf_max(vf_abs(vf_load(x + LANES)), most));
    }
    return vi_as_vf(vi_fold_each(peak, n, false));
}

/* What a kernel wants to know of n groups, whose quantized values have these sums, by halves. */
static void write_numbers(struct column *column, size_t g, size_t n, vf scale, vi low, vi high)
{
    const vi minus_low = vi_sub(vi_zero(), low), minus_high = vi_sub(vi_zero(), high);
    const vi minus = vi_add(minus_low, minus_high);
    float scales[RUN_GROUPS], scaled[RUN_GROUPS], minus_sum[RUN_GROUPS];
    int32_t bias[4][RUN_GROUPS];
    vf_store(scales, scale);
    vf_store(scaled, vf_mul(scale, vf_of_vi(vi_add(low, high))));
    vf_store(minus_sum, vf_of_vi(minus));
    vi_store(bias[0], vi_shl(minus, 3));
    vi_store(bias[1], vi_shl(minus, 7));
    vi_store(bias[2], vi_shl(minus_low, 5));
    vi_store(bias[3], vi_shl(minus_high, 5));
    const size_t step = column->width * RECORD_INT8;
    uint8_t *to = column->int8 + g * step + column->width * GROUP +
                  column->index * sizeof(struct column_numbers);
    for (size_t i = 0; i < n; i++, to += step) {
        *(struct column_numbers *)(void *)to = (struct column_numbers){
            .scale = scales[i],
            .scaled_sum = scaled[i],
            .minus_sum = minus_sum[i],
            .bias_s4 = bias[0][i],
            .bias_s8 = bias[1][i],
            .bias_s6_low = bias[2][i],
            .bias_s6_high = bias[3][i],
        };
    }
}

/* Groups [g, g + n) of the column. Scales the largest magnitude of a group to 127 and rounds to
 * nearest. NaN becomes -127 times a scale that the finite values of the group set. */
static void write_int8(struct column *column, size_t g, size_t n, const float *x)
{
    const vf least = vf_set1(1e-30f), most = vf_set1(127.0f),
             peak = peaks_of(x, n, column->partials->peak);
    const size_t step = column->width * RECORD_INT8;
    float inverse[RUN_GROUPS];
    vi *low = column->partials->low, *high = column->partials->high;
    vf_store(inverse, vf_less(least, peak, vf_div(most, peak), vf_zero()));
    uint8_t *to = column->int8 + g * step + column->index * GROUP;
    for (size_t i = 0; i < n; i++, x += GROUP, to += step) {
        const vf factor = vf_set1(inverse[i]);
        vf_store_s8_pair((int8_t *)to, vf_mul(vf_load(x), factor),
                         vf_mul(vf_load(x + LANES), factor), &low[i], &high[i]);
    }
    vf scale = vf_less(least, peak, vf_div(peak, most), vf_zero());
    write_numbers(column, g, n, scale, vi_fold_each(low, n, true), vi_fold_each(high, n, true));
}

static void write_pairs(const struct column *column, size_t g, size_t n, const float *values)
{
    for (size_t i = 0; i < n; i++, g++, values += GROUP) {
        uint16_t x[GROUP];
        vf_store_bf16(x, vf_load(values));
        vf_store_bf16(x + LANES, vf_load(values + LANES));
        uint8_t *to = column->pairs + g * column->width * RECORD_PAIRS + column->index * 4;
        for (int k = 0; k < GROUP; k += 2, to += column->width * 4)
            memcpy(to, &x[k], 4);
    }
}

static void write_whole(const struct column *column, size_t g, size_t n, const float *x)
{
    uint8_t *to = column->whole + g * column->width * RECORD_FLOAT + column->index * 4;
    for (size_t k = 0; k < n * GROUP; k++, to += column->width * 4)
        memcpy(to, &x[k], 4);
}

/* The run behind the one at hand: of the next token, as a rule, behind the last of a row. A single
 * token has just been computed, and is in a cache. */
SIMD void fetch_run(const float *x)
{
    for (size_t k = 0; k < RUN_GROUPS * GROUP; k += LANES)
        __builtin_prefetch(x + k);
}

/* x NULL: a column of zeros. */
static void write_column(const struct inputs *in, struct column *column, const float *x)
{
    static const float zeros[RUN_GROUPS * GROUP];
    float normalized[RUN_GROUPS * GROUP];
    struct standard standard = {0, 1};
    if (x && in->norm)
        standard = standard_of(in->norm_kind, x, in->K, in->eps);
    size_t filled = x ? (size_t)in->K / GROUP : 0, groups = groups_of(in->K);
    for (size_t g = 0, n; g < groups; g += n) {
        const float *run = zeros;
        n = MIN((g < filled ? filled : groups) - g, RUN_GROUPS);
        if (x && in->n > 1)
            fetch_run(x + (g + n) * GROUP);
        if (g < filled && in->norm) {
            normalize(in, &standard, x, g, n, normalized);
            run = normalized;
        } else if (g < filled) {
            run = x + g * GROUP;
        }
        if (in->kinds & INPUTS_INT8)
            write_int8(column, g, n, run);
        if (in->kinds & INPUTS_PAIRS)
            write_pairs(column, g, n, run);
        if (in->kinds & INPUTS_FLOAT)
            write_whole(column, g, n, run);
    }
}

void ISA_FN(inputs_write)(const struct inputs *in, int first, int last)
{
    struct partials partials = {.peak = {vi_zero()}};
    for (int t = first; t < last; t++) {
        int b = t / BLOCK_COLUMNS;
        int width = width_of(in->n - b * BLOCK_COLUMNS);
        struct column column = {
            .partials = &partials,
            .int8 = block_of(in, INPUTS_INT8, b, width),
            .pairs = block_of(in, INPUTS_PAIRS, b, width),
            .whole = block_of(in, INPUTS_FLOAT, b, width),
            .index = (size_t)(t % BLOCK_COLUMNS),
            .width = (size_t)width,
        };
        const float *x = NULL;
        if (t < in->n)
            x = in->x + (size_t)(in->row ? in->row[t] : t) * (size_t)in->K;
        write_column(in, &column, x);
    }
}
