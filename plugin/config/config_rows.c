/* The keys of the configuration, version 1. Adding a key is adding a row here, a field
 * to struct config, and a line to examples/inflight.yaml and its schema; a test holds
 * the four together. */
#include "config_rows.h"

#include "../../kernels/backend.h"
#include "../base/thread.h"

#define AT(field) offsetof(struct config, field)

#define KIB ((double)(1 << 10))
#define MIB ((double)(1 << 20))
#define PIB ((double)(1ull << 50))

#define POSITIONS (1 << 24)                    /* of one sequence; no model comes near */
#define EXACT     ((double)((1ull << 53) - 1)) /* beyond, JSON readers lose integers */

/* clang-format off */
const struct config_row config_rows[CONFIG_ROWS] = {
    {NULL, "version", CONFIG_VERSION, 0, 1, 1, NULL,
     "Version of this format", {NULL}},

    {"model", "path", CONFIG_PATH, AT(model_path), 0, 0, NULL,
     "The model: a GGUF file or a Hugging Face folder, relative to this file", {NULL}},
    {"model", "context", CONFIG_INT, AT(context), 0, POSITIONS, "0",
     "Most tokens of one sequence, prompt and answer; 0: as many as the model allows", {NULL}},
    {"model", "chat_template", CONFIG_PATH, AT(chat_template), 0, 0, "",
     "Jinja file that replaces the model's own chat template, relative to this file", {NULL}},

    {"model", "quantization", CONFIG_NAME, AT(quantization), 0, 0, "none",
     "What the layers' matrices become while the model is loaded; int4 has groups of 128 values",
     {[QUANTIZATION_NONE] = "none", [QUANTIZATION_FP8] = "fp8",
      [QUANTIZATION_FP8_BLOCK] = "fp8_block", [QUANTIZATION_INT8] = "int8",
      [QUANTIZATION_INT8_GROUP] = "int8_group", [QUANTIZATION_INT4] = "int4",
      [QUANTIZATION_INT4_64] = "int4_64", [QUANTIZATION_INT4_32] = "int4_32"}},
    {"model", "quantize_head", CONFIG_BOOL, AT(quantize_head), 0, 0, "false",
     "The same for the output head, which needs its precision more than the layers do", {NULL}},

    {"model", "packed_cache", CONFIG_PATH, AT(packed_cache), 0, 0, "",
     "File for packed weights: the first load writes it, later ones map it (CPU)", {NULL}},

    {"device", "kind", CONFIG_WORD, AT(device), 0, 0, "auto",
     "Where the model runs; auto takes the fastest there is", {"auto", "cuda", "cpu", NULL}},
    {"device", "threads", CONFIG_INT, AT(threads), 0, 1024, "0",
     "Compute threads; 0: the physical cores that this process may use", {NULL}},
    {"device", "priority", CONFIG_NAME, AT(priority), 0, 0, "low",
     "How its threads share cores with others: idle gives way at once, low keeps a small share",
     {[THREAD_NORMAL] = "normal", [THREAD_LOW] = "low", [THREAD_IDLE] = "idle"}},
    {"device", "instruction_set", CONFIG_NAME, AT(isa), 0, 0, "auto",
     "Which variant of the CPU's kernels; auto takes the best it can run",
     {"auto", "plain", "avx2", "avx512", "avx512_bf16", NULL}},
    {"device", "activations", CONFIG_NAME, AT(activations), 0, 0, "int8",
     "Inputs of 4- and 8-bit matrices; float is slower, to measure what int8 costs",
     {[ACT_INT8] = "int8", [ACT_FLOAT] = "float"}},
    {"device", "cublaslt", CONFIG_BOOL, AT(cublaslt), 0, 0, "false",
     "Long prompts by NVIDIA's cuBLASLt; then how they are cut into steps may change an answer",
     {NULL}},

    {"kv_cache", "type", CONFIG_NAME, AT(kv_type), 0, 0, "bf16",
     "How keys and values are kept; f32 is to measure what the others cost",
     {[KV_BF16] = "bf16", [KV_INT8] = "int8", [KV_FP8] = "fp8", [KV_F32] = "f32"}},
    {"kv_cache", "tokens", CONFIG_LONG, AT(kv_tokens), 0, (double)(1 << 30), "0",
     "Tokens of all sequences together that fit; 0: decided when the model is known", {NULL}},
    {"kv_cache", "prefix_cache", CONFIG_BOOL, AT(prefix_cache), 0, 0, "true",
     "Keep the beginnings of prompts for later requests that begin alike", {NULL}},

    {"memory", "budget", CONFIG_SIZE, AT(memory_budget), 0, PIB, "0",
     "Most memory the engine takes in all; 0: no limit", {NULL}},
    {"memory", "prefault", CONFIG_BOOL, AT(prefault), 0, 0, "false",
     "Have the memory of cache and buffers while loading, not when they are first used", {NULL}},

    {"batch", "max_sequences", CONFIG_INT, AT(max_sequences), 1, 1024, "32",
     "Most sequences in one step", {NULL}},
    {"batch", "max_tokens", CONFIG_INT, AT(max_step_tokens), 16, 8192, "512",
     "Most tokens in one step; longer prompts are computed in pieces", {NULL}},
    {"batch", "step_ms", CONFIG_INT, AT(step_ms), 0, 10000, "16",
     "Milliseconds a prompt may stretch a step to while answers go on; 0: any number", {NULL}},
    {"batch", "mode", CONFIG_NAME, AT(batching), 0, 0, "in_flight",
     "When a waiting sequence starts: at the next step, or when the whole batch has ended",
     {[BATCHING_IN_FLIGHT] = "in_flight", [BATCHING_STATIC] = "static"}},

    {"requests", "max", CONFIG_INT, AT(max_requests), 1, 65536, "256",
     "Most requests accepted and not yet done; more are told to come back", {NULL}},
    {"requests", "stream_buffer", CONFIG_SIZE_32, AT(stream_bytes), 4 * KIB, 16 * MIB, "64KiB",
     "Text of one request that may wait to be polled", {NULL}},

#define SAMPLING(name, kind, least, most, unset, doc) \
    {"sampling", #name, CONFIG_##kind, AT(sampling.name), least, most, unset, doc, {NULL}},
#include "sampling.def"
#undef SAMPLING
    {"sampling", "seed", CONFIG_SEED, AT(sampling.seed), 0, EXACT, "",
     "The same seed gives the same answer; without one each request draws its own", {NULL}},
    {"sampling", "ignore_eos", CONFIG_BOOL, AT(sampling.ignore_eos), 0, 0, "false",
     "Go on after the model's end token, for measuring", {NULL}},
    {"sampling", "skip_special_tokens", CONFIG_BOOL, AT(sampling.skip_special_tokens), 0, 0, "true",
     "Leave control tokens out of the text; false: as they are written, of gpt-oss its channels",
     {NULL}},

    {"log", "level", CONFIG_NAME, AT(log_level), 0, 0, "warning",
     "The least important lines that are still logged",
     {"error", "warning", "info", "debug", NULL}},
};
/* clang-format on */
