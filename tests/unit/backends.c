/* Which back end a model gets: by name, by "auto", and what is said when one is passed over.
 * Without a driver, as machines of tests are, unless the simulated GPU is on the library path. */
#define _DEFAULT_SOURCE
#include "t.h"

#include "plugin/engine.h"
#include "plugin/model/model.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#define TINY "build/models/tiny.gguf"

static const struct backend *cuda(void)
{
    const struct backend *backend = backend_find("cuda");
    if (!backend)
        t_skip("this build has no device cuda");
    return backend;
}

static struct model_params params(const char *device, struct fallback *fallback)
{
    return (struct model_params){.path = TINY,
                                 .device = device,
                                 .fallback = fallback,
                                 .mem = &mem_system,
                                 .context = 64,
                                 .threads = 1,
                                 .max_tokens = 16,
                                 .max_rows = 4};
}

static bool is_there(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        t_skip("no " TINY ": make check-build");
    else
        fclose(f);
    return f;
}

/* One token through the model that was chosen. */
static void check_runs(struct model *m, struct err *err)
{
    int32_t token = 3, position = 0, row = 0, page = 1;
    struct batch_seq seq = {.n = 1, .page = &page};
    struct batch batch = {
        .T = 1, .S = 1, .R = 1, .token = &token, .position = &position, .seq = &seq, .row = &row};
    CHECK_EQ(model_load(m, NULL, NULL, err), INFLIGHT_OK);
    CHECK_TEXT(err->text, "");
    CHECK_EQ(model_forward(m, &batch), 0);
    float most = 0;
    for (int32_t i = 0; i < model_hparams(m)->V; i++)
        most = model_logits(m, 0)[i] > most ? model_logits(m, 0)[i] : most;
    CHECK(most > 0 && most < 1e6f);
    CHECK(model_blocks(m, 0)->max <= most);
}

TEST(backends, the_last_of_the_list_is_the_cpu_which_is_always_there)
{
    int n = 0;
    while (backends[n])
        n++;
    CHECK(n >= 1);
    CHECK_TEXT(backends[n - 1]->name, "cpu");
    CHECK_EQ(backends[n - 1]->probe(NULL), INFLIGHT_OK);
    CHECK(backends[n - 1]->is_host);
    CHECK(backend_find("tpu") == NULL);
}

TEST(backends, a_device_that_the_build_lacks_is_refused_by_name)
{
    struct err err = {0};
    struct model *m;
    struct model_params p = params("tpu", NULL);
    if (!is_there(TINY))
        return;
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, TINY ": this build has no device \"tpu\"");
    CHECK(m == NULL);
}

TEST(backends, without_a_driver_cuda_fails_with_the_sentence)
{
    struct err probe = {0}, err = {0};
    struct model *m;
    struct model_params p = params("cuda", NULL);
    if (!cuda() || !is_there(TINY))
        return;
    if (cuda()->probe(&probe) == INFLIGHT_OK) {
        t_skip("there is a driver here");
        return;
    }
    CHECK_EQ(probe.code, INFLIGHT_E_UNSUPPORTED);
    CHECK(strstr(probe.text, "no CUDA driver: libcuda.so.1: ") == probe.text);
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_E_UNSUPPORTED);
    char want[600];
    snprintf(want, sizeof want, "%s: device cuda: %s", TINY, probe.text);
    CHECK_TEXT(err.text, want);
    CHECK(m == NULL);
}

TEST(backends, auto_goes_on_to_the_cpu_and_says_what_it_passed_over)
{
    struct err probe = {0}, err = {0};
    struct fallback fallback = {0};
    struct model *m;
    struct model_params p = params("auto", &fallback);
    if (!cuda() || !is_there(TINY))
        return;
    if (cuda()->probe(&probe) == INFLIGHT_OK) {
        t_skip("there is a driver here");
        return;
    }
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_OK);
    CHECK_EQ(err.code, 0);
    char want[600];
    snprintf(want, sizeof want, "cuda: %s", probe.text);
    CHECK_TEXT(fallback.text, want);
    CHECK_EQ(fallback.n, 1);
    CHECK_TEXT(model_backend(m)->name, "cpu");
    check_runs(m, &err);
    model_close(m);
    /* Opened again in the course of the same loading it is not asked again. */
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_OK);
    CHECK_TEXT(fallback.text, want);
    model_close(m);
}

TEST(backends, the_first_of_the_list_is_taken_where_it_serves)
{
    static struct err err; /* its text outlives the test */
    struct fallback fallback = {0};
    struct model *m;
    struct model_params p = params("auto", &fallback);
    if (!is_there(TINY))
        return;
    if (backends[0]->probe(&err)) {
        t_skip(err.text);
        return;
    }
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_OK);
    CHECK_TEXT(model_backend(m)->name, backends[0]->name);
    CHECK_TEXT(fallback.text, "");
    check_runs(m, &err);
    model_close(m);
}

/* What is missing on one device may be there on another, but a stopped loading stays stopped,
 * and behind the CPU comes nothing. */
TEST(backends, only_what_another_device_may_have_is_passed_over)
{
    struct fallback fallback = {0};
    struct err err = {0};
    struct model *m;
    struct model_params p = params("cpu", &fallback);
    if (!is_there(TINY))
        return;
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_OK);
    (void)err_set(&err, INFLIGHT_E_NOMEM, "no memory");
    CHECK(!model_pass_over(m, &fallback, &err));
    CHECK_EQ(err.code, INFLIGHT_E_NOMEM);
    model_close(m);
    p.device = "auto";
    err = (struct err){0};
    CHECK_EQ(model_open(&m, &p, &err), INFLIGHT_OK);
    bool last = strcmp(model_backend(m)->name, "cpu") == 0;
    char before[sizeof fallback.text];
    strcpy(before, fallback.text);
    (void)err_set(&err, INFLIGHT_E_SHUTDOWN, "loading was stopped");
    CHECK(!model_pass_over(m, &fallback, &err));
    CHECK_TEXT(fallback.text, before);
    (void)err_set(&err, INFLIGHT_E_NOMEM, "no memory");
    CHECK_EQ(model_pass_over(m, &fallback, &err), !last);
    CHECK_EQ(err.code, last ? INFLIGHT_E_NOMEM : INFLIGHT_OK);
    CHECK(last || strstr(fallback.text, "no memory"));
    model_close(m);
}

struct heard {
    char ready[1024], log[1024];
    char device[1024]; /* of EV_DEVICE that came before it was waited for, or "" */
    int32_t status;
};

static void hear(void *user, int32_t level, const char *line, uint64_t len)
{
    struct heard *h = user;
    if (level == 1 || level == 2)
        snprintf(h->log, sizeof h->log, "%.*s", (int)len, line);
}

static _Atomic uint64_t taken; /* by the engine, and not given back */

/* The status of the next event of a type; its data goes to h->ready. */
static int32_t await(struct engine *engine, uint32_t type, struct heard *h)
{
    if (type == INFLIGHT_EV_DEVICE && *h->device) {
        memcpy(h->ready, h->device, sizeof h->ready);
        *h->device = 0;
        return INFLIGHT_OK;
    }
    for (;;) {
        inflight_event e;
        int32_t n = ring_poll(engine_ring(engine), &e, sizeof e, 1, 1000000000);
        if (n == 1 && e.type == type) {
            snprintf(h->ready, sizeof h->ready, "%.*s", (int)e.data_len, e.data);
            return e.status;
        }
        if (n == 1 && e.type == INFLIGHT_EV_DEVICE)
            snprintf(h->device, sizeof h->device, "%.*s", (int)e.data_len, e.data);
        if (n < 0)
            return n;
    }
}

/* An engine of this configuration, which has said that it is ready, or why not. */
static struct engine *start_engine(const char *yaml, struct heard *h)
{
    struct engine_host host = {.mem = mem_system, .user = h, .log = hear};
    struct config config;
    struct engine *engine;
    struct arena arena;
    struct err err = {0};
    host.mem.taken = &taken;
    *h = (struct heard){.status = 1};
    arena_init(&arena, &host.mem);
    if (config_parse(&config, (struct str){yaml, strlen(yaml)}, NULL, &arena, &err) ||
        engine_open(&engine, &host, &config, &arena, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return NULL;
    }
    h->status = await(engine, INFLIGHT_EV_READY, h);
    return engine;
}

static void open_engine(const char *yaml, struct heard *h)
{
    struct engine *engine = start_engine(yaml, h);
    if (engine)
        CHECK_EQ(engine_close(engine), INFLIGHT_OK);
}

#define YAML(kind)                                       \
    "version: 1\nmodel: {path: " TINY ", context: 64}\n" \
    "device: {kind: " kind ", threads: 1}\nlog: {level: info}\n"

/* Which "auto" then passes over, with this sentence. */
TEST(backends, layers_of_two_kinds_are_refused_by_cuda)
{
    static const uint8_t kinds[] = {KV_NEAR, KV_OWN};
    const struct device_config config = {.threads = 1,
                                         .max_tokens = 16,
                                         .max_rows = 1,
                                         .max_context = 64,
                                         .max_width = 64,
                                         .L = 2,
                                         .H = 4,
                                         .K = 2,
                                         .dim = 512,
                                         .kv_kind = kinds,
                                         .near_K = 2,
                                         .near_dim = 256,
                                         .kv_pages = 4};
    struct device_bytes bytes;
    struct err err = {0};
    if (!cuda())
        return;
    CHECK_EQ(cuda()->measure(&config, &bytes, &err), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "layers whose heads differ, or that share keys and values, are not served "
                         "on a CUDA device");
}

TEST(backends, the_host_is_told_what_auto_passed_over)
{
    struct err probe = {0};
    struct heard h;
    char want[700];
    if (!is_there(TINY))
        return;
    open_engine(YAML("auto"), &h);
    CHECK_EQ(h.status, INFLIGHT_OK);
    CHECK(strstr(h.ready, "\"device\":\""));
    if (backends[0]->probe(&probe) == INFLIGHT_OK) {
        CHECK(!strstr(h.ready, "fallback"));
        CHECK_TEXT(h.log, "");
        return;
    }
    snprintf(want, sizeof want, "\"fallback\":\"%s: %s\"", backends[0]->name, probe.text);
    CHECK(strstr(h.ready, want));
    snprintf(want, sizeof want, "device.kind auto: %s: %s", backends[0]->name, probe.text);
    CHECK_TEXT(h.log, want);
}

TEST(backends, a_device_that_was_asked_for_is_not_replaced)
{
    struct err probe = {0};
    struct heard h;
    if (!cuda() || !is_there(TINY))
        return;
    open_engine(YAML("cpu"), &h);
    CHECK_EQ(h.status, INFLIGHT_OK);
    CHECK(!strstr(h.ready, "fallback"));
    CHECK(strstr(h.ready, "\"device\":\"cpu "));
    open_engine(YAML("cuda"), &h);
    if (cuda()->probe(&probe) == INFLIGHT_OK) {
        CHECK_EQ(h.status, INFLIGHT_OK);
        CHECK(strstr(h.ready, "\"device\":\"cuda "));
        return;
    }
    CHECK_EQ(h.status, INFLIGHT_E_UNSUPPORTED);
    CHECK(strstr(h.ready, probe.text));
}

static void expect_packed(const char *kind, const char *path, const char *use, const char *why)
{
    struct heard h;
    char yaml[512], want[300];
    snprintf(yaml, sizeof yaml,
             "version: 1\nmodel: {path: " TINY ", context: 64, packed_cache: %s}\n"
             "device: {kind: %s, threads: 1}\nlog: {level: info}\n",
             path, kind);
    open_engine(yaml, &h);
    CHECK_EQ(h.status, INFLIGHT_OK);
    snprintf(want, sizeof want, "\"packed_cache\":\"%s\"", use);
    CHECK(strstr(h.ready, want));
    snprintf(want, sizeof want, "model.packed_cache %s: %s%s", path, use, why);
    CHECK(strstr(h.log, want));
}

TEST(backends, the_host_is_told_of_packed_weights)
{
    const struct backend *other = backend_find("cuda");
    struct err probe = {0};
    char folder[] = "/tmp/inflight-backends-XXXXXX", path[64];
    if (!is_there(TINY) || !mkdtemp(folder))
        return;
    snprintf(path, sizeof path, "%s/weights", folder);
    expect_packed("cpu", path, "written", "");
    expect_packed("cpu", path, "mapped", "");
    expect_packed("cpu", folder, "refused", ": it is not a regular file");
    if (other && other->probe(&probe) == INFLIGHT_OK)
        expect_packed("cuda", path, "unused", "");
    unlink(path);
    CHECK_EQ(rmdir(folder), 0);
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
    return at && fail(what);
}

/* Each allocation of the device in turn: all of them come after the model was measured. */
TEST(backends, auto_goes_on_to_the_cpu_when_the_device_fails_at_loading)
{
    static struct err probe;
    struct heard h;
    int n = 1;
    if (!cuda() || !is_there(TINY))
        return;
    if (cuda()->probe(&probe) || !gpu_fail("")) {
        t_skip("only the simulated GPU fails on demand");
        return;
    }
    for (; n < 20; n++) {
        char what[16];
        snprintf(what, sizeof what, "alloc:%d", n);
        CHECK(gpu_fail(what));
        open_engine(YAML("auto"), &h);
        gpu_fail("");
        CHECK_EQ(h.status, INFLIGHT_OK);
        if (strstr(h.ready, "\"device\":\"cuda "))
            break;
        CHECK(strstr(h.ready, "\"device\":\"cpu "));
        CHECK(strstr(h.ready, "\"fallback\":\"cuda: "));
        CHECK(strstr(h.log, "device.kind auto: cuda: "));
    }
    /* Pages, two of scratch, the step, weights, activations. */
    CHECK(n >= 6);
    CHECK(!strstr(h.ready, "fallback"));
    CHECK(gpu_fail("alloc:1"));
    open_engine(YAML("cuda"), &h);
    gpu_fail("");
    CHECK_EQ(h.status, INFLIGHT_E_NOMEM);
    CHECK(strstr(h.ready, " failed: ") && strstr(h.ready, "CUDA_ERROR_OUT_OF_MEMORY"));
}

/* Status of an answer of eight tokens; its error is in h->ready. */
static int32_t ask(struct engine *engine, struct heard *h)
{
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .kind = INFLIGHT_PROMPT};
    struct err err = {0};
    inflight_req id;
    static const char options[] = "{\"max_tokens\": 8, \"ignore_eos\": true}";
    r.input = (inflight_str){"abc", 3};
    r.options = (inflight_str){options, sizeof options - 1};
    if (queue_submit(engine_queue(engine), &r, &id, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return err.code;
    }
    return await(engine, INFLIGHT_EV_DONE, h);
}

/* The next calls of the driver fail. A step may still be under way behind the last token: a control
 * waits for it. */
static bool fail_from_here(struct engine *engine, const char *failure, struct heard *h)
{
    struct err err;
    CHECK_EQ(engine_control(engine, INFLIGHT_CTL_RESUME, 0, &err), INFLIGHT_OK);
    CHECK_EQ(await(engine, INFLIGHT_EV_BUDGET, h), INFLIGHT_OK);
    return gpu_fail(failure);
}

TEST(backends, a_device_that_is_lost_ends_every_request_and_closes)
{
    static const char *const failures[] = {"launch:9", "sync:3", "copy:5", "lost:40"};
    static struct err probe;
    struct heard h;
    if (!cuda() || !is_there(TINY))
        return;
    if (cuda()->probe(&probe) || !gpu_fail("")) {
        t_skip("only the simulated GPU fails on demand");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        struct engine *engine = start_engine(YAML("cuda"), &h);
        CHECK_EQ(h.status, INFLIGHT_OK);
        CHECK_EQ(ask(engine, &h), INFLIGHT_OK);
        CHECK(fail_from_here(engine, failures[i], &h));
        CHECK_EQ(ask(engine, &h), INFLIGHT_E_DEVICE);
        CHECK(strstr(h.ready, "failed with code -12"));
        CHECK_EQ(ask(engine, &h), INFLIGHT_E_DEVICE);
        CHECK_EQ(engine_close(engine), INFLIGHT_OK);
        CHECK_EQ(taken, 0);
        gpu_fail("");
    }
}

TEST(backends, auto_goes_on_to_the_cpu_when_the_device_is_lost)
{
    static struct err probe;
    struct heard h;
    if (!cuda() || !is_there(TINY))
        return;
    if (cuda()->probe(&probe) || !gpu_fail("")) {
        t_skip("only the simulated GPU fails on demand");
        return;
    }
    struct engine *engine = start_engine(YAML("auto"), &h);
    CHECK_EQ(h.status, INFLIGHT_OK);
    CHECK(strstr(h.ready, "\"device\":\"cuda"));
    CHECK_EQ(ask(engine, &h), INFLIGHT_OK);
    CHECK(fail_from_here(engine, "lost:5", &h));
    CHECK_EQ(ask(engine, &h), INFLIGHT_E_DEVICE);
    CHECK_EQ(await(engine, INFLIGHT_EV_DEVICE, &h), INFLIGHT_OK);
    CHECK(strstr(h.ready, "\"device\":\"cpu"));
    CHECK(strstr(h.ready, "\"fallback\":\"cuda: the device was lost: cuda"));
    CHECK_EQ(ask(engine, &h), INFLIGHT_OK);
    CHECK_EQ(engine_close(engine), INFLIGHT_OK);
    CHECK_EQ(taken, 0);
    gpu_fail("");
}
