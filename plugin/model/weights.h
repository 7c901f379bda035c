/* Tensors of the model's files -> packed matrices and float vectors of the device. Which tensors
 * a layer has, and of what shape, is one table in tensor_rows.h. */
#pragma once

#include "arch.h"
#include "hparams.h"

#include "../file/packed.h"
#include "../../kernels/backend.h"

struct layer {
    const float *attn_norm, *ffn_norm;           /* (D) or NULL: there is none; ffn_norm alone:
                                                    attn_norm is for both */
    const float *attn_norm_bias, *ffn_norm_bias; /* (D) or NULL */
    const float *attn_post_norm, *ffn_post_norm; /* (D) of what is added, or NULL */
    const float *q_bias, *k_bias, *v_bias;       /* (H dim), (K dim), (K dim) or NULL; q_bias is all
                                                    of them where q is all of the matrices */
    const float *o_bias, *up_bias, *down_bias;   /* (D), (F), (D) or NULL */
    const float *k_mean;          /* (K dim) of the rotated k_bias, or NULL: rope_mean */
    const float *q_norm, *k_norm; /* (dim), of wide_norm (H dim) and (K dim), or NULL */
    /* Of a layer of experts the last three are of the one that all tokens meet. */
    struct weight q, k, v, o, gate, up, down;
    const float *shared_gate;                       /* (D) of that one, or NULL */
    struct weight router;                           /* (E, D) of experts */
    struct weight *expert_gate;                     /* (E) of (F, D) */
    struct weight *expert_up;                       /* the same */
    struct weight *expert_down;                     /* (E) of (D, F) */
    const float *router_bias, *choice_bias;         /* (E) or NULL */
    const float *expert_gate_bias, *expert_up_bias; /* (E, F) or NULL */
    const float *expert_down_bias;                  /* (E, D) or NULL */
    const float *sinks;                             /* (H) or NULL */
    struct weight own_gate, own_out;                /* (P, D), (D, P) of its own embedding */
    const float *own_post_norm;                     /* (D) of what that adds, or NULL */
    const float *factor;                            /* (1) of what it leaves, or NULL */
};

struct scheme;      /* how matrices are stored, see scheme.h */
struct weight_item; /* a vector or a matrix: where it is in the file and where it goes */

struct weights {
    struct weight embed;    /* (V, D) */
    struct weight head;     /* (V, D); the same data as embed when the file has no output */
    const float *norm;      /* (D) before the head */
    const float *norm_bias; /* (D) or NULL */
    const float *head_bias; /* (V) or NULL */
    const float *position;  /* (context, D) or NULL */
    const float *embed_norm, *embed_norm_bias; /* (D) of embeddings, or NULL */
    struct weight own_embed;                   /* (V, L P) of layers, which is looked up alone */
    struct weight own_in;                      /* (L P, D) what a token's embedding adds to it */
    const float *own_norm;                     /* (P) of each part of that, or NULL */
    const float *slopes;                       /* (H) or NULL */
    const float *freq;                         /* (rotary_dim / 2) */
    const float *near_freq; /* (hparams_near_turned / 2) of layers that slide, or NULL */
    struct layer *layer;    /* (L) */
    bool tied;              /* head is embed */
    enum fmt quantization;  /* what matrices become while they are loaded; FMT_f32: nothing */

    const struct tensors *tensors; /* borrowed until they are loaded */
    struct weight_item *item;      /* (n_item) in file order of use */
    int32_t n_item;
    uint64_t bytes;      /* all packed matrices and vectors */
    uint64_t file_bytes; /* of the same tensors in the file, for progress */
    int32_t max_width;   /* largest K of any matrix */
    void *memory;        /* owned, (bytes) of the device after load; NULL: they are mapped */
    struct packed packed;
    enum packed_use packed_use;
    struct err packed_note; /* why it was not mapped, if there was one: "is damaged: ..." */
    const struct backend *backend;
    struct device *device; /* borrowed: open until release */
};

/* Whether layer l is experts. */
static inline bool layer_has_experts(const struct arch *arch, const struct hparams *h, int32_t l)
{
    return arch->experts && l >= h->dense;
}

/* The row of a model: that of h->arch, or its twin. */
const struct arch *weights_arch(const struct hparams *h, const struct tensors *tensors);

/* Finds every tensor, checks type and shape against h, measures; a tensor of the file that
 * nothing reads is refused. All bookkeeping in the arena. */
int32_t weights_open(struct weights *w, const struct tensors *tensors, const struct scheme *scheme,
                     const struct arch *arch, const struct hparams *h, struct arena *arena,
                     struct err *err);

/* Matrices of the layers, and with head the output head, become fmt (encode_serves) or where rows
 * do not consist of its groups convert_fmt of it; embedding, vectors and routers stay. A head that
 * is the embedding's data becomes a matrix of its own. */
void weights_quantize(struct weights *w, enum fmt fmt, bool head);

int32_t weights_measure(struct weights *w, const struct backend *backend,
                        const struct device_config *config, struct err *err);

/* Points every matrix and vector at its place in memory, which is not touched: it is the
 * device's, or need not exist. */
void weights_place(struct weights *w, void *memory);

/* Progress while loading; non-zero stops. */
typedef int weights_progress(void *user, uint64_t done, uint64_t total);

struct weights_source {
    const struct backend *backend;
    struct device *device;
    const struct device_config *config; /* what it was opened with */
    const struct mem *mem;
    const char *packed; /* file of packed weights, or NULL */
    const struct hparams *h;
    weights_progress *progress;
    void *user;
};

/* Takes w->bytes from the device and packs everything on its lanes, or maps what is packed; what is
 * in between is from source->mem. */
int32_t weights_load(struct weights *w, const struct weights_source *source, struct err *err);

/* What became of every matrix that was converted, JSON: an array of {"tensor", "from", "to",
 * "bytes", "relative_error"}, the last (root of the sums of squares, of error and matrix) once it
 * is loaded. */
struct buf;
void weights_describe(const struct weights *w, struct buf *out);

/* Before the device is closed. */
void weights_release(struct weights *w);

/* The file's name of a struct weight or a placed vector ("blk.3.attn_q.weight"), for
 * dumps; "?" if it is nothing of w's. */
const char *weights_name(const struct weights *w, const void *field);
