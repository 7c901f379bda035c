/* Whether bytes are text that a YAML reader may see: well-formed UTF-8 without control
 * characters. Checked first, because the YAML library does not say where it is not. */
#pragma once

#include "../base/err.h"

/* name: of the text, begins the message. INFLIGHT_E_CONFIG with line and column. */
int32_t config_text_check(struct str text, const char *name, struct err *err);
