/* Notes of the blocks of a row, what they say of it, and the selection of its largest by radix. A
 * block's maximum lets a pass leave the block out. */
#include "logits.h"

#include "logits_wide.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Four at a time, as every 64-bit processor can: comparisons too are vector instructions then. */
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

float logits_weight(float value, float max, float scale)
{
    wide weight = (wide){0} + value;
    weigh_wide(&weight, max, scale);
    return weight[0];
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

static double sum_of(const float *value, size_t n, float max, float scale)
{
    wide weight, sum = {0};
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        load_wide(value + i, &weight);
        weigh_wide(&weight, max, scale);
        sum += weight;
    }
    double total = sum_wide(&sum);
    for (; i < n; i++)
        total += (double)logits_weight(value[i], max, scale);
    return total;
}

/* ---- Notes of the blocks ------------------------------------------------------------ */

static size_t block_len(const struct logits *l, size_t b)
{
    return MIN((size_t)LOGIT_BLOCK, l->V - b * LOGIT_BLOCK);
}

/* The maxima of four blocks, and their sums. */
static inline void load_notes(const struct logit_block *block, lanes *max, lanes *sum)
{
    lanes notes[2];
    memcpy(notes, block, sizeof notes);
    *max = __builtin_shufflevector(notes[0], notes[1], 0, 2, 4, 6);
    *sum = __builtin_shufflevector(notes[0], notes[1], 1, 3, 5, 7);
}

static void find_max(struct logits *l)
{
    lanes most = all(-INFINITY), max, sum;
    size_t b = 0;
    for (; b + LANES <= l->n_blocks; b += LANES) {
        load_notes(l->block + b, &max, &sum);
        most = larger_lanes(max, most);
    }
    l->max = larger(larger(most[0], most[1]), larger(most[2], most[3]));
    for (; b < l->n_blocks; b++)
        l->max = larger(l->block[b].max, l->max);
}

static void take_note(struct logits *l, size_t b)
{
    const float *value = l->value + b * LOGIT_BLOCK;
    struct logit_block *block = &l->block[b];
    block->max = max_of(value, block_len(l, b));
    block->sum = 0;
    if (l->scale > 0 && block->max > -INFINITY)
        block->sum = (float)sum_of(value, block_len(l, b), block->max, l->scale);
}

void logits_init(struct logits *l, float *value, int32_t V, struct logit_block *block, float scale)
{
    *l = (struct logits){value, (size_t)V, (size_t)logit_blocks(V), block, scale, 0};
    find_max(l);
}

void logits_scan(struct logits *l, float *value, int32_t V, struct logit_block *block, float scale)
{
    *l = (struct logits){value, (size_t)V, (size_t)logit_blocks(V), block, scale, 0};
    for (size_t b = 0; b < l->n_blocks; b++)
        take_note(l, b);
    find_max(l);
}

/* A maximum that none has marks the row and the blocks to note again. */
void logits_set(struct logits *l, size_t i, float value)
{
    l->value[i] = value;
    l->block[i / LOGIT_BLOCK].max = l->max = NAN;
}

void logits_update(struct logits *l)
{
    if (!isnan(l->max))
        return;
    for (size_t b = 0; b < l->n_blocks; b++)
        if (isnan(l->block[b].max))
            take_note(l, b);
    find_max(l);
}

size_t logits_argmax(const struct logits *l)
{
    size_t b = 0;
    while (l->block[b].max != l->max)
        b++;
    size_t i = b * LOGIT_BLOCK;
    while (l->value[i] != l->max)
        i++;
    return i;
}

double logits_sum(const struct logits *l, double *sum)
{
    double part[WIDE] = {0};
    size_t b = 0;
    for (; b + WIDE <= l->n_blocks; b += WIDE) {
        lanes max[2], of_block[2];
        wide weight;
        load_notes(l->block + b, &max[0], &of_block[0]);
        load_notes(l->block + b + LANES, &max[1], &of_block[1]);
        memcpy(&weight, max, sizeof weight);
        weigh_wide(&weight, l->max, l->scale);
        for (size_t k = 0; k < WIDE; k++) {
            sum[b + k] = (double)of_block[k / LANES][k % LANES] * (double)weight[k];
            part[k] += sum[b + k];
        }
    }
    for (; b < l->n_blocks; b++) {
        float weight = logits_weight(l->block[b].max, l->max, l->scale);
        sum[b] = (double)l->block[b].sum * (double)weight;
        part[0] += sum[b];
    }
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

/* ---- Parts of the row --------------------------------------------------------------- */

size_t logits_weigh_block(const struct logits *l, size_t b, float *weight)
{
    const float *value = l->value + b * LOGIT_BLOCK;
    size_t n = block_len(l, b), i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        wide w;
        load_wide(value + i, &w);
        weigh_wide(&w, l->max, l->scale);
        memcpy(weight + i, &w, sizeof w);
    }
    for (; i < n; i++)
        weight[i] = logits_weight(value[i], l->max, l->scale);
    return n;
}

void logits_weigh(const struct logits *l, const uint32_t *id, size_t n, float scale)
{
    float *value = l->value;
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        const uint32_t *at = id + i;
        wide weight;
        for (size_t k = 0; k < WIDE; k++)
            weight[k] = value[at[k]];
        weigh_wide(&weight, l->max, scale);
        for (size_t k = 0; k < WIDE; k++)
            value[at[k]] = weight[k];
    }
    for (; i < n; i++)
        value[id[i]] = logits_weight(value[id[i]], l->max, scale);
}

/* Whether one of STRIDE values reaches the bound. */
static bool any_reaches(const float *value, float bound)
{
    lane_bits a = (lane_bits)(load(value) >= bound) | (lane_bits)(load(value + LANES) >= bound);
    lane_bits b = (lane_bits)(load(value + 2 * LANES) >= bound) |
                  (lane_bits)(load(value + 3 * LANES) >= bound);
    uint64_t half[2];
    a |= b;
    memcpy(half, &a, sizeof half);
    return (half[0] | half[1]) != 0;
}

size_t logits_gather(const struct logits *l, float bound, uint32_t *id)
{
    size_t n = 0;
    for (size_t b = 0; b < l->n_blocks; b++) {
        if (!(l->block[b].max >= bound))
            continue;
        size_t from = b * LOGIT_BLOCK, to = from + block_len(l, b);
        for (size_t i = from; i < to; i += STRIDE) {
            if (i + STRIDE <= to && !any_reaches(l->value + i, bound))
                continue;
            for (size_t k = i; k < MIN(i + STRIDE, to); k++) {
                id[n] = (uint32_t)k;
                n += l->value[k] >= bound;
            }
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

/* Buckets of a level, 2 to the power of so many, and where the bits of the highest level
 * begin. For a few keys clearing many buckets would cost most. */
enum { BITS_FEW = 8, TOP_FEW = 24, BITS_MANY = 11, TOP_MANY = 22, FEW = 1024 };

/* The search for the key at which a target is reached by the keys from the largest on:
 * levels of buckets, over bits of the key from the highest on. What is known to be below is
 * dropped on the way. */
struct radix {
    const float *value;
    uint32_t *id; /* (n) ascending indices of value that are still in question */
    size_t n;
    bool weighted;  /* values add up to the target, otherwise every one counts 1 */
    double target;  /* what keys below those already passed have to add */
    uint32_t key;   /* found so far: the bits above the present level */
    size_t highest; /* bucket of this level that is not empty */
    int bits;
    double *bucket; /* (1 << bits) */
};

/* Adds up the items whose key begins as the one found so far. */
static void fill_buckets(struct radix *r, int shift)
{
    const uint64_t found = (uint64_t)r->key >> shift >> r->bits;
    const size_t mask = ((size_t)1 << r->bits) - 1;
    size_t n = 0;
    memset(r->bucket, 0, (mask + 1) * sizeof *r->bucket);
    r->highest = 0;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t id = r->id[i];
        uint64_t key = key_of(r->value[id]), begin = key >> shift >> r->bits;
        r->id[n] = id;
        n += begin >= found;
        if (begin != found)
            continue;
        size_t b = key >> shift & mask;
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
    double bucket[1 << BITS_MANY];
    struct radix r = {.value = value,
                      .id = id,
                      .n = n,
                      .weighted = weighted,
                      .target = target,
                      .bits = n < FEW ? BITS_FEW : BITS_MANY,
                      .bucket = bucket};
    for (int shift = n < FEW ? TOP_FEW : TOP_MANY; shift >= 0; shift -= r.bits) {
        fill_buckets(&r, shift);
        r.key |= (uint32_t)find_bucket(&r) << shift;
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

/* ---- A bound from the notes ---------------------------------------------------------- */

enum { BOUND_STEPS = 16 };

static size_t count_blocks(const struct logits *l, float bound)
{
    size_t n = 0;
    for (size_t b = 0; b < l->n_blocks; b++)
        n += l->block[b].max >= bound;
    return n;
}

/* If k blocks have a maximum that large, k values are. Halves the range of maxima until
 * few blocks more are. */
float logits_bound(const struct logits *l, size_t k)
{
    float low = INFINITY, high = l->max;
    for (size_t b = 0; b < l->n_blocks; b++)
        low = l->block[b].max > -INFINITY ? MIN(low, l->block[b].max) : low;
    size_t n = count_blocks(l, low);
    if (n < k || isinf(low))
        return -FLT_MAX;
    for (int i = 0; i < BOUND_STEPS && n > k + k / 4; i++) {
        float middle = low / 2 + high / 2;
        size_t n_middle = count_blocks(l, middle);
        if (n_middle < k) {
            high = middle;
        } else {
            low = middle;
            n = n_middle;
        }
    }
    return low;
}
