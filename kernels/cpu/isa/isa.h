/* What the files of this directory define for one instruction set: the entries of
 * struct isa_table, under the names ISA_FN gives them. */
#pragma once

#include "../cpu.h"
#include "simd.h"

#define OP(name, doc) \
    int ISA_FN(name)(struct lane * lane, const struct op_##name *op, const struct batch *batch);
#include "../../ops.def"
#undef OP

size_t ISA_FN(linear_scratch_bytes)(const struct device_config *config);
size_t ISA_FN(attend_scratch_bytes)(const struct device_config *config);
size_t ISA_FN(packed_bytes)(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K);
void ISA_FN(pack_tiles)(const struct device_config *config, const struct weight_source *source,
                        struct weight *out, int32_t first, int32_t last);
