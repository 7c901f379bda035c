/* Attention of one layer over the paged keys and values. The step is cut into units of
 * (sequence, key/value head, up to 16 tokens of one page), which lanes take longest first.
 * A decode step with fewer units than lanes want is cut along the keys instead, at the
 * splits; either way the arithmetic is that of softmax.c, in the same order.
 *
 *   each sequence has one token    a unit appends its own key and value, no barrier before
 *   else                           all lanes append, barrier, units
 *   few units, long contexts       (unit, split) to partial results; who brings the last
 *                                  split of a unit merges them all */
#include "attend.h"

#include <math.h>

/* A run of tokens of one sequence. */
struct item {
    int32_t seq, first; /* first: token of the sequence's share of the step */
};

/* One lane's part of the device's scratch; all arrays begin on cache lines. */
struct scratch {
    struct item *items; /* (max_tokens) */
    int rows;           /* queries of a unit, at most */
    float *q;           /* (runs, rows, QUERY_RUN) */
    float *weights;     /* (TILE_ROWS, SPLIT) */
    float *state;       /* (rows, partial_stride): merged so far */
    float *next;        /* the same: one split */
    float *partials;    /* (2 units, splits, group, partial_stride), read by other lanes */
};

/* What is the same for the whole operation. */
struct attend {
    struct lane *lane;
    const struct op_attend *op;
    const struct batch *batch;
    struct attend_keys keys; /* without page and base */
    struct scratch scratch;
    size_t layer;    /* where its blocks begin in a page */
    size_t row;      /* floats of a token in qkv */
    int group;       /* query heads of a key/value head */
    int block;       /* most tokens of a unit, divides a page */
    bool one_each;   /* every sequence has one token */
    bool along_keys; /* units are cut at the splits */
};

/* Units of a step that is cut along the keys: fewer than two for each lane. */
#define SPLIT_UNITS LANE_PLACES

static int splits_of(int positions)
{
    return (int)(((int64_t)positions + SPLIT - 1) / SPLIT);
}

/* The first that a token at `position` sees something of. */
static int first_split(const struct attend *a, int position)
{
    return first_seen(position, a->op->window) / SPLIT;
}

/* The next array of bytes, or NULL while only measuring. */
static void *place(uint8_t *base, size_t *used, size_t bytes)
{
    void *at = base ? base + *used : NULL;
    *used += ROUND_UP(bytes, CACHE_LINE);
    return at;
}

/* The fewest key/value heads and the widest head of any layer. */
static struct kv_shape widest(const struct device_config *config)
{
    const bool has_near = config->kv_kind && config->near_K;
    return (struct kv_shape){has_near ? MIN(config->K, config->near_K) : config->K,
                             has_near ? MAX(config->dim, config->near_dim) : config->dim};
}

/* Places the arrays of one lane; base NULL: only measures. Returns their bytes. */
static size_t place_scratch(const struct device_config *config, uint8_t *base,
                            struct scratch *scratch)
{
    const struct kv_shape most = widest(config);
    struct kv_layout layout = kv_layout_of((enum kv_type)config->kv_type, most.dim);
    size_t group = (size_t)(config->H / most.K), row = partial_stride(&layout) * sizeof(float);
    size_t rows = ROWS_UP(group * PAGE_TOKENS), used = 0;
    size_t runs = ((size_t)most.dim + QUERY_RUN - 1) / QUERY_RUN;
    size_t partials = config->threads > 1 ? (size_t)splits_of(config->max_context) : 0;
    scratch->rows = (int)rows;
    scratch->items = place(base, &used, (size_t)config->max_tokens * sizeof *scratch->items);
    scratch->q = place(base, &used, runs * rows * QUERY_RUN * sizeof(float));
    scratch->weights = place(base, &used, (size_t)TILE_ROWS * SPLIT * sizeof(float));
    scratch->state = place(base, &used, rows * row);
    scratch->next = place(base, &used, rows * row);
    scratch->partials = place(base, &used, SPLIT_UNITS * partials * group * row);
    return used;
}

size_t ISA_FN(attend_scratch_bytes)(const struct device_config *config)
{
    struct scratch scratch;
    return place_scratch(config, NULL, &scratch);
}

static void scratch_of(const struct device *device, int lane, struct scratch *scratch)
{
    uint8_t *base = (uint8_t *)device->attend_scratch + (size_t)lane * device->attend_scratch_bytes;
    (void)place_scratch(&device->config, base, scratch);
}

/* The partial result of a head of unit (sequence * K + key/value head) for one split. The
 * units are spread over the lanes' scratch, which every lane can reach. */
static float *partial_at(const struct attend *a, int unit, int split, int head)
{
    struct scratch owner;
    const struct device *device = a->lane->device;
    scratch_of(device, unit / SPLIT_UNITS, &owner);
    size_t splits = (size_t)splits_of(device->config.max_context);
    size_t at = (size_t)(unit % SPLIT_UNITS) * splits + (size_t)split;
    return owner.partials +
           (at * (size_t)a->group + (size_t)head) * partial_stride(&a->keys.layout);
}

/* One past the last token of the unit that begins at token first. */
static int unit_end(const struct batch_seq *seq, int first, int block)
{
    return MIN(seq->n, first + block - (seq->position + first) % block);
}

static int count_units(const struct batch *batch, int block)
{
    int n = 0;
    for (int s = 0; s < batch->S; s++) {
        const struct batch_seq *seq = &batch->seq[s];
        n += (seq->position + seq->n - 1) / block - seq->position / block + 1;
    }
    return n;
}

/* Enough units for every lane to get two, if tokens can give them. */
static int choose_block(const struct batch *batch, int heads, int lanes)
{
    int block = PAGE_TOKENS;
    while (lanes > 1 && block > 1 && count_units(batch, block) * heads < 2 * lanes)
        block /= 2;
    return block;
}

static void prepare(struct attend *a)
{
    const struct device_config *config = &a->lane->device->config;
    const struct op_attend *op = a->op;
    const struct batch *batch = a->batch;
    int lanes = a->lane->count, longest = 0;
    a->keys.type = (enum kv_type)config->kv_type;
    a->keys.layout = kv_layout_of(a->keys.type, op->dim);
    a->keys.dim = op->dim;
    a->keys.pairs =
        DOT_PAIRS && a->keys.type == KV_BF16 && config->activations == (int32_t)ACT_INT8;
    a->keys.stride = a->lane->device->kv_page;
    a->layer = config->kv_kind ? kv_layer_offset(config, op->layer)
                               : (size_t)op->layer * (size_t)op->K * a->keys.layout.bytes;
    a->row = (size_t)attend_heads(op) * (size_t)op->dim;
    a->group = op->H / op->K;
    scratch_of(a->lane->device, a->lane->id, &a->scratch);
    a->one_each = batch->T == batch->S;
    for (int s = 0; s < batch->S; s++)
        longest = MAX(longest, batch->seq[s].position + 1);
    a->along_keys =
        a->one_each && lanes > 1 && batch->S * op->K < SPLIT_UNITS * lanes && longest > SPLIT;
    a->block = a->one_each ? 1 : choose_block(batch, op->K, lanes);
}

static void use_keys(struct attend *a, const struct batch_seq *seq, int head)
{
    a->keys.page = seq->page;
    a->keys.base = a->lane->device->kv + a->layer + (size_t)head * a->keys.layout.bytes;
}

static const float *head_of(const struct attend *a, int t, int head)
{
    return a->op->qkv + (size_t)t * a->row + (size_t)head * (size_t)a->op->dim;
}

/* The next token's heads are too far away for the hardware to see a stream. */
SIMD void fetch(const float *x, int n)
{
    for (int i = 0; i < n; i += LANES)
        __builtin_prefetch(x + i);
}

static struct rotary rotary_of(const struct op_attend *op, int t, float scale)
{
    size_t turned = (size_t)attend_rotary_dim(op);
    return (struct rotary){.angles = op->rotary ? op->rotary + (size_t)t * turned : NULL,
                           .kind = (enum rope_kind)op->rope,
                           .dim = op->dim,
                           .turned = (int)turned,
                           .eps = op->eps,
                           .scale = scale};
}

/* Of a query at a position: what its scores come times. */
static float query_scale(const struct op_attend *op, int position)
{
    if (op->growth == 0 || position < op->growth_from)
        return op->scale;
    return op->scale * (1.0f + op->growth * logf(1.0f + (float)(position / op->growth_from)));
}

/* Token i of the sequence's share. */
static void append_token(struct attend *a, const struct batch_seq *seq, int i, int head)
{
    const struct op_attend *op = a->op;
    float k[KV_DIM_MAX], normal[KV_DIM_MAX];
    int t = seq->first + i;
    struct rotary rotary = rotary_of(op, t, 1.0f);
    rotary.mean = op->k_mean ? op->k_mean + head * op->dim : NULL;
    ISA_FN(rotate)(&rotary, head_of(a, t, op->H + head), op->k_norm, k);
    const float *v = head_of(a, t, op->H + (op->v_of_k ? 0 : op->K) + head);
    if (op->v_norm) {
        ISA_FN(normalize)(v, NULL, op->eps, op->dim, normal);
        v = normal;
    }
    use_keys(a, seq, head);
    ISA_FN(append)(&a->keys, seq->position + i, k, v);
}

/* This lane's share of all tokens. */
static void append_share(struct attend *a)
{
    int first, last;
    lane_share(a->lane, a->batch->T, &first, &last);
    for (int s = 0; s < a->batch->S; s++) {
        const struct batch_seq *seq = &a->batch->seq[s];
        int end = MIN(last - seq->first, seq->n);
        for (int i = MAX(first - seq->first, 0); i < end; i++)
            for (int head = 0; head < a->op->K; head++)
                append_token(a, seq, i, head);
    }
}

/* A query of a head of several runs; q: its row of the first. */
static void load_wide(const struct attend *a, const struct rotary *rotary, const float *x, float *q)
{
    float wide[KV_DIM_MAX];
    ISA_FN(rotate)(rotary, x, a->op->q_norm, wide);
    for (int run = 0; run < a->op->dim; run += QUERY_RUN, q += a->scratch.rows * QUERY_RUN) {
        const int n = MIN(a->op->dim - run, QUERY_RUN);
        memcpy(q, wide + run, (size_t)n * sizeof *q);
        if (a->keys.pairs)
            round_row(q, 0, n);
    }
}

/* The queries of tokens [first, last) of the sequence's share, rotated and scaled. */
static struct attend_rows load_rows(struct attend *a, const struct batch_seq *seq, int head,
                                    int first, int last)
{
    const struct op_attend *op = a->op;
    float *q = a->scratch.q;
    for (int i = first; i < last; i++) {
        const float scale = query_scale(op, seq->position + i);
        struct rotary rotary = rotary_of(op, seq->first + i, scale);
        if (i + 1 < last)
            fetch(head_of(a, seq->first + i + 1, head * a->group), a->group * op->dim);
        for (int g = 0; g < a->group; g++, q += QUERY_RUN) {
            const float *x = head_of(a, seq->first + i, head * a->group + g);
            if (op->dim > QUERY_RUN) {
                load_wide(a, &rotary, x, q);
                continue;
            }
            ISA_FN(rotate)(&rotary, x, op->q_norm, q);
            if (a->keys.pairs)
                round_row(q, 0, op->dim);
        }
    }
    use_keys(a, seq, head);
    return (struct attend_rows){.keys = a->keys,
                                .q = a->scratch.q,
                                .run_rows = a->scratch.rows,
                                .n = (last - first) * a->group,
                                .group = a->group,
                                .position = seq->position + first,
                                .window = op->window,
                                .cap = op->cap,
                                .slopes = op->slopes ? op->slopes + head * a->group : NULL};
}

/* 1 / sum, with what the sink adds to it: both as weights behind the larger of the two. */
static vf sink_factor(float sink, float largest, float sum)
{
    float most = MAX(largest, sink);
    vf weight = vf_exp(vf_set1(largest - most)), lost = vf_exp(vf_set1(sink - most));
    return vf_div(weight, vf_fma(vf_set1(sum), weight, lost));
}

/* y of one query head of token t. */
static void write_head(const struct attend *a, int t, int head, const float *partial)
{
    const struct op_attend *op = a->op;
    const float *extra = partial + a->keys.layout.width;
    float *y = op->y + ((size_t)t * (size_t)op->H + (size_t)head) * (size_t)op->dim;
    vf factor = vf_set1(1.0f / extra[PARTIAL_SUM]);
    if (op->sinks)
        factor = sink_factor(op->sinks[head], extra[PARTIAL_MAX], extra[PARTIAL_SUM]);
    for (int i = 0; i < op->dim; i += LANES)
        vf_store_first(y + i, vf_mul(vf_load(partial + i), factor), MIN(op->dim - i, LANES));
}

static void attend_unit(struct attend *a, const struct item *item, int head)
{
    const struct batch_seq *seq = &a->batch->seq[item->seq];
    const struct kv_layout *layout = &a->keys.layout;
    size_t stride = partial_stride(layout);
    int last = unit_end(seq, item->first, a->block);
    if (a->one_each && !a->op->shared)
        append_token(a, seq, 0, head);
    struct attend_rows rows = load_rows(a, seq, head, item->first, last);
    int split = first_split(a, seq->position + item->first);
    ISA_FN(attend_split)(&rows, split, a->scratch.weights, a->scratch.state);
    while (++split < splits_of(seq->position + last)) {
        ISA_FN(attend_split)(&rows, split, a->scratch.weights, a->scratch.next);
        for (int r = 0; r < rows.n; r++) {
            float *into = a->scratch.state + (size_t)r * stride;
            ISA_FN(merge_partial)(layout, into, a->scratch.next + (size_t)r * stride);
        }
    }
    for (int r = 0; r < rows.n; r++)
        write_head(a, seq->first + item->first + r / a->group, head * a->group + r % a->group,
                   a->scratch.state + (size_t)r * stride);
}

/* Two buckets to each doubling of the cost, the dearest first. */
#define BUCKETS 96

static int bucket_of(const struct attend *a, const struct batch_seq *seq, int first)
{
    int end = unit_end(seq, first, a->block);
    uint64_t cost = (uint64_t)(seq->position + end) * (uint64_t)(end - first) * 2;
    int log2 = 63 - __builtin_clzll(cost);
    return BUCKETS - 1 - (2 * log2 + (int)(cost >> (log2 - 1) & 1));
}

/* Every lane makes the same list. Returns its length. */
static int list_items(const struct attend *a)
{
    const struct batch *batch = a->batch;
    int start[BUCKETS + 1] = {0};
    for (int s = 0; s < batch->S; s++)
        for (int i = 0; i < batch->seq[s].n; i = unit_end(&batch->seq[s], i, a->block))
            start[bucket_of(a, &batch->seq[s], i) + 1]++;
    for (int b = 0; b < BUCKETS; b++)
        start[b + 1] += start[b];
    for (int s = 0; s < batch->S; s++)
        for (int i = 0; i < batch->seq[s].n; i = unit_end(&batch->seq[s], i, a->block))
            a->scratch.items[start[bucket_of(a, &batch->seq[s], i)]++] = (struct item){s, i};
    return start[BUCKETS];
}

static void attend_units(struct attend *a)
{
    int heads = a->op->K, n = list_items(a);
    for (int u; (u = lane_take(a->lane)) < n * heads;)
        attend_unit(a, &a->scratch.items[u / heads], u % heads);
}

/* The heads of one unit, from its partial results in the order of their splits. */
static void merge_unit(struct attend *a, const struct batch_seq *seq, int unit, int splits)
{
    float *state = a->scratch.state;
    int first = first_split(a, seq->position);
    size_t row = partial_stride(&a->keys.layout) * sizeof *state;
    for (int head = 0; head < a->group; head++) {
        memcpy(state, partial_at(a, unit, first, head), row);
        for (int split = first + 1; split < splits; split++)
            ISA_FN(merge_partial)(&a->keys.layout, state, partial_at(a, unit, split, head));
        write_head(a, seq->first, unit % a->op->K * a->group + head, state);
    }
}

/* One split of one sequence and head, to its partial results. Only the last split reads the
 * position that this step appends. */
static void attend_piece(struct attend *a, int s, int head, int split)
{
    const struct batch_seq *seq = &a->batch->seq[s];
    size_t row = partial_stride(&a->keys.layout) * sizeof(float);
    int unit = s * a->op->K + head, splits = splits_of(seq->position + 1);
    if (split + 1 == splits && !a->op->shared)
        append_token(a, seq, 0, head);
    struct attend_rows rows = load_rows(a, seq, head, 0, 1);
    ISA_FN(attend_split)(&rows, split, a->scratch.weights, a->scratch.next);
    memcpy(partial_at(a, unit, split, 0), a->scratch.next, (size_t)a->group * row);
    if (lane_is_last(a->lane, unit, splits - first_split(a, seq->position)))
        merge_unit(a, seq, unit, splits);
}

static void attend_pieces(struct attend *a)
{
    int heads = a->op->K, s = 0, passed = 0; /* pieces of the sequences before s */
    for (;;) {
        int piece = lane_take(a->lane) - passed, first = 0;
        for (; s < a->batch->S; s++) {
            int position = a->batch->seq[s].position;
            first = first_split(a, position);
            int pieces = (splits_of(position + 1) - first) * heads;
            if (piece < pieces)
                break;
            piece -= pieces;
            passed += pieces;
        }
        if (s == a->batch->S)
            return;
        attend_piece(a, s, piece % heads, first + piece / heads);
    }
}

int ISA_FN(attend)(struct lane *lane, const struct op_attend *op, const struct batch *batch)
{
    struct attend a = {.lane = lane, .op = op, .batch = batch};
    prepare(&a);
    if (!a.one_each && !op->shared) {
        append_share(&a);
        lane_barrier(lane);
    }
    if (a.along_keys)
        attend_pieces(&a);
    else
        attend_units(&a);
    lane_barrier(lane);
    return 0;
}
