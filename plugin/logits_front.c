/* What a group of blocks has of a front is first laid side by side and then weighed: each block of
 * a flat row has a few values, and branches on how many would cost most. The first front is taken
 * from the row, each further one from the values of the one before. */
#include "logits_front.h"

#include "logits_wide.h"

#include <math.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* ---- To keep some of the values -------------------------------------------------------- */

/* Those of n values that are above the bound, and of the first n_equal those that equal it, in
 * their order; how many. kept has room for WIDE more, and may be where the values are. Mostly none
 * of eight is among them. */
static size_t keep_plain(const float *value, size_t n, float bound, size_t n_equal, float *kept)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i += WIDE) {
        const size_t end = MIN(i + WIDE, n);
        bool any = false;
        for (size_t k = i; k < end; k++)
            any |= value[k] >= bound;
        for (size_t k = i; any && k < end; k++) {
            const float v = value[k];
            kept[n_kept] = v;
            n_kept += (v > bound) | ((v == bound) & (k < n_equal));
        }
    }
    return n_kept;
}

#ifdef __x86_64__
/* The numbers of the bits that are set in each byte, the lowest first, a byte for each. */
#define BIT(m, k) \
    ((uint64_t)((m) / (1u << (k)) % 2 * (k)) << 8 * __builtin_popcount((m) % (1u << (k))))
#define BITS_2(m, k) (BIT(m, k) | BIT(m, (k) + 1))
#define BITS(m)      (BITS_2(m, 0) | BITS_2(m, 2) | BITS_2(m, 4) | BITS_2(m, 6))
#define BITS_4(m)    BITS(m), BITS((m) + 1), BITS((m) + 2), BITS((m) + 3)
#define BITS_16(m)   BITS_4(m), BITS_4((m) + 4), BITS_4((m) + 8), BITS_4((m) + 12)
#define BITS_64(m)   BITS_16(m), BITS_16((m) + 16), BITS_16((m) + 32), BITS_16((m) + 48)

static const uint64_t bits[256] = {BITS_64(0u), BITS_64(64u), BITS_64(128u), BITS_64(192u)};

/* Those that are chosen first, and something after them; how many are chosen. */
AVX2 static inline size_t keep_chosen(__m256 value, __m256 is_chosen, float *kept)
{
    const unsigned mask = (unsigned)_mm256_movemask_ps(is_chosen);
    const __m256i from = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&bits[mask]));
    _mm256_storeu_ps(kept, _mm256_permutevar8x32_ps(value, from));
    return (size_t)__builtin_popcount(mask);
}

/* The same of n values, a multiple of WIDE, where equal ones all count or none does. */
AVX2 static size_t keep_avx2(const float *value, size_t n, float bound, bool equal, float *kept)
{
    const __m256 least = _mm256_set1_ps(bound);
    size_t n_kept = 0;
    for (size_t i = 0; equal && i < n; i += WIDE) {
        const __m256 v = _mm256_loadu_ps(value + i);
        n_kept += keep_chosen(v, _mm256_cmp_ps(v, least, _CMP_GE_OQ), kept + n_kept);
    }
    for (size_t i = 0; !equal && i < n; i += WIDE) {
        const __m256 v = _mm256_loadu_ps(value + i);
        n_kept += keep_chosen(v, _mm256_cmp_ps(v, least, _CMP_GT_OQ), kept + n_kept);
    }
    return n_kept;
}
#endif

static size_t keep(const float *value, size_t n, float bound, size_t n_equal, float *kept)
{
#ifdef __x86_64__
    if (has_avx2() && n % WIDE == 0 && (n_equal == 0 || n_equal >= n))
        return keep_avx2(value, n, bound, n_equal > 0, kept);
#endif
    return keep_plain(value, n, bound, n_equal, kept);
}

/* ---- Weights --------------------------------------------------------------------------- */

/* The sum of the weights of n values, which NaN follows up to a multiple of WIDE; and the weights,
 * if there is room for them. No more than LOGIT_BLOCK are added up in float. */
INTO_BOTH double weigh(const struct logits *l, const float *value, size_t n, float *weight)
{
    const float max = l->max, scale = l->scale;
    double total = 0;
    for (size_t i = 0; i < n;) {
        wide sum = {0};
        for (const size_t end = MIN(i + LOGIT_BLOCK, n); i < end; i += WIDE) {
            wide w;
            load_wide(value + i, &w);
            weigh_wide(&w, max, scale);
            if (weight)
                memcpy(weight + i, &w, sizeof w);
            sum += w;
        }
        total += sum_wide(&sum);
    }
    return total;
}

AVX2 static double sum_avx2(const struct logits *l, const float *value, size_t n)
{
    return weigh(l, value, n, NULL);
}

static double sum_plain(const struct logits *l, const float *value, size_t n)
{
    return weigh(l, value, n, NULL);
}

/* ---- Fronts ---------------------------------------------------------------------------- */

static float *values_of(const struct logits_front *f, size_t g)
{
    return f->value + g * LOGIT_GROUP_ROOM;
}

static size_t last_block(const struct logits *l, size_t g)
{
    return MIN((g + 1) * LOGIT_GROUP_BLOCKS, l->n_blocks);
}

void logits_front_init(struct logits_front *f, const double *sum, size_t token)
{
    const struct logits *l = f->row;
    f->bound = l->value[token];
    f->end_group = token / LOGIT_GROUP;
    f->end = token % LOGIT_GROUP;
    f->is_row = true;
    for (size_t g = 0; g < logit_groups(l->V); g++) {
        double most = 0;
        for (size_t b = g * LOGIT_GROUP_BLOCKS; b < last_block(l, g); b++)
            most += (double)(l->block[b].max >= f->bound) * sum[b];
        f->group[g] = (struct logit_group){most, 0};
    }
}

/* From the row; which blocks have some is found first, without branches. */
static size_t keep_of_blocks(const struct logits_front *f, size_t g, size_t n_equal)
{
    const struct logits *l = f->row;
    float *kept = values_of(f, g);
    size_t from[LOGIT_GROUP_BLOCKS], n_blocks = 0, n = 0;
    for (size_t b = g * LOGIT_GROUP_BLOCKS; b < last_block(l, g); b++) {
        from[n_blocks] = b * LOGIT_BLOCK;
        n_blocks += l->block[b].max >= f->bound;
    }
    for (size_t i = 0; i < n_blocks; i++) {
        const size_t len = MIN((size_t)LOGIT_BLOCK, l->V - from[i]), before = from[i] % LOGIT_GROUP;
        n += keep(l->value + from[i], len, f->bound, MAX(n_equal, before) - before, kept + n);
    }
    return n;
}

/* Leaves of a group what comes before the token; what that weighs. */
static double cut_group(struct logits_front *f, size_t g)
{
    const wide none = (wide){0} + NAN;
    const size_t n_equal = g < f->end_group ? SIZE_MAX : g > f->end_group ? 0 : f->end;
    float *value = values_of(f, g);
    size_t n = f->group[g].n, n_padded = (n + WIDE - 1) / WIDE * WIDE;
    n = f->is_row ? keep_of_blocks(f, g, n_equal) : keep(value, n_padded, f->bound, n_equal, value);
    memcpy(value + n, &none, sizeof none);
    f->group[g].n = n;
    return (has_avx2() ? sum_avx2 : sum_plain)(f->row, value, n);
}

/* Every group that is looked at lowers what the front can weigh: few of them decide mostly. */
double logits_front_cut(struct logits_front *f, double limit)
{
    const size_t n_groups = logit_groups(f->row->V);
    double most = 0, exact = 0;
    for (size_t g = 0; g < n_groups; g++)
        most += f->group[g].sum;
    for (size_t g = 0; g < n_groups && most >= limit; g++) {
        if (f->group[g].sum == 0)
            continue;
        double sum = cut_group(f, g);
        most -= f->group[g].sum - sum;
        exact += sum;
        f->group[g].sum = sum;
    }
    f->is_row = false;
    return most < limit ? most : exact;
}

size_t logits_front_weigh(const struct logits_front *f, size_t g, float *weight)
{
    weigh(f->row, values_of(f, g), f->group[g].n, weight);
    return f->group[g].n;
}

void logits_front_choose(struct logits_front *f, size_t g, size_t i)
{
    const float *value = values_of(f, g);
    f->bound = value[i];
    f->end_group = g;
    f->end = i;
    f->n_equal = 0;
    for (size_t k = 0; k < i; k++)
        f->n_equal += value[k] == f->bound;
}

/* All equal ones before it in the row were of the same front. */
size_t logits_front_token(const struct logits_front *f)
{
    size_t left = f->n_equal, token = f->end_group * LOGIT_GROUP;
    while (f->row->value[token] != f->bound || left-- > 0)
        token++;
    return token;
}
