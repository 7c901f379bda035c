/* All operations together, through the back end's table: two layers of a small llama against
 * the same layers made of the definitions; and that its logits do not depend on how the
 * tokens were brought in. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>

enum { L = 2, D = 96, H = 6, K = 2, DIM = 32, F = 160, V = 70, LENGTH = 40 };
enum { QKV = (H + 2 * K) * DIM };
enum { W_TABLE, W_Q, W_K, W_V, W_O, W_GATE, W_UP, W_DOWN, W_COUNT };

static const float eps = 1e-5f;

static const int shape[W_COUNT][2] = {
    [W_TABLE] = {V, D},  [W_Q] = {H * DIM, D}, [W_K] = {K * DIM, D}, [W_V] = {K * DIM, D},
    [W_O] = {D, H *DIM}, [W_GATE] = {F, D},    [W_UP] = {F, D},      [W_DOWN] = {D, F}};

/* The model: one table, used as the head too, and matrices of each layer. */
struct toy {
    float *rows[L][W_COUNT]; /* what the format says the values are */
    void *file[L][W_COUNT];  /* and as a file holds them */
    enum fmt fmt;
    float norm[2 * L + 1][D], bias[QKV], freq[DIM / 2];
    int32_t token[LENGTH];
};

static uint32_t state = 7;

static float random_float(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)((state ^ state >> 15) >> 8) / (float)(1 << 23) - 1.0f;
}

/* One block of q8_0 with any bytes, and a scale near 1/1024. */
static void random_q8_0(uint8_t *block)
{
    const uint16_t scale = 0x1400;
    memcpy(block, &scale, sizeof scale);
    for (int i = 2; i < 34; i++)
        block[i] = (uint8_t)(int)(random_float() * 127.0f);
}

static void fill_matrix(struct toy *toy, int layer, int w)
{
    size_t n = (size_t)shape[w][0], k = (size_t)shape[w][1];
    size_t row = fmt_row_bytes(toy->fmt, (int64_t)k);
    toy->rows[layer][w] = malloc(n * k * sizeof(float));
    toy->file[layer][w] = malloc(n * row);
    for (size_t i = 0; i < n; i++) {
        uint8_t *at = (uint8_t *)toy->file[layer][w] + i * row;
        for (size_t b = 0; toy->fmt == FMT_q8_0 && b < row; b += 34)
            random_q8_0(at + b);
        for (size_t j = 0; toy->fmt == FMT_f32 && j < k; j++) {
            float x = random_float() * 0.15f;
            memcpy(at + j * sizeof x, &x, sizeof x);
        }
        fmt_decode_row(toy->fmt, at, (int64_t)k, toy->rows[layer][w] + i * k);
    }
}

static void toy_init(struct toy *toy, enum fmt fmt)
{
    toy->fmt = fmt;
    for (int layer = 0; layer < L; layer++)
        for (int w = 0; w < W_COUNT; w++)
            fill_matrix(toy, layer, w);
    for (int i = 0; i < (2 * L + 1) * D; i++)
        toy->norm[i / D][i % D] = 1.0f + 0.2f * random_float();
    for (int i = 0; i < QKV; i++)
        toy->bias[i] = 0.1f * random_float();
    for (int i = 0; i < DIM / 2; i++)
        toy->freq[i] = powf(10000.0f, -2.0f * (float)i / DIM);
    for (int i = 0; i < LENGTH; i++)
        toy->token[i] = (int32_t)((random_float() + 1.0f) * 0.5f * (V - 1));
}

static void toy_release(struct toy *toy)
{
    for (int layer = 0; layer < L; layer++)
        for (int w = 0; w < W_COUNT; w++) {
            free(toy->rows[layer][w]);
            free(toy->file[layer][w]);
        }
}

/* A batch of n tokens of one sequence, all logits wanted. */
struct step {
    struct batch batch;
    struct batch_seq seq;
    int32_t position[LENGTH], row[LENGTH];
};

static void step_init(struct step *step, const struct toy *toy, int position, int n,
                      const int32_t *page)
{
    for (int i = 0; i < n; i++) {
        step->position[i] = position + i;
        step->row[i] = i;
    }
    step->seq = (struct batch_seq){0, n, position, page};
    step->batch = (struct batch){.T = n,
                                 .S = 1,
                                 .R = n,
                                 .token = toy->token + position,
                                 .position = step->position,
                                 .seq = &step->seq,
                                 .row = step->row};
}

static void ref_layer(const struct toy *toy, int layer, double *x, double *rotary,
                      const struct batch *batch)
{
    static double qkv[LENGTH * QKV], y[LENGTH * H * DIM], h[LENGTH * F];
    static double keys[LENGTH * K * DIM], values[LENGTH * K * DIM];
    double *k = keys, *v = values;
    float *const *w = toy->rows[layer];
    const float *bias = toy->bias;
    ref_linear(
        &(struct ref_linear){.x = x,
                             .y = qkv,
                             .norm = toy->norm[2 * layer],
                             .eps = (double)eps,
                             .D = D,
                             .ldy = QKV,
                             .n_part = 3,
                             .epilogue = EPILOGUE_STORE,
                             .part = {{w[W_Q], bias, H * DIM, 0},
                                      {w[W_K], bias + H * DIM, K * DIM, H * DIM},
                                      {w[W_V], bias + (H + K) * DIM, K * DIM, (H + K) * DIM}}},
        batch);
    ref_attend(&(struct ref_attend){.qkv = qkv,
                                    .y = y,
                                    .rotary = rotary,
                                    .scale = sqrt(1.0 / DIM),
                                    .H = H,
                                    .K = K,
                                    .dim = DIM,
                                    .rope = ROPE_INTERLEAVED,
                                    .k = &k,
                                    .v = &v},
               batch);
    ref_linear(&(struct ref_linear){.x = y,
                                    .y = x,
                                    .norm = NULL,
                                    .eps = 0,
                                    .D = H * DIM,
                                    .ldy = D,
                                    .n_part = 1,
                                    .epilogue = EPILOGUE_ADD,
                                    .part = {{w[W_O], NULL, D, 0}}},
               batch);
    ref_linear(&(struct ref_linear){.x = x,
                                    .y = h,
                                    .norm = toy->norm[2 * layer + 1],
                                    .eps = (double)eps,
                                    .D = D,
                                    .ldy = F,
                                    .n_part = 2,
                                    .epilogue = EPILOGUE_GLU_SILU,
                                    .part = {{w[W_GATE], NULL, F, 0}, {w[W_UP], NULL, F, 0}}},
               batch);
    ref_linear(&(struct ref_linear){.x = h,
                                    .y = x,
                                    .norm = NULL,
                                    .eps = 0,
                                    .D = F,
                                    .ldy = D,
                                    .n_part = 1,
                                    .epilogue = EPILOGUE_ADD,
                                    .part = {{w[W_DOWN], NULL, D, 0}}},
               batch);
}

/* Logits of all positions, (LENGTH, V). */
static void ref_toy(const struct toy *toy, double *logits)
{
    static double x[LENGTH * D], rotary[LENGTH * DIM];
    struct step step;
    step_init(&step, toy, 0, LENGTH, NULL);
    ref_embed(&(struct ref_embed){.x = x,
                                  .table = toy->rows[0][W_TABLE],
                                  .scale = 1,
                                  .rotary = {{rotary, toy->freq, 1, DIM}},
                                  .D = D},
              &step.batch);
    for (int layer = 0; layer < L; layer++)
        ref_layer(toy, layer, x, rotary, &step.batch);
    ref_head(&(struct ref_head){.x = x,
                                .norm = toy->norm[2 * L],
                                .logits = logits,
                                .weight = toy->rows[0][W_TABLE],
                                .eps = (double)eps,
                                .D = D,
                                .V = V},
             &step.batch);
}

/* The same on a device. */
struct run {
    const struct backend *backend;
    struct device *device;
    const struct toy *toy;
    struct weight weight[L][W_COUNT];
    float x[LENGTH * D], rotary[LENGTH * DIM], qkv[LENGTH * QKV], y[LENGTH * H * DIM];
    float h[LENGTH * F], logits[LENGTH * V];
    struct logit_block block[LENGTH * (V / LOGIT_BLOCK + 1)];
    const struct batch *batch;
};

static int run_layer(struct run *run, struct lane *lane, int layer)
{
    const struct weight *w = run->weight[layer];
    const struct backend *backend = run->backend;
    const float *bias = run->toy->bias;
    int rc = backend->linear(
        lane,
        &(struct op_linear){.x = run->x,
                            .y = run->qkv,
                            .norm = run->toy->norm[2 * layer],
                            .eps = eps,
                            .D = D,
                            .ldy = QKV,
                            .n_part = 3,
                            .epilogue = EPILOGUE_STORE,
                            .part = {{&w[W_Q], bias, 0},
                                     {&w[W_K], bias + H * DIM, H * DIM},
                                     {&w[W_V], bias + (H + K) * DIM, (H + K) * DIM}}},
        run->batch);
    rc = rc ? rc
            : backend->attend(lane,
                              &(struct op_attend){.qkv = run->qkv,
                                                  .y = run->y,
                                                  .rotary = run->rotary,
                                                  .scale = sqrtf(1.0f / DIM),
                                                  .layer = layer,
                                                  .H = H,
                                                  .K = K,
                                                  .dim = DIM,
                                                  .rope = ROPE_INTERLEAVED},
                              run->batch);
    rc = rc ? rc
            : backend->linear(lane,
                              &(struct op_linear){.x = run->y,
                                                  .y = run->x,
                                                  .norm = NULL,
                                                  .eps = 0,
                                                  .D = H * DIM,
                                                  .ldy = D,
                                                  .n_part = 1,
                                                  .epilogue = EPILOGUE_ADD,
                                                  .part = {{&w[W_O], NULL, 0}}},
                              run->batch);
    rc = rc ? rc
            : backend->linear(
                  lane,
                  &(struct op_linear){.x = run->x,
                                      .y = run->h,
                                      .norm = run->toy->norm[2 * layer + 1],
                                      .eps = eps,
                                      .D = D,
                                      .ldy = F,
                                      .n_part = 2,
                                      .epilogue = EPILOGUE_GLU_SILU,
                                      .part = {{&w[W_GATE], NULL, 0}, {&w[W_UP], NULL, 0}}},
                  run->batch);
    return rc ? rc
              : backend->linear(lane,
                                &(struct op_linear){.x = run->h,
                                                    .y = run->x,
                                                    .norm = NULL,
                                                    .eps = 0,
                                                    .D = F,
                                                    .ldy = D,
                                                    .n_part = 1,
                                                    .epilogue = EPILOGUE_ADD,
                                                    .part = {{&w[W_DOWN], NULL, 0}}},
                                run->batch);
}

static int run_body(struct lane *lane, void *arg)
{
    struct run *run = arg;
    int rc =
        run->backend->embed(lane,
                            &(struct op_embed){.x = run->x,
                                               .table = &run->weight[0][W_TABLE],
                                               .scale = 1,
                                               .rotary = {{run->rotary, run->toy->freq, 1, DIM}},
                                               .D = D},
                            run->batch);
    for (int layer = 0; layer < L && rc == 0; layer++)
        rc = run_layer(run, lane, layer);
    return rc ? rc
              : run->backend->head(lane,
                                   &(struct op_head){.x = run->x,
                                                     .norm = run->toy->norm[2 * L],
                                                     .logits = run->logits,
                                                     .block = run->block,
                                                     .weight = &run->weight[0][W_TABLE],
                                                     .eps = eps,
                                                     .D = D,
                                                     .V = V},
                                   run->batch);
}

static void pack_all(struct run *run, const struct device_config *config)
{
    for (int layer = 0; layer < L; layer++)
        for (int w = 0; w < W_COUNT; w++) {
            const struct weight_source source = {.fmt = run->toy->fmt,
                                                 .N = shape[w][0],
                                                 .K = shape[w][1],
                                                 .data = run->toy->file[layer][w]};
            struct weight *out = &run->weight[layer][w];
            out->bytes = run->backend->packed_bytes(config, source.fmt, source.N, source.K);
            out->data = aligned_alloc(64, out->bytes);
            CHECK_EQ(run->backend->pack(run->device, &source, out, NULL), 0);
        }
}

/* Logits of all positions, brought in chunk by chunk. */
static void run_toy(const struct toy *toy, struct device_config *config, int chunk, float *logits)
{
    static const int32_t page[] = {3, 0, 2};
    static struct run run;
    struct err err = {0};
    run = (struct run){.backend = backend_find("cpu"), .toy = toy};
    config->max_tokens = config->max_rows = config->max_context = LENGTH;
    config->max_width = H * DIM;
    config->L = L;
    config->H = H;
    config->K = K;
    config->dim = DIM;
    config->kv_pages = 4;
    CHECK_EQ(run.backend->open(config, &mem_system, &run.device, &err), 0);
    pack_all(&run, config);
    for (int position = 0; position < LENGTH; position += chunk) {
        struct step step;
        int n = MIN(chunk, LENGTH - position);
        step_init(&step, toy, position, n, page);
        run.batch = &step.batch;
        CHECK_EQ(run.backend->run(run.device, run_body, &run), 0);
        memcpy(logits + position * V, run.logits, (size_t)(n * V) * sizeof *logits);
    }
    for (int i = 0; i < L * W_COUNT; i++)
        free((void *)(uintptr_t)run.weight[i / W_COUNT][i % W_COUNT].data);
    run.backend->close(run.device);
}

static double error(const float *got, const double *want)
{
    double off = 0, size = 0;
    for (int i = 0; i < LENGTH * V; i++) {
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(off / size);
}

static double want[LENGTH * V];
static float got[LENGTH * V], first[LENGTH * V];

TEST(toy, in_floats_it_is_the_definition)
{
    struct toy toy;
    toy_init(&toy, FMT_f32);
    ref_toy(&toy, want);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        struct device_config config = {
            .threads = 2, .isa = (int32_t)isa, .activations = ACT_FLOAT, .kv_type = KV_F32};
        run_toy(&toy, &config, LENGTH, got);
        CHECK_NEAR(error(got, want), 0, 1e-5);
    }
    toy_release(&toy);
}

TEST(toy, in_int8_with_bfloat16_keys_it_is_near)
{
    struct toy toy;
    toy_init(&toy, FMT_q8_0);
    ref_toy(&toy, want);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        struct device_config config = {
            .threads = 2, .isa = (int32_t)isa, .activations = ACT_INT8, .kv_type = KV_BF16};
        run_toy(&toy, &config, LENGTH, got);
        CHECK_NEAR(error(got, want), 0, 2e-2);
    }
    toy_release(&toy);
}

TEST(toy, chunks_and_lanes_do_not_change_a_bit)
{
    static const int chunks[] = {1, 5, 16, 23};
    struct toy toy;
    toy_init(&toy, FMT_q8_0);
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can(isa))
            continue;
        struct device_config config = {.threads = 1, .isa = (int32_t)isa};
        run_toy(&toy, &config, LENGTH, first);
        for (size_t c = 0; c < COUNT_OF(chunks); c++) {
            config.threads = 1 + (int32_t)c % 3;
            run_toy(&toy, &config, chunks[c], got);
            CHECK(memcmp(first, got, sizeof got) == 0);
        }
    }
    toy_release(&toy);
}
