/* A model that is run layer by layer on a back end, with one layer's weights on it at a time; what
 * a step reads can be seen between steps. */
#pragma once

#include "attention.h"

#include "../../plugin/model/decoder.h"
#include "../../plugin/model/weights_load.h"

/* Matrices of a layer; of experts expert_slot says which, and SLOT_GATE, SLOT_UP and SLOT_DOWN are
 * of the one that all tokens meet, if there is one. */
enum slot { SLOT_Q, SLOT_K, SLOT_V, SLOT_O, SLOT_GATE, SLOT_UP, SLOT_DOWN, SLOT_ROUTER, SLOTS };

/* Vectors of a layer, all but the first of which may be missing, and then of the model. */
enum vector {
    ATTN_NORM,
    ATTN_NORM_BIAS,
    FFN_NORM,
    FFN_NORM_BIAS,
    ATTN_POST_NORM,
    FFN_POST_NORM,
    Q_BIAS, /* of q, k and v where these are rows of one matrix */
    K_BIAS,
    V_BIAS,
    O_BIAS,
    UP_BIAS,
    DOWN_BIAS,
    Q_NORM,
    K_NORM,
    SINKS,
    SHARED_GATE,
    ROUTER_BIAS,
    CHOICE_BIAS,
    EXPERT_GATE_BIAS,
    EXPERT_UP_BIAS,
    EXPERT_DOWN_BIAS,
    LAYER_VECTORS,
    NORM = LAYER_VECTORS,
    NORM_BIAS,
    EMBED_NORM,
    EMBED_NORM_BIAS,
    POSITION,
    SLOPE,
    FREQ,
    NEAR_FREQ,
    VECTORS
};

/* Steps of a layer. O and DOWN add to x, with the norm of what is added where there is one. Of
 * experts GATE_UP and DOWN are one, with the steps of what all tokens meet. */
enum stage { STAGE_QKV, STAGE_ATTEND, STAGE_O, STAGE_GATE_UP, STAGE_DOWN };

/* What matrices multiply. */
enum input { INPUT_QKV, INPUT_O, INPUT_GATE_UP, INPUT_DOWN, INPUTS };

/* Of matrices tensor is the model's; NULL: there is none in the layer, or it is made of the tensor
 * of one before it, with which it comes to the device. */
struct held {
    const struct weight_item *item; /* NULL: there is none */
    const struct tensor *tensor;
    float *value; /* of vectors, in the order of the tensor, as the layer has them now; owned */
    void *memory; /* of the device, owned, (bytes) */
    size_t bytes;
};

struct layers {
    const struct checkpoint *checkpoint;
    const struct arch *arch;
    struct hparams h;
    struct weights weights; /* places of what is on the device */
    const struct backend *backend;
    char passed[256]; /* back ends that auto could not use, and why; empty: none */
    struct device_config config;
    struct device *device;
    struct plan_buffers buffers;
    char *activations;            /* (buffers.bytes) of the device */
    struct plan plan;             /* of the layer */
    struct weights_source origin; /* of the loader */
    struct weights_loader loader;
    struct held *matrix; /* (n_matrices), in the arena */
    int32_t n_matrices;
    struct held vector[VECTORS];
    int32_t number, length;   /* of the layer; of a sample */
    int32_t *count;           /* (length) 0, 1, ... */
    struct buf scratch, rows; /* rows: of a matrix in the order of the layer */
    struct buf heads;         /* q, k, v and rotary tables of a sample */
};

/* The slot of SLOT_GATE, SLOT_UP or SLOT_DOWN of expert e. */
static inline int32_t expert_slot(enum slot slot, int32_t e)
{
    return SLOTS + 3 * e + (int32_t)(slot - SLOT_GATE);
}

static inline bool layers_is_expert(int32_t slot)
{
    return slot >= SLOTS;
}

/* Checks the model as loading it would. */
int32_t layers_open(struct layers *l, const struct checkpoint *c, struct arena *arena,
                    struct err *err);
/* Opens the device: auto, which is the first that can serve, or a back end's name. length: tokens
 * of a sample. */
int32_t layers_begin(struct layers *l, int32_t length, const char *device, int32_t threads,
                     struct arena *arena, struct err *err);
void layers_close(struct layers *l); /* zeroed is allowed */

/* x (length, D) of a sample's tokens, which is what the first layer reads. */
int32_t layers_embed(struct layers *l, const int32_t *token, float *x, struct err *err);

/* Layer `number` with its vectors and its router; other matrices are put there one by one. */
int32_t layers_enter(struct layers *l, int32_t number, struct err *err);

/* The matrices that are made of the tensor of a slot, of its rows as they stand in it, or the
 * model's; of a slot without a tensor nothing. */
int32_t layers_put(struct layers *l, int32_t slot, const struct weight_source *source,
                   struct err *err);
int32_t layers_put_own(struct layers *l, int32_t slot, struct err *err);

/* value: in the order of the tensor. */
int32_t layers_set(struct layers *l, enum vector vector, const float *value, struct err *err);

/* The row of a slot's tensor that row i of the layer's matrix is. */
int32_t layers_row(const struct layers *l, int32_t slot, int32_t i);

/* Where the rows of q, k or v are: of a matrix of their own, or of SLOT_Q some. */
struct part_rows {
    int32_t slot, first, n;
};
struct part_rows layers_part(const struct layers *l, enum slot of);

/* Whether the layer is experts. */
bool layers_has_experts(const struct layers *l);

/* The norm of what matrices read. */
enum vector layers_norm(const struct layers *l, enum input input);

/* Values of an input of one token; of INPUT_DOWN those of an expert are not meant. */
int32_t layers_width(const struct layers *l, enum input input);

/* The largest of them in any layer. */
int32_t layers_widest(const struct layers *l, enum input input);

/* What a vector's values are of the numbers of its tensor: as many more. */
float layers_offset(const struct layers *l, enum vector vector);

/* Runs stages first .. last of a sample: x (length, D) in, and out as it is after them. */
int32_t layers_run(struct layers *l, enum stage first, enum stage last, float *x, struct err *err);

/* What attention reads of the sample whose STAGE_QKV has just been run, and how it weighs that, in
 * memory of l until it is asked again. */
int32_t layers_qkv(struct layers *l, struct qkv *out, struct err *err);
struct attention_rule layers_attention(const struct layers *l);

/* Largest magnitudes of what attention keeps of a sample. */
struct kv_peaks {
    float key, value;
};

/* Raises the peaks by those of the sample whose STAGE_QKV has just been run. INFLIGHT_E_MODEL: they
 * are not all finite. */
int32_t layers_kv_peaks(struct layers *l, struct kv_peaks *peaks, struct err *err);

/* The only place where inputs are seen: X (length, layers_width) of what multiplies the matrices
 * behind the stage that has just been run, or of x, normalised, before any of its half. */
int32_t layers_input(struct layers *l, enum input input, const float *x, float *X, struct err *err);

/* The same of the expert that a slot is of, whose tokens are n of those of the sample. */
int32_t layers_expert_input(struct layers *l, int32_t slot, float *X, int32_t *n, struct err *err);

/* X (length, D) of x normalised by a norm, whose bias is the vector behind it. */
void layers_normalise(const struct layers *l, const float *x, enum vector norm, float *X);
