/* Any bytes as a request's options: an error with a text, or values in their ranges. */
#include "plugin/config/options.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sampling s = sampling_default();
    struct err err = {0};
    struct arena arena;
    arena_init(&arena, &mem_system);
    int32_t rc = options_parse(&s, (struct str){(const char *)data, size}, &arena, &err);
    bool valid = s.temperature >= 0 && s.temperature <= 100 && s.top_p >= 0 && s.top_p <= 1 &&
                 s.min_p >= 0 && s.min_p <= 1 && s.top_k >= 0 && s.repetition_penalty > 0 &&
                 s.n >= 1 && s.n <= 16 && s.logprobs >= -1 && s.logprobs <= TOP_LOGPROBS &&
                 s.n_stop <= 16 && s.n_bias <= 1024 && s.max_tokens >= 0 && s.min_tokens >= 0;
    size_t bytes = 0;
    for (int32_t i = 0; i < s.n_stop; i++)
        bytes += s.stop[i].len;
    if (!valid || bytes > 16 * 256 || (rc != INFLIGHT_OK) != (err.text[0] != '\0'))
        abort();
    arena_release(&arena);
    return 0;
}
