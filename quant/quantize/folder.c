#define _GNU_SOURCE
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RUN_FILE "run.json"
#define BUFFER   ((size_t)1 << 20)
#define BEHIND   ((uint64_t)16 << 20) /* bytes that may wait for the disk to be told of them */
#define OUT_PATH 4400                 /* of a file in OUT.partial, which has 4096 at most */

/* PARTIAL/name and what is behind it; false: too long. */
static bool path_of(const struct out_folder *out, const char *name, const char *end,
                    char path[OUT_PATH])
{
    int n = snprintf(path, OUT_PATH, "%s/%s%s", out->partial, name, end);
    return n > 0 && n < OUT_PATH;
}

static int32_t io_error(struct err *err, const char *what, const char *path)
{
    return err_set(err, INFLIGHT_E_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* What was renamed or made in a folder is on the disk. */
static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* Names in OUT.partial, but for that file and one that is under way; negative: it cannot be
 * read. */
static int count_others(const struct out_folder *out, const char *name)
{
    int n = 0;
    DIR *dir = opendir(out->partial);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
             strncmp(entry->d_name, name, strlen(name)) != 0;
    (void)closedir(dir);
    return n;
}

/* Empties OUT.partial and removes it. */
static int32_t clear(const struct out_folder *out, struct err *err)
{
    DIR *dir = opendir(out->partial);
    if (!dir)
        return io_error(err, "cannot be opened", out->partial);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    return rmdir(out->partial) ? io_error(err, "cannot be removed", out->partial) : INFLIGHT_OK;
}

static int32_t write_run(struct out_folder *out, const json_t *run, struct err *err)
{
    if (mkdir(out->partial, 0777))
        return io_error(err, "cannot be made", out->partial);
    return out_json(out, RUN_FILE, run, err);
}

int32_t out_open(struct out_folder *out, const char *path, const json_t *run, bool restart,
                 struct err *err)
{
    struct stat st;
    out->path = path;
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    int n = snprintf(out->partial, sizeof out->partial, "%.*s.partial", (int)len, path);
    if (n < 0 || (size_t)n >= sizeof out->partial)
        return err_set(err, INFLIGHT_E_ARG, "the path of the output is too long");
    if (lstat(path, &st) == 0)
        return err_set(err, INFLIGHT_E_ARG, "%s: is there already", path);
    if (lstat(out->partial, &st))
        return write_run(out, run, err);
    json_t *before = out_read_json(out, RUN_FILE);
    bool same = before && json_equal(before, run);
    bool is_ours = before || count_others(out, RUN_FILE) == 0; /* or stopped before it said so */
    bool is_other = before && !same;
    json_decref(before);
    if (!is_ours)
        return err_set(err, INFLIGHT_E_ARG, "%s: is there and not of such a run", out->partial);
    if (is_other && !restart)
        return err_set(err, INFLIGHT_E_ARG,
                       "%s: is of another run, of other parameters or another model; --restart "
                       "begins anew",
                       out->partial);
    if (same && !restart)
        return INFLIGHT_OK;
    return clear(out, err) ? err->code : write_run(out, run, err);
}

uint64_t out_room(const struct out_folder *out)
{
    struct statvfs fs;
    if (statvfs(out->partial, &fs))
        return UINT64_MAX;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

bool out_has(const struct out_folder *out, const char *name)
{
    char path[OUT_PATH];
    return path_of(out, name, "", path) && access(path, F_OK) == 0;
}

/* ---- Files */

int32_t out_begin(struct out_file *file, const struct out_folder *out, const char *name,
                  struct err *err)
{
    char path[OUT_PATH];
    *file = (struct out_file){.out = out, .name = name};
    if (!path_of(out, name, ".part", path))
        return err_set(err, INFLIGHT_E_ARG, "%s: the path is too long", name);
    file->stream = fopen(path, "we");
    if (!file->stream)
        return io_error(err, "cannot be written", path);
    (void)setvbuf(file->stream, NULL, _IOFBF, BUFFER);
    return INFLIGHT_OK;
}

static int32_t refuse(struct out_file *file, struct err *err)
{
    int number = errno;
    (void)err_set(err, INFLIGHT_E_IO,
                  "%s/%s: cannot be written beyond %" PRIu64
                  " bytes: %s; complete files stay, the same command goes on with them",
                  file->out->partial, file->name, file->bytes, strerror(number));
    out_drop(file);
    return err->code;
}

/* The disk writes while the next matrices are made, and not all of it at the end. */
static int32_t begin_writing(struct out_file *file, struct err *err)
{
    if (file->bytes - file->begun < BEHIND)
        return INFLIGHT_OK;
    if (fflush(file->stream))
        return refuse(file, err);
    (void)sync_file_range(fileno(file->stream), (off_t)file->begun,
                          (off_t)(file->bytes - file->begun), SYNC_FILE_RANGE_WRITE);
    file->begun = file->bytes;
    return INFLIGHT_OK;
}

int32_t out_put(struct out_file *file, const void *bytes, size_t n, struct err *err)
{
    if (fwrite(bytes, 1, n, file->stream) != n)
        return refuse(file, err);
    file->bytes += n;
    return begin_writing(file, err);
}

int32_t out_end(struct out_file *file, struct err *err)
{
    char part[OUT_PATH], path[OUT_PATH];
    if (fflush(file->stream) || fsync(fileno(file->stream)))
        return refuse(file, err);
    (void)fclose(file->stream);
    file->stream = NULL;
    (void)path_of(file->out, file->name, ".part", part);
    (void)path_of(file->out, file->name, "", path);
    if (rename(part, path))
        return io_error(err, "cannot be renamed", part);
    sync_folder(file->out->partial);
    return INFLIGHT_OK;
}

void out_drop(struct out_file *file)
{
    char part[OUT_PATH];
    if (!file->stream)
        return;
    (void)fclose(file->stream);
    file->stream = NULL;
    if (path_of(file->out, file->name, ".part", part))
        (void)unlink(part);
}

static int32_t put_whole(const struct out_folder *out, const char *name, const void *bytes,
                         size_t n, struct err *err)
{
    struct out_file file;
    if (out_has(out, name))
        return INFLIGHT_OK;
    if (out_begin(&file, out, name, err) || out_put(&file, bytes, n, err))
        return err->code;
    return out_end(&file, err);
}

int32_t out_json(const struct out_folder *out, const char *name, const json_t *root,
                 struct err *err)
{
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (!text)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to write %s", name);
    int32_t rc = put_whole(out, name, text, strlen(text), err);
    free(text);
    return rc;
}

json_t *out_read_json(const struct out_folder *out, const char *name)
{
    char path[OUT_PATH];
    return path_of(out, name, "", path) ? json_load_file(path, 0, NULL) : NULL;
}

int32_t out_remove(const struct out_folder *out, const char *name, struct err *err)
{
    char path[OUT_PATH];
    if (path_of(out, name, "", path) && unlink(path) && errno != ENOENT)
        return io_error(err, "cannot be removed", path);
    return INFLIGHT_OK;
}

int32_t out_copy(const struct out_folder *out, const struct folder *from, const char *name,
                 struct err *err)
{
    struct file file;
    struct buf scratch;
    if (!folder_has(from, name))
        return INFLIGHT_OK;
    if (folder_file(from, name, &file, err))
        return err->code;
    buf_init(&scratch, from->mem);
    const void *bytes = file_view(&file, 0, (size_t)file.bytes, &scratch, err);
    int32_t rc = bytes ? put_whole(out, name, bytes, (size_t)file.bytes, err) : err->code;
    buf_release(&scratch);
    file_close(&file);
    return rc;
}

/* Once it has its name, what says of which run it was goes too. */
int32_t out_finish(const struct out_folder *out, struct err *err)
{
    char path[OUT_PATH];
    sync_folder(out->partial);
    if (rename(out->partial, out->path))
        return io_error(err, "cannot be renamed to its final name", out->partial);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", out->path, RUN_FILE) < sizeof path)
        (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s", out->path);
    sync_folder(dirname(path));
    return INFLIGHT_OK;
}
