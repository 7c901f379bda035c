/* IBM's Granite 3 and 4, dense: Llama with multipliers. */
#include "../arch.h"

extern const struct arch arch_granite;

const struct arch arch_granite = {
    .id = "granite",
    .model_type = {"granite"},
    .multiplied = true,
};
