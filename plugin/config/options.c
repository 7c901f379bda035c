/* One table of keys, one function per kind of value. Values are put into a copy, so that a
 * refused request leaves the defaults as they were. */
#include "options.h"

#include "../base/number.h"

#include <stddef.h>
#include <string.h>

#include <jansson.h>

enum {
    OPTIONS_BYTES = 1 << 20,
    MAX_STOP = 16,
    MAX_STOP_BYTES = 256,
    MAX_STOP_TOKEN = 64,
    MAX_BIAS = 1024,
};

/* What is being parsed; fields of the first member are named by the table. */
struct target {
    struct sampling s;
    int32_t top; /* top_logprobs, -1: not given */
    struct arena *arena;
    struct err *err;
};

struct option {
    const char *key;
    int32_t (*parse)(struct target *t, const struct option *o, json_t *value);
    size_t offset;   /* in struct sampling, for plain numbers */
    double min, max; /* inclusive */
};

static int32_t refuse(const struct target *t, const struct option *o, const char *kind)
{
    char least[NUMBER_TEXT], most[NUMBER_TEXT];
    return err_set(t->err, INFLIGHT_E_ARG, "option %s must be %s, %s to %s", o->key, kind,
                   number_text(o->min, least), number_text(o->max, most));
}

static void *field(struct target *t, const struct option *o)
{
    return (char *)&t->s + o->offset;
}

/* ---- Plain values ----------------------------------------------------------------- */

static int32_t parse_INT(struct target *t, const struct option *o, json_t *value)
{
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || (double)n < o->min || (double)n > o->max)
        return refuse(t, o, "an integer");
    *(int32_t *)field(t, o) = (int32_t)n;
    return INFLIGHT_OK;
}

static int32_t parse_FLOAT(struct target *t, const struct option *o, json_t *value)
{
    double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= o->min && x <= o->max))
        return refuse(t, o, "a number");
    *(float *)field(t, o) = (float)x;
    return INFLIGHT_OK;
}

static int32_t parse_bool(struct target *t, const struct option *o, json_t *value)
{
    if (!json_is_boolean(value))
        return err_set(t->err, INFLIGHT_E_ARG, "option %s must be true or false", o->key);
    *(bool *)field(t, o) = json_is_true(value);
    return INFLIGHT_OK;
}

static int32_t parse_seed(struct target *t, const struct option *o, json_t *value)
{
    if (!json_is_integer(value))
        return err_set(t->err, INFLIGHT_E_ARG, "option %s must be an integer", o->key);
    t->s.seed = (uint64_t)json_integer_value(value);
    t->s.has_seed = true;
    return INFLIGHT_OK;
}

/* ---- Log probabilities ------------------------------------------------------------ */

/* Chat: true or false, and top_logprobs; completions: the number itself. */
static int32_t parse_logprobs(struct target *t, const struct option *o, json_t *value)
{
    if (!json_is_boolean(value))
        return json_is_integer(value) ? parse_INT(t, o, value)
                                      : refuse(t, o, "true, false or an integer");
    t->s.logprobs = json_is_true(value) ? MAX(t->s.logprobs, 0) : -1;
    return INFLIGHT_OK;
}

static int32_t parse_top(struct target *t, const struct option *o, json_t *value)
{
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || (double)n < o->min || (double)n > o->max)
        return refuse(t, o, "an integer");
    t->top = (int32_t)n;
    return INFLIGHT_OK;
}

/* ---- Lists ------------------------------------------------------------------------ */

static int32_t no_memory(const struct target *t)
{
    return err_set(t->err, INFLIGHT_E_NOMEM, "no memory for the options");
}

static int32_t copy_stop(struct target *t, json_t *value, struct str *out)
{
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len == 0 || len > MAX_STOP_BYTES)
        return err_set(t->err, INFLIGHT_E_ARG,
                       "option stop: each must be a string of 1 to %d bytes", MAX_STOP_BYTES);
    out->ptr = arena_copy_text(t->arena, json_string_value(value), len);
    out->len = len;
    return out->ptr ? INFLIGHT_OK : no_memory(t);
}

static int32_t parse_stop(struct target *t, const struct option *o, json_t *value)
{
    bool many = json_is_array(value);
    size_t n = many ? json_array_size(value) : 1;
    if (!many && !json_is_string(value))
        return err_set(t->err, INFLIGHT_E_ARG, "option %s must be a string or a list of strings",
                       o->key);
    if (n > MAX_STOP)
        return err_set(t->err, INFLIGHT_E_ARG, "option %s has %zu strings, at most %d", o->key, n,
                       MAX_STOP);
    struct str *stop = arena_take_array(t->arena, n, sizeof *stop);
    if (!stop)
        return no_memory(t);
    for (size_t i = 0; i < n; i++) {
        int32_t rc = copy_stop(t, many ? json_array_get(value, i) : value, &stop[i]);
        if (rc != INFLIGHT_OK)
            return rc;
    }
    t->s.stop = stop;
    t->s.n_stop = (int32_t)n;
    return INFLIGHT_OK;
}

static int32_t parse_stop_tokens(struct target *t, const struct option *o, json_t *value)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > MAX_STOP_TOKEN)
        return err_set(t->err, INFLIGHT_E_ARG, "option %s must be a list of at most %d integers",
                       o->key, MAX_STOP_TOKEN);
    int32_t *token = arena_take_array(t->arena, n, sizeof *token);
    if (!token)
        return no_memory(t);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_array_get(value, i);
        json_int_t id = json_integer_value(one);
        if (!json_is_integer(one) || (double)id < o->min || (double)id > o->max)
            return refuse(t, o, "integers");
        token[i] = (int32_t)id;
    }
    t->s.stop_token = token;
    t->s.n_stop_token = (int32_t)n;
    return INFLIGHT_OK;
}

/* A token id as JSON has to write it: a key, one spelling per number. */
static bool parse_id(const char *key, int32_t *out)
{
    int32_t id = 0;
    size_t i = 0;
    for (; key[i] >= '0' && key[i] <= '9'; i++)
        if (__builtin_mul_overflow(id, 10, &id) || __builtin_add_overflow(id, key[i] - '0', &id))
            return false;
    *out = id;
    return i > 0 && key[i] == '\0' && !(key[0] == '0' && i > 1);
}

static int32_t parse_bias(struct target *t, const struct option *o, json_t *value)
{
    const char *key;
    json_t *one;
    size_t n = 0;
    if (!json_is_object(value) || json_object_size(value) > MAX_BIAS)
        return err_set(t->err, INFLIGHT_E_ARG,
                       "option %s must be an object of at most %d token ids", o->key, MAX_BIAS);
    struct logit_bias *bias = arena_take_array(t->arena, json_object_size(value), sizeof *bias);
    if (!bias)
        return no_memory(t);
    json_object_foreach(value, key, one)
    {
        double x = json_number_value(one);
        if (!parse_id(key, &bias[n].token))
            return err_set(t->err, INFLIGHT_E_ARG, "option %s: '%.40s' is not a token id", o->key,
                           key);
        if (!json_is_number(one) || !(x >= o->min && x <= o->max))
            return refuse(t, o, "numbers");
        bias[n++].bias = (float)x;
    }
    t->s.bias = bias;
    t->s.n_bias = (int32_t)n;
    return INFLIGHT_OK;
}

/* ---- The table -------------------------------------------------------------------- */

#define FIELD(name) offsetof(struct sampling, name)

static const struct option options[] = {
#define SAMPLING(name, kind, least, most, unset, doc) \
    {#name, parse_##kind, FIELD(name), least, most},
#include "sampling.def"
#undef SAMPLING
    {"max_completion_tokens", parse_INT, FIELD(max_tokens), 0, INT32_MAX},
    {"logit_bias", parse_bias, 0, -100, 100},
    {"seed", parse_seed, 0, 0, 0},
    {"stop", parse_stop, 0, 0, 0},
    {"stop_token_ids", parse_stop_tokens, 0, 0, INT32_MAX},
    {"ignore_eos", parse_bool, FIELD(ignore_eos), 0, 0},
    {"skip_special_tokens", parse_bool, FIELD(skip_special_tokens), 0, 0},
    {"n", parse_INT, FIELD(n), 1, 16},
    {"logprobs", parse_logprobs, FIELD(logprobs), 0, TOP_LOGPROBS},
    {"top_logprobs", parse_top, 0, 0, TOP_LOGPROBS},
};

static int32_t unknown_key(const char *key, struct err *err)
{
    const char *name[COUNT_OF(options)];
    for (size_t i = 0; i < COUNT_OF(options); i++)
        name[i] = options[i].key;
    const char *close = closest_word((struct str){key, strlen(key)}, name, COUNT_OF(name));
    if (close)
        return err_set(err, INFLIGHT_E_ARG, "unknown option '%.60s', did you mean '%s'?", key,
                       close);
    return err_set(err, INFLIGHT_E_ARG, "unknown option '%.60s'", key);
}

/* null means "not given", as in OpenAI's interface. */
static int32_t parse_one(struct target *t, const char *key, json_t *value)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strcmp(options[i].key, key) == 0)
            return json_is_null(value) ? INFLIGHT_OK : options[i].parse(t, &options[i], value);
    return unknown_key(key, t->err);
}

static bool has(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    return value && !json_is_null(value);
}

static int32_t check_together(struct target *t, const json_t *root)
{
    struct sampling *s = &t->s;
    if (has(root, "max_tokens") && has(root, "max_completion_tokens"))
        return err_set(t->err, INFLIGHT_E_ARG,
                       "max_tokens and max_completion_tokens are the same option");
    if (t->top >= 0 && s->logprobs < 0)
        return err_set(t->err, INFLIGHT_E_ARG, "option top_logprobs needs logprobs: true");
    if (t->top >= 0)
        s->logprobs = t->top;
    if (s->max_tokens > 0 && s->min_tokens > s->max_tokens)
        return err_set(t->err, INFLIGHT_E_ARG, "option min_tokens is %d, above max_tokens %d",
                       s->min_tokens, s->max_tokens);
    return INFLIGHT_OK;
}

struct sampling sampling_default(void)
{
    return (struct sampling){.temperature = 1,
                             .top_p = 1,
                             .repetition_penalty = 1,
                             .n = 1,
                             .logprobs = -1,
                             .skip_special_tokens = true};
}

int32_t options_parse(struct sampling *sampling, struct str json, struct arena *arena,
                      struct err *err)
{
    struct target t = {.s = *sampling, .top = -1, .arena = arena, .err = err};
    json_error_t at;
    const char *key;
    json_t *value;
    int32_t rc = INFLIGHT_OK;
    if (json.len == 0)
        return INFLIGHT_OK;
    if (json.len > OPTIONS_BYTES)
        return err_set(err, INFLIGHT_E_ARG, "options have %zu bytes, at most %d", json.len,
                       OPTIONS_BYTES);
    json_t *root = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (!root)
        return err_set(err, INFLIGHT_E_ARG, "options, line %d, column %d: %s", at.line, at.column,
                       at.text);
    if (!json_is_object(root))
        rc = err_set(err, INFLIGHT_E_ARG, "options must be a JSON object");
    json_object_foreach(root, key, value)
    {
        if (rc == INFLIGHT_OK)
            rc = parse_one(&t, key, value);
    }
    if (rc == INFLIGHT_OK)
        rc = check_together(&t, root);
    if (rc == INFLIGHT_OK)
        *sampling = t.s;
    json_decref(root);
    return rc;
}
