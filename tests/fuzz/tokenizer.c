/* Any bytes through every family of pre-tokenizers and back. The first byte chooses
 * the family, the second how tokens are handed to the detokenizer. Where the family
 * does not normalise, the pieces put together must be the input. */
#include "plugin/detok.h"
#include "plugin/base/utf8.h"
#include "tests/unit/text_model.h"

static const struct text_token tokens[] = {
    {"th", 1},           {"the", 1},        {"\u0120the", 1},    {"ab", 1},
    {"aa", 1},           {"aaaa", 1},       {"\u0120\u0120", 1}, {"\u00c3\u00a9", 1},
    {"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<think>", 4},      {"12", 1},
};
static const char *const merges[] = {"t h",   "th e",          "\u0120 the",    "a b", "a a",
                                     "aa aa", "\u0120 \u0120", "\u00c3 \u00a9", "1 2"};
static const char *const families[] = {"gpt-2",  "smollm", "llama-bpe",      "qwen2",
                                       "tekken", "gpt-4o", "deepseek-coder", "deepseek-v3"};

#define N_FAMILIES COUNT_OF(families)

static struct text_model *open_family(size_t i)
{
    static struct text_model *model[N_FAMILIES];
    if (!model[i]) {
        model[i] = malloc(sizeof *model[i]);
        if (!model[i] || text_model_open(model[i], "gpt2", families[i], tokens, COUNT_OF(tokens),
                                         merges, COUNT_OF(merges), 265))
            abort();
    }
    return model[i];
}

/* The pieces must be the text without what control tokens stood for. */
static void check_pieces(const struct tokenizer *t, struct str text, const struct buf *ids)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->len; i += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, ids->ptr + i, sizeof id);
        struct str piece = tokenizer_piece(t, id);
        if (piece.len == 0)
            piece = tokenizer_name(t, id);
        if (piece.len > text.len - at || memcmp(text.ptr + at, piece.ptr, piece.len) != 0)
            abort();
        at += piece.len;
    }
    if (at != text.len)
        abort();
}

/* Through the detokenizer: what comes out is UTF-8, and nothing is left. */
static void check_text(const struct tokenizer *t, const struct buf *ids, uint8_t chunk)
{
    static const struct str stop[] = {{"the end", 7}, {"\u00e9\u00e9", 4}};
    struct detok d;
    struct buf out;
    enum detok_result result = DETOK_GO;
    detok_init(&d, t, stop, chunk % 3, &mem_system);
    buf_init(&out, &mem_system);
    for (size_t i = 0; i < ids->len && result == DETOK_GO; i += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, ids->ptr + i, sizeof id);
        result = detok_push(&d, id, &out);
        if (utf8_valid(out.ptr, out.len) != out.len || d.held.len > 9)
            abort();
    }
    if (result == DETOK_GO)
        result = detok_flush(&d, &out);
    if (result == DETOK_NOMEM || utf8_valid(out.ptr, out.len) != out.len)
        abort();
    buf_release(&out);
    detok_release(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t family = data[0] % N_FAMILIES;
    struct text_model *m = open_family(family);
    struct str text = {(const char *)data + 2, size - 2};
    const uint8_t *trusted = data[1] & 0x80 ? data + 2 : NULL; /* all but the NUL bytes */
    struct buf ids;
    buf_init(&ids, &mem_system);
    if (tokenizer_encode(m->tokenizer, text, trusted, true, &ids, &m->err))
        abort();
    if (strcmp(families[family], "qwen2") != 0)
        check_pieces(m->tokenizer, text, &ids);
    check_text(m->tokenizer, &ids, data[1]);
    buf_release(&ids);
    return 0;
}
