/* Files: a private read-only mapping, or the host's hook. A mapping is only as good as
 * the file below it: if another process cuts the file while it is mapped, reading the
 * lost part is a bus error, as for every program that maps files. */
#define _DEFAULT_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The system's sentence for an errno value, in the thread's own storage. */
static const char *reason(int number, char *out, size_t cap)
{
    /* The POSIX one, which returns a status: _GNU_SOURCE would declare another. */
    return strerror_r(number, out, cap) == 0 ? out : "unknown error";
}

/* Size and time of an open descriptor, if it is one that can be mapped. */
static int32_t check_regular(struct file *file, int fd, uint64_t *bytes, struct err *err)
{
    struct stat st;
    char text[128];

    if (fstat(fd, &st) != 0)
        return err_set(err, INFLIGHT_E_IO, "%s: cannot ask for its size: %s", file->path,
                       reason(errno, text, sizeof text));
    if (S_ISDIR(st.st_mode))
        return err_set(err, INFLIGHT_E_IO, "%s: is a folder, not a file", file->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, INFLIGHT_E_IO, "%s: is not a regular file", file->path);
    if (st.st_size <= 0)
        return err_set(err, INFLIGHT_E_IO, "%s: is empty", file->path);
    *bytes = (uint64_t)st.st_size;
    file->changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return INFLIGHT_OK;
}

static int32_t open_mapped(struct file *file, const char *path, struct err *err)
{
    uint64_t bytes = 0;
    char text[128];

    /* Non-blocking: opening a pipe must fail, not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, INFLIGHT_E_IO, "%s: cannot be opened: %s", file->path,
                       reason(errno, text, sizeof text));
    int32_t rc = check_regular(file, fd, &bytes, err);
    if (rc == INFLIGHT_OK) {
        void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = err_set(err, INFLIGHT_E_IO, "%s: cannot be mapped: %s", file->path,
                         reason(errno, text, sizeof text));
        } else {
            /* Tensors are read once, mostly in file order. Only a hint: may fail. */
            (void)madvise(map, bytes, MADV_SEQUENTIAL);
            file->map = map;
            file->bytes = bytes;
        }
    }
    close(fd);
    return rc;
}

static int32_t open_hooked(struct file *file, const char *path, const inflight_io *io,
                           struct err *err)
{
    if (!io->open || !io->pread)
        return err_set(err, INFLIGHT_E_ARG, "the file hooks lack open or pread");
    uint64_t bytes = 0;
    file->handle = io->open(io->user, path, &bytes);
    if (!file->handle)
        return err_set(err, INFLIGHT_E_IO, "%s: the open hook did not find it", file->path);
    file->io = io;
    file->bytes = bytes;
    if (bytes == 0) {
        int32_t rc = err_set(err, INFLIGHT_E_IO, "%s: is empty", file->path);
        file_close(file);
        return rc;
    }
    return INFLIGHT_OK;
}

int32_t file_open(struct file *file, const char *path, const inflight_io *io, struct err *err)
{
    memset(file, 0, sizeof *file);
    size_t len = strlen(path), fits = sizeof file->path - sizeof "...";
    (void)snprintf(file->path, sizeof file->path, "%s%s", len > fits ? "..." : "",
                   len > fits ? path + (len - fits) : path);
    return io ? open_hooked(file, path, io, err) : open_mapped(file, path, err);
}

void file_close(struct file *file)
{
    if (file->map)
        (void)munmap((void *)(uintptr_t)file->map, file->bytes);
    if (file->handle && file->io->close)
        file->io->close(file->io->user, file->handle);
    memset(file, 0, sizeof *file);
}

/* n bytes of room at a cache line, in place of what is in scratch; NULL: no memory. */
static char *scratch_room(struct buf *scratch, size_t n)
{
    if (n > SIZE_MAX - CACHE_LINE)
        return NULL;
    /* Given back before more is taken, so that the two never stand side by side. */
    if (scratch->cap < n + CACHE_LINE)
        buf_release(scratch);
    scratch->len = 0;
    scratch->failed = false;
    char *room = buf_room(scratch, n + CACHE_LINE);
    if (!room)
        return NULL;
    char *aligned = (char *)ROUND_UP((uintptr_t)room, CACHE_LINE);
    scratch->len = (size_t)(aligned - room) + n;
    return aligned;
}

/* Reads on until all n bytes are there: a hook may give fewer at a time. */
static bool read_all(const struct file *file, uint64_t offset, size_t n, char *room,
                     struct err *err)
{
    for (size_t done = 0; done < n;) {
        int64_t got =
            file->io->pread(file->io->user, file->handle, room + done, n - done, offset + done);
        if (got <= 0 || (uint64_t)got > n - done) {
            err_set(err, INFLIGHT_E_IO,
                    "%s: the read hook gave %" PRId64 ", asked for %zu bytes at %" PRIu64,
                    file->path, got, n - done, offset + done);
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

static bool is_inside(const struct file *file, uint64_t offset, size_t n, struct err *err)
{
    if (offset <= file->bytes && n <= file->bytes - offset)
        return true;
    err_set(err, INFLIGHT_E_IO,
            "%s: %zu bytes at %" PRIu64 " were asked for, the file ends at %" PRIu64, file->path, n,
            offset, file->bytes);
    return false;
}

const void *file_view(const struct file *file, uint64_t offset, size_t n, struct buf *scratch,
                      struct err *err)
{
    if (!file->map)
        return file_copy(file, offset, n, scratch, err);
    return is_inside(file, offset, n, err) ? file->map + offset : NULL;
}

const void *file_copy(const struct file *file, uint64_t offset, size_t n, struct buf *scratch,
                      struct err *err)
{
    char size[BYTES_TEXT];
    if (!is_inside(file, offset, n, err))
        return NULL;
    char *room = scratch_room(scratch, n);
    if (!room) {
        err_set(err, INFLIGHT_E_NOMEM, "%s: no memory to read %s", file->path, bytes_text(n, size));
        return NULL;
    }
    if (n == 0)
        return room;
    if (file->map)
        return memcpy(room, file->map + offset, n);
    return read_all(file, offset, n, room, err) ? room : NULL;
}

/* Whole pages inside; what is beside them goes with its neighbours. Only a hint. */
void file_done(const struct file *file, uint64_t offset, size_t n)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t first = ROUND_UP(offset, page), last = (offset + n) / page * page;
    if (file->map && last > first)
        (void)madvise((void *)(uintptr_t)(file->map + first), last - first, MADV_DONTNEED);
}
