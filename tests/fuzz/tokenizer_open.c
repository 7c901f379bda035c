/* Any GGUF image as a tokenizer: it opens or is refused, and encodes what it opens. */
#include "plugin/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "the <|im_end|> aaab\n 12\xff\u00e9e\u0301\u1112\u1161\u11ab";
    struct arena arena;
    struct gguf g;
    struct err err;
    struct tokenizer *t = NULL;
    size_t need;
    arena_init(&arena, &mem_system);
    if (gguf_parse(&g, data, size, size, &arena, &need, &err) == 0 &&
        tokenizer_open(&t, &g, &arena, &err) == 0) {
        struct buf ids;
        buf_init(&ids, &mem_system);
        (void)tokenizer_encode(t, (struct str){text, sizeof text - 1}, (const uint8_t *)text, true,
                               &ids, &err);
        for (int32_t id = -1; id <= tokenizer_n(t); id++)
            (void)(tokenizer_piece(t, id).len + tokenizer_is_end(t, id));
        buf_release(&ids);
    }
    tokenizer_close(t);
    arena_release(&arena);
    return 0;
}
