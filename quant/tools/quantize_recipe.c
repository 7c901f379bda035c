#include "quantize_recipe.h"

#include <string.h>

const struct recipe recipes[] = {
    {"fp8", FMT_fp8, "float-quantized",
     "E4M3, a scale a row; activations a scale a token (FP8_DYNAMIC)"},
    {"fp8-block", FMT_fp8_128, "float-quantized", "E4M3, a scale for 128 x 128 values"},
    {"int8", FMT_int8, "int-quantized", "int8, a scale a row; activations a scale a token (W8A8)"},
    {"int4", FMT_int4_128, "pack-quantized", "int4, a scale and a zero point a group (W4A16)"},
    {NULL, FMT_COUNT, NULL, NULL},
};

const struct recipe *recipe_find(const char *name)
{
    for (const struct recipe *r = recipes; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

static const char *const method_names[] = {
    [METHOD_RTN] = "rtn", [METHOD_AWQ] = "awq", [METHOD_GPTQ] = "gptq"};

const char *method_name(int32_t method)
{
    return method_names[method];
}

int32_t method_find(const char *name)
{
    int32_t method = 0;
    while (method < METHODS && strcmp(method_names[method], name) != 0)
        method++;
    return method;
}

enum fmt recipe_fmt(enum fmt fmt, int64_t K)
{
    static const enum fmt smaller[] = {FMT_int4_128, FMT_int4_64, FMT_int4_32};
    if (fmt == FMT_fp8 || fmt == FMT_int8)
        return fmt;
    if (fmt == FMT_fp8_128)
        return K % ENCODE_BLOCK ? FMT_COUNT : fmt;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (fmt_info[smaller[i]].n <= fmt_info[fmt].n && K % fmt_info[smaller[i]].n == 0)
            return smaller[i];
    return FMT_COUNT;
}

json_t *recipe_scheme(enum fmt fmt, bool is_symmetric)
{
    if (fmt == FMT_fp8)
        return json_pack("{s:{s:i, s:s, s:b, s:s, s:b}, s:{s:i, s:s, s:b, s:s, s:b}}", "weights",
                         "num_bits", 8, "type", "float", "symmetric", 1, "strategy", "channel",
                         "dynamic", 0, "input_activations", "num_bits", 8, "type", "float",
                         "symmetric", 1, "strategy", "token", "dynamic", 1);
    if (fmt == FMT_fp8_128)
        return json_pack("{s:{s:i, s:s, s:b, s:s, s:[i,i], s:b}, s:{s:i, s:s, s:b, s:s, s:i, s:b}}",
                         "weights", "num_bits", 8, "type", "float", "symmetric", 1, "strategy",
                         "block", "block_structure", ENCODE_BLOCK, ENCODE_BLOCK, "dynamic", 0,
                         "input_activations", "num_bits", 8, "type", "float", "symmetric", 1,
                         "strategy", "group", "group_size", ENCODE_BLOCK, "dynamic", 1);
    if (fmt == FMT_int8)
        return json_pack("{s:{s:i, s:s, s:b, s:s, s:b}, s:{s:i, s:s, s:b, s:s, s:b}}", "weights",
                         "num_bits", 8, "type", "int", "symmetric", 1, "strategy", "channel",
                         "dynamic", 0, "input_activations", "num_bits", 8, "type", "int",
                         "symmetric", 1, "strategy", "token", "dynamic", 1);
    return json_pack("{s:{s:i, s:s, s:b, s:s, s:i, s:b}}", "weights", "num_bits", 4, "type", "int",
                     "symmetric", (int)is_symmetric, "strategy", "group", "group_size",
                     (int)fmt_info[fmt].n, "dynamic", 0);
}
