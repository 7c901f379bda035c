/* Which files of a Hugging Face folder a tokenizer is read from, and what the smaller ones say of
 * its special tokens. */
#include "member.h"
#include "spec_read.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokenizer_config.json */

/* "added_tokens_decoder": {"32000": {"content": "<|im_end|>", "special": true}, ...} */
static int32_t id_of_key(const char *key, int32_t *id, struct err *err)
{
    char shown[SHOWN_TEXT], *end;
    long value = key[0] >= '0' && key[0] <= '9' ? strtol(key, &end, 10) : -1;
    if (value < 0 || *end || value >= SPEC_TOKENS_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "added_tokens_decoder: '%s' is not an id below %d",
                       shown_text(str_of(key), shown), SPEC_TOKENS_MAX);
    *id = (int32_t)value;
    return INFLIGHT_OK;
}

/* Ids that the vocabulary's own file may not have. */
static int32_t reserve_added(struct spec *s, const json_t *config, struct err *err)
{
    json_t *list = (json_t *)member_find(config, "added_tokens_decoder"), *entry;
    const char *key;
    int32_t id;
    json_object_foreach(list, key, entry)
    {
        if (id_of_key(key, &id, err))
            return err->code;
        s->least_n = MAX(s->least_n, id + 1);
    }
    return INFLIGHT_OK;
}

static int32_t add_decoder(struct spec *s, const json_t *config, struct err *err)
{
    json_t *list = (json_t *)member_find(config, "added_tokens_decoder"), *entry;
    const char *key;
    json_object_foreach(list, key, entry)
    {
        struct spec_added added = {0};
        if (id_of_key(key, &added.id, err))
            return err->code;
        if (!member_added(entry, &added) || added.text.len == 0)
            return err_set(err, INFLIGHT_E_MODEL, "added_tokens_decoder: %s has no content", key);
        if (spec_set_added(s, &added, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

/* One that the vocabulary has and no other file calls special. Returns its id, or -1. */
static int32_t add_special(struct spec *s, const json_t *token, struct err *err)
{
    struct spec_added added = {0};
    if (!token || !member_added(token, &added))
        return -1;
    added.id = spec_find(s, added.text);
    added.control = true;
    added.normalized = false;
    if (added.id >= 0) {
        added.text = s->name[added.id];
        (void)spec_set_added(s, &added, err);
    }
    return added.id;
}

/* of: tokenizer_config.json or special_tokens_map.json. */
static int32_t read_specials(struct spec *s, const json_t *of, struct err *err)
{
    static const char *const keys[] = {"unk_token", "pad_token", "sep_token", "cls_token",
                                       "mask_token"};
    const json_t *more = member_find(of, "additional_special_tokens");
    int32_t bos = add_special(s, member_find(of, "bos_token"), err);
    int32_t eos = add_special(s, member_find(of, "eos_token"), err);
    s->bos = bos >= 0 ? bos : s->bos;
    s->eos = eos >= 0 ? eos : s->eos;
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        (void)add_special(s, member_find(of, keys[i]), err);
    for (size_t i = 0; i < json_array_size(more); i++)
        (void)add_special(s, json_array_get(more, i), err);
    return err->code;
}

/* Whether id stands at one end of every text, whatever the vocabulary's file says. */
static void set_affix(int32_t *affix, int *n, int32_t id, bool wanted, bool in_front)
{
    int kept = 0;
    for (int i = 0; i < *n; i++)
        if (affix[i] != id)
            affix[kept++] = affix[i];
    if (wanted && kept == *n && kept < SPEC_AFFIXES) {
        int at = in_front ? 0 : kept;
        memmove(affix + at + 1, affix + at, (size_t)(kept - at) * sizeof *affix);
        affix[at] = id;
        *n = kept + 1;
    } else if (!wanted) {
        *n = kept;
    }
}

static void read_affixes(struct spec *s, const json_t *config)
{
    bool wanted;
    if (s->bos >= 0 && member_flag(config, "add_bos_token", &wanted))
        set_affix(s->prefix, &s->n_prefix, s->bos, wanted, true);
    if (s->eos >= 0 && member_flag(config, "add_eos_token", &wanted))
        set_affix(s->suffix, &s->n_suffix, s->eos, wanted, false);
}

/* ---- Ends of generation */

static void read_ends(struct spec *s, const json_t *ids)
{
    if (json_is_integer(ids))
        spec_add_end(s, json_integer_value(ids));
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (json_is_integer(json_array_get(ids, i)))
            spec_add_end(s, json_integer_value(json_array_get(ids, i)));
}

static int32_t read_generation(struct spec *s, const struct folder *folder, const char *name,
                               struct err *err)
{
    json_t *root = folder_json(folder, name, true, err);
    if (!root)
        return err->code;
    int64_t bos;
    read_ends(s, member_find(root, "eos_token_id"));
    read_ends(s, member_find(member_find(root, "text_config"), "eos_token_id"));
    if (s->bos < 0 && member_int(root, "bos_token_id", &bos) && bos >= 0 && bos < s->n)
        s->bos = (int32_t)bos;
    if (s->eos < 0 && s->n_ends)
        s->eos = s->end[0];
    json_decref(root);
    return INFLIGHT_OK;
}

/* ---- The vocabulary */

/* A whole file that is no JSON, in the scratch arena. */
static int32_t read_bytes(struct spec *s, const struct folder *folder, const char *name,
                          struct str *bytes, struct err *err)
{
    struct file file;
    struct buf scratch;
    if (folder_file(folder, name, &file, err))
        return err->code;
    buf_init(&scratch, folder->mem);
    const char *view = NULL;
    if (file.bytes > FOLDER_JSON_MAX)
        (void)err_set(err, INFLIGHT_E_MODEL, "%s: has %llu bytes", name,
                      (unsigned long long)file.bytes);
    else if (file.bytes)
        view = file_view(&file, 0, (size_t)file.bytes, &scratch, err);
    else
        view = "";
    char *copy = view ? arena_take(&s->scratch, (size_t)file.bytes) : NULL;
    if (copy && file.bytes)
        memcpy(copy, view, (size_t)file.bytes);
    if (view && !copy)
        (void)err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", name);
    *bytes = (struct str){copy, (size_t)file.bytes};
    buf_release(&scratch);
    file_close(&file);
    return copy ? INFLIGHT_OK : err->code;
}

static int32_t read_json(struct spec *s, const struct folder *folder, const char *name,
                         struct err *err)
{
    s->json[0] = folder_json(folder, name, false, err);
    if (!s->json[0])
        return err->code;
    return spec_read_json(s, s->json[0], err) ? err_prefix(err, "%s", name) : INFLIGHT_OK;
}

static int32_t read_sentencepiece(struct spec *s, const struct folder *folder, const char *name,
                                  const json_t *config, struct err *err)
{
    struct str bytes = {"", 0};
    bool legacy = true;
    (void)member_flag(config, "legacy", &legacy);
    if (read_bytes(s, folder, name, &bytes, err))
        return err->code;
    return spec_read_sentencepiece(s, bytes, !legacy, err) ? err_prefix(err, "%s", name)
                                                           : INFLIGHT_OK;
}

/* What the classes do that folders of SentencePiece have, with the tokens that
 * tokenizer_config.json names, unless its add_bos_token says otherwise. */
static void add_affixes_of_class(struct spec *s)
{
    if (s->model == SPEC_UNIGRAM && s->eos >= 0)
        set_affix(s->suffix, &s->n_suffix, s->eos, true, false);
    if (s->model != SPEC_UNIGRAM && s->bos >= 0)
        set_affix(s->prefix, &s->n_prefix, s->bos, true, true);
}

static int32_t read_gpt2(struct spec *s, const struct folder *folder, const char *name,
                         const json_t *config, struct err *err)
{
    struct str merges = {"", 0};
    s->json[0] = folder_json(folder, name, false, err);
    if (!s->json[0] || read_bytes(s, folder, "merges.txt", &merges, err))
        return err->code;
    return spec_read_gpt2(s, s->json[0], merges, config, err) ? err_prefix(err, "%s", name)
                                                              : INFLIGHT_OK;
}

static int32_t read_vocabulary(struct spec *s, const struct folder *folder, const char **name,
                               const json_t *config, struct err *err)
{
    *name = "tokenizer.json";
    if (folder_has(folder, *name))
        return read_json(s, folder, *name, err);
    *name = "tokenizer.model";
    if (folder_has(folder, *name))
        return read_sentencepiece(s, folder, *name, config, err);
    *name = "vocab.json";
    if (folder_has(folder, *name))
        return read_gpt2(s, folder, *name, config, err);
    return err_set(err, INFLIGHT_E_MODEL,
                   "the folder has no tokenizer: none of tokenizer.json, tokenizer.model and "
                   "vocab.json is there");
}

static int32_t read_special_map(struct spec *s, const struct folder *folder, struct err *err)
{
    json_t *map = folder_json(folder, "special_tokens_map.json", true, err);
    if (!map)
        return err->code;
    int32_t code = read_specials(s, map, err);
    json_decref(map);
    return code;
}

int32_t spec_read_folder(struct spec *s, const struct folder *folder, const char **name,
                         struct err *err)
{
    *name = "tokenizer_config.json";
    const json_t *config = s->json[1] = folder_json(folder, *name, true, err);
    if (!config && err->code)
        return err->code;
    if (reserve_added(s, config, err))
        return err_prefix(err, "%s", *name);
    if (read_vocabulary(s, folder, name, config, err))
        return err->code;
    if (add_decoder(s, config, err) || read_specials(s, config, err))
        return err_prefix(err, "tokenizer_config.json");
    if (!config && read_special_map(s, folder, err))
        return err_prefix(err, "special_tokens_map.json");
    if (strcmp(*name, "tokenizer.model") == 0)
        add_affixes_of_class(s);
    read_affixes(s, config);
    if (read_generation(s, folder, "generation_config.json", err) ||
        read_generation(s, folder, "config.json", err))
        return err->code;
    return INFLIGHT_OK;
}
