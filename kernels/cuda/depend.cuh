/* Programmatic dependent launch (CUDA Programming Guide; PTX ISA 9.0, 9.7.13.13): the next kernel
 * of the stream may begin before this one has ended, and wait within itself. So starting a block
 * and fetching weights cost nothing that is seen. device.c launches with the attribute.
 *
 * The rule that makes it safe: every thread of every kernel that reads or writes memory which
 * other kernels write calls wait_for_kernels_before first, and before it reads weights and
 * constants alone and writes nothing. In each kernel some thread calls it, whatever the grid's
 * size: so when a kernel has ended, all before it have. The simulated GPU checks all of it.
 *
 * The next kernel is let go once this one works, no earlier: one kernel waits beside the one that
 * runs. Of a chain of kernels that wait some would come to lie on SMs that others had left to it,
 * and slow these down when their turn comes. */
#pragma once

/* Until all kernels before this one have ended and what they wrote can be seen. The next one may
 * begin once every block has called this or has ended. */
static __device__ __forceinline__ void wait_for_kernels_before(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\n"
                 "griddepcontrol.launch_dependents;" ::
                     : "memory");
#endif
}
