/* Rotary frequencies: base and scaling of the file -> radians per position. */
#pragma once

#include "hparams.h"

enum scaling {
    SCALING_NONE,
    SCALING_LINEAR,
    SCALING_YARN,   /* Peng et al. 2023 */
    SCALING_LLAMA3, /* Llama 3.1: slow waves stretched, a ramp to fast ones */
    SCALING_PART,   /* the fastest waves turn and the others do not: Gemma 4 */
    SCALING_LONG,   /* LongRoPE, Ding et al. 2024: a factor for each wave */
};

/* What a file says about rotation. */
struct rotation {
    enum scaling scaling;
    double base;       /* theta */
    double factor;     /* how much the context was stretched, >= 1 */
    double original;   /* context before that */
    double fast, slow; /* YaRN, Llama 3: turns over that context; more: kept, fewer: stretched */
    double attention;  /* YaRN, LongRoPE: multiplies cos and sin; 0: by the factor */
    double part;       /* how much of the waves turn, of SCALING_PART */
    bool fractions;    /* YaRN: the ramp need not begin and end at whole pairs */
};

/* Fills h->freq and h->rotary_scale; dim is set. INFLIGHT_E_MODEL: out of range. */
int32_t rope_set(struct hparams *h, const struct rotation *r, struct err *err);

/* Queries that grow by their positions, from `original` on by steps: h->growth; growth 0: they do
 * not. INFLIGHT_E_MODEL: out of range. */
int32_t rope_set_growth(struct hparams *h, double growth, double original, struct err *err);

/* The same of layers that slide: h->near_freq, which nothing scales. */
int32_t rope_set_near(struct hparams *h, double base, struct err *err);

/* Both from the keys of a GGUF file, or of a config.json; context is set, too. Per-frequency
 * factors as GGUF files of Llama 3 carry are a tensor: rope_apply_factors. */
struct arch;
int32_t rope_read_gguf(struct hparams *h, const struct arch *arch, const struct gguf *g,
                       struct err *err);
int32_t rope_read_config(struct hparams *h, const struct arch *arch, const json_t *config,
                         struct err *err);

/* x: (K, dim), what is added to keys before they are rotated, becomes the mean of what it is after
 * that over the positions of the context. Keys less that mean are smaller, most of all where they
 * turn slowly; columns that do not turn are their own. */
void rope_mean(const struct hparams *h, float *x);

/* Divides each frequency by its factor: (rotary_dim / 2) floats of tensor rope_freqs.weight. */
void rope_apply_factors(struct hparams *h, const float *factor);

/* The frequencies of sequences of up to `context` positions, where these differ: once, before they
 * are used. */
void rope_choose(struct hparams *h, int32_t context);
