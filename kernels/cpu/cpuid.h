/* What this processor, and the operating system on it, can run. */
#pragma once

#include "cpu.h"

/* True if every instruction of that table can be used. ISA_AUTO: false. */
bool cpu_can(enum isa isa);

/* The fastest that can be used, which need not be the last; at least ISA_ID_PLAIN. */
enum isa cpu_best(void);

struct cpu_habits cpu_habits(void);
