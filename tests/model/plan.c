/* Each architecture row -> the program it becomes, compared with golden/<id>.plan.
 * `make golden` writes the files anew: read the difference before committing it. */
#include "t.h"

#include "plugin/base/buf.h"
#include "plugin/model/plan.h"

#include <stdlib.h>

static const struct hparams small = {
    .L = 4,
    .D = 64,
    .F = 128,
    .H = 4,
    .K = 2,
    .dim = 16,
    .V = 256,
    .eps = 1e-5f,
    .rotary_scale = 1,
};

static size_t packed_bytes(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K)
{
    (void)config;
    return (size_t)N * fmt_row_bytes(fmt, K);
}

static const struct backend fake = {.name = "fake", .packed_bytes = packed_bytes};

/* A tensor directory as a file of this family would have it. */
static void add_tensor(struct gguf *g, struct arena *arena, const char *name, int64_t k, int64_t n)
{
    struct gguf_tensor *t = &g->tensor[g->n_tensors];
    *t = (struct gguf_tensor){.fmt = FMT_f32, .n_dims = 2, .dim = {k, n, 1, 1}};
    t->name.ptr = arena_copy_text(arena, name, strlen(name));
    t->name.len = strlen(name);
    hash_put(&g->by_name, t->name.ptr, t->name.len, (int32_t)g->n_tensors++);
}

static void add_layer(struct gguf *g, struct arena *arena, const struct arch *arch, int l)
{
    const struct hparams *h = &small;
    int64_t q = h->H * h->dim, kv = h->K * h->dim;
    const struct {
        const char *name;
        int64_t k, n;
        bool there;
    } rows[] = {
        {"attn_norm.weight", h->D, 1, true},
        {"attn_q.weight", h->D, q, true},
        {"attn_k.weight", h->D, kv, true},
        {"attn_v.weight", h->D, kv, true},
        {"attn_q.bias", q, 1, arch->qkv_bias},
        {"attn_k.bias", kv, 1, arch->qkv_bias},
        {"attn_v.bias", kv, 1, arch->qkv_bias},
        {"attn_q_norm.weight", h->dim, 1, arch->qk_norm},
        {"attn_k_norm.weight", h->dim, 1, arch->qk_norm},
        {"attn_output.weight", q, h->D, true},
        {"ffn_norm.weight", h->D, 1, true},
        {"ffn_gate.weight", h->D, h->F, true},
        {"ffn_up.weight", h->D, h->F, true},
        {"ffn_down.weight", h->F, h->D, true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", l, rows[i].name);
        if (rows[i].there)
            add_tensor(g, arena, name, rows[i].k, rows[i].n);
    }
}

static void make_directory(struct gguf *g, struct arena *arena, const struct arch *arch, bool tied)
{
    *g = (struct gguf){0};
    g->tensor = arena_take_array(arena, 100, sizeof *g->tensor);
    hash_init(&g->by_name, arena, 100);
    add_tensor(g, arena, "token_embd.weight", small.D, small.V);
    add_tensor(g, arena, "output_norm.weight", small.D, 1);
    if (!tied)
        add_tensor(g, arena, "output.weight", small.D, small.V);
    for (int l = 0; l < small.L; l++)
        add_layer(g, arena, arch, l);
}

/* Dumps the plan of a row into out; addresses are made up, nothing is loaded. */
static bool dump(const struct arch *arch, bool tied, struct buf *out)
{
    struct arena arena;
    struct gguf g;
    struct weights w;
    struct plan plan;
    struct plan_buffers buffers;
    struct device_config config = {0};
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&g, &arena, arch, tied);
    bool ok = !weights_open(&w, &g, arch, &small, &arena, &err) &&
              !weights_measure(&w, &fake, &config, &err);
    if (ok) {
        static _Alignas(64) char somewhere[1];
        weights_place(&w, (void *)0x10000);
        plan_measure(&buffers, &small, 8, 2);
        struct plan_source source = {arch, &small, &w, &buffers, somewhere};
        ok = !plan_reserve(&plan, small.L, &arena, &err);
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

TEST(plan, each_row_becomes_its_golden_program)
{
    for (const struct arch *const *row = arch_list; *row; row++) {
        struct buf out;
        char path[128];
        buf_init(&out, &mem_system);
        snprintf(path, sizeof path, "tests/model/golden/%s.plan", (*row)->id);
        if (dump(*row, true, &out))
            compare(path, &out);
        buf_release(&out);
    }
}

TEST(plan, an_output_tensor_unties_the_head)
{
    struct buf out;
    buf_init(&out, &mem_system);
    if (dump(arch_list[0], false, &out)) {
        buf_put_char(&out, '\0');
        CHECK(strstr(out.ptr, "| output.weight (256 64)"));
    }
    buf_release(&out);
}

TEST(plan, a_missing_tensor_is_named)
{
    struct arena arena;
    struct gguf g;
    struct weights w;
    struct err err = {0};
    const struct arch *qwen3 = arch_find("qwen3");
    arena_init(&arena, &mem_system);
    make_directory(&g, &arena, arch_list[0], true);
    CHECK_EQ(weights_open(&w, &g, qwen3, &small, &arena, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor blk.0.attn_q_norm.weight is missing");
    arena_release(&arena);
}

TEST(plan, a_tensor_that_nothing_reads_is_refused)
{
    struct arena arena;
    struct gguf g;
    struct weights w;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&g, &arena, arch_find("llama"), true);
    add_tensor(&g, &arena, "rope_freqs.weight", small.dim / 2, 1);
    CHECK_EQ(weights_open(&w, &g, arch_find("llama"), &small, &arena, &err), 0);
    add_tensor(&g, &arena, "blk.3.attn_output.bias", small.D, 1);
    CHECK_EQ(weights_open(&w, &g, arch_find("llama"), &small, &arena, &err),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "tensor blk.3.attn_output.bias is not one of architecture llama as it is "
                         "served here");
    arena_release(&arena);
}

TEST(plan, a_wrong_shape_is_refused_with_both)
{
    struct arena arena;
    struct gguf g;
    struct weights w;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    make_directory(&g, &arena, arch_list[0], true);
    g.tensor[hash_find(&g.by_name, "blk.2.attn_k.weight", 19, 0)].dim[1] = 33;
    CHECK_EQ(weights_open(&w, &g, arch_list[0], &small, &arena, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor blk.2.attn_k.weight is 64 x 33 x 1, want 64 x 32");
    arena_release(&arena);
}
