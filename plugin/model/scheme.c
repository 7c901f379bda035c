#include "scheme_parse.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A pattern from a file may go back over a name this many times before it is given up. */
#define MATCH_STEPS 10000

static const struct {
    const char *name;
    int32_t (*parse)(const struct scheme_reader *r, const json_t *object);
} methods[] = {
    {"compressed-tensors", scheme_parse_compressed},
    {"awq", scheme_parse_awq},
    {"gptq", scheme_parse_gptq},
    {"fp8", scheme_parse_fp8},
    {"fbgemm_fp8", scheme_parse_fbgemm},
    {"modelopt", scheme_parse_modelopt},
    {"mxfp4", scheme_parse_mxfp4},
};

/* ---- Values */

int32_t scheme_refuse(const struct scheme_reader *r, const char *format, ...)
{
    char text[sizeof r->err->text];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return err_set(r->err, INFLIGHT_E_UNSUPPORTED, "%s: quant_method %s: %s", r->scheme->where,
                   r->scheme->method, text);
}

static const json_t *value_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int32_t refuse_type(const struct scheme_reader *r, const char *key, const char *want)
{
    return err_set(r->err, INFLIGHT_E_MODEL, "%s: quantization: %.60s is not %s", r->scheme->where,
                   key, want);
}

int32_t scheme_integer(const struct scheme_reader *r, const json_t *object, const char *key,
                       int32_t *value)
{
    const json_t *v = value_of(object, key);
    if (!v)
        return INFLIGHT_OK;
    if (!json_is_integer(v) || json_integer_value(v) < -1 ||
        json_integer_value(v) > SCHEME_GROUP_MOST)
        return refuse_type(r, key, "an integer from -1 to 1048576");
    *value = (int32_t)json_integer_value(v);
    return INFLIGHT_OK;
}

int32_t scheme_bool(const struct scheme_reader *r, const json_t *object, const char *key,
                    bool *value)
{
    const json_t *v = value_of(object, key);
    if (!v)
        return INFLIGHT_OK;
    if (!json_is_boolean(v))
        return refuse_type(r, key, "true or false");
    *value = json_is_true(v);
    return INFLIGHT_OK;
}

int32_t scheme_text(const struct scheme_reader *r, const json_t *object, const char *key,
                    const char **value)
{
    const json_t *v = value_of(object, key);
    if (!v)
        return INFLIGHT_OK;
    if (!json_is_string(v))
        return refuse_type(r, key, "a text");
    *value = json_string_value(v);
    return INFLIGHT_OK;
}

int32_t scheme_texts(const struct scheme_reader *r, const json_t *object, const char *key,
                     const json_t **value)
{
    const json_t *v = value_of(object, key), *text;
    size_t i;
    if (v && !json_is_array(v))
        return refuse_type(r, key, "a list of texts");
    json_array_foreach(v, i, text)
    {
        if (!json_is_string(text))
            return refuse_type(r, key, "a list of texts");
    }
    *value = v;
    return INFLIGHT_OK;
}

int32_t scheme_object(const struct scheme_reader *r, const json_t *object, const char *key,
                      const json_t **value)
{
    const json_t *v = value_of(object, key);
    if (v && !json_is_object(v))
        return refuse_type(r, key, "an object");
    *value = v;
    return INFLIGHT_OK;
}

/* ---- Rules */

int32_t scheme_room(const struct scheme_reader *r, size_t n)
{
    struct scheme *s = r->scheme;
    struct scheme_rule *rule = NULL;
    if (n == 0)
        return INFLIGHT_OK;
    if (n <= (size_t)(INT32_MAX - s->n))
        rule = arena_take_array(r->arena, (size_t)s->n + n, sizeof *rule);
    if (!rule)
        return err_set(r->err, INFLIGHT_E_NOMEM, "%s: no memory for rules of modules", s->where);
    if (s->n > 0)
        memcpy(rule, s->rule, (size_t)s->n * sizeof *rule);
    s->rule = rule;
    s->room = s->n + (int32_t)n;
    return INFLIGHT_OK;
}

int32_t scheme_add(const struct scheme_reader *r, enum match match, const char *text,
                   const struct storage *storage)
{
    struct scheme *s = r->scheme;
    if (s->n == s->room)
        return err_set(r->err, INFLIGHT_E_INTERNAL, "%s: no room for a rule", s->where);
    struct scheme_rule rule = {
        .match = match, .text = arena_copy_text(r->arena, text, strlen(text)), .storage = *storage};
    if (!rule.text)
        return err_set(r->err, INFLIGHT_E_NOMEM, "%s: no memory for the name of a module",
                       s->where);
    if (match == MATCH_PATTERN) {
        int problem;
        size_t at;
        rule.re = pcre2_compile((const uint8_t *)text, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_ANCHORED, &problem, &at, NULL);
        if (!rule.re)
            return err_set(r->err, INFLIGHT_E_MODEL,
                           "%s: quantization: pattern \"%.80s\" is broken at character %zu",
                           s->where, text, at + 1);
    }
    s->rule[s->n++] = rule;
    return INFLIGHT_OK;
}

int32_t scheme_add_ignored(const struct scheme_reader *r, const json_t *texts, enum match match)
{
    static const struct storage alone = {.codes = CODES_NONE};
    const json_t *text;
    size_t i;
    if (scheme_room(r, json_array_size(texts)))
        return r->err->code;
    json_array_foreach(texts, i, text)
    {
        if (scheme_add(r, match, json_string_value(text), &alone))
            return r->err->code;
    }
    return INFLIGHT_OK;
}

/* ---- Where it is */

int32_t scheme_parse(struct scheme *s, const json_t *object, const char *where, struct arena *arena,
                     struct err *err)
{
    struct err unheard;
    const struct scheme_reader r = {s, arena, err ? err : &unheard};
    const char *method = NULL;
    *s = (struct scheme){.where = where, .method = "none"};
    if (!json_is_object(object))
        return refuse_type(&r, "quantization_config", "an object");
    if (scheme_text(&r, object, "quant_method", &method))
        return r.err->code;
    /* Files of their own, and some of the old ones, do not say whose they are. */
    if (!method && json_is_object(json_object_get(object, "quantization")))
        method = "modelopt";
    if (!method && json_object_get(object, "config_groups"))
        method = "compressed-tensors";
    if (!method && json_object_get(object, "desc_act"))
        method = "gptq";
    if (!method && json_object_get(object, "w_bit"))
        method = "awq";
    if (!method)
        return err_set(r.err, INFLIGHT_E_UNSUPPORTED,
                       "%s: quantization without quant_method is not served", where);
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (strcmp(method, methods[i].name) == 0) {
            s->method = methods[i].name;
            return methods[i].parse(&r, object);
        }
    return err_set(r.err, INFLIGHT_E_UNSUPPORTED,
                   "%s: quant_method %.60s is not served: compressed-tensors, awq, gptq, fp8, "
                   "fbgemm_fp8, modelopt and mxfp4 are",
                   where, method);
}

/* The object in config.json, by the keys of today and of before, also of a model's text part. */
static const json_t *object_of(const json_t *config)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    const json_t *const in[] = {config, json_object_get(config, "text_config")};
    for (size_t i = 0; i < COUNT_OF(in); i++)
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            const json_t *object = value_of(in[i], keys[k]);
            if (object)
                return object;
        }
    return NULL;
}

int32_t scheme_open(struct scheme *s, const json_t *config, const struct folder *folder,
                    struct arena *arena, struct err *err)
{
    static const char *const files[] = {"hf_quant_config.json", "quantize_config.json",
                                        "quant_config.json"};
    struct err heard = {0};
    const json_t *object = object_of(config);
    *s = (struct scheme){0};
    if (object)
        return scheme_parse(s, object, "config.json", arena, err);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        json_t *root = folder_json(folder, files[i], true, &heard);
        if (!root && heard.code)
            return err_set(err, heard.code, "%s", heard.text);
        if (!root)
            continue;
        int32_t rc = scheme_parse(s, root, files[i], arena, err);
        json_decref(root);
        return rc;
    }
    return INFLIGHT_OK;
}

void scheme_close(struct scheme *s)
{
    for (int32_t i = 0; i < s->n; i++)
        pcre2_code_free(s->rule[i].re);
    *s = (struct scheme){0};
}

/* ---- What it says */

static bool is_part(const char *name, const char *part)
{
    const size_t n = strlen(part);
    for (const char *at = name; n > 0 && (at = strstr(at, part)); at++)
        if ((at == name || at[-1] == '.') && (at[n] == '\0' || at[n] == '.'))
            return true;
    return false;
}

/* Greedy: only the last * can have been too short. */
static bool is_glob(const char *name, const char *glob)
{
    const char *star = NULL, *from = NULL;
    while (*name)
        if (*glob == '*') {
            star = glob++;
            from = name;
        } else if (*glob == *name) {
            glob++;
            name++;
        } else if (*glob == '\0' && *name == '.') {
            return true;
        } else if (star) {
            glob = star + 1;
            name = ++from;
        } else {
            return false;
        }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

/* 1: it does, 0: it does not, below: the pattern takes too long. */
static int is_pattern(const char *name, const pcre2_code *re)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int n = PCRE2_ERROR_NOMEMORY;
    if (match && limits) {
        pcre2_set_match_limit(limits, MATCH_STEPS);
        pcre2_set_heap_limit(limits, MATCH_STEPS);
        n = pcre2_match(re, (const uint8_t *)name, strlen(name), 0, 0, match, limits);
    }
    pcre2_match_data_free(match);
    pcre2_match_context_free(limits);
    return n >= 0 ? 1 : n == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

static int does_match(const struct scheme_rule *rule, const char *module, const char *class)
{
    switch (rule->match) {
    case MATCH_NAME:
        return strcmp(module, rule->text) == 0;
    case MATCH_PART:
        return is_part(module, rule->text);
    case MATCH_GLOB:
        return is_glob(module, rule->text);
    case MATCH_PATTERN:
        return is_pattern(module, rule->re);
    case MATCH_CLASS:
        break;
    }
    return strcmp(class, rule->text) == 0;
}

#define NAME_MOST 320 /* bytes of a module's name, and of what it begins with in rules */

/* A module's name as the rules have it; cut if it is too long. */
static void name_in_rules(const struct scheme *s, const char *module, char name[NAME_MOST])
{
    const size_t len = s->inner ? strlen(s->inner) : 0;
    const bool is_inner = s->outer && strncmp(module, s->inner, len) == 0;
    (void)snprintf(name, NAME_MOST, "%s%s", is_inner ? s->outer : "",
                   is_inner ? module + len : module);
}

int32_t scheme_find(const struct scheme *s, const char *module, const char *class,
                    struct storage *storage, struct err *err)
{
    char name[NAME_MOST];
    name_in_rules(s, module, name);
    *storage = (struct storage){.codes = CODES_NONE};
    for (int32_t i = 0; i < s->n; i++) {
        const struct scheme_rule *rule = &s->rule[i];
        int matches = does_match(rule, name, class);
        if (matches < 0)
            return err_set(err, INFLIGHT_E_MODEL,
                           "%s: quantization: pattern \"%.80s\" takes too long on module %.80s",
                           s->where, rule->text, module);
        if (matches) {
            *storage = rule->storage;
            break;
        }
    }
    return INFLIGHT_OK;
}

bool scheme_ignores(const struct scheme *s, struct str tensor)
{
    static const char *const suffixes[] = {
        ".input_scale",       ".input_zero_point", ".input_scale_ub", ".output_scale",
        ".k_scale",           ".v_scale",          ".q_scale",        ".kv_scale",
        ".prob_scale",        ".k_zero_point",     ".v_zero_point",   ".activation_scale",
        ".input_global_scale"};
    for (size_t i = 0; s->where && i < COUNT_OF(suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (tensor.len > n && memcmp(tensor.ptr + tensor.len - n, suffixes[i], n) == 0)
            return true;
    }
    return false;
}
