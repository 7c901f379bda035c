/* Rotation in the keys of GGUF files, whose names have changed over the years. */
#include "rope.h"

#include "arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

/* Keys that change the result, of kinds that no row needs: refused rather than ignored. What YaRN
 * multiplies by anyway may be said: files of OLMo 3. */
static int32_t refuse_others(const struct hparams *h, const struct rotation *r,
                             const struct gguf *g, struct err *err)
{
    static const char *const names[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                                        "rope.scaling.yarn_ext_factor"};
    const double own = r->scaling == SCALING_YARN ? 1 + 0.1 * log(r->factor) : 1;
    for (size_t i = r->scaling == SCALING_LONG ? 1 : 0; i < COUNT_OF(names); i++) {
        const double value = read_number(h, g, names[i], 1);
        const bool is_own = i == 1 && fabs(value - own) < 1e-4;
        if (!(value == 1) && !is_own)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s.%s is not 1: not served", h->arch,
                           names[i]);
    }
    return INFLIGHT_OK;
}

/* A factor without a type is a linear one, and 0 is none: both are of the oldest files. That of Phi
 * is LongRoPE, whose type files need not say: its factors are tensors, which model.c reads. */
int32_t rope_read_gguf(struct hparams *h, const struct arch *arch, const struct gguf *g,
                       struct err *err)
{
    char key[96];
    struct str type = {"linear", 6};
    struct rotation r = {.base = read_number(h, g, "rope.freq_base", 10000)};
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", h->arch);
    (void)gguf_str(g, key, &type);
    r.factor = read_number(h, g, "rope.scaling.factor", read_number(h, g, "rope.scale_linear", 1));
    r.factor = r.factor == 0 ? 1 : r.factor;
    r.fast = read_number(h, g, "rope.scaling.yarn_beta_fast", 32);
    r.slow = read_number(h, g, "rope.scaling.yarn_beta_slow", 1);
    r.fractions = arch->ramp_fractions;
    r.original = read_number(h, g, "rope.scaling.original_context_length", h->context);
    h->original = (int32_t)fmin(fmax(r.original, 1), 1e9);
    const bool is_phis = arch->part_turns && r.factor == 1 && same(type, "linear");
    h->has_stretch = arch->part_turns && same(type, "longrope");
    if (h->has_stretch || is_phis)
        r.scaling = SCALING_LONG;
    else if (same(type, "linear"))
        r.scaling = SCALING_LINEAR;
    else if (same(type, "yarn"))
        r.scaling = SCALING_YARN;
    else if (!same(type, "none"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s \"%.*s\" is not served", key,
                       (int)MIN(type.len, 40u), type.ptr);
    if (r.scaling == SCALING_LONG)
        r.attention = read_number(h, g, "rope.scaling.attn_factor", 1);
    /* What cos and sin are multiplied by is divided by as much, by this much of the logarithm. */
    const double all = read_number(h, g, "rope.scaling.yarn_log_multiplier", 0);
    if (r.scaling == SCALING_YARN && all != 0 && r.factor > 0)
        r.attention = (1 + 0.1 * log(r.factor)) / (1 + 0.1 * all * log(r.factor));
    const double growth = read_number(h, g, "attention.temperature_scale", 0);
    if (rope_set_growth(h, growth, r.original, err))
        return err->code;
    if (rope_set(h, &r, err) || refuse_others(h, &r, g, err))
        return err->code;
    const double near =
        read_number(h, g, "rope.freq_base_swa", arch->near_theta > 0 ? arch->near_theta : r.base);
    return h->turns_twice ? rope_set_near(h, near, err) : INFLIGHT_OK;
}
