/* How keys and values are kept, for back ends and their kernels. */
#pragma once

enum kv_type {
    KV_BF16,
    KV_INT8, /* one scale per position and head */
    KV_FP8,  /* E4M3 (quant/e4m3.h), scaled likewise */
    KV_F32,  /* for measuring what the others cost */
};
