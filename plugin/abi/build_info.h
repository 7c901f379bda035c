/* What this build is and can do, as JSON. */
#pragma once

#include "../base/buf.h"

void build_info_print(struct buf *out); /* an object */
void build_caps_print(struct buf *out); /* an array of strings */
