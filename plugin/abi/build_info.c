/* Answers of INFLIGHT_Q_BUILD and INFLIGHT_Q_CAPS, made from the lists the build is made
 * from. A host tests for a capability by its string; strings are only ever added. */
#include "build_info.h"

#include <string.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *const instruction_sets[] = {"plain", "avx2", "avx512", "avx512_bf16"};

static const char *const caps[] = {
    "input.chat",       "input.prompt",     "options.n",        "options.logprobs",
    "overflow.park",    "overflow.drop",    "overflow.fail",    "events.no_coalesce",
    "request.deadline", "request.cancel",   "request.priority", "init.plan_only",
    "control.pause",    "control.threads",  "control.batching", "hook.log",
    "hook.wakeup",      "hook.io",          "hook.alloc",       "file.gguf",
    "file.safetensors", "cache.prefix",     "cache.packed",     "init.cuda_context",
    INFLIGHT_EXT_TEXT,  INFLIGHT_EXT_FRAME,
#define FMT(name, values, bytes, head, type) "weights." #name,
#include "../../quant/formats.def"
#undef FMT
#define BACKEND(name) "device." #name,
#include "../../kernels/backends.def"
#undef BACKEND
};

static void put_list(struct buf *out, const char *const *text, size_t n)
{
    buf_put_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_put_char(out, ',');
        buf_put_json(out, text[i], strlen(text[i]));
    }
    buf_put_char(out, ']');
}

void build_info_print(struct buf *out)
{
    buf_put_text(out, "{\"version\":\"" INFLIGHT_VERSION "\"");
    buf_format(out, ",\"abi\":\"%u.%u\",\"compiler\":", INFLIGHT_ABI_MAJOR, INFLIGHT_ABI_MINOR);
    buf_put_json(out, COMPILER, sizeof COMPILER - 1);
    buf_put_text(out, ",\"instruction_sets\":");
    put_list(out, instruction_sets, COUNT_OF(instruction_sets));
    buf_put_char(out, '}');
}

void build_caps_print(struct buf *out)
{
    put_list(out, caps, COUNT_OF(caps));
}
