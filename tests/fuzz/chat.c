/* A chat template and messages from the same bytes, with 0xff (never in UTF-8) between
 * them. Whatever they are: no crash, no leak, one mark per byte, a text for every error. */
#include "plugin/text/chat.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xff, size) : NULL;
    struct str source = {(const char *)data, cut ? (size_t)(cut - data) : size};
    struct str messages = {"hello", 5};
    struct err err = {0};
    struct chat *chat;
    if (cut)
        messages = (struct str){(const char *)cut + 1, size - source.len - 1};
    if (chat_open(&chat, source, &mem_system, &err) != INFLIGHT_OK) {
        if (!err.text[0])
            abort();
        return 0;
    }
    struct buf text, trusted;
    struct chat_input input = {messages, {"<s>", 3}, {"</s>", 4}, true};
    buf_init(&text, &mem_system);
    buf_init(&trusted, &mem_system);
    int32_t rc = chat_render(chat, &input, &text, &trusted, &err);
    if (text.len != trusted.len || (rc != INFLIGHT_OK && (text.len || !err.text[0])))
        abort();
    chat_close(chat);
    buf_release(&text);
    buf_release(&trusted);
    return 0;
}
