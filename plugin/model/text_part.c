#include "text_part.h"

#include "checkpoint.h"

#include <string.h>

/* A kind of model by its model_type. */
struct seeing {
    const char *model_type;
    const char *text_type; /* model_type of its text model; NULL: as that says */
    const char *missing;   /* numbers that its text model has unless it says others, JSON */
};

static const struct seeing rows[] = {
    {"gemma3", "gemma3_text",
     "{\"vocab_size\": 262208, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
     "\"head_dim\": 256, \"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-6, "
     "\"query_pre_attn_scalar\": 256, \"sliding_window\": 4096}"},
    {"gemma4", "gemma4_text",
     "{\"vocab_size\": 262144, \"hidden_size\": 2304, \"intermediate_size\": 9216, "
     "\"num_hidden_layers\": 30, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
     "\"head_dim\": 256, \"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-6, "
     "\"sliding_window\": 512, \"hidden_size_per_layer_input\": 256}"},
    {"gemma4_unified", "gemma4_unified_text",
     "{\"vocab_size\": 262144, \"hidden_size\": 2304, \"intermediate_size\": 9216, "
     "\"num_hidden_layers\": 30, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
     "\"head_dim\": 256, \"max_position_embeddings\": 262144, \"rms_norm_eps\": 1e-6, "
     "\"sliding_window\": 1024}"},
    {"mistral3", NULL, "{}"},
    {"qwen2_vl", "qwen2", "{}"},
    {"qwen2_5_vl", "qwen2", "{}"},
    {"qwen3_vl", "qwen3", "{}"},
};

static const struct seeing *find_row(const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type && i < COUNT_OF(rows); i++)
        if (strcmp(type, rows[i].model_type) == 0)
            return &rows[i];
    return NULL;
}

/* ---- Numbers */

/* The output head is the embedding if either says so: text models may say what is not theirs to. */
static int take_tied(json_t *text, const json_t *whole)
{
    static const char key[] = "tie_word_embeddings";
    json_t *tied = json_object_get(whole, key);
    const bool counts = tied && (json_is_true(tied) || !json_object_get(text, key));
    return counts ? json_object_set(text, key, tied) : 0;
}

/* The text model's config.json, owned by the caller; NULL: no memory. */
static json_t *config_of(const struct seeing *row, const json_t *whole)
{
    const json_t *part = json_object_get(whole, "text_config");
    json_t *text = json_deep_copy(json_is_object(part) ? part : whole);
    json_t *missing = json_loads(row->missing, 0, NULL);
    int failed =
        !text || !missing || json_object_update_missing(text, missing) || take_tied(text, whole);
    if (!failed && row->text_type)
        failed = json_object_set_new(text, "model_type", json_string(row->text_type));
    if (!failed)
        (void)json_object_del(text, "architectures"); /* of the whole */
    json_decref(missing);
    if (!failed)
        return text;
    json_decref(text);
    return NULL;
}

/* ---- Tensors */

/* What names of the text model begin with in a file, and by themselves. Those of today, of up to
 * transformers 4.51, and of a text model that has no part of its own. */
static const struct {
    const char *outer, *inner;
} prefixes[] = {{"model.language_model.", "model."}, {"language_model.", ""}, {"", ""}};

static bool begins(struct str text, const char *prefix)
{
    const size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.ptr, prefix, len) == 0;
}

static bool is_of_text(struct str name)
{
    static const char *const begin[] = {"model.layers.",
                                        "model.embed_tokens.",
                                        "model.embed_tokens_per_layer.",
                                        "model.per_layer_model_projection.",
                                        "model.per_layer_projection_norm.",
                                        "model.norm.",
                                        "lm_head."};
    for (size_t i = 0; i < COUNT_OF(begin); i++)
        if (begins(name, begin[i]))
            return true;
    return false;
}

/* The name of a tensor in a text model: in the arena, or the file's; ptr NULL: no memory; len 0: it
 * is of another part. *prefix: which of prefixes it has. */
static struct str inner_name(struct str name, struct arena *arena, size_t *prefix)
{
    *prefix = 0;
    while (!begins(name, prefixes[*prefix].outer))
        ++*prefix;
    const size_t skip = strlen(prefixes[*prefix].outer), more = strlen(prefixes[*prefix].inner);
    struct str inner = {name.ptr + skip, name.len - skip};
    if (more) {
        char *text = arena_take(arena, more + inner.len + 1);
        if (!text)
            return (struct str){NULL, 0};
        memcpy(text, prefixes[*prefix].inner, more);
        memcpy(text + more, inner.ptr, inner.len);
        inner = (struct str){text, more + inner.len};
    }
    return is_of_text(inner) ? inner : (struct str){name.ptr, 0};
}

static int32_t index_one(struct checkpoint *c, uint64_t i, struct arena *arena, struct err *err)
{
    struct tensors *t = &c->tensors;
    size_t prefix;
    char shown[SHOWN_TEXT];
    const struct str inner = inner_name(t->tensor[i].name, arena, &prefix);
    if (!inner.ptr)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of tensors");
    t->tensor[i].is_apart = !inner.len;
    if (!inner.len)
        return INFLIGHT_OK;
    if (begins(inner, "model.")) {
        c->scheme.outer = prefixes[prefix].outer;
        c->scheme.inner = prefixes[prefix].inner;
    }
    if (hash_find(&t->by_name, inner.ptr, inner.len, -1) >= 0)
        return err_set(err, INFLIGHT_E_MODEL, "two tensors are %s of the text model",
                       shown_text(inner, shown));
    if (!hash_put(&t->by_name, inner.ptr, inner.len, (int32_t)i))
        return err_set(err, INFLIGHT_E_INTERNAL, "tensor %llu: the map is full",
                       (unsigned long long)i + 1);
    return INFLIGHT_OK;
}

int32_t text_part_find(struct checkpoint *c, struct arena *arena, struct err *err)
{
    const struct seeing *row = find_row(c->config);
    if (!row)
        return INFLIGHT_OK;
    json_t *text = config_of(row, c->config);
    if (!text)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the text model's config.json");
    c->whole = c->config;
    c->config = text;
    if (!hash_init(&c->tensors.by_name, arena, c->tensors.n))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of tensors");
    for (uint64_t i = 0; i < c->tensors.n; i++)
        if (index_one(c, i, arena, err))
            return err->code;
    return INFLIGHT_OK;
}
