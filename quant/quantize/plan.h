/* What is to be written: every tensor of the model, copied or converted, and the file it goes
 * to. */
#pragma once

#include "pack.h"
#include "recipe.h"

#include "../../plugin/model/checkpoint.h"

#define SHARD_BYTES ((uint64_t)2 << 30) /* of a file, unless one tensor has more */

#define MODULE_MOST 400 /* bytes of a module's name */

struct quantize_params {
    const struct recipe *recipe;
    int32_t method; /* enum method, of recipe->methods */
    enum convention convention;
    const char *calibration; /* a text, or NULL; see quantize_calibrates */
    const char *device;      /* of calibration: auto, or a back end's name */
    int32_t samples, length; /* of the text, or of what the model writes; in tokens */
    bool act_order;          /* METHOD_GPTQ: columns with the largest inputs first */
    float correction;        /* METHOD_GPTQ: the share of drift.h; else 0 */
    float alpha;             /* METHOD_SMOOTH: see smooth.h */
    int32_t group;           /* int4: 32, 64, 128 */
    bool is_symmetric;       /* int4 */
    bool head;               /* the output head too */
    double budget;           /* most bits a weight of what is converted, see budget.h; 0: none */
    const char *const *keep; /* (n_keep) patterns of modules that stay as they are: fnmatch(3) */
    int32_t n_keep;
};

/* Whether it is decided by samples: those of a text, or where there is none but they are needed,
 * those that the model writes. */
static inline bool quantize_calibrates(const struct quantize_params *p)
{
    return p->calibration || p->method != METHOD_RTN || p->recipe->is_static;
}

#define FINER_MOST 3         /* formats finer than that of a recipe */
#define LAYER_HEAD INT32_MAX /* behind all layers */

/* A tensor of one number, F32, beside those of a matrix: the scale of what it reads, or of the keys
 * or values that it gives. */
struct scale {
    const char *suffix;
    bool is_of_parent; /* after the name of the module around the matrix' */
    float value;       /* 0 until calibration has found it */
};

#define OUTPUT_SCALES 3 /* of its inputs, keys and values */

struct output {
    const struct tensor *from;
    bool is_encoded;        /* to packing; or copied */
    bool is_kept;           /* a matrix of a layer that stays as it is */
    struct packing packing; /* if it is encoded */
    struct scale scale[OUTPUT_SCALES];
    int32_t n_scales;
    const char *module; /* its name without ".weight", of matrices; in the arena */
    int32_t shard;
    int32_t layer;       /* that it belongs to, LAYER_HEAD, or -1 */
    const uint8_t *made; /* its bytes, if calibration makes them: as in packing, or as they were */
    double error;        /* relative, once it is written: root of the sums of squares */
    double output_error; /* the same of the outputs for the samples, beside those that are
                            wanted, see drift.h; below 0: not known */
    bool is_finer;       /* by a budget: kept, or of another format than planned */
    enum fmt planned;    /* if it is finer */
    /* Of the planned format and those of plan_finer, see budget.h; below 0: not known. */
    double cost[1 + FINER_MOST];
    int32_t finer_level; /* which of them it has; 1 + FINER_MOST: it stays as it is */
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
    enum convention convention;
    bool is_part;                  /* the model also sees: what is converted is its text model */
    uint64_t from_bytes, to_bytes; /* of all tensors */
};

/* Decides for every tensor; nothing to convert, or what cannot be, is an error that names it. */
int32_t quantize_plan(struct quantize_plan *plan, const struct checkpoint *c,
                      const struct quantize_params *params, struct arena *arena, struct err *err);

/* The finer format number `level`, from 1 on, of what is encoded as planned; FMT_COUNT: there is no
 * such one. */
enum fmt plan_finer(const struct output *o, int32_t level);

/* Encodes a matrix as fmt. */
void plan_format(struct output *o, enum fmt fmt, const struct quantize_params *params);

/* Files and sums, after outputs have changed. */
void plan_place(struct quantize_plan *plan);

/* Bytes of an output in its file. */
uint64_t output_bytes(const struct output *o);

/* The name of the tensor of a scale, in out (bytes). */
int output_scale_name(const struct output *o, const struct scale *s, char *out, size_t bytes);

/* Modules that stay as they are, an array of names; the head is among them even where it is the
 * embedding's data: the module is a Linear one. */
json_t *quantize_ignored(const struct quantize_plan *plan);

/* config.json of what is written: that of the model with quantization_config; owned by the
 * caller. */
json_t *quantize_config(const struct quantize_plan *plan, const json_t *config,
                        const struct quantize_params *params);
