/* A layer of experts on CUDA, for the tests of what it computes and of what it costs. */
#pragma once

#define LARGE_EXPERTS
#include "experts_problem.h"
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T,
                                            .max_rows = T,
                                            .max_context = T,
                                            .max_width = MAX(D, F),
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = T,
                                            .experts = E_MAX,
                                            .experts_met = U_MAX};

/* A problem on the device. */
struct layer {
    struct device *device;
    struct problem *p;
    struct weight router, gate[E_MAX], up[E_MAX], down[E_MAX];
    void *gates, *ups, *downs; /* their arrays, if experts' matrices stand one behind the other */
    float *x, *norm, *scores, *hidden, *answer;
    float *choice_bias, *router_bias, *gate_bias, *up_bias, *down_bias;
    struct expert_choice *choice;
    int32_t *slots;
};

enum { SLOTS_BYTES = (2 * E_MAX + 1 + ROWS_MAX) * 4 };

static inline size_t stride(const struct matrix *m)
{
    const size_t bytes =
        backend_cuda.packed_bytes(&config, m->source.fmt, m->source.N, m->source.K);
    return ROUND_UP(bytes, (size_t)256);
}

/* Packs the experts' matrices behind one another. */
static inline void *pack(const struct layer *l, const struct matrix *m, struct weight *weight)
{
    const int E = l->p->E;
    struct err err = {0};
    size_t bytes = 0;
    for (int e = 0; e < E; e++)
        bytes += stride(&m[e]);
    char *at = cuda_array(l->device, NULL, bytes), *array = at;
    for (int e = 0; e < E; at += stride(&m[e]), e++) {
        weight[e] = (struct weight){.data = at, .bytes = stride(&m[e])};
        if (backend_cuda.pack(l->device, &m[e].source, &weight[e], &err))
            t_fail(__FILE__, __LINE__, "%s", err.text);
    }
    return array;
}

static inline void drop(const struct layer *l, const struct matrix *m, void *array)
{
    size_t bytes = 0;
    for (int e = 0; e < l->p->E; e++)
        bytes += stride(&m[e]);
    cuda_drop(l->device, array, bytes);
}

static inline void take_layer(struct layer *l)
{
    const struct problem *p = l->p;
    l->router = cuda_matrix(l->device, &config, &p->router);
    l->gates = pack(l, p->gate, l->gate);
    l->ups = pack(l, p->up, l->up);
    l->downs = pack(l, p->down, l->down);
    l->x = cuda_array(l->device, NULL, sizeof p->x);
    l->norm = cuda_array(l->device, p->norm, sizeof p->norm);
    l->scores = cuda_array(l->device, NULL, T * E_MAX * sizeof *l->scores);
    l->hidden = cuda_array(l->device, NULL, ROWS_MAX * F * sizeof *l->hidden);
    l->answer = cuda_array(l->device, NULL, ROWS_MAX * D * sizeof *l->answer);
    l->choice_bias = cuda_array(l->device, p->choice_bias, sizeof p->choice_bias);
    l->router_bias = cuda_array(l->device, p->router_bias, sizeof p->router_bias);
    l->gate_bias = cuda_array(l->device, p->gate_bias, sizeof p->gate_bias);
    l->up_bias = cuda_array(l->device, p->up_bias, sizeof p->up_bias);
    l->down_bias = cuda_array(l->device, p->down_bias, sizeof p->down_bias);
    l->choice = cuda_array(l->device, NULL, T * U_MAX * sizeof *l->choice);
    l->slots = cuda_array(l->device, NULL, SLOTS_BYTES);
}

static inline void drop_layer(struct layer *l)
{
    const struct problem *p = l->p;
    cuda_drop(l->device, l->router.data, l->router.bytes);
    drop(l, p->gate, l->gates);
    drop(l, p->up, l->ups);
    drop(l, p->down, l->downs);
    cuda_drop(l->device, l->x, sizeof p->x);
    cuda_drop(l->device, l->norm, sizeof p->norm);
    cuda_drop(l->device, l->scores, T * E_MAX * sizeof *l->scores);
    cuda_drop(l->device, l->hidden, ROWS_MAX * F * sizeof *l->hidden);
    cuda_drop(l->device, l->answer, ROWS_MAX * D * sizeof *l->answer);
    cuda_drop(l->device, l->choice_bias, sizeof p->choice_bias);
    cuda_drop(l->device, l->router_bias, sizeof p->router_bias);
    cuda_drop(l->device, l->gate_bias, sizeof p->gate_bias);
    cuda_drop(l->device, l->up_bias, sizeof p->up_bias);
    cuda_drop(l->device, l->down_bias, sizeof p->down_bias);
    cuda_drop(l->device, l->choice, T * U_MAX * sizeof *l->choice);
    cuda_drop(l->device, l->slots, SLOTS_BYTES);
}

struct call {
    struct op_experts op;
    struct batch batch;
};

static inline int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    return backend_cuda.experts(lane, &call->op, &call->batch);
}

static inline struct op_experts op_of(const struct layer *l)
{
    const struct problem *p = l->p;
    const bool is_biased = p->limit > 0;
    return (struct op_experts){.x = l->x,
                               .norm = l->norm,
                               .router = &l->router,
                               .gate = l->gate,
                               .up = l->up,
                               .down = l->down,
                               .router_bias = is_biased ? l->router_bias : NULL,
                               .gate_bias = is_biased ? l->gate_bias : NULL,
                               .up_bias = is_biased ? l->up_bias : NULL,
                               .down_bias = is_biased ? l->down_bias : NULL,
                               .scores = l->scores,
                               .choice = l->choice,
                               .first = l->slots,
                               .count = l->slots + p->E + 1,
                               .token = l->slots + 2 * p->E + 1,
                               .hidden = l->hidden,
                               .answer = l->answer,
                               .eps = eps,
                               .limit = p->limit,
                               .D = D,
                               .F = F,
                               .E = p->E,
                               .U = p->U,
                               .choice_bias = if_chosen(p, l->choice_bias),
                               .shares = p->shares,
                               .factor = factor_of(p)};
}

/* Dead rows have none. */
static inline void check_counts(const struct layer *l, int n)
{
    int32_t count[E_MAX], sum = 0;
    const size_t bytes = (size_t)l->p->E * sizeof *count;
    CHECK_EQ(backend_cuda.read(l->device, count, l->slots + l->p->E + 1, bytes), 0);
    for (int e = 0; e < l->p->E; e++)
        sum += count[e];
    CHECK_EQ(sum, n * l->p->U);
}

/* Runs tokens [first, first + n) of the problem, whose rows are then the first of l->x; what run
 * returned. is_recorded: as sequences of one token each, which have dead rows beside them; all must
 * have room for those. */
static inline int run_tokens(const struct layer *l, int first, int n, bool is_recorded)
{
    static struct batch_seq seq[T];
    static int32_t number[T], zeros[T];
    for (int i = 0; i < n; i++) {
        number[i] = i;
        seq[i] = (struct batch_seq){.first = i, .n = 1, .position = 0, .page = &number[i]};
    }
    if (!is_recorded)
        seq[0].n = n;
    struct call call = {.op = op_of(l),
                        .batch = {.T = n,
                                  .S = is_recorded ? n : 1,
                                  .token = zeros,
                                  .position = is_recorded ? zeros : number,
                                  .seq = seq,
                                  .row = number}};
    const size_t bytes = (size_t)n * D * sizeof *l->x;
    CHECK_EQ(backend_cuda.write(l->device, l->x, l->p->x, sizeof l->p->x), 0);
    CHECK_EQ(backend_cuda.write(l->device, l->x, l->p->x + first * D, bytes), 0);
    return backend_cuda.run(l->device, call_body, &call);
}

/* To the same rows of x. */
static inline void compute(const struct layer *l, int first, int n, bool is_recorded, float *x)
{
    CHECK_EQ(run_tokens(l, first, n, is_recorded), 0);
    CHECK_EQ(backend_cuda.read(l->device, x + first * D, l->x, (size_t)n * D * sizeof *x), 0);
    check_counts(l, n);
}
#endif
