/* Every way in which model families differ, one field each. A family is a row; zero
 * means "as in Llama", so a row shows only the difference. */
#pragma once

#include "../base/base.h"
#include "../../kernels/ops.h"

struct arch {
    const char *id;     /* general.architecture in GGUF files */
    bool qkv_bias;      /* q, k, v projections have a bias */
    bool qk_norm;       /* each query and key head is normalised before rotation */
    int32_t rope;       /* enum rope_kind of the weights as the files store them */
    int32_t nope_every; /* every n-th layer has no rotation; 0: all rotate */
};

/* The row of an id, or NULL. */
const struct arch *arch_find(const char *id);

/* All rows, NULL-terminated. */
extern const struct arch *const arch_list[];
