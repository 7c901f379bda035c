#include "hparams.h"

#include "arch.h"
#include "rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* When a key must be there. */
enum need { ALWAYS, IF_GATED, IF_MIXED, NEVER };

/* One integer key: its names, where it goes and what it may be. */
struct row {
    const char *gguf;      /* after "<arch>." */
    const char *config[4]; /* in config.json; families had words of their own */
    size_t offset;         /* int32_t in struct hparams */
    int64_t min, max;
    enum need need; /* else left as it is when missing */
};

/* clang-format off */
static const struct row rows[] = {
    {"block_count", {"num_hidden_layers", "n_layer", "n_layers"},
     offsetof(struct hparams, L), 1, LAYERS_MAX, ALWAYS},
    {"embedding_length", {"hidden_size", "n_embd", "n_embed", "d_model"},
     offsetof(struct hparams, D), 32, 1 << 17, ALWAYS},
    {"feed_forward_length", {"intermediate_size", "n_inner", "ffn_hidden_size"},
     offsetof(struct hparams, dense_F), 32, 1 << 20, IF_GATED},
    {"expert_feed_forward_length", {"moe_intermediate_size"},
     offsetof(struct hparams, F), 32, 1 << 20, NEVER},
    {"expert_shared_feed_forward_length",
     {"shared_expert_intermediate_size", "shared_intermediate_size"},
     offsetof(struct hparams, shared_F), 0, 1 << 20, NEVER},
    {"expert_shared_count", {"n_shared_experts", "moe_num_shared_experts"},
     offsetof(struct hparams, shared), 0, EXPERTS_MAX, NEVER},
    {"leading_dense_block_count", {"first_k_dense_replace", "moe_layer_start_index"},
     offsetof(struct hparams, dense), 0, LAYERS_MAX, IF_MIXED},
    {"nextn_predict_layers", {"num_nextn_predict_layers", "num_mtp_layers"},
     offsetof(struct hparams, ahead), 0, LAYERS_MAX, NEVER},
    {"expert_count", {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"},
     offsetof(struct hparams, E), 0, EXPERTS_MAX, NEVER},
    {"expert_used_count", {"num_experts_per_tok", "experts_per_token", "moe_k"},
     offsetof(struct hparams, U), 0, EXPERTS_MAX, NEVER},
    {"context_length", {"max_position_embeddings", "n_positions", "seq_length", "max_seq_len"},
     offsetof(struct hparams, context), 16, 1 << 24, IF_GATED},
    {"attention.head_count", {"num_attention_heads", "n_head", "n_heads"},
     offsetof(struct hparams, H), 1, 1024, ALWAYS},
    {"attention.head_count_kv", {"num_key_value_heads", "num_kv_heads", "n_head_kv"},
     offsetof(struct hparams, K), 1, 1024, NEVER},
    {"attention.key_length", {"head_dim"},
     offsetof(struct hparams, dim), 2, 2 * FREQ_MAX, NEVER},
};
/* clang-format on */

static const char *full_key(const struct hparams *h, const char *key, char out[96])
{
    (void)snprintf(out, 96, "%s.%s", h->arch, key);
    return out;
}

/* The name that a config.json has for it, or the first. */
static const char *config_key(const struct row *row, const json_t *config)
{
    for (size_t i = 0; i < COUNT_OF(row->config) && row->config[i]; i++)
        if (config_has(config, row->config[i]))
            return row->config[i];
    return row->config[0];
}

/* The integer of a key, or of a row with kinds of layers the first of its list, which
 * hparams_kinds_gguf reads. */
static bool read_integer(const struct arch *arch, const struct gguf *g, const char *key,
                         int64_t *value)
{
    const struct gguf_value *list = gguf_find(g, key);
    if (!arch->has_kinds || !gguf_is_integers(list))
        return gguf_int(g, key, value);
    *value = gguf_int_at(list, 0);
    return true;
}

static int32_t read_row(struct hparams *h, const struct arch *arch, const struct checkpoint *c,
                        const struct row *row, struct err *err)
{
    char full[96];
    const char *key = c->config ? config_key(row, c->config) : full_key(h, row->gguf, full);
    const json_t *number = json_object_get(c->config, key);
    bool is_there = c->config ? config_has(c->config, key) : gguf_find(&c->gguf, key) != NULL;
    bool is_needed = row->need == ALWAYS || (row->need == IF_GATED && !arch->plain) ||
                     (row->need == IF_MIXED && arch->dense_first);
    int64_t value = json_integer_value(number);
    if (!is_there && !is_needed)
        return INFLIGHT_OK;
    if (!is_there)
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing", key);
    bool is_integer =
        c->config ? json_is_integer(number) : read_integer(arch, &c->gguf, key, &value);
    if (!is_integer || value < row->min || value > row->max)
        return err_set(err, INFLIGHT_E_MODEL, "%s must be an integer in %lld .. %lld", key,
                       (long long)row->min, (long long)row->max);
    *(int32_t *)(void *)((char *)h + row->offset) = (int32_t)value;
    return INFLIGHT_OK;
}

/* What old families have where their files do not say. */
#define PLAIN_WIDTH   4 /* of the feed-forward part, in model widths */
#define PLAIN_CONTEXT 2048

/* What the counts of layers and experts come to. In GGUF files layers are with those that predict
 * further ahead. */
static int32_t count_layers(struct hparams *h, const struct arch *arch, bool is_file,
                            struct err *err)
{
    if (!arch->ahead)
        h->ahead = 0;
    if (is_file)
        h->L -= h->ahead;
    if (h->L < 1)
        return err_set(err, INFLIGHT_E_MODEL,
                       "%d layers predict tokens further ahead, and there are no others", h->ahead);
    if (!arch->experts)
        return INFLIGHT_OK;
    if (!h->shared_F)
        h->shared_F = h->shared * h->F;
    if (h->dense > h->L)
        return err_set(err, INFLIGHT_E_MODEL, "the first %d of %d layers cannot be no experts",
                       h->dense, h->L);
    if (h->dense && !arch->dense_first)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "the first %d layers are no experts: not served for %s", h->dense, arch->id);
    if (h->shared_F && !arch->shared)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "an expert that all tokens meet is not served for %s", arch->id);
    return INFLIGHT_OK;
}

static int32_t read_rows(struct hparams *h, const struct arch *arch, const struct checkpoint *c,
                         struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (read_row(h, arch, c, &rows[i], err))
            return err->code;
    if (!h->dense_F)
        h->dense_F = PLAIN_WIDTH * h->D;
    if (!h->F)
        h->F = h->dense_F;
    if (count_layers(h, arch, !c->config, err))
        return err->code;
    if (!h->context)
        h->context = PLAIN_CONTEXT;
    if (!h->K)
        h->K = h->H;
    if (!h->dim)
        h->dim = h->D / h->H;
    if (h->U > h->E)
        return err_set(err, INFLIGHT_E_MODEL, "a token meets %d of %d experts", h->U, h->E);
    if (h->H % h->K)
        return err_set(err, INFLIGHT_E_MODEL, "%d query heads do not share %d key/value heads",
                       h->H, h->K);
    if (h->dim < 2 || h->dim % 2 || h->dim > 2 * FREQ_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "head width %d is not an even number in 2 .. %d",
                       h->dim, 2 * FREQ_MAX);
    /* Kernels take four values at once. */
    if (arch->wide_norm && (h->H * h->dim % 4 || h->K * h->dim % 4))
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "norms of %d and of %d heads of %d columns are not served: multiples of 4 "
                       "together are",
                       h->H, h->K, h->dim);
    h->scale = arch->unscaled ? 1 : 1.0f / sqrtf((float)h->dim);
    h->rotary_dim = h->dim;
    h->rotary_scale = 1;
    h->activation = arch->activation;
    h->parallel = arch->parallel;
    h->alibi_max = 8;
    h->glu_limit = arch->glu_limit;
    h->shares = arch->shares;
    h->share_factor = 1;
    h->embed_scale = arch->root_embed ? sqrtf((float)h->D) : 1;
    h->logit_scale = 1;
    return INFLIGHT_OK;
}

int32_t hparams_kv_layer(const struct hparams *h, int32_t l)
{
    int32_t from = hparams_is_shared(h, l) ? h->L - h->n_shared - 1 : l;
    while (from >= 0 && h->slides[from] != h->slides[l])
        from--;
    return from;
}

void hparams_set_turns(struct hparams *h, const struct arch *arch)
{
    const bool only_near = arch->near_turns && h->window;
    for (int32_t l = 0; l < h->L; l++)
        h->turns[l] = arch->positions == POSITIONS_ROTARY &&
                      (!arch->nope_every || (l + 1) % arch->nope_every != 0) &&
                      (!only_near || h->slides[l]);
    h->turns_twice = arch->near_theta > 0 || (arch->near_unscaled && h->window);
}

int32_t hparams_multiply(struct hparams *h, const struct multipliers *m, struct err *err)
{
    const double all[] = {m->embedding, m->residual, m->score, m->logit};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (!(all[i] >= 1e-6 && all[i] <= 1e6))
            return err_set(err, INFLIGHT_E_MODEL,
                           "a multiplier of embeddings, layers, scores or logits is %g, not in "
                           "1e-6 .. 1e6",
                           all[i]);
    h->embed_scale = (float)(m->embedding / m->residual);
    h->eps = (float)((double)h->eps / (m->residual * m->residual));
    h->scale = (float)m->score;
    h->logit_scale = (float)m->logit;
    return INFLIGHT_OK;
}

static int32_t set_eps(struct hparams *h, bool is_number, double eps, const char *key,
                       struct err *err)
{
    if (!is_number || !((float)eps > 0) || !(eps < 1))
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing or not in 0 .. 1", key);
    h->eps = (float)eps;
    return INFLIGHT_OK;
}

/* ---- A GGUF file */

/* What must hold between the numbers. */
static int32_t check_gguf(struct hparams *h, const struct arch *arch, const struct gguf *g,
                          struct err *err)
{
    char key[96];
    int64_t other;
    if (gguf_int(g, full_key(h, "attention.value_length", key), &other) && other != h->dim)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %lld, keys have %d: not served", key,
                       (long long)other, h->dim);
    if (!gguf_int(g, full_key(h, "rope.dimension_count", key), &other) || other == h->dim)
        return INFLIGHT_OK;
    if (!arch->part_turns)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s is %lld of %d: partial rotation is not served for %s", key,
                       (long long)other, h->dim, arch->id);
    if (other < 2 || other > h->dim || other % 2)
        return err_set(err, INFLIGHT_E_MODEL, "%s must be an even number in 2 .. %d", key, h->dim);
    h->rotary_dim = (int32_t)other;
    return INFLIGHT_OK;
}

/* Which layers see the window, where the file says it: layer by layer, or but for every n-th. */
static int32_t read_pattern(struct hparams *h, const struct gguf *g, struct err *err)
{
    char key[96];
    const struct gguf_value *pattern =
        gguf_find(g, full_key(h, "attention.sliding_window_pattern", key));
    int64_t every = 0;
    if (!pattern)
        return INFLIGHT_OK;
    const bool is_list = pattern->type == GGUF_ARRAY && pattern->element == GGUF_BOOL &&
                         pattern->n == (uint64_t)h->L;
    const bool is_number = gguf_int(g, key, &every) && every >= 1;
    if (!is_list && !is_number)
        return err_set(err, INFLIGHT_E_MODEL, "%s is neither %d switches nor an integer above 0",
                       key, h->L);
    for (int32_t l = 0; l < h->L; l++)
        h->slides[l] = is_list ? pattern->data[l] != 0 : (l + 1) % every != 0;
    return INFLIGHT_OK;
}

/* Of a family whose layers see one, but for every n-th; of Phi all do, if there is one. */
static int32_t read_window(struct hparams *h, const struct arch *arch, const struct gguf *g,
                           struct err *err)
{
    char key[96];
    int64_t width;
    const bool is_there = gguf_int(g, full_key(h, "attention.sliding_window", key), &width);
    if (!is_there && (!arch->full_every || arch->may_slide))
        return INFLIGHT_OK;
    if (!is_there || width < 1 || width > INT32_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing or not an integer of 1 and more", key);
    h->window = (int32_t)width;
    for (int32_t l = 0; l < h->L; l++)
        h->slides[l] = !arch->full_every || (l + 1) % arch->full_every != 0;
    return arch->full_every ? read_pattern(h, g, err) : INFLIGHT_OK;
}

static double read_factor(const struct hparams *h, const struct gguf *g, const char *name,
                          double missing)
{
    char key[96];
    double value = missing;
    (void)gguf_float(g, full_key(h, name, key), &value);
    return value;
}

/* Logits are divided by Granite's logit_scale, and multiplied by Cohere's. */
static int32_t read_multipliers(struct hparams *h, const struct arch *arch, const struct gguf *g,
                                struct err *err)
{
    struct multipliers m = {.embedding = (double)h->embed_scale, .residual = 1, .logit = 1};
    m.score = (double)h->scale;
    if (arch->multiplied) {
        m.embedding = read_factor(h, g, "embedding_scale", m.embedding);
        m.residual = read_factor(h, g, "residual_scale", 1);
        m.score = read_factor(h, g, "attention.scale", m.score);
        m.logit = 1 / read_factor(h, g, "logit_scale", 1);
    } else if (arch->logit_scale > 0)
        m.logit = read_factor(h, g, "logit_scale", arch->logit_scale);
    return hparams_multiply(h, &m, err);
}

static int32_t read_cap(const struct hparams *h, const struct gguf *g, const char *name, float *cap,
                        struct err *err)
{
    char key[96];
    double value = 0;
    if (!gguf_float(g, full_key(h, name, key), &value) || !(value >= 1e-3 && value <= 1e6))
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing or not in 0.001 .. 1e6", key);
    *cap = (float)value;
    return INFLIGHT_OK;
}

static int32_t refuse_clamps(const struct hparams *h, const struct gguf *g, struct err *err)
{
    char key[96];
    double number;
    if (gguf_float(g, full_key(h, "attention.clamp_kqv", key), &number) && number != 0)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is not 0: not served", key);
    return INFLIGHT_OK;
}

/* Of families before Llama, all optional. */
static int32_t read_classic(struct hparams *h, const struct gguf *g, struct err *err)
{
    char key[96];
    double number;
    (void)gguf_bool(g, full_key(h, "use_parallel_residual", key), &h->parallel);
    if (!gguf_float(g, full_key(h, "attention.max_alibi_bias", key), &number))
        return INFLIGHT_OK;
    if (!(number >= 1 && number <= 64))
        return err_set(err, INFLIGHT_E_MODEL, "%s must be a number in 1 .. 64", key);
    h->alibi_max = (float)number;
    return INFLIGHT_OK;
}

static int32_t read_vocabulary(struct hparams *h, const struct gguf *g, struct err *err)
{
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    if (!tokens || tokens->type != GGUF_ARRAY || tokens->n < 1 || tokens->n > (1 << 24))
        return err_set(err, INFLIGHT_E_MODEL, "tokenizer.ggml.tokens is missing or empty");
    h->V = (int32_t)tokens->n;
    return INFLIGHT_OK;
}

static int32_t read_gguf(struct hparams *h, const struct checkpoint *c, struct err *err)
{
    const struct gguf *g = &c->gguf;
    char key[96];
    struct str text;
    double eps = 0;
    if (!gguf_str(g, "general.architecture", &text) || text.len >= sizeof h->arch)
        return err_set(err, INFLIGHT_E_MODEL, "general.architecture is missing or too long");
    memcpy(h->arch, text.ptr, text.len);
    if (gguf_str(g, "general.name", &text))
        memcpy(h->name, text.ptr, MIN(text.len, sizeof h->name - 1));
    const struct arch *arch = arch_find(h->arch);
    if (!arch)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "architecture \"%s\" is not served", h->arch);
    h->rope = arch->rope;

    full_key(h,
             arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             key);
    bool has_eps = gguf_float(g, key, &eps);
    if (read_rows(h, arch, c, err) || set_eps(h, has_eps, eps, key, err) ||
        check_gguf(h, arch, g, err) || read_vocabulary(h, g, err))
        return err->code;
    if ((arch->full_every || arch->fused) && read_window(h, arch, g, err))
        return err->code;
    if (arch->capped && (read_cap(h, g, "attn_logit_softcapping", &h->score_cap, err) ||
                         read_cap(h, g, "final_logit_softcapping", &h->logit_cap, err)))
        return err->code;
    if (arch->logits_capped && gguf_find(g, full_key(h, "final_logit_softcapping", key)) &&
        read_cap(h, g, "final_logit_softcapping", &h->logit_cap, err))
        return err->code;
    if (arch->has_kinds && hparams_kinds_gguf(h, c, err))
        return err->code;
    if (arch->odd_layers == h->L)
        h->scale = 1.0f / sqrtf((float)(h->D / h->H));
    if (refuse_clamps(h, g, err) || hparams_experts_gguf(h, arch, g, err) ||
        read_multipliers(h, arch, g, err) || (arch->plain && read_classic(h, g, err)))
        return err->code;
    hparams_set_turns(h, arch);
    return arch->positions == POSITIONS_ROTARY ? rope_read_gguf(h, arch, g, err) : INFLIGHT_OK;
}

/* ---- A folder */

/* Of the folder: the last part of its path, if that is a name. */
static void name_folder(struct hparams *h, const char *path)
{
    size_t end = strlen(path);
    while (end && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/')
        begin--;
    bool is_dots = end - begin <= 2 && strspn(path + begin, ".") >= end - begin;
    if (!is_dots)
        memcpy(h->name, path + begin, MIN(end - begin, sizeof h->name - 1));
}

static int32_t read_eps(struct hparams *h, const struct arch *arch, const json_t *config,
                        struct err *err)
{
    static const char *const keys[] = {"layer_norm_eps", "norm_epsilon", "norm_eps",
                                       "layer_norm_epsilon"};
    const char *key = "rms_norm_eps";
    for (size_t i = 0; arch->layer_norm && i < COUNT_OF(keys); i++) {
        key = keys[i];
        if (config_has(config, key))
            break;
    }
    const json_t *eps = json_object_get(config, key);
    if (!eps && arch->eps > 0)
        return set_eps(h, true, arch->eps, key, err);
    return set_eps(h, json_is_number(eps), json_number_value(eps), key, err);
}

static int32_t read_folder(struct hparams *h, const struct checkpoint *c, struct err *err)
{
    const json_t *vocabulary = json_object_get(c->config, "vocab_size");
    const struct arch *arch = hparams_family(c->config, err);
    int64_t n = json_integer_value(vocabulary);
    if (!arch)
        return err->code;
    (void)snprintf(h->arch, sizeof h->arch, "%s", arch->id);
    name_folder(h, c->folder.path);
    h->rope = arch->same_rope ? arch->rope : ROPE_HALF;
    if (read_rows(h, arch, c, err) || read_eps(h, arch, c->config, err))
        return err->code;
    if (!json_is_integer(vocabulary) || n < 1 || n > (1 << 24))
        return err_set(err, INFLIGHT_E_MODEL, "vocab_size must be an integer in 1 .. %d", 1 << 24);
    h->V = (int32_t)n;
    if (hparams_read_config(h, arch, c->config, err) ||
        (arch->plain && hparams_read_classic(h, arch, c->config, err)) ||
        (arch->has_kinds && hparams_kinds_config(h, c->config, err)))
        return err->code;
    hparams_set_turns(h, arch);
    return arch->positions == POSITIONS_ROTARY ? rope_read_config(h, arch, c->config, err)
                                               : INFLIGHT_OK;
}

int32_t hparams_read(struct hparams *h, const struct checkpoint *c, struct err *err)
{
    *h = (struct hparams){0};
    if (!c->config)
        return read_gguf(h, c, err);
    return read_folder(h, c, err) ? err_prefix(err, "config.json") : INFLIGHT_OK;
}
