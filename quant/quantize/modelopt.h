/* What NVIDIA's ModelOpt writes of how a folder is quantized. Source: its
 * torch/export/convert_hf_config.py, and vLLM's reader of it. */
#pragma once

#include "plan.h"

#define MODELOPT_FILE "hf_quant_config.json"

/* The object of that file, and that of config.json's quantization_config; owned by the caller. */
json_t *modelopt_file(const struct quantize_plan *plan, const struct quantize_params *params);
json_t *modelopt_config(const struct quantize_plan *plan, const struct quantize_params *params);
