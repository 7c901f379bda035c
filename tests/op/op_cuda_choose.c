/* Tokens chosen by the device against those of the host's sampling (plugin/sample.h). The host's
 * weights are other floats, so where both differ a definition in double has to find that a border
 * was too near for them to agree. */
#include "on_cuda.h"

#include <math.h>

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/device.h"
#include "../../kernels/cuda/head.h"
#include "../../plugin/logits.h"
#include "choose_rows.h"

static struct problem problem;

/* ---- A batch that ends with R rows */

struct call {
    struct op_head op;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    struct device *device = lane->device;
    int rc = step_upload(device, &call->batch);
    struct head_args notes = {.logits = call->op.logits,
                              .scale = device->step.view.scale,
                              .block = call->op.block,
                              .V = call->op.V,
                              .n_blocks = logit_blocks(call->op.V)};
    struct grid grid = {.x = (uint32_t)(notes.n_blocks + 7) / 8,
                        .y = (uint32_t)call->batch.R,
                        .z = 1,
                        .threads = 256};
    if (!rc)
        rc = cuda_launch(device, KERNEL_head_notes, grid, &notes);
    return rc ? rc : choose_launch(device, &call->op);
}

static const struct device_config config = {.threads = 1,
                                            .max_tokens = ROWS,
                                            .max_rows = ROWS,
                                            .max_context = 64,
                                            .max_width = 256,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

/* What a batch points to. */
struct batch_arrays {
    int32_t zeros[ROWS], row[ROWS];
    struct batch_seq seq[1];
};

/* Of one sequence: no rows but the batch's own, which decode steps have (step.h). */
static struct batch batch_of(const struct problem *p, struct batch_arrays *a)
{
    for (int32_t r = 0; r < p->R; r++)
        a->row[r] = r;
    a->seq[0] = (struct batch_seq){0, p->R, 0, a->zeros};
    return (struct batch){.T = p->R,
                          .S = 1,
                          .R = p->R,
                          .token = a->zeros,
                          .position = a->zeros,
                          .seq = a->seq,
                          .row = a->row,
                          .scale = p->scale,
                          .choice = p->choice,
                          .edit = p->edit,
                          .n_edit = p->n_edit,
                          .n_report = p->n_report};
}

static size_t logit_bytes(const struct problem *p)
{
    return (size_t)p->R * (size_t)p->V * sizeof(float);
}

static size_t block_bytes(const struct problem *p)
{
    return (size_t)p->R * (size_t)logit_blocks(p->V) * sizeof(struct logit_block);
}

static struct call call_of(struct device *device, const struct problem *p, struct batch_arrays *a)
{
    return (struct call){.batch = batch_of(p, a),
                         .op = {.logits = cuda_array(device, p->logits, logit_bytes(p)),
                                .block = cuda_array(device, NULL, block_bytes(p)),
                                .V = p->V}};
}

static void drop_call(struct device *device, const struct problem *p, const struct call *call)
{
    cuda_drop(device, call->op.logits, logit_bytes(p));
    cuda_drop(device, call->op.block, block_bytes(p));
}

/* Fills got. */
static void choose(struct device *device, struct problem *p)
{
    static struct batch_arrays arrays;
    int32_t *chosen = (int32_t *)(uintptr_t)device->chosen;
    struct call call = call_of(device, p, &arrays);
    CHECK_EQ(
        backend_cuda.write(device, chosen + ahead_stride(&config), p->before, sizeof p->before), 0);
    CHECK_EQ(backend_cuda.run(device, call_body, &call), 0);
    CHECK_EQ(backend_cuda.read(device, p->got, chosen, (size_t)p->R * sizeof *chosen), 0);
    CHECK_EQ(backend_cuda.read(device, p->report, chosen + p->R,
                               (size_t)p->n_report * sizeof *p->report),
             0);
    drop_call(device, p, &call);
}

/* ---- The host's */

static struct sample_input input_of(const struct problem *p, int32_t r, float *logits,
                                    struct logit_block *block)
{
    const struct task *t = &p->task[r];
    return (struct sample_input){.logits = logits,
                                 .block = block,
                                 .scale = p->scale[r],
                                 .V = p->V,
                                 .sampling = &t->sampling,
                                 .token = t->token,
                                 .n_token = t->n_token,
                                 .n_prompt = t->n_prompt,
                                 .choice = t->choice,
                                 .end = t->end,
                                 .n_end = t->n_end};
}

/* Fills want[r]; logits: (V), as they are after the edits. */
static void sample(struct problem *p, int32_t r, float *logits)
{
    static struct logit_block block[MOST_V / LOGIT_BLOCK + 1];
    static uint64_t scratch[MOST_V + MOST_V / 32];
    struct sample_input in = input_of(p, r, logits, block);
    struct sample_output *out = &p->host[r];
    struct logits l;
    memcpy(logits, p->logits + (size_t)r * (size_t)p->V, (size_t)p->V * sizeof *logits);
    logits_scan(&l, logits, p->V, block, in.scale);
    /* What is left in logits may be weights: the edits are asked for alone, by a greedy row. */
    struct sampling greedy = p->task[r].sampling;
    p->want[r] = sample_row(&in, scratch, out) ? out->token : -1;
    memcpy(logits, p->logits + (size_t)r * (size_t)p->V, (size_t)p->V * sizeof *logits);
    logits_scan(&l, logits, p->V, block, 0);
    greedy.temperature = 0;
    greedy.logprobs = -1;
    in.scale = 0;
    in.sampling = &greedy;
    (void)sample_row(&in, scratch, &(struct sample_output){0});
}

/* ---- What the device is told */

static struct logit_edit *edit_of(struct problem *p, int32_t first, int32_t token)
{
    for (int32_t i = first; i < p->n_edit; i++)
        if (p->edit[i].token == token)
            return &p->edit[i];
    p->edit[p->n_edit] = (struct logit_edit){.token = token, .n_generated = -1};
    return &p->edit[p->n_edit++];
}

static void tell(struct problem *p, int32_t r)
{
    const struct task *t = &p->task[r];
    const struct sampling *s = &t->sampling;
    const int32_t first = p->n_edit, n_known = t->n_token - t->has_pending;
    struct row_choice *c = &p->choice[r];
    *c = (struct row_choice){.seed = s->seed,
                             .position = (uint32_t)t->n_token,
                             .choice = t->choice,
                             .temperature = sample_is_greedy(s) ? 0 : s->temperature,
                             .top_p = s->top_p,
                             .min_p = s->min_p,
                             .top_k = s->top_k,
                             .repetition = s->repetition_penalty,
                             .presence = s->presence_penalty,
                             .frequency = s->frequency_penalty,
                             .pending = -1,
                             .first_edit = first};
    for (int32_t i = 0; i < s->n_bias; i++)
        edit_of(p, first, s->bias[i].token)->bias += s->bias[i].bias;
    for (int32_t i = 0; i < n_known; i++) {
        struct logit_edit *edit = edit_of(p, first, t->token[i]);
        edit->n_generated = MAX(edit->n_generated, 0) + (i >= t->n_prompt);
    }
    for (int32_t i = 0; i < t->n_end && t->n_token - t->n_prompt < s->min_tokens; i++)
        edit_of(p, first, t->end[i])->is_barred = true;
    if (t->has_pending) {
        c->pending = p->R - 1 - r;
        p->before[c->pending] = t->token[t->n_token - 1];
    }
    c->n_edit = p->n_edit - first;
    if (s->logprobs >= 0) {
        c->report = ++p->n_report;
        c->n_top = s->logprobs;
    }
    p->scale[r] = sample_scale(s, p->V);
}

/* ---- Comparing */

static int n_rows, n_near;

static void check_report(const struct problem *p, int32_t r)
{
    const struct row_report *report = &p->report[p->choice[r].report - 1];
    const struct sample_output *got = &report->output, *host = &p->host[r];
    CHECK_EQ(report->row, r);
    CHECK_EQ(got->token, p->got[r]);
    CHECK(got->token < 0 || is_logprob(got->logprob, logprob_of(p, r, got->token)));
    CHECK_EQ(got->n_top, host->n_top);
    for (int32_t i = 0; i < host->n_top; i++) {
        const double defined = logprob_of(p, r, host->top[i].token);
        CHECK_EQ(got->top[i].token, host->top[i].token);
        CHECK(is_logprob(got->top[i].logprob, defined));
        CHECK(is_logprob(host->top[i].logprob, defined));
    }
}

static void compare(struct device *device, struct problem *p)
{
    static float logits[MOST_V];
    p->n_edit = p->n_report = 0;
    for (int32_t r = 0; r < p->R; r++)
        tell(p, r);
    CHECK(p->n_edit <= EDITS);
    choose(device, p);
    for (int32_t r = 0; r < p->R; r++) {
        const struct sampling *s = &p->task[r].sampling;
        bool is_near = false;
        sample(p, r, logits);
        if (s->logprobs >= 0)
            check_report(p, r);
        n_rows++;
        if (p->got[r] == p->want[r])
            continue;
        n_near++;
        int32_t defined = define(&p->task[r], logits, p->V, &is_near);
        if (!is_near)
            t_fail(__FILE__, __LINE__,
                   "V %d row %d: temperature %g, top-k %d, top-p %g, min-p %g: token %d, host %d, "
                   "defined %d",
                   p->V, r, (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p,
                   p->got[r], p->want[r], defined);
    }
}

/* Borders that are too near are few. */
static void check_near(void)
{
    printf("  %d of %d tokens differ, near a border\n", n_near, n_rows);
    CHECK(n_near * 100 <= n_rows);
    n_rows = n_near = 0;
}

static const int32_t sizes[] = {1, 2, 31, 127, 128, 129, 1000, 4099, 32000};

TEST(cuda_choose, tokens_are_those_of_the_host)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        init(&problem, sizes[i], ROWS);
        set_filters(&problem);
        compare(device, &problem);
    }
    check_near();
    backend_cuda.close(device);
}

TEST(cuda_choose, tokens_of_large_vocabularies)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    for (int i = 0; i < 2; i++) {
        init(&problem, i ? MOST_V : 151936, 12);
        for (int32_t r = 0; r < problem.R; r++) { /* the usual, with each filter and with all */
            struct sampling *s = &problem.task[r].sampling;
            fill_row(&problem, r, i ? 5 : r % 2 ? 1 : 3);
            s->temperature = 0.8f;
            s->top_p = r / 2 % 2 ? 0.9f : 1;
            s->top_k = r / 4 == 1 ? 40 : 0;
            s->min_p = r / 4 == 2 ? 0.05f : 0;
            s->logprobs = r % 3 ? TOP_LOGPROBS : -1;
        }
        compare(device, &problem);
    }
    check_near();
    backend_cuda.close(device);
}

/* ---- Edits */

static int32_t largest(const struct problem *p, int32_t r)
{
    const float *logit = p->logits + (size_t)r * (size_t)p->V;
    int32_t at = 0;
    for (int32_t i = 1; i < p->V; i++)
        at = logit[i] > logit[at] ? i : at;
    return at;
}

static void set_edits(struct problem *p)
{
    for (int32_t r = 0; r < p->R; r++) {
        struct task *t = &p->task[r];
        struct sampling *s = &t->sampling;
        s->repetition_penalty = r % 2 ? 1.3f : 1;
        s->presence_penalty = r % 3 ? 0.8f : 0;
        s->frequency_penalty = r % 5 ? 1.5f : 0;
        s->bias = t->bias;
        s->n_bias = r % 4 ? BIASES : 0;
        for (int32_t i = 0; i < s->n_bias; i++) /* of different tokens: sums of floats */
            t->bias[i] = (struct logit_bias){(r + i * 7) % p->V, 4 - 2 * (float)i};
        if (p->V <= 7 * BIASES)
            s->n_bias = MIN(s->n_bias, 1);
        t->n_token = 1 + (r * 5) % HISTORY;
        t->n_prompt = t->n_token / 2;
        for (int32_t i = 0; i < t->n_token; i++)
            t->token[i] = (int32_t)(uniform(r, 100 + i) * (float)(i % 2 ? p->V : MIN(p->V, 9)));
        t->n_end = ENDS;
        for (int32_t i = 0; i < ENDS; i++)
            t->end[i] = (r + i) % p->V;
        s->min_tokens = r % 3 == 1 ? HISTORY : 0;
        t->has_pending = r % 2;
        t->token[t->n_token - 1] = t->token[0] = largest(p, r); /* whose count matters */
    }
}

TEST(cuda_choose, edits_come_first)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    for (size_t i = 0; i < COUNT_OF(sizes) - 1; i++) {
        init(&problem, sizes[i], ROWS);
        set_filters(&problem);
        set_edits(&problem);
        compare(device, &problem);
    }
    check_near();
    backend_cuda.close(device);
}

/* The largest logit stays so after its edit, which is the last of many, or that of the pending
 * token that no other edit knows of. */
TEST(cuda_choose, log_probabilities_are_of_logits_before_their_edits)
{
    enum { V = 300 };
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    init(&problem, V, ROWS);
    for (int32_t r = 0; r < ROWS; r++) {
        struct task *t = &problem.task[r];
        t->sampling.repetition_penalty = 1.1f;
        t->sampling.logprobs = r % 4;
        t->has_pending = r % 2;
        t->n_token = r % 2 ? 1 : HISTORY;
        for (int32_t i = 0; i < t->n_token; i++)
            t->token[i] = r + t->n_token - 1 - i;
        for (int32_t i = 0; i < V; i++)
            problem.logits[r * V + i] = i == r ? 60 : normal((uint64_t)r, (uint32_t)i);
    }
    compare(device, &problem);
    for (int32_t r = 0; r < ROWS; r++)
        CHECK_EQ(problem.got[r], r);
    check_near();
    backend_cuda.close(device);
}

/* As many as there are blocks: the largest of each are kept. The bound from the notes is the least
 * of these, all others are next below it, and both are of one digit of the radix. */
TEST(cuda_choose, a_bucket_ends_at_the_bound)
{
    enum { BLOCKS = 64, V = BLOCKS * LOGIT_BLOCK };
    const uint32_t base = 0x41000000; /* 8.0f */
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    init(&problem, V, ROWS);
    for (int32_t r = 0; r < ROWS; r++) {
        float *logit = problem.logits + (size_t)r * V;
        problem.task[r].sampling.top_k = BLOCKS;
        problem.task[r].sampling.top_p = r % 2 ? 1 : 0.8f;
        for (uint32_t i = 0; i < V; i++) {
            uint32_t bits = base + (i % LOGIT_BLOCK == 77 ? 1 + i / LOGIT_BLOCK * 8 : 0);
            memcpy(&logit[i], &bits, sizeof bits);
        }
    }
    compare(device, &problem);
    check_near();
    backend_cuda.close(device);
}

/* ---- Steps that are launched ahead */

/* Both steps have the rows' history but for its last token, which the first step chooses. */
TEST(cuda_choose, one_under_way)
{
    enum { V = 1000, R = 16 };
    static struct problem second;
    static float logits[V];
    struct device *device = cuda_device(&config);
    struct sample_output output[2][R];
    if (!device)
        return;
    init(&problem, V, R);
    set_filters(&problem);
    set_edits(&problem);
    compare(device, &problem);
    init(&second, V, R);
    for (int32_t r = 0; r < R; r++)
        second.task[r] = problem.task[r];
    for (int32_t r = 0; r < R; r++) {
        struct task *t = &second.task[r];
        t->sampling.bias = t->bias;
        t->sampling.repetition_penalty = 5;
        t->has_pending = true;
        t->n_token = MIN(t->n_token, HISTORY - 1);
        t->token[t->n_token++] = problem.got[R - 1 - r];
        tell(&second, r);
    }
    struct call first_call, second_call;
    struct batch_arrays *arrays = calloc(2, sizeof *arrays);
    first_call = call_of(device, &problem, &arrays[0]);
    second_call = call_of(device, &second, &arrays[1]);
    CHECK_EQ(backend_cuda.launch(device, call_body, &first_call), 0);
    CHECK_EQ(backend_cuda.launch(device, call_body, &second_call), 0);
    memset(arrays, 0, 2 * sizeof *arrays); /* nothing of a batch is read any more */
    CHECK_EQ(backend_cuda.settle(device, output[0]), 0);
    CHECK_EQ(backend_cuda.settle(device, output[1]), 0);
    for (int32_t r = 0; r < R; r++) {
        const int32_t first = problem.choice[r].report - 1, next = second.choice[r].report - 1;
        sample(&second, r, logits);
        second.got[r] = output[1][r].token;
        CHECK_EQ(output[0][r].token, problem.got[r]);
        CHECK_EQ(output[1][r].token, second.want[r]);
        if (first >= 0)
            CHECK(memcmp(&output[0][r], &problem.report[first].output, sizeof output[0][r]) == 0);
        if (next < 0)
            continue;
        second.report[next] = (struct row_report){r, output[1][r]};
        check_report(&second, r);
    }
    drop_call(device, &problem, &first_call);
    drop_call(device, &second, &second_call);
    free(arrays);
    free(second.logits);
    second.logits = NULL;
    backend_cuda.close(device);
}

/* ---- Rows with little in them */

TEST(cuda_choose, no_finite_logit_is_no_token)
{
    enum { V = 300 };
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    init(&problem, V, 16);
    set_filters(&problem);
    for (int32_t r = 0; r < problem.R; r++)
        for (int32_t i = 0; i < V; i++)
            problem.logits[r * V + i] = i % 2 ? NAN : -INFINITY;
    for (int32_t r = 8; r < problem.R; r++) { /* and the only one there is, or an infinite one */
        problem.logits[r * V + 130 + r] = r % 2 ? -3 : INFINITY;
        problem.logits[r * V + 270] = r % 2 ? NAN : INFINITY;
    }
    compare(device, &problem);
    for (int32_t r = 0; r < problem.R; r++)
        CHECK_EQ(problem.got[r], r < 8 ? -1 : 130 + r);
    check_near();
    backend_cuda.close(device);
}

/* ---- What a token depends on */

TEST(cuda_choose, other_rows_change_nothing)
{
    enum { V = 1000, AT = 37 };
    static int32_t all[ROWS];
    static struct row_report reports[ROWS];
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    init(&problem, V, ROWS);
    set_filters(&problem);
    compare(device, &problem);
    memcpy(all, problem.got, sizeof all);
    memcpy(reports, problem.report, sizeof reports);
    const int32_t n_before = problem.n_report;
    problem.R = ROWS - AT;
    memmove(problem.logits, problem.logits + (size_t)AT * V, (size_t)problem.R * V * sizeof(float));
    memmove(problem.task, problem.task + AT, (size_t)problem.R * sizeof *problem.task);
    compare(device, &problem);
    CHECK(memcmp(problem.got, all + AT, (size_t)problem.R * sizeof *all) == 0);
    for (int32_t i = 0; i < problem.n_report; i++) {
        const struct row_report *before = &reports[n_before - problem.n_report + i];
        CHECK_EQ(problem.report[i].row, before->row - AT);
        CHECK(memcmp(&problem.report[i].output, &before->output, sizeof before->output) == 0);
    }
    check_near();
    backend_cuda.close(device);
}

/* Of equal rows, whatever is chosen from them and however: the notes have sums with which scale. */
TEST(cuda_choose, log_probabilities_are_of_the_logits_alone)
{
    enum { V = 4099 };
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    init(&problem, V, ROWS);
    set_filters(&problem);
    set_edits(&problem);
    for (int32_t r = 0; r < ROWS; r++) {
        memmove(problem.logits + (size_t)r * V, problem.logits + V, V * sizeof(float));
        problem.task[r].sampling.logprobs = TOP_LOGPROBS;
    }
    compare(device, &problem);
    for (int32_t r = 1; r < ROWS; r++)
        CHECK(memcmp(problem.report[r].output.top, problem.report[0].output.top,
                     sizeof problem.report[0].output.top) == 0);
    check_near();
    backend_cuda.close(device);
}

/* A thousand draws of one row by temperature 1 come as often as they should. */
TEST(cuda_choose, draws_are_as_frequent_as_they_weigh)
{
    enum { V = 4, STEPS = 16 };
    struct device *device = cuda_device(&config);
    int count[V] = {0};
    if (!device)
        return;
    init(&problem, V, ROWS);
    for (int step = 0; step < STEPS; step++) {
        for (int32_t r = 0; r < ROWS; r++) {
            for (int32_t i = 0; i < V; i++)
                problem.logits[r * V + i] = logf((float)(i + 1));
            problem.task[r].sampling.seed = (uint64_t)(step * ROWS + r);
        }
        compare(device, &problem);
        for (int32_t r = 0; r < ROWS; r++)
            count[problem.got[r]]++;
    }
    for (int i = 0; i < V; i++)
        CHECK_NEAR(count[i] / (double)(STEPS * ROWS), (i + 1) / 10.0, 0.06);
    check_near();
    backend_cuda.close(device);
}

TEST(cuda_choose, too_many_logits_are_refused)
{
    struct device *device = cuda_device(&config);
    struct call call = {.op = {.V = CHOOSE_BLOCKS * LOGIT_BLOCK + 1}};
    if (!device)
        return;
    CHECK_EQ(choose_launch(device, &call.op), INFLIGHT_E_UNSUPPORTED);
    backend_cuda.close(device);
}
#else
TEST(cuda_choose, is_built)
{
    t_skip("built without CUDA");
}
#endif
