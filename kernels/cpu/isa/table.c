/* The table of one instruction set: isa_plain, isa_avx2, .... */
#include "isa.h"

const struct isa_table ISA_JOIN(isa, ISA) = {
    .name = SIMD_NAME,
#define OP(name, doc) .name = ISA_FN(name),
#include "../../ops.def"
#undef OP
    .linear_scratch_bytes = ISA_FN(linear_scratch_bytes),
    .attend_scratch_bytes = ISA_FN(attend_scratch_bytes),
    .packed_bytes = ISA_FN(packed_bytes),
    .pack_tiles = ISA_FN(pack_tiles),
};
