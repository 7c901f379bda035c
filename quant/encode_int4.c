/* Groups of 4-bit integers. All candidates of a group are tried with the same few instructions:
 * four values at a time, in eight sums, so that nothing depends on how a compiler orders them. */
#include "encode_int4.h"

#include "vectors.h"
#include "bf16.h"
#include "encode.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

/* As every 64-bit processor can; operators on these are vector instructions. */
typedef float lanes __attribute__((vector_size(16)));
typedef int32_t lane_bits __attribute__((vector_size(16)));

enum { LANES = 4 };

#define LEVELS      15.0f     /* steps from the lowest integer to the highest */
#define MIDDLE      8.0f      /* the zero point of symmetric grids: steps from the lowest to zero */
#define ROUNDER     0x1.8p23f /* rounds to the nearest integer, ties to even, below 2^22 */
#define CLIP_STEP   0.025f    /* of the whole range */
#define HALF_NORMAL 0x1p-14f
#define HALF_LEAST  0x1p-24f
#define HALF_MOST   0x7bff /* 65504 */
#define HALF_COARSE 0x7bf8 /* 65280, the largest that is a bfloat16 too */
#define HALF_SIGN   0x8000

static inline lanes load(const float *value)
{
    lanes v;
    memcpy(&v, value, sizeof v);
    return v;
}

static inline lanes all(float value)
{
    return (lanes){value, value, value, value};
}

static inline lanes lesser(lanes a, lanes b)
{
#ifdef __SSE2__
    return _mm_min_ps(a, b);
#else
    lane_bits less = a < b;
    return (lanes)((less & (lane_bits)a) | (~less & (lane_bits)b));
#endif
}

static inline lanes greater(lanes a, lanes b)
{
#ifdef __SSE2__
    return _mm_max_ps(a, b);
#else
    lane_bits more = a > b;
    return (lanes)((more & (lane_bits)a) | (~more & (lane_bits)b));
#endif
}

static inline float sum(lanes v)
{
    return (v[0] + v[1]) + (v[2] + v[3]);
}

/* How the values of a group become integers: value = scale * (q - zero). */
struct grid {
    float scale, zero; /* zero: an integer, 0 .. 15 */
};

/* The grid over the range from low to high, which has 0 in it. */
static struct grid grid_of(float low, float high)
{
    float scale = (high - low) / LEVELS;
    float zero = -low / scale + ROUNDER - ROUNDER;
    return (struct grid){scale, zero};
}

/* The symmetric one, whose lowest step, of which the highest falls short by one, is the end of the
 * range that is furthest from 0: the scale is negative where that is the high one. */
static struct grid symmetric_grid_of(float low, float high)
{
    return (struct grid){(high > -low ? -high : -low) / MIDDLE, MIDDLE};
}

/* q - zero of four values. */
static inline lanes steps_of(lanes value, lanes inverse, lanes least, lanes most)
{
    lanes step = value * inverse + ROUNDER - ROUNDER;
    return greater(lesser(step, most), least);
}

/* The largest and the least value, and 0. */
static void range_plain(const float *value, int32_t n, float *low, float *high)
{
    lanes least = all(0), most = all(0);
    for (int32_t i = 0; i < n; i += LANES) {
        least = lesser(least, load(value + i));
        most = greater(most, load(value + i));
    }
    *low = *high = 0;
    for (int j = 0; j < LANES; j++) {
        *low = least[j] < *low ? least[j] : *low;
        *high = most[j] > *high ? most[j] : *high;
    }
}

#ifdef __x86_64__
AVX2 static void range_avx2(const float *value, int32_t n, float *low, float *high)
{
    __m256 least = _mm256_setzero_ps(), most = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 2 * LANES) {
        const __m256 x = _mm256_loadu_ps(value + i);
        least = _mm256_min_ps(least, x);
        most = _mm256_max_ps(most, x);
    }
    float ends[2][2 * LANES];
    _mm256_storeu_ps(ends[0], least);
    _mm256_storeu_ps(ends[1], most);
    *low = *high = 0;
    for (int j = 0; j < 2 * LANES; j++) {
        *low = ends[0][j] < *low ? ends[0][j] : *low;
        *high = ends[1][j] > *high ? ends[1][j] : *high;
    }
}
#endif

static void range_of(const float *value, int32_t n, float *low, float *high)
{
#ifdef __x86_64__
    if (has_avx2()) {
        range_avx2(value, n, low, high);
        return;
    }
#endif
    range_plain(value, n, low, high);
}

static float largest_of(float low, float high)
{
    return high >= -low ? high : -low; /* of zeros the one without a sign */
}

/* Part of the range as a grid, and what its integers are worth with the scale that fits them best:
 * by how much they bring the sum of squares down, (sum of x u)^2 / sum of u^2; with weights both
 * sums have them. */
struct candidate {
    int clip;
    struct grid grid;
    float worth;
};

/* Two at a time: one waits for its sums while the other's are made. */
enum { PAIR = 2 };

/* The worth and the scale of a pair whose grids are there. weight: NULL: all are 1. */
typedef void fit_fn(const float *value, const float *weight, int32_t n, struct candidate *pair);

static void put_worth(struct candidate *c, float product, float square)
{
    c->grid.scale = square > 0 ? product / square : 0;
    c->worth = c->grid.scale * product;
}

static void fit_plain(const float *value, const float *weight, int32_t n, struct candidate *pair)
{
    for (int p = 0; p < PAIR; p++) {
        const struct grid grid = pair[p].grid;
        const lanes inverse = all(1 / grid.scale), least = all(-grid.zero);
        const lanes most = all(LEVELS - grid.zero);
        lanes xu[2] = {all(0), all(0)}, uu[2] = {all(0), all(0)};
        for (int32_t i = 0; i < n; i += 2 * LANES)
            for (int j = 0; j < 2; j++) {
                const int32_t at = i + j * LANES;
                lanes x = load(value + at), u = steps_of(x, inverse, least, most);
                lanes counted = weight ? u * load(weight + at) : u;
                xu[j] += x * counted;
                uu[j] += u * counted;
            }
        put_worth(&pair[p], sum(xu[0] + xu[1]), sum(uu[0] + uu[1]));
    }
}

#ifdef __x86_64__
AVX2 INTO_BOTH __m128 to_four(__m256 v)
{
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

/* Of all four at once what sum makes of each. */
AVX2 INTO_BOTH void put_worths(struct candidate *pair, __m256 xu0, __m256 uu0, __m256 xu1,
                               __m256 uu1)
{
    const lanes sums = (lanes)_mm_hadd_ps(_mm_hadd_ps(to_four(xu0), to_four(uu0)),
                                          _mm_hadd_ps(to_four(xu1), to_four(uu1)));
    put_worth(&pair[0], sums[0], sums[1]);
    put_worth(&pair[1], sums[2], sums[3]);
}

/* The same sums, eight in a register. */
AVX2 INTO_BOTH void fit_eights(const float *value, const float *weight, int32_t n,
                               struct candidate *pair)
{
    const __m256 rounder = _mm256_set1_ps(ROUNDER);
    __m256 inverse[PAIR], least[PAIR], most[PAIR], xu[PAIR], uu[PAIR];
    for (int p = 0; p < PAIR; p++) {
        inverse[p] = _mm256_set1_ps(1 / pair[p].grid.scale);
        least[p] = _mm256_set1_ps(-pair[p].grid.zero);
        most[p] = _mm256_set1_ps(LEVELS - pair[p].grid.zero);
        xu[p] = uu[p] = _mm256_setzero_ps();
    }
    for (int32_t i = 0; i < n; i += 2 * LANES) {
        const __m256 x = _mm256_loadu_ps(value + i);
        for (int p = 0; p < PAIR; p++) {
            __m256 u = _mm256_add_ps(_mm256_mul_ps(x, inverse[p]), rounder);
            u = _mm256_max_ps(_mm256_min_ps(_mm256_sub_ps(u, rounder), most[p]), least[p]);
            const __m256 counted = weight ? _mm256_mul_ps(u, _mm256_loadu_ps(weight + i)) : u;
            xu[p] = _mm256_add_ps(xu[p], _mm256_mul_ps(x, counted));
            uu[p] = _mm256_add_ps(uu[p], _mm256_mul_ps(u, counted));
        }
    }
    put_worths(pair, xu[0], uu[0], xu[1], uu[1]);
}

AVX2 static void fit_avx2(const float *value, const float *weight, int32_t n,
                          struct candidate *pair)
{
    if (weight)
        fit_eights(value, weight, n, pair);
    else
        fit_eights(value, NULL, n, pair);
}
#endif

static fit_fn *fastest_fit(void)
{
#ifdef __x86_64__
    return has_avx2() ? fit_avx2 : fit_plain;
#else
    return fit_plain;
#endif
}

/* Values within 1, so that sums of squares neither overflow nor vanish. */
struct group {
    float value[ENCODE_BLOCK];
    const float *weight;
    int32_t n;
    struct grid whole; /* over their whole range */
    fit_fn *fit;
};

/* A range's part has its zero point, and smaller steps. */
static struct grid grid_of_clip(const struct group *group, int clip)
{
    return (struct grid){group->whole.scale * (1 - (float)clip * CLIP_STEP), group->whole.zero};
}

/* Takes those of two that are better than what was found. */
static void try_pair(const struct group *group, struct candidate pair[PAIR],
                     struct candidate *found)
{
    group->fit(group->value, group->weight, group->n, pair);
    for (int p = 0; p < PAIR; p++)
        if (pair[p].worth > found->worth)
            *found = pair[p];
}

/* The same of parts of the range. */
static void try_clips(const struct group *group, int one, int other, struct candidate *found)
{
    try_pair(group,
             (struct candidate[PAIR]){{.clip = one, .grid = grid_of_clip(group, one)},
                                      {.clip = other, .grid = grid_of_clip(group, other)}},
             found);
}

/* Every fourth part, then those half-way to the next on both sides of the best, then again. */
static struct candidate search(const struct group *group)
{
    struct candidate found = {.grid = grid_of_clip(group, 0), .worth = -1};
    for (int clip = 0; clip < ENCODE_CLIPS; clip += 8)
        try_clips(group, clip, clip + 4, &found);
    for (int away = 2; away >= 1; away--) {
        const int best = found.clip;
        try_clips(group, best >= away ? best - away : best,
                  best + away < ENCODE_CLIPS ? best + away : best, &found);
    }
    return found;
}

/* Of scales of either sign, since the integers reach a step further on one side than on the other:
 * the search among each, and the largest value on the last integer there is, as Q4_0 has it. What
 * is found is fitted once more, or a worse one of the other sign could become better by the
 * rounding that follows. Values are within 1, and one of them is that. */
static struct grid search_symmetric(struct group *group)
{
    struct candidate found = {.worth = -1}, best[PAIR];
    for (int p = 0; p < PAIR; p++) {
        group->whole = (struct grid){(p ? -1 : 1) / (LEVELS / 2), MIDDLE};
        best[p] = search(group);
    }
    try_pair(group, best, &found);
    for (int p = 0; p < PAIR; p++)
        best[p].grid.scale = (p ? -1 : 1) / MIDDLE;
    try_pair(group, best, &found);
    return found.grid;
}

/* The half of a scale's magnitude. Below the normal ones the next larger one, or the range would
 * shrink much. */
static uint16_t half_magnitude(float scale, bool is_coarse)
{
    uint16_t half = f16_of_float(scale);
    if (scale < HALF_NORMAL && f16_to_float(half) < scale)
        half++;
    half = half < HALF_MOST ? half : HALF_MOST;
    if (!is_coarse)
        return half;
    /* Eight of its bits are left: a half again. Only what rounds up beyond all halves is not. */
    uint16_t coarse = f16_of_float(bf16_to_float(bf16_of_float(f16_to_float(half))));
    return coarse <= HALF_MOST ? coarse : HALF_COARSE;
}

static uint16_t half_scale(float scale, bool is_coarse)
{
    return scale < 0 ? half_magnitude(-scale, is_coarse) | HALF_SIGN
                     : half_magnitude(scale, is_coarse);
}

static struct int4_grid kept(float scale, float zero, bool is_coarse)
{
    const uint16_t half = half_scale(scale, is_coarse);
    return (struct int4_grid){f16_to_float(half), zero, half};
}

INTO_BOTH void pack_pairs(const uint8_t *q, int32_t n, uint8_t *out)
{
    for (int32_t i = 0; i < n / 2; i++)
        out[i] = (uint8_t)(q[2 * i] | q[2 * i + 1] << 4);
}

AVX2 static void pack_avx2(const uint8_t *q, int32_t n, uint8_t *out)
{
    pack_pairs(q, n, out);
}

void int4_put(const uint8_t *q, int32_t n, struct int4_grid grid, uint8_t *group)
{
    memcpy(group, &grid.half, sizeof grid.half);
    group[2] = (uint8_t)grid.zero;
    if (has_avx2())
        pack_avx2(q, n, group + 3);
    else
        pack_pairs(q, n, group + 3);
}

INTO_BOTH void round_values(const float *value, int32_t n, struct int4_grid grid, uint8_t *q)
{
    const float inverse = grid.scale != 0 ? 1 / grid.scale : 0;
    for (int32_t i = 0; i < n; i++) {
        float level = value[i] * inverse + ROUNDER - ROUNDER + grid.zero;
        level = level < 0 ? 0 : level;
        level = level > LEVELS ? LEVELS : level;
        q[i] = (uint8_t)(int32_t)level;
    }
}

AVX2 static void round_avx2(const float *value, int32_t n, struct int4_grid grid, uint8_t *q)
{
    round_values(value, n, grid, q);
}

void int4_round(const float *value, int32_t n, struct int4_grid grid, uint8_t *q)
{
    if (has_avx2())
        round_avx2(value, n, grid, q);
    else
        round_values(value, n, grid, q);
}

struct int4_grid int4_clip(const float *value, int32_t n, float part, struct int4_style style)
{
    float low, high;
    range_of(value, n, &low, &high);
    const float largest = largest_of(low, high);
    if (largest < HALF_LEAST)
        return kept(largest, MIDDLE, style.is_coarse);
    low = low / largest * part;
    high = high / largest * part;
    struct grid grid = style.is_symmetric ? symmetric_grid_of(low, high) : grid_of(low, high);
    return kept(grid.scale * largest, grid.zero, style.is_coarse);
}

struct int4_grid int4_turned(struct int4_grid grid)
{
    return (struct int4_grid){-grid.scale, grid.zero, grid.half ^ HALF_SIGN};
}

struct int4_grid int4_fit(const float *value, const float *weight, int32_t n,
                          struct int4_style style)
{
    float low, high;
    range_of(value, n, &low, &high);
    const float largest = largest_of(low, high);
    /* Where the scale would be below the least half, whatever it is. */
    if (largest < HALF_LEAST)
        return kept(largest, MIDDLE, style.is_coarse);
    const float inverse = 1 / largest;
    struct group group;
    group.n = n;
    group.weight = weight;
    group.whole = grid_of(low * inverse, high * inverse);
    group.fit = fastest_fit();
    for (int32_t i = 0; i < n; i++)
        group.value[i] = value[i] * inverse;
    const struct grid grid = style.is_symmetric ? search_symmetric(&group) : search(&group).grid;
    return kept(grid.scale * largest, grid.zero, style.is_coarse);
}

void encode_int4(const float *value, int64_t n, int32_t group, struct int4_style style,
                 uint8_t *row)
{
    uint8_t q[ENCODE_BLOCK] = {0};
    for (int64_t at = 0; at < n; at += group, row += 3 + group / 2) {
        struct int4_grid grid = int4_fit(value + at, NULL, group, style);
        int4_round(value + at, group, grid, q);
        int4_put(q, group, grid, row);
    }
}
