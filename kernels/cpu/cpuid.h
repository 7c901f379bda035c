/* What this processor, and the operating system on it, can run. */
#pragma once

#include "cpu.h"

/* True if every instruction of that table can be used. ISA_AUTO: false. */
bool cpu_can(enum isa isa);

/* The fastest that can be used, which need not be the last; at least ISA_ID_PLAIN. */
enum isa cpu_best(void);

/* How many bytes before their use weights in integers are best fetched, whatever the instruction
 * set; 0: as many as each set has found for itself. */
size_t cpu_fetch_ahead(void);
