/* Each architecture row -> the program it becomes, compared with golden/<id>.plan.
 * `make golden` writes the files anew: read the difference before committing it. */
#include "plan_names.h"
#include "t.h"

#include "plugin/base/buf.h"
#include "plugin/model/plan.h"
#include "plugin/model/scheme.h"

#include <math.h>
#include <stdlib.h>

#define EXPERTS  3   /* of rows that have them */
#define SHARED_F 96  /* of the one that all tokens meet, of those that may have it */
#define DENSE_F  160 /* of the first layer, where that is none of them */

static const struct hparams small = {
    .L = 4,
    .D = 64,
    .F = 128,
    .H = 4,
    .K = 2,
    .dim = 16,
    .E = EXPERTS,
    .U = 2,
    .V = 256,
    .context = 32,
    .eps = 1e-5f,
    .scale = 0.25f,
    .embed_scale = 1,
    .logit_scale = 1,
    .rotary_dim = 16,
    .rotary_scale = 1,
};

static const struct scheme unquantized;

static size_t packed_bytes(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K)
{
    (void)config;
    return (size_t)N * fmt_row_bytes(fmt, K);
}

static const struct backend fake = {.name = "fake", .packed_bytes = packed_bytes};

/* A tensor of that name in a GGUF file. */
static void add_tensor(struct tensors *ts, struct arena *arena, const struct arch *arch,
                       const char *name, int64_t k, int64_t n)
{
    struct tensor *t = &ts->tensor[ts->n];
    struct buf own;
    buf_init(&own, &mem_system);
    rename_all(arch, name, NAMING_GGUF, ts->naming, &own);
    *t = (struct tensor){.fmt = FMT_f32, .n_dims = 2, .dim = {k, n, 1, 1, 1}};
    t->name.ptr = arena_copy_text(arena, own.ptr, own.len);
    t->name.len = own.len;
    hash_put(&ts->by_name, t->name.ptr, t->name.len, (int32_t)ts->n++);
    buf_release(&own);
}

/* One tensor of a file, or one of each expert. */
static void add_experts(struct tensors *ts, struct arena *arena, const struct arch *arch, int l)
{
    static const char *const stack[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    for (size_t i = 0; i < COUNT_OF(stack); i++) {
        const int64_t k = i == 2 ? small.F : small.D, n = i == 2 ? small.D : small.F;
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight%s", l, stack[i],
                 ts->naming == NAMING_GGUF ? "" : "[0]");
        add_tensor(ts, arena, arch, name, k, n);
        struct tensor *first = &ts->tensor[ts->n - 1];
        if (ts->naming == NAMING_GGUF) {
            first->n_dims = 3;
            first->dim[2] = EXPERTS;
            continue;
        }
        for (int e = 1; e < EXPERTS; e++) {
            struct tensor *t = &ts->tensor[ts->n];
            char *own = arena_copy_text(arena, first->name.ptr, first->name.len);
            strstr(own, "experts.")[strlen("experts.")] = (char)('0' + e);
            *t = *first;
            t->name.ptr = own;
            hash_put(&ts->by_name, t->name.ptr, t->name.len, (int32_t)ts->n++);
        }
    }
}

/* What others call the norm of what attention adds. */
static bool has_late_ffn_norm(const struct arch *arch)
{
    for (const struct arch_name *n = arch->names ? arch->names->names : NULL; n && n->row; n++)
        if (strcmp(n->row, "ffn_norm") == 0 && n->gguf)
            return strcmp(n->gguf, "post_attention_norm") == 0;
    return false;
}

/* Of a row that has kinds of layers: every switch of them is on. */
static void set_kinds(struct hparams *h, const struct arch *arch)
{
    if (!arch->has_kinds)
        return;
    h->window = 100;
    for (int32_t l = 0; l < h->L; l++)
        h->slides[l] = l != 2;
    h->near_K = 4;
    h->near_dim = 8;
    h->values_of_keys = true;
    h->n_shared = 1;
    h->wide_F = 2 * h->F;
    h->P = 32;
}

static void add_layer(struct tensors *ts, struct arena *arena, const struct arch *arch, int l)
{
    const bool late = has_late_ffn_norm(arch), has_fused_up = arch->fused || arch->fused_up;
    const bool has_ffn_norm = !arch->one_norm && !arch->bare && !late;
    struct hparams sizes = small;
    set_kinds(&sizes, arch);
    const struct hparams *h = &sizes;
    const int64_t dim = hparams_dim(h, l), q = h->H * dim, kv = hparams_K(h, l) * dim;
    const int64_t F = arch->experts ? DENSE_F : hparams_F(h, l);
    const bool has_experts = arch->experts && !(arch->dense_first && l == 0);
    const bool has_shared = has_experts && arch->shared;
    const bool has_keys = !arch->fused && !hparams_is_shared(h, l);
    const bool has_values = has_keys && !(h->values_of_keys && !h->slides[l]);
    const struct {
        const char *name;
        int64_t k, n;
        bool there;
    } rows[] = {
        {"attn_norm.weight", h->D, 1, !arch->bare},
        {"attn_norm.bias", h->D, 1, arch->norm_bias},
        {"attn_q.weight", h->D, q, !arch->fused},
        {"attn_k.weight", h->D, kv, has_keys},
        {"attn_v.weight", h->D, kv, has_values},
        {"attn_qkv.weight", h->D, q + 2 * kv, arch->fused},
        {"attn_q.bias", q, 1, arch->qkv_bias && !arch->fused},
        {"attn_k.bias", kv, 1, arch->qkv_bias && !arch->fused},
        {"attn_v.bias", kv, 1, arch->qkv_bias && !arch->fused},
        {"attn_qkv.bias", q + 2 * kv, 1, arch->qkv_bias && arch->fused},
        {"attn_q_norm.weight", arch->wide_norm ? q : dim, 1, arch->qk_norm || arch->wide_norm},
        {"attn_k_norm.weight", arch->wide_norm ? kv : dim, 1,
         (arch->qk_norm && has_keys) || arch->wide_norm},
        {"attn_output.weight", q, h->D, true},
        {"attn_output.bias", h->D, 1, arch->o_bias},
        {"post_attention_norm.weight", h->D, 1, arch->post_norm || late},
        {"ffn_norm.weight", h->D, 1, has_ffn_norm},
        {"ffn_norm.bias", h->D, 1, arch->norm_bias && has_ffn_norm},
        {"ffn_gate.weight", h->D, F, !has_fused_up && !arch->plain && !has_experts},
        {"ffn_up.weight", h->D, has_fused_up && !arch->plain ? 2 * F : F, !has_experts},
        {"ffn_up.bias", F, 1, arch->ffn_bias},
        {"ffn_down.weight", F, h->D, !has_experts},
        {"ffn_gate_inp.weight", h->D, EXPERTS, has_experts},
        {"ffn_gate_inp.bias", EXPERTS, 1, arch->expert_bias},
        {"exp_probs_b.bias", EXPERTS, 1, has_experts && arch->choice_bias},
        {"ffn_gate_shexp.weight", h->D, SHARED_F, has_shared},
        {"ffn_up_shexp.weight", h->D, SHARED_F, has_shared},
        {"ffn_down_shexp.weight", SHARED_F, h->D, has_shared},
        {"ffn_gate_inp_shexp.weight", h->D, 1, has_shared && arch->shared_gate},
        {"ffn_gate_exps.bias", h->F, EXPERTS, arch->expert_bias},
        {"ffn_up_exps.bias", h->F, EXPERTS, arch->expert_bias},
        {"ffn_down_exps.bias", h->D, EXPERTS, arch->expert_bias},
        {"attn_sinks.weight", h->H, 1, arch->sinks},
        {"ffn_down.bias", h->D, 1, arch->ffn_bias},
        {"post_ffw_norm.weight", h->D, 1, arch->post_norm},
        {"inp_gate.weight", h->D, h->P, h->P > 0},
        {"proj.weight", h->P, h->D, h->P > 0},
        {"post_norm.weight", h->D, 1, h->P > 0},
        {"layer_output_scale.weight", 1, 1, arch->layer_factor},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", l, rows[i].name);
        bool by_columns = arch->across && ts->naming == NAMING_HUGGING_FACE && rows[i].n > 1;
        if (rows[i].there)
            add_tensor(ts, arena, arch, name, by_columns ? rows[i].n : rows[i].k,
                       by_columns ? rows[i].k : rows[i].n);
    }
    if (has_experts)
        add_experts(ts, arena, arch, l);
}

/* A tensor directory as files of this family would have it. */
static void make_directory(struct tensors *ts, struct arena *arena, const struct arch *arch,
                           bool tied, enum naming naming)
{
    static struct file file = {.path = "model"};
    *ts = (struct tensors){.naming = naming, .file = &file};
    ts->tensor = arena_take_array(arena, 160, sizeof *ts->tensor);
    hash_init(&ts->by_name, arena, 160);
    add_tensor(ts, arena, arch, "token_embd.weight", small.D, small.V);
    add_tensor(ts, arena, arch, "output_norm.weight", small.D, 1);
    if (arch->norm_bias)
        add_tensor(ts, arena, arch, "output_norm.bias", small.D, 1);
    if (arch->positions == POSITIONS_LEARNED)
        add_tensor(ts, arena, arch, "position_embd.weight", small.D, small.context);
    if (arch->embed_norm) {
        add_tensor(ts, arena, arch, "token_embd_norm.weight", small.D, 1);
        add_tensor(ts, arena, arch, "token_embd_norm.bias", small.D, 1);
    }
    if (arch->head_bias)
        add_tensor(ts, arena, arch, "output.bias", small.V, 1);
    if (!tied)
        add_tensor(ts, arena, arch, "output.weight", small.D, small.V);
    if (arch->has_kinds) {
        add_tensor(ts, arena, arch, "per_layer_token_embd.weight", small.L * 32, small.V);
        add_tensor(ts, arena, arch, "per_layer_model_proj.weight", small.D, small.L * 32);
        add_tensor(ts, arena, arch, "per_layer_proj_norm.weight", 32, 1);
    }
    if (arch->waves > 0 && naming == NAMING_GGUF)
        add_tensor(ts, arena, arch, "rope_freqs.weight", small.dim / 2, 1);
    for (int l = 0; l < small.L; l++)
        add_layer(ts, arena, arch, l);
}

/* Dumps the plan of a row into out; addresses are made up, nothing is loaded. */
static bool dump(const struct arch *arch, const struct hparams *h, bool tied, enum naming naming,
                 struct buf *out)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct plan plan;
    struct plan_buffers buffers;
    struct device_config config = {0};
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch, tied, naming);
    bool ok = !weights_open(&w, &tensors, &unquantized, arch, h, &arena, &err) &&
              !weights_measure(&w, &fake, &config, &err);
    if (ok) {
        static _Alignas(64) char somewhere[1];
        weights_place(&w, (void *)0x10000);
        plan_measure(&buffers, arch, h, 8, 2);
        struct plan_source source = {arch, h, &w, &buffers, somewhere};
        ok = !plan_reserve(&plan, h->L, &arena, &err);
        if (ok) {
            plan_compile(&plan, &source);
            plan_dump(&plan, &source, out);
        }
    }
    if (!ok)
        t_fail(__FILE__, __LINE__, "%s: %s", arch->id, err.text);
    arena_release(&arena);
    return ok;
}

static void compare(const char *path, const struct buf *got)
{
    if (getenv("INFLIGHT_GOLDEN")) {
        FILE *f = fopen(path, "w");
        CHECK(f && fwrite(got->ptr, 1, got->len, f) == got->len);
        if (f)
            fclose(f);
        return;
    }
    static char want[1 << 16];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(want, 1, sizeof want, f) : 0;
    if (f)
        fclose(f);
    if (!f || n != got->len || memcmp(want, got->ptr, n) != 0)
        t_fail(__FILE__, __LINE__, "%s differs; the plan is now:\n%.*s", path, (int)got->len,
               got->ptr);
}

/* What hparams have of a row. */
static void set_family(struct hparams *h, const struct arch *arch)
{
    h->activation = arch->activation;
    h->parallel = arch->parallel;
    h->glu_limit = arch->glu_limit;
    h->shares = arch->shares;
    h->share_factor = 1;
    h->shared_F = arch->shared ? SHARED_F : 0;
    h->dense = arch->dense_first;
    h->dense_F = DENSE_F;
    h->embed_scale = arch->root_embed ? sqrtf((float)h->D) : 1;
    set_kinds(h, arch);
    hparams_set_turns(h, arch);
}

TEST(plan, each_row_becomes_its_golden_program)
{
    for (const struct arch *const *row = arch_list; *row; row++) {
        struct buf out;
        char path[128];
        buf_init(&out, &mem_system);
        snprintf(path, sizeof path, "tests/model/golden/%s.plan", (*row)->id);
        struct hparams h = small;
        h.rope = (*row)->rope;
        h.window = (*row)->full_every ? 100 : 0;
        for (int l = 0; l < h.L && h.window; l++)
            h.slides[l] = l != 2;
        set_family(&h, *row);
        if (dump(*row, &h, true, NAMING_GGUF, &out))
            compare(path, &out);
        buf_release(&out);
    }
}

/* Folders of gpt-oss and Granite with experts have other tensors, not only other names: families.c
 * reads them. */
TEST(plan, a_folder_gives_the_same_but_for_names)
{
    for (const struct arch *const *row = arch_list; *row; row++)
        for (int tied = 0; tied < 2 && !(*row)->expert_bias && !(*row)->stacked; tied++) {
            struct buf file, folder, renamed;
            struct hparams h = small;
            h.rope = ROPE_HALF;
            set_family(&h, *row);
            buf_init(&file, &mem_system);
            buf_init(&folder, &mem_system);
            buf_init(&renamed, &mem_system);
            CHECK(dump(*row, &h, tied, NAMING_GGUF, &file));
            CHECK(dump(*row, &h, tied, NAMING_HUGGING_FACE, &folder));
            buf_put_char(&file, '\0');
            buf_put_char(&folder, '\0');
            CHECK((*row)->names || strstr(folder.ptr, "model.layers.3.mlp.") != NULL);
            CHECK(!strstr(folder.ptr, "ffn_down"));
            rename_all(*row, folder.ptr, NAMING_HUGGING_FACE, NAMING_GGUF, &renamed);
            buf_put_char(&renamed, '\0');
            CHECK_TEXT(renamed.ptr, file.ptr);
            buf_release(&file);
            buf_release(&folder);
            buf_release(&renamed);
        }
}

TEST(plan, layers_that_slide_have_the_window)
{
    struct buf out;
    struct hparams h = small;
    h.window = 100;
    h.slides[2] = true;
    set_family(&h, arch_find("llama"));
    buf_init(&out, &mem_system);
    CHECK(dump(arch_find("llama"), &h, true, NAMING_GGUF, &out));
    buf_put_char(&out, '\0');
    CHECK(strstr(out.ptr, "layer 2, 4 heads over 2, rotary interleaved, window 100\n"));
    CHECK(strstr(out.ptr, "layer 1, 4 heads over 2, rotary interleaved\n"));
    CHECK(strstr(out.ptr, "layer 3, 4 heads over 2, rotary interleaved\n"));
    buf_release(&out);
}

/* The folder of any row, and how weights_open finds it. */
static int32_t open_folder(const struct arch *arch, const char *more, bool tied, bool untied,
                           struct err *err)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct hparams h = small;
    *err = (struct err){0};
    h.untied = untied;
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch, tied, NAMING_HUGGING_FACE);
    if (more)
        add_tensor(&tensors, &arena, arch, more, small.dim / 2, 1);
    int32_t rc = weights_open(&w, &tensors, &unquantized, arch, &h, &arena, err);
    arena_release(&arena);
    return rc;
}

TEST(plan, buffers_of_old_folders_are_left_out_and_nothing_else)
{
    const struct arch *llama = arch_find("llama");
    struct err err;
    CHECK_EQ(open_folder(llama, "model.layers.0.self_attn.rotary_emb.inv_freq", true, false, &err),
             0);
    CHECK_EQ(open_folder(llama, "model.layers.0.self_attn.k_scale", true, false, &err),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "tensor model.layers.0.self_attn.k_scale is not one of architecture llama "
                         "as it is served here");
    CHECK_EQ(open_folder(llama, "rope_freqs.weight", true, false, &err), INFLIGHT_E_UNSUPPORTED);
}

TEST(plan, a_head_of_its_own_that_a_folder_promises_must_be_there)
{
    const struct arch *llama = arch_find("llama");
    struct err err;
    CHECK_EQ(open_folder(llama, NULL, false, true, &err), 0);
    CHECK_EQ(open_folder(llama, NULL, true, false, &err), 0);
    CHECK_EQ(open_folder(llama, NULL, true, true, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor lm_head.weight is missing, and tie_word_embeddings is false");
}

TEST(plan, numbers_that_are_no_weights_are_refused)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch_find("llama"), true, NAMING_HUGGING_FACE);
    tensors.tensor[5].fmt = FMT_COUNT;
    tensors.tensor[5].dtype = DTYPE_I8;
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch_find("llama"), &small, &arena, &err),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "model: tensor model.layers.0.self_attn.v_proj.weight is of "
                         "type I8, but config.json does not say that it is quantized");
    arena_release(&arena);
}

TEST(plan, an_output_tensor_unties_the_head)
{
    struct buf out;
    buf_init(&out, &mem_system);
    if (dump(arch_find("llama"), &small, false, NAMING_GGUF, &out)) {
        buf_put_char(&out, '\0');
        CHECK(strstr(out.ptr, "| output.weight (256 64)"));
    }
    buf_release(&out);
}

TEST(plan, a_missing_tensor_is_named)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct err err = {0};
    const struct arch *qwen3 = arch_find("qwen3");
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch_find("llama"), true, NAMING_GGUF);
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, qwen3, &small, &arena, &err),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor blk.0.attn_q_norm.weight is missing");
    arena_release(&arena);
}

TEST(plan, a_tensor_that_nothing_reads_is_refused)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch_find("llama"), true, NAMING_GGUF);
    add_tensor(&tensors, &arena, arch_find("llama"), "rope_freqs.weight", small.dim / 2, 1);
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch_find("llama"), &small, &arena, &err), 0);
    add_tensor(&tensors, &arena, arch_find("llama"), "blk.3.attn_output.bias", small.D, 1);
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch_find("llama"), &small, &arena, &err),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "tensor blk.3.attn_output.bias is not one of architecture llama as it is "
                         "served here");
    arena_release(&arena);
}

TEST(plan, experts_of_another_number_or_none_are_refused)
{
    static const char name[] = "blk.2.ffn_up_exps.weight";
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct err err = {0};
    struct hparams h = small;
    const struct arch *arch = arch_find("qwen3moe");
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch, true, NAMING_GGUF);
    tensors.tensor[hash_find(&tensors.by_name, name, sizeof name - 1, 0)].dim[2] = 4;
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch, &h, &arena, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "model: tensor blk.2.ffn_up_exps.weight is 4 x 128 x 64, want 3 x 128 x 64");
    h.L = LAYERS_MAX;
    h.E = EXPERTS_MAX;
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch, &h, &arena, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "50 tensors cannot be 1024 layers of 1024 experts");
    h.U = 0;
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch, &h, &arena, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "the number of experts, or of those that a token meets, is missing");
    arena_release(&arena);
}

TEST(plan, a_wrong_shape_is_refused_with_both)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&tensors, &arena, arch_find("llama"), true, NAMING_GGUF);
    tensors.tensor[hash_find(&tensors.by_name, "blk.2.attn_k.weight", 19, 0)].dim[1] = 33;
    CHECK_EQ(weights_open(&w, &tensors, &unquantized, arch_find("llama"), &small, &arena, &err),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "model: tensor blk.2.attn_k.weight is 1 x 33 x 64, want 32 x 64");
    arena_release(&arena);
}
