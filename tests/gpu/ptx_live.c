/* Registers that are never needed at the same time share a slot.
 *
 * nvcc's PTX has a register for each value: an unrolled kernel has thousands, 3 MB for a warp,
 * of which a few hundred are live at any time. With slots shared the register file stays in the
 * host's cache. What a lane holds depends on its own way through the program alone, so liveness
 * is that of a sequential program, whatever lanes run together; an instruction that reads other
 * lanes' registers (shfl, mma) has all of them at itself.
 *
 * A register that is live at the function's beginning is one that some way through it reads before
 * it is written. These few are watched while the function runs; all others cannot be. */
#include "ptx_parser.h"

#include <stdlib.h>

#define FIXED (UINT32_MAX - 1) /* a cell of a constant or a special register */

/* Of one of a function's sets, blocks times words. With more, which no kernel of nvcc's has but a
 * hostile text may, the registers stay as they are. */
#define SET_WORDS_MOST (UINT64_C(2) << 20)

/* A register's life: from its first to its last instruction, as numbered in the text, with all
 * of a loop through which its value lives. */
struct life {
    uint32_t first, last;
    uint32_t slot; /* the new one */
    uint8_t width;
    uint32_t next_begin, next_end; /* lists of those that begin or end at one instruction */
};

struct block {
    uint32_t start, end;   /* instructions [start, end) */
    uint32_t successor[2]; /* blocks, PTX_NONE */
};

/* One bit per register: read before written, written for all lanes, live at the beginning. */
enum { SET_READ, SET_WRITTEN, SET_LIVE, SETS };

struct liveness {
    struct ptx_function *f;
    uint32_t *cell;    /* (register_bytes / 64) the register whose slot begins there, or PTX_NONE */
    struct life *life; /* (n_life) */
    uint32_t n_life, n_block;
    uint32_t n_register; /* the first of the lives; constants and special registers follow */
    struct block *block; /* (n_block) */
    uint32_t *block_at;  /* (n_instr + 1) the block that begins there, PTX_NONE: none */
    uint64_t *set;       /* (n_block, SETS, words) */
    uint32_t words;
    uint32_t *begin, *end; /* (n_instr) heads of the lists */
};

static uint64_t *set_of(const struct liveness *v, uint32_t block, int which)
{
    return v->set + ((size_t)block * SETS + (size_t)which) * v->words;
}

static bool has(const uint64_t *set, uint32_t k)
{
    return set[k / 64] >> (k % 64) & 1;
}

static void put(uint64_t *set, uint32_t k)
{
    set[k / 64] |= UINT64_C(1) << (k % 64);
}

/* The register of a slot, PTX_NONE if it is a constant or nothing. */
static uint32_t life_of(const struct liveness *v, uint32_t slot)
{
    if (slot == PTX_NONE)
        return PTX_NONE;
    uint32_t k = v->cell[slot / 64];
    return k == FIXED ? PTX_NONE : k;
}

static void meet(struct liveness *v, uint32_t slot, uint8_t width, uint32_t at)
{
    if (slot == PTX_NONE || v->cell[slot / 64] == FIXED)
        return;
    if (v->cell[slot / 64] == PTX_NONE) {
        v->cell[slot / 64] = v->n_life;
        v->life[v->n_life++] = (struct life){.first = at, .width = width};
    }
    v->life[v->cell[slot / 64]].last = at;
}

/* Numbers the registers in the order of the text. */
static void number_registers(struct liveness *v)
{
    const struct ptx_function *f = v->f;
    for (uint32_t k = 0; k < f->register_bytes / 64; k++)
        v->cell[k] = PTX_NONE;
    for (uint32_t k = 0; k < f->n_constant; k++)
        v->cell[f->constant[k].slot / 64] = FIXED;
    for (uint32_t k = 0; k < f->n_special; k++)
        v->cell[f->special[k].slot / 64] = FIXED;
    for (uint32_t i = 0; i < f->n_instr; i++) {
        const struct ptx_instr *instr = &f->instr[i];
        meet(v, instr->guard, 0, i);
        for (uint32_t k = 0; k < instr->n_slot; k++)
            meet(v, instr->slot[k], instr->width[k], i);
    }
}

static bool leaves(const struct ptx_instr *instr)
{
    return instr->form.flow == FLOW_BRANCH || instr->form.flow == FLOW_EXIT;
}

/* block_at is 0 where a block begins, then its number. */
static void find_blocks(struct liveness *v)
{
    const struct ptx_function *f = v->f;
    for (uint32_t i = 0; i <= f->n_instr; i++)
        v->block_at[i] = PTX_NONE;
    v->block_at[0] = 0;
    for (uint32_t i = 0; i < f->n_instr; i++) {
        if (f->instr[i].form.flow == FLOW_BRANCH)
            v->block_at[f->instr[i].target] = 0;
        if (leaves(&f->instr[i]))
            v->block_at[i + 1] = 0;
    }
    for (uint32_t i = 0; i < f->n_instr; i++)
        if (v->block_at[i] == 0)
            v->block_at[i] = v->n_block++;
}

static void link_blocks(struct liveness *v)
{
    const struct ptx_function *f = v->f;
    struct block *b = v->block;
    for (uint32_t i = 0, k = 0; i < f->n_instr; i++) {
        const struct ptx_instr *instr = &f->instr[i];
        bool is_last = i + 1 == f->n_instr || v->block_at[i + 1] != PTX_NONE;
        if (v->block_at[i] != PTX_NONE)
            b[k].start = i;
        if (!is_last)
            continue;
        b[k].end = i + 1;
        b[k].successor[0] = b[k].successor[1] = PTX_NONE;
        if (instr->form.flow == FLOW_BRANCH)
            b[k].successor[0] = v->block_at[instr->target];
        if (i + 1 < f->n_instr && (!leaves(instr) || instr->guard != PTX_NONE))
            b[k].successor[1] = k + 1;
        k++;
    }
}

static void note_read(const struct liveness *v, uint32_t block, uint32_t slot)
{
    uint32_t k = life_of(v, slot);
    if (k != PTX_NONE && !has(set_of(v, block, SET_WRITTEN), k))
        put(set_of(v, block, SET_READ), k);
}

/* What a block reads and writes. A guarded instruction leaves some lanes' old values. */
static void scan_block(const struct liveness *v, uint32_t block)
{
    for (uint32_t i = v->block[block].start; i < v->block[block].end; i++) {
        const struct ptx_instr *instr = &v->f->instr[i];
        note_read(v, block, instr->guard);
        for (uint32_t k = instr->n_destination; k < instr->n_slot; k++)
            note_read(v, block, instr->slot[k]);
        for (uint32_t k = 0; k < instr->n_destination; k++) {
            uint32_t life = life_of(v, instr->slot[k]);
            if (life != PTX_NONE && instr->guard == PTX_NONE)
                put(set_of(v, block, SET_WRITTEN), life);
        }
    }
}

/* Word w of the registers live behind a block. */
static uint64_t live_out(const struct liveness *v, uint32_t block, uint32_t w)
{
    uint64_t live = 0;
    for (int s = 0; s < 2; s++)
        if (v->block[block].successor[s] != PTX_NONE)
            live |= set_of(v, v->block[block].successor[s], SET_LIVE)[w];
    return live;
}

/* live = read | (live_out & ~written), until nothing changes. */
static void flow(const struct liveness *v)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t b = v->n_block; b-- > 0;) {
            const uint64_t *read = set_of(v, b, SET_READ), *written = set_of(v, b, SET_WRITTEN);
            uint64_t *live = set_of(v, b, SET_LIVE);
            for (uint32_t w = 0; w < v->words; w++) {
                uint64_t now = read[w] | (live_out(v, b, w) & ~written[w]);
                changed |= now != live[w];
                live[w] = now;
            }
        }
    }
}

static void extend(struct liveness *v, uint64_t word, uint32_t w, uint32_t at)
{
    for (; word; word &= word - 1) {
        struct life *life = &v->life[w * 64 + (uint32_t)__builtin_ctzll(word)];
        if (at < life->first)
            life->first = at;
        if (at > life->last)
            life->last = at;
    }
}

static void extend_all(struct liveness *v)
{
    for (uint32_t b = 0; b < v->n_block; b++)
        for (uint32_t w = 0; w < v->words; w++) {
            extend(v, set_of(v, b, SET_LIVE)[w], w, v->block[b].start);
            extend(v, live_out(v, b, w), w, v->block[b].end - 1);
        }
}

/* Widths 0 and 1 (predicates), 2, 4, 8. Slots of one class replace each other: there each lane has
 * its own bits at the same place, so that lanes apart do not meet in the slot. */
#define CLASSES 4

static int size_class(uint8_t width)
{
    return width <= 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3;
}

static uint32_t class_bytes(int class)
{
    return class < 2 ? 64 : UINT32_C(32) << class;
}

/* Goes through the text: a register takes a free slot where it begins and gives it back behind
 * its end, so that an instruction never writes over what it reads. Returns the bytes used. */
static uint32_t assign(struct liveness *v, uint32_t used)
{
    uint32_t unused[CLASSES] = {PTX_NONE, PTX_NONE, PTX_NONE, PTX_NONE}; /* by next_begin */
    for (uint32_t i = 0; i < v->f->n_instr; i++) {
        for (uint32_t k = v->begin[i], next; k != PTX_NONE; k = next) {
            struct life *life = &v->life[k];
            int class = size_class(life->width);
            next = life->next_begin;
            if (unused[class] != PTX_NONE) {
                life->slot = v->life[unused[class]].slot;
                unused[class] = v->life[unused[class]].next_begin;
            } else {
                life->slot = used;
                used += class_bytes(class);
            }
        }
        for (uint32_t k = v->end[i]; k != PTX_NONE; k = v->life[k].next_end) {
            int class = size_class(v->life[k].width);
            v->life[k].next_begin = unused[class];
            unused[class] = k;
        }
    }
    return used;
}

static void list_ends(struct liveness *v)
{
    for (uint32_t i = 0; i < v->f->n_instr; i++)
        v->begin[i] = v->end[i] = PTX_NONE;
    for (uint32_t k = v->n_life; k-- > 0;) {
        struct life *life = &v->life[k];
        life->next_begin = v->begin[life->first];
        life->next_end = v->end[life->last];
        v->begin[life->first] = v->end[life->last] = k;
    }
}

static void rename_slot(const struct liveness *v, uint32_t *slot)
{
    uint32_t k = life_of(v, *slot);
    if (k != PTX_NONE)
        *slot = v->life[k].slot;
}

/* New places of constants and special registers, kept by old slot in cell until all the
 * instructions that read them have followed. */
static uint32_t move_fixed(struct liveness *v)
{
    struct ptx_function *f = v->f;
    uint32_t used = 0;
    for (uint32_t k = 0; k < f->n_constant + f->n_special; k++) {
        bool is_constant = k < f->n_constant;
        uint32_t *slot = is_constant ? &f->constant[k].slot : &f->special[k - f->n_constant].slot;
        uint8_t bytes = is_constant ? f->constant[k].bytes : f->special[k - f->n_constant].bytes;
        v->cell[*slot / 64] = v->n_life;
        v->life[v->n_life++] = (struct life){.slot = used, .width = bytes};
        *slot = used;
        used += class_bytes(size_class(bytes));
    }
    return used;
}

static bool is_watched(const struct liveness *v, uint32_t slot)
{
    uint32_t k = life_of(v, slot);
    return k < v->n_register && has(set_of(v, 0, SET_LIVE), k);
}

/* Lives from the beginning on have slots of their own there. False: out of memory. */
static bool watch(const struct liveness *v)
{
    struct ptx_function *f = v->f;
    uint32_t n = 0;
    for (uint32_t w = 0; w < v->words; w++)
        n += (uint32_t)__builtin_popcountll(set_of(v, 0, SET_LIVE)[w]);
    f->watched = n ? calloc(n, sizeof *f->watched) : NULL;
    if (n && !f->watched)
        return false;
    for (uint32_t k = 0; n && k < v->n_register; k++)
        if (has(set_of(v, 0, SET_LIVE), k))
            f->watched[f->n_watched++] = v->life[k].slot;
    for (uint32_t i = 0; n && i < f->n_instr; i++) {
        struct ptx_instr *instr = &f->instr[i];
        instr->watched |= (uint32_t)is_watched(v, instr->guard) << PTX_WATCHED_GUARD;
        for (uint32_t k = 0; k < instr->n_slot; k++)
            instr->watched |= (uint32_t)is_watched(v, instr->slot[k]) << k;
    }
    return true;
}

static void rename_all(const struct liveness *v)
{
    for (uint32_t i = 0; i < v->f->n_instr; i++) {
        struct ptx_instr *instr = &v->f->instr[i];
        rename_slot(v, &instr->guard);
        for (uint32_t k = 0; k < instr->n_slot; k++)
            rename_slot(v, &instr->slot[k]);
    }
}

/* The registers' lives; false: out of memory. */
static bool find_lives(struct liveness *v)
{
    v->n_register = v->n_life;
    v->words = v->n_life / 64 + 1;
    v->block = calloc(v->n_block, sizeof *v->block);
    v->set = calloc((size_t)v->n_block * SETS * v->words, sizeof *v->set);
    if (!v->block || !v->set)
        return false;
    link_blocks(v);
    for (uint32_t b = 0; b < v->n_block; b++)
        scan_block(v, b);
    flow(v);
    extend_all(v);
    list_ends(v);
    return true;
}

static bool share(struct liveness *v)
{
    size_t cells = v->f->register_bytes / 64, n = v->f->n_instr;
    v->cell = calloc(cells + 1, sizeof *v->cell);
    v->life = calloc(cells + 1, sizeof *v->life);
    v->block_at = calloc(n + 1, sizeof *v->block_at);
    v->begin = calloc(n, sizeof *v->begin);
    v->end = calloc(n, sizeof *v->end);
    if (!v->cell || !v->life || !v->block_at || !v->begin || !v->end)
        return false;
    number_registers(v);
    find_blocks(v);
    if ((uint64_t)v->n_block * (v->n_life / 64 + 1) > SET_WORDS_MOST)
        return true;
    if (!find_lives(v))
        return false;
    v->f->register_bytes = assign(v, move_fixed(v));
    if (!watch(v))
        return false;
    rename_all(v);
    return true;
}

bool share_registers(struct ptx_function *function)
{
    struct liveness v = {.f = function};
    bool done = share(&v);
    free(v.cell);
    free(v.life);
    free(v.block_at);
    free(v.begin);
    free(v.end);
    free(v.block);
    free(v.set);
    return done;
}
