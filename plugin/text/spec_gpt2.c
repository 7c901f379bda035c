/* vocab.json and merges.txt: byte-level BPE as GPT-2's files have it. They do not say how text is
 * cut into words: the class of the tokenizer does. */
#include "families.h"
#include "member.h"
#include "spec_read.h"

#include <string.h>

static const struct {
    const char *tokenizer, *family;
} classes[] = {
    {"", "gpt-2"},
    {"GPT2Tokenizer", "gpt-2"},
    {"GPT2TokenizerFast", "gpt-2"},
    {"Qwen2Tokenizer", "qwen2"},
    {"Qwen2TokenizerFast", "qwen2"},
};

static int32_t set_family(struct spec *s, const json_t *config, struct err *err)
{
    struct str name = {"", 0};
    bool prefix = false;
    (void)member_text(config, "tokenizer_class", &name);
    (void)member_flag(config, "add_prefix_space", &prefix);
    if (prefix && !spec_pretok(s, PRETOK_PREFIX_SPACE, err))
        return err->code;
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        if (str_is(name, classes[i].tokenizer))
            return family_set(family_find(str_of(classes[i].family)), s, err);
    return member_refuse("tokenizer_class without a tokenizer.json", name, err);
}

/* The next line, without its end; false: there is none. */
static bool next_line(struct str *rest, struct str *line)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->ptr, '\n', rest->len);
    size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
    *line = (struct str){rest->ptr, n};
    if (n && line->ptr[n - 1] == '\r')
        line->len--;
    n += end != NULL;
    *rest = (struct str){rest->ptr + n, rest->len - n};
    return true;
}

static int32_t read_rules(struct spec *s, struct str merges, struct err *err)
{
    struct str rest = merges, line;
    size_t n_lines = 0;
    while (next_line(&rest, &line))
        n_lines++;
    s->rule = arena_take_array(&s->scratch, n_lines, sizeof *s->rule);
    if (!s->rule)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu merge rules", n_lines);
    rest = merges;
    for (size_t i = 0; next_line(&rest, &line); i++) {
        if (line.len == 0 || (i == 0 && line.ptr[0] == '#'))
            continue;
        if (!spec_split_rule(line, &s->rule[s->n_rules++]))
            return err_set(err, INFLIGHT_E_MODEL,
                           "merges.txt: line %zu is not two tokens with a space between", i + 1);
    }
    return INFLIGHT_OK;
}

int32_t spec_read_gpt2(struct spec *s, const json_t *vocab, struct str merges, const json_t *config,
                       struct err *err)
{
    s->model = SPEC_BPE_RULES;
    s->byte_level = true;
    int32_t code = set_family(s, config, err);
    if (!code)
        code = spec_read_vocab(s, vocab, err);
    return code ? code : read_rules(s, merges, err);
}
