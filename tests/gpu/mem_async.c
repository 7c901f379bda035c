/* cp.async: copies from global to shared memory that a lane issues, gathers in groups and waits
 * for (PTX ISA 9.0, cp.async). See async.h for when what happens. */
#include "async.h"

#include "counters.h"
#include "lanes.h"
#include "memory.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#define COPY_BYTES_MAX 16

struct copy {
    const uint8_t *from; /* checked when issued; NULL: nothing is read */
    uint64_t to;         /* offset in the CTA's shared memory */
    uint32_t group;      /* number of its lane's group */
    uint8_t lane;
    uint8_t bytes;      /* written */
    uint8_t from_bytes; /* read, the others become 0 */
};

struct async {
    struct copy *copy; /* (n_copy of room) in the order of issue; owned */
    size_t n_copy, room;
    uint32_t committed[WARP_LANES]; /* groups of each lane */
};

struct async *async_open(void)
{
    return calloc(1, sizeof(struct async));
}

void async_reset(struct async *async)
{
    async->n_copy = 0;
    memset(async->committed, 0, sizeof async->committed);
}

void async_close(struct async *async)
{
    if (!async)
        return;
    free(async->copy);
    free(async);
}

size_t async_pending(const struct async *async)
{
    return async->n_copy;
}

static void reserve(struct warp *w, const struct ptx_instr *in, size_t n)
{
    struct async *async = w->async;
    if (async->n_copy + n <= async->room)
        return;
    size_t room = 2 * async->room + WARP_LANES;
    struct copy *copy = realloc(async->copy, room * sizeof *copy);
    if (!copy)
        fault_raise(w, in, -1, FAULT_TRAP, "no memory for %zu copies in flight", room);
    async->copy = copy;
    async->room = room;
}

/* Checks the source and gives its host address. The range starts aligned to a power of two no
 * less than its length, so it falls into pieces of decreasing powers of two that are aligned. */
static const uint8_t *check_source(struct warp *w, const struct ptx_instr *in, int lane,
                                   uint64_t address, uint32_t bytes)
{
    const uint8_t *from = NULL;
    uint32_t done = 0;
    for (uint32_t piece = COPY_BYTES_MAX; piece; piece >>= 1)
        if (bytes & piece) {
            const uint8_t *at = global_read(w, in, lane, address + done, piece);
            from = done ? from : at;
            done += piece;
        }
    return from;
}

static void check_size(struct warp *w, const struct ptx_instr *in)
{
    int64_t bytes = in->literal[0];
    bool only16 = in->form.detail[0];
    if (bytes != 16 && (only16 || (bytes != 4 && bytes != 8)))
        fault_raise(w, in, -1, FAULT_TRAP, "cp.async of %lld bytes", (long long)bytes);
}

/* Bytes to read for one lane: a source size less than the copy's leaves the rest 0. Nothing is
 * said of a greater one. */
static uint32_t source_bytes(struct warp *w, const struct ptx_instr *in, int lane)
{
    uint32_t bytes = (uint32_t)in->literal[0];
    if (!in->form.detail[1])
        return bytes;
    uint32_t source = slot32(w, in, 2)[lane];
    if (source > bytes)
        fault_raise(w, in, lane, FAULT_TRAP, "cp.async of %u bytes with a source size of %u", bytes,
                    source);
    return source;
}

static void run_issue(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    struct async *async = w->async;
    uint64_t from[WARP_LANES], to[WARP_LANES];
    uint32_t reading = 0;
    check_size(w, in);
    reserve(w, in, WARP_LANES);
    uint32_t bytes = (uint32_t)in->literal[0];
    for (uint32_t left = mask; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        uint32_t from_bytes = source_bytes(w, in, lane);
        to[lane] = lane_address(w, in, 0, in->address32, in->offset, lane);
        from[lane] = lane_address(w, in, 1, in->address32_2, in->offset2, lane);
        if (from_bytes && from[lane] % bytes)
            fault_raise(w, in, lane, FAULT_MISALIGNED,
                        "cp.async of %u bytes from global address 0x%llx", bytes,
                        (unsigned long long)from[lane]);
        reading |= (uint32_t)(from_bytes > 0) << lane;
        const uint8_t *source = check_source(w, in, lane, from[lane], from_bytes);
        shared_begin_async(w, in, lane, to[lane], bytes);
        async->copy[async->n_copy++] = (struct copy){.from = source,
                                                     .to = to[lane],
                                                     .group = async->committed[lane],
                                                     .lane = (uint8_t)lane,
                                                     .bytes = (uint8_t)bytes,
                                                     .from_bytes = (uint8_t)from_bytes};
    }
    if (w->cta->counts) {
        count_global(w, in, reading, from, bytes, false);
        count_shared(w, in, mask, to, bytes);
    }
}

static void complete(struct warp *w, const struct copy *copy)
{
    uint8_t *to = shared_end_async(w, copy->to, copy->bytes);
    if (copy->from_bytes)
        memcpy(to, copy->from, copy->from_bytes);
    memset(to + copy->from_bytes, 0, (size_t)copy->bytes - copy->from_bytes);
}

/* Does the copies of every lane whose group is below the lane's limit, in the order of issue. */
static void complete_below(struct warp *w, const uint32_t *limit)
{
    struct async *async = w->async;
    size_t kept = 0;
    for (size_t i = 0; i < async->n_copy; i++) {
        const struct copy *copy = &async->copy[i];
        if (copy->group < limit[copy->lane])
            complete(w, copy);
        else
            async->copy[kept++] = *copy;
    }
    async->n_copy = kept;
}

static void run_commit(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)in;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        w->async->committed[l] += mask >> l & 1;
}

/* Waits until at most the latest literal[0] committed groups of a lane are pending. */
static void run_wait_group(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t limit[WARP_LANES], latest = (uint32_t)in->literal[0];
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        uint32_t committed = w->async->committed[l];
        limit[l] = mask >> l & 1 && committed > latest ? committed - latest : 0;
    }
    complete_below(w, limit);
}

/* The same as a commit and a wait for all groups (PTX ISA 9.0, cp.async.wait_all). */
static void run_wait_all(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t limit[WARP_LANES];
    run_commit(w, in, mask);
    for (uint32_t l = 0; l < WARP_LANES; l++)
        limit[l] = mask >> l & 1 ? w->async->committed[l] : 0;
    complete_below(w, limit);
}

/* Goes past word at the start of *text. */
static bool skip(const char **text, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(*text, word, length) != 0)
        return false;
    *text += length;
    return true;
}

/* The four operands of the form with a source size are also those of the one with a predicate
 * ignore-src, which the parser refuses as no register of 32 bits. */
static bool find_copy(const char *opcode, int n_operand, struct ptx_form *form)
{
    bool only16 = skip(&opcode, "cp.async.cg");
    if (!only16 && !skip(&opcode, "cp.async.ca"))
        return false;
    if (!skip(&opcode, ".shared::cta.global") && !skip(&opcode, ".shared.global"))
        return false;
    if (!skip(&opcode, ".L2::64B") && !skip(&opcode, ".L2::128B"))
        skip(&opcode, ".L2::256B");
    if (*opcode || (n_operand != 3 && n_operand != 4))
        return false;
    *form = (struct ptx_form){.operands = n_operand == 4 ? "=aair" : "=aai",
                              .run = run_issue,
                              .flow = FLOW_NEXT,
                              .detail = {only16, n_operand == 4}};
    return true;
}

bool find_async(const char *opcode, int n_operand, struct ptx_form *form)
{
    static const struct {
        const char *opcode;
        struct ptx_form form;
    } forms[] = {
        {"cp.async.commit_group", {"=", run_commit, FLOW_NEXT, {0}}},
        {"cp.async.wait_group", {"=i", run_wait_group, FLOW_NEXT, {0}}},
        {"cp.async.wait_all", {"=", run_wait_all, FLOW_NEXT, {0}}},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(opcode, forms[i].opcode) == 0) {
            *form = forms[i].form;
            return true;
        }
    return find_copy(opcode, n_operand, form);
}
