/* Rotation in config.json: rope_theta and rope_scaling up to transformers 4, where the kind is
 * "type" or "rope_type", and rope_parameters with all of it since 5. */
#include "rope.h"

#include "arch.h"

#include <math.h>
#include <string.h>

static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* The scaling's own number, or one of the model that stands for it, or missing. What is no number
 * becomes one that rope_set refuses. */
static double number(const json_t *scaling, const json_t *config, const char *key, double missing)
{
    const json_t *value = get(scaling, key);
    value = value ? value : get(config, key);
    if (!value)
        return missing;
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int32_t read_kind(struct rotation *r, const json_t *scaling, struct err *err)
{
    static const struct {
        const char *name;
        enum scaling scaling;
    } kinds[] = {
        {"default", SCALING_NONE},
        {"mrope", SCALING_NONE}, /* of text alone its three positions are one */
        {"linear", SCALING_LINEAR},
        {"yarn", SCALING_YARN},
        {"llama3", SCALING_LLAMA3},
        {"proportional", SCALING_PART},
        {"longrope", SCALING_LONG},
        {"su", SCALING_LONG},
        /* Beyond the trained positions alone, and no sequence gets there. */
        {"dynamic", SCALING_NONE},
    };
    const json_t *kind = get(scaling, "rope_type");
    kind = kind ? kind : get(scaling, "type");
    const char *name = kind ? json_string_value(kind) : "default";
    char shown[SHOWN_TEXT];
    for (size_t i = 0; name && i < COUNT_OF(kinds); i++)
        if (strcmp(name, kinds[i].name) == 0) {
            r->scaling = kinds[i].scaling;
            return INFLIGHT_OK;
        }
    return err_set(err, INFLIGHT_E_UNSUPPORTED, "rope_type \"%s\" is not served",
                   name ? shown_text((struct str){name, strlen(name)}, shown) : "?");
}

/* A table for each kind of layer. */
static int32_t refuse_others(const json_t *scaling, struct err *err)
{
    const char *key;
    json_t *value;
    char shown[SHOWN_TEXT];
    json_object_foreach((json_t *)(uintptr_t)scaling, key, value)
    {
        if (json_is_object(value))
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "rope_parameters: one rotation for %s is not served",
                           shown_text((struct str){key, strlen(key)}, shown));
    }
    return INFLIGHT_OK;
}

/* Columns that turn, a part of each head. */
static int32_t read_part(struct hparams *h, const struct arch *arch, const json_t *scaling,
                         const json_t *config, struct err *err)
{
    const bool is_classic = arch->part_turns && arch->names;
    const double missing = arch->part > 0 ? arch->part : is_classic ? (double)NAN : 1;
    double part = number(scaling, config, "partial_rotary_factor", missing);
    if (is_classic && get(config, "rotary_pct"))
        part = number(NULL, config, "rotary_pct", 1);
    double columns = floor(part * h->dim);
    if (is_classic && json_object_get(config, "rotary_dim"))
        columns = number(NULL, config, "rotary_dim", h->dim);
    if (columns == h->dim)
        return INFLIGHT_OK;
    if (!arch->part_turns)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "partial_rotary_factor is not 1: not served for %s", arch->id);
    if (!(columns >= 2 && columns <= h->dim) || (int32_t)columns % 2)
        return err_set(err, INFLIGHT_E_MODEL,
                       "partial_rotary_factor: of %d columns an even number must turn", h->dim);
    h->rotary_dim = (int32_t)columns;
    return INFLIGHT_OK;
}

static double grown(double factor, double scale)
{
    return factor > 1 ? 1 + 0.1 * scale * log(factor) : 1;
}

/* What YaRN multiplies cos and sin by: given, or from two scales, or 0 for what the factor says. */
static double read_attention(const struct rotation *r, const json_t *scaling)
{
    double scale = number(scaling, NULL, "mscale", 0);
    double all = number(scaling, NULL, "mscale_all_dim", 0);
    double from_scales =
        scale != 0 && all != 0 ? grown(r->factor, scale) / grown(r->factor, all) : 0;
    return number(scaling, NULL, "attention_factor", from_scales);
}

/* A positive number for each frequency. */
static int32_t read_stretch(const struct hparams *h, const json_t *scaling, const char *key,
                            float stretch[FREQ_MAX], struct err *err)
{
    const json_t *list = get(scaling, key);
    if (json_array_size(list) != (size_t)h->rotary_dim / 2)
        return err_set(err, INFLIGHT_E_MODEL, "%s is not a list of %d numbers", key,
                       h->rotary_dim / 2);
    for (int32_t i = 0; i < h->rotary_dim / 2; i++) {
        const double value = json_number_value(json_array_get(list, (size_t)i));
        if (!(value >= 1e-3 && value <= 1e6))
            return err_set(err, INFLIGHT_E_MODEL, "%s[%d] must be a number in 0.001 .. 1e6", key,
                           i);
        stretch[i] = (float)value;
    }
    return INFLIGHT_OK;
}

static int32_t read_long(struct hparams *h, struct rotation *r, const json_t *scaling,
                         struct err *err)
{
    r->factor = fmax(number(scaling, NULL, "factor", h->context / r->original), 1);
    r->attention = number(scaling, NULL, "attention_factor", 0);
    if (!(r->original >= 1 && r->original < 1e9))
        return err_set(err, INFLIGHT_E_MODEL,
                       "original_max_position_embeddings must be a number in 1 .. 1e9");
    h->original = (int32_t)r->original;
    h->has_stretch = true;
    return read_stretch(h, scaling, "short_factor", h->stretch[0], err)
               ? err->code
               : read_stretch(h, scaling, "long_factor", h->stretch[1], err);
}

/* Of layers that slide: an object of its own since transformers 5, the base alone before. base:
 * what it is where nothing is said. */
static int32_t read_near(struct hparams *h, double base, const json_t *config, const json_t *near,
                         struct err *err)
{
    struct rotation r;
    if (near && (refuse_others(near, err) || read_kind(&r, near, err)))
        return err->code;
    if (near && r.scaling != SCALING_NONE)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "rope_parameters: sliding_attention has a scaling: not served");
    base = number(near, NULL, "rope_theta", base);
    return rope_set_near(h, near ? base : number(config, NULL, "rope_local_base_freq", base), err);
}

int32_t rope_read_config(struct hparams *h, const struct arch *arch, const json_t *config,
                         struct err *err)
{
    const json_t *scaling = get(config, "rope_parameters");
    scaling = scaling ? scaling : get(config, "rope_scaling");
    const json_t *near = NULL;
    if (h->turns_twice) {
        const json_t *full = get(scaling, "full_attention");
        near = get(scaling, "sliding_attention");
        scaling = near || full ? full : scaling;
    }
    double theta = arch->theta > 0 ? arch->theta : 10000;
    struct rotation r = {.factor = 1, .slow = 1, .fast = 32};
    if (scaling && !json_is_object(scaling))
        return err_set(err, INFLIGHT_E_MODEL, "rope_scaling is not an object");
    if (refuse_others(scaling, err) || read_kind(&r, scaling, err))
        return err->code;
    if (!scaling && arch->waves > 0)
        r.scaling = SCALING_PART;
    if (r.scaling == SCALING_PART)
        r.part = scaling ? number(scaling, NULL, "partial_rotary_factor", 1) : arch->waves;
    else if (read_part(h, arch, scaling, config, err))
        return err->code;
    r.base = number(scaling, config, "rope_theta", number(NULL, config, "rotary_emb_base", theta));
    r.original = number(scaling, config, "original_max_position_embeddings", h->context);
    if (r.scaling == SCALING_LONG && read_long(h, &r, scaling, err))
        return err->code;
    if (r.scaling != SCALING_NONE && r.scaling != SCALING_LONG)
        r.factor = number(scaling, NULL, "factor", r.scaling == SCALING_PART ? 1 : (double)NAN);
    if (r.scaling == SCALING_LLAMA3) {
        r.slow = number(scaling, NULL, "low_freq_factor", (double)NAN);
        r.fast = number(scaling, NULL, "high_freq_factor", (double)NAN);
    } else if (r.scaling == SCALING_YARN) {
        r.slow = number(scaling, NULL, "beta_slow", 1);
        r.fast = number(scaling, NULL, "beta_fast", 32);
        r.fractions = json_is_false(get(scaling, "truncate"));
        r.attention = read_attention(&r, scaling);
    }
    if (rope_set_growth(h, number(scaling, NULL, "llama_4_scaling_beta", 0), r.original, err))
        return err->code;
    const double near_base = arch->near_theta > 0 ? arch->near_theta : r.base;
    if (h->turns_twice && read_near(h, near_base, config, near, err))
        return err->code;
    return rope_set(h, &r, err);
}
