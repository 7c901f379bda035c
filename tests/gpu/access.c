#include "access.h"

#include "counters.h"

#include <string.h>

#define SHARED_WINDOW UINT64_C(0x40000)
#define LOCAL_WINDOW  UINT64_C(0x80000)

struct place access_place(enum access_space space, uint64_t address)
{
    if (space != ACCESS_GENERIC)
        return (struct place){space, address};
    if (address - SHARED_BASE < SHARED_WINDOW)
        return (struct place){ACCESS_SHARED, address - SHARED_BASE};
    if (address - LOCAL_BASE < LOCAL_WINDOW)
        return (struct place){ACCESS_LOCAL, address - LOCAL_BASE};
    return (struct place){ACCESS_GLOBAL, address};
}

static uint8_t *local_check(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                            uint32_t bytes, enum access_kind kind)
{
    struct cta *cta = w->cta;
    uint32_t size = cta->config->function->local_bytes;
    if (offset >= size || bytes > size - offset)
        fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS, "%u bytes at %llu of %u of local memory",
                    bytes, (unsigned long long)offset, size);
    if (offset & (bytes - 1))
        fault_raise(w, in, lane, FAULT_MISALIGNED, "%u bytes at %llu of local memory", bytes,
                    (unsigned long long)offset);
    size_t at = ((size_t)w->id * WARP_LANES + (size_t)lane) * size + offset;
    if (kind == ACCESS_READ && memchr(cta->local_written + at, 0, bytes))
        fault_raise(w, in, lane, FAULT_UNINITIALISED, "%u bytes at %llu of local memory", bytes,
                    (unsigned long long)offset);
    if (kind != ACCESS_READ)
        memset(cta->local_written + at, 1, bytes);
    return cta->local + at;
}

/* Parameters are read only: the writer is the launch. */
static uint8_t *param_check(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                            uint32_t bytes, enum access_kind kind)
{
    const struct launch_config *config = w->cta->config;
    uint32_t size = config->function->param_bytes;
    if (kind != ACCESS_READ || offset >= size || bytes > size - offset)
        fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS, "%u bytes at %llu of %u of parameters", bytes,
                    (unsigned long long)offset, size);
    return (uint8_t *)(uintptr_t)(config->param + offset);
}

uint8_t *access_check(struct warp *w, const struct ptx_instr *in, int lane, struct place place,
                      uint32_t bytes, enum access_kind kind)
{
    switch (place.space) {
    case ACCESS_SHARED:
        return kind == ACCESS_READ    ? shared_read(w, in, lane, place.at, bytes)
               : kind == ACCESS_WRITE ? shared_write(w, in, lane, place.at, bytes)
                                      : shared_atomic(w, in, lane, place.at, bytes);
    case ACCESS_LOCAL:
        return local_check(w, in, lane, place.at, bytes, kind);
    case ACCESS_PARAM:
        return param_check(w, in, lane, place.at, bytes, kind);
    case ACCESS_CONST:
        if (kind != ACCESS_READ)
            fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS, "write to constant memory");
        return global_read(w, in, lane, place.at, bytes);
    case ACCESS_GLOBAL:
    case ACCESS_GENERIC:
        break;
    }
    return kind == ACCESS_WRITE ? global_write(w, in, lane, place.at, bytes)
                                : global_read(w, in, lane, place.at, bytes);
}

void access_count(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  const struct place *place, uint32_t bytes, bool writes)
{
    uint64_t at[WARP_LANES];
    uint32_t global = 0, shared = 0;
    if (!w->cta->counts)
        return;
    for (int l = 0; l < WARP_LANES; l++) {
        if (!(mask >> l & 1))
            continue;
        at[l] = place[l].at;
        global |= (uint32_t)(place[l].space == ACCESS_GLOBAL) << l;
        shared |= (uint32_t)(place[l].space == ACCESS_SHARED) << l;
    }
    if (global)
        count_global(w, in, global, at, bytes, writes);
    if (shared)
        count_shared(w, in, shared, at, bytes);
}

/* The space of all lanes' generic addresses, or ACCESS_GENERIC: they differ or are local. */
static enum access_space common_space(uint32_t mask, const uint64_t *address)
{
    uint32_t in_shared = 0, in_local = 0;
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        in_shared |= (uint32_t)(address[l] - SHARED_BASE < SHARED_WINDOW) << l;
        in_local |= (uint32_t)(address[l] - LOCAL_BASE < LOCAL_WINDOW) << l;
    }
    if (!((in_shared | in_local) & mask))
        return ACCESS_GLOBAL;
    return (in_shared & mask) == mask ? ACCESS_SHARED : ACCESS_GENERIC;
}

static void lanes_of_shared(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                            const uint64_t *offset, uint32_t bytes, enum access_kind kind,
                            uint64_t *host)
{
    uint64_t base = (uint64_t)(uintptr_t)w->cta->shared;
    if (kind == ACCESS_READ)
        shared_read_lanes(w, in, mask, offset, bytes);
    else
        shared_write_lanes(w, in, mask, offset, bytes);
    for (int l = 0; l < WARP_LANES; l++)
        host[l] = base + offset[l];
    if (w->cta->counts)
        count_shared(w, in, mask, offset, bytes);
}

static void lanes_of_global(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                            const uint64_t *address, uint32_t bytes, enum access_kind kind,
                            uint64_t *host)
{
    if (kind == ACCESS_WRITE)
        global_write_lanes(w, in, mask, address, bytes);
    else
        global_read_lanes(w, in, mask, address, bytes);
    memcpy(host, address, WARP_LANES * sizeof *host);
    if (w->cta->counts)
        count_global(w, in, mask, address, bytes, kind == ACCESS_WRITE);
}

static void lanes_apart(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        enum access_space space, const uint64_t *address, uint32_t bytes,
                        enum access_kind kind, uint64_t *host)
{
    struct place place[WARP_LANES] = {0}; /* of the lanes that take part */
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        place[l] = access_place(space, address[l]);
        host[l] = (uint64_t)(uintptr_t)access_check(w, in, l, place[l], bytes, kind);
    }
    access_count(w, in, mask, place, bytes, kind == ACCESS_WRITE);
}

/* A parameter, which all lanes read. */
static void one_for_all(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        const uint64_t *address, uint32_t bytes, uint64_t *host)
{
    int l = __builtin_ctz(mask);
    struct place place = access_place(ACCESS_PARAM, address[l]);
    uint64_t at = (uint64_t)(uintptr_t)access_check(w, in, l, place, bytes, ACCESS_READ);
    for (l = 0; l < WARP_LANES; l++)
        host[l] = at;
}

static bool all_equal(uint32_t mask, const uint64_t *address)
{
    uint64_t first = address[__builtin_ctz(mask)], differs = 0;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        differs |= mask >> l & 1 ? address[l] ^ first : 0;
    return !differs;
}

void access_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  enum access_space space, const uint64_t *address, uint32_t bytes,
                  enum access_kind kind, uint64_t *host)
{
    enum access_space common = space == ACCESS_GENERIC ? common_space(mask, address) : space;
    if (common == ACCESS_PARAM && kind == ACCESS_READ && all_equal(mask, address)) {
        one_for_all(w, in, mask, address, bytes, host);
    } else if (common == ACCESS_GLOBAL || (common == ACCESS_CONST && kind == ACCESS_READ)) {
        lanes_of_global(w, in, mask, address, bytes, kind, host);
    } else if (common == ACCESS_SHARED && kind != ACCESS_ATOMIC) {
        uint64_t offset[WARP_LANES];
        for (int l = 0; l < WARP_LANES; l++)
            offset[l] = address[l] - (space == ACCESS_GENERIC ? SHARED_BASE : 0);
        lanes_of_shared(w, in, mask, offset, bytes, kind, host);
    } else {
        lanes_apart(w, in, mask, space, address, bytes, kind, host);
    }
    uint64_t safe = host[__builtin_ctz(mask)];
    for (uint32_t l = 0; l < WARP_LANES; l++)
        host[l] = mask >> l & 1 ? host[l] : safe;
}

bool access_take(const char **rest, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*rest, word, n) != 0 || ((*rest)[n] != '.' && (*rest)[n] != '\0'))
        return false;
    *rest += n + ((*rest)[n] == '.');
    return true;
}

bool access_take_space(const char **rest, enum access_space *space)
{
    static const struct {
        const char *word;
        enum access_space space;
    } words[] = {{"global", ACCESS_GLOBAL},      {"shared", ACCESS_SHARED},
                 {"shared::cta", ACCESS_SHARED}, {"local", ACCESS_LOCAL},
                 {"const", ACCESS_CONST},        {"param", ACCESS_PARAM},
                 {"param::entry", ACCESS_PARAM}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (access_take(rest, words[i].word)) {
            *space = words[i].space;
            return true;
        }
    *space = ACCESS_GENERIC;
    return false;
}

uint8_t *access_check_atomic(struct warp *w, const struct ptx_instr *in, int lane,
                             struct place place, uint32_t bytes, uint32_t fences)
{
    return place.space == ACCESS_GLOBAL ? global_atomic(w, in, lane, place.at, bytes, fences)
                                        : access_check(w, in, lane, place, bytes, ACCESS_ATOMIC);
}

uint32_t access_take_order(const char **rest)
{
    static const struct {
        const char *word;
        uint32_t fences;
    } orders[] = {{"weak", 0},
                  {"volatile", 0},
                  {"relaxed", 0},
                  {"acquire", RACE_ACQUIRES},
                  {"release", RACE_RELEASES},
                  {"acq_rel", RACE_RELEASES | RACE_ACQUIRES},
                  {"sc", RACE_RELEASES | RACE_ACQUIRES}};
    uint32_t fences = 0;
    static const char *const scopes[] = {"cta", "cluster", "gpu", "sys"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (access_take(rest, orders[i].word)) {
            fences = orders[i].fences;
            break;
        }
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++)
        if (access_take(rest, scopes[i])) {
            fences = i == 0 ? 0 : fences; /* within a block there is nothing to order here */
            break;
        }
    return fences;
}
