/* Tensors that files have and code leaves out. */
#include "weight_item.h"

#include "scheme.h"

#include <stdio.h>
#include <string.h>

/* As the files name a layer; those of a text model in one that also sees are longer there. */
static void layer_prefix(enum naming naming, const struct scheme *scheme, int32_t l, char out[64])
{
    static const char root[] = "model.";
    const char *outer = scheme->outer ? scheme->outer : "";
    const size_t inner = scheme->outer ? strlen(scheme->inner) : 0; /* of root, or nothing */
    if (naming == NAMING_GGUF)
        (void)snprintf(out, 64, "blk.%d.", l);
    else
        (void)snprintf(out, 64, "%s%slayers.%d.", outer, root + inner, l);
}

static bool begins(struct str text, const char *with)
{
    const size_t n = strlen(with);
    return text.len >= n && memcmp(text.ptr, with, n) == 0;
}

/* Keys and values of a layer that attends to those of another. */
static bool is_shared_away(const struct hparams *h, enum naming naming, const struct scheme *scheme,
                           struct str name)
{
    static const char *const parts[][4] = {
        [NAMING_GGUF] = {"attn_k.", "attn_v.", "attn_k_norm.", "attn_v_norm."},
        [NAMING_HUGGING_FACE] = {"self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm.",
                                 "self_attn.v_norm."}};
    for (int32_t l = h->L - h->n_shared; l < h->L; l++) {
        char prefix[64];
        layer_prefix(naming, scheme, l, prefix);
        if (!begins(name, prefix))
            continue;
        const size_t skip = strlen(prefix);
        const struct str rest = {name.ptr + skip, name.len - skip};
        for (size_t i = 0; i < COUNT_OF(parts[0]); i++)
            if (begins(rest, parts[naming][i]))
                return true;
    }
    return false;
}

/* What code of old versions kept beside the weights and made anew from config.json. */
static bool is_known_buffer(enum naming naming, struct str name)
{
    static const char *const ends[] = {
        ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".attn.bias",
        ".attn.masked_bias",    ".attention.bias",        ".attention.masked_bias"};
    for (size_t i = 0; naming == NAMING_HUGGING_FACE && i < COUNT_OF(ends); i++) {
        size_t len = strlen(ends[i]);
        if (name.len > len && memcmp(name.ptr + name.len - len, ends[i], len) == 0)
            return true;
    }
    return false;
}

bool weights_leave_out(const struct hparams *h, enum naming naming, const struct scheme *scheme,
                       struct str name)
{
    return is_known_buffer(naming, name) || is_shared_away(h, naming, scheme, name);
}
