/* Layers of two kinds, of which those that see a window, the near ones, have heads of another
 * number and width than the others; the last layers, which may attend to keys and values of layers
 * before them; and embeddings that each layer has of its own. Gemma 4. */
#include "hparams.h"

#include "../../kernels/kv_type.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDEST_OWN 8192 /* P at most: L of them in a row stay below 2^24 */

/* What follows from the numbers, and what must hold between them. */
static int32_t finish(struct hparams *h, struct err *err)
{
    const int32_t heads[] = {h->K, h->near_K}, dim[] = {h->dim, h->near_dim};
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        if (heads[i] < 1 || h->H % heads[i])
            return err_set(err, INFLIGHT_E_MODEL, "%d query heads do not share %d key/value heads",
                           h->H, heads[i]);
        if (dim[i] < 2 || dim[i] % 2 || dim[i] > 2 * FREQ_MAX)
            return err_set(err, INFLIGHT_E_MODEL, "head width %d is not an even number in 2 .. %d",
                           dim[i], 2 * FREQ_MAX);
    }
    for (int32_t l = 0; l < h->L; l++) {
        if (hparams_kv_layer(h, l) < 0)
            return err_set(err, INFLIGHT_E_MODEL,
                           "layer %d shares keys and values, and none of its kind has any", l);
        h->kv_kind[l] = hparams_is_shared(h, l) ? KV_NONE : h->slides[l] ? KV_NEAR : KV_OWN;
    }
    h->rotary_dim = h->dim;
    return INFLIGHT_OK;
}

/* ---- config.json */

/* A number, or what is missing: *value as it was. */
static int32_t read_number(const json_t *object, const char *key, int32_t least, int32_t most,
                           int32_t *value, struct err *err)
{
    const json_t *number = json_object_get(object, key);
    if (!config_has(object, key))
        return INFLIGHT_OK;
    if (!json_is_integer(number) || json_integer_value(number) < least ||
        json_integer_value(number) > most)
        return err_set(err, INFLIGHT_E_MODEL, "%s must be an integer in %d .. %d", key, least,
                       most);
    *value = (int32_t)json_integer_value(number);
    return INFLIGHT_OK;
}

static int32_t refuse_more(const json_t *config, struct err *err)
{
    if (config_is_on(config, "enable_moe_block"))
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "enable_moe_block is set: experts beside the feed-forward part are not "
                       "served");
    return INFLIGHT_OK;
}

/* Of one layer, where it differs from the numbers of all. */
static int32_t read_layer(const json_t *layers, int32_t l, int32_t *K, int32_t *dim,
                          struct err *err)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", l);
    const json_t *own = json_object_get(layers, number);
    const size_t known = config_has(own, "head_dim") + config_has(own, "num_key_value_heads");
    if (json_object_size(own) != known)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "per_layer_config: layer %d has more of its own than head_dim and "
                       "num_key_value_heads: not served",
                       l);
    return read_number(own, "num_key_value_heads", 1, 1024, K, err)
               ? err->code
               : read_number(own, "head_dim", 2, 2 * FREQ_MAX, dim, err);
}

/* As transformers 5.20 and later have it; those of a kind must be alike. */
static int32_t read_layers(struct hparams *h, const json_t *layers, struct err *err)
{
    int32_t K = 0, dim = 0; /* of those that see all */
    for (int32_t l = 0; l < h->L; l++) {
        int32_t own_K = h->near_K, own_dim = h->near_dim;
        if (read_layer(layers, l, &own_K, &own_dim, err))
            return err->code;
        if (!h->slides[l] && !dim)
            K = own_K, dim = own_dim;
        if (h->slides[l] ? own_K != h->near_K || own_dim != h->near_dim
                         : own_K != K || own_dim != dim)
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "per_layer_config: layer %d is not as the others of its kind: not "
                           "served",
                           l);
    }
    h->K = dim ? K : h->K;
    h->dim = dim ? dim : h->dim;
    return INFLIGHT_OK;
}

/* The numbers that stand among those of all are the near ones'. */
static int32_t read_heads(struct hparams *h, const json_t *config, struct err *err)
{
    const json_t *layers = json_object_get(config, "per_layer_config");
    h->near_K = h->K;
    h->near_dim = h->dim;
    if (json_is_object(layers))
        return read_layers(h, layers, err);
    h->dim = 512; /* transformers' where nothing is said */
    if (h->values_of_keys && read_number(config, "num_global_key_value_heads", 1, 1024, &h->K, err))
        return err->code;
    return read_number(config, "global_head_dim", 2, 2 * FREQ_MAX, &h->dim, err);
}

int32_t hparams_kinds_config(struct hparams *h, const json_t *config, struct err *err)
{
    int32_t V = h->V;
    h->slides[h->L - 1] = false; /* transformers: whatever layer_types says */
    h->values_of_keys = config_is_on(config, "attention_k_eq_v");
    h->E = h->U = 0;
    if (refuse_more(config, err) ||
        read_number(config, "num_kv_shared_layers", 0, h->L, &h->n_shared, err) ||
        read_number(config, "hidden_size_per_layer_input", 0, WIDEST_OWN, &h->P, err) ||
        read_heads(h, config, err))
        return err->code;
    if (h->P && read_number(config, "vocab_size_per_layer_input", 1, 1 << 24, &V, err))
        return err->code;
    if (V != h->V)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "vocab_size_per_layer_input is %d, vocab_size %d: not served", V, h->V);
    if (config_is_on(config, "use_double_wide_mlp"))
        h->wide_F = 2 * h->F;
    return finish(h, err);
}

/* ---- A GGUF file */

static const char *full_key(const struct hparams *h, const char *name, char key[96])
{
    (void)snprintf(key, 96, "%s.%s", h->arch, name);
    return key;
}

static int32_t read_key(const struct hparams *h, const struct gguf *g, const char *name,
                        int32_t most, int32_t *value, struct err *err)
{
    char key[96];
    int64_t number = *value;
    if (!gguf_find(g, full_key(h, name, key)))
        return INFLIGHT_OK;
    if (!gguf_int(g, key, &number) || number < 0 || number > most)
        return err_set(err, INFLIGHT_E_MODEL, "%s must be an integer in 0 .. %d", key, most);
    *value = (int32_t)number;
    return INFLIGHT_OK;
}

/* A number for each layer, those of a kind alike, or one for all. is_second: which layers take
 * *second; the others take *first, which is read. */
static int32_t read_list(const struct hparams *h, const struct gguf *g, const char *name,
                         bool (*is_second)(const struct hparams *h, int32_t l), int32_t most,
                         int32_t *first, int32_t *second, struct err *err)
{
    char key[96];
    const struct gguf_value *list = gguf_find(g, full_key(h, name, key));
    int32_t *const kind[] = {first, second};
    bool seen[] = {false, false};
    *second = *first;
    if (!gguf_is_integers(list))
        return INFLIGHT_OK;
    if (list->n != (uint64_t)h->L)
        return err_set(err, INFLIGHT_E_MODEL, "%s is not a list of %d integers", key, h->L);
    for (int32_t l = 0; l < h->L; l++) {
        const int i = is_second(h, l);
        const int64_t value = gguf_int_at(list, (uint64_t)l);
        if (value < 1 || value > most)
            return err_set(err, INFLIGHT_E_MODEL, "%s: that of layer %d is not in 1 .. %d", key, l,
                           most);
        if (seen[i] && value != *kind[i])
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "%s: layer %d is not as the others of its kind: not served", key, l);
        *kind[i] = (int32_t)value;
        seen[i] = true;
    }
    return INFLIGHT_OK;
}

static bool is_near(const struct hparams *h, int32_t l)
{
    return h->slides[l];
}

/* Widths of a near head by three keys, all the same. */
static int32_t read_near_dim(struct hparams *h, const struct gguf *g, struct err *err)
{
    static const char *const names[] = {"attention.key_length_swa", "attention.value_length_swa",
                                        "rope.dimension_count_swa"};
    h->near_dim = h->dim;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int32_t dim = h->near_dim;
        char key[96];
        if (read_key(h, g, names[i], 2 * FREQ_MAX, i ? &dim : &h->near_dim, err))
            return err->code;
        if (i && dim != h->near_dim)
            return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %d, keys have %d: not served",
                           full_key(h, names[i], key), dim, h->near_dim);
    }
    return INFLIGHT_OK;
}

/* No key says it: the values of the first layer that sees all are not there. */
static bool lacks_values(const struct hparams *h, const struct tensors *tensors)
{
    int32_t l = 0;
    char name[32];
    while (l < h->L && h->slides[l])
        l++;
    (void)snprintf(name, sizeof name, "blk.%d.attn_v.weight", l);
    return l < h->L && !tensors_find(tensors, name);
}

int32_t hparams_kinds_gguf(struct hparams *h, const struct checkpoint *c, struct err *err)
{
    const struct gguf *g = &c->gguf;
    if (h->E)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s.expert_count is %d: experts beside the feed-forward part are not served",
                       h->arch, h->E);
    if (read_key(h, g, "attention.shared_kv_layers", h->L, &h->n_shared, err) ||
        read_key(h, g, "embedding_length_per_layer_input", WIDEST_OWN, &h->P, err) ||
        read_near_dim(h, g, err) ||
        read_list(h, g, "attention.head_count_kv", is_near, 1024, &h->K, &h->near_K, err) ||
        read_list(h, g, "feed_forward_length", hparams_is_shared, 1 << 20, &h->F, &h->wide_F, err))
        return err->code;
    h->values_of_keys = lacks_values(h, &c->tensors);
    return finish(h, err);
}
