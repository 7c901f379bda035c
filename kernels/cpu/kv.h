/* One KV page in memory: 16 positions of one sequence. For each layer and each key/value
 * head a page has one block, read front to back by attention:
 *
 *   pool    [page][layer][kv head] block
 *
 * so that the first use of a page touches one place of the pool, not one for each layer: the
 * system clears whole huge pages at first touch.
 *
 *   block   keys | key scales (int8 only) | values | value scales (int8 only)
 *
 *   keys    bf16       [dim / 2][16 positions][2 dims]   a 64-byte line times two numbers of
 *                                                        the query adds to 16 scores
 *           f32, int8  [dim][16 positions]
 *   values  bf16       [16 / 2][width][2 positions]      a 64-byte line times two weights adds
 *                                                        to 16 dims of the output
 *           f32, int8  [16 positions][width]
 *   scales  f32        [16 positions]
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
    return type == KV_BF16 ? 2 : type == KV_INT8 ? 1 : 4;
}

static inline struct kv_layout kv_layout_of(enum kv_type type, int32_t dim)
{
    struct kv_layout layout = {.width = ROUND_UP(dim, 16)};
    size_t scales = type == KV_INT8 ? PAGE_TOKENS * sizeof(float) : 0;
    size_t k = (size_t)dim * PAGE_TOKENS * kv_type_bytes(type);
    size_t v = (size_t)layout.width * PAGE_TOKENS * kv_type_bytes(type);
    layout.k_scale = ROUND_UP(k, CACHE_LINE);
    layout.v = layout.k_scale + scales;
    layout.v_scale = layout.v + ROUND_UP(v, CACHE_LINE);
    layout.bytes = layout.v_scale + scales;
    return layout;
}

/* Bytes of a page. */
static inline size_t kv_page_bytes(const struct device_config *config, size_t block_bytes)
{
    return (size_t)config->L * (size_t)config->K * block_bytes;
}

/* The block of (layer, page, head). */
static inline size_t kv_block(const struct device_config *config, size_t block_bytes, int32_t layer,
                              int32_t page, int32_t head)
{
    return (size_t)page * kv_page_bytes(config, block_bytes) +
           ((size_t)layer * (size_t)config->K + (size_t)head) * block_bytes;
}
