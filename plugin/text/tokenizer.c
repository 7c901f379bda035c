/* See tokenizer.h. Text is cut four times: at added tokens, at bytes that are not
 * UTF-8, into words, and each word into tokens. */
#include "tokenizer.h"

#include "added.h"
#include "bpe.h"
#include "nfc.h"
#include "pretok.h"
#include "../base/utf8.h"

#include <string.h>

struct tokenizer {
    struct vocab vocab;
    struct bpe bpe;
    struct added added;
    struct pretok pretok;
    bool add_start;
};

static bool is_text(struct str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

int32_t tokenizer_open(struct tokenizer **out, const struct gguf *g, struct arena *arena,
                       struct err *err)
{
    struct str model = {"", 0}, pre = {"default", 7};
    *out = NULL;
    if (!gguf_str(g, "tokenizer.ggml.model", &model))
        return err_set(err, INFLIGHT_E_MODEL,
                       "the file has no tokenizer: tokenizer.ggml.model is missing");
    if (!is_text(model, "gpt2"))
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.model is '%.*s'; supported is 'gpt2', byte-level BPE",
                       (int)MIN(model.len, (size_t)64), model.ptr);
    struct tokenizer *t = arena_take(arena, sizeof *t);
    if (!t)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the tokenizer");
    (void)gguf_str(g, "tokenizer.ggml.pre", &pre);
    int32_t code = pretok_open(&t->pretok, pre, err);
    if (code)
        return code;
    code = vocab_open(&t->vocab, g, arena, err);
    if (code)
        goto fail;
    code = added_open(&t->added, &t->vocab, arena, err);
    if (code)
        goto fail;
    code = bpe_open(&t->bpe, &t->vocab, g, t->pretok.row->whole_words, arena, err);
    if (code)
        goto fail;
    t->add_start = t->pretok.row->start;
    (void)gguf_bool(g, "tokenizer.ggml.add_bos_token", &t->add_start);
    *out = t;
    return INFLIGHT_OK;

fail:
    pretok_close(&t->pretok);
    return code;
}

void tokenizer_close(struct tokenizer *t)
{
    if (t)
        pretok_close(&t->pretok);
}

/* One call of tokenizer_encode. */
struct encoder {
    const struct tokenizer *t;
    struct pretok_cut cut;
    struct buf scratch; /* of long words and of normalisation, never both at once */
    struct buf normal;  /* text in normal form */
    struct buf *out;
};

static int32_t encode_word(struct encoder *e, struct str word)
{
    return bpe_encode(&e->t->bpe, word, &e->scratch, e->out) ? INFLIGHT_OK : INFLIGHT_E_NOMEM;
}

/* text: well-formed UTF-8 without added tokens. */
static int32_t encode_valid(struct encoder *e, struct str text)
{
    if (e->t->pretok.row->nfc && nfc_needed(text)) {
        e->normal.len = 0;
        nfc_put(text, &e->scratch, &e->normal);
        if (e->normal.failed || e->scratch.failed)
            return INFLIGHT_E_NOMEM;
        text = (struct str){e->normal.ptr, e->normal.len};
    }
    struct str word;
    int32_t code;
    pretok_begin(&e->cut, text);
    while ((code = pretok_next(&e->cut, &word)) > 0) {
        code = encode_word(e, word);
        if (code)
            break;
    }
    return code;
}

/* text without added tokens: each run of bytes that are not UTF-8 is a word. */
static int32_t encode_plain(struct encoder *e, struct str text)
{
    int32_t code = INFLIGHT_OK;
    for (size_t at = 0; at < text.len && !code;) {
        struct str rest = {text.ptr + at, text.len - at};
        size_t n = utf8_valid(rest.ptr, rest.len);
        if (n) {
            code = encode_valid(e, (struct str){rest.ptr, n});
        } else {
            n = utf8_invalid(rest.ptr, rest.len);
            code = encode_word(e, (struct str){rest.ptr, n});
        }
        at += n;
    }
    return code;
}

static int32_t encode_text(struct encoder *e, struct str text, const uint8_t *trusted)
{
    int32_t code = INFLIGHT_OK;
    for (size_t at = 0; at < text.len && !code;) {
        size_t end;
        const struct added_token *token = added_find(&e->t->added, text, trusted, at, &end);
        code = encode_plain(e, (struct str){text.ptr + at, end - at});
        at = end;
        if (token && !code) {
            buf_put(e->out, &token->id, sizeof token->id);
            at += token->text.len;
        }
    }
    return code;
}

int32_t tokenizer_encode(const struct tokenizer *t, struct str text, const uint8_t *trusted,
                         bool add_start, struct buf *out, struct err *err)
{
    if (text.len > INT32_MAX)
        return err_set(err, INFLIGHT_E_ARG, "a text of %zu bytes; at most %d can be encoded",
                       text.len, INT32_MAX);
    struct encoder e = {.t = t, .out = out};
    buf_init(&e.scratch, out->mem);
    buf_init(&e.normal, out->mem);
    int32_t code = INFLIGHT_E_NOMEM;
    if (pretok_cut_init(&e.cut, &t->pretok)) {
        if (add_start && t->add_start && t->vocab.bos >= 0)
            buf_put(out, &t->vocab.bos, sizeof t->vocab.bos);
        code = encode_text(&e, text, trusted);
    }
    pretok_cut_release(&e.cut);
    buf_release(&e.scratch);
    buf_release(&e.normal);
    if (!code && out->failed)
        code = INFLIGHT_E_NOMEM;
    if (code == INFLIGHT_E_NOMEM)
        return err_set(err, code, "no memory to encode a text of %zu bytes", text.len);
    return code ? err_set(err, code, "a text of %zu bytes could not be cut into words", text.len)
                : INFLIGHT_OK;
}

int32_t tokenizer_n(const struct tokenizer *t)
{
    return t->vocab.n;
}

static bool is_id(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n;
}

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) ? vocab_piece(&t->vocab, id) : (struct str){"", 0};
}

struct str tokenizer_name(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) ? vocab_name(&t->vocab, id) : (struct str){"", 0};
}

int32_t tokenizer_find(const struct tokenizer *t, struct str name)
{
    return vocab_find(&t->vocab, name);
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) && t->vocab.end[id];
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->vocab.bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->vocab.eos;
}
