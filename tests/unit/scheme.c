/* What quantization_config says of modules, in the words of each method, and what of it is not
 * served. */
#define _DEFAULT_SOURCE
#include "t.h"

#include "plugin/model/scheme.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct arena arena;
static struct scheme scheme;

static int32_t parse(const char *json, struct err *err)
{
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    if (!object)
        t_fail(__FILE__, __LINE__, "no JSON: %s", json);
    *err = (struct err){0};
    arena_init(&arena, &mem_system);
    int32_t rc = scheme_parse(&scheme, object, "config.json", &arena, err);
    json_decref(object);
    return rc;
}

static void close_scheme(void)
{
    scheme_close(&scheme);
    arena_release(&arena);
}

static struct storage storage_of(const char *module)
{
    struct storage storage = {.codes = CODES_COUNT};
    struct err err = {0};
    if (scheme_find(&scheme, module, "Linear", &storage, &err))
        t_fail(__FILE__, __LINE__, "%s: %s", module, err.text);
    return storage;
}

static void check_storage(const char *module, enum codes codes, int32_t bits, int32_t columns)
{
    struct storage s = storage_of(module);
    if (s.codes != codes || s.bits != bits || s.columns != columns)
        t_fail(__FILE__, __LINE__, "%s: codes %d, %d bits, %d columns, want %d, %d, %d", module,
               (int)s.codes, s.bits, s.columns, (int)codes, bits, columns);
}

static void check_alone(const char *module)
{
    check_storage(module, CODES_NONE, 0, 0);
}

static void open_json(const char *json)
{
    struct err err;
    if (parse(json, &err))
        t_fail(__FILE__, __LINE__, "%s", err.text);
}

TEST(scheme, groups_of_compressed_tensors_are_told_by_name_pattern_and_class)
{
    open_json(
        "{\"quant_method\": \"compressed-tensors\", \"format\": \"mixed-precision\","
        " \"kv_cache_scheme\": {\"num_bits\": 8, \"type\": \"float\"},"
        " \"ignore\": [\"lm_head\", \"re:.*\\\\.gate$\", \"model.layers.1.self_attn.q_proj\"],"
        " \"config_groups\": {"
        "  \"all\": {\"targets\": [\"Linear\"], \"format\": \"pack-quantized\", \"weights\": "
        "   {\"num_bits\": 4, \"type\": \"int\", \"group_size\": 64, \"symmetric\": false}},"
        "  \"down\": {\"targets\": [\"re:model.layers.[0-9]+.mlp.down_proj\"], \"format\": "
        "   \"float-quantized\", \"weights\": {\"num_bits\": 8, \"type\": \"float\","
        "   \"strategy\": \"channel\"}},"
        "  \"one\": {\"targets\": [\"model.layers.7.mlp.down_proj\"], \"format\": "
        "   \"int-quantized\", \"weights\": {\"num_bits\": 8, \"strategy\": \"channel\"}},"
        "  \"inputs\": {\"targets\": [\"model.layers.8.mlp.up_proj\"], \"weights\": null}}}");
    check_storage("model.layers.0.self_attn.q_proj", CODES_PACKED, 4, 64);
    CHECK(storage_of("model.layers.0.self_attn.q_proj").zeros);
    check_alone("model.layers.1.self_attn.q_proj");
    check_storage("model.layers.11.self_attn.q_proj", CODES_PACKED, 4, 64);
    check_storage("model.layers.0.mlp.down_proj", CODES_E4M3, 8, 0);
    CHECK_EQ(storage_of("model.layers.0.mlp.down_proj").rows, 1);
    check_storage("model.layers.7.mlp.down_proj", CODES_I8, 8, 0);
    check_alone("model.layers.8.mlp.up_proj");
    check_alone("model.layers.3.mlp.gate");
    check_storage("model.layers.3.mlp.gate_proj", CODES_PACKED, 4, 64);
    check_alone("lm_head");
    /* A pattern matches from the first character on. */
    check_storage("text.model.layers.0.mlp.down_proj", CODES_PACKED, 4, 64);
    struct storage storage;
    CHECK_EQ(scheme_find(&scheme, "model.embed_tokens", "Embedding", &storage, NULL), 0);
    CHECK_EQ(storage.codes, CODES_NONE);
    close_scheme();
}

TEST(scheme, awq_leaves_the_head_and_named_parts_alone)
{
    open_json("{\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 64, \"zero_point\": "
              "true, \"version\": \"GEMM\", \"modules_to_not_convert\": [\"gate\", \"layers.1\"]}");
    check_storage("model.layers.0.mlp.gate_proj", CODES_AWQ, 4, 64);
    check_alone("model.layers.0.mlp.gate");
    check_alone("model.layers.1.mlp.up_proj");
    check_storage("model.layers.10.mlp.up_proj", CODES_AWQ, 4, 64);
    check_alone("lm_head");
    close_scheme();
}

TEST(scheme, gptq_has_exceptions_by_pattern)
{
    open_json("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"desc_act\": false,"
              " \"sym\": true, \"dynamic\": {\"-:.*\\\\.mlp\\\\.gate\": {},"
              " \"+:.*\\\\.18\\\\..*(gate|up)_proj\": {\"bits\": 8, \"group_size\": 32},"
              " \".*\\\\.19\\\\.\": {\"group_size\": -1, \"sym\": false}}}");
    check_storage("model.layers.0.mlp.up_proj", CODES_GPTQ, 4, 128);
    CHECK(storage_of("model.layers.0.mlp.up_proj").zeros_less_one);
    CHECK(storage_of("model.layers.0.mlp.up_proj").middle_zeros);
    /* Of the same pattern, which does not ask for an end. */
    check_alone("model.layers.0.mlp.gate_proj");
    check_storage("model.layers.18.mlp.up_proj", CODES_GPTQ, 8, 32);
    check_storage("model.layers.19.mlp.up_proj", CODES_GPTQ, 4, 0);
    CHECK(!storage_of("model.layers.19.mlp.up_proj").middle_zeros);
    check_alone("lm_head");
    close_scheme();
    open_json("{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": -1, \"lm_head\": true,"
              " \"format\": \"gptq_v2\"}");
    check_storage("lm_head", CODES_GPTQ, 8, 0);
    CHECK(!storage_of("lm_head").zeros_less_one);
    close_scheme();
}

TEST(scheme, fp8_has_blocks_or_one_scale)
{
    open_json("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 256], \"ignored_layers\": "
              "[\"lm_head\"], \"modules_to_not_convert\": [\"model.layers.0.mlp\"]}");
    check_storage("model.layers.3.mlp.up_proj", CODES_E4M3, 8, 256);
    CHECK_EQ(storage_of("model.layers.3.mlp.up_proj").rows, 128);
    check_alone("model.layers.0.mlp.up_proj");
    check_alone("lm_head");
    close_scheme();
    open_json("{\"quant_method\": \"fp8\", \"weight_block_size\": null}");
    check_storage("model.layers.3.mlp.up_proj", CODES_E4M3, 8, 0);
    CHECK_EQ(storage_of("model.layers.3.mlp.up_proj").rows, 0);
    close_scheme();
}

TEST(scheme, modelopt_leaves_globs_alone_and_may_mix)
{
    open_json("{\"producer\": {\"name\": \"modelopt\"}, \"quantization\": {\"quant_algo\": \"FP8\","
              " \"kv_cache_quant_algo\": \"FP8\", \"exclude_modules\": [\"lm_head\","
              " \"model.layers.*.mlp.gate\", \"*.11*\"]}}");
    check_storage("model.layers.0.mlp.gate_proj", CODES_E4M3, 8, 0);
    check_alone("model.layers.0.mlp.gate");
    check_alone("model.layers.12.mlp.gate");
    check_alone("model.layers.11.mlp.up_proj");
    check_storage("model.layers.1.mlp.up_proj", CODES_E4M3, 8, 0);
    check_alone("lm_head");
    close_scheme();
    open_json("{\"quant_method\": \"modelopt\", \"quant_algo\": \"MIXED_PRECISION\","
              " \"quantized_layers\": {\"a.b\": {\"quant_algo\": \"FP8\"},"
              " \"a.c\": {\"quant_algo\": \"W4A16_AWQ\", \"group_size\": 64}}}");
    check_storage("a.b", CODES_E4M3, 8, 0);
    check_storage("a.c", CODES_PAIRS, 4, 64);
    check_alone("a.d");
    close_scheme();
    /* Keys and values alone. */
    open_json("{\"quant_method\": \"modelopt\", \"quant_algo\": null}");
    check_alone("a.b");
    close_scheme();
}

TEST(scheme, scales_of_activations_and_of_keys_and_values_are_known)
{
    static const char *const known[] = {
        "model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.v_proj.v_scale",
        "model.layers.0.mlp.up_proj.input_scale", "model.layers.0.mlp.up_proj.activation_scale"};
    static const char *const unknown[] = {"model.layers.0.mlp.up_proj.pre_quant_scale",
                                          "model.layers.0.mlp.up_proj.weight_scale", "k_scale"};
    const struct scheme none = {0};
    open_json("{\"quant_method\": \"fp8\"}");
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        struct str name = {known[i], strlen(known[i])};
        CHECK(scheme_ignores(&scheme, name) && !scheme_ignores(&none, name));
    }
    for (size_t i = 0; i < COUNT_OF(unknown); i++)
        CHECK(!scheme_ignores(&scheme, (struct str){unknown[i], strlen(unknown[i])}));
    close_scheme();
}

static const struct {
    const char *json;
    int32_t code;
    const char *why;
} refusals[] = {
    {"[]", INFLIGHT_E_MODEL, "config.json: quantization: quantization_config is not an object"},
    {"{}", INFLIGHT_E_UNSUPPORTED, "config.json: quantization without quant_method is not served"},
    {"{\"quant_method\": \"bitsandbytes\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method bitsandbytes is not served: compressed-tensors, awq, gptq, fp8, "
     "fbgemm_fp8, modelopt and mxfp4 are"},
    {"{\"quant_method\": 3}", INFLIGHT_E_MODEL,
     "config.json: quantization: quant_method is not a text"},
    {"{\"quant_method\": \"awq\", \"bits\": 8}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method awq: 8 bits are not served: 4 are"},
    {"{\"quant_method\": \"awq\", \"bits\": \"4\"}", INFLIGHT_E_MODEL,
     "config.json: quantization: bits is not an integer from -1 to 1048576"},
    {"{\"quant_method\": \"awq\", \"group_size\": 99999999999}", INFLIGHT_E_MODEL,
     "config.json: quantization: group_size is not an integer from -1 to 1048576"},
    {"{\"quant_method\": \"awq\", \"group_size\": 0}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method awq: groups of 0 columns are not served"},
    {"{\"quant_method\": \"awq\", \"version\": \"gemv\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method awq: version gemv is not served: gemm is"},
    {"{\"quant_method\": \"awq\", \"zero_point\": false}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method awq: zero_point false is not served: true is"},
    {"{\"quant_method\": \"awq\", \"zero_point\": 1}", INFLIGHT_E_MODEL,
     "config.json: quantization: zero_point is not true or false"},
    {"{\"quant_method\": \"awq\", \"modules_to_not_convert\": \"gate\"}", INFLIGHT_E_MODEL,
     "config.json: quantization: modules_to_not_convert is not a list of texts"},
    {"{\"quant_method\": \"awq\", \"modules_to_not_convert\": [1]}", INFLIGHT_E_MODEL,
     "config.json: quantization: modules_to_not_convert is not a list of texts"},
    {"{\"quant_method\": \"gptq\", \"bits\": 3}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method gptq: 3 bits are not served: 4 and 8 are"},
    {"{\"quant_method\": \"gptq\", \"checkpoint_format\": \"marlin\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method gptq: checkpoint_format marlin is not served: gptq and gptq_v2 "
     "are"},
    {"{\"quant_method\": \"gptq\", \"pack_dtype\": \"int16\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method gptq: pack_dtype int16 is not served: int32 is"},
    {"{\"quant_method\": \"gptq\", \"dynamic\": {\"a\": 1}}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method gptq: dynamic: what \"a\" has is not an object"},
    {"{\"quant_method\": \"gptq\", \"dynamic\": {\"-:(\": {}}}", INFLIGHT_E_MODEL,
     "config.json: quantization: pattern \"(\" is broken at character 2"},
    {"{\"quant_method\": \"gptq\", \"dynamic\": {\"a\": {\"bits\": 2}}}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method gptq: 2 bits are not served: 4 and 8 are"},
    {"{\"quant_method\": \"gptq\", \"dynamic\": []}", INFLIGHT_E_MODEL,
     "config.json: quantization: dynamic is not an object"},
    {"{\"quant_method\": \"fp8\", \"fmt\": \"e5m2\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method fp8: fmt e5m2 is not served: e4m3 is"},
    {"{\"quant_method\": \"fp8\", \"weight_block_size\": [128]}", INFLIGHT_E_MODEL,
     "config.json: quantization: weight_block_size is not two sizes of a block"},
    {"{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 0]}", INFLIGHT_E_MODEL,
     "config.json: quantization: weight_block_size is not two sizes of a block"},
    {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"W4A8_MXFP4_FP8\"}", INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method modelopt: quant_algo W4A8_MXFP4_FP8 is not served: FP8, "
     "FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO, W8A8_SQ_PER_CHANNEL, W8A16, W4A16_AWQ, NVFP4, "
     "NVFP4_AWQ and W4A16_NVFP4 are"},
    {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\", \"group_size\": 32}",
     INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method modelopt: NVFP4 in groups of 32 is not served: of 16 is"},
    {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"MIXED_PRECISION\"}",
     INFLIGHT_E_UNSUPPORTED,
     "config.json: quant_method modelopt: MIXED_PRECISION without quantized_layers is not served"},
    {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"MIXED_PRECISION\", \"quantized_layers\": "
     "{\"a\": {}}}",
     INFLIGHT_E_UNSUPPORTED,
     "quantized_layers a: config.json: quant_method modelopt: quant_algo none is not served: FP8, "
     "FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO, W8A8_SQ_PER_CHANNEL, W8A16, W4A16_AWQ, NVFP4, "
     "NVFP4_AWQ and W4A16_NVFP4 are"},
};

TEST(scheme, what_is_not_served_is_said_with_what_is)
{
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct err err;
        CHECK_EQ(parse(refusals[i].json, &err), refusals[i].code);
        CHECK_TEXT(err.text, refusals[i].why);
        close_scheme();
    }
}

/* The weights of a group of compressed-tensors. */
static void refuse_weights(const char *format, const char *weights, int32_t code, const char *why)
{
    char json[512];
    struct err err;
    (void)snprintf(
        json, sizeof json,
        "{\"quant_method\": \"compressed-tensors\", \"format\": \"%s\", "
        "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": %s}}}",
        format, weights);
    CHECK_EQ(parse(json, &err), code);
    CHECK_TEXT(err.text, why);
    close_scheme();
}

#define SERVED                                                                               \
    " are not served: float-quantized of 8 bits, int-quantized and pack-quantized of 4 and " \
    "8, nvfp4-pack-quantized and mxfp4-pack-quantized are"
#define SERVED_FLOATS \
    " are not served: nvfp4-pack-quantized in groups of 16 and mxfp4-pack-quantized of 32 are"
#define METHOD "config.json: quant_method compressed-tensors: "

TEST(scheme, groups_that_are_not_served_are_said)
{
    const int32_t unsupported = INFLIGHT_E_UNSUPPORTED, broken = INFLIGHT_E_MODEL;
    refuse_weights("nvfp4-pack-quantized", "{\"num_bits\": 4, \"type\": \"float\"}", unsupported,
                   METHOD
                   "float numbers of 4 bits in groups of 0 as nvfp4-pack-quantized" SERVED_FLOATS);
    refuse_weights("mxfp4-pack-quantized",
                   "{\"num_bits\": 4, \"type\": \"float\", \"group_size\": 16}", unsupported,
                   METHOD
                   "float numbers of 4 bits in groups of 16 as mxfp4-pack-quantized" SERVED_FLOATS);
    refuse_weights("nvfp4-pack-quantized",
                   "{\"num_bits\": 4, \"type\": \"float\", \"symmetric\": false}", unsupported,
                   METHOD
                   "asymmetric numbers of 4 bits and type float as nvfp4-pack-quantized" SERVED);
    refuse_weights("pack-quantized", "{\"num_bits\": 3}", unsupported,
                   METHOD "symmetric numbers of 3 bits and type int as pack-quantized" SERVED);
    refuse_weights("float-quantized", "{\"type\": \"float\", \"symmetric\": false}", unsupported,
                   METHOD "asymmetric numbers of 8 bits and type float as float-quantized" SERVED);
    refuse_weights("pack-quantized", "{\"num_bits\": 4, \"dynamic\": true}", unsupported,
                   METHOD "weights with dynamic true are not served");
    refuse_weights("pack-quantized", "{\"num_bits\": 4, \"strategy\": \"token\"}", unsupported,
                   METHOD "strategy token is not served: tensor, channel, group and block are");
    refuse_weights("pack-quantized", "{\"num_bits\": 4, \"strategy\": \"group\"}", unsupported,
                   METHOD "groups of 0 columns are not served");
    refuse_weights("float-quantized", "{\"type\": \"float\", \"strategy\": \"block\"}", unsupported,
                   METHOD "block_structure is not two sizes of a block");
    refuse_weights("float-quantized",
                   "{\"type\": \"float\", \"strategy\": \"block\", \"block_structure\": \"9x\"}",
                   unsupported, METHOD "block_structure is not two sizes of a block");
    refuse_weights("pack-quantized", "3", broken,
                   "config.json: quantization: weights is not an object");
    struct err err;
    CHECK_EQ(parse("{\"quant_method\": \"compressed-tensors\", \"sparsity_config\": {\"format\": "
                   "\"sparse-24-bitmask\"}}",
                   &err),
             unsupported);
    CHECK_TEXT(err.text,
               METHOD "sparsity_config: format sparse-24-bitmask is not served: dense is");
    close_scheme();
    CHECK_EQ(
        parse("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": 1}}", &err),
        unsupported);
    CHECK_TEXT(err.text, METHOD "config_groups: a is not an object");
    close_scheme();
    CHECK_EQ(parse("{\"quant_method\": \"compressed-tensors\", \"config_groups\": []}", &err),
             broken);
    CHECK_TEXT(err.text, "config.json: quantization: config_groups is not an object");
    close_scheme();
}

TEST(scheme, a_pattern_that_takes_too_long_is_given_up)
{
    struct err err;
    struct storage storage;
    open_json("{\"quant_method\": \"gptq\", \"dynamic\": {\"(a+)+[bc]\": {}}}");
    CHECK_EQ(
        scheme_find(&scheme, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Linear", &storage, &err),
        INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "config.json: quantization: pattern \"(a+)+[bc]\" takes too long on module "
               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    close_scheme();
}

/* ---- Which file says it */

static char folder_path[] = "/tmp/scheme-XXXXXX";

static void put_file(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder_path, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        t_fail(__FILE__, __LINE__, "%s cannot be written", path);
}

static int32_t open_folder(const char *config, struct err *err)
{
    const struct folder folder = {.path = folder_path, .mem = &mem_system};
    json_t *object = json_loads(config, 0, NULL);
    *err = (struct err){0};
    arena_init(&arena, &mem_system);
    int32_t rc = scheme_open(&scheme, object, &folder, &arena, err);
    json_decref(object);
    return rc;
}

TEST(scheme, config_json_comes_before_files_of_the_quantizers)
{
    static const char *const files[] = {"hf_quant_config.json", "quantize_config.json",
                                        "quant_config.json"};
    struct err err;
    char path[128];
    CHECK(mkdtemp(folder_path));
    CHECK_EQ(open_folder("{\"hidden_size\": 8, \"quantization_config\": null}", &err), 0);
    CHECK(!scheme.where);
    check_alone("a.b");
    close_scheme();

    put_file("quant_config.json", "{\"w_bit\": 4, \"q_group_size\": 64, \"zero_point\": true}");
    CHECK_EQ(open_folder("{}", &err), 0);
    check_storage("a.b", CODES_AWQ, 4, 64);
    CHECK_TEXT(scheme.where, "quant_config.json");
    close_scheme();
    put_file("quantize_config.json", "{\"bits\": 8, \"group_size\": 32, \"desc_act\": false}");
    CHECK_EQ(open_folder("{}", &err), 0);
    check_storage("a.b", CODES_GPTQ, 8, 32);
    close_scheme();
    put_file("hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"FP8\"}}");
    CHECK_EQ(open_folder("{}", &err), 0);
    check_storage("a.b", CODES_E4M3, 8, 0);
    close_scheme();
    CHECK_EQ(open_folder(
                 "{\"text_config\": {\"quantization_config\": {\"quant_method\": \"awq\"}}}", &err),
             0);
    check_storage("a.b", CODES_AWQ, 4, 128);
    close_scheme();
    CHECK_EQ(open_folder("{\"compression_config\": {\"config_groups\": {}}}", &err), 0);
    CHECK_TEXT(scheme.method, "compressed-tensors");
    check_alone("a.b");
    close_scheme();

    put_file("hf_quant_config.json", "{\"quantization\": ");
    CHECK_EQ(open_folder("{}", &err), INFLIGHT_E_MODEL);
    CHECK(strstr(err.text, "hf_quant_config.json:1:"));
    close_scheme();
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder_path, files[i]);
        CHECK_EQ(unlink(path), 0);
    }
    CHECK_EQ(rmdir(folder_path), 0);
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user, (void)bytes, (void)align;
    return NULL;
}

TEST(scheme, without_memory_it_is_said)
{
    static const struct mem none = {.alloc = no_alloc};
    struct err err = {0};
    json_t *object = json_loads("{\"quant_method\": \"fp8\"}", 0, NULL);
    arena_init(&arena, &none);
    CHECK_EQ(scheme_parse(&scheme, object, "config.json", &arena, &err), INFLIGHT_E_NOMEM);
    CHECK_TEXT(err.text, "config.json: no memory for rules of modules");
    json_decref(object);
    close_scheme();
}
