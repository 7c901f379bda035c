/* Rotary frequencies: base and scaling of the file -> radians per position. */
#pragma once

#include "hparams.h"

/* Fills h->freq and h->rotary_scale; dim and context are set. Kinds: none, linear, YaRN
 * (Peng et al. 2023), and per-frequency factors as Llama 3 files carry (freqs_read). */
int32_t rope_read(struct hparams *h, const struct gguf *g, struct err *err);

/* Divides each frequency by its factor: (dim / 2) floats of tensor rope_freqs.weight. */
int32_t rope_apply_factors(struct hparams *h, const float *factor, struct err *err);
