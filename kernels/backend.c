#include "backend.h"

#include <string.h>

#define BACKEND(name) extern const struct backend backend_##name;
#include "backends.def"
#undef BACKEND

const struct backend *const backends[] = {
#define BACKEND(name) &backend_##name,
#include "backends.def"
#undef BACKEND
    NULL,
};

const struct backend *backend_find(const char *name)
{
    for (const struct backend *const *b = backends; *b; b++)
        if (strcmp((*b)->name, name) == 0)
            return *b;
    return NULL;
}
