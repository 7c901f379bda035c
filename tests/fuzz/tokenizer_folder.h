/* A tokenizer of a folder with one file of any bytes: it opens or is refused, and encodes and
 * decodes what it opens. */
#pragma once

#include "plugin/text/tokenizer.h"
#include "tests/unit/memory_folder.h"

static inline void try_folder(const struct memory_folder *m)
{
    static const char text[] = "the <|im_end|> aaab  \n 12\xff\u00e9e\u0301\u1112\u1161\u11ab\u2581"
                               "\uff21\ufdfa fox <s>|.''x\u3000\u00a0z";
    struct arena arena;
    struct err err = {0};
    struct tokenizer *t = NULL;
    arena_init(&arena, &mem_system);
    if (tokenizer_open_folder(&t, &m->folder, &arena, &err) == 0) {
        struct buf ids;
        buf_init(&ids, &mem_system);
        (void)tokenizer_encode(t, (struct str){text, sizeof text - 1}, (const uint8_t *)text, true,
                               &ids, &err);
        (void)tokenizer_encode(t, (struct str){text, sizeof text - 1}, NULL, false, &ids, &err);
        for (size_t i = 0; i < ids.len; i += sizeof(int32_t)) {
            int32_t id;
            memcpy(&id, ids.ptr + i, sizeof id);
            if (id < 0 || id >= tokenizer_n(t))
                abort();
        }
        for (int32_t id = -1; id <= tokenizer_n(t); id++)
            (void)(tokenizer_piece(t, id).len + tokenizer_is_end(t, id));
        buf_release(&ids);
    } else if (err.code == 0 || err.text[0] == 0 || t) {
        abort();
    }
    tokenizer_close(t);
    arena_release(&arena);
}
