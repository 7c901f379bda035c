/* Programmatic dependent launch (PTX ISA 9.0, griddepcontrol; CUDA C++ Programming Guide 13.0,
 * "Programmatic Dependent Launch and Synchronization"): a kernel launched with the attribute may
 * begin when every block of the kernel before it has executed launch_dependents or has ended, and
 * that one has ended for sure only behind griddepcontrol.wait.
 *
 * Which kernels may still run: the one before. If each of its blocks let the next one go without
 * having waited itself, then what it may run beside as well, and so on. Behind a kernel without
 * the attribute, or anything that is no kernel, all before it have ended.
 *
 * What is a fault, of a lane that has not waited, while kernels before may still run:
 *   a read of bytes that one of them writes
 *   any write: who reads the bytes is not known
 * and a kernel of which no thread waits: what follows it would wait for it alone.
 *
 * Kernels run one after the other, and the bytes of device memory are marked with who wrote them
 * last (memory.h), so each such read is found, whatever the order. In addition some blocks of some
 * launches run up to their wait before the kernel before them does (launch.h, driver_work.c): what
 * they read then is looked at when they go on. */
#pragma once

#include "ptx.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct warp;

#define UNFINISHED_MOST 64 /* kernels that a chain is followed back */

/* Numbers of launches, the latest last. */
struct unfinished {
    uint64_t number[UNFINISHED_MOST];
    uint32_t n;
};

/* Of a launch. */
struct overlap {
    uint64_t number;          /* of this launch, memory_launch */
    uint8_t mark;             /* of the bytes it writes */
    bool begins_early;        /* kernels before it may still run */
    struct unfinished before; /* those */
    uint64_t marks[4];        /* bit m: bytes with mark m are theirs */
    _Atomic bool has_waited;  /* some lane */
    _Atomic bool keeps_next;  /* a block did not let the next go before it waited itself */
};

/* Gives the launch its number. before: what it may run beside, if it begins early. */
void overlap_start(struct overlap *overlap, const struct unfinished *before, bool begins_early);
/* What a kernel that comes next and begins early may run beside. */
void overlap_end(const struct overlap *overlap, struct unfinished *out);

/* Checks an access of a lane that has not waited; raises the fault. */
void overlap_check_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                        const uint8_t *mark, uint32_t bytes);
_Noreturn void overlap_refuse_write(struct warp *w, const struct ptx_instr *in, int lane,
                                    uint32_t bytes);

/* Reads of a block that runs before the kernel before it: looked at later. */
struct early_read {
    struct warp *warp;
    const struct ptx_instr *instr;
    uint64_t address;
    uint32_t bytes;
    int lane;
};

struct early_reads {
    struct early_read *read; /* (n of room), owned */
    size_t n, room;
};

void overlap_keep_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                       uint32_t bytes);
