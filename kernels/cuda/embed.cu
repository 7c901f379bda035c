/* Rows of the table and the rotary table, embed.h. */
#include "embed.h"

#include "layout.h"
#include "mma.cuh"

#define THREADS 256

/* Value k of a row of a matrix of width K, which stands at `row` = strip and number in it. */
template <int L>
static __device__ __forceinline__ float value_at(const uint8_t *strip, int row, int K, int k)
{
    constexpr int width = layout_tile_width(L), words = layout_words(L);
    const int i = k / width, c = k % width / CHUNK;
    const int s = k >> 4 & 1, t = k >> 2 & 3, h = k >> 1 & 1, e = k & 1;
    const uint8_t *lane =
        strip + (size_t)i * TILE_BYTES + (row >> 3) * 512 + ((row & 7) * 4 + t) * 16;
    const uint16_t *record = (const uint16_t *)(strip + (size_t)layout_tiles(L, K) * TILE_BYTES +
                                                (size_t)(i * STRIP_ROWS + row) * words * 4);
    const uint8_t *bytes = (const uint8_t *)record;
    if constexpr (L == LAYOUT_BF16)
        return __uint_as_float((uint32_t)((const uint16_t *)lane)[(2 * s + h) * 2 + e] << 16);
    int q;
    if constexpr (width == 64)
        q = ((const int8_t *)lane)[c * 8 + s * 4 + h + 2 * e];
    else
        q = lane[c * 4 + s + 2 * e] >> (h * 4) & 15;
    if constexpr (L == LAYOUT_INT4_D)
        return half_of(record[c], 0) * (float)(q - 8);
    if constexpr (L == LAYOUT_INT8_D)
        return half_of(record[c], 0) * (float)q;
    if constexpr (L == LAYOUT_INT4_DM || L == LAYOUT_INT8_DM)
        return half_of(record[2 * c], 0) * (float)q + half_of(record[2 * c + 1], 0);
    if constexpr (L == LAYOUT_INT4_K || L == LAYOUT_INT8_K)
        return half_of(record[0], 0) * (float)bytes[4 + 2 * c] * (float)q -
               half_of(record[1], 0) * (float)bytes[5 + 2 * c];
    return half_of(record[0], 0) * (float)(int8_t)bytes[4 + 2 * c + s] * (float)q;
}

template <int L>
static __device__ __forceinline__ void read_row(const embed_args &a, int token, float *x)
{
    const uint8_t *strip = a.table + (size_t)(token / STRIP_ROWS) * layout_strip_bytes(L, a.D);
    for (int k = threadIdx.x; k < a.D; k += THREADS)
        x[k] = value_at<L>(strip, token % STRIP_ROWS, a.D, k);
}

/* Cosine and sine. The angle less a multiple n of pi / 2, which in double is wrong by 6e-17 n,
 * is in [-pi / 4, pi / 4], where the series end below 2^-40; n % 4 says which of them it is and
 * with what sign. */
static __device__ __forceinline__ void turn(double angle, double *cosine, double *sine)
{
    const double n = rint(angle * 0.63661977236758134308);
    const double r = fma(-n, 1.5707963267948965580, angle);
    const double z = r * r;
    double s = fma(z, 1.0 / 6227020800, -1.0 / 39916800);
    s = fma(z, s, 1.0 / 362880);
    s = fma(z, s, -1.0 / 5040);
    s = fma(z, s, 1.0 / 120);
    s = fma(z, s, -1.0 / 6);
    s = fma(z * r, s, r);
    double c = fma(z, 1.0 / 479001600, -1.0 / 3628800);
    c = fma(z, c, 1.0 / 40320);
    c = fma(z, c, -1.0 / 720);
    c = fma(z, c, 1.0 / 24);
    c = fma(z, c, -0.5);
    c = fma(z, c, 1.0);
    const int quarter = (int)n & 3;
    *cosine = (quarter == 1 || quarter == 2 ? -1.0 : 1.0) * (quarter & 1 ? s : c);
    *sine = (quarter >= 2 ? -1.0 : 1.0) * (quarter & 1 ? c : s);
}

extern "C" __global__ void __launch_bounds__(THREADS) embed(const __grid_constant__ embed_args a)
{
    const int t = blockIdx.x, half = a.dim / 2, token = a.token[t];
    float *x = a.x + (size_t)t * a.D, *rotary = a.rotary + (size_t)t * a.dim;
#define READ_ROW(L) read_row<L>(a, token, x)
    FOR_LAYOUT(a.layout, READ_ROW)
#undef READ_ROW
    const double position = a.position[t];
    for (int i = threadIdx.x; i < half; i += THREADS) {
        double cosine, sine;
        turn(position * (double)a.freq[i], &cosine, &sine);
        rotary[i] = (float)(cosine * (double)a.rotary_scale);
        rotary[half + i] = (float)(sine * (double)a.rotary_scale);
    }
}
