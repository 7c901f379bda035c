/* What this processor, and the operating system on it, can run. */
#pragma once

#include "cpu.h"

/* True if every instruction of that table can be used. ISA_AUTO: false. */
bool cpu_can(enum isa isa);

/* The best that can be used; at least ISA_ID_PLAIN. */
enum isa cpu_best(void);
