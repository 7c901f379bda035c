/* See pretok.h. PCRE2 with Unicode properties; its JIT where the host allows it, its
 * interpreter elsewhere. White space is spelled out because \s of PCRE2 also has
 * U+180E, which Unicode no longer counts as such. */
#include "pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* White_Space, inside of brackets. */
#define WS "\\p{Z}\\t-\\r\\x{85}"
#define S  "[" WS "]"

/* Runs of spaces leave the last one to the word that follows. */
#define SPACES S "+(?![^" WS "])|" S "+"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

/* Of the GPT-4 kind; families differ in how many digits stand together. */
#define GPT4(DIGITS)                                                                             \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" DIGITS "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" S \
                "*[\\r\\n]+|" SPACES

/* Of the GPT-4o kind: words are cut where lower case turns to upper. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT4O(ENDING, DIGITS)                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ENDING "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER \
    "*" ENDING "|" DIGITS "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" S "*[\\r\\n]+|" SPACES

#define DEEPSEEK_V3                                                             \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                    \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" S \
    "*[\\r\\n]+|" SPACES

static const struct pretok_row rows[] = {
    {.names = "default gpt-2 phi-2", .expression = {GPT2}},
    {.names = "smollm starcoder refact", .expression = {"\\p{N}", GPT2}},
    {.names = "llama-bpe llama3 llama-v3",
     .whole_words = true,
     .start = true,
     .expression = {GPT4("\\p{N}{1,3}")}},
    /* Llama 3's without a start token; files of SmolLM3 have it. */
    {.names = "smaug-bpe", .whole_words = true, .expression = {GPT4("\\p{N}{1,3}")}},
    {.names = "qwen2 deepseek-r1-qwen", .nfc = true, .expression = {GPT4("\\p{N}")}},
    {.names = "tekken", .whole_words = true, .start = true, .expression = {GPT4O("", "\\p{N}")}},
    {.names = "gpt-4o llama4",
     .whole_words = true,
     .expression = {GPT4O(CONTRACTION "?", "\\p{N}{1,3}")}},
    {.names = "deepseek-coder",
     .expression = {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+",
                    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}"}},
    {.names = "deepseek-v3",
     .expression = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
                    DEEPSEEK_V3}},
};

/* Is word one of the words of list? */
static bool has_word(const char *list, struct str word)
{
    while (*list) {
        size_t len = strcspn(list, " ");
        if (len == word.len && memcmp(list, word.ptr, len) == 0)
            return true;
        list += len + (list[len] == ' ');
    }
    return false;
}

static const struct pretok_row *row_of(struct str pre)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (has_word(rows[i].names, pre))
            return &rows[i];
    return NULL;
}

int32_t pretok_open(struct pretok *p, struct str pre, struct err *err)
{
    *p = (struct pretok){.row = row_of(pre)};
    if (!p->row)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.pre is '%.*s', a way to cut text into words that is not "
                       "supported",
                       (int)MIN(pre.len, (size_t)64), pre.ptr);
    for (; p->n_stages < PRETOK_STAGES && p->row->expression[p->n_stages]; p->n_stages++) {
        const char *expression = p->row->expression[p->n_stages];
        int problem = 0;
        size_t at = 0;
        pcre2_code *code =
            pcre2_compile((const uint8_t *)expression, PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &problem, &at, NULL);
        if (!code) {
            pretok_close(p);
            return err_set(err, INFLIGHT_E_INTERNAL,
                           "expression of pre-tokenizer '%.*s': error %d at %zu", (int)pre.len,
                           pre.ptr, problem, at);
        }
        /* Where memory may not be made executable this fails, and matching interprets. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
        p->code[p->n_stages] = code;
    }
    return INFLIGHT_OK;
}

void pretok_close(struct pretok *p)
{
    for (int i = 0; i < p->n_stages; i++)
        pcre2_code_free(p->code[i]);
    *p = (struct pretok){0};
    /* The JIT keeps one empty chunk of executable memory, which unloading would leak. */
    pcre2_jit_free_unused_memory(NULL);
}

bool pretok_cut_init(struct pretok_cut *cut, const struct pretok *p)
{
    *cut = (struct pretok_cut){.pretok = p};
    cut->match = pcre2_match_data_create(1, NULL);
    cut->limits = pcre2_match_context_create(NULL);
    return cut->match && cut->limits;
}

void pretok_cut_release(struct pretok_cut *cut)
{
    pcre2_match_data_free(cut->match);
    pcre2_match_context_free(cut->limits);
    *cut = (struct pretok_cut){0};
}

void pretok_begin(struct pretok_cut *cut, struct str text)
{
    cut->stage[0] = (struct pretok_stage){.piece = text};
    cut->depth = 1;
    /* No expression takes more than a few steps per byte; the limit only makes sure. */
    pcre2_set_match_limit(cut->limits, (uint32_t)MIN(10000 + 16 * text.len, (size_t)UINT32_MAX));
}

/* Finds the match at or after what was given out; none: from is the end. */
static int32_t find_match(struct pretok_cut *cut, int i)
{
    struct pretok_stage *stage = &cut->stage[i];
    const pcre2_code *code = cut->pretok->code[i];
    const uint8_t *subject = (const uint8_t *)stage->piece.ptr;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int n =
        pcre2_match(code, subject, stage->piece.len, stage->at, options, cut->match, cut->limits);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(code, subject, stage->piece.len, stage->at, options | PCRE2_NO_JIT,
                        cut->match, cut->limits);
    if (n == PCRE2_ERROR_NOMATCH) {
        stage->from = stage->to = stage->piece.len;
        return INFLIGHT_OK;
    }
    if (n < 0)
        return n == PCRE2_ERROR_NOMEMORY ? INFLIGHT_E_NOMEM : INFLIGHT_E_INTERNAL;
    const size_t *ends = pcre2_get_ovector_pointer(cut->match);
    stage->from = ends[0];
    stage->to = ends[1];
    return INFLIGHT_OK;
}

/* The next match of stage i, or the text before it. */
static int32_t next_piece(struct pretok_cut *cut, int i, struct str *piece)
{
    struct pretok_stage *stage = &cut->stage[i];
    if (stage->at == stage->to) {
        int32_t code = find_match(cut, i);
        if (code)
            return code;
    }
    size_t end = stage->at < stage->from ? stage->from : stage->to;
    *piece = (struct str){stage->piece.ptr + stage->at, end - stage->at};
    stage->at = end;
    return INFLIGHT_OK;
}

int32_t pretok_next(struct pretok_cut *cut, struct str *word)
{
    while (cut->depth > 0) {
        int i = cut->depth - 1;
        if (cut->stage[i].at == cut->stage[i].piece.len) {
            cut->depth--;
            continue;
        }
        int32_t code = next_piece(cut, i, word);
        if (code)
            return code;
        if (cut->depth == cut->pretok->n_stages)
            return 1;
        cut->stage[cut->depth++] = (struct pretok_stage){.piece = *word};
    }
    return 0;
}
