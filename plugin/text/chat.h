/* The model's own chat template: a small bounded interpreter of the Jinja subset that
 * such templates use. Compiled once at load, rendered by any thread.
 *
 * Every byte of the result is marked trusted if it comes from the template (or from
 * the start and end token names), untrusted if it comes from the messages: the
 * tokenizer recognises control tokens in trusted bytes only. */
#pragma once

#include "../base/arena.h"
#include "../base/buf.h"
#include "../base/err.h"

struct chat;

/* Compiles source. Errors say line:column. Memory from mem until close. */
int32_t chat_open(struct chat **out, struct str source, const struct mem *mem, struct err *err);
void chat_close(struct chat *chat);

struct chat_input {
    struct str messages; /* JSON array, or object with "messages" (and "tools", ...), or plain
                              text, which becomes one user message */
    struct str bos, eos; /* names of the model's start and end tokens, may be empty */
    bool add_generation_prompt;
};

/* Appends the prompt to text and one byte (1 trusted, 0 not) per byte to trusted.
 * Bounded in steps, depth and bytes. INFLIGHT_E_ARG: messages are not what they should
 * be, or the template raised an exception (its text is the error); INFLIGHT_E_MODEL:
 * the template does something unsupported. */
int32_t chat_render(const struct chat *chat, const struct chat_input *input, struct buf *text,
                    struct buf *trusted, struct err *err);
