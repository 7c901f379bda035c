/* Any bytes as a configuration: refused with a message, or accepted, and then what is
 * printed is accepted and prints the same. */
#include "plugin/base/buf.h"
#include "plugin/config/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_again(const struct buf *printed)
{
    struct arena arena;
    struct config config;
    struct buf again;
    arena_init(&arena, &mem_system);
    buf_init(&again, &mem_system);
    struct str text = {printed->ptr, printed->len};
    if (config_parse(&config, text, NULL, &arena, NULL))
        __builtin_trap();
    config_print(&config, &again);
    if (again.len != printed->len || memcmp(again.ptr, printed->ptr, again.len))
        __builtin_trap();
    buf_release(&again);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct config config;
    struct err err = {0};
    struct buf printed;
    arena_init(&arena, &mem_system);
    buf_init(&printed, &mem_system);
    const char *name = size & 1 ? "folder/engine.yaml" : NULL;
    struct str text = {(const char *)data, size};
    if (!config_parse(&config, text, name, &arena, &err)) {
        config_print(&config, &printed);
        print_again(&printed);
    } else if (!err.code || !err.text[0]) {
        __builtin_trap();
    }
    buf_release(&printed);
    arena_release(&arena);
    return 0;
}
