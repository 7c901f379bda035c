/* The numbers of a model, one struct, read from the keys of its file. */
#pragma once

#include "../file/gguf.h"

#define FREQ_MAX 128 /* dim / 2 of the widest head served */

struct hparams {
    char arch[32];        /* general.architecture */
    char name[64];        /* general.name, cut to fit */
    int32_t L, D, F;      /* layers, model width, feed-forward width */
    int32_t H, K, dim;    /* query heads, key/value heads, head width */
    int32_t V;            /* vocabulary */
    int32_t context;      /* trained positions */
    float eps;            /* of the norms */
    float freq[FREQ_MAX]; /* (dim / 2) rotary radians per position, scaling applied */
    float rotary_scale;   /* multiplies cos and sin: 1, or YaRN's */
};

/* Every value checked for range; INFLIGHT_E_MODEL names the key. */
int32_t hparams_read(struct hparams *h, const struct gguf *g, struct err *err);
