/* Launches that may run beside those before them. */
#include "overlap.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

void overlap_start(struct overlap *o, const struct unfinished *before, bool begins_early)
{
    o->number = memory_launch(&o->mark);
    o->begins_early = begins_early && before->n;
    o->before.n = 0;
    memset(o->marks, 0, sizeof o->marks);
    atomic_store(&o->has_waited, false);
    atomic_store(&o->keeps_next, false);
    if (!o->begins_early)
        return;
    o->before = *before;
    for (uint32_t i = 0; i < before->n; i++) {
        uint8_t mark = memory_mark(before->number[i]);
        o->marks[mark / 64] |= UINT64_C(1) << mark % 64;
    }
    o->marks[0] &= ~UINT64_C(3); /* no launch's own: long ago */
}

void overlap_end(const struct overlap *o, struct unfinished *out)
{
    out->n = 0;
    if (o->begins_early && !o->keeps_next)
        *out = o->before;
    if (out->n == UNFINISHED_MOST) {
        memmove(out->number, out->number + 1, (UNFINISHED_MOST - 1) * sizeof *out->number);
        out->n--;
    }
    out->number[out->n++] = o->number;
}

void overlap_check_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                        const uint8_t *mark, uint32_t bytes)
{
    const struct overlap *o = w->cta->config->overlap;
    for (uint32_t i = 0; i < bytes; i++)
        if (o->marks[mark[i] / 64] >> mark[i] % 64 & 1) {
            uint64_t back = 1;
            while (memory_mark(o->number - back) != mark[i])
                back++;
            fault_raise(w, in, lane, FAULT_EARLY,
                        "read of %u bytes at 0x%llx before griddepcontrol.wait, written by the "
                        "kernel %llu launch%s before",
                        bytes, (unsigned long long)address, (unsigned long long)back,
                        back == 1 ? "" : "es");
        }
}

_Noreturn void overlap_refuse_write(struct warp *w, const struct ptx_instr *in, int lane,
                                    uint32_t bytes)
{
    fault_raise(w, in, lane, FAULT_EARLY, "write of %u bytes before griddepcontrol.wait", bytes);
}

void overlap_keep_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                       uint32_t bytes)
{
    struct early_reads *reads = &w->cta->early_reads;
    if (reads->n == reads->room) {
        size_t room = 2 * reads->room + 256;
        struct early_read *grown = realloc(reads->read, room * sizeof *grown);
        if (!grown)
            fault_raise(w, in, lane, FAULT_TRAP, "no memory for %zu reads", room);
        reads->read = grown;
        reads->room = room;
    }
    reads->read[reads->n++] = (struct early_read){w, in, address, bytes, lane};
}
