/* Tensors that files have and code leaves out: keys and values of layers that attend to those of
 * another. */
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

bool weights_shared_away(const struct hparams *h, enum naming naming, const struct scheme *scheme,
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
