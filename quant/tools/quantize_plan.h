/* What is to be written: every tensor of the model, copied or converted, and the file it goes
 * to. */
#pragma once

#include "quantize_pack.h"
#include "quantize_recipe.h"

#include "../../plugin/model/checkpoint.h"

#define SHARD_BYTES ((uint64_t)2 << 30) /* of a file, unless one tensor has more */

#define MODULE_MOST 400 /* bytes of a module's name */

struct quantize_params {
    const struct recipe *recipe;
    int32_t method;          /* enum method; any but METHOD_RTN for int4 alone */
    const char *calibration; /* a text; NULL, of METHOD_RTN: none */
    int32_t samples, length; /* of the text; in tokens */
    bool act_order;          /* METHOD_GPTQ: columns with the largest inputs first */
    int32_t group;           /* int4: 32, 64, 128 */
    bool is_symmetric;       /* int4 */
    bool head;               /* the output head too */
    const char *const *keep; /* (n_keep) patterns of modules that stay as they are: fnmatch(3) */
    int32_t n_keep;
};

struct output {
    const struct tensor *from;
    bool is_encoded;        /* to packing; or copied */
    bool is_kept;           /* a matrix of a layer that stays as it is */
    struct packing packing; /* if it is encoded */
    const char *module;     /* its name without ".weight", of matrices; in the arena */
    int32_t shard;
    int32_t layer;       /* that it belongs to, or -1 */
    const uint8_t *made; /* its bytes, if calibration makes them: as in packing, or as they were */
    double error;        /* relative, once it is written: root of the sums of squares */
    double output_error; /* the same of the outputs for the calibration text; below 0: not known */
};

struct shard {
    uint64_t bytes; /* of the tensors in it */
    int32_t first, n;
};

struct quantize_plan {
    struct output *output; /* (n), in the order of the files; in the arena */
    int32_t n;
    struct shard *shard; /* (n_shards), in the arena */
    int32_t n_shards, n_encoded;
    uint64_t from_bytes, to_bytes; /* of all tensors */
};

/* Decides for every tensor; nothing to convert, or what cannot be, is an error that names it. */
int32_t quantize_plan(struct quantize_plan *plan, const struct checkpoint *c,
                      const struct quantize_params *params, struct arena *arena, struct err *err);

/* Bytes of an output in its file. */
uint64_t output_bytes(const struct output *o);

/* config.json of what is written: that of the model with quantization_config; owned by the
 * caller. */
json_t *quantize_config(const struct quantize_plan *plan, const json_t *config,
                        const struct quantize_params *params);
