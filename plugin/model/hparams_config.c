/* config.json of a Hugging Face folder: which family it is of, and what it says beyond the numbers
 * that every file has. Keys are read as transformers 4 and 5 read them. */
#include "hparams.h"

#include "arch.h"

#include <math.h>
#include <string.h>

static const char *text_of(const json_t *config, const char *key)
{
    return json_string_value(json_object_get(config, key));
}

bool config_has(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return value && !json_is_null(value);
}

bool config_is_on(const json_t *config, const char *key)
{
    return config_has(config, key) && !json_is_false(json_object_get(config, key));
}

const struct arch *hparams_family(const json_t *config, struct err *err)
{
    const char *type = text_of(config, "model_type");
    char shown[SHOWN_TEXT];
    if (!type) {
        (void)err_set(err, INFLIGHT_E_MODEL, "model_type is missing");
        return NULL;
    }
    const struct arch *arch = arch_find_type(type);
    if (!arch)
        (void)err_set(err, INFLIGHT_E_UNSUPPORTED, "model_type \"%s\" is not served",
                      shown_text((struct str){type, strlen(type)}, shown));
    return arch;
}

/* A model that ends in something else than the output head: a classifier, an embedding. */
static int32_t check_class(const json_t *config, struct err *err)
{
    static const char *const ends[] = {"ForCausalLM", "LMHeadModel"}; /* GPT-2's is the second */
    const char *class =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    char shown[SHOWN_TEXT];
    size_t len = class ? strlen(class) : 0;
    bool is_one = !class;
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        is_one |= len >= strlen(ends[i]) && strcmp(class + len - strlen(ends[i]), ends[i]) == 0;
    if (!is_one)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "architectures: %s does not predict the next token: not served",
                       shown_text((struct str){class, len}, shown));
    return INFLIGHT_OK;
}

/* Gemma has a key of its own, and what stands in the other does not count. */
static int32_t check_activation(const struct arch *arch, const json_t *config, struct err *err)
{
    const bool is_gelu = arch->activation == ACTIVATION_GELU_TANH;
    const char *key = is_gelu ? "hidden_activation" : "hidden_act";
    const char *want = is_gelu ? "gelu_pytorch_tanh" : "silu";
    const char *act = text_of(config, key);
    char shown[SHOWN_TEXT];
    if (config_has(config, key) && (!act || strcmp(act, want) != 0))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s \"%s\" is not served, only %s is", key,
                       act ? shown_text((struct str){act, strlen(act)}, shown) : "?", want);
    return INFLIGHT_OK;
}

/* In both may be all that is seen, or what pictures show, of which there are none here. */
static int32_t check_directions(const json_t *config, struct err *err)
{
    static const char key[] = "use_bidirectional_attention";
    const char *what = text_of(config, key);
    char shown[SHOWN_TEXT];
    if (!config_is_on(config, key) || (what && strcmp(what, "vision") == 0))
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %s: not served", key,
                   what ? shown_text((struct str){what, strlen(what)}, shown) : "true");
}

static int32_t refuse_switches(const struct arch *arch, const json_t *config, struct err *err)
{
    if (check_activation(arch, config, err))
        return err->code;
    if (check_directions(config, err))
        return err->code;
    /* Code of a row with biases has them on q, k and v whatever the key says. */
    if (!arch->qkv_bias && !arch->may_have_bias && config_is_on(config, "attention_bias"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "attention_bias is true: not served for %s",
                       arch->id);
    static const char *const others[] = {
        "mlp_bias",     "attention_out_bias",    "use_bias",
        "qk_layernorm", "use_parallel_residual", "clip_qkv",
        "bias",
    };
    if (config_has(config, "qkv_bias") && config_is_on(config, "qkv_bias") != arch->qkv_bias)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "qkv_bias is %s: not served",
                       arch->qkv_bias ? "false" : "set");
    if (!arch->may_have_norm && config_is_on(config, "use_qk_norm"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "use_qk_norm is set: not served");
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (config_is_on(config, others[i]))
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is set: not served", others[i]);
    return INFLIGHT_OK;
}

/* The layers without rotation, 0 in no_rope_layers, must be those of the row. */
static int32_t check_unrotated(const struct hparams *h, const struct arch *arch,
                               const json_t *config, struct err *err)
{
    const json_t *list = json_object_get(config, "no_rope_layers");
    const json_t *every = json_object_get(config, "no_rope_layer_interval");
    if (!arch->nope_every)
        return INFLIGHT_OK;
    if (!config_has(config, "no_rope_layers")) {
        if (config_has(config, "no_rope_layer_interval") &&
            json_integer_value(every) != arch->nope_every)
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "no_rope_layer_interval is not %d: not served", arch->nope_every);
        return INFLIGHT_OK;
    }
    if (json_array_size(list) < (size_t)h->L)
        return err_set(err, INFLIGHT_E_MODEL, "no_rope_layers is not a list of %d numbers", h->L);
    for (int32_t l = 0; l < h->L; l++) {
        const json_t *rotates = json_array_get(list, (size_t)l);
        int64_t want = (l + 1) % arch->nope_every != 0;
        if (!json_is_integer(rotates) || json_integer_value(rotates) != want)
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "no_rope_layers[%d] is not %d: of every %d layers only the last is "
                           "served without rotation",
                           l, (int)want, arch->nope_every);
    }
    return INFLIGHT_OK;
}

/* By name, layer for layer. */
static int32_t read_layer_types(struct hparams *h, const json_t *list, struct err *err)
{
    if (json_array_size(list) != (size_t)h->L)
        return err_set(err, INFLIGHT_E_MODEL, "layer_types is not a list of %d names", h->L);
    for (int32_t l = 0; l < h->L; l++) {
        const char *type = json_string_value(json_array_get(list, (size_t)l));
        h->slides[l] = type && strcmp(type, "sliding_attention") == 0;
        if (!h->slides[l] && (!type || strcmp(type, "full_attention") != 0))
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "layer_types[%d] is neither full_attention nor sliding_attention", l);
    }
    return INFLIGHT_OK;
}

/* Of a family whose layers see one, but for every n-th or those that layer_types says. A pattern
 * may be a word of letters in turn, L of those that see it: EXAONE 4. */
static int32_t read_own_window(struct hparams *h, const struct arch *arch, const json_t *config,
                               struct err *err)
{
    const json_t *width = json_object_get(config, "sliding_window");
    const json_t *pattern = json_object_get(config, "sliding_window_pattern");
    const char *letters = json_string_value(pattern);
    const json_int_t n = letters ? (json_int_t)strlen(letters) : json_integer_value(pattern);
    const json_int_t every = pattern ? n : arch->full_every;
    if (arch->may_slide && !config_has(config, "sliding_window"))
        return INFLIGHT_OK;
    if (!json_is_integer(width) || json_integer_value(width) < 1)
        return err_set(err, INFLIGHT_E_MODEL, "sliding_window must be an integer of 1 and more");
    h->window = (int32_t)MIN(json_integer_value(width), INT32_MAX);
    if (config_has(config, "layer_types"))
        return read_layer_types(h, json_object_get(config, "layer_types"), err);
    if (every < 1)
        return err_set(err, INFLIGHT_E_MODEL,
                       "sliding_window_pattern must be an integer of 1 and more");
    for (int32_t l = 0; l < h->L; l++)
        h->slides[l] = letters ? letters[l % n] == 'L' : (l + 1) % every != 0;
    return INFLIGHT_OK;
}

/* A null is no cap; of a family that has none a number is refused. */
static int32_t read_cap(bool has_cap, const struct arch *arch, const json_t *config,
                        const char *key, float *cap, struct err *err)
{
    const json_t *number = json_object_get(config, key);
    const double value = json_number_value(number);
    if (!config_has(config, key))
        return INFLIGHT_OK;
    if (!has_cap)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is set: not served for %s", key, arch->id);
    if (!json_is_number(number) || !(value >= 1e-3 && value <= 1e6))
        return err_set(err, INFLIGHT_E_MODEL, "%s must be a number in 0.001 .. 1e6", key);
    *cap = (float)value;
    return INFLIGHT_OK;
}

/* A number of that key, or what is missing; what is no number becomes one that hparams_multiply
 * refuses. */
static double factor_of(const json_t *config, const char *key, double missing)
{
    const json_t *value = json_object_get(config, key);
    if (!config_has(config, key))
        return missing;
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int32_t read_multipliers(struct hparams *h, const struct arch *arch, const json_t *config,
                                struct err *err)
{
    struct multipliers m = {.embedding = (double)h->embed_scale, .residual = 1, .logit = 1};
    m.score = (double)h->scale;
    if (arch->multiplied) {
        m.embedding = factor_of(config, "embedding_multiplier", 1);
        m.residual = factor_of(config, "residual_multiplier", 1);
        m.score = factor_of(config, "attention_multiplier", 1);
        m.logit = 1 / factor_of(config, "logits_scaling", 1);
    } else if (arch->logit_scale > 0)
        m.logit = factor_of(config, "logit_scale", arch->logit_scale);
    return hparams_multiply(h, &m, err);
}

static int32_t read_scale(struct hparams *h, const json_t *config, struct err *err)
{
    const json_t *scalar = json_object_get(config, "query_pre_attn_scalar");
    const double value = json_number_value(scalar);
    if (!config_has(config, "query_pre_attn_scalar"))
        return INFLIGHT_OK;
    if (!json_is_number(scalar) || !(value > 1e-6 && value < 1e9))
        return err_set(err, INFLIGHT_E_MODEL, "query_pre_attn_scalar must be a number above 0");
    h->scale = (float)(1 / sqrt(value));
    return INFLIGHT_OK;
}

/* Where some layers see one, they are those named in layer_types or else, of SmolLM3 those without
 * rotation, of Qwen those from max_window_layers on. */
static int32_t read_window(struct hparams *h, const struct arch *arch, const json_t *config,
                           struct err *err)
{
    const json_t *width = json_object_get(config, "sliding_window");
    const json_t *from = json_object_get(config, "max_window_layers");
    const bool is_asked = arch->asks_window && config_is_on(config, "use_sliding_window");
    if ((!arch->slides_all && !arch->may_slide && !is_asked) ||
        !config_has(config, "sliding_window"))
        return INFLIGHT_OK;
    if (!json_is_integer(width) || json_integer_value(width) < 1)
        return err_set(err, INFLIGHT_E_MODEL, "sliding_window must be an integer of 1 and more");
    h->window = (int32_t)MIN(json_integer_value(width), INT32_MAX);
    if (!arch->slides_all && config_has(config, "layer_types"))
        return read_layer_types(h, json_object_get(config, "layer_types"), err);
    if (arch->names_slides)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "use_sliding_window is true without layer_types: not served for %s",
                       arch->id);
    if (!arch->slides_all && !arch->nope_every && !json_is_integer(from))
        return err_set(err, INFLIGHT_E_MODEL,
                       "there is a window without layer_types or max_window_layers");
    for (int32_t l = 0; l < h->L; l++) {
        bool is_asked_here =
            arch->nope_every ? (l + 1) % arch->nope_every == 0 : l >= json_integer_value(from);
        h->slides[l] = arch->slides_all || is_asked_here;
    }
    return INFLIGHT_OK;
}

int32_t hparams_read_config(struct hparams *h, const struct arch *arch, const json_t *config,
                            struct err *err)
{
    h->untied = json_is_false(json_object_get(config, "tie_word_embeddings"));
    h->qk_norm = config_is_on(config, "use_qk_norm");
    if (check_class(config, err) || (!arch->plain && refuse_switches(arch, config, err)) ||
        check_unrotated(h, arch, config, err) || hparams_experts_config(h, arch, config, err) ||
        read_cap(arch->capped, arch, config, "attn_logit_softcapping", &h->score_cap, err) ||
        read_cap(arch->capped || arch->logits_capped, arch, config, "final_logit_softcapping",
                 &h->logit_cap, err) ||
        read_multipliers(h, arch, config, err))
        return err->code;
    if (arch->full_every)
        return read_own_window(h, arch, config, err) || arch->unscaled ? err->code
                                                                       : read_scale(h, config, err);
    return read_window(h, arch, config, err);
}
