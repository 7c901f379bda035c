/* Every layout once, as a matrix by definition and the configuration it goes with. */
#pragma once

#include "matrix_image.h"
#include "t.h"

/* Largest difference to the definition that is allowed: relative, or absolute. */
struct bound {
    double relative, absolute;
};

struct layout_case {
    const char *name, *config;
    void (*write)(void);
    enum fmt fmt;
    struct definition d;
    struct bound bound;
};

/* clang-format off */
#define CT(format, bits, type, more)                                                           \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format "-quantized\", "        \
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {"              \
    "\"num_bits\": " bits ", \"type\": \"" type "\", " more "}}}}"
#define STRATEGY(name)   "\"strategy\": \"" name "\""
#define GROUPS(columns)  "\"group_size\": " columns
#define BLOCKS(size)     STRATEGY("block") ", \"block_structure\": " size
#define ASYMMETRIC       ", \"symmetric\": false"
#define AWQ(group)       "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": " group \
                         ", \"zero_point\": true, \"version\": \"GEMM\"}"
#define GPTQ(bits, more) "{\"quant_method\": \"gptq\", \"bits\": " bits more "}"
#define MODELOPT(name)   "{\"quant_method\": \"modelopt\", \"quant_algo\": \"" name "\"}"
#define FP8(more)        "{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\"" more "}"

#define BLOCK_128 .rows = 128, .columns = 128
#define GROUP(n)  .rows = 1, .columns = n
#define ROW       .rows = 1
#define F32       .scales = DTYPE_F32
#define F16       .scales = DTYPE_F16
#define BF16      .scales = DTYPE_BF16
#define E4M3      .scales = DTYPE_F8_E4M3
#define E8M0      .scales = DTYPE_U8

#define EXACT {0, 0}
#define HALF  {0x1p-11, 0x1p-25} /* one rounding, of a value or of a scale */
/* The same; the product of two scales is a float before. */
#define SCALED {0x1p-11 + 0x1p-22, 0x1p-25}

static const struct layout_case cases[] = {
    {"fp8 of a tensor", CT("float", "8", "float", STRATEGY("tensor")),
     write_bytes, FMT_fp8, {.N = 40, .K = 300, BF16}, EXACT},
    {"fp8 of a channel", CT("float", "8", "float", STRATEGY("channel")),
     write_bytes, FMT_fp8, {.N = 37, .K = 511, ROW, F32}, EXACT},
    {"fp8 of a block", CT("float", "8", "float", BLOCKS("[128, 128]")),
     write_bytes, FMT_fp8_128, {.N = 200, .K = 384, BLOCK_128, BF16}, EXACT},
    {"fp8 of a block as text", CT("naive", "8", "float", BLOCKS("\"128x256\"")),
     write_bytes, FMT_fp8_128, {.N = 200, .K = 640, .rows = 128, .columns = 256, F32}, EXACT},
    {"fp8 of blocks that rows do not consist of", FP8(", \"weight_block_size\": [128, 128]"),
     write_inverse, FMT_f16, {.N = 130, .K = 576, BLOCK_128, F32}, HALF},
    {"fp8 of DeepSeek", FP8(", \"weight_block_size\": [128, 128]"),
     write_inverse, FMT_fp8_128, {.N = 130, .K = 512, BLOCK_128, F32}, EXACT},
    {"fp8 of AutoFP8", FP8(", \"activation_scheme\": \"static\""),
     write_bytes, FMT_fp8, {.N = 16, .K = 64, F32}, EXACT},
    {"fp8 of fbgemm", "{\"quant_method\": \"fbgemm_fp8\"}",
     write_bytes, FMT_fp8, {.N = 48, .K = 96, ROW, F32}, EXACT},
    {"fp8 of ModelOpt", MODELOPT("FP8"),
     write_bytes, FMT_fp8, {.N = 17, .K = 257, F32}, EXACT},
    {"fp8 of ModelOpt, channels", MODELOPT("FP8_PER_CHANNEL_PER_TOKEN"),
     write_bytes, FMT_fp8, {.N = 17, .K = 257, ROW, F32}, EXACT},
    {"fp8 of ModelOpt, blocks", MODELOPT("fp8_pb_wo"),
     write_bytes, FMT_fp8_128, {.N = 256, .K = 256, BLOCK_128, F32}, EXACT},

    {"int8 of SmoothQuant", MODELOPT("W8A8_SQ_PER_CHANNEL"),
     write_bytes, FMT_int8, {.N = 31, .K = 130, .bits = 8, ROW, F32}, EXACT},
    {"int8 of ModelOpt, weights alone", MODELOPT("W8A16"),
     write_bytes, FMT_int8, {.N = 31, .K = 130, .bits = 8, ROW, F32}, EXACT},
    {"int8 of SmoothQuant, scaled inputs", MODELOPT("W8A8_SQ_PER_CHANNEL"),
     write_bytes, FMT_f16, {.N = 31, .K = 130, .bits = 8, ROW, F32, .scaled = true}, SCALED},
    {"int8 of a channel", CT("int", "8", "int", STRATEGY("channel")),
     write_signed, FMT_int8, {.N = 33, .K = 190, .bits = 8, ROW, BF16}, EXACT},
    {"int8 of a tensor", CT("int", "8", "int", STRATEGY("tensor")),
     write_signed, FMT_int8, {.N = 33, .K = 190, .bits = 8, F32}, EXACT},
    {"int8 of a channel with zero points", CT("int", "8", "int", STRATEGY("channel") ASYMMETRIC),
     write_signed, FMT_f16, {.N = 33, .K = 190, .bits = 8, ROW, F32, .asymmetric = true}, HALF},
    {"int8 of a channel, zero points in the middle", CT("int", "8", "int", STRATEGY("channel")),
     write_signed_and_zeros, FMT_int8, {.N = 33, .K = 190, .bits = 8, ROW, BF16}, EXACT},
    {"int8 of groups", CT("int", "8", "int", GROUPS("128")),
     write_signed, FMT_q8_0, {.N = 33, .K = 256, .bits = 8, GROUP(128), BF16}, EXACT},
    {"W8A16 of a channel", CT("pack", "8", "int", STRATEGY("channel")),
     write_packed, FMT_int8, {.N = 19, .K = 129, .bits = 8, ROW, BF16}, EXACT},
    {"W8A16 of groups", CT("pack", "8", "int", GROUPS("32")),
     write_packed, FMT_q8_0, {.N = 19, .K = 288, .bits = 8, GROUP(32), F16}, EXACT},

    {"int4 of ModelOpt", MODELOPT("W4A16_AWQ"),
     write_pairs, FMT_int4_128, {.N = 46, .K = 256, .bits = 4, GROUP(128), BF16}, EXACT},
    {"int4 of ModelOpt, float scales", MODELOPT("W4A16_AWQ"),
     write_pairs, FMT_int4_128, {.N = 46, .K = 256, .bits = 4, GROUP(128), F32}, HALF},
    {"int4 of ModelOpt, scaled inputs", MODELOPT("W4A16_AWQ"),
     write_pairs, FMT_f16,
     {.N = 46, .K = 384, .bits = 4, GROUP(128), BF16, .scaled = true}, SCALED},
    {"int4 in bytes", CT("int", "4", "int", GROUPS("64")),
     write_signed, FMT_int4_64, {.N = 20, .K = 128, .bits = 4, GROUP(64), F16}, EXACT},
    {"int4 in bytes with zero points", CT("int", "4", "int", STRATEGY("channel") ASYMMETRIC),
     write_signed, FMT_int8, {.N = 20, .K = 100, .bits = 4, ROW, F32, .asymmetric = true}, EXACT},
    {"NVFP4 of ModelOpt", MODELOPT("NVFP4"), write_nvfp4, FMT_nvfp4,
     {.N = 37, .K = 576, .e2m1 = true, GROUP(16), E4M3, .factor = 0.0009f}, EXACT},
    {"NVFP4 of ModelOpt, not of blocks", MODELOPT("NVFP4"), write_nvfp4, FMT_f16,
     {.N = 37, .K = 336, .e2m1 = true, GROUP(16), E4M3, .factor = 0.0009f}, SCALED},
    {"NVFP4 of ModelOpt, scaled inputs", MODELOPT("NVFP4_AWQ"), write_nvfp4, FMT_f16,
     {.N = 37, .K = 320, .e2m1 = true, GROUP(16), E4M3, .factor = 0.0009f, .scaled = true}, SCALED},
    {"NVFP4", CT("nvfp4-pack", "4", "float", STRATEGY("tensor_group") ", " GROUPS("16")),
     write_nvfp4_packed, FMT_nvfp4,
     {.N = 37, .K = 320, .e2m1 = true, GROUP(16), E4M3, .factor = 0x1p-9f}, EXACT},
    {"NVFP4, not of blocks",
     CT("nvfp4-pack", "4", "float", STRATEGY("tensor_group") ", " GROUPS("16")),
     write_nvfp4_packed, FMT_f16,
     {.N = 37, .K = 272, .e2m1 = true, GROUP(16), E4M3, .factor = 0x1p-9f}, SCALED},
    {"MXFP4", CT("mxfp4-pack", "4", "float", STRATEGY("group") ", " GROUPS("32")),
     write_mxfp4_packed, FMT_mxfp4, {.N = 37, .K = 288, .e2m1 = true, GROUP(32), E8M0}, EXACT},

    {"W4A16 of 128", CT("pack", "4", "int", STRATEGY("group") ", " GROUPS("128")),
     write_packed, FMT_int4_128, {.N = 41, .K = 640, .bits = 4, GROUP(128), BF16}, EXACT},
    {"W4A16 of 64", CT("pack", "4", "int", GROUPS("64")),
     write_packed, FMT_int4_64, {.N = 41, .K = 192, .bits = 4, GROUP(64), F16}, EXACT},
    {"W4A16 of 96", CT("pack", "4", "int", GROUPS("96")),
     write_packed, FMT_int4_32, {.N = 9, .K = 480, .bits = 4, GROUP(96), BF16}, EXACT},
    {"W4A16 of 16", CT("pack", "4", "int", GROUPS("16")),
     write_packed, FMT_f16, {.N = 13, .K = 80, .bits = 4, GROUP(16), BF16}, HALF},
    {"W4A16 of a channel", CT("pack", "4", "int", STRATEGY("channel")),
     write_packed, FMT_int4_64, {.N = 41, .K = 320, .bits = 4, ROW, BF16}, EXACT},
    {"W4A16 of a channel, odd", CT("pack", "4", "int", STRATEGY("channel")),
     write_packed, FMT_int8, {.N = 13, .K = 35, .bits = 4, ROW, F32}, EXACT},
    {"W4A16 with zero points", CT("pack", "4", "int", GROUPS("128") ASYMMETRIC),
     write_packed, FMT_int4_128,
     {.N = 41, .K = 256, .bits = 4, GROUP(128), BF16, .asymmetric = true}, EXACT},
    {"W4A16 with zero points in bytes", CT("pack", "4", "int", GROUPS("32") ASYMMETRIC),
     write_packed_with_byte_zeros, FMT_int4_32,
     {.N = 41, .K = 96, .bits = 4, GROUP(32), BF16, .asymmetric = true}, EXACT},
    {"W4A16 in the order of activations", CT("pack", "4", "int", GROUPS("128")),
     write_packed, FMT_f16,
     {.N = 24, .K = 384, .bits = 4, GROUP(128), BF16, .shuffled = true}, HALF},
    /* A scale is off by at most 2^-25, and a value by at most 8 times that. */
    {"W4A16, scales too small for halves", CT("pack", "4", "int", GROUPS("128")),
     write_packed, FMT_int4_128,
     {.N = 8, .K = 128, .bits = 4, GROUP(128), BF16, .tiny = 1e-4}, {0x1p-11, 8 * 0x1p-25}},

    {"AWQ of 128", AWQ("128"), write_awq, FMT_int4_128,
     {.N = 296, .K = 384, .bits = 4, GROUP(128), F16, .asymmetric = true}, EXACT},
    {"AWQ of 64", AWQ("64"), write_awq, FMT_int4_64,
     {.N = 24, .K = 448, .bits = 4, GROUP(64), F16, .asymmetric = true}, EXACT},
    {"AWQ of 32", AWQ("32"), write_awq, FMT_int4_32,
     {.N = 8, .K = 32, .bits = 4, GROUP(32), F16, .asymmetric = true}, EXACT},
    {"AWQ of whole rows", AWQ("-1"), write_awq, FMT_int8,
     {.N = 40, .K = 100, .bits = 4, ROW, F16, .asymmetric = true}, EXACT},

    {"GPTQ of 128", GPTQ("4", ", \"group_size\": 128"), write_gptq, FMT_int4_128,
     {.N = 299, .K = 512, .bits = 4, GROUP(128), F16}, EXACT},
    {"GPTQ of 64, not symmetric", GPTQ("4", ", \"group_size\": 64, \"sym\": false"),
     write_gptq, FMT_int4_64,
     {.N = 50, .K = 256, .bits = 4, GROUP(64), F16, .asymmetric = true}, EXACT},
    {"GPTQ v2", GPTQ("4", ", \"group_size\": 32, \"checkpoint_format\": \"gptq_v2\""),
     write_gptq_v2, FMT_int4_32,
     {.N = 50, .K = 96, .bits = 4, GROUP(32), F16, .asymmetric = true}, EXACT},
    {"GPTQ of whole rows", GPTQ("4", ", \"group_size\": -1"), write_gptq, FMT_int4_32,
     {.N = 50, .K = 160, .bits = 4, ROW, F16}, EXACT},
    {"GPTQ with a last group that is short", GPTQ("4", ""), write_gptq, FMT_int4_64,
     {.N = 50, .K = 320, .bits = 4, GROUP(128), F16}, EXACT},
    {"GPTQ of odd rows", GPTQ("4", ", \"group_size\": -1"), write_gptq, FMT_int8,
     {.N = 21, .K = 43, .bits = 4, ROW, F16}, EXACT},
    {"GPTQ in the order of activations", GPTQ("4", ", \"desc_act\": true"), write_gptq, FMT_f16,
     {.N = 50, .K = 384, .bits = 4, GROUP(128), F16, .asymmetric = true, .shuffled = true}, HALF},
    {"GPTQ of 8 bits", GPTQ("8", ""), write_gptq, FMT_q8_0,
     {.N = 50, .K = 384, .bits = 8, GROUP(128), F16}, EXACT},
    {"GPTQ of 8 bits, whole rows", GPTQ("8", ", \"group_size\": -1"), write_gptq, FMT_int8,
     {.N = 50, .K = 130, .bits = 8, ROW, F16}, EXACT},
    {"GPTQ of 8 bits, not symmetric", GPTQ("8", ", \"group_size\": 64, \"sym\": false"),
     write_gptq, FMT_f16,
     {.N = 50, .K = 130, .bits = 8, GROUP(64), F16, .asymmetric = true}, HALF},
};
/* clang-format on */

static struct scheme scheme;

static inline void open_scheme(const char *json)
{
    struct err err = {0};
    json_t *object = json_loads(json, 0, NULL);
    if (scheme_parse(&scheme, object, "config.json", &im.arena, &err))
        t_fail(__FILE__, __LINE__, "%s: %s", json, err.text);
    json_decref(object);
}

static inline int32_t find_matrix(struct matrix *m, struct err *err)
{
    bool used[TENSORS_MOST] = {0};
    struct matrix_finder f = {.tensors = &im.tensors, .scheme = &scheme, .used = used};
    buf_init(&f.scratch, &mem_system);
    int32_t rc = matrix_find(m, &f, "m.weight", "Linear", d.N, d.K, err);
    for (uint64_t i = 0; !rc && i < im.tensors.n; i++)
        if (!used[i])
            t_fail(__FILE__, __LINE__, "tensor %s is left over", im.name[i]);
    buf_release(&f.scratch);
    return rc;
}

static inline void begin_case(const char *name)
{
    const struct layout_case *c = cases;
    while (c < cases + COUNT_OF(cases) - 1 && strcmp(c->name, name) != 0)
        c++;
    image_begin(&im, false);
    define(&c->d);
    c->write();
    open_scheme(c->config);
}

static inline void end_case(void)
{
    scheme_close(&scheme);
    image_release(&im);
}
