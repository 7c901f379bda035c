/* One page of the pool: 16 positions of one sequence, all layers.
 *
 *   pool    [page][layer][kv head] block      a page is one piece of memory
 *   block   keys [16][width] | values [16][width] | key scales [16], value scales [16]
 *
 * Numbers are bfloat16, int8 or E4M3; scales are of the latter two. width is dim rounded up to 16;
 * columns past dim are zeros. As on the CPU, scale = largest / 127 (int8) or largest / 448 (E4M3)
 * of that position and head alone, a float, and number = round(x / scale). Positions that were not
 * written hold anything: nobody reads them. */
#pragma once

#include "../backend.h"

struct kv_layout {
    uint64_t page_bytes;
    uint64_t layer_bytes;
    uint32_t block_bytes;
    int32_t width;
};

static inline int32_t kv_width(int32_t dim)
{
    return (dim + 15) / 16 * 16;
}

static inline struct kv_layout kv_layout_of(const struct device_config *config)
{
    struct kv_layout layout;
    uint32_t bytes = config->kv_type == KV_BF16 ? 2 : 1;
    uint32_t scales = config->kv_type != KV_BF16 ? 2 * PAGE_TOKENS * (uint32_t)sizeof(float) : 0;
    layout.width = kv_width(config->dim);
    layout.block_bytes = 2 * PAGE_TOKENS * (uint32_t)layout.width * bytes + scales;
    layout.layer_bytes = (uint64_t)config->K * layout.block_bytes;
    layout.page_bytes = (uint64_t)config->L * layout.layer_bytes;
    return layout;
}
