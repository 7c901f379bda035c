/* One KV page in memory: 16 positions of one sequence. For each layer and each key/value
 * head a page has one block, read front to back by attention:
 *
 *   pool    [page][layer][kv head] block                 so that a few pages are little memory
 *   block   keys | key scales | values | value scales
 *
 *   keys    bf16       [dim / 2][16 positions][2 dims]   a 64-byte line times two numbers of
 *                                                        the query adds to 16 scores
 *           others     [dim][16 positions]
 *   values  bf16       [16 / 2][width][2 positions]      a 64-byte line times two weights adds
 *                                                        to 16 dims of the output
 *           others     [16 positions][width]
 *   scales  f32        [16 positions], of int8 and fp8 only
 *
 * width is dim rounded up to 16; the columns past dim hold anything and are never used. So
 * do positions that were not written: attention masks their scores and does not read their
 * values, so a page needs no clearing. A position's scale comes from that position alone.
 * Each part begins on a cache line. */
#pragma once

#include "../backend.h"

#define KV_DIM_MAX 256

struct kv_layout {
    int32_t width;              /* of a row of values, dims */
    size_t k_scale, v, v_scale; /* byte offsets in a block */
    size_t bytes;               /* of a block, a multiple of the cache line */
};

/* Bytes of one number. */
static inline size_t kv_type_bytes(enum kv_type type)
{
    return type == KV_BF16 ? 2 : type == KV_F32 ? 4 : 1;
}

static inline bool kv_is_scaled(enum kv_type type)
{
    return type == KV_INT8 || type == KV_FP8;
}

static inline struct kv_layout kv_layout_of(enum kv_type type, int32_t dim)
{
    struct kv_layout layout = {.width = ROUND_UP(dim, 16)};
    size_t scales = kv_is_scaled(type) ? PAGE_TOKENS * sizeof(float) : 0;
    size_t k = (size_t)dim * PAGE_TOKENS * kv_type_bytes(type);
    size_t v = (size_t)layout.width * PAGE_TOKENS * kv_type_bytes(type);
    layout.k_scale = ROUND_UP(k, CACHE_LINE);
    layout.v = layout.k_scale + scales;
    layout.v_scale = layout.v + ROUND_UP(v, CACHE_LINE);
    layout.bytes = layout.v_scale + scales;
    return layout;
}

/* Blocks of a page, an odd number: so the blocks of one head in consecutive pages fall on
 * different sets of the caches, though their size is mostly a power of two. */
static inline size_t kv_page_blocks(const struct device_config *config)
{
    return ((size_t)config->L * (size_t)config->K) | 1;
}

/* The block of (layer, page, head) in the pool. */
static inline size_t kv_block(const struct device_config *config, size_t block_bytes, int32_t layer,
                              int32_t page, int32_t head)
{
    size_t in_page = (size_t)layer * (size_t)config->K + (size_t)head;
    return ((size_t)page * kv_page_blocks(config) + in_page) * block_bytes;
}
