/* The stand-in's configuration: one "key: value" per line, numbers only, except that
 * "model" and "path" take anything. It also stands in for file/file.c. */
#define _GNU_SOURCE
#include "fake.h"

#include "plugin/base/buf.h"
#include "plugin/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- file/file.h */

int32_t file_open(struct file *file, const char *path, const inflight_io *io, struct err *err)
{
    *file = (struct file){.io = io};
    if (io) {
        file->handle = io->open(io->user, path, &file->bytes);
        return file->handle ? INFLIGHT_OK
                            : err_set(err, INFLIGHT_E_IO, "%s: the host has no such file", path);
    }
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return err_set(err, INFLIGHT_E_IO, "%s: %s", path, strerror(e));
    }
    file->bytes = (uint64_t)st.st_size;
    void *map = mmap(NULL, file->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return err_set(err, INFLIGHT_E_IO, "%s: %s", path, strerror(errno));
    file->map = map;
    return INFLIGHT_OK;
}

void file_close(struct file *file)
{
    if (file->map)
        munmap((void *)file->map, file->bytes);
    if (file->handle)
        file->io->close(file->io->user, file->handle);
    *file = (struct file){0};
}

const void *file_view(const struct file *file, uint64_t offset, size_t n, struct buf *scratch,
                      struct err *err)
{
    if (file->map)
        return file->map + offset;
    scratch->len = 0;
    char *to = buf_room(scratch, n);
    if (!to) {
        (void)err_set(err, INFLIGHT_E_NOMEM, "no memory to read %u bytes", (unsigned)n);
        return NULL;
    }
    for (size_t done = 0; done < n;) {
        int64_t got =
            file->io->pread(file->io->user, file->handle, to + done, n - done, offset + done);
        if (got <= 0) {
            (void)err_set(err, INFLIGHT_E_IO, "read error at byte %u", (unsigned)done);
            return NULL;
        }
        done += (size_t)got;
    }
    return to;
}

/* ---- config.h */

const struct fake_config *fake_config_of(const struct config *config)
{
    return (const struct fake_config *)(const void *)config->model_path;
}

static bool is(struct str key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.ptr, name, key.len) == 0;
}

static bool set(struct fake_config *c, struct str key, uint64_t value)
{
    if (is(key, "token_us"))
        c->token_us = value;
    else if (is(key, "load_us"))
        c->load_us = value;
    else if (is(key, "requests"))
        c->requests = (uint32_t)value;
    else if (is(key, "stream_bytes"))
        c->stream_bytes = (uint32_t)value;
    else if (is(key, "broken"))
        c->broken = value != 0;
    else
        return is(key, "version") || is(key, "model") || is(key, "path");
    return true;
}

int32_t config_parse(struct config *config, struct str yaml, const char *name, struct arena *arena,
                     struct err *err)
{
    struct fake_config *c = arena_take(arena, sizeof *c);
    if (!c)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the configuration");
    *c = (struct fake_config){.load_us = 1000, .requests = 64, .stream_bytes = 64 << 10};
    *config = (struct config){.model_path = (const char *)c};
    unsigned line = 1;
    for (size_t at = 0; at < yaml.len; line++) {
        const char *p = yaml.ptr + at, *end = memchr(p, '\n', yaml.len - at);
        size_t len = end ? (size_t)(end - p) : yaml.len - at;
        at += len + 1;
        size_t indent = 0;
        while (indent < len && p[indent] == ' ')
            indent++;
        if (indent == len)
            continue;
        const char *colon = memchr(p, ':', len);
        struct str key = {p + indent, colon ? (size_t)(colon - p) - indent : len - indent};
        uint64_t value = 0;
        for (const char *d = colon ? colon + 1 : p; d < p + len; d++)
            if (*d >= '0' && *d <= '9')
                value = value * 10 + (uint64_t)(*d - '0');
        if (!colon || !set(c, key, value))
            return err_set(err, INFLIGHT_E_CONFIG, "%s:%u:%u: unknown key \"%.*s\"",
                           name ? name : "config", line, (unsigned)indent + 1, (int)key.len,
                           key.ptr);
    }
    return INFLIGHT_OK;
}
