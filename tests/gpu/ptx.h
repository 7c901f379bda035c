/* A PTX module after loading: what parse.c makes of the text, and what exec.h runs.
 *
 * Every operand an instruction reads or writes is a slot of its warp's register file, named by
 * its byte offset: registers, but also immediates, addresses of variables and special registers,
 * whose slots are filled before the first instruction. So an instruction's handler is a loop
 * over 32 lanes and knows no operand kinds.
 *
 *   slot of   bytes   holds
 *   .pred        64   a uint32_t, bit l for lane l
 *   8, 16 bit    64   uint16_t[32]   (.b8 registers do not exist in nvcc's output)
 *   32 bit      128   uint32_t[32]
 *   64 bit      256   uint64_t[32]
 *
 * Registers that are never live at the same time share a slot (ptx_live.c); no destination has a
 * slot that a source of the same instruction has, unless it is the same register.
 *
 * Source of every rule here: NVIDIA's PTX ISA, version 9.0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WARP_LANES 32
#define PTX_NONE   UINT32_MAX
#define PTX_SLOTS  24 /* most operands of one instruction, vectors counted by element */

struct warp;
struct ptx_instr;

/* Executes one instruction for the lanes of mask; the others' registers stay as they are. */
typedef void ptx_run(struct warp *warp, const struct ptx_instr *instr, uint32_t mask);

/* How the warp's loop must treat an instruction besides calling run. */
enum ptx_flow {
    FLOW_NEXT,    /* go on behind it */
    FLOW_BRANCH,  /* bra: lanes of mask go to target; run is NULL */
    FLOW_EXIT,    /* ret, exit: lanes of mask are done; run is NULL */
    FLOW_GRID,    /* griddepcontrol.wait: waits for the kernels before */
    FLOW_SYNC,    /* needs all lanes of its member mask (last operand) at once: shfl.sync, ... */
    FLOW_ALIGNED, /* needs all live lanes of the warp at once: mma, ldmatrix, bar.sync.aligned */
    FLOW_BARRIER, /* bar.sync, barrier.cta.sync: as ALIGNED, then the warp waits for its CTA */
};

/* An instruction's opcode as the text spells it, with what the executor does with it.
 *
 * operands is the signature in the order of the text, destinations first, then '=':
 *   p predicate   h 16 bit   r 32 bit   d 64 bit   each one slot
 *   r4            a vector of four such slots, in the text {%r1, %r2, %r3, %r4} (also h2, d2 ...);
 *                 of one element, {%r1}, it is r
 *   x             a register of 16, 32 or 64 bits: ld, st and cvt take one wider than their type
 *                 (PTX ISA 9.0, 9.4.1). instr->width says which. Also x2, x4. An integer literal
 *                 here is a slot of 8 bytes, 0f... one of 4 and 0d... one of 8
 *   a             an address [x], [x+4] or [x-4]: one 64-bit slot, instr->offset the number. Where
 *                 x is a 32-bit register (nvcc's addresses of shared memory in inline assembly)
 *                 the slot is that register's and instr->address32 is set: zero-extend it. A second
 *                 address (cp.async) has instr->offset2 and instr->address32_2
 *   l             a label: instr->target
 *   i             an integer that must be a literal: instr->literal[], no slot
 * A destination may be "r|p" (shfl: r|p) or "p|p" (setp), where the text may leave out "|p":
 * then the slot is PTX_NONE. '_' in the text, a destination nobody wants, is PTX_NONE too.
 * Literals are converted to their slot's width; a float must be written 0f... for 32 bits and
 * 0d... for 64. A source !%p becomes a not.pred before the instruction, so handlers do not see it.
 * Examples: add.s32 "r=rr"; setp.lt.s32 "p|p=rr"; ld.global.v4.u32 "r4=a"; st.shared.b16 "=ah";
 * mma.sync...m16n8k16 "r4=r4r2r4"; bra "=l"; bar.sync "=r" and, as a second form, "=rr".
 * A mov with a vector is looked up by its shape: mov.b64 {%r1, %r2}, %rd1 as "mov.b64.unpack2"
 * ("r2=d"), mov.b32 %r1, {%rs1, %rs2} as "mov.b32.pack2" ("r=h2"), of four as "...pack4". */
struct ptx_form {
    const char *operands;
    ptx_run *run;
    enum ptx_flow flow;
    uint32_t detail[4]; /* the family's own: type, width, rounding ... */
};

/* Each family of instructions looks an opcode up ("ld.global.nc.v4.f32"): fills form and returns
 * true, or false if it is not one of its own. n_operand: operands in the text, vectors, addresses
 * and pairs "r|p" counted once, to tell forms of one name apart. */
typedef bool ptx_find(const char *opcode, int n_operand, struct ptx_form *form);
ptx_find find_integer, find_float, find_half, find_convert, find_move; /* alu_*.c */
ptx_find find_memory, find_async, find_atomic;                         /* mem_*.c */
ptx_find find_matrix, find_warp, find_control;                         /* warp-wide, branches */

struct ptx_instr {
    ptx_run *run;
    struct ptx_form form;
    uint32_t guard;                /* slot of the predicate before it, PTX_NONE without */
    bool guard_not;                /* @!%p */
    uint8_t n_slot, n_destination; /* the destinations come first */
    uint32_t slot[PTX_SLOTS];      /* byte offsets in the register file, in the order of the text */
    uint8_t width[PTX_SLOTS];    /* of each slot: bytes of a lane's element, 2, 4, 8; 0: predicate.
                               * Of PTX_NONE the nominal one, for an 'x' then 8 */
    int64_t offset, offset2;     /* of the first and the second address operand */
    bool address32, address32_2; /* their slots are of 32 bits */
    int64_t literal[2];          /* of the 'i' operands */
    uint32_t target;             /* index of the instruction a branch goes to */
    uint32_t line;               /* of the text, from 1 */
    uint32_t watched;            /* bit k: slot k is one of the function's watched; 31: guard */
};
#define PTX_WATCHED_GUARD 31

enum ptx_special {
    SPECIAL_TID_X,
    SPECIAL_TID_Y,
    SPECIAL_TID_Z,
    SPECIAL_NTID_X,
    SPECIAL_NTID_Y,
    SPECIAL_NTID_Z,
    SPECIAL_CTAID_X,
    SPECIAL_CTAID_Y,
    SPECIAL_CTAID_Z,
    SPECIAL_NCTAID_X,
    SPECIAL_NCTAID_Y,
    SPECIAL_NCTAID_Z,
    SPECIAL_LANEID,
    SPECIAL_WARPID,
    SPECIAL_NWARPID,
    SPECIAL_LANEMASK_EQ,
    SPECIAL_LANEMASK_LT,
    SPECIAL_LANEMASK_LE,
    SPECIAL_LANEMASK_GT,
    SPECIAL_LANEMASK_GE,
    SPECIAL_SMID,
    SPECIAL_CLOCK,
    SPECIAL_CLOCK64,
    SPECIAL_GLOBALTIMER,
    SPECIAL_DYNAMIC_SMEM_SIZE,
    SPECIAL_TOTAL_SMEM_SIZE,
    SPECIAL_COUNT
};

/* Slots with a content from the start. */
struct ptx_constant {
    uint32_t slot;
    uint8_t bytes;    /* of an element: 2, 4, 8; 1 for a predicate (0 or all lanes) */
    int32_t variable; /* add this variable's address to value, -1: none */
    uint64_t value;
};

struct ptx_special_slot {
    uint32_t slot;
    uint8_t bytes; /* 4 or 8 */
    enum ptx_special what;
};

enum ptx_space { SPACE_GLOBAL, SPACE_CONST, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM };

struct ptx_variable {
    char *name;
    enum ptx_space space;
    uint64_t bytes, align;
    uint8_t *init; /* (bytes) or NULL; owned */
    /* SHARED, LOCAL, PARAM: the offset in its function's window, set by the parser. GLOBAL and
     * CONST: the device address, set by whoever loads the module. Dynamic shared memory
     * (extern, no size) has bytes 0 and comes after the function's other shared variables. */
    uint64_t address;
};

struct ptx_param {
    uint32_t offset, bytes;
};

struct ptx_counts; /* of one instruction, counters.h */

struct ptx_function {
    char *name;
    bool is_entry;
    struct ptx_instr *instr; /* (n_instr); the last is a ret */
    uint32_t n_instr;
    uint32_t register_bytes; /* of one warp's register file, constants and specials included */
    struct ptx_constant *constant;
    uint32_t n_constant;
    struct ptx_special_slot *special;
    uint32_t n_special;
    uint32_t *watched; /* (n_watched) slots of registers that some way reads before it writes */
    uint32_t n_watched;
    struct ptx_param *param; /* (n_param) of the kernel */
    uint32_t n_param, param_bytes;
    uint32_t shared_bytes;   /* static */
    uint32_t shared_granule; /* memory_granule */
    uint32_t local_bytes;    /* per lane */
    uint32_t max_threads;    /* .maxntid product, 0: not given */
    uint32_t required[3];    /* .reqntid, 0: not given */
    uint32_t min_ctas;       /* .minnctapersm */
    const struct ptx_module *module;
    struct ptx_counts *counts; /* (n_instr + 1) or NULL; counters.h, which takes it by malloc */
};

struct ptx_module {
    char *text;        /* owned copy, 0-terminated */
    uint32_t *line_at; /* (n_line) where its lines begin */
    uint32_t n_line;
    int version_major, version_minor;
    int target; /* 80 for sm_80 */
    struct ptx_function *function;
    uint32_t n_function;
    struct ptx_variable *variable;
    uint32_t n_variable;
};

/* The least that one lane accesses shared memory by in the function, 4 bytes at most
 * (mem_access.c). Accesses of other instructions are of 4 bytes and more. */
uint32_t memory_granule(const struct ptx_function *function);

/* Parses the text of a module. NULL: error holds "line 12: unsupported instruction foo.s32" or
 * the like. Anything not known is refused here, never while running. */
struct ptx_module *ptx_parse(const char *text, size_t bytes, char *error, size_t error_bytes);
void ptx_free(struct ptx_module *module);

const struct ptx_function *ptx_find_function(const struct ptx_module *module, const char *name);

/* Line `line` of the text without its indentation, for messages. Copies into out. */
void ptx_line(const struct ptx_module *module, uint32_t line, char *out, size_t bytes);
