/* tokenizer.ggml.* of GGUF files: "gpt2" is byte-level BPE, cut into words as
 * tokenizer.ggml.pre says; "llama" SentencePiece's BPE with scores; "t5" its unigram model;
 * "gemma4" BPE by a list of rules of what SentencePiece makes of a text. */
#include "families.h"
#include "spec_read.h"

#include <string.h>

/* ---- The vocabulary */

static int32_t read_names(struct spec *s, const struct gguf *g, struct err *err)
{
    const struct gguf_value *names = gguf_find(g, "tokenizer.ggml.tokens");
    if (!names || names->type != GGUF_ARRAY || names->element != GGUF_STRING)
        return err_set(err, INFLIGHT_E_MODEL,
                       "the file has no tokenizer: tokenizer.ggml.tokens is missing or not a "
                       "list of texts");
    if (names->n == 0 || names->n > SPEC_TOKENS_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "tokenizer.ggml.tokens has %llu entries",
                       (unsigned long long)names->n);
    int32_t code = spec_take_tokens(s, (int64_t)names->n, err);
    for (int32_t id = 0; id < s->n && !code; id++)
        s->name[id] = gguf_str_at(names, (uint64_t)id);
    return code;
}

static int32_t read_types(struct spec *s, const struct gguf *g, struct err *err)
{
    memset(s->type, TOKEN_NORMAL, (size_t)s->n);
    const struct gguf_value *types = gguf_find(g, "tokenizer.ggml.token_type");
    if (!types)
        return INFLIGHT_OK;
    bool integers =
        types->element <= GGUF_I32 || types->element == GGUF_U64 || types->element == GGUF_I64;
    if (types->type != GGUF_ARRAY || !integers || types->n != (uint64_t)s->n)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.token_type is not a list of %d integers, one per token",
                       s->n);
    for (int32_t id = 0; id < s->n; id++) {
        int64_t type = gguf_int_at(types, (uint64_t)id);
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
            return err_set(err, INFLIGHT_E_MODEL,
                           "tokenizer.ggml.token_type of token %d is %lld, not 1 to 6", id,
                           (long long)type);
        s->type[id] = (uint8_t)type;
    }
    return INFLIGHT_OK;
}

static int32_t read_scores(struct spec *s, const struct gguf *g, struct err *err)
{
    const struct gguf_value *scores = gguf_find(g, "tokenizer.ggml.scores");
    bool numbers = scores && (scores->element == GGUF_F32 || scores->element == GGUF_F64);
    if (!numbers || scores->type != GGUF_ARRAY || scores->n != (uint64_t)s->n)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.scores is not a list of %d numbers, one per token", s->n);
    s->score = arena_take_array(&s->scratch, (size_t)s->n, sizeof *s->score);
    if (!s->score)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the scores of %d tokens", s->n);
    for (int32_t id = 0; id < s->n; id++) {
        s->score[id] = gguf_float_at(scores, (uint64_t)id);
        if (!(s->score[id] > -1e30 && s->score[id] < 1e30))
            return err_set(err, INFLIGHT_E_MODEL, "tokenizer.ggml.scores: that of token %d is none",
                           id);
    }
    return INFLIGHT_OK;
}

static int32_t read_rules(struct spec *s, const struct gguf *g, struct err *err)
{
    const struct gguf_value *rules = gguf_find(g, "tokenizer.ggml.merges");
    if (!rules || rules->type != GGUF_ARRAY || rules->element != GGUF_STRING)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.merges is missing or not a list of texts");
    s->n_rules = (size_t)rules->n;
    s->rule = arena_take_array(&s->scratch, s->n_rules, sizeof *s->rule);
    if (!s->rule)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu merge rules", s->n_rules);
    for (uint64_t i = 0; i < rules->n; i++)
        if (!spec_split_rule(gguf_str_at(rules, i), &s->rule[i]))
            return err_set(err, INFLIGHT_E_MODEL,
                           "tokenizer.ggml.merges: rule %llu is not two tokens with a space "
                           "between",
                           (unsigned long long)i);
    return INFLIGHT_OK;
}

/* Control tokens are such wherever they are trusted, those a user added everywhere. */
static int32_t add_tokens(struct spec *s, struct err *err)
{
    int32_t code = INFLIGHT_OK;
    for (int32_t id = 0; id < s->n && !code; id++) {
        bool control = s->type[id] == TOKEN_CONTROL || s->type[id] == TOKEN_UNKNOWN;
        /* Those of a unigram model have scores like all others. */
        bool user = s->type[id] == TOKEN_USER_DEFINED && s->model != SPEC_UNIGRAM;
        if (!control && !user)
            continue;
        struct spec_added added = {.text = s->name[id], .id = id, .control = control};
        code = spec_add(s, &added, err);
    }
    return code;
}

/* ---- Kinds */

static int32_t read_gpt2(struct spec *s, const struct gguf *g, bool *start, struct err *err)
{
    char shown[SHOWN_TEXT];
    struct str pre = str_of("default");
    (void)gguf_str(g, "tokenizer.ggml.pre", &pre);
    const struct family *family = family_find(pre);
    if (!family)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.pre is '%s', a way to cut text into words that is not "
                       "supported",
                       shown_text(pre, shown));
    s->model = SPEC_BPE_RULES;
    s->byte_level = true;
    *start = family->start;
    int32_t code = family_set(family, s, err);
    return code ? code : read_rules(s, g, err);
}

static void read_unknown(struct spec *s, const struct gguf *g)
{
    int64_t unknown;
    if (gguf_int(g, "tokenizer.ggml.unknown_token_id", &unknown) && unknown >= 0 && unknown < s->n)
        s->unknown = (int32_t)unknown;
}

static int32_t read_sentencepiece(struct spec *s, const struct gguf *g, enum spec_model model,
                                  struct err *err)
{
    struct spec_spaces spaces = {.add_prefix = true, .squeeze = model == SPEC_UNIGRAM};
    const struct gguf_value *map = gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    s->model = model;
    s->byte_fallback = true;
    s->fuse_unknown = s->single = true;
    read_unknown(s, g);
    (void)gguf_bool(g, "tokenizer.ggml.add_space_prefix", &spaces.add_prefix);
    (void)gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &spaces.squeeze);
    if (map && map->type == GGUF_ARRAY && map->element <= GGUF_I8)
        spaces.charsmap = (struct str){(const char *)map->data, (size_t)map->n};
    int32_t code = read_scores(s, g, err);
    if (!code && model == SPEC_UNIGRAM)
        spec_score_users(s);
    return code ? code : spec_set_spaces(s, &spaces, err);
}

/* Lines are words, and so are the ends between them, as llama.cpp cuts them. */
static int32_t read_gemma4(struct spec *s, const struct gguf *g, struct err *err)
{
    struct spec_spaces spaces = {.add_prefix = false};
    s->model = SPEC_BPE_RULES;
    s->byte_fallback = s->fuse_unknown = true;
    read_unknown(s, g);
    (void)gguf_bool(g, "tokenizer.ggml.add_space_prefix", &spaces.add_prefix);
    int32_t code = spec_set_spaces(s, &spaces, err);
    struct pretok_step *step = code ? NULL : spec_pretok(s, PRETOK_SPLIT, err);
    if (!step)
        return err->code;
    step->pattern = str_of("[^\\n]+|[\\n]+");
    return read_rules(s, g, err);
}

static int32_t read_model(struct spec *s, const struct gguf *g, bool *start, bool *stop,
                          struct err *err)
{
    char shown[SHOWN_TEXT];
    struct str model = {"", 0};
    if (!gguf_str(g, "tokenizer.ggml.model", &model))
        return err_set(err, INFLIGHT_E_MODEL,
                       "the file has no tokenizer: tokenizer.ggml.model is missing");
    if (str_is(model, "gpt2"))
        return read_gpt2(s, g, start, err);
    if (str_is(model, "llama")) {
        *start = true;
        return read_sentencepiece(s, g, SPEC_BPE_SCORES, err);
    }
    if (str_is(model, "t5")) {
        *stop = true;
        return read_sentencepiece(s, g, SPEC_UNIGRAM, err);
    }
    if (str_is(model, "gemma4")) {
        *start = true;
        return read_gemma4(s, g, err);
    }
    return err_set(err, INFLIGHT_E_MODEL,
                   "tokenizer.ggml.model is '%s'; supported are 'gpt2', 'llama', 't5' and 'gemma4'",
                   shown_text(model, shown));
}

/* The id a key gives, -1 if there is none or it names no token. */
static int32_t id_of_key(const struct spec *s, const struct gguf *g, const char *key)
{
    int64_t id;
    return gguf_int(g, key, &id) && id >= 0 && id < s->n ? (int32_t)id : -1;
}

int32_t spec_read_gguf(struct spec *s, const struct gguf *g, struct err *err)
{
    bool start = false, stop = false;
    int32_t code = read_names(s, g, err);
    if (!code)
        code = read_types(s, g, err);
    if (!code)
        code = read_model(s, g, &start, &stop, err);
    if (!code)
        code = add_tokens(s, err);
    if (code)
        return code;
    s->bos = id_of_key(s, g, "tokenizer.ggml.bos_token_id");
    s->eos = id_of_key(s, g, "tokenizer.ggml.eos_token_id");
    spec_add_end(s, id_of_key(s, g, "tokenizer.ggml.eot_token_id"));
    spec_add_end(s, id_of_key(s, g, "tokenizer.ggml.eom_token_id"));
    (void)gguf_bool(g, "tokenizer.ggml.add_bos_token", &start);
    (void)gguf_bool(g, "tokenizer.ggml.add_eos_token", &stop);
    if (start && s->bos >= 0)
        s->prefix[s->n_prefix++] = s->bos;
    if (stop && s->eos >= 0 && !s->byte_level)
        s->suffix[s->n_suffix++] = s->eos;
    return INFLIGHT_OK;
}
