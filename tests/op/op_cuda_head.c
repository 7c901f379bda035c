/* The operations head and embed on CUDA against their definitions; both read one packed table. */
#include "on_cuda.h"
#include "notes.h"
#include "ref.h"

#include <math.h>

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/device.h"

enum { T = 13, V = 301, BLOCKS = 3, D = 256, DIM = 96 };

#define EMBED_SCALE 33.941126f /* no power of two: products are rounded */

/* op_cuda_linear.c: inputs are rounded to bfloat16, and weights may be. */
#define ROUNDED (2 * 0x1p-8 / 1.7320508)

/* Where activations are E4M3: a value's error is spread evenly over a step of 2^-3 of the power of
 * two below it, and values over such powers as their logarithms, which makes 0.0265 of a product of
 * many (op_cuda_linear has them exactly), and a sixth more for a sample of 1505 logits. */
#define ROUNDED_E4M3 (0.0265 * 7 / 6)

static const int32_t token[T] = {0, 100, 99, 1, 16, 15, 17, 50, 50, 33, 300, 95, 2};
static const int32_t position[T] = {0, 1, 2, 3, 1000000, 999999, 7, 8, 9, 65536, 11, 12, 131071};
static const int32_t row[] = {0, 3, 4, 11, 12};
static const float scale[] = {1, 0, 0.5f, 3, 0};
static const struct batch_seq seq[T]; /* no tokens: there is no attention */

static const struct device_config config = {.threads = 1,
                                            .max_tokens = T,
                                            .max_rows = T,
                                            .max_context = 64,
                                            .max_width = D,
                                            .L = 1,
                                            .H = 1,
                                            .K = 1,
                                            .dim = 64,
                                            .kv_type = KV_BF16,
                                            .kv_pages = 1};

struct call {
    struct op_embed embed;
    struct op_head head;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    int rc = backend_cuda.embed(lane, &call->embed, &call->batch);
    return rc ? rc : backend_cuda.head(lane, &call->head, &call->batch);
}

struct results {
    float x[T * D], rotary[ROTARY_KINDS][T * DIM], logits[T * V];
    struct logit_block block[T * BLOCKS];
    bool has_fp8; /* the device multiplies E4M3 by E4M3 */
};

static float freq[ROTARY_KINDS][DIM / 2], norm[D], cap;

/* As of GPT-2 and GPT-J: positions are learned, norm and head have a bias. */
static bool is_classic;
static float places[T][D], norm_bias[D], bias[V];
static const int32_t place[T] = {0, 1, 2, 3, 0, 1, 12, 8, 9, 10, 11, 12, 4};

static struct batch all_rows(void)
{
    return (struct batch){.T = T,
                          .R = COUNT_OF(row),
                          .token = token,
                          .position = is_classic ? place : position,
                          .seq = seq,
                          .row = row,
                          .scale = scale};
}

/* False if there is no device. What is not computed is as out has it. */
static bool compute(const struct matrix *table, struct batch batch, struct results *out)
{
    struct device *device = cuda_device(&config);
    if (!device)
        return false;
    struct weight weight = cuda_matrix(device, &config, table);
    struct results *on = cuda_array(device, out, sizeof *out);
    float(*f)[DIM / 2] = cuda_array(device, freq, sizeof freq);
    float *n = cuda_array(device, norm, sizeof norm);
    float *p = cuda_array(device, places, sizeof places);
    float *b = cuda_array(device, bias, sizeof bias);
    float *nb = cuda_array(device, norm_bias, sizeof norm_bias);
    struct call call = {.batch = batch};
    call.embed = (struct op_embed){
        .x = on->x,
        .table = &weight,
        .position = is_classic ? p : NULL,
        .scale = EMBED_SCALE,
        .rotary = {{on->rotary[0], f[0], 1.25f, DIM}, {on->rotary[1], f[1], 1, DIM}},
        .D = D,
    };
    for (int i = 0; is_classic && i < ROTARY_KINDS; i++)
        call.embed.rotary[i].out = NULL;
    call.head = (struct op_head){.x = on->x,
                                 .norm = n,
                                 .norm_bias = is_classic ? nb : NULL,
                                 .bias = is_classic ? b : NULL,
                                 .norm_kind = is_classic ? NORM_LAYER : NORM_RMS,
                                 .logits = on->logits,
                                 .block = on->block,
                                 .weight = &weight,
                                 .eps = 1e-5f,
                                 .cap = cap,
                                 .D = D,
                                 .V = V};
    CHECK_EQ(backend_cuda.run(device, call_body, &call), 0);
    CHECK_EQ(backend_cuda.read(device, out, on, sizeof *out), 0);
    out->has_fp8 = device->has_fp8;
    cuda_drop(device, weight.data, weight.bytes);
    cuda_drop(device, on, sizeof *out);
    cuda_drop(device, f, sizeof freq);
    cuda_drop(device, n, sizeof norm);
    cuda_drop(device, p, sizeof places);
    cuda_drop(device, b, sizeof bias);
    cuda_drop(device, nb, sizeof norm_bias);
    backend_cuda.close(device);
    return true;
}

static void define(const struct matrix *table, double *x, double *rotary[ROTARY_KINDS],
                   double *logits)
{
    struct batch batch = all_rows();
    struct ref_embed embed = {
        .x = x,
        .table = table->value,
        .position = is_classic ? places[0] : NULL,
        .scale = (double)EMBED_SCALE,
        .rotary = {{rotary[0], freq[0], 1.25, DIM}, {rotary[1], freq[1], 1, DIM}},
        .D = D,
    };
    struct ref_head head = {.x = x,
                            .norm = norm,
                            .norm_bias = is_classic ? norm_bias : NULL,
                            .bias = is_classic ? bias : NULL,
                            .norm_kind = is_classic ? NORM_LAYER : NORM_RMS,
                            .logits = logits,
                            .weight = table->value,
                            .eps = 1e-5,
                            .cap = (double)cap,
                            .D = D,
                            .V = V};
    ref_embed(&embed, &batch);
    ref_head(&head, &batch);
}

static double error(const float *y, const double *want, size_t n)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)y[i] - want[i]) * ((double)y[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(off / size);
}

/* The notes of row r against the logits that they are of. */
static void check_notes(const struct results *got, int r)
{
    const float *logit = got->logits + r * V;
    for (int b = 0; b < BLOCKS; b++) {
        const struct logit_block *block = &got->block[r * BLOCKS + b];
        const struct notes want = notes_of(logit, V, scale[r], b);
        if (!notes_agree(block, &want))
            t_fail(__FILE__, __LINE__, "block %d of row %d: max %g, sum %g, want %g, %g", b, r,
                   (double)block->max, (double)block->sum, (double)want.max, want.sum);
    }
}

static void check_table(struct matrix *table)
{
    static struct results got;
    static double x[T * D], rotary[ROTARY_KINDS][T * DIM], logits[T * V];
    if (!compute(table, all_rows(), &got))
        return;
    round_matrix(table);
    define(table, x, (double *[]){rotary[0], rotary[1]}, logits);
    for (int i = 0; i < T * D; i++)
        /* A product of two floats is exact in double; a sum is rounded again. */
        if (!(fabs((double)(got.x[i] - (float)x[i])) <=
              (is_classic ? 3e-7 * fabs(x[i]) + 1e-7 : 0))) {
            t_fail(__FILE__, __LINE__, "%s: embedding %d is %.9g, want %.9g",
                   fmt_info[table->source.fmt].name, i, (double)got.x[i], x[i]);
            break;
        }
    for (int i = 0; i < ROTARY_KINDS && !is_classic; i++)
        CHECK_NEAR(error(got.rotary[i], rotary[i], T * DIM), 0, 1e-7);
    double off = error(got.logits, logits, COUNT_OF(row) * V);
    const enum fmt fmt = table->source.fmt;
    const bool is_e4m3 = got.has_fp8 && (fmt == FMT_fp8 || fmt == FMT_fp8_128);
    if (!(off < (is_e4m3 ? ROUNDED_E4M3 : ROUNDED)))
        t_fail(__FILE__, __LINE__, "%s: logits off by %g", fmt_info[table->source.fmt].name, off);
    for (int r = 0; r < (int)COUNT_OF(row); r++)
        check_notes(&got, r);
}

static void set_parameters(void)
{
    for (int i = 0; i < DIM / 2; i++) {
        freq[0][i] = powf(10000.0f, -2.0f * (float)i / DIM);
        freq[1][i] = powf(500.0f, -2.0f * (float)i / DIM);
    }
    for (int i = 0; i < D; i++) {
        norm[i] = 1.0f + 0.5f * random_float();
        norm_bias[i] = 0.5f * random_float();
        for (int t = 0; t < T; t++)
            places[t][i] = random_float();
    }
    for (int i = 0; i < V; i++)
        bias[i] = random_float();
}

TEST(cuda_head, and_embed_give_what_their_definitions_say)
{
    set_parameters();
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!matrix_served(&backend_cuda, (enum fmt)fmt))
            continue;
        struct matrix table;
        matrix_init(&table, (enum fmt)fmt, V, D);
        cap = fmt % 2 ? 3.0f : 0;
        check_table(&table);
        is_classic = true;
        check_table(&table);
        is_classic = false;
        matrix_release(&table);
    }
}

TEST(cuda_head, logits_do_not_depend_on_the_other_rows)
{
    static struct results all, some;
    struct matrix table;
    set_parameters();
    matrix_init(&table, FMT_q8_0, V, D);
    struct batch batch = all_rows();
    bool ran = compute(&table, batch, &all);
    batch.row = row + 2;
    batch.scale = scale + 2;
    batch.R = 1;
    if (ran && compute(&table, batch, &some)) {
        CHECK(memcmp(some.logits, all.logits + 2 * V, V * sizeof(float)) == 0);
        CHECK(memcmp(some.block, all.block + 2 * BLOCKS, BLOCKS * sizeof *all.block) == 0);
        batch.R = 0;
        some.logits[0] = 42;
        CHECK(compute(&table, batch, &some));
        CHECK(some.logits[0] == 42);
    }
    matrix_release(&table);
}

/* Of T rows, as many as the step is padded to, somebody wants five. */
TEST(cuda_head, notes_of_dead_rows_are_of_no_logits)
{
    static struct results plain, recorded;
    struct matrix table;
    set_parameters();
    matrix_init(&table, FMT_q8_0, V, D);
    struct batch batch = all_rows();
    const size_t R = COUNT_OF(row);
    bool ran = compute(&table, batch, &plain);
    batch.S = T; /* one token of each: such a step is recorded */
    if (ran && compute(&table, batch, &recorded)) {
        CHECK(memcmp(recorded.logits, plain.logits, R * V * sizeof(float)) == 0);
        CHECK(memcmp(recorded.block, plain.block, R * BLOCKS * sizeof *plain.block) == 0);
        for (size_t i = R * BLOCKS; i < T * BLOCKS; i++)
            CHECK(recorded.block[i].max == -INFINITY && recorded.block[i].sum == 0);
    }
    matrix_release(&table);
}

/* A weight that is infinite or no number makes such a logit. */
TEST(cuda_head, notes_leave_out_what_is_no_number)
{
    static struct results got;
    struct matrix table;
    set_parameters();
    matrix_init(&table, FMT_f32, V, D);
    float *w = (float *)(void *)(uintptr_t)table.source.data;
    for (int i = 128; i < 256; i++)
        w[i * D] = NAN;
    w[3 * D] = NAN;
    w[260 * D] = NAN;
    if (compute(&table, all_rows(), &got)) {
        CHECK(isnan(got.logits[3 + V]) && isnan(got.logits[260 + V]));
        CHECK(got.block[1].max == -INFINITY && got.block[1].sum == 0);
        for (int r = 0; r < (int)COUNT_OF(row); r++)
            check_notes(&got, r);
    }
    matrix_release(&table);
}
#else
TEST(cuda_head, is_built)
{
    t_skip("built without CUDA");
}
#endif
