/* The tokenizer and the chat template of the model in fake.c. */
#include "fake.h"

struct tokenizer {
    int32_t n;
};

struct chat {
    int none;
};

static char byte_of[FAKE_END]; /* each its own index */

void fake_text_reset(void)
{
    for (int i = 0; i < FAKE_END; i++)
        byte_of[i] = (char)i;
}

const struct tokenizer *fake_tokenizer(void)
{
    static const struct tokenizer tokenizer = {FAKE_V};
    return &tokenizer;
}

const struct chat *fake_chat(void)
{
    static const struct chat chat;
    return &chat;
}

int32_t tokenizer_encode(const struct tokenizer *t, struct str text, const uint8_t *trusted,
                         bool add_start, struct buf *out, struct err *err)
{
    (void)t, (void)trusted, (void)add_start, (void)err;
    for (size_t i = 0; i < text.len; i++) {
        int32_t id = (uint8_t)text.ptr[i] == FAKE_BEYOND ? FAKE_V : (uint8_t)text.ptr[i] % FAKE_END;
        buf_put(out, &id, sizeof id);
    }
    return INFLIGHT_OK;
}

int32_t tokenizer_n(const struct tokenizer *t)
{
    return t->n;
}

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    (void)t;
    return id < 0 || id >= FAKE_END ? (struct str){"", 0} : (struct str){&byte_of[id], 1};
}

int32_t tokenizer_strip_start(const struct tokenizer *t)
{
    (void)t;
    return 0;
}

struct str tokenizer_strip(struct str piece, int32_t *left)
{
    (void)left;
    return piece;
}

struct str tokenizer_name(const struct tokenizer *t, int32_t id)
{
    return id == FAKE_END ? (struct str){"<end>", 5} : tokenizer_piece(t, id);
}

int32_t tokenizer_find(const struct tokenizer *t, struct str name)
{
    (void)t;
    return name.len == 1 ? (uint8_t)name.ptr[0] % FAKE_END : -1;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    (void)t;
    return id == FAKE_END;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    (void)t;
    return -1;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    (void)t;
    return FAKE_END;
}

int32_t chat_render(const struct chat *chat, const struct chat_input *input, struct buf *text,
                    struct buf *trusted, struct err *err)
{
    (void)chat;
    if (input->messages.len && input->messages.ptr[0] == '!')
        return err_set(err, INFLIGHT_E_ARG, "the template raised an exception");
    buf_put_text(text, "user:");
    buf_put(text, input->messages.ptr, input->messages.len);
    for (size_t i = 0; i < text->len; i++)
        buf_put_char(trusted, i < 5);
    return INFLIGHT_OK;
}
