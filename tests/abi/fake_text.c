/* The stand-in's tokenizer and template: a token is a byte, a prompt is its message. */
#include "plugin/model/model.h"

#include <string.h>

static unsigned char bytes[256];

const struct tokenizer *model_tokenizer(const struct model *m)
{
    (void)m;
    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    return (const struct tokenizer *)(const void *)bytes;
}

const struct chat *model_chat(const struct model *m)
{
    return (const struct chat *)(const void *)m;
}

int32_t tokenizer_encode(const struct tokenizer *t, struct str text, const uint8_t *trusted,
                         bool add_start, struct buf *out, struct err *err)
{
    (void)t;
    (void)trusted;
    (void)add_start;
    for (size_t i = 0; i < text.len; i++) {
        int32_t id = (unsigned char)text.ptr[i];
        buf_put(out, &id, sizeof id);
    }
    return out->failed ? err_set(err, INFLIGHT_E_NOMEM, "no memory for tokens") : INFLIGHT_OK;
}

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    const char *piece = (const char *)(const void *)t;
    return id >= 0 && id < 256 ? (struct str){piece + id, 1} : (struct str){"", 0};
}

struct str tokenizer_name(const struct tokenizer *t, int32_t id)
{
    return tokenizer_piece(t, id);
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    (void)t;
    return 'B';
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    (void)t;
    return 'E';
}

int32_t chat_render(const struct chat *chat, const struct chat_input *input, struct buf *text,
                    struct buf *trusted, struct err *err)
{
    (void)chat;
    (void)trusted;
    if (!input->messages.len)
        return err_set(err, INFLIGHT_E_ARG, "no messages");
    buf_put(text, input->bos.ptr, input->bos.len);
    buf_put(text, input->messages.ptr, input->messages.len);
    return INFLIGHT_OK;
}
