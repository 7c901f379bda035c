#include "rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a file says about rotation. */
struct scaling {
    double base;       /* theta */
    double factor;     /* how much the context was stretched, >= 1 */
    double original;   /* context before that */
    double fast, slow; /* YaRN: turns over that context; more: kept, fewer: stretched */
    bool linear, yarn;
};

static double read_number(const struct hparams *h, const struct gguf *g, const char *name,
                          double missing)
{
    char key[96];
    double value;
    (void)snprintf(key, sizeof key, "%s.%s", h->arch, name);
    return gguf_float(g, key, &value) ? value : missing;
}

static bool same(struct str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

/* Keys that change the result, of kinds that no row needs: refused rather than ignored. */
static int32_t refuse_others(const struct hparams *h, const struct gguf *g, struct err *err)
{
    static const char *const names[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                                        "rope.scaling.yarn_ext_factor"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!(read_number(h, g, names[i], 1) == 1))
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s.%s is not 1: not served", h->arch,
                           names[i]);
    return INFLIGHT_OK;
}

/* A factor without a type is a linear one, and 0 is none: both are of the oldest files. */
static int32_t read_scaling(struct scaling *s, const struct hparams *h, const struct gguf *g,
                            struct err *err)
{
    char key[96];
    struct str type = {"linear", 6};
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", h->arch);
    (void)gguf_str(g, key, &type);
    s->base = read_number(h, g, "rope.freq_base", 10000);
    s->factor = read_number(h, g, "rope.scaling.factor", read_number(h, g, "rope.scale_linear", 1));
    s->factor = s->factor == 0 ? 1 : s->factor;
    s->fast = read_number(h, g, "rope.scaling.yarn_beta_fast", 32);
    s->slow = read_number(h, g, "rope.scaling.yarn_beta_slow", 1);
    s->original = read_number(h, g, "rope.scaling.original_context_length", h->context);
    s->linear = same(type, "linear");
    s->yarn = same(type, "yarn");
    if (!s->linear && !s->yarn && !same(type, "none"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s \"%.*s\" is not served", key,
                       (int)MIN(type.len, 40u), type.ptr);
    if (!(s->base > 1) || !(s->base < 1e15) || !(s->factor >= 1) || !(s->factor < 1e6) ||
        !(s->original >= 1) || !(s->slow > 0) || !(s->fast >= s->slow) || !(s->fast < 1e6))
        return err_set(err, INFLIGHT_E_MODEL,
                       "rotary base, factor, original context or turns of %s out of range",
                       h->arch);
    return refuse_others(h, g, err);
}

/* The pair index whose wave turns `turns` times over the original context. */
static double yarn_index(const struct scaling *s, int32_t dim, double turns)
{
    const double pi = 3.14159265358979323846;
    return dim * log(s->original / (turns * 2 * pi)) / (2 * log(s->base));
}

/* YaRN: fast waves keep their frequency, slow ones are stretched, a ramp between. */
static double yarn_frequency(const struct scaling *s, int32_t dim, int32_t i, double freq)
{
    double low = fmax(floor(yarn_index(s, dim, s->fast)), 0);
    double high = fmin(ceil(yarn_index(s, dim, s->slow)), dim - 1);
    double ramp = fmin(fmax((i - low) / fmax(high - low, 0.001), 0), 1);
    return freq / s->factor * ramp + freq * (1 - ramp);
}

int32_t rope_read(struct hparams *h, const struct gguf *g, struct err *err)
{
    struct scaling s;
    if (read_scaling(&s, h, g, err))
        return err->code;
    for (int32_t i = 0; i < h->dim / 2; i++) {
        double freq = pow(s.base, -2.0 * i / h->dim);
        if (s.linear)
            freq /= s.factor;
        else if (s.yarn)
            freq = yarn_frequency(&s, h->dim, i, freq);
        h->freq[i] = (float)freq;
    }
    h->rotary_scale = s.yarn ? (float)(1 + 0.1 * log(s.factor)) : 1;
    return INFLIGHT_OK;
}

int32_t rope_apply_factors(struct hparams *h, const float *factor, struct err *err)
{
    for (int32_t i = 0; i < h->dim / 2; i++) {
        if (!(factor[i] > 0) || !isfinite(factor[i]))
            return err_set(err, INFLIGHT_E_MODEL, "rope_freqs.weight[%d] is not a positive number",
                           i);
        h->freq[i] /= factor[i];
    }
    return INFLIGHT_OK;
}
