/* Which tensors a model of two kinds of layers may have and must have, by weights_open: one layer
 * that sees a window, one that sees all and whose values are keys, and one of the first kind that
 * shares keys and values. */
#include "t.h"

#include "plugin/model/arch.h"
#include "plugin/model/scheme.h"
#include "plugin/model/weights.h"

#define TENSORS 80
enum { WIDTH = 64 };

static struct scheme unquantized;
static struct file file = {.path = "model"};

/* Of a layer that sees a window: names, values of a row, and rows. */
static const struct {
    const char *name[2]; /* by enum naming */
    int64_t k, n;
} rows[] = {
    {{"attn_norm.weight", "input_layernorm.weight"}, WIDTH, 1},
    {{"attn_q.weight", "self_attn.q_proj.weight"}, WIDTH, 32},
    {{"attn_q_norm.weight", "self_attn.q_norm.weight"}, 8, 1},
    {{"attn_k.weight", "self_attn.k_proj.weight"}, WIDTH, 16},
    {{"attn_k_norm.weight", "self_attn.k_norm.weight"}, 8, 1},
    {{"attn_v.weight", "self_attn.v_proj.weight"}, WIDTH, 16},
    {{"attn_output.weight", "self_attn.o_proj.weight"}, 32, WIDTH},
    {{"post_attention_norm.weight", "post_attention_layernorm.weight"}, WIDTH, 1},
    {{"ffn_norm.weight", "pre_feedforward_layernorm.weight"}, WIDTH, 1},
    {{"ffn_gate.weight", "mlp.gate_proj.weight"}, WIDTH, 96},
    {{"ffn_up.weight", "mlp.up_proj.weight"}, WIDTH, 96},
    {{"ffn_down.weight", "mlp.down_proj.weight"}, 96, WIDTH},
    {{"post_ffw_norm.weight", "post_feedforward_layernorm.weight"}, WIDTH, 1},
    {{"layer_output_scale.weight", "layer_scalar"}, 1, 1},
};

enum { KEYS = 3, KEY_NORM, VALUES }; /* among them */

static void add(struct tensors *ts, struct arena *arena, const char *name, int64_t k, int64_t n)
{
    struct tensor *t = &ts->tensor[ts->n];
    *t = (struct tensor){.fmt = FMT_f32, .n_dims = 2, .dim = {k, n, 1, 1, 1}};
    t->name.ptr = arena_copy_text(arena, name, strlen(name));
    t->name.len = strlen(name);
    hash_put(&ts->by_name, t->name.ptr, t->name.len, (int32_t)ts->n++);
}

static void make(struct tensors *ts, struct arena *arena, enum naming naming, bool has_waves)
{
    const bool is_file = naming == NAMING_GGUF;
    *ts = (struct tensors){.naming = naming, .file = &file};
    ts->tensor = arena_take_array(arena, TENSORS, sizeof *ts->tensor);
    hash_init(&ts->by_name, arena, TENSORS);
    add(ts, arena, is_file ? "token_embd.weight" : "model.embed_tokens.weight", WIDTH, 100);
    add(ts, arena, is_file ? "output_norm.weight" : "model.norm.weight", WIDTH, 1);
    if (has_waves)
        add(ts, arena, "rope_freqs.weight", 8, 1);
    for (int l = 0; l < 3; l++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            const bool is_key = i == KEYS || i == KEY_NORM || i == VALUES;
            const bool is_head = rows[i].k == 8, is_wide = l == 1;
            const int64_t k = rows[i].k * ((is_head || rows[i].k == 32) && is_wide ? 2 : 1);
            const int64_t n = rows[i].n * ((rows[i].n == 32 || rows[i].n == 16) && is_wide ? 2 : 1);
            char name[96];
            snprintf(name, sizeof name, is_file ? "blk.%d.%s" : "model.layers.%d.%s", l,
                     rows[i].name[naming]);
            if (!(l == 2 && is_key) && !(l == 1 && i == VALUES))
                add(ts, arena, name, k, n);
        }
}

static const struct hparams small = {.L = 3,
                                     .D = WIDTH,
                                     .F = 96,
                                     .H = 4,
                                     .K = 2,
                                     .dim = 16,
                                     .near_K = 2,
                                     .near_dim = 8,
                                     .n_shared = 1,
                                     .values_of_keys = true,
                                     .V = 100,
                                     .context = 32,
                                     .rotary_dim = 16,
                                     .turns_twice = true,
                                     .slides = {true, false, true},
                                     .window = 8,
                                     .logit_scale = 1};

/* more: one tensor beside them, or NULL. */
static int32_t open_with(enum naming naming, bool has_waves, const char *more, struct err *err)
{
    struct arena arena;
    struct tensors tensors;
    struct weights w;
    *err = (struct err){0};
    arena_init(&arena, &mem_system);
    make(&tensors, &arena, naming, has_waves);
    if (more)
        add(&tensors, &arena, more, WIDTH, 16);
    int32_t rc = weights_open(&w, &tensors, &unquantized, arch_find("gemma4"), &small, &arena, err);
    arena_release(&arena);
    return rc;
}

/* As files have them, and their code leaves them out. */
TEST(plan_kinds, keys_and_values_of_layers_that_share_them_are_passed_over)
{
    static const struct {
        const char *name[2];
        int32_t code;
    } more[] = {
        {{"blk.2.attn_k.weight", "model.layers.2.self_attn.k_proj.weight"}, 0},
        {{"blk.2.attn_v.weight", "model.layers.2.self_attn.v_proj.weight_scale"}, 0},
        {{"blk.2.attn_k_norm.weight", "model.layers.2.self_attn.v_norm.weight"}, 0},
        {{"blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight"}, INFLIGHT_E_UNSUPPORTED},
        {{"blk.2.attn_q.bias", "model.layers.2.self_attn.q_proj.bias"}, INFLIGHT_E_UNSUPPORTED},
        {{"blk.0.inp_gate.weight", "model.layers.0.per_layer_input_gate.weight"},
         INFLIGHT_E_UNSUPPORTED},
    };
    struct err err;
    for (int naming = NAMING_GGUF; naming <= NAMING_HUGGING_FACE; naming++) {
        CHECK_EQ(open_with((enum naming)naming, naming == NAMING_GGUF, NULL, &err), 0);
        for (size_t i = 0; i < COUNT_OF(more); i++) {
            CHECK_EQ(
                open_with((enum naming)naming, naming == NAMING_GGUF, more[i].name[naming], &err),
                more[i].code);
            CHECK(!more[i].code || strstr(err.text, more[i].name[naming]));
        }
    }
}

/* Names in the files of a model that also sees are longer than those by which tensors are found. */
TEST(plan_kinds, so_are_those_of_a_model_that_sees)
{
    struct err err;
    unquantized.outer = "model.language_model.";
    unquantized.inner = "model.";
    CHECK_EQ(open_with(NAMING_HUGGING_FACE, false,
                       "model.language_model.layers.2.self_attn.k_proj.weight", &err),
             0);
    CHECK_EQ(open_with(NAMING_HUGGING_FACE, false,
                       "model.language_model.layers.0.self_attn.k_proj.bias", &err),
             INFLIGHT_E_UNSUPPORTED);
    unquantized.outer = "language_model.";
    unquantized.inner = "";
    CHECK_EQ(open_with(NAMING_HUGGING_FACE, false,
                       "language_model.model.layers.2.self_attn.v_proj.weight", &err),
             0);
    unquantized = (struct scheme){0};
}

TEST(plan_kinds, waves_that_do_not_turn_are_a_tensor_of_a_file)
{
    struct err err;
    CHECK_EQ(open_with(NAMING_GGUF, false, NULL, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor rope_freqs.weight is missing");
}
