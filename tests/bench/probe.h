/* What a processor can do at most: reading memory, and the products that kernels are made
 * of. Each call is the work of one thread; who times it runs it on as many as it likes. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* Beyond every cache there is: several times the last one of a large desktop. */
#define PROBE_COLD_BYTES ((size_t)160 << 20)

enum probe_dot {
    PROBE_VNNI,   /* vpdpbusd, 512 bits wide */
    PROBE_AVX2,   /* vpmaddubsw, vpaddw: the least that such a sum takes without VNNI */
    PROBE_BF16,   /* vdpbf16ps, 512 bits wide */
    PROBE_FMA512, /* vfmadd231ps, 512 and 256 bits wide */
    PROBE_FMA256,
    PROBE_DOTS
};

/* Reads all bytes once, front to back. data: on 64 bytes; bytes: a multiple of 256. */
void probe_read(const void *data, size_t bytes);

/* Whether the processor has the instruction. */
bool probe_has(enum probe_dot kind);

/* Products in registers for about a millisecond. Returns how many operations these were, two
 * for a product and its sum; 0, at once, where the processor has not got it. */
double probe_dot(enum probe_dot kind);

#endif
