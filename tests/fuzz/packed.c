/* Any bytes as a file of packed weights, and any changes to a good one: what is found has the items
 * that were asked for and can be read to its end. The first byte chooses: 0, the file is the rest;
 * else the rest are places (2 bytes) and what is put there (1 byte), and if it is even the list's
 * checksum is made right afterwards, as whoever wants to be believed would. */
#define _GNU_SOURCE
#include "plugin/base/checksum.h"
#include "plugin/file/packed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ITEMS = 4, BYTES = 3000, TABLE = 1024, WHOLE = 4096 + BYTES };

/* Keeps the compiler from dropping the reads. */
static volatile uint64_t sink;

static void open_table(struct packed *p)
{
    struct err err;
    if (packed_init(p, ITEMS, BYTES, &mem_system, &err) || p->table_bytes > TABLE)
        abort();
    strcpy(p->head->packing, "fuzz");
    for (int i = 0; i < ITEMS; i++)
        p->item[i] = (struct packed_item){
            .name = {(char)('a' + i)}, .N = i, .K = 32, .offset = 64 * (uint64_t)i, .bytes = 64};
}

/* A good file but for its checksums, of which the first says so. */
static void make_good(uint8_t whole[WHOLE])
{
    struct packed p;
    open_table(&p);
    memset(whole, 1, WHOLE);
    memcpy(whole, p.head, p.table_bytes);
    packed_release(&p);
}

static void change(uint8_t whole[WHOLE], const uint8_t *bytes, size_t n)
{
    struct packed_head *head = (struct packed_head *)(void *)whole;
    const size_t table = sizeof *head + ITEMS * sizeof(struct packed_item) + sizeof(uint64_t);
    for (size_t i = 1; i + 3 <= n; i += 3)
        whole[(bytes[i] | bytes[i + 1] << 8) % WHOLE] = bytes[i + 2];
    if (bytes[0] % 2)
        return;
    head->sum = 0;
    head->sum = checksum(whole, table);
}

static void find(const char *path)
{
    struct packed p, want;
    struct err why;
    open_table(&p);
    open_table(&want);
    const enum packed_found found = packed_map(&p, path, &why);
    if ((found == PACKED_FOUND) != (p.map != NULL) ||
        (found == PACKED_STALE || found == PACKED_FOREIGN) != (why.code != 0))
        abort();
    for (int i = 0; i < ITEMS; i++) {
        if (found == PACKED_FOUND && !isfinite(p.item[i].error))
            abort();
        p.item[i].error = want.item[i].error;
        if (memcmp(&p.item[i], &want.item[i], sizeof p.item[i]) != 0)
            abort();
    }
    if (found == PACKED_FOUND)
        sink += packed_sum(&p, packed_memory(&p), 0);
    packed_release(&p);
    packed_release(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static _Alignas(8) uint8_t whole[WHOLE];
    char path[32];
    if (n == 0)
        return 0;
    const uint8_t *file = bytes + 1;
    size_t file_bytes = n - 1;
    if (bytes[0]) {
        make_good(whole);
        change(whole, bytes, n);
        file = whole;
        file_bytes = WHOLE;
    }
    int fd = memfd_create("packed", MFD_CLOEXEC);
    if (fd < 0 || write(fd, file, file_bytes) != (ssize_t)file_bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    find(path);
    close(fd);
    return 0;
}
