/* What files say of experts beyond their number: how scores become shares, and what is refused. */
#include "hparams.h"

#include "arch.h"

#include <math.h>
#include <stdio.h>

/* Whether shares of those that are chosen sum to 1, before a factor. */
static int32_t shares_of(const struct arch *arch, bool is_sum)
{
    if (shares_are_logistic(arch->shares))
        return is_sum ? SHARES_OF_LOGISTIC : SHARES_LOGISTIC;
    return is_sum ? SHARES_OF_CHOSEN : SHARES_OF_ALL;
}

static int32_t set_factor(struct hparams *h, double factor, const char *key, struct err *err)
{
    if (!(factor >= 1e-3 && factor <= 1e3))
        return err_set(err, INFLIGHT_E_MODEL, "%s must be a number in 0.001 .. 1000", key);
    h->share_factor = (float)factor;
    return INFLIGHT_OK;
}

/* ---- A GGUF file */

#define GATING_LOGISTIC 2 /* of expert_gating_func; 1: softmax */

static const char *full_key(const struct hparams *h, const char *key, char out[96])
{
    (void)snprintf(out, 96, "%s.%s", h->arch, key);
    return out;
}

/* Numbers that say nothing if they are 0 or 1. */
static int32_t refuse_others(const struct hparams *h, const struct gguf *g, struct err *err)
{
    static const char *const keys[] = {"expert_group_count", "interleave_moe_layer_step"};
    char key[96];
    int64_t number;
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (gguf_int(g, full_key(h, keys[i], key), &number) && number != 0 && number != 1)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %lld: not served", key,
                           (long long)number);
    return INFLIGHT_OK;
}

int32_t hparams_experts_gguf(struct hparams *h, const struct arch *arch, const struct gguf *g,
                             struct err *err)
{
    const bool is_logistic = shares_are_logistic(arch->shares);
    char key[96];
    int64_t gating;
    double factor;
    bool is_sum;
    if (!arch->experts)
        return INFLIGHT_OK;
    if (gguf_int(g, full_key(h, "expert_gating_func", key), &gating) && gating != 0 &&
        (gating == GATING_LOGISTIC) != is_logistic)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %lld: not served for %s", key,
                       (long long)gating, arch->id);
    if (arch->asks_shares && gguf_bool(g, full_key(h, "expert_weights_norm", key), &is_sum))
        h->shares = shares_of(arch, is_sum);
    if (is_logistic && gguf_float(g, full_key(h, "expert_weights_scale", key), &factor) &&
        factor != 0 && set_factor(h, factor, key, err))
        return err->code;
    return refuse_others(h, g, err);
}

/* ---- A folder */

#define LEAST_SUM 1e-9 /* of shares; of those that are chosen it is far above that */

/* Of gates that are clamped; their slope is EPILOGUE_GLU_CLAMPED's. */
static int32_t read_limit(struct hparams *h, const json_t *config, struct err *err)
{
    const double slope = json_number_value(json_object_get(config, "swiglu_alpha"));
    const double limit = json_number_value(json_object_get(config, "swiglu_limit"));
    if (config_has(config, "swiglu_alpha") && !(fabs(slope - 1.702) < 1e-6))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "swiglu_alpha is not 1.702: not served");
    if (!config_has(config, "swiglu_limit"))
        return INFLIGHT_OK;
    if (!(limit >= 1e-3 && limit <= 1e6))
        return err_set(err, INFLIGHT_E_MODEL, "swiglu_limit must be a number in 0.001 .. 1e6");
    h->glu_limit = (float)limit;
    return INFLIGHT_OK;
}

/* Experts in every other layer, or not in the last ones, or chosen by groups; or, of ERNIE, shares
 * of such small sums that these are not what they are divided by. */
static int32_t refuse_patterns(const struct hparams *h, const json_t *config, struct err *err)
{
    const json_t *end = json_object_get(config, "moe_layer_end_index");
    const json_t *least = json_object_get(config, "moe_norm_min");
    static const char *const ones[] = {"decoder_sparse_step", "moe_layer_interval", "n_group",
                                       "topk_group"};
    for (size_t i = 0; i < COUNT_OF(ones); i++)
        if (config_has(config, ones[i]) &&
            json_integer_value(json_object_get(config, ones[i])) != 1)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is not 1: not served", ones[i]);
    if (config_has(config, "moe_layer_end_index") && json_integer_value(end) != -1 &&
        json_integer_value(end) != h->L - 1)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "moe_layer_end_index is not that of the last layer: not served");
    if (config_has(config, "moe_norm_min") && !(json_number_value(least) <= LEAST_SUM))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "moe_norm_min is more than %g: not served",
                       LEAST_SUM);
    if (json_array_size(json_object_get(config, "mlp_only_layers")) > 0)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "mlp_only_layers is not empty: not served");
    return INFLIGHT_OK;
}

int32_t hparams_experts_config(struct hparams *h, const struct arch *arch, const json_t *config,
                               struct err *err)
{
    const bool is_logistic = shares_are_logistic(arch->shares);
    const json_t *factor = json_object_get(config, "routed_scaling_factor");
    if (!arch->experts)
        return INFLIGHT_OK;
    if (refuse_patterns(h, config, err))
        return err->code;
    if (arch->asks_shares && (!is_logistic || config_has(config, "norm_topk_prob")))
        h->shares = shares_of(arch, config_is_on(config, "norm_topk_prob"));
    if (is_logistic && config_has(config, "routed_scaling_factor") &&
        set_factor(h, json_number_value(factor), "routed_scaling_factor", err))
        return err->code;
    return arch->glu_limit > 0 ? read_limit(h, config, err) : INFLIGHT_OK;
}
