/* What the simulated GPU objects to: the first fault of a launch ends it, is printed with its
 * place, and becomes the driver's sticky error, as on hardware. */
#pragma once

#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_OUT_OF_BOUNDS, /* outside every allocation, the shared window or a variable */
    FAULT_MISALIGNED,
    FAULT_FREED,         /* inside an allocation that was given back */
    FAULT_UNINITIALISED, /* a byte that nobody wrote */
    FAULT_RACE,          /* two warps of a CTA at one byte between barriers, one writes */
    FAULT_IN_FLIGHT,     /* a byte whose cp.async was not waited for */
    FAULT_DIVERGENT,     /* lanes of a .sync instruction or a barrier elsewhere or gone */
    FAULT_DEADLOCK,      /* every warp of a CTA waits */
    FAULT_TRAP,          /* trap, or an instruction's own rule broken */
    FAULT_EARLY,         /* an access that did not wait for the kernels before, overlap.h */
    FAULT_TIMEOUT,       /* more instructions than a launch may take */
    FAULT_KINDS
};

/* Names of the kinds for people: "out of bounds". */
extern const char *const fault_names[FAULT_KINDS];

struct fault {
    enum fault_kind kind;
    char text[512]; /* kind, what, function, PTX line and its text, CTA, warp, lane */
};

struct warp;
struct ptx_instr;

/* Ends the launch that the warp belongs to; does not return. lane -1: the whole warp. */
_Noreturn void fault_raise(struct warp *warp, const struct ptx_instr *instr, int lane,
                           enum fault_kind kind, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
