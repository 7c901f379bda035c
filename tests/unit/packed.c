/* Files of packed weights: written and found, told from those of anything else, damaged, cut, in
 * another's hands, and where nothing can be written. */
#define _DEFAULT_SOURCE
#include "t.h"

#include "plugin/file/packed.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ITEMS = 3, BYTES = 5 << 20 }; /* three pieces, the last of which is half of one */

static char folder[64], path[96], part[112];
static uint8_t *memory;

/* A folder of its own, and memory of no pattern. */
static void prepare(void)
{
    uint32_t state = 1;
    strcpy(folder, "/tmp/inflight-packed-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/weights", folder);
    snprintf(part, sizeof part, "%s.part", path);
    memory = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++) {
        state = state * 1664525u + 1013904223u;
        memory[i] = (uint8_t)(state >> 24);
    }
}

static void clean(void)
{
    unlink(path);
    unlink(part);
    CHECK_EQ(rmdir(folder), 0); /* nothing else was left in it */
    free(memory);
}

static void open_table(struct packed *p)
{
    struct err err = {0};
    CHECK_EQ(packed_init(p, ITEMS, BYTES, &mem_system, &err), INFLIGHT_OK);
    strcpy(p->head->packing, "test");
    p->head->files = 77;
    for (int i = 0; i < ITEMS; i++) {
        p->item[i] = (struct packed_item){.fmt = i,
                                          .N = 16 * i,
                                          .K = 32,
                                          .offset = (uint64_t)i << 20,
                                          .bytes = 1 << 20,
                                          .error = i == 1 ? 0.25 : -1};
        snprintf(p->item[i].name, sizeof p->item[i].name, "tensor %d", i);
    }
}

static int32_t write_file(packed_progress *progress, void *user, struct err *err)
{
    struct packed p;
    *err = (struct err){0};
    open_table(&p);
    for (uint32_t i = 0; i < p.head->n_pieces; i++)
        p.sum[i] = packed_sum(&p, memory, i);
    int32_t rc = packed_write(&p, path, memory, progress, user, err);
    packed_release(&p);
    return rc;
}

static enum packed_found find(struct err *why)
{
    struct packed p;
    open_table(&p);
    enum packed_found found = packed_map(&p, path, why);
    CHECK((found == PACKED_FOUND) == (p.map != NULL));
    CHECK((found == PACKED_STALE || found == PACKED_FOREIGN) == (why->code != 0));
    packed_release(&p);
    return found;
}

static off_t size_of(const char *name)
{
    struct stat st;
    return stat(name, &st) ? -1 : st.st_size;
}

TEST(packed, what_is_written_is_found)
{
    struct packed p;
    struct err err;
    prepare();
    CHECK_EQ(find(&err), PACKED_ABSENT);
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    CHECK_EQ(size_of(part), -1);
    open_table(&p);
    p.item[1].error = -1; /* the file alone knows it */
    CHECK_EQ(packed_map(&p, path, &err), PACKED_FOUND);
    CHECK_NEAR(p.item[1].error, 0.25, 0);
    CHECK(memcmp(packed_memory(&p), memory, BYTES) == 0);
    CHECK_EQ((uintptr_t)packed_memory(&p) % CACHE_LINE, 0);
    CHECK_EQ(p.head->n_pieces, 3);
    for (uint32_t i = 0; i < 3; i++)
        CHECK(p.sum[i] == packed_sum(&p, packed_memory(&p), i));
    CHECK(p.sum[0] != p.sum[1]);
    packed_close_table(&p);
    CHECK(memcmp(packed_memory(&p), memory, BYTES) == 0);
    packed_release(&p);
    packed_release(&p); /* a second time is allowed */
    clean();
}

TEST(packed, a_mapping_outlives_its_file)
{
    struct packed p;
    struct err err;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    open_table(&p);
    CHECK_EQ(packed_map(&p, path, &err), PACKED_FOUND);
    memory[7] ^= 1;
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK); /* in its place */
    memory[7] ^= 1;
    CHECK(memcmp(packed_memory(&p), memory, BYTES) == 0);
    unlink(path);
    CHECK(memcmp(packed_memory(&p), memory, BYTES) == 0);
    packed_release(&p);
    clean();
}

/* One byte of the file for a moment. */
static void flip(off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

TEST(packed, no_byte_of_the_list_can_change_unseen)
{
    struct err err;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    const off_t bytes = (off_t)(sizeof(struct packed_head) + ITEMS * sizeof(struct packed_item) +
                                3 * sizeof(uint64_t));
    for (off_t at = 0; at < bytes; at++) {
        flip(at);
        const enum packed_found found = find(&err);
        CHECK_EQ(found, at < 16 ? PACKED_FOREIGN : PACKED_STALE);
        flip(at);
    }
    CHECK_EQ(find(&err), PACKED_FOUND);
    clean();
}

TEST(packed, a_damaged_piece_is_known_by_its_sum)
{
    struct packed p;
    struct err err;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    flip(size_of(path) - 1);
    open_table(&p);
    CHECK_EQ(packed_map(&p, path, &err), PACKED_FOUND);
    CHECK(packed_sum(&p, packed_memory(&p), 1) == p.sum[1]);
    CHECK(packed_sum(&p, packed_memory(&p), 2) != p.sum[2]);
    packed_release(&p);
    clean();
}

TEST(packed, what_a_load_asks_for_must_be_what_the_file_has)
{
    struct err err;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    for (int change = 0; change < 9; change++) {
        struct packed p;
        open_table(&p);
        switch (change) {
        case 0:
            p.head->version[0] ^= 1;
            break;
        case 1:
            p.head->packing[0] ^= 1;
            break;
        case 2:
            p.head->files++;
            break;
        case 3:
            p.item[2].name[0] ^= 1;
            break;
        case 4:
            p.item[2].fmt++;
            break;
        case 5:
            p.item[2].N++;
            break;
        case 6:
            p.item[2].K++;
            break;
        case 7:
            p.item[2].offset += 64;
            break;
        default:
            p.item[2].bytes -= 64;
            break;
        }
        CHECK_EQ(packed_map(&p, path, &err), PACKED_STALE);
        CHECK(*err.text && !p.map);
        packed_release(&p);
    }
    clean();
}

TEST(packed, a_file_of_another_length_is_not_mapped)
{
    static const off_t cut[] = {1, 15, 16, 100, 4095, 4096, 1 << 20};
    struct err err;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    const off_t whole = size_of(path);
    CHECK_EQ(truncate(path, whole + 1), 0);
    CHECK_EQ(find(&err), PACKED_STALE);
    for (size_t i = COUNT_OF(cut); i-- > 0;) {
        CHECK_EQ(truncate(path, cut[i]), 0);
        CHECK_EQ(find(&err), cut[i] < 16 ? PACKED_FOREIGN : PACKED_STALE);
    }
    CHECK_EQ(truncate(path, 0), 0);
    CHECK_EQ(find(&err), PACKED_ABSENT); /* what mktemp makes may be named */
    clean();
}

TEST(packed, what_is_not_ours_stays)
{
    struct err err;
    prepare();
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && write(fd, "GGUF and so much more", 21) == 21);
    close(fd);
    CHECK_EQ(find(&err), PACKED_FOREIGN);
    CHECK(strstr(err.text, "something else") != NULL);
    unlink(path);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(find(&err), PACKED_FOREIGN);
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_E_IO); /* rename over a folder */
    CHECK_EQ(rmdir(path), 0);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(find(&err), PACKED_FOREIGN); /* without waiting for a writer */
    CHECK_EQ(rename(path, part), 0);
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_E_IO);
    CHECK(strstr(err.text, "not a regular file") != NULL);
    clean();
}

TEST(packed, two_do_not_write_at_once)
{
    struct err err;
    prepare();
    int fd = open(part, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0 && write(fd, "half", 4) == 4);
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_E_IO);
    CHECK(strstr(err.text, "another engine") != NULL);
    CHECK_EQ(size_of(part), 4);
    CHECK_EQ(size_of(path), -1);
    close(fd); /* whoever it was has died */
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    CHECK_EQ(find(&err), PACKED_FOUND);
    CHECK_EQ(size_of(part), -1);
    clean();
}

TEST(packed, a_full_disk_leaves_what_was_there)
{
    struct err err;
    struct rlimit before, small;
    prepare();
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_OK);
    const off_t whole = size_of(path);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (rlim_t most = 100; most < (rlim_t)whole; most = most * 8 + 1) {
        small = (struct rlimit){most, before.rlim_max};
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
        CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_E_IO);
        CHECK(strstr(err.text, "cannot be written: ") != NULL);
        CHECK_EQ(size_of(part), -1);
    }
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    CHECK_EQ(find(&err), PACKED_FOUND);
    clean();
}

TEST(packed, a_folder_that_is_not_there_is_said)
{
    struct err err;
    prepare();
    strcat(path, "/nowhere");
    CHECK_EQ(find(&err), PACKED_ABSENT);
    CHECK_EQ(write_file(NULL, NULL, &err), INFLIGHT_E_IO);
    CHECK(strstr(err.text, "No such file") != NULL);
    clean();
}

static int stop_at(void *user, uint64_t done, uint64_t total)
{
    CHECK_EQ(total, BYTES);
    return done >= *(const uint64_t *)user;
}

TEST(packed, writing_can_be_stopped)
{
    struct err err;
    uint64_t at = 3 << 20;
    prepare();
    CHECK_EQ(write_file(stop_at, &at, &err), INFLIGHT_E_SHUTDOWN);
    CHECK_EQ(size_of(part), -1);
    CHECK_EQ(size_of(path), -1);
    at = BYTES;
    CHECK_EQ(write_file(stop_at, &at, &err), INFLIGHT_OK);
    CHECK_EQ(find(&err), PACKED_FOUND);
    clean();
}
