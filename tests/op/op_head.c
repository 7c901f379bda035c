/* The operations head and embed against their definitions; both read one packed table. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "../../plugin/base/base.h"
#include "matrix.h"
#include "notes.h"
#include "ref.h"

#include <math.h>

extern const struct backend backend_cpu;

#define FOR_EACH_ISA(isa)                                     \
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) \
        if (cpu_can(isa))

enum { T = 13, V = 301, BLOCKS = 3, D = 256, DIM = 96, NEAR_DIM = 32 };

static const int32_t token[T] = {0, 100, 99, 1, 16, 15, 17, 50, 50, 33, 96, 95, 2};
static const int32_t position[T] = {0, 1, 2, 3, 1000000, 999999, 7, 8, 9, 65536, 11, 12, 131071};
static const int32_t row[] = {0, 3, 4, 11, 12};
static const float scale[] = {1, 0, 0.5f, 3, 0};

struct call {
    struct op_embed embed;
    struct op_head head;
    struct batch batch;
};

static int call_body(struct lane *lane, void *arg)
{
    struct call *call = arg;
    int rc = backend_cpu.embed(lane, &call->embed, &call->batch);
    return rc ? rc : backend_cpu.head(lane, &call->head, &call->batch);
}

static struct device *open_device(enum isa isa, int activations, struct device_config *config)
{
    *config = (struct device_config){.threads = 2,
                                     .isa = (int32_t)isa,
                                     .activations = activations,
                                     .max_tokens = T,
                                     .max_rows = T,
                                     .max_context = 64,
                                     .max_width = D,
                                     .L = 1,
                                     .H = 1,
                                     .K = 1,
                                     .dim = 64,
                                     .kv_pages = 1};
    struct device *device = NULL;
    CHECK_EQ(backend_cpu.open(config, &mem_system, &device, NULL), 0);
    return device;
}

struct results {
    float x[T * D], rotary[ROTARY_KINDS][T * DIM], logits[T * V];
    struct logit_block block[T * BLOCKS];
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
                          .row = row,
                          .scale = scale};
}

static void compute(struct matrix *table, enum isa isa, int activations, struct batch batch,
                    struct results *out)
{
    struct device_config config;
    struct device *device = open_device(isa, activations, &config);
    CHECK(matrix_pack(table, &backend_cpu, device, &config));
    struct call call = {.batch = batch};
    call.embed = (struct op_embed){
        .x = out->x,
        .table = &table->weight,
        .position = is_classic ? places[0] : NULL,
        .scale = 2,
        .rotary = {{out->rotary[0], freq[0], 1.25f, DIM}, {out->rotary[1], freq[1], 1, NEAR_DIM}},
        .D = D,
    };
    for (int i = 0; is_classic && i < ROTARY_KINDS; i++)
        call.embed.rotary[i].out = NULL;
    call.head = (struct op_head){.x = out->x,
                                 .norm = norm,
                                 .norm_bias = is_classic ? norm_bias : NULL,
                                 .bias = is_classic ? bias : NULL,
                                 .norm_kind = is_classic ? NORM_LAYER : NORM_RMS,
                                 .logits = out->logits,
                                 .block = out->block,
                                 .weight = &table->weight,
                                 .eps = 1e-5f,
                                 .cap = cap,
                                 .D = D,
                                 .V = V};
    CHECK_EQ(backend_cpu.run(device, call_body, &call), 0);
    backend_cpu.close(device);
}

static void define(const struct matrix *table, double *x, double *rotary[ROTARY_KINDS],
                   double *logits)
{
    struct batch batch = all_rows();
    struct ref_embed embed = {
        .x = x,
        .table = table->value,
        .position = is_classic ? places[0] : NULL,
        .scale = 2,
        .rotary = {{rotary[0], freq[0], 1.25, DIM}, {rotary[1], freq[1], 1, NEAR_DIM}},
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
static void check_notes(const struct results *got, int r, enum isa isa)
{
    const float *logit = got->logits + r * V;
    for (int b = 0; b < BLOCKS; b++) {
        const struct logit_block *block = &got->block[r * BLOCKS + b];
        const struct notes want = notes_of(logit, V, scale[r], b);
        if (!notes_agree(block, &want))
            t_fail(__FILE__, __LINE__, "isa %d: block %d of row %d: max %g, sum %g, want %g, %g",
                   (int)isa, b, r, (double)block->max, (double)block->sum, (double)want.max,
                   want.sum);
    }
}

static void check_table(struct matrix *table)
{
    static struct results got;
    static double x[T * D], rotary[ROTARY_KINDS][T * DIM], logits[T * V];
    define(table, x, (double *[]){rotary[0], rotary[1]}, logits);
    FOR_EACH_ISA(isa)
    for (int activations = ACT_INT8; activations <= ACT_FLOAT; activations++) {
        compute(table, isa, activations, all_rows(), &got);
        for (int i = 0; i < T * D; i++)
            if (got.x[i] != (float)x[i]) {
                t_fail(__FILE__, __LINE__, "isa %d %s: embedding %d is %.9g, want %.9g", (int)isa,
                       fmt_info[table->source.fmt].name, i, (double)got.x[i], x[i]);
                break;
            }
        for (int i = 0; i < ROTARY_KINDS && !is_classic; i++)
            CHECK(error(got.rotary[i], rotary[i], T * (i ? NEAR_DIM : DIM)) < 1e-7);
        double off = error(got.logits, logits, COUNT_OF(row) * V);
        if (!(off < (activations == ACT_FLOAT ? 2e-6 : 2e-2)))
            t_fail(__FILE__, __LINE__, "isa %d %s: logits off by %g", (int)isa,
                   fmt_info[table->source.fmt].name, off);
        for (int r = 0; r < (int)COUNT_OF(row); r++)
            check_notes(&got, r, isa);
    }
}

TEST(head, and_embed_give_what_their_definitions_say)
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
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
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

TEST(head, logits_do_not_depend_on_the_other_rows)
{
    static struct results all, some;
    struct matrix table;
    matrix_init(&table, FMT_q8_0, V, D);
    FOR_EACH_ISA(isa)
    {
        compute(&table, isa, ACT_INT8, all_rows(), &all);
        struct batch batch = all_rows();
        batch.row = row + 2;
        batch.scale = scale + 2;
        batch.R = 1;
        compute(&table, isa, ACT_INT8, batch, &some);
        CHECK(memcmp(some.logits, all.logits + 2 * V, V * sizeof(float)) == 0);
        CHECK(memcmp(some.block, all.block + 2 * BLOCKS, BLOCKS * sizeof *all.block) == 0);
        batch.R = 0;
        some.logits[0] = 42;
        compute(&table, isa, ACT_INT8, batch, &some);
        CHECK(some.logits[0] == 42);
    }
    matrix_release(&table);
}

/* A weight that is infinite or no number makes such a logit. */
TEST(head, notes_leave_out_what_is_no_number)
{
    static struct results got;
    struct matrix table;
    cap = 0;
    matrix_init(&table, FMT_f32, V, D);
    float *w = (float *)(void *)(uintptr_t)table.source.data;
    for (int i = 128; i < 256; i++)
        w[i * D] = NAN;
    w[3 * D] = NAN;
    w[260 * D] = NAN;
    FOR_EACH_ISA(isa)
    {
        compute(&table, isa, ACT_FLOAT, all_rows(), &got);
        CHECK(isnan(got.logits[3]) && isnan(got.logits[260]));
        CHECK(got.block[1].max == -INFINITY && got.block[1].sum == 0);
        for (int r = 0; r < (int)COUNT_OF(row); r++)
            check_notes(&got, r, isa);
    }
    matrix_release(&table);
}
