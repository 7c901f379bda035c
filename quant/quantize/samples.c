#include "samples.h"

#include "../../plugin/base/utf8.h"
#include "../../plugin/model/hparams.h"
#include "../../plugin/text/tokenizer.h"

#include <string.h>

static int32_t encode(const struct tokenizer *t, const char *path, struct buf *tokens,
                      struct err *err)
{
    struct file file;
    struct buf scratch;
    if (file_open(&file, path, NULL, err))
        return err->code;
    buf_init(&scratch, &mem_system);
    struct str text = {.len = (size_t)file.bytes};
    text.ptr = file_view(&file, 0, text.len, &scratch, err);
    size_t valid = text.ptr ? utf8_valid(text.ptr, text.len) : 0;
    int32_t rc = err->code;
    if (!rc && valid < text.len)
        rc = err_set(err, INFLIGHT_E_ARG, "%s: byte %zu is not UTF-8: it is no text", path, valid);
    if (!rc && tokenizer_encode(t, text, NULL, false, tokens, err))
        rc = err_prefix(err, "%s", path);
    buf_release(&scratch);
    file_close(&file);
    return rc;
}

int32_t samples_start(const struct tokenizer *t)
{
    struct err ignored = {0};
    struct buf tokens;
    int32_t start = -1;
    buf_init(&tokens, &mem_system);
    if (!tokenizer_encode(t, (struct str){"", 0}, NULL, true, &tokens, &ignored) &&
        tokens.len >= sizeof start)
        memcpy(&start, tokens.ptr, sizeof start);
    if (start != tokenizer_bos(t))
        start = -1;
    buf_release(&tokens);
    return start;
}

static int32_t take(struct samples *s, struct arena *arena, struct err *err)
{
    s->token = arena_take_array(arena, (size_t)s->n * (size_t)s->length, sizeof *s->token);
    return s->token ? INFLIGHT_OK
                    : err_set(err, INFLIGHT_E_NOMEM, "no memory for %d samples", s->n);
}

static int32_t cut(struct samples *s, const char *path, const int32_t *token, int64_t n_tokens,
                   int32_t start, struct arena *arena, struct err *err)
{
    const int64_t there = n_tokens / s->length;
    const size_t length = (size_t)s->length;
    if (there < 1)
        return err_set(err, INFLIGHT_E_ARG, "%s has %lld tokens, a sample needs %d", path,
                       (long long)n_tokens, s->length);
    s->n = (int32_t)MIN(there, s->n);
    if (take(s, arena, err))
        return err->code;
    for (int64_t i = 0; i < s->n; i++) {
        int32_t *to = s->token + i * s->length;
        memcpy(to, token + i * there / s->n * s->length, length * sizeof *to);
        if (start >= 0)
            to[0] = start;
    }
    return INFLIGHT_OK;
}

static int32_t check(const struct samples *s, int32_t V, struct err *err)
{
    for (int64_t i = 0; i < (int64_t)s->n * s->length; i++)
        if (s->token[i] < 0 || s->token[i] >= V)
            return err_set(err, INFLIGHT_E_MODEL,
                           "the tokenizer knows token %d, the model has %d tokens", s->token[i], V);
    return INFLIGHT_OK;
}

static int32_t read_text(struct samples *s, const struct samples_source *source, int32_t V,
                         struct arena *arena, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    struct buf tokens;
    if (tokenizer_open_folder(&tokenizer, &source->checkpoint->folder, arena, err))
        return err_prefix(err, "%s", source->checkpoint->path);
    buf_init(&tokens, &mem_system);
    int32_t rc = encode(tokenizer, source->text, &tokens, err);
    if (!rc)
        rc = cut(s, source->text, (const int32_t *)(const void *)tokens.ptr,
                 (int64_t)(tokens.len / sizeof(int32_t)), samples_start(tokenizer), arena, err);
    if (!rc)
        rc = check(s, V, err);
    buf_release(&tokens);
    tokenizer_close(tokenizer);
    return rc;
}

int32_t samples_take(struct samples *s, const struct samples_source *source, struct arena *arena,
                     struct err *err)
{
    struct hparams h;
    *s = (struct samples){.n = source->n, .length = source->length};
    if (hparams_read(&h, source->checkpoint, err))
        return err_prefix(err, "%s", source->checkpoint->path);
    if (source->length > h.context)
        return err_set(err, INFLIGHT_E_ARG, "samples of %d tokens: %s has contexts of %d",
                       source->length, source->checkpoint->path, h.context);
    if (source->text)
        return read_text(s, source, h.V, arena, err);
    return take(s, arena, err) ? err->code : samples_write(s, source, h.V, arena, err);
}

int32_t samples_some(struct samples *some, const struct samples *all, int32_t n,
                     struct arena *arena, struct err *err)
{
    const size_t length = (size_t)all->length;
    *some = *all;
    if (n >= all->n)
        return INFLIGHT_OK;
    some->n = n;
    if (take(some, arena, err))
        return err->code;
    for (int64_t i = 0; i < n; i++)
        memcpy(some->token + i * all->length, all->token + i * all->n / n * all->length,
               length * sizeof *some->token);
    return INFLIGHT_OK;
}
