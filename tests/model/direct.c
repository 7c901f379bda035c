#include "direct.h"

#include "device.h"
#include "t.h"

#include "kernels/cpu/cpuid.h"

static struct model *open_params(const struct model_params *params)
{
    struct err err = {0};
    struct model *m;
    FILE *f = params->io ? NULL : fopen(params->path, "rb");
    if (!f && !params->io) {
        static char why[128];
        snprintf(why, sizeof why, "no %s: make check-build", params->path);
        t_skip(why);
        return NULL;
    }
    if (f)
        fclose(f);
    if (model_open(&m, params, &err) || model_load(m, NULL, NULL, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return NULL;
    }
    return m;
}

/* The fields that no test differs in. */
static struct model_params common_params(const char *path, int32_t activations, int32_t kv_type)
{
    return (struct model_params){
        .path = path,
        .device = test_device(),
        .mem = &mem_system,
        .context = DIRECT_CONTEXT,
        .activations = activations,
        .kv_type = kv_type,
        .kv_tokens = DIRECT_CONTEXT,
        .max_tokens = DIRECT_MAX,
        .max_rows = DIRECT_MAX,
    };
}

struct model *direct_open(int32_t activations, int32_t kv_type, int32_t threads)
{
    struct model_params params = common_params(TEST_MODEL, activations, kv_type);
    params.threads = threads;
    return open_params(&params);
}

struct model *direct_open_on(const char *device, int32_t activations, int32_t kv_type)
{
    struct model_params params = common_params(TEST_MODEL, activations, kv_type);
    params.device = device;
    params.threads = 2;
    return open_params(&params);
}

struct model *direct_open_file(const char *path, int32_t isa, int32_t activations, int32_t kv_type)
{
    struct model_params params = common_params(path, activations, kv_type);
    params.threads = 1;
    params.isa = isa;
    return open_params(&params);
}

struct model *direct_open_through(const char *path, const inflight_io *io)
{
    struct model_params params = common_params(path, ACT_FLOAT, KV_F32);
    params.device = "cpu";
    params.threads = 1;
    params.isa = ISA_ID_PLAIN;
    params.io = io;
    return open_params(&params);
}

struct model *direct_open_quantized_on(const char *device, enum fmt fmt, int32_t activations)
{
    struct model_params params = common_params(TEST_MODEL, activations, KV_BF16);
    params.device = device;
    params.quantization = (int32_t)fmt;
    params.threads = 2;
    return open_params(&params);
}

struct model *direct_open_quantized(const char *path, enum fmt fmt, bool head, int32_t activations,
                                    int32_t threads, const struct mem *mem)
{
    struct model_params params = common_params(path, activations, KV_BF16);
    params.device = "cpu";
    params.quantization = (int32_t)fmt;
    params.quantize_head = head;
    params.threads = threads;
    params.mem = mem;
    return open_params(&params);
}

struct model *direct_open_packed(const struct direct_packed *p)
{
    struct model_params params = common_params(p->path, ACT_INT8, KV_BF16);
    params.device = "cpu";
    params.packed_cache = p->packed;
    params.io = p->io;
    params.isa = p->isa;
    params.threads = p->threads;
    params.quantization = (int32_t)p->fmt;
    params.quantize_head = p->fmt != FMT_f32;
    params.mem = p->mem;
    return open_params(&params);
}

bool direct_continue(struct model *m, const int32_t *token, int32_t from, int32_t n)
{
    static int32_t count[DIRECT_CONTEXT];
    if (from < 0 || n < 1 || n > DIRECT_MAX || from + n > DIRECT_CONTEXT)
        return false;
    for (int32_t i = 0; i < from + n; i++)
        count[i] = i;
    struct batch_seq seq = {.first = 0, .n = n, .position = from, .page = count};
    struct batch batch = {.T = n,
                          .S = 1,
                          .R = n,
                          .token = token,
                          .position = count + from,
                          .seq = &seq,
                          .row = count};
    return model_forward(m, &batch) == 0;
}

bool direct_forward(struct model *m, const int32_t *token, int32_t n)
{
    return direct_continue(m, token, 0, n);
}
