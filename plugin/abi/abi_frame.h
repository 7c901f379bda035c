/* Extension "inflight.frame/1". */
#pragma once

#include "../../include/inflight.h"

extern const inflight_frame_api abi_frame_table;
