/* The device's global memory: host memory between guard zones, with a shadow byte per byte
 * that says whether it was written, and by which of the latest launches. A device pointer is the
 * host pointer of its byte, so that handlers copy directly once the access is checked. Thread safe.
 * */
#pragma once

#include "exec.h"

/* The device as the process sees it. total caps what can be taken (bytes, incl. nothing else). */
void memory_init(uint64_t total);

/* When the library leaves the process: nothing stays, not even addresses. */
void memory_end(void);

/* Device memory, 512-byte aligned, owned by a context; 0 if the total would be passed. */
uint64_t memory_take(size_t bytes, uint32_t context);
/* False: not the start of a living allocation of the context. Its bytes stay poisoned so that
 * later use is reported as use after free. */
bool memory_give(uint64_t address, uint32_t context);
void memory_give_all(uint32_t context); /* at the end of a context */
uint64_t memory_used(void);
uint32_t memory_leaks(uint32_t context); /* living allocations */

/* The living allocation around [address, address + bytes), for pointer queries and copies.
 * False: none, or it ends before. */
bool memory_range(uint64_t address, size_t bytes, uint32_t context, uint64_t *base, size_t *size);

/* Copies and sets of the host side: false if the range is not inside one living allocation of
 * the context. Reading bytes that nobody wrote is reported through *uninitialised (may be
 * NULL) but done. */
bool memory_write(uint64_t to, const void *from, size_t bytes, uint32_t context);
bool memory_read(void *to, uint64_t from, size_t bytes, uint32_t context, bool *uninitialised);
bool memory_copy(uint64_t to, uint64_t from, size_t bytes, uint32_t context);
bool memory_set(uint64_t to, uint32_t value, size_t element_bytes, size_t n, uint32_t context);

/* Launches have numbers from 1 on, and the last hundred a mark each: the shadow of what they wrote.
 * MARK_WRITTEN: by the host or longer ago; 0: by nobody. */
#define MARK_WRITTEN 1
uint64_t memory_launch(uint8_t *mark); /* the next one's number and mark */
uint8_t memory_mark(uint64_t number);

/* Looks at a read that was made before the kernel before had run (overlap.h), after it has. */
void global_read_again(const struct early_read *read);

/* Whether what is taken from now on keeps records of who accesses it (races.h). */
void memory_keep_records(bool keeps);

/* Used by the instructions of mem_*.c: the host address of an access of one lane, checked for
 * bounds, life, context, alignment and (reads) initialisation; raises the fault otherwise. */
uint8_t *global_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                     uint32_t bytes);
uint8_t *global_write(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                      uint32_t bytes);

/* fences: races.h */
uint8_t *global_atomic(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                       uint32_t bytes, uint32_t fences);

/* The same checks for every lane of mask (not 0) at once; address is read for these only. A
 * device address is the host's, so the lanes' addresses can be used when it returns. */
void global_read_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                       const uint64_t *address, uint32_t bytes);
void global_write_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        const uint64_t *address, uint32_t bytes);

/* Generic addresses: shared memory is the window [SHARED_BASE, + 256 KiB), local memory the
 * window [LOCAL_BASE, + 512 KiB), all else is global. cvta adds or takes away the base. */
#define SHARED_BASE UINT64_C(0x0000700000000000)
#define LOCAL_BASE  UINT64_C(0x0000710000000000)
