/* How keys and values are kept, for back ends and their kernels. */
#pragma once

enum kv_type {
    KV_BF16,
    KV_INT8, /* one scale per position and head */
    KV_FP8,  /* E4M3 (quant/e4m3.h), scaled likewise */
    KV_F32,  /* for measuring what the others cost */
};

/* What a layer keeps of keys and values. */
enum kv_kind {
    KV_OWN,  /* K heads of dim columns */
    KV_NEAR, /* near_K heads of near_dim columns: layers of Gemma 4 that see a window */
    KV_NONE, /* nothing: it attends to those of a layer before it */
};
