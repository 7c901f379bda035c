/* Writing a key and a value to their place in a page; see kv.h for the layouts. Two lanes
 * may write neighbouring positions of one page at once, so only this position's own
 * elements are stored. */
#include "attend.h"

#include "../../../quant/e4m3.h"

static void append_bf16(const struct attend_keys *keys, uint8_t *block, int slot, const float *k,
                        const float *v)
{
    uint16_t row[KV_DIM_MAX];
    uint16_t *to = (uint16_t *)(void *)block + 2 * slot;
    for (int i = 0; i < keys->dim; i += LANES)
        vf_store_bf16(row + i, vf_load_first(k + i, MIN(keys->dim - i, LANES)));
    for (int i = 0; i < keys->dim; i += 2)
        memcpy(to + i * PAGE_TOKENS, row + i, 2 * sizeof *row);
    to =
        (uint16_t *)(void *)(block + keys->layout.v) + slot / 2 * 2 * keys->layout.width + slot % 2;
    for (int i = 0; i < keys->dim; i += LANES)
        vf_store_bf16(row + i, vf_load_first(v + i, MIN(keys->dim - i, LANES)));
    for (int i = 0; i < keys->dim; i++)
        to[2 * i] = row[i];
}

static void append_f32(const struct attend_keys *keys, uint8_t *block, int slot, const float *k,
                       const float *v)
{
    float *to = (float *)(void *)block + slot;
    for (int i = 0; i < keys->dim; i++)
        to[i * PAGE_TOKENS] = k[i];
    to = (float *)(void *)(block + keys->layout.v) + slot * keys->layout.width;
    memcpy(to, v, (size_t)keys->dim * sizeof *v);
}

static float largest_of(const float *x, int n)
{
    vf most = vf_zero();
    for (int i = 0; i < n; i += LANES)
        most = vf_max(vf_abs(vf_load_first(x + i, MIN(n - i, LANES))), most);
    return vf_largest(most);
}

/* out = x / scale, rounded; returns the scale, largest / 127. */
static float quantize_int8(const float *x, int n, uint8_t *out)
{
    float largest = largest_of(x, n);
    vf factor = vf_set1(largest > 0 ? 127.0f / largest : 0.0f);
    for (int i = 0; i < n; i += LANES)
        vi_store_s8((int8_t *)out + i,
                    vi_round(vf_mul(vf_load_first(x + i, MIN(n - i, LANES)), factor)));
    return largest / 127.0f;
}

/* As quantize_int8, of E4M3: the scale is largest / 448. */
static float quantize_fp8(const float *x, int n, uint8_t *out)
{
    float largest = largest_of(x, n), factor = largest > 0 ? E4M3_MAX / largest : 0.0f;
    for (int i = 0; i < n; i++)
        out[i] = e4m3_of_float(x[i] * factor);
    return largest / E4M3_MAX;
}

static float quantize(enum kv_type type, const float *x, int n, uint8_t *out)
{
    return type == KV_INT8 ? quantize_int8(x, n, out) : quantize_fp8(x, n, out);
}

static void append_scaled(const struct attend_keys *keys, uint8_t *block, int slot, const float *k,
                          const float *v)
{
    const struct kv_layout *layout = &keys->layout;
    uint8_t row[KV_DIM_MAX];
    float *scale = (float *)(void *)(block + layout->k_scale);
    uint8_t *to = block + slot;
    scale[slot] = quantize(keys->type, k, keys->dim, row);
    for (int i = 0; i < keys->dim; i++)
        to[i * PAGE_TOKENS] = row[i];
    scale = (float *)(void *)(block + layout->v_scale);
    scale[slot] = quantize(keys->type, v, keys->dim, row);
    memcpy(block + layout->v + slot * layout->width, row, (size_t)keys->dim);
}

void ISA_FN(append)(const struct attend_keys *keys, int position, const float *k, const float *v)
{
    uint8_t *block = attend_block(keys, position);
    int slot = position % PAGE_TOKENS;
    if (keys->type == KV_BF16)
        append_bf16(keys, block, slot, k, v);
    else if (kv_is_scaled(keys->type))
        append_scaled(keys, block, slot, k, v);
    else
        append_f32(keys, block, slot, k, v);
}
