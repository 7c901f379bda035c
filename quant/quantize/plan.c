#include "plan.h"

#include "modelopt.h"

#include "../../plugin/model/arch.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last word of a module that is a matrix of a layer, in the families whose matrices are
 * torch.nn.Linear. */
static const char *const linear_names[] = {
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_up_proj",
    "w1",
    "w2",
    "w3",
    "dense",
    "fc1",
    "fc2",
    "out_proj",
    "Wqkv",
    "fc_in",
    "fc_out",
    "query_key_value",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "c_fc",
    "c_proj",
    "input_linear",
    "output_linear",
    "per_layer_input_gate",
    "per_layer_projection",
};

static bool ends_with(struct str text, const char *end)
{
    size_t n = strlen(end);
    return text.len >= n && memcmp(text.ptr + text.len - n, end, n) == 0;
}

/* GPT-NeoX calls it otherwise, in files and up to transformers 4. */
static bool is_head(struct str module)
{
    return ends_with(module, "lm_head") || ends_with(module, "embed_out");
}

/* Which experts a token meets, or how much of one: it is small, and an error of it is another
 * expert. */
static bool is_router(struct str module)
{
    return ends_with(module, ".gate") || ends_with(module, ".router.layer") ||
           ends_with(module, ".shared_expert_gate");
}

/* What a token's embedding adds to those of all layers: a matrix of none of them. */
static bool is_of_no_layer(struct str module)
{
    return ends_with(module, ".per_layer_model_projection");
}

/* Whether a module's last word is one of the n names. */
static bool is_called(struct str module, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(names[i]);
        if (ends_with(module, names[i]) && module.len > len &&
            module.ptr[module.len - len - 1] == '.')
            return true;
    }
    return false;
}

/* The module of a matrix's name, or NULL in *out: it is none of a layer, nor the head. */
static int32_t find_module(const struct tensor *t, struct arena *arena, const char **out,
                           struct err *err)
{
    struct str name = t->name;
    *out = NULL;
    if (t->is_apart || t->n_dims != 2 || !ends_with(name, ".weight"))
        return INFLIGHT_OK;
    name.len -= strlen(".weight");
    if (!is_head(name) && !is_router(name) && !is_of_no_layer(name) &&
        !is_called(name, linear_names, COUNT_OF(linear_names)))
        return INFLIGHT_OK;
    if (name.len > MODULE_MOST)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "a module's name has %zu bytes, at most %d",
                       name.len, MODULE_MOST);
    *out = arena_copy_text(arena, name.ptr, name.len);
    return *out ? INFLIGHT_OK : err_set(err, INFLIGHT_E_NOMEM, "no memory for the names");
}

/* The first word that is a number, as 3 in "transformer.h.3.ln_1.weight"; LAYER_HEAD, or -1. */
static int32_t find_layer(struct str name)
{
    const char *at = name.ptr, *end = name.ptr + name.len;
    if (ends_with(name, ".weight") && is_head((struct str){name.ptr, name.len - strlen(".weight")}))
        return LAYER_HEAD;
    while (at < end) {
        int32_t layer = 0;
        const char *word = at;
        for (; at < end && *at >= '0' && *at <= '9' && layer < 100000; at++)
            layer = layer * 10 + (*at - '0');
        if (at > word && at < end && *at == '.')
            return layer;
        while (at < end && *at++ != '.')
            ;
    }
    return -1;
}

static int compare_layers(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a;
    const struct tensor *y = *(const struct tensor *const *)b;
    const int32_t one = x->is_apart ? -1 : find_layer(x->name);
    const int32_t other = y->is_apart ? -1 : find_layer(y->name);
    if (one != other)
        return one < other ? -1 : 1;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool stays(const char *module, const struct quantize_params *params)
{
    const struct str name = {module, strlen(module)};
    if ((is_head(name) && !params->head) || is_router(name) || is_of_no_layer(name))
        return true;
    for (int32_t i = 0; i < params->n_keep; i++)
        if (fnmatch(params->keep[i], module, 0) == 0)
            return true;
    return false;
}

static enum fmt wished(const struct quantize_params *params)
{
    if (params->recipe->fmt != FMT_int4_128)
        return params->recipe->fmt;
    return params->group == 32 ? FMT_int4_32 : params->group == 64 ? FMT_int4_64 : FMT_int4_128;
}

/* In a recipe of weights alone int8 is a format of weights alone, too. */
static bool is_weights_alone(const struct quantize_params *params)
{
    return params->recipe->fmt == FMT_int4_128 || params->recipe->fmt == FMT_q8_0;
}

enum fmt plan_finer(const struct output *o, int32_t level)
{
    static const enum fmt finer[FINER_MOST] = {FMT_int4_64, FMT_int4_32, FMT_int8};
    const struct packing *p = &o->packing;
    const bool is_int4 = p->fmt == FMT_int4_32 || p->fmt == FMT_int4_64 || p->fmt == FMT_int4_128;
    const enum fmt fmt = finer[level - 1];
    if (!is_int4 || (fmt != FMT_int8 && fmt_info[fmt].n >= fmt_info[p->fmt].n))
        return FMT_COUNT;
    return p->K % fmt_info[fmt].n ? FMT_COUNT : fmt;
}

void plan_format(struct output *o, enum fmt fmt, const struct quantize_params *params)
{
    const struct tensor *t = o->from;
    o->is_encoded = true;
    o->packing = (struct packing){.fmt = fmt,
                                  .N = t->dim[1],
                                  .K = t->dim[0],
                                  .convention = params->convention,
                                  .has_one_scale = params->recipe->is_static,
                                  .is_symmetric = params->is_symmetric,
                                  .is_bf16 = t->fmt == FMT_bf16,
                                  .is_in_words = is_weights_alone(params)};
    pack_plan(&o->packing);
}

static int32_t plan_matrix(struct output *o, const struct quantize_params *params, struct err *err)
{
    const struct tensor *t = o->from;
    if (t->fmt != FMT_f32 && t->fmt != FMT_f16 && t->fmt != FMT_bf16)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s.weight is not a matrix of floats: the model is quantized already",
                       o->module);
    enum fmt fmt = recipe_fmt(wished(params), t->dim[0]);
    if (fmt == FMT_COUNT)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s has rows of %lld values, which do not consist of %s's groups; --keep "
                       "leaves it as it is",
                       o->module, (long long)t->dim[0], params->recipe->name);
    plan_format(o, fmt, params);
    return INFLIGHT_OK;
}

static void add_scale(struct output *o, const char *suffix, bool is_of_parent)
{
    o->scale[o->n_scales++] = (struct scale){.suffix = suffix, .is_of_parent = is_of_parent};
}

/* Keys and values have scales also where the matrix that gives them stays as it is. */
static void plan_scales(struct output *o, const struct quantize_params *params)
{
    static const struct {
        const char *module, *suffix;
    } given[] = {{".k_proj", "k_scale"},          {".v_proj", "v_scale"},
                 {".qkv_proj", "k_scale"},        {".qkv_proj", "v_scale"},
                 {".query_key_value", "k_scale"}, {".Wqkv", "k_scale"},
                 {".query_key_value", "v_scale"}, {".Wqkv", "v_scale"}};
    if (!params->recipe->is_static || o->layer < 0)
        return;
    if (o->is_encoded)
        add_scale(o, "input_scale", false);
    for (size_t i = 0; i < COUNT_OF(given); i++)
        if (ends_with((struct str){o->module, strlen(o->module)}, given[i].module))
            add_scale(o, given[i].suffix, params->convention == COMPRESSED_TENSORS);
}

int output_scale_name(const struct output *o, const struct scale *s, char *out, size_t bytes)
{
    const char *dot = s->is_of_parent ? strrchr(o->module, '.') : NULL;
    const size_t len = dot ? (size_t)(dot - o->module) : strlen(o->module);
    return snprintf(out, bytes, "%.*s.%s", (int)len, o->module, s->suffix);
}

uint64_t output_bytes(const struct output *o)
{
    uint64_t bytes = (uint64_t)o->n_scales * sizeof o->scale->value;
    if (!o->is_encoded)
        return bytes + o->from->bytes;
    for (int32_t i = 0; i < o->packing.n; i++)
        bytes += o->packing.tensor[i].bytes;
    return bytes;
}

/* In order, each file as long as it may be. */
void plan_place(struct quantize_plan *plan)
{
    struct shard *shard = plan->shard;
    *shard = (struct shard){0};
    plan->from_bytes = plan->to_bytes = 0;
    plan->n_encoded = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        struct output *o = &plan->output[i];
        uint64_t bytes = output_bytes(o);
        if (shard->n && shard->bytes + bytes > SHARD_BYTES)
            *++shard = (struct shard){.first = i};
        o->shard = (int32_t)(shard - plan->shard);
        shard->bytes += bytes;
        shard->n++;
        plan->from_bytes += o->from->bytes;
        plan->to_bytes += bytes;
        plan->n_encoded += o->is_encoded;
    }
    plan->n_shards = (int32_t)(shard - plan->shard) + 1;
}

/* Families that nothing else here knows are converted, too. */
static int32_t check_convertible(const struct checkpoint *c, struct err *err)
{
    const char *type = json_string_value(json_object_get(c->config, "model_type"));
    const struct arch *arch = type ? arch_find_type(type) : NULL;
    if (c->scheme.n)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s: the model is quantized already, by quant_method %s", c->scheme.where,
                       c->scheme.method);
    if (arch && arch->across)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "model_type \"%s\": its matrices are stored by columns, which the files "
                       "that are written cannot say; model.quantization converts it at load",
                       type);
    return INFLIGHT_OK;
}

int32_t quantize_plan(struct quantize_plan *plan, const struct checkpoint *c,
                      const struct quantize_params *params, struct arena *arena, struct err *err)
{
    const size_t n = (size_t)c->tensors.n;
    if (check_convertible(c, err))
        return err->code;
    *plan = (struct quantize_plan){
        .n = (int32_t)n, .convention = params->convention, .is_part = c->whole != NULL};
    plan->output = arena_take_array(arena, n, sizeof *plan->output);
    plan->shard = arena_take_array(arena, n + 1, sizeof *plan->shard);
    const struct tensor **order = tensors_by_place(&c->tensors, arena);
    /* Calibration makes them layer by layer; what belongs to none comes first. */
    if (order && quantize_calibrates(params))
        qsort(order, n, sizeof(const struct tensor *), compare_layers);
    if (!plan->output || !plan->shard || !order)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a plan of %zu tensors", n);
    for (size_t i = 0; i < n; i++) {
        struct output *o = &plan->output[i];
        o->from = order[i];
        o->layer = o->from->is_apart ? -1 : find_layer(o->from->name);
        o->output_error = o->cost[0] = -1;
        if (find_module(o->from, arena, &o->module, err))
            return err->code;
        if (!o->module)
            continue;
        o->is_kept = stays(o->module, params);
        if (!o->is_kept && plan_matrix(o, params, err))
            return err->code;
        plan_scales(o, params);
    }
    plan_place(plan);
    if (!plan->n_encoded)
        return err_set(err, INFLIGHT_E_ARG,
                       "no matrix is left to convert among %" PRIu64 " tensors", c->tensors.n);
    return INFLIGHT_OK;
}

/* ---- config.json */

static bool has_fmt(const struct quantize_plan *plan, enum fmt fmt)
{
    for (int32_t i = 0; i < plan->n; i++)
        if (plan->output[i].is_encoded && plan->output[i].packing.fmt == fmt)
            return true;
    return false;
}

static const char *last_word(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Whether all converted matrices with the last word of a module became of its format. */
static bool goes_by_word(const struct quantize_plan *plan, const struct output *o)
{
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *other = &plan->output[i];
        if (other->is_encoded && other->packing.fmt != o->packing.fmt &&
            strcmp(last_word(other->module), last_word(o->module)) == 0)
            return false;
    }
    return true;
}

/* Whether a module before it has its last word. */
static bool is_repeated(const struct quantize_plan *plan, int32_t i)
{
    for (int32_t j = 0; j < i; j++)
        if (plan->output[j].is_encoded &&
            strcmp(last_word(plan->output[j].module), last_word(plan->output[i].module)) == 0)
            return true;
    return false;
}

/* A module in a list of them, by its name, or by how that ends: before a text model in one that
 * also sees, code elsewhere has other words than files. */
static json_t *listed(const struct quantize_plan *plan, const char *module)
{
    const bool is_glob = plan->convention == MODELOPT;
    const char *end = strstr(module, "layers.");
    char pattern[2 * MODULE_MOST];
    int n = snprintf(pattern, sizeof pattern, is_glob ? "*" : "re:.*");
    if (!plan->is_part)
        return json_string(module);
    for (end = end ? end : last_word(module); *end; end++) {
        if (*end == '.' && !is_glob)
            pattern[n++] = '\\';
        pattern[n++] = *end;
    }
    (void)snprintf(pattern + n, sizeof pattern - (size_t)n, is_glob ? "" : "$");
    return json_string(pattern);
}

/* Modules of a format: by their last word where that says it, or by name. */
static json_t *targets_of(const struct quantize_plan *plan, enum fmt fmt)
{
    json_t *targets = json_array();
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        char pattern[128];
        if (!o->is_encoded || o->packing.fmt != fmt)
            continue;
        if (!goes_by_word(plan, o)) {
            (void)json_array_append_new(targets, listed(plan, o->module));
        } else if (!is_repeated(plan, i)) {
            (void)snprintf(pattern, sizeof pattern, "re:.*\\.%s$", last_word(o->module));
            (void)json_array_append_new(targets, json_string(pattern));
        }
    }
    return targets;
}

/* One group for all matrices, or one for each of the formats that there are. */
static json_t *groups_of(const struct quantize_plan *plan, const struct quantize_params *params)
{
    json_t *groups = json_object();
    int32_t n_formats = 0, number = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        n_formats += has_fmt(plan, (enum fmt)fmt);
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!has_fmt(plan, (enum fmt)fmt))
            continue;
        char name[24];
        json_t *group = fmt == FMT_int8 && is_weights_alone(params)
                            ? recipe_scheme_words()
                            : recipe_scheme(params->recipe, (enum fmt)fmt, params->is_symmetric);
        json_t *targets =
            n_formats == 1 ? json_pack("[s]", "Linear") : targets_of(plan, (enum fmt)fmt);
        (void)snprintf(name, sizeof name, "group_%d", number++);
        (void)json_object_set_new(group, "targets", targets);
        (void)json_object_set_new(group, "format", json_string(params->recipe->format));
        (void)json_object_set_new(groups, name, group);
    }
    return groups;
}

/* The first word of a tensor's name that is no model, of layers with their number: of parts that
 * stay as they are as a whole. */
static struct str part_of(struct str name)
{
    static const char model[] = "model.", layers[] = "layers.";
    const size_t skip = sizeof model - 1, more = sizeof layers - 1;
    if (name.len > skip && memcmp(name.ptr, model, skip) == 0)
        name = (struct str){name.ptr + skip, name.len - skip};
    const bool is_layer = name.len > more && memcmp(name.ptr, layers, more) == 0;
    const char *from = name.ptr + (is_layer ? more : 0);
    const char *dot = memchr(from, '.', name.len - (size_t)(from - name.ptr));
    return (struct str){name.ptr, dot ? (size_t)(dot - name.ptr) : name.len};
}

static bool has_text(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

static void list_parts(const struct quantize_plan *plan, json_t *names)
{
    for (int32_t i = 0; i < plan->n; i++) {
        const struct tensor *from = plan->output[i].from;
        const struct str part = part_of(from->name);
        char pattern[128];
        (void)snprintf(pattern, sizeof pattern,
                       plan->convention == MODELOPT ? "*%.*s.*" : "re:.*%.*s\\..*",
                       (int)MIN(part.len, (size_t)64), part.ptr);
        if (from->is_apart && !has_text(names, pattern))
            (void)json_array_append_new(names, json_string(pattern));
    }
}

json_t *quantize_ignored(const struct quantize_plan *plan)
{
    json_t *names = json_array();
    bool has_head = false;
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        has_head |= o->module && ends_with((struct str){o->module, strlen(o->module)}, "lm_head");
        if (o->is_kept)
            (void)json_array_append_new(names, listed(plan, o->module));
    }
    if (!has_head)
        (void)json_array_append_new(names, json_string("lm_head"));
    list_parts(plan, names);
    return names;
}

json_t *quantize_config(const struct quantize_plan *plan, const json_t *config,
                        const struct quantize_params *params)
{
    json_t *root = json_deep_copy(config), *quantization;
    if (params->convention == MODELOPT)
        quantization = modelopt_config(plan, params);
    else
        quantization = json_pack(
            "{s:s, s:s, s:s, s:o, s:o, s:o}", "quant_method", "compressed-tensors",
            "quantization_status", "compressed", "format", params->recipe->format, "config_groups",
            groups_of(plan, params), "ignore", quantize_ignored(plan), "kv_cache_scheme",
            params->recipe->is_static ? recipe_cache_scheme() : json_null());
    if (!root || !quantization || json_object_set_new(root, "quantization_config", quantization)) {
        json_decref(root);
        return NULL;
    }
    return root;
}
