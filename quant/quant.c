/* The table of formats and the row decoders, both made from formats.def. What a format
 * is stands in its own header; nothing here knows one by name. */
#include "quant.h"

#include "bf16.h"
#include "f16.h"
#include "f32.h"
#include "fp8.h"
#include "fp8_128.h"
#include "int4.h"
#include "int8.h"
#include "mxfp4.h"
#include "nvfp4.h"
#include "q4_0.h"
#include "q4_1.h"
#include "q4_k.h"
#include "q5_0.h"
#include "q5_1.h"
#include "q5_k.h"
#include "q6_k.h"
#include "q8_0.h"
#include "vectors.h"

/* The decoder of a block is inlined into the loop over the row: for formats of one
 * value per block a call for each would cost more than the conversion. */
#define FMT(name, n, bytes, head, gguf)                                                        \
    static_assert(sizeof(struct name) == (bytes), "formats.def disagrees on " #name);          \
    static_assert((head) == 0 || (head) == sizeof(float), "the head of " #name " is a scale"); \
    static void decode_##name(const void *block, float *out)                                   \
    {                                                                                          \
        name##_decode((const struct name *)block, out);                                        \
    }                                                                                          \
    INTO_BOTH void decode_blocks_##name(const void *first, int64_t n_blocks, float *out)       \
    {                                                                                          \
        const struct name *block = (const struct name *)first;                                 \
        for (int64_t i = 0; i < n_blocks; i++)                                                 \
            name##_decode(block + i, out + i * (n));                                           \
    }                                                                                          \
    static void decode_plain_##name(const void *first, int64_t n_blocks, float *out)           \
    {                                                                                          \
        decode_blocks_##name(first, n_blocks, out);                                            \
    }                                                                                          \
    AVX2 static void decode_avx2_##name(const void *first, int64_t n_blocks, float *out)       \
    {                                                                                          \
        decode_blocks_##name(first, n_blocks, out);                                            \
    }
#include "formats.def"
#undef FMT

const struct fmt_info fmt_info[FMT_COUNT] = {
#define FMT(name, n, bytes, head, gguf) {#name, n, bytes, head, gguf, decode_##name},
#include "formats.def"
#undef FMT
};

typedef void blocks_fn(const void *first, int64_t n_blocks, float *out);

static blocks_fn *const plain_decoders[FMT_COUNT] = {
#define FMT(name, n, bytes, head, gguf) decode_plain_##name,
#include "formats.def"
#undef FMT
};

static blocks_fn *const avx2_decoders[FMT_COUNT] = {
#define FMT(name, n, bytes, head, gguf) decode_avx2_##name,
#include "formats.def"
#undef FMT
};

enum fmt fmt_of_gguf(uint32_t type)
{
    int fmt = 0;
    while (fmt < FMT_COUNT && fmt_info[fmt].gguf != (int64_t)type)
        fmt++;
    return (enum fmt)fmt;
}

size_t fmt_row_bytes(enum fmt fmt, int64_t n)
{
    const struct fmt_info *info = &fmt_info[fmt];
    return (size_t)info->head + (size_t)(n / info->n) * (size_t)info->bytes;
}

void fmt_decode_row(enum fmt fmt, const void *row, int64_t n, float *out)
{
    const struct fmt_info *info = &fmt_info[fmt];
    blocks_fn *const decode = (has_avx2() ? avx2_decoders : plain_decoders)[fmt];
    decode((const uint8_t *)row + info->head, n / info->n, out);
    if (info->head == 0)
        return;
    float scale;
    memcpy(&scale, row, sizeof scale);
    for (int64_t i = 0; i < n; i++)
        out[i] *= scale;
}
