#include "modelopt.h"

/* Readers know the conventions by this name, and some by the version. */
static json_t *producer(void)
{
    return json_pack("{s:s, s:s}", "name", "modelopt", "version", "0.29.0");
}

json_t *modelopt_file(const struct quantize_plan *plan, const struct quantize_params *params)
{
    const struct recipe *recipe = params->recipe;
    return json_pack("{s:o, s:{s:s, s:o, s:o}}", "producer", producer(), "quantization",
                     "quant_algo", recipe->quant_algo, "kv_cache_quant_algo",
                     recipe->is_static ? json_string("FP8") : json_null(), "exclude_modules",
                     quantize_ignored(plan));
}

static json_t *numbers(void)
{
    return json_pack("{s:b, s:i, s:s}", "dynamic", 0, "num_bits", 8, "type", "float");
}

json_t *modelopt_config(const struct quantize_plan *plan, const struct quantize_params *params)
{
    json_t *root = json_pack("{s:s, s:s, s:o, s:o}", "quant_method", "modelopt", "quant_algo",
                             params->recipe->quant_algo, "ignore", quantize_ignored(plan),
                             "producer", producer());
    if (!root || !params->recipe->is_static)
        return root;
    (void)json_object_set_new(root, "kv_cache_scheme", numbers());
    (void)json_object_set_new(root, "config_groups",
                              json_pack("{s:{s:o, s:o, s:[s]}}", "group_0", "input_activations",
                                        numbers(), "weights", numbers(), "targets", "Linear"));
    return root;
}
