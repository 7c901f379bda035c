/* Every way in which model families differ, one field each. A family is a row; zero
 * means "as in Llama", so a row shows only the difference. */
#pragma once

#include "../base/base.h"
#include "../../kernels/ops.h"

#define MODEL_TYPES_MOST 3

struct arch {
    const char *id;                               /* general.architecture in GGUF files */
    const char *model_type[MODEL_TYPES_MOST + 1]; /* in config.json, NULL-terminated */
    bool qkv_bias;                                /* q, k, v projections have a bias */
    bool qk_norm;       /* each query and key head is normalised before rotation */
    int32_t rope;       /* enum rope_kind of the weights as GGUF files store them; Hugging Face's
                           are all for ROPE_HALF */
    int32_t nope_every; /* every n-th layer has no rotation; 0: all rotate */
    int32_t full_every; /* layers see a window, but for every n-th; 0: as the file says */
    double theta;       /* rotary base where config.json has none; 0: 10000 */
    double near_theta;  /* of layers that see a window, where the file has none; 0: they turn like
                           the others */
    bool fused;         /* q, k and v are rows of one matrix, and so are gate and up */
    bool part_turns;    /* heads may turn in their first columns alone */
    bool gelu;          /* in the feed-forward part, by tanh, in place of silu */
    bool post_norm;     /* what both parts of a layer add is normalised, too */
    bool root_embed;    /* embeddings come times sqrt(D) */
    bool capped;        /* scores and logits, by caps of the file */
    bool norm_less_one; /* Hugging Face's norms are stored less 1; GGUF files have them whole */
    int32_t odd_layers; /* a model of as many scales scores by 1 / sqrt(D / H), which a GGUF file
                           does not say: 27B of Gemma 2 and 3; 0: none */
};

/* Whether layer l turns its queries and keys. */
static inline bool arch_rotates(const struct arch *arch, int32_t l)
{
    return !arch->nope_every || (l + 1) % arch->nope_every != 0;
}

/* Whether there are two rotations: that of layers that see a window is the second. */
static inline bool arch_turns_twice(const struct arch *arch)
{
    return arch->near_theta > 0;
}

/* The row of an id, or NULL. */
const struct arch *arch_find(const char *id);

/* The row that models of this model_type are, or NULL. */
const struct arch *arch_find_type(const char *model_type);

/* All rows, NULL-terminated. */
extern const struct arch *const arch_list[];
