#include "ahead_part.h"

#include "arch.h"
#include "checkpoint.h"

#include <stdio.h>
#include <string.h>

/* Layers first .. end - 1 are such, by what names of layers begin with. */
struct ahead {
    const struct arch *arch; /* NULL: unknown */
    const char *layers;
    int64_t first, end;
};

static struct ahead of_file(const struct gguf *g)
{
    struct ahead a = {.layers = "blk."};
    struct str text;
    char id[32] = {0}, key[96];
    int64_t n = 0;
    if (!gguf_str(g, "general.architecture", &text) || text.len >= sizeof id)
        return a;
    memcpy(id, text.ptr, text.len);
    a.arch = arch_find(id);
    (void)snprintf(key, sizeof key, "%s.block_count", id);
    (void)gguf_int(g, key, &a.end);
    (void)snprintf(key, sizeof key, "%s.nextn_predict_layers", id);
    (void)gguf_int(g, key, &n);
    a.first = a.end - n;
    return a;
}

static struct ahead of_folder(const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    const json_t *n = json_object_get(config, "num_nextn_predict_layers");
    struct ahead a = {.layers = "model.layers."};
    a.arch = type ? arch_find_type(type) : NULL;
    a.first = json_integer_value(json_object_get(config, "num_hidden_layers"));
    a.end = a.first + json_integer_value(n ? n : json_object_get(config, "num_mtp_layers"));
    return a;
}

/* Whether a name is of one of the layers. */
static bool is_ahead(const struct ahead *a, struct str name)
{
    const size_t skip = strlen(a->layers);
    int64_t number = 0;
    size_t at = skip;
    if (name.len <= skip || memcmp(name.ptr, a->layers, skip) != 0)
        return false;
    for (; at < name.len && name.ptr[at] >= '0' && name.ptr[at] <= '9' && number < 100000; at++)
        number = 10 * number + (name.ptr[at] - '0');
    return at > skip && at < name.len && name.ptr[at] == '.' && number >= a->first &&
           number < a->end;
}

/* Those of ERNIE 4.5 have names of their own, whatever config.json says. */
static bool is_own(struct str name)
{
    static const char own[] = "model.mtp_";
    return name.len >= sizeof own - 1 && memcmp(name.ptr, own, sizeof own - 1) == 0;
}

void ahead_part_find(struct checkpoint *c)
{
    const struct ahead a = c->config ? of_folder(c->config) : of_file(&c->gguf);
    for (uint64_t i = 0; a.arch && a.arch->ahead && i < c->tensors.n; i++) {
        struct tensor *t = &c->tensors.tensor[i];
        t->is_apart |= is_ahead(&a, t->name) || is_own(t->name);
    }
}
