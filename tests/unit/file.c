/* Files: mapped and behind hooks, right and wrong. */
#define _DEFAULT_SOURCE
#include "t.h"

#include "plugin/file/file.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err err;

/* A file of the given bytes in the temporary folder; the caller unlinks it. */
static void write_file(char path[32], const void *bytes, size_t n)
{
    strcpy(path, "/tmp/inflight-file-XXXXXX");
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

TEST(file, a_mapped_file_is_seen_without_copies)
{
    char path[32];
    struct file file;
    struct buf scratch;
    write_file(path, "0123456789", 10);
    buf_init(&scratch, &mem_system);
    CHECK_EQ(file_open(&file, path, NULL, &err), INFLIGHT_OK);
    CHECK_EQ(file.bytes, 10);
    CHECK_TEXT(file.path, path);
    CHECK(file_view(&file, 3, 4, &scratch, &err) == file.map + 3);
    CHECK(memcmp(file.map, "0123456789", 10) == 0);
    CHECK(file_view(&file, 10, 0, &scratch, &err) == file.map + 10);
    CHECK_EQ(scratch.cap, 0);
    unlink(path); /* the mapping outlives the name */
    CHECK(memcmp(file_view(&file, 0, 10, &scratch, &err), "0123456789", 10) == 0);
    file_close(&file);
    CHECK(!file.map);
    file_close(&file); /* a second time is allowed */
}

/* Pages of the mapping that are in the process, of 16 from the first on. */
static int count_resident(const struct file *file, size_t page)
{
    char line[256];
    unsigned long long from = 0, kb = 0;
    bool here = false;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (smaps && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%llx-%*x ", &from) == 1)
            here = from == (unsigned long long)(uintptr_t)file->map;
        else if (here && sscanf(line, "Rss: %llu", &kb) == 1)
            break;
    }
    if (smaps)
        fclose(smaps);
    return (int)(kb * 1024 / page);
}

TEST(file, what_is_done_with_leaves_the_process_and_can_be_seen_again)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 16 * page;
    char *bytes = malloc(n), path[32];
    struct file file;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i % 251);
    write_file(path, bytes, n);
    CHECK_EQ(file_open(&file, path, NULL, &err), INFLIGHT_OK);
    CHECK(memcmp(file_view(&file, 0, n, NULL, &err), bytes, n) == 0);
    CHECK_EQ(count_resident(&file, page), 16);
    file_done(&file, 5, 3 * page); /* all of pages 1 and 2 */
    file_done(&file, 9 * page, 4 * page);
    file_done(&file, 7 * page + 1, page - 1);
    file_done(&file, 0, 0);
    CHECK_EQ(count_resident(&file, page), 10);
    CHECK(memcmp(file_view(&file, 0, n, NULL, &err), bytes, n) == 0);
    file_close(&file);
    unlink(path);
    free(bytes);
}

TEST(file, views_past_the_end_are_refused_with_numbers)
{
    char path[32];
    struct file file;
    write_file(path, "0123456789", 10);
    CHECK_EQ(file_open(&file, path, NULL, &err), INFLIGHT_OK);
    CHECK(!file_view(&file, 8, 3, NULL, &err));
    CHECK_EQ(err.code, INFLIGHT_E_IO);
    CHECK(strstr(err.text, "3 bytes at 8 were asked for, the file ends at 10"));
    CHECK(!file_view(&file, 11, 0, NULL, &err));
    CHECK(!file_view(&file, UINT64_MAX, 1, NULL, &err));
    CHECK(!file_view(&file, 1, SIZE_MAX, NULL, &err)); /* the sum wraps to 0 */
    file_close(&file);
    unlink(path);
}

static void check_not_opened(const char *path, const char *sentence)
{
    struct file file;
    CHECK_EQ(file_open(&file, path, NULL, &err), INFLIGHT_E_IO);
    if (!strstr(err.text, sentence) || strncmp(err.text, path, strlen(path)) != 0)
        t_fail(__FILE__, __LINE__, "\"%s\" is not about %s and \"%s\"", err.text, path, sentence);
    CHECK(!file.map && !file.bytes);
    file_close(&file); /* after a failure too */
}

TEST(file, what_cannot_be_mapped_is_refused_with_the_reason)
{
    char path[32];
    check_not_opened("/nonexistent/model.gguf", "cannot be opened: No such file");
    check_not_opened("/", "is a folder");
    check_not_opened("/dev/null", "is not a regular file");
    write_file(path, "", 0);
    check_not_opened(path, "is empty");
    unlink(path);
    CHECK_EQ(mkfifo(path, 0600), 0);
    check_not_opened(path, "is not a regular file"); /* and does not wait for a writer */
    unlink(path);
}

TEST(file, a_long_path_keeps_its_end_in_messages)
{
    char path[600];
    struct file file;
    memset(path, 'd', sizeof path);
    for (size_t i = 0; i < sizeof path; i += 100)
        path[i] = '/';
    strcpy(path + sizeof path - 12, "/model.gguf");
    CHECK_EQ(file_open(&file, path, NULL, &err), INFLIGHT_E_IO);
    CHECK(strncmp(err.text, "...", 3) == 0);
    CHECK(strstr(err.text, "d/model.gguf: cannot be opened: "));
    CHECK_EQ(strlen(file.path), sizeof file.path - 1);
}

/* ---- Hooks: a file of 1000 bytes that count up. */

static struct {
    uint64_t size;
    int64_t answer; /* of pread when it misbehaves */
    bool misbehave;
    uint64_t most; /* bytes given at once, 0: all */
    int n_open;
} host;

static void *host_open(void *user, const char *path, uint64_t *size)
{
    *size = host.size;
    if (strcmp(path, "there") != 0)
        return NULL;
    host.n_open++;
    return user;
}

static int64_t host_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    CHECK(user == &host && file == &host);
    if (host.misbehave)
        return host.answer;
    if (host.most && n > host.most)
        n = host.most;
    for (uint64_t i = 0; i < n; i++)
        ((uint8_t *)dst)[i] = (uint8_t)(offset + i);
    return (int64_t)n;
}

static void host_close(void *user, void *file)
{
    CHECK(user == &host && file == &host);
    host.n_open--;
}

static const inflight_io host_io = {
    .user = &host, .open = host_open, .pread = host_pread, .close = host_close};

static void open_hooked(struct file *file)
{
    memset(&host, 0, sizeof host);
    host.size = 1000;
    CHECK_EQ(file_open(file, "there", &host_io, &err), INFLIGHT_OK);
    CHECK_EQ(file->bytes, 1000);
    CHECK(!file->map);
}

TEST(file, a_hook_reads_into_scratch_at_a_cache_line)
{
    struct file file;
    struct buf scratch;
    buf_init(&scratch, &mem_system);
    open_hooked(&file);
    static const size_t sizes[] = {1000, 1, 64, 999, 0};
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        uint64_t offset = 1000 - sizes[k];
        const uint8_t *p = file_view(&file, offset, sizes[k], &scratch, &err);
        CHECK(p && (uintptr_t)p % 64 == 0);
        CHECK(p + sizes[k] <= (uint8_t *)scratch.ptr + scratch.cap);
        for (size_t i = 0; p && i < sizes[k]; i++)
            if (p[i] != (uint8_t)(offset + i)) {
                t_fail(__FILE__, __LINE__, "byte %zu of %zu is wrong", i, sizes[k]);
                break;
            }
    }
    CHECK(!file_view(&file, 999, 2, &scratch, &err));
    buf_release(&scratch);
    file_close(&file);
    CHECK_EQ(host.n_open, 0);
}

TEST(file, a_hook_may_give_a_few_bytes_at_a_time)
{
    struct file file;
    struct buf scratch;
    buf_init(&scratch, &mem_system);
    open_hooked(&file);
    host.most = 7;
    const uint8_t *p = file_view(&file, 100, 100, &scratch, &err);
    for (size_t i = 0; p && i < 100; i++)
        CHECK_EQ(p[i], 100 + i);
    CHECK(p != NULL);
    host.most = 0;
    buf_release(&scratch);
    file_close(&file);
}

TEST(file, an_early_end_and_errors_of_a_hook_are_reported)
{
    struct file file;
    struct buf scratch;
    buf_init(&scratch, &mem_system);
    open_hooked(&file);
    host.misbehave = true;
    host.answer = 99;
    CHECK(!file_view(&file, 0, 100, &scratch, &err));
    CHECK_EQ(err.code, INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "there: the read hook gave 99, asked for 1 bytes at 99");
    host.answer = 101;
    CHECK(!file_view(&file, 0, 100, &scratch, &err));
    host.answer = 0;
    CHECK(!file_view(&file, 0, 100, &scratch, &err));
    host.answer = INT64_MIN;
    CHECK(!file_view(&file, 7, 100, &scratch, &err));
    CHECK_TEXT(err.text, "there: the read hook gave -9223372036854775808, asked for 100 "
                         "bytes at 7");
    host.misbehave = false; /* an error does not stick */
    CHECK(file_view(&file, 0, 100, &scratch, &err));
    buf_release(&scratch);
    file_close(&file);
    CHECK_EQ(host.n_open, 0);
}

static void *no_memory(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    (void)bytes;
    (void)align;
    return NULL;
}

TEST(file, no_memory_for_a_read_is_an_error_that_does_not_stick)
{
    struct file file;
    struct buf scratch;
    struct mem none = {NULL, NULL, no_memory, mem_system.release};
    buf_init(&scratch, &none);
    open_hooked(&file);
    CHECK(!file_view(&file, 0, 1000, &scratch, &err));
    CHECK_EQ(err.code, INFLIGHT_E_NOMEM);
    CHECK_TEXT(err.text, "there: no memory to read 1000 B");
    scratch.mem = &mem_system;
    CHECK(file_view(&file, 0, 1000, &scratch, &err));
    buf_release(&scratch);
    file_close(&file);
}

TEST(file, hooks_that_find_nothing_or_lack_a_part_are_refused)
{
    struct file file;
    inflight_io io = host_io;
    memset(&host, 0, sizeof host);
    CHECK_EQ(file_open(&file, "elsewhere", &io, &err), INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "elsewhere: the open hook did not find it");
    CHECK_EQ(file_open(&file, "there", &io, &err), INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "there: is empty");
    CHECK_EQ(host.n_open, 0); /* an empty file is closed again */
    io.pread = NULL;
    CHECK_EQ(file_open(&file, "there", &io, &err), INFLIGHT_E_ARG);
    io = host_io;
    io.close = NULL;
    host.size = 1;
    CHECK_EQ(file_open(&file, "there", &io, &err), INFLIGHT_OK);
    file_close(&file);
}
