/* Weights of the CUDA back end: their packed bytes against the definition in layout.h, value by
 * value, for every format and odd shapes; and the same bytes whichever pieces they come in and
 * however many threads pack them. */
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA

#include "../../kernels/cuda/cuda.h"
#include "../../kernels/cuda/layout.h"
#include "../../quant/int4.h"
#include "../../quant/q4_0.h"
#include "../../quant/q4_1.h"
#include "../../quant/nvfp4.h"
#include "../../quant/q4_k.h"
#include "../../quant/q5_0.h"
#include "../../quant/q5_1.h"
#include "../../quant/q5_k.h"
#include "../../quant/q6_k.h"
#include "../../quant/q8_0.h"

/* The number of value k of a row as it is stored. */
static int number_of(enum fmt fmt, const uint8_t *row, int k)
{
    const int n = fmt_info[fmt].n;
    const uint8_t *block = row + fmt_info[fmt].head + (size_t)(k / n * fmt_info[fmt].bytes);
    float value;
    switch (fmt) {
#define NUMBER(name, offset) \
    case FMT_##name:         \
        return name##_q((const struct name *)(const void *)block, k % n) + (offset);
        NUMBER(q4_0, 8)
        NUMBER(q4_1, 0)
        NUMBER(q5_0, 0)
        NUMBER(q5_1, 0)
        NUMBER(q8_0, 0)
        NUMBER(q4_k, 0)
        NUMBER(q5_k, 0)
        NUMBER(q6_k, 0)
        NUMBER(int4_32, 0)
        NUMBER(int4_64, 0)
        NUMBER(int4_128, 0)
#undef NUMBER
    case FMT_bf16:
        return block[0] | block[1] << 8;
    case FMT_fp8:
    case FMT_int8:
        return block[0];
    case FMT_fp8_128:
        return block[4 + k % n];
    case FMT_mxfp4:
        return block[1 + k % 16] >> k % n / 16 * 4 & 15;
    case FMT_nvfp4:
        return nvfp4_code((const struct nvfp4 *)(const void *)block, k % n);
    default:
        fmt_info[fmt].decode(block, &value);
        return bf16_of_float(value);
    }
}

/* Where value k of row r of a strip is: bits [shift, shift + 4, 8 or 16) of its bytes. */
static void place_value(int layout, int r, int k, int number, uint8_t *strip)
{
    const int width = layout_tile_width(layout), tile = k / width, c = k % width / CHUNK;
    const int s = k >> 4 & 1, t = k >> 2 & 3, h = k >> 1 & 1, e = k & 1;
    uint8_t *lane = strip + tile * TILE_BYTES + r / 8 * 512 + (r % 8 * 4 + t) * 16;
    const int nibble = 2 * s + h + 4 * e;
    if (width == 32) {
        lane[(2 * s + h) * 4 + e * 2] = (uint8_t)number;
        lane[(2 * s + h) * 4 + e * 2 + 1] = (uint8_t)(number >> 8);
    } else if (width == 64) {
        lane[c * 8 + s * 4 + h + 2 * e] = (uint8_t)number;
    } else {
        lane[c * 4 + nibble / 2] |= (uint8_t)(number << nibble % 2 * 4);
    }
}

/* The float at `scale`, of n E4M3 numbers; no number if one of these is none. */
static void place_float_scale(const uint8_t *scale, const uint8_t *bits, int n, uint8_t *at)
{
    static const uint8_t nan[] = {0, 0, 0xc0, 0x7f};
    memcpy(at, scale, 4);
    for (int k = 0; k < n; k++)
        if ((bits[k] & 0x7f) == 0x7f)
            memcpy(at, nan, 4);
}

/* What the record of a row and tile says of chunk k / 32. */
static void place_scales(enum fmt fmt, int r, int k, const uint8_t *row, int K, uint8_t *strip)
{
    const int layout = cuda_layout(fmt), width = layout_tile_width(layout), n = fmt_info[fmt].n;
    const int tile = k / width, c = k % width / CHUNK, group = k % n / CHUNK;
    const uint8_t *block = row + (size_t)(k / n * fmt_info[fmt].bytes);
    uint16_t less;
    uint8_t *record = strip + layout_tiles(layout, K) * TILE_BYTES +
                      (tile * STRIP_ROWS + r) * layout_words(layout) * 4;
    const struct q6_k *b6 = (const struct q6_k *)(const void *)block;
    switch (layout) {
    case LAYOUT_INT4_D:
    case LAYOUT_INT8_D:
        memcpy(record + c * 2, block, 2);
        break;
    case LAYOUT_INT4_DM:
    case LAYOUT_INT8_DM:
        memcpy(record + c * 4, block, 4);
        break;
    case LAYOUT_INT4_K:
    case LAYOUT_INT8_K:
        memcpy(record, block, 4);
        record[4 + c * 2] = (uint8_t)q4_k_packed_scale(block + 4, group);
        record[5 + c * 2] = (uint8_t)q4_k_packed_min(block + 4, group);
        break;
    case LAYOUT_INT4_Z:
    case LAYOUT_INT4_Z128:
        record += layout == LAYOUT_INT4_Z ? c * 4 : 0;
        memcpy(record, block, 2);
        less = bf16_of_float(-128.0f - (float)(block[2] & 127));
        memcpy(record + 2, &less, 2);
        break;
    case LAYOUT_E2M1:
        record[c] = block[0];
        break;
    case LAYOUT_E2M1_16:
        memcpy(record, row, 4);
        memcpy(record + 4 + c * 2, block + 4 + group * 2, 2);
        break;
    case LAYOUT_FP8_128:
        place_float_scale(block, block + 4, 128, record);
        break;
    case LAYOUT_INT8_ROW:
    case LAYOUT_FP8_ROW:
        place_float_scale(row, row + 4, layout == LAYOUT_FP8_ROW ? K : 0, record + r * 4);
        break;
    case LAYOUT_INT8_K16:
        memcpy(record, &b6->d, 2);
        memcpy(record + 4 + c * 2, &b6->scale[group * 2], 2);
        break;
    default:
        break;
    }
}

static void define(const struct weight_source *source, uint8_t *out, size_t bytes)
{
    const int layout = cuda_layout(source->fmt);
    const size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    memset(out, 0, bytes);
    for (int n = 0; n < source->N; n++)
        for (int k = 0; k < source->K; k++) {
            const uint8_t *row = (const uint8_t *)source->data + (size_t)n * row_bytes;
            uint8_t *strip = out + (size_t)(n / STRIP_ROWS) * layout_strip_bytes(layout, source->K);
            place_value(layout, n % STRIP_ROWS, k, number_of(source->fmt, row, k), strip);
            if (k % CHUNK == 0)
                place_scales(source->fmt, n % STRIP_ROWS, k, row, source->K, strip);
        }
}

/* Every bit of the file is random, also where no sane file has it so. */
static struct weight_source random_source(enum fmt fmt, int N, int K)
{
    const size_t bytes = fmt_row_bytes(fmt, K) * (size_t)N;
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(random_bits() >> 9);
    return (struct weight_source){.fmt = fmt, .N = N, .K = K, .data = data};
}

static void check_shape(enum fmt fmt, int N, int K)
{
    const struct weight_source source = random_source(fmt, N, K);
    const size_t bytes = cuda_packed_bytes(fmt, N, K);
    uint8_t *want = malloc(bytes), *got = malloc(bytes);
    define(&source, want, bytes);
    memset(got, 0xa5, bytes);
    CHECK_EQ(cuda_pack_rows(&source, 0, N, got), bytes);
    if (memcmp(got, want, bytes) != 0)
        t_fail(__FILE__, __LINE__, "%s %d x %d: packed bytes differ", fmt_info[fmt].name, N, K);
    memset(got, 0x5a, bytes);
    size_t at = 0;
    for (int32_t first = 0; first < N; first += STRIP_ROWS)
        at += cuda_pack_rows(&source, first, MIN(first + STRIP_ROWS, N), got + at);
    CHECK_EQ(at, bytes);
    if (memcmp(got, want, bytes) != 0)
        t_fail(__FILE__, __LINE__, "%s %d x %d: in strips, bytes differ", fmt_info[fmt].name, N, K);
    free((void *)(uintptr_t)source.data);
    free(want);
    free(got);
}

/* Tests of every format leave out what is not served. */
TEST(cuda_pack, every_format_is_served)
{
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        CHECK(cuda_packed_bytes((enum fmt)fmt, 16, 256) > 0);
}

TEST(cuda_pack, bytes_are_what_the_layout_defines)
{
    static const int rows[] = {1, 7, 16, 17, 31, 48};
    static const int columns[] = {8, 32, 40, 64, 96, 136, 160, 256, 512, 768};
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            for (size_t j = 0; j < COUNT_OF(columns); j++)
                if (cuda_packed_bytes((enum fmt)fmt, rows[i], columns[j]) != 0)
                    check_shape((enum fmt)fmt, rows[i], columns[j]);
}

/* ---- On the device */

static struct device_config config_of(int threads)
{
    return (struct device_config){.threads = threads,
                                  .max_tokens = 1,
                                  .max_rows = 1,
                                  .max_context = 64,
                                  .max_width = 1024,
                                  .L = 1,
                                  .H = 1,
                                  .K = 1,
                                  .dim = 64,
                                  .kv_type = KV_BF16,
                                  .kv_pages = 1};
}

/* Matrices of many pieces and of less than one, one behind the other. */
TEST(cuda_pack, bytes_on_the_device_are_the_same_with_any_number_of_threads)
{
    static const struct {
        enum fmt fmt;
        int N, K;
    } matrix[] = {{FMT_q4_1, 7001, 1024}, {FMT_q8_0, 33, 512},     {FMT_bf16, 4099, 1024},
                  {FMT_q6_k, 5000, 1024}, {FMT_f32, 1, 8},         {FMT_q4_k, 160, 256},
                  {FMT_q8_0, 9000, 1024}, {FMT_q5_0, 16, 1024},    {FMT_q4_1, 7001, 1024},
                  {FMT_fp8, 3001, 1000},  {FMT_int4_128, 40, 896}, {FMT_fp8_128, 17, 128}};
    for (int threads = 1; threads <= 7; threads += 3) {
        const struct device_config config = config_of(threads);
        struct device *device = cuda_device(&config);
        for (size_t i = 0; device && i < COUNT_OF(matrix); i++) {
            const struct weight_source source =
                random_source(matrix[i].fmt, matrix[i].N, matrix[i].K);
            const size_t bytes = cuda_packed_bytes(source.fmt, source.N, source.K);
            uint8_t *want = malloc(bytes), *got = malloc(bytes);
            struct weight weight = {.data = cuda_array(device, NULL, bytes), .bytes = bytes};
            cuda_pack_rows(&source, 0, source.N, want);
            CHECK_EQ(backend_cuda.pack(device, &source, &weight, NULL), 0);
            CHECK_EQ(backend_cuda.read(device, got, weight.data, bytes), 0);
            if (memcmp(got, want, bytes) != 0)
                t_fail(__FILE__, __LINE__, "matrix %zu, %d threads: bytes differ", i, threads);
            CHECK(weight.fmt == source.fmt && weight.N == source.N && weight.K == source.K);
            CHECK_EQ(weight.layout, cuda_layout(source.fmt));
            cuda_drop(device, weight.data, bytes);
            free((void *)(uintptr_t)source.data);
            free(want);
            free(got);
        }
        backend_cuda.close(device);
    }
}
#else
TEST(cuda_pack, is_built)
{
    t_skip("built without CUDA");
}
#endif
