/* Names of tensors in a GGUF file and in a folder, and a text with those of one in the place of the
 * other's. */
#pragma once

#include "plugin/base/buf.h"
#include "plugin/model/plan.h"

#include <stdio.h>
#include <string.h>

enum which { ALL, WITHOUT_POST_NORMS, WITH_POST_NORMS, SEPARATE, FUSED }; /* families */

/* What Hugging Face's code calls a part of a GGUF file's name, the longer ones first. */
static const struct {
    const char *part[2]; /* by enum naming */
    enum which which;
} names[] = {
    {{"blk.", "model.layers."}, ALL},
    {{"per_layer_token_embd.", "model.embed_tokens_per_layer."}, ALL},
    {{"per_layer_model_proj.", "model.per_layer_model_projection."}, ALL},
    {{"per_layer_proj_norm.", "model.per_layer_projection_norm."}, ALL},
    {{"inp_gate.", "per_layer_input_gate."}, ALL},
    {{"post_norm.", "post_per_layer_input_norm."}, ALL},
    {{"layer_output_scale.weight", "layer_scalar"}, ALL},
    {{"attn_q_norm.", "self_attn.q_norm."}, ALL},
    {{"attn_k_norm.", "self_attn.k_norm."}, ALL},
    {{"attn_norm.", "input_layernorm."}, ALL},
    {{"attn_q.", "self_attn.q_proj."}, ALL},
    {{"attn_k.", "self_attn.k_proj."}, ALL},
    {{"attn_v.", "self_attn.v_proj."}, ALL},
    {{"attn_output.", "self_attn.o_proj."}, ALL},
    {{"ffn_norm.", "post_attention_layernorm."}, WITHOUT_POST_NORMS},
    {{"ffn_norm.", "pre_feedforward_layernorm."}, WITH_POST_NORMS},
    {{"post_attention_norm.", "post_attention_layernorm."}, WITH_POST_NORMS},
    {{"post_ffw_norm.", "post_feedforward_layernorm."}, WITH_POST_NORMS},
    {{"ffn_gate.", "mlp.gate_proj."}, ALL},
    {{"attn_qkv.", "self_attn.qkv_proj."}, ALL},
    {{"ffn_up.", "mlp.up_proj."}, SEPARATE},
    {{"ffn_up.", "mlp.gate_up_proj."}, FUSED},
    {{"ffn_down.", "mlp.down_proj."}, ALL},
    {{"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"}, ALL},
    {{"ffn_gate_inp.", "mlp.gate."}, ALL},
    {{"ffn_gate_shexp.", "mlp.shared_experts.gate_proj."}, ALL},
    {{"ffn_up_shexp.", "mlp.shared_experts.up_proj."}, ALL},
    {{"ffn_down_shexp.", "mlp.shared_experts.down_proj."}, ALL},
    {{"ffn_gate_inp_shexp.", "mlp.shared_expert_gate."}, ALL},
    {{"ffn_gate_exps.weight[0]", "mlp.experts.0.gate_proj.weight"}, ALL},
    {{"ffn_up_exps.weight[0]", "mlp.experts.0.up_proj.weight"}, ALL},
    {{"ffn_down_exps.weight[0]", "mlp.experts.0.down_proj.weight"}, ALL},
    {{"proj.", "per_layer_projection."}, ALL},
    {{"token_embd.", "model.embed_tokens."}, ALL},
    {{"output_norm.", "model.norm."}, ALL},
    {{"output.", "lm_head."}, ALL},
};

/* Whether a family has its own name for that. */
static bool has_own(const struct arch *arch, const char *row)
{
    for (const struct arch_name *n = arch->names->names; n->row; n++)
        if (strcmp(n->row, row) == 0)
            return true;
    return false;
}

#define PAIRS_MOST 48

/* A name's part in files and in folders. */
struct pair {
    char part[2][64]; /* by enum naming */
};

static bool is_of(const struct arch *arch, enum which which)
{
    return which != (arch->post_norm ? WITHOUT_POST_NORMS : WITH_POST_NORMS) &&
           which != (arch->fused || arch->fused_up ? SEPARATE : FUSED);
}

static void put_pair(struct pair *pair, const char *file, const char *root, const char *folder)
{
    snprintf(pair->part[NAMING_GGUF], sizeof pair->part[0], "%s", file);
    snprintf(pair->part[NAMING_HUGGING_FACE], sizeof pair->part[0], "%s%s", root, folder);
}

/* Of a family with names of its own: what is of no layer has the root before it. */
static int own_pairs(const struct arch *arch, struct pair pair[PAIRS_MOST])
{
    const struct arch_names *own = arch->names;
    int n = 0;
    put_pair(&pair[n++], "blk.", own->root, own->layer);
    for (const struct arch_name *name = own->names; name->row; name++) {
        char file[64], folder[64];
        bool is_outside = strncmp(name->row, "token", 5) == 0 ||
                          strcmp(name->row, "output_norm") == 0 ||
                          strcmp(name->row, "position_embd") == 0;
        const char *number = strstr(name->folder, "%d");
        snprintf(file, sizeof file, number ? "%s.weight[0]" : "%s.",
                 name->gguf ? name->gguf : name->row);
        snprintf(folder, sizeof folder, "%s.", name->folder);
        if (strcmp(name->row, "exp_probs_b") == 0)
            snprintf(folder, sizeof folder, "%s_", name->folder);
        if (number)
            snprintf(folder, sizeof folder, "%.*s0%s.weight", (int)(number - name->folder),
                     name->folder, number + 2);
        put_pair(&pair[n++], file, is_outside ? own->root : "", folder);
    }
    put_pair(&pair[n++], "output.", "", "lm_head.");
    /* The others are Llama's. */
    for (size_t i = 0; i < COUNT_OF(names) && n < PAIRS_MOST; i++)
        if (is_of(arch, names[i].which) &&
            !(has_own(arch, "ffn_gate_inp") && strncmp(names[i].part[1], "mlp.", 4) == 0))
            put_pair(&pair[n++], names[i].part[NAMING_GGUF], "", names[i].part[1]);
    return n;
}

static int pairs_of(const struct arch *arch, struct pair pair[PAIRS_MOST])
{
    int n = 0;
    if (arch->names)
        return own_pairs(arch, pair);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (is_of(arch, names[i].which))
            put_pair(&pair[n++], names[i].part[NAMING_GGUF], "",
                     names[i].part[NAMING_HUGGING_FACE]);
    return n;
}

/* text with every name in it replaced by the other naming's. */
static void rename_all(const struct arch *arch, const char *text, enum naming from, enum naming to,
                       struct buf *out)
{
    struct pair pair[PAIRS_MOST];
    const int n = pairs_of(arch, pair);
    while (*text) {
        int i = 0;
        while (i < n && strncmp(text, pair[i].part[from], strlen(pair[i].part[from])) != 0)
            i++;
        buf_put_text(out, i < n ? pair[i].part[to] : "");
        if (i == n)
            buf_put_char(out, *text);
        text += i < n ? strlen(pair[i].part[from]) : 1;
    }
}
