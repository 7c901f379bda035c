/* A model with a file for packed weights: the load that writes it, those that map it and a load
 * without one give the same bits; what the file does not have, or has no more, is packed. */
#define _DEFAULT_SOURCE
#include "direct.h"
#include "folder_image.h"
#include "t.h"

#include "kernels/cpu/cpuid.h"
#include "plugin/model/checkpoint.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODELS "build/models/"

enum { N_TOKENS = 5, VOCABULARY_MOST = 4096 };

static const int32_t tokens[N_TOKENS] = {1, 5, 9, 2, 7};

static char folder[64], packed_path[96];
static _Atomic uint64_t taken;
static struct mem counted;

static void prepare(void)
{
    counted = mem_system;
    counted.taken = &taken;
    strcpy(folder, "/tmp/inflight-packed-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(packed_path, sizeof packed_path, "%s/weights", folder);
}

static int count_mappings(void)
{
    char line[512];
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        n += strstr(line, folder) != NULL;
    if (maps)
        fclose(maps);
    return n;
}

/* Closed models leave nothing. */
static void clean(void)
{
    CHECK_EQ(count_mappings(), 0);
    CHECK_EQ(atomic_load(&taken), 0);
    unlink(packed_path);
    CHECK_EQ(rmdir(folder), 0);
}

/* What a load says and gives. */
struct outcome {
    enum packed_use use;
    char note[256];
    uint64_t taken, weights; /* bytes: of memory, and of the weights in it or in the file */
    int32_t V;
    float logits[N_TOKENS * VOCABULARY_MOST];
    char described[65536]; /* model_describe */
};

static bool run(const struct direct_packed *p, struct outcome *out)
{
    struct direct_packed counting = *p;
    counting.mem = &counted;
    struct model *m = direct_open_packed(&counting);
    if (!m)
        return false;
    const char *note;
    struct buf text;
    out->use = model_packed_use(m, &note);
    snprintf(out->note, sizeof out->note, "%s", note);
    out->taken = atomic_load(&taken);
    out->weights = model_memory(m)->weights;
    out->V = model_hparams(m)->V;
    CHECK(out->V <= VOCABULARY_MOST);
    CHECK(direct_forward(m, tokens, N_TOKENS));
    memcpy(out->logits, model_logits(m, 0),
           (size_t)(N_TOKENS * MIN(out->V, VOCABULARY_MOST)) * sizeof(float));
    buf_init(&text, &mem_system);
    model_describe(m, &text);
    snprintf(out->described, sizeof out->described, "%.*s", (int)text.len, text.ptr);
    buf_release(&text);
    model_close(m);
    return true;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->V == b->V && strcmp(a->described, b->described) == 0 &&
           memcmp(a->logits, b->logits, (size_t)(N_TOKENS * a->V) * sizeof(float)) == 0;
}

#define ANY "?" /* note */

/* Loads, and is to find this in the file and, beginning so, say why. */
static void expect(const struct direct_packed *p, const struct outcome *want, enum packed_use use,
                   const char *note)
{
    static struct outcome got;
    if (!run(p, &got))
        return;
    CHECK_EQ(got.use, use);
    if (strcmp(note, ANY) == 0 ? !*got.note
                               : strncmp(got.note, note, strlen(note)) || (!*note && *got.note))
        t_fail(__FILE__, __LINE__, "%s: the note is \"%s\", want \"%s\"", p->path, got.note, note);
    CHECK(same(&got, want));
}

static struct outcome plain;

static void check(struct direct_packed p)
{
    static struct outcome mapped;
    prepare();
    if (run(&p, &plain)) {
        CHECK_EQ(plain.use, PACKED_UNUSED);
        p.packed = packed_path;
        expect(&p, &plain, PACKED_WRITTEN, "");
        for (p.threads = 1; p.threads <= 3; p.threads++)
            expect(&p, &plain, PACKED_MAPPED, "");
        p.threads = 2;
        CHECK(run(&p, &mapped));
        CHECK_EQ(mapped.use, PACKED_MAPPED);
        CHECK_EQ(mapped.taken, plain.taken - plain.weights); /* no memory for weights */
    }
    clean();
}

TEST(packed, any_weights_are_the_same_from_the_file)
{
    static const char *const paths[] = {
        MODELS "tiny.gguf",          MODELS "family-llama-linear-q8_0.gguf",
        MODELS "family-qwen3-f16",   MODELS "family-qwen2-bf16.gguf",
        MODELS "quantized-gptq",     MODELS "quantized-fp8-block",
        MODELS "quantized-awq",      MODELS "quantized-ct-w4a16-asym",
        MODELS "family-glm4moe-f16", MODELS "family-qwen2moe-bf16.gguf"};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        for (int32_t isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++)
            if (cpu_can((enum isa)isa))
                check((struct direct_packed){.path = paths[i], .isa = isa, .threads = 2});
}

TEST(packed, converted_weights_are_too)
{
    static const enum fmt fmt[] = {FMT_fp8, FMT_fp8_128, FMT_int8, FMT_int4_128};
    for (size_t i = 0; i < COUNT_OF(fmt); i++)
        check((struct direct_packed){
            .path = MODELS "family-qwen3-bf16.gguf", .threads = 2, .fmt = fmt[i]});
}

/* A copy of the small model that tests may change. */
static char copy[96];

static bool copy_model(void)
{
    char command[256];
    snprintf(copy, sizeof copy, "%s/model", folder);
    snprintf(command, sizeof command, "cp %stiny.gguf %s 2>/dev/null", MODELS, copy);
    if (system(command) == 0)
        return true;
    t_skip("no " MODELS "tiny.gguf: make check-build");
    return false;
}

static void flip(const char *path, off_t at, bool keep_time)
{
    uint8_t byte = 0;
    struct stat st;
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    if (keep_time)
        CHECK_EQ(futimens(fd, times), 0);
    close(fd);
}

TEST(packed, what_is_damaged_is_packed_again)
{
    const struct direct_packed p = {.path = copy, .packed = packed_path, .threads = 2};
    struct stat st;
    prepare();
    if (copy_model() && run(&p, &plain)) {
        CHECK(stat(packed_path, &st) == 0 && st.st_size > 8192);
        for (int i = 0; i < 20; i++) {
            flip(packed_path, 4096 + (st.st_size - 4097) * i / 19, false);
            expect(&p, &plain, PACKED_WRITTEN, i < 19 ? ANY : "is damaged");
            expect(&p, &plain, PACKED_MAPPED, "");
        }
    }
    unlink(copy);
    clean();
}

/* Places of the model's tensors in its file. */
static int32_t find_tensors(off_t *at, int32_t most)
{
    struct checkpoint c;
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, &mem_system);
    CHECK_EQ(checkpoint_open(&c, copy, NULL, &arena, &err), 0);
    int32_t n = (int32_t)MIN(c.tensors.n, (uint64_t)most);
    for (int32_t i = 0; i < n; i++)
        at[i] = (off_t)c.tensors.tensor[i].offset;
    checkpoint_close(&c);
    arena_release(&arena);
    return n;
}

/* As behind hooks, which have no times, or after a copy that kept them. */
TEST(packed, another_model_of_the_same_sizes_and_times_is_seen)
{
    const struct direct_packed p = {.path = copy, .packed = packed_path, .threads = 2};
    static struct outcome other;
    off_t at[64];
    prepare();
    if (copy_model() && run(&p, &plain)) {
        const int32_t n = find_tensors(at, COUNT_OF(at));
        CHECK(n > 10);
        for (int32_t i = 0; i < n; i++) {
            flip(copy, at[i], true);
            CHECK(run(&p, &other));
            CHECK_EQ(other.use, PACKED_WRITTEN);
            CHECK(strncmp(other.note, "has other values", 16) == 0);
        }
    }
    unlink(copy);
    clean();
}

TEST(packed, another_time_or_instruction_set_is_seen)
{
    struct direct_packed p = {.path = copy, .packed = packed_path, .threads = 2};
    prepare();
    if (copy_model() && run(&p, &plain)) {
        const struct timespec later[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        CHECK_EQ(utimensat(AT_FDCWD, copy, later, 0), 0);
        expect(&p, &plain, PACKED_WRITTEN, "is of model files of another size or time");
        p.isa = ISA_ID_PLAIN;
        p.packed = NULL;
        CHECK(run(&p, &plain));
        p.packed = packed_path;
        if (cpu_best() != ISA_ID_PLAIN)
            expect(&p, &plain, PACKED_WRITTEN, "is of ");
        expect(&p, &plain, PACKED_MAPPED, "");
        p.fmt = FMT_int8;
        CHECK(run(&p, &plain));
        CHECK_EQ(plain.use, PACKED_WRITTEN);
    }
    unlink(copy);
    clean();
}

TEST(packed, a_model_behind_hooks_is_kept_too)
{
    static char bytes[1 << 20];
    struct folder_image image = {0};
    const inflight_io io = image_io(&image);
    const struct direct_packed p = {.path = "m", .io = &io, .packed = packed_path, .threads = 2};
    prepare();
    FILE *f = fopen(MODELS "tiny.gguf", "rb");
    if (!f) {
        t_skip("no " MODELS "tiny.gguf: make check-build");
    } else {
        image_put(&image, "m", bytes, fread(bytes, 1, sizeof bytes, f));
        fclose(f);
        if (run(&p, &plain)) {
            CHECK_EQ(plain.use, PACKED_WRITTEN);
            expect(&p, &plain, PACKED_MAPPED, "");
        }
        CHECK_EQ(image.open, 0);
    }
    clean();
}

TEST(packed, where_nothing_can_be_written_the_model_is_loaded)
{
    struct direct_packed p = {.path = MODELS "tiny.gguf", .threads = 1};
    prepare();
    if (run(&p, &plain)) {
        p.packed = folder;
        expect(&p, &plain, PACKED_REFUSED, "is not a regular file");
        p.packed = p.path; /* the model itself */
        expect(&p, &plain, PACKED_REFUSED, "is a file of something else, and stays as it is");
        p.packed = "/nowhere/at/all";
        expect(&p, &plain, PACKED_REFUSED, "cannot be written: No such file");
    }
    clean();
}

static int stop(void *user, const char *stage, uint64_t done, uint64_t total)
{
    int *left = user;
    (void)stage;
    (void)done;
    (void)total;
    return (*left)-- == 0;
}

/* Wherever it is stopped: nothing is left behind but what was whole. */
TEST(packed, loading_can_be_stopped)
{
    const struct model_params params = {.path = MODELS "tiny.gguf",
                                        .packed_cache = packed_path,
                                        .device = "cpu",
                                        .mem = &counted,
                                        .threads = 2,
                                        .max_tokens = 16,
                                        .max_rows = 1};
    prepare();
    for (int at = 0, loaded = 0; loaded < 2; at++) {
        struct err err = {0};
        struct model *m;
        const bool was_there = access(packed_path, F_OK) == 0;
        int left = at;
        if (model_open(&m, &params, &err)) {
            t_skip("no " MODELS "tiny.gguf: make check-build");
            break;
        }
        int32_t rc = model_load(m, stop, &left, &err);
        CHECK(rc == 0 || rc == INFLIGHT_E_SHUTDOWN);
        const bool is_there = access(packed_path, F_OK) == 0;
        CHECK(is_there == (was_there || rc == 0));
        model_close(m);
        if (rc == 0) {
            loaded++; /* the first has written, the second maps */
            at = -1;
        }
    }
    clean();
}
