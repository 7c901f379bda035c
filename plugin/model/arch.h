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
    double theta;       /* rotary base where config.json has none; 0: 10000 */
};

/* Whether layer l turns its queries and keys. */
static inline bool arch_rotates(const struct arch *arch, int32_t l)
{
    return !arch->nope_every || (l + 1) % arch->nope_every != 0;
}

/* The row of an id, or NULL. */
const struct arch *arch_find(const char *id);

/* The row that models of this model_type are, or NULL. */
const struct arch *arch_find_type(const char *model_type);

/* All rows, NULL-terminated. */
extern const struct arch *const arch_list[];
