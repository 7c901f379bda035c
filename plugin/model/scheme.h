/* How the matrices of a checkpoint are stored: what its quantization_config says of each module.
 *
 * The methods are compressed-tensors, awq, gptq, fp8, fbgemm_fp8, modelopt and mxfp4. All of them
 * name modules ("model.layers.3.mlp.up_proj"), not tensors, and all but compressed-tensors, the
 * exceptions of gptq and mxfp4, which is of experts alone, store every linear layer in one way. */
#pragma once

#include "../file/folder.h"

/* The numbers of a matrix of N rows and K columns, y = W x. Of integers the value is
 * scale * (code - zero), of others scale * code. "E2M1 pairs": U8 (N, K / 2), two columns a byte,
 * the even one low. */
enum codes {
    CODES_NONE,   /* no scheme: rows of one of our formats */
    CODES_E4M3,   /* weight: F8_E4M3 (N, K) */
    CODES_I8,     /* weight: I8 (N, K), also of 4 bits */
    CODES_PAIRS,  /* weight: U8 (N / 2, K), of two rows, the even one low; two's complement */
    CODES_PACKED, /* weight_packed: I32 (N, K bits / 32), from the lowest bits on */
    CODES_AWQ,    /* qweight: I32 (K, N / 8), columns 0 2 4 6 1 3 5 7 from the lowest bits on */
    CODES_GPTQ,   /* qweight: I32 (K bits / 32, N), from the lowest bits on */
    CODES_NVFP4,  /* weight: E2M1 pairs; scales are E4M3 times weight_scale_2 */
    CODES_NVFP4_PACKED, /* weight_packed: E2M1 pairs; scales are E4M3 over weight_global_scale */
    CODES_MXFP4_PACKED, /* weight_packed: E2M1 pairs; scales are E8M0, of type U8 */
    CODES_MXFP4,        /* <module>_blocks: U8 (E, N, K / 32, 16), E2M1 pairs of blocks;
                           <module>_scales: U8 (E, N, K / 32), E8M0. By matrix_find_expert alone */
    CODES_COUNT
};

/* Whether codes are numbers of E2M1. */
static inline bool codes_are_e2m1(enum codes codes)
{
    return codes >= CODES_NVFP4 && codes <= CODES_MXFP4;
}

struct storage {
    enum codes codes;
    int32_t bits;          /* of a code, 4 or 8 */
    int32_t rows, columns; /* that share a scale; 0: all there are */
    bool zeros;            /* zero points stand beside the scales; if not, the middle is zero */
    bool zeros_less_one;   /* in the file they are less by one */
    bool middle_zeros;     /* they are said to be the middle */
};

struct scheme_rule;

struct scheme {
    const char *where;        /* for messages: "config.json"; NULL: nothing is quantized */
    const char *method;       /* quant_method */
    struct scheme_rule *rule; /* (n), in the arena; the first that matches decides */
    int32_t n, room;
    const char *outer, *inner; /* names of modules that begin with inner begin with outer in the
                                  rules; NULL: they are the same */
};

/* What config, the object of config.json, says or in its place hf_quant_config.json,
 * quantize_config.json or quant_config.json of the folder; nothing if there is none of them. What
 * has been opened when it fails stays until scheme_close. */
int32_t scheme_open(struct scheme *s, const json_t *config, const struct folder *folder,
                    struct arena *arena, struct err *err);

/* The object itself, where: the file it is from, kept. */
int32_t scheme_parse(struct scheme *s, const json_t *object, const char *where, struct arena *arena,
                     struct err *err);

void scheme_close(struct scheme *s); /* zeroed or closed is allowed */

/* How a module is stored; CODES_NONE if the rules leave it alone. class: of the module in the code
 * that made the file, "Linear" or "Embedding". */
int32_t scheme_find(const struct scheme *s, const char *module, const char *class,
                    struct storage *storage, struct err *err);

/* Whether a tensor is known and of no use to us: scales of activations, and of keys and values,
 * which are found anew for every token. */
bool scheme_ignores(const struct scheme *s, struct str tensor);
