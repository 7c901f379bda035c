#include "cpuid.h"

#include <cpuid.h>

/* Register states the system saves on a context switch, bits of XCR0. */
#define STATE_YMM 0x06u /* SSE, AVX */
#define STATE_ZMM 0xe6u /* and masks, upper halves, upper sixteen */

#define BIT(n) (1u << (n))

/* Leaf 1. */
#define ECX1_FMA     BIT(12)
#define ECX1_OSXSAVE BIT(27)
#define ECX1_AVX     BIT(28)
#define ECX1_F16C    BIT(29)
/* Leaf 7. */
#define EBX7_AVX2       BIT(5)
#define EBX7_AVX512F    BIT(16)
#define EBX7_AVX512DQ   BIT(17)
#define EBX7_AVX512BW   BIT(30)
#define EBX7_AVX512VL   BIT(31)
#define ECX7_AVX512VBMI BIT(1)
#define ECX7_AVX512VNNI BIT(11)
/* Leaf 7, second page. */
#define EAX71_AVX512BF16 BIT(5)

#define ECX1_FOR_AVX2   (ECX1_FMA | ECX1_AVX | ECX1_F16C)
#define EBX7_FOR_AVX512 (EBX7_AVX512F | EBX7_AVX512DQ | EBX7_AVX512BW | EBX7_AVX512VL)

/* Only where leaf 1 shows OSXSAVE. */
static uint32_t saved_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* The last of the list that can be used. */
static enum isa last_usable(void)
{
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & ECX1_OSXSAVE) ||
        (ecx & ECX1_FOR_AVX2) != ECX1_FOR_AVX2)
        return ISA_ID_PLAIN;
    uint32_t states = saved_states();
    if ((states & STATE_YMM) != STATE_YMM || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ||
        !(ebx & EBX7_AVX2))
        return ISA_ID_PLAIN;
    if ((states & STATE_ZMM) != STATE_ZMM || (ebx & EBX7_FOR_AVX512) != EBX7_FOR_AVX512 ||
        !(ecx & ECX7_AVX512VNNI))
        return ISA_ID_AVX2;
    if (!(ecx & ECX7_AVX512VBMI) || !__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) ||
        !(eax & EAX71_AVX512BF16))
        return ISA_ID_AVX512;
    return ISA_ID_AVX512BF16;
}

static bool is_intel(void)
{
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_INTEL_ebx &&
           ecx == signature_INTEL_ecx && edx == signature_INTEL_edx;
}

/* Of AMD; 0: of another maker. Zen 3 and 4 are 0x19, Zen 5 is 0x1a. */
static uint32_t amd_family(void)
{
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx ||
        ecx != signature_AMD_ecx || edx != signature_AMD_edx ||
        !__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return 0;
    const uint32_t family = eax >> 8 & 0xf;
    return family == 0xf ? family + (eax >> 20 & 0xff) : family;
}

/* Of Intel's processors vdpbf16ps does half as many products a second as fused multiplications of
 * floats: 79 against 164 GOPS of a thread on a Xeon that has AMX, where tiles of floats reach
 * 128. */
enum isa cpu_best(void)
{
    const enum isa last = last_usable();
    return last == ISA_ID_AVX512BF16 && is_intel() ? ISA_ID_AVX512 : last;
}

/* Each instruction set includes the ones before it. */
bool cpu_can(enum isa isa)
{
    return isa > ISA_AUTO && isa < ISA_COUNT && isa <= last_usable();
}

/* Zen 5 by itself reads one stream of weights at 55 to 96 % of what its memory gives, by the
 * format, and two at 30 to 68; asked for 8 KiB before, in all streams together, at 91 to 104 and
 * at 88 to 95. Zen 4 read one stream more slowly so.
 *
 * Both load two lines a cycle, but Zen 5 multiplies two, Zen 4 one. */
struct cpu_habits cpu_habits(void)
{
    if (amd_family() < 0x1a)
        return (struct cpu_habits){0};
    return (struct cpu_habits){.fetch_ahead = 8192, .loads_bound = true};
}
