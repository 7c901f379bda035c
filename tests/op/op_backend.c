/* The CPU back end as a device: what it takes, what it refuses, lanes and pages. */
#include "t.h"

#include "../../kernels/cpu/cpuid.h"
#include "../../kernels/cpu/kv.h"

#include <stdlib.h>

static const struct backend *cpu(void)
{
    return backend_find("cpu");
}

static struct device_config small(void)
{
    return (struct device_config){.threads = 2,
                                  .max_tokens = 64,
                                  .max_rows = 8,
                                  .max_context = 1000,
                                  .max_width = 256,
                                  .L = 3,
                                  .H = 6,
                                  .K = 2,
                                  .dim = 64,
                                  .kv_type = KV_BF16,
                                  .kv_pages = 20};
}

/* An allocator that counts, and fails from some call on. */
struct counting {
    int64_t bytes, calls, fail_at;
};

static void *count_alloc(void *user, uint64_t bytes, uint64_t align)
{
    struct counting *c = user;
    if (c->calls++ == c->fail_at)
        return NULL;
    c->bytes += (int64_t)bytes;
    return aligned_alloc(align, ROUND_UP(bytes, align));
}

static void count_release(void *user, void *ptr, uint64_t bytes)
{
    struct counting *c = user;
    c->bytes -= (int64_t)bytes;
    free(ptr);
}

TEST(backend, open_takes_what_measure_said_and_close_gives_it_back)
{
    for (int type = KV_BF16; type <= KV_F32; type++)
        for (int isa = ISA_AUTO; isa < ISA_COUNT; isa++) {
            if (isa != ISA_AUTO && !cpu_can((enum isa)isa))
                continue;
            struct device_config config = small();
            config.isa = isa;
            config.kv_type = type;
            config.threads = 1 + isa;
            config.dim = 64 + 16 * type;
            struct counting counting = {.fail_at = -1};
            const struct mem mem = {&counting, NULL, count_alloc, count_release};
            struct device_bytes bytes;
            struct device *device;
            CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
            CHECK_EQ(cpu()->open(&config, &mem, &device, NULL), 0);
            CHECK_EQ(counting.bytes, bytes.kv + bytes.workspace);
            CHECK_EQ(bytes.kv_token * PAGE_TOKENS * (uint64_t)config.kv_pages, bytes.kv);
            cpu()->close(device);
            CHECK_EQ(counting.bytes, 0);
        }
}

TEST(backend, keys_and_values_take_the_bytes_of_their_type)
{
    struct device_config config = small();
    struct device_bytes bytes;
    /* Keys and values, blocks of 3 layers and 2 heads and one to be odd, width. */
    const uint64_t numbers = 2 * (3 * 2 + 1) * 64;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
    CHECK_EQ(bytes.kv_token, numbers * 2);
    config.kv_type = KV_INT8;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
    CHECK_EQ(bytes.kv_token, numbers + 2 * (3 * 2 + 1) * sizeof(float));
    config.kv_type = KV_FP8;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
    CHECK_EQ(bytes.kv_token, numbers + 2 * (3 * 2 + 1) * sizeof(float));
    config.kv_type = KV_F32;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
    CHECK_EQ(bytes.kv_token, numbers * 4);
}

TEST(backend, every_failed_allocation_is_reported_and_leaves_nothing)
{
    int64_t n = 0;
    for (;; n++) {
        struct device_config config = small();
        struct counting counting = {.fail_at = n};
        const struct mem mem = {&counting, NULL, count_alloc, count_release};
        struct device *device;
        struct err err = {0};
        int32_t rc = cpu()->open(&config, &mem, &device, &err);
        if (rc == INFLIGHT_OK) {
            cpu()->close(device);
            break;
        }
        CHECK_EQ(rc, INFLIGHT_E_NOMEM);
        CHECK(device == NULL);
        CHECK(strlen(err.text) > 10);
        CHECK_EQ(counting.bytes, 0);
    }
    CHECK(n >= 4);
    cpu()->close(NULL);
}

static void check_refused(const struct device_config *config, int32_t code, const char *text)
{
    struct device_bytes bytes;
    struct device *device;
    struct err err = {0};
    CHECK_EQ(cpu()->measure(config, &bytes, &err), code);
    CHECK_TEXT(err.text, text);
    CHECK_EQ(cpu()->open(config, &mem_system, &device, &err), code);
    CHECK(device == NULL);
}

TEST(backend, refuses_what_it_cannot_serve_and_says_why)
{
    struct device_config config = small();
    config.dim = 63;
    check_refused(&config, INFLIGHT_E_UNSUPPORTED, "head width 63 is odd");
    config.dim = 514;
    check_refused(&config, INFLIGHT_E_ARG, "head width is 514, expected 2 to 512");
    config = small();
    config.K = 4;
    check_refused(&config, INFLIGHT_E_UNSUPPORTED,
                  "6 query heads cannot share 4 key/value heads evenly");
    config = small();
    config.threads = 0;
    check_refused(&config, INFLIGHT_E_ARG, "threads is 0, expected 1 to 1024");
    config = small();
    config.kv_pages = -5;
    check_refused(&config, INFLIGHT_E_ARG, "KV pages is -5, expected 1 to 134217728");
    config = small();
    config.experts = 1025;
    check_refused(&config, INFLIGHT_E_ARG, "experts is 1025, expected 0 to 1024");
    config = small();
    config.experts = 4;
    config.experts_met = 5;
    check_refused(&config, INFLIGHT_E_ARG, "experts of a token is 5, expected 0 to 4");
    config = small();
    config.isa = ISA_COUNT;
    check_refused(&config, INFLIGHT_E_ARG, "instruction set 5 is not one of 0 to 4");
}

TEST(backend, sizes_at_every_bound_do_not_overflow)
{
    struct device_config config = {.threads = 1024,
                                   .max_tokens = 1 << 20,
                                   .max_rows = 1 << 20,
                                   .max_context = INT32_MAX,
                                   .max_width = 1 << 24,
                                   .L = 4096,
                                   .H = 4096,
                                   .K = 4096,
                                   .dim = 256,
                                   .kv_type = KV_F32,
                                   .kv_pages = 1 << 27};
    struct device_bytes bytes;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), INFLIGHT_E_NOMEM);
    config.kv_pages = 1;
    config.K = 1;
    CHECK_EQ(cpu()->measure(&config, &bytes, NULL), 0);
    CHECK(bytes.workspace > (uint64_t)1 << 50);
    struct device *device;
    CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), INFLIGHT_E_NOMEM);
}

TEST(backend, an_instruction_set_the_machine_lacks_is_named)
{
    for (int isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (cpu_can((enum isa)isa))
            continue;
        struct device_config config = small();
        struct device_bytes bytes;
        struct err err = {0};
        config.isa = isa;
        CHECK_EQ(cpu()->measure(&config, &bytes, &err), INFLIGHT_E_UNSUPPORTED);
        CHECK(strstr(err.text, isa == ISA_ID_AVX2 ? "avx2" : "avx512-vnni"));
        return;
    }
    t_skip("this machine can run them all");
}

TEST(backend, describes_itself)
{
    static const char *const name[ISA_COUNT] = {"", "plain", "avx2", "avx512-vnni",
                                                "avx512-vnni-bf16"};
    for (int isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) {
        if (!cpu_can((enum isa)isa))
            continue;
        struct device_config config = small();
        struct device *device;
        char text[64];
        config.isa = isa;
        snprintf(text, sizeof text, "cpu %s, 2 threads", name[isa]);
        CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
        CHECK_TEXT(cpu()->describe(device), text);
        cpu()->close(device);
    }
}

static int count_lanes(struct lane *lane, void *arg)
{
    int *seen = arg;
    seen[cpu()->lane_id(lane)] = cpu()->lane_count(lane);
    cpu()->barrier(lane);
    return 0;
}

TEST(backend, threads_change_from_the_next_run_on)
{
    struct device_config config = small();
    struct device *device;
    config.threads = 3;
    CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
    for (int n = 3; n >= 1; n--) {
        int seen[3] = {0};
        cpu()->set_threads(device, n);
        CHECK_EQ(cpu()->run(device, count_lanes, seen), 0);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(seen[i], i < n ? n : 0);
    }
    cpu()->close(device);
}

TEST(backend, a_copied_page_is_the_page_in_every_layer)
{
    for (int type = KV_BF16; type <= KV_F32; type++) {
        struct device_config config = small();
        struct device *device;
        config.kv_type = type;
        CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
        size_t block = kv_block_bytes(&config, config.dim);
        for (size_t i = 0; i < device->kv_bytes; i++)
            device->kv[i] = (uint8_t)(i * 2654435761u >> 13);
        uint8_t *before = malloc(device->kv_bytes);
        memcpy(before, device->kv, device->kv_bytes);
        cpu()->copy_page(device, 7, 3, 5);
        cpu()->copy_page(device, 4, 4, 5);
        cpu()->copy_page(device, 9, 3, 0);
        for (int layer = 0; layer < config.L; layer++)
            for (int page = 0; page < config.kv_pages; page++)
                for (int head = 0; head < config.K; head++) {
                    size_t to = kv_block(&config, layer, page, head);
                    size_t from = kv_block(&config, layer, page == 7 ? 3 : page, head);
                    CHECK(memcmp(device->kv + to, before + from, block) == 0);
                }
        free(before);
        cpu()->close(device);
    }
}

/* Every block of every layer is a place of its own, and a layer that shares another's has none. */
TEST(backend, layers_of_different_kinds_have_blocks_of_their_size)
{
    static const uint8_t kinds[] = {KV_NEAR, KV_OWN, KV_NEAR, KV_NONE, KV_NONE};
    for (int type = KV_BF16; type <= KV_F32; type++) {
        struct device_config config = small();
        config.kv_type = type;
        config.L = COUNT_OF(kinds);
        config.dim = 512;
        const uint64_t alike = kv_page_bytes(&config);
        config.kv_kind = kinds;
        config.near_K = 3;
        config.near_dim = 80;
        const size_t page = kv_page_bytes(&config);
        uint8_t *seen = calloc(2, page);
        size_t all = 0;
        for (int layer = 0; layer < config.L; layer++) {
            const struct kv_shape shape = kv_shape_of(&config, layer);
            CHECK_EQ(shape.K, layer > 2 ? 0 : kinds[layer] == KV_NEAR ? 3 : 2);
            const size_t bytes = kv_block_bytes(&config, shape.dim);
            for (int i = 0; i < 2 * shape.K; i++) {
                uint8_t *at = seen + kv_block(&config, layer, i % 2, i / 2);
                CHECK(at + bytes <= seen + 2 * page && !memchr(at, 1, bytes));
                CHECK_EQ((at - seen) % CACHE_LINE, 0);
                memset(at, 1, bytes);
                all += bytes;
            }
        }
        const size_t least = kv_block_bytes(&config, 80);
        CHECK(all / 2 <= page && page < all / 2 + 2 * least && page / least % 2 == 1);
        CHECK(page < alike / 2);
        free(seen);
    }
}

TEST(backend, layers_of_different_kinds_are_checked_each)
{
    static const uint8_t kinds[] = {KV_OWN, KV_NEAR, KV_NEAR};
    static const uint8_t unknown[] = {KV_OWN, KV_NEAR, 3};
    struct device_config config = small();
    config.kv_kind = kinds;
    check_refused(&config, INFLIGHT_E_ARG, "key/value heads is 0, expected 1 to 4096");
    config.near_K = 4;
    config.near_dim = 64;
    check_refused(&config, INFLIGHT_E_UNSUPPORTED,
                  "6 query heads cannot share 4 key/value heads evenly");
    config.near_K = 3;
    config.near_dim = 514;
    check_refused(&config, INFLIGHT_E_ARG, "head width is 514, expected 2 to 512");
    config.near_dim = 64;
    config.kv_kind = unknown;
    check_refused(&config, INFLIGHT_E_ARG, "kind of keys and values is 3, expected 0 to 2");
}

TEST(backend, packs_on_any_number_of_lanes_to_the_same_bytes)
{
    enum { N = 37, K = 96 };
    float *rows = malloc(N * K * sizeof *rows);
    for (int i = 0; i < N * K; i++)
        rows[i] = (float)(i % 113) - 50.0f;
    const struct weight_source source = {.fmt = FMT_f32, .N = N, .K = K, .data = rows};
    void *packed[2] = {NULL, NULL};
    size_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        struct device_config config = small();
        struct device *device;
        config.threads = 1 + 2 * i;
        CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
        bytes = cpu()->packed_bytes(&config, FMT_f32, N, K);
        CHECK(bytes > 0 && bytes % 64 == 0);
        packed[i] = aligned_alloc(64, bytes);
        memset(packed[i], 0, bytes);
        struct weight out = {.data = packed[i], .bytes = bytes - 64};
        CHECK_EQ(cpu()->pack(device, &source, &out, NULL), INFLIGHT_E_INTERNAL);
        out.bytes = bytes;
        CHECK_EQ(cpu()->pack(device, &source, &out, NULL), 0);
        CHECK_EQ(out.N, N);
        CHECK_EQ(out.K, K);
        CHECK(out.data == packed[i] && out.bytes == bytes);
        cpu()->close(device);
    }
    CHECK(memcmp(packed[0], packed[1], bytes) == 0);
    free(packed[0]);
    free(packed[1]);
    free(rows);
}

struct copier {
    const float *rows;
    int32_t K, missing;
    float room[3][16 * 96]; /* of each lane */
};

static const void *copy_rows(void *maker, int worker, int32_t first, int32_t n)
{
    struct copier *copier = maker;
    const size_t K = (size_t)copier->K;
    if (n > 16 || worker > 2 || (first <= copier->missing && copier->missing < first + n))
        return NULL;
    return memcpy(copier->room[worker], copier->rows + (size_t)first * K,
                  (size_t)n * K * sizeof(float));
}

TEST(backend, rows_that_are_made_are_asked_for_in_steps_and_may_be_missing)
{
    enum { N = 83, K = 96 };
    static float rows[N * K];
    for (int i = 0; i < N * K; i++)
        rows[i] = (float)(i % 113) - 50.0f;
    static struct copier copier = {.rows = rows, .K = K};
    const struct weight_source stored = {.fmt = FMT_f32, .N = N, .K = K, .data = rows};
    const struct weight_source made = {
        .fmt = FMT_f32, .N = N, .K = K, .make = copy_rows, .maker = &copier, .step = 16};
    for (int threads = 1; threads <= 3; threads++) {
        struct device_config config = small();
        struct device *device;
        struct err err = {0};
        config.threads = threads;
        CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
        size_t bytes = cpu()->packed_bytes(&config, FMT_f32, N, K);
        struct weight want = {.data = aligned_alloc(64, bytes), .bytes = bytes};
        struct weight got = {.data = aligned_alloc(64, bytes), .bytes = bytes};
        copier.missing = -1;
        CHECK_EQ(cpu()->pack(device, &stored, &want, &err), 0);
        CHECK_EQ(cpu()->pack(device, &made, &got, &err), 0);
        CHECK(got.N == N && got.K == K && got.layout == want.layout);
        CHECK(memcmp(got.data, want.data, bytes) == 0);
        copier.missing = 40;
        CHECK_EQ(cpu()->pack(device, &made, &got, &err), INFLIGHT_E_MODEL);
        free((void *)(uintptr_t)want.data);
        free((void *)(uintptr_t)got.data);
        cpu()->close(device);
    }
}

TEST(backend, packed_bytes_of_nothing_is_zero)
{
    struct device_config config = small();
    CHECK_EQ(cpu()->packed_bytes(&config, FMT_f32, 0, 64), 0);
    CHECK_EQ(cpu()->packed_bytes(&config, FMT_f32, 64, -1), 0);
}
