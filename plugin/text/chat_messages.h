/* The host's input -> variables of the template. */
#pragma once

#include "chat.h"
#include "jinja.h"

/* Sets messages and all else the JSON holds, and what the library adds. */
int32_t chat_set_variables(struct run *run, const struct chat_input *input, struct err *err);
