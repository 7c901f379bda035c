/* config.json of the families before Llama: what feed-forward parts without a gate are of, and the
 * switches of each. Those that would change results and are not served are refused. */
#include "hparams.h"

#include "arch.h"

#include <math.h>
#include <string.h>

/* By its names in transformers; that of Falcon and MPT has none. */
static int32_t read_activation(struct hparams *h, const json_t *config, struct err *err)
{
    static const char *const keys[] = {"hidden_act", "activation_function", "activation"};
    static const struct {
        const char *name;
        enum activation activation;
    } names[] = {
        {"gelu", ACTIVATION_GELU},           {"gelu_new", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"relu2", ACTIVATION_RELU2},
    };
    char shown[SHOWN_TEXT];
    for (size_t k = 0; k < COUNT_OF(keys); k++) {
        const char *act = json_string_value(json_object_get(config, keys[k]));
        bool is_known = !config_has(config, keys[k]);
        for (size_t i = 0; act && i < COUNT_OF(names); i++)
            if (strcmp(act, names[i].name) == 0) {
                h->activation = (int32_t)names[i].activation;
                is_known = true;
            }
        if (!is_known)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s \"%s\" is not served", keys[k],
                           act ? shown_text((struct str){act, strlen(act)}, shown) : "?");
    }
    return INFLIGHT_OK;
}

/* One that must be on or off if it is there. */
struct must {
    const char *model_type, *key; /* model_type NULL: any */
    bool on;
};

static const struct must musts[] = {
    {"gpt2", "scale_attn_weights", true},
    {"gpt2", "scale_attn_by_inverse_layer_idx", false},
    {"gpt2", "add_cross_attention", false},
    {"gptj", "scale_attn_weights", true},
    {"gpt_neox", "attention_bias", true},
    {"bloom", "apply_residual_connection_post_layernorm", false},
    {"phi", "qk_layernorm", false},
    {"starcoder2", "use_bias", true},
    {"arcee", "attention_bias", false},
    {"arcee", "mlp_bias", false},
    {"nemotron", "attention_bias", false},
    {"nemotron", "mlp_bias", false},
    {NULL, "alibi", false},
    {NULL, "bias", false},
    {NULL, "parallel_attn", true},
    {"mpt", "no_bias", true},
    {"mpt", "logit_scale", false},
};

/* Of MPT's attention, in an object of their own. */
static const struct must attention_musts[] = {
    {NULL, "alibi", true},      {NULL, "qk_ln", false},
    {NULL, "qk_gn", false},     {NULL, "clip_qkv", false},
    {NULL, "prefix_lm", false}, {NULL, "softmax_scale", false},
    {NULL, "rope", false},      {NULL, "attn_uses_sequence_id", false},
};

static int32_t check_musts(const struct must *must, size_t n, const char *type,
                           const json_t *config, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        bool is_of_it = !must[i].model_type || strcmp(must[i].model_type, type) == 0;
        if (is_of_it && config_has(config, must[i].key) &&
            config_is_on(config, must[i].key) != must[i].on)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %s: not served", must[i].key,
                           must[i].on ? "false" : "set");
    }
    return INFLIGHT_OK;
}

/* Of the first Falcons one, whatever num_kv_heads says. RefinedWeb is what the first 40B was
 * called, before there was a key for its kind; RefinedWebModel were those of 7B. */
static int32_t read_falcon(struct hparams *h, const char *type, const json_t *config,
                           struct err *err)
{
    const bool is_new = config_is_on(config, "new_decoder_architecture");
    if (!is_new && strcmp(type, "RefinedWeb") != 0)
        h->K = config_is_on(config, "multi_query") ? 1 : h->H;
    if (h->H % h->K == 0)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_MODEL, "%d query heads do not share %d key/value heads", h->H,
                   h->K);
}

static int32_t read_mpt(struct hparams *h, const json_t *config, struct err *err)
{
    const json_t *attention = json_object_get(config, "attn_config");
    const json_t *ratio = json_object_get(config, "expansion_ratio");
    const json_t *most = json_object_get(attention, "alibi_bias_max");
    const json_t *kind = json_object_get(attention, "attn_type");
    if (!attention || !config_is_on(attention, "alibi"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "attn_config: alibi is not on: not served");
    if (check_musts(attention_musts, COUNT_OF(attention_musts), "mpt", attention, err))
        return err_prefix(err, "attn_config");
    if (kind &&
        strcmp(json_is_string(kind) ? json_string_value(kind) : "", "multihead_attention") != 0)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "attn_config: attn_type is not multihead_attention: not served");
    const double width = ratio ? json_number_value(ratio) * h->D : h->F;
    const double bias = most ? json_number_value(most) : (double)h->alibi_max;
    if (!(width >= 32 && width <= 1 << 20) || width != floor(width))
        return err_set(err, INFLIGHT_E_MODEL,
                       "expansion_ratio times d_model must be an integer in "
                       "32 .. 1048576");
    if (!(bias >= 1 && bias <= 64))
        return err_set(err, INFLIGHT_E_MODEL,
                       "attn_config: alibi_bias_max must be a number in "
                       "1 .. 64");
    h->F = (int32_t)width;
    h->alibi_max = (float)bias;
    return INFLIGHT_OK;
}

int32_t hparams_read_classic(struct hparams *h, const struct arch *arch, const json_t *config,
                             struct err *err)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (read_activation(h, config, err) || check_musts(musts, COUNT_OF(musts), type, config, err))
        return err->code;
    if (config_has(config, "use_parallel_residual"))
        h->parallel = config_is_on(config, "use_parallel_residual");
    if (strcmp(arch->id, "falcon") == 0)
        return read_falcon(h, type, config, err);
    return strcmp(arch->id, "mpt") == 0 ? read_mpt(h, config, err) : INFLIGHT_OK;
}
