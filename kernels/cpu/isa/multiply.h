/* The product behind linear and head: tokens times up to three packed matrices. */
#pragma once

#include "isa.h"
#include "quantize.h"

struct product {
    struct inputs in; /* tokens; kinds and out are filled inside */
    float *y;         /* (in.n, ldy) */
    size_t ldy;
    int32_t epilogue;    /* enum epilogue */
    float limit;         /* of EPILOGUE_GLU_CLAMPED */
    const float *factor; /* of EPILOGUE_GELU_TIMES, (in.n, ld_factor) */
    size_t ld_factor;
    int n_part;
    const struct linear_part *part;
};

/* On every lane; ends with a barrier. */
void ISA_FN(multiply)(struct lane *lane, const struct product *product);
