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

size_t cpu_fetch_ahead(void)
{
    return 0;
}
