/* The CPU as a back end: checks a configuration, takes the KV pool and the scratch, starts
 * the lanes, and hands every operation to the table of the instruction set in use. */
#include "cpuid.h"
#include "kv.h"
#include "pool.h"

#include "../../plugin/base/time_slice.h"
#include "../config.h"

#include <stdio.h>
#include <string.h>

#define PACK_ROWS 128 /* of a matrix, between two looks at the time slice */

static const struct isa_table *const tables[ISA_COUNT] = {[ISA_ID_PLAIN] = &isa_plain,
                                                          [ISA_ID_AVX2] = &isa_avx2,
                                                          [ISA_ID_AVX512] = &isa_avx512,
                                                          [ISA_ID_AVX512BF16] = &isa_avx512bf16};

/* The table a configuration asks for. */
static int32_t find_table(const struct device_config *config, const struct isa_table **out,
                          struct err *err)
{
    int32_t isa = config->isa == ISA_AUTO ? (int32_t)cpu_best() : config->isa;
    if (isa < 0 || isa >= ISA_COUNT)
        return err_set(err, INFLIGHT_E_ARG, "instruction set %d is not one of 0 to %d", isa,
                       ISA_COUNT - 1);
    if (!cpu_can((enum isa)isa))
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "this processor cannot run %s, the best it can is %s", tables[isa]->name,
                       tables[cpu_best()]->name);
    *out = tables[isa];
    return INFLIGHT_OK;
}

static int32_t cpu_probe(struct err *err)
{
    (void)err;
    return INFLIGHT_OK;
}

static int32_t cpu_measure(const struct device_config *config, struct device_bytes *bytes,
                           struct err *err)
{
    *bytes = (struct device_bytes){0};
    int32_t rc = device_config_check(config, KV_DIM_MAX, err);
    const struct isa_table *isa;
    if (!rc)
        rc = find_table(config, &isa, err);
    if (!rc)
        rc = device_config_pool(config, kv_page_bytes(config), bytes, err);
    if (rc)
        return rc;
    bytes->available = UINT64_MAX;
    bytes->workspace = sizeof(struct device) + pool_bytes(config->threads) +
                       isa->linear_scratch_bytes(config) +
                       (uint64_t)config->threads * isa->attend_scratch_bytes(config);
    return INFLIGHT_OK;
}

static void cpu_close(struct device *device)
{
    if (!device)
        return;
    const struct mem *mem = device->mem;
    pool_close(device->pool);
    mem_give(mem, device->attend_scratch,
             (size_t)device->config.threads * device->attend_scratch_bytes);
    mem_give(mem, device->linear_scratch, device->linear_scratch_bytes);
    mem_give(mem, device->kv, device->kv_bytes);
    mem_give(mem, device, sizeof *device);
}

/* Where host memory is slow to come, as in virtual machines, lanes that write what they need would
 * wait for each other's large pages: so each has pieces of its own, of a large page at least. */
#define TOUCH_BYTES 4096 /* at most a page */
#define TOUCH_PIECE ((size_t)2 << 20)

struct touch {
    volatile char *memory;
    size_t bytes;
    _Atomic size_t taken;
};

static int touch_body(struct lane *lane, void *arg)
{
    struct touch *touch = arg;
    for (size_t at; (at = atomic_fetch_add(&touch->taken, TOUCH_PIECE)) < touch->bytes;) {
        time_slice_wait(lane->device->config.slice);
        for (size_t end = MIN(at + TOUCH_PIECE, touch->bytes); at < end; at += TOUCH_BYTES)
            touch->memory[at] = 0;
    }
    return 0;
}

static void cpu_touch(struct device *device, void *memory, size_t bytes)
{
    struct touch touch = {.memory = memory, .bytes = bytes};
    if (memory)
        (void)pool_run(device->pool, touch_body, &touch);
}

static void touch_all(struct device *device)
{
    cpu_touch(device, device->kv, device->kv_bytes);
    cpu_touch(device, device->linear_scratch, device->linear_scratch_bytes);
    cpu_touch(device, device->attend_scratch,
              (size_t)device->config.threads * device->attend_scratch_bytes);
}

/* NULL is right for zero bytes. */
static int32_t take(const struct mem *mem, size_t bytes, const char *what, void **out,
                    struct err *err)
{
    *out = bytes ? mem_take(mem, bytes, CACHE_LINE) : NULL;
    if (bytes && !*out) {
        char text[BYTES_TEXT];
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of %s", bytes_text(bytes, text),
                       what);
    }
    return INFLIGHT_OK;
}

static int32_t fill_device(struct device *device, const struct device_bytes *bytes, struct err *err)
{
    const struct device_config *config = &device->config;
    size_t threads = (size_t)config->threads;
    void *kv = NULL;
    int32_t rc = take(device->mem, bytes->kv, "key/value pages", &kv, err);
    device->kv = kv;
    device->kv_bytes = bytes->kv;
    if (rc)
        return rc;
    device->linear_scratch_bytes = device->isa->linear_scratch_bytes(config);
    rc = take(device->mem, device->linear_scratch_bytes, "scratch", &device->linear_scratch, err);
    if (rc)
        return rc;
    device->attend_scratch_bytes = device->isa->attend_scratch_bytes(config);
    rc = take(device->mem, threads * device->attend_scratch_bytes, "scratch",
              &device->attend_scratch, err);
    if (rc)
        return rc;
    return pool_open(&device->pool, config->threads, device, device->mem, err);
}

static int32_t cpu_open(const struct device_config *config, const struct mem *mem,
                        struct device **out, struct err *err)
{
    *out = NULL;
    struct device_bytes bytes;
    int32_t rc = cpu_measure(config, &bytes, err);
    if (rc)
        return rc;
    struct device *device = mem_take_zeroed(mem, sizeof *device, CACHE_LINE);
    if (!device)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a device");
    device->config = *config;
    device->kv_page = kv_page_bytes(config);
    device->mem = mem;
    (void)find_table(config, &device->isa, NULL); /* measured above */
    device->habits = cpu_habits();
    (void)snprintf(device->description, sizeof device->description, "cpu %s, %d thread%s",
                   device->isa->name, config->threads, config->threads > 1 ? "s" : "");
    rc = fill_device(device, &bytes, err);
    if (rc) {
        cpu_close(device);
        return rc;
    }
    if (config->prefault)
        touch_all(device);
    *out = device;
    return INFLIGHT_OK;
}

static const char *cpu_describe(const struct device *device)
{
    return device->description;
}

static void *cpu_take(struct device *device, size_t bytes)
{
    return mem_take(device->mem, bytes, CACHE_LINE);
}

static void cpu_give(struct device *device, void *memory, size_t bytes)
{
    mem_give(device->mem, memory, bytes);
}

/* Both ways: all memory is the host's. */
static int32_t cpu_copy(struct device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    memcpy(to, from, bytes);
    return INFLIGHT_OK;
}

/* The sizes are the same in every instruction set; which one it will be is not asked here,
 * because the question traps in virtual machines and there are hundreds of matrices. */
static size_t cpu_packed_bytes(const struct device_config *config, enum fmt fmt, int32_t N,
                               int32_t K)
{
    return isa_plain.packed_bytes(config, fmt, N, K);
}

struct pack {
    const struct weight_source *source;
    struct weight before, after; /* as given, and filled */
};

/* Tiles of 16 rows in contiguous shares, so that each lane reads its part of the file in
 * order and first touches the memory it writes. */
static int pack_body(struct lane *lane, void *arg)
{
    struct pack *pack = arg;
    const struct weight_source *source = pack->source;
    const struct device_config *config = &lane->device->config;
    const size_t tile_bytes = cpu_packed_bytes(config, source->fmt, 16, source->K);
    const int32_t most = MIN(weight_source_step(source), PACK_ROWS);
    int first, last;
    lane_share(lane, (source->N + 15) / 16, &first, &last);
    struct weight out = pack->before;
    for (int32_t row = first * 16, end = MIN(last * 16, source->N), n; row < end; row += n) {
        struct weight_source rows;
        n = MIN(most, end - row);
        time_slice_wait(config->slice);
        if (!weight_source_rows(source, lane->id, row, n, &rows))
            return INFLIGHT_E_MODEL;
        out.data = (char *)pack->before.data + (size_t)(row / 16) * tile_bytes;
        lane->device->isa->pack_tiles(config, &rows, &out, 0, (n + 15) / 16);
    }
    /* The fields come out the same on every lane; the last one always has tiles. */
    if (lane->id == lane->count - 1) {
        pack->after = out;
        pack->after.data = pack->before.data;
        pack->after.N = source->N;
    }
    return 0;
}

static int32_t cpu_pack(struct device *device, const struct weight_source *source,
                        struct weight *out, struct err *err)
{
    size_t need = cpu_packed_bytes(&device->config, source->fmt, source->N, source->K);
    if (need == 0)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s cannot hold a matrix of %d x %d %s",
                       device->description, source->N, source->K,
                       (unsigned)source->fmt < FMT_COUNT ? fmt_info[source->fmt].name : "?");
    if (out->bytes < need)
        return err_set(err, INFLIGHT_E_INTERNAL, "a packed matrix takes %zu bytes, given %zu", need,
                       out->bytes);
    struct pack pack = {source, *out, {0}};
    if (pool_run(device->pool, pack_body, &pack))
        return err_set(err, INFLIGHT_E_MODEL, "rows of a matrix cannot be had");
    *out = pack.after;
    return INFLIGHT_OK;
}

static const char *cpu_packing(const struct device *device)
{
    return device->isa->name;
}

static int cpu_run(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg)
{
    return pool_run(device->pool, body, arg);
}

static int cpu_lane_id(const struct lane *lane)
{
    return lane->id;
}

static int cpu_lane_count(const struct lane *lane)
{
    return lane->count;
}

static void cpu_set_threads(struct device *device, int threads)
{
    pool_set_active(device->pool, threads);
}

/* Whole pages: in a block the positions are interleaved, and the rest is never used. */
static void cpu_copy_page(struct device *device, int32_t to, int32_t from, int32_t n)
{
    size_t bytes = device->kv_page;
    if (n > 0 && to != from)
        memcpy(device->kv + (size_t)to * bytes, device->kv + (size_t)from * bytes, bytes);
}

static void cpu_discard(struct device *device, bool pages)
{
    mem_discard(device->linear_scratch, device->linear_scratch_bytes);
    mem_discard(device->attend_scratch,
                (size_t)device->config.threads * device->attend_scratch_bytes);
    if (pages)
        mem_discard(device->kv, device->kv_bytes);
}

#define OP(name, doc)                                                    \
    static int cpu_##name(struct lane *lane, const struct op_##name *op, \
                          const struct batch *batch)                     \
    {                                                                    \
        return lane->device->isa->name(lane, op, batch);                 \
    }
#include "../ops.def"
#undef OP

extern const struct backend backend_cpu;
const struct backend backend_cpu = {
    .name = "cpu",
    .is_host = true,
    .probe = cpu_probe,
    .measure = cpu_measure,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .take = cpu_take,
    .give = cpu_give,
    .touch = cpu_touch,
    .take_host = cpu_take,
    .give_host = cpu_give,
    .write = cpu_copy,
    .read = cpu_copy,
    .packed_bytes = cpu_packed_bytes,
    .pack = cpu_pack,
    .packing = cpu_packing,
    .run = cpu_run,
    .lane_id = cpu_lane_id,
    .lane_count = cpu_lane_count,
    .barrier = lane_barrier,
    .set_threads = cpu_set_threads,
    .copy_page = cpu_copy_page,
    .discard = cpu_discard,
#define OP(name, doc) .name = cpu_##name,
#include "../ops.def"
#undef OP
};
