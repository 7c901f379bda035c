/* The host's side of the CUDA back end: memory, pages, batches as the kernels see them, packed
 * matrices that take more than one piece, and what is left when something fails. */
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/device.h"

#include <dlfcn.h>

static struct device_config small(void)
{
    return (struct device_config){.threads = 1,
                                  .max_tokens = 24,
                                  .max_rows = 8,
                                  .max_context = 128,
                                  .max_width = 512,
                                  .L = 2,
                                  .H = 2,
                                  .K = 1,
                                  .dim = 64,
                                  .kv_type = KV_BF16,
                                  .kv_pages = 9};
}

/* Failures on demand, which only the simulated GPU has. */
static bool gpu_fail(const char *what)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    bool (*fail)(const char *);
    void *at = library ? dlsym(library, "gpu_fail") : NULL;
    memcpy(&fail, &at, sizeof fail);
    if (library)
        dlclose(library);
    if (!at)
        t_skip("only the simulated GPU fails on demand");
    return at && fail(what);
}

/* Host memory that was taken and not given back. */
static _Atomic uint64_t taken;

static struct mem counted(void)
{
    struct mem mem = mem_system;
    mem.taken = &taken;
    return mem;
}

TEST(cuda_device, says_what_it_is)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    const char *what = backend_cuda.describe(device);
    printf("  %s\n", what);
    CHECK(strncmp(what, "cuda ", 5) == 0);
    CHECK(strstr(what, "(sm_") && strstr(what, " SMs)"));
    CHECK_EQ(backend_cuda.is_host, false);
    backend_cuda.close(device);
    backend_cuda.close(NULL);
}

TEST(cuda_device, memory_keeps_what_was_written)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    static uint8_t out[100003], back[sizeof out];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 7 + i / 256);
    uint8_t *memory = cuda_array(device, out, sizeof out);
    CHECK_EQ((uintptr_t)memory % 64, 0);
    CHECK_EQ(backend_cuda.read(device, back, memory, sizeof back), 0);
    CHECK(memcmp(out, back, sizeof out) == 0);
    CHECK_EQ(backend_cuda.write(device, memory + 11, out, 5), 0);
    uint8_t *host = backend_cuda.take_host(device, 32);
    CHECK(host != NULL);
    CHECK_EQ(backend_cuda.read(device, host, memory + 8, 32), 0);
    CHECK(memcmp(host, out + 8, 3) == 0 && memcmp(host + 3, out, 5) == 0);
    CHECK(memcmp(host + 8, out + 16, 24) == 0);
    CHECK_EQ(backend_cuda.read(device, back, memory, 0), 0);
    backend_cuda.give_host(device, host, 32);
    cuda_drop(device, memory, sizeof out);
    backend_cuda.close(device);
}

TEST(cuda_device, a_copied_page_has_all_its_layers)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    size_t bytes = kv_page_bytes(&config);
    uint8_t *page = malloc(2 * bytes);
    for (size_t i = 0; i < 2 * bytes; i++)
        page[i] = (uint8_t)(i % 251);
    uint8_t *kv = (uint8_t *)(uintptr_t)device->kv;
    CHECK_EQ(backend_cuda.write(device, kv + 2 * bytes, page, 2 * bytes), 0);
    backend_cuda.copy_page(device, 8, 3, 5);
    backend_cuda.copy_page(device, 2, 2, 5);
    memset(page, 0, bytes);
    CHECK_EQ(backend_cuda.read(device, page, kv + 8 * bytes, bytes), 0);
    CHECK(memcmp(page, page + bytes, bytes) == 0);
    free(page);
    backend_cuda.close(device);
}

/* ---- Batches */

static const int32_t token[] = {5, 6, 7, 8, 9, 10}, position[] = {0, 1, 2, 33, 16, 17};
static const int32_t page_0[] = {4}, page_1[] = {7, 1, 2}, page_2[] = {0, 8}, row[] = {2, 3};
static const float scale[] = {0.5f, 0.25f};
static const struct batch_seq seqs[] = {{0, 3, 0, page_0}, {3, 1, 33, page_1}, {4, 2, 16, page_2}};
static const struct batch batch = {.T = 6,
                                   .S = 3,
                                   .R = 2,
                                   .token = token,
                                   .position = position,
                                   .seq = seqs,
                                   .row = row,
                                   .scale = scale};
/* What is left of it without the first sequence, rows and scales. */
static const struct batch_seq rest_seqs[] = {{0, 1, 33, page_1}, {1, 2, 16, page_2}};
static const struct batch rest = {
    .T = 3, .S = 2, .token = token + 3, .position = position + 3, .seq = rest_seqs};

static int upload_body(struct lane *lane, void *arg)
{
    struct step_view *view = arg;
    int rc = step_upload(lane->device, &batch);
    view[0] = lane->device->step.view;
    rc = rc ? rc : step_upload(lane->device, &batch); /* found, not copied again */
    return rc;
}

static int upload_two_body(struct lane *lane, void *arg)
{
    int rc = step_upload(lane->device, &batch);
    rc = rc ? rc : step_upload(lane->device, &rest);
    *(struct step_view *)arg = lane->device->step.view;
    return rc;
}

static void check_array(struct device *device, const void *array, const void *want, size_t n)
{
    int32_t got[64];
    CHECK_EQ(backend_cuda.read(device, got, array, n * sizeof *got), 0);
    CHECK(memcmp(got, want, n * sizeof *got) == 0);
    CHECK_EQ((uintptr_t)array % 64, 0);
}

TEST(cuda_device, a_batch_becomes_flat_arrays)
{
    static const int32_t sequence[] = {0, 0, 0, 1, 2, 2};
    static const int32_t slot[] = {64, 65, 66, 33, 128, 129};
    static const int32_t first[] = {0, 3, 4, 6}, length[] = {3, 34, 18};
    static const int32_t pages[] = {4, 0, 0, 7, 1, 2, 0, 8, 0};
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    struct step_view view;
    if (!device)
        return;
    CHECK_EQ(backend_cuda.run(device, upload_body, &view), 0);
    CHECK_EQ(view.T, 6);
    CHECK_EQ(view.S, 3);
    CHECK_EQ(view.R, 2);
    CHECK_EQ(view.max_pages, 3);
    check_array(device, view.token, token, 6);
    check_array(device, view.position, position, 6);
    check_array(device, view.sequence, sequence, 6);
    /* 33 is the second position of the third page, which is page 2. */
    CHECK_EQ(slot[3], 2 * 16 + 1);
    check_array(device, view.slot, slot, 6);
    check_array(device, view.first, first, 4);
    check_array(device, view.length, length, 3);
    check_array(device, view.page, pages, 9);
    check_array(device, view.row, row, 2);
    check_array(device, view.scale, scale, 2);
    backend_cuda.close(device);
}

TEST(cuda_device, two_batches_of_one_run_are_not_mixed)
{
    static const int32_t sequence[] = {0, 1, 1}, first[] = {0, 1, 3}, pages[] = {7, 1, 2, 0, 8, 0};
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    struct step_view view;
    if (!device)
        return;
    CHECK_EQ(backend_cuda.run(device, upload_two_body, &view), 0);
    CHECK_EQ(view.R, 0);
    check_array(device, view.token, token + 3, 3);
    check_array(device, view.sequence, sequence, 3);
    check_array(device, view.first, first, 3);
    check_array(device, view.page, pages, 6);
    backend_cuda.close(device);
}

/* ---- Matrices */

TEST(cuda_device, a_matrix_in_pieces_is_the_matrix)
{
    enum { N = 40001, K = 256 };
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    struct err err = {0};
    if (!device)
        return;
    size_t file_bytes = fmt_row_bytes(FMT_q8_0, K) * N;
    uint8_t *file = malloc(file_bytes);
    for (size_t i = 0; i < file_bytes; i++)
        file[i] = (uint8_t)random_bits();
    struct weight_source source = {.fmt = FMT_q8_0, .N = N, .K = K, .data = file};
    size_t bytes = backend_cuda.packed_bytes(&config, FMT_q8_0, N, K);
    uint8_t *want = calloc(1, bytes), *got = calloc(1, bytes);
    CHECK_EQ(cuda_pack_rows(&source, 0, N, want), bytes);
    struct weight weight = {.data = cuda_array(device, NULL, bytes), .bytes = bytes};
    CHECK_EQ(backend_cuda.pack(device, &source, &weight, &err), 0);
    CHECK(bytes > 2 * device->upload.bytes);
    CHECK_EQ(weight.N, N);
    CHECK_EQ(weight.K, K);
    CHECK_EQ(weight.fmt, FMT_q8_0);
    CHECK_EQ(weight.layout, cuda_layout(FMT_q8_0));
    CHECK_EQ(backend_cuda.read(device, got, weight.data, bytes), 0);
    CHECK(memcmp(got, want, bytes) == 0);
    weight.bytes--;
    CHECK_EQ(backend_cuda.pack(device, &source, &weight, &err), INFLIGHT_E_INTERNAL);
    cuda_drop(device, weight.data, bytes);
    free(file);
    free(want);
    free(got);
    backend_cuda.close(device);
}

/* Rows that are copied out of a matrix when they are asked for, up to a row that there is not. */
struct copier {
    const struct weight_source *from;
    int32_t missing;
    uint8_t room[4][128 * 1024]; /* of each worker */
};

static const void *copy_rows(void *maker, int worker, int32_t first, int32_t n)
{
    struct copier *copier = maker;
    const size_t bytes = fmt_row_bytes(copier->from->fmt, copier->from->K);
    if (n > 48 || worker > 3 || (first <= copier->missing && copier->missing < first + n))
        return NULL;
    const char *rows = copier->from->data;
    return memcpy(copier->room[worker], rows + (size_t)first * bytes, (size_t)n * bytes);
}

TEST(cuda_device, rows_that_are_made_are_asked_for_in_steps_and_may_be_missing)
{
    enum { N = 9001, K = 256 };
    struct device_config config = small();
    config.threads = 4;
    struct device *device = cuda_device(&config);
    struct err err = {0};
    if (!device)
        return;
    static uint8_t file[N * (K / 32 * 34)];
    for (size_t i = 0; i < sizeof file; i++)
        file[i] = (uint8_t)random_bits();
    const struct weight_source stored = {.fmt = FMT_q8_0, .N = N, .K = K, .data = file};
    static struct copier copier;
    copier.from = &stored;
    copier.missing = -1;
    const struct weight_source made = {
        .fmt = FMT_q8_0, .N = N, .K = K, .make = copy_rows, .maker = &copier, .step = 48};
    size_t bytes = backend_cuda.packed_bytes(&config, FMT_q8_0, N, K);
    uint8_t *want = calloc(1, bytes), *got = calloc(1, bytes);
    cuda_pack_rows(&stored, 0, N, want);
    struct weight weight = {.data = cuda_array(device, NULL, bytes), .bytes = bytes};
    CHECK_EQ(backend_cuda.pack(device, &made, &weight, &err), 0);
    CHECK(weight.N == N && weight.K == K);
    CHECK_EQ(backend_cuda.read(device, got, weight.data, bytes), 0);
    CHECK(memcmp(got, want, bytes) == 0);
    copier.missing = 5000;
    CHECK_EQ(backend_cuda.pack(device, &made, &weight, &err), INFLIGHT_E_MODEL);
    copier.missing = -1;
    CHECK_EQ(backend_cuda.pack(device, &made, &weight, &err), 0);
    cuda_drop(device, weight.data, bytes);
    free(want);
    free(got);
    backend_cuda.close(device);
}

/* ---- Failures */

/* Each of a kind in turn, until opening succeeds. */
static void fail_opening(const char *kind, int32_t code, int least)
{
    struct device_config config = small();
    struct mem mem = counted();
    for (int n = 1; n < 100; n++) {
        struct device *device;
        struct err err = {0};
        char what[32];
        snprintf(what, sizeof what, "%s:%d", kind, n);
        if (!gpu_fail(what))
            return;
        int32_t rc = backend_cuda.open(&config, &mem, &device, &err);
        gpu_fail(NULL);
        if (rc == INFLIGHT_OK) {
            backend_cuda.close(device);
            CHECK(n > least);
            break;
        }
        CHECK_EQ(rc, code);
        CHECK(device == NULL);
        CHECK(strstr(err.text, " failed: "));
        CHECK_EQ(taken, 0);
    }
    CHECK_EQ(taken, 0);
}

TEST(cuda_device, every_failed_allocation_is_reported_and_leaves_nothing)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    if (!device)
        return;
    backend_cuda.close(device);
    fail_opening("alloc", INFLIGHT_E_NOMEM, 3);
    fail_opening("host", INFLIGHT_E_NOMEM, 1);
    fail_opening("module", INFLIGHT_E_DEVICE, 1);
}

static int nothing(struct lane *lane, void *arg)
{
    (void)lane;
    ++*(int *)arg;
    return 0;
}

TEST(cuda_device, a_lost_device_fails_every_step_and_closes)
{
    struct device_config config = small();
    struct mem mem = counted();
    struct device *device = cuda_device(&config);
    struct step_view view;
    int n = 0;
    if (!device)
        return;
    backend_cuda.close(device);
    CHECK_EQ(backend_cuda.open(&config, &mem, &device, NULL), 0);
    CHECK_EQ(backend_cuda.run(device, upload_body, &view), 0);
    if (gpu_fail("sync:1")) {
        CHECK_EQ(backend_cuda.run(device, upload_body, &view), INFLIGHT_E_DEVICE);
        printf("  %s\n", backend_cuda.describe(device));
        CHECK(strstr(backend_cuda.describe(device), "a step failed: "));
        CHECK_EQ(backend_cuda.run(device, nothing, &n), INFLIGHT_E_DEVICE);
        CHECK_EQ(backend_cuda.run(device, upload_body, &view), INFLIGHT_E_DEVICE);
        CHECK_EQ(n, 0);
        CHECK(backend_cuda.take(device, 64) == NULL);
        backend_cuda.copy_page(device, 1, 2, 3);
    }
    backend_cuda.close(device);
    CHECK_EQ(taken, 0);
    gpu_fail(NULL);
    /* The next one begins with a new context. */
    CHECK_EQ(backend_cuda.open(&config, &mem, &device, NULL), 0);
    CHECK_EQ(backend_cuda.run(device, upload_body, &view), 0);
    CHECK_EQ(backend_cuda.run(device, nothing, &n), 0);
    CHECK_EQ(n, 1);
    backend_cuda.close(device);
}

/* A step without rows: it has no tokens. */
static int rest_body(struct lane *lane, void *arg)
{
    (void)arg;
    return step_upload(lane->device, &rest);
}

TEST(cuda_device, steps_that_are_launched_settle_in_order)
{
    struct device_config config = small();
    struct mem mem = counted();
    struct device *device = cuda_device(&config);
    struct sample_output chosen;
    if (!device)
        return;
    backend_cuda.close(device);
    CHECK_EQ(backend_cuda.open(&config, &mem, &device, NULL), 0);
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
        CHECK_EQ(backend_cuda.settle(device, &chosen), 0);
    }
    /* With two under way it closes, too. */
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    backend_cuda.close(device);
    CHECK_EQ(taken, 0);
}

static int refuse_body(struct lane *lane, void *arg)
{
    int rc = rest_body(lane, arg);
    return rc ? rc : INFLIGHT_E_ARG;
}

TEST(cuda_device, a_step_that_is_refused_leaves_the_one_before)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    struct sample_output chosen;
    if (!device)
        return;
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    CHECK_EQ(backend_cuda.launch(device, refuse_body, NULL), INFLIGHT_E_ARG);
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    CHECK_EQ(backend_cuda.settle(device, &chosen), 0);
    CHECK_EQ(backend_cuda.settle(device, &chosen), 0);
    CHECK(!backend_cuda.is_lost(device));
    backend_cuda.close(device);
}

TEST(cuda_device, a_device_that_is_lost_fails_the_steps_under_way)
{
    struct device_config config = small();
    struct mem mem = counted();
    struct device *device = cuda_device(&config);
    struct sample_output chosen;
    if (!device)
        return;
    backend_cuda.close(device);
    CHECK_EQ(backend_cuda.open(&config, &mem, &device, NULL), 0);
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), 0);
    if (gpu_fail("sync:1")) {
        CHECK_EQ(backend_cuda.settle(device, &chosen), INFLIGHT_E_DEVICE);
        CHECK_EQ(backend_cuda.settle(device, &chosen), INFLIGHT_E_DEVICE);
        CHECK(backend_cuda.is_lost(device));
        CHECK(strstr(backend_cuda.describe(device), "a step failed: "));
        CHECK_EQ(backend_cuda.launch(device, rest_body, NULL), INFLIGHT_E_DEVICE);
    }
    backend_cuda.close(device);
    CHECK_EQ(taken, 0);
    gpu_fail(NULL);
}

TEST(cuda_device, a_failed_copy_of_a_page_fails_the_next_step)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    int n = 0;
    if (!device)
        return;
    if (gpu_fail("copy:1")) {
        backend_cuda.copy_page(device, 1, 2, 3);
        CHECK_EQ(backend_cuda.run(device, nothing, &n), INFLIGHT_E_DEVICE);
    }
    backend_cuda.close(device);
    gpu_fail(NULL);
}

struct fetched {
    const void *memory;
    uint8_t *host;
    size_t bytes;
};

static int fetch_body(struct lane *lane, void *arg)
{
    const struct fetched *f = arg;
    int rc = step_upload(lane->device, &batch);
    return rc ? rc : backend_cuda.fetch(lane, f->host, f->memory, f->bytes);
}

TEST(cuda_device, what_a_step_fetches_is_there_when_it_returns_or_fails_it)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    uint8_t value[100];
    if (!device)
        return;
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (uint8_t)(i * 3 + 1);
    struct fetched f = {.memory = cuda_array(device, value, sizeof value),
                        .host = backend_cuda.take_host(device, sizeof value),
                        .bytes = sizeof value};
    memset(f.host, 0, sizeof value);
    CHECK_EQ(backend_cuda.run(device, fetch_body, &f), 0);
    CHECK(memcmp(f.host, value, sizeof value) == 0);
    f.bytes = 0;
    CHECK_EQ(backend_cuda.run(device, fetch_body, &f), 0);
    f.bytes = sizeof value;
    if (gpu_fail("copy:2")) /* the first is the batch */
        CHECK_EQ(backend_cuda.run(device, fetch_body, &f), INFLIGHT_E_DEVICE);
    backend_cuda.give_host(device, f.host, sizeof value);
    cuda_drop(device, f.memory, sizeof value);
    backend_cuda.close(device);
    gpu_fail(NULL);
}

TEST(cuda_device, too_large_a_pool_is_refused_with_both_numbers)
{
    struct device_config config = small();
    struct device *device = cuda_device(&config);
    struct device_bytes bytes;
    struct err err = {0};
    if (!device)
        return;
    backend_cuda.close(device);
    config.kv_pages = 1 << 27;
    config.L = 64;
    CHECK_EQ(backend_cuda.measure(&config, &bytes, &err), 0);
    CHECK(bytes.kv > bytes.available);
    CHECK_EQ(bytes.kv, kv_page_bytes(&config) << 27);
    CHECK_EQ(backend_cuda.open(&config, &mem_system, &device, &err), INFLIGHT_E_NOMEM);
    printf("  %s\n", err.text);
    CHECK(strstr(err.text, "the device needs ") && strstr(err.text, " are free"));
}

#else
TEST(cuda_device, is_not_in_this_build)
{
    t_skip("there is no nvcc");
}
#endif
