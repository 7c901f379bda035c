/* Any bytes as tokenizer.model, the protobuf of SentencePiece. */
#include <stdlib.h>

#include "tests/fuzz/tokenizer_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory_folder m;
    memory_folder_init(&m, &mem_system);
    memory_folder_add(&m, "tokenizer.model", data, size);
    try_folder(&m);
    return 0;
}
