/* Extension "inflight.text/1". */
#pragma once

#include "../../include/inflight.h"

extern const inflight_text_api abi_text_table;
