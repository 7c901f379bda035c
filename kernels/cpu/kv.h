/* One KV page in memory: 16 positions of one sequence. For each layer that has keys and values of
 * its own, and each of its key/value heads, a page has one block, read front to back by attention:
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

#define KV_DIM_MAX 512

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

/* Key/value heads of a layer and their width; no heads: it has none of its own. */
struct kv_shape {
    int32_t K, dim;
};

static inline struct kv_shape kv_shape_of(const struct device_config *config, int32_t layer)
{
    const int kind = config->kv_kind ? config->kv_kind[layer] : KV_OWN;
    if (kind == KV_NEAR)
        return (struct kv_shape){config->near_K, config->near_dim};
    return (struct kv_shape){kind == KV_OWN ? config->K : 0, config->dim};
}

static inline size_t kv_block_bytes(const struct device_config *config, int32_t dim)
{
    return kv_layout_of((enum kv_type)config->kv_type, dim).bytes;
}

/* Where a layer's blocks begin in a page; of L: where they end. */
static inline size_t kv_layer_offset(const struct device_config *config, int32_t layer)
{
    size_t at = 0;
    if (!config->kv_kind)
        return (size_t)layer * (size_t)config->K * kv_block_bytes(config, config->dim);
    for (int32_t l = 0; l < layer; l++) {
        const struct kv_shape shape = kv_shape_of(config, l);
        at += (size_t)shape.K * kv_block_bytes(config, shape.dim);
    }
    return at;
}

/* Bytes of a page, an odd number of the smallest blocks: so the blocks of one head in consecutive
 * pages fall on different sets of the caches, though their size is mostly a power of two. */
static inline size_t kv_page_bytes(const struct device_config *config)
{
    const size_t all = kv_layer_offset(config, config->L);
    size_t least = kv_block_bytes(config, config->dim);
    if (config->kv_kind && config->near_dim)
        least = MIN(least, kv_block_bytes(config, config->near_dim));
    return all / least % 2 ? all : all + least;
}

/* The block of (layer, page, head) in the pool. */
static inline size_t kv_block(const struct device_config *config, int32_t layer, int32_t page,
                              int32_t head)
{
    return (size_t)page * kv_page_bytes(config) + kv_layer_offset(config, layer) +
           (size_t)head * kv_block_bytes(config, kv_shape_of(config, layer).dim);
}
