/* See fake.h. */
#define _GNU_SOURCE
#include "fake.h"

#include "plugin/base/hash.h"
#include "plugin/logits.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake fake;

#define FAKE_ROWS 4096 /* of a step that is launched, at most */

struct cell {
    int32_t token, position;
    uint64_t hash;
};

struct device {
    int threads;
};

struct lane {
    int id, count;
    int (*body)(struct lane *lane, void *arg);
    void *arg;
    int rc;
};

/* A step that was launched: computed at once, told when it is settled. */
struct launched {
    struct sample_output output[FAKE_ROWS];
    int32_t R, rc;
};

struct model {
    struct mem mem;
    struct hparams hparams;
    struct memory_plan plan;
    struct device device;
    int32_t n_pages, max_rows, max_tokens;
    struct cell (*page)[PAGE_TOKENS]; /* (n_pages) */
    float *logits;                    /* (max_rows, V) */
    struct logit_block *block;        /* (max_rows, logit_blocks(V)) */
    struct launched launched[STEPS_AHEAD];
    int32_t n_launched, n_settled;
    bool is_lost;
};

void fake_reset(void)
{
    fake_text_reset();
    fake = (struct fake){.context = 256, .end_bias = -1, .ahead = getenv("FAKE_AHEAD")};
}

static void broken(const char *what, int32_t number)
{
    if (fake.n_errors++ == 0)
        snprintf(fake.error, sizeof fake.error, "%s (%d)", what, number);
}

static uint64_t next_hash(uint64_t hash, int32_t token)
{
    return hash_bytes(&token, sizeof token, hash);
}

static void fill_logits(uint64_t hash, float *logits)
{
    for (int32_t i = 0; i < FAKE_V; i++) {
        uint64_t h = next_hash(hash, i);
        logits[i] = (float)(h % 4001) / 500.0f - 4.0f;
        if (i < 32 || i == '"' || i == '\\')
            logits[i] = -50;
    }
    logits[FAKE_END] += fake.end_bias;
}

static int32_t greedy(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < FAKE_V; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

int32_t fake_generate(const char *prompt, int32_t max, char *out)
{
    uint64_t hash = 0;
    float logits[FAKE_V];
    for (; *prompt; prompt++)
        hash = next_hash(hash, *prompt);
    int32_t n = 0;
    *out = '\0';
    while (n < max) {
        fill_logits(hash, logits);
        int32_t token = greedy(logits);
        n++;
        if (token == FAKE_END)
            break;
        *out++ = (char)token;
        *out = '\0';
        hash = next_hash(hash, token);
    }
    return n;
}

/* ---- model */

int32_t model_open(struct model **out, const struct model_params *params, struct err *err)
{
    if (fake.open_status)
        return err_set(err, fake.open_status, "the fake model cannot be opened");
    struct model *m = mem_take_zeroed(params->mem, sizeof *m, 64);
    if (!m)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a fake model");
    m->mem = *params->mem;
    m->hparams = (struct hparams){.name = "fake", .V = FAKE_V, .context = fake.context};
    m->device.threads = params->threads;
    m->max_rows = params->max_rows;
    m->max_tokens = params->max_tokens;
    m->n_pages = fake.pages ? fake.pages : (fake.context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    m->plan = (struct memory_plan){.weights = 1000, .kv = 2000, .total = 3000};
    *out = m;
    return INFLIGHT_OK;
}

void model_unload(struct model *m)
{
    mem_give(&m->mem, m->page, (size_t)m->n_pages * sizeof *m->page);
    mem_give(&m->mem, m->logits, (size_t)m->max_rows * FAKE_V * sizeof(float));
    mem_give(&m->mem, m->block, (size_t)(m->max_rows * logit_blocks(FAKE_V)) * sizeof *m->block);
    m->page = NULL;
    m->logits = NULL;
    m->block = NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    struct mem mem = m->mem;
    model_unload(m);
    mem_give(&mem, m, sizeof *m);
}

bool model_pass_over(const struct model *m, struct fallback *fallback, struct err *err)
{
    (void)m;
    if (fake.n_left == 0)
        return false;
    fake.n_left--;
    snprintf(fallback->text, sizeof fallback->text, "fake: %.300s", err->text);
    *err = (struct err){0};
    return true;
}

bool model_is_lost(const struct model *m)
{
    return m->is_lost;
}

int32_t model_load(struct model *m, model_progress *progress, void *user, struct err *err)
{
    for (uint64_t i = 0; i < 4; i++)
        if (progress(user, "weights", i * 250, 1000))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "stopped");
    if (fake.load_status)
        return err_set(err, fake.load_status, "the fake model cannot be loaded");
    m->page = mem_take_zeroed(&m->mem, (size_t)m->n_pages * sizeof *m->page, 64);
    m->logits = mem_take_zeroed(&m->mem, (size_t)m->max_rows * FAKE_V * sizeof(float), 64);
    m->block = mem_take_zeroed(&m->mem,
                               (size_t)(m->max_rows * logit_blocks(FAKE_V)) * sizeof *m->block, 64);
    if (!m->page || !m->logits || !m->block)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for fake pages");
    return INFLIGHT_OK;
}

static struct cell *cell_of(struct model *m, const struct batch_seq *s, int32_t position)
{
    int32_t page = s->page[position / PAGE_TOKENS];
    if (page < 0 || page >= m->n_pages) {
        broken("a page number is out of range", page);
        page = 0;
    }
    return &m->page[page][position % PAGE_TOKENS];
}

/* Reads the history of s back, and writes what it adds. */
static void forward_seq(struct model *m, const struct batch *b, const struct batch_seq *s)
{
    uint64_t hash = 0;
    for (int32_t p = 0; p < s->position; p++) {
        const struct cell *c = cell_of(m, s, p);
        hash = next_hash(hash, c->token);
        if (c->position != p || c->hash != hash)
            broken("a page does not hold the position it should", p);
    }
    for (int32_t i = 0; i < s->n; i++) {
        int32_t row = s->first + i, position = s->position + i;
        if (b->position[row] != position)
            broken("a row has the wrong position", b->position[row]);
        hash = next_hash(hash, b->token[row]);
        *cell_of(m, s, position) = (struct cell){b->token[row], position, hash};
    }
}

static const struct batch_seq *seq_of_row(const struct batch *b, int32_t row)
{
    for (int32_t i = 0; i < b->S; i++)
        if (row >= b->seq[i].first && row < b->seq[i].first + b->seq[i].n)
            return &b->seq[i];
    broken("a row belongs to no sequence", row);
    return &b->seq[0];
}

/* All sequences are written first: one that shares a page it should not shows below. */
int model_forward(struct model *m, const struct batch *b)
{
    fake.n_forward++;
    if (fake.step_us)
        nanosleep(&(struct timespec){.tv_nsec = (long)fake.step_us * 1000}, NULL);
    m->is_lost |= fake.n_forward == fake.lost_at;
    if (fake.n_forward == fake.fail_at || m->is_lost)
        return INFLIGHT_E_DEVICE;
    fake.n_computed += b->T;
    fake.most_sequences = MAX(fake.most_sequences, b->S);
    fake.most_tokens = MAX(fake.most_tokens, b->T);
    if (b->T < 1 || b->T > m->max_tokens || b->S < 1 || b->S > b->T || b->R > m->max_rows)
        broken("the batch has an impossible shape", b->T);
    int32_t row = 0;
    for (int32_t i = 0; i < b->S; row += b->seq[i++].n) {
        if (b->seq[i].first != row || b->seq[i].n < 1)
            broken("rows have a gap", row);
        forward_seq(m, b, &b->seq[i]);
    }
    if (row != b->T)
        broken("rows do not add up", row);
    for (int32_t r = 0; r < b->R; r++) {
        const struct batch_seq *s = seq_of_row(b, b->row[r]);
        uint64_t hash = 0;
        for (int32_t p = 0; p <= b->position[b->row[r]]; p++)
            hash = next_hash(hash, cell_of(m, s, p)->token);
        fill_logits(hash, m->logits + r * FAKE_V);
        for (int32_t i = 0; fake.n_forward == fake.nan_at && r == 0 && i < FAKE_V; i++)
            m->logits[i] = NAN;
        struct logits l;
        logits_scan(&l, model_logits(m, r), FAKE_V, model_blocks(m, r), b->scale[r]);
    }
    return 0;
}

/* ---- Steps that are launched */

static float edited(float logit, const struct row_choice *row, const struct logit_edit *edit)
{
    if (edit->is_barred)
        return -INFINITY;
    logit += edit->bias;
    if (edit->n_generated < 0)
        return logit;
    logit = logit > 0 ? logit / row->repetition : logit * row->repetition;
    return edit->n_generated ? logit - row->presence - row->frequency * (float)edit->n_generated
                             : logit;
}

static void edit_row(const struct batch *b, const struct row_choice *row,
                     const struct launched *before, float *logits)
{
    int32_t pending = row->pending < 0 ? -1 : before->output[row->pending].token;
    for (int32_t i = row->first_edit; i < row->first_edit + row->n_edit; i++) {
        struct logit_edit edit = b->edit[i];
        if (edit.token == pending) {
            edit.n_generated = MAX(edit.n_generated, 0) + 1;
            pending = -1;
        }
        logits[edit.token] = edited(logits[edit.token], row, &edit);
    }
    if (pending >= 0)
        logits[pending] = edited(logits[pending], row, &(struct logit_edit){pending, 0, 1, 0});
}

/* Of a token, by the engine's own sampler, told to take that one: a bias comes behind the log
 * probabilities. logits: (V), as the model gave them. */
static void report(const struct row_choice *row, float *logits, struct sample_output *out)
{
    static uint64_t scratch[4 * FAKE_V];
    static struct logit_block block[FAKE_V / LOGIT_BLOCK + 1];
    const struct logit_bias bias = {out->token, 1e6f};
    struct sampling sampling = {
        .repetition_penalty = 1, .logprobs = row->n_top, .bias = &bias, .n_bias = 1};
    struct sample_input in = {
        .logits = logits, .block = block, .scale = 1, .V = FAKE_V, .sampling = &sampling};
    struct logits l;
    logits_scan(&l, logits, FAKE_V, block, 1);
    (void)sample_row(&in, scratch, out);
}

/* By the engine's own sampler, told of the draw alone. */
static void choose(struct model *m, const struct batch *b, int32_t r, const struct launched *before,
                   struct sample_output *out)
{
    static uint64_t scratch[4 * FAKE_V];
    static float raw[FAKE_V];
    const struct row_choice *row = &b->choice[r];
    struct sampling sampling = {.temperature = row->temperature,
                                .top_p = row->top_p,
                                .min_p = row->min_p,
                                .top_k = row->top_k,
                                .repetition_penalty = 1,
                                .seed = row->seed,
                                .logprobs = -1};
    struct sample_input in = {.logits = model_logits(m, r),
                              .block = model_blocks(m, r),
                              .scale = b->scale[r],
                              .V = FAKE_V,
                              .sampling = &sampling,
                              .n_token = (int32_t)row->position,
                              .n_prompt = (int32_t)row->position,
                              .choice = row->choice};
    struct logits l;
    memcpy(raw, in.logits, sizeof raw);
    edit_row(b, row, before, in.logits);
    logits_scan(&l, in.logits, FAKE_V, in.block, in.scale);
    if (!sample_row(&in, scratch, out))
        out->token = -1;
    else if (row->report)
        report(row, raw, out);
}

bool model_launches(const struct model *m)
{
    (void)m;
    return fake.ahead;
}

int model_launch(struct model *m, const struct batch *b)
{
    int32_t token[FAKE_ROWS];
    struct batch known = *b;
    struct launched *step = &m->launched[m->n_launched % STEPS_AHEAD];
    const struct launched *before = &m->launched[(m->n_launched + 1) % STEPS_AHEAD];
    if (m->n_launched - m->n_settled == STEPS_AHEAD || !b->choice || b->T > FAKE_ROWS)
        broken("a step that should not have been launched", b->T);
    for (int32_t t = 0; t < b->T && t < FAKE_ROWS; t++) {
        token[t] = b->token[t] < 0 ? before->output[-1 - b->token[t]].token : b->token[t];
        if (b->token[t] < 0 && (m->n_launched == 0 || -1 - b->token[t] >= before->R))
            broken("a token of a row that the step before did not have", b->token[t]);
    }
    known.token = token;
    step->R = b->R;
    /* What comes behind a failure fails as well. */
    bool behind = m->n_launched > m->n_settled && before->rc;
    step->rc = behind ? before->rc : model_forward(m, &known);
    for (int32_t r = 0; r < b->R && !step->rc; r++)
        choose(m, b, r, before, &step->output[r]);
    fake.n_overlapped += m->n_launched++ > m->n_settled;
    return 0;
}

int model_settle(struct model *m, struct sample_output *output)
{
    const struct launched *step = &m->launched[m->n_settled % STEPS_AHEAD];
    if (fake.on_settle)
        fake.on_settle(fake.user);
    if (m->n_settled++ == m->n_launched)
        broken("nothing was launched that could be settled", m->n_settled);
    memcpy(output, step->output, (size_t)step->R * sizeof *output);
    return step->rc;
}

float *model_logits(struct model *m, int32_t r)
{
    return m->logits + r * FAKE_V;
}

struct logit_block *model_blocks(struct model *m, int32_t r)
{
    return m->block + r * logit_blocks(FAKE_V);
}

/* Spoilt, so that reading it shows. */
void model_discard(struct model *m, bool pages)
{
    for (int32_t i = 0; i < m->n_pages && pages; i++)
        for (int32_t k = 0; k < PAGE_TOKENS; k++)
            m->page[i][k] = (struct cell){-1, -1, 0};
}

const struct hparams *model_hparams(const struct model *m)
{
    return &m->hparams;
}

const struct memory_plan *model_memory(const struct model *m)
{
    return &m->plan;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    (void)m;
    return fake_tokenizer();
}

const struct chat *model_chat(const struct model *m)
{
    (void)m;
    return fake.no_chat ? NULL : fake_chat();
}

struct device *model_device(struct model *m)
{
    return &m->device;
}

int32_t model_context(const struct model *m)
{
    return m->hparams.context;
}

int32_t model_kv_pages(const struct model *m)
{
    return m->n_pages;
}

enum packed_use model_packed_use(const struct model *m, const char **note)
{
    (void)m;
    *note = "";
    return PACKED_UNUSED;
}

void model_describe(const struct model *m, struct buf *out)
{
    buf_format(out, "{\"name\":\"%s\"}", m->hparams.name);
}

/* ---- back end */

static const char *describe(const struct device *device)
{
    (void)device;
    return "fake device";
}

static void *run_lane(void *arg)
{
    struct lane *lane = arg;
    lane->rc = lane->body(lane, lane->arg);
    return NULL;
}

static int run(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg)
{
    struct lane lane[16];
    pthread_t thread[16];
    int n = MIN(device->threads, 16), rc = 0;
    for (int i = 0; i < n; i++) {
        lane[i] = (struct lane){.id = i, .count = n, .body = body, .arg = arg};
        if (fake.threaded)
            pthread_create(&thread[i], NULL, run_lane, &lane[i]);
        else
            run_lane(&lane[i]);
    }
    for (int i = 0; i < n; i++) {
        if (fake.threaded)
            pthread_join(thread[i], NULL);
        rc = rc ? rc : lane[i].rc;
    }
    return rc;
}

static int lane_id(const struct lane *lane)
{
    return lane->id;
}

static int lane_count(const struct lane *lane)
{
    return lane->count;
}

static void set_threads(struct device *device, int threads)
{
    device->threads = threads;
}

/* What is not copied is spoilt, so that reading it shows. */
static void copy_page(struct device *device, int32_t to, int32_t from, int32_t n)
{
    struct model *m = (struct model *)(void *)((char *)device - offsetof(struct model, device));
    for (int32_t i = 0; i < PAGE_TOKENS; i++)
        m->page[to][i] = i < n ? m->page[from][i] : (struct cell){-1, -1, 0};
    fake.n_copied++;
}

static const struct backend the_backend = {.name = "fake",
                                           .describe = describe,
                                           .run = run,
                                           .lane_id = lane_id,
                                           .lane_count = lane_count,
                                           .set_threads = set_threads,
                                           .copy_page = copy_page};

const struct backend *model_backend(const struct model *m)
{
    (void)m;
    return &the_backend;
}
