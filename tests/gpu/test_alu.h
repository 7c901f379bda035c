/* The tests of arithmetic: an instruction by its opcode, run on a warp made by hand, against what a
 * function says of each lane. Every instruction runs with all lanes and with some, where the others
 * must keep their bits, and again with its result in the register of each source in turn. */
#pragma once

#include "../t.h"
#include "exec.h"

#include <stdlib.h>

#define SLOT_BYTES 256
#define SOURCES    4

struct alu {
    struct warp warp;
    struct ptx_instr in;
    int first; /* source */
    uint64_t reg[PTX_SLOTS * SLOT_BYTES / 8] __attribute__((aligned(64)));
};

/* One lane's result from its sources. */
typedef uint64_t want_lane(const void *context, const uint64_t *source);
/* Are the bits got right? They must be equal if this is NULL. */
typedef bool fits_lane(uint64_t got, uint64_t want);

/* xorshift64*: the same numbers in every run. */
static inline uint64_t alu_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

static inline uint64_t low_bits(uint64_t v, int bytes)
{
    return bytes == 8 ? v : v & ((UINT64_C(1) << 8 * bytes) - 1);
}

/* Numbers at the borders of integers and of floats, by width in bytes. */
static inline uint64_t alu_edge(int bytes, uint64_t i)
{
    static const uint64_t of2[] = {0,      1,      2,      0x7f,   0x80,   0xff,   0x100,  0x3bff,
                                   0x3c00, 0x0400, 0x03ff, 0x7bff, 0x7c00, 0x7e01, 0x7fff, 0x8000,
                                   0x8001, 0x83ff, 0xbc00, 0xfbff, 0xfc00, 0xfe00, 0xffff, 0x3f80,
                                   0x0080, 0x007f, 0x7f7f, 0x7f80, 0xff80, 0xbf80};
    static const uint64_t of4[] = {
        0,          1,          2,          31,         32,         33,         0xff,
        0x7fff,     0x8000,     0xffff,     0x10000,    0x007fffff, 0x00800000, 0x3f800000,
        0x3f800001, 0x3f000000, 0x40490fdb, 0x4b000001, 0x5f000000, 0x7f7fffff, 0x7f800000,
        0x7fc00000, 0x7fffffff, 0x80000000, 0x80000001, 0x807fffff, 0xbf800000, 0xc1200000,
        0xff7fffff, 0xff800000, 0xffc00001, 0xffffffff};
    static const uint64_t of8[] = {0,
                                   1,
                                   2,
                                   63,
                                   64,
                                   0xffffffff,
                                   0x100000000,
                                   0x000fffffffffffff,
                                   0x0010000000000000,
                                   0x36a0000000000000,
                                   0x380fffffffffffff,
                                   0x3ff0000000000000,
                                   0x3ff0000000000001,
                                   0x3ff0000010000000,
                                   0x3fe0000000000000,
                                   0x41dfffffffc00000,
                                   0x43e0000000000000,
                                   0x43f0000000000000,
                                   0x47efffffefffffff,
                                   0x47effffff0000000,
                                   0x7fefffffffffffff,
                                   0x7ff0000000000000,
                                   0x7ff8000000000000,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0x8000000000000001,
                                   0xbff0000000000000,
                                   0xc1e0000000200000,
                                   0xffefffffffffffff,
                                   0xfff0000000000000,
                                   0xffffffffffffffff};
    static const uint64_t *const of[] = {of2, of4, of8};
    static const uint64_t n[] = {sizeof of2 / 8, sizeof of4 / 8, sizeof of8 / 8};
    int k = bytes == 2 ? 0 : bytes == 4 ? 1 : 2;
    return of[k][i % n[k]];
}
#define EDGES 32 /* at least as many as any width has */

static inline void alu_set(struct alu *t, int k, int lane, uint64_t v)
{
    uint8_t *slot = (uint8_t *)t->reg + t->in.slot[k];
    int bytes = t->in.width[k];
    if (bytes)
        memcpy(slot + lane * bytes, &v, (size_t)bytes);
    else
        *(uint32_t *)(void *)slot = (*(uint32_t *)(void *)slot & ~(1u << lane)) | (uint32_t)(v & 1)
                                                                                      << lane;
}

static inline uint64_t alu_get(struct alu *t, int k, int lane)
{
    uint8_t *slot = (uint8_t *)t->reg + t->in.slot[k];
    int bytes = t->in.width[k];
    uint64_t v = 0;
    if (bytes)
        memcpy(&v, slot + lane * bytes, (size_t)bytes);
    else
        v = *(uint32_t *)(void *)slot >> lane & 1;
    return v;
}

/* Slots for a signature, one behind the other. to, from: what 'x' is, in bytes. */
static inline void alu_slots(struct alu *t, int to, int from)
{
    bool in_sources = false;
    for (const char *s = t->in.form.operands; *s; s++) {
        int more = 1;
        if (*s == '=') {
            in_sources = true;
            t->first = t->in.n_slot;
        }
        if (!strchr("phrdx", *s))
            continue;
        if (s[1] >= '2' && s[1] <= '4')
            more = s[1] - '0';
        for (; more; more--) {
            int x = in_sources ? from : to;
            t->in.slot[t->in.n_slot] = (uint32_t)t->in.n_slot * SLOT_BYTES;
            t->in.width[t->in.n_slot++] = (uint8_t)(*s == 'p'   ? 0
                                                    : *s == 'h' ? 2
                                                    : *s == 'r' ? 4
                                                    : *s == 'd' ? 8
                                                                : x);
        }
    }
}

static inline bool alu_take(struct alu *t, ptx_find *find, const char *opcode, int to, int from)
{
    memset(t, 0, sizeof *t);
    t->warp.reg = (uint8_t *)t->reg;
    if (!find(opcode, 3, &t->in.form)) {
        t_fail(__FILE__, __LINE__, "%s is not known", opcode);
        return false;
    }
    t->in.run = t->in.form.run;
    t->in.guard = PTX_NONE;
    alu_slots(t, to, from);
    return true;
}

/* The first source and the second run through all pairs of edges, then all are random; i counts
 * lanes. A few numbers are small, as counts of bits are. */
static inline uint64_t alu_source(int bytes, int k, uint64_t i)
{
    uint64_t random = alu_random();
    if (i < EDGES * EDGES && k < 2)
        return alu_edge(bytes, k == 0 ? i : i / EDGES);
    if (random % 4 == 0)
        return alu_edge(bytes, random >> 8);
    return low_bits(random % 4 == 1 ? random >> 8 & 0x3f : alu_random(), bytes);
}

struct alu_case {
    const char *opcode;
    want_lane *want;
    const void *context;
    fits_lane *fits;
};

/* Runs once over sources that are there; result: the slot of the register that is written. */
static inline bool alu_once(struct alu *t, const struct alu_case *c,
                            uint64_t source[WARP_LANES][SOURCES], uint32_t mask)
{
    uint64_t before[WARP_LANES];
    for (int l = 0; l < WARP_LANES; l++) {
        alu_set(t, 0, l, alu_random());
        for (int k = t->first; k < t->in.n_slot; k++)
            alu_set(t, k, l, source[l][k - t->first]);
        before[l] = alu_get(t, 0, l);
    }
    t->in.run(&t->warp, &t->in, mask);
    for (int l = 0; l < WARP_LANES; l++) {
        uint64_t got = alu_get(t, 0, l), want = before[l];
        if (mask >> l & 1)
            want = c->want(c->context, source[l]);
        bool fits = mask >> l & 1 && c->fits ? c->fits(got, want) : got == want;
        if (!fits) {
            t_fail(__FILE__, __LINE__, "%s of %llx %llx %llx: %llx, want %llx (lane %d of %08x)",
                   c->opcode, (unsigned long long)source[l][0], (unsigned long long)source[l][1],
                   (unsigned long long)source[l][2], (unsigned long long)got,
                   (unsigned long long)want, l, mask);
            return false;
        }
    }
    return true;
}

/* rounds of 32 lanes, each with all lanes, with none and with some. */
static inline void alu_check(struct alu *t, const struct alu_case *c, uint64_t rounds)
{
    uint64_t source[WARP_LANES][SOURCES] = {{0}};
    uint32_t own = t->in.slot[0];
    for (uint64_t r = 0; r < rounds; r++) {
        for (uint64_t l = 0; l < WARP_LANES; l++)
            for (int k = t->first; k < t->in.n_slot; k++) {
                int bytes = t->in.width[k];
                source[l][k - t->first] =
                    bytes ? alu_source(bytes, k - t->first, r * WARP_LANES + l) : alu_random() & 1;
            }
        uint32_t masks[] = {UINT32_MAX, (uint32_t)alu_random(), 0};
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++)
            if (!alu_once(t, c, source, masks[m]))
                return;
        int k = t->first + (int)(r % (uint64_t)(t->in.n_slot - t->first));
        /* Two results in one slot stay together. */
        if (t->in.width[k] != t->in.width[0] || t->in.slot[1] == own)
            continue;
        t->in.slot[0] = t->in.slot[k];
        bool fits = alu_once(t, c, source, UINT32_MAX);
        t->in.slot[0] = own;
        if (!fits)
            return;
    }
}

static inline void alu_form(ptx_find *find, const char *opcode, want_lane *want,
                            const void *context, fits_lane *fits, uint64_t rounds)
{
    static struct alu t;
    struct alu_case c = {opcode, want, context, fits};
    if (alu_take(&t, find, opcode, 0, 0))
        alu_check(&t, &c, rounds);
}
