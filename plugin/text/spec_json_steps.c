/* The normalizer, pre_tokenizer and decoder of tokenizer.json: each one step, or a sequence. */
#include "member.h"
#include "regex.h"
#include "spec_read.h"

#include <string.h>

/* \w of the language of tokenizers, which is another than that of its expressions. */
#define WORD REGEX_WORD "\\x{200c}\\x{200d}"

/* {"String": "..."} or {"Regex": "..."}, which becomes PCRE2's. */
static int32_t read_pattern(struct spec *s, const char *key, const json_t *of, struct str *pattern,
                            bool *is_literal, struct err *err)
{
    const json_t *member = member_find(of, "pattern");
    struct buf translated;
    *is_literal = json_is_string(member) || member_text(member, "String", pattern);
    if (json_is_string(member))
        *pattern = member_str(member);
    if (*is_literal)
        return pattern->len ? INFLIGHT_OK
                            : err_set(err, INFLIGHT_E_MODEL, "%s: the pattern is empty", key);
    if (!member_text(member, "Regex", pattern))
        return err_set(err, INFLIGHT_E_MODEL, "%s: pattern is neither a String nor a Regex", key);
    buf_init(&translated, s->arena->mem);
    int32_t code = regex_translate(*pattern, &translated, err);
    if (!code) {
        struct str text = {translated.ptr, translated.len};
        const char *copy = arena_copy_text(&s->scratch, text.len ? text.ptr : "", text.len);
        *pattern = (struct str){copy, text.len};
        if (!copy)
            code = err_set(err, INFLIGHT_E_NOMEM, "no memory for an expression");
    }
    buf_release(&translated);
    return code ? err_prefix(err, "%s", key) : INFLIGHT_OK;
}

typedef int32_t read_step(struct spec *s, const json_t *of, struct str type, struct err *err);

/* One step, or those of a sequence, whose list has the name parts. */
static int32_t read_steps(struct spec *s, const json_t *of, const char *parts, int depth,
                          read_step *read, struct err *err)
{
    struct str type = member_type(of);
    int32_t code = INFLIGHT_OK;
    if (!of)
        return INFLIGHT_OK;
    if (!str_is(type, "Sequence"))
        return read(s, of, type, err);
    const json_t *list = member_find(of, parts);
    if (!json_is_array(list) || depth == SPEC_STEPS)
        return err_set(err, INFLIGHT_E_MODEL, "%s of a sequence are no list, or %d deep", parts,
                       depth);
    for (size_t i = 0; i < json_array_size(list) && !code; i++)
        code = read_steps(s, json_array_get(list, i), parts, depth + 1, read, err);
    return code;
}

/* ---- normalizer */

static bool decode_base64(struct spec *s, struct str in, struct str *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *bytes = arena_take(&s->scratch, in.len);
    uint32_t word = 0;
    size_t n = 0, n_bits = 0;
    for (size_t i = 0; bytes && i < in.len && in.ptr[i] != '='; i++) {
        const char *digit = memchr(digits, in.ptr[i], 64);
        if (!digit)
            return false;
        word = word << 6 | (uint32_t)(digit - digits);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes[n++] = (char)(word >> n_bits);
        }
    }
    *out = (struct str){bytes, n};
    return bytes != NULL;
}

static int32_t read_normalizer(struct spec *s, const json_t *of, struct str type, struct err *err)
{
    static const struct {
        const char *name;
        enum normal_kind kind;
    } kinds[] = {{"NFC", NORMAL_NFC},         {"NFKC", NORMAL_NFKC},
                 {"Prepend", NORMAL_PREPEND}, {"Replace", NORMAL_REPLACE},
                 {"Strip", NORMAL_STRIP},     {"Precompiled", NORMAL_CHARSMAP}};
    size_t i = 0;
    while (i < COUNT_OF(kinds) && !str_is(type, kinds[i].name))
        i++;
    if (i == COUNT_OF(kinds))
        return member_refuse("normalizer", type, err);
    struct normal_step *step = spec_normal(s, kinds[i].kind, err);
    struct str map = {"", 0};
    if (!step)
        return err->code;
    switch (step->kind) {
    case NORMAL_PREPEND:
        if (!member_text(of, "prepend", &step->content))
            return err_set(err, INFLIGHT_E_MODEL, "normalizer: Prepend says not what");
        break;
    case NORMAL_REPLACE:
        if (!member_text(of, "content", &step->content))
            return err_set(err, INFLIGHT_E_MODEL, "normalizer: Replace has no content");
        return read_pattern(s, "normalizer", of, &step->pattern, &step->is_literal, err);
    case NORMAL_STRIP:
        step->left = step->right = true;
        (void)member_flag(of, "strip_left", &step->left);
        (void)member_flag(of, "strip_right", &step->right);
        break;
    case NORMAL_CHARSMAP:
        if (!member_text(of, "precompiled_charsmap", &map) ||
            !decode_base64(s, map, &step->content))
            return err_set(err, INFLIGHT_E_MODEL,
                           "normalizer: precompiled_charsmap is not a text in base64");
        break;
    default:
        break;
    }
    return INFLIGHT_OK;
}

/* ---- pre_tokenizer */

static int32_t read_behavior(const json_t *of, enum pretok_behavior *behavior, struct err *err)
{
    static const char *const names[] = {
        [PRETOK_ISOLATED] = "Isolated",
        [PRETOK_REMOVED] = "Removed",
        [PRETOK_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PRETOK_MERGED_WITH_NEXT] = "MergedWithNext",
        [PRETOK_CONTIGUOUS] = "Contiguous",
    };
    struct str name = {"", 0};
    (void)member_text(of, "behavior", &name);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_is(name, names[i])) {
            *behavior = (enum pretok_behavior)i;
            return INFLIGHT_OK;
        }
    return member_refuse("pre_tokenizer: behavior", name, err);
}

static int32_t add_split(struct spec *s, const char *pattern, enum pretok_behavior behavior,
                         bool invert, struct err *err)
{
    struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
    if (!step)
        return err->code;
    step->pattern = str_of(pattern);
    step->behavior = behavior;
    step->invert = invert;
    return INFLIGHT_OK;
}

static int32_t read_split(struct spec *s, const json_t *of, struct err *err)
{
    struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
    if (!step || read_behavior(of, &step->behavior, err))
        return err->code;
    (void)member_flag(of, "invert", &step->invert);
    return read_pattern(s, "pre_tokenizer", of, &step->pattern, &step->is_literal, err);
}

/* Words become bytes here: no step may come after it, for it would look at GPT-2's alphabet. */
static int32_t read_byte_level(struct spec *s, const json_t *of, struct err *err)
{
    bool prefix = true, words = true;
    (void)member_flag(of, "add_prefix_space", &prefix);
    (void)member_flag(of, "use_regex", &words);
    s->byte_level = true;
    if (prefix && !spec_pretok(s, PRETOK_PREFIX_SPACE, err))
        return err->code;
    return words ? add_split(s, spec_gpt2_words, PRETOK_ISOLATED, false, err) : INFLIGHT_OK;
}

/* The way that a Metaspace puts a mark first, as older files say it, too. */
static int32_t read_prepend(const json_t *of, const char *key, enum pretok_prepend *prepend,
                            struct err *err)
{
    static const char *const names[] = {
        [PREPEND_NEVER] = "never", [PREPEND_FIRST] = "first", [PREPEND_ALWAYS] = "always"};
    struct str replacement = {"", 0}, scheme = {"", 0};
    bool prefix = true;
    if (!member_text(of, "replacement", &replacement) || !str_is(replacement, SPACE_MARK))
        return member_refuse(key, replacement, err);
    (void)member_flag(of, "add_prefix_space", &prefix);
    *prepend = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (!member_text(of, "prepend_scheme", &scheme))
        return INFLIGHT_OK;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_is(scheme, names[i])) {
            *prepend = (enum pretok_prepend)i;
            return INFLIGHT_OK;
        }
    return member_refuse(key, scheme, err);
}

static int32_t read_metaspace(struct spec *s, const json_t *of, struct err *err)
{
    bool split = true;
    struct pretok_step *step = spec_pretok(s, PRETOK_MARK_SPACES, err);
    if (!step || read_prepend(of, "pre_tokenizer: Metaspace", &step->prepend, err))
        return err->code;
    (void)member_flag(of, "split", &split);
    if (!split)
        return INFLIGHT_OK;
    if (add_split(s, SPACE_MARK, PRETOK_MERGED_WITH_NEXT, false, err))
        return err->code;
    s->pretok[s->n_pretok - 1].is_literal = true;
    return INFLIGHT_OK;
}

static int32_t read_delimiter(struct spec *s, const json_t *of, struct err *err)
{
    struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
    if (!step)
        return err->code;
    step->behavior = PRETOK_REMOVED;
    step->is_literal = true;
    return member_text(of, "delimiter", &step->pattern) && step->pattern.len
               ? INFLIGHT_OK
               : err_set(err, INFLIGHT_E_MODEL, "pre_tokenizer: delimiter is missing");
}

/* Behind ByteLevel a step sees GPT-2's alphabet: digits alone are served, which Falcon has. */
static int32_t read_behind_bytes(struct spec *s, const json_t *of, struct str type, struct err *err)
{
    bool individual = false, invert = false;
    enum pretok_behavior behavior = PRETOK_ISOLATED;
    struct str regex = {"", 0};
    struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
    if (!step)
        return err->code;
    if (str_is(type, "Digits")) {
        (void)member_flag(of, "individual_digits", &individual);
        step->digits = 1;
        step->behavior = individual ? PRETOK_ISOLATED : PRETOK_CONTIGUOUS;
        return INFLIGHT_OK;
    }
    (void)member_flag(of, "invert", &invert);
    (void)member_text(member_find(of, "pattern"), "Regex", &regex);
    bool is_three = str_is(type, "Split") && str_is(regex, "[0-9][0-9][0-9]") && !invert;
    if (!is_three || read_behavior(of, &behavior, err) || behavior != PRETOK_ISOLATED)
        return err_set(err, INFLIGHT_E_MODEL,
                       "pre_tokenizer: a step after ByteLevel is not supported");
    step->digits = 3;
    return INFLIGHT_OK;
}

static int32_t read_pre_tokenizer(struct spec *s, const json_t *of, struct str type,
                                  struct err *err)
{
    enum pretok_behavior behavior = PRETOK_ISOLATED;
    bool individual = false;
    if (s->byte_level)
        return read_behind_bytes(s, of, type, err);
    if (str_is(type, "Split"))
        return read_split(s, of, err);
    if (str_is(type, "ByteLevel"))
        return read_byte_level(s, of, err);
    if (str_is(type, "Metaspace"))
        return read_metaspace(s, of, err);
    if (str_is(type, "Digits")) {
        (void)member_flag(of, "individual_digits", &individual);
        return add_split(s, "\\p{N}", individual ? PRETOK_ISOLATED : PRETOK_CONTIGUOUS, false, err);
    }
    if (str_is(type, "Whitespace"))
        return add_split(s, "[" WORD "]+|[^" WORD REGEX_WHITE "]+", PRETOK_REMOVED, true, err);
    if (str_is(type, "WhitespaceSplit"))
        return add_split(s, "[" REGEX_WHITE "]", PRETOK_REMOVED, false, err);
    if (str_is(type, "CharDelimiterSplit"))
        return read_delimiter(s, of, err);
    if (!str_is(type, "Punctuation"))
        return member_refuse("pre_tokenizer", type, err);
    int32_t code = member_find(of, "behavior") ? read_behavior(of, &behavior, err) : INFLIGHT_OK;
    return code ? code : add_split(s, "[\\p{P}$+<=>^`|~]", behavior, false, err);
}

/* ---- decoder */

/* Only marks become spaces, and only spaces are stripped, at the beginning. */
static int32_t read_decoder(struct spec *s, const json_t *of, struct str type, struct err *err)
{
    struct str content = {"", 0}, pattern = {"", 0};
    int64_t start = 0, stop = 0;
    enum pretok_prepend prepend = PREPEND_NEVER;
    if (str_is(type, "Fuse") || str_is(type, "ByteFallback"))
        return INFLIGHT_OK;
    if (str_is(type, "ByteLevel"))
        return s->byte_level ? INFLIGHT_OK
                             : err_set(err, INFLIGHT_E_MODEL,
                                       "decoder: ByteLevel, but the words are not cut so");
    if (str_is(type, "Metaspace")) {
        s->marks_spaces = true;
        if (read_prepend(of, "decoder: Metaspace", &prepend, err))
            return err->code;
        s->strip_start = prepend != PREPEND_NEVER;
        return INFLIGHT_OK;
    }
    (void)member_text(of, "content", &content);
    if (str_is(type, "Replace") && member_text(member_find(of, "pattern"), "String", &pattern) &&
        str_is(pattern, SPACE_MARK) && str_is(content, " ")) {
        s->marks_spaces = true;
        return INFLIGHT_OK;
    }
    (void)member_int(of, "start", &start);
    (void)member_int(of, "stop", &stop);
    if (str_is(type, "Strip") && str_is(content, " ") && stop == 0 && start >= 0 && start <= 1) {
        s->strip_start = (int32_t)start;
        return INFLIGHT_OK;
    }
    return member_refuse("decoder", type, err);
}

int32_t spec_read_json_steps(struct spec *s, const json_t *root, struct err *err)
{
    const json_t *decoder = member_find(root, "decoder");
    int32_t code =
        read_steps(s, member_find(root, "normalizer"), "normalizers", 0, read_normalizer, err);
    if (!code)
        code = read_steps(s, member_find(root, "pre_tokenizer"), "pretokenizers", 0,
                          read_pre_tokenizer, err);
    if (!code)
        code = read_steps(s, decoder, "decoders", 0, read_decoder, err);
    if (!code && !s->byte_level && !decoder)
        return err_set(err, INFLIGHT_E_MODEL, "decoder is missing");
    return code;
}
