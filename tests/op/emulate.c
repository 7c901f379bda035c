/* In place of cpuid.c in a build with EMULATE, whose kernels run on any processor. */
#include "../../kernels/cpu/cpuid.h"

enum isa cpu_best(void)
{
    return (enum isa)(ISA_COUNT - 1);
}

bool cpu_can(enum isa isa)
{
    return isa > ISA_AUTO && isa < ISA_COUNT;
}

/* Every kernel is met: what is left of tiles in pairs goes alone. */
struct cpu_habits cpu_habits(void)
{
    return (struct cpu_habits){.loads_bound = true};
}
