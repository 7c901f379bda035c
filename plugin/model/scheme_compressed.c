/* compressed-tensors: groups of modules, each with its numbers, scales and format. */
#include "scheme_parse.h"

#include <stdio.h>
#include <string.h>

/* What a group's "weights" says. */
struct weights_row {
    int32_t bits, group;
    bool symmetric, dynamic;
    const char *type, *strategy, *format;
    const json_t *block;
};

/* [128, 128] or "128x128". */
static int32_t block_of(const struct scheme_reader *r, const json_t *block, struct storage *storage)
{
    long long rows = 0, columns = 0;
    if (json_is_array(block) && json_array_size(block) == 2) {
        rows = json_integer_value(json_array_get(block, 0));
        columns = json_integer_value(json_array_get(block, 1));
    } else if (json_is_string(block)) {
        char rest;
        if (sscanf(json_string_value(block), "%7lldx%7lld%c", &rows, &columns, &rest) != 2)
            rows = 0;
    }
    if (rows < 1 || columns < 1 || rows > SCHEME_GROUP_MOST || columns > SCHEME_GROUP_MOST)
        return scheme_refuse(r, "block_structure is not two sizes of a block");
    storage->rows = (int32_t)rows;
    storage->columns = (int32_t)columns;
    return INFLIGHT_OK;
}

static int32_t scales_of(const struct scheme_reader *r, const struct weights_row *row,
                         struct storage *storage)
{
    if (strcmp(row->strategy, "block") == 0)
        return block_of(r, row->block, storage);
    if (strcmp(row->strategy, "group") == 0) {
        if (row->group == 0 || row->group < -1)
            return scheme_refuse(r, "groups of %d columns are not served", row->group);
        storage->rows = 1;
        storage->columns = row->group < 0 ? 0 : row->group;
    } else if (strcmp(row->strategy, "channel") == 0) {
        storage->rows = 1;
    } else if (strcmp(row->strategy, "tensor") != 0) {
        return scheme_refuse(
            r, "strategy %.40s is not served: tensor, channel, group and block are", row->strategy);
    }
    return INFLIGHT_OK;
}

/* Numbers of E2M1, each of the two formats with the groups that it is made for. */
static int32_t floats_of_4(const struct scheme_reader *r, const struct weights_row *row,
                           struct storage *storage)
{
    const bool is_mx = strcmp(row->format, "mxfp4-pack-quantized") == 0;
    const int32_t columns = is_mx ? 32 : 16;
    if (row->group != columns || (!is_mx && strcmp(row->format, "nvfp4-pack-quantized") != 0))
        return scheme_refuse(r,
                             "float numbers of 4 bits in groups of %d as %.40s are not served: "
                             "nvfp4-pack-quantized in groups of 16 and mxfp4-pack-quantized of 32 "
                             "are",
                             row->group, row->format);
    *storage = (struct storage){.codes = is_mx ? CODES_MXFP4_PACKED : CODES_NVFP4_PACKED,
                                .bits = 4,
                                .rows = 1,
                                .columns = columns};
    return INFLIGHT_OK;
}

static int32_t codes_of(const struct scheme_reader *r, const struct weights_row *row,
                        struct storage *storage)
{
    bool is_naive = strcmp(row->format, "naive-quantized") == 0;
    bool is_int = strcmp(row->type, "int") == 0 && (row->bits == 4 || row->bits == 8);
    if (strcmp(row->type, "float") == 0 && row->bits == 8 && row->symmetric &&
        (is_naive || strcmp(row->format, "float-quantized") == 0))
        storage->codes = CODES_E4M3;
    else if (is_int && (is_naive || strcmp(row->format, "int-quantized") == 0))
        storage->codes = CODES_I8;
    else if (is_int && strcmp(row->format, "pack-quantized") == 0)
        storage->codes = CODES_PACKED;
    else
        return scheme_refuse(r,
                             "%s numbers of %d bits and type %.20s as %.40s are not served: "
                             "float-quantized of 8 bits, int-quantized and pack-quantized of 4 and "
                             "8, nvfp4-pack-quantized and mxfp4-pack-quantized are",
                             row->symmetric ? "symmetric" : "asymmetric", row->bits, row->type,
                             row->format);
    storage->bits = row->bits;
    storage->zeros = !row->symmetric;
    return INFLIGHT_OK;
}

/* group_size without strategy means groups. */
static int32_t weights_of(const struct scheme_reader *r, const json_t *weights, const char *format,
                          struct storage *storage)
{
    struct weights_row row = {.bits = 8, .symmetric = true, .type = "int", .format = format};
    if (scheme_integer(r, weights, "num_bits", &row.bits) ||
        scheme_integer(r, weights, "group_size", &row.group) ||
        scheme_bool(r, weights, "symmetric", &row.symmetric) ||
        scheme_bool(r, weights, "dynamic", &row.dynamic) ||
        scheme_text(r, weights, "type", &row.type) ||
        scheme_text(r, weights, "strategy", &row.strategy))
        return r->err->code;
    row.block = json_object_get(weights, "block_structure");
    if (!row.strategy)
        row.strategy = row.group > 0 ? "group" : row.group < 0 ? "channel" : "tensor";
    if (row.dynamic)
        return scheme_refuse(r, "weights with dynamic true are not served");
    *storage = (struct storage){.codes = CODES_NONE};
    if (strcmp(row.type, "float") == 0 && row.bits == 4 && row.symmetric)
        return floats_of_4(r, &row, storage);
    return codes_of(r, &row, storage) ? r->err->code : scales_of(r, &row, storage);
}

/* Those of the group's targets that are of one kind. */
static int32_t add_targets(const struct scheme_reader *r, const json_t *targets, enum match match,
                           const struct storage *storage)
{
    const json_t *text;
    size_t i;
    json_array_foreach(targets, i, text)
    {
        const char *target = json_string_value(text);
        bool is_pattern = strncmp(target, "re:", 3) == 0, is_class = !strchr(target, '.');
        enum match kind = is_pattern ? MATCH_PATTERN : is_class ? MATCH_CLASS : MATCH_NAME;
        /* A module may have a name without a dot. */
        if (kind == MATCH_CLASS && match == MATCH_NAME)
            kind = MATCH_NAME;
        if (kind == match && scheme_add(r, match, target + (is_pattern ? 3 : 0), storage))
            return r->err->code;
    }
    return INFLIGHT_OK;
}

static int32_t add_group(const struct scheme_reader *r, const json_t *group, const char *format,
                         enum match match)
{
    struct storage storage = {.codes = CODES_NONE};
    const json_t *targets, *weights;
    if (scheme_texts(r, group, "targets", &targets) ||
        scheme_object(r, group, "weights", &weights) || scheme_text(r, group, "format", &format))
        return r->err->code;
    if (weights && weights_of(r, weights, format, &storage))
        return r->err->code;
    if (scheme_room(r, json_array_size(targets)))
        return r->err->code;
    return add_targets(r, targets, match, &storage);
}

/* Patterns as in targets, names, classes. */
static int32_t add_ignored(const struct scheme_reader *r, const json_t *ignored)
{
    static const enum match kinds[] = {MATCH_NAME, MATCH_PATTERN, MATCH_CLASS};
    const struct storage alone = {.codes = CODES_NONE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (scheme_room(r, json_array_size(ignored)) || add_targets(r, ignored, kinds[i], &alone))
            return r->err->code;
    return INFLIGHT_OK;
}

/* Sparse files have other tensors. */
static int32_t refuse_sparse(const struct scheme_reader *r, const json_t *object)
{
    const json_t *sparsity;
    const char *format = "dense";
    if (scheme_object(r, object, "sparsity_config", &sparsity) ||
        scheme_text(r, sparsity, "format", &format))
        return r->err->code;
    if (strcmp(format, "dense") != 0)
        return scheme_refuse(r, "sparsity_config: format %.40s is not served: dense is", format);
    return INFLIGHT_OK;
}

int32_t scheme_parse_compressed(const struct scheme_reader *r, const json_t *object)
{
    static const enum match kinds[] = {MATCH_NAME, MATCH_PATTERN, MATCH_CLASS};
    const json_t *ignored, *groups;
    const char *format = "dense", *name;
    json_t *group;
    if (scheme_text(r, object, "format", &format) || scheme_texts(r, object, "ignore", &ignored) ||
        scheme_object(r, object, "config_groups", &groups) || refuse_sparse(r, object) ||
        add_ignored(r, ignored))
        return r->err->code;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        json_object_foreach((json_t *)(uintptr_t)groups, name, group)
        {
            if (!json_is_object(group))
                return scheme_refuse(r, "config_groups: %.60s is not an object", name);
            if (add_group(r, group, format, kinds[i]))
                return r->err->code;
        }
    return INFLIGHT_OK;
}
