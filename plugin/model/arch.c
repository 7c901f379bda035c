#include "arch.h"

#include <string.h>

#define ARCH(id) extern const struct arch arch_##id;
#include "arch/list.def"
#undef ARCH

const struct arch *const arch_list[] = {
#define ARCH(id) &arch_##id,
#include "arch/list.def"
#undef ARCH
    NULL,
};

const struct arch *arch_find(const char *id)
{
    for (const struct arch *const *row = arch_list; *row; row++)
        if (strcmp((*row)->id, id) == 0)
            return *row;
    return NULL;
}

const struct arch *arch_find_type(const char *model_type)
{
    for (const struct arch *const *row = arch_list; *row; row++)
        for (const char *const *type = (*row)->model_type; *type; type++)
            if (strcmp(*type, model_type) == 0)
                return *row;
    return NULL;
}
