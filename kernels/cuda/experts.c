/* The operation experts is the CPU's alone: cuda_measure refuses models that have it. */
#include "cuda.h"

int cuda_experts(struct lane *lane, const struct op_experts *op, const struct batch *batch)
{
    (void)lane;
    (void)op;
    (void)batch;
    return INFLIGHT_E_UNSUPPORTED;
}
