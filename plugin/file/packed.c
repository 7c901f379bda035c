#define _DEFAULT_SOURCE
#include "packed.h"

#include "../base/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char magic[16] = "inflight packed";

static int32_t io_error(struct err *err, const char *what)
{
    char text[128];
    const int number = errno;
    /* The POSIX one, which returns a status. */
    if (strerror_r(number, text, sizeof text))
        (void)snprintf(text, sizeof text, "error %d", number);
    return err_set(err, INFLIGHT_E_IO, "%s: %s", what, text);
}

/* Where the memory begins in the file. */
static size_t memory_offset(const struct packed *p)
{
    return ROUND_UP(p->table_bytes, PACKED_ALIGN);
}

int32_t packed_init(struct packed *p, uint32_t n_items, uint64_t bytes, const struct mem *mem,
                    struct err *err)
{
    const uint32_t n_pieces = (uint32_t)((bytes + PACKED_PIECE - 1) / PACKED_PIECE);
    const size_t items = sizeof(struct packed_head), sums = items + n_items * sizeof *p->item;
    *p = (struct packed){.table_bytes = sums + n_pieces * sizeof *p->sum, .mem = mem};
    char *table = mem_take_zeroed(mem, p->table_bytes, CACHE_LINE);
    if (!table)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a list of %u packed tensors", n_items);
    p->head = (struct packed_head *)(void *)table;
    p->item = (struct packed_item *)(void *)(table + items);
    p->sum = (uint64_t *)(void *)(table + sums);
    memcpy(p->head->magic, magic, sizeof magic);
    (void)snprintf(p->head->version, sizeof p->head->version, "%s", INFLIGHT_VERSION);
    p->head->bytes = bytes;
    p->head->n_items = n_items;
    p->head->n_pieces = n_pieces;
    return INFLIGHT_OK;
}

void packed_unmap(struct packed *p)
{
    if (p->map)
        (void)munmap((void *)(uintptr_t)p->map, p->map_bytes);
    p->map = NULL;
}

void packed_close_table(struct packed *p)
{
    if (p->head)
        mem_give(p->mem, p->head, p->table_bytes);
    p->head = NULL;
    p->item = NULL;
    p->sum = NULL;
}

void packed_release(struct packed *p)
{
    packed_unmap(p);
    packed_close_table(p);
}

const void *packed_memory(const struct packed *p)
{
    return p->map + memory_offset(p);
}

uint64_t packed_sum(const struct packed *p, const void *memory, uint32_t i)
{
    const size_t at = i * PACKED_PIECE;
    return checksum((const char *)memory + at, MIN(PACKED_PIECE, (size_t)p->head->bytes - at));
}

/* Of the table, whose field for it is zero meanwhile. */
static uint64_t table_sum(struct packed_head *table, size_t bytes)
{
    table->sum = 0;
    table->sum = checksum(table, bytes);
    return table->sum;
}

/* ---- Reading */

static bool same_item(const struct packed_item *a, const struct packed_item *b)
{
    return memcmp(a->name, b->name, sizeof a->name) == 0 && a->fmt == b->fmt && a->N == b->N &&
           a->K == b->K && a->offset == b->offset && a->bytes == b->bytes;
}

/* Takes what the file alone knows. */
static enum packed_found compare_items(struct packed *p, const struct packed_item *found,
                                       struct err *why)
{
    for (uint32_t i = 0; i < p->head->n_items; i++) {
        if (!same_item(&p->item[i], &found[i]) || !isfinite(found[i].error)) {
            (void)err_set(why, INFLIGHT_E_IO, "has another tensor in the place of %s",
                          p->item[i].name);
            return PACKED_STALE;
        }
        p->item[i].error = found[i].error;
    }
    return PACKED_FOUND;
}

/* found: the file's table, a copy, as long as ours. */
static enum packed_found compare(struct packed *p, struct packed_head *found, struct err *why)
{
    struct packed_head *head = p->head;
    const uint64_t sum = found->sum;
    if (table_sum(found, p->table_bytes) != sum)
        (void)err_set(why, INFLIGHT_E_IO, "is damaged: the checksum of its list is another");
    else if (memcmp(found->version, head->version, sizeof head->version) != 0 ||
             memcmp(found->packing, head->packing, sizeof head->packing) != 0)
        (void)err_set(why, INFLIGHT_E_IO, "is of %.*s packed for %.*s, this is %s for %s",
                      (int)sizeof found->version - 1, found->version,
                      (int)sizeof found->packing - 1, found->packing, head->version, head->packing);
    else if (found->files != head->files)
        (void)err_set(why, INFLIGHT_E_IO, "is of model files of another size or time");
    else if (found->bytes != head->bytes || found->n_items != head->n_items)
        (void)err_set(why, INFLIGHT_E_IO, "has other tensors than the model");
    if (why->code)
        return PACKED_STALE;
    const char *table = (const char *)found;
    enum packed_found items =
        compare_items(p, (const struct packed_item *)(const void *)(found + 1), why);
    memcpy(p->sum, table + ((const char *)p->sum - (const char *)head),
           head->n_pieces * sizeof *p->sum);
    return items;
}

static enum packed_found read_table(struct packed *p, int fd, struct err *why)
{
    struct packed_head *found = mem_take(p->mem, p->table_bytes, CACHE_LINE);
    enum packed_found result = PACKED_STALE;
    if (!found)
        (void)err_set(why, INFLIGHT_E_NOMEM, "cannot be read: no memory for its list");
    else if (pread(fd, found, p->table_bytes, 0) != (ssize_t)p->table_bytes)
        (void)io_error(why, "cannot be read");
    else
        result = compare(p, found, why);
    mem_give(p->mem, found, p->table_bytes);
    return result;
}

/* Whether a file may be replaced. */
static enum packed_found find_owner(int fd, struct stat *st, struct err *why)
{
    char begin[sizeof magic];
    if (fstat(fd, st)) {
        (void)io_error(why, "cannot be asked for its size");
        return PACKED_FOREIGN;
    }
    if (!S_ISREG(st->st_mode)) {
        (void)err_set(why, INFLIGHT_E_IO, "is not a regular file");
        return PACKED_FOREIGN;
    }
    if (st->st_size == 0)
        return PACKED_ABSENT;
    if (pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin &&
        memcmp(begin, magic, sizeof magic) == 0)
        return PACKED_FOUND;
    (void)err_set(why, INFLIGHT_E_IO, "is a file of something else, and stays as it is");
    return PACKED_FOREIGN;
}

static enum packed_found map_open(struct packed *p, int fd, struct err *why)
{
    struct stat st;
    const size_t bytes = memory_offset(p) + (size_t)p->head->bytes;
    enum packed_found found = find_owner(fd, &st, why);
    if (found != PACKED_FOUND)
        return found;
    if ((uint64_t)st.st_size != bytes) {
        (void)err_set(why, INFLIGHT_E_IO, "has %lld bytes, this model's has %zu",
                      (long long)st.st_size, bytes);
        return PACKED_STALE;
    }
    found = read_table(p, fd, why);
    if (found != PACKED_FOUND)
        return found;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        (void)io_error(why, "cannot be mapped");
        return PACKED_STALE;
    }
    /* What is not in memory yet comes in huge pages too, where that is possible. */
    (void)madvise(map, bytes, MADV_HUGEPAGE);
    p->map = map;
    p->map_bytes = bytes;
    return PACKED_FOUND;
}

enum packed_found packed_map(struct packed *p, const char *path, struct err *why)
{
    *why = (struct err){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return PACKED_ABSENT;
    if (fd < 0) {
        (void)io_error(why, "cannot be opened");
        return PACKED_FOREIGN;
    }
    enum packed_found found = map_open(p, fd, why);
    close(fd);
    return found;
}

/* ---- Writing */

/* Whether a file goes by that name. */
static bool is_named(const struct stat *file, const char *path)
{
    struct stat named = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    const bool found = fd >= 0 && fstat(fd, &named) == 0;
    if (fd >= 0)
        close(fd);
    return found && named.st_ino == file->st_ino && named.st_dev == file->st_dev;
}

/* The part file, which nobody else writes: who renames it away or removes it holds its lock, so
 * that one under this name and with our lock is ours. */
static int32_t open_part(const char *part, int *fd, struct err *err)
{
    struct stat held;
    *fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0666);
    if (*fd < 0)
        return io_error(err, "cannot be written");
    if (fstat(*fd, &held))
        return io_error(err, "cannot be written");
    if (!S_ISREG(held.st_mode))
        return err_set(err, INFLIGHT_E_IO, "cannot be written: its .part is not a regular file");
    const bool locked = flock(*fd, LOCK_EX | LOCK_NB) == 0;
    if (locked ? !is_named(&held, part) : errno == EWOULDBLOCK)
        return err_set(err, INFLIGHT_E_IO, "is being written by another engine");
    if (!locked || ftruncate(*fd, 0))
        return io_error(err, "cannot be written");
    return INFLIGHT_OK;
}

static int32_t write_all(int fd, struct iovec *part, int n, struct err *err)
{
    while (n > 0) {
        ssize_t wrote = writev(fd, part, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return io_error(err, "cannot be written");
        size_t left = (size_t)wrote;
        for (; n > 0 && left >= part->iov_len; part++, n--)
            left -= part->iov_len;
        if (n > 0) {
            part->iov_base = (char *)part->iov_base + left;
            part->iov_len -= left;
        }
    }
    return INFLIGHT_OK;
}

/* In pieces of the file, the first of which has the table too. */
static int32_t write_pieces(const struct packed *p, int fd, const void *memory,
                            packed_progress *progress, void *user, struct err *err)
{
    static const char zeros[PACKED_ALIGN];
    const size_t offset = memory_offset(p), bytes = (size_t)p->head->bytes;
    const char *from = memory;
    size_t n = MIN(ROUND_UP(offset, PACKED_PIECE) - offset, bytes);
    struct iovec first[] = {{p->head, p->table_bytes},
                            {(void *)(uintptr_t)zeros, offset - p->table_bytes},
                            {(void *)(uintptr_t)from, n}};
    int32_t rc = write_all(fd, first, (int)COUNT_OF(first), err);
    for (size_t done = n; !rc && done < bytes; done += n) {
        n = MIN(PACKED_PIECE, bytes - done);
        struct iovec piece = {(void *)(uintptr_t)(from + done), n};
        if (progress && progress(user, done, bytes))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "is not written: loading was stopped");
        rc = write_all(fd, &piece, 1, err);
    }
    return rc;
}

/* Without waiting for the disk: a file that a crash has cut or emptied is known by its sums. */
int32_t packed_write(struct packed *p, const char *path, const void *memory,
                     packed_progress *progress, void *user, struct err *err)
{
    char part[PATH_MAX];
    int fd = -1;
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        return err_set(err, INFLIGHT_E_IO, "cannot be written: the path is too long");
    (void)table_sum(p->head, p->table_bytes);
    int32_t rc = open_part(part, &fd, err);
    if (rc)
        goto done;
    rc = write_pieces(p, fd, memory, progress, user, err);
    if (!rc && rename(part, path))
        rc = io_error(err, "cannot be replaced");
    if (rc)
        (void)unlink(part);
done:
    if (fd >= 0)
        close(fd);
    return rc;
}
