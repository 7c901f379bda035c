/* See tokenizer.h. Text is cut at added tokens, at bytes that are not UTF-8, once normalised at
 * further added tokens, into words, and each word into tokens. */
#include "tokenizer.h"

#include "added.h"
#include "bpe.h"
#include "normal.h"
#include "pretok.h"
#include "spec_read.h"
#include "unigram.h"
#include "../base/utf8.h"

#include <string.h>

struct tokenizer {
    struct vocab vocab;
    enum spec_model model;
    struct bpe bpe;
    struct unigram unigram;
    struct added added, added_normalized;
    struct normal normal;
    struct pretok pretok;
    int32_t strip_start;
    int32_t prefix[SPEC_AFFIXES], suffix[SPEC_AFFIXES];
    int n_prefix, n_suffix;
};

/* ---- Opening */

static int32_t open_model(struct tokenizer *t, const struct spec *spec, struct err *err)
{
    t->model = spec->model;
    return spec->model == SPEC_UNIGRAM ? unigram_open(&t->unigram, &t->vocab, spec, err)
                                       : bpe_open(&t->bpe, &t->vocab, spec, err);
}

/* Added tokens that are looked for in normalised text are normalised too, and so they are written:
 * the spaces that they take are part of them. */
static int32_t normalize_added(struct tokenizer *t, struct spec *spec, struct err *err)
{
    struct normal_work work;
    int32_t code = normal_work_init(&work, spec->arena->mem) ? INFLIGHT_OK : INFLIGHT_E_NOMEM;
    for (size_t i = 0; i < spec->n_added && !code; i++) {
        struct str *text = &spec->added[i].text, result;
        if (!spec->added[i].normalized || utf8_valid(text->ptr, text->len) != text->len)
            continue;
        code = normal_run(&t->normal, *text, true, &work, &result);
        if (code || result.ptr == text->ptr)
            continue;
        code = spec_keep(spec, result, text) ? INFLIGHT_OK : INFLIGHT_E_NOMEM;
        spec->name[spec->added[i].id] = *text;
    }
    normal_work_release(&work);
    return code ? err_set(err, code, "%zu added tokens could not be normalised", spec->n_added)
                : INFLIGHT_OK;
}

static int32_t open_parts(struct tokenizer *t, struct spec *spec, struct err *err)
{
    int32_t code = normal_open(&t->normal, spec, err);
    if (!code)
        code = pretok_open(&t->pretok, spec, err);
    if (!code && spec->normalize_added)
        code = normalize_added(t, spec, err);
    if (!code)
        code = vocab_open(&t->vocab, spec, err);
    if (!code)
        code = added_open(&t->added, spec, false, err);
    if (!code)
        code = added_open(&t->added_normalized, spec, true, err);
    if (!code)
        code = open_model(t, spec, err);
    return code;
}

static int32_t open_spec(struct tokenizer **out, struct spec *spec, struct err *err)
{
    struct tokenizer *t = arena_take(spec->arena, sizeof *t);
    if (!t)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the tokenizer");
    int32_t code = open_parts(t, spec, err);
    if (code) {
        tokenizer_close(t);
        return code;
    }
    t->strip_start = spec->strip_start;
    t->n_prefix = spec->n_prefix;
    t->n_suffix = spec->n_suffix;
    memcpy(t->prefix, spec->prefix, sizeof t->prefix);
    memcpy(t->suffix, spec->suffix, sizeof t->suffix);
    *out = t;
    return INFLIGHT_OK;
}

int32_t tokenizer_open(struct tokenizer **out, const struct gguf *g, struct arena *arena,
                       struct err *err)
{
    struct spec spec;
    *out = NULL;
    spec_init(&spec, arena);
    int32_t code = spec_read_gguf(&spec, g, err);
    if (!code)
        code = open_spec(out, &spec, err);
    spec_release(&spec);
    return code;
}

int32_t tokenizer_open_folder(struct tokenizer **out, const struct folder *folder,
                              struct arena *arena, struct err *err)
{
    struct spec spec;
    const char *name = "";
    *out = NULL;
    *err = (struct err){0};
    spec_init(&spec, arena);
    int32_t code = spec_read_folder(&spec, folder, &name, err);
    if (!code && open_spec(out, &spec, err))
        code = err_prefix(err, "%s", name);
    spec_release(&spec);
    return code;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    normal_close(&t->normal);
    pretok_close(&t->pretok);
    regex_trim();
}

/* ---- Encoding */

/* One call of tokenizer_encode. */
struct encoder {
    const struct tokenizer *t;
    struct pretok_cut cut;
    struct normal_work work;
    struct buf scratch; /* of long words */
    struct buf *out;
};

static int32_t encode_word(struct encoder *e, struct str word)
{
    const struct tokenizer *t = e->t;
    bool ok = t->model == SPEC_UNIGRAM ? unigram_encode(&t->unigram, word, &e->scratch, e->out)
                                       : bpe_encode(&t->bpe, word, &e->scratch, e->out);
    return ok ? INFLIGHT_OK : INFLIGHT_E_NOMEM;
}

/* text: normalised, without added tokens. begins: at the beginning of the input. */
static int32_t encode_words(struct encoder *e, struct str text, bool begins)
{
    struct str word;
    int32_t code = pretok_begin(&e->cut, text, begins);
    while (!code && (code = pretok_next(&e->cut, &word)) > 0)
        code = encode_word(e, word);
    return code;
}

/* text: normalised, with such added tokens as are looked for in it. */
static int32_t encode_normal(struct encoder *e, struct str text, bool begins)
{
    int32_t code = INFLIGHT_OK;
    for (size_t at = 0; at < text.len && !code;) {
        struct added_match m = added_find(&e->t->added_normalized, text, NULL, at);
        code = encode_words(e, (struct str){text.ptr + at, m.at - at}, begins && at == 0);
        if (m.token)
            buf_put(e->out, &m.token->id, sizeof m.token->id);
        at = m.end;
    }
    return code;
}

/* Where text stands that is encoded apart. */
struct place {
    bool begins_section; /* behind an added token, or at the beginning of the input */
    bool begins_input;
};

/* text: well-formed UTF-8 without added tokens. */
static int32_t encode_valid(struct encoder *e, struct str text, struct place place)
{
    int32_t code = normal_run(&e->t->normal, text, place.begins_section, &e->work, &text);
    return code ? code : encode_normal(e, text, place.begins_input);
}

/* text without added tokens: each run of bytes that are not UTF-8 is a word. */
static int32_t encode_section(struct encoder *e, struct str text, bool begins_input)
{
    int32_t code = INFLIGHT_OK;
    for (size_t at = 0; at < text.len && !code;) {
        struct str rest = {text.ptr + at, text.len - at};
        size_t n = utf8_valid(rest.ptr, rest.len);
        if (n) {
            struct place place = {at == 0, at == 0 && begins_input};
            code = encode_valid(e, (struct str){rest.ptr, n}, place);
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
        struct added_match m = added_find(&e->t->added, text, trusted, at);
        code = encode_section(e, (struct str){text.ptr + at, m.at - at}, at == 0);
        if (m.token)
            buf_put(e->out, &m.token->id, sizeof m.token->id);
        at = m.end;
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
    int32_t code = INFLIGHT_E_NOMEM;
    bool cut = pretok_cut_init(&e.cut, &t->pretok, out->mem);
    if (normal_work_init(&e.work, out->mem) && cut) {
        if (add_start)
            buf_put(out, t->prefix, (size_t)t->n_prefix * sizeof *t->prefix);
        code = encode_text(&e, text, trusted);
        if (add_start)
            buf_put(out, t->suffix, (size_t)t->n_suffix * sizeof *t->suffix);
    }
    pretok_cut_release(&e.cut);
    normal_work_release(&e.work);
    buf_release(&e.scratch);
    if (!code && out->failed)
        code = INFLIGHT_E_NOMEM;
    if (code == INFLIGHT_E_NOMEM)
        return err_set(err, code, "no memory to encode a text of %zu bytes", text.len);
    return code ? err_set(err, code,
                          "a text of %zu bytes could not be cut into words: an expression of the "
                          "tokenizer takes too long on it",
                          text.len)
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

int32_t tokenizer_strip_start(const struct tokenizer *t)
{
    return t->strip_start;
}

struct str tokenizer_strip(struct str piece, int32_t *left)
{
    for (; *left && piece.len && piece.ptr[0] == ' '; --*left)
        piece = (struct str){piece.ptr + 1, piece.len - 1};
    if (piece.len)
        *left = 0;
    return piece;
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
