/* Passes over a row of logits, four numbers at a time, and the selection of its largest
 * by radix. A block's maximum lets a pass leave the block out. */
#include "logits.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Four at a time, as every 64-bit processor can; GCC and Clang both turn operators on
 * these into vector instructions without being asked to optimise loops. */
typedef float lanes __attribute__((vector_size(16)));
typedef uint32_t lane_bits __attribute__((vector_size(16)));

enum { LANES = 4, STRIDE = 4 * LANES }; /* four independent chains hide latencies */

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

/* ---- Exponential ------------------------------------------------------------------ */

/* 2^n * p(r) with x = n ln 2 + r and |r| <= ln 2 / 2; p is the polynomial of degree 5
 * with p(0) = 1 of least relative error there, 9.2e-8. Adding and subtracting 1.5 * 2^23
 * rounds to an integer without a call; its low bits are that integer. */
static inline lanes exp_not_positive(lanes x)
{
    lanes shifted = x * 0x1.715476p0f + 0x1.8p23f;
    lanes n = shifted - 0x1.8p23f;
    lanes r = x - n * 0x1.62e4p-1f; /* the first 15 bits of ln 2: this product is exact */
    r = r - n * 0x1.7f7d1cp-20f;    /* the rest of ln 2 */
    lanes p = r * 0x1.0fa822p-7f + 0x1.573a6cp-5f;
    p = p * r + 0x1.555a6cp-3f;
    p = p * r + 0x1.fffdc6p-2f;
    p = p * r + 0x1.fffff6p-1f;
    p = p * r + 1.0f;
    lane_bits bits = (lane_bits)p + ((lane_bits)shifted << 23);
    return (lanes)(bits & (lane_bits)(x >= -87.0f)); /* 0 also for NaN */
}

float logits_weight(float value, float max, float scale)
{
    return exp_not_positive(all((value - max) * scale))[0];
}

/* ---- Passes over the row ----------------------------------------------------------- */

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

/* b where a is NaN. */
static inline lanes larger_lanes(lanes a, lanes b)
{
    lane_bits first = (lane_bits)(a > b);
    return (lanes)(((lane_bits)a & first) | ((lane_bits)b & ~first));
}

static float max_of(const float *value, size_t n)
{
    lanes a = all(-INFINITY), b = a, c = a, d = a;
    float max;
    size_t i = 0;
    for (; i + STRIDE <= n; i += STRIDE) {
        a = larger_lanes(load(value + i), a);
        b = larger_lanes(load(value + i + LANES), b);
        c = larger_lanes(load(value + i + 2 * LANES), c);
        d = larger_lanes(load(value + i + 3 * LANES), d);
    }
    a = larger_lanes(larger_lanes(a, b), larger_lanes(c, d));
    a = larger_lanes(__builtin_shufflevector(a, a, 2, 3, 0, 1), a);
    max = larger(a[0], a[1]);
    for (; i < n; i++)
        max = larger(value[i], max);
    return max;
}

static size_t block_len(const struct logits *l, size_t b)
{
    return MIN(l->block, l->V - b * l->block);
}

void logits_scan(struct logits *l, const float *value, size_t V)
{
    l->value = value;
    l->V = V;
    l->block = ROUND_UP((V + LOGITS_BLOCKS - 1) / LOGITS_BLOCKS, 128);
    l->n_blocks = V ? (V + l->block - 1) / l->block : 0;
    l->max = -INFINITY;
    for (size_t b = 0; b < l->n_blocks; b++) {
        l->block_max[b] = max_of(value + b * l->block, block_len(l, b));
        l->max = larger(l->block_max[b], l->max);
    }
}

size_t logits_argmax(const struct logits *l)
{
    size_t b = 0;
    while (l->block_max[b] != l->max)
        b++;
    size_t i = b * l->block;
    while (l->value[i] != l->max)
        i++;
    return i;
}

static double sum_of(const float *value, size_t n, float max, float scale)
{
    lanes a = all(0), b = a;
    double sum = 0;
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a += exp_not_positive((load(value + i) - max) * scale);
        b += exp_not_positive((load(value + i + LANES) - max) * scale);
    }
    a += b;
    a += __builtin_shufflevector(a, a, 2, 3, 0, 1);
    sum = (double)a[0] + (double)a[1];
    for (; i < n; i++)
        sum += (double)logits_weight(value[i], max, scale);
    return sum;
}

double logits_sum(const struct logits *l, float scale, double *sum)
{
    double total = 0;
    for (size_t b = 0; b < l->n_blocks; b++) {
        sum[b] = sum_of(l->value + b * l->block, block_len(l, b), l->max, scale);
        total += sum[b];
    }
    return total;
}

void logits_weigh(const struct logits *l, float *value, const uint32_t *id, size_t n, float scale)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const uint32_t *at = id + i;
        lanes v = {value[at[0]], value[at[1]], value[at[2]], value[at[3]]};
        v = exp_not_positive((v - l->max) * scale);
        for (size_t k = 0; k < LANES; k++)
            value[at[k]] = v[k];
    }
    for (; i < n; i++)
        value[id[i]] = logits_weight(value[id[i]], l->max, scale);
}

size_t logits_gather(const struct logits *l, float bound, uint32_t *id)
{
    size_t n = 0;
    for (size_t b = 0; b < l->n_blocks; b++) {
        if (!(l->block_max[b] >= bound))
            continue;
        size_t from = b * l->block, to = from + block_len(l, b);
        for (size_t i = from; i < to; i++) {
            id[n] = (uint32_t)i;
            n += l->value[i] >= bound;
        }
    }
    return n;
}

/* ---- The largest, by radix -------------------------------------------------------- */

/* Floats in their order as unsigned integers; both zeros are one. */
static inline uint32_t key_of(float value)
{
    uint32_t bits;
    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((uint32_t) - (int32_t)(bits >> 31) | 0x80000000u);
}

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

/* The search for the key at which a target is reached by the keys from the largest on:
 * three levels of buckets, over 10, 11 and 11 bits of the key. What is known to be below is
 * dropped on the way. */
struct radix {
    const float *value;
    uint32_t *id; /* (n) ascending indices of value that are still in question */
    size_t n;
    bool weighted;  /* values add up to the target, otherwise every one counts 1 */
    double target;  /* what keys below those already passed have to add */
    uint32_t key;   /* found so far: the bits above the present level */
    size_t highest; /* bucket of this level that is not empty */
    double bucket[RADIX];
};

/* Adds up the items whose key begins as the one found so far. */
static void fill_buckets(struct radix *r, int shift)
{
    uint64_t found = (uint64_t)r->key >> shift >> RADIX_BITS;
    size_t n = 0;
    memset(r->bucket, 0, sizeof r->bucket);
    r->highest = 0;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t id = r->id[i];
        uint64_t key = key_of(r->value[id]), begin = key >> shift >> RADIX_BITS;
        r->id[n] = id;
        n += begin >= found;
        if (begin != found)
            continue;
        size_t b = key >> shift & (RADIX - 1);
        r->bucket[b] += r->weighted ? (double)r->value[id] : 1.0;
        r->highest = MAX(r->highest, b);
    }
    r->n = n;
}

/* The bucket in which the target is reached; if rounding keeps it out of reach, the
 * lowest that is not empty. */
static size_t find_bucket(struct radix *r)
{
    size_t last = r->highest;
    double sum = 0, before = 0;
    for (size_t b = r->highest + 1; b-- > 0;) {
        if (r->bucket[b] == 0)
            continue;
        last = b;
        before = sum;
        sum += r->bucket[b];
        if (sum >= r->target)
            break;
    }
    r->target -= before;
    return last;
}

static size_t keep_ties(struct radix *r)
{
    double each = 1;
    size_t n = 0;
    if (r->weighted) {
        uint32_t bits = r->key & 0x7fffffffu; /* of a number that is not negative */
        float value;
        memcpy(&value, &bits, sizeof value);
        each = (double)value;
    }
    double left = r->target;
    bool none = true;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t id = r->id[i], key = key_of(r->value[id]);
        bool tie = key == r->key && (none || left > 0);
        r->id[n] = id;
        n += key > r->key || tie;
        left -= tie ? each : 0;
        none = none && !tie;
    }
    return n;
}

static size_t cut(const float *value, uint32_t *id, size_t n, bool weighted, double target)
{
    static const int shift[] = {22, 11, 0};
    struct radix r;
    r.value = value;
    r.id = id;
    r.n = n;
    r.weighted = weighted;
    r.target = target;
    r.key = 0;
    for (size_t level = 0; level < COUNT_OF(shift); level++) {
        fill_buckets(&r, shift[level]);
        r.key |= (uint32_t)find_bucket(&r) << shift[level];
    }
    return keep_ties(&r);
}

size_t logits_cut_count(const float *value, uint32_t *id, size_t n, size_t target)
{
    return n <= target ? n : cut(value, id, n, false, (double)target);
}

size_t logits_cut_sum(const float *value, uint32_t *id, size_t n, double target)
{
    return n <= 1 ? n : cut(value, id, n, true, target);
}

float logits_bound(const struct logits *l, size_t k)
{
    uint32_t id[LOGITS_BLOCKS];
    float bound = INFINITY;
    if (k > l->n_blocks)
        return -FLT_MAX;
    for (size_t b = 0; b < l->n_blocks; b++)
        id[b] = (uint32_t)b;
    /* k blocks have a maximum that large, so k values are. */
    size_t n = logits_cut_count(l->block_max, id, l->n_blocks, k);
    for (size_t i = 0; i < n; i++)
        bound = MIN(bound, l->block_max[id[i]]);
    return MAX(bound, -FLT_MAX);
}
