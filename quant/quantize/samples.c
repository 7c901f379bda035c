#include "samples.h"

#include "../../plugin/base/utf8.h"
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

/* The start token, if the model wants one, or -1. */
static int32_t start_of(const struct tokenizer *t)
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

static int32_t cut(struct samples *s, const char *path, const int32_t *token, int64_t n_tokens,
                   int32_t start, struct arena *arena, struct err *err)
{
    const int64_t there = n_tokens / s->length;
    const size_t length = (size_t)s->length;
    if (there < 1)
        return err_set(err, INFLIGHT_E_ARG, "%s has %lld tokens, a sample needs %d", path,
                       (long long)n_tokens, s->length);
    s->n = (int32_t)MIN(there, s->n);
    s->token = arena_take_array(arena, (size_t)s->n * length, sizeof *s->token);
    if (!s->token)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d samples", s->n);
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

int32_t samples_read(struct samples *s, const char *path, const struct checkpoint *c, int32_t V,
                     int32_t n, int32_t length, struct arena *arena, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    struct buf tokens;
    *s = (struct samples){.n = n, .length = length};
    if (tokenizer_open_folder(&tokenizer, &c->folder, arena, err))
        return err_prefix(err, "%s", c->path);
    buf_init(&tokens, &mem_system);
    int32_t rc = encode(tokenizer, path, &tokens, err);
    if (!rc)
        rc = cut(s, path, (const int32_t *)(const void *)tokens.ptr,
                 (int64_t)(tokens.len / sizeof(int32_t)), start_of(tokenizer), arena, err);
    if (!rc)
        rc = check(s, V, err);
    buf_release(&tokens);
    tokenizer_close(tokenizer);
    return rc;
}
