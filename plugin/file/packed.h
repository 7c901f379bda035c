/* Packed weights in a file. The first load of a model writes it; those after it map it in place of
 * packing, and all processes that do so share its pages.
 *
 *   head     struct packed_head
 *   items    struct packed_item (n_items), by place in the memory
 *   sums     uint64 (n_pieces), the checksum of each PACKED_PIECE bytes of the memory
 *   memory   from PACKED_ALIGN on: (bytes), as kernels read it
 *
 * in the byte order and with the padding of this processor. A load that would use the file makes
 * head and items itself and compares: nothing in a file says where or how much to read. What is not
 * equal is another model's, another library's or another instruction set's, or damaged; then the
 * weights are packed, and a new file takes its place. A file that has another beginning is
 * somebody's and stays.
 *
 * Writing goes piece by piece, because file systems with large folios (ext4 and XFS of Linux 6.16)
 * then keep each in a huge page, and map it as one. */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

#define PACKED_PIECE ((size_t)2 << 20)
#define PACKED_ALIGN ((size_t)4096)

struct packed_head {
    char magic[16];
    char version[16]; /* of the library */
    char packing[32]; /* backend->packing */
    uint64_t files;   /* checksum of the sizes and times of the model's files */
    uint64_t bytes;   /* of the memory */
    uint32_t n_items, n_pieces;
    uint64_t sum; /* checksum of all before the memory, with this field zero */
};

struct packed_item {
    char name[64];
    int32_t fmt, N, K; /* enum fmt; of a vector f32, N, 1 */
    int32_t reserved;
    uint64_t offset, bytes; /* in the memory */
    double error; /* of a matrix that was converted, see weights_describe; others: negative. Not
                     compared; one that is no number is refused. */
};

struct packed {
    struct packed_head *head; /* these three in one table, owned, (table_bytes) */
    struct packed_item *item;
    uint64_t *sum;
    size_t table_bytes;
    const struct mem *mem;
    const uint8_t *map; /* the file, (map_bytes), or NULL */
    size_t map_bytes;
};

/* A table for so many items and bytes; head.files, head.packing and items are the caller's to fill,
 * before anything below. */
int32_t packed_init(struct packed *p, uint32_t n_items, uint64_t bytes, const struct mem *mem,
                    struct err *err);
void packed_close_table(struct packed *p); /* which is of no more use; a mapping stays */
void packed_release(struct packed *p);     /* all of it; zeroed is allowed */

enum packed_found {
    PACKED_FOUND,   /* mapped; sums and errors are the file's */
    PACKED_ABSENT,  /* there is no file, or an empty one */
    PACKED_STALE,   /* one of ours, which may be replaced; why */
    PACKED_FOREIGN, /* none of ours, or it cannot be read; why */
};

/* Compares all but the memory. */
enum packed_found packed_map(struct packed *p, const char *path, struct err *why);
void packed_unmap(struct packed *p);

/* (bytes), read-only, until unmapped. As good as the file below it, see file.c. */
const void *packed_memory(const struct packed *p);

/* Checksum of piece i of such memory. [any thread] */
uint64_t packed_sum(const struct packed *p, const void *memory, uint32_t i);

/* Non-zero stops. */
typedef int packed_progress(void *user, uint64_t done, uint64_t total);

/* Sums are filled: writes path and ".part", which takes path's place when it is whole. Whoever
 * holds the old file keeps it. INFLIGHT_E_IO with the reason: nothing has changed. */
int32_t packed_write(struct packed *p, const char *path, const void *memory,
                     packed_progress *progress, void *user, struct err *err);

/* What became of the file of packed weights. */
enum packed_use {
    PACKED_UNUSED,  /* none was asked for, or the back end keeps none */
    PACKED_MAPPED,  /* the weights are in it */
    PACKED_WRITTEN, /* the next load will map it */
    PACKED_REFUSED, /* it cannot be used nor written, see the note */
};
