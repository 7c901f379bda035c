/* tokenizer.json: model, added tokens and what is put around a text. The steps of text are
 * spec_json_steps.c's. What is not served is refused by its name. */
#include "member.h"
#include "spec_read.h"

#include <string.h>

/* ---- The vocabulary */

static int32_t check_id(const json_t *id, const char *name, struct err *err)
{
    char shown[SHOWN_TEXT];
    if (json_is_integer(id) && json_integer_value(id) >= 0 &&
        json_integer_value(id) < SPEC_TOKENS_MAX)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_MODEL, "token '%s': its id is not an integer below %d",
                   shown_text(str_of(name), shown), SPEC_TOKENS_MAX);
}

static int32_t put_name(struct spec *s, int64_t id, struct str name, struct err *err)
{
    if (s->name[id].len)
        return err_set(err, INFLIGHT_E_MODEL, "two tokens have id %lld", (long long)id);
    if (!spec_keep(s, name, &s->name[id]))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %d tokens", s->n);
    s->type[id] = TOKEN_NORMAL;
    return INFLIGHT_OK;
}

/* The largest id of an added token, or least. */
static int64_t last_added(const json_t *added, int64_t least)
{
    int64_t id;
    for (size_t i = 0; i < json_array_size(added); i++)
        if (member_int(json_array_get(added, i), "id", &id) && id < SPEC_TOKENS_MAX && id > least)
            least = id;
    return least;
}

/* {"name": id, ...}; added: a list of further tokens, which take ids here, or NULL. */
static int32_t read_map(struct spec *s, const json_t *vocab, const json_t *added, struct err *err)
{
    const char *name;
    json_t *id;
    int64_t last = -1;
    json_object_foreach((json_t *)vocab, name, id)
    {
        if (check_id(id, name, err))
            return err->code;
        last = MAX(last, json_integer_value(id));
    }
    int32_t code = spec_take_tokens(s, last_added(added, last) + 1, err);
    if (code)
        return code;
    for (void *i = json_object_iter((json_t *)vocab); i && !code;
         i = json_object_iter_next((json_t *)vocab, i)) {
        struct str text = {json_object_iter_key(i), json_object_iter_key_len(i)};
        if (text.len)
            code = put_name(s, json_integer_value(json_object_iter_value(i)), text, err);
    }
    return code;
}

int32_t spec_read_vocab(struct spec *s, const json_t *vocab, struct err *err)
{
    return read_map(s, vocab, NULL, err);
}

/* [["name", score], ...] */
static int32_t read_list(struct spec *s, const json_t *vocab, const json_t *added, struct err *err)
{
    size_t n = json_array_size(vocab);
    int32_t code = spec_take_tokens(s, last_added(added, (int64_t)n - 1) + 1, err);
    if (code)
        return code;
    s->score = arena_take_array(&s->scratch, (size_t)s->n, sizeof *s->score);
    if (!s->score)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the scores of %d tokens", s->n);
    for (size_t i = 0; i < n && !code; i++) {
        const json_t *entry = json_array_get(vocab, i), *score = json_array_get(entry, 1);
        if (!json_is_string(json_array_get(entry, 0)) || !json_is_number(score))
            return err_set(err, INFLIGHT_E_MODEL,
                           "model.vocab: entry %zu is not a name and a score", i);
        s->score[i] = json_number_value(score);
        struct str name = member_str(json_array_get(entry, 0));
        if (name.len)
            code = put_name(s, (int64_t)i, name, err);
    }
    return code;
}

/* "<0x0A>" and the like are bytes. */
static void mark_bytes(struct spec *s)
{
    static const char digits[] = "0123456789ABCDEF";
    for (int32_t id = 0; id < s->n; id++) {
        struct str name = s->name[id];
        if (name.len == 6 && memcmp(name.ptr, "<0x", 3) == 0 && name.ptr[5] == '>' &&
            memchr(digits, name.ptr[3], 16) && memchr(digits, name.ptr[4], 16))
            s->type[id] = TOKEN_BYTE;
    }
}

/* ---- The model */

static int32_t read_rules(struct spec *s, const json_t *rules, struct err *err)
{
    if (!json_is_array(rules))
        return err_set(err, INFLIGHT_E_MODEL, "model.merges is missing or not a list");
    s->n_rules = json_array_size(rules);
    s->rule = arena_take_array(&s->scratch, s->n_rules, sizeof *s->rule);
    if (!s->rule)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu merge rules", s->n_rules);
    for (size_t i = 0; i < s->n_rules; i++) {
        const json_t *rule = json_array_get(rules, i);
        s->rule[i] = (struct spec_rule){member_str(json_array_get(rule, 0)),
                                        member_str(json_array_get(rule, 1))};
        bool ok = json_is_string(rule)
                      ? spec_split_rule(member_str(rule), &s->rule[i])
                      : s->rule[i].left.len && s->rule[i].right.len && json_array_size(rule) == 2;
        if (!ok)
            return err_set(err, INFLIGHT_E_MODEL, "model.merges: rule %zu is not two tokens", i);
    }
    return INFLIGHT_OK;
}

/* Ways of other tokenizers to mark the parts of words. */
static int32_t check_bpe(const json_t *model, struct err *err)
{
    static const char *const keys[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct str text = {"", 0};
        if (member_text(model, keys[i], &text) && text.len)
            return member_refuse(keys[i], text, err);
    }
    if (json_number_value(member_find(model, "dropout")) > 0)
        return err_set(err, INFLIGHT_E_MODEL, "model.dropout is not 0: ids would be random");
    return INFLIGHT_OK;
}

static int32_t read_bpe(struct spec *s, const json_t *model, const json_t *added, struct err *err)
{
    struct str unknown = {"", 0};
    s->model = SPEC_BPE_RULES;
    (void)member_flag(model, "ignore_merges", &s->whole_words);
    (void)member_flag(model, "byte_fallback", &s->byte_fallback);
    (void)member_flag(model, "fuse_unk", &s->fuse_unknown);
    int32_t code = check_bpe(model, err);
    if (!code && !json_is_object(member_find(model, "vocab")))
        return err_set(err, INFLIGHT_E_MODEL, "model.vocab is missing or not an object");
    if (!code)
        code = read_map(s, member_find(model, "vocab"), added, err);
    if (!code)
        code = read_rules(s, member_find(model, "merges"), err);
    if (!code && member_text(model, "unk_token", &unknown))
        s->unknown = spec_find(s, unknown);
    return code;
}

static int32_t read_unigram(struct spec *s, const json_t *model, const json_t *added,
                            struct err *err)
{
    int64_t unknown;
    s->model = SPEC_UNIGRAM;
    s->fuse_unknown = true;
    (void)member_flag(model, "byte_fallback", &s->byte_fallback);
    if (!json_is_array(member_find(model, "vocab")))
        return err_set(err, INFLIGHT_E_MODEL, "model.vocab is missing or not a list");
    int32_t code = read_list(s, member_find(model, "vocab"), added, err);
    if (!code && member_int(model, "unk_id", &unknown) && unknown >= 0 && unknown < s->n)
        s->unknown = (int32_t)unknown;
    return code;
}

/* Older files do not say which model it is. */
static int32_t read_model(struct spec *s, const json_t *root, struct err *err)
{
    const json_t *model = member_find(root, "model"), *added = member_find(root, "added_tokens");
    struct str type = member_type(model);
    if (!json_is_object(model))
        return err_set(err, INFLIGHT_E_MODEL, "model is missing");
    if (type.len == 0 && member_find(model, "merges"))
        type = str_of("BPE");
    int32_t code = str_is(type, "BPE")       ? read_bpe(s, model, added, err)
                   : str_is(type, "Unigram") ? read_unigram(s, model, added, err)
                                             : member_refuse("model", type, err);
    if (!code && s->byte_fallback)
        mark_bytes(s);
    return code;
}

/* ---- Added tokens */

static int32_t read_added(struct spec *s, const json_t *list, struct err *err)
{
    int32_t code = INFLIGHT_OK;
    for (size_t i = 0; i < json_array_size(list) && !code; i++) {
        const json_t *entry = json_array_get(list, i);
        struct spec_added added = {0};
        int64_t id = -1;
        if (!member_added(entry, &added) || !member_int(entry, "id", &id) || id < 0 || id >= s->n)
            return err_set(err, INFLIGHT_E_MODEL,
                           "added_tokens: entry %zu has no content or no id below %d", i,
                           SPEC_TOKENS_MAX);
        added.id = (int32_t)id;
        code = spec_set_added(s, &added, err);
    }
    return code;
}

/* ---- What is put around a text */

static int32_t add_affix(struct spec *s, int64_t id, bool before, struct err *err)
{
    int *n = before ? &s->n_prefix : &s->n_suffix;
    if (id < 0 || id >= s->n || *n == SPEC_AFFIXES)
        return err_set(err, INFLIGHT_E_MODEL,
                       "post_processor: id %lld is no token's, or more than %d stand on one side",
                       (long long)id, SPEC_AFFIXES);
    (before ? s->prefix : s->suffix)[(*n)++] = (int32_t)id;
    return INFLIGHT_OK;
}

/* {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
 *  "special_tokens": {"<s>": {"ids": [1]}}} */
static int32_t read_template(struct spec *s, const json_t *of, struct err *err)
{
    const json_t *single = member_find(of, "single"), *tokens = member_find(of, "special_tokens");
    bool before = true;
    int32_t code = INFLIGHT_OK;
    if (!json_is_array(single))
        return err_set(err, INFLIGHT_E_MODEL, "post_processor: single is missing or not a list");
    for (size_t i = 0; i < json_array_size(single) && !code; i++) {
        const json_t *special = member_find(json_array_get(single, i), "SpecialToken");
        struct str name = {"", 0};
        if (!special) {
            before = false;
            continue;
        }
        const json_t *ids = member_text(special, "id", &name)
                                ? member_find(member_find(tokens, name.ptr), "ids")
                                : NULL;
        if (!json_is_array(ids))
            return err_set(err, INFLIGHT_E_MODEL, "post_processor: part %zu has no ids", i);
        for (size_t k = 0; k < json_array_size(ids) && !code; k++) {
            const json_t *id = json_array_get(ids, k);
            code = add_affix(s, json_is_integer(id) ? json_integer_value(id) : -1, before, err);
        }
    }
    return code;
}

/* ["</s>", 2] */
static int64_t id_of_pair(const json_t *pair)
{
    const json_t *id = json_array_get(pair, 1);
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

static int32_t read_processor(struct spec *s, const json_t *of, int depth, struct err *err)
{
    struct str type = member_type(of);
    int32_t code = INFLIGHT_OK;
    if (!of || str_is(type, "ByteLevel"))
        return INFLIGHT_OK;
    if (str_is(type, "TemplateProcessing"))
        return read_template(s, of, err);
    if (str_is(type, "RobertaProcessing") || str_is(type, "BertProcessing")) {
        code = add_affix(s, id_of_pair(member_find(of, "cls")), true, err);
        return code ? code : add_affix(s, id_of_pair(member_find(of, "sep")), false, err);
    }
    if (!str_is(type, "Sequence") || depth == SPEC_STEPS)
        return member_refuse("post_processor", type, err);
    const json_t *list = member_find(of, "processors");
    for (size_t i = 0; i < json_array_size(list) && !code; i++)
        code = read_processor(s, json_array_get(list, i), depth + 1, err);
    return code;
}

int32_t spec_read_json(struct spec *s, const json_t *root, struct err *err)
{
    int32_t code = read_model(s, root, err);
    if (!code)
        code = read_added(s, member_find(root, "added_tokens"), err);
    if (!code)
        code = spec_read_json_steps(s, root, err);
    if (!code)
        code = read_processor(s, member_find(root, "post_processor"), 0, err);
    s->normalize_added = true;
    return code;
}
