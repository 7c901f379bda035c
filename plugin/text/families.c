/* See families.h. */
#include "families.h"

#include "regex.h"

#include <string.h>

#define WS REGEX_WHITE
#define S  "[" WS "]"

/* Runs of spaces leave the last one to the word that follows. */
#define SPACES S "+(?![^" WS "])|" S "+"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES

#define BLOOM " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

/* Of the GPT-4 kind; families differ in how many digits stand together, and in whether ends of
 * lines belong to the marks before them. */
#define GPT4_LINES(DIGITS, ENDS)                                                                \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" DIGITS "| ?[^" WS "\\p{L}\\p{N}]+" ENDS "|" S \
                "*[\\r\\n]+|" SPACES
#define GPT4(DIGITS) GPT4_LINES(DIGITS, "[\\r\\n]*")

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

const char spec_gpt2_words[] = GPT2;

static const struct family rows[] = {
    {.names = "default gpt-2 phi-2 exaone4 granite-docling", .expression = {GPT2}},
    {.names = "mpt olmo", .nfc = true, .expression = {GPT2}},
    {.names = "bloom gpt3-finnish", .expression = {BLOOM}},
    {.names = "falcon", .digits = true, .expression = {"[\\p{P}$+<=>^`|~]+", GPT2}},
    {.names = "smollm starcoder refact exaone", .expression = {"\\p{N}", GPT2}},
    {.names = "command-r", .nfc = true, .expression = {"\\p{N}", GPT2}},
    {.names = "llama-bpe llama3 llama-v3",
     .whole_words = true,
     .start = true,
     .expression = {GPT4("\\p{N}{1,3}")}},
    /* Llama 3's without a start token; files of SmolLM3 have it. */
    {.names = "smaug-bpe glm4", .whole_words = true, .expression = {GPT4("\\p{N}{1,3}")}},
    {.names = "dbrx chatglm-bpe", .expression = {GPT4("\\p{N}{1,3}")}},
    {.names = "seed-coder", .expression = {GPT4_LINES("\\p{N}", "")}},
    {.names = "qwen2 deepseek-r1-qwen stablelm2", .nfc = true, .expression = {GPT4("\\p{N}")}},
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

const struct family *family_find(struct str pre)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (has_word(rows[i].names, pre))
            return &rows[i];
    return NULL;
}

int32_t family_set(const struct family *f, struct spec *s, struct err *err)
{
    s->whole_words = f->whole_words;
    if (f->nfc && !spec_normal(s, NORMAL_NFC, err))
        return err->code;
    for (int i = 0; i < FAMILY_STAGES && f->expression[i]; i++) {
        struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
        if (!step)
            return err->code;
        step->pattern = str_of(f->expression[i]);
    }
    for (int digits = 1; f->digits && digits <= 3; digits += 2) {
        struct pretok_step *step = spec_pretok(s, PRETOK_SPLIT, err);
        if (!step)
            return err->code;
        step->digits = digits;
        step->behavior = digits == 1 ? PRETOK_CONTIGUOUS : PRETOK_ISOLATED;
    }
    return INFLIGHT_OK;
}
