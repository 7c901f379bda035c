/* Any bytes as tokenizer.json, or behind a NUL as tokenizer_config.json of a small vocabulary. */
#include <stdlib.h>

#include "tests/fuzz/tokenizer_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}", merges[] = "#v\na b\n";
    struct memory_folder m;
    memory_folder_init(&m, &mem_system);
    if (size && data[0] == 0) {
        memory_folder_add(&m, "vocab.json", vocab, sizeof vocab - 1);
        memory_folder_add(&m, "merges.txt", merges, sizeof merges - 1);
        memory_folder_add(&m, "tokenizer_config.json", data + 1, size - 1);
        memory_folder_add(&m, "generation_config.json", data + 1, size - 1);
    } else {
        memory_folder_add(&m, "tokenizer.json", data, size);
    }
    try_folder(&m);
    return 0;
}
