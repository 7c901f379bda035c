#include "rope.h"

#include "../../kernels/ops.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* The pair index whose wave turns `turns` times over the original context. */
static double yarn_index(const struct rotation *r, int32_t dim, double turns)
{
    return dim * log(r->original / (turns * 2 * pi)) / (2 * log(r->base));
}

/* YaRN: fast waves keep their frequency, slow ones are stretched, a ramp between. */
static double yarn_frequency(const struct rotation *r, int32_t dim, int32_t i, double freq)
{
    double low = yarn_index(r, dim, r->fast), high = yarn_index(r, dim, r->slow);
    low = fmax(r->fractions ? low : floor(low), 0);
    high = fmin(r->fractions ? high : ceil(high), dim - 1);
    double ramp = fmin(fmax((i - low) / fmax(high - low, 0.001), 0), 1);
    return freq / r->factor * ramp + freq * (1 - ramp);
}

/* Rounded once, as the tensor of a GGUF file is. */
static float llama3_factor(const struct rotation *r, double freq)
{
    double turns = r->original * freq / (2 * pi);
    double kept = fmin(fmax((turns - r->slow) / (r->fast - r->slow), 0), 1);
    return (float)(1 / ((1 - kept) / r->factor + kept));
}

static double long_attention(const struct rotation *r)
{
    return r->factor > 1 && r->original > 1 ? sqrt(1 + log(r->factor) / log(r->original)) : 1;
}

static bool in_range(const struct rotation *r)
{
    bool is_ramp = r->scaling != SCALING_LLAMA3 || r->fast > r->slow;
    bool is_scale = r->attention == 0 || (r->attention > 1e-3 && r->attention < 1e3);
    return r->base > 1 && r->base < 1e15 && r->factor >= 1 && r->factor < 1e6 && r->original >= 1 &&
           r->original < 1e9 && r->slow > 0 && r->fast >= r->slow && r->fast < 1e6 && is_ramp &&
           is_scale && (r->scaling != SCALING_PART || (r->part > 0 && r->part <= 1));
}

int32_t rope_set(struct hparams *h, const struct rotation *r, struct err *err)
{
    if (!in_range(r))
        return err_set(err, INFLIGHT_E_MODEL,
                       "rotary base, factor, original context or turns of %s out of range",
                       h->arch);
    for (int32_t i = 0; i < h->rotary_dim / 2; i++) {
        double freq = pow(r->base, -2.0 * i / h->rotary_dim);
        h->freq[i] = (float)freq;
        if (r->scaling == SCALING_LINEAR)
            h->freq[i] = (float)(freq / r->factor);
        else if (r->scaling == SCALING_YARN)
            h->freq[i] = (float)yarn_frequency(r, h->rotary_dim, i, freq);
        else if (r->scaling == SCALING_LLAMA3)
            h->freq[i] /= llama3_factor(r, freq);
        else if (r->scaling == SCALING_PART)
            h->freq[i] = i < floor(r->part * h->rotary_dim / 2) ? (float)(freq / r->factor) : 0;
    }
    h->rotary_scale = 1;
    if (r->scaling == SCALING_YARN)
        h->rotary_scale = (float)(r->attention > 0 ? r->attention : 1 + 0.1 * log(r->factor));
    if (r->scaling == SCALING_LONG)
        h->rotary_scale = (float)(r->attention > 0 ? r->attention : long_attention(r));
    return INFLIGHT_OK;
}

int32_t rope_set_growth(struct hparams *h, double growth, double original, struct err *err)
{
    if (growth == 0)
        return INFLIGHT_OK;
    if (!(growth > 0 && growth <= 10) || !(original >= 1 && original < 1e9))
        return err_set(err, INFLIGHT_E_MODEL,
                       "growth of queries, or the context it begins at, of %s out of range",
                       h->arch);
    h->growth = (float)growth;
    h->growth_from = (int32_t)original;
    return INFLIGHT_OK;
}

int32_t rope_set_near(struct hparams *h, double base, struct err *err)
{
    if (!(base > 1 && base < 1e15))
        return err_set(err, INFLIGHT_E_MODEL, "rotary base of layers with a window out of range");
    const int32_t turned = hparams_near_turned(h);
    for (int32_t i = 0; i < turned / 2; i++)
        h->near_freq[i] = (float)pow(base, -2.0 * i / turned);
    return INFLIGHT_OK;
}

/* The mean of e^(i freq p) over n positions p from 0 on: e^(i a (n - 1)) sin(a n) / (n sin(a)),
 * a = freq / 2. */
static void mean_turn(double freq, double n, double *cosine, double *sine)
{
    const double a = freq / 2, below = n * sin(a), size = below == 0 ? 1 : sin(a * n) / below;
    *cosine = size * cos(a * (n - 1));
    *sine = size * sin(a * (n - 1));
}

void rope_mean(const struct hparams *h, float *x)
{
    const int32_t half = h->rotary_dim / 2;
    const int32_t step = h->rope == ROPE_HALF ? 1 : 2, pair = h->rope == ROPE_HALF ? half : 1;
    for (int32_t head = 0; head < h->K; head++, x += h->dim)
        for (int32_t i = 0; i < half; i++) {
            float *u = x + i * step, *v = u + pair;
            const double a = (double)*u * (double)h->rotary_scale;
            const double b = (double)*v * (double)h->rotary_scale;
            double cosine, sine;
            mean_turn((double)h->freq[i], h->context, &cosine, &sine);
            *u = (float)(a * cosine - b * sine);
            *v = (float)(a * sine + b * cosine);
        }
}

void rope_apply_factors(struct hparams *h, const float *factor)
{
    for (int32_t i = 0; i < h->rotary_dim / 2; i++)
        h->freq[i] /= factor[i];
}

void rope_choose(struct hparams *h, int32_t context)
{
    for (int32_t i = 0; i < h->rotary_dim / 2 && h->has_stretch; i++)
        h->freq[i] /= h->stretch[context > h->original][i];
    h->has_stretch = false;
}
