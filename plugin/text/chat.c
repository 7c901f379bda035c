/* The model's chat template: compiled once, one rendering per prompt. The compiled template
 * is read only, all that changes belongs to the call, so renderings need no lock. */
#include "chat.h"

#include "chat_messages.h"

struct chat {
    const struct mem *mem;
    struct program program;
};

int32_t chat_open(struct chat **out, struct str source, const struct mem *mem, struct err *err)
{
    struct chat *chat = mem_take_zeroed(mem, sizeof *chat, CACHE_LINE);
    *out = NULL;
    if (!chat)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the chat template");
    chat->mem = mem;
    int32_t rc = jinja_compile(&chat->program, source, mem, err);
    if (rc != INFLIGHT_OK) {
        chat_close(chat);
        return rc;
    }
    *out = chat;
    return INFLIGHT_OK;
}

void chat_close(struct chat *chat)
{
    if (!chat)
        return;
    arena_release(&chat->program.arena);
    mem_give(chat->mem, chat, sizeof *chat);
}

int32_t chat_render(const struct chat *chat, const struct chat_input *input, struct buf *text,
                    struct buf *trusted, struct err *err)
{
    struct run run;
    int32_t rc = jinja_begin(&run, &chat->program, chat->mem, err);
    if (rc == INFLIGHT_OK)
        rc = chat_set_variables(&run, input, err);
    if (rc == INFLIGHT_OK)
        rc = jinja_render(&run, text, trusted);
    jinja_end(&run);
    return rc;
}
