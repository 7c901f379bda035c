#include "recipe.h"

#include <string.h>

#define RTN    (1u << METHOD_RTN)
#define AWQ    (1u << METHOD_AWQ)
#define GPTQ   (1u << METHOD_GPTQ)
#define SMOOTH (1u << METHOD_SMOOTH)

const struct recipe recipes[] = {
    {.name = "fp8",
     .fmt = FMT_fp8,
     .methods = RTN | GPTQ,
     .format = "float-quantized",
     .quant_algo = "FP8_PER_CHANNEL_PER_TOKEN",
     .what = "E4M3, a scale a row; activations a scale a token (FP8_DYNAMIC)"},
    {.name = "fp8-block",
     .fmt = FMT_fp8_128,
     .methods = RTN | GPTQ,
     .format = "float-quantized",
     .what = "E4M3, a scale for 128 x 128 values"},
    {.name = "fp8-static",
     .fmt = FMT_fp8,
     .is_static = true,
     .methods = RTN,
     .format = "float-quantized",
     .quant_algo = "FP8",
     .what = "E4M3, a scale a matrix; activations, keys and values too, from a text"},
    {.name = "int8",
     .fmt = FMT_int8,
     .methods = RTN | GPTQ | SMOOTH,
     .format = "int-quantized",
     .what = "int8, a scale a row; activations a scale a token (W8A8)"},
    {.name = "int8-group",
     .fmt = FMT_q8_0,
     .methods = RTN | GPTQ,
     .format = "pack-quantized",
     .what = "int8, a scale for 32 values (W8A16)"},
    {.name = "int4",
     .fmt = FMT_int4_128,
     .methods = RTN | AWQ | GPTQ,
     .format = "pack-quantized",
     .what = "int4, a scale and a zero point a group (W4A16)"},
    {.name = NULL},
};

const struct recipe *recipe_find(const char *name)
{
    for (const struct recipe *r = recipes; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

static const char *const method_names[] = {
    [METHOD_RTN] = "rtn", [METHOD_AWQ] = "awq", [METHOD_GPTQ] = "gptq", [METHOD_SMOOTH] = "smooth"};

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
    if (fmt == FMT_fp8_128 || fmt == FMT_q8_0)
        return K % fmt_info[fmt].n ? FMT_COUNT : fmt;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (fmt_info[smaller[i]].n <= fmt_info[fmt].n && K % fmt_info[smaller[i]].n == 0)
            return smaller[i];
    return FMT_COUNT;
}

/* Scales that are in the file. */
static json_t *static_fp8(void)
{
    return json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", "float", "symmetric", 1,
                     "strategy", "tensor", "dynamic", 0);
}

json_t *recipe_cache_scheme(void)
{
    return static_fp8();
}

json_t *recipe_scheme(const struct recipe *recipe, enum fmt fmt, bool is_symmetric)
{
    if (recipe->is_static)
        return json_pack("{s:o, s:o}", "weights", static_fp8(), "input_activations", static_fp8());
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
    const bool is_int8 = fmt == FMT_q8_0;
    return json_pack("{s:{s:i, s:s, s:b, s:s, s:i, s:b}}", "weights", "num_bits", is_int8 ? 8 : 4,
                     "type", "int", "symmetric", (int)(is_int8 || is_symmetric), "strategy",
                     "group", "group_size", (int)fmt_info[fmt].n, "dynamic", 0);
}

json_t *recipe_scheme_words(void)
{
    return json_pack("{s:{s:i, s:s, s:b, s:s, s:b}}", "weights", "num_bits", 8, "type", "int",
                     "symmetric", 1, "strategy", "channel", "dynamic", 0);
}
