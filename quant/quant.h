/* Weight formats as data: formats.def is the only list, everything that must know
 * "which format" reads the table made from it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Functions of the format headers, for C and for both sides of CUDA C. */
#ifdef __CUDACC__
#define HD __host__ __device__ inline
#else
#define HD static inline
#endif

enum fmt {
#define FMT(name, n, bytes, head, gguf) FMT_##name,
#include "formats.def"
#undef FMT
    FMT_COUNT
};

struct fmt_info {
    const char *name;
    int32_t n;     /* values per block */
    int32_t bytes; /* bytes per block */
    int32_t head;  /* bytes before the blocks of a row: its scale, a float, or none */
    int32_t gguf;  /* type id in GGUF files; -1: they have none */
    /* One block -> n floats, exactly value = what the format defines; of a format with a
     * head without the scale of the row. */
    void (*decode)(const void *block, float *out);
};

extern const struct fmt_info fmt_info[FMT_COUNT];

/* The format of a GGUF type id, or FMT_COUNT. */
enum fmt fmt_of_gguf(uint32_t type);

/* Bytes of a row of n values, with its head; n must be a multiple of the block. */
size_t fmt_row_bytes(enum fmt fmt, int64_t n);

/* A whole row to floats. */
void fmt_decode_row(enum fmt fmt, const void *row, int64_t n, float *out);
