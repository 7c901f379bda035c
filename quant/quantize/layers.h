/* A model that is run layer by layer on a back end, with one layer's weights on it at a time; what
 * a step reads can be seen between steps. */
#pragma once

#include "../../plugin/model/decoder.h"

/* Matrices of a layer. Where several are rows of one, that is the first of them, and the others are
 * none. */
enum slot { SLOT_Q, SLOT_K, SLOT_V, SLOT_O, SLOT_GATE, SLOT_UP, SLOT_DOWN, SLOTS };

/* Vectors of a layer; all but the first two may be missing. */
enum vector {
    ATTN_NORM,
    FFN_NORM,
    ATTN_POST_NORM,
    FFN_POST_NORM,
    Q_BIAS,
    K_BIAS,
    V_BIAS,
    Q_NORM,
    K_NORM,
    VECTORS
};

/* Steps of a layer. O and DOWN add to x, with the norm of what is added where there is one. */
enum stage { STAGE_QKV, STAGE_ATTEND, STAGE_O, STAGE_GATE_UP, STAGE_DOWN };

/* What matrices multiply. */
enum input { INPUT_QKV, INPUT_O, INPUT_GATE_UP, INPUT_DOWN, INPUTS };

struct held {
    const struct tensor *tensor; /* of the model; NULL: the layer has none */
    float *value;                /* of vectors, as the layer has them now; owned */
    void *memory;                /* of the device, owned, (bytes) */
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
    char *activations; /* (buffers.bytes) of the device */
    struct plan plan;  /* of the layer */
    float *freq; /* (2, FREQ_MAX) of the device: the model's, and those of layers that slide */
    struct held matrix[SLOTS], vector[VECTORS];
    int32_t number, length;    /* of the layer; of a sample */
    int32_t *count;            /* (length) 0, 1, ... */
    struct buf scratch, heads; /* heads: q, k, v and rotary tables of a sample */
};

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

/* Layer `number` with its vectors; matrices are put there one by one. */
int32_t layers_enter(struct layers *l, int32_t number, struct err *err);
int32_t layers_put(struct layers *l, enum slot slot, const struct weight_source *source,
                   struct err *err);
int32_t layers_put_own(struct layers *l, enum slot slot, struct err *err); /* the model's */
int32_t layers_set(struct layers *l, enum vector vector, const float *value, struct err *err);

/* Values of an input of one token. */
int32_t layers_width(const struct layers *l, enum input input);

/* What norms are of the numbers of their tensors: as many more. */
float layers_norm_offset(const struct layers *l);

/* Runs stages first .. last of a sample: x (length, D) in, and out as it is after them. */
int32_t layers_run(struct layers *l, enum stage first, enum stage last, float *x, struct err *err);

/* Largest magnitudes of what attention keeps of a sample. */
struct kv_peaks {
    float key, value;
};

/* Raises the peaks by those of the sample whose STAGE_QKV has just been run: keys normalised, where
 * the model does that, and rotated, as they go to the cache; values. INFLIGHT_E_MODEL: they are not
 * all finite. */
int32_t layers_kv_peaks(struct layers *l, struct kv_peaks *peaks, struct err *err);

/* The only place where inputs are seen: X (length, layers_width) of what multiplies the matrices
 * behind the stage that has just been run, or of x, normalised, before any of its half. */
int32_t layers_input(struct layers *l, enum input input, const float *x, float *X, struct err *err);

/* X (length, D) of x normalised, for a norm's weights (D). */
void layers_normalise(const struct layers *l, const float *x, const float *norm, float *X);
