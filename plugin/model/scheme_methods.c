/* The methods that store every linear layer in one way, but for exceptions by name. */
#include "scheme_parse.h"

#include <string.h>
#include <strings.h>

static const struct storage alone = {.codes = CODES_NONE};

/* All linear layers that no rule before has named. */
static int32_t add_all(const struct scheme_reader *r, const struct storage *storage)
{
    return scheme_room(r, 1) ? r->err->code : scheme_add(r, MATCH_CLASS, "Linear", storage);
}

/* Columns of a group: -1, which is all of them, or more than 0. */
static int32_t group_of(const struct scheme_reader *r, int32_t group, struct storage *storage)
{
    if (group == 0)
        return scheme_refuse(r, "groups of 0 columns are not served");
    storage->rows = 1;
    storage->columns = group < 0 ? 0 : group;
    return INFLIGHT_OK;
}

int32_t scheme_parse_awq(const struct scheme_reader *r, const json_t *object)
{
    struct storage storage = {.codes = CODES_AWQ, .bits = 4, .zeros = true};
    const json_t *ignored;
    const char *version = "gemm";
    int32_t group = 128;
    bool zeros = true;
    if (scheme_integer(r, object, "w_bit", &storage.bits) ||
        scheme_integer(r, object, "bits", &storage.bits) ||
        scheme_integer(r, object, "q_group_size", &group) ||
        scheme_integer(r, object, "group_size", &group) ||
        scheme_bool(r, object, "zero_point", &zeros) ||
        scheme_text(r, object, "version", &version) ||
        scheme_texts(r, object, "modules_to_not_convert", &ignored))
        return r->err->code;
    if (storage.bits != 4)
        return scheme_refuse(r, "%d bits are not served: 4 are", storage.bits);
    if (strcasecmp(version, "gemm") != 0)
        return scheme_refuse(r, "version %.40s is not served: gemm is", version);
    if (!zeros)
        return scheme_refuse(r, "zero_point false is not served: true is");
    if (group_of(r, group, &storage) || scheme_add_ignored(r, ignored, MATCH_PART) ||
        scheme_room(r, 1) || scheme_add(r, MATCH_NAME, "lm_head", &alone))
        return r->err->code;
    return add_all(r, &storage);
}

/* What the object, or one of its exceptions, says of layers; *storage: as it is without. */
static int32_t gptq_storage(const struct scheme_reader *r, const json_t *object,
                            struct storage *storage)
{
    int32_t group = storage->columns ? storage->columns : -1;
    if (scheme_integer(r, object, "bits", &storage->bits) ||
        scheme_integer(r, object, "group_size", &group) ||
        scheme_bool(r, object, "sym", &storage->middle_zeros))
        return r->err->code;
    if (storage->bits != 4 && storage->bits != 8)
        return scheme_refuse(r, "%d bits are not served: 4 and 8 are", storage->bits);
    return group_of(r, group, storage);
}

/* "-:pattern" are left alone; "+:pattern" and "pattern" are as the others but for some keys. */
static int32_t gptq_exceptions(const struct scheme_reader *r, const json_t *dynamic,
                               const struct storage *most)
{
    const char *pattern;
    json_t *value;
    if (scheme_room(r, json_object_size(dynamic)))
        return r->err->code;
    json_object_foreach((json_t *)(uintptr_t)dynamic, pattern, value)
    {
        struct storage storage = *most;
        bool is_alone = strncmp(pattern, "-:", 2) == 0;
        bool is_marked = is_alone || strncmp(pattern, "+:", 2) == 0;
        if (!is_alone && !json_is_object(value))
            return scheme_refuse(r, "dynamic: what \"%.60s\" has is not an object", pattern);
        if (!is_alone && gptq_storage(r, value, &storage))
            return r->err->code;
        if (scheme_add(r, MATCH_PATTERN, pattern + (is_marked ? 2 : 0),
                       is_alone ? &alone : &storage))
            return r->err->code;
    }
    return INFLIGHT_OK;
}

int32_t scheme_parse_gptq(const struct scheme_reader *r, const json_t *object)
{
    struct storage storage = {
        .codes = CODES_GPTQ, .bits = 4, .columns = 128, .zeros = true, .middle_zeros = true};
    const json_t *dynamic;
    const char *format = "gptq", *pack = "int32";
    bool head = false;
    if (gptq_storage(r, object, &storage) || scheme_bool(r, object, "lm_head", &head) ||
        scheme_text(r, object, "format", &format) ||
        scheme_text(r, object, "checkpoint_format", &format) ||
        scheme_text(r, object, "pack_dtype", &pack) ||
        scheme_object(r, object, "dynamic", &dynamic))
        return r->err->code;
    if (strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
        return scheme_refuse(r, "checkpoint_format %.40s is not served: gptq and gptq_v2 are",
                             format);
    if (strcmp(pack, "int32") != 0)
        return scheme_refuse(r, "pack_dtype %.40s is not served: int32 is", pack);
    storage.zeros_less_one = strcmp(format, "gptq") == 0;
    if (gptq_exceptions(r, dynamic, &storage))
        return r->err->code;
    if (!head && (scheme_room(r, 1) || scheme_add(r, MATCH_NAME, "lm_head", &alone)))
        return r->err->code;
    return add_all(r, &storage);
}

/* [rows, columns] of a scale, or nothing. */
static int32_t block_of(const struct scheme_reader *r, const json_t *object, const char *key,
                        struct storage *storage)
{
    const json_t *block = json_object_get(object, key);
    json_int_t size[2];
    if (!block || json_is_null(block))
        return INFLIGHT_OK;
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_array_get(block, i);
        size[i] = json_is_integer(value) ? json_integer_value(value) : 0;
    }
    if (json_array_size(block) != 2 || size[0] < 1 || size[0] > SCHEME_GROUP_MOST || size[1] < 1 ||
        size[1] > SCHEME_GROUP_MOST)
        return err_set(r->err, INFLIGHT_E_MODEL, "%s: quantization: %s is not two sizes of a block",
                       r->scheme->where, key);
    storage->rows = (int32_t)size[0];
    storage->columns = (int32_t)size[1];
    return INFLIGHT_OK;
}

int32_t scheme_parse_fp8(const struct scheme_reader *r, const json_t *object)
{
    struct storage storage = {.codes = CODES_E4M3, .bits = 8};
    const json_t *ignored, *not_converted;
    const char *numbers = "e4m3";
    if (scheme_text(r, object, "fmt", &numbers) ||
        block_of(r, object, "weight_block_size", &storage) ||
        scheme_texts(r, object, "ignored_layers", &ignored) ||
        scheme_texts(r, object, "modules_to_not_convert", &not_converted))
        return r->err->code;
    if (strcmp(numbers, "e4m3") != 0)
        return scheme_refuse(r, "fmt %.40s is not served: e4m3 is", numbers);
    if (scheme_add_ignored(r, ignored, MATCH_PART) ||
        scheme_add_ignored(r, not_converted, MATCH_PART))
        return r->err->code;
    return add_all(r, &storage);
}

int32_t scheme_parse_fbgemm(const struct scheme_reader *r, const json_t *object)
{
    static const struct storage storage = {.codes = CODES_E4M3, .bits = 8, .rows = 1};
    const json_t *ignored;
    if (scheme_texts(r, object, "modules_to_not_convert", &ignored) ||
        scheme_add_ignored(r, ignored, MATCH_PART))
        return r->err->code;
    return add_all(r, &storage);
}

static const struct {
    const char *name;
    struct storage storage;
} algorithms[] = {
    {"FP8", {.codes = CODES_E4M3, .bits = 8}},
    {"FP8_PER_CHANNEL_PER_TOKEN", {.codes = CODES_E4M3, .bits = 8, .rows = 1}},
    {"FP8_PB_WO", {.codes = CODES_E4M3, .bits = 8, .rows = 128, .columns = 128}},
    {"W8A8_SQ_PER_CHANNEL", {.codes = CODES_I8, .bits = 8, .rows = 1}},
    {"W8A16", {.codes = CODES_I8, .bits = 8, .rows = 1}},
    {"W4A16_AWQ", {.codes = CODES_PAIRS, .bits = 4, .rows = 1, .columns = 128}},
    {"NVFP4", {.codes = CODES_NVFP4, .bits = 4, .rows = 1, .columns = 16}},
    {"NVFP4_AWQ", {.codes = CODES_NVFP4, .bits = 4, .rows = 1, .columns = 16}},
    {"W4A16_NVFP4", {.codes = CODES_NVFP4, .bits = 4, .rows = 1, .columns = 16}},
};

static int32_t modelopt_storage(const struct scheme_reader *r, const json_t *object,
                                struct storage *storage)
{
    const char *name = "none";
    size_t i = 0;
    if (scheme_text(r, object, "quant_algo", &name))
        return r->err->code;
    while (i < COUNT_OF(algorithms) && strcasecmp(name, algorithms[i].name) != 0)
        i++;
    if (i == COUNT_OF(algorithms))
        return scheme_refuse(r,
                             "quant_algo %.40s is not served: FP8, FP8_PER_CHANNEL_PER_TOKEN, "
                             "FP8_PB_WO, W8A8_SQ_PER_CHANNEL, W8A16, W4A16_AWQ, NVFP4, NVFP4_AWQ "
                             "and W4A16_NVFP4 are",
                             name);
    *storage = algorithms[i].storage;
    int32_t group = storage->columns;
    if (storage->bits == 8)
        return INFLIGHT_OK;
    if (scheme_integer(r, object, "group_size", &group))
        return r->err->code;
    if (storage->codes == CODES_NVFP4 && group != storage->columns)
        return scheme_refuse(r, "%s in groups of %d is not served: of %d is", name, group,
                             storage->columns);
    return group_of(r, group, storage);
}

/* Each of them with an algorithm of its own. */
static int32_t modelopt_layers(const struct scheme_reader *r, const json_t *layers)
{
    const char *name;
    json_t *value;
    if (!layers)
        return scheme_refuse(r, "MIXED_PRECISION without quantized_layers is not served");
    if (scheme_room(r, json_object_size(layers)))
        return r->err->code;
    json_object_foreach((json_t *)(uintptr_t)layers, name, value)
    {
        struct storage storage;
        if (modelopt_storage(r, value, &storage) || scheme_add(r, MATCH_NAME, name, &storage))
            return err_prefix(r->err, "quantized_layers %.80s", name);
    }
    return INFLIGHT_OK;
}

int32_t scheme_parse_modelopt(const struct scheme_reader *r, const json_t *object)
{
    const json_t *inner, *excluded, *ignored, *layers;
    const char *name = NULL;
    struct storage storage;
    if (scheme_object(r, object, "quantization", &inner))
        return r->err->code;
    object = inner ? inner : object;
    if (scheme_texts(r, object, "exclude_modules", &excluded) ||
        scheme_texts(r, object, "ignore", &ignored) ||
        scheme_object(r, object, "quantized_layers", &layers) ||
        scheme_text(r, object, "quant_algo", &name) ||
        scheme_add_ignored(r, excluded, MATCH_GLOB) || scheme_add_ignored(r, ignored, MATCH_GLOB))
        return r->err->code;
    /* Keys and values alone may be quantized. */
    if (!name)
        return INFLIGHT_OK;
    if (strcasecmp(name, "MIXED_PRECISION") == 0)
        return modelopt_layers(r, layers);
    return modelopt_storage(r, object, &storage) ? r->err->code : add_all(r, &storage);
}

/* Experts alone are quantized, and stored as no module is: matrix_find_expert. All others are left
 * alone, whether the object names them or not. */
int32_t scheme_parse_mxfp4(const struct scheme_reader *r, const json_t *object)
{
    const json_t *ignored;
    if (scheme_texts(r, object, "modules_to_not_convert", &ignored) || scheme_room(r, 1))
        return r->err->code;
    return scheme_add(r, MATCH_CLASS, "Linear", &alone);
}
