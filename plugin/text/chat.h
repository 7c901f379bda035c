/* The model's own chat template: a small bounded interpreter of the Jinja subset that
 * such templates use. Compiled once at load, rendered by any thread.
 *
 * Every byte of the result is marked trusted if it comes from the template (or from
 * the start and end token names), untrusted if it comes from the messages: the
 * tokenizer recognises control tokens in trusted bytes only. The roles system, developer,
 * user, assistant, tool, function, model and ipython count as the template's words,
 * because templates build control tokens of them: '<|' + role + '|>'.
 *
 * strftime_now() is in UTC and English. tools and documents are none unless given. */
#pragma once

#include "../base/arena.h"
#include "../base/buf.h"
#include "../base/err.h"

struct chat;

/* Compiles source. Errors say line:column. Memory from mem until close. */
int32_t chat_open(struct chat **out, struct str source, const struct mem *mem, struct err *err);
void chat_close(struct chat *chat);

/* messages: a JSON array, or an object with "messages", whose other keys ("tools",
 * "enable_thinking", ...) become variables; anything else is plain text, one message of
 * the user. Broken JSON with a "role" in it is an error. */
struct chat_input {
    struct str messages;
    struct str bos, eos;        /* names of the model's start and end tokens, may be empty */
    bool add_generation_prompt; /* unless the JSON has this key */
};

/* Appends the prompt to text and one byte (1 trusted, 0 not) per byte to trusted.
 * Bounded in steps, depth and bytes. INFLIGHT_E_ARG: messages are not what they should
 * be, a limit is passed, or the template raised an exception (its text is the error);
 * INFLIGHT_E_TOO_LONG: input over 16 MiB or text over 4 MiB; INFLIGHT_E_MODEL: the template
 * does something unsupported. After an error both are as before. [any thread] */
int32_t chat_render(const struct chat *chat, const struct chat_input *input, struct buf *text,
                    struct buf *trusted, struct err *err);
