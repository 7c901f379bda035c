/* The numbers of a model, one struct, read from the keys of its file. */
#pragma once

#include "checkpoint.h"

#define FREQ_MAX    256 /* dim / 2 of the widest head served */
#define LAYERS_MAX  1024
#define EXPERTS_MAX 1024

struct hparams {
    char arch[32];            /* general.architecture, of a folder that of its row */
    char name[64];            /* general.name, of a folder its own; cut to fit */
    int32_t L, D, F;          /* layers, model width, feed-forward width */
    int32_t H, K, dim;        /* query heads, key/value heads, head width */
    int32_t near_K, near_dim; /* K and dim of layers that slide; 0: as of the others */
    int32_t n_shared; /* the last layers, which attend to keys and values of layers before them */
    int32_t wide_F;   /* F of these; 0: as of the others */
    bool values_of_keys; /* of layers that do not slide: they are what keys are before their norm */
    int32_t P;           /* width of the embedding that each layer has of its own; 0: none has */
    uint8_t kv_kind[LAYERS_MAX]; /* (L) of struct device_config, if the family has kinds */
    int32_t E, U;       /* experts of a layer, and those that a token meets; 0: there are none, and
                           F is one's width */
    int32_t dense;      /* the first layers, which are no experts where others are */
    int32_t dense_F;    /* feed-forward width of these */
    int32_t shared;     /* experts that all tokens meet, which are one of their width together */
    int32_t shared_F;   /* that width; 0: there is none */
    int32_t shares;     /* enum shares of struct op_experts */
    float share_factor; /* of struct op_experts */
    float glu_limit;    /* the same; 0: none */
    int32_t V;          /* vocabulary */
    int32_t context;    /* trained positions */
    float eps;          /* of the norms */
    int32_t activation; /* enum activation */
    bool parallel;      /* as in struct arch, if the file says no other */
    float alibi_max;    /* of POSITIONS_ALIBI: the slope of the last of 2^n heads is 2^-this */
    float embed_scale;  /* of embeddings, and of logits */
    float logit_scale;
    float score_cap; /* of attention, and of logits behind their scale; 0: none */
    float logit_cap;
    int32_t rope; /* enum rope_kind */
    float scale;  /* of scores: 1 / sqrt(dim), or what the file says */
    float growth; /* of struct op_attend; 0: none */
    int32_t growth_from;
    int32_t rotary_dim;         /* first columns of a head, which turn: dim, or fewer */
    float freq[FREQ_MAX];       /* (rotary_dim / 2) rotary radians per position, scaling applied */
    float rotary_scale;         /* multiplies cos and sin: 1, or YaRN's */
    bool turns[LAYERS_MAX];     /* (L) whether queries and keys turn */
    bool turns_twice;           /* those of layers that slide by near_freq */
    float near_freq[FREQ_MAX];  /* not scaled */
    bool has_stretch;           /* LongRoPE: rope_choose divides freq by one of these */
    float stretch[2][FREQ_MAX]; /* for sequences up to `original` positions, and longer ones */
    int32_t original;
    int32_t window;          /* positions that a query sees in layers that slide */
    bool slides[LAYERS_MAX]; /* (L) */
    bool untied;             /* the output head must be a tensor of its own */
    bool qk_norm;            /* of a folder of arch->may_have_norm: it has the weights */
    int32_t ahead;           /* of arch->ahead: layers behind the last one */
};

/* Of layer l: key/value heads, their width, and that of the feed-forward part. */
static inline int32_t hparams_K(const struct hparams *h, int32_t l)
{
    return h->slides[l] && h->near_K ? h->near_K : h->K;
}

static inline int32_t hparams_dim(const struct hparams *h, int32_t l)
{
    return h->slides[l] && h->near_dim ? h->near_dim : h->dim;
}

static inline bool hparams_is_shared(const struct hparams *h, int32_t l)
{
    return l >= h->L - h->n_shared;
}

static inline int32_t hparams_F(const struct hparams *h, int32_t l)
{
    return hparams_is_shared(h, l) && h->wide_F ? h->wide_F : h->F;
}

/* The layer whose keys and values layer l attends to: its own, or the last before the shared ones
 * that slides as it does; -1: there is none. */
int32_t hparams_kv_layer(const struct hparams *h, int32_t l);

/* Columns of the heads of layers that slide that turn: as of the others, or all of heads of another
 * width. */
static inline int32_t hparams_near_turned(const struct hparams *h)
{
    return h->near_dim && h->near_dim != h->dim ? h->near_dim : h->rotary_dim;
}

/* Every value checked for range; INFLIGHT_E_MODEL names the key. */
int32_t hparams_read(struct hparams *h, const struct checkpoint *c, struct err *err);

/* Which layers turn, and whether by two rotations: what follows from the row and the layers that
 * slide. */
struct arch;
void hparams_set_turns(struct hparams *h, const struct arch *arch);

/* Layers of two kinds, of a row that has them, once it is known which slide: K and dim of each
 * kind, which layers are shared, P. Both fill kv_kind. */
int32_t hparams_kinds_config(struct hparams *h, const json_t *config, struct err *err);
int32_t hparams_kinds_gguf(struct hparams *h, const struct checkpoint *c, struct err *err);

/* Multipliers of the file, all 1 where it has none. A layer that adds m times what it computes to x
 * is one that adds it to x / m, whose norm is that of x with eps / m^2: nothing but these two
 * numbers, the scales of embeddings, scores and logits says that there are any. */
struct multipliers {
    double embedding, residual, score, logit; /* score, logit: factors of both */
};
int32_t hparams_multiply(struct hparams *h, const struct multipliers *m, struct err *err);

/* What files say of experts, after E and U: hparams_experts.c. */
int32_t hparams_experts_gguf(struct hparams *h, const struct arch *arch, const struct gguf *g,
                             struct err *err);
int32_t hparams_experts_config(struct hparams *h, const struct arch *arch, const json_t *config,
                               struct err *err);

/* The row of a config.json; NULL: err says why. */
const struct arch *hparams_family(const json_t *config, struct err *err);

/* What only a config.json says, after L, D and so on: which layers slide. What would change
 * results and is not served is refused by its key. */
int32_t hparams_read_config(struct hparams *h, const struct arch *arch, const json_t *config,
                            struct err *err);

/* The same of families with names of their own, arch->names. */
int32_t hparams_read_classic(struct hparams *h, const struct arch *arch, const json_t *config,
                             struct err *err);

/* Whether a config.json has a key, and not null; and whether it is a switch that is on: what is no
 * false, such as 1, counts as true. */
bool config_has(const json_t *config, const char *key);
bool config_is_on(const json_t *config, const char *key);
