/* Normalizes tokens and writes them as columns: see quantize.h. */
#include "quantize.h"

#include <math.h>

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

/* 1 / sqrt(mean of squares + eps); the sum in 16 partial sums. */
static float rms_factor(const float *x, int32_t K, float eps)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES) {
        vf v = vf_load(x + k);
        sum = vf_fma(v, v, sum);
    }
    return 1.0f / sqrtf(vf_sum(sum) / (float)K + eps);
}

static float mean_of(const float *x, int32_t K)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES)
        sum = vf_add(sum, vf_load(x + k));
    return vf_sum(sum) / (float)K;
}

/* 1 / sqrt(variance + eps), of differences: squares of a large mean would hide it. */
static float layer_factor(const float *x, int32_t K, float mean, float eps)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES) {
        vf v = vf_sub(vf_load(x + k), vf_set1(mean));
        sum = vf_fma(v, v, sum);
    }
    return 1.0f / sqrtf(vf_sum(sum) / (float)K + eps);
}

/* What becomes of each value of a token but its weight and bias: (x - mean) * factor. */
struct standard {
    float mean, factor;
};

static struct standard standard_of(const struct inputs *in, const float *x)
{
    if (!in->norm)
        return (struct standard){0, 1};
    if (in->norm_kind == NORM_RMS)
        return (struct standard){0, rms_factor(x, in->K, in->eps)};
    float mean = mean_of(x, in->K);
    return (struct standard){mean, layer_factor(x, in->K, mean, in->eps)};
}

/* LANES values from k on. */
static vf normalize(const struct inputs *in, const struct standard *s, size_t k, vf x)
{
    vf weight = vf_load(in->norm + k), factor = vf_set1(s->factor);
    if (in->norm_kind == NORM_RMS)
        return vf_mul(vf_mul(x, factor), weight);
    x = vf_mul(vf_mul(vf_sub(x, vf_set1(s->mean)), factor), weight);
    return in->norm_bias ? vf_add(x, vf_load(in->norm_bias + k)) : x;
}

/* One column being written. */
struct column {
    uint8_t *int8, *pairs, *whole; /* its block's records of each kind, if wanted */
    size_t index, width;           /* its place in the block */
};

/* Scales the largest magnitude to 127 and rounds to nearest. NaN becomes -127 times a
 * scale that the finite values of the group set. */
static void write_int8(const struct column *column, size_t g, vf a, vf b)
{
    const vf least = vf_set1(-127.0f), most = vf_set1(127.0f);
    float peak = vf_largest(vf_max(vf_abs(a), vf_abs(b)));
    float scale = peak > 1e-30f ? peak / 127.0f : 0.0f;
    vf inverse = vf_set1(peak > 1e-30f ? 127.0f / peak : 0.0f);
    vi p = vi_round(vf_min(vf_max(vf_mul(a, inverse), least), most));
    vi q = vi_round(vf_min(vf_max(vf_mul(b, inverse), least), most));
    int32_t low = vi_sum(p), high = vi_sum(q), sum = low + high;
    uint8_t *record = column->int8 + g * column->width * RECORD_INT8;
    int8_t *out = (int8_t *)record + column->index * GROUP;
    struct column_numbers *number =
        (struct column_numbers *)(void *)(record + column->width * GROUP);
    vi_store_s8(out, p);
    vi_store_s8(out + LANES, q);
    number[column->index] = (struct column_numbers){
        .scale = scale,
        .scaled_sum = scale * (float)sum,
        .bias_s4 = -8 * sum,
        .bias_s8 = -128 * sum,
        .bias_s6_low = -32 * low,
        .bias_s6_high = -32 * high,
    };
}

static void write_pairs(const struct column *column, size_t g, vf a, vf b)
{
    uint16_t x[GROUP];
    vf_store_bf16(x, a);
    vf_store_bf16(x + LANES, b);
    uint8_t *to = column->pairs + g * column->width * RECORD_PAIRS + column->index * 4;
    for (int k = 0; k < GROUP; k += 2, to += column->width * 4)
        memcpy(to, &x[k], 4);
}

static void write_whole(const struct column *column, size_t g, vf a, vf b)
{
    float x[GROUP];
    vf_store(x, a);
    vf_store(x + LANES, b);
    uint8_t *to = column->whole + g * column->width * RECORD_FLOAT + column->index * 4;
    for (int k = 0; k < GROUP; k++, to += column->width * 4)
        memcpy(to, &x[k], 4);
}

/* x NULL: a column of zeros. */
static void write_column(const struct inputs *in, const struct column *column, const float *x)
{
    struct standard standard = x ? standard_of(in, x) : (struct standard){0, 1};
    size_t filled = x ? (size_t)in->K / GROUP : 0, groups = groups_of(in->K);
    for (size_t g = 0; g < groups; g++) {
        vf a = vf_zero(), b = a;
        if (g < filled) {
            a = vf_load(x + g * GROUP);
            b = vf_load(x + g * GROUP + LANES);
        }
        if (g < filled && in->norm) {
            a = normalize(in, &standard, g * GROUP, a);
            b = normalize(in, &standard, g * GROUP + LANES, b);
        }
        if (in->kinds & INPUTS_INT8)
            write_int8(column, g, a, b);
        if (in->kinds & INPUTS_PAIRS)
            write_pairs(column, g, a, b);
        if (in->kinds & INPUTS_FLOAT)
            write_whole(column, g, a, b);
    }
}

void ISA_FN(inputs_write)(const struct inputs *in, int first, int last)
{
    for (int t = first; t < last; t++) {
        int b = t / BLOCK_COLUMNS;
        int width = width_of(in->n - b * BLOCK_COLUMNS);
        struct column column = {
            block_of(in, INPUTS_INT8, b, width), block_of(in, INPUTS_PAIRS, b, width),
            block_of(in, INPUTS_FLOAT, b, width), (size_t)(t % BLOCK_COLUMNS), (size_t)width};
        const float *x = NULL;
        if (t < in->n)
            x = in->x + (size_t)(in->row ? in->row[t] : t) * (size_t)in->K;
        write_column(in, &column, x);
    }
}
