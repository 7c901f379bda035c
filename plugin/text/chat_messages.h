/* The host's input -> variables of the template. Part of chat.c, apart because it knows
 * JSON and chat.c does not. */
#pragma once

#include "chat.h"
#include "jinja/jinja.h"

/* Sets messages and all else the JSON holds, and what the library adds. */
int32_t chat_set_variables(struct run *run, const struct chat_input *input, struct err *err);
