/* ld, ldu, st, prefetch (PTX ISA 9.0, 9.7.9). Cache operators and hints change no value here. */
#include "access.h"
#include "lanes.h"
#include "run.h"

#include <string.h>

/* form.detail */
enum { SPACE, BYTES, SIGNED, ELEMENTS };

static void addresses(const struct warp *w, const struct ptx_instr *in, int k, uint64_t *out)
{
    if (in->address32) {
        const uint32_t *x = slot32(w, in, k);
        for (int l = 0; l < WARP_LANES; l++)
            out[l] = x[l] + (uint32_t)in->offset;
        return;
    }
    const uint64_t *x = slot64(w, in, k);
    for (int l = 0; l < WARP_LANES; l++)
        out[l] = x[l] + (uint64_t)in->offset;
}

static inline uint64_t element_at(uint64_t host, uint32_t bytes, bool is_signed)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)host, bytes);
    if (is_signed && bytes < 8 && value >> (8 * bytes - 1) & 1)
        value |= UINT64_MAX << 8 * bytes;
    return value;
}

/* The lanes' values of `bytes` bytes into their register of `width`, sign or zero extended. */
static inline void gather(uint8_t *reg, uint32_t width, uint32_t mask, const uint64_t *host,
                          uint32_t at, uint32_t bytes, bool is_signed)
{
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        uint64_t value = element_at(host[l] + at, bytes, is_signed), kept = 0;
        memcpy(&kept, reg + l * width, width);
        value = mask >> l & 1 ? value : kept;
        memcpy(reg + l * width, &value, width);
    }
}

/* The most frequent of all. */
static void gather_words(uint32_t *reg, uint32_t mask, const uint64_t *host, uint32_t at)
{
    uint32_t value[WARP_LANES];
    for (uint32_t l = 0; l < WARP_LANES; l++)
        memcpy(&value[l], (const void *)(uintptr_t)(host[l] + at), sizeof *value);
    store_lanes(reg, value, mask);
}

/* Lengths that the compiler knows make short loops. */
static void load_element(uint8_t *reg, uint32_t width, uint32_t mask, const uint64_t *host,
                         uint32_t at, uint32_t bytes, bool is_signed)
{
    if (bytes == 4 && width == 4)
        gather_words((uint32_t *)(void *)reg, mask, host, at);
    else if (bytes == 2 && width == 2)
        gather(reg, 2, mask, host, at, 2, false);
    else if (bytes == 8 && width == 8)
        gather(reg, 8, mask, host, at, 8, false);
    else if (bytes == 1 && width == 2 && !is_signed)
        gather(reg, 2, mask, host, at, 1, false);
    else
        gather(reg, width, mask, host, at, bytes, is_signed);
}

static void run_load(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t n = in->form.detail[ELEMENTS], element = in->form.detail[BYTES];
    uint64_t address[WARP_LANES], host[WARP_LANES];
    addresses(w, in, (int)n, address);
    access_lanes(w, in, mask, (enum access_space)in->form.detail[SPACE], address, element * n,
                 ACCESS_READ, host);
    for (uint32_t k = 0; k < n; k++)
        if (in->slot[k] != PTX_NONE)
            load_element(slot_of(w, in, (int)k), in->width[k], mask, host, k * element, element,
                         in->form.detail[SIGNED]);
}

/* Of lanes that write to one place the last has its way. */
static inline void scatter(const uint8_t *reg, uint32_t width, uint32_t mask, const uint64_t *host,
                           uint32_t at, uint32_t bytes)
{
    if (mask == UINT32_MAX) {
        for (uint32_t l = 0; l < WARP_LANES; l++)
            memcpy((void *)(uintptr_t)(host[l] + at), reg + l * width, bytes);
        return;
    }
    for (uint32_t left = mask; left; left &= left - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(left);
        memcpy((void *)(uintptr_t)(host[l] + at), reg + l * width, bytes);
    }
}

static void store_element(const uint8_t *reg, uint32_t width, uint32_t mask, const uint64_t *host,
                          uint32_t at, uint32_t bytes)
{
    if (bytes == 4 && width == 4)
        scatter(reg, 4, mask, host, at, 4);
    else if (bytes == 2 && width == 2)
        scatter(reg, 2, mask, host, at, 2);
    else
        scatter(reg, width, mask, host, at, bytes);
}

static void run_store(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    uint32_t n = in->form.detail[ELEMENTS], element = in->form.detail[BYTES];
    uint64_t address[WARP_LANES], host[WARP_LANES];
    addresses(w, in, 0, address);
    access_lanes(w, in, mask, (enum access_space)in->form.detail[SPACE], address, element * n,
                 ACCESS_WRITE, host);
    for (uint32_t k = 0; k < n; k++)
        store_element(slot_of(w, in, (int)k + 1), in->width[k + 1], mask, host, k * element,
                      element);
}

uint32_t memory_granule(const struct ptx_function *f)
{
    uint32_t least = 4;
    for (uint32_t i = 0; i < f->n_instr; i++) {
        const struct ptx_form *form = &f->instr[i].form;
        if (form->run != run_load && form->run != run_store)
            continue;
        uint32_t bytes = form->detail[BYTES] * form->detail[ELEMENTS];
        bool shared = form->detail[SPACE] == ACCESS_SHARED || form->detail[SPACE] == ACCESS_GENERIC;
        least = shared && bytes < least ? bytes : least;
    }
    return least;
}

static void run_prefetch(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    (void)w;
    (void)in;
    (void)mask;
}

static void take_hints(const char **rest)
{
    static const char *const hints[] = {"nc",
                                        "ca",
                                        "cg",
                                        "cs",
                                        "cv",
                                        "lu",
                                        "wb",
                                        "wt",
                                        "L1::evict_normal",
                                        "L1::evict_unchanged",
                                        "L1::evict_first",
                                        "L1::evict_last",
                                        "L1::no_allocate",
                                        "L2::evict_first",
                                        "L2::evict_last",
                                        "L2::evict_normal",
                                        "L2::64B",
                                        "L2::128B",
                                        "L2::256B"};
    for (size_t i = 0; i < sizeof hints / sizeof *hints;)
        i = access_take(rest, hints[i]) ? 0 : i + 1;
}

static bool take_type(const char *rest, struct ptx_form *form)
{
    static const struct {
        const char *word;
        uint32_t bytes, is_signed;
    } types[] = {{"b8", 1, 0},  {"u8", 1, 0},  {"s8", 1, 1},  {"b16", 2, 0}, {"u16", 2, 0},
                 {"s16", 2, 1}, {"b32", 4, 0}, {"u32", 4, 0}, {"s32", 4, 1}, {"f32", 4, 0},
                 {"b64", 8, 0}, {"u64", 8, 0}, {"s64", 8, 1}, {"f64", 8, 0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(rest, types[i].word) == 0) {
            form->detail[BYTES] = types[i].bytes;
            form->detail[SIGNED] = types[i].is_signed;
            return true;
        }
    return false;
}

bool find_memory(const char *opcode, int n_operand, struct ptx_form *form)
{
    const char *rest = opcode;
    enum access_space space;
    bool store = access_take(&rest, "st");
    if (access_take(&rest, "prefetch")) {
        *form = (struct ptx_form){.operands = "=a", .run = run_prefetch};
        return n_operand == 1;
    }
    if (n_operand != 2 || (!store && !access_take(&rest, "ld") && !access_take(&rest, "ldu")))
        return false;
    (void)access_take_order(&rest);
    (void)access_take_space(&rest, &space);
    take_hints(&rest);
    uint32_t n = access_take(&rest, "v2") ? 2 : access_take(&rest, "v4") ? 4 : 1;
    *form = (struct ptx_form){.run = store ? run_store : run_load};
    form->operands = store ? (n == 1   ? "=ax"
                              : n == 2 ? "=ax2"
                                       : "=ax4")
                           : (n == 1   ? "x=a"
                              : n == 2 ? "x2=a"
                                       : "x4=a");
    form->detail[SPACE] = (uint32_t)space;
    form->detail[ELEMENTS] = n;
    return take_type(rest, form) && form->detail[BYTES] * n <= 16;
}
