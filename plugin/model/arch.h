/* Every way in which model families differ, one field each. A family is a row; zero
 * means "as in Llama", so a row shows only the difference. */
#pragma once

#include "../base/base.h"
#include "../../kernels/ops.h"

#define MODEL_TYPES_MOST 3

/* What a model knows of where a token is. */
enum positions {
    POSITIONS_ROTARY,  /* queries and keys turn: Su et al. 2021 */
    POSITIONS_LEARNED, /* a row of a table is added to the embedding */
    POSITIONS_ALIBI,   /* scores are lower by distance: Press et al. 2021 */
};

/* Of the feed-forward part. */
enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_RELU2 };

/* A tensor's name without ".weight" or ".bias": in the tables of tensor_rows.h, in a GGUF file if
 * that is another, and in a folder; of a layer's what follows its prefix, of an expert's with %d
 * for its number, or without where all of a layer's are in one tensor, those of gate and up row by
 * row in turn. Of two in a row with the same first name the second is taken where the tensor of the
 * first is not there. */
struct arch_name {
    const char *row, *gguf, *folder;
};

/* Names of a family whose folders do not have Llama's. */
struct arch_names {
    const char *root;              /* before all but the head; the oldest files are without it */
    const char *layer;             /* then, of a layer, before its number: "h." */
    const struct arch_name *names; /* row NULL ends it */
};

struct arch {
    const char *id;                               /* general.architecture in GGUF files */
    const char *model_type[MODEL_TYPES_MOST + 1]; /* in config.json, NULL-terminated */
    bool qkv_bias;                                /* q, k, v projections have a bias */
    bool may_have_bias;                           /* they have one if those of the first layer do */
    bool qk_norm;        /* each query and key head is normalised before rotation */
    bool may_have_norm;  /* they are if the file says so, or has the weights */
    bool v_norm;         /* each value head is, too, by weights of 1 */
    bool wide_norm;      /* all query heads of a token are normalised together, all key heads too */
    int32_t rope;        /* enum rope_kind of the weights as GGUF files store them; those of folders
                           are for ROPE_HALF */
    bool same_rope;      /* but of this family, which are as in GGUF files */
    int32_t nope_every;  /* every n-th layer has no rotation; 0: all rotate */
    bool near_turns;     /* if layers see a window, no others rotate */
    int32_t full_every;  /* layers see a window, but for every n-th; 0: as the file says */
    bool may_slide;      /* if the file has a window */
    bool slides_all;     /* all layers see a window if a folder has one */
    bool asks_window;    /* some do if use_sliding_window says so */
    bool names_slides;   /* which, layer_types must say */
    double theta;        /* rotary base where config.json has none; 0: 10000 */
    double eps;          /* of the norms, where config.json has no key for it; 0: it must */
    double near_theta;   /* of layers that see a window, where the file has none; 0: they turn like
                           the others */
    bool near_unscaled;  /* these turn by the same base, but without its scaling */
    bool ramp_fractions; /* of struct rotation, which GGUF files do not say */
    bool sinks;          /* heads attend to a logit of their own, too */
    bool fused;          /* q, k and v are rows of one matrix, and so are gate and up */
    bool fused_up;       /* gate and up are, though q, k and v are not */
    bool by_groups;  /* those of a folder: of each key/value head its queries, its key, its value */
    bool across;     /* matrices of layers are stored by columns in a folder */
    bool part_turns; /* heads may turn in their first columns alone */
    double waves;    /* of layers that see all, this share of a head's waves turns, the fastest,
                     where config.json does not say; 0: all do */
    double part;     /* how much of a head does, where config.json does not say; 0: all of it */
    int32_t activation; /* enum activation */
    bool post_norm;     /* what both parts of a layer add is normalised, too */
    bool bare;          /* and nothing else: what they read is not */
    bool root_embed;    /* embeddings come times sqrt(D) */
    bool multiplied; /* by multipliers of the file: embeddings, what layers add, scores, logits */
    double logit_scale; /* of logits, where config.json does not say; 0: they are not scaled */
    bool unscaled;      /* scores are not multiplied */
    bool capped;        /* scores and logits, by caps of the file */
    bool logits_capped; /* logits alone, if the file has a cap */
    bool has_kinds;     /* layers that see a window have heads of another shape than those that see
                           all; the last ones may be shared, and each have an embedding of its own:
                           hparams_kinds.c */
    bool layer_factor;  /* what a layer leaves comes times a number of the file */
    bool norm_less_one; /* Hugging Face's norms are stored less 1; GGUF files have them whole */
    int32_t positions;  /* enum positions */
    bool layer_norm;    /* norms are of NORM_LAYER */
    bool norm_bias;     /* and have a bias */
    bool embed_norm;    /* embeddings are normalised */
    bool parallel;      /* both parts of a layer are of its input, and added to it together */
    bool one_norm;      /* of the same norm of it */
    bool plain;         /* the feed-forward part has no gate */
    bool experts;       /* it is experts, of which each token meets a few */
    bool expert_bias;   /* they and their router have biases */
    bool stacked;    /* in folders, too, one tensor has the rows of all of a layer, where those of a
                           gate stand before those of its up */
    float glu_limit; /* their gates are clamped, at this where config.json says no other */
    int32_t shares;  /* enum shares of files that do not say it */
    bool asks_shares; /* norm_topk_prob of a folder says whether shares of those that are chosen sum
                          to 1; where it is missing they do not, logistic ones as shares has it */
    bool choice_bias; /* they are chosen with a bias that counts for nothing else */
    bool dense_first; /* the first layers, as many as the file says, are no experts */
    bool shared;      /* there may be one more, that all tokens meet */
    bool shared_gate; /* of which they take as much as a gate says */
    bool o_bias, ffn_bias, head_bias;
    const struct arch_names *names; /* NULL: Llama's */
    bool ahead;                     /* files have layers behind the last one: ahead_part.h */
    const struct arch *twin;        /* the row of models that have a tensor */
    const char *twin_tensor[2];     /* of this name, by enum naming */
    int32_t odd_layers; /* a model of as many scales scores by 1 / sqrt(D / H), which a GGUF file
                           does not say: 27B of Gemma 2 and 3; 0: none */
};

/* The row of an id, or NULL. */
const struct arch *arch_find(const char *id);

/* The row that models of this model_type are, or NULL. */
const struct arch *arch_find_type(const char *model_type);

/* All rows, NULL-terminated. */
extern const struct arch *const arch_list[];
